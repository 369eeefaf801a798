"""The one port, on a real socket: HTTP as clients speak it, and as they should not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from eventrt.errors import StartupError
from eventrt.frontdoors.guard import Guard
from eventrt.frontdoors.server import HttpServer
from eventrt.http import Handler, Request, Response
from tests.running import PATIENCE_S


async def echo(request: Request) -> Response:
    body = await request.read_body(1000)
    return Response(200, {"X-Method": request.method, "X-Path": request.path, "X-Query": request.query}, body)


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator["Port"]:
    server = HttpServer(handler, "127.0.0.1", 0, **{"grace_s": 2.0, **options})
    async with anyio.create_task_group() as group:
        port = Port(await group.start(server.run), server, group.cancel_scope)
        try:
            yield port
        finally:
            group.cancel_scope.cancel()
            for connection in port.connections:
                connection.close()


class Port:
    def __init__(self, number: int, server: HttpServer, scope: anyio.CancelScope) -> None:
        self.number = number
        self.server = server
        self.scope = scope
        self.connections: list[Connection] = []

    async def connect(self) -> "Connection":
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.number))
        self.connections.append(connection)
        return connection

    async def ask(self, text: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = await self.connect()
        try:
            connection.send(text)
            return await connection.answer()
        finally:
            connection.close()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    async def head(self) -> tuple[int, dict[str, str]]:
        status_line = await self.reader.readline()
        headers = {}
        while (line := (await self.reader.readline()).strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status_line.split()[1]), headers

    async def answer(self, *, is_head: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        if is_head or status == 204:
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
            return status, headers, body
        if "content-length" in headers:
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))
        return status, headers, await self.reader.read()

    async def is_closed(self) -> bool:
        with anyio.fail_after(PATIENCE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


GET = b"GET /a%20b?x=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(body: bytes, *headers: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("Host: localhost", f"Content-Length: {len(body)}", *headers))
    return f"POST / HTTP/1.1\r\n{head}\r\n".encode() + body


async def test_a_request_reaches_the_handler_raw() -> None:
    async with serving(echo) as port:
        status, headers, body = await port.ask(post(b"hello"))
        assert (status, body, headers["x-method"]) == (200, b"hello", "POST")
        assert "date" in headers
        _, headers, _ = await port.ask(GET)
        assert (headers["x-path"], headers["x-query"]) == ("/a%20b", "x=1")
        _, headers, _ = await port.ask(b"GET http://localhost/p?q HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (headers["x-path"], headers["x-query"]) == ("/p", "q")


async def test_the_host_of_a_full_address_counts_whatever_the_header_says() -> None:
    async def host(request: Request) -> Response:
        return Response(body=request.headers.get("host", "none").encode())

    async with serving(host, guard=Guard()) as port:
        ask = "GET {}/p HTTP/1.1\r\nHost: localhost:1\r\n\r\n".format
        assert (await port.ask(ask("http://localhost:2").encode()))[::2] == (200, b"localhost:2")
        assert (await port.ask(ask("http://me@evil.example").encode()))[0] == 403
        assert (await port.ask(b"GET /p HTTP/1.0\r\n\r\n"))[::2] == (200, b"none")


async def test_header_names_are_lower_case_and_repeated_ones_joined() -> None:
    async def show(request: Request) -> Response:
        return Response(body=repr((request.headers["x-a"], request.headers["x-utf"], request.remote)).encode())

    async with serving(show) as port:
        text = "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nx-a: 2\r\nX-Utf: \u00e9\r\n\r\n".encode()
        assert (await port.ask(text))[2] == "('1,2', '\u00e9', '127.0.0.1')".encode()


async def test_a_connection_serves_many_requests_also_pipelined() -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(post(b"one") + post(b"two") + GET)
        assert [(await connection.answer())[2] for _ in range(3)] == [b"one", b"two", b""]
        connection.close()


async def test_http_1_0_and_connection_close_end_the_connection() -> None:
    async with serving(echo) as port:
        for text in (
            b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        ):
            connection = await port.connect()
            connection.send(text)
            status, headers, _ = await connection.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await connection.is_closed()


async def test_head_has_the_length_and_no_body() -> None:
    async def say(request: Request) -> Response:
        return Response(body=b"hello")

    async with serving(say) as port:
        connection = await port.connect()
        connection.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET)
        status, headers, _ = await connection.answer(is_head=True)
        assert (status, headers["content-length"]) == (200, "5")
        assert (await connection.answer())[2] == b"hello"
        connection.close()


async def test_204_has_no_body_and_no_length() -> None:
    async def nothing(request: Request) -> Response:
        return Response(204)

    async with serving(nothing) as port:
        status, headers, _ = await port.ask(GET)
        assert status == 204
        assert "content-length" not in headers


async def test_a_stream_is_chunked_and_a_broken_one_breaks_the_connection() -> None:
    def streaming(chunks: Callable[[], AsyncIterator[bytes]]) -> Handler:
        async def handle(request: Request) -> Response:
            return Response(stream=chunks())

        return handle

    async def whole() -> AsyncIterator[bytes]:
        for piece in (b"one", b"", b"two"):
            yield piece

    async def broken() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("on purpose")

    async with serving(streaming(whole)) as port:
        assert (await port.ask(GET))[2] == b"onetwo"
        assert (await port.ask(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n"))[2] == b"onetwo"
    async with serving(streaming(broken)) as port:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await port.ask(GET)


async def test_a_handlers_header_cannot_make_another_header() -> None:
    async def inject(request: Request) -> Response:
        return Response(200, {"X-A": "1\r\nX-Evil: 2"}, b"")

    async with serving(inject) as port:
        _, headers, _ = await port.ask(GET)
        assert headers["x-a"] == "1  X-Evil: 2"
        assert "x-evil" not in headers


async def test_100_continue_is_sent_when_the_body_is_wanted() -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await connection.head())[0] == 100
        connection.send(b"ok" + GET)
        assert (await connection.answer())[2] == b"ok"
        assert (await connection.answer())[0] == 200
        connection.close()


async def test_100_continue_is_not_sent_for_a_body_that_is_too_long() -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\nExpect: 100-continue\r\n\r\n")
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (413, "close")
        connection.close()


async def test_a_body_is_capped_whatever_it_says_of_itself() -> None:
    async with serving(echo) as port:
        assert (await port.ask(post(b"x" * 1000)))[0] == 200
        assert (await port.ask(post(b"x" * 1001)))[0] == 413
        chunk = b"%x\r\n%b\r\n" % (600, b"x" * 600)
        text = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n"
        assert (await port.ask(text))[0] == 413


async def test_large_bodies_have_bounded_room_and_give_it_back() -> None:
    async with serving(echo, body_room_bytes=100) as port:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 80\r\n\r\n"
        first, second = await port.connect(), await port.connect()
        first.send(head + b"x" * 70)
        while port.server._room.free_bytes == 100:  # noqa: ASYNC110 - a server tells nobody what it has read
            await anyio.sleep(0.01)
        second.send(head + b"y" * 70)
        status, headers, _ = await second.answer()
        assert (status, headers["connection"]) == (503, "close")
        first.send(b"x" * 10)
        assert (await first.answer())[2] == b"x" * 80
        assert port.server._room.free_bytes == 100


async def test_a_body_that_stalls_is_dropped() -> None:
    async with serving(echo, stall_timeout_s=0.2) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (408, "close")
        assert await connection.is_closed()


async def test_a_body_that_trickles_is_dropped() -> None:
    async with serving(echo, stall_timeout_s=0.2, min_body_rate=10_000) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n")
        answer = asyncio.ensure_future(connection.answer())
        while not answer.done():
            connection.send(b"x")
            await asyncio.wait([answer], timeout=0.01)
        status, headers, _ = await answer
        assert (status, headers["connection"]) == (408, "close")


async def test_a_head_that_never_ends_is_dropped() -> None:
    async with serving(echo, idle_timeout_s=0.2) as port:
        for text in (b"", b"GET / HTTP/1.1\r\nHost: local"):
            connection = await port.connect()
            connection.send(text)
            assert await connection.is_closed()


async def test_an_idle_connection_expires() -> None:
    async with serving(echo, idle_timeout_s=0.2) as port:
        connection = await port.connect()
        connection.send(GET)
        assert (await connection.answer())[0] == 200
        assert await connection.is_closed()


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
        b"NONSENSE\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_bad_heads_are_a_400_and_the_connection_ends(text: bytes) -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(text)
        status, _ = await connection.head()
        assert status == 400
        connection.close()
        assert (await port.ask(GET))[0] == 200


async def test_connections_are_capped() -> None:
    async with serving(echo, connection_limit=2) as port:
        kept = [await port.connect() for _ in range(2)]
        for one in kept:
            one.send(GET)
            await one.answer()
        assert (await port.ask(GET))[0] == 503
        for one in kept:
            one.close()


async def test_the_handler_of_a_client_that_has_gone_is_cancelled() -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    seen: list[bool] = []

    async def wait(request: Request) -> Response:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(request.is_disconnected())
            ended.set()

    async with serving(wait) as port:
        connection = await port.connect()
        connection.send(GET)
        await started.wait()
        connection.close()
        with anyio.fail_after(PATIENCE_S):
            await ended.wait()
    assert seen == [True]


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def much(request: Request) -> Response:
        return Response(body=b"x" * 64_000_000)

    async with serving(much, stall_timeout_s=0.2) as port:
        connection = await port.connect()
        connection.send(GET)
        with anyio.fail_after(PATIENCE_S):
            while port.server.connections == 0:  # noqa: ASYNC110 - a server tells nobody who comes and goes
                await anyio.sleep(0.01)
            while port.server.connections:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        connection.close()


async def test_a_stopping_server_finishes_what_runs_and_closes_what_idles() -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        started.set()
        await go_on.wait()
        return Response(body=b"done")

    async with serving(slow, grace_s=PATIENCE_S) as port:
        idle, busy = await port.connect(), await port.connect()
        busy.send(GET)
        await started.wait()
        port.scope.cancel()
        with anyio.CancelScope(shield=True):
            assert await idle.is_closed()
            with pytest.raises(ConnectionRefusedError):
                await port.connect()
            go_on.set()
            assert (await busy.answer())[2] == b"done"
            assert await busy.is_closed()


async def test_a_stopping_server_does_not_wait_for_the_rest_of_a_body() -> None:
    reading = anyio.Event()

    async def read(request: Request) -> Response:
        reading.set()
        return Response(200, {}, await request.read_body(1000))

    async with serving(read, grace_s=10 * PATIENCE_S) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        await reading.wait()
        port.scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(PATIENCE_S):
            assert (await connection.answer())[0] == 503
            assert await connection.is_closed()


async def test_a_stopping_server_cuts_off_what_outlasts_its_grace() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(request: Request) -> Response:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(stuck, grace_s=0.1) as port:
        connection = await port.connect()
        connection.send(GET)
        await started.wait()
        port.scope.cancel()
        with anyio.CancelScope(shield=True), anyio.fail_after(PATIENCE_S):
            await cancelled.wait()
            assert await connection.is_closed()


async def test_a_taken_port_is_a_startup_error() -> None:
    async with serving(echo) as port:
        with pytest.raises(StartupError) as error:
            await HttpServer(echo, "127.0.0.1", port.number).run()
        assert error.value.exit_code == 69


async def test_a_bound_socket_may_be_handed_in() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    number = sock.getsockname()[1]
    async with serving(echo, sock=sock) as port:
        assert port.number == number
        assert (await port.ask(GET))[0] == 200


async def test_the_guard_stands_before_the_handler() -> None:
    async with serving(echo, guard=Guard()) as port:
        text = b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n"
        assert (await port.ask(text))[0] == 403
        assert (await port.ask(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"))[0] == 403
        assert (await port.ask(GET))[0] == 200


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_client_that_offers_another_protocol_is_served_in_http_1_1(pieces: int) -> None:
    """As the HTTP clients of Java do, which offer HTTP/2 with their first request, whether it has a body or not."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    async with serving(echo) as port:
        connection = await port.connect()
        text = post(b"hello, hello", *offer)
        for start in range(0, len(text), len(text) // pieces):
            connection.send(text[start : start + len(text) // pieces])
            await asyncio.sleep(0.02)
        assert (await connection.answer())[::2] == (200, b"hello, hello")
        connection.send(post(b"", *offer) + GET)
        assert [(await connection.answer())[0] for _ in range(2)] == [200, 200]
        chunked = "\r\n".join(("POST / HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", *offer))
        connection.send(f"{chunked}\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())
        assert (await connection.answer())[0] == 400
        assert await connection.is_closed()


async def test_what_comes_behind_good_requests_is_refused_behind_their_answers() -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(post(b"one") + b"NONSENSE\r\n\r\n")
        assert (await connection.answer())[::2] == (200, b"one")
        assert (await connection.answer())[0] == 400
        assert await connection.is_closed()


async def test_an_answer_before_the_end_of_the_body_can_be_read() -> None:
    async with serving(echo, stall_timeout_s=0.5) as port:
        connection = await port.connect()
        connection.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 4_000_000)
        status, headers, _ = await connection.answer()
        assert (status, headers["connection"]) == (413, "close")
        connection.send(b"x" * 1_000_000 + GET)
        assert await connection.is_closed()


async def test_a_client_that_sends_far_ahead_gets_every_answer_in_order() -> None:
    async with serving(echo) as port:
        connection = await port.connect()
        connection.send(b"".join(post(b"%d" % number) for number in range(1000)))
        assert [(await connection.answer())[2] for _ in range(1000)] == [b"%d" % number for number in range(1000)]


async def test_a_body_that_comes_in_pieces_is_read_whole() -> None:
    async def size(request: Request) -> Response:
        return Response(body=b"%d" % len(await request.read_body(10_000_000)))

    async with serving(size) as port:
        connection = await port.connect()
        connection.send(post(b"x" * 3_000_000) + post(b"x" * 2))
        assert (await connection.answer())[2] == b"3000000"
        assert (await connection.answer())[2] == b"2"
        assert port.server._room.free_bytes == 1024**3


async def test_broken_chunks_are_a_400() -> None:
    async with serving(echo) as port:
        text = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n"
        connection = await port.connect()
        connection.send(text)
        assert (await connection.answer())[0] == 400
        assert await connection.is_closed()


async def test_trailers_are_no_headers_and_are_bounded() -> None:
    async def show(request: Request) -> Response:
        body = await request.read_body(1000)
        return Response(body=body + b"," + request.headers.get("x-a", "-").encode())

    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
    async with serving(show) as port:
        assert (await port.ask(head + b"X-A: 1\r\n\r\n"))[2] == b"hello,-"
        assert (await port.ask(head + b"X-A: " + b"1" * 40_000 + b"\r\n\r\n"))[0] == 400


async def test_a_defect_of_the_handler_is_a_500_and_the_connection_goes_on() -> None:
    async def fail(request: Request) -> Response:
        raise RuntimeError("on purpose")

    async with serving(fail) as port:
        connection = await port.connect()
        for _ in range(2):
            connection.send(GET)
            assert (await connection.answer())[::2] == (500, b"internal error\n")
