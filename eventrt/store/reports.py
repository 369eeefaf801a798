"""What the console may look at without disturbing anyone: lists that need no promise of being the latest word."""

from typing import Protocol

from eventrt.core.messages import PeekedMessage, Queue


class Reports(Protocol):
    """Reading on a connection of its own, beside the units of work."""

    async def peek_messages(self, queue: Queue, *, limit: int, after: str | None = None) -> list[PeekedMessage]:
        """Return messages as they lie on the queue, those behind the position `after`.

        Standard queues: first those that may be received, in the order they would be, then the others by the end
        of their lease or delay. FIFO queues: by age. Nothing changes by it: no lease, no receive count.

        Raises: ValueError: `after` is no position of this listing.
        """
        ...
