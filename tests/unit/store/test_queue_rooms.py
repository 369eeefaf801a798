"""Queues as things, move tasks, the sweeper, the mover, peeking, and the desk's acceptor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from eventrt.core.arn import Arn
from eventrt.core.messages import MoveTask, Queue, Refusal
from eventrt.destinations.desk import Desk, Message, Undeliverable
from eventrt.sources import moves, queues
from eventrt.sources.moves import Mover
from eventrt.sources.sweeper import Sweeper
from eventrt.store.sqlite import fifo
from eventrt.store.sqlite.reports import SqliteReports
from tests.running import PATIENCE_S
from tests.unit.store.shelf_bench import ACCOUNT, REGION, Bench


@asynccontextmanager
async def running(room: Any) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: room.run(task_status=task_status))
        yield
        tasks.cancel_scope.cancel()


async def until(condition: Any) -> None:
    """Let the rooms work until something is so."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a condition on rows, which nobody announces
            await asyncio.sleep(0)


# -- queues as things


async def test_queues_are_found_by_name_number_and_arn_and_accounts_are_worlds(bench: Bench) -> None:
    queue = await bench.queue("q", VisibilityTimeout=7)
    await bench.restart()
    found = await bench.store.read(
        lambda tx: (
            tx.queues.find(ACCOUNT, REGION, "q"),
            tx.queues.by_id(queue.id),
            tx.queues.by_arn(queue.arn),
            tx.queues.find("111111111111", REGION, "q"),
            tx.queues.find(ACCOUNT, "eu-west-1", "q"),
            tx.queues.by_arn("arn:aws:lambda:us-east-1:000000000000:q"),
            tx.queues.by_arn("nonsense"),
        )
    )
    assert found == (queue, queue, queue, None, None, None, None)
    assert queue.visibility_timeout_s == 7


async def test_queues_are_listed_by_prefix_in_pages(bench: Bench) -> None:
    for name in ["a", "job-1", "job-2", "job-3", "z"]:
        await bench.queue(name)
    read = bench.store.read
    names = await read(lambda tx: [q.name for q in tx.queues.list(ACCOUNT, REGION)])
    assert names == ["a", "job-1", "job-2", "job-3", "z"]
    page = await read(lambda tx: [q.name for q in tx.queues.list(ACCOUNT, REGION, prefix="job-", limit=2)])
    assert page == ["job-1", "job-2"]
    page = await read(lambda tx: [q.name for q in tx.queues.list(ACCOUNT, REGION, prefix="job-", after="job-2")])
    assert page == ["job-3"]


async def test_attributes_and_tags_are_replaced_and_a_failed_unit_leaves_them(bench: Bench) -> None:
    queue = await bench.queue("q", VisibilityTimeout=7)
    bench.clock.advance(10)
    changed = await bench.write(lambda tx: queues.set_attributes(tx, queue, {"DelaySeconds": "3"}))
    assert (changed.visibility_timeout_s, changed.delay_s) == (30, 3)
    assert changed.modified_at == queue.created_at + 10
    tagged = await bench.write(lambda tx: queues.set_tags(tx, changed, {"a": "b"}))
    assert tagged.tags == {"a": "b"}

    def fails(tx: Any) -> None:
        queues.set_attributes(tx, tagged, {})
        assert tx.queues.by_id(queue.id).delay_s == 0
        queues.create(tx, account_id=ACCOUNT, region=REGION, name="ghost", attributes={}, tags={})
        assert queues.find(tx, account_id=ACCOUNT, region=REGION, name="ghost")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.write(fails)
    assert await bench.store.read(lambda tx: tx.queues.by_id(queue.id)) == tagged
    assert await bench.store.read(lambda tx: tx.queues.find(ACCOUNT, REGION, "ghost")) is None


async def test_dead_letter_sources_are_listed(bench: Bench) -> None:
    queue, dead = await bench.pair("q")
    sources = await bench.store.read(lambda tx: tx.queues.dead_letter_sources(dead))
    assert sources == [queue]
    assert await bench.store.read(lambda tx: tx.queues.dead_letter_sources(queue)) == []


async def test_a_name_is_remembered_after_the_delete(bench: Bench) -> None:
    queue = await bench.queue("q")
    await bench.write(lambda tx: queues.delete_queue(tx, queue))
    assert await bench.store.read(lambda tx: tx.queues.deleted_at(ACCOUNT, REGION, "q")) == bench.clock.moment
    assert await bench.store.read(lambda tx: tx.queues.deleted_at(ACCOUNT, REGION, "r")) is None


# -- move tasks


async def dead_letters(bench: Bench, *bodies: str, name: str = "q") -> tuple[Queue, Queue]:
    queue, dead = await bench.pair(name, most=1, VisibilityTimeout=1)
    await bench.send(queue, *bodies)
    while await bench.bodies(queue):
        bench.clock.advance(2)
    assert (await bench.depth(dead))[0] == len(bodies)
    return queue, dead


async def start(bench: Bench, source: Queue, **more: Any) -> MoveTask | Refusal:
    more = {"destination": None, "max_per_second": None, **more}
    return await bench.write(lambda tx: moves.start(tx, source, **more))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
async def test_a_move_sends_dead_letters_back_as_new_messages(bench: Bench, name: str) -> None:
    queue, dead = await dead_letters(bench, "a", "b", "c", name=name)
    [old] = (await bench.receive(dead, 1, visibility_timeout_s=1)).messages
    bench.clock.advance(60)
    task = await start(bench, dead)
    assert isinstance(task, MoveTask)
    assert (task.status, task.to_move) == ("RUNNING", 3)
    async with running(Mover(bench.store, bench.clock)):
        await until(lambda: bench.rows("message") and not bench.store.engine.tx.messages.active_moves())
    [done] = await bench.store.read(lambda tx: moves.latest(tx, dead, limit=10))
    assert (done.status, done.moved) == ("COMPLETED", 3)
    messages = (await bench.receive(queue)).messages
    assert [m.body for m in messages] == ["a", "b", "c"]
    assert {m.receive_count for m in messages} == {1}
    assert {m.sent_at for m in messages} == {bench.clock.moment}
    assert old.message_id not in {m.message_id for m in messages}
    assert {m.dead_letter_source_arn for m in messages} == {None}
    assert await bench.depth(dead) == (0, 0, 0)


async def test_a_move_keeps_its_rate_on_the_clock_and_survives_a_restart(bench: Bench) -> None:
    queue, dead = await dead_letters(bench, *[f"m{i}" for i in range(10)])
    await start(bench, dead, max_per_second=2)
    began = bench.clock.moment

    def moved() -> int:
        return 10 - int(bench.store.engine.tx.messages.depth(dead).visible)

    async with running(Mover(bench.store, bench.clock)):
        await until(lambda: moved() == 1)
        bench.clock.advance(0.5)
        await until(lambda: moved() == 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert moved() == 2
    await bench.restart()
    async with running(Mover(bench.store, bench.clock)):
        while moved() < 10:
            now = moved()
            bench.clock.advance(0.5)
            await until(lambda before=now: moved() > before)
    assert bench.clock.moment - began >= 4
    assert (await bench.depth(queue))[0] == 10


async def test_moves_are_refused_for_what_is_no_dead_letter_queue_or_twice(bench: Bench) -> None:
    queue, dead = await dead_letters(bench, "a")
    refusal = await start(bench, queue)
    assert isinstance(refusal, Refusal)
    assert refusal.message == "Source queue must be configured as a Dead Letter Queue."
    assert isinstance(await start(bench, dead), MoveTask)
    refusal = await start(bench, dead)
    assert isinstance(refusal, Refusal)
    assert refusal.message.startswith("There is already a task running.")


async def test_a_move_is_cancelled_once(bench: Bench) -> None:
    _, dead = await dead_letters(bench, "a")
    task = await start(bench, dead)
    assert isinstance(task, MoveTask)
    cancelled = await bench.write(lambda tx: moves.cancel(tx, task.handle))
    assert cancelled.status == "CANCELLED"
    for handle, code in [
        (task.handle, "InvalidParameterValueException"),
        ("nonsense", "InvalidParameterValueException"),
        ("eyJ0YXNrSWQiOiJ4Iiwic291cmNlQXJuIjoiYXJuOng6eSJ9", "ResourceNotFoundException"),
    ]:
        refusal = await bench.write(lambda tx, handle=handle: moves.cancel(tx, handle))
        assert refusal.code == code


async def test_a_message_whose_source_is_unknown_fails_a_move_back(bench: Bench) -> None:
    _, dead = await bench.pair("q")
    await bench.send(dead, "never dead-lettered")
    await start(bench, dead)
    async with running(Mover(bench.store, bench.clock)):
        await until(lambda: not bench.store.engine.tx.messages.active_moves())
    [done] = await bench.store.read(lambda tx: moves.latest(tx, dead, limit=1))
    assert (done.status, done.failure_reason) == ("FAILED", "CouldNotDetermineMessageSource")
    assert (await bench.depth(dead))[0] == 1


# -- the sweeper


async def test_the_sweeper_removes_what_expires_at_its_moment(bench: Bench) -> None:
    async with running(Sweeper(bench.store, bench.clock)):
        for name in ("q", "q.fifo"):
            queue = await bench.queue(name, MessageRetentionPeriod=60)
            await bench.send(queue, "a", "b")
            await bench.receive(queue, 1)
        bench.clock.advance(60)
        await until(lambda: bench.rows("message") == 0)
        assert bench.rows("ready") == bench.rows("waiting") == bench.rows("lane") == 0
        assert bench.rows("deduplication") == 2
        bench.clock.advance(240)
        await until(lambda: bench.rows("deduplication") == 0)


@pytest.mark.parametrize("how", ["purge", "delete"])
async def test_the_sweeper_removes_purged_and_deleted_queues_in_slices(bench: Bench, how: str) -> None:
    for name in ("q", "q.fifo"):
        queue = await bench.queue(name)
        for i in range(30):
            await bench.send(queue, *[f"{i}-{j}" for j in range(10)], group_id=f"g{i}")
        await bench.receive(queue, 10)

        def unit(tx: Any, queue: Queue = queue) -> None:
            queues.purge(tx, queue) if how == "purge" else queues.delete_queue(tx, queue)

        await bench.write(unit)
    swept = await bench.write(lambda tx: tx.messages.sweep(50))
    assert 0 < swept.removed <= 50
    assert swept.next_at == bench.clock.moment
    async with running(Sweeper(bench.store, bench.clock)):
        tables = ("message", "ready", "waiting", "lane", "tenant")
        await until(lambda: not any(bench.rows(table) for table in tables))
        await until(lambda: bench.rows("shelf") == (2 if how == "purge" else 0))


async def test_windows_are_removed_oldest_first(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    await bench.send(queue, "a")
    bench.clock.advance(200)
    await bench.send(queue, "b")
    bench.clock.advance(fifo.DEDUPLICATION_WINDOW_S - 200)
    await bench.write(lambda tx: tx.messages.sweep(100))
    assert bench.rows("deduplication") == 1


# -- peeking


@pytest.mark.parametrize("name", ["q", "q.fifo"])
async def test_a_peek_shows_every_message_and_its_place_and_changes_nothing(bench: Bench, name: str) -> None:
    reports = SqliteReports(bench.store.engine.path, bench.clock)  # type: ignore[arg-type]
    queue = await bench.queue(name)
    assert await reports.peek_messages(queue, limit=10) == []
    await bench.send(queue, "leased", group_id="h")
    await bench.receive(queue, visibility_timeout_s=20)
    await bench.send(queue, "failed", group_id="i")
    await bench.receive(queue, visibility_timeout_s=0)
    await bench.send(queue, "ready")
    if name == "q":
        await bench.send(queue, "delayed", delay_s=30)
    peeked = await reports.peek_messages(queue, limit=10)
    now = bench.clock.moment
    places = {m.body: (m.place, m.until, m.receive_count) for m in peeked}
    assert places == {
        "leased": ("in flight", now + 20, 1),
        "failed": ("visible", None, 1),
        "ready": ("visible", None, 0),
        **({"delayed": ("delayed", now + 30, 0)} if name == "q" else {}),
    }
    one_by_one = []
    after = None
    while page := await reports.peek_messages(queue, limit=1, after=after):
        one_by_one += page
        after = page[0].position
    assert one_by_one == peeked
    with pytest.raises(ValueError, match=r"no position|convert"):
        await reports.peek_messages(queue, limit=1, after="x1/2")
    await reports.close()


# -- the desk


async def test_the_desk_lays_messages_on_queues(bench: Bench) -> None:
    queue = await bench.queue("q", MaximumMessageSize=1024)
    ordered = await bench.queue("q.fifo", ContentBasedDeduplication="true")
    desk = Desk()
    desk.register("sqs", queues.accept)
    assert desk.takes(queue.arn)
    assert not desk.takes("arn:aws:sns:us-east-1:000000000000:topic")

    def deliver(arn: str, message: Message) -> Any:
        return bench.write(lambda tx: desk.deliver(tx, arn, message))

    await deliver(queue.arn, Message("hello"))
    await deliver(ordered.arn, Message("hello", group_id="g"))
    await deliver(ordered.arn, Message("hello", group_id="g"))
    assert await bench.bodies(queue) == ["hello"]
    assert await bench.bodies(ordered) == ["hello"]
    for arn, message in [
        (ordered.arn, Message("no group")),
        (queue.arn, Message("x" * 1025)),
        (queue.arn + "x", Message("no such queue")),
        ("arn:aws:sns:us-east-1:000000000000:topic", Message("nobody")),
        ("nonsense", Message("nobody")),
    ]:
        with pytest.raises(Undeliverable):
            await deliver(arn, message)
    with pytest.raises(Undeliverable, match="does not exist"):
        await bench.write(
            lambda tx: queues.accept(tx, Arn.parse("arn:aws:sqs:us-east-1:1:q"), Message("another account"))
        )
