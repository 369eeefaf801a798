"""The sweeper: removes expired messages, purged and deleted queues, and windows that are over, in slices.

Nobody sees the difference but the disk: what is over is never delivered or counted, swept or not.
"""

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.errors import StoreFull
from eventrt.store.api import Store

SLICE = 1000
"""Rows removed in one unit of work: a few milliseconds."""

REST_S = 1.0
"""Between sweeps that a flow of expiring messages calls for, on the clock."""

_LOG = structlog.get_logger("eventrt.queues")


class Sweeper:
    """The room that waits for the next moment something is over, and removes it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        with self._store.watch(("sweep",)) as bell:
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
                    swept = await self._store.write(lambda tx: tx.messages.sweep(SLICE))
                except StoreFull:
                    _LOG.warning("sweep.paused", reason="disk full")
                    return self._clock.now() + 60.0
                removed += swept.removed
                now = self._clock.now()
                if swept.next_at is None or swept.next_at > now:
                    break
                await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours
        if removed:
            _LOG.debug("messages.swept", removed=removed)
        return None if swept.next_at is None else max(swept.next_at, now + REST_S)
