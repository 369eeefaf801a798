"""The sweeper: removes expired messages, purged and deleted queues, and windows that are over, in slices.

Nobody sees the difference but the disk: what is over is never delivered or counted, swept or not.
"""

import structlog

from eventrt.sources.upkeep import Upkeep

SLICE = 1000
"""Rows removed in one unit of work: a few milliseconds."""

REST_S = 1.0
"""Between sweeps that a flow of expiring messages calls for, on the clock."""

_LOG = structlog.get_logger("eventrt.queues")


class Sweeper(Upkeep):
    """The room that waits for the next moment something is over, and removes it."""

    topic = ("sweep",)

    async def sweep(self) -> float | None:
        """Remove what is over now, slice by slice; return when to come again, None when nothing waits."""
        removed = 0
        while True:
            swept = await self._store.write(lambda tx: tx.messages.sweep(SLICE))
            removed += swept.removed
            now = self._clock.now()
            if swept.next_at is None or swept.next_at > now:
                break
            await self.give_way()
        if removed:
            _LOG.debug("messages.swept", removed=removed)
        return None if swept.next_at is None else max(swept.next_at, now + REST_S)
