"""What the store offers for asynchronous events: the shelf they wait on, and the configs that say what becomes of them.

Each function has a lane of its own, in which events stand in the order they fall due. An event stays on the shelf
until it is finished; who works on it knows that for itself, so a kill loses nothing and begins it again.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from eventrt.core.asynchronous import AsyncEvent, LastAttempt
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.core.functions import FunctionKey

ARRIVALS = ("asynchronous",)
"""Announced when an event was laid down, a lane given up, or the moments of events were shifted."""


class AsyncPage(NamedTuple):
    """Events of a lane that are due, in order. `next_due` is when the first of the others is (None: there is none);
    it is told only when the page holds all that is due.
    """

    events: Sequence[AsyncEvent]
    holds_all: bool
    next_due: float | None


class Stirred(NamedTuple):
    """What changed on the shelf since it was asked last: lanes with new events, how far moments were shifted, and
    whether lanes were given up.
    """

    lanes: Sequence[int]
    shifted_s: float
    has_given_up: bool


class AsynchronousRepository(Protocol):
    """Asynchronous events by lane, event invoke configs by function and qualifier."""

    def lay(
        self,
        function: FunctionKey,
        *,
        qualifier: str | None,
        request_id: str,
        payload: bytes,
        trace_header: str,
    ) -> None:
        """Lay an event on the shelf, due at once."""
        ...

    def lanes(self) -> Sequence[int]:
        """Return the lanes that hold events."""
        ...

    def stirred(self) -> Stirred:
        """Return what changed since the last call; for the one who drains."""
        ...

    def due(self, lane: int, *, after: tuple[float, int], limit: int, max_bytes: int) -> AsyncPage:
        """Return events of a lane that are due by now and come after (due at, id), at least one if there is any."""
        ...

    def finish(self, events: Sequence[AsyncEvent]) -> None:
        """Take events off the shelf; one that is not there any more is passed over."""
        ...

    def holds(self, event: AsyncEvent) -> bool:
        """Does the event still lie on the shelf? Its function may have been deleted meanwhile."""
        ...

    def postpone(self, event: AsyncEvent, *, due_at: float, executed: int, refused: int, last: LastAttempt) -> None:
        """Let an event that lies on the shelf fall due later, with its counts."""
        ...

    def give_up(self, function: FunctionKey) -> None:
        """Forget a deleted function's events and configs; its lane is cleared by `sweep`."""
        ...

    def sweep(self, limit: int) -> bool:
        """Remove up to `limit` events of lanes that were given up; is there more?"""
        ...

    def rebase(self, delta_s: float) -> None:
        """Shift every kept moment by `delta_s`."""
        ...

    def config(self, function: FunctionKey, qualifier: str) -> EventInvokeConfig | None:
        """Return what is set for a qualifier (`$LATEST`, a version or an alias)."""
        ...

    def configs(self, function: FunctionKey, *, after: str, limit: int) -> Sequence[tuple[str, EventInvokeConfig]]:
        """Return up to `limit` (qualifier, config) of a function that follow a qualifier, in order."""
        ...

    def save_config(self, function: FunctionKey, qualifier: str, config: EventInvokeConfig) -> None:
        """Keep what is set for a qualifier."""
        ...

    def delete_config(self, function: FunctionKey, qualifier: str) -> None:
        """Forget what is set for a qualifier."""
        ...
