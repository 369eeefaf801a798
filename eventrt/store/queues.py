"""What the store offers for queues themselves: making, finding, changing, listing; messages are in `messages`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from eventrt.core.messages import Queue


class QueueRepository(Protocol):
    """Queues by account, region and name. Looking one up costs the same however many there are."""

    def create(
        self, account_id: str, region: str, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]
    ) -> Queue:
        """Make a queue and return it. Its name must be free (`find` it in the same unit first).

        Args: attributes: those that were set, by wire name and in wire form, already checked.
        """
        ...

    def find(self, account_id: str, region: str, name: str) -> Queue | None:
        """Return the queue of this name, or None."""
        ...

    def by_id(self, queue_id: int) -> Queue | None:
        """Return the queue of this number, or None once it is deleted."""
        ...

    def by_arn(self, arn: str) -> Queue | None:
        """Return the queue an ARN names, or None; also None when the text is no queue's ARN."""
        ...

    def set_attributes(self, queue: Queue, attributes: Mapping[str, str]) -> Queue:
        """Replace all attributes of a queue and return it as it is now; those not in `attributes` are unset."""
        ...

    def set_tags(self, queue: Queue, tags: Mapping[str, str]) -> Queue:
        """Replace all tags of a queue and return it as it is now. A queue's modification time stays."""
        ...

    def list(
        self, account_id: str, region: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[Queue]:
        """Return queues in order of their names, those after the name `after`, at most `limit`."""
        ...

    def dead_letter_sources(self, queue: Queue, *, after: str | None = None, limit: int = 1000) -> Sequence[Queue]:
        """Return the queues whose redrive policy names this queue, in order of their names, as `list` does."""
        ...

    def delete(self, queue: Queue) -> None:
        """Take a queue away with all its messages; the rows are removed later, in slices."""
        ...

    def deleted_at(self, account_id: str, region: str, name: str) -> float | None:
        """Return when a queue of this name was last deleted, for at least a minute after; else None."""
        ...
