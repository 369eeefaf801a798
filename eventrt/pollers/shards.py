"""One shard of one mapping at work: the place where a `ShardMachine` meets a poller, the clock and the function.

The driver asks its machine for the next action and starts it: reads, invocations and commits run beside each other,
and each wakes the driver when it ends. When there is nothing to do it rests until something ends, a record is
announced, or a moment comes; an idle shard is a task that sleeps. What a commit discards goes to the mapping's
destination in the same unit of work that moves the checkpoint.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import anyio
import orjson
import structlog
from anyio.abc import TaskGroup

from eventrt.api import Announces, Bell, Page, Shard, ShardPoller, SourceUnavailable, Written
from eventrt.clock import Clock, Timer
from eventrt.core.mapping import CALL_FAILED, PROCESSED, EventSourceMapping
from eventrt.core.records import Batch, FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.core.shard import ShardMachine
from eventrt.core.shard_values import Commit, Discard, Finished, Invoke, Progress, Read, ShardBatch, ShardPolicy, Wait
from eventrt.core.stream_filters import compile_stream_filters
from eventrt.destinations.desk import Desk, Message, Undeliverable
from eventrt.destinations.invocation import discard_key, discard_record
from eventrt.errors import StoreFull
from eventrt.invoker.invocation import Invocation
from eventrt.pollers.commits import DISK_RETRY_S, commit
from eventrt.pollers.embedded import EmbeddedPoller
from eventrt.pollers.reports import BatchObserver, BatchReport
from eventrt.pollers.runner import Invokes
from eventrt.pollers.stream_events import check_order, event_of, records_event, written
from eventrt.store.api import Store, Tx

T = TypeVar("T")

_LOG = structlog.get_logger("eventrt.pollers")

RECORDS_EXPIRED = "PROBLEM: Records expired in the source before they were read"
"""LastProcessingResult after a gap."""


@dataclass(frozen=True, slots=True)
class ShardRooms:
    """What the shards of a mapping work with. `observers` are called for every batch (see `reports`)."""

    store: Store
    clock: Clock
    invoker: Invokes
    desk: Desk
    observers: Sequence[BatchObserver]


def policy_of(mapping: EventSourceMapping) -> ShardPolicy:
    """Return what a mapping's settings mean for the machines of its shards."""
    return ShardPolicy(
        batch_size=mapping.batch_size,
        window_s=float(mapping.batching_window_s),
        lanes=mapping.parallelization_factor,
        maximum_retries=mapping.maximum_retries,
        maximum_age_s=float(mapping.maximum_record_age_s),
        bisects=mapping.bisects,
        reports_item_failures=mapping.reports_failures,
        tumbling_s=mapping.tumbling_window_s,
    )


class ShardRunner:
    """One shard at work until it is finished or stopped; see the module.

    Args:
        progress: the last that was committed. cursor: where reading begins, as the poller gave it; None takes the
            checkpoint's.
        on_change: called when `problem` or `result` has changed.

    `problem` is what keeps the shard from being read or the function from being invoked; `result` is what came of the
    last batch, as LastProcessingResult says it. Both are None when there is nothing to say.
    """

    def __init__(
        self,
        mapping: EventSourceMapping,
        shard: Shard,
        poller: ShardPoller,
        rooms: ShardRooms,
        progress: Progress,
        *,
        on_change: Callable[[], None],
    ) -> None:
        self.mapping = mapping
        self.shard = shard
        self.problem: str | None = None
        self.result: str | None = None
        self._poller = poller
        self._rooms = rooms
        self._clock = rooms.clock
        self._on_change = on_change
        self._matches = compile_stream_filters(mapping.filters, mapping.kind, loads=orjson.loads)
        self._machine = ShardMachine(policy_of(mapping), progress, matches=self._matches)
        self._machine.retention_s = shard.retention_s
        self._reads_at_once = isinstance(poller, EmbeddedPoller)
        """Is a read so short that nothing needs to run beside it?"""
        self._progress = progress
        self._cursor = progress.checkpoint or None
        self._group: TaskGroup
        self._timer: Timer | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._resting: asyncio.Future[None] | None = None
        self._is_woken = False
        self._has_rung = False
        self._is_stopping = False
        self._presence: AbstractContextManager[None] | None = None
        self._read_token: AbstractContextManager[None] | None = None
        self._last_error: str | None = None
        self._expired_unread_at: float | None = None

    # -- from outside

    async def run(self) -> bool:
        """Work until the shard is finished (True), or `stop` was called and what was running has ended (False)."""
        is_finished = False
        watching: AbstractContextManager[Bell | None] = nullcontext()
        if isinstance(self._poller, Announces):
            watching = self._poller.watch(self.shard)
        with watching as bell:
            try:
                async with anyio.create_task_group() as group:
                    self._group = group
                    if bell is not None:
                        group.start_soon(self._listen, bell)
                    self._enter()
                    is_finished = await self._drive()
                    group.cancel_scope.cancel()
            finally:
                self._leave()
                self._disarm()
                if self._read_token is not None:  # a read that was cancelled before it began
                    self._read_token.__exit__(None, None, None)
        return is_finished

    def stop(self) -> None:
        """Read and invoke nothing more; `run` returns once what is running has ended and is committed."""
        self._is_stopping = True
        self._machine.stop()
        self._wake()

    def hurry(self) -> None:
        """Try again now what waits for another attempt."""
        self._machine.hurry()
        self._wake()

    def refresh(self, shard: Shard) -> None:
        """Take in what the list of shards says of this one now."""
        self.shard = shard
        self._machine.retention_s = shard.retention_s

    @property
    def checkpoint(self) -> str | None:
        """Up to where everything is finished; None at the beginning."""
        return self._machine.checkpoint or None

    def describe(self) -> dict[str, Any]:
        """Return where the shard stands, what it waits for and why."""
        shown = self._machine.describe(now=self._clock.now())
        if self.problem is not None:
            shown["waiting_for"] = self.problem
        return {
            **shown,
            "problem": self.problem,
            "last_result": self.result,
            "last_error": self._last_error,
            "expired_unread_at": self._expired_unread_at,
        }

    # -- driving

    async def _drive(self) -> bool:
        machine, clock, start = self._machine, self._clock, self._group.start_soon
        while True:
            action = machine.next_action(now=clock.now())
            match action:
                case Invoke(batch):
                    start(self._invoke, batch, self._at_work())
                case Read(limit) if self._reads_at_once:
                    await self._read(limit, self._at_work())
                    if not machine.is_caught_up:
                        await asyncio.sleep(0)  # others first: there is more to read
                case Read(limit):
                    self._read_token = self._at_work()
                    start(self._read, limit, self._read_token)
                case Commit():
                    start(self._commit, action, self._at_work())
                case Wait(until):
                    if self._is_stopping and machine.is_idle:
                        return False
                    await self._rest(until)
                case Finished():
                    await self._finish()
                    return True

    def _at_work(self) -> AbstractContextManager[None]:
        """Mark work in progress on the clock, from now until the task that it is handed to lets it go."""
        token = self._clock.working()
        token.__enter__()
        return token

    def _done(self, token: AbstractContextManager[None]) -> None:
        self._wake()
        token.__exit__(None, None, None)

    async def _rest(self, until: float | None) -> None:
        """Return when something has ended, something was announced, or the moment has come."""
        if self._is_woken:
            self._is_woken = False
            return
        self._arm(until)
        self._resting = asyncio.get_running_loop().create_future()
        self._leave()
        try:
            await self._resting
        finally:
            self._resting = None
            self._is_woken = False

    def _wake(self) -> None:
        self._is_woken = True
        if self._resting is not None and not self._resting.done():
            self._enter()
            self._resting.set_result(None)

    def _enter(self) -> None:
        """Mark the driver at work on the clock."""
        if self._presence is None:
            self._presence = self._at_work()

    def _leave(self) -> None:
        if self._presence is not None:
            self._presence.__exit__(None, None, None)
            self._presence = None

    def _arm(self, until: float | None) -> None:
        if self._timer is not None:
            if self._timer.when == until:
                return
            self._timer.cancel()
            self._timer = None
        if until is not None:
            self._timer = self._clock.call_at(until, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._look_timer is not None:
            self._look_timer.cancel()

    async def _listen(self, bell: Bell) -> None:
        while True:
            await bell.wait()
            self._look_again()

    def _look_again(self) -> None:
        self._has_rung = True
        self._machine.announced()
        self._wake()

    # -- reading

    async def _read(self, limit: int, token: AbstractContextManager[None]) -> None:
        try:
            self._has_rung = False
            try:
                page = await self._poller.read(self.shard, after=self._cursor, limit=limit)
            except SourceUnavailable as error:
                self._note_problem(str(error))
                self._group.start_soon(self._read_again_after, error.retry_after_s)
                return
            self._note_problem(None)
            self._feed(page)
        finally:
            self._read_token = None
            self._done(token)

    async def _read_again_after(self, seconds: float) -> None:
        """Let the source rest, beside whatever else is going on, and then have it read again."""
        await self._clock.sleep_until(self._clock.now() + seconds)
        self._machine.not_read()
        self._wake()

    def _feed(self, page: Page) -> None:
        if page.has_gap:
            self._note_gap()
        records = page.records
        if records and not isinstance(records[0].body, Written):
            check_order(records, self.shard)
            records = [written(record) for record in records]
        self._cursor = page.cursor
        self._machine.feed(
            records,
            now=self._clock.now(),
            end_of_shard=page.end_of_shard,
            caught_up=page.is_caught_up,
        )
        if self._has_rung:
            self._machine.announced()  # while it was being read: there may be more by now
        elif page.is_caught_up and page.look_again_s is not None and not page.end_of_shard:
            if self._look_timer is not None:
                self._look_timer.cancel()
            self._look_timer = asyncio.get_running_loop().call_later(page.look_again_s, self._look_again)

    def _note_gap(self) -> None:
        """Say that records are gone which nobody has read."""
        self._expired_unread_at = self._clock.now()
        _LOG.warning(
            "record.expired_unread",
            mapping_id=self.mapping.id,
            source_arn=self.mapping.source_arn,
            shard_id=self.shard.id,
            after=self._cursor,
            reason="the source dropped records before they could be read",
        )
        self._note_result(RECORDS_EXPIRED)

    # -- invoking

    async def _invoke(self, batch: ShardBatch, token: AbstractContextManager[None]) -> None:
        try:
            mapping = self.mapping
            request_id = str(uuid.uuid4())
            invocation = Invocation(
                account_id=mapping.account_id,
                region=mapping.region,
                function_name=mapping.function_name,
                payload=event_of(batch, mapping, self.shard.id),
                request_id=request_id,
                invoked_arn=mapping.function_arn,
                qualifier=mapping.qualifier,
            )
            started = time.perf_counter()
            outcome = await self._rooms.invoker.invoke(invocation)
            duration_ms = (time.perf_counter() - started) * 1000
            done = self._machine.invoked(batch, outcome, now=self._clock.now(), request_id=request_id)
            if not (self._is_stopping and isinstance(outcome, ServiceFault)):  # the daemon ends it
                self._judge(batch, outcome, done)
            if self._rooms.observers:
                told = Batch(batch.number, batch.records, batch.attempt)
                failed = len(batch.records) - done
                report = BatchReport(mapping, told, outcome, request_id, duration_ms, done, failed, self.shard.id)
                for observer in self._rooms.observers:
                    observer(report)
        finally:
            self._done(token)

    def _judge(self, batch: ShardBatch, outcome: Outcome, done: int) -> None:
        """Note what came of a batch, for reports."""
        match outcome:
            case Succeeded() if done == len(batch.records):
                self._note_problem(None)
                self._note_result(PROCESSED)
                return
            case Succeeded():
                self._last_error = "the function reported failed items"
                result = CALL_FAILED
            case FunctionError():
                self._last_error = f"{outcome.error_type}: {outcome.error_message}"
                result = CALL_FAILED
            case Throttled():
                self._last_error = f"throttled: {outcome.reason}"
                result = f"PROBLEM: Function call was throttled: {outcome.reason}"
            case ServiceFault():
                self._last_error = f"{outcome.code}: {outcome.message}"
                result = f"PROBLEM: {self._last_error}"
        self._note_problem(self._last_error if isinstance(outcome, ServiceFault) else None)
        self._note_result(result)

    # -- committing

    async def _commit(self, action: Commit, token: AbstractContextManager[None]) -> None:
        try:
            undelivered = await self._write(partial(self._save, action=action), token)
            self._progress = action.progress
            self._machine.committed()
            for discard, error in zip(action.discards, undelivered, strict=True):
                self._tell_discard(discard, error)
        finally:
            self._done(token)

    def _save(self, tx: Tx, *, action: Commit) -> list[str | None]:
        """Keep the progress and hand over what is told of the discarded; return of each why it was not delivered."""
        tx.checkpoints.save(self.mapping.id, self.shard.checkpoint_key, action.progress)
        return [self._hand_over(tx, discard) for discard in action.discards]

    def _hand_over(self, tx: Tx, discard: Discard) -> str | None:
        """Deliver a failure record, where the mapping names a destination; return why it could not be."""
        if self.mapping.on_failure_arn is None:
            return None
        try:
            self._rooms.desk.deliver(tx, self.mapping.on_failure_arn, self._message_of(tx, discard))
        except Undeliverable as error:
            return str(error)
        return None

    def _message_of(self, tx: Tx, discard: Discard) -> Message:
        """Return the failure record: a pointer for a queue; with the records themselves, as an object, for a bucket."""
        mapping, shard_id, now = self.mapping, self.shard.id, tx.now
        request_id = discard.request_id or str(uuid.uuid4())
        if not mapping.tells_a_bucket:
            record = discard_record(mapping, shard_id, discard, now=now, request_id=request_id)
            return Message(orjson.dumps(record).decode())
        payload = orjson.Fragment(records_event(discard.records))
        record = discard_record(mapping, shard_id, discard, now=now, request_id=request_id, payload=payload)
        key = discard_key(mapping, shard_id, now=now, unique=str(uuid.uuid4()))
        return Message(orjson.dumps(record).decode(), object_key=key)

    def _tell_discard(self, discard: Discard, undelivered: str | None) -> None:
        """Log what was given up; with no destination, or one that refuses, the log is where it can be found."""
        ids = [record.id for record in discard.records] or [discard.position]
        _LOG.warning(
            "record.discarded",
            mapping_id=self.mapping.id,
            source_arn=self.mapping.source_arn,
            shard_id=self.shard.id,
            function=self.mapping.function_name,
            reason=discard.condition,
            batch_size=len(discard.records),
            first_sequence_number=ids[0],
            last_sequence_number=ids[-1],
            attempt=discard.invoke_count,
            request_id=discard.request_id,
            destination_arn=self.mapping.on_failure_arn,
        )
        if undelivered is not None:
            _LOG.error(
                "discard.undelivered",
                mapping_id=self.mapping.id,
                shard_id=self.shard.id,
                first_sequence_number=ids[0],
                last_sequence_number=ids[-1],
                destination_arn=self.mapping.on_failure_arn,
                error=undelivered,
            )
            self._last_error = f"the on-failure destination took no record: {undelivered}"

    async def _finish(self) -> None:
        """Keep that nothing of this shard is left; only then its children begin."""
        token = self._at_work()
        try:
            await self._write(self._save_finished, token)
        finally:
            token.__exit__(None, None, None)
        _LOG.info(
            "shard.finished",
            mapping_id=self.mapping.id,
            source_arn=self.mapping.source_arn,
            shard_id=self.shard.id,
            checkpoint=self._progress.checkpoint,
        )

    def _save_finished(self, tx: Tx) -> None:
        tx.checkpoints.save(self.mapping.id, self.shard.checkpoint_key, self._progress, is_finished=True)

    async def _write(self, unit: Callable[[Tx], T], token: AbstractContextManager[None]) -> T:
        """Commit a unit, again and again while the disk is full."""
        while True:
            try:
                return await commit(self._rooms.store, unit)
            except StoreFull as error:
                self._note_problem(f"The checkpoint cannot be kept: {error}")
                _LOG.warning("shard.commit_delayed", mapping_id=self.mapping.id, error=str(error))
                await self._sleep(DISK_RETRY_S, token)
                self._note_problem(None)

    async def _sleep(self, seconds: float, token: AbstractContextManager[None]) -> None:
        """Sleep on the clock, without holding up its `advance`."""
        token.__exit__(None, None, None)
        try:
            await self._clock.sleep_until(self._clock.now() + seconds)
        finally:
            token.__enter__()

    # -- reports

    def _note_problem(self, problem: str | None) -> None:
        if problem != self.problem:
            self.problem = problem
            self._on_change()

    def _note_result(self, result: str) -> None:
        if result != self.result:
            self.result = result
            self._on_change()
