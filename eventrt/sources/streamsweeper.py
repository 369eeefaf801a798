"""The sweeper of streams: removes expired records, empty closed shards and what deleted streams left, in slices.

It also completes transitions of streams whose moment has come. Nobody sees the difference but the disk: what has
expired is never read, swept or not.
"""

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.errors import StoreFull
from eventrt.store.api import Store

SLICE = 500
"""Rows removed in one unit of work: a few milliseconds."""

FULL_DISK_REST_S = 60.0
"""How long a full disk is given before the next sweep, on the clock."""

TOPIC = ("sweep", "streams")
"""Announced when a sweep is worth while earlier than was thought."""

_LOG = structlog.get_logger("eventrt.streams")


class StreamSweeper:
    """The room that waits for the next moment something of a stream is over, and removes it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        with self._store.watch(TOPIC) as bell:
            task_status.started()
            while True:
                next_at = await self._sweep()
                if next_at is None:
                    await bell.wait()
                    continue
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(self._first_of, waiting.cancel_scope, next_at)
                    await bell.wait()
                    waiting.cancel_scope.cancel()

    async def _first_of(self, scope: anyio.CancelScope, moment: float) -> None:
        await self._clock.sleep_until(moment)
        scope.cancel()

    async def _sweep(self) -> float | None:
        """Remove what is over now, slice by slice; return when to come again, None when nothing waits."""
        removed = 0
        with self._clock.working():
            while True:
                try:
                    swept = await self._store.write(lambda tx: tx.streams.sweep(SLICE))
                except StoreFull:
                    _LOG.warning("sweep.paused", reason="disk full")
                    return self._clock.now() + FULL_DISK_REST_S
                removed += swept.removed
                if swept.next_at is None or swept.next_at > self._clock.now():
                    break
                await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours
        if removed:
            _LOG.debug("streams.swept", removed=removed)
        return swept.next_at
