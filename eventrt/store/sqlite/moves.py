"""Message move tasks in SQLite: durable rows, and one slice of moving at a time.

A moved message begins anew: new id, new age, nothing received. Messages in flight are left alone; those that become
visible while the task runs are moved too.
"""

import binascii
import uuid
from typing import Any

import orjson

from eventrt.core.messages import MoveStatus, MoveTask, Queue
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.fifo import FifoQueues
from eventrt.store.sqlite.message_rows import MOVE_MESSAGE, new_message_ids
from eventrt.store.sqlite.queues import SqliteQueues
from eventrt.store.sqlite.rowids import RowIds
from eventrt.store.sqlite.shelves import Shelf, Shelves
from eventrt.store.sqlite.standard import StandardQueues
from eventrt.store.sqlite.sweeping import Sweeping

_COLUMNS = "id, handle, source_arn, destination_arn, max_per_second, status, started_at, moved, to_move, failure_reason"


class Moves:
    """The tasks' rows, and what moves the messages."""

    def __init__(
        self,
        engine: Engine[Any],
        shelves: Shelves,
        queues: SqliteQueues,
        row_ids: RowIds,
        standard: StandardQueues,
        fifo: FifoQueues,
        sweeping: Sweeping,
    ) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._executemany = engine.connection.executemany
        self._shelves = shelves
        self._queues = queues
        self._row_ids = row_ids
        self._standard = standard
        self._fifo = fifo
        self._sweeping = sweeping

    def start(
        self, source: Queue, destination_arn: str | None, max_per_second: int | None, to_move: int
    ) -> MoveTask | None:
        """Begin a task and return it; None when the source has an active one."""
        active = self._execute(
            "SELECT 1 FROM move_task WHERE status IN ('RUNNING', 'CANCELLING') AND source_arn = ?", (source.arn,)
        ).fetchone()
        if active:
            return None
        task_id = str(uuid.uuid4())
        handle = binascii.b2a_base64(orjson.dumps({"taskId": task_id, "sourceArn": source.arn}), newline=False).decode(
            "ascii"
        )
        self._execute(
            "INSERT INTO move_task (handle, source_arn, destination_arn, max_per_second, status, started_at, to_move)"
            " VALUES (?, ?, ?, ?, 'RUNNING', ?, ?)",
            (handle, source.arn, destination_arn, max_per_second, self._engine.tx.now, to_move),
        )
        self._engine.announce(("moves",))
        return self.of_handle(handle)

    def of_source(self, source_arn: str, limit: int) -> list[MoveTask]:
        """Return the tasks of a source, newest first."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM move_task WHERE source_arn = ? ORDER BY id DESC LIMIT ?", (source_arn, limit)
        )
        return [MoveTask(*row) for row in rows]

    def of_handle(self, handle: str) -> MoveTask | None:
        """Return the task of a handle, or None."""
        row = self._execute(f"SELECT {_COLUMNS} FROM move_task WHERE handle = ?", (handle,)).fetchone()
        return MoveTask(*row) if row else None

    def active(self) -> list[MoveTask]:
        """Return the active tasks, oldest first."""
        rows = self._execute(f"SELECT {_COLUMNS} FROM move_task WHERE status IN ('RUNNING', 'CANCELLING') ORDER BY id")
        return [MoveTask(*row) for row in rows]

    def end(self, task: MoveTask, status: MoveStatus, failure_reason: str | None = None) -> MoveTask:
        """Set a task's status and return it as it is now."""
        self._execute(
            "UPDATE move_task SET status = ?, failure_reason = ? WHERE id = ?", (status, failure_reason, task.id)
        )
        self._engine.announce(("moves",))
        return self._reload(task)

    def _reload(self, task: MoveTask) -> MoveTask:
        row = self._execute(f"SELECT {_COLUMNS} FROM move_task WHERE id = ?", (task.id,)).fetchone()
        return MoveTask(*row)

    def move(self, task: MoveTask, limit: int) -> MoveTask:
        """Move up to `limit` visible messages and return the task as it is now, over when none was left."""
        task = self._reload(task)
        if task.status == "CANCELLING":
            return self.end(task, "CANCELLED")
        if task.status != "RUNNING":
            return task
        source = self._queues.by_arn(task.source_arn)
        if source is None:
            return self.end(task, "FAILED", "AWS.SimpleQueueService.NonExistentQueue")
        shelf = self._shelves.of(source.id)
        now = self._engine.tx.now
        if shelf.next_expiry <= now and self._sweeping.expire(shelf, source, limit, now):
            return task  # what has expired goes first; the next slice moves
        rows = self._first_visible(source, limit)
        if not rows:
            return self.end(task, "COMPLETED")
        moved = 0
        failure = None
        by_destination: dict[int, tuple[Queue, list[tuple[Any, ...]]]] = {}
        for row in rows:
            arn = task.destination_arn or row[3]
            destination = self._queues.by_arn(arn) if arn else None
            if destination is None or destination.is_fifo != source.is_fifo:
                failure = "AWS.SimpleQueueService.NonExistentQueue" if arn else "CouldNotDetermineMessageSource"
                break
            by_destination.setdefault(destination.id, (destination, []))[1].append(row)
            moved += 1
        for destination, messages in by_destination.values():
            self._lay(destination, messages)
        if moved:
            self._take_away(source, rows[:moved])
            self._execute("UPDATE move_task SET moved = moved + ? WHERE id = ?", (moved, task.id))
        return self.end(task, "FAILED", failure) if failure else self._reload(task)

    def _first_visible(self, source: Queue, limit: int) -> list[tuple[Any, ...]]:
        """Return (row id, rank, group, dead-letter source) of messages that may be received now, in order."""
        shelf = self._shelves.of(source.id)
        now = self._engine.tx.now
        if shelf.next_due <= now:
            (self._fifo if source.is_fifo else self._standard).promote(shelf, now)
        if not source.is_fifo:
            return self._execute(
                "SELECT r.id, r.rank, m.group_id, m.dead_letter_source FROM ready AS r CROSS JOIN message AS m"
                " ON m.id = r.id WHERE r.shelf_id = ? ORDER BY r.rank, r.id LIMIT ?",
                (shelf.id, limit),
            ).fetchall()
        found: list[tuple[Any, ...]] = []
        groups = self._execute(
            "SELECT m.group_id FROM ready AS r CROSS JOIN message AS m ON m.id = r.id WHERE r.shelf_id = ?"
            " ORDER BY r.rank LIMIT ?",
            (shelf.id, limit),
        ).fetchall()
        for (group_id,) in groups:
            if len(found) < limit:
                found += self._execute(
                    "SELECT id, rank, group_id, dead_letter_source FROM message WHERE fifo = 1 AND shelf_id = ?"
                    " AND group_id = ? ORDER BY id LIMIT ?",
                    (shelf.id, group_id, limit - len(found)),
                ).fetchall()
        return found

    def _lay(self, destination: Queue, rows: list[tuple[Any, ...]]) -> None:
        """Copy messages onto another queue, as if they were sent now."""
        shelf = self._shelves.of(destination.id)
        now = self._engine.tx.now
        row_id = self._row_ids.take(len(rows))
        copies: list[tuple[Any, ...]] = []
        for row, message_id in zip(rows, new_message_ids(len(rows)), strict=True):
            rank = row_id if destination.is_fifo else shelf.next_rank(row[2])
            copies.append((row_id, shelf.id, rank, now, message_id, None, row[0]))
            row_id += 1
        self._executemany(MOVE_MESSAGE, copies)
        shelf.next_expiry = min(shelf.next_expiry, now + destination.retention_s)
        self._shelves.shift(shelf, len(rows), 0)
        if destination.is_fifo:
            heads: dict[str, int] = {}
            for row, copy in zip(rows, copies, strict=True):
                heads.setdefault(row[2], copy[0])
            self._fifo.open_lanes(shelf, heads)
        else:
            self._executemany(
                "INSERT INTO ready (shelf_id, rank, id) VALUES (?, ?, ?)",
                [(shelf.id, copy[2], copy[0]) for copy in copies],
            )
            self._engine.announce(("queue", destination.id))

    def _take_away(self, source: Queue, rows: list[tuple[Any, ...]]) -> None:
        shelf: Shelf = self._shelves.of(source.id)
        if source.is_fifo:
            self._fifo.remove(shelf, [row[0] for row in rows])
            return
        self._executemany(
            "DELETE FROM ready WHERE shelf_id = ? AND rank = ? AND id = ?",
            [(shelf.id, row[1], row[0]) for row in rows],
        )
        self._executemany("DELETE FROM message WHERE id = ?", [(row[0],) for row in rows])
        self._shelves.shift(shelf, -len(rows), 0)
