"""Drain a backlog through one mapping, in process: messages a second, and CPU of this process per message.

    python -m tests.bench.drain [--messages N] [--batch N] [--fifo] [--durability power|process] [--profile]

The function is a stand-in that answers at once, so the figure is the daemon's share: receive, event, settle, store.
"""

import argparse
import asyncio
import cProfile
import hashlib
import json
import pstats
import tempfile
import time
from pathlib import Path

import anyio

from eventrt.clock import SystemClock
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.messages import MessageDraft
from eventrt.core.records import Outcome, Succeeded
from eventrt.invoker.invocation import Invocation
from eventrt.pollers.reports import BatchReport
from eventrt.pollers.supervisor import Supervisor
from eventrt.sources import mappings, queues
from eventrt.store.api import Tx
from eventrt.store.sqlite.store import SqliteStore

ACCOUNT, REGION = "000000000000", "us-east-1"


class Instant:
    """A function that answers at once, after one turn of the loop."""

    async def invoke(self, invocation: Invocation) -> Outcome:
        await asyncio.sleep(0)
        return Succeeded(b"null")


def function() -> Function:
    """A function as the store keeps it, without code."""
    code = CodePackage(sha256="", size_bytes=0, folder="/nowhere")
    return Function(FunctionVersion(ACCOUNT, REGION, "bench", "python3.11", "f.h", "r", code, "r1", "c1", 0.0))


async def drain(options: argparse.Namespace) -> dict[str, float]:
    """Fill a queue, start the mapping, wait until every message is settled."""
    with tempfile.TemporaryDirectory() as directory:
        clock = SystemClock()
        store = SqliteStore(Path(directory), clock=clock, durability=options.durability)
        store.open()
        name = "bench.fifo" if options.fifo else "bench"

        def prepare(tx: Tx) -> None:
            tx.functions.save(function())
            attributes = {"FifoQueue": "true"} if options.fifo else {}
            queue = queues.create(tx, account_id=ACCOUNT, region=REGION, name=name, attributes=attributes, tags={})
            for start in range(0, options.messages, 10):
                queues.send(
                    tx,
                    queue,
                    [
                        MessageDraft(
                            body := json.dumps({"number": number, "text": "x" * 100}),
                            hashlib.md5(body.encode()).hexdigest(),
                            group_id=f"g{number % 100}" if options.fifo else None,
                            deduplication_id=str(number) if options.fifo else None,
                        )
                        for number in range(start, min(start + 10, options.messages))
                    ],
                )

        await store.write(prepare)
        supervisor = Supervisor(store, clock, Instant())
        left = options.messages
        finished = anyio.Event()

        def count(report: BatchReport) -> None:
            nonlocal left
            left -= report.done
            if left <= 0:
                finished.set()

        supervisor.on_batch(count)
        request = {
            "EventSourceArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
            "FunctionName": "bench",
            "BatchSize": options.batch,
            "MaximumBatchingWindowInSeconds": 1 if options.batch > 10 else 0,
        }
        profile = cProfile.Profile() if options.profile else None
        async with anyio.create_task_group() as group:
            await group.start(supervisor.run)
            wall, cpu = time.perf_counter(), time.process_time()
            if profile:
                profile.enable()
            await store.write(
                lambda tx: mappings.create(tx, request, mapping_id="m" * 36, account_id=ACCOUNT, region=REGION)
            )
            await finished.wait()
            if profile:
                profile.disable()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            group.cancel_scope.cancel()
        await store.close()
        if profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        return {
            "messages_per_s": round(options.messages / wall),
            "cpu_us_per_message": round(cpu / options.messages * 1e6, 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--fifo", action="store_true")
    parser.add_argument("--durability", choices=("power", "process"), default="process")
    parser.add_argument("--profile", action="store_true")
    print(json.dumps(asyncio.run(drain(parser.parse_args()))))


if __name__ == "__main__":
    main()
