"""QueueMachine: what one mapping of a queue does next, decided without I/O, clock or chance of its own.

It filters what was received, batches it (by count, window and payload size), keeps the groups of a FIFO queue in
order with one batch of a group in flight (a batch may hold several groups, see `_feed_groups`), reads the function's
answer, retries what found no room, and says how many batches may run at once. The driver (`pollers.runner`) asks
`next_action`, does it, and tells what came of it; several tasks may drive one machine, since an action that was handed
out is not handed out again.

The queue keeps the retries: a failed message comes back when its lease ends. So a machine remembers nothing that
matters, and none of it has to survive a restart.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from eventrt.core.backoff import delay_s
from eventrt.core.batching import PAYLOAD_LIMIT_BYTES, OpenBatch, event_bytes
from eventrt.core.partial import WHOLE_BATCH, failed_ids
from eventrt.core.records import Batch, FunctionError, Outcome, Record, ServiceFault, Succeeded, Throttled
from eventrt.core.scaling import FIRST_CONCURRENCY, MOST_CONCURRENCY, ConcurrencyWindow

SLOW_BATCH_S: Final = 0.02
"""More slots help when batches hold theirs for so long; quicker ones are bound by the processor, not by slots."""

RECEIVE_LIMIT: Final = 100
"""Records asked for at once at most, so that one large batch does not hold up other mappings."""


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What a mapping's settings mean for its machine.

    Args:
        batch_size, batching_window_s, reports_failures: as the mapping has them.
        keeps_order: records of one `key` keep their order (FIFO queues).
        passes: the filters; None lets everything pass.
        first_concurrency, most_concurrency: batches at once, to begin with and at most.
        payload_limit_bytes: no event is larger.
    """

    batch_size: int = 10
    batching_window_s: float = 0.0
    reports_failures: bool = False
    keeps_order: bool = False
    passes: Callable[[Mapping[str, Any]], bool] | None = None
    first_concurrency: int = FIRST_CONCURRENCY
    most_concurrency: int = MOST_CONCURRENCY
    payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES


@dataclass(frozen=True, slots=True)
class Receive:
    """Lease up to `limit` records and `feed` them (or none)."""

    limit: int


@dataclass(frozen=True, slots=True)
class Invoke:
    """Give the batch to the function and tell what came of it: `invoked`."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Extend:
    """Lease the batch's records anew, since it still waits for its turn: `extended`, or `lost`."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Settle:
    """Take `done` off the queue and end the leases of `released`, in one commit; then `settled`.

    `failed` stay invisible until their leases end. `batch` and `outcome` say what it is the end of; both are None
    for records that never reached the function.
    """

    done: tuple[Record, ...] = ()
    failed: tuple[Record, ...] = ()
    released: tuple[Record, ...] = ()
    batch: Batch | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do until something happens, or until a moment comes (None: no moment)."""

    until: float | None


Action: TypeAlias = Receive | Invoke | Extend | Settle | Wait


_NO_KEYS: Final[frozenset[str]] = frozenset()


class _Flight:
    """A batch on its way: waiting for a slot, running, or waiting for another attempt."""

    __slots__ = ("batch", "extend_at", "keys", "lease_s", "leased_until", "retry_at", "started_at")

    def __init__(self, batch: Batch, keys: frozenset[str], leased_until: float, lease_s: float) -> None:
        self.batch = batch
        self.keys = keys
        self.retry_at = 0.0
        self.started_at = 0.0
        self.lease(leased_until, lease_s)

    def lease(self, until: float, lease_s: float) -> None:
        self.leased_until = until
        self.lease_s = lease_s
        self.extend_at = until - lease_s / 2


class QueueMachine:
    """The decisions of one mapping over one queue; see the module."""

    def __init__(self, policy: QueuePolicy) -> None:
        self.policy = policy
        self.window = ConcurrencyWindow(policy.first_concurrency, policy.most_concurrency)
        self._open = OpenBatch(policy.batch_size, policy.batching_window_s, policy.payload_limit_bytes)
        self._open_until = 0.0
        self._open_lease_s = 0.0
        self._ready: deque[_Flight] = deque()
        self._running: dict[int, _Flight] = {}
        self._extending: dict[int, _Flight] = {}
        self._retrying: list[_Flight] = []
        self._settles: deque[Settle] = deque()
        self._settling = 0
        self._busy: set[str] = set()
        """Groups with a batch on its way."""
        self._behind: deque[_Flight] = deque()
        """Batches that wait for one of their groups, in the order of the queue."""
        self._batches = 0
        self._typical_s = SLOW_BATCH_S
        self._counts = {"received": 0, "filtered": 0, "done": 0, "failed": 0}
        self._receiving = False
        self._dry = False
        self._dry_until: float | None = None
        self._holds = False
        self._stopped = False

    # -- what the driver tells

    def feed(
        self,
        records: Sequence[Record],
        *,
        now: float,
        leased_until: float,
        is_dry: bool = False,
        next_visible_at: float | None = None,
    ) -> None:
        """Take in what a `Receive` gave: nothing, or records leased until a moment.

        Args:
            is_dry: there is nothing more for now; true also when there are no records.
            next_visible_at: when a dry queue may have something by itself; None if only a wake-up can tell.
        """
        self._receiving = False
        self._dry = is_dry or not records
        self._dry_until = next_visible_at if self._dry else None
        if not records:
            return
        self._counts["received"] += len(records)
        passes = self.policy.passes
        if passes is not None:
            kept = [record for record in records if passes(record.body)]
            if len(kept) < len(records):
                kept_ids = {id(record) for record in kept}
                dropped = tuple([record for record in records if id(record) not in kept_ids])
                self._counts["filtered"] += len(dropped)
                self._settles.append(Settle(done=dropped))
                records = kept
        if self._stopped:
            if records:
                self._settles.append(Settle(released=tuple(records)))
        elif self.policy.keeps_order:
            self._feed_groups(records, leased_until, leased_until - now)
        else:
            self._collect(records, now, leased_until)

    def not_received(self) -> None:
        """A `Receive` came to nothing: the source could not be asked."""
        self._receiving = False

    def rang(self) -> None:
        """The source may have something now."""
        self._dry = False
        self._dry_until = None

    def invoked(self, batch: Batch, outcome: Outcome, *, now: float, chance: float = 0.5) -> None:
        """Take in what came of an `Invoke`.

        Args: chance: a random number in [0, 1), for the wait before another attempt.
        """
        flight = self._running.pop(batch.number)
        self._typical_s += 0.1 * (now - flight.started_at - self._typical_s)
        failed = self._judge(batch, outcome) if isinstance(outcome, Succeeded) else WHOLE_BATCH
        if failed is not None:  # that is, not WHOLE_BATCH
            self._finish(flight, failed, outcome)
        elif isinstance(outcome, Succeeded | FunctionError):
            self._finish(flight, batch.records, outcome, release=len(flight.keys) > 1)
        else:
            if isinstance(outcome, Throttled):
                self.window.throttle(now, running=len(self._running))
            elif outcome.status < 500:
                # the function is not there, or will never take this event: trying again helps nobody
                self._finish(flight, batch.records, outcome, release=outcome.status == 404 or len(flight.keys) > 1)
                return
            self._retry(flight, outcome, now, chance)

    def settled(self, settle: Settle) -> None:
        """A `Settle` is committed; its groups may go on."""
        self._settling -= 1
        if settle.batch is not None:
            self._counts["done"] += len(settle.done)
            self._counts["failed"] += len(settle.batch.records) - len(settle.done)
        if self.policy.keeps_order or self._busy:
            if settle.batch is not None:
                self._free_groups(settle)
            if settle.done or settle.released:
                self.rang()  # the queue had locked their groups

    def extended(self, batch: Batch, *, leased_until: float, now: float) -> None:
        """An `Extend` is done: the batch may wait for so much longer."""
        flight = self._extending.pop(batch.number, None)
        if flight is not None:
            flight.lease(leased_until, leased_until - now)

    def is_extending(self, batch: Batch) -> bool:
        """Does the batch still wait for its turn, and for its `Extend`? It may have begun meanwhile."""
        return batch.number in self._extending

    def lost(self, batch: Batch) -> None:
        """The leases of a batch that waits for its turn are no longer ours; its records come again."""
        flight = self._extending.pop(batch.number, None)
        if flight is None:
            return
        if flight in self._ready:
            self._ready.remove(flight)
            self._finish(flight, batch.records, None)
        elif flight in self._behind:
            self._lose_behind([flight])

    def reconfigure(self, policy: QueuePolicy) -> None:
        """Go on under another policy; batches that are closed stay as they are."""
        self.policy = policy
        self.window.rebound(policy.first_concurrency, policy.most_concurrency)
        self._open.size = policy.batch_size
        self._open.window_s = policy.batching_window_s
        self._open.limit_bytes = policy.payload_limit_bytes

    def hold(self) -> None:
        """Receive nothing until `release_hold`: the function or the queue is not there."""
        self._holds = True

    def release_hold(self) -> None:
        """Receive again after `hold`; what was stopped stays stopped."""
        self._holds = False
        self.rang()

    def resume(self) -> None:
        """Go on after `stop`."""
        self._stopped = False
        self.rang()

    def stop(self) -> None:
        """Receive nothing more and give back what has not reached the function; running batches end as they do."""
        self._stopped = True
        released = list(self._open.take())
        for flight in (*self._ready, *self._retrying, *self._behind):
            released.extend(flight.batch.records)
        self._ready.clear()
        self._retrying.clear()
        self._behind.clear()
        self._busy = {key for flight in self._running.values() for key in flight.keys}
        self._extending.clear()
        if released:
            self._settles.append(Settle(released=tuple(released)))

    # -- what the driver asks

    def next_action(self, *, now: float) -> Action:
        """Return what to do next; anything but `Wait` is then under way and has to be answered for."""
        if self._settles:
            self._settling += 1
            return self._settles.popleft()
        if self._dry_until is not None and now >= self._dry_until:
            self.rang()
        if self._retrying and (again := self._due_retry(now)) is not None:
            return again
        if self._open.records and (self._open.is_ready(now=now) or now >= self._open_until):
            self._close(self._open.take(), self._open_until, self._open_lease_s)
        if self._ready or self._retrying or self._behind:
            self._drop_expired(now)
            if self._settles:
                return self.next_action(now=now)
        pressed = self._is_full() and now >= self._slow_at()
        if pressed:
            self.window.press(now)
        if self._ready and self._has_slot():
            return self._start(self._ready.popleft(), now)
        if self._ready or self._behind:
            for flight in (*self._ready, *self._behind):
                if now >= flight.extend_at and flight.batch.number not in self._extending:
                    self._extending[flight.batch.number] = flight
                    return Extend(flight.batch)
        if self.wants_records():
            self._receiving = True
            return Receive(min(self.policy.batch_size - len(self._open.records), RECEIVE_LIMIT))
        if not pressed:
            self.window.relax(now)
        return Wait(self.next_moment(now=now))

    def wants_records(self) -> bool:
        """Would a `Receive` be asked for now?"""
        return not (
            self._receiving
            or self._dry
            or self._holds
            or self._stopped
            or len(self._running) + len(self._retrying) + len(self._ready) >= self.window.size
        )

    def may_act(self) -> bool:
        """Is there something that another task could do while this one is busy?"""
        return bool(self._settles) or bool(self._ready and self._has_slot()) or self.wants_records()

    def next_moment(self, *, now: float) -> float | None:
        """Return when time alone will give something to do; None if it will not."""
        moments: list[float] = []
        if self._dry_until is not None and not self._holds and not self._stopped:
            moments.append(self._dry_until)
        if (closes_at := self._open.closes_at) is not None:
            moments.append(min(closes_at, self._open_until))
        if self._retrying:
            if len(self._running) < self.window.size:
                moments.append(min(flight.retry_at for flight in self._retrying))
            moments.append(min(flight.leased_until for flight in self._retrying))
        moments.extend(
            min(flight.extend_at, flight.leased_until)
            if flight.batch.number not in self._extending
            else flight.leased_until
            for flight in (*self._ready, *self._behind)
        )
        if self._is_full() and (grows_at := self.window.grows_at(now)) is not None:
            moments.append(grows_at if now >= (slow_at := self._slow_at()) else slow_at)
        return min(moments, default=None)

    @property
    def is_idle(self) -> bool:
        """Is nothing of the queue in its hands?"""
        return not (
            self._running
            or self._ready
            or self._retrying
            or self._settles
            or self._settling
            or self._receiving
            or self._open.records
        )

    @property
    def is_stopped(self) -> bool:
        """Was it told to stop?"""
        return self._stopped

    @property
    def is_finished(self) -> bool:
        """Was it stopped, and has everything come to its end?"""
        return self._stopped and self.is_idle

    def describe(self) -> dict[str, Any]:
        """Return where its records stand, in counts."""
        return {
            **self._counts,
            "in_flight_batches": len(self._running),
            "in_flight_records": sum(len(flight.batch.records) for flight in self._running.values()),
            "waiting_for_retry": len(self._retrying),
            "ready_batches": len(self._ready),
            "collected_records": len(self._open.records),
            "blocked_groups": len({key for flight in self._behind for key in flight.keys}),
            "concurrency": self.window.size,
            "concurrency_limit": self.window.most,
            "receives": not (self._holds or self._stopped),
            "source_is_dry": self._dry,
        }

    # -- batching

    def _collect(self, records: Sequence[Record], now: float, leased_until: float) -> None:
        """Add records to the open batch, closing it whenever it is full."""
        collecting = self._open
        lease_s = leased_until - now
        if (  # the usual case: what came is a batch
            not collecting.window_s
            and not collecting.records
            and 0 < len(records) <= collecting.size
            and event_bytes(records) <= collecting.limit_bytes
        ):
            self._close(tuple(records), leased_until, lease_s)
            return
        for record in records:
            if not collecting.fits(record):
                self._close(collecting.take(), self._open_until, self._open_lease_s)
            if not collecting.records:
                self._open_until, self._open_lease_s = leased_until, lease_s
            collecting.add(record, now=now)
        if collecting.is_ready(now=now):
            self._close(collecting.take(), self._open_until, self._open_lease_s)

    def _close(self, records: tuple[Record, ...], leased_until: float, lease_s: float) -> None:
        self._batches += 1
        self._ready.append(_Flight(Batch(self._batches, records), _NO_KEYS, leased_until, lease_s))

    def _feed_groups(self, records: Sequence[Record], leased_until: float, lease_s: float) -> None:
        """Make batches that keep each group's order: of several groups, as on AWS, but for those that come again.

        What a failing record takes along is delivered once more by itself: a group that has been delivered before
        goes without others, so that one group's failure is no longer another's.
        """
        policy = self.policy
        again = {record.key for record in records if record.comes_again}
        mixed = OpenBatch(policy.batch_size, 0.0, policy.payload_limit_bytes)
        alone: dict[str, OpenBatch] = {}
        for record in records:
            collecting = mixed
            if record.key in again:
                found = alone.get(record.key)
                if found is None:
                    found = alone[record.key] = OpenBatch(policy.batch_size, 0.0, policy.payload_limit_bytes)
                collecting = found
            if not collecting.fits(record):
                self._close_ordered(collecting.take(), leased_until, lease_s)
            collecting.add(record, now=0.0)
        for collecting in (mixed, *alone.values()):
            if collecting.records:
                self._close_ordered(collecting.take(), leased_until, lease_s)

    def _close_ordered(self, records: tuple[Record, ...], leased_until: float, lease_s: float) -> None:
        """Make a batch ready, or have it wait behind those that hold records of its groups."""
        self._batches += 1
        keys = frozenset([record.key for record in records])
        flight = _Flight(Batch(self._batches, records), keys, leased_until, lease_s)
        if keys.isdisjoint(self._busy) and all(keys.isdisjoint(other.keys) for other in self._behind):
            self._busy |= keys
            self._ready.append(flight)
        else:
            self._behind.append(flight)

    def _free_groups(self, settle: Settle) -> None:
        """Let groups go on after a batch of theirs ended; what was behind a failed record goes back to the queue."""
        assert settle.batch is not None
        self._busy.difference_update([record.key for record in settle.batch.records])
        if self._behind:
            self._pass_on({record.key for records in (settle.failed, settle.released) for record in records})

    def _lose_behind(self, flights: Sequence[_Flight]) -> None:
        """Give up batches whose records come again, with those behind them, which must not overtake."""
        for flight in flights:
            self._behind.remove(flight)
            self._extending.pop(flight.batch.number, None)
            self._settles.append(Settle(failed=flight.batch.records))
        self._pass_on({key for flight in flights for key in flight.keys})

    def _pass_on(self, failed: set[str]) -> None:
        """Let what waits behind others go on, or back to the queue when it is of groups that failed."""
        released: list[Record] = []
        behind, self._behind = self._behind, deque()
        taken = set(self._busy)
        for flight in behind:
            if not failed.isdisjoint(flight.keys):
                failed |= flight.keys  # what is behind this one must not overtake it
                released.extend(flight.batch.records)
            elif flight.keys.isdisjoint(taken):
                self._busy |= flight.keys
                self._ready.append(flight)
            else:
                self._behind.append(flight)
            taken |= flight.keys
        if released:
            self._settles.append(Settle(released=tuple(released)))

    # -- flights

    def _has_slot(self) -> bool:
        return len(self._running) + len(self._retrying) < self.window.size

    def _is_full(self) -> bool:
        """Is every slot taken while there is, or may be, more to run?"""
        if len(self._running) + len(self._retrying) + len(self._ready) < self.window.size:
            return False
        return bool(self._ready) or not (self._dry or self._holds or self._stopped)

    def _slow_at(self) -> float:
        """Return the moment from which another slot would help: when slots are held for long, or were of late."""
        if self._typical_s >= SLOW_BATCH_S or not self._running:
            return float("-inf")
        return next(iter(self._running.values())).started_at + SLOW_BATCH_S

    def _start(self, flight: _Flight, now: float) -> Invoke:
        self._running[flight.batch.number] = flight
        if self._extending:
            self._extending.pop(flight.batch.number, None)
        flight.started_at = now
        if self._is_full():
            if now >= self._slow_at():
                self.window.press(now)
            else:
                self.window.ease()
        return Invoke(flight.batch)

    def _due_retry(self, now: float) -> Invoke | None:
        if len(self._running) >= self.window.size:
            return None
        for position, flight in enumerate(self._retrying):
            if flight.retry_at <= now < flight.leased_until:
                del self._retrying[position]
                flight.batch = replace(flight.batch, attempt=flight.batch.attempt + 1)
                return self._start(flight, now)
        return None

    def _drop_expired(self, now: float) -> None:
        """Give up batches whose leases ended before their turn came; their records are on the queue again."""
        for flight in [flight for flight in self._ready if flight.leased_until <= now]:
            self._ready.remove(flight)
            self._extending.pop(flight.batch.number, None)
            self._finish(flight, flight.batch.records, None)
        for flight in [flight for flight in self._retrying if flight.leased_until <= now]:
            self._retrying.remove(flight)
            self._finish(flight, flight.batch.records, None)
        if expired := [flight for flight in self._behind if flight.leased_until <= now]:
            self._lose_behind(expired)

    def _retry(self, flight: _Flight, outcome: Throttled | ServiceFault, now: float, chance: float) -> None:
        """Try again later, or give up when the lease ends before that."""
        retry_at = now + delay_s(flight.batch.attempt, chance)
        if self._stopped:
            self._finish(flight, flight.batch.records, outcome, release=True)
        elif retry_at < flight.leased_until:
            flight.retry_at = retry_at
            self._retrying.append(flight)
        else:
            self._finish(flight, flight.batch.records, outcome)

    def _judge(self, batch: Batch, outcome: Succeeded) -> tuple[Record, ...] | None:
        """Return the records that failed although the function answered, or `WHOLE_BATCH`."""
        if not self.policy.reports_failures:
            return ()
        if outcome.payload == b"null":
            return ()
        failed = failed_ids(outcome.payload, {record.id for record in batch.records})
        if failed is WHOLE_BATCH:
            return WHOLE_BATCH
        return tuple([record for record in batch.records if record.id in failed]) if failed else ()

    def _finish(
        self,
        flight: _Flight,
        failed: tuple[Record, ...],
        outcome: Outcome | None,
        *,
        release: bool = False,
    ) -> None:
        records = flight.batch.records
        if not failed:
            settle = Settle(done=records, batch=flight.batch, outcome=outcome)
        elif release:
            settle = Settle(released=records, batch=flight.batch, outcome=outcome)
        elif len(failed) == len(records):
            settle = Settle(failed=records, batch=flight.batch, outcome=outcome)
        else:
            failed_set = {record.id for record in failed}
            done = tuple([record for record in records if record.id not in failed_set])
            settle = Settle(done=done, failed=failed, batch=flight.batch, outcome=outcome)
        self._settles.append(settle)
