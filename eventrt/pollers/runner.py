"""One mapping of a queue at work: the place where a `QueueMachine` meets store, clock and function.

A few *lanes* (tasks) drive the machine: each asks for the next action and does it, so several batches are in
flight and a lane that waits for a commit holds up nobody. Lanes park when there is nothing to do; a wake-up of the
queue or a moment on the clock kicks one of them, and it kicks the next when there is more than it can do itself.
An idle mapping is a parked task and a bell.
"""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import anyio
import orjson
import structlog
from anyio.abc import TaskGroup

from eventrt.clock import Clock, Timer
from eventrt.core.backoff import delay_s
from eventrt.core.filters import compile_filters
from eventrt.core.mapping import POLLER_CONCURRENCY, EventSourceMapping
from eventrt.core.queue import Extend, Invoke, QueueMachine, QueuePolicy, Receive, Settle, Wait
from eventrt.core.records import (
    Batch,
    FunctionError,
    Outcome,
    Record,
    ServiceFault,
    Succeeded,
    Throttled,
)
from eventrt.core.recursion import mark_of
from eventrt.core.scaling import FIRST_CONCURRENCY, MOST_CONCURRENCY
from eventrt.errors import StoreFull
from eventrt.invoker.invocation import Invocation
from eventrt.pollers import sqs
from eventrt.pollers.commits import DISK_RETRY_S, commit
from eventrt.pollers.reports import BatchObserver, BatchReport
from eventrt.store.api import Store, Tx, Watch

_LOG = structlog.get_logger("eventrt.pollers")


class Invokes(Protocol):
    """The part of the invoker that pollers use."""

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one invocation and return what came of it."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a runner works with.

    Args:
        concurrency_limit: batches of one mapping at once on this machine, whatever its settings allow.
        observers: called for every batch (see `reports`).
    """

    store: Store
    clock: Clock
    invoker: Invokes
    concurrency_limit: int
    observers: Sequence[BatchObserver]


def policy_of(mapping: EventSourceMapping, *, concurrency_limit: int) -> QueuePolicy:
    """Return what a mapping's settings mean for its machine."""
    first, most = FIRST_CONCURRENCY, MOST_CONCURRENCY
    if mapping.maximum_concurrency is not None:
        most = mapping.maximum_concurrency
    if mapping.provisioned is not None:
        first = mapping.provisioned.minimum * POLLER_CONCURRENCY
        most = mapping.provisioned.maximum * POLLER_CONCURRENCY
    return QueuePolicy(
        batch_size=mapping.batch_size,
        batching_window_s=float(mapping.batching_window_s),
        reports_failures=mapping.reports_failures,
        keeps_order=mapping.source_arn.endswith(".fifo"),
        passes=compile_filters(mapping.filters, loads=orjson.loads),
        first_concurrency=first,
        most_concurrency=min(most, concurrency_limit),
    )


class QueueRunner:
    """One mapping at work until it is stopped and drained; see the module.

    Args: on_problem: told what keeps the mapping from working, and None once it works again.
    """

    def __init__(
        self,
        mapping: EventSourceMapping,
        rooms: Rooms,
        *,
        on_problem: Callable[[str | None], None],
    ) -> None:
        self.mapping = mapping
        self.problem = mapping.problem
        self._rooms = rooms
        self._on_problem = on_problem
        self._machine = QueueMachine(policy_of(mapping, concurrency_limit=rooms.concurrency_limit))
        self._store = rooms.store
        self._clock = rooms.clock
        self._lanes = 0
        self._parked: list[asyncio.Future[None]] = []
        self._tokens: list[AbstractContextManager[None]] = []
        self._timer: Timer | None = None
        self._group: TaskGroup
        self._looking: anyio.CancelScope | None = None
        self._finished = asyncio.Event()
        self._is_running = False
        self._refusals = 0
        self._refused_until: float | None = None
        self._ends: dict[int, tuple[EventSourceMapping, str, float]] = {}
        """Of batches that have an outcome and no commit yet: what they ran under, request id, duration in ms."""
        self._last_error: str | None = None
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing

    # -- from outside

    async def run(self) -> None:
        """Work until `stop` was called and every batch in flight has come to its end."""
        self._is_running = True
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                group.start_soon(self._follow_source)
                await self._finished.wait()
                group.cancel_scope.cancel()
        finally:
            self._is_running = False
            self._disarm()
            for token in self._tokens:
                token.__exit__(None, None, None)
            self._tokens.clear()

    def stop(self) -> None:
        """Receive nothing more and give back at once what has not reached the function; `run` then drains."""
        self._machine.stop()
        self._kick()

    def resume(self, mapping: EventSourceMapping) -> bool:
        """Take up work again after `stop`; False when it has already come to its end."""
        if self._finished.is_set() or not self._is_running:
            return False
        self.reconfigure(mapping)
        self._machine.resume()
        self._kick()
        return True

    def reconfigure(self, mapping: EventSourceMapping) -> None:
        """Go on with the mapping's new settings; batches in flight end under the old ones."""
        self.mapping = mapping
        self._machine.reconfigure(policy_of(mapping, concurrency_limit=self._rooms.concurrency_limit))
        if self.problem is not None:
            self._look_again()  # the new function may be there
        self._kick()

    def describe(self) -> dict[str, Any]:
        """Return what it does, in counts, and what it waits for and why."""
        machine = self._machine
        now = self._clock.now()
        moment = machine.next_moment(now=now)
        if self.problem is not None:
            waits_for = self.problem
        elif not machine.is_idle:
            waits_for = "batches in flight, or a moment on the clock"
        else:
            waits_for = "messages"
        return {
            **machine.describe(),
            "waiting_for": waits_for,
            "next_moment_at": moment,
            "problem": self.problem,
            "last_error": self._last_error,
        }

    # -- the source

    async def _follow_source(self) -> None:
        """Kick a lane whenever the queue has something; wait for queue and function while one is missing."""
        machine = self._machine
        while True:
            with anyio.CancelScope() as scope, self._store.watch(("queues",)) as new_queue:
                self._looking = scope
                queue = await self._store.read(lambda tx: tx.queues.by_arn(self.mapping.source_arn))
                if queue is None:
                    self._report("The queue does not exist.")
                    machine.hold()
                    await new_queue.wait()
                    continue
                with (
                    self._store.watch(("queue", queue.id)) as bell,
                    self._store.watch(("function", self.mapping.unqualified_function_arn)) as function,
                ):
                    if self._refused_until is not None:
                        await self._first_of(function, self._refused_until)
                        self._refused_until = None
                    while not await self._store.read(self._has_function):
                        self._report("The function does not exist.")
                        machine.hold()
                        await function.wait()
                    if not self._refusals:
                        self._report(None)
                    machine.release_hold()
                    while True:
                        machine.rang()
                        if machine.may_act():
                            self._kick()
                        await bell.wait()

    async def _first_of(self, watch: Watch, moment: float) -> None:
        """Return when the bell rings or the moment comes."""
        with anyio.CancelScope() as scope:
            timer = self._clock.call_at(moment, scope.cancel)
            try:
                await watch.wait()
            finally:
                timer.cancel()

    def _has_function(self, tx: Tx) -> bool:
        try:
            sqs.function_of(tx, self.mapping)
        except sqs.FunctionMissing:
            return False
        return True

    def _look_again(self) -> None:
        """Queue or function went away: stop receiving and let `_follow_source` find out which."""
        self._machine.hold()
        if self._looking is not None:
            self._looking.cancel()

    def _report(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            self._on_problem(problem)

    # -- lanes

    def _kick(self) -> None:
        """Set a lane to work: a parked one, or a new one."""
        if not self._is_running:
            return
        if self._parked:
            parked = self._parked.pop()
            if not parked.done():
                self._enter()
                parked.set_result(None)
        else:
            self._lanes += 1
            self._enter()
            self._group.start_soon(self._lane)

    def _enter(self) -> None:
        """Mark work in progress on the clock, from the kick of a lane until it parks."""
        token = self._clock.working()
        token.__enter__()
        self._tokens.append(token)

    def _leave(self) -> None:
        self._tokens.pop().__exit__(None, None, None)

    async def _lane(self) -> None:
        machine, clock = self._machine, self._clock
        while True:
            action = machine.next_action(now=clock.now())
            match action:
                case Invoke(batch):
                    await self._invoke(batch)
                case Settle():
                    await self._settle(action)
                case Receive(limit):
                    await self._receive(limit)
                case Extend(batch):
                    await self._extend(batch)
                case Wait(until):
                    if machine.is_finished:
                        self._finished.set()
                    self._arm(until)
                    if self._parked and machine.is_idle:  # one parked lane is enough to begin with
                        if len(self._parked) > 1:
                            self._kick()
                        self._lanes -= 1
                        self._leave()
                        return
                    await self._park()

    async def _park(self) -> None:
        parked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._parked.append(parked)
        self._leave()
        await parked

    def _share(self) -> None:
        """Before this lane is busy for a while: let another one do what is left, or see to it in time."""
        if self._machine.may_act():
            self._kick()
        else:
            self._arm(self._machine.next_moment(now=self._clock.now()))

    def _arm(self, until: float | None) -> None:
        """Have a lane kicked at a moment, unless an earlier one is set already."""
        if until is None:
            return
        if self._timer is not None:
            if self._timer.when <= until:
                return
            self._timer.cancel()
        self._timer = self._clock.call_at(until, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._kick()

    # -- actions

    async def _receive(self, limit: int) -> None:
        mapping, machine = self.mapping, self._machine
        try:
            leased = await self._store.write(lambda tx: sqs.receive(tx, mapping, limit), durable=False)
        except (sqs.QueueMissing, sqs.FunctionMissing):
            machine.not_received()
            self._look_again()
            return
        except StoreFull as error:
            machine.not_received()
            machine.hold()
            self._report(f"Messages cannot be received: {error}")
            await self._sleep(DISK_RETRY_S)
            self._report(None)
            machine.release_hold()
            return
        now = self._clock.now()
        machine.feed(
            leased.records,
            now=now,
            leased_until=now + leased.lease_s,
            is_dry=leased.is_dry,
            next_visible_at=leased.next_visible_at,
        )

    async def _invoke(self, batch: Batch) -> None:
        mapping = self.mapping
        request_id = str(uuid.uuid4())
        invocation = Invocation(
            account_id=mapping.account_id,
            region=mapping.region,
            function_name=mapping.function_name,
            payload=sqs.event_of(batch.records),
            request_id=request_id,
            invoked_arn=mapping.function_arn,
            qualifier=mapping.qualifier,
            trace_header=sqs.trace_of(batch.records, mark_of(mapping.unqualified_function_arn)),
        )
        self._share()
        started = time.perf_counter()
        outcome = await self._rooms.invoker.invoke(invocation)
        self._ends[batch.number] = (mapping, request_id, (time.perf_counter() - started) * 1000)
        self._machine.invoked(batch, outcome, now=self._clock.now(), chance=self._random.random())
        if isinstance(outcome, ServiceFault):
            if not (self._machine.is_stopped and outcome.status >= 500):  # the daemon ends it: the function is well
                self._fault(outcome)
        elif isinstance(outcome, Throttled):
            _LOG.debug("batch.throttled", mapping_id=mapping.id, batch_number=batch.number, reason=outcome.reason)
        elif self._refusals:
            self._refusals = 0
            self._report(None)

    def _fault(self, fault: ServiceFault) -> None:
        """Show why the function cannot be invoked; when it is not there, stop receiving until it may be."""
        self._refusals += 1
        self._report(f"{fault.code}: {fault.message}")
        if fault.status == 404:
            self._refused_until = self._clock.now() + delay_s(self._refusals, self._random.random(), first_s=1.0)
            self._look_again()

    async def _settle(self, action: Settle) -> None:
        """Commit the end of records, then tell of it."""
        done, released = action.done, action.released
        refused: Sequence[Record] = ()
        if self._machine.may_act():
            self._kick()
        if done or released:
            mapping = self.mapping
            while True:
                try:
                    refused = await commit(self._store, lambda tx: sqs.settle(tx, mapping, done, released))
                    break
                except StoreFull as error:
                    _LOG.warning("batch.settle_delayed", mapping_id=mapping.id, error=str(error))
                    await self._sleep(DISK_RETRY_S)
        self._machine.settled(action)
        if refused:
            _LOG.warning(
                "message.settle_refused",
                mapping_id=self.mapping.id,
                message_id=[record.id for record in refused],
                reason="the lease had ended; the message will be delivered again",
            )
        if action.batch is not None:
            self._tell(action, len(refused))

    async def _extend(self, batch: Batch) -> None:
        mapping, machine = self.mapping, self._machine
        try:
            leased_s = await self._store.write(
                lambda tx: sqs.extend(tx, mapping, batch.records, is_waiting=machine.is_extending(batch)), durable=False
            )
        except StoreFull:
            leased_s = None
        if leased_s is None:
            self._machine.lost(batch)
        else:
            now = self._clock.now()
            self._machine.extended(batch, leased_until=now + leased_s, now=now)

    async def _sleep(self, seconds: float) -> None:
        """Sleep on the clock, without holding up its `advance`."""
        self._leave()
        try:
            await self._clock.sleep_until(self._clock.now() + seconds)
        finally:
            self._enter()

    def _tell(self, action: Settle, refused: int) -> None:
        """Let observers know of a batch; the daemon logs it as one of them."""
        batch, outcome = action.batch, action.outcome
        end = self._ends.pop(batch.number, None) if batch is not None else None
        if batch is None or outcome is None or end is None:
            return
        mapping, request_id, duration_ms = end
        done = len(action.done) - refused
        failed = len(batch.records) - done
        if failed:
            self._last_error = _error_of(outcome)
        if self._rooms.observers:
            report = BatchReport(mapping, batch, outcome, request_id, duration_ms, done, failed)
            for observer in self._rooms.observers:
                observer(report)


def _error_of(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "the function reported failed items"
        case FunctionError():
            return f"{outcome.error_type}: {outcome.error_message}"
        case Throttled():
            return f"throttled: {outcome.reason}"
        case ServiceFault():
            return f"{outcome.code}: {outcome.message}"
