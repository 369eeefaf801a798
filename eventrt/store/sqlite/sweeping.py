"""Removing what nobody will see again: expired messages, abandoned shelves, windows that are over.

Each call removes a bounded number of rows, so the loop is never held for long. Nothing here changes what a caller
sees: expired messages are removed by the receive that meets them, and an abandoned shelf belongs to no queue.
"""

from functools import partial
from typing import Any, cast

from eventrt.core.messages import Queue
from eventrt.store.messages import Swept
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.fifo import ATTEMPT_WINDOW_S, DEDUPLICATION_WINDOW_S, FifoQueues
from eventrt.store.sqlite.queues import SqliteQueues
from eventrt.store.sqlite.shelves import INFINITY, Shelf, Shelves
from eventrt.store.sqlite.standard import DELAYED

DELETED_QUEUE_WINDOW_S = 60.0
"""A name is remembered for so long after its queue was deleted."""

_GATHER_S = 60.0
"""Windows end all the time; they are swept together, at most this often."""
_DELETE_GROUPS = (
    "DELETE FROM {table} WHERE shelf_id = ?1 AND group_id < coalesce((SELECT group_id FROM {table}"
    " WHERE shelf_id = ?1 ORDER BY group_id LIMIT 1 OFFSET ?2), char(1114111))"
)
_DELETE_OF_SHELF = (
    "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE shelf_id = ? LIMIT ?)",
    "DELETE FROM waiting WHERE id IN (SELECT id FROM waiting WHERE shelf_id = ? LIMIT ?)",
    (
        "DELETE FROM ready WHERE (shelf_id, rank, id) IN"
        " (SELECT shelf_id, rank, id FROM ready WHERE shelf_id = ? LIMIT ?)"
    ),
    _DELETE_GROUPS.format(table="tenant"),
    _DELETE_GROUPS.format(table="lane"),
)
"""Statements that remove at most so many rows of a shelf: (shelf, limit)."""


class Sweeping:
    """The sweep, and the moment when the next one is worth while."""

    def __init__(self, engine: Engine[Any], shelves: Shelves, queues: SqliteQueues, fifo: FifoQueues) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._executemany = engine.connection.executemany
        self._shelves = shelves
        self._queues = queues
        self._fifo = fifo
        self._next_at = -INFINITY
        engine.after_rollback.append(self._forget)

    def expect(self, moment: float) -> None:
        """Note that something is to be swept at a moment; wake the sweeper if it would come later."""
        if moment < self._next_at:
            self._engine.on_undo(partial(setattr, self, "_next_at", INFINITY))
            self._next_at = moment
            self._engine.announce(("sweep",))

    def _forget(self) -> None:
        self._next_at = INFINITY

    def sweep(self, limit: int) -> Swept:
        """Remove up to about `limit` rows and say when to come again."""
        now = self._engine.tx.now
        removed = self._sweep_abandoned(limit)
        expiries = self._execute(
            "SELECT s.queue_id, (SELECT min(sent_at) FROM message WHERE shelf_id = s.id) + q.retention_s"
            " FROM shelf AS s JOIN queue AS q ON q.id = s.queue_id"
        ).fetchall()
        next_at = INFINITY
        for queue_id, expires_at in expiries:
            if expires_at is None:
                continue
            if expires_at <= now and removed < limit:
                queue = cast(Queue, self._queues.by_id(queue_id))  # the query has just found it
                shelf = self._shelves.of(queue_id)
                removed += self.expire(shelf, queue, limit - removed, now)
                expires_at = shelf.next_expiry
            next_at = min(next_at, expires_at)
        next_at = min(next_at, self._sweep_windows(limit - removed, now)) if removed < limit else now
        self._engine.on_undo(self._forget)
        self._next_at = next_at
        return Swept(removed, None if next_at == INFINITY else next_at)

    def expire(self, shelf: Shelf, queue: Queue, limit: int, now: float) -> int:
        """Remove up to `limit` messages of a queue whose retention is over; return how many."""
        rows = self._execute(
            "SELECT m.id, m.rank, w.kind FROM message AS m LEFT JOIN waiting AS w ON w.id = m.id"
            " WHERE m.shelf_id = ? AND m.sent_at <= ? ORDER BY m.sent_at LIMIT ?",
            (shelf.id, now - queue.retention_s, limit),
        ).fetchall()
        if rows and queue.is_fifo:
            self._fifo.remove(shelf, [row[0] for row in rows])
        elif rows:
            ids = [(row[0],) for row in rows]
            self._executemany("DELETE FROM waiting WHERE id = ?", ids)
            self._executemany("DELETE FROM message WHERE id = ?", ids)
            self._executemany(
                "DELETE FROM ready WHERE shelf_id = ? AND rank = ? AND id = ?",
                [(shelf.id, row[1], row[0]) for row in rows],
            )
            delayed = sum(1 for row in rows if row[2] == DELAYED)
            leased = sum(1 for row in rows if row[2] is not None) - delayed
            self._shelves.shift(shelf, delayed + leased - len(rows), -leased, -delayed)
        oldest = self._execute("SELECT min(sent_at) FROM message WHERE shelf_id = ?", (shelf.id,)).fetchone()[0]
        shelf.next_expiry = INFINITY if oldest is None else oldest + queue.retention_s
        self._engine.on_undo(partial(setattr, shelf, "next_expiry", -INFINITY))
        return len(rows)

    def _sweep_abandoned(self, limit: int) -> int:
        """Remove rows of shelves that no queue has any more, and each shelf with its last row."""
        removed = 0
        while removed < limit:
            row = self._execute("SELECT id FROM shelf WHERE queue_id IS NULL LIMIT 1").fetchone()
            if row is None:
                break
            for sql in _DELETE_OF_SHELF:
                if removed < limit:
                    removed += self._execute(sql, (row[0], limit - removed)).rowcount
            if removed < limit:
                self._execute("DELETE FROM shelf WHERE id = ?", row)
                removed += 1
        return removed

    def _sweep_windows(self, limit: int, now: float) -> float:
        """Remove deduplication ids, attempts and names whose time is over; return when the next one's is."""
        self._execute("DELETE FROM deleted_queue WHERE deleted_at <= ?", (now - DELETED_QUEUE_WINDOW_S,))
        next_at = INFINITY
        windows: tuple[tuple[str, str, float], ...] = (
            ("deduplication", "sent_at", DEDUPLICATION_WINDOW_S),
            ("attempt", "received_at", ATTEMPT_WINDOW_S),
        )
        for table, column, length_s in windows:
            # Rows are in order of time, so those that are over come first.
            rows = self._execute(f"SELECT id, {column} FROM {table} ORDER BY id LIMIT ?", (limit + 1,)).fetchall()
            over = 0
            while over < len(rows) and rows[over][1] + length_s <= now:
                over += 1
            if over:
                self._execute(f"DELETE FROM {table} WHERE id <= ?", (rows[over - 1][0],))
            if over < len(rows):
                next_at = min(next_at, max(rows[over][1] + length_s, now + _GATHER_S))
            if over > limit:
                next_at = now
        return next_at
