"""Asynchronous invocation: events accepted, a backlog of them drained, and how soon a handler starts."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import orjson

from tests.bench.client import Api, authorization, counted, http_request, load, percentile
from tests.bench.context import Context, in_series
from tests.bench.process import HOST, SHARED
from tests.bench.report import Figure

CLIENTS = 16

_COUNTING = """
import os, time

_SEEN = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_GATE = os.environ["GATE"]

def handler(event, context):
    if event == "hold":
        while not os.path.exists(_GATE):
            time.sleep(0.01)
        return
    os.write(_SEEN, f"{event} {time.time_ns()}\\n".encode())
"""


def event_request(function: str, payload: object) -> bytes:
    """Return the bytes of one asynchronous Invoke."""
    headers = {
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": authorization("lambda"),
        "X-Amz-Invocation-Type": "Event",
    }
    return http_request("POST", f"/2015-03-31/functions/{function}/invocations", headers, orjson.dumps(payload))


def _room(api: Api) -> dict[str, int]:
    health = orjson.loads(api.request("GET", "/_eventrt/health", {}, b""))
    return dict(health["rooms"]["asynchronous"])


def _await_drained(api: Api, *, timeout_s: float = 120.0) -> None:
    give_up_at = time.monotonic() + timeout_s
    while _room(api)["lanes"]:
        if time.monotonic() > give_up_at:
            raise AssertionError(f"not drained after {timeout_s} s: {_room(api)}")
        time.sleep(0.01)


def _events(context: Context, durability: str) -> Iterator[Figure]:
    """Accept events while the function's one slot is held, then let it go and drain them."""
    total = context.scaled(20_000, 5_000)
    accepted, drained, accept_us, drain_us, handler_us = [], [], [], [], []
    lost = doubled = 0
    power = durability == "power"
    with (
        tempfile.TemporaryDirectory(prefix="eventrt-events-", dir=SHARED) as folder,
        context.daemon(durability=durability) as (daemon, api),
    ):
        address = (HOST, daemon.port)
        seen, gate = Path(folder) / "seen", Path(folder) / "gate"
        variables = {"SEEN": str(seen), "GATE": str(gate)}
        api.create_function("count", _COUNTING, Environment={"Variables": variables}, Timeout=120)
        api.await_active("count")
        concurrency = "/functions/count/concurrency"
        for repetition in range(context.repetitions):
            gate.unlink(missing_ok=True)
            seen.write_bytes(b"")
            api.request("PUT", f"/2017-10-31{concurrency}", _HEADERS, b'{"ReservedConcurrentExecutions":1}')
            load(address, 1, counted(lambda _: event_request("count", "hold"), 1))
            while not _room(api)["running"]:
                time.sleep(0.005)
            before = daemon.cpu()
            result = load(
                address, CLIENTS, counted(lambda index, r=repetition: event_request("count", f"{r}-{index}"), total)
            )
            accepted.append(result.rate)
            accept_us.append((daemon.cpu() - before).server_s / total * 1e6)
            api.request("DELETE", f"/2017-10-31{concurrency}", _HEADERS, b"")
            before, began = daemon.cpu(), time.perf_counter()
            gate.write_bytes(b"")
            _await_drained(api)
            seconds = time.perf_counter() - began
            cost = daemon.cpu() - before
            drained.append(total / seconds)
            drain_us.append(cost.server_s / total * 1e6)
            handler_us.append(cost.handlers_s / total * 1e6)
            counts = Counter(line.split()[0] for line in seen.read_text().splitlines())
            lost += total - len(counts)
            doubled += sum(counts.values()) - len(counts)
    suffix, title = ("-power", ", power-safe") if power else ("", "")
    yield Figure(
        row=f"async-accept{suffix}",
        measure=f"Event invokes accepted, {CLIENTS} clients{title}",
        value=median(accepted),
        unit="req/s",
        must=3_000,
        aim=10_000,
        samples=accepted,
        floor=in_series(context.echo(CLIENTS)[0], context.commit(CLIENTS, power)),
        floor_name=f"echo + SQLite commit of {CLIENTS}{', full sync' if power else ''}",
        server_us=median(accept_us),
    )
    yield Figure(
        row=f"async-drain{suffix}",
        measure=f"a backlog of {total:,} events drained{title}",
        value=median(drained),
        unit="events/s",
        must=1_500,
        aim=6_000,
        samples=drained,
        floor=in_series(context.pipe()[0], context.commit(16, power)),
        floor_name=f"pipe round trip + SQLite commit of 16{', full sync' if power else ''}",
        server_us=median(drain_us),
        handlers_us=median(handler_us),
        note=f"lost {lost}, double {doubled}",
    )


_HEADERS = {"Authorization": authorization("lambda"), "Content-Type": "application/json"}


def events(context: Context) -> Iterator[Figure]:
    """Accept and drain, with each durability."""
    yield from _events(context, "process")
    yield from _events(context, "power")


def latency(context: Context) -> Iterator[Figure]:
    """From just before an Event invoke to the first line of the handler, at 20 events a second."""
    total = context.scaled(300, 60)
    with tempfile.TemporaryDirectory(prefix="eventrt-events-", dir=SHARED) as folder, context.daemon() as (daemon, api):
        seen = Path(folder) / "seen"
        variables = {"SEEN": str(seen), "GATE": str(seen)}
        api.create_function("count", _COUNTING, Environment={"Variables": variables})
        api.await_active("count")
        address = (HOST, daemon.port)
        load(address, 1, counted(lambda _: event_request("count", 0), 1))
        _await_drained(api)
        due = time.perf_counter()
        for _ in range(total):
            due += 0.05
            time.sleep(max(0.0, due - time.perf_counter()))
            load(address, 1, counted(lambda _: event_request("count", time.time_ns()), 1))
        _await_drained(api)
        lines = [line.split() for line in seen.read_text().splitlines()]
        delays_ms = [(int(at) - int(sent)) / 1e6 for sent, at in lines if sent != "0"]
    yield Figure(
        row="async-latency-p50",
        measure="Event invoke → handler start at 20 a second, p50",
        value=percentile(delays_ms, 50),
        unit="ms",
        must=5.0,
        aim=2.0,
        better="less",
        samples=[],
        floor=context.echo(1)[1] / 2 + context.pipe()[1] / 2,
        floor_name="half an echo + half a pipe round trip",
        note=f"p99 {percentile(delays_ms, 99):.2f} ms",
    )
