"""The supervisor keeps mappings at work: states, isolation, restarts, waits, and a graceful end."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.clock import VirtualClock
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.messages import MessageDraft, Queue, QueueDepth
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.invoker.functions import topic
from eventrt.invoker.invocation import Invocation
from eventrt.pollers import sqs
from eventrt.pollers.reports import BatchReport
from eventrt.pollers.supervisor import Supervisor
from eventrt.sources import mappings, queues
from eventrt.store.api import Tx
from eventrt.store.sqlite.store import SqliteStore
from tests.running import turn_until

ACCOUNT, REGION = "000000000000", "us-east-1"


class Invoker:
    """Functions as plain Python: what `behave` returns or awaits is the outcome."""

    def __init__(self) -> None:
        self.behave: Callable[[Invocation], Any] = lambda invocation: Succeeded(b"null")
        self.events: list[dict[str, Any]] = []
        self.invocations: list[Invocation] = []
        self.called = asyncio.Event()

    async def invoke(self, invocation: Invocation) -> Outcome:
        self.invocations.append(invocation)
        self.events.append(json.loads(invocation.payload))
        self.called.set()
        outcome = self.behave(invocation)
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        assert isinstance(outcome, Succeeded | FunctionError | Throttled | ServiceFault)
        return outcome

    @property
    def bodies(self) -> list[list[str]]:
        """The bodies of each event, in order of invocation."""
        return [[record["body"] for record in event["Records"]] for event in self.events]


class House:
    """A store, a clock, a supervisor with functions of our own."""

    def __init__(self, store: SqliteStore, clock: VirtualClock) -> None:
        self.store = store
        self.clock = clock
        self.invoker = Invoker()
        self.supervisor = Supervisor(store, clock, self.invoker)
        self.reports: list[BatchReport] = []
        self.supervisor.on_batch(self.reports.append)

    async def function(self, name: str, *, timeout_s: int = 3) -> None:
        version = FunctionVersion(
            ACCOUNT,
            REGION,
            name,
            "python3.12",
            "a.b",
            "role",
            CodePackage("", 0, "/nowhere"),
            "r",
            "c",
            0.0,
            timeout_s=timeout_s,
        )

        def save(tx: Tx) -> None:
            tx.functions.save(Function(version))
            tx.announce(topic(version))

        await self.store.write(save)

    async def queue(self, name: str, **attributes: str) -> Queue:
        return await self.store.write(
            lambda tx: queues.create(tx, account_id=ACCOUNT, region=REGION, name=name, attributes=attributes, tags={})
        )

    async def map(self, queue: str, function: str, mapping_id: str = "m1", **request: Any) -> EventSourceMapping:
        wanted = {"EventSourceArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}", "FunctionName": function, **request}
        return await self.store.write(
            lambda tx: mappings.create(tx, wanted, mapping_id=mapping_id, account_id=ACCOUNT, region=REGION)
        )

    async def update(self, mapping_id: str = "m1", **request: Any) -> None:
        await self.store.write(
            lambda tx: mappings.update(tx, request, mapping_id=mapping_id, account_id=ACCOUNT, region=REGION)
        )

    async def send(self, queue: Queue, *bodies: str, group: str | None = None) -> None:
        drafts = [
            MessageDraft(
                body,
                hashlib.md5(body.encode()).hexdigest(),
                group_id=group,
                deduplication_id=None if group is None else f"{group}-{body}",
            )
            for body in bodies
        ]
        await self.store.write(lambda tx: queues.send(tx, queue, drafts))

    async def get(self, mapping_id: str = "m1") -> EventSourceMapping | None:
        return await self.store.read(lambda tx: tx.mappings.get(mapping_id))

    async def depth(self, queue: Queue) -> QueueDepth:
        return await self.store.read(lambda tx: queues.depth(tx, queue))

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Let the loop turn until it is so; real time is of no matter."""
        await turn_until(is_so)

    async def settle(self) -> None:
        """Let everything that is due happen."""
        await self.clock.advance(0)


@asynccontextmanager
async def house(directory: Path) -> AsyncIterator[House]:
    clock = VirtualClock()
    store = SqliteStore(directory, clock=clock, durability="process")
    store.open()
    built = House(store, clock)
    async with anyio.create_task_group() as group:
        await group.start(built.supervisor.run)
        yield built
        group.cancel_scope.cancel()
    await store.close()


async def test_states_go_from_creating_to_enabled_and_an_update_ends_where_it_should(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        await h.queue("q")
        assert (await h.map("q", "f")).state == "Creating"
        await h.settle()
        mapping = await h.get()
        assert mapping is not None
        assert mapping.state == "Enabled"
        await h.update(Enabled=False)
        await h.settle()
        mapping = await h.get()
        assert mapping is not None
        assert mapping.state == "Disabled"
        assert h.supervisor.describe("m1") == {"running": False}


async def test_failed_messages_come_back_in_order_of_time_as_the_clock_advances(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q")
        h.invoker.behave = lambda invocation: FunctionError(b"{}", "Error", "no")
        await h.map("q", "f")
        await h.send(queue, "x")
        await h.settle()
        await h.clock.advance(100)
        counts = [event["Records"][0]["attributes"]["ApproximateReceiveCount"] for event in h.invoker.events]
        assert counts == ["1", "2", "3", "4"]
        assert [report.failed for report in h.reports] == [1, 1, 1, 1]


async def test_a_poller_leases_for_window_and_timeout_when_the_queue_does_not(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f", timeout_s=20)
        queue = await h.queue("q")
        h.invoker.behave = lambda invocation: FunctionError(b"{}", "Error", "no")
        await h.map("q", "f", BatchSize=100, MaximumBatchingWindowInSeconds=50)
        await h.send(queue, "x")
        await h.settle()
        await h.clock.advance(49)
        assert not h.invoker.events
        await h.clock.advance(2)
        assert len(h.invoker.events) == 1
        await h.clock.advance(97 - 51)
        assert (await h.depth(queue)).in_flight == 1
        await h.clock.advance(4)  # 50 + 20 + 30 s after the receive, it is leased again for another window
        assert (await h.depth(queue)).in_flight == 1
        await h.clock.advance(50)
        assert len(h.invoker.events) == 2


async def test_a_poller_that_breaks_is_started_again_and_its_neighbour_never_notices(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("broken")
        await h.function("fine")
        bad, good = await h.queue("bad"), await h.queue("good")
        breaks = True

        def behave(invocation: Invocation) -> Outcome:
            if invocation.function_name == "broken" and breaks:
                raise RuntimeError("a defect of ours")
            return Succeeded(b"null")

        h.invoker.behave = behave
        await h.map("bad", "broken", "m1")
        await h.map("good", "fine", "m2")
        await h.send(bad, "x")
        await h.settle()
        await h.send(good, "y")
        await h.settle()
        assert [report.mapping.id for report in h.reports] == ["m2"]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "RuntimeError in the poller; it is started again."
        assert h.supervisor.describe("m1")["restarts"] == 1
        breaks = False
        await h.clock.advance(60)
        assert [report.mapping.id for report in h.reports] == ["m2", "m1"]
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None


async def test_a_function_that_cannot_be_invoked_is_shown_and_not_hammered(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q")
        h.invoker.behave = lambda invocation: ServiceFault("ResourceNotFoundException", "no such version", 404)
        await h.map("q", "f")
        await h.send(queue, "x")
        await h.settle()
        await h.clock.advance(100)
        assert 2 <= len(h.invoker.events) <= 10
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem == "ResourceNotFoundException: no such version"
        assert h.supervisor.describe("m1")["waiting_for"] == mapping.problem
        h.invoker.behave = lambda invocation: Succeeded(b"null")
        await h.clock.advance(60)
        mapping = await h.get()
        assert mapping is not None
        assert mapping.problem is None
        assert await h.depth(queue) == QueueDepth()


async def test_an_environment_that_does_not_start_is_tried_again_within_the_lease(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q")
        h.invoker.behave = lambda invocation: ServiceFault("ServiceException", "no room", 500)
        await h.map("q", "f")
        await h.send(queue, "x")
        await h.settle()
        await h.clock.advance(29)
        counts = {event["Records"][0]["attributes"]["ApproximateReceiveCount"] for event in h.invoker.events}
        assert counts == {"1"}
        assert len(h.invoker.events) > 3
        await h.clock.advance(3)
        counts = {event["Records"][0]["attributes"]["ApproximateReceiveCount"] for event in h.invoker.events}
        assert counts == {"1", "2"}


async def test_batches_that_wait_for_a_slot_keep_their_leases(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q.fifo", FifoQueue="true")
        gate = asyncio.Event()
        free = False

        async def behave() -> Outcome:
            if not free:
                await gate.wait()
            return Succeeded(b"null")

        h.invoker.behave = lambda invocation: behave()
        await h.map("q.fifo", "f", BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
        await h.store.write(
            lambda tx: [
                queues.send(tx, queue, [MessageDraft(group, "0" * 32, group_id=group, deduplication_id=group)])
                for group in "abcdef"
            ]
        )
        await h.until(lambda: len(h.invoker.events) == 2)
        # the clock cannot advance past running work, so time passes under it
        for _ in range(10):
            h.clock._rebase(h.clock.now() + 10)
            h.clock._arm()
            await anyio.sleep(0.005)
        assert len(h.invoker.events) == 2
        free = True
        gate.set()
        await h.until(lambda: len(h.reports) >= 6)
        counts = [e["Records"][0]["attributes"]["ApproximateReceiveCount"] for e in h.invoker.events]
        bodies = [body for event in h.invoker.bodies for body in event]
        waited = [count for count, body in zip(counts, bodies, strict=True) if body in bodies[2:6]]
        assert set(waited) == {"1"}


@pytest.mark.parametrize("name", ["q", "q.fifo"])
async def test_a_waiting_batch_that_lost_one_message_gives_back_the_others_at_once(tmp_path: Path, name: str) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        is_fifo = name.endswith(".fifo")
        queue = await h.queue(name, **({"FifoQueue": "true"} if is_fifo else {}))
        mapping = await h.map(name, "f", Enabled=False)
        await h.send(queue, "a", "b", "c", group="g" if is_fifo else None)
        leased = await h.store.write(lambda tx: sqs.receive(tx, mapping, 10))
        await h.store.write(lambda tx: queues.delete(tx, queue, [leased.records[1].receipt.handle]))  # type: ignore[attr-defined]
        assert await h.store.write(lambda tx: sqs.extend(tx, mapping, leased.records)) is None
        assert await h.depth(queue) == QueueDepth(2, 0, 0)


async def test_drain_waits_for_batches_in_flight_and_gives_back_the_rest(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        running, collecting = await h.queue("running"), await h.queue("collecting")
        gate = asyncio.Event()

        async def behave() -> Outcome:
            await gate.wait()
            return Succeeded(b"null")

        h.invoker.behave = lambda invocation: behave()
        await h.map("running", "f", "m1")
        await h.map("collecting", "f", "m2", BatchSize=100, MaximumBatchingWindowInSeconds=300)
        await h.send(running, "x")
        await h.send(collecting, "y")
        await h.until(lambda: len(h.invoker.events) == 1)
        await h.until(lambda: h.supervisor.describe("m2")["collected_records"] == 1)
        drained: list[bool] = []
        async with anyio.create_task_group() as group:

            async def drain() -> None:
                drained.append(await h.supervisor.drain(10))

            group.start_soon(drain)
            await h.until(lambda: "m2" not in h.supervisor.describe_all())
            assert (await h.depth(collecting)).visible == 1
            await h.send(running, "too late")
            gate.set()
        assert drained == [True]
        assert await h.depth(running) == QueueDepth(visible=1)


async def test_drain_gives_up_after_its_grace(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q")
        h.invoker.behave = lambda invocation: asyncio.sleep(3600)
        await h.map("q", "f")
        await h.send(queue, "x")
        await h.until(lambda: len(h.invoker.events) == 1)
        assert not await h.supervisor.drain(0.01)


async def test_a_mapping_enabled_again_while_it_drains_keeps_its_one_poller(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")
        queue = await h.queue("q")
        gate = asyncio.Event()

        async def behave() -> Outcome:
            await gate.wait()
            return Succeeded(b"null")

        h.invoker.behave = lambda invocation: behave()
        await h.map("q", "f", BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
        await h.send(queue, "a", "b", "c", "d")
        await h.until(lambda: len(h.invoker.events) == 2)
        for enabled in (False, True):
            await h.update(Enabled=enabled)
            for _ in range(100):
                await asyncio.sleep(0)
        assert len(h.invoker.events) == 2
        gate.set()
        await h.until(lambda: len(h.reports) == 4)


async def test_five_hundred_idle_mappings_start_at_once_and_hold_no_timers(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        await h.function("f")

        def make(tx: Tx) -> None:
            for number in range(500):
                queues.create(tx, account_id=ACCOUNT, region=REGION, name=f"q{number}", attributes={}, tags={})
                wanted = {"EventSourceArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:q{number}", "FunctionName": "f"}
                mappings.create(tx, wanted, mapping_id=f"m{number}", account_id=ACCOUNT, region=REGION)

        await h.store.write(make)
        await h.until(lambda: len(h.supervisor.describe_all()) == 500)
        await h.settle()
        assert not h.clock._timers
        queue = await h.store.read(lambda tx: tx.queues.find(ACCOUNT, REGION, "q250"))
        assert queue is not None
        await h.send(queue, "x")
        await h.settle()
        assert [report.mapping.id for report in h.reports] == ["m250"]


async def test_mappings_go_on_after_a_restart_whatever_state_they_were_kept_in(tmp_path: Path) -> None:
    clock = VirtualClock()
    store = SqliteStore(tmp_path, clock=clock, durability="process")
    store.open()
    built = House(store, clock)
    await built.function("f")
    for number, name in enumerate(("enabled", "creating", "disabled", "deleting")):
        await built.queue(name)
        await built.map(name, "f", f"m{number}", Enabled=name != "disabled")

    def age(tx: Tx) -> None:
        for mapping_id, state in (("m0", "Enabled"), ("m2", "Disabled"), ("m3", "Deleting")):
            mapping = tx.mappings.get(mapping_id)
            assert mapping is not None
            from dataclasses import replace

            tx.mappings.replace(replace(mapping, state=state))  # type: ignore[arg-type]

    await store.write(age)
    await store.close()
    async with house(tmp_path) as h:
        await h.settle()
        states = {mapping.id: mapping.state for mapping in await h.store.read(lambda tx: tx.mappings.every())}
        assert states == {"m0": "Enabled", "m1": "Enabled", "m2": "Disabled"}
        assert set(h.supervisor.describe_all()) == {"m0", "m1"}


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_a_report_comes_after_the_commit_of_its_settle(tmp_path: Path, durability: Any) -> None:
    async with house(tmp_path) as h:
        h.store.engine.durability = durability
        await h.function("f")
        queue = await h.queue("q")
        depths: list[QueueDepth] = []
        h.supervisor.on_batch(lambda report: depths.append(queues.depth(h.store.engine.tx, queue)))
        await h.map("q", "f")
        await h.send(queue, "a", "b")
        await h.until(lambda: len(depths) == 1)
        assert depths == [QueueDepth()]
