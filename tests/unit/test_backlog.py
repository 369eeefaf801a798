"""Why an asynchronous event waits, in the words that `eventrt status` shows."""

import pytest

from eventrt.core.asynchronous import LastAttempt
from eventrt.core.backlog import LONGEST_REASON, AtWork, Backlog, Head, why

NOW = 1000.0
THROTTLED = LastAttempt(429, "Rate Exceeded.")
FAILED = LastAttempt(200, "division by zero")


def told(head: Head, at_work: AtWork = AtWork(), *, due: int = 3, is_switched_off: bool = False) -> str:  # noqa: B008
    backlog = Backlog(1, ("000000000000", "us-east-1", "f"), 3, due, 0, 0, NOW - 60, head)
    return why(backlog, at_work, now=NOW, is_switched_off=is_switched_off)


@pytest.mark.parametrize(
    ("executed", "refused", "last", "text"),
    [
        (1, 0, FAILED, "attempt 1 failed: division by zero"),
        (2, 0, FAILED, "attempt 2 failed: division by zero"),
        (1, 0, LastAttempt(200, ""), "attempt 1 failed"),
        (0, 1, THROTTLED, "throttled"),
        (1, 4, THROTTLED, "throttled, 4 times in a row"),
        (0, 2, LastAttempt(500, "no process"), "not invoked (no process), 2 times in a row"),
    ],
)
def test_a_later_attempt_is_explained_by_the_one_before(
    executed: int, refused: int, last: LastAttempt, text: str
) -> None:
    assert told(Head(NOW + 10, executed, refused, last)) == text


@pytest.mark.parametrize(
    ("at_work", "due", "text"),
    [
        (AtWork(), 3, "is to begin"),
        (AtWork(2), 3, "is at work"),
        (AtWork(0, "this"), 3, "waits for this"),
        (AtWork(2, "this"), 3, "2 at work; more wait for this"),
        (AtWork(3, "this"), 3, "is at work"),
    ],
)
def test_an_event_that_is_due_is_at_work_or_held_up(at_work: AtWork, due: int, text: str) -> None:
    assert told(Head(NOW, 0, 0, None), at_work, due=due) == text


@pytest.mark.parametrize("due_at", [NOW, NOW + 10])
def test_a_function_that_is_switched_off_explains_everything(due_at: float) -> None:
    text = told(Head(due_at, 1, 0, FAILED), is_switched_off=True)
    assert text == "reserved concurrency is 0: it ends without a further attempt"


def test_a_long_error_is_cut() -> None:
    assert len(told(Head(NOW + 10, 1, 0, LastAttempt(200, "x" * 5000)))) < LONGEST_REASON + 50
