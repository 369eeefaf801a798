"""Row ids for messages: ascending, and never used twice, also not after a restart or a lost commit.

Receipt handles name rows, so an id that came back would let an old handle settle a new message.
"""

from typing import Any

from eventrt.store.sqlite.engine import Engine

_BLOCK = 1_000_000


class RowIds:
    """The counter of message rows. Ids are reserved in blocks: one row in `meta` is written once per block."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._execute = engine.connection.execute
        row = self._execute("SELECT value FROM meta WHERE name = 'message_rows'").fetchone()
        self._reserved = int(row[0]) if row else 0
        self._next = self._reserved + 1
        engine.before_commit.append(self._reserve)
        engine.after_rollback.append(self._forget)

    def take(self, count: int) -> int:
        """Return the first of `count` fresh ids that follow each other."""
        first = self._next
        self._next = first + count
        return first

    def _reserve(self) -> None:
        if self._next > self._reserved:
            self._reserved = self._next + _BLOCK
            self._execute(
                "INSERT INTO meta (name, value) VALUES ('message_rows', ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (str(self._reserved),),
            )

    def _forget(self) -> None:
        """A lost commit may have taken the reservation with it: make it again; the counter never goes back."""
        self._reserved = 0
