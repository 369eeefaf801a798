"""The sweeper of streams: removes expired records, empty closed shards and what deleted streams left, in slices.

It also completes transitions of streams whose moment has come. Nobody sees the difference but the disk: what has
expired is never read, swept or not.
"""

import structlog

from eventrt.sources.upkeep import Upkeep

SLICE = 500
"""Rows removed in one unit of work: a few milliseconds."""

_LOG = structlog.get_logger("eventrt.streams")


class StreamSweeper(Upkeep):
    """The room that waits for the next moment something of a stream is over, and removes it."""

    topic = ("sweep", "streams")

    async def sweep(self) -> float | None:
        """Remove what is over now, slice by slice; return when to come again, None when nothing waits."""
        removed = 0
        while True:
            swept = await self._store.write(lambda tx: tx.streams.sweep(SLICE))
            removed += swept.removed
            if swept.next_at is None or swept.next_at > self._clock.now():
                break
            await self.give_way()
        if removed:
            _LOG.debug("streams.swept", removed=removed)
        return swept.next_at
