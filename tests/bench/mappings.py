"""Queues that drive functions: a backlog drained, messages as they come, and how soon the handler starts."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.client import Api, fill, percentile
from tests.bench.context import NOOP, Context, in_series
from tests.bench.process import HOST, SHARED
from tests.bench.report import Figure

_STAMP = """
import os, time

_FILE = os.open(os.environ["STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def handler(event, context):
    now = time.time_ns()
    lines = [f"{record['body']} {now}\\n" for record in event["Records"]]
    os.write(_FILE, "".join(lines).encode())
"""


def _await_empty(api: Api, url: str, *, timeout_s: float) -> None:
    give_up_at = time.monotonic() + timeout_s
    while api.counts(url) != (0, 0):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"the queue is not empty after {timeout_s} s: {api.counts(url)}")
        time.sleep(0.01)


def drain_backlog(context: Context) -> Iterator[Figure]:
    """Drain a backlog of 10,000 messages through a no-op function, ten at a time; then the same live."""
    total = context.scaled(10_000, 3_000)
    for live in (False, True):
        rates, servers, handlers, sending = [], [], [], []
        with context.daemon() as (daemon, api):
            address = (HOST, daemon.port)
            api.create_function("noop", NOOP)
            api.await_active("noop")
            api.invoke("noop")
            url = api.create_queue("backlog", VisibilityTimeout="60")
            mapping = api.create_mapping("noop", "backlog", BatchSize=10, Enabled=False)
            path = f"/event-source-mappings/{mapping}"
            for _ in range(context.repetitions):
                if live:
                    api.lambda_("PUT", path, {"Enabled": True})
                    api.await_mapping(mapping, "Enabled")
                    before, began = daemon.cpu(), time.perf_counter()
                    sending.append(fill(address, url, total, connections=4).rate * 10)
                else:
                    api.await_mapping(mapping, "Disabled")
                    fill(address, url, total)
                    before, began = daemon.cpu(), time.perf_counter()
                    api.lambda_("PUT", path, {"Enabled": True})
                _await_empty(api, url, timeout_s=120)
                seconds = time.perf_counter() - began
                cost = daemon.cpu() - before
                rates.append(total / seconds)
                servers.append(cost.server_s / total * 1e6)
                handlers.append(cost.handlers_s / total * 1e6)
                if not live:
                    api.lambda_("PUT", path, {"Enabled": False})
        yield Figure(
            row="drain-live" if live else "drain",
            measure=f"{'live' if live else f'drain a {total:,} backlog'} through a no-op function, batch 10",
            value=median(rates),
            unit="msg/s",
            must=4_000 if live else 5_000,
            aim=10_000 if live else 15_000,
            samples=rates,
            floor=in_series(context.pipe()[0] * 10, context.commit(160, False), context.commit(160, False)),
            floor_name="pipe round trip / 10 + 2 SQLite commits of 160",
            server_us=median(servers),
            handlers_us=median(handlers),
            note=f"sent at {median(sending):,.0f} msg/s beside it" if live else "",
        )
        if not live:
            yield Figure(
                row="drain-cpu",
                measure="drain, server CPU per message",
                value=median(servers),
                unit="µs",
                must=100,
                aim=45,
                better="less",
                samples=servers,
            )


def latency(context: Context) -> Iterator[Figure]:
    """From just before SendMessage to the first line of the handler, at 20 messages a second."""
    total = context.scaled(400, 60)
    with tempfile.TemporaryDirectory(prefix="eventrt-stamps-", dir=SHARED) as folder, context.daemon() as (_, api):
        stamps = Path(folder) / "stamps"
        api.create_function("stamp", _STAMP, Environment={"Variables": {"STAMPS": str(stamps)}})
        api.await_active("stamp")
        url = api.create_queue("latency")
        mapping = api.create_mapping("stamp", "latency", BatchSize=10)
        api.await_mapping(mapping, "Enabled")
        api.sqs("SendMessage", QueueUrl=url, MessageBody="0")
        _await_lines(stamps, 1)
        due = time.perf_counter()
        for _ in range(total):
            due += 0.05
            time.sleep(max(0.0, due - time.perf_counter()))
            api.sqs("SendMessage", QueueUrl=url, MessageBody=str(time.time_ns()))
        lines = [line.split() for line in _await_lines(stamps, total + 1)]
        delays_ms = [(int(seen) - int(sent)) / 1e6 for sent, seen in lines if sent != "0"]
    floor = context.echo(1)[1] / 2 + context.pipe()[1] / 2
    for percent, must, aim in ((50, 2.5, 1.0), (99, 25.0, 10.0)):
        yield Figure(
            row=f"latency-p{percent}",
            measure=f"send → handler start at 20 msg/s, p{percent}",
            value=percentile(delays_ms, percent),
            unit="ms",
            must=must,
            aim=aim,
            better="less",
            floor=floor,
            floor_name="half an echo + half a pipe round trip",
            note=f"{total} messages",
        )


def _await_lines(path: Path, count: int, *, timeout_s: float = 60.0) -> list[str]:
    give_up_at = time.monotonic() + timeout_s
    while True:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return lines
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{len(lines)} of {count} lines after {timeout_s} s")
        time.sleep(0.01)


def idle(context: Context) -> Iterator[Figure]:
    """Memory and CPU of a daemon that has 50 mappings and nothing to do."""
    seconds = context.scaled(30, 8)
    with context.daemon() as (daemon, api):
        api.create_function("noop", NOOP)
        api.await_active("noop")
        for number in range(50):
            api.create_queue(f"idle-{number}")
            api.await_mapping(api.create_mapping("noop", f"idle-{number}"), "Enabled")
        time.sleep(2.0)
        before = daemon.cpu()
        time.sleep(seconds)
        cost = daemon.cpu() - before
        rss, family = daemon.rss_mb(), daemon.family_rss_mb()
    yield Figure(
        row="idle-cpu",
        measure="idle CPU with 50 mappings",
        value=(cost.server_s + cost.handlers_s) / seconds * 100,
        unit="%",
        must=1.0,
        aim=0.1,
        better="less",
        note=f"over {seconds} s, one tick is {100 / seconds / os.sysconf('SC_CLK_TCK'):.3f} %",
    )
    yield Figure(
        row="idle-rss-mappings",
        measure="RSS with 50 mappings",
        value=rss,
        unit="MB",
        better="less",
        note=f"processes below it: {family:.0f} MB (shared pages in proportion)",
    )
