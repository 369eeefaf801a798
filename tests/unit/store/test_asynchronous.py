"""The shelf of asynchronous events: lanes, pages in order, what a lost unit leaves, and moments that shift."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.clock import VirtualClock
from eventrt.core.asynchronous import AsyncEvent, LastAttempt, Response
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.store.sqlite.store import SqliteStore

F, G = ("000000000000", "us-east-1", "f"), ("000000000000", "us-east-1", "g")
START = (float("-inf"), 0)
LAST = LastAttempt(200, "no", Response(b"{}", "$LATEST", "Unhandled"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data", clock=VirtualClock(), durability="process")
    opened.open()
    yield opened
    await opened.close()


def lay(tx: Any, function: tuple[str, str, str] = F, payload: bytes = b"{}", name: str = "id") -> None:
    tx.asynchronous.lay(function, qualifier=None, request_id=name, payload=payload, trace_header="Root=1")


async def due(store: SqliteStore, lane: int, *, after: tuple[float, int] = START, **bounds: int) -> Any:
    bounds = {"limit": 100, "max_bytes": 1_000_000, **bounds}
    return await store.read(lambda tx: tx.asynchronous.due(lane, after=after, **bounds))


async def lanes(store: SqliteStore) -> list[int]:
    return list(await store.read(lambda tx: tx.asynchronous.lanes()))


async def test_an_event_comes_back_as_it_was_laid_down(store: SqliteStore) -> None:
    await store.write(lambda tx: lay(tx, payload=b'{"n":1}', name="one"))
    (lane,) = await lanes(store)
    page = await due(store, lane)
    (event,) = page.events
    assert (event.function, event.request_id, event.payload, event.executed, event.last) == (
        F,
        "one",
        b'{"n":1}',
        0,
        None,
    )
    assert event.accepted_at == event.due_at
    assert (page.holds_all, page.next_due) == (True, None)


async def test_a_lane_holds_the_events_of_one_function(store: SqliteStore) -> None:
    for function in (F, G, F):
        await store.write(lambda tx, function=function: lay(tx, function))
    assert [[e.function for e in (await due(store, lane)).events] for lane in await lanes(store)] == [[F, F], [G]]


async def test_pages_go_on_behind_what_was_read(store: SqliteStore) -> None:
    await store.write(lambda tx: [lay(tx, name=str(number)) for number in range(25)])
    (lane,) = await lanes(store)
    seen, after = [], START
    while True:
        page = await due(store, lane, after=after, limit=10)
        seen += [event.request_id for event in page.events]
        if page.holds_all:
            break
        after = (page.events[-1].due_at, page.events[-1].id)
    assert seen == [str(number) for number in range(25)]


async def test_a_page_of_large_events_ends_early_and_holds_at_least_one(store: SqliteStore) -> None:
    await store.write(lambda tx: [lay(tx, payload=b"x" * 600) for _ in range(5)])
    (lane,) = await lanes(store)
    assert len((await due(store, lane, max_bytes=1000)).events) == 2
    page = await due(store, lane, max_bytes=1)
    assert (len(page.events), page.holds_all) == (1, False)


async def test_a_postponed_event_waits_with_its_counts_and_its_last_answer(store: SqliteStore) -> None:
    await store.write(lay)
    (lane,) = await lanes(store)
    (event,) = (await due(store, lane)).events
    later = store.engine.clock.now() + 60
    await store.write(lambda tx: tx.asynchronous.postpone(event, due_at=later, executed=1, refused=0, last=LAST))
    page = await due(store, lane, after=(event.due_at, event.id))
    assert (list(page.events), page.next_due) == ([], later)
    clock = store.engine.clock
    assert isinstance(clock, VirtualClock)
    await clock.advance(61)
    (again,) = (await due(store, lane, after=(event.due_at, event.id))).events
    assert (again.id, again.executed, again.last, again.accepted_at) == (event.id, 1, LAST, event.accepted_at)


async def test_a_unit_that_is_rolled_back_leaves_no_lane_behind(store: SqliteStore) -> None:
    def broken(tx: Any) -> None:
        lay(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(broken)
    assert await lanes(store) == []
    await store.write(lay)
    (lane,) = await lanes(store)
    assert len((await due(store, lane)).events) == 1


async def test_a_lane_that_is_given_up_is_read_no_more_and_cleared_in_slices(store: SqliteStore) -> None:
    await store.write(lambda tx: [lay(tx) for _ in range(25)])
    (lane,) = await lanes(store)
    (event, *_) = (await due(store, lane)).events
    await store.write(lambda tx: tx.asynchronous.give_up(F))
    assert (await due(store, lane)).events == ()
    assert not await store.read(lambda tx: tx.asynchronous.holds(event))
    await store.write(lay)  # a new function of that name has a lane of its own
    slices = 0
    while await store.write(lambda tx: tx.asynchronous.sweep(10)):
        slices += 1
    assert slices == 3
    (other,) = await lanes(store)
    assert other != lane
    assert len((await due(store, other)).events) == 1


async def test_a_lane_that_was_only_read_since_the_start_is_given_up_as_any_other(store: SqliteStore) -> None:
    await store.write(lambda tx: [lay(tx) for _ in range(3)])
    store.engine.tx.asynchronous._forget()  # as after a restart: nothing was laid down yet
    (lane,) = await lanes(store)
    (event, *_) = (await due(store, lane)).events
    await store.write(lambda tx: tx.asynchronous.give_up(F))
    assert (await due(store, lane)).events == ()
    assert not await store.read(lambda tx: tx.asynchronous.holds(event))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=4), st.integers(0, 20))
async def test_shifted_moments_keep_their_distances_and_can_be_finished(
    tmp_path_factory: pytest.TempPathFactory, shifts: list[int], count: int
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("shift") / "data", clock=VirtualClock(), durability="process")
    store.open()
    try:
        await store.write(lambda tx: [lay(tx) for _ in range(count + 1)])
        (lane,) = await lanes(store)
        before: list[AsyncEvent] = list((await due(store, lane)).events)
        for shift in shifts:
            await store.write(lambda tx, shift=shift: tx.asynchronous.rebase(float(shift)))
        assert (await store.read(lambda tx: tx.asynchronous.stirred())).shifted_s == sum(shifts)
        rows = store.engine.connection.execute(
            "SELECT d.due_at, e.accepted_at FROM async_due AS d JOIN async_event AS e USING (id) ORDER BY id"
        ).fetchall()
        assert [row[0] - row[1] for row in rows] == pytest.approx([0.0] * len(before), abs=1e-6)
        await store.write(lambda tx: tx.asynchronous.finish(before))  # as somebody does who has not heard of it yet
        assert await lanes(store) == []
    finally:
        await store.close()


async def test_configs_are_kept_by_qualifier(store: SqliteStore) -> None:
    config = EventInvokeConfig(1.0, most_retries=1, on_failure="arn:aws:sqs:us-east-1:000000000000:q")
    await store.write(lambda tx: tx.asynchronous.save_config(F, "$LATEST", config))
    await store.write(lambda tx: tx.asynchronous.save_config(F, "live", EventInvokeConfig(2.0)))
    assert await store.read(lambda tx: tx.asynchronous.config(F, "$LATEST")) == config
    assert await store.read(lambda tx: tx.asynchronous.config(G, "$LATEST")) is None
    page = await store.read(lambda tx: tx.asynchronous.configs(F, after="$LATEST", limit=5))
    assert page == [("live", EventInvokeConfig(2.0))]
    await store.write(lambda tx: tx.asynchronous.delete_config(F, "$LATEST"))
    assert await store.read(lambda tx: tx.asynchronous.config(F, "$LATEST")) is None
