"""The daemon: builds every room, opens them from inside out, serves until told to stop, closes from outside in.

Nothing else builds rooms: those that need each other meet here. Starting goes store, clock, declared things, invoker,
pollers, doors. Stopping goes the other way: the doors close and finish what they answer, the pollers stop receiving
and running invocations finish within their grace, the outcomes are committed, the store closes last.
"""

import gc
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog

from eventrt import __version__, sdnotify
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.aws.services import lambda_
from eventrt.aws.services.iam import IamService
from eventrt.aws.services.sqs import SqsService
from eventrt.clock import SystemClock, VirtualClock
from eventrt.config.settings import Settings
from eventrt.frontdoors.control import Control
from eventrt.frontdoors.guard import Guard
from eventrt.frontdoors.server import HttpServer
from eventrt.http import Request, Response
from eventrt.invoker.packages import Packages
from eventrt.invoker.transitions import Transitions
from eventrt.observability.function_logs import FunctionLogs
from eventrt.reconcile import reconcile
from eventrt.store.sqlite.store import SqliteStore

Run = Callable[..., Awaitable[None]]
"""A room's `run(*, task_status)`."""

_LOG = structlog.get_logger("eventrt.daemon")


class Daemon:
    """One daemon.

    Args: settings: checked ones.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = Path(settings.store.data_dir).absolute()
        self.clock: SystemClock = VirtualClock() if settings.clock.controllable else SystemClock()
        self.store = SqliteStore(self.directory, clock=self.clock, durability=settings.store.durability)

    async def serve(self, sock: socket.socket, until: Callable[[], Awaitable[None]]) -> None:
        """Serve on a bound socket until `until` returns.

        Raises: StartupError, StoreCorrupt: the store cannot be opened. ConfigurationError: a declared thing is
            refused.
        """
        self.store.open()
        try:
            await self._set_clock()
            await self._live(sock, until)
        finally:
            with anyio.CancelScope(shield=True):
                await self.store.close()
        _LOG.info("daemon.stopped")

    async def _live(self, sock: socket.socket, until: Callable[[], Awaitable[None]]) -> None:
        settings = self.settings
        packages = Packages(self.directory, is_power_safe=settings.store.durability == "power", clock=self.clock)
        logs = FunctionLogs(self.directory / "logs", max_bytes=settings.log.function_bytes)
        await reconcile(settings, self.store, packages)
        transitions = Transitions(self.store, packages)
        self.aws = AwsDoor(
            [
                SqsService(self.store, self.clock, recreation_wait_s=settings.sqs.recreation_wait_s),
                *lambda_.services(self.store, packages, None),
                IamService(self.store),
            ],
        )
        self.control = Control(self)
        async with _running([transitions.run]), _running([self._server(sock).run]):
            self._tell_ready(sock)
            async with anyio.create_task_group() as watchdog:
                watchdog.start_soon(sdnotify.feed_watchdog)
                await until()
                watchdog.cancel_scope.cancel()
            sdnotify.notify("STOPPING=1")

    async def _set_clock(self) -> None:
        """Go on from the last moment that was seen, so that a wall clock set back strands nothing."""

    def _server(self, sock: socket.socket) -> HttpServer:
        """Return the one port, on a bound socket."""
        server = self.settings.server
        return HttpServer(
            self._answer,
            server.host,
            server.port,
            sock=sock,
            guard=Guard((server.host, *server.allowed_hosts)),
            connection_limit=server.max_connections,
            idle_timeout_s=server.idle_timeout_s,
            grace_s=self.settings.runtime.stop_grace_s,
        )

    async def _answer(self, request: Request) -> Response:
        """Answer one request of the port: a control path, or the AWS door's."""
        if self.control.serves(request.path):
            return await self.control.handle(request)
        return await self.aws.handle(request)

    def _tell_ready(self, sock: socket.socket) -> None:
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not look at it again
        url = url_of(sock)
        _LOG.info(
            "daemon.started",
            url=url,
            version=__version__,
            data_dir=str(self.directory),
            durability=self.settings.store.durability,
            auth=self.settings.auth.mode,
            pid=os.getpid(),
        )
        sdnotify.notify("READY=1", f"STATUS=serving on {url}")


def url_of(sock: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def _running(runs: Sequence[Run]) -> AsyncIterator[None]:
    """Have rooms running for the length of a block: started in order, cancelled together at its end."""
    async with anyio.create_task_group() as group:
        for run in runs:
            await group.start(run)
        yield
        group.cancel_scope.cancel()
