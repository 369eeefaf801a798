"""The laws of streams, against a model: any order of puts, reshards, kills, failed units, sweeps and passing time.

The open shards always cover the hash key space without gap or overlap; a child's sequence numbers are greater than
its parents'; numbers are never given twice; every record is read exactly once, in order, through iterators of every
kind, until its retention is over; a sweep changes nothing that a reader sees.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventrt.core.streams import HIGHEST_HASH_KEY, Iterator, Shard, Stream, hash_key_of, sequence_number, sequence_of
from eventrt.sources import streams
from eventrt.store.sqlite.store import SqliteStore

HOUR = 3600.0
KEYS = [f"key-{number}" for number in range(12)]


class FloatClock:
    """A clock that is a number."""

    def __init__(self) -> None:
        self.moment = 1_700_000_000.0

    def now(self) -> float:
        return self.moment


@dataclass(frozen=True)
class Put:
    """A record as the model knows it."""

    sequence: int
    shard: int
    key: str
    data: bytes
    at: float


class Undone(Exception):  # noqa: N818 - what becomes of the unit
    """Rolls a unit back."""


class StreamMachine(RuleBasedStateMachine):
    @initialize(count=st.integers(1, 5))
    def start(self, count: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="eventrt-law-"))
        self.clock = FloatClock()
        self.puts: list[Put] = []
        self.numbers = itertools.count()
        self.floor = 0.0
        self.given: set[int] = set()
        self.open()
        stream = Stream(0, "000000000000", "us-east-1", "s", "kinesis", self.clock.moment)
        self.stream = self.write(lambda tx: streams.create(tx, stream, shard_count=count))

    def open(self) -> None:
        self.store = SqliteStore(self.directory, clock=self.clock, durability="process")  # type: ignore[arg-type]
        self.store.open()

    def write(self, unit: Any) -> Any:
        return self.loop.run_until_complete(self.store.write(unit))

    def read(self, query: Any) -> Any:
        return self.loop.run_until_complete(self.store.read(query))

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.store.close())
            self.loop.close()
            shutil.rmtree(self.directory)

    # -- what happens

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=20), explicit=st.integers(-1, HIGHEST_HASH_KEY))
    def put(self, keys: list[str], explicit: int) -> None:
        drafts = [
            streams.Draft(key, b"%d" % next(self.numbers), hash_key_of(key) if explicit < 0 else explicit)
            for key in keys
        ]
        placed = self.write(lambda tx: streams.put(tx, self.stream, drafts))
        for draft, (shard, sequence) in zip(drafts, placed, strict=True):
            assert shard.starting_hash_key <= draft.hash_key <= shard.ending_hash_key
            assert sequence not in self.given
            self.given.add(sequence)
            self.puts.append(Put(sequence, shard.id, draft.partition_key, draft.data, self.clock.moment))

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5))
    def put_and_fail(self, keys: list[str]) -> None:
        def unit(tx: Any) -> None:
            drafts = [streams.Draft(key, b"never", hash_key_of(key)) for key in keys]
            streams.put(tx, self.stream, drafts)
            streams.resize(tx, self.stream, 3)
            raise Undone

        self.undone(unit)

    def undone(self, unit: Any) -> None:
        try:
            self.write(unit)
        except Undone:
            return
        raise AssertionError("the unit should have failed")

    @rule(choice=st.integers(0, 10**6), key=st.floats(0, 1, exclude_max=True))
    def split(self, choice: int, key: float) -> None:
        def unit(tx: Any) -> tuple[Shard, Shard, Shard] | None:
            shards = streams.open_shards(tx, self.stream)
            shard = shards[choice % len(shards)]
            width = shard.ending_hash_key - shard.starting_hash_key
            if len(shards) > 12 or width < 1:
                return None
            at = shard.starting_hash_key + 1 + int(key * (width - 1))
            return (shard, *streams.split(tx, self.stream, shard, at))

        found = self.write(unit)
        if found is not None:
            parent, low, high = found
            assert (low.starting_hash_key, high.ending_hash_key) == (parent.starting_hash_key, parent.ending_hash_key)
            assert low.ending_hash_key + 1 == high.starting_hash_key
            assert low.parent == high.parent == parent.index

    @rule(choice=st.integers(0, 10**6))
    def merge(self, choice: int) -> None:
        def unit(tx: Any) -> None:
            shards = streams.open_shards(tx, self.stream)
            if len(shards) > 1:
                index = choice % (len(shards) - 1)
                pair = shards[index : index + 2]
                streams.merge(tx, self.stream, *(pair if choice % 2 else reversed(pair)))

        self.write(unit)

    @rule(count=st.integers(1, 12))
    def resize(self, count: int) -> None:
        self.write(lambda tx: streams.resize(tx, self.stream, count))
        shards = self.read(lambda tx: streams.open_shards(tx, self.stream))
        assert len(shards) == count
        widths = {shard.ending_hash_key - shard.starting_hash_key for shard in shards}
        assert max(widths) - min(widths) <= 1

    @rule(hours=st.sampled_from([24, 30, 48, 72]))
    def change_retention(self, hours: int) -> None:
        def unit(tx: Any) -> Stream:
            stream = tx.streams.by_id(self.stream.id)
            if hours * 3600 > stream.retention_s:
                return streams.increase_retention(tx, stream, hours * 3600)
            return streams.decrease_retention(tx, stream, hours * 3600)

        former = self.stream
        self.stream = self.write(unit)
        if self.stream.retention_s > former.retention_s:
            self.floor = max(self.floor, self.clock.moment - former.retention_s)

    @rule(hours=st.sampled_from([0.001, 1, 9, 23.9, 24, 25, 50]))
    def pass_time(self, hours: float) -> None:
        self.clock.moment += hours * HOUR

    @rule(limit=st.sampled_from([1, 3, 500]))
    def sweep(self, limit: int) -> None:
        before = self.everything()
        swept = self.write(lambda tx: tx.streams.sweep(limit))
        assert self.everything() == before
        if swept.next_at is None:
            assert not self.alive()

    @rule()
    def sweep_until_done(self) -> None:
        while (at := self.write(lambda tx: tx.streams.sweep(50)).next_at) is not None and at <= self.clock.moment:
            pass
        [(chunks,)] = self.store.engine.connection.execute("SELECT count(*) FROM chunk").fetchall()
        assert chunks <= len(self.alive())
        horizon = self.horizon()
        for shard in self.read(lambda tx: tx.streams.shards(self.stream)):
            assert shard.closed_at is None or shard.closed_at >= horizon

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.open()

    @rule()
    def kill_and_start(self) -> None:
        """The process is gone; the files are as they were."""
        engine = self.store.engine
        copy = Path(tempfile.mkdtemp(prefix="eventrt-law-"))
        for file in ("eventrt.db", "eventrt.db-wal"):
            shutil.copyfile(self.directory / file, copy / file)
        engine.connection.close()
        engine._disk.stop()
        for fd in (engine._shm_fd, engine._wal_fd, engine._lock_fd):
            os.close(fd)
        shutil.rmtree(self.directory)
        self.directory = copy
        self.open()

    @rule(hours=st.sampled_from([1.0, 30.0]))
    def set_clock_back(self, hours: float) -> None:
        """What was put in what is now the future has arrived by now."""
        horizon, alive = self.horizon(), self.alive()
        self.clock.moment -= hours * HOUR
        self.write(lambda tx: tx.streams.rebase(-hours * HOUR))
        now = self.clock.moment
        self.floor = min(horizon, now)
        self.puts = [Put(put.sequence, put.shard, put.key, put.data, min(put.at, now)) for put in alive]

    # -- what must hold

    def horizon(self) -> float:
        return max(self.clock.moment - self.stream.retention_s, self.floor)

    def alive(self) -> list[Put]:
        horizon = self.horizon()
        return [put for put in self.puts if put.at >= horizon]

    def everything(self, *, limit: int = 7) -> dict[int, list[int]]:
        """Read every shard from its horizon to its end; return the sequences by shard."""

        def query(tx: Any) -> dict[int, list[int]]:
            found: dict[int, list[int]] = {}
            for shard in tx.streams.shards(self.stream):
                after = shard.first_sequence - 1
                while True:
                    page = streams.read(tx, shard, after=after, limit=limit)
                    found.setdefault(shard.id, []).extend(record.sequence for record in page.records)
                    after = page.after
                    if page.is_at_tip:
                        break
                assert page.is_at_end == (not shard.is_open)
            return {shard_id: sequences for shard_id, sequences in found.items() if sequences}

        return dict(self.read(query))

    @invariant()
    def the_open_shards_cover_the_hash_key_space(self) -> None:
        if hasattr(self, "stream"):
            assert self.read(lambda tx: tx.streams.route(tx.streams.by_id(self.stream.id)).covers_everything())

    @invariant()
    def children_come_after_their_parents(self) -> None:
        if not hasattr(self, "stream"):
            return
        shards = {shard.index: shard for shard in self.read(lambda tx: tx.streams.shards(self.stream))}
        for shard in shards.values():
            for parent in (shard.parent, shard.adjacent_parent):
                if parent in shards:
                    last = shards[parent].last_sequence
                    assert last is not None
                    assert last < shard.first_sequence

    @invariant()
    def every_record_is_read_exactly_once_in_order(self) -> None:
        if not hasattr(self, "stream"):
            return
        expected: dict[int, list[int]] = {}
        for put in sorted(self.alive(), key=lambda each: each.sequence):
            expected.setdefault(put.shard, []).append(put.sequence)
        assert self.everything() == expected

    @rule(choice=st.integers(0, 10**6), limit=st.integers(1, 6), maximum_bytes=st.sampled_from([1, 20, 10**6]))
    def a_record_is_found_by_its_number_and_by_its_moment(self, choice: int, limit: int, maximum_bytes: int) -> None:
        alive = self.alive()
        if not alive:
            return
        put = alive[choice % len(alive)]
        shard = self.read(lambda tx: tx.streams.shard(put.shard))
        assert shard.first_sequence < put.sequence
        assert sequence_of(sequence_number(put.sequence, shard.index)) == put.sequence
        of_shard = sorted((each for each in alive if each.shard == put.shard), key=lambda each: each.sequence)
        following = [each for each in of_shard if each.sequence >= put.sequence]

        def read(after: int) -> Any:
            return self.read(lambda tx: streams.read(tx, shard, after=after, limit=limit, maximum_bytes=maximum_bytes))

        page = read(put.sequence - 1)
        got = [(record.sequence, record.partition_key, record.data, record.arrived_at) for record in page.records]
        assert got == [(each.sequence, each.key, each.data, each.at) for each in following[: len(got)]]
        assert 1 <= len(got) <= limit
        size = sum(len(record.data) + len(record.partition_key) for record in page.records)
        assert size <= maximum_bytes or len(got) == 1
        assert page.is_at_tip == (len(got) == len(following))
        token = Iterator(self.stream.id, shard.id, page.after, self.clock.moment).token()
        assert Iterator.of(token).after == got[-1][0]
        since = next(each for each in of_shard if each.at >= put.at)
        assert read(self.read(lambda tx: tx.streams.position_at(shard, put.at))).records[0].sequence == since.sequence
        lag = self.read(lambda tx: tx.streams.lag(shard, put.sequence))
        assert (lag.records, lag.oldest_at) == (len(following) - 1, following[1].at if following[1:] else None)

    @rule(choice=st.integers(0, 10**6))
    def the_latest_position_sees_what_comes_and_nothing_that_was(self, choice: int) -> None:
        shards = self.read(lambda tx: streams.open_shards(tx, self.stream))
        shard = shards[choice % len(shards)]
        latest = self.read(lambda tx: streams.latest(tx, shard))
        assert not self.read(lambda tx: streams.read(tx, shard, after=latest, limit=10)).records
        self.put([KEYS[0]], shard.starting_hash_key)
        [record] = self.read(lambda tx: streams.read(tx, shard, after=latest, limit=10)).records
        assert record.sequence == self.puts[-1].sequence


pytestmark = pytest.mark.timeout(600)
TestStreamLaws = StreamMachine.TestCase
TestStreamLaws.settings = settings(
    max_examples=int(os.environ.get("EVENTRT_EXAMPLES", "40")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
