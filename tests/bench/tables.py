"""Tables: put and get items, and queries of ten items in a small and a large table."""

import random
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import orjson

from tests.bench.client import authorization, counted, http_request, load
from tests.bench.context import Context, in_series
from tests.bench.process import HOST, Daemon
from tests.bench.report import Figure

CLIENTS = 16
PER_PARTITION = 100


def request_of(operation: str, **members: Any) -> bytes:
    """Return one request of DynamoDB's API."""
    headers = {
        "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": authorization("dynamodb"),
    }
    return http_request("POST", "/", headers, orjson.dumps(members))


def item(number: int) -> dict[str, Any]:
    """Return an item of about 150 bytes."""
    return {
        "id": {"S": f"customer-{number // PER_PARTITION}"},
        "n": {"N": str(number % PER_PARTITION)},
        "state": {"S": "open"},
        "total": {"N": "12.5"},
        "note": {"S": "x" * 100},
    }


def key(number: int) -> dict[str, Any]:
    """Return the key of an item."""
    return {name: item(number)[name] for name in ("id", "n")}


def make(daemon: Daemon, name: str) -> None:
    """Make a table."""
    request = request_of(
        "CreateTable",
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "n", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "n", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    load((HOST, daemon.port), 1, counted(lambda _: request, 1))


def fill(daemon: Daemon, name: str, total: int) -> None:
    """Write so many items, 25 to a call."""

    def batch(index: int) -> bytes:
        puts = [{"PutRequest": {"Item": item(number)}} for number in range(index * 25, index * 25 + 25)]
        return request_of("BatchWriteItem", RequestItems={name: puts})

    load((HOST, daemon.port), CLIENTS, counted(batch, total // 25))


def items(context: Context) -> Iterator[Figure]:
    """PutItem and GetItem with 16 clients."""
    total = context.scaled(30_000, 5_000)
    puts: Callable[[int], bytes] = lambda number: request_of("PutItem", TableName="items", Item=item(number))  # noqa: E731
    gets: Callable[[int], bytes] = lambda number: request_of("GetItem", TableName="items", Key=key(number))  # noqa: E731
    with context.daemon() as (daemon, _):
        make(daemon, "items")
        yield _rate(
            context, daemon, "put-item", "PutItem, 16 clients", puts, total, must=4_000, aim=14_000, commits=True
        )
        yield _rate(
            context, daemon, "get-item", "GetItem, 16 clients", gets, total, must=5_000, aim=20_000, commits=False
        )


def _rate(
    context: Context,
    daemon: Daemon,
    row: str,
    measure: str,
    request: Callable[[int], bytes],
    total: int,
    *,
    must: float,
    aim: float,
    commits: bool,
) -> Figure:
    made = [request(number) for number in range(total)]
    load((HOST, daemon.port), CLIENTS, counted(made.__getitem__, total // 5))
    rates, costs = [], []
    for _ in range(context.repetitions):
        before = daemon.cpu()
        rates.append(load((HOST, daemon.port), CLIENTS, counted(made.__getitem__, total)).rate)
        costs.append((daemon.cpu() - before).server_s / total * 1e6)
    echo = context.echo(CLIENTS)[0]
    return Figure(
        row=row,
        measure=measure,
        value=median(rates),
        unit="/s",
        must=must,
        aim=aim,
        samples=rates,
        floor=in_series(echo, context.commit(CLIENTS, False)) if commits else echo,
        floor_name="echo + SQLite commit of 16" if commits else "echo",
        server_us=median(costs),
    )


def query(context: Context) -> Iterator[Figure]:
    """Queries of ten items: the rate in a large table over that in one of 1,000."""
    sizes = {"small": 1_000, "large": 1_000_000 if context.million else 100_000}
    total = context.scaled(10_000, 2_000)
    numbers = random.Random(7)
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    with context.daemon() as (daemon, _):
        made: dict[str, list[bytes]] = {}
        for name, size in sizes.items():
            make(daemon, name)
            fill(daemon, name, size)
            made[name] = [_query(name, numbers.randrange(size // PER_PARTITION)) for _ in range(total)]
        for _ in range(context.repetitions):
            for name in sizes:  # in turns: the machine's other work falls on both alike
                rates[name].append(load((HOST, daemon.port), CLIENTS, counted(made[name].__getitem__, total)).rate)
    ratios = [large / small for small, large in zip(rates["small"], rates["large"], strict=True)]
    yield Figure(
        row="query-flat",
        measure=f"Query of 10 items, {sizes['large']:,} items : 1,000",
        value=median(ratios),
        unit="ratio",
        must=0.7,
        aim=0.9,
        samples=ratios,
        note=f"{median(rates['small']):,.0f}/s in the small one",
    )


def _query(name: str, partition: int) -> bytes:
    return request_of(
        "Query",
        TableName=name,
        KeyConditionExpression="id = :id AND n >= :n",
        ExpressionAttributeValues={":id": {"S": f"customer-{partition}"}, ":n": {"N": "40"}},
        Limit=10,
    )
