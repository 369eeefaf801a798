"""What a message costs on the shelf, in microseconds: send(10), receive(10), delete(10) on the loop.

Run `python tests/bench/shelf.py [--durability power] [waiting ...]`. No port and no protocol: units of work only, so
the figures are the shelf's part of an operation. The table shows that the cost is flat: one queue or 500, an empty
shelf or a million messages waiting, one group or many.
"""

import argparse
import asyncio
import gc
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventrt.clock import SystemClock
from eventrt.core.messages import MessageDraft, Queue
from eventrt.sources import queues
from eventrt.store.sqlite.store import SqliteStore

BODY = "x" * 200
DIGEST = hashlib.md5(BODY.encode(), usedforsecurity=False).hexdigest()
ROUNDS = 2000
WRITERS = 8


def drafts(count: int, *, fifo: bool, start: int = 0, groups: int = 0) -> list[MessageDraft]:
    """Return drafts of 200 bytes."""
    return [
        MessageDraft(
            BODY,
            DIGEST,
            group_id=f"g{(start + i) % groups}" if groups else None,
            deduplication_id=str(start + i) if fifo else None,
        )
        for i in range(count)
    ]


async def measure(waiting: int, queue_count: int, *, fifo: bool, groups: int, durability: Any) -> dict[str, float]:
    """Return microseconds per message of each operation, batches of ten, several writers at once."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        store = SqliteStore(Path(directory), clock=SystemClock(), durability=durability)
        store.open()
        attributes = {"VisibilityTimeout": "3600"} | ({"FifoQueue": "true"} if fifo else {})

        def make(tx: Any) -> list[Queue]:
            return [
                queues.create(
                    tx,
                    account_id="0" * 12,
                    region="us-east-1",
                    name=f"q{i}" + (".fifo" if fifo else ""),
                    attributes=attributes,
                    tags={},
                )
                for i in range(queue_count)
            ]

        all_queues = await store.write(make)
        serial = 0
        while serial < waiting:
            batch = drafts(100, fifo=fifo, start=serial, groups=groups)
            queue = all_queues[(serial // 100) % queue_count]
            await store.write(lambda tx, q=queue, b=batch: queues.send(tx, q, b), durable=serial % 10000 == 0)
            serial += 100
        handles: list[tuple[Queue, list[str]]] = []

        def sending(i: int) -> Callable[[Any], Any]:
            queue = all_queues[i % queue_count]
            batch = drafts(10, fifo=fifo, start=serial + 10 * i, groups=groups)
            return lambda tx: queues.send(tx, queue, batch)

        def receiving(i: int) -> Callable[[Any], Any]:
            queue = all_queues[i % queue_count]

            def unit(tx: Any) -> None:
                received = queues.receive(tx, queue, limit=10)
                handles.append((queue, [m.receipt_handle for m in received.messages]))

            return unit

        def deleting(i: int) -> Callable[[Any], Any]:
            queue, some = handles[i]
            return lambda tx: queues.delete(tx, queue, some)

        figures = {}
        for name, unit_of in (("send", sending), ("receive", receiving), ("delete", deleting)):
            units = (
                [unit_of(i) for i in range(ROUNDS)] if name != "delete" else [deleting(i) for i in range(len(handles))]
            )
            gc.collect()
            began, cpu = time.perf_counter(), time.process_time()

            async def writer(offset: int, units: list[Callable[[Any], Any]] = units, name: str = name) -> None:
                for unit in units[offset::WRITERS]:
                    await store.write(unit, durable=name != "receive")
                    if name == "receive":
                        await asyncio.sleep(0)

            async with asyncio.TaskGroup() as tasks:
                for offset in range(WRITERS):
                    tasks.create_task(writer(offset))
            count = 10 * ROUNDS if name == "send" else sum(len(some) for _, some in handles)
            figures[name] = (time.perf_counter() - began) / count * 1e6
            figures[name + " cpu"] = (time.process_time() - cpu) / count * 1e6
        await store.close()
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durability", default="process", choices=["process", "power"])
    parser.add_argument("waiting", nargs="*", type=int, default=[1_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    print(f"µs per message (wall / cpu), batches of 10, durability {arguments.durability}")
    print(f"{'kind':<22}{'queues':>7}{'waiting':>10}{'send':>16}{'receive':>16}{'delete':>16}")
    kinds = [("standard", False, 0), ("standard, 100 groups", False, 100), ("fifo, 1000 groups", True, 1000)]
    for kind, fifo, groups in kinds:
        for queue_count in (1, 500):
            for waiting in arguments.waiting:
                f = asyncio.run(
                    measure(waiting, queue_count, fifo=fifo, groups=groups, durability=arguments.durability)
                )
                cells = "".join(f"{f[n]:>8.1f} /{f[n + ' cpu']:>6.1f}" for n in ("send", "receive", "delete"))
                print(f"{kind:<22}{queue_count:>7}{waiting:>10}{cells}", flush=True)


if __name__ == "__main__":
    main()
