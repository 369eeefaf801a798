"""What functions print: a file per function, written in the background, rotated, read and followed.

`<directory>/<account>/<region>/<function>.log`. Lines are those of the function's log stream on AWS: START, output,
END, REPORT. Writers hand over bytes and go on; the files are written every few milliseconds, so a `kill -9` of the
daemon may lose the last lines. A file that outgrew its share is renamed to `.log.1`, whose predecessor goes.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

FLUSH_AFTER_S = 0.01
"""How long output is gathered before it is written."""

FLUSH_AT_BYTES = 256 * 1024
"""How much output is gathered at most."""

_LOG = structlog.get_logger("eventrt.function_logs")


class FunctionLog:
    """One function's log; `write` is cheap and never fails."""

    __slots__ = ("_gathered", "_logs", "_parts", "_size", "changed", "path")

    def __init__(self, path: Path, logs: "FunctionLogs") -> None:
        self.path = path
        self.changed: asyncio.Event | None = None
        self._logs = logs
        self._parts: list[bytes] = []
        self._gathered = 0
        self._size = -1

    def write(self, data: bytes) -> None:
        """Have `data` written soon, after all that was handed over before."""
        if not self._parts:
            self._logs.gather(self)
        self._parts.append(data)
        self._gathered += len(data)
        if self._gathered >= FLUSH_AT_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered; when the disk takes nothing it is dropped and the daemon's log says so."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._gathered = 0
        if not data:
            return
        try:
            if self._size < 0:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._size < 0:
                    self._size = os.fstat(fd).st_size
                view = memoryview(data)
                while view:
                    written = os.write(fd, view)
                    view = view[written:]
                    self._size += written
            finally:
                os.close(fd)
            if self._size > self._logs.max_bytes // 2:
                os.replace(self.path, self.path.with_suffix(".log.1"))
                self._size = 0
        except OSError as error:
            self._size = -1
            self._logs.lost(self.path, len(data), error)
        if self.changed is not None:
            self.changed.set()
            self.changed = None


class FunctionLogs:
    """All functions' logs.

    Args: directory: where the files are. max_bytes: how much of one function's output is kept, in two files.
    """

    def __init__(self, directory: Path, *, max_bytes: int = 16 * 1024 * 1024) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._logs: dict[Path, FunctionLog] = {}
        self._waiting: list[FunctionLog] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_losing = False
        self._is_closing = False

    def end_follows(self) -> None:
        """End every `follow` with what it has shown: the daemon is stopping."""
        self._is_closing = True
        for log in self._logs.values():
            if log.changed is not None:
                log.changed.set()

    def of(self, account_id: str, region: str, name: str) -> FunctionLog:
        """Return the log of a function; the same object for the same function."""
        path = self.path(account_id, region, name)
        log = self._logs.get(path)
        if log is None:
            log = self._logs[path] = FunctionLog(path, self)
        return log

    def path(self, account_id: str, region: str, name: str) -> Path:
        """Return the file a function's output is in. Whatever the names hold, it is below the directory."""
        return self.directory / _safe(account_id) / _safe(region) / f"{_safe(name)}.log"

    def forget(self, account_id: str, region: str, name: str) -> None:
        """Write what is left of a function that is gone; its file stays, as its log group does on AWS."""
        path = self.path(account_id, region, name)
        log = self._logs.get(path)
        if log is not None and log.changed is None:
            log.flush()
            del self._logs[path]

    def gather(self, log: FunctionLog) -> None:
        """Write `log` with the next flush."""
        self._waiting.append(log)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Write all that was gathered."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for log in waiting:
            log.flush()

    def lost(self, path: Path, size_bytes: int, error: OSError) -> None:
        """Say once, until it works again for good, that output could not be written."""
        if not self._is_losing:
            self._is_losing = True
            _LOG.warning("function_log.lost", path=str(path), size_bytes=size_bytes, error=str(error))

    def tail(self, account_id: str, region: str, name: str, *, lines: int = 100) -> list[str]:
        """Return the last `lines` lines of a function's log, oldest first, without their ends."""
        self.flush()
        path = self.path(account_id, region, name)
        found: deque[bytes] = deque(maxlen=lines)
        for file in (path.with_suffix(".log.1"), path):
            try:
                with file.open("rb") as stream:
                    found.extend(stream)
            except FileNotFoundError:
                continue
        return [line.rstrip(b"\n").decode(errors="replace") for line in found]

    async def follow(self, account_id: str, region: str, name: str, *, lines: int = 10) -> AsyncIterator[str]:
        """Yield the last `lines` lines and then each further one as it is written, until closed."""
        log = self.of(account_id, region, name)
        self.flush()
        offset, inode = _end_of(log.path)
        for line in self.tail(account_id, region, name, lines=lines) if lines else ():
            yield line
        rest = b""
        while True:
            if log.changed is None:
                log.changed = asyncio.Event()
            changed = log.changed
            data, offset, inode = _read_from(log.path, offset, inode)
            *whole, rest = (rest + data).split(b"\n")
            for line_bytes in whole:
                yield line_bytes.decode(errors="replace")
            if not data:
                if self._is_closing:
                    return
                await changed.wait()


def _safe(name: str) -> str:
    """Return a file name: function names hold nothing that needs changing, but nobody should have to rely on it."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name[:200])
    return kept if kept.strip(".") else "_" + kept


def _end_of(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_ino


def _read_from(path: Path, offset: int, inode: int) -> tuple[bytes, int, int]:
    """Return what follows `offset`, first in the file it belongs to (which may have been renamed), and the new end."""
    for file in (path, path.with_suffix(".log.1")):
        try:
            with file.open("rb") as stream:
                found = os.fstat(stream.fileno()).st_ino
                if inode not in (0, found):
                    continue
                if file is not path or found == inode or inode == 0:
                    stream.seek(offset)
                    data = stream.read(1 << 20)
                    if data or file is path:
                        return data, offset + len(data), found
        except FileNotFoundError:
            continue
    # The old file is read to its end (or gone): go on with the new one.
    try:
        with path.open("rb") as stream:
            data = stream.read(1 << 20)
            return data, len(data), os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return b"", 0, 0
