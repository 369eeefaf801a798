"""The clock: waits end when their moment comes, and `advance` makes everything due happen in order."""

import time

import anyio
import pytest

from eventrt.clock import SystemClock, VirtualClock
from tests.running import PATIENCE_S


async def test_a_sleep_until_a_past_moment_returns_at_once() -> None:
    clock = SystemClock()
    with anyio.fail_after(PATIENCE_S):
        await clock.sleep_until(clock.now() - 10)


async def test_now_follows_the_wall_clock() -> None:
    assert SystemClock().now() == pytest.approx(time.time(), abs=30)


async def test_a_short_wait_ends_by_itself() -> None:
    clock = SystemClock()
    started = clock.now()
    await clock.sleep_until(started + 0.02)
    assert clock.now() >= started + 0.02


async def test_advance_wakes_sleepers_in_the_order_of_their_moments() -> None:
    clock = VirtualClock()
    start, seen = clock.now(), []

    async def sleeper(after_s: float) -> None:
        await clock.sleep_until(start + after_s)
        seen.append((after_s, round(clock.now() - start)))

    async with anyio.create_task_group() as tasks:
        for after_s in (300, 60, 120):
            tasks.start_soon(sleeper, after_s)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(200)
        assert seen == [(60, 60), (120, 120)]
        await clock.advance(200)
    assert seen == [(60, 60), (120, 120), (300, 300)]


async def test_what_a_sleeper_plans_next_happens_within_the_same_advance() -> None:
    clock = VirtualClock()
    start, attempts = clock.now(), []

    async def retrying() -> None:
        for wait_s in (60, 120):
            await clock.sleep_until(clock.now() + wait_s)
            attempts.append(round(clock.now() - start))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retrying)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(3600)
    assert attempts == [60, 180]
    assert clock.now() - start >= 3600


async def test_advance_waits_for_the_work_an_instant_woke() -> None:
    clock = VirtualClock()
    start, seen = clock.now(), []

    async def worker() -> None:
        await clock.sleep_until(start + 10)
        with clock.working():
            await anyio.sleep(0.05)  # real work, as an invocation is
            seen.append(("worked", round(clock.now() - start)))

    async def bystander() -> None:
        await clock.sleep_until(start + 20)
        seen.append(("bystander", round(clock.now() - start)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(worker)
        tasks.start_soon(bystander)
        await anyio.wait_all_tasks_blocked()
        await clock.advance(30)
    assert seen == [("worked", 10), ("bystander", 20)]


async def test_a_faster_rate_ends_waits_sooner() -> None:
    clock = VirtualClock()
    clock.set_rate(1000)
    with anyio.fail_after(PATIENCE_S):
        await clock.sleep_until(clock.now() + 60)


async def test_a_held_clock_stands_still() -> None:
    clock = VirtualClock()
    clock.set_rate(0)
    before = clock.now()
    await anyio.sleep(0.02)
    assert clock.now() == before


async def test_real_mode_returns_to_the_wall_clock() -> None:
    clock = VirtualClock()
    await clock.advance(86400)
    assert clock.offset_s == pytest.approx(86400, abs=30)
    clock.set_real()
    assert clock.offset_s == pytest.approx(0, abs=30)


async def test_a_cancelled_timer_is_not_called() -> None:
    clock = VirtualClock()
    called: list[str] = []
    clock.call_at(clock.now() + 5, lambda: called.append("kept"))
    clock.call_at(clock.now() + 5, lambda: called.append("cancelled")).cancel()
    await clock.advance(10)
    assert called == ["kept"]
