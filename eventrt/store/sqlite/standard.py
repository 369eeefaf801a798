"""Standard queues: any order is allowed, so each operation is a few statements on ready and waiting rows.

A message is in `ready` (may be received) or in `waiting` (delayed or leased). Receiving takes the first rows of
`ready` with one range delete. A message deleted while it is ready may leave its `ready` row behind: rows without a
message are skipped by the join and removed by the next range delete.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from eventrt.core import receipts
from eventrt.core.messages import (
    NO_ATTRIBUTES,
    MessageDraft,
    Queue,
    Received,
    ReceivedMessage,
    Refusal,
    SentMessage,
    SettleResult,
)
from eventrt.store.sqlite import shelves as limits
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.message_rows import (
    INSERT_MESSAGE,
    MOVE_MESSAGE,
    new_message_ids,
    pack_extras,
    unpack_extras,
)
from eventrt.store.sqlite.rowids import RowIds
from eventrt.store.sqlite.shelves import INFINITY, Shelf, Shelves

DELAYED, LEASED_BY_CLIENT, LEASED_BY_POLLER, RETURNED = range(4)
"""The kinds of a waiting row."""

MAXIMUM_LEASE_S = 43_200
"""A lease ends at the latest so long after its receive, however often it is extended."""

PROMOTE_AT_ONCE = 1000
"""How many messages become visible in one step; more than that take several, so no step is long."""

_INSERT_READY = "INSERT INTO ready (shelf_id, rank, id) VALUES (?, ?, ?)"
_RETURN_READY = "INSERT INTO ready (shelf_id, rank, id, receive_count, first_received_at) VALUES (?, ?, ?, ?, ?)"
INSERT_WAITING = (
    "INSERT INTO waiting (id, shelf_id, due_at, kind, rank, receive_count, first_received_at, leased_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT_READY = (
    "SELECT r.rank, r.id, r.receive_count, r.first_received_at, m.sent_at, m.message_id, m.sender_id, m.group_id,"
    " m.deduplication_id, m.dead_letter_source, m.extras, m.body_md5, m.body"
    " FROM ready AS r CROSS JOIN message AS m ON m.id = r.id WHERE r.shelf_id = ? ORDER BY r.rank, r.id LIMIT ?"
)
_TAKE_READY = "DELETE FROM ready WHERE shelf_id = ? AND (rank, id) <= (?, ?)"
_TAKE_ALL_READY = "DELETE FROM ready WHERE shelf_id = ?"
_SELECT_DUE = (
    "SELECT w.id, w.due_at, w.kind, w.rank, w.receive_count, w.first_received_at, m.group_id FROM waiting AS w"
    " CROSS JOIN message AS m ON m.id = w.id WHERE w.shelf_id = ? AND w.due_at <= ? ORDER BY w.due_at LIMIT ?"
)

GONE = "Message does not exist or is not available for visibility timeout change."


class StandardQueues:
    """The operations of standard queues."""

    def __init__(self, engine: Engine[Any], shelves: Shelves, row_ids: RowIds) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._executemany = engine.connection.executemany
        self._shelves = shelves
        self._row_ids = row_ids
        self._delete_waiting: dict[int, str] = {}
        self._delete_message: dict[int, str] = {}

    def send(self, shelf: Shelf, queue: Queue, drafts: Sequence[MessageDraft], now: float) -> list[SentMessage]:
        """Lay messages on the shelf in order."""
        count = len(drafts)
        message_ids = new_message_ids(count)
        row_id = self._row_ids.take(count)
        shelf_id = shelf.id
        messages: list[tuple[Any, ...]] = []
        ready: list[tuple[int, int, int]] = []
        delayed: list[tuple[Any, ...]] = []
        for draft, message_id in zip(drafts, message_ids, strict=True):
            delay_s = queue.delay_s if draft.delay_s is None else draft.delay_s
            rank = 0
            if delay_s:
                due_at = now + delay_s
                delayed.append((row_id, shelf_id, due_at, DELAYED, 0, 0, None, None))
                self._shelves.expect(shelf, due_at)
            else:
                rank = shelf.next_rank(draft.group_id)
                ready.append((shelf_id, rank, row_id))
            messages.append(
                (
                    row_id,
                    shelf_id,
                    0,
                    rank,
                    now,
                    message_id,
                    draft.sender_id,
                    draft.group_id,
                    draft.deduplication_id,
                    pack_extras(draft),
                    draft.md5_of_body,
                    draft.body,
                )
            )
            row_id += 1
        self._executemany(INSERT_MESSAGE, messages)
        if ready:
            self._executemany(_INSERT_READY, ready)
            self._engine.announce(("queue", shelf.queue_id))
        if delayed:
            self._executemany(INSERT_WAITING, delayed)
        self._shelves.shift(shelf, len(ready), 0, len(delayed))
        return [SentMessage(message_id) for message_id in message_ids]

    def receive(
        self,
        shelf: Shelf,
        queue: Queue,
        *,
        limit: int,
        visibility_timeout_s: int,
        lease_kind: int,
        dead_letter: tuple[Shelf, Queue] | None,
        now: float,
    ) -> Received:
        """Lease the first ready messages; dead-letter those received too often."""
        if shelf.next_due <= now:
            self.promote(shelf, now)
        room = limits.MAXIMUM_IN_FLIGHT - shelf.in_flight
        if room <= 0:
            return Received((), self._shelves.tell(shelf), over_limit=True)
        limit = min(limit, room)
        given: list[tuple[Any, ...]] = []
        most = queue.redrive.max_receive_count if queue.redrive is not None and dead_letter else INFINITY
        while shelf.visible > 0 and len(given) < limit:
            asked = limit - len(given)
            rows = self._execute(_SELECT_READY, (shelf.id, asked)).fetchall()
            if len(rows) < asked:
                self._execute(_TAKE_ALL_READY, (shelf.id,))
            else:
                self._execute(_TAKE_READY, (shelf.id, rows[-1][0], rows[-1][1]))
            if not rows:
                break
            if rows[-1][0] > shelf.served_rank:
                shelf.served_rank = rows[-1][0]
            self._shelves.shift(shelf, -len(rows), 0)
            tired = [row for row in rows if row[2] >= most]
            if tired and dead_letter:
                self._dead_letter(queue, *dead_letter, tired)
                rows = [row for row in rows if row[2] < most]
            given += rows
        if not given:
            return Received((), self._shelves.tell(shelf))
        return Received(self._lease(shelf, given, visibility_timeout_s, lease_kind, now))

    def _lease(
        self, shelf: Shelf, rows: list[tuple[Any, ...]], timeout_s: int, kind: int, now: float
    ) -> tuple[ReceivedMessage, ...]:
        """Put messages taken from `ready` in flight and return them with their handles."""
        shelf_id, queue_id = shelf.id, shelf.queue_id
        leases: list[tuple[Any, ...]] = []
        messages: list[ReceivedMessage] = []
        due_at = now + timeout_s
        make = ReceivedMessage._make
        write_handle = receipts.write
        for (
            rank,
            row_id,
            count,
            first_at,
            sent_at,
            message_id,
            sender_id,
            group_id,
            deduplication_id,
            source,
            extras,
            md5,
            body,
        ) in rows:
            count += 1
            if first_at is None:
                first_at = now
            # A message of a group that fails goes behind its own group's backlog; one without a group keeps its
            # place.
            leases.append((row_id, shelf_id, due_at, kind, rank if group_id is None else 0, count, first_at, now))
            if extras is None:
                attributes, md5_of_attributes, trace_header = NO_ATTRIBUTES, None, None
            else:
                attributes, md5_of_attributes, trace_header = unpack_extras(extras)
            messages.append(
                make(
                    (
                        message_id,
                        write_handle(queue_id, row_id, count),
                        body,
                        md5,
                        sent_at,
                        count,
                        first_at,
                        sender_id,
                        attributes,
                        md5_of_attributes,
                        trace_header,
                        group_id,
                        deduplication_id,
                        None,
                        source,
                    )
                )
            )
        if timeout_s > 0:
            self._executemany(INSERT_WAITING, leases)
            self._shelves.expect(shelf, due_at)
            self._shelves.shift(shelf, 0, len(leases))
        else:
            groups = [row[7] for row in rows]
            self._return(shelf, ((x[0], x[4], x[5], x[6], g) for x, g in zip(leases, groups, strict=True)), len(rows))
        return tuple(messages)

    def _return(self, shelf: Shelf, rows: Iterable[tuple[int, int, int, float | None, str | None]], count: int) -> None:
        """Make messages ready: (row id, rank or 0 for a new one, receive count, first received at, group)."""
        shelf_id, next_rank = shelf.id, shelf.next_rank
        self._executemany(
            _RETURN_READY,
            [
                (shelf_id, rank or next_rank(group_id), row_id, receive_count, first_at)
                for row_id, rank, receive_count, first_at, group_id in rows
            ],
        )
        self._shelves.shift(shelf, count, 0)

    def _dead_letter(self, queue: Queue, shelf: Shelf, target: Queue, rows: list[tuple[Any, ...]]) -> None:
        """Move messages taken from `ready` to the dead-letter queue: same id, same age, counting on."""
        row_id = self._row_ids.take(len(rows))
        moved: list[tuple[Any, ...]] = []
        ready: list[tuple[Any, ...]] = []
        for row in rows:
            rank = shelf.next_rank(row[7])
            moved.append((row_id, shelf.id, rank, row[4], None, queue.arn, row[1]))
            ready.append((shelf.id, rank, row_id, row[2], row[3]))
            shelf.next_expiry = min(shelf.next_expiry, row[4] + target.retention_s)
            row_id += 1
        self._executemany(MOVE_MESSAGE, moved)
        self._executemany(_RETURN_READY, ready)
        self._executemany("DELETE FROM message WHERE id = ?", [(row[1],) for row in rows])
        self._shelves.shift(shelf, len(rows), 0)
        self._engine.announce(("queue", target.id))

    def promote(self, shelf: Shelf, now: float) -> None:
        """Make ready what fell due: delayed messages, and leased ones whose lease has ended."""
        rows = self._execute(_SELECT_DUE, (shelf.id, now, PROMOTE_AT_ONCE)).fetchall()
        if rows:
            self._executemany("DELETE FROM waiting WHERE id = ?", [(row[0],) for row in rows])
            delayed = sum(1 for row in rows if row[2] == DELAYED)
            self._return(shelf, ((row[0], *row[3:]) for row in rows), len(rows))
            self._shelves.shift(shelf, 0, delayed - len(rows), -delayed)
        self._shelves.find_next_due(shelf)

    def delete(self, shelf: Shelf, handles: Sequence[str]) -> list[SettleResult]:
        """Settle messages, by any handle they ever had."""
        results: list[SettleResult] = []
        row_ids: set[int] = set()
        for handle in handles:
            receipt = receipts.read(handle)
            if receipt is None or receipt.queue_id != shelf.queue_id:
                results.append(invalid_handle(handle))
            else:
                row_ids.add(receipt.row_id)
                results.append(None)
        if row_ids:
            self.remove(shelf, tuple(row_ids))
        return results

    def remove(self, shelf: Shelf, row_ids: tuple[int, ...]) -> int:
        """Remove messages wherever they stand and return how many were there; none of them is delayed."""
        count = len(row_ids)
        sql = self._delete_waiting.get(count)
        if sql is None:
            marks = ",".join("?" * count)
            sql = self._delete_waiting[count] = f"DELETE FROM waiting WHERE id IN ({marks}) AND +shelf_id = ?"
            self._delete_message[count] = f"DELETE FROM message WHERE id IN ({marks}) AND +shelf_id = ?"
        parameters = (*row_ids, shelf.id)
        leased = self._execute(sql, parameters).rowcount
        removed = self._execute(self._delete_message[count], parameters).rowcount
        if removed:
            self._shelves.make_room(shelf)
            self._shelves.shift(shelf, leased - removed, -leased)
        return removed

    def change_visibility(self, shelf: Shelf, changes: Sequence[tuple[str, int]], now: float) -> list[SettleResult]:
        """Let leases end so many seconds from now."""
        return [self._change(shelf, handle, timeout_s, now) for handle, timeout_s in changes]

    def _change(self, shelf: Shelf, handle: str, timeout_s: int, now: float) -> SettleResult:
        receipt = receipts.read(handle)
        if receipt is None or receipt.queue_id != shelf.queue_id:
            return invalid_handle(handle)
        row_id = receipt.row_id
        lease = self._execute(
            "SELECT due_at, kind, rank, receive_count, first_received_at, leased_at FROM waiting"
            " WHERE id = ? AND shelf_id = ?",
            (row_id, shelf.id),
        ).fetchone()
        if lease is None:
            message = self._execute(
                "SELECT 1 FROM message WHERE id = ? AND shelf_id = ?", (row_id, shelf.id)
            ).fetchone()
            # Visible again: tolerated without effect, as AWS was seen to do; whoever receives it next has a lease
            # of its own.
            return None if message else invalid_parameter(handle, GONE)
        due_at, _, rank, receive_count, first_at, leased_at = lease
        if due_at <= now or receive_count != receipt.receive_count:
            return None
        if timeout_s == 0:
            group_id = self._execute("SELECT group_id FROM message WHERE id = ?", (row_id,)).fetchone()[0]
            self._execute("DELETE FROM waiting WHERE id = ?", (row_id,))
            self._return(shelf, [(row_id, rank, receive_count, first_at, group_id)], 1)
            self._shelves.shift(shelf, 0, -1)
            self._engine.announce(("queue", shelf.queue_id))
            return None
        if now + timeout_s > leased_at + MAXIMUM_LEASE_S:
            return over_total(timeout_s)
        self._execute("UPDATE waiting SET due_at = ? WHERE id = ?", (now + timeout_s, row_id))
        self._shelves.expect(shelf, now + timeout_s)
        return None


def invalid_handle(handle: str) -> Refusal:
    """Refuse what is no handle of this queue."""
    return Refusal("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')


def invalid_parameter(handle: str, reason: str) -> Refusal:
    """Refuse a handle for a reason."""
    return Refusal(
        "InvalidParameterValueException",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: {reason}",
    )


def over_total(timeout_s: int) -> Refusal:
    """Refuse to extend a lease beyond 12 hours since its receive."""
    return Refusal(
        "InvalidParameterValueException",
        f"Value {timeout_s} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the"
        f" message is beyond the limit [{MAXIMUM_LEASE_S} seconds].",
    )
