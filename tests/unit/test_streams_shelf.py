"""Streams on their shelf: who is woken, what a failed unit leaves, transitions, and the sweeper."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.clock import VirtualClock
from eventrt.core.streams import Consumer, Shard, Stream, hash_key_of
from eventrt.sources import streams
from eventrt.sources.streamsweeper import StreamSweeper
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S

ACCOUNT, REGION = "000000000000", "us-east-1"
DAY = 86_400.0


class Shelf:
    """A store on a clock that tests move, and short ways to say things."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.clock.set_rate(0)
        self.open()

    def open(self) -> None:
        self.store = SqliteStore(self.directory, clock=self.clock, durability="process")
        self.store.open()

    async def restart(self) -> None:
        await self.store.close()
        self.open()

    async def create(self, name: str = "s", count: int = 1, **more: Any) -> Stream:
        stream = Stream(0, ACCOUNT, REGION, name, "kinesis", self.clock.now(), **more)
        return await self.store.write(lambda tx: streams.create(tx, stream, shard_count=count))

    async def put(self, stream: Stream, *keys: str) -> list[int]:
        drafts = [streams.Draft(key, key.encode(), hash_key_of(key)) for key in keys]
        placed = await self.store.write(lambda tx: streams.put(tx, stream, drafts))
        return [sequence or 0 for _, sequence in placed]

    async def shards(self, stream: Stream) -> list[Shard]:
        return list(await self.store.read(lambda tx: tx.streams.shards(stream)))

    def count(self, table: str) -> int:
        [(count,)] = self.store.engine.connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(count)


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    shelf = Shelf(tmp_path / "data")
    yield shelf
    await shelf.store.close()


class Fails(Exception):  # noqa: N818 - what a unit does
    """A unit ends with this."""


async def test_a_put_is_one_chunk_per_shard_and_rings_the_bells_of_its_shards(shelf: Shelf) -> None:
    stream = await shelf.create(count=2)
    keys = [f"key-{number}" for number in range(20)]
    first, second = await shelf.shards(stream)
    with shelf.store.watch(("shard", first.id)) as one, shelf.store.watch(("shard", second.id)) as other:
        await shelf.put(stream, *keys)
        with anyio.fail_after(PATIENCE_S):
            await one.wait()
            await other.wait()
        await shelf.put(stream, keys[0])
        with anyio.move_on_after(0.05):
            await (other if hash_key_of(keys[0]) <= first.ending_hash_key else one).wait()
            raise AssertionError("nothing came to this shard")
    assert shelf.count("chunk") == 3


async def test_a_reshard_rings_the_bells_of_the_stream_and_of_the_shards_it_closes(shelf: Shelf) -> None:
    stream = await shelf.create(count=2)
    [first, _] = await shelf.shards(stream)
    with shelf.store.watch(("stream", stream.id)) as whole, shelf.store.watch(("shard", first.id)) as one:
        await shelf.store.write(lambda tx: streams.split(tx, stream, first, 5))
        with anyio.fail_after(PATIENCE_S):
            await whole.wait()
            await one.wait()


async def test_a_reader_finds_the_end_of_a_shard_that_was_closed_meanwhile(shelf: Shelf) -> None:
    stream = await shelf.create()
    [shard] = await shelf.shards(stream)
    [sequence] = await shelf.put(stream, "a")
    page = await shelf.store.read(lambda tx: streams.read(tx, shard, after=0, limit=10))
    assert (page.after, page.is_at_tip, page.is_at_end) == (sequence, True, False)
    await shelf.store.write(lambda tx: streams.split(tx, stream, shard, 5))
    page = await shelf.store.read(lambda tx: streams.read(tx, shard, after=page.after, limit=10))
    assert (list(page.records), page.after, page.is_at_end) == ([], sequence, True)


async def test_a_reader_of_a_deleted_stream_is_at_its_end(shelf: Shelf) -> None:
    stream = await shelf.create()
    [shard] = await shelf.shards(stream)
    await shelf.put(stream, "a")
    with shelf.store.watch(("shard", shard.id)) as bell:
        await shelf.store.write(lambda tx: tx.streams.delete(stream))
        with anyio.fail_after(PATIENCE_S):
            await bell.wait()
    page = await shelf.store.read(lambda tx: streams.read(tx, shard, after=0, limit=10))
    assert page.is_at_end
    assert not page.records
    assert await shelf.store.read(lambda tx: tx.streams.shard(shard.id)) is None


async def test_a_unit_that_fails_leaves_nothing_in_memory(shelf: Shelf) -> None:
    stream = await shelf.create()

    def unit(tx: Any) -> None:
        streams.resize(tx, stream, 4)
        tx.streams.update(stream, retention_s=1)
        streams.create(tx, Stream(0, ACCOUNT, REGION, "other", "kinesis", tx.now), shard_count=1)
        tx.streams.register(stream, "c", tags={})
        raise Fails

    with pytest.raises(Fails):
        await shelf.store.write(unit)
    found = await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "s"))
    assert found == stream
    assert len(await shelf.shards(stream)) == 1
    assert await shelf.store.read(lambda tx: len(streams.open_shards(tx, stream))) == 1
    assert await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "other")) is None
    assert await shelf.store.read(lambda tx: tx.streams.consumers(stream)) == []


async def test_everything_about_a_stream_is_there_after_a_restart(shelf: Shelf) -> None:
    stream = await shelf.create(
        count=3, tags={"a": "b"}, shard_level_metrics=("IncomingBytes",), resized_at=(1.5,), policy="{}"
    )
    consumer = await shelf.store.write(lambda tx: tx.streams.register(stream, "c", tags={"x": "y"}))
    consumer = await shelf.store.write(lambda tx: tx.streams.update_consumer(consumer, policy="{}"))
    await shelf.store.write(lambda tx: tx.streams.set_account(ACCOUNT, REGION, {"commitment": None}))
    [sequence] = await shelf.put(stream, "a")
    shards = await shelf.shards(stream)
    await shelf.restart()
    assert await shelf.store.read(lambda tx: tx.streams.by_arn(stream.arn)) == stream
    assert await shelf.store.read(lambda tx: tx.streams.by_arn(consumer.arn)) == stream
    assert await shelf.store.read(lambda tx: tx.streams.consumer(consumer.arn)) == Consumer(
        stream.id, "c", consumer.created_at, consumer.arn, "{}", {"x": "y"}
    )
    assert await shelf.store.read(lambda tx: tx.streams.account(ACCOUNT, REGION)) == {"commitment": None}
    assert await shelf.shards(stream) == shards
    [later] = await shelf.put(stream, "a")
    assert later > sequence


async def test_a_number_that_was_given_out_before_a_lost_commit_is_not_given_again(shelf: Shelf) -> None:
    """A reader may have seen a record that a power cut then took: its number names no other record."""
    stream = await shelf.create()
    [sequence] = await shelf.put(stream, "a")
    await shelf.store.close()
    engine = shelf.store.engine
    import sqlite3

    with sqlite3.connect(engine.path) as connection:
        connection.execute("DELETE FROM chunk")
        connection.execute("UPDATE stream SET next_sequence = ?", (sequence,))
    connection.close()
    shelf.open()
    [again] = await shelf.put(stream, "a")
    assert again > sequence + 1000


async def test_streams_are_found_by_every_kind_of_arn_and_by_nothing_else(shelf: Shelf) -> None:
    stream = await shelf.create()
    table = Stream(0, ACCOUNT, REGION, "t", "table", shelf.clock.now(), label="2024-01-31T10:11:12.345")
    table = await shelf.store.write(lambda tx: streams.create(tx, table, shard_count=1))

    def query(tx: Any) -> list[Stream | None]:
        return [
            tx.streams.by_arn(arn)
            for arn in (
                stream.arn,
                table.arn,
                "arn:aws:kinesis:us-east-1:000000000000:stream/other",
                "arn:aws:kinesis:eu-west-1:000000000000:stream/s",
                "arn:aws:kinesis:us-east-1:000000000000:stream/s/consumer/c:1",
                "arn:aws:dynamodb:us-east-1:000000000000:table/t",
                "arn:aws:sqs:us-east-1:000000000000:s",
                "stream/s",
                "",
            )
        ]

    assert await shelf.store.read(query) == [stream, table, *[None] * 7]


async def test_streams_of_a_table_are_listed_by_their_labels(shelf: Shelf) -> None:
    for name in ("a", "b"):
        for label in ("1", "2"):
            stream = Stream(0, ACCOUNT, REGION, name, "table", 0.0, label=label)
            await shelf.store.write(lambda tx, stream=stream: tx.streams.create(stream))  # type: ignore[misc]
    await shelf.create("kinesis")

    async def names(**more: Any) -> list[str]:
        found = await shelf.store.read(lambda tx: tx.streams.list(ACCOUNT, REGION, "table", **more))
        return [f"{each.name}/{each.label}" for each in found]

    assert await names() == ["a/1", "a/2", "b/1", "b/2"]
    assert await names(after="a/1", limit=2) == ["a/2", "b/1"]
    assert await names(name="b") == ["b/1", "b/2"]
    assert await names(name="b", after="b/1") == ["b/2"]


async def test_a_transition_is_over_at_its_moment_swept_or_not(shelf: Shelf) -> None:
    now = shelf.clock.now()
    created = await shelf.create("new", status="CREATING", settles_at=now + 5)
    deleted = await shelf.create("old", status="DELETING", settles_at=now + 5)
    assert await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "old")) == deleted
    await shelf.clock.advance(5)
    found = await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "new"))
    assert found == created
    assert created.status_at(shelf.clock.now()) == "ACTIVE"
    assert await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "old")) is None
    assert await shelf.store.read(lambda tx: tx.streams.by_arn(deleted.arn)) is None
    listed = await shelf.store.read(lambda tx: tx.streams.list(ACCOUNT, REGION, "kinesis"))
    assert [each.name for each in listed] == ["new"]
    again = await shelf.create("old")
    assert again.id != deleted.id
    await shelf.store.write(lambda tx: tx.streams.sweep(100))
    found = await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "new"))
    assert found is not None
    assert (found.status, found.settles_at) == ("ACTIVE", None)
    assert await shelf.store.read(lambda tx: tx.streams.find(ACCOUNT, REGION, "old")) == again


async def test_the_sweeper_waits_for_moments_and_removes_what_is_over(shelf: Shelf) -> None:
    stream = await shelf.create(count=2)
    async with anyio.create_task_group() as group:
        await group.start(StreamSweeper(shelf.store, shelf.clock).run)
        await shelf.put(stream, *(f"key-{number}" for number in range(50)))
        [first, _] = await shelf.shards(stream)
        await shelf.store.write(lambda tx: streams.split(tx, stream, first, 5))
        await shelf.clock.advance(DAY - 60)
        assert shelf.count("chunk") == 2
        assert len(await shelf.shards(stream)) == 4
        await shelf.clock.advance(200)
        assert shelf.count("chunk") == 0
        assert len(await shelf.shards(stream)) == 3
        group.cancel_scope.cancel()


async def test_the_sweeper_sleeps_without_anything_to_wait_for_and_is_woken_by_a_put(shelf: Shelf) -> None:
    stream = await shelf.create()
    async with anyio.create_task_group() as group:
        await group.start(StreamSweeper(shelf.store, shelf.clock).run)
        await shelf.clock.advance(10 * DAY)
        assert not shelf.clock._timers
        await shelf.put(stream, "a")
        await shelf.clock.advance(DAY + 200)
        assert shelf.count("chunk") == 0
        group.cancel_scope.cancel()


async def test_a_shorter_retention_wakes_the_sweeper(shelf: Shelf) -> None:
    stream = await shelf.create(retention_s=int(10 * DAY))
    async with anyio.create_task_group() as group:
        await group.start(StreamSweeper(shelf.store, shelf.clock).run)
        await shelf.put(stream, "a")
        await shelf.clock.advance(2 * DAY)
        assert shelf.count("chunk") == 1
        await shelf.store.write(lambda tx: streams.decrease_retention(tx, stream, int(DAY)))
        await shelf.clock.advance(61)
        assert shelf.count("chunk") == 0
        group.cancel_scope.cancel()


async def test_a_deleted_stream_is_swept_in_slices_and_its_sister_is_left_alone(shelf: Shelf) -> None:
    stream, sister = await shelf.create(count=3), await shelf.create("sister")
    for number in range(40):
        await shelf.put(stream, f"key-{number}")
        await shelf.put(sister, f"key-{number}")
    await shelf.store.write(lambda tx: tx.streams.delete(stream))
    swept = [await shelf.store.write(lambda tx: tx.streams.sweep(10)) for _ in range(6)]
    assert [one.removed for one in swept] == [10, 10, 10, 10, 3, 0]
    assert (shelf.count("chunk"), shelf.count("shard"), shelf.count("stream")) == (40, 1, 1)


async def test_a_slice_is_bounded_in_bytes_too(shelf: Shelf) -> None:
    stream = await shelf.create()
    [shard] = await shelf.shards(stream)
    for _ in range(4):
        await shelf.store.write(lambda tx: streams.extend(tx, shard, ("a",), (bytes(5 * 1024 * 1024),)))
    await shelf.clock.advance(2 * DAY)
    assert (await shelf.store.write(lambda tx: tx.streams.sweep(1000))).removed == 1
    await shelf.store.write(lambda tx: tx.streams.delete(stream))
    assert (await shelf.store.write(lambda tx: tx.streams.sweep(1000))).removed < 3


async def test_a_unit_that_fails_takes_its_promises_to_the_sweeper_back(shelf: Shelf) -> None:
    stream = await shelf.create()
    async with anyio.create_task_group() as group:
        await group.start(StreamSweeper(shelf.store, shelf.clock).run)
        await anyio.wait_all_tasks_blocked()

        def unit(tx: Any) -> None:
            streams.put(tx, stream, [streams.Draft("a", b"a", 0)])
            raise Fails

        with pytest.raises(Fails):
            await shelf.store.write(unit)
        await shelf.put(stream, "a")
        await shelf.clock.advance(DAY + 200)
        assert shelf.count("chunk") == 0
        group.cancel_scope.cancel()


async def test_the_usage_of_an_account_counts_open_shards_and_on_demand_streams(shelf: Shelf) -> None:
    one = await shelf.create("one", 3)
    await shelf.create("two", 4, mode="ON_DEMAND")
    [first, *_] = await shelf.shards(one)
    await shelf.store.write(lambda tx: streams.split(tx, one, first, 5))
    usage = await shelf.store.read(lambda tx: tx.streams.usage(ACCOUNT, REGION))
    assert (usage.open_shards, usage.on_demand_streams) == (8, 1)
    nothing = await shelf.store.read(lambda tx: tx.streams.usage(ACCOUNT, "eu-west-1"))
    assert (nothing.open_shards, nothing.on_demand_streams) == (0, 0)
