"""What waits on the asynchronous shelf for one function, and why: what an operator is told of it. Pure."""

from typing import NamedTuple

from eventrt.core.asynchronous import LastAttempt
from eventrt.core.functions import FunctionKey

LONGEST_REASON = 200
"""So much of an error's text is told."""


class Head(NamedTuple):
    """The event of a lane that is due first; `due_at` in epoch seconds.

    `executed` counts its attempts that reached the handler, `refused` those since then that did not, `last` is what
    the last one left.
    """

    due_at: float
    executed: int
    refused: int
    last: LastAttempt | None


class Backlog(NamedTuple):
    """The events of a function that have not come to their end, those at work among them.

    `due` of them may be tried now; `failed` had an attempt that failed, `refused` one that found no room or no
    service. `oldest_at` is when the oldest was accepted, epoch seconds.
    """

    lane: int
    function: FunctionKey
    waiting: int
    due: int
    failed: int
    refused: int
    oldest_at: float
    head: Head


class AtWork(NamedTuple):
    """What is being done for a lane: how many of its events are at their functions, and what holds up the others."""

    running: int = 0
    held_up_by: str = ""


def why(backlog: Backlog, at_work: AtWork, *, now: float, is_switched_off: bool) -> str:
    """Return why the event that is due first has not come to its end, in a few words.

    Args: is_switched_off: the function's reserved concurrency is 0.
    """
    head = backlog.head
    if is_switched_off:
        return "reserved concurrency is 0: it ends without a further attempt"
    if head.due_at <= now:
        if not at_work.running:
            return f"waits for {at_work.held_up_by}" if at_work.held_up_by else "is to begin"
        if at_work.held_up_by and backlog.due > at_work.running:
            return f"{at_work.running} at work; more wait for {at_work.held_up_by}"
        return "is at work"
    reason = "" if head.last is None else head.last.error_message[:LONGEST_REASON]
    if head.refused:
        what = "throttled" if head.last is not None and head.last.error_code == 429 else f"not invoked ({reason})"
        return f"{what}, {head.refused} times in a row" if head.refused > 1 else what
    return f"attempt {head.executed} failed: {reason}" if reason else f"attempt {head.executed} failed"
