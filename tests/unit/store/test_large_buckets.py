"""Buckets with much in them: a page costs what is on it, and what is long goes in slices."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.aws.services.s3.uploads import _uploads_page
from eventrt.clock import SystemClock, VirtualClock
from eventrt.core.buckets import Body, Bucket, Extent, ObjectDraft, Part, Upload
from eventrt.core.lifecycle import DAY_S
from eventrt.core.notifications import Origin
from eventrt.destinations.desk import Desk
from eventrt.sources.buckets import Buckets
from eventrt.sources.bucketsweeper import SLICE, BucketSweeper, _Place
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S

ORIGIN = Origin("test")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path, clock=SystemClock(), durability="process")
    made.open()
    yield made
    await made.close()


@pytest.fixture
def shelf() -> Buckets:
    return Buckets(Desk())


async def new_bucket(store: SqliteStore, *, has_versions: bool = False, rules: Any = None) -> Bucket:
    def unit(tx: Any) -> Bucket:
        made = tx.buckets.create("bucket", "0" * 12, "us-east-1")
        settings = {"lifecycle": {"Rules": rules}} if rules else {}
        changed: Bucket = tx.buckets.change(made, versioning="Enabled" if has_versions else "", settings=settings)
        return changed

    return await store.write(unit)


async def fill(store: SqliteStore, shelf: Buckets, bucket: Bucket, keys: list[str]) -> None:
    def unit(tx: Any) -> None:
        for key in keys:
            shelf.put(tx, bucket, ObjectDraft(key, Body(1, b"x"), "0" * 32), "s3:ObjectCreated:Put", ORIGIN)

    await store.write(unit)


def begin(tx: Any, bucket: Bucket, key: str, parts: int = 0) -> None:
    upload = Upload(f"id of {key}", bucket.id, key, tx.now, bucket.account_id, {"lock": None}, "", "")
    tx.objects.start_upload(upload)
    for number in range(1, parts + 1):
        body = Body(1, None, [Extent(f"{key}-{number}", 0, 1)])
        tx.objects.put_part(upload, Part(number, 1, "etag", "", tx.now, body))


async def steps(store: SqliteStore, query: Callable[[Any], Any]) -> int:
    """Return how many hundreds of steps SQLite takes for a query."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    store.engine.connection.set_progress_handler(count, 100)
    try:
        await store.read(query)
    finally:
        store.engine.connection.set_progress_handler(None, 0)
    return taken


async def test_the_last_page_of_a_keys_many_versions_costs_what_the_first_does(
    store: SqliteStore, shelf: Buckets
) -> None:
    bucket = await new_bucket(store, has_versions=True)
    await fill(store, shelf, bucket, ["a", *["key"] * 3000, "z"])

    def page(after_key: str, after_id: int | None) -> Callable[[Any], Any]:
        return lambda tx: tx.objects.list_versions(
            bucket, prefix="", delimiter="", after_key=after_key, after_id=after_id, limit=100
        )

    first = await steps(store, page("", None))
    seen: list[tuple[str, int]] = []
    after_key, after_id = "", None
    while True:
        found = await store.read(page(after_key, after_id))
        seen += [(version.key, version.id) for version in found.entries]
        if not found.next_key:
            break
        after_key, after_id = found.next_key, found.next_id
    assert len(seen) == 3002
    assert seen == sorted(seen, key=lambda one: (one[0], -one[1]))
    assert await steps(store, page("key", seen[2900][1])) <= 2 * first


async def test_uploads_behind_a_common_prefix_are_not_read(store: SqliteStore) -> None:
    bucket = await new_bucket(store)
    keys = [f"a/{number:04d}" for number in range(2000)] + ["b", "c/1", "c/2", "d"]
    await store.write(lambda tx: [begin(tx, bucket, key) for key in keys] and None)

    def page(marker: str = "", limit: int = 1000) -> Callable[[Any], Any]:
        return lambda tx: _uploads_page(tx, bucket, "", "/", marker, None, limit)

    uploads, prefixes, has_more = await store.read(page())
    assert ([one.key for one in uploads], prefixes, has_more) == (["b", "d"], ["a/", "c/"], False)
    assert await store.read(page("a/", 1)) == ([uploads[0]], [], True)
    assert await store.read(page("b", 1)) == ([], ["c/"], True)
    assert await store.read(page("c/", 1)) == ([uploads[1]], [], False)
    whole = await store.read(lambda tx: _uploads_page(tx, bucket, "a/", "", "a/0998", "", 1000))
    assert [one.key for one in whole[0]] == keys[998:1998]
    assert whole[2]
    few = await steps(store, lambda tx: tx.objects.uploads(bucket, limit=20))
    assert await steps(store, page("a/", 2)) <= few
    assert await steps(store, lambda tx: tx.objects.uploads(bucket, after_key="b", after_id="", limit=20)) <= few


async def test_a_key_with_many_versions_is_swept_in_slices(store: SqliteStore, shelf: Buckets) -> None:
    noncurrent = {"NoncurrentDays": 1, "NewerNoncurrentVersions": 7}
    expiration = {"ExpiredObjectDeleteMarker": True}
    rule = {"ID": "r", "Status": "Enabled", "Prefix": "", "NoncurrentVersionExpiration": noncurrent}
    bucket = await new_bucket(store, has_versions=True, rules=[{**rule, "Expiration": expiration}])
    many = 2 * SLICE + 50
    await fill(store, shelf, bucket, ["a", *["many"] * many, "z"])
    for key in ("deleted", "many"):
        await store.write(lambda tx, key=key: shelf.delete(tx, bucket, key, None, ORIGIN))  # type: ignore[misc]
    looked: list[int] = []
    place: _Place | None = _Place()
    sweeper = BucketSweeper(store, store.engine.clock, shelf)
    removed = 0

    def unit(tx: Any, here: Any) -> Any:
        tx.now += 3 * DAY_S
        before = store.engine.connection.total_changes
        found = sweeper._slice(tx, "bucket", here)
        looked.append(store.engine.connection.total_changes - before)
        return found

    while place is not None:
        place, count = await store.write(partial(unit, here=place))
        removed += count
    assert removed == many - 7 + 1
    assert len(looked) >= 3
    assert max(looked) <= SLICE
    left = await store.read(lambda tx: tx.objects.versions(bucket, "many"))
    assert [version.is_marker for version in left] == [True] + [False] * 7
    assert await store.read(lambda tx: tx.objects.current(bucket, "deleted")) is None


async def test_the_uploads_of_a_deleted_bucket_are_ended_afterwards(tmp_path: Path, shelf: Buckets) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path, clock=clock, durability="process")
    store.open()
    given_up: list[str] = []
    store.engine.tx.objects.uses.on_unused = given_up.extend
    bucket = await new_bucket(store)
    await store.write(lambda tx: [begin(tx, bucket, f"key-{n}", parts=10) for n in range(SLICE + 50)] and None)

    async with anyio.create_task_group() as group:
        await group.start(BucketSweeper(store, clock, shelf).run)
        await store.write(lambda tx: shelf.delete_bucket(tx, bucket))
        with anyio.fail_after(PATIENCE_S):
            while await store.read(lambda tx: tx.objects.orphans(1)):  # noqa: ASYNC110 - nobody tells of it
                await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    assert len(given_up) == 10 * (SLICE + 50)
    await store.close()
