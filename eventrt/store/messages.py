"""What the store offers for messages on queues: send, receive, settle, move, expire.

Each method is one step of a unit of work and costs the same however many queues and messages there are. A queue is
told apart from its *shelf*: the shelf holds the messages, and a purge gives the queue a new, empty one. What lies on
a shelf that no queue has any more is removed in slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from eventrt.core.messages import (
    MessageDraft,
    MoveStatus,
    MoveTask,
    Queue,
    QueueDepth,
    Received,
    SentMessage,
    SettleResult,
)

Owner = Literal["client", "poller"]
"""Who holds a lease: a client over the wire, or a poller of this daemon (whose leases end when it restarts)."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a slice of sweeping did: how many rows went, and when there is something to sweep next (None: never)."""

    removed: int
    next_at: float | None


class MessageRepository(Protocol):
    """Messages: ready, delayed or in flight on a queue. Whoever watches `("queue", id)` is woken when one appears."""

    def send(self, queue: Queue, drafts: Sequence[MessageDraft]) -> list[SentMessage]:
        """Lay messages on the queue in order; one that repeats a deduplication id within 5 minutes lies there once."""
        ...

    def receive(
        self,
        queue: Queue,
        *,
        limit: int,
        visibility_timeout_s: int,
        attempt_id: str | None,
        owner: Owner,
        dead_letter_queue: Queue | None,
    ) -> Received:
        """Lease up to `limit` messages.

        Args: dead_letter_queue: where those go that were received `queue.redrive.max_receive_count` times; None
            leaves them on the queue.
        """
        ...

    def delete(self, queue: Queue, receipt_handles: Sequence[str]) -> list[SettleResult]:
        """Settle messages; per handle None, or why not."""
        ...

    def change_visibility(self, queue: Queue, changes: Sequence[tuple[str, int]]) -> list[SettleResult]:
        """Let leases end so many seconds from now; per (handle, timeout_s) None, or why not."""
        ...

    def depth(self, queue: Queue) -> QueueDepth:
        """Count the queue's messages exactly; changes nothing."""
        ...

    def purge(self, queue: Queue) -> None:
        """Empty the queue at once; what was in flight is gone too."""
        ...

    def purged_at(self, queue: Queue) -> float | None:
        """Return when the queue was last purged, or None."""
        ...

    def end_poller_leases(self) -> int:
        """End the leases of pollers and return how many: at start, when nobody works on them any more."""
        ...

    def rebase(self, delta_s: float) -> None:
        """Shift every kept moment by `delta_s`: the clock at start stands that far from the last moment seen."""
        ...

    def sweep(self, limit: int) -> Swept:
        """Remove up to `limit` of what nobody will see again: expired messages, abandoned shelves, old windows."""
        ...

    def start_move(self, source: Queue, destination_arn: str | None, max_per_second: int | None) -> MoveTask | None:
        """Begin a move task and return it; None when the source has an active one already."""
        ...

    def move_tasks(self, source_arn: str, limit: int) -> Sequence[MoveTask]:
        """Return the move tasks of a source, newest first."""
        ...

    def move_task(self, handle: str) -> MoveTask | None:
        """Return the task of this handle, or None."""
        ...

    def active_moves(self) -> Sequence[MoveTask]:
        """Return the tasks that run or are being cancelled, oldest first."""
        ...

    def move_slice(self, task: MoveTask, limit: int) -> MoveTask:
        """Move up to `limit` visible messages for a task and return it as it is now, finished when none is left."""
        ...

    def end_move(self, task: MoveTask, status: MoveStatus, failure_reason: str | None = None) -> MoveTask:
        """Set a task's status and return it as it is now."""
        ...
