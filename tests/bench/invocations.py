"""Functions: synchronous calls when warm, and the first one after a create."""

import itertools
import time
from collections.abc import Iterator
from statistics import median

from tests.bench.client import Refused, invoke_request, load, repeated
from tests.bench.context import NOOP, Context, in_series
from tests.bench.process import HOST
from tests.bench.report import Figure

USES_BOTO3 = "import boto3\n\n" + NOOP

_BOUNDS = {1: (1_500.0, 5_000.0), 8: (3_000.0, 8_000.0), 32: (3_000.0, 8_000.0)}


def invoke(context: Context) -> Iterator[Figure]:
    """Synchronous Invoke of a warm no-op with 1, 8 and 32 clients."""
    with context.daemon() as (daemon, api):
        api.create_function("noop", NOOP)
        api.await_active("noop")
        api.invoke("noop")
        request = invoke_request("noop")
        address = (HOST, daemon.port)
        for clients, (must, aim) in _BOUNDS.items():
            total = context.scaled(10_000, 2_000) if clients > 1 else context.scaled(5_000, 1_000)
            load(address, clients, repeated(request, max(total // 5, clients * 10)))
            rates, middles, servers, handlers = [], [], [], []
            for _ in range(context.repetitions):
                before = daemon.cpu()
                result = load(address, clients, repeated(request, total))
                cost = daemon.cpu() - before
                rates.append(result.rate)
                middles.append(result.percentile_ms(50))
                servers.append(cost.server_s / total * 1e6)
                handlers.append(cost.handlers_s / total * 1e6)
            echo, echo_ms = context.echo(clients)
            pipe, pipe_ms = context.pipe()
            yield Figure(
                row=f"invoke-{clients}",
                measure=f"sync Invoke, warm no-op, {clients} client{'s' if clients > 1 else ''}",
                value=median(rates),
                unit="req/s",
                must=must,
                aim=aim,
                samples=rates,
                floor=in_series(echo, pipe),
                floor_name="echo + pipe round trip",
                server_us=median(servers),
                handlers_us=median(handlers),
            )
            if clients == 1:
                yield Figure(
                    row="invoke-p50",
                    measure="sync Invoke, warm no-op, 1 client, p50",
                    value=median(middles),
                    unit="ms",
                    must=0.8,
                    aim=0.25,
                    better="less",
                    samples=middles,
                    floor=echo_ms + pipe_ms,
                    floor_name="echo + pipe round trip",
                )


def cold(context: Context) -> Iterator[Figure]:
    """The first invocation of a function after it was created, and create to first result."""
    numbers = itertools.count(1)
    times = context.scaled(15, 5)
    with context.daemon() as (_, api):

        def first(source: str, *, wait: bool) -> float:
            name = f"cold-{next(numbers)}"
            began = time.perf_counter()
            api.create_function(name, source)
            if wait:
                api.await_active(name)
                began = time.perf_counter()
            while True:
                try:
                    api.invoke(name)
                    break
                except Refused as refused:
                    # a function that is still Pending refuses; the caller who does not wait asks again at once
                    if wait or refused.status != 409:
                        raise
            return (time.perf_counter() - began) * 1000

        rows = [
            ("cold-plain", "first invoke after create, plain", NOOP, True, 50.0, 15.0),
            ("cold-boto3", "first invoke after create, imports boto3", USES_BOTO3, True, 150.0, 25.0),
            ("cold-create", "create call → first result, plain", NOOP, False, 120.0, 40.0),
        ]
        for row, measure, source, wait, must, aim in rows:
            first(source, wait=wait)
            samples = [first(source, wait=wait) for _ in range(times)]
            yield Figure(
                row=row,
                measure=measure,
                value=median(samples),
                unit="ms",
                must=must,
                aim=aim,
                better="less",
                samples=samples,
                floor=context.echo(1)[1] + context.pipe()[1],
                floor_name="echo + pipe round trip (warm)",
            )
