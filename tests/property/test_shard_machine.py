"""The laws of a shard: every record ends exactly once, a key keeps its order, a checkpoint passes nothing unfinished.

A driver on virtual time runs the machine over random records, poison, partial answers, throttles, lanes, filters and
restarts (a restart forgets the machine and begins again from the last committed progress).
"""

import json
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from eventrt.core.records import FunctionError, Outcome, Record, Succeeded, Throttled
from eventrt.core.shard import ShardMachine, lane_of, sequence_key
from eventrt.core.shard_values import (
    Commit,
    Discard,
    Finished,
    Invoke,
    Progress,
    Read,
    ShardBatch,
    ShardPolicy,
    Wait,
)

SEEDS = 1500
OK = Succeeded(b"null")
ERROR = FunctionError(b"{}", "ValueError", "poison")


@dataclass
class World:
    """A shard's records, a function that fails on poison, and everything that happened."""

    records: list[Record]
    policy: ShardPolicy
    poison: set[str]
    chance: random.Random
    throttles: float = 0.0
    filtered: set[str] = field(default_factory=set)
    now: float = 1_000_000.0
    seen: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    discards: list[Discard] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    in_flight: list[tuple[ShardBatch, float]] = field(default_factory=list)
    peak_in_flight: int = 0

    def answer(self, batch: ShardBatch) -> Outcome:
        if self.chance.random() < self.throttles:
            return Throttled("ReservedFunctionConcurrentInvocationLimitExceeded")
        bad = [record.id for record in batch.records if record.id in self.poison]
        if bad and self.policy.reports_item_failures:
            reported = [{"itemIdentifier": identifier} for identifier in bad]
            return Succeeded(json.dumps({"batchItemFailures": reported}).encode())
        return ERROR if bad else OK

    def committed(self) -> set[str]:
        """Everything that the last committed progress says is finished."""
        finished = set()
        for record in self.records:
            at = sequence_key(record.id)
            lanes = [layer[lane_of(record.key, len(layer))] for layer in self.progress.layers]
            if any(at <= sequence_key(position) for position in [self.progress.checkpoint, *lanes]):
                finished.add(record.id)
        return finished

    def run(self, *, kill_after: int | None = None) -> bool:
        """Drive one life of the machine; True when the shard was finished, False when it was killed."""
        machine = ShardMachine(self.policy, self.progress, matches=lambda record: record.id not in self.filtered)
        position = next(
            (index + 1 for index, record in enumerate(self.records) if record.id == self.progress.checkpoint),
            0,
        )
        pending: dict[str, list[str]] = {}
        self.in_flight = []
        for step in range(100_000):
            if kill_after is not None and step >= kill_after:
                return False
            match machine.next_action(now=self.now):
                case Read(limit):
                    take = self.chance.randint(1, limit) if limit > 1 else 1
                    page = self.records[position : position + take]
                    position += len(page)
                    machine.feed(page, now=self.now, end_of_shard=position >= len(self.records))
                case Invoke(batch):
                    self.in_flight.append((batch, self.now + self.chance.random()))
                    self.peak_in_flight = max(self.peak_in_flight, len(self.in_flight))
                    self.check_lanes()
                case Commit(progress, discards):
                    self.commit(progress, discards, pending)
                    machine.committed()
                case Wait(until, _):
                    if self.in_flight:
                        self.in_flight.sort(key=lambda flight: flight[1])
                        batch, ends_at = self.in_flight.pop(0)
                        self.now = max(self.now, ends_at)
                        self.finish(machine, batch, pending)
                    else:
                        assert until is not None, "nothing runs, nothing is waited for, and the shard is not finished"
                        self.now = max(self.now, until)
                case Finished():
                    return True
        raise AssertionError("the machine did not come to an end")

    def finish(self, machine: ShardMachine, batch: ShardBatch, pending: dict[str, list[str]]) -> None:
        outcome = self.answer(batch)
        if not isinstance(outcome, Throttled):
            self.seen.extend(record.id for record in batch.records)
        machine.invoked(batch, outcome, now=self.now, request_id=f"r{batch.number}")

    def check_lanes(self) -> None:
        keys = [{record.key for record in batch.records} for batch, _ in self.in_flight]
        for index, mine in enumerate(keys):
            for others in keys[index + 1 :]:
                assert not mine & others, "one key is in two running batches"
        assert len({batch.lane for batch, _ in self.in_flight}) == len(self.in_flight)

    def commit(self, progress: Progress, discards: tuple[Discard, ...], pending: dict[str, list[str]]) -> None:
        assert sequence_key(progress.checkpoint) >= sequence_key(self.progress.checkpoint), "a checkpoint went back"
        for discard in discards:
            self.discards.append(discard)
            for record in discard.records:
                self.discarded[record.id] += 1
        self.progress = progress


def make_world(seed: int, **overrides: object) -> World:
    chance = random.Random(seed)
    count, keys = chance.randint(1, 60), chance.randint(1, 8)
    records = [
        Record(
            str(1000 + 7 * index),
            {},
            1_000_000.0 - chance.random(),
            chance.choice([10, 10, 2_500_000]),
            f"k{chance.randrange(keys)}",
        )
        for index in range(count)
    ]
    policy = ShardPolicy(
        batch_size=chance.randint(1, 12),
        window_s=chance.choice([0, 0, 2]),
        lanes=chance.choice([1, 1, 2, 3, 10]),
        maximum_retries=chance.randint(0, 3),
        bisects=chance.random() < 0.5,
        reports_item_failures=chance.random() < 0.4,
    )
    poison = {record.id for record in records if chance.random() < chance.choice([0, 0.05, 0.3])}
    world = World(records, policy, poison, chance, throttles=chance.choice([0, 0, 0.2]))
    world.filtered = {record.id for record in records if chance.random() < 0.1}
    for name, value in overrides.items():
        setattr(world, name, value)
    return world


def first_deliveries(world: World) -> dict[str, list[str]]:
    keys = {record.id: record.key for record in world.records}
    order: dict[str, list[str]] = {}
    met: set[str] = set()
    for identifier in world.seen:
        if identifier not in met:
            met.add(identifier)
            order.setdefault(keys[identifier], []).append(identifier)
    return order


def check_end(world: World, seed: int) -> None:
    """Everything that passes the filter was seen; first deliveries kept each key's order; the checkpoint is the end."""
    expected = [record for record in world.records if record.id not in world.filtered]
    assert set(world.seen) == {record.id for record in expected}, f"seed {seed}"
    order = first_deliveries(world)
    for key, identifiers in order.items():
        assert identifiers == [record.id for record in expected if record.key == key], f"seed {seed}"
    assert world.progress.checkpoint == world.records[-1].id, f"seed {seed}"
    assert max(world.discarded.values(), default=0) <= 1, f"seed {seed}: a record was discarded twice"


@pytest.mark.parametrize("block", range(10))
def test_every_record_ends_exactly_once(block: int) -> None:
    for seed in range(block * SEEDS // 10, (block + 1) * SEEDS // 10):
        world = make_world(seed)
        assert world.run(), f"seed {seed}"
        check_end(world, seed)
        assert set(world.discarded) >= world.poison - world.filtered, f"seed {seed}: poison was let through"
        if world.policy.bisects:
            assert set(world.discarded) == world.poison - world.filtered, f"seed {seed}: bisect discarded the healthy"
        for discard in world.discards:
            assert discard.invoke_count == world.policy.maximum_retries + 1, f"seed {seed}"


@pytest.mark.parametrize("block", range(5))
def test_a_kill_at_any_moment_skips_nothing_and_replays_only_what_was_in_flight(block: int) -> None:
    for seed in range(block * 100, (block + 1) * 100):
        world = make_world(seed)
        for _ in range(world.chance.randint(1, 4)):
            committed, before = world.committed(), len(world.seen)
            finished = world.run(kill_after=world.chance.randint(1, 40))
            assert not committed & set(world.seen[before:]), f"seed {seed}: what was committed ran again"
            if finished:
                break
            if world.chance.random() < 0.3:  # the mapping was updated while it was down
                world.policy = ShardPolicy(
                    **{
                        **{name: getattr(world.policy, name) for name in ShardPolicy.__slots__},
                        "lanes": world.chance.choice([1, 2, 5]),
                    }
                )
        else:
            assert world.run(), f"seed {seed}"
        check_end(world, seed)


@pytest.mark.parametrize("block", range(5))
def test_a_kill_gives_no_attempt_back_but_the_one_in_flight(block: int) -> None:
    """Over any number of kills a batch is tried as often as asked, and once more for each attempt that was cut off."""
    for seed in range(block * 100, (block + 1) * 100):
        world = make_world(seed, throttles=0.0)
        kills = 0
        for _ in range(world.chance.randint(1, 4)):
            if world.run(kill_after=world.chance.randint(1, 40)):
                break
            kills += 1
        else:
            assert world.run(), f"seed {seed}"
        check_end(world, seed)
        most = world.policy.maximum_retries + 1
        assert all(discard.invoke_count == most for discard in world.discards), f"seed {seed}"
        if world.policy.bisects or world.policy.reports_item_failures:
            continue
        for identifier, times in Counter(world.seen).items():
            if identifier in world.discarded:
                assert most <= times <= most + kills, f"seed {seed}: {identifier} was tried {times} times"


def test_the_halves_of_a_batch_and_their_attempts_survive_a_restart() -> None:
    policy = ShardPolicy(batch_size=4, maximum_retries=2, bisects=True)
    records = [Record(str(index), {}, 0.0, 10, "k") for index in range(1, 6)]
    progress, now, tried = Progress(), 0.0, []
    while progress.checkpoint != "5":
        now += 100.0
        machine = ShardMachine(policy, progress)  # each attempt in a life of its own
        unread = [record for record in records if sequence_key(record.id) > sequence_key(progress.checkpoint)]
        while not isinstance(action := machine.next_action(now=now), Invoke):
            match action:
                case Read():
                    machine.feed(unread[:1], now=now, end_of_shard=len(unread) == 1)
                    del unread[:1]
                case Commit():
                    machine.committed()
                case _:
                    raise AssertionError(action)
        tried.append([record.id for record in action.batch.records])
        machine.invoked(action.batch, ERROR if "2" in tried[-1] else OK, now=now)
        commit = machine.next_action(now=now)
        assert isinstance(commit, Commit)
        progress = commit.progress
    assert tried == [["1", "2", "3", "4"], ["1", "2"], ["1"], ["2"], ["2"], ["2"], ["3", "4"], ["5"]]


def test_a_window_that_is_open_runs_to_its_end_when_the_mapping_has_windows_no_more() -> None:
    machine, records = windowed(101.0, 102.0, 111.0)
    machine.feed(records[:1], now=102.0)
    machine.invoked(step(machine, 102.0).batch, Succeeded(b'{"state": {"n": 1}}'), now=102.0)
    commit = machine.next_action(now=102.0)
    assert isinstance(commit, Commit)
    machine = ShardMachine(ShardPolicy(), commit.progress)
    machine.next_action(now=112.0)
    machine.feed(records[1:], now=112.0)
    seen = []
    for _ in range(3):
        action = step(machine, 112.0)
        window = action.batch.window
        seen.append(([record.id for record in action.batch.records], window and (window.state, window.is_final)))
        machine.invoked(action.batch, Succeeded(b'{"state": {"n": 2}}'), now=112.0)
    assert seen == [(["2"], (b'{"n":1}', False)), ([], (b'{"n":2}', True)), (["3"], None)]


def test_a_state_that_grew_too_large_ends_its_window_before_what_failed_beside_it_is_tried_again() -> None:
    machine = ShardMachine(ShardPolicy(tumbling_s=10, reports_item_failures=True))
    machine.next_action(now=101.0)
    machine.feed([Record(str(number), {}, 101.0, 10, "k") for number in (1, 2)], now=101.0, caught_up=True)
    huge = {"state": {"x": "y" * 1_100_000}, "batchItemFailures": [{"itemIdentifier": "2"}]}
    machine.invoked(step(machine, 101.0).batch, Succeeded(json.dumps(huge).encode()), now=101.0)
    early = step(machine, 101.0)
    machine.invoked(early.batch, Succeeded(b'{"state": {}}'), now=101.0)
    rest = step(machine, 102.0)
    assert early.batch.window is not None
    assert rest.batch.window is not None
    assert (early.batch.records, early.batch.window.is_terminated_early) == ((), True)
    assert ([record.id for record in rest.batch.records], rest.batch.window.state) == (["2"], b"{}")


def test_a_window_that_was_to_end_early_ends_after_a_restart_too() -> None:
    policy = ShardPolicy(tumbling_s=10, batch_size=2)
    machine = ShardMachine(policy)
    machine.next_action(now=101.0)
    machine.feed([Record("1", {}, 101.0, 10, "k")], now=101.0)
    huge = json.dumps({"state": {"x": "y" * 1_100_000}}).encode()
    machine.invoked(step(machine, 101.0).batch, Succeeded(huge), now=101.0)
    commit = machine.next_action(now=101.0)
    assert isinstance(commit, Commit)
    machine = ShardMachine(policy, commit.progress)
    early = step(machine, 102.0)
    machine.invoked(early.batch, Succeeded(b'{"state": {}}'), now=102.0)
    commit = machine.next_action(now=102.0)
    assert isinstance(commit, Commit)
    machine.committed()
    assert isinstance(machine.next_action(now=102.0), Read)
    machine.feed([Record("2", {}, 102.0, 10, "k")], now=102.0)
    following = step(machine, 102.0)
    assert early.batch.window is not None
    assert following.batch.window is not None
    assert (early.batch.records, early.batch.window.is_terminated_early) == ((), True)
    assert [record.id for record in following.batch.records] == ["2"]
    assert (following.batch.window.start_at, following.batch.window.state) == (100.0, b"{}")


def test_what_a_lane_committed_is_not_replayed_though_another_lane_is_stuck() -> None:
    """Lane positions survive a restart, also when the ParallelizationFactor changes meanwhile."""
    records = [Record(str(100 + index), {}, 0.0, 10, f"k{index % 8}") for index in range(80)]
    world = World(records, ShardPolicy(batch_size=5, lanes=4), {records[0].id}, random.Random(1))
    assert not world.run(kill_after=600)
    committed = world.committed()
    assert committed
    assert world.progress.checkpoint == ""
    world.policy = ShardPolicy(batch_size=5, lanes=2, maximum_retries=0, bisects=True)
    world.seen.clear()
    assert world.run()
    assert set(world.seen) == {record.id for record in records} - committed
    assert list(world.discarded) == [records[0].id]


def test_records_older_than_the_limit_are_discarded_from_the_front_only() -> None:
    records = [Record(str(index + 1), {}, 900.0 + 20 * index, 10, "k") for index in range(5)]
    machine = ShardMachine(ShardPolicy(maximum_age_s=60))
    assert machine.next_action(now=990.0) == Read(200)
    machine.feed(records, now=990.0, end_of_shard=True)
    action = machine.next_action(now=990.0)
    assert isinstance(action, Commit)
    assert [(d.condition, [r.id for r in d.records], d.invoke_count) for d in action.discards] == [
        ("RecordAgeExceeded", ["1", "2"], 1)
    ]
    machine.committed()
    action = machine.next_action(now=990.0)
    assert isinstance(action, Invoke)
    assert [record.id for record in action.batch.records] == ["3", "4", "5"]


def test_a_throttle_is_no_invocation_to_tell_of() -> None:
    machine = ShardMachine(ShardPolicy(maximum_age_s=60))
    machine.next_action(now=0.0)
    machine.feed([Record("1", {}, 0.0, 10, "k")], now=0.0, caught_up=True)
    for now in (0.0, 10.0):
        action = machine.next_action(now=now)
        assert isinstance(action, Invoke)
        machine.invoked(action.batch, Throttled("x"), now=now)
    commit = machine.next_action(now=61.0)
    assert isinstance(commit, Commit)
    assert [(discard.condition, discard.invoke_count) for discard in commit.discards] == [("RecordAgeExceeded", 1)]


def test_a_failing_batch_waits_longer_each_time_and_throttles_use_up_no_attempt() -> None:
    machine = ShardMachine(ShardPolicy(maximum_retries=1))
    machine.next_action(now=0.0)
    machine.feed([Record("1", {}, 0.0, 10, "k")], now=0.0, caught_up=True)
    now, waits = 0.0, []
    for outcome in (Throttled("x"), Throttled("x"), ERROR):
        action = machine.next_action(now=now)
        assert isinstance(action, Invoke)
        machine.invoked(action.batch, outcome, now=now)
        wait = machine.next_action(now=now)
        if outcome is ERROR:  # that it failed is kept before it is tried again; a throttle is not worth a commit
            assert isinstance(wait, Commit)
            machine.committed()
            wait = machine.next_action(now=now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        waits.append(wait.until - now)
        now = wait.until
    assert waits == [1.0, 2.0, 4.0]
    action = machine.next_action(now=now)
    assert isinstance(action, Invoke)
    machine.invoked(action.batch, ERROR, now=now, request_id="last")
    commit = machine.next_action(now=now)
    assert isinstance(commit, Commit)
    (discard,) = commit.discards
    assert (discard.condition, discard.invoke_count, discard.request_id) == ("RetryAttemptsExhausted", 2, "last")


def windowed(*arrivals: float) -> tuple[ShardMachine, list[Record]]:
    machine = ShardMachine(ShardPolicy(tumbling_s=10, batch_size=2, maximum_retries=0))
    assert isinstance(machine.next_action(now=100.0), Read)
    return machine, [Record(str(index + 1), {}, at, 10, "k") for index, at in enumerate(arrivals)]


def step(machine: ShardMachine, now: float) -> Invoke:
    """Commit and read nothing until the machine wants an invocation."""
    for _ in range(20):
        action = machine.next_action(now=now)
        match action:
            case Commit():
                machine.committed()
            case Read():
                machine.feed([], now=now)
            case Invoke():
                return action
            case _:
                raise AssertionError(f"no invocation at {now}: {action}")
    raise AssertionError("no invocation")


def test_a_tumbling_window_carries_its_state_and_ends_with_a_final_invocation() -> None:
    machine, records = windowed(101.0, 102.0, 103.0, 111.0)
    machine.feed(records, now=112.0)
    states = []
    for expected in (["1", "2"], ["3"], [], ["4"]):
        action = step(machine, 112.0)
        window = action.batch.window
        assert window is not None
        assert [record.id for record in action.batch.records] == expected
        states.append((window.start_at, window.end_at, window.state, window.is_final))
        machine.invoked(action.batch, Succeeded(b'{"state": {"n": %d}}' % len(states)), now=112.0)
    assert states == [
        (100.0, 110.0, b"{}", False),
        (100.0, 110.0, b'{"n":1}', False),
        (100.0, 110.0, b'{"n":2}', True),
        (110.0, 120.0, b"{}", False),
    ]
    final = step(machine, 121.0)
    assert final.batch.window is not None
    assert (final.batch.window.start_at, final.batch.window.state, final.batch.window.is_final) == (
        110.0,
        b'{"n":4}',
        True,
    )


def test_a_window_closes_by_the_clock_when_the_shard_holds_no_more() -> None:
    machine, records = windowed(101.0)
    machine.feed(records, now=102.0)
    action = step(machine, 102.0)
    machine.invoked(action.batch, Succeeded(b'{"state": {"n": 1}}'), now=102.0)
    commit = machine.next_action(now=102.0)
    assert isinstance(commit, Commit)
    machine.committed()
    assert commit.progress.windows[0] is not None
    assert commit.progress.windows[0].state == b'{"n":1}'
    machine.next_action(now=102.0)
    machine.feed([], now=102.0)
    wait = machine.next_action(now=102.0)
    assert isinstance(wait, Wait)
    assert wait.until == 110.0
    final = step(machine, 110.0)
    assert final.batch.window is not None
    assert final.batch.window.is_final
    assert final.batch.records == ()


def test_a_windows_answer_without_a_state_is_a_failure() -> None:
    machine, records = windowed(101.0)
    machine.feed(records, now=102.0)
    action = step(machine, 102.0)
    machine.invoked(action.batch, OK, now=102.0)
    commit = machine.next_action(now=102.0)
    assert isinstance(commit, Commit)
    assert [discard.condition for discard in commit.discards] == ["RetryAttemptsExhausted"]


def test_a_state_that_grew_too_large_terminates_its_window_early() -> None:
    machine, records = windowed(101.0, 102.0, 103.0)
    machine.feed(records, now=104.0)
    action = step(machine, 104.0)
    huge = json.dumps({"state": {"x": "y" * 1_100_000}}).encode()
    machine.invoked(action.batch, Succeeded(huge), now=104.0)
    early = step(machine, 104.0)
    assert early.batch.window is not None
    assert early.batch.window.is_terminated_early
    assert early.batch.window.is_final
    machine.invoked(early.batch, Succeeded(b'{"state": {}}'), now=104.0)
    following = step(machine, 104.0)
    assert following.batch.window is not None
    assert following.batch.window.state == b"{}"
    assert [record.id for record in following.batch.records] == ["3"]
