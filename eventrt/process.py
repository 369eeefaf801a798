"""The process around the daemon: settings in, exit code out; signals, the loop, one line when it cannot start.

The first SIGTERM or SIGINT asks the daemon to stop, a second one insists. What the daemon is made of, and in which
order it starts and stops, is `daemon`'s business.
"""

import asyncio
import errno
import ipaddress
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import structlog

from eventrt.config.settings import Settings
from eventrt.daemon import Daemon
from eventrt.errors import ConfigurationError, StartupError, StoreCorrupt, StoreFull
from eventrt.observability.logging import configure

EX_DATAERR, EX_SOFTWARE, EX_CANTCREAT, EX_TEMPFAIL, EX_CONFIG = 65, 70, 73, 75, 78
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FORCED_STOP_LIMIT_S = 3.0
"""After a second signal: how long the process may take to let go before it is ended regardless."""

_BIND_ADVICE = {
    errno.EADDRINUSE: ("stop what listens there, or choose another with --port", EX_TEMPFAIL),
    errno.EADDRNOTAVAIL: ("it is no address of this machine, choose another with --host", EX_CONFIG),
    errno.EACCES: ("ports below 1024 are for the superuser, choose another with --port", EX_CONFIG),
}

_LOG = structlog.get_logger("eventrt.daemon")


def run(settings: Settings, *, insecure: bool = False) -> int:
    """Serve until told to stop; return the exit code. What prevents the start is told in one line."""
    configure(level=settings.log.level, format=settings.log.format)
    os.umask(0o077)
    raise_file_limit()
    try:
        if sys.platform != "linux":
            raise StartupError("eventrt runs on Linux only: its handlers need Linux's processes", exit_code=EX_SOFTWARE)
        refuse_open_door(settings, insecure=insecure)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(settings))
    except BaseException as error:
        return _exit_code(error)


async def _serve(settings: Settings) -> int:
    """Return 0 after a graceful stop, 128 + signal when somebody insisted."""
    stop = Stop()
    with stop.on_signals():
        sock = bind(settings.server.host, settings.server.port)
        try:
            async with anyio.create_task_group() as root:
                daemon = Daemon(settings)
                root.start_soon(_end_when_insisted, stop, daemon, root.cancel_scope)
                await daemon.serve(sock, stop.asked.wait)
                root.cancel_scope.cancel()
        finally:
            sock.close()
    return 128 + stop.signal_number if stop.insisted.is_set() else 0


async def _end_when_insisted(stop: "Stop", daemon: Daemon, everything: anyio.CancelScope) -> None:
    await stop.insisted.wait()
    _LOG.warning("daemon.stop_insisted", signal=signal.Signals(stop.signal_number).name)
    asyncio.get_running_loop().call_later(FORCED_STOP_LIMIT_S, os._exit, 128 + stop.signal_number)
    daemon.hurry()
    if daemon.is_open:
        await anyio.sleep(FORCED_STOP_LIMIT_S / 2)  # whose invocation was ended is told so
    everything.cancel()


class Stop:
    """The wish to stop: the first signal asks, the second insists."""

    def __init__(self) -> None:
        self.asked = anyio.Event()
        self.insisted = anyio.Event()
        self.signal_number = 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Turn SIGTERM, SIGINT and SIGHUP into the wish, for the length of a `with` block."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._receive, number)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _receive(self, number: int) -> None:
        self.signal_number = number
        if self.asked.is_set():
            self.insisted.set()
        else:
            self.asked.set()
            _LOG.info("daemon.stop_asked", signal=signal.Signals(number).name)


def raise_file_limit() -> None:
    """Let this process open as many files as it may: connections, logs and pipes of handlers are many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def refuse_open_door(settings: Settings, *, insecure: bool) -> None:
    """Refuse to listen beyond this machine while anybody's credentials are taken.

    Raises: StartupError: another address than loopback, auth.mode none, and --insecure not given.
    """
    host = settings.server.host
    if re.fullmatch(r"[^:]*:\d+", host):
        raise StartupError(f"{host} is an address with a port; give the port with --port", exit_code=EX_CONFIG)
    if settings.auth.mode == "sigv4" or insecure or is_loopback(host):
        return
    raise StartupError(
        f"listening on {host or 'every address'} would let anybody in: give --auth sigv4 with keys, or --insecure",
        exit_code=EX_CONFIG,
    )


def is_loopback(host: str) -> bool:
    """Does this address stay on the machine?"""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address, not yet listening: whoever connects before we are ready is refused.

    Raises: StartupError: the port is taken, or the address is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise StartupError(f"cannot listen on {host}: {error.strerror}", exit_code=EX_CONFIG) from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        advice, code = _BIND_ADVICE.get(error.errno or 0, ("choose another with --host or --port", EX_CONFIG))
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}; {advice}", exit_code=code) from error
    return bound


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed (the extra `fast`), else None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _exit_code(error: BaseException) -> int:
    """Say in one line why the daemon is ending, a defect of ours with its traceback; return the exit code."""
    for leaf in _leaves(error):
        match leaf:
            case StartupError(exit_code=code):
                return _told(leaf, int(code))
            case StoreCorrupt():
                return _told(leaf, EX_DATAERR)
            case ConfigurationError():
                return _told(leaf, EX_CONFIG)
            case StoreFull():
                return _told(leaf, EX_CANTCREAT)
            case SystemExit():
                raise leaf
    _LOG.error("daemon.failed", exc_info=error)
    return EX_SOFTWARE


def _told(error: BaseException, code: int) -> int:
    sys.stderr.write(f"eventrt: {error}\n")
    return code


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
