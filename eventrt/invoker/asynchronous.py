"""Drains the async shelf: takes events that are due, gives each to its function, and settles what came of it.

Every function has a lane. A lane that has something gets workers (tasks that take one event after the other); more of
them while its handlers are slow and more is waiting, but never more than are left free for others, so a backlog or
long handlers of one function leave room for the next. Outcomes are settled together, one unit per commit. An idle
lane is nothing at all; a waiting one is a moment on the clock.

What a worker holds is not written anywhere: after a kill the event is still on the shelf and begins again.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from eventrt.clock import Clock, Timer
from eventrt.core import records
from eventrt.core.asynchronous import SHORTEST_AGE_S, AsyncEvent, AsyncMachine, AsyncPolicy, Ended, Verdict
from eventrt.core.backlog import AtWork
from eventrt.core.functions import FunctionKey, FunctionVersion
from eventrt.core.records import FunctionError, ServiceFault, Succeeded, Throttled
from eventrt.destinations.desk import Desk
from eventrt.errors import StoreClosed, StoreFull
from eventrt.invoker import async_shelf
from eventrt.invoker.async_shelf import Outcome, Settled
from eventrt.invoker.invocation import Invocation
from eventrt.store.api import Store, Tx
from eventrt.store.asynchronous import ARRIVALS, AsyncPage

PAGE_EVENTS = 64
PAGE_BYTES = 4 * 1024 * 1024
"""How much of a lane is read at once."""

FIRST_WORKERS = 4
"""A lane gets so many at once; quick handlers are bound by the processor, and more would not help."""

SLOW_S = 0.03
"""A lane whose workers are all busy for so long (real seconds) gets another one."""

CALM_S = 1.0
"""After an invocation found no room: how long (on the clock) a lane with nothing running waits."""

MOST_UNSETTLED = 2000
"""No event is begun while so many outcomes wait for the disk."""

DISK_RETRY_S = 1.0
"""How long (on the clock) a full disk is given before outcomes are written again."""

SWEEP_SLICE = 500

_LOG = structlog.get_logger("eventrt.asynchronous")


class Invokes(Protocol):
    """The part of the invoker that the drain uses."""

    async def invoke(self, invocation: Invocation) -> records.Outcome:
        """Run one invocation and return what came of it."""
        ...


class _Lane:
    """One function's lane while it has anything to do.

    `after` is the last event read; `events` are read and not begun. `due_at` is when the next event falls due that
    was not due at the last look. `most` bounds the workers, as `reserved` does; `running` counts them. A lane is kept
    as long as it has `unsettled` outcomes: their events are still on the shelf and must not be read again.
    """

    __slots__ = (
        "after",
        "calm_until",
        "due_at",
        "events",
        "executed",
        "grow",
        "has_more",
        "id",
        "is_waiting",
        "most",
        "paused_until",
        "reserved",
        "running",
        "timer",
        "unsettled",
    )

    def __init__(self, lane_id: int) -> None:
        self.id = lane_id
        self.after: tuple[float, int] = (float("-inf"), 0)
        self.events: deque[AsyncEvent] = deque()
        self.has_more = True
        self.due_at: float | None = None
        self.paused_until: float | None = None
        self.most = FIRST_WORKERS
        self.reserved: int | None = None
        self.running = 0
        self.executed = 0
        self.unsettled = 0
        self.calm_until = 0.0
        self.is_waiting = False
        self.timer: Timer | None = None
        self.grow: asyncio.TimerHandle | None = None


class AsyncDrain:
    """Drains the async shelf while it runs.

    Args:
        desk: hands over the ends of events.
        retry_base_s: the wait before the first retry; the second is twice as long.
        places: how many invocations the machine has room for at a time (`lambda.max_environments`).
    """

    def __init__(
        self, store: Store, clock: Clock, invoker: Invokes, desk: Desk, *, retry_base_s: float, places: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._invoker = invoker
        self._desk = desk
        self._default_policy = AsyncPolicy(retry_base_s=retry_base_s)
        self._retry_base_s = retry_base_s
        self._places = places
        self._lanes: dict[int, _Lane] = {}
        self._crowded: deque[_Lane] = deque()
        """Lanes with something to do and no room for another worker, the one that waits longest first."""
        self._running = 0
        self._outcomes: list[Outcome] = []
        self._unsettled = 0
        self._has_outcomes = asyncio.Event()
        self._token: AbstractContextManager[None] | None = None
        self._group: TaskGroup
        self._is_stopping = False
        self._is_still: asyncio.Event | None = None
        self._counts = {"succeeded": 0, "failed": 0, "retried": 0, "undelivered": 0}

    # -- life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Drain until cancelled (`drain` first, to end gracefully)."""
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                group.start_soon(self._keep_settling)
                with self._store.watch(ARRIVALS) as bell:
                    await self._store.read(lambda tx: tx.asynchronous.stirred())  # before this: all are read anyway
                    for lane_id in await self._store.read(lambda tx: tx.asynchronous.lanes()):
                        self._look(self._lane(lane_id))
                    group.start_soon(self._sweep)
                    task_status.started()
                    while True:
                        await bell.wait()
                        with self._clock.working():
                            await self._arrived()
            finally:
                self._is_stopping = True
                for lane in self._lanes.values():
                    self._disarm(lane)

    async def drain(self, grace_s: float) -> bool:
        """Begin no further event and wait for those in hand; say whether all came to their outcome in time.

        Args: grace_s: how long to wait, real seconds.
        """
        self._is_stopping = True
        with anyio.move_on_after(grace_s):
            while self._unsettled or self._running:
                self._is_still = asyncio.Event()
                await self._is_still.wait()
        return not self._unsettled and not self._running

    def status(self) -> Mapping[str, object]:
        """Return what the health answer tells of this room."""
        return {
            "status": "stopping" if self._is_stopping else "running",
            "running": self._running,
            "lanes": len(self._lanes),
            **self._counts,
        }

    def at_work(self, lane_id: int) -> AtWork:
        """Return what is being done for a lane."""
        lane = self._lanes.get(lane_id)
        if lane is None:
            return AtWork()
        held_up_by = ""
        if lane.paused_until is not None:
            held_up_by = "a moment, as it could not be invoked"
        elif lane.is_waiting:
            held_up_by = "other functions' handlers to end (lambda.max_environments)"
        elif lane.reserved is not None and lane.running >= max(1, lane.reserved):
            held_up_by = f"its reserved concurrency, {lane.reserved}"
        return AtWork(lane.running, held_up_by)

    # -- what wakes lanes

    async def _arrived(self) -> None:
        """Look at the lanes that have new events; follow the clock where it was shifted."""
        stirred = await self._store.read(lambda tx: tx.asynchronous.stirred())
        if stirred.shifted_s:
            for lane in list(self._lanes.values()):
                self._shift(lane, stirred.shifted_s)
        for lane_id in stirred.lanes:
            lane = self._lane(lane_id)
            lane.has_more = True
            self._look(lane)
        if stirred.has_given_up:
            self._group.start_soon(self._sweep)

    async def _sweep(self) -> None:
        """Clear lanes whose functions were deleted, a slice at a time; what a full disk leaves goes at the next."""
        try:
            while await self._store.write(lambda tx: tx.asynchronous.sweep(SWEEP_SLICE)):
                pass
        except StoreFull as error:
            _LOG.warning("async.sweep_delayed", error=str(error))

    def _shift(self, lane: _Lane, delta_s: float) -> None:
        lane.after = (lane.after[0] + delta_s, lane.after[1])
        lane.events = deque(
            event._replace(due_at=event.due_at + delta_s, accepted_at=event.accepted_at + delta_s)
            for event in lane.events
        )
        if lane.due_at is not None:
            self._expect(lane, lane.due_at + delta_s, anew=True)

    def _lane(self, lane_id: int) -> _Lane:
        lane = self._lanes.get(lane_id)
        if lane is None:
            lane = self._lanes[lane_id] = _Lane(lane_id)
        return lane

    def _expect(self, lane: _Lane, moment: float, *, anew: bool = False) -> None:
        """Have the lane looked at when an event falls due."""
        if anew or lane.due_at is None or moment < lane.due_at:
            lane.due_at = moment
            if lane.timer is not None:
                lane.timer.cancel()
            lane.timer = self._clock.call_at(moment, lambda: self._on_moment(lane))

    def _on_moment(self, lane: _Lane) -> None:
        lane.timer = lane.due_at = None
        lane.has_more = True
        self._look(lane)

    def _disarm(self, lane: _Lane) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
        if lane.grow is not None:
            lane.grow.cancel()
        lane.timer = lane.grow = None

    # -- workers

    def _look(self, lane: _Lane) -> None:
        """Give the lane a worker if it has something to do, or forget it if it has nothing any more."""
        if self._is_stopping or lane.paused_until is not None:
            return
        if not lane.events and not lane.has_more:
            if not lane.running and not lane.unsettled and lane.due_at is None:
                self._disarm(lane)
                self._lanes.pop(lane.id, None)
            return
        if lane.running >= lane.most or (lane.reserved is not None and lane.running >= max(1, lane.reserved)):
            return
        if self._is_crowded(lane):
            if not lane.is_waiting:
                lane.is_waiting = True
                self._crowded.append(lane)
            return
        lane.running += 1
        self._running += 1
        token = self._clock.working()
        token.__enter__()
        self._group.start_soon(self._work, lane, token)

    def _is_crowded(self, lane: _Lane) -> bool:
        """Would another worker of this lane leave too little room for others? A lane may have as much as is free."""
        free = self._places - self._running
        return self._unsettled >= MOST_UNSETTLED or (free <= 0 if lane.running == 0 else lane.running >= free)

    def _is_to_yield(self, lane: _Lane) -> bool:
        """Is a worker of this lane one too many, or to make room for a lane that waits?"""
        if lane.running > lane.most or self._unsettled >= MOST_UNSETTLED:
            return True
        return bool(self._crowded) and lane.running > self._places - self._running + 1

    async def _work(self, lane: _Lane, token: AbstractContextManager[None]) -> None:
        """Take one event after the other until there is none, or others need the room."""
        event: AsyncEvent | None = None
        try:
            while not self._is_stopping and lane.paused_until is None:
                event = lane.events.popleft() if lane.events else await self._read(lane)
                if event is None:
                    break
                if lane.events or lane.has_more:
                    self._press(lane)
                await self._attend(lane, event)
                if self._is_to_yield(lane):
                    break
        except StoreClosed:
            self._is_stopping = True
        except Exception as error:
            # A defect of ours: the event is tried again after a while, and its neighbours never notice.
            _LOG.error("async.failed", request_id="" if event is None else event.request_id, exc_info=error)
            if event is None:
                lane.has_more = True
            else:
                lane.events.appendleft(event)
            self._pause(lane)
        except BaseException:
            self._is_stopping = True  # cancelled: nobody begins anything any more
            raise
        finally:
            lane.running -= 1
            self._running -= 1
            if self._crowded and not lane.is_waiting:
                lane.is_waiting = True
                self._crowded.append(lane)  # it stands in line behind those that wait
            else:
                self._look(lane)
            self._fill()
            self._tell_still()
            token.__exit__(None, None, None)

    def _fill(self) -> None:
        """Give the room there is to the lanes that wait for it, the one that waits longest first."""
        while self._crowded and not self._is_stopping:
            lane = self._crowded.popleft()
            lane.is_waiting = False
            self._look(lane)
            if lane.is_waiting:
                return

    def _press(self, lane: _Lane) -> None:
        """More is waiting in the lane: have another worker begin, now or if the present ones stay busy."""
        if lane.running < min(FIRST_WORKERS, lane.most):
            self._look(lane)
        elif lane.grow is None:
            lane.grow = asyncio.get_running_loop().call_later(SLOW_S, self._grow, lane, lane.executed)

    def _grow(self, lane: _Lane, executed_before: int) -> None:
        """Give a lane another worker, unless its handlers are quick: then many came to their end meanwhile."""
        lane.grow = None
        if self._is_stopping or not lane.running or not (lane.events or lane.has_more):
            return
        loop = asyncio.get_running_loop()
        is_slow = lane.executed - executed_before < lane.running
        if (is_slow or lane.most < FIRST_WORKERS) and loop.time() >= lane.calm_until:
            lane.most = min(self._places, lane.running + 1)
            self._look(lane)
        lane.grow = loop.call_later(SLOW_S, self._grow, lane, lane.executed)

    async def _read(self, lane: _Lane) -> AsyncEvent | None:
        """Return the next event of a lane that is due, reading more of them; None when there is none now."""
        if not lane.has_more:
            return None
        lane.has_more = False

        def query(tx: Tx) -> AsyncPage:
            page = tx.asynchronous.due(lane.id, after=lane.after, limit=PAGE_EVENTS, max_bytes=PAGE_BYTES)
            if page.events:
                function = tx.functions.get(*page.events[0].function)
                lane.reserved = None if function is None else function.reserved_concurrency
            return page

        page = await self._store.read(query)
        lane.has_more = lane.has_more or not page.holds_all
        if page.events:
            lane.after = (page.events[-1].due_at, page.events[-1].id)
            lane.events.extend(page.events)
        if page.next_due is not None:
            self._expect(lane, page.next_due)
        return lane.events.popleft() if lane.events else None

    # -- one event

    async def _attend(self, lane: _Lane, event: AsyncEvent) -> None:
        """Bring an event through one attempt to a verdict."""
        function, policy = await self._store.read(lambda tx: self._circumstances(tx, event))
        if function is None:
            self._decide(lane, event, Ended("RetriesExhausted", event.executed, event.last))  # deleted
            return
        lane.reserved = function.reserved_concurrency
        begin = AsyncMachine(event, policy).begin(now=self._clock.now(), is_switched_off=lane.reserved == 0)
        if isinstance(begin, Ended):
            self._decide(lane, event, begin)
            return
        outcome = await self._invoker.invoke(_invocation(event))
        if isinstance(outcome, Succeeded):
            lane.executed += 1
        elif isinstance(outcome, ServiceFault) and outcome.status >= 500 and self._is_stopping:
            return  # the daemon stops: the event lies where it lay, and begins again
        else:
            if isinstance(outcome, FunctionError):
                lane.executed += 1
            elif isinstance(outcome, Throttled) or outcome.status >= 500:
                self._hold_back(lane, outcome)
            policy = await self._store.read(lambda tx: async_shelf.policy_of(tx, event, self._retry_base_s))
        self._decide(lane, event, AsyncMachine(event, policy).finished(outcome, now=self._clock.now()))

    def _circumstances(self, tx: Tx, event: AsyncEvent) -> tuple[FunctionVersion | None, AsyncPolicy]:
        """Return the function and the policy that an attempt begins under; the policy matters to old events only."""
        function = tx.functions.get(*event.function)
        if tx.now - event.accepted_at <= SHORTEST_AGE_S:
            return function, self._default_policy
        return function, async_shelf.policy_of(tx, event, self._retry_base_s)

    def _hold_back(self, lane: _Lane, outcome: Throttled | ServiceFault) -> None:
        """There was no room, or no service: keep to what runs already, and pause when nothing does."""
        others = lane.running - 1
        lane.most = max(1, others)
        lane.calm_until = asyncio.get_running_loop().time() + CALM_S
        if others == 0:
            self._pause(lane)
        _LOG.debug("async.held_back", lane=lane.id, reason=type(outcome).__name__)

    def _pause(self, lane: _Lane) -> None:
        """Begin nothing in the lane for a while."""
        if lane.paused_until is None:
            lane.paused_until = self._clock.now() + CALM_S
            self._clock.call_at(lane.paused_until, lambda: self._go_on(lane))

    def _go_on(self, lane: _Lane) -> None:
        lane.paused_until = None
        self._look(lane)

    # -- settling

    def _decide(self, lane: _Lane, event: AsyncEvent, verdict: Verdict) -> None:
        self._outcomes.append(Outcome(event, verdict))
        self._unsettled += 1
        lane.unsettled += 1
        if self._token is None:
            self._token = self._clock.working()
            self._token.__enter__()
            self._has_outcomes.set()

    async def _keep_settling(self) -> None:
        """Write outcomes to the store, all that came while the last were being written in one unit."""
        while True:
            await self._has_outcomes.wait()
            self._has_outcomes.clear()
            while self._outcomes:
                outcomes, self._outcomes = self._outcomes, []
                settled = await self._settle(outcomes)
                self._unsettled -= len(outcomes)
                if settled is not None:
                    self._settled(settled, outcomes)
                self._fill()
            token, self._token = self._token, None
            if token is not None:
                token.__exit__(None, None, None)
            self._tell_still()

    async def _settle(self, outcomes: Sequence[Outcome]) -> Settled | None:
        """Write outcomes; None when they could not be, because of a defect: their events stay on the shelf."""
        while True:
            try:
                with anyio.CancelScope(shield=True):  # what was decided is kept, also when the daemon is stopping
                    return await self._store.write(lambda tx: async_shelf.settle(tx, self._desk, outcomes))
            except StoreFull as error:
                _LOG.warning("async.settle_delayed", events=len(outcomes), error=str(error))
                if self._is_stopping:
                    return None  # their events are on the shelf and begin again
                await self._rest()
            except StoreClosed:
                return None
            except Exception as error:
                if len(outcomes) > 1:
                    for outcome in outcomes:  # the others shall not suffer from one
                        one = await self._settle([outcome])
                        if one is not None:
                            self._settled(one, [outcome])
                    return None
                _LOG.error("async.settle_failed", request_id=outcomes[0].event.request_id, exc_info=error)
                return None

    async def _rest(self) -> None:
        """Wait for a full disk, without holding up the clock."""
        token = self._token
        assert token is not None
        token.__exit__(None, None, None)
        try:
            await self._clock.sleep_until(self._clock.now() + DISK_RETRY_S)
        finally:
            token.__enter__()

    def _settled(self, settled: Settled, outcomes: Sequence[Outcome]) -> None:
        """See to retries, and tell of what did not go well."""
        counts = self._counts
        for _, verdict in outcomes:
            if type(verdict) is Ended:
                counts["succeeded" if verdict.is_success else "failed"] += 1
        counts["retried"] += len(settled.retries)
        counts["undelivered"] += len(settled.undelivered)
        if not self._is_stopping:
            for lane_id, moment in settled.retries:
                self._expect(self._lane(lane_id), moment)
            for event, _ in outcomes:
                lane = self._lane(event.lane)
                lane.unsettled -= 1
                if not lane.unsettled:
                    self._look(lane)
        for event, target, reason in settled.undelivered:
            _LOG.warning(
                "async.undelivered",
                function=event.function[2],
                request_id=event.request_id,
                target=target,
                reason=reason,
            )
        for event, target, reason in settled.shortened:
            _LOG.warning(
                "async.shortened",
                function=event.function[2],
                request_id=event.request_id,
                target=target,
                reason=reason,
            )
        for event, ended in settled.dropped:
            _LOG.warning(
                "async.dropped",
                function=event.function[2],
                request_id=event.request_id,
                condition=ended.condition,
                attempts=ended.executed,
                error="" if ended.last is None else ended.last.error_message[:200],
            )

    def _tell_still(self) -> None:
        if self._is_still is not None and not self._unsettled and not self._running:
            self._is_still.set()


def _invocation(event: AsyncEvent) -> Invocation:
    account_id, region, name = event.function
    arn = _arn_of(event.function)
    return Invocation(
        account_id=account_id,
        region=region,
        function_name=name,
        payload=event.payload,
        request_id=event.request_id,
        invoked_arn=arn if event.qualifier is None else f"{arn}:{event.qualifier}",
        qualifier=event.qualifier,
        trace_header=event.trace_header,
    )


def _arn_of(function: FunctionKey) -> str:
    return f"arn:aws:lambda:{function[1]}:{function[0]}:function:{function[2]}"
