"""Upkeep: a room that sleeps until something of its shelf is over, and then removes it in slices.

Each shelf says what to do (`sweep`) and when to come again; this module knows how to wait for it: for a moment on the
clock, or for the bell that says the moment came nearer. A full disk is given time.
"""

from collections.abc import Callable

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.errors import StoreFull
from eventrt.store.api import Store, Topic, Tx

FULL_DISK_REST_S = 60.0
"""How long a full disk is given before the next sweep, on the clock."""

_LOG = structlog.get_logger("eventrt.upkeep")


class Upkeep:
    """The waiting half of a sweeper; a subclass sets `topic` and says in `sweep` what is to be done."""

    topic: Topic
    """Announced when a sweep is worth while earlier than was thought."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        with self._store.watch(self.topic) as bell:
            task_status.started()
            while True:
                with self._clock.working():
                    try:
                        next_at = await self.sweep()
                    except StoreFull:
                        _LOG.warning("sweep.paused", topic=self.topic, reason="disk full")
                        next_at = self._clock.now() + FULL_DISK_REST_S
                if next_at is None:
                    await bell.wait()
                    continue
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(self._end_at, waiting.cancel_scope, next_at)
                    await bell.wait()
                    waiting.cancel_scope.cancel()

    async def sweep(self) -> float | None:
        """Do what is to be done now; return the moment to come again, None when nothing waits."""
        raise NotImplementedError

    async def repeat(self, work: Callable[[Tx], int], *, slice_size: int) -> int:
        """Run a unit that says how much it did until it does less than a slice; return how much was done."""
        done = 0
        while True:
            count = await self._store.write(work)
            done += count
            if count < slice_size:
                return done
            await self.give_way()

    async def give_way(self) -> None:
        """Let others go first: their units of work take turns with ours."""
        await anyio.lowlevel.checkpoint()

    async def _end_at(self, scope: anyio.CancelScope, moment: float) -> None:
        await self._clock.sleep_until(moment)
        scope.cancel()
