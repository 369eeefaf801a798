"""The daemon's notes in SQLite's `meta` table; the clock's last moment is noted with the commits themselves."""

from typing import Any

from eventrt.store.sqlite.engine import Engine

_CLOCK = "clock"
_CLOCK_STEP_S = 1.0
"""How far the clock must have moved for a commit to note it again."""


class SqliteNotes:
    """The `store.notes.NoteRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._execute = engine.connection.execute
        self._engine = engine
        self._noted_at = float("-inf")
        engine.before_commit.append(self._note_moment)
        engine.after_rollback.append(self._forget)

    def get(self, name: str) -> str | None:
        """Return a note, or None."""
        row = self._execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, name: str, text: str) -> None:
        """Write a note, in place of the one of its name."""
        self._execute(
            "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (name, text),
        )

    def note_moment(self) -> None:
        """Have this commit carry the clock's moment, however little it moved since the last one."""
        self._noted_at = float("-inf")

    def last_moment(self) -> float | None:
        """Return the last moment that was noted."""
        text = self.get(_CLOCK)
        return None if text is None else float(text)

    def _note_moment(self) -> None:
        now = self._engine.clock.now()
        if abs(now - self._noted_at) >= _CLOCK_STEP_S:
            self.put(_CLOCK, repr(now))
            self._noted_at = now

    def _forget(self) -> None:
        """A lost commit took its note along: note the moment again with the next one."""
        self._noted_at = float("-inf")
