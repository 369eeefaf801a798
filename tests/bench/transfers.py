"""One large object: up in parts, down in ranges and in one answer, beside copying the file with a hash over it.

The client reads and writes files as a tool does, and computes nothing: what it costs is the daemon's and the disk's.
"""

import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tests.bench import floors
from tests.bench.client import Api, Refused
from tests.bench.context import Context
from tests.bench.objects import HEADERS
from tests.bench.process import HOST, Daemon
from tests.bench.report import Figure

MEBIBYTE = 2**20
PART_BYTES = 8 * MEBIBYTE
"""As the AWS CLI cuts large files."""

TRANSFERS = 4
"""So many parts are on their way at a time."""

_PIECE_BYTES = 256 * 1024


def large(context: Context) -> Iterator[Figure]:
    """Rates up and down, and the daemon's memory meanwhile."""
    yield from _large(context, "process")
    yield from _large(context, "power")


def _large(context: Context, durability: str) -> Iterator[Figure]:
    size = context.scaled(1024, 256) * MEBIBYTE
    power = durability == "power"
    seconds: dict[str, list[float]] = {"up": [], "down": [], "one": []}
    costs: dict[str, list[float]] = {"up": [], "down": [], "one": []}
    copied: list[float] = []
    above_idle: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="eventrt-large-", dir=os.environ.get("EVENTRT_BENCH_DIR")) as folder,
        context.daemon(durability=durability) as (daemon, api),
    ):
        source, target = Path(folder) / "source", Path(folder) / "target"
        with source.open("wb") as file:
            for _ in range(size // PART_BYTES):
                file.write(os.urandom(PART_BYTES))
        api.request("PUT", "/bench", HEADERS, b"")
        idle_mb = daemon.rss_mb()
        steps: dict[str, Callable[[], None]] = {
            "up": lambda: upload(api, daemon, source, size),
            "down": lambda: download(daemon, target, size, PART_BYTES),
            "one": lambda: download(daemon, target, size, size),
        }
        for _ in range(min(context.repetitions, 3)):
            target.unlink(missing_ok=True)
            copied.append(floors.copy_with_hash(source, target, synced=power))
            for way, step in steps.items():
                if way != "up":
                    target.unlink(missing_ok=True)
                daemon.forget_peak()
                before, began = daemon.cpu(), time.perf_counter()
                step()
                seconds[way].append(time.perf_counter() - began)
                costs[way].append((daemon.cpu() - before).server_s / (size / MEBIBYTE) * 1e6)
                above_idle.append(daemon.peak_rss_mb() - idle_mb)
                if way != "up" and not _are_same(source, target):
                    raise AssertionError("what came down is not what went up")
            api.request("DELETE", "/bench/large", HEADERS, b"")
    suffix, title = ("-power", ", power-safe") if power else ("", "")
    mebibytes = size / MEBIBYTE
    ways = {
        "up": f"up, {TRANSFERS} parts at a time",
        "down": f"down, {TRANSFERS} ranges at a time",
        "one": "down at once",
    }
    for way, words in ways.items():
        if power and way != "up":  # reading is the same
            continue
        ratios = [copy / one for copy, one in zip(copied, seconds[way], strict=True)]
        yield Figure(
            row=f"large-{way}{suffix}",
            measure=f"{mebibytes:,.0f} MiB {words}: rate to copying the file with an MD5{title}",
            value=median(ratios),
            unit="",
            must=0.4,
            aim=0.7,
            samples=ratios,
            server_us=median(costs[way]),
            note=f"{mebibytes / median(seconds[way]):,.0f} MiB/s; the copy{' and its sync' if power else ''} "
            f"{mebibytes / median(copied):,.0f} MiB/s; CPU per MiB",
        )
    yield Figure(
        row=f"large-memory{suffix}",
        measure=f"the daemon's memory meanwhile, above idle{title}",
        value=max(above_idle),
        unit="MiB",
        must=64.0,
        better="less",
        note=f"idle {idle_mb:.0f} MiB",
    )


def upload(api: Api, daemon: Daemon, source: Path, size: int) -> None:
    """Put a file as `/bench/large`, in parts."""
    answer = api.request("POST", "/bench/large?uploads", HEADERS, b"")
    upload_id = _found(rb"<UploadId>(.*?)</UploadId>", answer)
    etags = [""] * (size // PART_BYTES)
    fd = os.open(source, os.O_RDONLY)

    def send(connection: socket.socket, number: int) -> None:
        path = f"/bench/large?partNumber={number + 1}&uploadId={upload_id}"
        connection.sendall(_head("PUT", path, {"Content-Length": str(PART_BYTES)}))
        offset, end = number * PART_BYTES, (number + 1) * PART_BYTES
        while offset < end:
            offset += os.sendfile(connection.fileno(), fd, offset, end - offset)
        etags[number] = _found(rb"etag: (.*?)\r\n", _answer_head(connection)[0])

    try:
        _in_parallel(daemon, len(etags), send)
    finally:
        os.close(fd)
    parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    api.request("POST", f"/bench/large?uploadId={upload_id}", HEADERS, document)


def download(daemon: Daemon, target: Path, size: int, range_bytes: int) -> None:
    """Get `/bench/large` into a file, in ranges of so many bytes, several at a time."""
    fd = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)

    def fetch(connection: socket.socket, number: int) -> None:
        offset = number * range_bytes
        end = min(offset + range_bytes, size)
        connection.sendall(_head("GET", "/bench/large", {"Range": f"bytes={offset}-{end - 1}"}))
        _, piece = _answer_head(connection)
        offset += os.pwrite(fd, piece, offset)
        buffer = memoryview(bytearray(_PIECE_BYTES))
        while offset < end:
            count = connection.recv_into(buffer[: end - offset])
            if not count:
                raise ConnectionError("the daemon closed the connection")
            offset += os.pwrite(fd, buffer[:count], offset)

    try:
        _in_parallel(daemon, -(-size // range_bytes), fetch)
    finally:
        os.close(fd)


def _in_parallel(daemon: Daemon, count: int, work: Callable[[socket.socket, int], None]) -> None:
    """Do work number 0 to `count` - 1 over a few connections, each in a thread of its own."""
    numbers = iter(range(count))
    lock = threading.Lock()
    failures: list[BaseException] = []

    def carry() -> None:
        try:
            with socket.create_connection((HOST, daemon.port), timeout=120.0) as connection:
                connection.settimeout(None)  # sendfile is ours
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while True:
                    with lock:
                        number = next(numbers, None)
                    if number is None or failures:
                        return
                    work(connection, number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=carry) for _ in range(min(TRANSFERS, count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**HEADERS, **headers}.items())
    return f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n".encode()


def _answer_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of an answer, in lower case, and what came of its body with it; raises Refused."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError("the daemon closed the connection")
        data += more
    if data[9:10] != b"2":
        raise Refused(int(data[9:12]), data[end + 4 :])
    return data[: end + 2].lower(), data[end + 4 :]


def _found(pattern: bytes, text: bytes) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"not found in {text!r}")
    return match[1].decode()


def _are_same(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            here, there = left.read(MEBIBYTE), right.read(MEBIBYTE)
            if here != there:
                return False
            if not here:
                return True
