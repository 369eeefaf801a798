"""The laws of queues, against a model: any order of operations, kills, failed units, and time on a float.

Nothing acknowledged is lost; a message is never visible twice within its timeout; a group keeps its order and has one
receiver at a time; a message is delivered exactly maxReceiveCount times and then lies on the dead-letter queue; counts
are exact; who waits is told when to look again, or woken.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventrt.core.messages import MessageDraft, Queue, QueueDepth, Received, ReceivedMessage
from eventrt.errors import CommitLost
from eventrt.sources import queues
from eventrt.store.sqlite.store import SqliteStore

RETENTION_S = 300
REDRIVES = {"plain": "plain-dead", "ordered.fifo": "ordered-dead.fifo"}
MOST = 3
NAMES = ["plain", "plain-dead", "ordered.fifo", "ordered-dead.fifo", "slow", "slow.fifo"]
DELAYS = {"slow": 20, "slow.fifo": 20}
GROUPS = ["a", "b", "c"]


class FloatClock:
    """A clock that is a number."""

    def __init__(self) -> None:
        self.moment = 1_700_000_000.0

    def now(self) -> float:
        return self.moment


@dataclass
class Expected:
    """A message as the model sees it: `until` is when its lease or delay ends, None when it is visible."""

    message_id: str
    queue: str
    body: str
    group: str | None
    deduplication_id: str | None
    sent_at: float
    order: int
    count: int = 0
    until: float | None = None
    leased: bool = False
    leased_at: float = 0.0


@dataclass
class Handle:
    queue: str
    message_id: str
    text: str
    count: int


@dataclass
class Model:
    """What should be on the queues."""

    messages: dict[str, Expected] = field(default_factory=dict)
    deduplication: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    orders: "itertools.count[int]" = field(default_factory=itertools.count)

    def pass_time(self, now: float) -> None:
        for message in list(self.messages.values()):
            if message.sent_at + RETENTION_S <= now:
                del self.messages[message.message_id]
            elif message.until is not None and message.until <= now:
                message.until, message.leased = None, False

    def on(self, queue: str) -> list[Expected]:
        return sorted((m for m in self.messages.values() if m.queue == queue), key=lambda m: m.order)

    def depth(self, queue: str) -> QueueDepth:
        messages = self.on(queue)
        leased = sum(m.leased for m in messages)
        delayed = sum(m.until is not None for m in messages) - leased
        return QueueDepth(len(messages) - leased - delayed, leased, delayed)

    def receivable(self, queue: str) -> set[str]:
        """The messages that a receive without a limit would deliver or dead-letter."""
        messages = self.on(queue)
        if not queue.endswith(".fifo"):
            return {m.message_id for m in messages if m.until is None}
        found = set()
        locked = {m.group for m in messages if m.leased}
        delayed: set[str | None] = set()
        for message in messages:
            if message.until is not None and not message.leased:
                delayed.add(message.group)
            if message.group not in locked | delayed:
                found.add(message.message_id)
        return found


def draft(body: str, **more: Any) -> MessageDraft:
    return MessageDraft(body, hashlib.md5(body.encode()).hexdigest(), **more)


class QueueMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="eventrt-law-"))
        self.clock = FloatClock()
        self.model = Model()
        self.handles: list[Handle] = []
        self.bodies = itertools.count()
        self.told: dict[str, float] = {}
        self.open()
        self.queues: dict[str, Queue] = {}
        for name in reversed(NAMES):
            attributes = {
                "MessageRetentionPeriod": str(RETENTION_S),
                "DelaySeconds": str(DELAYS.get(name, 0)),
            }
            if name.endswith(".fifo"):
                attributes["FifoQueue"] = "true"
            if name in REDRIVES:
                target = f"arn:aws:sqs:us-east-1:000000000000:{REDRIVES[name]}"
                attributes["RedrivePolicy"] = f'{{"deadLetterTargetArn":"{target}","maxReceiveCount":{MOST}}}'

            def make(tx: Any, name: str = name, attributes: dict[str, str] = attributes) -> Queue:
                return queues.create(
                    tx,
                    account_id="000000000000",
                    region="us-east-1",
                    name=name,
                    attributes=attributes,
                    tags={},
                )

            self.queues[name] = self.run(make)

    def open(self) -> None:
        self.store = SqliteStore(self.directory, clock=self.clock, durability="process")  # type: ignore[arg-type]
        self.store.open()
        self.rung: set[Any] = set()
        announce = self.store.engine.announce

        def overheard(topic: Any) -> None:
            self.rung.add(topic)
            announce(topic)

        # The repositories look the bell up on the engine each time they ring it.
        self.store.engine.announce = overheard  # type: ignore[method-assign]

    def run(self, unit: Callable[[Any], Any]) -> Any:
        """Run a unit; see to it that whatever became receivable rang its bell, or was told of."""
        before = {name: self.model.receivable(name) for name in NAMES}
        self.rung.clear()
        value = self.loop.run_until_complete(self.store.write(unit))
        self.before = before
        return value

    def check_bells(self) -> None:
        """To be called once the model knows what the last unit did."""
        for name in NAMES:
            rang = ("queue", self.queues[name].id) in self.rung
            # Whoever waits found nothing; so the bell matters when something appears where nothing was.
            appeared = not self.before[name] and self.model.receivable(name)
            assert rang or not appeared, f"{appeared} appeared on {name} without a bell"
            if rang:
                self.told.pop(name, None)
            if name in self.told:
                due = self.next_due(name)
                assert due is None or due >= self.told[name], f"{name}: due {due} before what was told"

    def next_due(self, name: str) -> float | None:
        """When a message of the queue becomes visible by itself."""
        return min((m.until for m in self.model.on(name) if m.until is not None), default=None)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.loop.run_until_complete(self.store.close())
            self.loop.close()
            shutil.rmtree(self.directory)

    # -- operations

    def drafts(self, name: str, count: int, groups: Sequence[str | None], delay_s: int | None) -> list[MessageDraft]:
        fifo = name.endswith(".fifo")
        return [
            draft(
                f"m{next(self.bodies)}",
                group_id=(groups[i % len(groups)] or "a") if fifo else groups[i % len(groups)],
                deduplication_id=f"d{next(self.bodies)}" if fifo else None,
                delay_s=None if fifo else delay_s,
            )
            for i in range(count)
        ]

    @rule(
        name=st.sampled_from(NAMES),
        count=st.integers(1, 10),
        groups=st.lists(st.sampled_from([*GROUPS, None]), min_size=1, max_size=4),
        delay_s=st.sampled_from([None, None, None, 0, 5, 40]),
    )
    def send(self, name: str, count: int, groups: list[str | None], delay_s: int | None) -> None:
        drafts = self.drafts(name, count, groups, delay_s)
        sent = self.run(lambda tx: queues.send(tx, self.queues[name], drafts))
        numbers = [int(s.sequence_number) for s in sent if s.sequence_number]
        assert numbers == sorted(set(numbers))
        for one, result in zip(drafts, sent, strict=True):
            delay = DELAYS.get(name, 0) if one.delay_s is None else one.delay_s
            self.add(name, one, result.message_id, delay)
        self.check_bells()

    def add(self, name: str, one: MessageDraft, message_id: str, delay_s: int) -> None:
        now = self.clock.moment
        until = now + delay_s if delay_s else None
        self.model.messages[message_id] = Expected(
            message_id,
            name,
            one.body,
            one.group_id,
            one.deduplication_id,
            now,
            next(self.model.orders),
            until=until,
        )
        if one.deduplication_id:
            self.model.deduplication[(name, one.deduplication_id)] = (now, message_id)

    @rule(name=st.sampled_from([n for n in NAMES if n.endswith(".fifo")]), data=st.data())
    def send_again(self, name: str, data: st.DataObject) -> None:
        """A deduplication id that was used before."""
        used = [key[1] for key in self.model.deduplication if key[0] == name]
        if not used:
            return
        again = data.draw(st.sampled_from(used))
        sent_at, first_id = self.model.deduplication[(name, again)]
        one = draft("again", group_id="a", deduplication_id=again)
        [result] = self.run(lambda tx: queues.send(tx, self.queues[name], [one]))
        if self.clock.moment < sent_at + 300:
            assert result.duplicate
            assert result.message_id == first_id
        else:
            assert not result.duplicate
            self.add(name, one, result.message_id, DELAYS.get(name, 0))
        self.check_bells()

    @rule(
        name=st.sampled_from(NAMES),
        limit=st.integers(1, 10),
        timeout_s=st.sampled_from([None, None, 0, 1, 10, 60]),
        owner=st.sampled_from(["client", "client", "poller"]),
    )
    def receive(self, name: str, limit: int, timeout_s: int | None, owner: Any) -> None:
        visible = self.model.receivable(name)
        expected = self.expected_fifo(name, limit) if name.endswith(".fifo") else None
        received: Received = self.run(
            lambda tx: queues.receive(tx, self.queues[name], limit=limit, visibility_timeout_s=timeout_s, owner=owner)
        )
        got = received.messages
        assert len({m.message_id for m in got}) == len(got)
        if expected is not None:
            assert [m.message_id for m in got] == expected[0]
            dead = set(expected[1])
        else:
            tired = {i for i in visible if name in REDRIVES and self.model.messages[i].count >= MOST}
            assert {m.message_id for m in got} <= visible - tired
            assert len(got) == min(limit, len(visible - tired))
            dead = tired & self.found_on(REDRIVES[name]) if tired else set()
            if len(got) < limit:
                assert dead == tired
        self.move_to_dead(name, [m for m in self.model.on(name) if m.message_id in dead])
        timeout = 30 if timeout_s is None else timeout_s
        for message in got:
            self.take(name, message, timeout, owner)
        if not got:
            due = self.next_due(name)
            told = received.next_visible_at
            assert due is None or (told is not None and told <= due)
            self.told[name] = float("inf") if told is None else told
        self.check_bells_after_receive(name)

    def check_bells_after_receive(self, name: str) -> None:
        self.before[name] |= self.model.receivable(name)  # what a receive leaves there was there before
        self.check_bells()

    def take(self, name: str, message: ReceivedMessage, timeout_s: int, owner: str) -> None:
        now = self.clock.moment
        expected = self.model.messages[message.message_id]
        expected.count += 1
        assert message.receive_count == expected.count
        assert message.body == expected.body
        assert message.group_id == expected.group
        assert message.sent_at == expected.sent_at
        if timeout_s:
            expected.until, expected.leased, expected.leased_at = now + timeout_s, True, now
        if owner == "client":
            self.handles.append(Handle(name, message.message_id, message.receipt_handle, expected.count))

    def expected_fifo(self, name: str, limit: int) -> tuple[list[str], list[str]]:
        """What a receive must give, in order, and what it must dead-letter on the way."""
        messages = self.model.on(name)
        locked = {m.group for m in messages if m.leased}
        groups: dict[str | None, list[Expected]] = {}
        for message in messages:
            if message.group not in locked:
                groups.setdefault(message.group, []).append(message)
        given: list[str] = []
        dead: list[str] = []
        for group in groups.values():
            for message in group:
                if len(given) == limit or message.until is not None:
                    break
                if name in REDRIVES and message.count >= MOST:
                    dead.append(message.message_id)
                else:
                    given.append(message.message_id)
        return given, dead

    def found_on(self, name: str) -> set[str]:
        rows = self.store.engine.connection.execute(
            "SELECT m.message_id FROM message AS m JOIN shelf AS s ON s.id = m.shelf_id WHERE s.queue_id = ?",
            (self.queues[name].id,),
        )
        return {row[0] for row in rows}

    def move_to_dead(self, name: str, messages: list[Expected]) -> None:
        for message in messages:
            message.queue = REDRIVES[name]
            message.order = next(self.model.orders)
            if name.endswith(".fifo"):
                message.sent_at = self.clock.moment

    @rule(data=st.data(), wrong_queue=st.integers(0, 9))
    def delete(self, data: st.DataObject, wrong_queue: int) -> None:
        if not self.handles:
            return
        chosen = data.draw(st.lists(st.sampled_from(self.handles), min_size=1, max_size=10, unique_by=lambda h: h.text))
        name = chosen[0].queue
        texts = [h.text for h in chosen]
        results = self.run(lambda tx: queues.delete(tx, self.queues[name], texts))
        for handle, result in zip(chosen, results, strict=True):
            message = self.model.messages.get(handle.message_id)
            if handle.queue != name:
                assert result is not None
                assert result.code == "ReceiptHandleIsInvalid"
            elif message is None or message.queue != name:
                assert result is None  # deleted, expired or dead-lettered before
            elif name.endswith(".fifo") and not (message.leased and message.count == handle.count):
                assert result is not None
                assert "expired" in result.message
            else:
                assert result is None
                del self.model.messages[handle.message_id]
        self.check_bells()

    @rule(data=st.data(), timeout_s=st.sampled_from([0, 0, 5, 100, 43200]))
    def change_visibility(self, data: st.DataObject, timeout_s: int) -> None:
        if not self.handles:
            return
        handle = data.draw(st.sampled_from(self.handles))
        name, now = handle.queue, self.clock.moment
        [result] = self.run(lambda tx: queues.change_visibility(tx, self.queues[name], [(handle.text, timeout_s)]))
        message = self.model.messages.get(handle.message_id)
        if message is None or message.queue != name:
            assert result is not None
        elif not (message.leased and message.count == handle.count):
            assert (result is not None) == name.endswith(".fifo")
        elif timeout_s and now + timeout_s > message.leased_at + 43200:
            assert result is not None
            assert "43200" in result.message
        else:
            assert result is None
            message.until = now + timeout_s if timeout_s else None
            message.leased = timeout_s > 0
        self.check_bells()

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 10.0, 31.0, 70.0, 290.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.moment += seconds
        self.model.pass_time(self.clock.moment)
        for name, told in list(self.told.items()):
            if told <= self.clock.moment:
                del self.told[name]  # whoever waited has looked again

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        refusal = self.run(lambda tx: queues.purge(tx, self.queues[name]))
        if refusal is None:
            for message in self.model.on(name):
                del self.model.messages[message.message_id]
        self.check_bells()

    @rule(name=st.sampled_from(NAMES), limit=st.integers(1, 10))
    def a_unit_fails(self, name: str, limit: int) -> None:
        """Whatever a unit did before it failed, nothing of it remains, on disk or in memory."""

        def unit(tx: Any) -> None:
            queue = self.queues[name]
            received = queues.receive(tx, queue, limit=limit)
            queues.send(tx, queue, self.drafts(name, 3, ["a", "b"], None))
            queues.delete(tx, queue, [m.receipt_handle for m in received.messages[:2]])
            queues.receive(tx, queue, limit=limit, visibility_timeout_s=1)
            tx.messages.purge(queue)
            queues.send(tx, queue, self.drafts(name, 1, ["a"], None))
            tx.messages.sweep(100)
            raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            self.run(unit)

    @rule(name=st.sampled_from(NAMES), limit=st.integers(1, 10))
    def a_group_is_lost(self, name: str, limit: int) -> None:
        """A unit that breaks its promise takes its neighbours along: nothing of them remains, on disk or in memory."""
        queue = self.queues[name]

        def neighbour(tx: Any) -> None:
            received = queues.receive(tx, queue, limit=limit)
            queues.delete(tx, queue, [m.receipt_handle for m in received.messages[:2]])
            tx.messages.purge(self.queues["plain"])

        def broken(tx: Any) -> None:
            queues.send(tx, queue, self.drafts(name, 3, ["a", "b"], None))
            queues.receive(tx, queue, limit=limit, visibility_timeout_s=1)
            tx.messages.sweep(100)
            raise ZeroDivisionError

        async def together() -> list[Any]:
            return await asyncio.gather(
                self.store.write(neighbour), self.store.write(broken, secured=False), return_exceptions=True
            )

        answers = self.loop.run_until_complete(together())
        assert [type(answer) for answer in answers] == [CommitLost, ZeroDivisionError]

    @rule(limit=st.integers(1, 50))
    def sweep(self, limit: int) -> None:
        self.run(lambda tx: tx.messages.sweep(limit))

    @rule()
    def kill_and_start(self) -> None:
        """The process is gone; the files are as they were. The leases of pollers end."""
        engine = self.store.engine
        copy = Path(tempfile.mkdtemp(prefix="eventrt-law-"))
        for file in ("eventrt.db", "eventrt.db-wal"):
            shutil.copyfile(self.directory / file, copy / file)
        engine._disk.stop()
        engine._folding.stop()
        engine._folder.close()
        engine.connection.close()
        for fd in (engine._shm_fd, engine._wal_fd, engine._lock_fd):
            os.close(fd)
        shutil.rmtree(self.directory)
        self.directory = copy
        self.open()
        poller_ids = {
            row[0]
            for row in self.store.engine.connection.execute(
                "SELECT m.message_id FROM waiting AS w JOIN message AS m ON m.id = w.id WHERE w.kind = 2"
            )
        }
        self.run(lambda tx: tx.messages.end_poller_leases())
        for message in self.model.messages.values():
            if message.leased and message.message_id in poller_ids:
                message.until, message.leased = None, False
        self.told.clear()

    @invariant()
    def counts_are_exact(self) -> None:
        if not hasattr(self, "queues") or len(self.queues) < len(NAMES):
            return
        for name in NAMES:
            depth = self.loop.run_until_complete(
                self.store.read(lambda tx, name=name: queues.depth(tx, self.queues[name]))  # type: ignore[misc]
            )
            assert depth == self.model.depth(name), name


QueueMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("EVENTRT_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestQueueLaws = QueueMachine.TestCase
