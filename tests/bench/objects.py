"""Buckets: small objects in and out, and from a put to the start of the handler that is told of it."""

import binascii
import hashlib
import os
import struct
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from tests.bench.client import ACCOUNT, REGION, authorization, counted, http_request, load, percentile
from tests.bench.context import Context, in_series
from tests.bench.process import HOST, SHARED
from tests.bench.report import Figure

CLIENTS = 16
SMALL_BYTES = 4096
HEADERS = {"X-Amz-Date": "20260101T000000Z", "Authorization": authorization("s3")}


# -- small objects


def put_request(path: str, body: bytes) -> bytes:
    """Return one PutObject with the headers that SDKs send over plain HTTP: a CRC-32, and the body's SHA-256."""
    headers = {
        **HEADERS,
        "Content-Type": "application/octet-stream",
        "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest(),
        "X-Amz-Sdk-Checksum-Algorithm": "CRC32",
        "X-Amz-Checksum-Crc32": b64encode(struct.pack(">I", binascii.crc32(body))).decode(),
    }
    return http_request("PUT", path, headers, body)


def get_request(path: str) -> bytes:
    """Return one GetObject."""
    return http_request("GET", path, {**HEADERS, "X-Amz-Content-SHA256": hashlib.sha256().hexdigest()}, b"")


def put_small(context: Context) -> Iterator[Figure]:
    """PutObject of 4 KiB under new keys, with each durability."""
    yield _put_small(context, "process")
    yield _put_small(context, "power")


def _put_small(context: Context, durability: str) -> Figure:
    total = context.scaled(16_000, 4_000)
    body = os.urandom(SMALL_BYTES)
    rates, costs = [], []
    power = durability == "power"
    with context.daemon(durability=durability) as (daemon, api):
        api.request("PUT", "/bench", HEADERS, b"")
        address = (HOST, daemon.port)
        parts = put_request("/bench/*", body).split(b"*", 1)

        def request(prefix: str) -> Callable[[int], bytes]:
            return lambda index: parts[0] + f"{prefix}/{index:08d}".encode() + parts[1]

        load(address, CLIENTS, counted(request("warm"), total // 5))
        for repetition in range(context.repetitions):
            before = daemon.cpu()
            rates.append(load(address, CLIENTS, counted(request(str(repetition)), total)).rate)
            costs.append((daemon.cpu() - before).server_s / total * 1e6)
        if api.request("GET", f"/bench/0/{total - 1:08d}", HEADERS, b"") != body:
            raise AssertionError("an object is not what was put")
    return Figure(
        row=f"put-object{'-power' if power else ''}",
        measure=f"PutObject of 4 KiB, {CLIENTS} clients{', power-safe' if power else ''}",
        value=median(rates),
        unit="req/s",
        must=2_000,
        aim=8_000,
        samples=rates,
        floor=in_series(context.echo(CLIENTS, SMALL_BYTES, 100)[0], context.commit(CLIENTS, power, SMALL_BYTES)),
        floor_name=f"echo taking 4 KiB + SQLite commit of {CLIENTS} of them{', full sync' if power else ''}",
        server_us=median(costs),
    )


def get_small(context: Context) -> Iterator[Figure]:
    """GetObject of 4 KiB out of 2,000 objects."""
    total = context.scaled(30_000, 6_000)
    keys = 2_000
    rates, costs = [], []
    with context.daemon() as (daemon, api):
        api.request("PUT", "/bench", HEADERS, b"")
        address = (HOST, daemon.port)
        bodies = [os.urandom(SMALL_BYTES) for _ in range(keys)]
        load(address, CLIENTS, counted(lambda index: put_request(f"/bench/{index:08d}", bodies[index]), keys))
        requests = [get_request(f"/bench/{index:08d}") for index in range(keys)]
        load(address, CLIENTS, counted(lambda index: requests[index % keys], total // 5))
        for _ in range(context.repetitions):
            before = daemon.cpu()
            rates.append(load(address, CLIENTS, counted(lambda index: requests[index % keys], total)).rate)
            costs.append((daemon.cpu() - before).server_s / total * 1e6)
        if any(
            api.request("GET", f"/bench/{index:08d}", HEADERS, b"") != bodies[index] for index in range(0, keys, 97)
        ):
            raise AssertionError("an object is not what was put")
    yield Figure(
        row="get-object",
        measure=f"GetObject of 4 KiB, {CLIENTS} clients",
        value=median(rates),
        unit="req/s",
        must=5_000,
        aim=18_000,
        samples=rates,
        floor=context.echo(CLIENTS, 0, SMALL_BYTES)[0],
        floor_name="echo giving 4 KiB",
        server_us=median(costs),
    )


# -- from a put to a handler

_SEEING = """
import os, time

_SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def handler(event, context):
    now = time.time_ns()
    for record in event["Records"]:
        os.write(_SEEN, f"{record['s3']['object']['key']} {now}\\n".encode())
"""

_NOTIFICATION = f"""
<NotificationConfiguration><CloudFunctionConfiguration>
<CloudFunction>arn:aws:lambda:{REGION}:{ACCOUNT}:function:see</CloudFunction><Event>s3:ObjectCreated:*</Event>
</CloudFunctionConfiguration></NotificationConfiguration>
"""


def latency(context: Context) -> Iterator[Figure]:
    """From just before a PutObject to the first line of the handler it is told to, at 20 puts a second."""
    yield _latency(context, "process")
    yield _latency(context, "power")


def _latency(context: Context, durability: str) -> Figure:
    total = context.scaled(300, 60)
    body = os.urandom(SMALL_BYTES)
    power = durability == "power"
    with (
        tempfile.TemporaryDirectory(prefix="eventrt-objects-", dir=SHARED) as folder,
        context.daemon(durability=durability) as (daemon, api),
    ):
        seen = Path(folder) / "seen"
        api.create_function("see", _SEEING, Environment={"Variables": {"SEEN": str(seen)}})
        api.await_active("see")
        api.request("PUT", "/bench", HEADERS, b"")
        api.request("PUT", "/bench?notification", HEADERS, _NOTIFICATION.encode())
        address = (HOST, daemon.port)
        load(address, 1, counted(lambda _: put_request("/bench/0", body), 1))
        _await_lines(seen, 1)
        due = time.perf_counter()
        for _ in range(total):
            due += 0.05
            time.sleep(max(0.0, due - time.perf_counter()))
            load(address, 1, counted(lambda _: put_request(f"/bench/{time.time_ns()}", body), 1))
        lines = _await_lines(seen, total + 1)
        delays_ms = [(int(at) - int(sent)) / 1e6 for sent, at in lines if sent != "0"]
    return Figure(
        row=f"put-latency-p50{'-power' if power else ''}",
        measure=f"object put → handler start at 20 a second, p50{', power-safe' if power else ''}",
        value=percentile(delays_ms, 50),
        unit="ms",
        must=5.0,
        aim=2.0,
        better="less",
        floor=context.echo(1)[1] / 2 + context.pipe()[1] / 2 + 1e3 / context.commit(1, power),
        floor_name=f"half an echo, a SQLite commit{' with full sync' if power else ''}, half a pipe round trip",
        note=f"p99 {percentile(delays_ms, 99):.2f} ms",
    )


def _await_lines(seen: Path, count: int, *, timeout_s: float = 60.0) -> list[list[str]]:
    give_up_at = time.monotonic() + timeout_s
    while not seen.exists() or len(lines := seen.read_text().splitlines()) < count:
        if time.monotonic() > give_up_at:
            raise AssertionError(f"the handler saw less than {count} objects")
        time.sleep(0.01)
    return [line.split() for line in lines]
