"""The lifecycle of buckets: at each midnight (UTC) it removes what the rules say is over, in slices.

It waits for moments: while no bucket has rules it waits until one is given some.
"""

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core import lifecycle
from eventrt.core.buckets import Bucket
from eventrt.core.refused import Refused
from eventrt.errors import StoreFull
from eventrt.sources.buckets import Buckets, own_act
from eventrt.store.api import Store, Tx

SLICE = 500
"""Keys looked at in one unit of work: a few milliseconds."""

_S3 = "s3.amazonaws.com"
"""Who expires objects, and from where: user guide, "Configuring Lifecycle event notifications"."""

_LOG = structlog.get_logger("eventrt.buckets")


class BucketSweeper:
    """The room that expires objects."""

    def __init__(self, store: Store, clock: Clock, shelf: Buckets) -> None:
        self._store = store
        self._clock = clock
        self._shelf = shelf

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Expire until cancelled."""
        with self._store.watch(("lifecycle",)) as bell:
            task_status.started()
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
        after, removed = "", 0
        try:
            while True:
                here = after
                after, count = await self._store.write(lambda tx, here=here: self._slice(tx, bucket.name, here))  # type: ignore[misc]
                removed += count
                if not after:
                    break
                await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours
            removed += await self._store.write(lambda tx: self._abort_uploads(tx, bucket.name))
        except StoreFull:
            _LOG.warning("lifecycle.paused", bucket=bucket.name, reason="disk full")
        if removed:
            _LOG.info("objects.expired", bucket=bucket.name, removed=removed)

    def _slice(self, tx: Tx, name: str, after: str) -> tuple[str, int]:
        """Expire what is due among the next keys; return the last key looked at ("" at the end) and a count."""
        bucket = tx.buckets.find(name)
        if bucket is None:
            return "", 0
        page = tx.objects.list_versions(bucket, prefix="", delimiter="", after_key=after, after_id=None, limit=SLICE)
        removed = 0
        keys = list(dict.fromkeys(version.key for version in page.entries))
        for key in keys:
            removed += self._expire(tx, bucket, key)
        return (keys[-1] if page.next_key else ""), removed

    def _expire(self, tx: Tx, bucket: Bucket, key: str) -> int:
        rules, now, removed = lifecycle.rules_of(bucket), tx.now, 0
        for newer, version in enumerate(tx.objects.versions(bucket, key)[1:]):
            if lifecycle.removes_noncurrent(rules, version, newer=newer, now=now):
                removed += self._remove(tx, bucket, key, version.version_id)
        current = tx.objects.current(bucket, key)
        if current is None:
            return removed
        if current.is_marker:
            is_alone = len(tx.objects.versions(bucket, key)) == 1
            if is_alone and lifecycle.removes_marker(rules, current, now=now):
                removed += self._remove(tx, bucket, key, current.version_id)
            return removed
        found = lifecycle.expires_at(rules, current)
        if found is not None and found[0] <= now:
            removed += self._remove(tx, bucket, key, None)
        return removed

    def _remove(self, tx: Tx, bucket: Bucket, key: str, version_id: str | None) -> int:
        try:
            self._shelf.delete(tx, bucket, key, version_id, own_act(_S3, _S3), by_lifecycle=True)
        except Refused:
            return 0  # it is locked: it stays, as on AWS, and is looked at again tomorrow
        return 1

    def _abort_uploads(self, tx: Tx, name: str) -> int:
        bucket = tx.buckets.find(name)
        if bucket is None:
            return 0
        aborted, after_key, after_id = 0, "", None
        while page := tx.objects.uploads(bucket, after_key=after_key, after_id=after_id):
            for upload in page:
                if lifecycle.aborts(lifecycle.rules_of(bucket), upload, now=tx.now):
                    tx.objects.end_upload(upload)
                    aborted += 1
            after_key, after_id = page[-1].key, page[-1].id
        return aborted
