"""A shelf to test on: a store in a temporary directory, a clock that is a number, and short ways to say things."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventrt.core.messages import MessageDraft, Queue, QueueDepth, Received, SentMessage, SettleResult
from eventrt.sources import queues
from eventrt.store.sqlite.store import SqliteStore

ACCOUNT, REGION = "000000000000", "us-east-1"


class FloatClock:
    """A clock that is a number; who sleeps on it is woken by `advance`."""

    def __init__(self, moment: float = 1_700_000_000.0) -> None:
        self.moment = moment
        self._moved = asyncio.Event()

    def now(self) -> float:
        return self.moment

    async def sleep_until(self, when: float) -> None:
        while self.moment < when:
            await self._moved.wait()

    def advance(self, seconds: float) -> None:
        self.moment += seconds
        self._moved.set()
        self._moved = asyncio.Event()

    def working(self) -> Any:
        return contextlib.nullcontext()


def draft(body: str = "hello", **more: Any) -> MessageDraft:
    return MessageDraft(body, hashlib.md5(body.encode()).hexdigest(), **more)


class Bench:
    """What tests say: `await bench.send(queue, "a", "b")`."""

    def __init__(self, directory: Path, clock: FloatClock) -> None:
        self.directory = directory
        self.clock = clock
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.directory, clock=self.clock, durability="process")  # type: ignore[arg-type]
        self.store.open()
        self.connection = self.store.engine.connection

    async def restart(self) -> None:
        await self.store.close()
        self.open()

    async def write(self, unit: Callable[[Any], Any]) -> Any:
        return await self.store.write(unit)

    async def queue(self, name: str = "q", **attributes: object) -> Queue:
        wire = {key: str(value) for key, value in attributes.items()}
        if name.endswith(".fifo"):
            wire["FifoQueue"] = "true"
        return await self.store.write(
            lambda tx: queues.create(tx, account_id=ACCOUNT, region=REGION, name=name, attributes=wire, tags={})
        )

    async def pair(self, name: str = "q", most: int = 2, **attributes: object) -> tuple[Queue, Queue]:
        """A queue and its dead-letter queue."""
        suffix = ".fifo" if name.endswith(".fifo") else ""
        dead = await self.queue(f"{name.removesuffix('.fifo')}-dead{suffix}")
        policy = f'{{"deadLetterTargetArn":"{dead.arn}","maxReceiveCount":{most}}}'
        return await self.queue(name, RedrivePolicy=policy, **attributes), dead

    async def send(self, queue: Queue, *bodies: str, **more: Any) -> list[SentMessage]:
        if queue.is_fifo:
            more.setdefault("group_id", "g")
            drafts = [draft(body, **{"deduplication_id": body, **more}) for body in bodies]
        else:
            drafts = [draft(body, **more) for body in bodies]
        return await self.store.write(lambda tx: queues.send(tx, queue, drafts))

    async def receive(self, queue: Queue, limit: int = 10, **more: Any) -> Received:
        return await self.store.write(lambda tx: queues.receive(tx, queue, limit=limit, **more))

    async def bodies(self, queue: Queue, limit: int = 10, **more: Any) -> list[str]:
        return [m.body for m in (await self.receive(queue, limit, **more)).messages]

    async def delete(self, queue: Queue, *handles: str) -> list[SettleResult]:
        return await self.store.write(lambda tx: queues.delete(tx, queue, handles))

    async def change(self, queue: Queue, handle: str, timeout_s: int) -> SettleResult:
        results = await self.store.write(lambda tx: queues.change_visibility(tx, queue, [(handle, timeout_s)]))
        return results[0]

    async def depth(self, queue: Queue) -> tuple[int, int, int]:
        depth: QueueDepth = await self.store.read(lambda tx: queues.depth(tx, queue))
        return depth.visible, depth.in_flight, depth.delayed

    def rows(self, table: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
