"""Counting slots: reserved parts and what the others share."""

from hypothesis import given
from hypothesis import strategies as st

from eventrt.core.concurrency import ACCOUNT_FULL, RESERVED_FULL, ConcurrencyPool


def test_the_account_is_full_when_its_limit_runs():
    pool = ConcurrencyPool(2)
    assert [pool.acquire("f", None), pool.acquire("g", None), pool.acquire("f", None)] == [None, None, ACCOUNT_FULL]
    pool.release("g", is_reserved=False)
    assert pool.acquire("f", None) is None


def test_a_reserved_function_has_its_own_slots_and_no_more():
    pool = ConcurrencyPool(10)
    pool.reserved_total = 2
    assert [pool.acquire("f", 2) for _ in range(3)] == [None, None, RESERVED_FULL]
    assert pool.running == 2


def test_what_is_reserved_is_held_back_from_the_others_though_nobody_uses_it():
    pool = ConcurrencyPool(3)
    pool.reserved_total = 2
    assert [pool.acquire("g", None), pool.acquire("g", None)] == [None, ACCOUNT_FULL]
    assert pool.acquire("f", 2) is None


def test_zero_reserved_never_runs():
    assert ConcurrencyPool(10).acquire("f", 0) == RESERVED_FULL


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80), st.integers(1, 6), st.integers(0, 3))
def test_no_limit_is_ever_exceeded_and_all_slots_come_back(steps, limit, reserved):
    pool = ConcurrencyPool(limit + reserved)
    pool.reserved_total = reserved
    running = dict.fromkeys("abc", 0)
    for name, is_start in steps:
        mine = reserved if name == "a" else None
        if is_start:
            running[name] += pool.acquire(name, mine) is None
        elif running[name]:
            running[name] -= 1
            pool.release(name, is_reserved=name == "a")
        assert running["a"] <= reserved
        assert running["b"] + running["c"] <= limit
        assert pool.running == sum(running.values())
