"""The daemon's own log: one line per event on standard error, as JSON or as text.

`configure` is called once, at start. Until then structlog's defaults stand, so importing a module logs
nothing and decides nothing. What functions print goes elsewhere (`observability.function_logs`).
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Literal

import orjson
import structlog

_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET = "\x1b[0m"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@$+%#*,~")


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "text", "json"] = "auto",  # noqa: A002 - the setting's own name
    stream: BinaryIO | None = None,
) -> None:
    """Send every log line from here on to `stream` (standard error), in the format asked for."""
    target: BinaryIO = stream if stream is not None else sys.stderr.buffer
    is_terminal = target.isatty()
    as_json = format == "json" or (format == "auto" and not is_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _stamp,
            _explain_exception,
            _render_json if as_json else _TextRenderer(colours=is_terminal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(target),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(logging.WARNING)


def _stamp(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the wall clock's moment on the line (not the daemon's clock: logs are read beside other logs)."""
    event["at"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _explain_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn `exc_info` into the text of the traceback."""
    exc_info = event.pop("exc_info", None)
    if exc_info:
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        if error is not None:
            event.setdefault("error", f"{type(error).__name__}: {error}")
            event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _render_json(_: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
    line = {"at": event.pop("at"), "level": event.pop("level"), "event": event.pop("event"), **event}
    return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS)


class _TextRenderer:
    """`12:00:00.123 info    daemon.started  url=... version=...`, in colours on a terminal."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> bytes:
        at, level, name = event.pop("at"), event.pop("level"), str(event.pop("event"))
        trace = event.pop("traceback", None)
        shown = f"{level:<7}"
        if self._colours:
            shown = f"{_COLOURS.get(level, '')}{shown}{_RESET}"
        pairs = " ".join(f"{key}={_show(value)}" for key, value in event.items())
        line = f"{at[11:23]} {shown} {name:<24} {pairs}".rstrip()
        return (line + ("\n" + trace.rstrip() if trace else "")).encode(errors="backslashreplace")


def _show(value: object) -> str:
    text = str(value)
    return text if text and _PLAIN.issuperset(text) else orjson.dumps(text, default=str).decode()


class _Bridge(logging.Handler):
    """Carries what libraries log (aiohttp, asyncio) into our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under its library's name."""
        level = "error" if record.levelno >= logging.ERROR else "warning"
        exc_info = record.exc_info[1] if record.exc_info else None
        getattr(structlog.get_logger(), level)(
            "library.logged", library=record.name, message=record.getMessage(), exc_info=exc_info
        )
