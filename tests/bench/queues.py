"""Queues alone: send, receive and delete, with many queues, with many messages waiting."""

from collections.abc import Iterator
from statistics import median

import orjson

from tests.bench.client import (
    NextRequest,
    counted,
    drain,
    fill,
    load,
    repeated,
    sqs_request,
)
from tests.bench.context import Context, in_series
from tests.bench.process import HOST, Cpu, Daemon
from tests.bench.report import Figure

CLIENTS = 16


def send_request(url: str, body: str = "hello, hello") -> bytes:
    """Return one SendMessage."""
    return sqs_request("SendMessage", orjson.dumps({"QueueUrl": url, "MessageBody": body}))


def send(context: Context) -> Iterator[Figure]:
    """SendMessage with 16 clients, answers after the commit."""
    yield _send(context, "process", must=5_000, aim=20_000)


def send_power(context: Context) -> Iterator[Figure]:
    """SendMessage with 16 clients, answers after the disk has it."""
    yield _send(context, "power", must=2_500, aim=5_000)


def _send(context: Context, durability: str, *, must: float, aim: float) -> Figure:
    total = context.scaled(30_000, 5_000)
    rates, costs = [], []
    with context.daemon(durability=durability) as (daemon, api):
        request = send_request(api.create_queue("send"))
        load((HOST, daemon.port), CLIENTS, repeated(request, total // 5))
        for _ in range(context.repetitions):
            before = daemon.cpu()
            rates.append(load((HOST, daemon.port), CLIENTS, repeated(request, total)).rate)
            costs.append((daemon.cpu() - before).server_s / total * 1e6)
    power = durability == "power"
    return Figure(
        row="send-power" if power else "send",
        measure=f"SendMessage, 16 clients{', power-safe' if power else ''}",
        value=median(rates),
        unit="msg/s",
        must=must,
        aim=aim,
        samples=rates,
        floor=in_series(context.echo(CLIENTS)[0], context.commit(CLIENTS, power)),
        floor_name=f"echo + SQLite commit of 16{', full sync' if power else ''}",
        server_us=median(costs),
    )


def send_batch(context: Context) -> Iterator[Figure]:
    """SendMessageBatch of ten with 16 clients."""
    total = context.scaled(60_000, 10_000)
    rates, costs = [], []
    with context.daemon() as (daemon, api):
        url = api.create_queue("batch")
        address = (HOST, daemon.port)
        fill(address, url, total // 5, connections=CLIENTS)
        for _ in range(context.repetitions):
            before = daemon.cpu()
            rates.append(fill(address, url, total, connections=CLIENTS).rate * 10)
            costs.append((daemon.cpu() - before).server_s / total * 1e6)
    yield Figure(
        row="send-batch",
        measure="SendMessageBatch(10), 16 clients",
        value=median(rates),
        unit="msg/s",
        must=30_000,
        aim=80_000,
        samples=rates,
        floor=in_series(context.echo(CLIENTS)[0] * 10, context.commit(160, False)),
        floor_name="echo / 10 + SQLite commit of 160",
        server_us=median(costs),
    )


def receive(context: Context) -> Iterator[Figure]:
    """ReceiveMessage of ten and DeleteMessageBatch of ten with 16 clients."""
    total = context.scaled(40_000, 8_000)
    rates, costs = [], []
    with context.daemon() as (daemon, api):
        url = api.create_queue("receive", VisibilityTimeout="300")
        address = (HOST, daemon.port)
        for _ in range(context.repetitions):
            fill(address, url, total, connections=CLIENTS)
            before = daemon.cpu()
            result, bodies = drain(address, url, clients=CLIENTS)
            costs.append((daemon.cpu() - before).server_s / total * 1e6)
            if len(set(bodies)) != total or len(bodies) != total:
                raise AssertionError(f"received {len(bodies)} messages, {len(set(bodies))} of {total} different")
            rates.append(total / result.seconds)
    yield Figure(
        row="receive",
        measure="ReceiveMessage(10) + DeleteMessageBatch(10), 16 clients",
        value=median(rates),
        unit="msg/s",
        must=15_000,
        aim=50_000,
        samples=rates,
        floor=in_series(context.echo(CLIENTS)[0] * 5, context.commit(160, False), context.commit(160, False)),
        floor_name="2 echoes / 10 + 2 SQLite commits of 160",
        server_us=median(costs),
    )


# -- flatness


def flat(context: Context) -> Iterator[Figure]:
    """Rate with 500 queues against 10, and with many messages waiting against 1,000."""
    with context.daemon() as (daemon, api):
        few = [api.create_queue(f"few-{number}", VisibilityTimeout="600") for number in range(10)]
        many = [api.create_queue(f"many-{number}", VisibilityTimeout="600") for number in range(500)]
        total = context.scaled(12_000, 3_000)
        yield _ratio(context, daemon, few, many, total, "flat-queues", "rate with 500 queues : 10", must=0.8, aim=0.95)
    waiting = [100_000, 1_000_000] if context.million else [100_000]
    for count in waiting:
        with context.daemon() as (daemon, api):
            small = api.create_queue("small", VisibilityTimeout="600")
            large = api.create_queue("large", VisibilityTimeout="600")
            fill((HOST, daemon.port), small, 1_000)
            fill((HOST, daemon.port), large, count)
            yield _ratio(
                context,
                daemon,
                [small],
                [large],
                context.scaled(6_000, 1_500),
                f"flat-waiting-{count}",
                f"rate with {count:,} waiting : 1,000",
                must=0.7,
                aim=0.9,
            )


def _ratio(
    context: Context,
    daemon: Daemon,
    base: list[str],
    other: list[str],
    total: int,
    row: str,
    measure: str,
    *,
    must: float,
    aim: float,
) -> Figure:
    """Compare the two sets of queues in turns, so that what else the machine does falls on both."""
    address = (HOST, daemon.port)
    for urls in (base, other):
        load(address, CLIENTS, _cycle(urls, total // 5))
    ratios, cpu_ratios, rates = [], [], []
    for _ in range(max(3, context.repetitions)):
        taken: list[tuple[float, Cpu]] = []
        for urls in (base, other):
            before = daemon.cpu()
            rate = load(address, CLIENTS, _cycle(urls, total)).rate
            taken.append((rate, daemon.cpu() - before))
        ratios.append(taken[1][0] / taken[0][0])
        cpu_ratios.append(taken[0][1].server_s / taken[1][1].server_s)
        rates.append(taken[1][0])
    return Figure(
        row=row,
        measure=measure,
        value=median(ratios),
        unit="",
        must=must,
        aim=aim,
        samples=ratios,
        note=f"send, receive, delete in turn: {median(rates):,.0f} calls/s; by CPU {median(cpu_ratios):.2f}",
    )


def _cycle(urls: list[str], total: int) -> NextRequest:
    """Each client sends to a queue, receives one from it, deletes that, and goes on to the next queue."""
    sends = [send_request(url) for url in urls]
    receives = [sqs_request("ReceiveMessage", orjson.dumps({"QueueUrl": url})) for url in urls]
    steps = counted(lambda index: sends[index % len(urls)], total // 3)
    places: dict[int, int] = {}
    given = 0

    def following(number: int, body: bytes) -> bytes | None:
        nonlocal given
        if b'"Messages"' in body:
            handle = orjson.loads(body)["Messages"][0]["ReceiptHandle"]
            url = urls[places[number]]
            return sqs_request("DeleteMessage", orjson.dumps({"QueueUrl": url, "ReceiptHandle": handle}))
        if b'"MessageId"' in body:
            return receives[places[number]]
        request = steps(number, body)
        places[number] = given % len(urls)
        given += 1
        return request

    return following
