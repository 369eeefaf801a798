"""The driver of a shard where the world is unkind: destinations that are gone, full disks, pollers that break."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventrt.api import (
    ConfigurationError,
    OpenPoller,
    Page,
    PollerContext,
    Record,
    Shard,
    ShardPoller,
    SourceUnavailable,
)
from eventrt.core.records import FunctionError, Succeeded
from eventrt.core.streams import shard_name
from eventrt.errors import StoreFull
from eventrt.plugins import Plugins
from tests.stream_house import ERROR, OK, Invoker, stream_house

ARN = "arn:eventrt:fake:::source"


class Fake:
    """A source that a test writes to: records by shard, and whatever goes wrong."""

    def __init__(self) -> None:
        self.shards_: list[Shard] = [Shard("a")]
        self.records: dict[str, list[Record]] = {}
        self.trouble: Callable[[Shard], None] = lambda shard: None
        self.reads: list[tuple[str, str | None]] = []

    def add(self, shard: str, *numbers: int) -> None:
        """Add records."""
        made = [Record(str(number), {"n": number}, 1_700_000_000.0, 10) for number in numbers]
        self.records.setdefault(shard, []).extend(made)

    async def shards(self) -> Sequence[Shard]:
        return self.shards_

    async def read(self, shard: Shard, *, after: str | None, limit: int) -> Page:
        self.reads.append((shard.id, after))
        self.trouble(shard)
        found = [each for each in self.records.get(shard.id, []) if int(each.id) > int(after or 0)][:limit]
        return Page(found, found[-1].id if found else after, look_again_s=0.01)


class FakePlugins(Plugins):
    """Plugins with one for `fake`."""

    def __init__(self, fake: Fake) -> None:
        super().__init__({})
        self._fake = fake

    @property
    def services(self) -> frozenset[str]:
        return frozenset({"fake"})

    def poller(self, service: str) -> OpenPoller:
        @asynccontextmanager
        async def poller(context: PollerContext) -> AsyncIterator[ShardPoller]:
            yield self._fake

        return poller


def numbers_of(invoker: Invoker) -> list[list[int]]:
    return [[record["n"] for record in event["Records"]] for event in invoker.events]


async def test_a_destination_that_is_gone_does_not_block_the_shard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")
        h.invoker.behave = lambda seen: ERROR if "bad" in seen.payloads else OK
        await h.map(stream, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": target}})
        queue = await h.store.read(lambda tx: tx.queues.by_arn(target))
        assert queue is not None
        await h.store.write(lambda tx: tx.queues.delete(queue))
        await h.put(stream, "bad")
        await h.settle()
        await h.put(stream, "good")
        await h.settle()
        assert h.invoker.payloads == [["bad"], ["good"]]
        logged = capsys.readouterr().out
        assert "discard.undelivered" in logged
        assert h.invoker.seen[0].sequences[0] in logged


async def test_a_last_call_of_a_window_that_is_given_up_leaves_a_record_of_the_window(tmp_path: Path) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        target = await h.queue("dead")

        def behave(seen: Any) -> Any:
            return ERROR if seen.event["isFinalInvokeForWindow"] else Succeeded(b'{"state": {"n": 1}}')

        h.invoker.behave = behave
        await h.map(
            stream,
            TumblingWindowInSeconds=60,
            MaximumRetryAttempts=1,
            DestinationConfig={"OnFailure": {"Destination": target}},
        )
        await h.put(stream, "0")
        await h.clock.advance(90)
        (record,) = await h.messages("dead")
        info = record["KinesisBatchInfo"]
        number = h.invoker.seen[0].sequences[0]
        assert info == {
            "shardId": shard_name(0),
            "startSequenceNumber": number,
            "endSequenceNumber": number,
            "approximateArrivalOfFirstRecord": "2023-11-14T22:13:00.000Z",
            "approximateArrivalOfLastRecord": "2023-11-14T22:14:00.000Z",
            "batchSize": 0,
            "streamArn": stream.arn,
        }
        assert record["requestContext"]["approximateInvokeCount"] == 2


async def test_a_full_disk_holds_up_the_checkpoint_and_nothing_runs_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stream_house(tmp_path) as h:
        await h.function()
        stream = await h.stream()
        await h.map(stream, BatchSize=1)
        write, refusals = h.store.write, [3]

        async def full(work: Any, *, durable: bool = True) -> Any:
            if refusals[0] and h.invoker.seen:
                refusals[0] -= 1
                raise StoreFull("no room")
            return await write(work, durable=durable)

        await h.put(stream, "0", "1")
        monkeypatch.setattr(h.store, "write", full)
        await h.clock.advance(10)
        assert refusals == [0]
        assert h.invoker.payloads == [["0"], ["1"]]
        assert await h.checkpoints() == {shard_name(0): h.invoker.seen[1].sequences[0]}


async def test_a_source_that_is_away_is_named_and_asked_again(tmp_path: Path) -> None:
    fake = Fake()
    fake.add("a", 1, 2)
    away = [3]

    def trouble(shard: Shard) -> None:
        if away[0]:
            away[0] -= 1
            raise SourceUnavailable("the broker is away", retry_after_s=5.0)

    fake.trouble = trouble
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        await h.map(ARN)
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "the broker is away"
        await h.clock.advance(20)
        assert numbers_of(h.invoker) == [[1, 2]]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None


async def test_a_poller_that_breaks_in_one_shard_is_started_again_and_holds_up_no_other(tmp_path: Path) -> None:
    fake = Fake()
    fake.shards_ = [Shard("a"), Shard("b")]
    fake.add("a", 1)
    fake.add("b", 2)
    broken = [2]

    def trouble(shard: Shard) -> None:
        if shard.id == "a" and broken[0]:
            broken[0] -= 1
            raise RuntimeError("a defect")

    fake.trouble = trouble
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        await h.map(ARN)
        assert numbers_of(h.invoker) == [[2]]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "RuntimeError in the poller of a; it is started again."
        status = await h.supervisor.inspect("m1")
        assert [shard["restarts"] for shard in status["shards"]] == [1, 0]
        await h.clock.advance(10)
        assert numbers_of(h.invoker) == [[2], [1]]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None


@pytest.mark.parametrize("wrong", [["2", "1"], ["1", "1"], ["x"], ["-1"], [""]])
async def test_a_poller_whose_numbers_do_not_grow_is_found_out(tmp_path: Path, wrong: list[str]) -> None:
    fake = Fake()
    fake.records["a"] = [Record(number, {"n": 0}, 1_700_000_000.0, 10) for number in wrong]
    fake.trouble = lambda shard: None

    async def read(shard: Shard, *, after: str | None, limit: int) -> Page:
        return Page(fake.records["a"], "0")

    fake.read = read  # type: ignore[method-assign]
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        await h.map(ARN)
        assert h.invoker.events == []
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "ValueError in the poller of a; it is started again."


async def test_a_poller_that_cannot_seek_takes_trim_horizon_only(tmp_path: Path) -> None:
    fake = Fake()
    fake.add("a", 1)
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        await h.map(ARN, StartingPosition="LATEST")
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is not None
        assert "cannot begin at LATEST" in mapping.problem
        assert fake.reads == []


async def test_a_plugin_that_refuses_its_arn_is_the_mappings_problem(tmp_path: Path) -> None:
    class Refusing(FakePlugins):
        def poller(self, service: str) -> OpenPoller:
            raise ConfigurationError("no such thing")

    async with stream_house(tmp_path, plugins=Refusing(Fake())) as h:
        await h.function()
        await h.map(ARN)
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "no such thing"
        await h.delete()
        assert await h.get() is None


async def test_a_restart_goes_on_after_the_last_finished_record(tmp_path: Path) -> None:
    fake = Fake()
    fake.add("a", 1, 2, 3)
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        h.invoker.behave = lambda seen: OK
        await h.map(ARN, BatchSize=2)
        assert numbers_of(h.invoker) == [[1, 2], [3]]
        now = h.clock.now()
    fake.reads.clear()
    fake.add("a", 4)
    async with stream_house(tmp_path, begin_at=now, plugins=FakePlugins(fake)) as h:
        await h.settle()
        assert numbers_of(h.invoker) == [[4]]
        assert fake.reads[0] == ("a", "3")


async def test_a_failed_record_of_a_plugin_is_pointed_to(tmp_path: Path) -> None:
    fake = Fake()
    fake.add("a", 1)
    async with stream_house(tmp_path, plugins=FakePlugins(fake)) as h:
        await h.function()
        target = await h.queue("dead")
        h.invoker.behave = lambda seen: FunctionError(b"{}", "ValueError", "no")
        await h.map(ARN, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": target}})
        (record,) = await h.messages("dead")
        assert record["StreamBatchInfo"]["startSequenceNumber"] == "1"
        assert record["StreamBatchInfo"]["streamArn"] == ARN
