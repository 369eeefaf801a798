"""Where should units of work run: on the event loop, or in a writer thread? Measure both, side by side.

Run `python tests/bench/writer_designs.py`. The same units (ten small statements, as a SendMessageBatch is) from the
same clients, on a loop that also has other work per request (parsing, signing, serialising: 50 µs of it). The thread
makes its calls against a busy loop and waits for the interpreter lock at each; the loop runs them without a switch
and leaves only the sync of the log to a thread. Answer: docs/decisions/0001-units-on-the-loop.md.
"""

import asyncio
import os
import queue
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from eventrt.clock import SystemClock
from eventrt.store.sqlite.engine import Engine, StampedTx

SCHEMA = "CREATE TABLE IF NOT EXISTS thing (id INTEGER PRIMARY KEY, shelf INTEGER, body TEXT)"
BODY = "x" * 200
OTHER_WORK_S = 50e-6
SECONDS = 3.0

Unit = Callable[[sqlite3.Connection], Any]
Write = Callable[[Unit], Awaitable[Any]]


def unit(connection: sqlite3.Connection) -> None:
    """Ten messages, one statement each, as repositories make them."""
    for _ in range(10):
        connection.execute("INSERT INTO thing (shelf, body) VALUES (?, ?)", (1, BODY))


class WriterThread:
    """The other design: a thread takes whatever waits, runs it in one transaction, and answers through the loop."""

    def __init__(self, path: Path, durability: str) -> None:
        self._path = path
        self._durability = durability
        self._units: queue.SimpleQueue[tuple[Unit, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    async def write(self, work: Unit) -> Any:
        """Hand a unit over and wait for its answer."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._units.put((work, future))
        return await future

    def _work(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'power' else 'NORMAL'}")
        connection.execute(SCHEMA)
        running = True
        while running:
            group = [self._units.get()]
            while not self._units.empty():
                group.append(self._units.get())
            connection.execute("BEGIN IMMEDIATE")
            answers = []
            for item in group:
                if item is None:
                    running = False
                    continue
                connection.execute("SAVEPOINT unit")
                answers.append((item[1], item[0](connection)))
                connection.execute("RELEASE unit")
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._answer, answers)
        connection.close()

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
        for future, value in answers:
            if not future.done():
                future.set_result(value)

    async def close(self) -> None:
        """Let the thread finish."""
        self._units.put(None)
        await asyncio.to_thread(self._thread.join)


async def load(write: Write, clients: int) -> tuple[float, float, float]:
    """Return units per second, and the median and 99th percentile of a write in milliseconds."""
    waits: list[float] = []
    give_up_at = time.perf_counter() + SECONDS

    async def client() -> None:
        while time.perf_counter() < give_up_at:
            busy_until = time.perf_counter() + OTHER_WORK_S
            while time.perf_counter() < busy_until:
                pass
            began = time.perf_counter()
            await write(unit)
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
    cuts = statistics.quantiles(waits, n=100)
    return len(waits) / SECONDS, cuts[49] * 1e3, cuts[98] * 1e3


async def on_the_loop(directory: Path, durability: Any, clients: int) -> tuple[float, float, float]:
    """Measure the engine as it is."""
    engine: Engine[Any] = Engine(directory, clock=SystemClock(), durability=durability)
    engine.open()
    engine.tx = StampedTx()
    engine.connection.execute(SCHEMA)

    async def write(work: Unit) -> Any:
        return await engine.write(lambda tx: work(engine.connection))

    figures = await load(write, clients)
    await engine.close()
    return figures


async def in_a_thread(directory: Path, durability: str, clients: int) -> tuple[float, float, float]:
    """Measure the writer thread."""
    writer = WriterThread(directory / "thread.db", durability)
    figures = await load(writer.write, clients)
    await writer.close()
    return figures


def main() -> None:
    """Print the table."""
    print(f"{os.cpu_count()} cores, {OTHER_WORK_S * 1e6:.0f} µs of other work per request, ten inserts per unit")
    print(f"{'durability':<12}{'clients':>8}  {'design':<12}{'units/s':>9}{'p50 ms':>9}{'p99 ms':>9}")
    for durability in ("process", "power"):
        for clients in (1, 16, 64):
            for name, design in (("loop", on_the_loop), ("thread", in_a_thread)):
                with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
                    rate, p50, p99 = asyncio.run(design(Path(directory), durability, clients))
                print(f"{durability:<12}{clients:>8}  {name:<12}{rate:>9.0f}{p50:>9.2f}{p99:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
