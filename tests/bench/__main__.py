"""`make bench`: every figure beside its floor, as a table and as JSON below `results/`.

    python -m tests.bench [--quick] [--only NAME ...] [--repetitions N] [--no-million]

Rates are with `store.durability = "process"` except where a row says power-safe. The exit code says whether it could
be measured, not whether it is fast enough: on a busy machine judge by CPU per unit and by the ratio to the floor.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator

from tests.bench import asynchronous, invocations, lives, mappings, objects, queues, streams, tables, transfers
from tests.bench.context import Context
from tests.bench.report import Figure, save, show

MEASURES: dict[str, Callable[[Context], Iterator[Figure]]] = {
    "start": lives.start,
    "idle": mappings.idle,
    "drain": mappings.drain_backlog,
    "latency": mappings.latency,
    "invoke": invocations.invoke,
    "cold": invocations.cold,
    "async": asynchronous.events,
    "async-latency": asynchronous.latency,
    "send": queues.send,
    "send-batch": queues.send_batch,
    "receive": queues.receive,
    "send-power": queues.send_power,
    "flat": queues.flat,
    "put-records": streams.put_records,
    "shards": streams.drain_shards,
    "in-flight": streams.in_flight,
    "put-latency": streams.latency,
    "isolation": streams.isolation,
    "items": tables.items,
    "query": tables.query,
    "put-object": objects.put_small,
    "get-object": objects.get_small,
    "object-latency": objects.latency,
    "large": transfers.large,
    "restart": lives.restart,
}


def floors(context: Context) -> Iterator[Figure]:
    """The bare floors, as rows of their own."""
    for clients in (1, 8, 16, 32):
        rate, middle = context.echo(clients)
        yield Figure(
            f"floor-echo-{clients}",
            f"floor: aiohttp echo, {clients} clients",
            rate,
            "req/s",
            note=f"p50 {middle:.3f} ms",
        )
    rate, middle = context.pipe()
    yield Figure("floor-pipe", "floor: pipe round trip", rate, "/s", note=f"p50 {middle:.3f} ms")
    for per_commit in (1, 16, 160):
        for full_sync in (False, True):
            yield Figure(
                f"floor-commit-{per_commit}{'-sync' if full_sync else ''}",
                f"floor: SQLite, {per_commit} rows a commit{', full sync' if full_sync else ''}",
                context.commit(per_commit, full_sync),
                "rows/s",
            )


def main() -> int:
    """Measure what was asked for; return the exit code."""
    measures = {"floors": floors, **MEASURES}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=[*measures], metavar="NAME", help=", ".join(measures))
    parser.add_argument("--quick", action="store_true", help="fewer units and one repetition: a look, not a figure")
    parser.add_argument("--repetitions", type=int, help="of each measure (default 5, quick 1); medians are shown")
    parser.add_argument("--no-million", action="store_true", help="leave out the row with 1,000,000 waiting")
    options = parser.parse_args()
    context = Context(
        quick=options.quick,
        repetitions=options.repetitions or (1 if options.quick else 5),
        million=not (options.quick or options.no_million),
    )
    figures: list[Figure] = []
    failed: list[str] = []
    try:
        for name in options.only or measures:
            began = time.perf_counter()
            try:
                figures.extend(measures[name](context))
            except Exception:
                failed.append(name)
                traceback.print_exc()
            print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    finally:
        context.close()
    if figures:
        show(figures)
        print(f"written to {save(figures)}")
    if failed:
        print(f"could not be measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
