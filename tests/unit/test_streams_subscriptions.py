"""Subscriptions without a wire: how long they last, and what they leave."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.aws.call import Call
from eventrt.aws.services.kinesis import KinesisService, subscriptions
from eventrt.clock import VirtualClock
from eventrt.core.streams import Stream
from eventrt.errors import ApiError
from eventrt.http import Request
from eventrt.sources import streams
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S

ACCOUNT, REGION = "000000000000", "us-east-1"
FIRST = "shardId-000000000000"


class Fanout:
    """A service with one stream of one shard and one consumer."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.store = SqliteStore(directory, clock=self.clock, durability="process")
        self.store.open()
        self.service = KinesisService(self.store, self.clock, **settings)

    async def prepare(self) -> None:
        stream = Stream(0, ACCOUNT, REGION, "s", "kinesis", self.clock.now())
        self.stream = await self.store.write(lambda tx: streams.create(tx, stream, shard_count=1))
        consumer = await self.store.write(lambda tx: tx.streams.register(self.stream, "c", tags={}))
        self.arn = consumer.arn

    async def put(self, *datas: bytes) -> None:
        drafts = [("k", data, 0) for data in datas]
        await self.store.write(lambda tx: streams.put(tx, self.stream, drafts))

    async def subscribe(self) -> Any:
        request = {"ConsumerARN": self.arn, "ShardId": FIRST, "StartingPosition": {"Type": "TRIM_HORIZON"}}
        return (await self.service.subscribe_to_shard(call(), request))["EventStream"]


def call() -> Call:
    async def no_body(limit: int) -> bytes:
        return b""

    async def no_chunks() -> AsyncIterator[bytes]:
        yield b""

    http = Request("POST", "/", "", {}, "", no_body, no_chunks, lambda: False)
    return Call("kinesis", "SubscribeToShard", "json", ACCOUNT, REGION, "", "", "localhost", http)


def datas(event: Any) -> list[bytes]:
    return [record["Data"] for record in event[1]["Records"]]


@pytest.fixture
async def fanout(tmp_path: Path) -> AsyncIterator[Fanout]:
    fanout = Fanout(tmp_path / "data")
    await fanout.prepare()
    yield fanout
    await fanout.store.close()


async def test_a_subscription_ends_after_its_life(fanout: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    assert subscriptions.LIFE_S == 300
    monkeypatch.setattr(subscriptions, "LIFE_S", 0.2)
    monkeypatch.setattr(subscriptions, "HEARTBEAT_S", 0.03)
    await fanout.put(b"a")
    with anyio.fail_after(PATIENCE_S):
        events = [event async for event in await fanout.subscribe()]
    assert datas(events[0]) == [b"a"]
    assert len(events) > 2, "empty events say where the reader stands"
    assert not any(datas(event) for event in events[1:])
    assert not fanout.service._active


async def test_moving_the_clock_neither_ends_nor_lengthens_it(fanout: Fanout) -> None:
    stream = await fanout.subscribe()
    events = aiter(stream)
    await anext(events)
    await fanout.clock.advance(3600)
    await fanout.put(b"a")
    with anyio.fail_after(PATIENCE_S):
        assert datas(await anext(events)) == [b"a"]
    await stream.aclose()


async def test_a_place_is_given_up_when_the_reader_goes(fanout: Fanout) -> None:
    stream = await fanout.subscribe()
    await anext(aiter(stream))
    with pytest.raises(ApiError, match="Another active subscription"):
        await fanout.subscribe()
    await stream.aclose()
    assert not fanout.service._active
    again = await fanout.subscribe()
    await anext(aiter(again))
    await again.aclose()


async def test_a_reader_that_never_began_may_be_taken_over_after_the_hold(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fanout.subscribe()
    with pytest.raises(ApiError, match="Another active subscription"):
        await fanout.subscribe()
    monkeypatch.setattr(subscriptions, "HOLD_S", 0.0)
    stream = await fanout.subscribe()
    await anext(aiter(stream))
    await stream.aclose()


async def test_the_one_that_is_taken_over_does_not_free_the_place_of_the_other(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "HOLD_S", 0.0)
    first = await fanout.subscribe()
    await anext(aiter(first))
    second = await fanout.subscribe()
    with pytest.raises(ApiError, match="took over"):
        await anext(aiter(first))
    [active] = fanout.service._active.values()
    assert not active.is_over.is_set()
    await anext(aiter(second))
    await second.aclose()


async def test_the_read_throughput_of_a_shard_is_kept_where_it_is_enforced(tmp_path: Path) -> None:
    fanout = Fanout(tmp_path / "data", limits="aws")
    await fanout.prepare()
    await fanout.put(bytes(1_000_000))
    began = anyio.current_time()
    stream = await fanout.subscribe()
    events = aiter(stream)
    assert len(datas(await anext(events))) == 1
    await fanout.put(b"a")
    assert datas(await anext(events)) == [b"a"]
    assert anyio.current_time() - began > 0.4
    await stream.aclose()
    await fanout.store.close()


async def test_every_subscription_ends_when_the_daemon_stops(fanout: Fanout) -> None:
    stream = await fanout.subscribe()
    events = aiter(stream)
    await anext(events)
    fanout.service.end_waits()
    with anyio.fail_after(PATIENCE_S), pytest.raises(StopAsyncIteration):
        await anext(events)
