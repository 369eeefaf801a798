"""The lifecycle of buckets: at each midnight (UTC) it removes what the rules say is over, in slices.

It waits for moments: while no bucket has rules it waits until one is given some. What a deleted bucket left behind,
its unfinished uploads, goes in slices as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core import lifecycle
from eventrt.core.buckets import Bucket, ObjectVersion
from eventrt.core.refused import Refused
from eventrt.errors import StoreFull
from eventrt.sources.buckets import Buckets, own_act
from eventrt.store.api import Store, Tx, Watch

SLICE = 200
"""Versions, or uploads, looked at in one unit of work: a few milliseconds."""

_PARTS = 1000
"""So many parts of uploads are given up in one unit, or those of one upload."""

_S3 = "s3.amazonaws.com"
"""Who expires objects, and from where: user guide, "Configuring Lifecycle event notifications"."""

_LOG = structlog.get_logger("eventrt.buckets")


class _Place(NamedTuple):
    """How far a sweep through a bucket has come.

    `id` None is before the first version. `newer` counts the noncurrent versions of `key` that were looked at; `marker`
    is the delete marker that covers them, which may go once nothing is left under it.
    """

    key: str = ""
    id: int | None = None
    newer: int = 0
    marker: ObjectVersion | None = None


class BucketSweeper:
    """The room that expires objects."""

    def __init__(self, store: Store, clock: Clock, shelf: Buckets) -> None:
        self._store = store
        self._clock = clock
        self._shelf = shelf

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Expire until cancelled."""
        async with anyio.create_task_group() as group:
            with self._store.watch(("lifecycle",)) as rules, self._store.watch(("buckets",)) as buckets:
                group.start_soon(self._keep_expiring, rules)
                group.start_soon(self._keep_clearing, buckets)
                task_status.started()
                await anyio.sleep_forever()

    # -- what deleted buckets left

    async def _keep_clearing(self, bell: Watch) -> None:
        """End the uploads of buckets that were deleted, now and earlier."""
        while True:
            try:
                with self._clock.working():
                    while await self._store.write(_end_orphans):
                        await anyio.lowlevel.checkpoint()
            except StoreFull:
                _LOG.warning("lifecycle.paused", bucket="", reason="disk full")
            await bell.wait()

    # -- what the rules say

    async def _keep_expiring(self, bell: Watch) -> None:
        while True:
            if not await self._ruled():
                await bell.wait()
                continue
            await self._clock.sleep_until(lifecycle.next_midnight(self._clock.now()))
            with self._clock.working():
                for bucket in await self._ruled():
                    await self._sweep(bucket)

    async def _ruled(self) -> list[Bucket]:
        buckets = await self._store.read(lambda tx: tx.buckets.every())
        return [bucket for bucket in buckets if lifecycle.rules_of(bucket) and not bucket.folder]

    async def _sweep(self, bucket: Bucket) -> None:
        place: _Place | None = _Place()
        upload: tuple[str, str] | None = ("", "")
        removed = 0
        try:
            while place is not None:
                here = place
                place, count = await self._store.write(lambda tx, here=here: self._slice(tx, bucket.name, here))  # type: ignore[misc]
                removed += count
                await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours
            while upload is not None:
                last = upload
                upload, count = await self._store.write(
                    lambda tx, last=last: _abort_uploads(tx, bucket.name, *last)  # type: ignore[misc]
                )
                removed += count
                await anyio.lowlevel.checkpoint()
        except StoreFull:
            _LOG.warning("lifecycle.paused", bucket=bucket.name, reason="disk full")
        if removed:
            _LOG.info("objects.expired", bucket=bucket.name, removed=removed)

    def _slice(self, tx: Tx, name: str, place: _Place) -> tuple[_Place | None, int]:
        """Expire what is due among the next versions; return the place behind them (None at the end) and a count."""
        bucket = tx.buckets.find(name)
        if bucket is None:
            return None, 0
        page = tx.objects.list_versions(
            bucket, prefix="", delimiter="", after_key=place.key, after_id=place.id, limit=SLICE
        )
        rules, removed = lifecycle.rules_of(bucket), 0
        key, newer, marker = place.key, place.newer, place.marker
        for version in page.entries:
            if version.key != key:
                removed += self._uncover(tx, bucket, rules, marker)
                key, newer, marker = version.key, 0, None
            if not version.is_current:
                if lifecycle.removes_noncurrent(rules, version, newer=newer, now=tx.now):
                    removed += self._remove(tx, bucket, version.key, version.version_id)
                newer += 1
            elif version.is_marker:
                marker = version
            else:
                found = lifecycle.expires_at(rules, version)
                if found is not None and found[0] <= tx.now:
                    removed += self._remove(tx, bucket, version.key, None)
        if not page.next_key:
            return None, removed + self._uncover(tx, bucket, rules, marker)
        return _Place(key, page.entries[-1].id, newer, marker), removed

    def _uncover(self, tx: Tx, bucket: Bucket, rules: Sequence[Mapping[str, Any]], marker: ObjectVersion | None) -> int:
        """Remove a delete marker that covers nothing any more, where the rules say so."""
        if marker is None or not lifecycle.removes_marker(rules, marker, now=tx.now):
            return 0
        left = tx.objects.versions(bucket, marker.key, limit=2)
        if [version.id for version in left] != [marker.id]:
            return 0
        return self._remove(tx, bucket, marker.key, marker.version_id)

    def _remove(self, tx: Tx, bucket: Bucket, key: str, version_id: str | None) -> int:
        try:
            self._shelf.delete(tx, bucket, key, version_id, own_act(_S3, _S3), by_lifecycle=True)
        except Refused:
            return 0  # it is locked: it stays, as on AWS, and is looked at again tomorrow
        return 1


def _abort_uploads(tx: Tx, name: str, after_key: str, after_id: str) -> tuple[tuple[str, str] | None, int]:
    """End what is due among the next uploads; return the last one looked at (None at the end) and a count."""
    bucket = tx.buckets.find(name)
    if bucket is None:
        return None, 0
    aborted = parts = 0
    last: tuple[str, str] | None = None
    for upload in tx.objects.uploads(bucket, after_key=after_key, after_id=after_id, limit=SLICE):
        last = upload.key, upload.id
        if lifecycle.aborts(lifecycle.rules_of(bucket), upload, now=tx.now):
            parts += tx.objects.end_upload(upload)
            aborted += 1
            if parts >= _PARTS:
                break
    return last, aborted


def _end_orphans(tx: Tx) -> bool:
    """End some uploads whose buckets were deleted; return whether there were any."""
    orphans, parts = tx.objects.orphans(SLICE), 0
    for upload in orphans:
        parts += tx.objects.end_upload(upload)
        if parts >= _PARTS:
            break
    return bool(orphans)
