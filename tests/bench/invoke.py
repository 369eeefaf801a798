"""What an invocation costs inside the daemon, without HTTP: `python -m tests.bench.invoke`.

Warm invocations one after the other and eight at a time, beside a bare round trip over two pipes; cold starts of a
plain handler and of one that imports boto3, with zygotes that are up.
"""

import asyncio
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import structlog

from tests.invoking import Bench, running_invoker

WARM, COLD = 4000, 20


async def main() -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    print(f"bare pipe round trip          {bare_round_trip_us():8.1f} us")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        async with running_invoker(Path(folder)) as bench:
            plain = bench.function("def handler(event, context):\n    return None\n")
            for label, flight in (
                ("warm, one after the other", 1),
                ("warm, 8 in flight", 8),
                ("warm, 32 in flight", 32),
            ):
                took_us, cpu_us = await warm(bench, plain, flight)
                print(f"{label:30}{took_us:8.1f} us  {1e6 / took_us:8.0f} /s   daemon CPU {cpu_us:6.1f} us")
            await settle(bench)
            for label, source in (
                ("cold, plain", "def handler(event, context):\n    return None\n"),
                ("cold, imports boto3", "import boto3\ndef handler(event, context):\n    return None\n"),
            ):
                times = []
                for _ in range(COLD):
                    function = bench.function(source)
                    began = time.perf_counter()
                    await bench.result(function)
                    times.append((time.perf_counter() - began) * 1000)
                print(f"{label:30}{statistics.median(times):8.1f} ms  (from {min(times):.1f} to {max(times):.1f})")


async def warm(bench: Bench, function: object, flight: int) -> tuple[float, float]:
    """Return microseconds per invocation: elapsed, and of the daemon's CPU."""
    each = WARM // flight

    async def caller(count: int) -> None:
        for _ in range(count):
            await bench.invoke(function)

    async with anyio.create_task_group() as group:
        for _ in range(flight):
            group.start_soon(caller, 20)
    began, cpu = time.perf_counter(), _cpu()
    async with anyio.create_task_group() as group:
        for _ in range(flight):
            group.start_soon(caller, each)
    count = each * flight
    return (time.perf_counter() - began) / count * 1e6, (_cpu() - cpu) / count * 1e6


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def settle(bench: Bench) -> None:
    """Have both zygotes of the interpreter up."""
    interpreter = await bench.invoker.interpreter("python3.11")
    await bench.invoker.runtime.zygote(interpreter, with_boto3=False)
    await bench.invoker.runtime.zygote(interpreter, with_boto3=True)


def bare_round_trip_us(count: int = 20_000) -> float:
    """Return what a byte there and back to another process costs."""
    to_child, to_parent = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(to_child[1])
        while data := os.read(to_child[0], 4096):
            os.write(to_parent[1], data)
        os._exit(0)
    began = time.perf_counter()
    for _ in range(count):
        os.write(to_child[1], b"x")
        os.read(to_parent[0], 4096)
    took = time.perf_counter() - began
    for fd in (*to_child, *to_parent):
        os.close(fd)
    os.waitpid(child, 0)
    return took / count * 1e6


if __name__ == "__main__":
    try:
        import uvloop

        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
    except ImportError:
        asyncio.run(main())
