"""The laws of QueueMachine, on virtual time against a small model of a queue: whatever the function does.

A hostile world plays the driver: invocations take any time and end in any way, commits come late, the mapping is
stopped or reconfigured in between.
"""

import heapq
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.core.batching import event_bytes
from eventrt.core.queue import Extend, Invoke, QueueMachine, QueuePolicy, Receive, Settle, Wait
from eventrt.core.records import Batch, FunctionError, Outcome, Record, ServiceFault, Succeeded, Throttled

LATEST = 100_000.0


@dataclass
class Message:
    number: int
    group: str
    size_bytes: int
    is_wanted: bool
    failures_left: int
    arrives_at: float
    invisible_until: float = 0.0
    receives: int = 0
    is_deleted: bool = False
    deliveries: int = 0


@dataclass
class World:
    """A queue, a function that fails as told, and the machine between them; asserts the laws as it goes."""

    policy: QueuePolicy
    messages: list[Message]
    chance: random.Random
    lease_s: float = 60.0
    slowest_s: float = 30.0
    throttles: float = 0.0
    faults: float = 0.0
    partial: float = 0.0
    names_whole_batches: bool = True
    losses: float = 0.0
    now: float = 0.0
    machine: QueueMachine = field(init=False)
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    order: "itertools.count[int]" = field(default_factory=itertools.count)
    running: dict[int, Batch] = field(default_factory=dict)
    leases: dict[int, tuple[Message, Record]] = field(default_factory=dict)
    ended: Counter[int] = field(default_factory=Counter)
    first_deliveries: dict[str, list[int]] = field(default_factory=dict)
    opened_at: dict[int, float] = field(default_factory=dict)
    batches: int = 0

    def __post_init__(self) -> None:
        self.machine = QueueMachine(self.policy)
        for message in self.messages:
            self.at(message.arrives_at, self.machine.rang)

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def run(self, *, until: Callable[[], bool]) -> None:
        turns = 0
        while not until():
            turns += 1
            assert turns < 30_000, "the machine does not come to rest"
            action = self.machine.next_action(now=self.now)
            match action:
                case Receive(limit):
                    self.receive(limit)
                case Invoke(batch):
                    self.invoke(batch)
                case Settle():
                    self.at(self.now + self.chance.choice((0.0, 0.01, 2.0)), lambda action=action: self.settle(action))
                case Extend(batch):
                    self.extend(batch)
                case Wait(moment):
                    moments = [moment] if moment is not None else []
                    moments += [self.events[0][0]] if self.events else []
                    assert moments, "the machine waits for ever with work left"
                    self.now = max(self.now, min(moments))
                    assert self.now < LATEST
            while self.events and self.events[0][0] <= self.now:
                heapq.heappop(self.events)[2]()

    # -- the queue

    def receive(self, limit: int) -> None:
        assert 1 <= limit <= self.policy.batch_size
        locked = {m.group for m in self.messages if not m.is_deleted and m.invisible_until > self.now and m.receives}
        records = []
        for message in self.messages:
            if len(records) == limit:
                break
            if message.is_deleted or message.arrives_at > self.now or message.invisible_until > self.now:
                if self.policy.keeps_order and not message.is_deleted and message.arrives_at <= self.now:
                    locked.add(message.group)
                continue
            if self.policy.keeps_order and message.group in locked:
                continue
            message.receives += 1
            message.invisible_until = self.now + self.lease_s
            delivery = len(self.leases)
            record = Record(
                str(message.number),
                {"body": "yes" if message.is_wanted else "no"},
                0.0,
                message.size_bytes,
                message.group if self.policy.keeps_order else "",
                delivery,
                message.receives > 1,
            )
            self.leases[delivery] = (message, record)
            self.opened_at[delivery] = self.now
            records.append(record)
        pending = [m for m in self.messages if not m.is_deleted]
        future = [
            max(m.invisible_until, m.arrives_at) for m in pending if max(m.invisible_until, m.arrives_at) > self.now
        ]
        self.machine.feed(
            records,
            now=self.now,
            leased_until=self.now + self.lease_s,
            is_dry=len(records) < limit,
            next_visible_at=min(future, default=None),
        )

    def settle(self, settle: Settle) -> None:
        for record in settle.done:
            self.end(record)
            self.leases[record.receipt][0].is_deleted = True
        for record in settle.failed:
            self.end(record)
        for record in settle.released:
            self.end(record)
            self.leases[record.receipt][0].invisible_until = self.now
        self.machine.settled(settle)
        self.machine.rang()

    def end(self, record: Record) -> None:
        self.ended[record.receipt] += 1
        assert self.ended[record.receipt] == 1, "a record ended twice"

    def extend(self, batch: Batch) -> None:
        if self.chance.random() < self.losses:
            self.machine.lost(batch)
            return
        for record in batch.records:
            self.leases[record.receipt][0].invisible_until = self.now + self.lease_s
        self.machine.extended(batch, leased_until=self.now + self.lease_s, now=self.now)

    # -- the function

    def invoke(self, batch: Batch) -> None:
        assert batch.records
        assert len(batch.records) <= self.policy.batch_size
        assert event_bytes(batch.records) <= self.policy.payload_limit_bytes or len(batch.records) == 1
        assert batch.number not in self.running
        self.running[batch.number] = batch
        assert len(self.running) <= self.policy.most_concurrency, "more at once than allowed"
        for record in batch.records:
            message, _ = self.leases[record.receipt]
            assert self.ended[record.receipt] == 0, "a record that had ended was delivered"
            assert message.invisible_until > self.now, "delivered without a lease"
            assert message.is_wanted or self.policy.passes is None
            message.deliveries += 1
        if self.policy.keeps_order:
            self.check_order(batch)
        latency = self.chance.random() * self.slowest_s
        self.at(self.now + latency, lambda: self.answer(batch))
        if batch.attempt == 1 and self.policy.batching_window_s:
            first = min(self.opened_at[record.receipt] for record in batch.records)
            self.batches += 1
            is_full = (
                len(batch.records) == self.policy.batch_size
                or event_bytes(batch.records) + 1 + 1000 > self.policy.payload_limit_bytes
            )
            assert is_full or self.now >= first + self.policy.batching_window_s, "closed before its window"

    def check_order(self, batch: Batch) -> None:
        keys = {record.key for record in batch.records}
        for other in self.running.values():
            if other is not batch:
                assert not keys & {record.key for record in other.records}, "two batches of a group in flight"
        for record in batch.records:
            message = self.leases[record.receipt][0]
            group = [m for m in self.messages if m.group == message.group and m.is_wanted]
            ahead = [m for m in group if m.number < message.number and not m.is_deleted]
            in_batch = {self.leases[r.receipt][0].number for r in batch.records}
            assert all(m.number in in_batch for m in ahead), "a record overtook its group"
        assert len(keys) == 1 or not any(record.comes_again for record in batch.records), (
            "a group's failure was another's"
        )
        numbers = [self.leases[r.receipt][0].number for r in batch.records]
        assert numbers == sorted(numbers)

    def answer(self, batch: Batch) -> None:
        del self.running[batch.number]
        if batch.attempt == 1:  # further attempts are made to the end of the lease, as on AWS
            assert all(self.leases[record.receipt][0].invisible_until > self.now for record in batch.records), (
                "a lease ended while the function ran, though it is twice as long as the function needs"
            )
        self.machine.invoked(batch, self.outcome(batch), now=self.now, chance=self.chance.random())

    def outcome(self, batch: Batch) -> Outcome:
        draw = self.chance.random()
        if draw < self.throttles:
            return Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        if draw < self.throttles + self.faults:
            return ServiceFault("ServiceException", "no environment", self.chance.choice((500, 502, 413)))
        messages = [self.leases[record.receipt][0] for record in batch.records]
        failing = [message for message in messages if message.failures_left > 0]
        if not failing:
            return Succeeded(self.chance.choice((b"null", b"{}", b'{"batchItemFailures": []}')))
        if self.policy.reports_failures and self.chance.random() < self.partial:
            listed = [
                m for m in messages if m.failures_left > 0 or (self.policy.keeps_order and self.follows(m, failing))
            ]
            for message in failing:
                message.failures_left -= 1
            return Succeeded(
                json.dumps({"batchItemFailures": [{"itemIdentifier": str(m.number)} for m in listed]}).encode()
            )
        for message in failing:
            message.failures_left -= 1
        return FunctionError(b"{}", "Error", "no")

    def follows(self, message: Message, failing: list[Message]) -> bool:
        """Does a function that keeps the order name this one, too? Some stop at the first failure of all."""
        return any(m.number < message.number for m in failing if self.names_whole_batches or m.group == message.group)

    def all_done(self) -> bool:
        return all(message.is_deleted for message in self.messages)


@st.composite
def worlds(draw: st.DrawFn, *, keeps_order: bool) -> World:
    window_s = 0.0 if keeps_order else draw(st.sampled_from((0.0, 0.0, 1.0, 20.0)))
    batch_size = draw(st.integers(1, 10) if not window_s else st.integers(1, 40))
    count = draw(st.integers(0, 60))
    groups = draw(st.integers(1, 6))
    chance = random.Random(draw(st.integers(0, 2**32)))
    limit = draw(st.sampled_from((1_500, 5_000, 6_291_456)))
    late = draw(st.sampled_from((0.0, 3.0, 100.0)))
    poison = draw(st.sampled_from((0.0, 0.1, 0.5)))
    filtered = draw(st.booleans())
    arrivals = sorted(chance.random() * late for _ in range(count))
    messages = [
        Message(
            number,
            f"g{chance.randrange(groups)}",
            chance.randrange(100, 1000),
            is_wanted=not filtered or chance.random() < 0.7,
            failures_left=chance.randrange(1, 4) if chance.random() < poison else 0,
            arrives_at=arrivals[number],
        )
        for number in range(count)
    ]
    return World(
        QueuePolicy(
            batch_size=batch_size,
            batching_window_s=window_s,
            reports_failures=draw(st.booleans()),
            keeps_order=keeps_order,
            passes=(lambda body: body["body"] == "yes") if filtered else None,
            first_concurrency=draw(st.sampled_from((1, 5))),
            most_concurrency=draw(st.integers(2, 12)),
            payload_limit_bytes=limit,
        ),
        messages,
        chance,
        lease_s=draw(st.sampled_from((70.0, 200.0))),
        slowest_s=draw(st.sampled_from((0.01, 5.0, 30.0))),
        throttles=draw(st.sampled_from((0.0, 0.0, 0.3))),
        faults=draw(st.sampled_from((0.0, 0.0, 0.1))),
        partial=draw(st.sampled_from((0.0, 0.5, 1.0))),
        names_whole_batches=draw(st.booleans()),
        losses=draw(st.sampled_from((0.0, 0.0, 0.5))),
    )


@given(worlds(keeps_order=False))
@settings(max_examples=500, deadline=None)
def test_every_message_of_a_standard_queue_is_done_in_the_end_and_each_delivery_ends_once(world: World) -> None:
    world.run(until=world.all_done)
    assert all(count == 1 for count in world.ended.values())


@given(worlds(keeps_order=True))
@settings(max_examples=500, deadline=None)
def test_groups_keep_their_order_with_one_batch_in_flight_each_whatever_fails(world: World) -> None:
    world.run(until=world.all_done)
    assert all(count == 1 for count in world.ended.values())


@given(worlds(keeps_order=True))
@settings(max_examples=300, deadline=None)
def test_a_group_that_never_fails_suffers_from_others_failures_once_at_the_most(world: World) -> None:
    world.throttles = world.faults = 0.0
    world.names_whole_batches = False
    failing = {message.group for message in world.messages if message.failures_left}
    world.run(until=world.all_done)
    for message in world.messages:
        if message.is_wanted and message.group not in failing:
            assert message.deliveries <= 2


@given(worlds(keeps_order=True), st.integers(0, 2))
@settings(max_examples=200, deadline=None)
def test_a_group_that_fails_for_ever_holds_up_nobody_else(world: World, poisoned: int) -> None:
    for message in world.messages:
        if message.group == f"g{poisoned}":
            message.failures_left = 10**9
    world.run(until=lambda: all(m.is_deleted for m in world.messages if m.group != f"g{poisoned}"))


@given(st.booleans().flatmap(lambda ordered: worlds(keeps_order=ordered)), st.floats(0, 60))
@settings(max_examples=300, deadline=None)
def test_a_stopped_machine_gives_everything_back_and_ends(world: World, stop_at: float) -> None:
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        world.machine.stop()

    world.at(stop_at, stop)
    world.run(until=lambda: stopped and world.machine.is_finished)
    assert all(world.ended[delivery] == 1 for delivery in world.leases), "a lease was forgotten"
    assert not world.running


@given(st.booleans().flatmap(lambda ordered: worlds(keeps_order=ordered)), st.floats(0, 60), st.floats(0, 30))
@settings(max_examples=200, deadline=None)
def test_a_machine_that_was_stopped_and_resumed_still_does_all_of_it(
    world: World, stop_at: float, pause_s: float
) -> None:
    world.at(stop_at, world.machine.stop)
    world.at(stop_at + pause_s, world.machine.resume)
    world.run(until=lambda: world.all_done() and world.now >= stop_at + pause_s)


@given(worlds(keeps_order=False), st.integers(1, 10), st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_a_smaller_concurrency_and_batch_hold_for_what_starts_after_the_change(
    world: World, batch_size: int, most: int
) -> None:
    policy = QueuePolicy(batch_size=batch_size, most_concurrency=most, passes=world.policy.passes)

    def change() -> None:
        world.machine.reconfigure(policy)

    world.at(5.0, change)
    largest = max(world.policy.most_concurrency, most)
    world.policy = QueuePolicy(batch_size=50, most_concurrency=largest, passes=world.policy.passes)
    world.run(until=world.all_done)


def test_what_waits_behind_a_large_batch_of_its_group_keeps_its_lease() -> None:
    chance = random.Random(0)
    chance.random = lambda: 0.9  # type: ignore[method-assign]
    messages = [Message(number, "g0", 1000, is_wanted=True, failures_left=0, arrives_at=0.0) for number in range(8)]
    world = World(
        QueuePolicy(batch_size=10, keeps_order=True, payload_limit_bytes=1500),
        messages,
        chance,
        lease_s=70.0,
        slowest_s=30.0,
    )
    world.run(until=world.all_done)
    assert [message.deliveries for message in messages] == [1] * 8
    assert [message.receives for message in messages] == [1] * 8


@pytest.mark.parametrize(
    "outcome",
    [
        FunctionError(b"{}", "Error", "no"),
        Succeeded(b'{"batchItemFailures": [{"itemIdentifier": "nobody"}]}'),
        ServiceFault("RequestTooLargeException", "too large", 413),
    ],
    ids=["it raised", "its answer is malformed", "the event is not taken"],
)
def test_groups_that_failed_as_one_come_again_at_once_and_apart(outcome: Outcome) -> None:
    machine = QueueMachine(QueuePolicy(keeps_order=True, reports_failures=True))

    def next_batch(*, comes_again: bool) -> Batch:
        assert isinstance(machine.next_action(now=0.0), Receive)
        records = [Record(key, {}, 0.0, 10, key, None, comes_again) for key in "ab"]
        machine.feed(records, now=0.0, leased_until=60.0)
        action = machine.next_action(now=0.0)
        assert isinstance(action, Invoke)
        return action.batch

    batch = next_batch(comes_again=False)
    machine.invoked(batch, outcome, now=0.0)
    settle = machine.next_action(now=0.0)
    assert isinstance(settle, Settle)
    assert settle.released == batch.records
    machine.settled(settle)

    batch = next_batch(comes_again=True)
    assert [record.key for record in batch.records] == ["a"]
    machine.invoked(batch, outcome, now=0.0)
    settle = machine.next_action(now=0.0)
    assert isinstance(settle, Settle)
    assert settle.failed == batch.records  # alone, it waits for its lease to end
