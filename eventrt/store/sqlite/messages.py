"""Messages in SQLite: one door to standard and FIFO queues, their dead letters, their expiry and their restart.

How each kind of queue works is in `standard` and `fifo`; the counts are in `shelves`, the removal in `sweeping`, move
tasks in `moves`.
"""

from collections.abc import Sequence
from typing import Any

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
from eventrt.store.messages import Owner, Swept
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.fifo import DEDUPLICATION_WINDOW_S, FifoQueues
from eventrt.store.sqlite.moves import Moves
from eventrt.store.sqlite.queues import SqliteQueues
from eventrt.store.sqlite.rowids import RowIds
from eventrt.store.sqlite.shelves import Shelf, Shelves
from eventrt.store.sqlite.standard import (
    DELAYED,
    LEASED_BY_CLIENT,
    LEASED_BY_POLLER,
    StandardQueues,
)
from eventrt.store.sqlite.sweeping import Sweeping

EXPIRE_AT_ONCE = 1000
"""So many expired messages are removed by the receive that meets them; it answers empty when there are more."""


class SqliteMessages:
    """The `store.messages.MessageRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any], shelves: Shelves, queues: SqliteQueues) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._shelves = shelves
        row_ids = RowIds(engine)
        self._standard = StandardQueues(engine, shelves, row_ids)
        self._fifo = FifoQueues(engine, shelves, row_ids)
        self._sweeping = Sweeping(engine, shelves, queues, self._fifo)
        self._moves = Moves(engine, shelves, queues, row_ids, self._standard, self._fifo, self._sweeping)

    # -- the life of a message

    def send(self, queue: Queue, drafts: Sequence[MessageDraft]) -> list[SentMessage]:
        """Lay messages on the queue in order."""
        now = self._engine.tx.now
        shelf = self._fresh_shelf(queue, now)
        expires_at = now + queue.retention_s
        if expires_at < shelf.next_expiry:
            shelf.next_expiry = expires_at
        self._sweeping.expect(expires_at)
        if queue.is_fifo:
            self._sweeping.expect(now + DEDUPLICATION_WINDOW_S)
            return self._fifo.send(shelf, queue, drafts, now)
        return self._standard.send(shelf, queue, drafts, now)

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
        """Lease up to `limit` messages."""
        now = self._engine.tx.now
        shelf = self._fresh_shelf(queue, now)
        if shelf.next_expiry <= now:
            return Received((), now)  # there are more; whoever asks again meets the next of them
        dead_letter: tuple[Shelf, Queue] | None = None
        if dead_letter_queue is not None:
            dead_letter = (self._shelves.of(dead_letter_queue.id), dead_letter_queue)
        lease_kind = LEASED_BY_POLLER if owner == "poller" else LEASED_BY_CLIENT
        if queue.is_fifo:
            return self._fifo.receive(
                shelf,
                queue,
                limit=limit,
                visibility_timeout_s=visibility_timeout_s,
                attempt_id=attempt_id,
                lease_kind=lease_kind,
                dead_letter=dead_letter,
                now=now,
            )
        return self._standard.receive(
            shelf,
            queue,
            limit=limit,
            visibility_timeout_s=visibility_timeout_s,
            lease_kind=lease_kind,
            dead_letter=dead_letter,
            now=now,
        )

    def delete(self, queue: Queue, receipt_handles: Sequence[str]) -> list[SettleResult]:
        """Settle messages; per handle None, or why not."""
        now = self._engine.tx.now
        shelf = self._fresh_shelf(queue, now)
        if queue.is_fifo:
            return self._fifo.delete(shelf, receipt_handles, now)
        return self._standard.delete(shelf, receipt_handles)

    def change_visibility(self, queue: Queue, changes: Sequence[tuple[str, int]]) -> list[SettleResult]:
        """Let leases end so many seconds from now; per (handle, timeout_s) None, or why not."""
        now = self._engine.tx.now
        shelf = self._fresh_shelf(queue, now)
        kind = self._fifo if queue.is_fifo else self._standard
        return kind.change_visibility(shelf, changes, now)

    def depth(self, queue: Queue) -> QueueDepth:
        """Count the queue's messages exactly; changes nothing.

        The kept counts are as of the last promotion and expiry; what fell due or expired since is counted here.
        """
        shelf = self._shelves.of(queue.id)
        now = self._engine.tx.now
        visible, in_flight, delayed = shelf.visible, shelf.in_flight, shelf.delayed
        if shelf.next_due <= now:
            for kind, count in self._execute(
                "SELECT kind, count(*) FROM waiting WHERE shelf_id = ? AND due_at <= ? GROUP BY kind",
                (shelf.id, now),
            ):
                visible += count
                if kind == DELAYED:
                    delayed -= count
                else:
                    in_flight -= count
        if queue.is_fifo and queue.delay_s:
            held = self._count_held_back(shelf, now - queue.delay_s, now)
            visible -= held
            delayed += held
        if shelf.next_expiry <= now:
            for kind, is_due, count in self._execute(
                "SELECT w.kind, w.due_at IS NULL OR w.due_at <= ?, count(*) FROM message AS m"
                " LEFT JOIN waiting AS w ON w.id = m.id WHERE m.shelf_id = ? AND m.sent_at <= ? GROUP BY 1, 2",
                (now, shelf.id, now - queue.retention_s),
            ):
                if kind is None or is_due:
                    visible -= count
                elif kind == DELAYED:
                    delayed -= count
                else:
                    in_flight -= count
        return QueueDepth(visible, in_flight, delayed)

    def _count_held_back(self, shelf: Shelf, after: float, until: float) -> int:
        """Count the messages of a FIFO shelf whose delay is not over and which are not in flight."""
        sent, leased = self._execute(
            "SELECT (SELECT count(*) FROM message WHERE shelf_id = ?1 AND sent_at > ?2 AND sent_at <= ?3),"
            " (SELECT count(*) FROM waiting AS w CROSS JOIN message AS m ON m.id = w.id WHERE w.shelf_id = ?1"
            "  AND w.due_at > ?3 AND m.sent_at > ?2 AND m.sent_at <= ?3)",
            (shelf.id, after, until),
        ).fetchone()
        return int(sent - leased)

    def _fresh_shelf(self, queue: Queue, now: float) -> Shelf:
        """Return the queue's shelf without what has expired (without the first EXPIRE_AT_ONCE of it, that is)."""
        shelf = self._shelves.of(queue.id)
        if shelf.next_expiry <= now:
            self._sweeping.expire(shelf, queue, EXPIRE_AT_ONCE, now)
        return shelf

    # -- the whole queue

    def purge(self, queue: Queue) -> None:
        """Empty the queue at once; what was in flight is gone too."""
        self._shelves.of(queue.id)
        self._execute("UPDATE queue SET purged_at = ? WHERE id = ?", (self._engine.tx.now, queue.id))
        self._shelves.replace(queue.id)
        self._engine.announce(("queue", queue.id))  # whoever waits for a lease to end waits for nothing now
        self._engine.announce(("sweep",))

    def purged_at(self, queue: Queue) -> float | None:
        """Return when the queue was last purged, or None."""
        row = self._execute("SELECT purged_at FROM queue WHERE id = ?", (queue.id,)).fetchone()
        return row[0] if row else None

    def sweep(self, limit: int) -> Swept:
        """Remove up to `limit` of what nobody will see again."""
        return self._sweeping.sweep(limit)

    # -- a new start

    def end_poller_leases(self) -> int:
        """End the leases of pollers and return how many."""
        count = self._execute(
            "UPDATE waiting SET due_at = ? WHERE kind = ? AND due_at > ?",
            (self._engine.tx.now, LEASED_BY_POLLER, self._engine.tx.now),
        ).rowcount
        self._shelves.look_anew()
        return count

    def rebase(self, delta_s: float) -> None:
        """Shift the moments that something waits for by `delta_s`: leases, delays, windows.

        When messages were sent is a fact and stays; a message from the future is neither delayed nor expired.
        """
        for sql in (
            "UPDATE waiting SET due_at = due_at + ?1, leased_at = leased_at + ?1",
            "UPDATE deduplication SET sent_at = sent_at + ?1",
            "UPDATE attempt SET received_at = received_at + ?1",
            "UPDATE deleted_queue SET deleted_at = deleted_at + ?1",
            "UPDATE queue SET purged_at = purged_at + ?1",
            "UPDATE move_task SET started_at = started_at + ?1 WHERE status IN ('RUNNING', 'CANCELLING')",
        ):
            self._execute(sql, (delta_s,))
        self._shelves.look_anew()
        for shelf in self._shelves:
            self._engine.announce(("queue", shelf.queue_id))
        self._engine.announce(("sweep",))
        self._engine.announce(("moves",))

    # -- moves

    def start_move(self, source: Queue, destination_arn: str | None, max_per_second: int | None) -> MoveTask | None:
        """Begin a move task and return it; None when the source has an active one already."""
        return self._moves.start(source, destination_arn, max_per_second, self.depth(source).visible)

    def move_tasks(self, source_arn: str, limit: int) -> Sequence[MoveTask]:
        """Return the move tasks of a source, newest first."""
        return self._moves.of_source(source_arn, limit)

    def move_task(self, handle: str) -> MoveTask | None:
        """Return the task of this handle, or None."""
        return self._moves.of_handle(handle)

    def active_moves(self) -> Sequence[MoveTask]:
        """Return the tasks that run, oldest first."""
        return self._moves.active()

    def move_slice(self, task: MoveTask, limit: int) -> MoveTask:
        """Move up to `limit` visible messages for a task and return it as it is now."""
        return self._moves.move(task, limit)

    def end_move(self, task: MoveTask, status: MoveStatus, failure_reason: str | None = None) -> MoveTask:
        """Set a task's status and return it as it is now."""
        return self._moves.end(task, status, failure_reason)
