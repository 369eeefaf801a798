"""Queues in SQLite, with every queue that was looked up kept decoded in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from eventrt.core.messages import Queue, acting_fields
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.shelves import Shelves

_COLUMNS = "id, account_id, region, name, created_at, modified_at, attributes, tags"

Key = tuple[str, str, str]


class SqliteQueues:
    """The `store.queues.QueueRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any], shelves: Shelves) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._shelves = shelves
        self._by_key: dict[Key, Queue] = {}
        self._by_id: dict[int, Queue] = {}
        self._by_arn: dict[str, Queue] = {}
        engine.after_rollback.append(self._forget)

    def create(
        self,
        account_id: str,
        region: str,
        name: str,
        attributes: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> Queue:
        """Make a queue and return it."""
        now = self._engine.tx.now
        fields = acting_fields(attributes)
        queue = Queue(0, account_id, region, name, now, now, dict(attributes), dict(tags), **fields)
        cursor = self._execute(
            "INSERT INTO queue (account_id, region, name, created_at, modified_at, attributes, tags, retention_s,"
            " dead_letter_target) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                account_id,
                region,
                name,
                now,
                now,
                orjson.dumps(dict(attributes)).decode(),
                orjson.dumps(dict(tags)).decode(),
                queue.retention_s,
                _target(queue),
            ),
        )
        queue = replace(queue, id=int(cursor.lastrowid or 0))
        self._shelves.replace(queue.id)
        self._execute(
            "DELETE FROM deleted_queue WHERE account_id = ? AND region = ? AND name = ?",
            (account_id, region, name),
        )
        self._changed()
        return self._keep(queue)

    def find(self, account_id: str, region: str, name: str) -> Queue | None:
        """Return the queue of this name, or None."""
        queue = self._by_key.get((account_id, region, name))
        if queue is not None:
            return queue
        return self._one(
            f"SELECT {_COLUMNS} FROM queue WHERE account_id = ? AND region = ? AND name = ?",
            (account_id, region, name),
        )

    def by_id(self, queue_id: int) -> Queue | None:
        """Return the queue of this number, or None."""
        queue = self._by_id.get(queue_id)
        if queue is not None:
            return queue
        return self._one(f"SELECT {_COLUMNS} FROM queue WHERE id = ?", (queue_id,))

    def by_arn(self, arn: str) -> Queue | None:
        """Return the queue an ARN names, or None."""
        queue = self._by_arn.get(arn)
        if queue is not None:
            return queue
        parts = arn.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sqs":
            return None
        queue = self.find(parts[4], parts[3], parts[5])
        return queue if queue is not None and queue.arn == arn else None

    def set_attributes(self, queue: Queue, attributes: Mapping[str, str]) -> Queue:
        """Replace all attributes of a queue and return it as it is now."""
        now = self._engine.tx.now
        changed = Queue(
            queue.id,
            queue.account_id,
            queue.region,
            queue.name,
            queue.created_at,
            now,
            dict(attributes),
            queue.tags,
            **acting_fields(attributes),
        )
        self._execute(
            "UPDATE queue SET modified_at = ?, attributes = ?, retention_s = ?, dead_letter_target = ? WHERE id = ?",
            (now, orjson.dumps(dict(attributes)).decode(), changed.retention_s, _target(changed), queue.id),
        )
        self._changed()
        shelf = self._shelves.loaded(queue.id)
        if shelf is not None:
            shelf.next_due = shelf.next_expiry = -float("inf")  # another retention or delay, other moments
        self._engine.announce(("sweep",))
        return self._keep(changed)

    def set_tags(self, queue: Queue, tags: Mapping[str, str]) -> Queue:
        """Replace all tags of a queue and return it as it is now."""
        self._execute("UPDATE queue SET tags = ? WHERE id = ?", (orjson.dumps(dict(tags)).decode(), queue.id))
        self._changed()
        return self._keep(replace(queue, tags=dict(tags)))

    def list(
        self, account_id: str, region: str, *, prefix: str = "", after: str | None = None, limit: int = 1000
    ) -> Sequence[Queue]:
        """Return queues in order of their names, those after the name `after`, at most `limit`."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM queue WHERE account_id = ? AND region = ? AND name >= ? AND name > ?"
            " AND name < ? ORDER BY name LIMIT ?",
            (account_id, region, prefix, after or "", prefix + "\U0010ffff", limit),
        )
        return [_decode(row) for row in rows]

    def dead_letter_sources(self, queue: Queue, *, after: str | None = None, limit: int = 1000) -> Sequence[Queue]:
        """Return the queues whose redrive policy names this queue, in order of their names."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM queue WHERE dead_letter_target = ? AND name > ? ORDER BY name LIMIT ?",
            (queue.arn, after or "", limit),
        )
        return [_decode(row) for row in rows]

    def delete(self, queue: Queue) -> None:
        """Take a queue away with all its messages; the rows are removed later, in slices."""
        self._execute("DELETE FROM queue WHERE id = ?", (queue.id,))
        self._execute(
            "INSERT OR REPLACE INTO deleted_queue (account_id, region, name, deleted_at) VALUES (?, ?, ?, ?)",
            (queue.account_id, queue.region, queue.name, self._engine.tx.now),
        )
        self._shelves.abandon(queue.id)
        self._changed()
        self._engine.announce(("sweep",))

    def deleted_at(self, account_id: str, region: str, name: str) -> float | None:
        """Return when a queue of this name was last deleted, for at least a minute after."""
        row = self._execute(
            "SELECT deleted_at FROM deleted_queue WHERE account_id = ? AND region = ? AND name = ?",
            (account_id, region, name),
        ).fetchone()
        return row[0] if row else None

    def _one(self, sql: str, parameters: tuple[object, ...]) -> Queue | None:
        row = self._execute(sql, parameters).fetchone()
        return self._keep(_decode(row)) if row else None

    def _keep(self, queue: Queue) -> Queue:
        self._by_id[queue.id] = queue
        self._by_key[(queue.account_id, queue.region, queue.name)] = queue
        self._by_arn[queue.arn] = queue
        return queue

    def _changed(self) -> None:
        """Forget what is kept, now and once more if this unit is rolled back: changes of queues are rare."""
        self._forget()
        self._engine.on_undo(self._forget)

    def _forget(self) -> None:
        self._by_key.clear()
        self._by_id.clear()
        self._by_arn.clear()


def _target(queue: Queue) -> str | None:
    return queue.redrive.dead_letter_target_arn if queue.redrive is not None else None


def _decode(row: tuple[Any, ...]) -> Queue:
    attributes = orjson.loads(row[6])
    tags = orjson.loads(row[7])
    return Queue(row[0], row[1], row[2], row[3], row[4], row[5], attributes, tags, **acting_fields(attributes))
