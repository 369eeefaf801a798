"""Which blobs are in use: a count for each, kept in the same commit as what uses it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from eventrt.store.sqlite.engine import Engine

_MANY = 500


class BlobUses:
    """Counts of uses. `on_unused` is told, after the commit, of blobs whose last use ended."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._many = engine.connection.executemany
        self.on_unused: Callable[[Sequence[str]], None] = lambda names: None

    def take(self, names: Iterable[str]) -> None:
        """Count one more use of each of these blobs."""
        self._many(
            "INSERT INTO blob (name, uses) VALUES (?, 1) ON CONFLICT DO UPDATE SET uses = uses + 1",
            [(name,) for name in dict.fromkeys(names)],
        )

    def release(self, names: Iterable[str]) -> None:
        """Count one use less of each of these blobs; who is without uses is given up once this is committed."""
        distinct = [(name,) for name in dict.fromkeys(names)]
        self._many("UPDATE blob SET uses = uses - 1 WHERE name = ?", distinct)
        gone = [
            name
            for (name,) in distinct
            if self._execute("SELECT 1 FROM blob WHERE name = ? AND uses <= 0", (name,)).fetchone()
        ]
        if gone:
            self._many("DELETE FROM blob WHERE name = ?", [(name,) for name in gone])
            self._engine.after_commit(lambda: self.on_unused(gone))

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return those of these blobs that nothing uses."""
        asked = list(names)
        used: set[str] = set()
        for start in range(0, len(asked), _MANY):
            some = asked[start : start + _MANY]
            marks = ", ".join("?" * len(some))
            used.update(row[0] for row in self._execute(f"SELECT name FROM blob WHERE name IN ({marks})", some))
        return [name for name in asked if name not in used]
