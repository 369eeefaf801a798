"""What the store offers for the daemon's own notes: small texts by name, and the last moment that was seen."""

from typing import Protocol


class NoteRepository(Protocol):
    """Notes of the daemon about itself; never about what users keep."""

    def get(self, name: str) -> str | None:
        """Return a note, or None."""
        ...

    def put(self, name: str, text: str) -> None:
        """Write a note, in place of the one of its name."""
        ...

    def note_moment(self) -> None:
        """Have this commit carry the clock's moment, however little it moved since the last one."""
        ...

    def last_moment(self) -> float | None:
        """Return the last moment any daemon noted here (it is noted with every commit); None in a new store."""
        ...
