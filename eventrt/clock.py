"""The clock every wait runs on: AWS's minutes and days, which the user may advance.

`SystemClock` follows real time and never steps: it is anchored once to the wall clock and then counts with the
machine's boot clock, so a wall clock that is set back or forward strands nothing. `VirtualClock` adds what
`/_eventrt/clock` offers: advance, a rate, back to real time. Function timeouts and long-poll waits are real
time and do not come here.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

SETTLE_LIMIT_S = 60.0
"""How long (real seconds) one instant of an `advance` may take to settle before the clock moves on regardless."""

_SETTLE_TICKS = 5


class Timer:
    """A callback due at a moment on the clock; `cancel` takes it back."""

    __slots__ = ("callback", "cancelled", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the callback; cancelling twice or after it ran does nothing."""
        self.cancelled = True


class Clock(Protocol):
    """Now, and waiting for a moment; held by drivers, never by `core`. All moments are epoch seconds, UTC."""

    def now(self) -> float:
        """Return the present moment."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return once `when` has come; at once if it is past."""
        ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back once `when` has come, from the event loop."""
        ...

    def working(self) -> AbstractContextManager[None]:
        """Mark work in progress: an `advance` does not move past an instant while work it woke is unfinished."""
        ...


class _Working(AbstractContextManager[None]):
    """The context manager behind `working()`; cheap, as every batch enters one."""

    __slots__ = ("_clock",)

    def __init__(self, clock: "SystemClock") -> None:
        self._clock = clock

    def __enter__(self) -> None:
        self._clock._busy += 1

    def __exit__(self, *exc: object) -> None:
        self._clock._busy -= 1
        if not self._clock._busy and self._clock._idle is not None:
            self._clock._idle.set()


class SystemClock:
    """Real time, anchored to the wall clock at start and counted by the boot clock (it runs through suspend).

    Args: start_at: the moment to begin with, epoch seconds; None is the wall clock's present.
    """

    def __init__(self, *, start_at: float | None = None) -> None:
        self._base = time.time() if start_at is None else start_at
        self._base_real = _boot_time()
        self._rate = 1.0
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wakeup: asyncio.TimerHandle | None = None
        self._wakeup_when = float("inf")
        self._busy = 0
        self._idle: asyncio.Event | None = None

    def now(self) -> float:
        """Return the present moment, epoch seconds."""
        return self._base + (_boot_time() - self._base_real) * self._rate

    def begin_at(self, moment: float) -> None:
        """Take `moment` as the present one; for the start, before anything waits on this clock."""
        self._base = moment
        self._base_real = _boot_time()

    def working(self) -> AbstractContextManager[None]:
        """Mark work in progress for the length of a `with` block."""
        return _Working(self)

    async def sleep_until(self, when: float) -> None:
        """Return once `when` has come; at once if it is past."""
        if when <= self.now():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(when, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back once `when` has come, from the event loop, in order of moments."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        if when < self._wakeup_when:
            self._arm()
        return timer

    def _arm(self) -> None:
        """Set the loop's one timer to the earliest of ours."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        self._wakeup_when = float("inf")
        if self._timers and self._rate > 0:
            self._wakeup_when = self._timers[0][0]
            delay_s = max(0.0, (self._wakeup_when - self.now()) / self._rate)
            self._wakeup = asyncio.get_running_loop().call_later(min(delay_s, 86400.0), self._fire)

    def _fire(self) -> None:
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()
        self._wakeup_when = float("inf")
        self._arm()


class VirtualClock(SystemClock):
    """A clock the user moves: real time until told otherwise (`/_eventrt/clock`)."""

    @property
    def rate(self) -> float:
        """Clock seconds that pass in a real second."""
        return self._rate

    @property
    def offset_s(self) -> float:
        """How far this clock is ahead of the wall clock, in seconds."""
        return self.now() - time.time()

    def set_rate(self, rate: float) -> None:
        """Let time run `rate` times as fast as real time; 0 holds it."""
        self._rebase(self.now())
        self._rate = rate
        self._arm()

    def set_real(self) -> None:
        """Go back to the wall clock and its pace. A clock that was ahead steps back to the wall clock."""
        self._rate = 1.0
        self._rebase(time.time())
        self._arm()

    async def advance(self, seconds: float) -> float:
        """Move time forward; what falls due by then happens in order, each instant settling before the next.

        Time holds while it happens. Returns the new moment.
        """
        target, rate = self.now() + seconds, self._rate
        self._rate = 0.0
        self._rebase(target - seconds)
        self._arm()
        try:
            await self._settle()
            while True:
                while self._timers and self._timers[0][2].cancelled:
                    heapq.heappop(self._timers)
                if not self._timers or self._timers[0][0] > target:
                    break
                self._rebase(max(self._base, self._timers[0][0]))
                self._fire()
                await self._settle()
            self._rebase(target)
            await self._settle()
        finally:
            self._rate = rate
            self._rebase(max(self._base, target))
            self._arm()
        return target

    def _rebase(self, now: float) -> None:
        self._base = now
        self._base_real = _boot_time()

    async def _settle(self) -> None:
        """Wait until the work that this instant woke is finished, at most SETTLE_LIMIT_S of real time."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + SETTLE_LIMIT_S
        quiet_ticks = 0
        while quiet_ticks < _SETTLE_TICKS and loop.time() < give_up_at:
            await asyncio.sleep(0)
            quiet_ticks += 1
            if self._busy:
                quiet_ticks = 0
                self._idle = asyncio.Event()
                try:
                    async with asyncio.timeout_at(give_up_at):
                        await self._idle.wait()
                except TimeoutError:
                    return
                finally:
                    self._idle = None


def _boot_time() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
