"""The laws of a mapping of a stream, through splits, merges, pauses, changes and kills, on virtual time.

Every record reaches the function or a failure record; the first deliveries of a key keep its order, also from a
parent shard to its children; bisect discards the poison and nothing else; what was committed never comes again.
"""

import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from eventrt.core.records import Outcome, Throttled
from eventrt.core.shard import sequence_key
from eventrt.core.streams import Shard, Stream
from eventrt.sources import streams
from tests.stream_house import ERROR, OK, House, Seen, failing, stream_house

SEEDS = 160
BLOCKS = 8


class World:
    """What one seed does to a stream, and everything that came of it."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.keys = [f"k{number}" for number in range(chance.randint(1, 12))]
        self.poison_rate = chance.choice([0.0, 0.0, 0.05, 0.2])
        self.throttles = chance.choice([0.0, 0.0, 0.1])
        self.settings: dict[str, Any] = {
            "BatchSize": chance.randint(1, 10),
            "ParallelizationFactor": chance.choice([1, 1, 3, 10]),
            "MaximumRetryAttempts": chance.randint(0, 2),
            "BisectBatchOnFunctionError": chance.random() < 0.5,
            "FunctionResponseTypes": ["ReportBatchItemFailures"] if chance.random() < 0.4 else [],
        }
        self.put: list[tuple[str, str]] = []
        self.seen: list[Seen] = []
        self.discarded: Counter[str] = Counter()
        self.sequences: dict[str, str] = {}

    def behave(self, seen: Seen) -> Outcome:
        """Fail on poison, one way or the other; every now and then there is no slot."""
        if self.chance.random() < self.throttles:
            return Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        self.seen.append(seen)
        self.sequences.update(zip(seen.payloads, seen.sequences, strict=True))
        bad = [
            number for payload, number in zip(seen.payloads, seen.sequences, strict=True) if payload.endswith("poison")
        ]
        if bad and self.settings["FunctionResponseTypes"]:
            return failing(*bad)
        return ERROR if bad else OK

    def records(self) -> list[tuple[str, str]]:
        """Return some new records: (key, payload)."""
        made: list[tuple[str, str]] = []
        for _ in range(self.chance.randint(1, 30)):
            kind = "poison" if self.chance.random() < self.poison_rate else "good"
            made.append((self.chance.choice(self.keys), f"{len(self.put) + len(made)}-{kind}"))
        self.put += made
        return made

    async def reshard(self, h: House, stream: Stream) -> None:
        """Split a shard, or merge two neighbours."""
        present = await h.shards(stream)
        open_: list[Shard] = sorted((shard for shard in present if shard.is_open), key=lambda s: s.starting_hash_key)
        index = self.chance.randrange(len(open_))
        if len(open_) > 1 and self.chance.random() < 0.5:
            first, second = open_[max(0, index - 1)], open_[max(1, index)]
            await h.store.write(lambda tx: streams.merge(tx, stream, first, second))
        else:
            shard = open_[index]
            middle = (shard.starting_hash_key + shard.ending_hash_key + 1) // 2
            await h.store.write(lambda tx: streams.split(tx, stream, shard, middle))

    async def step(self, h: House, stream: Stream) -> None:
        """Do one thing to the stream or its mapping."""
        match self.chance.choice(["put", "put", "put", "wait", "reshard", "pause", "change"]):
            case "put":
                await h.put(stream, *self.records())
                if self.chance.random() < 0.5:
                    await h.settle()
            case "wait":
                await h.clock.advance(self.chance.choice([0.5, 3, 20]))
            case "reshard":
                await self.reshard(h, stream)
            case "pause":
                await h.update(Enabled=False)
                await h.put(stream, *self.records())
                await h.update(Enabled=True)
            case "change":
                self.settings["ParallelizationFactor"] = self.chance.choice([1, 2, 10])
                await h.update(ParallelizationFactor=self.settings["ParallelizationFactor"])

    async def finish(self, h: House) -> None:
        """Let everything come to its end, and read what was given up."""
        for _ in range(200):
            await h.clock.advance(30)
            status = await h.supervisor.inspect("m1")
            if not any(shard["lag_records"] for shard in status["shards"]):
                break
        else:
            raise AssertionError("it did not come to an end")
        by_number = sorted((sequence_key(number), payload) for payload, number in self.sequences.items())
        for record in await h.messages("dead"):
            info = record["KinesisBatchInfo"]
            first, last = (sequence_key(info[name]) for name in ("startSequenceNumber", "endSequenceNumber"))
            if info["batchSize"] == 1:
                self.discarded.update(payload for place, payload in by_number if first == place)
            else:
                self.discarded.update(payload for place, payload in by_number if first <= place <= last)

    def check(self, seed: int) -> None:
        """Hold the laws."""
        tried = Counter(payload for seen in self.seen for payload in seen.payloads)
        assert set(tried) == {payload for _, payload in self.put}, f"seed {seed}: not everything reached the function"
        order: dict[str, list[int]] = {}
        met: set[str] = set()
        for seen in self.seen:
            for key, payload in zip(seen.keys, seen.payloads, strict=True):
                if payload not in met:
                    met.add(payload)
                    order.setdefault(key, []).append(int(payload.partition("-")[0]))
        for key, payloads in order.items():
            assert payloads == sorted(payloads), f"seed {seed}: {key} came as {payloads}"
        poison = {payload for _, payload in self.put if payload.endswith("poison")}
        assert poison <= set(self.discarded), f"seed {seed}: poison without a failure record"
        if self.settings["BisectBatchOnFunctionError"] and self.settings["ParallelizationFactor"] == 1:
            assert set(self.discarded) == poison, f"seed {seed}: the healthy were discarded"


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_every_record_ends_through_splits_merges_and_kills(block: int) -> None:
    for seed in range(block * SEEDS // BLOCKS, (block + 1) * SEEDS // BLOCKS):
        world = World(seed)
        with tempfile.TemporaryDirectory(prefix="eventrt-laws-") as folder:
            now = 1_700_000_000.0
            lives = world.chance.randint(1, 3)
            stream: Stream | None = None
            for life in range(lives):
                async with stream_house(Path(folder), begin_at=now) as h:
                    h.invoker.behave = world.behave
                    if stream is None:
                        await h.function()
                        target = await h.queue("dead")
                        stream = await h.stream(shard_count=world.chance.randint(1, 3))
                        config = {"OnFailure": {"Destination": target}}
                        await h.map(stream, DestinationConfig=config, **world.settings)
                    for _ in range(world.chance.randint(1, 8)):
                        await world.step(h, stream)
                    if life == lives - 1:
                        await world.finish(h)
                    now = h.clock.now()
        world.check(seed)
