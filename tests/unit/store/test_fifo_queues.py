"""FIFO queues on the shelf."""

import asyncio

import pytest

from eventrt.sources import queues
from eventrt.store.sqlite import shelves
from tests.running import PATIENCE_S
from tests.unit.store.shelf_bench import Bench, draft


async def test_messages_of_a_group_come_in_order_with_growing_sequence_numbers(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    sent = [(await bench.send(queue, body))[0] for body in "abcdef"]
    numbers = [s.sequence_number or "" for s in sent]
    assert numbers == sorted(numbers)
    assert {len(n) for n in numbers} == {20}
    messages = (await bench.receive(queue)).messages
    assert [m.body for m in messages] == list("abcdef")
    assert [m.sequence_number for m in messages] == numbers
    assert {(m.group_id, m.deduplication_id) for m in messages} == {("g", b) for b in "abcdef"}


async def test_a_group_in_flight_is_locked_until_all_its_messages_are_settled_or_visible(bench: Bench) -> None:
    queue = await bench.queue("q.fifo", VisibilityTimeout=30)
    await bench.send(queue, *"abc")
    await bench.send(queue, "other", group_id="h")
    first, second = (await bench.receive(queue, 2)).messages
    assert await bench.bodies(queue) == ["other"]
    assert await bench.delete(queue, first.receipt_handle) == [None]
    assert await bench.bodies(queue) == []
    with bench.store.watch(("queue", queue.id)) as bell:
        assert await bench.change(queue, second.receipt_handle, 0) is None
        await asyncio.wait_for(bell.wait(), PATIENCE_S)
    messages = (await bench.receive(queue)).messages
    assert [(m.body, m.receive_count) for m in messages] == [("b", 2), ("c", 1)]


async def test_a_receive_fills_from_the_oldest_group_first(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    for body, group in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c"), ("a3", "a"), ("b2", "b")]:
        await bench.send(queue, body, group_id=group)
    assert await bench.bodies(queue, 5) == ["a1", "a2", "a3", "b1", "b2"]
    assert await bench.bodies(queue, 5) == ["c1"]


async def test_an_expired_handle_is_refused(bench: Bench) -> None:
    queue = await bench.queue("q.fifo", VisibilityTimeout=5)
    await bench.send(queue, "a")
    handle = (await bench.receive(queue)).messages[0].receipt_handle
    bench.clock.advance(5)
    expected = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    for refusal in [*await bench.delete(queue, handle), await bench.change(queue, handle, 10)]:
        assert refusal is not None
        assert refusal.code == "InvalidParameterValueException"
        assert refusal.message == expected
    newer = (await bench.receive(queue)).messages[0].receipt_handle
    [refusal] = await bench.delete(queue, handle)
    assert refusal is not None
    assert await bench.delete(queue, newer) == [None]
    assert await bench.delete(queue, newer) == [None]
    assert await bench.delete(queue, handle) == [None]


async def test_a_deduplication_id_counts_for_five_minutes_also_after_the_delete(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    [first] = await bench.send(queue, "x")
    await bench.delete(queue, (await bench.receive(queue)).messages[0].receipt_handle)
    bench.clock.advance(299)
    [again] = await bench.send(queue, "x", group_id="another")
    assert again == first._replace(duplicate=True)
    assert await bench.depth(queue) == (0, 0, 0)
    bench.clock.advance(1)
    [anew] = await bench.send(queue, "x")
    assert not anew.duplicate
    assert anew.message_id != first.message_id
    [again] = await bench.send(queue, "x")
    assert again.message_id == anew.message_id


async def test_deduplication_per_group_lets_groups_use_the_same_id(bench: Bench) -> None:
    queue = await bench.queue("q.fifo", DeduplicationScope="messageGroup")
    assert not (await bench.send(queue, "x", group_id="a"))[0].duplicate
    assert not (await bench.send(queue, "x", group_id="b"))[0].duplicate
    assert (await bench.send(queue, "x", group_id="a"))[0].duplicate


async def test_a_duplicate_within_one_batch_lies_there_once(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    drafts = [draft(b, group_id="g", deduplication_id="same") for b in ("one", "two")]
    first, second = await bench.write(lambda tx: queues.send(tx, queue, drafts))
    assert second == first._replace(duplicate=True)
    assert await bench.bodies(queue) == ["one"]


async def test_deduplication_survives_a_restart(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    await bench.send(queue, "x")
    await bench.restart()
    assert (await bench.send(queue, "x"))[0].duplicate


async def test_an_attempt_id_gets_the_same_messages_again(bench: Bench) -> None:
    queue = await bench.queue("q.fifo", VisibilityTimeout=60)
    await bench.send(queue, *"abc")
    first = await bench.receive(queue, 2, attempt_id="try")
    bench.clock.advance(50)
    again = await bench.receive(queue, 2, attempt_id="try")
    assert again.messages == first.messages
    bench.clock.advance(50)  # the second receive began the lease anew
    assert await bench.bodies(queue) == []
    await bench.delete(queue, first.messages[0].receipt_handle)
    third = await bench.receive(queue, 2, attempt_id="try")
    assert [m.body for m in third.messages] == ["b"]
    bench.clock.advance(400)
    late = await bench.receive(queue, 2, attempt_id="try")
    assert [(m.body, m.receive_count) for m in late.messages] == [("b", 2), ("c", 1)]


async def test_poison_goes_to_the_dead_letter_queue_and_its_group_goes_on(bench: Bench) -> None:
    queue, dead = await bench.pair("q.fifo", most=1, VisibilityTimeout=1)
    [sent] = await bench.send(queue, "poison")
    await bench.send(queue, "next")
    assert await bench.bodies(queue, 1) == ["poison"]
    bench.clock.advance(2)
    assert await bench.bodies(queue, 1) == ["next"]
    [message] = (await bench.receive(dead)).messages
    assert message.message_id == sent.message_id
    assert (message.group_id, message.deduplication_id) == ("g", "poison")
    assert message.receive_count == 2
    assert message.sent_at == bench.clock.moment
    assert message.dead_letter_source_arn == queue.arn


async def test_the_queues_delay_applies_to_what_lies_there_when_it_changes(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    await bench.send(queue, "a")
    queue = await bench.write(lambda tx: queues.set_attributes(tx, queue, {"FifoQueue": "true", "DelaySeconds": "50"}))
    await bench.send(queue, "b")
    assert await bench.depth(queue) == (0, 0, 2)
    empty = await bench.receive(queue)
    assert empty.messages == ()
    assert empty.next_visible_at == bench.clock.moment + 50
    bench.clock.advance(50)
    assert await bench.depth(queue) == (2, 0, 0)
    assert await bench.bodies(queue) == ["a", "b"]


async def test_an_expired_head_does_not_hold_its_group(bench: Bench) -> None:
    queue = await bench.queue("q.fifo", MessageRetentionPeriod=60)
    await bench.send(queue, "old")
    await bench.receive(queue, visibility_timeout_s=1000)
    bench.clock.advance(30)
    await bench.send(queue, "new")
    assert await bench.bodies(queue) == []
    bench.clock.advance(30)
    assert await bench.depth(queue) == (1, 0, 0)
    assert await bench.bodies(queue) == ["new"]


async def test_a_purge_frees_every_group(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    await bench.send(queue, *"abc")
    await bench.receive(queue, 1)
    await bench.write(lambda tx: queues.purge(tx, queue))
    await bench.send(queue, "d")
    assert await bench.bodies(queue) == ["d"]


async def test_beyond_the_in_flight_limit_nothing_is_given_and_nothing_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MAXIMUM_IN_FLIGHT", 2)
    queue = await bench.queue("q.fifo")
    await bench.send(queue, *"abc")
    assert await bench.bodies(queue) == ["a", "b"]
    got = await bench.receive(queue)
    assert got.messages == ()
    assert not got.over_limit


async def test_groups_keep_their_order_over_a_restart_with_pollers_holding_leases(bench: Bench) -> None:
    queue = await bench.queue("q.fifo")
    await bench.send(queue, *"abc")
    await bench.receive(queue, 2, owner="poller")
    await bench.restart()
    await bench.write(lambda tx: tx.messages.end_poller_leases())
    messages = (await bench.receive(queue)).messages
    assert [(m.body, m.receive_count) for m in messages] == [("a", 2), ("b", 2), ("c", 1)]
