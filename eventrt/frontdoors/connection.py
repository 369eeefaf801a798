"""One client's connection: requests in with httptools' parser (llhttp), answers out, one after the other.

The parser calls back from `data_received`; a task of the server's group answers. Between the two stands a short
queue, since clients may send their next requests before they have read the last answer. Nothing is scheduled per
request: one timer per connection looks after idle clients and heads that never end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import anyio
import structlog
from anyio.abc import TaskGroup
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from eventrt.frontdoors import answers
from eventrt.frontdoors.bodies import Body, Pace
from eventrt.frontdoors.guard import Guard
from eventrt.http import BodyBroken, BodyTooLarge, Handler, Request, Response

log = structlog.get_logger("eventrt.frontdoors.server")

MAX_HEADERS = 256
PIPELINE_LIMIT = 16
"""A client that has sent so many requests ahead of their answers is asked to hold back."""

LINGER_S = 2.0
"""How long a client may take to read an answer that came before its request was whole, or to stop sending."""

_ONE_WRITE_BYTES = 64 * 1024
_NAMES: dict[bytes, str] = {}
"""Header names as clients write them, in lower case."""
_METHODS: dict[bytes, str] = {}


@dataclass(slots=True)
class Terms:
    """What all connections of a server share: who answers, what a client may hold, and whether the end is near."""

    handler: Handler
    guard: Guard | None
    pace: Pace
    idle_timeout_s: float
    max_header_bytes: int
    date: answers.DateLine = field(default_factory=answers.DateLine)
    connections: "set[Connection]" = field(default_factory=set)
    lets_page_in: Callable[[Request], Awaitable[bool]] | None = None
    """Does what a page of another site asks for let it in, though the guard refuses it?"""
    is_stopping: bool = False
    when_empty: Callable[[], None] = lambda: None
    """Called when the last connection has ended."""


class _Unspeakable(Exception):  # noqa: N818 - ends the parsing
    """A head that is longer than a head may be, of an unknown version, or that does not say which host it means."""


@dataclass(slots=True)
class _Ask:
    """One request whose head has been read."""

    method: str
    target: str
    headers: dict[str, str]
    body: Body
    keeps_alive: bool
    is_http_1_0: bool


class Connection(asyncio.Protocol):
    """Serves one client until it goes, errs, idles too long, or the server stops."""

    def __init__(self, terms: Terms, group: TaskGroup) -> None:
        self._terms = terms
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._remote = ""
        self._scope = anyio.CancelScope()
        # The request that is being read.
        self._target = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._reads_head = False
        self._body: Body | None = None
        self._unframed = 0
        """So many bytes of a body follow that the parser leaves to us (see `_upgrade`)."""
        # The requests that wait for their answers.
        self._asks: deque[_Ask] = deque()
        self._is_broken = False
        """What came last was not HTTP: it is told so after the answers to what was."""
        self._is_over = False
        """No further request is read."""
        self._wake: asyncio.Future[None] | None = None
        self._idle_since = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._may_read = True
        self._may_write = asyncio.Event()
        self._may_write.set()

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none, and does as one does
        peer = transport.get_extra_info("peername")
        self._remote = peer[0] if isinstance(peer, tuple) else str(peer or "")
        self._terms.connections.add(self)
        self._watch = self._loop.call_later(self._terms.idle_timeout_s, self._look_after)
        self._group.start_soon(self._live)

    def data_received(self, data: bytes) -> None:
        """Parse what came; wake the task when a request is there."""
        if self._is_over:
            return
        continues_head = self._reads_head
        try:
            if self._unframed:
                data = self._take_unframed(data)
            self._feed(data)
            if continues_head and self._reads_head:
                self._count(len(data))
        except (HttpParserError, _Unspeakable):
            self._break()
        if len(self._asks) > PIPELINE_LIMIT:
            self._hold_back(True)
        if self._wake is not None and (self._asks or self._is_broken):
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is being done for the client."""
        self._is_over = True
        if self._watch is not None:
            self._watch.cancel()
        if self._body is not None:
            self._body.fail(BodyBroken("the client has gone", status=400))
        self._may_write.set()
        self._scope.cancel()
        self._terms.connections.discard(self)
        if not self._terms.connections:
            self._terms.when_empty()

    def pause_writing(self) -> None:
        """Take note that the client does not read as fast as we write."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Take note that it has caught up."""
        self._may_write.set()

    # -- what the parser calls

    def on_message_begin(self) -> None:
        """A head begins."""
        self._target = b""
        self._headers = {}
        self._head_bytes = 0
        self._reads_head = True

    def on_url(self, part: bytes) -> None:
        """A part of the request's target came."""
        self._count(len(part))
        self._target += part

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """A header came, or a trailer: those are not for us."""
        self._count(len(raw_name) + len(raw_value))
        if not self._reads_head:
            return
        name = _NAMES.get(raw_name)
        if name is None:
            name = raw_name.decode("latin-1").lower()
            if len(_NAMES) < 1024 and len(name) <= 64:  # names are the callers' words: keep few, and no long ones
                _NAMES[raw_name] = name
        value = raw_value.decode("utf-8", "replace")
        headers = self._headers
        if name in headers:
            if name == "host":
                raise _Unspeakable
            value = f"{headers[name]},{value}"
        headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is whole: a request is there, its body may still be on its way."""
        headers, parser = self._headers, self._parser
        if len(headers) > MAX_HEADERS:
            raise _Unspeakable
        self._reads_head = False
        self._head_bytes = 0
        raw_method = parser.get_method()
        method = _METHODS.get(raw_method)
        if method is None:
            method = _METHODS[raw_method] = raw_method.decode("ascii")
        version = parser.get_http_version()
        is_http_1_0 = version == "1.0"
        if not is_http_1_0 and (version != "1.1" or "host" not in headers):
            raise _Unspeakable
        waits = "expect" in headers and headers["expect"].lower() == "100-continue" and not is_http_1_0
        self._body = Body(
            self._terms.pace,
            headers.get("content-length", ""),
            self._hold_back,
            self._continue if waits else None,
        )
        target = self._target.decode("utf-8", "surrogateescape")
        self._asks.append(_Ask(method, target, headers, self._body, parser.should_keep_alive(), is_http_1_0))

    def on_body(self, piece: bytes) -> None:
        """A piece of the body came."""
        assert self._body is not None
        self._body.feed(piece)

    def on_message_complete(self) -> None:
        """The request is whole."""
        assert self._body is not None
        if self._parser.should_upgrade():
            return  # the body, if there is one, follows: `_upgrade`
        self._body.complete()

    # -- reading

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except HttpParserUpgrade as upgrade:
                data = self._upgrade(data[upgrade.args[0] :])

    def _upgrade(self, rest: bytes) -> bytes:
        """Go on in HTTP/1.1 with a client that offered another protocol; return what follows its request.

        The parser takes all that comes after the head for the other protocol's. It is the request's body.
        """
        ask = self._asks[-1]
        if "transfer-encoding" in ask.headers or ask.method == "CONNECT":
            raise _Unspeakable
        self._unframed = int(ask.headers.get("content-length", "0"))
        return self._take_unframed(rest)

    def _take_unframed(self, data: bytes) -> bytes:
        """Take of a body what the parser leaves to us; return what follows it."""
        assert self._body is not None
        piece, rest = data[: self._unframed], data[self._unframed :]
        self._unframed -= len(piece)
        if piece:
            self._body.feed(piece)
        if not self._unframed:
            self._body.complete()
        return rest

    def _count(self, size: int) -> None:
        """Count what a head or the trailers take."""
        self._head_bytes += size
        if self._head_bytes > self._terms.max_header_bytes:
            raise _Unspeakable

    def _break(self) -> None:
        """Read no more: what came is not HTTP, or more of it than may be."""
        self._is_over = True
        if self._body is not None and not self._body.is_complete:
            self._body.fail(BodyBroken("the request body is broken", status=400))
        else:
            self._is_broken = True

    def _hold_back(self, is_full: bool) -> None:
        if self._may_read is is_full and not self._transport.is_closing():
            self._may_read = not is_full
            if is_full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _continue(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(answers.CONTINUE)

    # -- answering

    async def _live(self) -> None:
        """Answer one request after the other until there is an end."""
        try:
            with self._scope:
                while (ask := await self._next()) is not None and await self._answer(ask):
                    pass
                return
        except Exception:
            log.exception("connection.failed", remote=self._remote)
        except BaseException:
            self._transport.abort()  # cut off by the end of the grace
            raise
        finally:
            self._end()

    async def _next(self) -> _Ask | None:
        """Return the next request; None when there will be none."""
        if not self._asks:
            if self._is_broken:
                self._transport.write(answers.NOT_HTTP)
            if self._is_over or self._terms.is_stopping:
                return None
            self._idle_since = self._loop.time()
            self._wake = self._loop.create_future()
            await self._wake
            return await self._next() if not self._asks else self._asks.popleft()
        ask = self._asks.popleft()
        if not self._may_read and len(self._asks) <= PIPELINE_LIMIT:
            self._hold_back(False)
        return ask

    def _go_on(self) -> None:
        """Wake the task that waits for a request."""
        if self._wake is not None:
            if not self._wake.done():
                self._wake.set_result(None)
            self._wake = None

    async def _answer(self, ask: _Ask) -> bool:
        """Answer a request; return whether the connection may serve another."""
        terms, body = self._terms, ask.body
        path, _, query = ask.target.partition("?")
        if path[:1] != "/" and "://" in path:  # absolute form: `GET http://host/path`
            authority, _, path = path.partition("://")[2].partition("/")
            path = f"/{path}"
            ask.headers["host"] = authority.rpartition("@")[2]  # it counts, whatever the header says
        request = Request(
            ask.method,
            path,
            query.partition("#")[0] if query else "",
            ask.headers,
            self._remote,
            body.read,
            body.stream,
            self._transport.is_closing,
        )
        response = terms.guard.refusal(request) if terms.guard is not None else None
        if response is not None and terms.guard is not None and terms.lets_page_in is not None:
            is_let_in = terms.guard.is_by_own_name(request) and await terms.lets_page_in(request)
            response = None if is_let_in else response
        if response is None:
            try:
                response = await terms.handler(request)
            except BodyBroken as error:
                response = Response(error.status, {"Content-Type": "text/plain"}, f"{error}\n".encode())
            except BodyTooLarge as error:
                response = Response(413, {"Content-Type": "text/plain"}, f"{error}\n".encode())
            except Exception:
                log.exception("request.failed", path=path)
                response = Response(500, {"Content-Type": "text/plain"}, b"internal error\n")
            finally:
                if body.held_bytes:
                    body.give_back()
        is_http_1_0 = ask.is_http_1_0
        closes = (
            not ask.keeps_alive
            or terms.is_stopping
            or not body.is_complete
            or body.is_broken
            or answers.ends_with_connection(response, is_http_1_0=is_http_1_0)
        )
        head = answers.head_of(response, terms.date.text(), closes=closes, is_http_1_0=is_http_1_0)
        if self._transport.is_closing():
            if (close := getattr(response.stream, "aclose", None)) is not None:
                await close()
            return False
        if response.stream is not None:
            await self._send_stream(head, response, ask)
        else:
            await self._send_whole(head, response, ask)
        if closes:
            await self._linger(body)
        return not closes

    async def _send_whole(self, head: bytes, response: Response, ask: _Ask) -> None:
        """Write an answer whose body is at hand."""
        if not answers.has_body(response, ask.method):
            self._transport.write(head)
        elif len(response.body) <= _ONE_WRITE_BYTES:
            self._transport.write(head + response.body)
        else:
            self._transport.writelines((head, response.body))
        if not self._may_write.is_set():
            await self._drained()

    async def _send_stream(self, head: bytes, response: Response, ask: _Ask) -> None:
        """Write the head, then every chunk as it comes; a stream that breaks breaks the connection with it."""
        stream, transport = response.stream, self._transport
        assert stream is not None
        is_chunked = answers.is_chunked(response, is_http_1_0=ask.is_http_1_0)
        try:
            transport.write(head)
            if not answers.has_body(response, ask.method):
                return
            async for chunk in stream:
                if transport.is_closing():
                    return  # the client has left
                if chunk:
                    transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk)
                    await self._drained()
            if is_chunked and not transport.is_closing():
                transport.write(answers.LAST_CHUNK)
        except BaseException:
            transport.abort()  # half a body must not look whole
            raise
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    async def _drained(self) -> None:
        """Wait until the client has read enough; one that reads nothing for too long is cut off."""
        while not self._may_write.is_set():
            left = self._transport.get_write_buffer_size()
            with anyio.move_on_after(self._terms.pace.stall_s):
                await self._may_write.wait()
            if not self._may_write.is_set() and self._transport.get_write_buffer_size() >= left:
                self._transport.abort()
                return

    # -- ending

    async def _linger(self, body: Body) -> None:
        """Let a client that still sends read its answer first: a close now would take it away from it."""
        self._is_over = body.is_complete
        if not body.is_complete and not self._transport.is_closing():
            body.drop()
            if self._transport.can_write_eof():
                self._transport.write_eof()
            with anyio.move_on_after(min(LINGER_S, self._terms.pace.stall_s)):
                while not body.is_complete and not body.is_broken:
                    await body.arrival()

    def _end(self) -> None:
        """Close; what was written is still sent, to a client that reads it."""
        self._is_over = True
        self._transport.close()
        if self._watch is not None:
            self._watch.cancel()
            if self._transport.get_write_buffer_size():
                self._watch = self._loop.call_later(self._terms.pace.stall_s, self._transport.abort)

    def _look_after(self) -> None:
        """End the connection if no request came for too long; else look again when that may be."""
        timeout_s = self._terms.idle_timeout_s
        idle_s = self._loop.time() - self._idle_since if self._wake is not None else 0.0
        if idle_s >= timeout_s - 0.001:
            self.stop()
        else:
            self._watch = self._loop.call_later(timeout_s - idle_s, self._look_after)

    def stop(self) -> None:
        """End after the answer to the request that is being served; at once when there is none.

        The rest of a request that is not whole is not waited for.
        """
        if self._wake is not None:
            self._is_over = True
            self._go_on()
        elif self._body is not None:
            self._body.fail(BodyBroken("the daemon is stopping", status=503))


class Refused(asyncio.Protocol):
    """One connection too many: told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer 503 before anything is read."""
        cast(asyncio.Transport, transport).write(answers.BUSY)
        transport.close()
