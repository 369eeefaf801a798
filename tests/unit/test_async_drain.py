"""Draining the async shelf: with a store, a clock that is moved, and functions that do as told."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.clock import VirtualClock
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.core.function_rules import FunctionRef
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.core.refused import Refused
from eventrt.destinations.desk import Desk, Message, Undeliverable
from eventrt.errors import StoreFull
from eventrt.invoker import async_shelf, asynchronous, functions
from eventrt.invoker.asynchronous import AsyncDrain
from eventrt.invoker.invocation import Invocation
from eventrt.sources import queues
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S

ACCOUNT, REGION = "000000000000", "us-east-1"
ERROR = FunctionError(b'{"errorMessage": "no"}', "ValueError", "no")


class Workshop:
    """An invoker whose functions do as told: `behaviour[name]` answers an invocation."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.behaviour: dict[str, Callable[[Invocation], Any]] = {}
        self.began: dict[str, list[float]] = defaultdict(list)
        self.seen: list[Invocation] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def invoke(self, invocation: Invocation) -> Outcome:
        name = invocation.function_name
        self.seen.append(invocation)
        self.began[name].append(self.clock.now())
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        try:
            answer = self.behaviour.get(name, lambda _: Succeeded(b"null"))(invocation)
            if asyncio.iscoroutine(answer):
                answer = await answer
            else:
                await asyncio.sleep(0)
            assert isinstance(answer, Succeeded | FunctionError | Throttled | ServiceFault)
            return answer
        finally:
            self.running[name] -= 1


class House:
    """A store, a clock, a workshop and the drain between them."""

    def __init__(self, folder: Path, *, places: int = 100) -> None:
        self.clock = VirtualClock()
        self.clock.set_rate(0)  # it moves by `advance` alone
        self.store = SqliteStore(folder / "data", clock=self.clock, durability="process")
        self.workshop = Workshop(self.clock)
        self.desk = Desk()
        self.desk.register("sqs", queues.accept)
        self.desk.register("lambda", async_shelf.take_delivery)
        self.places = places
        self.drain: AsyncDrain

    @asynccontextmanager
    async def draining(self) -> AsyncIterator[AsyncDrain]:
        """Run a drain for the length of a block, as one daemon does."""
        drain = self.drain = AsyncDrain(
            self.store, self.clock, self.workshop, self.desk, retry_base_s=60.0, places=self.places
        )
        async with anyio.create_task_group() as group:
            await group.start(drain.run)
            yield drain
            group.cancel_scope.cancel()

    async def function(self, name: str, **more: Any) -> FunctionRef:
        version = FunctionVersion(
            account_id=ACCOUNT,
            region=REGION,
            name=name,
            runtime="python3.11",
            handler="app.handler",
            role="arn:aws:iam::000000000000:role/r",
            code=CodePackage("x", 1, "/nowhere"),
            revision_id="1",
            configuration_id="1",
            modified_at=0.0,
            **more,
        )
        await self.store.write(lambda tx: tx.functions.save(Function(version)))
        return FunctionRef(ACCOUNT, REGION, name)

    async def send(self, ref: FunctionRef, count: int = 1, *, payload: bytes = b"{}") -> None:
        def unit(tx: Any) -> None:
            for _ in range(count):
                async_shelf.accept(tx, ref, payload=payload, request_id=f"id-{id(tx)}", trace_header=None)

        await self.store.write(unit)

    async def configure(self, ref: FunctionRef, **settings: Any) -> None:
        config = EventInvokeConfig(0.0, **settings)
        await self.store.write(lambda tx: tx.asynchronous.save_config(ref.key, "$LATEST", config))

    async def queue(self, name: str) -> str:
        await self.store.write(
            lambda tx: queues.create(tx, account_id=ACCOUNT, region=REGION, name=name, attributes={}, tags={})
        )
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    async def bodies(self, arn: str) -> list[str]:
        def unit(tx: Any) -> list[str]:
            found = queues.receive(tx, tx.queues.by_arn(arn), limit=10_000, visibility_timeout_s=0)
            return [message.body for message in found.messages]

        return await self.store.write(unit)

    async def rest(self) -> None:
        """Return once nothing is under way any more."""
        await self.clock.advance(0)

    async def left(self) -> int:
        """How many events are on the shelf."""
        await self.rest()
        return int(self.store.engine.connection.execute("SELECT count(*) FROM async_due").fetchone()[0])

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not is_so():  # noqa: ASYNC110 - a workshop rings no bell
                await anyio.sleep(0.005)

    async def all_done(self) -> None:
        with anyio.fail_after(PATIENCE_S):
            while await self.left():
                pass


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    built = House(tmp_path)
    built.store.open()
    yield built
    await built.store.close()


def waits(moments: list[float]) -> list[float]:
    return [round(later - moments[0], 1) for later in moments[1:]]


async def test_every_event_is_run_once_and_leaves_the_shelf(house: House) -> None:
    ref = await house.function("f")
    async with house.draining() as drain:
        for _ in range(50):
            await house.send(ref, 10)
        await house.all_done()
        assert len(house.workshop.seen) == 500
        assert drain.status()["lanes"] == 0
        assert drain.status()["succeeded"] == 500


async def test_retries_wait_one_and_two_minutes_with_the_same_request_id(house: House) -> None:
    ref = await house.function("f")
    house.workshop.behaviour["f"] = lambda _: ERROR
    async with house.draining() as drain:
        await house.send(ref)
        await house.clock.advance(1000)
        assert waits(house.workshop.began["f"]) == [60.0, 180.0]
        assert len({invocation.request_id for invocation in house.workshop.seen}) == 1
        assert await house.left() == 0
        assert drain.status()["lanes"] == 0


async def test_throttles_wait_longer_each_time_and_use_up_no_retry(house: House) -> None:
    ref = await house.function("f")
    answers: list[Outcome] = [*[Throttled("full")] * 4, ERROR, Throttled("full"), ERROR, ERROR]
    house.workshop.behaviour["f"] = lambda _: answers.pop(0)
    async with house.draining():
        await house.send(ref)
        await house.clock.advance(10_000)
        assert waits(house.workshop.began["f"]) == [1.0, 3.0, 7.0, 15.0, 75.0, 76.0, 196.0]
        assert await house.left() == 0


async def test_an_event_that_found_no_room_for_too_long_ends_by_age(house: House) -> None:
    ref, dead = await house.function("f"), await house.queue("dead")
    await house.configure(ref, longest_age_s=60, on_failure=dead)
    house.workshop.behaviour["f"] = lambda _: ServiceFault("ServiceException", "away", 500)
    async with house.draining():
        await house.send(ref)
        await house.clock.advance(100)
        assert waits(house.workshop.began["f"]) == [1.0, 3.0, 7.0, 15.0, 31.0]
        (record,) = await house.bodies(dead)
        assert '"condition":"EventAgeExceeded","approximateInvokeCount":0' in record


async def test_a_stopped_drain_leaves_events_with_their_counts(house: House) -> None:
    ref = await house.function("f")
    house.workshop.behaviour["f"] = lambda _: ERROR
    async with house.draining():
        await house.send(ref)
        await house.clock.advance(61)
    assert await house.left() == 1
    async with house.draining():
        await house.clock.advance(200)
        assert waits(house.workshop.began["f"]) == [60.0, 180.0]
        assert await house.left() == 0


async def test_an_event_in_hand_at_the_end_begins_again(house: House) -> None:
    ref = await house.function("f")
    house.workshop.behaviour["f"] = lambda _: anyio.sleep_forever()
    async with house.draining():
        await house.send(ref)
        await house.until(lambda: len(house.workshop.seen) == 1)
    house.workshop.behaviour["f"] = lambda _: Succeeded(b"1")
    async with house.draining():
        await house.all_done()
    assert len(house.workshop.seen) == 2


async def test_long_handlers_leave_room_for_another_function(house: House) -> None:
    house.places = 10
    slow, quick, third = await house.function("slow"), await house.function("quick"), await house.function("third")
    gate = anyio.Event()

    async def wait(_: Invocation) -> Outcome:
        await gate.wait()
        return Succeeded(b"1")

    house.workshop.behaviour["slow"] = house.workshop.behaviour["third"] = wait
    async with house.draining():
        await house.send(slow, 100)
        await house.until(lambda: house.workshop.running["slow"] == 5)
        await anyio.sleep(0.2)
        assert house.workshop.running["slow"] == 5  # half of the places, the other half stays free
        await house.send(third, 100)
        await house.send(quick, 100)
        await house.until(lambda: len(house.workshop.began["quick"]) == 100)
        assert house.workshop.running["third"] >= 1
        gate.set()
        await house.all_done()


async def test_a_backlog_of_quick_handlers_does_not_hold_up_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynchronous, "SLOW_S", 60.0)  # on a busy machine quick handlers may look slow for a moment
    busy, other = await house.function("busy"), await house.function("other")
    await house.send(busy, 5000)
    async with house.draining():
        await house.until(lambda: bool(house.workshop.began["busy"]))
        await house.send(other)
        await house.until(lambda: bool(house.workshop.began["other"]))
        assert len(house.workshop.began["busy"]) < 4000
        await house.all_done()
        assert house.workshop.most["busy"] <= 4  # more would not help


async def test_more_functions_than_places_all_come_to_their_end(house: House) -> None:
    house.places = 4
    refs = [await house.function(f"f{number}") for number in range(40)]

    async def nap(_: Invocation) -> Outcome:
        await anyio.sleep(0.001)
        return Succeeded(b"1")

    for ref in refs:
        house.workshop.behaviour[ref.name] = nap
        await house.send(ref, 5)
    async with house.draining():
        await house.all_done()
    assert len(house.workshop.seen) == 200


async def test_reserved_concurrency_is_never_exceeded(house: House) -> None:
    ref = await house.function("f", reserved_concurrency=2)

    async def nap(_: Invocation) -> Outcome:
        await anyio.sleep(0.02)
        return Succeeded(b"1")

    house.workshop.behaviour["f"] = nap
    async with house.draining():
        await house.send(ref, 20)
        await house.all_done()
    assert house.workshop.most["f"] == 2


async def test_a_throttled_lane_does_not_run_through_its_backlog(house: House) -> None:
    ref = await house.function("f")
    house.workshop.behaviour["f"] = lambda _: Throttled("full")
    async with house.draining():
        await house.send(ref, 1000)
        await anyio.sleep(0.3)
        assert len(house.workshop.seen) <= 8
        house.workshop.behaviour["f"] = lambda _: Succeeded(b"1")
        await house.clock.advance(10)
        await house.all_done()


async def test_a_function_switched_off_hands_over_without_a_run(house: House) -> None:
    dead, failed = await house.queue("dead"), await house.queue("failed")
    ref = await house.function("f", reserved_concurrency=0, dead_letter_arn=dead)
    await house.configure(ref, on_failure=failed)
    async with house.draining():
        await house.send(ref, payload=b'{"n":1}')
        await house.all_done()
    assert house.workshop.seen == []
    assert await house.bodies(dead) == ['{"n":1}']
    assert '"condition":"ZeroReservedConcurrency","approximateInvokeCount":0' in (await house.bodies(failed))[0]


async def test_a_chain_of_functions_hands_records_on(house: House) -> None:
    first, second = await house.function("first"), await house.function("second")
    await house.configure(first, on_success="arn:aws:lambda:us-east-1:000000000000:function:second")
    async with house.draining():
        await house.send(first, payload=b'{"n":1}')
        await house.all_done()
    one, two = house.workshop.seen
    assert (one.function_name, two.function_name) == ("first", second.name)
    assert b'"requestPayload":{"n":1}' in two.payload
    assert one.request_id != two.request_id
    assert (two.trace_header or "").startswith(f"{one.trace_header};Lineage=1:")


async def test_a_missing_target_ends_the_event_and_is_counted(house: House) -> None:
    ref = await house.function("f", dead_letter_arn="arn:aws:sqs:us-east-1:000000000000:nowhere")
    await house.configure(ref, most_retries=0, on_failure="arn:aws:lambda:us-east-1:000000000000:function:gone")
    house.workshop.behaviour["f"] = lambda _: ERROR
    async with house.draining() as drain:
        await house.send(ref)
        await house.all_done()
        assert drain.status()["undelivered"] == 2


async def test_a_target_that_breaks_leaves_its_event_on_the_shelf_and_the_others_end(house: House) -> None:
    def broken(tx: Any, target: Any, message: Message) -> None:
        raise ZeroDivisionError

    house.desk.register("sns", broken)
    bad, good = await house.function("bad"), await house.function("good")
    await house.configure(bad, on_success="arn:aws:sns:us-east-1:000000000000:t")
    async with house.draining():
        await house.send(bad)
        await house.send(good, 5)
        with anyio.fail_after(PATIENCE_S):
            while await house.left() > 1:
                pass
        assert await house.left() == 1


async def test_deleting_a_function_forgets_its_events_and_configs(house: House) -> None:
    ref = await house.function("f")
    await house.configure(ref, most_retries=1)
    house.workshop.behaviour["f"] = lambda _: ERROR
    async with house.draining():
        await house.send(ref, 700)
        await house.until(lambda: len(house.workshop.seen) > 10)
        await house.store.write(lambda tx: functions.delete(tx, ref))
        await house.all_done()
        await house.function("f")
        before = len(house.workshop.seen)
        await house.clock.advance(1000)
        assert len(house.workshop.seen) == before
    assert await house.store.read(lambda tx: tx.asynchronous.config(ref.key, "$LATEST")) is None
    assert house.store.engine.connection.execute("SELECT count(*) FROM async_event").fetchone()[0] == 0


async def test_a_function_deleted_while_its_event_runs_tells_nobody(house: House) -> None:
    ref, told = await house.function("f"), await house.queue("told")
    await house.configure(ref, on_success=told)
    gate = anyio.Event()

    async def wait(_: Invocation) -> Outcome:
        await gate.wait()
        return Succeeded(b"1")

    house.workshop.behaviour["f"] = wait
    async with house.draining():
        await house.send(ref)
        await house.until(lambda: len(house.workshop.seen) == 1)
        await house.store.write(lambda tx: functions.delete(tx, ref))
        await house.function("f")
        await house.configure(ref, on_success=told)
        gate.set()
        await house.all_done()
        assert await house.bodies(told) == []


async def test_a_full_disk_delays_outcomes_and_loses_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = await house.function("f")
    settle, is_full = async_shelf.settle, True

    def maybe(*arguments: Any) -> Any:
        if is_full:
            raise StoreFull("no room")
        return settle(*arguments)

    monkeypatch.setattr(async_shelf, "settle", maybe)
    async with house.draining():
        await house.send(ref, 20)
        await anyio.sleep(0.05)
        assert await house.left() == 20
        is_full = False
        await house.clock.advance(2)
        await house.all_done()
    assert len(house.workshop.seen) == 20


async def test_moments_follow_a_clock_that_is_set(house: House) -> None:
    ref = await house.function("f")
    house.workshop.behaviour["f"] = lambda _: ERROR
    async with house.draining():
        await house.clock.advance(100_000)
        await house.send(ref)
        await house.rest()

        def back(tx: Any) -> None:
            before = house.clock.now()
            house.clock.set_real()
            house.clock.set_rate(0)
            tx.asynchronous.rebase(house.clock.now() - before)

        await house.store.write(back)
        await house.clock.advance(59)
        assert len(house.workshop.seen) == 1
        await house.clock.advance(2)
        assert len(house.workshop.seen) == 2
        await house.send(ref)
        await house.rest()
        assert len(house.workshop.seen) == 3
        await house.clock.advance(200)
        assert await house.left() == 0


async def test_only_functions_that_are_there_take_events(house: House) -> None:
    missing = FunctionRef(ACCOUNT, REGION, "nobody")
    with pytest.raises(Refused):
        await house.send(missing)
    ref = await house.function("f")
    with pytest.raises(Refused):
        await house.send(FunctionRef(ACCOUNT, REGION, "f", "live"))

    def too_large(tx: Any) -> None:
        house.desk.deliver(tx, ref.arn, Message("x" * 1_048_577))

    with pytest.raises(Undeliverable):
        await house.store.write(too_large)
    with pytest.raises(Undeliverable):
        await house.store.write(lambda tx: house.desk.deliver(tx, missing.arn, Message("{}")))


async def test_a_drain_that_has_nothing_to_do_writes_nothing(house: House) -> None:
    await house.function("f")
    async with house.draining():
        await house.rest()
        before = house.store.engine.connection.total_changes
        await house.clock.advance(100_000)
        assert house.store.engine.connection.total_changes == before
