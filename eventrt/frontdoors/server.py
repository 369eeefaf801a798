"""The one port: HTTP/1.1 with aiohttp's low-level server around an `http.Handler`.

It turns requests into `http.Request` and writes `http.Response` back, whole bodies in one write. It bounds what a
client may hold: connections, header sizes, idle and slow connections, unread answers. It knows nothing of AWS;
aiohttp is imported here and nowhere else on the server side.
"""

import asyncio
import http
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from typing import Any

import anyio
import structlog
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from aiohttp.web_server import Server
from anyio.abc import TaskStatus

from eventrt.errors import StartupError
from eventrt.frontdoors.guard import Guard
from eventrt.http import BodyBroken, BodyTooLarge, Handler, Request, Response

log = structlog.get_logger(__name__)

EX_UNAVAILABLE = 69
BACKLOG = 1024

_CANCEL_S = 0.05
"""How long a handler that outlived the grace has to take note of its cancellation."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
_REASONS = {status.value: status.phrase for status in http.HTTPStatus}
_STATUS_LINES = {code: f"HTTP/1.1 {code} {phrase}\r\n" for code, phrase in _REASONS.items()}
_NAMES: dict[bytes, str] = {}
"""Header names as clients write them, in lower case."""
_BODILESS = frozenset({204, 304})


class HttpServer:
    """Serves one `Handler` on one socket until cancelled, then finishes what runs.

    Args:
        handler: answers every request.
        host, port: where to listen; port 0 lets the system choose.
        sock: a bound socket instead (socket activation, or bound before anything else starts).
        guard: refuses foreign hosts and web pages; None lets everybody in.
        connection_limit: further connections get 503 and are closed.
        idle_timeout_s: a connection without a (complete) request head is closed after so long.
        stall_timeout_s: a body, or a client's reading, that does not move for so long is given up.
        body_room_bytes: how much of large bodies is held in memory at once, over all requests; further ones get 503.
        min_body_rate: bytes per second a body must reach on the whole, after the first `stall_timeout_s`.
        grace_s: how long running requests may take to finish when the server stops.
    """

    def __init__(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 4566,
        *,
        sock: socket.socket | None = None,
        guard: Guard | None = None,
        connection_limit: int = 4096,
        idle_timeout_s: float = 75.0,
        stall_timeout_s: float = 20.0,
        min_body_rate: int = 16 * 1024,
        body_room_bytes: int = 1024 * 1024 * 1024,
        max_header_bytes: int = 32 * 1024,
        grace_s: float = 10.0,
    ) -> None:
        self._handler = handler
        self._host, self._port, self._sock = host, port, sock
        self._guard = guard
        self._connection_limit = connection_limit
        self._idle_timeout_s = idle_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._min_body_rate = min_body_rate
        self._max_header_bytes = max_header_bytes
        self._room = _Room(body_room_bytes)
        self._grace_s = grace_s
        self._date = _DateLine()
        self._web: Server | None = None
        self._is_stopping = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._web.connections) if self._web is not None else 0

    async def run(self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
        """Listen, report the port, serve until cancelled; then finish running requests within the grace.

        Raises: StartupError: the address is taken, or not this machine's.
        """
        loop = asyncio.get_running_loop()
        self._web = Server(
            self._serve,
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=self._idle_timeout_s,
            lingering_time=min(2.0, self._stall_timeout_s),
            max_line_size=self._max_header_bytes,
            max_field_size=self._max_header_bytes,
            max_headers=256,
            auto_decompress=False,
            logger=_Log(),
        )
        try:
            if self._sock is not None:
                listener = await loop.create_server(self._connect, sock=self._sock, backlog=BACKLOG)
            else:
                listener = await loop.create_server(self._connect, self._host, self._port, backlog=BACKLOG)
        except OSError as error:
            raise StartupError(
                f"cannot listen on {self._host}:{self._port}: {error.strerror or error}; stop what listens there, or "
                f"choose another --port",
                exit_code=EX_UNAVAILABLE,
            ) from error
        try:
            task_status.started(listener.sockets[0].getsockname()[1])
            await anyio.sleep_forever()
        finally:
            listener.close()
            with anyio.CancelScope(shield=True):
                await self._drain(self._web)

    async def _drain(self, server: Server) -> None:
        """Close idle connections, let running requests finish within the grace, then close what is left."""
        self._is_stopping = True
        server.pre_shutdown()
        # From here on aiohttp drops what still arrives: whoever waits for the rest of a body waits in vain.
        for protocol in server.connections:
            if protocol._current_request is not None:
                _end_reading(protocol._current_request)
        # aiohttp takes its timeout twice, for handlers to end and again after it has cancelled their reading: the
        # grace is ours to keep.
        with anyio.move_on_after(self._grace_s):
            await server.shutdown(self._grace_s)
        await server.shutdown(_CANCEL_S)

    def _connect(self) -> asyncio.Protocol:
        server = self._web
        if server is None or len(server._connections) >= self._connection_limit:
            return _Refused()
        return server()

    async def _serve(self, raw: BaseRequest) -> "_Whole | _Streamed":
        if self._is_stopping:
            _end_reading(raw)
        body = _Body(raw, self._room, self._stall_timeout_s, self._min_body_rate)
        message = raw._message
        path, _, query = message.path.partition("?")
        if not path.startswith("/"):  # absolute form: `GET http://host/path`
            path = "/" + path.partition("://")[2].partition("/")[2] if "://" in path else path
        peer = raw._transport_peername
        request = Request(
            method=message.method,
            path=path,
            query=query.partition("#")[0],
            headers=_headers_of(message.raw_headers),
            remote=peer[0] if isinstance(peer, tuple) else str(peer or ""),
            read_body=body.read,
            stream_body=body.stream,
            is_disconnected=body.is_disconnected,
        )
        response = self._guard.refusal(request) if self._guard is not None else None
        if response is None:
            try:
                response = await self._handler(request)
            except BodyBroken as error:
                response = Response(error.status, {"Content-Type": "text/plain"}, f"{error}\n".encode())
            except BodyTooLarge as error:
                response = Response(413, {"Content-Type": "text/plain"}, f"{error}\n".encode())
            finally:
                if body.held_bytes:
                    self._room.free_bytes += body.held_bytes
        closes = message.should_close or not body.may_continue
        head = self._head(response, closes, message.version)
        if response.stream is None:
            return _Whole(head, response, raw.method == "HEAD", closes, self._stall_timeout_s)
        is_chunked = not _has_length(response.headers) and message.version >= (1, 1)
        closes = closes or not (is_chunked or _has_length(response.headers))
        return _Streamed(head, response, is_chunked, raw.method == "HEAD", closes, self._stall_timeout_s)

    def _head(self, response: Response, closes: bool, version: Any) -> str:
        """Return status line and headers, without the empty line that ends them."""
        status = response.status
        head = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
        for name, value in response.headers.items():
            head += f"{name}: {_one_line(value)}\r\n"
        head += self._date.text()
        if response.stream is not None:
            if not _has_length(response.headers):
                if version >= (1, 1):
                    head += "Transfer-Encoding: chunked\r\n"
                else:
                    closes = True
        elif status not in _BODILESS and not _has_length(response.headers):
            head += f"Content-Length: {len(response.body)}\r\n"
        if closes:
            return head + "Connection: close\r\n"
        return head + "Connection: keep-alive\r\n" if version < (1, 1) else head


def _end_reading(raw: BaseRequest) -> None:
    """Let the reading of a body that is not there whole fail: no more of it will come."""
    if not raw._payload.is_eof():
        raw._payload.set_exception(BodyBroken("the daemon is stopping", status=503))


class _DateLine:
    """The `Date` header, made anew once a second."""

    def __init__(self) -> None:
        self._second, self._line = 0, ""

    def text(self) -> str:
        """Return `Date: ...` with its line end."""
        second = int(time.time())
        if second != self._second:
            self._second, self._line = second, f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def _one_line(value: str) -> str:
    """Return a header's value on one line: what a handler was given may not become a header of its own."""
    if "\r" in value or "\n" in value or "\x00" in value:
        return value.replace("\r", " ").replace("\n", " ").replace("\x00", " ")
    return value


def _has_length(headers: Mapping[str, str]) -> bool:
    return "Content-Length" in headers or "content-length" in headers


def _headers_of(raw_headers: tuple[tuple[bytes, bytes], ...]) -> dict[str, str]:
    """Return headers with lower-case names; repeated ones are joined with a comma."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name = _NAMES.get(raw_name)
        if name is None:
            name = raw_name.decode("latin-1").lower()
            if len(_NAMES) < 1024 and len(name) <= 64:  # names are the callers' words: keep few, and no long ones
                _NAMES[raw_name] = name
        value = raw_value.decode("utf-8", "replace")
        if name in headers:
            headers[name] += f",{value}"
        else:
            headers[name] = value
    return headers


class _Room:
    """The memory that large bodies may take, over all requests."""

    __slots__ = ("free_bytes",)

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes


class _Body:
    """The body of one request: read whole or in pieces, within bounds of size, time and room."""

    __slots__ = ("_is_broken", "_is_waiting", "_min_rate", "_raw", "_room", "_stall_s", "held_bytes")

    def __init__(self, raw: BaseRequest, room: _Room, stall_timeout_s: float, min_rate: int) -> None:
        self._raw = raw
        self._room = room
        self.held_bytes = 0
        self._stall_s = stall_timeout_s
        self._min_rate = min_rate
        self._is_broken = False
        # Waiting for "100 Continue"? Only HTTP/1.1 clients know it.
        self._is_waiting: bool | None = None

    @property
    def may_continue(self) -> bool:
        """May the connection serve another request? Not when a body that was announced was never asked for."""
        if self._is_broken:
            return False
        return self._is_waiting is False or self._raw._payload.is_eof() or not self._expects()

    def is_disconnected(self) -> bool:
        """Has the client gone?"""
        transport = self._raw._protocol.transport
        return transport is None or transport.is_closing()

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises: BodyTooLarge: it is longer than the limit, or says that it will be.
        """
        payload = self._raw._payload
        if payload.is_eof() and payload.total_bytes <= limit_bytes:  # nothing more will come: the usual case
            data = payload.read_nowait(-1)
            if len(data) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            return data
        announced = self._raw._message.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            if len(piece) > self._room.free_bytes:
                self._is_broken = True
                raise BodyBroken("large requests of others fill the memory there is for them", status=503)
            self._room.free_bytes -= len(piece)
            self.held_bytes += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive.

        Raises: BodyBroken: they come too slowly, or not in the framing that was announced.
        """
        self._continue()
        payload = self._raw._payload
        loop = asyncio.get_running_loop()
        started, size = loop.time(), 0
        while True:
            if payload.at_eof():
                return
            try:
                async with asyncio.timeout(self._stall_s):
                    piece = await payload.readany()
            except TimeoutError:
                raise self._too_slow() from None
            except (RequestPayloadError, HttpProcessingError, ClientPayloadError) as error:
                raise BodyBroken("the request body is broken", status=400) from error
            if not piece:
                if payload.at_eof():
                    return
                continue
            size += len(piece)
            if loop.time() - started > self._stall_s + size / self._min_rate:
                raise self._too_slow()
            yield piece

    def _too_slow(self) -> BodyBroken:
        self._is_broken = True
        return BodyBroken("the request body came too slowly", status=408)

    def _expects(self) -> bool:
        expect = self._raw._message.headers.get("Expect")
        return expect is not None and expect.lower() == "100-continue" and self._raw.version >= (1, 1)

    def _continue(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self._is_waiting is None and self._expects():
            transport = self._raw._protocol.transport
            if transport is not None and not self._raw._payload.is_eof():
                transport.write(_CONTINUE)
        self._is_waiting = False


class _Answer(StreamResponse):
    """What aiohttp needs of a response; ours writes to the transport itself."""

    def __init__(self, head: str, response: Response, is_head: bool, closes: bool, stall_s: float) -> None:
        # StreamResponse's own state (headers, cookies, compression) is never used, so it is not built.
        self._text = head
        self._answer = response
        self._is_head = is_head
        self._closes = closes
        self._stall_s = stall_s

    @property
    def keep_alive(self) -> bool | None:
        """May the connection serve another request?"""
        return not self._closes

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has written everything."""

    async def _drained(self, protocol: RequestHandler) -> None:
        """Wait until the client has read enough; a client that does not is cut off."""
        if not protocol._paused:
            return
        try:
            async with asyncio.timeout(self._stall_s):
                await protocol._drain_helper()
        except TimeoutError:
            if protocol.transport is not None:
                protocol.transport.abort()
            raise ConnectionResetError("the client does not read its answer") from None


class _Whole(_Answer):
    """A response whose body is at hand: one write."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the whole response."""
        protocol = request._protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        answer = self._answer
        head = (self._text + "\r\n").encode("utf-8")
        if self._is_head or answer.status in _BODILESS:
            transport.write(head)
        else:
            transport.write(head + answer.body)
        await self._drained(protocol)
        return None


class _Streamed(_Answer):
    """A response whose body comes in chunks."""

    def __init__(
        self, head: str, response: Response, is_chunked: bool, is_head: bool, closes: bool, stall_s: float
    ) -> None:
        super().__init__(head, response, is_head, closes, stall_s)
        self._is_chunked = is_chunked

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Write the head, then every chunk as it comes; a stream that breaks breaks the connection with it."""
        protocol = request._protocol
        transport = protocol.transport
        stream = self._answer.stream
        if stream is None or transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write((self._text + "\r\n").encode("utf-8"))
        if self._is_head:
            return None
        try:
            async for chunk in stream:
                if not chunk:
                    continue
                if transport.is_closing():
                    raise ConnectionResetError("the client has gone")
                transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._is_chunked else chunk)
                await self._drained(protocol)
        except BaseException:
            transport.abort()  # half a body must not look whole
            raise
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if self._is_chunked:
            transport.write(b"0\r\n\r\n")
        return None


class _Refused(asyncio.Protocol):
    """One connection too many: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer 503 before anything is read."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(_BUSY)
        transport.close()


class _Log(logging.Logger):
    """aiohttp's log lines as ours: clients that speak no HTTP are not our trouble, everything else is."""

    def __init__(self) -> None:
        super().__init__("eventrt.frontdoors.server", level=logging.WARNING)

    def exception(self, msg: object, *args: Any, exc_info: Any = True, **kwargs: Any) -> None:
        """Log a failure of a connection, unless the client's bytes were the failure."""
        if not isinstance(exc_info, HttpProcessingError):
            log.error("connection.failed", reason=str(msg), exc_info=exc_info)
