"""Asynchronous events in SQLite: an event once, and a small row that says when it is due.

Laying an event down is two inserts, finishing it two deletes; reading a lane is one range of an index. Which rows are
being worked on is not written: the reader goes on behind what it has read, and rows it has not finished are read
again after a restart.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from eventrt.core.asynchronous import AsyncEvent, LastAttempt
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.core.functions import FunctionKey
from eventrt.store.asynchronous import ARRIVALS, AsyncPage, Stirred
from eventrt.store.sqlite.engine import Engine

_INSERT_EVENT = (
    "INSERT INTO async_event (id, accepted_at, request_id, qualifier, trace_header, payload) VALUES (?, ?, ?, ?, ?, ?)"
)
_INSERT_DUE = "INSERT INTO async_due (lane, due_at, id) VALUES (?, ?, ?)"
_SELECT_DUE = (
    "SELECT d.due_at, d.id, d.executed, d.refused, d.last,"
    " e.request_id, e.qualifier, e.accepted_at, e.trace_header, e.payload"
    " FROM async_due AS d CROSS JOIN async_event AS e ON e.id = d.id"
    " WHERE d.lane = ? AND (d.due_at, d.id) > (?, ?) AND d.due_at <= ? ORDER BY d.due_at, d.id LIMIT ?"
)
_DELETE_DUE = "DELETE FROM async_due WHERE lane = ? AND due_at = ? AND id = ?"
_DELETE_EVENT = "DELETE FROM async_event WHERE id = ?"
_ONE_CONFIG = "account_id = ? AND region = ? AND name = ? AND qualifier = ?"

_PACK = msgspec.msgpack.Encoder().encode
unpack_last = msgspec.msgpack.Decoder(LastAttempt).decode
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(EventInvokeConfig).decode


class SqliteAsynchronous:
    """The `store.asynchronous.AsynchronousRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._executemany = engine.connection.executemany
        self._lanes: dict[FunctionKey, int] = {}
        self._keys: dict[int, FunctionKey] = {}
        self._stirred: set[int] = set()
        self._shifted_s = 0.0
        self._has_given_up = False
        self._next_id = (self._execute("SELECT max(id) FROM async_event").fetchone()[0] or 0) + 1
        engine.after_rollback.append(self._forget)

    # -- laying down

    def lay(
        self,
        function: FunctionKey,
        *,
        qualifier: str | None,
        request_id: str,
        payload: bytes,
        trace_header: str,
    ) -> None:
        """Lay an event on the shelf (see `AsynchronousRepository.lay`)."""
        lane = self._lanes.get(function)
        if lane is None:
            lane = self._lane_of(function)
        now = self._engine.tx.now
        event_id = self._next_id
        self._next_id = event_id + 1  # never goes back, so an id is not given twice while somebody may hold it
        self._execute(_INSERT_EVENT, (event_id, now, request_id, qualifier, trace_header, payload))
        self._execute(_INSERT_DUE, (lane, now, event_id))
        self._stirred.add(lane)
        self._engine.announce(ARRIVALS)

    def _lane_of(self, function: FunctionKey) -> int:
        row = self._execute(
            "SELECT id FROM async_lane WHERE account_id = ? AND region = ? AND name = ?", function
        ).fetchone()
        if row is None:
            row = self._execute(
                "INSERT INTO async_lane (account_id, region, name) VALUES (?, ?, ?) RETURNING id", function
            ).fetchone()
        lane = int(row[0])
        self._lanes[function] = lane
        self._keys[lane] = function

        def take_back() -> None:
            self._lanes.pop(function, None)
            self._keys.pop(lane, None)

        self._engine.on_undo(take_back)
        return lane

    def _forget(self) -> None:
        self._lanes.clear()
        self._keys.clear()
        self._shifted_s = 0.0  # what nobody has heard of yet was lost with the commit

    def _unshift(self, delta_s: float) -> None:
        self._shifted_s -= delta_s

    # -- draining

    def lanes(self) -> Sequence[int]:
        """Return the lanes that hold events, each found by one step in the index."""
        found: list[int] = []
        lane = -1
        while (
            row := self._execute("SELECT lane FROM async_due WHERE lane > ? LIMIT 1", (lane,)).fetchone()
        ) is not None:
            lane = row[0]
            found.append(lane)
        return found

    def stirred(self) -> Stirred:
        """Return what changed since the last call (see `AsynchronousRepository.stirred`)."""
        stirred = Stirred(tuple(self._stirred), self._shifted_s, self._has_given_up)
        self._stirred.clear()
        self._shifted_s = 0.0
        self._has_given_up = False
        return stirred

    def due(self, lane: int, *, after: tuple[float, int], limit: int, max_bytes: int) -> AsyncPage:
        """Return events that are due (see `AsynchronousRepository.due`)."""
        now = self._engine.tx.now
        function = self._keys.get(lane) or self._key_of(lane)
        if function is None:
            return AsyncPage((), True, None)
        events: list[AsyncEvent] = []
        size = 0
        for row in self._execute(_SELECT_DUE, (lane, *after, now, limit)):
            due_at, event_id, executed, refused, last, request_id, qualifier, accepted_at, trace_header, payload = row
            events.append(
                AsyncEvent(
                    event_id,
                    lane,
                    function,
                    qualifier,
                    request_id,
                    payload,
                    trace_header,
                    accepted_at,
                    due_at,
                    executed,
                    refused,
                    None if last is None else unpack_last(last),
                )
            )
            size += len(payload)
            if size >= max_bytes:
                return AsyncPage(events, False, None)
        if len(events) == limit:
            return AsyncPage(events, False, None)
        row = self._execute(
            "SELECT due_at FROM async_due WHERE lane = ? AND due_at > ? ORDER BY due_at LIMIT 1", (lane, now)
        ).fetchone()
        return AsyncPage(events, True, None if row is None else row[0])

    def _key_of(self, lane: int) -> FunctionKey | None:
        """Return whose lane it is; None when it was given up."""
        row = self._execute("SELECT account_id, region, name FROM async_lane WHERE id = ?", (lane,)).fetchone()
        if row is None or row[0] is None:
            return None
        self._keys[lane] = key = (row[0], row[1], row[2])
        return key

    def finish(self, events: Sequence[AsyncEvent]) -> None:
        """Take events off the shelf (see `AsynchronousRepository.finish`)."""
        removed = self._executemany(_DELETE_DUE, [(event.lane, event.due_at, event.id) for event in events]).rowcount
        if removed < len(events):  # given up, or shifted by the clock while somebody worked on it
            self._executemany("DELETE FROM async_due WHERE lane = ? AND id = ?", [(e.lane, e.id) for e in events])
        self._executemany(_DELETE_EVENT, [(event.id,) for event in events])

    def holds(self, event: AsyncEvent) -> bool:
        """Does the event still lie on the shelf?"""
        if (self._keys.get(event.lane) or self._key_of(event.lane)) is None:
            return False
        return self._execute("SELECT 1 FROM async_event WHERE id = ?", (event.id,)).fetchone() is not None

    def postpone(self, event: AsyncEvent, *, due_at: float, executed: int, refused: int, last: LastAttempt) -> None:
        """Let an event fall due later (see `AsynchronousRepository.postpone`)."""
        if not self._execute(_DELETE_DUE, (event.lane, event.due_at, event.id)).rowcount:
            self._execute("DELETE FROM async_due WHERE lane = ? AND id = ?", (event.lane, event.id))
        self._execute(
            "INSERT INTO async_due (lane, due_at, id, executed, refused, last) VALUES (?, ?, ?, ?, ?, ?)",
            (event.lane, due_at, event.id, executed, refused, _PACK(last)),
        )

    # -- going

    def give_up(self, function: FunctionKey) -> None:
        """Forget a function's events and configs (see `AsynchronousRepository.give_up`)."""
        self._execute(
            "UPDATE async_lane SET account_id = NULL WHERE account_id = ? AND region = ? AND name = ?", function
        )
        self._execute("DELETE FROM event_invoke_config WHERE account_id = ? AND region = ? AND name = ?", function)
        self._lanes.pop(function, None)
        # Who drains a lane knows it by its number only; functions are deleted seldom enough to look at all.
        for lane in [lane for lane, key in self._keys.items() if key == function]:
            del self._keys[lane]
        self._has_given_up = True
        self._engine.announce(ARRIVALS)

    def sweep(self, limit: int) -> bool:
        """Remove events of lanes that were given up (see `AsynchronousRepository.sweep`)."""
        row = self._execute("SELECT id FROM async_lane WHERE account_id IS NULL LIMIT 1").fetchone()
        if row is None:
            return False
        lane = row[0]
        ids = self._execute("SELECT id, due_at FROM async_due WHERE lane = ? LIMIT ?", (lane, limit)).fetchall()
        self._executemany(_DELETE_EVENT, [(event_id,) for event_id, _ in ids])
        self._executemany(_DELETE_DUE, [(lane, due_at, event_id) for event_id, due_at in ids])
        if len(ids) < limit:
            self._execute("DELETE FROM async_lane WHERE id = ?", (lane,))
        return True

    def rebase(self, delta_s: float) -> None:
        """Shift every kept moment (see `AsynchronousRepository.rebase`)."""
        self._execute("UPDATE async_event SET accepted_at = accepted_at + ?", (delta_s,))
        # Rows move within their own key, so they are taken out and laid back rather than stepping on each other.
        rows = self._execute("SELECT lane, due_at, id, executed, refused, last FROM async_due").fetchall()
        self._execute("DELETE FROM async_due")
        self._executemany(
            "INSERT INTO async_due (lane, due_at, id, executed, refused, last) VALUES (?, ?, ?, ?, ?, ?)",
            [(lane, due_at + delta_s, *rest) for lane, due_at, *rest in rows],
        )
        self._shifted_s += delta_s
        self._engine.on_undo(partial(self._unshift, delta_s))
        self._engine.announce(ARRIVALS)

    # -- configs

    def config(self, function: FunctionKey, qualifier: str) -> EventInvokeConfig | None:
        """Return what is set for a qualifier."""
        row = self._execute(
            f"SELECT document FROM event_invoke_config WHERE {_ONE_CONFIG}", (*function, qualifier)
        ).fetchone()
        return None if row is None else _DECODE(row[0])

    def configs(self, function: FunctionKey, *, after: str, limit: int) -> Sequence[tuple[str, EventInvokeConfig]]:
        """Return a page of a function's configs (see `AsynchronousRepository.configs`)."""
        rows = self._execute(
            "SELECT qualifier, document FROM event_invoke_config WHERE account_id = ? AND region = ? AND name = ?"
            " AND qualifier > ? ORDER BY qualifier LIMIT ?",
            (*function, after, limit),
        )
        return [(qualifier, _DECODE(document)) for qualifier, document in rows]

    def save_config(self, function: FunctionKey, qualifier: str, config: EventInvokeConfig) -> None:
        """Keep what is set for a qualifier."""
        self._execute(
            "INSERT OR REPLACE INTO event_invoke_config (account_id, region, name, qualifier, document)"
            " VALUES (?, ?, ?, ?, ?)",
            (*function, qualifier, _ENCODE(config).decode()),
        )

    def delete_config(self, function: FunctionKey, qualifier: str) -> None:
        """Forget what is set for a qualifier."""
        self._execute(f"DELETE FROM event_invoke_config WHERE {_ONE_CONFIG}", (*function, qualifier))
