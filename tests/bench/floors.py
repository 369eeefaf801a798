"""What the machine gives at best, measured in the same run: no figure means anything without its floor.

Bare things: an HTTP echo on a usual server library and the loop the daemon uses, a round trip through pipes to
another process, SQLite's group commit with and without a full sync, and a file copied with a hash over it.
"""

import contextlib
import hashlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.client import http_request, load, repeated
from tests.bench.process import HOST, free_port

_ECHO = """
import asyncio, sys
from aiohttp import web

async def answer(request):
    body = await request.read()
    return web.Response(body=answer_body or body[:200] or b"{}", content_type="application/x-amz-json-1.0")

answer_body = b"x" * int(sys.argv[2])

async def main():
    server = web.Server(answer)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", int(sys.argv[1]))
    await listening.serve_forever()

try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""

_PIPE = """
import os
while (data := os.read(0, 65536)):
    os.write(1, data)
"""

ROW = "x" * 300
"""About what one message is in the store."""


@contextlib.contextmanager
def echo_server(answer_bytes: int = 0) -> Iterator[tuple[str, int]]:
    """Run the bare HTTP echo in a process of its own; it gives back what it got, or so many bytes."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _ECHO, str(port), str(answer_bytes)])
    try:
        give_up_at = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > give_up_at or process.poll() is not None:
                    raise
                time.sleep(0.01)
        yield HOST, port
    finally:
        process.kill()
        process.wait()


def http_echo(clients: int, total: int, repetitions: int, *, takes: int = 0, gives: int = 0) -> tuple[float, float]:
    """Return (requests a second, median milliseconds of one) of the bare echo with so many clients.

    Args: takes, gives: the bytes of a request's and an answer's body, where they are not those of a small call.
    """
    body = b'{"QueueUrl": "http://127.0.0.1:4566/000000000000/bench", "MessageBody": "hello, hello"}'
    body = b"x" * takes or body
    request = http_request("POST", "/", {"Content-Type": "application/x-amz-json-1.0"}, body)
    with echo_server(gives) as address:
        load(address, clients, repeated(request, total // 4))
        runs = [load(address, clients, repeated(request, total)) for _ in range(repetitions)]
    return median(run.rate for run in runs), median(run.percentile_ms(50) for run in runs)


def pipe_round_trip(total: int, repetitions: int) -> tuple[float, float]:
    """Return (round trips a second, median milliseconds of one) through pipes to a bare process."""
    process = subprocess.Popen([sys.executable, "-c", _PIPE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdin is not None
    assert process.stdout is not None
    out, back = process.stdin.fileno(), process.stdout.fileno()
    rates, middles = [], []
    try:
        for _ in range(repetitions):
            times = []
            for _ in range(total):
                began = time.perf_counter_ns()
                os.write(out, b'{"payload": "hello"}')
                os.read(back, 65536)
                times.append(time.perf_counter_ns() - began)
            rates.append(total / (sum(times) / 1e9))
            middles.append(median(times) / 1e6)
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()
    return median(rates), median(middles)


def group_commit(*, per_commit: int, full_sync: bool, total: int, repetitions: int, row_bytes: int = len(ROW)) -> float:
    """Return rows a second that bare SQLite takes, `per_commit` of them to a transaction (WAL)."""
    row = "x" * row_bytes
    with tempfile.TemporaryDirectory(prefix="eventrt-floor-") as directory:
        connection = sqlite3.connect(Path(directory) / "floor.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if full_sync else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, queue INTEGER, body TEXT)")
        rates = []
        for _ in range(repetitions):
            began = time.perf_counter()
            for _ in range(total // per_commit):
                connection.execute("BEGIN IMMEDIATE")
                for _ in range(per_commit):
                    connection.execute("INSERT INTO rows (queue, body) VALUES (1, ?)", (row,))
                connection.execute("COMMIT")
            rates.append(total / (time.perf_counter() - began))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return median(rates)


def copy_with_hash(source: Path, target: Path, *, synced: bool) -> float:
    """Return the seconds that copying a file with an MD5 over it takes one process."""
    began = time.perf_counter()
    hasher = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(1024 * 1024))
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while count := reader.readinto(buffer):
            hasher.update(buffer[:count])
            writer.write(buffer[:count])
        if synced:
            os.fsync(writer.fileno())
    return time.perf_counter() - began
