"""AsyncMachine: what becomes of an asynchronous event, decided without I/O, clock or chance of its own.

A function error is retried after one and two base waits; what found no room (throttles) or no service (system
errors) goes back to the shelf and waits from 1 second up to 5 minutes, without using up a retry. An event that is
too old, or would be before its next attempt, comes to its end; so does one whose function is switched off. The
driver (`invoker.asynchronous`) asks `begin` before an attempt and `finished` after it.

Source: semantics 02, section 2.7.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from eventrt.core.functions import FunctionKey
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled

MOST_RETRIES: Final = 2
LONGEST_AGE_S: Final = 21_600
SHORTEST_AGE_S: Final = 60
"""No configuration lets an event end by age before it is so old."""
RETRY_BASE_S: Final = 60.0
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 300.0
ASYNC_PAYLOAD_LIMIT_BYTES: Final = 1_048_576

RECURSION: Final = "RecursiveInvocationException"
"""The code of the fault that stops a recursive loop; trying again would only stop again."""

Condition = Literal[
    "Success", "RetriesExhausted", "EventAgeExceeded", "ZeroReservedConcurrency", "RecursiveInvocationsDropped"
]
"""Why an event came to its end, as `requestContext.condition` says it. The last one is eventrt's word: the semantics
name none for a stopped loop."""


class AsyncEvent(NamedTuple):
    """An event as it lies on the shelf. Moments are epoch seconds.

    `function` and `qualifier` say whom it is for, `lane` is the shelf's number of that function. `executed` counts
    the attempts that reached the handler, `refused` those since then that did not. `last` is what the last
    attempt left (see `LastAttempt`), None before there was one.
    """

    id: int
    lane: int
    function: FunctionKey
    qualifier: str | None
    request_id: str
    payload: bytes
    trace_header: str
    accepted_at: float
    due_at: float
    executed: int = 0
    refused: int = 0
    last: "LastAttempt | None" = None


class Response(NamedTuple):
    """What a handler answered: its result or error as JSON, and the version that ran."""

    payload: bytes
    executed_version: str
    function_error: str | None = None


class LastAttempt(NamedTuple):
    """What an attempt left for the end: the error as dead letters tell it, and the handler's last answer, if any."""

    error_code: int
    error_message: str
    response: Response | None = None


@dataclass(frozen=True, slots=True)
class AsyncPolicy:
    """What an event invoke config and the daemon's settings mean for the machine."""

    most_retries: int = MOST_RETRIES
    longest_age_s: float = LONGEST_AGE_S
    retry_base_s: float = RETRY_BASE_S


@dataclass(frozen=True, slots=True)
class Run:
    """Give the event to the function and tell what came of it: `finished`."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Lay the event back with these counts; the next attempt begins at `when`."""

    when: float
    executed: int
    refused: int
    last: LastAttempt


@dataclass(frozen=True, slots=True)
class Ended:
    """The event is over. `executed` counts the attempts that reached the handler; `last` is what they left."""

    condition: Condition
    executed: int
    last: LastAttempt | None

    @property
    def is_success(self) -> bool:
        """Did the handler return?"""
        return self.condition == "Success"


Verdict: TypeAlias = RetryAt | Ended


class AsyncMachine:
    """The decisions about one event under one policy; it keeps nothing between calls."""

    __slots__ = ("event", "policy")

    def __init__(self, event: AsyncEvent, policy: AsyncPolicy) -> None:
        self.event = event
        self.policy = policy

    def begin(self, *, now: float, is_switched_off: bool = False) -> Run | Ended:
        """Decide on the attempt that is due.

        Args: is_switched_off: the function's reserved concurrency is 0.
        """
        event = self.event
        if is_switched_off:
            last = event.last or LastAttempt(429, "Rate Exceeded.")
            return Ended("ZeroReservedConcurrency", event.executed, last)
        if now - event.accepted_at > self.policy.longest_age_s:
            return Ended("EventAgeExceeded", event.executed, event.last)
        return Run()

    def finished(self, outcome: Outcome, *, now: float) -> Verdict:
        """Decide what follows from an attempt's outcome."""
        event = self.event
        match outcome:
            case Succeeded():
                response = Response(outcome.payload, outcome.executed_version)
                return Ended("Success", event.executed + 1, LastAttempt(200, "", response))
            case FunctionError():
                response = Response(outcome.payload, outcome.executed_version, outcome.kind)
                last = LastAttempt(200, outcome.error_message, response)
                executed = event.executed + 1
                if executed > self.policy.most_retries:
                    return Ended("RetriesExhausted", executed, last)
                return self._after(executed * self.policy.retry_base_s, now, executed, 0, last)
            case Throttled():
                return self._refused(429, "Rate Exceeded.", now)
            case ServiceFault():
                if outcome.code == RECURSION:
                    return Ended("RecursiveInvocationsDropped", event.executed, self._last(400, outcome.message))
                return self._refused(outcome.status, outcome.message, now)

    def _refused(self, code: int, message: str, now: float) -> Verdict:
        refused = self.event.refused + 1
        return self._after(backoff_s(refused), now, self.event.executed, refused, self._last(code, message))

    def _last(self, code: int, message: str) -> LastAttempt:
        """Note an attempt that did not reach the handler; what the handler said before stays."""
        before = self.event.last
        return LastAttempt(code, message, None if before is None else before.response)

    def _after(self, wait_s: float, now: float, executed: int, refused: int, last: LastAttempt) -> Verdict:
        """Wait for another attempt, unless the event would be too old by then: then it ends now."""
        when = now + wait_s
        if when - self.event.accepted_at >= self.policy.longest_age_s:
            return Ended("EventAgeExceeded", executed, last)
        return RetryAt(when, executed, refused, last)


def backoff_s(refused: int) -> float:
    """Return how long an event waits after its `refused`-th attempt in a row that found no room: 1, 2, 4, ... 300."""
    return LONGEST_BACKOFF_S if refused > 9 else min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (refused - 1))
