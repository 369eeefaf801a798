"""What every poller of shards keeps, embedded or plugin: order, nothing twice, nothing skipped, no state, cancellation.

A new poller is held to it by a `Bench` of its own: a source to write to, and the poller over it.
"""

import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from eventrt.api import Announces, ConfigurationError, Page, PollerContext, Seeks, Shard, ShardPoller, SourceUnavailable
from eventrt.core.shard import sequence_key
from eventrt.core.streams import Stream, hash_key_of
from eventrt.core.tables.schema import KeySchema, Table, key_of
from eventrt.plugins import Plugins
from eventrt.pollers import dynamodb, kinesis
from eventrt.sources import streams, table_streams, tables
from tests.running import PATIENCE_S
from tests.stream_house import OK, House, stream_house


@dataclass
class Bench:
    """A source with one shard, and what opens pollers of it.

    `append` adds records with these texts, `text_of` finds the text in a record; `missing` is an ARN of the kind that
    names nothing.
    """

    house: House
    context: PollerContext
    open: Callable[[PollerContext], AbstractAsyncContextManager[ShardPoller]]
    append: Callable[..., Any]
    text_of: Callable[[Any], str]
    missing: str


@asynccontextmanager
async def kinesis_bench(folder: Path) -> AsyncIterator[Bench]:
    async with stream_house(folder / "store") as house:
        await house.function()
        stream = await house.stream()

        async def append(*texts: str) -> None:
            drafts = [streams.Draft("k", text.encode(), hash_key_of("k")) for text in texts]
            await house.store.write(lambda tx: streams.put(tx, stream, drafts))

        def text_of(body: Any) -> str:
            return base64.b64decode(body["kinesis"]["data"]).decode()

        yield Bench(house, _context(stream.arn), kinesis.opener(house.store), append, text_of, stream.arn + "-not")


@asynccontextmanager
async def table_bench(folder: Path) -> AsyncIterator[Bench]:
    async with stream_house(folder / "store") as house:
        await house.function()
        table, stream = await house.store.write(_streamed_table)

        async def append(*texts: str) -> None:
            def unit(tx: Any) -> None:
                for text in texts:
                    item = {"id": {"S": text}}
                    tables.put(tx, table, key_of(table.key, item), tables.kept(item), None)

            await house.store.write(unit)

        def text_of(body: Any) -> str:
            return str(body["dynamodb"]["Keys"]["id"]["S"])

        yield Bench(house, _context(stream.arn), dynamodb.opener(house.store), append, text_of, stream.arn + "9")


def _streamed_table(tx: Any) -> tuple[Table, Stream]:
    draft = Table(0, "000000000000", "us-east-1", "t", "uuid", KeySchema("id", "S"), tx.now)
    table = table_streams.enable(tx, tx.tables.create(draft), "NEW_AND_OLD_IMAGES")
    stream = table_streams.stream_of(tx, table)
    assert stream is not None
    return table, stream


@asynccontextmanager
async def file_bench(folder: Path) -> AsyncIterator[Bench]:
    path = folder / "app.log"
    path.touch()
    async with stream_house(folder / "store", plugins=Plugins()) as house:
        await house.function()

        async def append(*texts: str) -> None:
            with path.open("ab") as file:
                file.write("".join(f"{text}\n" for text in texts).encode())

        opener = Plugins().poller("file")
        context = _context(f"arn:eventrt:file:::{path}")
        yield Bench(house, context, opener, append, lambda body: str(body["line"]), f"arn:eventrt:file:::{path}.not")


def _context(arn: str) -> PollerContext:
    function_arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    return PollerContext("m1", arn, "000000000000", "us-east-1", function_arn)


BENCHES = {"kinesis": kinesis_bench, "dynamodb": table_bench, "file": file_bench}


@pytest.fixture(params=list(BENCHES))
def open_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Bench]]:
    return lambda: BENCHES[request.param](tmp_path)


Open = Callable[[], AbstractAsyncContextManager[Bench]]


async def the_shard(poller: ShardPoller) -> Shard:
    (shard,) = await poller.shards()
    return shard


async def test_an_empty_shard_gives_an_empty_page_at_once(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        page = await poller.read(await the_shard(poller), after=None, limit=10)
        assert list(page.records) == []
        assert page.is_caught_up
        assert not page.end_of_shard
        assert not page.has_gap


async def test_records_come_in_order_with_growing_sequence_numbers(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        await bench.append("a", "b", "c")
        await bench.append("d")
        page = await poller.read(await the_shard(poller), after=None, limit=10)
        assert [bench.text_of(record.body) for record in page.records] == ["a", "b", "c", "d"]
        places = [sequence_key(record.id) for record in page.records]
        assert places == sorted(set(places))
        assert all(record.id.isdecimal() and record.id.isascii() for record in page.records)
        assert all(record.arrived_at > 0 for record in page.records)
        assert all(orjson.loads(orjson.dumps(dict(record.body))) == dict(record.body) for record in page.records)


async def test_pages_hold_no_more_than_asked_for_and_follow_each_other(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        await bench.append(*"abcdefg")
        shard = await the_shard(poller)
        cursor: str | None = None
        pages: list[Page] = []
        while not pages or not pages[-1].is_caught_up:
            pages.append(await poller.read(shard, after=cursor, limit=3))
            cursor = pages[-1].cursor
            assert len(pages[-1].records) <= 3
        assert "".join(bench.text_of(record.body) for page in pages for record in page.records) == "abcdefg"


async def test_reading_after_a_records_id_gives_what_follows_it(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        await bench.append(*"abcd")
        shard = await the_shard(poller)
        page = await poller.read(shard, after=None, limit=10)
        for index, record in enumerate(page.records):
            rest = await poller.read(shard, after=record.id, limit=10)
            assert [each.id for each in rest.records] == [each.id for each in page.records[index + 1 :]]


async def test_a_poller_keeps_no_state(open_bench: Open) -> None:
    async with open_bench() as bench:
        await bench.append(*"abc")
        async with bench.open(bench.context) as poller:
            shard = await the_shard(poller)
            first = await poller.read(shard, after=None, limit=2)
            again = await poller.read(shard, after=None, limit=2)
            assert [record.id for record in first.records] == [record.id for record in again.records]
        async with bench.open(bench.context) as another:
            same = await the_shard(another)
            assert same.checkpoint_key == shard.checkpoint_key
            rest = await another.read(same, after=first.cursor, limit=10)
            assert [bench.text_of(record.body) for record in rest.records] == ["c"]


async def test_a_read_that_is_cancelled_leaves_the_poller_whole(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        await bench.append(*"abc")
        shard = await the_shard(poller)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await poller.read(shard, after=None, limit=10)
        page = await poller.read(shard, after=None, limit=10)
        assert [bench.text_of(record.body) for record in page.records] == ["a", "b", "c"]


async def test_new_records_are_announced_or_looked_for(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        shard = await the_shard(poller)
        page = await poller.read(shard, after=None, limit=10)
        if isinstance(poller, Announces):
            assert page.look_again_s is None
            with poller.watch(shard) as bell:
                await bench.append("a")
                with anyio.fail_after(PATIENCE_S):
                    await bell.wait()
        else:
            assert page.look_again_s is not None
            assert 0 < page.look_again_s <= 60


async def test_latest_begins_after_what_is_there(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(bench.context) as poller:
        await bench.append(*"abc")
        shard = await the_shard(poller)
        assert isinstance(poller, Seeks)
        cursor = await poller.seek(shard, "LATEST", None)
        await bench.append("d")
        page = await poller.read(shard, after=cursor, limit=10)
        assert [bench.text_of(record.body) for record in page.records] == ["d"]


async def test_a_source_that_is_not_there_is_unavailable_and_says_which(open_bench: Open) -> None:
    async with open_bench() as bench, bench.open(replace(bench.context, source_arn=bench.missing)) as poller:
        with pytest.raises(SourceUnavailable, match="exist"):
            await poller.shards()


async def test_a_mapping_carries_its_records_to_the_function(open_bench: Open) -> None:
    """Through the whole house: batches, a restart of the mapping, and nothing twice."""
    async with open_bench() as bench:
        house = bench.house
        seen: list[list[str]] = []

        async def invoke(invocation: Any) -> Any:
            event = orjson.loads(invocation.payload)
            seen.append([bench.text_of(record) for record in event["Records"]])
            return OK

        house.invoker.invoke = invoke  # type: ignore[method-assign]
        await bench.append(*"abcde")
        await house.map(bench.context.source_arn, BatchSize=2, settles=False)
        with anyio.fail_after(PATIENCE_S):
            while sum(map(len, seen)) < 5:  # noqa: ASYNC110 - a file is looked at in real time
                await anyio.sleep(0.01)
            await house.until_enabled()
            await house.settle()
            await house.update(Enabled=False)
            await bench.append("f")
            await house.update(Enabled=True)
            while sum(map(len, seen)) < 6:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        assert seen == [["a", "b"], ["c", "d"], ["e"], ["f"]]


# -- what the file poller promises beside


async def test_a_rotated_file_is_read_to_its_end_before_the_new_one(tmp_path: Path) -> None:
    async with file_bench(tmp_path) as bench, bench.open(bench.context) as poller:
        path = tmp_path / "app.log"
        await bench.append("a", "b")
        old = await the_shard(poller)
        page = await poller.read(old, after=None, limit=1)
        path.rename(tmp_path / "app.log.1")
        path.touch()
        waiting = await poller.read(old, after=page.cursor, limit=10)
        assert [bench.text_of(record.body) for record in waiting.records] == ["b"]
        assert not waiting.end_of_shard  # its writer may not have turned to the new one yet
        await bench.append("c")
        listed = await poller.shards()
        assert [shard.parents for shard in listed] == [(), (old.id,)]
        assert (await poller.read(old, after=waiting.cursor, limit=10)).end_of_shard
        new = await poller.read(listed[1], after=None, limit=10)
        assert [bench.text_of(record.body) for record in new.records] == ["c"]


async def test_a_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    async with file_bench(tmp_path) as bench, bench.open(bench.context) as poller:
        (tmp_path / "app.log").write_bytes(b"one\ntw")
        shard = await the_shard(poller)
        page = await poller.read(shard, after=None, limit=10)
        assert [bench.text_of(record.body) for record in page.records] == ["one"]
        with (tmp_path / "app.log").open("ab") as file:
            file.write(b"o\n")
        page = await poller.read(shard, after=page.cursor, limit=10)
        assert [bench.text_of(record.body) for record in page.records] == ["two"]


async def test_a_file_that_was_cut_off_is_reported(tmp_path: Path) -> None:
    async with file_bench(tmp_path) as bench, bench.open(bench.context) as poller:
        await bench.append("one", "two")
        shard = await the_shard(poller)
        page = await poller.read(shard, after=None, limit=10)
        os.truncate(tmp_path / "app.log", 0)
        with pytest.raises(SourceUnavailable, match="was cut off"):
            await poller.read(shard, after=page.cursor, limit=10)


async def test_a_path_that_is_not_absolute_is_refused(tmp_path: Path) -> None:
    opener = Plugins().poller("file")
    with pytest.raises(ConfigurationError, match="names no absolute path"):
        async with opener(_context("arn:eventrt:file:::app.log")):
            pass


def test_a_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no poller for 'redis' is installed"):
        Plugins().poller("redis")


def test_a_plugin_that_does_not_load_says_why() -> None:
    broken = Plugins({"x": [EntryPoint("x", "no_such_module:poller", "eventrt.pollers")]})
    with pytest.raises(ConfigurationError, match="does not load: ModuleNotFoundError"):
        broken.poller("x")
    twice = [EntryPoint("x", f"module{number}:poller", "eventrt.pollers") for number in range(2)]
    with pytest.raises(ConfigurationError, match="several pollers for 'x'"):
        Plugins({"x": twice}).poller("x")
