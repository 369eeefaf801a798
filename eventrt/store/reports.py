"""What the console may look at without disturbing anyone: lists that need no promise of being the latest word."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from eventrt.core.backlog import Backlog
from eventrt.core.buckets import Bucket
from eventrt.core.messages import PeekedMessage, Queue

MOST_COUNTED = 100_000
"""So many objects of a bucket are counted."""


class Contents(NamedTuple):
    """How many objects a bucket holds and their bytes; of more than MOST_COUNTED only so many (`is_all` is False)."""

    objects: int
    size_bytes: int
    is_all: bool


class Reports(Protocol):
    """Reading on a connection of its own, beside the units of work."""

    async def peek_messages(self, queue: Queue, *, limit: int, after: str | None = None) -> list[PeekedMessage]:
        """Return messages as they lie on the queue, those behind the position `after`.

        Standard queues: first those that may be received, in the order they would be, then the others by the end
        of their lease or delay. FIFO queues: by age. Nothing changes by it: no lease, no receive count.

        Raises: ValueError: `after` is no position of this listing.
        """
        ...

    async def contents(self, bucket: Bucket) -> Contents:
        """Return what a bucket holds: the current versions of its objects."""
        ...

    async def backlogs(self, account_id: str, region: str) -> Sequence[Backlog]:
        """Return what waits on the asynchronous shelf, by function in order of names; those with nothing are left out.

        It walks the events of each lane in the shelf's index.
        """
        ...
