"""A house with streams: a store, a clock held still, a supervisor, and functions as plain Python."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from eventrt.clock import VirtualClock
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.core.streams import Shard, Stream, hash_key_of
from eventrt.destinations.desk import Desk
from eventrt.invoker.functions import topic
from eventrt.invoker.invocation import Invocation
from eventrt.plugins import Plugins
from eventrt.pollers.supervisor import Supervisor
from eventrt.sources import mappings, queues, streams
from eventrt.store.api import Tx
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S, turn_until

ACCOUNT, REGION = "000000000000", "us-east-1"
OK = Succeeded(b"null")
ERROR = FunctionError(b"{}", "ValueError", "poison")


def failing(*sequences: str) -> Succeeded:
    """Return the answer that reports these sequence numbers."""
    return Succeeded(json.dumps({"batchItemFailures": [{"itemIdentifier": each} for each in sequences]}).encode())


@dataclass(frozen=True)
class Seen:
    """One event a function was given: its records' payloads, keys and sequence numbers, and the whole of it."""

    payloads: list[str]
    keys: list[str]
    sequences: list[str]
    shard: str
    at: float
    event: dict[str, Any] = field(repr=False)


def seen_of(event: dict[str, Any], at: float) -> Seen:
    """Read an event of Kinesis records; of others only the event itself is told."""
    records = [record["kinesis"] for record in event["Records"] if "kinesis" in record]
    shard = event.get("shardId") or event["Records"][0].get("eventID", "").partition(":")[0]
    return Seen(
        [base64.b64decode(record["data"]).decode() for record in records],
        [record["partitionKey"] for record in records],
        [record["sequenceNumber"] for record in records],
        shard,
        at,
        event,
    )


class Invoker:
    """Functions as plain Python: what `behave` returns or awaits is the outcome."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.behave: Callable[[Seen], Any] = lambda seen: OK
        self.seen: list[Seen] = []
        self.events: list[dict[str, Any]] = []
        self.running = 0
        self.most_running = 0

    async def invoke(self, invocation: Invocation) -> Outcome:
        event = json.loads(invocation.payload)
        seen = seen_of(event, self._clock.now())
        self.events.append(event)
        self.seen.append(seen)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            outcome = self.behave(seen)
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
        finally:
            self.running -= 1
        assert isinstance(outcome, Succeeded | FunctionError | Throttled | ServiceFault)
        return outcome

    @property
    def payloads(self) -> list[list[str]]:
        """The payloads of each event, in order of invocation."""
        return [each.payloads for each in self.seen]


class House:
    """Everything between a stream and a function."""

    def __init__(self, store: SqliteStore, clock: VirtualClock, plugins: Plugins | None = None) -> None:
        self.store = store
        self.clock = clock
        self.invoker = Invoker(clock)
        desk = Desk()
        desk.register("sqs", queues.accept)
        self.supervisor = Supervisor(store, clock, self.invoker, desk=desk, plugins=plugins)
        self.plugins = plugins

    async def function(self, name: str = "f") -> None:
        version = FunctionVersion(
            ACCOUNT, REGION, name, "python3.12", "a.b", "role", CodePackage("", 0, "/nowhere"), "r", "c", 0.0
        )

        def save(tx: Tx) -> None:
            tx.functions.save(Function(version))
            tx.announce(topic(version))

        await self.store.write(save)

    async def stream(self, name: str = "s", shard_count: int = 1) -> Stream:
        made = Stream(0, ACCOUNT, REGION, name, "kinesis", self.clock.now())
        return await self.store.write(lambda tx: streams.create(tx, made, shard_count=shard_count))

    async def queue(self, name: str, **attributes: str) -> str:
        queue = await self.store.write(
            lambda tx: queues.create(tx, account_id=ACCOUNT, region=REGION, name=name, attributes=attributes, tags={})
        )
        return queue.arn

    async def messages(self, name: str) -> list[dict[str, Any]]:
        """Take what is on a queue off it, read as JSON."""

        def unit(tx: Tx) -> list[dict[str, Any]]:
            queue = queues.find(tx, account_id=ACCOUNT, region=REGION, name=name)
            assert queue is not None
            found: list[dict[str, Any]] = []
            while messages := queues.receive(tx, queue, limit=10, visibility_timeout_s=600).messages:
                found += [json.loads(message.body) for message in messages]
            return found

        return await self.store.write(unit)

    async def map(
        self, stream: Stream | str, mapping_id: str = "m1", *, settles: bool = True, **request: Any
    ) -> EventSourceMapping:
        """Make a mapping; with `settles` return once everything that follows from it has happened."""
        arn = stream if isinstance(stream, str) else stream.arn
        wanted = {"EventSourceArn": arn, "FunctionName": "f", "StartingPosition": "TRIM_HORIZON", **request}
        services = frozenset() if self.plugins is None else self.plugins.services
        made = await self.store.write(
            lambda tx: mappings.create(
                tx, wanted, mapping_id=mapping_id, account_id=ACCOUNT, region=REGION, plugins=services
            )
        )
        if settles:
            await self.settle()
        return made

    async def update(self, mapping_id: str = "m1", *, settles: bool = True, **request: Any) -> None:
        await self.store.write(
            lambda tx: mappings.update(tx, request, mapping_id=mapping_id, account_id=ACCOUNT, region=REGION)
        )
        if settles:
            await self.settle()

    async def delete(self, mapping_id: str = "m1") -> None:
        await self.store.write(lambda tx: mappings.delete(tx, mapping_id=mapping_id, account_id=ACCOUNT, region=REGION))
        await self.settle()

    async def get(self, mapping_id: str = "m1") -> EventSourceMapping | None:
        return await self.store.read(lambda tx: tx.mappings.get(mapping_id))

    async def put(self, stream: Stream, *records: str | tuple[str, str]) -> None:
        """Put payloads, or (key, payload), together."""
        pairs = [("k", record) if isinstance(record, str) else record for record in records]
        drafts = [streams.Draft(key, payload.encode(), hash_key_of(key)) for key, payload in pairs]
        await self.store.write(lambda tx: streams.put(tx, stream, drafts))

    async def shards(self, stream: Stream) -> Sequence[Shard]:
        return await self.store.read(lambda tx: tx.streams.shards(stream))

    async def checkpoints(self, mapping_id: str = "m1") -> dict[str, str]:
        """The checkpoints by ShardId."""
        kept = await self.store.read(lambda tx: tx.checkpoints.of(mapping_id))
        return {key.partition("@")[0]: each.progress.checkpoint for key, each in kept.items()}

    async def until_enabled(self, mapping_id: str = "m1") -> None:
        """Return once no transition of a mapping is under way."""
        with anyio.fail_after(PATIENCE_S):
            while (mapping := await self.get(mapping_id)) is None or mapping.is_in_transition:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def settle(self) -> None:
        """Let everything that is due happen."""
        await self.clock.advance(0)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the loop turn until it is so; real time is of no matter."""
        await turn_until(is_so)


@asynccontextmanager
async def stream_house(
    directory: Path, *, begin_at: float = 1_700_000_000.0, plugins: Plugins | None = None
) -> AsyncIterator[House]:
    """A house that runs, with its clock held at `begin_at` (or where the last one on the directory stopped)."""
    clock = VirtualClock()
    clock.set_rate(0.0)
    clock.begin_at(begin_at)
    store = SqliteStore(directory, clock=clock, durability="process")
    store.open()
    built = House(store, clock, plugins)
    try:
        async with anyio.create_task_group() as group:
            await group.start(built.supervisor.run)
            yield built
            group.cancel_scope.cancel()
    finally:
        await store.close()
