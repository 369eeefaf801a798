"""What the store tells the console: what waits on the asynchronous shelf, and what a bucket holds."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eventrt.clock import VirtualClock
from eventrt.core.asynchronous import LastAttempt
from eventrt.core.backlog import Head
from eventrt.core.buckets import Body, ObjectDraft
from eventrt.store.reports import Contents
from eventrt.store.sqlite import reports as reports_module
from eventrt.store.sqlite.reports import SqliteReports
from eventrt.store.sqlite.store import SqliteStore

ACCOUNT, REGION = "000000000000", "us-east-1"
LAST = LastAttempt(200, "no")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data", clock=VirtualClock(), durability="process")
    opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def reports(store: SqliteStore) -> AsyncIterator[SqliteReports]:
    made = SqliteReports(store.engine.path, store.engine.clock)
    yield made
    await made.close()


async def lay(store: SqliteStore, name: str, *, region: str = REGION) -> None:
    def unit(tx: Any) -> None:
        tx.asynchronous.lay((ACCOUNT, region, name), qualifier=None, request_id="r", payload=b"{}", trace_header="")

    await store.write(unit)


async def test_a_backlog_counts_what_waits_and_shows_what_is_due_first(
    store: SqliteStore, reports: SqliteReports
) -> None:
    for name in ("f", "f", "f", "g"):
        await lay(store, name)
    await lay(store, "elsewhere", region="eu-west-1")
    lanes = await store.read(lambda tx: tx.asynchronous.lanes())
    page = await store.read(
        lambda tx: tx.asynchronous.due(lanes[0], after=(float("-inf"), 0), limit=9, max_bytes=9_999)
    )
    first, second, third = page.events
    later = third.due_at + 600

    def unit(tx: Any) -> None:
        tx.asynchronous.postpone(first, due_at=later, executed=1, refused=0, last=LAST)
        tx.asynchronous.postpone(second, due_at=later - 1, executed=1, refused=2, last=LAST)

    await store.write(unit)
    f, g = await reports.backlogs(ACCOUNT, REGION)
    assert (f.function[2], f.waiting, f.due, f.failed, f.refused) == ("f", 3, 1, 2, 1)
    assert (f.oldest_at, f.head) == (first.accepted_at, Head(third.due_at, 0, 0, None))
    assert (g.function[2], g.waiting, g.due) == ("g", 1, 1)
    await store.write(lambda tx: tx.asynchronous.finish([third]))
    assert (await reports.backlogs(ACCOUNT, REGION))[0].head == Head(later - 1, 1, 2, LAST)


async def test_what_came_to_its_end_is_no_backlog(store: SqliteStore, reports: SqliteReports) -> None:
    await lay(store, "f")
    await lay(store, "given-up")
    lanes = await store.read(lambda tx: tx.asynchronous.lanes())
    page = await store.read(
        lambda tx: tx.asynchronous.due(lanes[0], after=(float("-inf"), 0), limit=9, max_bytes=9_999)
    )

    def unit(tx: Any) -> None:
        tx.asynchronous.finish(page.events)
        tx.asynchronous.give_up((ACCOUNT, REGION, "given-up"))

    await store.write(unit)
    assert await reports.backlogs(ACCOUNT, REGION) == []


async def test_current_objects_are_counted_up_to_a_bound(
    store: SqliteStore, reports: SqliteReports, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await store.write(lambda tx: tx.buckets.create("bucket", ACCOUNT, REGION))
    assert await reports.contents(bucket) == Contents(0, 0, True)

    def put(tx: Any) -> None:
        for key, body in (("a", b"1"), ("b", b"22"), ("c", b"333")):
            tx.objects.put(bucket, ObjectDraft(key, Body(len(body), body), "etag"), replaces=None)
        tx.objects.put_marker(bucket, "d", replaces=None)

    await store.write(put)
    assert await reports.contents(bucket) == Contents(3, 6, True)
    monkeypatch.setattr(reports_module, "MOST_COUNTED", 2)
    assert await reports.contents(bucket) == Contents(2, 3, False)
