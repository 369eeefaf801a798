"""Reports in SQLite: a read-only connection with a thread of its own (aiosqlite), opened with the first question."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import anyio

from eventrt.clock import Clock
from eventrt.core.backlog import Backlog, Head
from eventrt.core.buckets import Bucket
from eventrt.core.messages import PeekedMessage, Place, Queue
from eventrt.store.reports import MOST_COUNTED, Contents
from eventrt.store.sqlite.asynchronous import unpack_last
from eventrt.store.sqlite.message_rows import sequence_number, unpack_extras
from eventrt.store.sqlite.standard import DELAYED

_MESSAGE = (
    "m.id, m.message_id, m.body, m.sent_at, m.sender_id, m.extras, m.group_id, m.deduplication_id, m.dead_letter_source"
)
_SELECT_SHELF = "SELECT id FROM shelf WHERE queue_id = ?"
_SELECT_READY = (
    f"SELECT {_MESSAGE}, NULL, NULL, r.receive_count, r.first_received_at, r.rank"
    " FROM ready AS r CROSS JOIN message AS m ON m.id = r.id"
    " WHERE r.shelf_id = ? AND (r.rank, r.id) > (?, ?) AND m.sent_at > ? ORDER BY r.rank, r.id LIMIT ?"
)
_SELECT_WAITING = (
    f"SELECT {_MESSAGE}, w.kind, w.due_at, w.receive_count, w.first_received_at, w.due_at"
    " FROM waiting AS w CROSS JOIN message AS m ON m.id = w.id"
    " WHERE w.shelf_id = ? AND (w.due_at, w.kind, w.id) > (?, ?, ?) AND m.sent_at > ?"
    " ORDER BY w.due_at, w.kind, w.id LIMIT ?"
)
_SELECT_FIFO = (
    f"SELECT {_MESSAGE}, w.kind, w.due_at, coalesce(w.receive_count, 0), w.first_received_at, m.sent_at"
    " FROM message AS m LEFT JOIN waiting AS w ON w.id = m.id"
    " WHERE m.shelf_id = ? AND (m.sent_at, m.id) > (?, ?) AND m.sent_at > ? ORDER BY m.sent_at, m.id LIMIT ?"
)
# Of an object's row only what stands before its body is read.
_COUNT_OBJECTS = (
    "SELECT count(*), coalesce(sum(size), 0) FROM"
    " (SELECT size FROM object WHERE bucket_id = ? AND is_current = 1 AND is_marker = 0 LIMIT ?)"
)
_SELECT_LANES = "SELECT id, name FROM async_lane WHERE account_id = ? AND region = ? ORDER BY name"
_COUNT_EVENTS = (
    "SELECT waiting, due, failed, refused, (SELECT accepted_at FROM async_event WHERE id = oldest)"
    " FROM (SELECT count(*) AS waiting, sum(due_at <= ?) AS due, sum(executed > 0) AS failed,"
    " sum(refused > 0) AS refused, min(id) AS oldest FROM async_due WHERE lane = ?)"
)
_SELECT_HEAD = "SELECT due_at, executed, refused, last FROM async_due WHERE lane = ? ORDER BY due_at, id LIMIT 1"


class SqliteReports:
    """The `store.reports.Reports` of the embedded store. Args: path: the database the store has opened."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._connection: aiosqlite.Connection | None = None
        self._opening = anyio.Lock()

    async def close(self) -> None:
        """Let go of the connection; the next question opens another."""
        async with self._opening:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    async def _rows(self, sql: str, parameters: Sequence[object]) -> list[Any]:
        async with self._opening:
            if self._connection is None:
                uri = f"{self._path.absolute().as_uri()}?mode=ro"
                self._connection = await aiosqlite.connect(uri, uri=True, isolation_level=None)
            # All rows at once: a reader that stays in its list keeps the log from being folded in.
            return list(await self._connection.execute_fetchall(sql, parameters))

    async def peek_messages(self, queue: Queue, *, limit: int, after: str | None = None) -> list[PeekedMessage]:
        """Return messages as they lie on the queue (see `Reports.peek_messages`)."""
        shelves = await self._rows(_SELECT_SHELF, (queue.id,))
        if not shelves:
            return []
        shelf_id = shelves[0][0]
        now = self._clock.now()
        expired = now - queue.retention_s
        if queue.is_fifo:
            sent_at, row_id = _place(after, "m", 2, (-1.0, 0.0))
            rows = await self._rows(_SELECT_FIFO, (shelf_id, sent_at, row_id, expired, limit))
            return [_peeked(queue, row, f"m{row[13]!r}/{row[0]}", now) for row in rows]
        found: list[PeekedMessage] = []
        behind_ready = after is not None and after.startswith("w")
        if not behind_ready:
            rank, row_id = _place(after, "r", 2, (-1.0, 0.0))
            rows = await self._rows(_SELECT_READY, (shelf_id, rank, row_id, expired, limit))
            found = [_peeked(queue, row, f"r{row[13]}/{row[0]}", now) for row in rows]
        if len(found) < limit:
            due_at, kind, row_id = _place(after if behind_ready else None, "w", 3, (-1.0, 0.0, 0.0))
            rows = await self._rows(_SELECT_WAITING, (shelf_id, due_at, kind, row_id, expired, limit - len(found)))
            found += [_peeked(queue, row, f"w{row[13]!r}/{row[9]}/{row[0]}", now) for row in rows]
        return found

    async def contents(self, bucket: Bucket) -> Contents:
        """Return what a bucket holds (see `Reports.contents`)."""
        objects, size_bytes = (await self._rows(_COUNT_OBJECTS, (bucket.id, MOST_COUNTED)))[0]
        return Contents(objects, size_bytes, objects < MOST_COUNTED)

    async def backlogs(self, account_id: str, region: str) -> list[Backlog]:
        """Return what waits on the asynchronous shelf (see `Reports.backlogs`)."""
        found: list[Backlog] = []
        for lane, name in await self._rows(_SELECT_LANES, (account_id, region)):
            counts = await self._rows(_COUNT_EVENTS, (self._clock.now(), lane))
            heads = await self._rows(_SELECT_HEAD, (lane,))
            waiting, due, failed, refused, oldest_at = counts[0]
            if not waiting or not heads or oldest_at is None:  # it ended, perhaps between two looks
                continue
            due_at, tries, refusals, last = heads[0]
            head = Head(due_at, tries, refusals, None if last is None else unpack_last(last))
            key = (account_id, region, name)
            found.append(Backlog(lane, key, waiting, due, failed, refused, oldest_at, head))
        return found


def _place(after: str | None, part: str, count: int, start: tuple[float, ...]) -> tuple[float, ...]:
    """Return the numbers of a position in one part of a listing; `start` when there is none."""
    if after is None:
        return start
    numbers = tuple(float(text) for text in after[1:].split("/"))
    if after[:1] != part or len(numbers) != count:
        raise ValueError(f"no position of this listing: {after!r}")
    return numbers


def _peeked(queue: Queue, row: Any, position: str, now: float) -> PeekedMessage:
    kind, due_at, sent_at = row[9], row[10], row[3]
    place: Place = "visible"
    until = None
    if due_at is not None and due_at > now:
        place, until = ("delayed" if kind == DELAYED else "in flight"), due_at
    elif queue.is_fifo and sent_at <= now < sent_at + queue.delay_s:
        place, until = "delayed", sent_at + queue.delay_s
    return PeekedMessage(
        position,
        row[1],
        place,
        until,
        row[2],
        sent_at,
        row[11],
        row[12],
        row[4],
        unpack_extras(row[5])[0],
        row[6],
        row[7],
        sequence_number(row[0]) if queue.is_fifo else None,
        row[8],
    )
