"""Streams that drive functions: put, four shards drained, lanes in flight, how soon the handler starts, isolation."""

import base64
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from tests.bench.client import ACCOUNT, REGION, Api, authorization, counted, http_request, load, percentile
from tests.bench.client import fill as fill_queue
from tests.bench.context import NOOP, Context, in_series
from tests.bench.process import HOST, SHARED, Daemon
from tests.bench.report import Figure

BATCH = 100
DATA = base64.b64encode(b"x" * 256).decode()

_STAMP = """
import base64, os, time

_FILE = os.open(os.environ["STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def handler(event, context):
    now = time.time_ns()
    sent = [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
    os.write(_FILE, "".join(f"{one} {now}\\n" for one in sent).encode())
"""

_JOURNAL = """
import os

_FILE = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def handler(event, context):
    keys = [record["kinesis"] for record in event["Records"]]
    os.write(_FILE, "".join(f"{one['partitionKey']} {one['sequenceNumber']}\\n" for one in keys).encode())
"""

_FAILS_ON_BAD = """
def handler(event, context):
    if any(record["kinesis"]["partitionKey"] == "bad" for record in event["Records"]):
        raise ValueError("bad")
"""


def request_of(operation: str, **members: Any) -> bytes:
    """Return one request of Kinesis's API."""
    headers = {
        "X-Amz-Target": f"Kinesis_20131202.{operation}",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": authorization("kinesis"),
    }
    return http_request("POST", "/", headers, orjson.dumps(members))


def arn_of(name: str) -> str:
    """Return a stream's ARN."""
    return f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"


def make(daemon: Daemon, name: str, shards: int) -> None:
    """Make a stream, and return once it takes records."""
    address = (HOST, daemon.port)
    load(address, 1, counted(lambda _: request_of("CreateStream", StreamName=name, ShardCount=shards), 1))
    status = b""

    def look(number: int, body: bytes) -> bytes | None:
        nonlocal status
        status = body
        if b'"ACTIVE"' in body:
            return None
        time.sleep(0.01)
        return request_of("DescribeStreamSummary", StreamName=name)

    load(address, 1, look)


def puts(name: str, total: int, keys: int = 10_000) -> Callable[[int], bytes]:
    """Return the requests that put `total` records of 256 bytes, 100 to a call."""

    def request(index: int) -> bytes:
        records = [
            {"PartitionKey": f"k{(index * BATCH + number) % keys}", "Data": DATA}
            for number in range(min(BATCH, total - index * BATCH))
        ]
        return request_of("PutRecords", StreamName=name, Records=records)

    return request


def fill(daemon: Daemon, name: str, total: int, keys: int = 10_000) -> float:
    """Put so many records with 16 clients; return the records a second."""
    requests = [puts(name, total, keys)(index) for index in range(-(-total // BATCH))]
    return load((HOST, daemon.port), 16, counted(requests.__getitem__, len(requests))).rate * BATCH


def map_stream(api: Api, function: str, stream: str, **members: Any) -> str:
    """Map a stream to a function from its beginning; return the mapping's UUID."""
    made = api.lambda_(
        "POST",
        "/event-source-mappings/",
        {"EventSourceArn": arn_of(stream), "FunctionName": function, "StartingPosition": "TRIM_HORIZON", **members},
    )
    uuid: str = made["UUID"]
    return uuid


def inspect(api: Api, uuid: str) -> list[dict[str, Any]]:
    """Return what the daemon shows of a mapping's shards."""
    poller = orjson.loads(api.request("GET", f"/_eventrt/mappings/{uuid}", {}, b""))["poller"]
    shards: list[dict[str, Any]] = poller.get("shards", [])
    return shards


def await_caught_up(api: Api, uuid: str, *, ahead: int = 0, timeout_s: float = 180) -> None:
    """Return once all but `ahead` shards have nothing left."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        shards = inspect(api, uuid)
        if shards and sum(bool(shard.get("lag_records")) for shard in shards) <= ahead:
            return
        if time.monotonic() > give_up_at:
            raise AssertionError(f"the mapping is still behind: {shards}")
        time.sleep(0.02)


def put_records(context: Context) -> Iterator[Figure]:
    """PutRecords(100 x 256 B) with 16 clients."""
    total = context.scaled(200_000, 20_000)
    with context.daemon() as (daemon, _):
        make(daemon, "put", 4)
        rates, servers = [], []
        for _ in range(context.repetitions):
            before = daemon.cpu()
            rates.append(fill(daemon, "put", total))
            servers.append((daemon.cpu() - before).server_s / total * 1e6)
    yield Figure(
        row="put-records",
        measure="PutRecords(100 x 256 B), 16 clients",
        value=median(rates),
        unit="rec/s",
        must=40_000,
        aim=100_000,
        samples=rates,
        floor=in_series(context.echo(16)[0] * BATCH, context.commit(160, False)),
        floor_name="HTTP echo x 100 + SQLite commits of 160",
        server_us=median(servers),
    )


def drain_shards(context: Context) -> Iterator[Figure]:
    """Drain a backlog of four shards through a no-op function, batch 100, with factor 1 and factor 10."""
    total = context.scaled(100_000, 20_000)
    floor = in_series(context.pipe()[0] * BATCH, context.commit(160, False) * BATCH)
    found: dict[int, float] = {}
    for factor in (1, 10):
        rates, servers, handlers = [], [], []
        with context.daemon() as (daemon, api):
            api.create_function("noop", NOOP)
            api.await_active("noop")
            make(daemon, "backlog", 4)
            fill(daemon, "backlog", BATCH * 100)  # once beforehand, so that every lane has its environment
            uuid = map_stream(api, "noop", "backlog", BatchSize=BATCH, ParallelizationFactor=factor)
            await_caught_up(api, uuid)
            for _ in range(context.repetitions):
                _switch(api, uuid, enabled=False)
                fill(daemon, "backlog", total)
                before, began = daemon.cpu(), time.perf_counter()
                _switch(api, uuid, enabled=True)
                await_caught_up(api, uuid)
                rates.append(total / (time.perf_counter() - began))
                cost = daemon.cpu() - before
                servers.append(cost.server_s / total * 1e6)
                handlers.append(cost.handlers_s / total * 1e6)
        found[factor] = median(rates)
        yield Figure(
            row=f"shards-{factor}",
            measure=f"4 shards → no-op function, batch 100, factor {factor}",
            value=median(rates),
            unit="rec/s",
            must=8_000,
            aim=20_000,
            samples=rates,
            floor=floor,
            floor_name="pipe round trip x 100 + SQLite commits of 160 rows, a row being 100 records",
            server_us=median(servers),
            handlers_us=median(handlers),
            note="" if factor == 1 else f"{found[10] / found[1]:.2f} of factor 1",
        )
        if factor == 1:
            yield Figure(
                row="shards-cpu",
                measure="4 shards, server CPU per record",
                value=median(servers),
                unit="µs",
                must=100,
                aim=25,
                better="less",
                samples=servers,
            )
    yield _order(context)


def _switch(api: Api, uuid: str, *, enabled: bool) -> None:
    api.lambda_("PUT", f"/event-source-mappings/{uuid}", {"Enabled": enabled})
    api.await_mapping(uuid, "Enabled" if enabled else "Disabled")


def _order(context: Context) -> Figure:
    """Count records that overtook another of their key."""
    total = context.scaled(40_000, 10_000)
    with tempfile.TemporaryDirectory(prefix="eventrt-order-", dir=SHARED) as folder, context.daemon() as (daemon, api):
        journal = Path(folder) / "journal"
        api.create_function("journal", _JOURNAL, Environment={"Variables": {"JOURNAL": str(journal)}})
        api.await_active("journal")
        make(daemon, "order", 4)
        fill(daemon, "order", total, keys=64)
        uuid = map_stream(api, "journal", "order", BatchSize=BATCH, ParallelizationFactor=10)
        await_caught_up(api, uuid)
        lines = [line.split() for line in journal.read_text().splitlines()]
    last: dict[str, str] = {}
    overtaken = 0
    for key, number in lines:
        overtaken += number <= last.get(key, "")
        last[key] = number
    return Figure(
        row="shards-order",
        measure="4 shards, factor 10: records that overtook one of their key",
        value=float(overtaken),
        unit="records",
        must=0,
        aim=0,
        better="less",
        note=f"of {len(lines):,} delivered, {total:,} put",
    )


def in_flight(context: Context) -> Iterator[Figure]:
    """A handler that sleeps 100 ms: how many invocations are really in flight with 4 shards and factor 10."""
    sleeper = "import time\n\ndef handler(event, context):\n    time.sleep(0.1)\n"
    total = context.scaled(8_000, 2_000)
    with context.daemon() as (daemon, api):
        api.create_function("sleeper", sleeper)
        api.await_active("sleeper")
        make(daemon, "many", 4)
        fill(daemon, "many", total)
        uuid = map_stream(api, "sleeper", "many", BatchSize=5, ParallelizationFactor=10)
        counts: list[int] = []
        give_up_at = time.monotonic() + 60
        while time.monotonic() < give_up_at:
            shards = inspect(api, uuid)
            counts.append(sum(1 for shard in shards for lane in shard.get("lanes", ()) if lane["running"]))
            if shards and not any(shard.get("lag_records") for shard in shards):
                break
            time.sleep(0.01)
    yield Figure(
        row="in-flight",
        measure="handler sleeps 100 ms, 4 shards, factor 10: invocations in flight",
        value=float(max(counts)),
        unit="",
        must=40,
        aim=40,
        note=f"median while draining {median(count for count in counts if count):.0f}",
    )


def latency(context: Context) -> Iterator[Figure]:
    """From just before PutRecord to the first line of the handler, at 20 records a second."""
    total = context.scaled(400, 60)
    with tempfile.TemporaryDirectory(prefix="eventrt-stamps-", dir=SHARED) as folder, context.daemon() as (daemon, api):
        stamps = Path(folder) / "stamps"
        api.create_function("stamp", _STAMP, Environment={"Variables": {"STAMPS": str(stamps)}})
        api.await_active("stamp")
        make(daemon, "live", 1)
        uuid = map_stream(api, "stamp", "live")
        api.await_mapping(uuid, "Enabled")
        due = 0.0
        sent = 0

        def following(number: int, body: bytes) -> bytes | None:
            nonlocal due, sent
            if sent > total:
                return None
            if sent <= 1:
                _await_lines(stamps, sent)
                due = time.perf_counter()
            due += 0.05
            time.sleep(max(0.0, due - time.perf_counter()))
            text = str(time.time_ns()) if sent else "0"
            sent += 1
            data = base64.b64encode(text.encode()).decode()
            return request_of("PutRecord", StreamName="live", PartitionKey="k", Data=data)

        load((HOST, daemon.port), 1, following)
        lines = [line.split() for line in _await_lines(stamps, total + 1)]
        delays_ms = [(int(seen) - int(put)) / 1e6 for put, seen in lines if put != "0"]
    floor = context.echo(1)[1] / 2 + context.pipe()[1] / 2
    for percent, must, aim in ((50, 3.0, 1.0), (99, 25.0, 10.0)):
        yield Figure(
            row=f"put-latency-p{percent}",
            measure=f"put → handler start at 20 rec/s, p{percent}",
            value=percentile(delays_ms, percent),
            unit="ms",
            must=must,
            aim=aim,
            better="less",
            floor=floor if percent == 50 else None,
            floor_name="half an HTTP echo + half a pipe round trip" if percent == 50 else "",
        )


def _await_lines(file: Path, count: int) -> list[str]:
    give_up_at = time.monotonic() + 60
    while True:
        lines = file.read_text().splitlines() if os.path.exists(file) else []
        if len(lines) >= count:
            return lines
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{len(lines)} of {count} records reached the handler")
        time.sleep(0.005)


def isolation(context: Context) -> Iterator[Figure]:
    """One shard that fails for ever: the rate of its seven sisters, and of an unrelated queue, with and without it."""
    total, messages = context.scaled(240_000, 15_000), context.scaled(10_000, 3_000)
    sisters: dict[bool, list[float]] = {False: [], True: []}
    queue: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(context.repetitions):
        for fails in (False, True):
            with context.daemon() as (daemon, api):
                for name, source in (("picky", _FAILS_ON_BAD), ("noop", NOOP)):
                    api.create_function(name, source)
                    api.await_active(name)
                make(daemon, "eight", 8)
                fill(daemon, "eight", 8_000)  # once beforehand, so that every shard has its environment
                uuid = map_stream(api, "picky", "eight", BatchSize=BATCH)
                await_caught_up(api, uuid)
                if fails:
                    bad = request_of("PutRecord", StreamName="eight", PartitionKey="bad", Data=DATA)
                    load((HOST, daemon.port), 1, counted(lambda _, bad=bad: bad, 1))  # type: ignore[misc]
                _switch(api, uuid, enabled=False)
                fill(daemon, "eight", total)
                began = time.perf_counter()
                _switch(api, uuid, enabled=True)
                await_caught_up(api, uuid, ahead=int(fails))
                # Of both runs the records of seven shards: all eight are as long as each other, by and large.
                sisters[fails].append(total * 7 / 8 / (time.perf_counter() - began))
                queue[fails].append(_drain_queues(daemon, api, messages))
    for row, measure, rates in (
        ("isolation", "one of 8 shards fails for ever: rate of its sisters, against a run without it", sisters),
        ("isolation-queue", "the same: rate of an unrelated queue", queue),
    ):
        yield Figure(
            row=row,
            measure=measure,
            value=median(rates[True]) / median(rates[False]),
            unit="",
            must=0.9,
            aim=1.0,
            samples=[with_it / without for with_it, without in zip(rates[True], rates[False], strict=True)],
            note=f"{median(rates[True]):,.0f} against {median(rates[False]):,.0f} a second",
        )


def _drain_queues(daemon: Daemon, api: Api, messages: int) -> float:
    """Return the median rate of three queues drained one after the other; a first one warms the function up."""
    rates: list[float] = []
    for number in range(4):
        name = f"beside-{number}"
        url = api.create_queue(name)
        fill_queue((HOST, daemon.port), url, messages)
        began = time.perf_counter()
        api.create_mapping("noop", name, BatchSize=10)
        while api.counts(url) != (0, 0):
            time.sleep(0.01)
        rates.append(messages / (time.perf_counter() - began))
    return median(rates[1:])
