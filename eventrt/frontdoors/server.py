"""The one port: HTTP/1.1 around an `http.Handler`.

It listens, bounds what clients may hold (connections, header sizes, idle and slow connections, unread answers), and
stops within a grace. How one client is served is in `connection`; why this is not a web framework's server is in
docs/decisions/0002-http-edge.md. It knows nothing of AWS.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup, TaskStatus

from eventrt.errors import StartupError
from eventrt.frontdoors.bodies import Pace, Room
from eventrt.frontdoors.connection import Connection, Refused, Terms
from eventrt.frontdoors.guard import Guard
from eventrt.http import Handler, Request

EX_UNAVAILABLE = 69
LAST_ANSWERS_S = 1.0
"""How long after the grace the last answers may take to be sent: by then whoever works on them has been ended."""

BACKLOG = 1024


class HttpServer:
    """Serves one `Handler` on one socket until cancelled, then finishes what runs.

    Args:
        handler: answers every request.
        host, port: where to listen; port 0 lets the system choose.
        sock: a bound socket instead (socket activation, or bound before anything else starts).
        guard: refuses foreign hosts and web pages; None lets everybody in.
        lets_page_in: is asked about pages of other sites that the guard refuses: does what they ask for let them in?
        connection_limit: further connections get 503 and are closed.
        idle_timeout_s: a connection without a (complete) request head is closed after so long.
        stall_timeout_s: a body, or a client's reading, that does not move for so long is given up.
        body_room_bytes: how much of large bodies is held in memory at once, over all requests; further ones get 503.
        min_body_rate: bytes per second a body must reach on the whole, after the first `stall_timeout_s`; 0 for none.
        grace_s: how long running requests may take to finish when the server stops; `hurry` cuts it short.
    """

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 4566,
        *,
        sock: socket.socket | None = None,
        guard: Guard | None = None,
        lets_page_in: Callable[[Request], Awaitable[bool]] | None = None,
        connection_limit: int = 4096,
        idle_timeout_s: float = 75.0,
        stall_timeout_s: float = 20.0,
        min_body_rate: int = 16 * 1024,
        body_room_bytes: int = 1024 * 1024 * 1024,
        max_header_bytes: int = 32 * 1024,
        grace_s: float = 10.0,
    ) -> None:
        self._host, self._port, self._sock = host, port, sock
        self._connection_limit = connection_limit
        self._grace_s = grace_s
        self._hurried = anyio.Event()
        self._room = Room(body_room_bytes)
        self._terms = Terms(
            handler,
            guard,
            Pace(self._room, stall_timeout_s, min_body_rate),
            idle_timeout_s=idle_timeout_s,
            max_header_bytes=max_header_bytes,
            lets_page_in=lets_page_in,
        )

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._terms.connections)

    async def run(self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen, report the port, serve until cancelled; then finish running requests within the grace.

        Raises: StartupError: the address is taken, or not this machine's.
        """
        stopping = anyio.Event()
        failure: StartupError | None = None
        async with anyio.create_task_group() as group:
            clients: TaskGroup = await group.start(self._host_clients, stopping)
            listener: asyncio.Server | None = None
            try:
                listener = await self._listen(clients)
                task_status.started(listener.sockets[0].getsockname()[1])
                await anyio.sleep_forever()
            except StartupError as error:
                failure = error  # raised outside of the group, which would wrap it
            finally:
                if listener is not None:
                    listener.close()
                stopping.set()
        if failure is not None:
            raise failure

    def hurry(self) -> None:
        """Cut the grace short: what can be answered now is answered, nothing else is waited for."""
        self._hurried.set()

    async def _listen(self, clients: TaskGroup) -> asyncio.Server:
        def connect() -> asyncio.Protocol:
            if self._terms.is_stopping or len(self._terms.connections) >= self._connection_limit:
                return Refused()
            return Connection(self._terms, clients)

        loop = asyncio.get_running_loop()
        try:
            if self._sock is not None:
                return await loop.create_server(connect, sock=self._sock, backlog=BACKLOG)
            return await loop.create_server(connect, self._host, self._port, backlog=BACKLOG)
        except OSError as error:
            raise StartupError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}; stop what listens there, or "
                f"choose another --port",
                exit_code=EX_UNAVAILABLE,
            ) from error

    async def _host_clients(self, stopping: anyio.Event, *, task_status: TaskStatus[TaskGroup]) -> None:
        """Have a group for the tasks of connections; it outlives the server's cancellation by the grace."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as clients:
                task_status.started(clients)
                await stopping.wait()
                await self._drain()
                clients.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Close idle connections, let running requests finish within the grace, and send the last answers."""
        terms, empty = self._terms, anyio.Event()
        terms.is_stopping = True
        terms.when_empty = empty.set
        for connection in tuple(terms.connections):
            connection.stop()
        if terms.connections:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(self._end_of_grace, waiting.cancel_scope)
                await empty.wait()
                waiting.cancel_scope.cancel()

    async def _end_of_grace(self, waiting: anyio.CancelScope) -> None:
        with anyio.move_on_after(self._grace_s):
            await self._hurried.wait()
        await anyio.sleep(LAST_ANSWERS_S)
        waiting.cancel()
