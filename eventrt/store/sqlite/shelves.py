"""The shelves in memory: each queue's counts, ranks and next moments, kept exact and written once per commit.

A count changes with every message, so the row that keeps it would be written with every message; instead the change
is made here, and the rows of the shelves that changed are written just before the commit. A unit that is rolled back
alone takes its changes back; when a whole group is lost, everything here is read anew.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from eventrt.errors import ApiError
from eventrt.store.sqlite.engine import Engine

INFINITY = float("inf")

MAXIMUM_IN_FLIGHT = 120_000
"""So many messages of one queue may be in flight at a time (semantics 04, A.4)."""

_PRUNE_TENANTS_FROM = 1024


class Shelf:
    """One queue's shelf.

    `visible`, `in_flight` and `delayed` are what the rows say: a lease that has ended counts as in flight until its
    message is promoted. On a FIFO shelf `visible` includes the delayed. `next_due` and `next_expiry` are lower
    bounds: nothing falls due, nothing expires before them. `told` is the latest moment that a receiver was told to
    look again at: what falls due earlier must ring the bell.
    """

    __slots__ = (
        "delayed",
        "id",
        "in_flight",
        "last_rank",
        "next_due",
        "next_expiry",
        "queue_id",
        "served_rank",
        "tenants",
        "told",
        "touched_tenants",
        "visible",
    )

    def __init__(self, shelf_id: int, queue_id: int) -> None:
        self.id = shelf_id
        self.queue_id = queue_id
        self.visible = 0
        self.in_flight = 0
        self.delayed = 0
        self.served_rank = 0
        self.last_rank = 0
        self.tenants: dict[str, int] = {}
        self.touched_tenants: set[str] = set()
        self.next_due = INFINITY
        self.next_expiry = INFINITY
        self.told = INFINITY  # somebody may have been told before this was read anew

    def next_rank(self, group_id: str | None) -> int:
        """Take the next rank of a group: one behind its own last, never before what is being served.

        So a group with a backlog queues behind itself, and a quiet group comes next (start-time fair queueing).
        Source: docs/behaviour/queues.md, fair queues.
        """
        served = self.served_rank
        if group_id is None:
            last = self.last_rank
            rank = self.last_rank = (last if last > served else served) + 1
            return rank
        last = self.tenants.get(group_id, 0)
        rank = self.tenants[group_id] = (last if last > served else served) + 1
        self.touched_tenants.add(group_id)
        return rank


class Shelves:
    """The shelves of all queues that were used since the start."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._by_queue: dict[int, Shelf] = {}
        self._changed: set[Shelf] = set()
        engine.before_commit.append(self._flush)
        engine.after_rollback.append(self._forget)

    def __iter__(self) -> Iterator[Shelf]:
        return iter(self._by_queue.values())

    def of(self, queue_id: int) -> Shelf:
        """Return the shelf of a queue.

        Raises: ApiError: QueueDoesNotExist: the queue was deleted after its value was looked up.
        """
        shelf = self._by_queue.get(queue_id)
        return shelf if shelf is not None else self._load(queue_id)

    def loaded(self, queue_id: int) -> Shelf | None:
        """Return the shelf of a queue if it is in memory."""
        return self._by_queue.get(queue_id)

    def _load(self, queue_id: int) -> Shelf:
        row = self._execute(
            "SELECT id, visible, in_flight, delayed, served_rank, last_rank FROM shelf WHERE queue_id = ?",
            (queue_id,),
        ).fetchone()
        if row is None:
            raise ApiError("QueueDoesNotExist", "The specified queue does not exist.")
        shelf = Shelf(row[0], queue_id)
        _, shelf.visible, shelf.in_flight, shelf.delayed, shelf.served_rank, shelf.last_rank = row
        shelf.tenants = dict(self._execute("SELECT group_id, last_rank FROM tenant WHERE shelf_id = ?", (shelf.id,)))
        shelf.next_due = shelf.next_expiry = -INFINITY  # unknown: the first look finds out
        self._by_queue[queue_id] = shelf
        return shelf

    def shift(self, shelf: Shelf, visible: int, in_flight: int, delayed: int = 0) -> None:
        """Change a shelf's counts by so many."""
        shelf.visible += visible
        shelf.in_flight += in_flight
        shelf.delayed += delayed
        self._changed.add(shelf)
        self._engine.on_undo(partial(_shift_back, shelf, visible, in_flight, delayed))

    def find_next_due(self, shelf: Shelf) -> None:
        """Find out when the next lease or delay ends."""
        row = self._execute(
            "SELECT due_at FROM waiting WHERE shelf_id = ? AND due_at > -1 ORDER BY due_at LIMIT 1", (shelf.id,)
        ).fetchone()
        shelf.next_due = INFINITY if row is None else row[0]
        self._engine.on_undo(partial(setattr, shelf, "next_due", -INFINITY))

    def tell(self, shelf: Shelf, not_before: float = INFINITY) -> float | None:
        """Return when to look again, at the latest at `not_before`, and remember that somebody counts on it."""
        next_at = min(shelf.next_due, not_before)
        if next_at > shelf.told:
            shelf.told = next_at
        return None if next_at == INFINITY else next_at

    def expect(self, shelf: Shelf, due_at: float) -> None:
        """Note that something falls due; ring the bell if somebody was told a later moment."""
        if due_at < shelf.next_due:
            shelf.next_due = due_at
        if due_at < shelf.told:
            self._engine.on_undo(partial(setattr, shelf, "told", shelf.told))
            shelf.told = -INFINITY
            self._engine.announce(("queue", shelf.queue_id))

    def make_room(self, shelf: Shelf) -> None:
        """To be called before messages leave a shelf's flight: ring for those whom the in-flight limit held up."""
        if shelf.in_flight >= MAXIMUM_IN_FLIGHT:
            self._engine.announce(("queue", shelf.queue_id))

    def replace(self, queue_id: int) -> None:
        """Give a queue a new, empty shelf; the old one is abandoned to the sweeper."""
        self.abandon(queue_id)
        self._execute("INSERT INTO shelf (queue_id) VALUES (?)", (queue_id,))

    def abandon(self, queue_id: int) -> None:
        """Take its shelf from a queue."""
        self._execute("UPDATE shelf SET queue_id = NULL WHERE queue_id = ?", (queue_id,))
        self._engine.on_undo(partial(self._restore, queue_id, self._by_queue.pop(queue_id, None)))

    def _restore(self, queue_id: int, old: Shelf | None) -> None:
        new = self._by_queue.pop(queue_id, None)
        if new is not None:
            self._changed.discard(new)
        if old is not None:
            self._by_queue[queue_id] = old

    def look_anew(self) -> None:
        """Forget every known moment: the next look at each shelf finds out what is due."""
        for shelf in self._by_queue.values():
            shelf.next_due = shelf.next_expiry = -INFINITY

    def _forget(self) -> None:
        self._by_queue.clear()
        self._changed.clear()

    def _flush(self) -> None:
        """Write the counts of the shelves that changed (inside the transaction, before its commit)."""
        if not self._changed:
            return
        for shelf in self._changed:
            self._execute(
                "UPDATE shelf SET visible = ?, in_flight = ?, delayed = ?, served_rank = ?, last_rank = ? WHERE id = ?",
                (
                    shelf.visible,
                    shelf.in_flight,
                    shelf.delayed,
                    shelf.served_rank,
                    shelf.last_rank,
                    shelf.id,
                ),
            )
            if shelf.touched_tenants:
                self._flush_tenants(shelf)
        self._changed.clear()

    def _flush_tenants(self, shelf: Shelf) -> None:
        tenants = shelf.tenants
        self._engine.connection.executemany(
            "INSERT INTO tenant (shelf_id, group_id, last_rank) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET last_rank = excluded.last_rank",
            [(shelf.id, group_id, tenants[group_id]) for group_id in shelf.touched_tenants],
        )
        shelf.touched_tenants.clear()
        if len(tenants) >= _PRUNE_TENANTS_FROM and len(tenants) > 2 * shelf.visible:
            # More groups than messages: most of them have no backlog left, so their last rank says nothing.
            served = shelf.served_rank
            shelf.tenants = {group: rank for group, rank in tenants.items() if rank > served}
            self._execute("DELETE FROM tenant WHERE shelf_id = ? AND last_rank <= ?", (shelf.id, served))


def _shift_back(shelf: Shelf, visible: int, in_flight: int, delayed: int) -> None:
    shelf.visible -= visible
    shelf.in_flight -= in_flight
    shelf.delayed -= delayed
    shelf.next_due = shelf.next_expiry = -INFINITY  # what was promoted or removed is back
