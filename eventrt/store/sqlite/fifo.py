"""FIFO queues: groups in order, one receiver at a time in each, every message once.

A `lane` row stands for a group that holds messages: its head (the first message) and how many of them are in flight.
A group with none in flight has one `ready` row, ranked by its head, so the group whose head is oldest comes first;
a group in flight has none and is locked. Messages of a group follow each other by row id.

The queue's delay counts from the send and applies to what lies there already when it is changed, so no row says
"delayed": a head whose delay is not over is passed over, and all later heads with it.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import orjson

from eventrt.core import receipts
from eventrt.core.messages import (
    MessageDraft,
    Queue,
    Received,
    ReceivedMessage,
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
    sequence_number,
    unpack_extras,
)
from eventrt.store.sqlite.rowids import RowIds
from eventrt.store.sqlite.shelves import INFINITY, Shelf, Shelves
from eventrt.store.sqlite.standard import (
    GONE,
    MAXIMUM_LEASE_S,
    PROMOTE_AT_ONCE,
    RETURNED,
    invalid_handle,
    invalid_parameter,
    over_total,
)

DEDUPLICATION_WINDOW_S = 300.0
"""A deduplication id counts for so long after its first accepted send (semantics 04, A.5)."""

ATTEMPT_WINDOW_S = 300.0
"""A ReceiveRequestAttemptId gets the same messages for so long (semantics 04, A.5)."""

EXPIRED = "The receipt handle has expired."

_ROW = (
    "m.id, m.sent_at, m.message_id, m.sender_id, m.group_id, m.deduplication_id, m.dead_letter_source, m.extras,"
    " m.body_md5, m.body, w.receive_count, w.first_received_at"
)
_SELECT_HEAD = (
    "SELECT r.id, m.sent_at, m.group_id FROM ready AS r CROSS JOIN message AS m ON m.id = r.id"
    " WHERE r.shelf_id = ? AND r.rank > ? ORDER BY r.rank LIMIT 1"
)
_SELECT_GROUP = (
    f"SELECT {_ROW} FROM message AS m LEFT JOIN waiting AS w ON w.id = m.id"
    " WHERE m.fifo = 1 AND m.shelf_id = ? AND m.group_id = ? AND m.id > ? ORDER BY m.id LIMIT ?"
)
_SELECT_LEASED = (
    f"SELECT {_ROW}, w.kind, w.due_at FROM message AS m CROSS JOIN waiting AS w ON w.id = m.id"
    " WHERE m.id = ? AND m.shelf_id = ?"
)
_LEASE = (
    "INSERT INTO waiting (id, shelf_id, due_at, kind, rank, receive_count, first_received_at, leased_at)"
    " VALUES (?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET due_at = excluded.due_at,"
    " kind = excluded.kind, receive_count = excluded.receive_count, leased_at = excluded.leased_at"
)
_SELECT_FIRST = "SELECT min(id) FROM message WHERE fifo = 1 AND shelf_id = ? AND group_id = ?"


class FifoQueues:
    """The operations of FIFO queues."""

    def __init__(self, engine: Engine[Any], shelves: Shelves, row_ids: RowIds) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._executemany = engine.connection.executemany
        self._shelves = shelves
        self._row_ids = row_ids

    # -- sending

    def send(self, shelf: Shelf, queue: Queue, drafts: Sequence[MessageDraft], now: float) -> list[SentMessage]:
        """Lay messages on the shelf in order, except those sent before under the same deduplication id."""
        results: list[SentMessage] = []
        messages: list[tuple[Any, ...]] = []
        heads: dict[str, int] = {}
        for draft, message_id in zip(drafts, new_message_ids(len(drafts)), strict=True):
            group_id = cast(str, draft.group_id)  # the door sees to it
            first = self._first_of(queue, draft, now)
            if first is not None:
                results.append(SentMessage(first[0], sequence_number(first[1]), duplicate=True))
                continue
            row_id = self._row_ids.take(1)
            self._remember(queue, draft, now, message_id, row_id)
            heads.setdefault(group_id, row_id)
            messages.append(
                (
                    row_id,
                    shelf.id,
                    1,
                    row_id,
                    now,
                    message_id,
                    draft.sender_id,
                    group_id,
                    draft.deduplication_id,
                    pack_extras(draft),
                    draft.md5_of_body,
                    draft.body,
                )
            )
            results.append(SentMessage(message_id, sequence_number(row_id)))
        if messages:
            self._executemany(INSERT_MESSAGE, messages)
            self._shelves.shift(shelf, len(messages), 0)
            self.open_lanes(shelf, heads)
            if queue.delay_s:
                self._shelves.expect(shelf, now + queue.delay_s)
        return results

    def _first_of(self, queue: Queue, draft: MessageDraft, now: float) -> tuple[str, int] | None:
        """Return message id and row of the message first sent under the draft's deduplication id, in its window."""
        row = self._execute(
            "SELECT message_id, sequence, sent_at FROM deduplication"
            " WHERE queue_id = ? AND scope = ? AND deduplication_id = ?",
            (queue.id, _scope(queue, draft), draft.deduplication_id),
        ).fetchone()
        return (row[0], row[1]) if row and now < row[2] + DEDUPLICATION_WINDOW_S else None

    def _remember(self, queue: Queue, draft: MessageDraft, now: float, message_id: str, row_id: int) -> None:
        self._execute(
            "INSERT OR REPLACE INTO deduplication"
            " (queue_id, scope, deduplication_id, sent_at, message_id, sequence) VALUES (?, ?, ?, ?, ?, ?)",
            (queue.id, _scope(queue, draft), draft.deduplication_id, now, message_id, row_id),
        )

    def open_lanes(self, shelf: Shelf, heads: dict[str, int]) -> None:
        """Make groups ready that held no message until now: group -> its first message."""
        opened = []
        for group_id, head in heads.items():
            inserted = self._execute(
                "INSERT INTO lane (shelf_id, group_id, head, in_flight) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
                (shelf.id, group_id, head),
            ).rowcount
            if inserted:
                opened.append((shelf.id, head, head))
        if opened:
            self._executemany("INSERT INTO ready (shelf_id, rank, id) VALUES (?, ?, ?)", opened)
            self._engine.announce(("queue", shelf.queue_id))

    # -- receiving

    def receive(
        self,
        shelf: Shelf,
        queue: Queue,
        *,
        limit: int,
        visibility_timeout_s: int,
        attempt_id: str | None,
        lease_kind: int,
        dead_letter: tuple[Shelf, Queue] | None,
        now: float,
    ) -> Received:
        """Lease messages of unlocked groups, in order, as many of one group as there are before the next group."""
        if shelf.next_due <= now:
            self.promote(shelf, now)
        if attempt_id is not None:
            again = self._repeat(shelf, attempt_id, visibility_timeout_s, now)
            if again:
                return Received(again)
        limit = min(limit, limits.MAXIMUM_IN_FLIGHT - shelf.in_flight)
        messages: list[ReceivedMessage] = []
        leases: list[tuple[Any, ...]] = []
        rank = 0
        not_before = INFINITY
        while len(messages) < limit:
            head = self._execute(_SELECT_HEAD, (shelf.id, rank)).fetchone()
            if head is None:
                break
            rank, sent_at, group_id = head
            if _is_delayed(queue, sent_at, now):
                not_before = sent_at + queue.delay_s  # and so are all later heads
                break
            rows = self._take(shelf, queue, group_id, rank, limit - len(messages), dead_letter, now)
            for row in rows:
                count = (row[10] or 0) + 1
                first_at = now if row[11] is None else row[11]
                messages.append(_received(shelf.queue_id, row, count, first_at))
                leases.append(
                    (row[0], shelf.id, now + visibility_timeout_s, lease_kind, count, first_at, now)
                    if visibility_timeout_s
                    else (row[0], shelf.id, None, RETURNED, count, first_at, now)
                )
            self._settle_lane(shelf, group_id, rank, len(rows) if visibility_timeout_s else 0)
        if not messages:
            return Received((), self._shelves.tell(shelf, not_before))
        self._executemany(_LEASE, leases)
        if visibility_timeout_s:
            self._shelves.shift(shelf, -len(leases), len(leases))
            self._shelves.expect(shelf, now + visibility_timeout_s)
        if attempt_id is not None:
            self._execute(
                "INSERT OR REPLACE INTO attempt (queue_id, attempt_id, received_at, leases) VALUES (?, ?, ?, ?)",
                (queue.id, attempt_id, now, orjson.dumps([(lease[0], lease[4]) for lease in leases]).decode()),
            )
        return Received(tuple(messages))

    def _take(
        self,
        shelf: Shelf,
        queue: Queue,
        group_id: str,
        head: int,
        limit: int,
        dead_letter: tuple[Shelf, Queue] | None,
        now: float,
    ) -> list[tuple[Any, ...]]:
        """Return the first messages of an unlocked group; those received too often are dead-lettered on the way."""
        taken: list[tuple[Any, ...]] = []
        after = head - 1
        while len(taken) < limit:
            asked = limit - len(taken)
            rows = self._execute(_SELECT_GROUP, (shelf.id, group_id, after, asked)).fetchall()
            whole = len(rows) == asked
            for index, row in enumerate(rows):
                if _is_delayed(queue, row[1], now):
                    del rows[index:]
                    whole = False
                    break
            if dead_letter is not None and queue.redrive is not None:
                most = queue.redrive.max_receive_count
                tired = [row for row in rows if (row[10] or 0) >= most]
                if tired:
                    self._dead_letter(shelf, queue, *dead_letter, tired, now)
                    taken += [row for row in rows if (row[10] or 0) < most]
                else:
                    taken += rows
            else:
                taken += rows
            if not whole:
                break
            after = rows[-1][0]
        return taken

    def _dead_letter(
        self, source: Shelf, queue: Queue, shelf: Shelf, target: Queue, rows: list[tuple[Any, ...]], now: float
    ) -> None:
        """Move messages to the dead-letter queue: same id, group and count; their age begins anew."""
        row_id = self._row_ids.take(len(rows))
        heads: dict[str, int] = {}
        for row in rows:
            self._execute(MOVE_MESSAGE, (row_id, shelf.id, row_id, now, None, queue.arn, row[0]))
            self._execute(
                "INSERT INTO waiting (id, shelf_id, kind, rank, receive_count, first_received_at)"
                " VALUES (?, ?, ?, 0, ?, ?)",
                (row_id, shelf.id, RETURNED, row[10], row[11]),
            )
            heads.setdefault(row[4], row_id)
            row_id += 1
        self._drop_rows(row[0] for row in rows)
        self._shelves.shift(source, -len(rows), 0)
        self._shelves.shift(shelf, len(rows), 0)
        shelf.next_expiry = min(shelf.next_expiry, now + target.retention_s)
        self.open_lanes(shelf, heads)

    def _repeat(
        self, shelf: Shelf, attempt_id: str, visibility_timeout_s: int, now: float
    ) -> tuple[ReceivedMessage, ...]:
        """Return the messages an attempt got before and still holds, their leases begun anew."""
        row = self._execute(
            "SELECT leases, received_at FROM attempt WHERE queue_id = ? AND attempt_id = ?",
            (shelf.queue_id, attempt_id),
        ).fetchone()
        if row is None or now >= row[1] + ATTEMPT_WINDOW_S:
            return ()
        messages = []
        for row_id, count in orjson.loads(row[0]):
            message = self._execute(_SELECT_LEASED, (row_id, shelf.id)).fetchone()
            if message and message[12] != RETURNED and message[10] == count and message[13] > now:
                messages.append(_received(shelf.queue_id, message, count, message[11]))
                if visibility_timeout_s:
                    self._execute(
                        "UPDATE waiting SET due_at = ?, leased_at = ? WHERE id = ?",
                        (now + visibility_timeout_s, now, row_id),
                    )
                    self._shelves.expect(shelf, now + visibility_timeout_s)
        return tuple(messages)

    # -- groups

    def _settle_lane(self, shelf: Shelf, group_id: str, old_head: int, in_flight: int) -> None:
        """Note how many of a group are in flight; a group without any is ready again, or gone when it is empty.

        Args: old_head: the rank of the group's ready row, 0 when it is locked and has none.
        """
        head = None
        if not in_flight:
            head = self._execute(_SELECT_FIRST, (shelf.id, group_id)).fetchone()[0]
        if old_head and head != old_head:
            self._execute(
                "DELETE FROM ready WHERE shelf_id = ? AND rank = ? AND id = ?", (shelf.id, old_head, old_head)
            )
        if in_flight:
            self._execute(
                "UPDATE lane SET in_flight = ? WHERE shelf_id = ? AND group_id = ?",
                (in_flight, shelf.id, group_id),
            )
        elif head is None:
            self._execute("DELETE FROM lane WHERE shelf_id = ? AND group_id = ?", (shelf.id, group_id))
        elif head != old_head:
            self._execute(
                "UPDATE lane SET head = ?, in_flight = 0 WHERE shelf_id = ? AND group_id = ?",
                (head, shelf.id, group_id),
            )
            self._execute("INSERT INTO ready (shelf_id, rank, id) VALUES (?, ?, ?)", (shelf.id, head, head))
            self._engine.announce(("queue", shelf.queue_id))

    def _release(self, shelf: Shelf, released: dict[str, int]) -> None:
        """Take so many messages of each group out of flight."""
        for group_id, count in released.items():
            row = self._execute(
                "SELECT in_flight FROM lane WHERE shelf_id = ? AND group_id = ?", (shelf.id, group_id)
            ).fetchone()
            self._settle_lane(shelf, group_id, 0, row[0] - count)

    def promote(self, shelf: Shelf, now: float) -> None:
        """Make messages visible again whose leases have ended."""
        rows = self._execute(
            "SELECT w.id, m.group_id FROM waiting AS w CROSS JOIN message AS m ON m.id = w.id"
            " WHERE w.shelf_id = ? AND w.due_at <= ? ORDER BY w.due_at LIMIT ?",
            (shelf.id, now, PROMOTE_AT_ONCE),
        ).fetchall()
        if rows:
            self._return(shelf, rows)
        self._shelves.find_next_due(shelf)

    def _return(self, shelf: Shelf, rows: list[tuple[int, str]]) -> None:
        """Make leased messages visible again: (row id, group)."""
        self._executemany(
            f"UPDATE waiting SET due_at = NULL, kind = {RETURNED} WHERE id = ?", [(row[0],) for row in rows]
        )
        self._shelves.shift(shelf, len(rows), -len(rows))
        self._release(shelf, _count(group_id for _, group_id in rows))

    def _drop_rows(self, row_ids: Iterable[int]) -> None:
        ids = [(row_id,) for row_id in row_ids]
        self._executemany("DELETE FROM waiting WHERE id = ?", ids)
        self._executemany("DELETE FROM message WHERE id = ?", ids)

    def remove(self, shelf: Shelf, row_ids: Sequence[int]) -> int:
        """Remove messages wherever they stand, and let their groups go on; return how many were there."""
        visible: dict[str, int] = {}
        leased: dict[str, int] = {}
        found = []
        for row_id in row_ids:
            row = self._execute(
                "SELECT m.group_id, w.due_at FROM message AS m LEFT JOIN waiting AS w ON w.id = m.id"
                " WHERE m.id = ? AND m.shelf_id = ?",
                (row_id, shelf.id),
            ).fetchone()
            if row is not None:
                found.append(row_id)
                counts = visible if row[1] is None else leased
                counts[row[0]] = counts.get(row[0], 0) + 1
        self._drop_rows(found)
        in_flight = sum(leased.values())
        self._shelves.shift(shelf, in_flight - len(found), -in_flight)
        for group_id in {**visible, **leased}:
            head, count = self._execute(
                "SELECT head, in_flight FROM lane WHERE shelf_id = ? AND group_id = ?", (shelf.id, group_id)
            ).fetchone()
            self._settle_lane(shelf, group_id, 0 if count else head, count - leased.get(group_id, 0))
        return len(found)

    # -- settling

    def delete(self, shelf: Shelf, handles: Sequence[str], now: float) -> list[SettleResult]:
        """Settle messages whose leases hold; a handle whose lease has ended is refused."""
        results: list[SettleResult] = []
        done: list[int] = []
        released: dict[str, int] = {}
        for handle in handles:
            receipt = receipts.read(handle)
            if receipt is None or receipt.queue_id != shelf.queue_id:
                results.append(invalid_handle(handle))
                continue
            row = self._execute(
                "SELECT m.group_id, w.due_at, w.receive_count FROM message AS m"
                " LEFT JOIN waiting AS w ON w.id = m.id WHERE m.id = ? AND m.shelf_id = ?",
                (receipt.row_id, shelf.id),
            ).fetchone()
            if row is None or receipt.row_id in done:
                results.append(None)  # deleted before
            elif row[1] is None or row[1] <= now or row[2] != receipt.receive_count:
                results.append(invalid_parameter(handle, EXPIRED))
            else:
                results.append(None)
                done.append(receipt.row_id)
                released[row[0]] = released.get(row[0], 0) + 1
        if done:
            self._drop_rows(done)
            self._shelves.make_room(shelf)
            self._shelves.shift(shelf, 0, -len(done))
            self._release(shelf, released)
        return results

    def change_visibility(self, shelf: Shelf, changes: Sequence[tuple[str, int]], now: float) -> list[SettleResult]:
        """Let leases end so many seconds from now."""
        return [self._change(shelf, handle, timeout_s, now) for handle, timeout_s in changes]

    def _change(self, shelf: Shelf, handle: str, timeout_s: int, now: float) -> SettleResult:
        receipt = receipts.read(handle)
        if receipt is None or receipt.queue_id != shelf.queue_id:
            return invalid_handle(handle)
        row = self._execute(
            "SELECT m.group_id, w.due_at, w.receive_count, w.leased_at FROM message AS m"
            " LEFT JOIN waiting AS w ON w.id = m.id WHERE m.id = ? AND m.shelf_id = ?",
            (receipt.row_id, shelf.id),
        ).fetchone()
        if row is None:
            return invalid_parameter(handle, GONE)
        group_id, due_at, receive_count, leased_at = row
        if due_at is None or due_at <= now or receive_count != receipt.receive_count:
            return invalid_parameter(handle, EXPIRED)
        if timeout_s == 0:
            self._return(shelf, [(receipt.row_id, group_id)])
            return None
        if now + timeout_s > leased_at + MAXIMUM_LEASE_S:
            return over_total(timeout_s)
        self._execute("UPDATE waiting SET due_at = ? WHERE id = ?", (now + timeout_s, receipt.row_id))
        self._shelves.expect(shelf, now + timeout_s)
        return None


def _scope(queue: Queue, draft: MessageDraft) -> str:
    return (draft.group_id or "") if queue.deduplicates_per_group else ""


def _is_delayed(queue: Queue, sent_at: float, now: float) -> bool:
    """Is the queue's delay not over yet? A message from a clock that was ahead is not held back by it."""
    return sent_at <= now < sent_at + queue.delay_s


def _received(queue_id: int, row: tuple[Any, ...], count: int, first_at: float) -> ReceivedMessage:
    attributes, md5_of_attributes, trace_header = unpack_extras(row[7])
    return ReceivedMessage(
        row[2],
        receipts.write(queue_id, row[0], count),
        row[9],
        row[8],
        row[1],
        count,
        first_at,
        row[3],
        attributes,
        md5_of_attributes,
        trace_header,
        row[4],
        row[5],
        sequence_number(row[0]),
        row[6],
    )


def _count(groups: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group_id in groups:
        counts[group_id] = counts.get(group_id, 0) + 1
    return counts
