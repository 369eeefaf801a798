"""The laws of AsyncMachine: whatever outcomes come and however long they take, an event ends once, and as AWS says."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from eventrt.core.asynchronous import (
    LONGEST_BACKOFF_S,
    AsyncEvent,
    AsyncMachine,
    AsyncPolicy,
    Ended,
    RetryAt,
    Run,
    backoff_s,
)
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled

POLICIES = st.builds(
    AsyncPolicy,
    most_retries=st.integers(0, 2),
    longest_age_s=st.integers(60, 21_600).map(float),
    retry_base_s=st.sampled_from([0.001, 1.0, 60.0]),
)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(FunctionError, st.just(b'{"errorMessage":"no"}'), st.just("ValueError"), st.just("no")),
    st.just(Throttled("ConcurrentInvocationLimitExceeded")),
    st.builds(ServiceFault, st.just("ServiceException"), st.just("away"), st.sampled_from([404, 409, 500, 502, 503])),
    st.just(Succeeded(b"1")),
    st.just(ServiceFault("RecursiveInvocationException", "round and round", 400)),
)
STEPS = st.lists(st.tuples(OUTCOMES, st.floats(0.0, 900.0)), min_size=1, max_size=60)


def event_at(accepted_at: float) -> AsyncEvent:
    return AsyncEvent(1, 1, ("0", "r", "f"), None, "id", b"{}", "Root=1", accepted_at, accepted_at)


def live(
    policy: AsyncPolicy, steps: list[tuple[Outcome, float]]
) -> tuple[list[tuple[float, Outcome, float]], Ended | None]:
    """Take an event through outcomes, each after a duration; return its attempts (begin, outcome, end) and its end."""
    event, now = event_at(1000.0), 1000.0
    attempts: list[tuple[float, Outcome, float]] = []
    for outcome, duration_s in steps:
        begin = AsyncMachine(event, policy).begin(now=now)
        if isinstance(begin, Ended):
            return attempts, begin
        assert isinstance(begin, Run)
        began, now = now, now + duration_s
        attempts.append((began, outcome, now))
        verdict = AsyncMachine(event, policy).finished(outcome, now=now)
        if isinstance(verdict, Ended):
            return attempts, verdict
        assert verdict.when > now
        now = verdict.when
        event = event._replace(due_at=now, executed=verdict.executed, refused=verdict.refused, last=verdict.last)
    return attempts, None


@given(POLICIES, STEPS)
def test_no_attempt_begins_beyond_the_age_and_none_beyond_the_retries(policy, steps):
    attempts, _ = live(policy, steps)
    assert all(began - 1000.0 <= policy.longest_age_s for began, _, _ in attempts)
    assert sum(isinstance(outcome, FunctionError | Succeeded) for _, outcome, _ in attempts) <= policy.most_retries + 1


@given(POLICIES, STEPS)
def test_waits_are_those_of_aws(policy, steps):
    attempts, _ = live(policy, steps)
    errors = refused = 0
    for (_, outcome, ended), (began, _, _) in itertools.pairwise(attempts):
        if isinstance(outcome, FunctionError):
            errors, refused = errors + 1, 0
            assert began == ended + errors * policy.retry_base_s
        else:
            refused += 1
            assert began == ended + min(300.0, 2.0 ** min(refused - 1, 20))


@given(POLICIES, STEPS)
def test_the_end_says_what_happened(policy, steps):
    attempts, end = live(policy, steps)
    if end is None:
        return
    ran = [outcome for _, outcome, _ in attempts if isinstance(outcome, FunctionError | Succeeded)]
    assert end.executed == len(ran)
    response = None if end.last is None else end.last.response
    assert (response is None) == (not ran)
    match end.condition:
        case "Success":
            assert isinstance(attempts[-1][1], Succeeded)
            assert response is not None
            assert response.function_error is None
        case "RetriesExhausted":
            assert isinstance(attempts[-1][1], FunctionError)
            assert len(ran) == policy.most_retries + 1
        case "RecursiveInvocationsDropped":
            assert isinstance(attempts[-1][1], ServiceFault)
        case "EventAgeExceeded":
            assert len([outcome for outcome in ran if isinstance(outcome, FunctionError)]) <= policy.most_retries
    if response is not None and end.condition != "Success":
        assert response.function_error == "Unhandled"


@given(POLICIES, STEPS)
def test_every_event_comes_to_its_end_when_nothing_succeeds(policy, steps):
    failures = [(o, d) for o, d in steps if not isinstance(o, Succeeded)] or [(Throttled("r"), 0.0)]
    _, end = live(policy, (failures * 22_000)[:22_000])
    assert end is not None
    assert not end.is_success


@given(st.floats(0.0, 30_000.0), st.integers(0, 3))
def test_a_function_that_is_switched_off_is_never_run(age_s, executed):
    event = event_at(1000.0)._replace(executed=executed)
    end = AsyncMachine(event, AsyncPolicy()).begin(now=1000.0 + age_s, is_switched_off=True)
    assert isinstance(end, Ended)
    assert (end.condition, end.executed) == ("ZeroReservedConcurrency", executed)


def test_an_age_of_60_s_gives_a_failing_function_one_attempt():
    attempts, end = live(AsyncPolicy(longest_age_s=60), [(FunctionError(b"{}", "E", "e"), 0.0)] * 3)
    assert len(attempts) == 1
    assert end is not None
    assert (end.condition, end.executed) == ("EventAgeExceeded", 1)


def test_an_age_between_the_waits_gives_two_attempts():
    attempts, end = live(AsyncPolicy(longest_age_s=120), [(FunctionError(b"{}", "E", "e"), 0.5)] * 3)
    assert [round(began - 1000.0, 1) for began, _, _ in attempts] == [0.0, 60.5]
    assert end is not None
    assert (end.condition, end.executed) == ("EventAgeExceeded", 2)


def test_throttles_between_errors_use_up_no_retry():
    error, throttle = FunctionError(b"{}", "E", "e"), Throttled("r")
    attempts, end = live(AsyncPolicy(), [(o, 0.0) for o in (error, throttle, throttle, error, throttle, error)])
    assert [began - 1000.0 for began, _, _ in attempts] == [0.0, 60.0, 61.0, 63.0, 183.0, 184.0]
    assert end is not None
    assert (end.condition, end.executed) == ("RetriesExhausted", 3)


def test_the_answer_of_the_last_run_stays_when_later_attempts_found_no_room():
    event = event_at(1000.0)
    first = AsyncMachine(event, AsyncPolicy()).finished(FunctionError(b'"x"', "E", "e"), now=1000.0)
    assert isinstance(first, RetryAt)
    again = event._replace(executed=first.executed, last=first.last)
    end = AsyncMachine(again, AsyncPolicy(longest_age_s=61)).finished(Throttled("r"), now=1060.5)
    assert isinstance(end, Ended)
    assert end.last is not None
    assert (end.last.error_code, end.last.response and end.last.response.payload) == (429, b'"x"')


@given(st.integers(1, 10_000))
def test_backoff_doubles_up_to_five_minutes(refused):
    assert 1.0 <= backoff_s(refused) <= LONGEST_BACKOFF_S
    assert backoff_s(refused + 1) == min(LONGEST_BACKOFF_S, 2 * backoff_s(refused))
