"""Standard queues on the shelf."""

import asyncio

import pytest

from eventrt.core import receipts
from eventrt.core.messages import MessageAttribute
from eventrt.errors import ApiError
from eventrt.sources import queues
from eventrt.store.sqlite import shelves
from tests.running import PATIENCE_S
from tests.unit.store.shelf_bench import Bench, draft


async def test_what_is_sent_is_received_whole(bench: Bench) -> None:
    queue = await bench.queue()
    attributes = {
        "text": MessageAttribute("String", "x"),
        "bytes": MessageAttribute("Binary.png", None, b"\0\1"),
    }
    sent = await bench.send(
        queue,
        "häl\U0001f600lo",
        attributes=attributes,
        md5_of_attributes="ff",
        trace_header="Root=1",
        group_id="tenant",
        sender_id="me",
    )
    [message] = (await bench.receive(queue)).messages
    assert message.message_id == sent[0].message_id
    assert message.body == "häl\U0001f600lo"
    assert message.attributes == attributes
    assert message.md5_of_attributes == "ff"
    assert message.trace_header == "Root=1"
    assert message.group_id == "tenant"
    assert message.sender_id == "me"
    assert (message.sent_at, message.first_received_at) == (bench.clock.moment, bench.clock.moment)
    assert message.receive_count == 1
    assert message.sequence_number is None


async def test_a_received_message_is_hidden_for_its_timeout_and_then_comes_again(bench: Bench) -> None:
    queue = await bench.queue(VisibilityTimeout=10)
    await bench.send(queue, "a")
    first = (await bench.receive(queue)).messages[0]
    bench.clock.advance(9.99)
    empty = await bench.receive(queue)
    assert empty.messages == ()
    assert empty.next_visible_at == pytest.approx(first.first_received_at + 10)
    bench.clock.advance(0.01)
    [again] = (await bench.receive(queue)).messages
    assert again.receive_count == 2
    assert again.first_received_at == first.first_received_at
    assert again.receipt_handle != first.receipt_handle


async def test_any_handle_a_message_had_deletes_it_and_deleting_twice_succeeds(bench: Bench) -> None:
    queue = await bench.queue(VisibilityTimeout=1)
    await bench.send(queue, "a")
    old = (await bench.receive(queue)).messages[0].receipt_handle
    bench.clock.advance(2)
    new = (await bench.receive(queue)).messages[0].receipt_handle
    assert await bench.delete(queue, old) == [None]
    assert await bench.delete(queue, old, new) == [None, None]
    assert await bench.depth(queue) == (0, 0, 0)


async def test_a_message_that_is_visible_again_is_deleted_by_its_old_handle_and_never_comes_back(bench: Bench) -> None:
    queue = await bench.queue(VisibilityTimeout=1)
    await bench.send(queue, "a", "b", group_id="noisy")
    handle = (await bench.receive(queue, 1)).messages[0].receipt_handle
    bench.clock.advance(2)
    assert await bench.bodies(queue, 1, visibility_timeout_s=0) == ["b"]
    assert await bench.delete(queue, handle) == [None]
    assert await bench.depth(queue) == (1, 0, 0)
    assert await bench.bodies(queue) == ["b"]
    assert await bench.bodies(queue) == []


@pytest.mark.parametrize("handle", ["", "x", "AQEB", "é", "A" * 40, "%%%"])
async def test_a_malformed_handle_is_refused(bench: Bench, handle: str) -> None:
    queue = await bench.queue()
    [refusal] = await bench.delete(queue, handle)
    assert refusal is not None
    assert refusal.code == "ReceiptHandleIsInvalid"
    assert refusal.message == f'The input receipt handle "{handle}" is not a valid receipt handle.'


async def test_a_handle_that_names_a_row_no_database_has_is_refused(bench: Bench) -> None:
    queue = await bench.queue()
    for handle in (receipts.write(queue.id, 2**63, 1), receipts.write(queue.id, 2**64 - 1, 1)):
        [refusal] = await bench.delete(queue, handle)
        assert refusal is not None
        assert refusal.code == "ReceiptHandleIsInvalid"


async def test_a_handle_of_another_queue_is_refused(bench: Bench) -> None:
    queue, other = await bench.queue("q"), await bench.queue("r")
    await bench.send(queue, "a")
    handle = (await bench.receive(queue)).messages[0].receipt_handle
    [refusal] = await bench.delete(other, handle)
    assert refusal is not None
    assert refusal.code == "ReceiptHandleIsInvalid"
    assert await bench.depth(queue) == (0, 1, 0)


def test_a_handle_with_one_changed_letter_is_malformed() -> None:
    handle = receipts.write(3, 70_000, 2)
    assert receipts.read(handle) == (3, 70_000, 2)
    for i in range(len(handle)):
        changed = handle[:i] + ("A" if handle[i] != "A" else "B") + handle[i + 1 :]
        assert receipts.read(changed) is None


async def test_delays_hide_a_message_and_are_counted(bench: Bench) -> None:
    queue = await bench.queue(DelaySeconds=20)
    await bench.send(queue, "queue's")
    await bench.send(queue, "none", delay_s=0)
    await bench.send(queue, "own", delay_s=5)
    assert await bench.depth(queue) == (1, 0, 2)
    assert await bench.bodies(queue) == ["none"]
    empty = await bench.receive(queue)
    assert empty.next_visible_at == bench.clock.moment + 5
    bench.clock.advance(5)
    assert await bench.depth(queue) == (1, 1, 1)
    assert await bench.bodies(queue) == ["own"]
    bench.clock.advance(15)
    assert await bench.bodies(queue) == ["queue's"]


async def test_visibility_changes_extend_release_and_end_at_twelve_hours(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "a")
    handle = (await bench.receive(queue)).messages[0].receipt_handle
    assert await bench.change(queue, handle, 43_200) is None
    bench.clock.advance(1000)
    refusal = await bench.change(queue, handle, 42_201)
    assert refusal is not None
    assert refusal.message == (
        "Value 42201 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message"
        " is beyond the limit [43200 seconds]."
    )
    assert await bench.change(queue, handle, 42_200) is None
    assert await bench.change(queue, handle, 0) is None
    assert await bench.change(queue, handle, 0) is None  # visible again: tolerated
    assert await bench.bodies(queue) == ["a"]
    await bench.delete(queue, handle)
    refusal = await bench.change(queue, handle, 10)
    assert refusal is not None
    assert "Message does not exist or is not available" in refusal.message


async def test_an_older_handle_does_not_touch_the_newer_lease(bench: Bench) -> None:
    queue = await bench.queue(VisibilityTimeout=1)
    await bench.send(queue, "a")
    old = (await bench.receive(queue)).messages[0].receipt_handle
    bench.clock.advance(2)
    await bench.receive(queue, visibility_timeout_s=30)
    assert await bench.change(queue, old, 0) is None
    assert await bench.bodies(queue) == []


async def test_a_message_is_delivered_exactly_as_often_as_the_policy_says(bench: Bench) -> None:
    queue, dead = await bench.pair(most=2, VisibilityTimeout=1)
    [sent] = await bench.send(queue, "poison", group_id="t")
    sent_at = bench.clock.moment
    for _ in range(2):
        assert await bench.bodies(queue) == ["poison"]
        bench.clock.advance(2)
    with bench.store.watch(("queue", dead.id)) as bell:
        assert await bench.bodies(queue) == []
        await asyncio.wait_for(bell.wait(), PATIENCE_S)
    assert await bench.depth(queue) == (0, 0, 0)
    [message] = (await bench.receive(dead)).messages
    assert message.message_id == sent.message_id
    assert message.receive_count == 3
    assert message.sent_at == sent_at
    assert message.dead_letter_source_arn == queue.arn
    assert message.group_id == "t"


@pytest.mark.parametrize("why", ["deleted", "denied"])
async def test_without_a_dead_letter_queue_that_takes_it_a_message_stays(bench: Bench, why: str) -> None:
    queue, dead = await bench.pair(most=1, VisibilityTimeout=1)
    if why == "deleted":
        await bench.write(lambda tx: queues.delete_queue(tx, dead))
    else:
        policy = {"RedriveAllowPolicy": '{"redrivePermission":"denyAll"}'}
        await bench.write(lambda tx: queues.set_attributes(tx, dead, policy))
    await bench.send(queue, "a")
    for _ in range(3):
        assert await bench.bodies(queue) == ["a"]
        bench.clock.advance(2)


async def test_dead_letters_make_room_for_the_messages_behind_them(bench: Bench) -> None:
    queue, dead = await bench.pair(most=1, VisibilityTimeout=1)
    await bench.send(queue, *[f"poison{i}" for i in range(10)])
    assert len(await bench.bodies(queue)) == 10
    bench.clock.advance(2)
    await bench.send(queue, "good")
    assert await bench.bodies(queue, 1) == ["good"]
    assert await bench.depth(dead) == (10, 0, 0)


async def test_an_expired_message_is_gone_wherever_it_stands(bench: Bench) -> None:
    queue = await bench.queue(MessageRetentionPeriod=60)
    await bench.send(queue, "leased")
    handle = (await bench.receive(queue, visibility_timeout_s=1000)).messages[0].receipt_handle
    await bench.send(queue, "ready")
    await bench.send(queue, "delayed", delay_s=900)
    assert await bench.depth(queue) == (1, 1, 1)
    bench.clock.advance(59)
    assert await bench.depth(queue) == (1, 1, 1)
    bench.clock.advance(1)
    assert await bench.depth(queue) == (0, 0, 0)
    assert await bench.bodies(queue) == []
    assert await bench.delete(queue, handle) == [None]
    assert bench.rows("message") == bench.rows("ready") == bench.rows("waiting") == 0


async def test_a_shorter_retention_applies_to_what_lies_there(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "a")
    bench.clock.advance(100)
    queue = await bench.write(lambda tx: queues.set_attributes(tx, queue, {"MessageRetentionPeriod": "60"}))
    assert await bench.bodies(queue) == []
    assert await bench.depth(queue) == (0, 0, 0)


async def test_no_more_than_the_limit_is_in_flight(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MAXIMUM_IN_FLIGHT", 3)
    queue = await bench.queue()
    await bench.send(queue, *"abcde")
    got = await bench.receive(queue)
    assert len(got.messages) == 3
    over = await bench.receive(queue)
    assert over.over_limit
    assert over.messages == ()
    with bench.store.watch(("queue", queue.id)) as bell:
        await bench.delete(queue, got.messages[0].receipt_handle)
        await asyncio.wait_for(bell.wait(), PATIENCE_S)
    assert len((await bench.receive(queue)).messages) == 1


async def test_a_purge_empties_the_queue_at_once_and_only_once_a_minute(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, *"abcde")
    handle = (await bench.receive(queue, 1)).messages[0].receipt_handle
    assert await bench.write(lambda tx: queues.purge(tx, queue)) is None
    assert await bench.depth(queue) == (0, 0, 0)
    assert await bench.bodies(queue) == []
    assert await bench.delete(queue, handle) == [None]
    await bench.send(queue, "later")
    refusal = await bench.write(lambda tx: queues.purge(tx, queue))
    assert refusal.code == "PurgeQueueInProgress"
    assert refusal.message == "Only one PurgeQueue operation on q is allowed every 60 seconds."
    assert await bench.bodies(queue) == ["later"]
    bench.clock.advance(60)
    assert await bench.write(lambda tx: queues.purge(tx, queue)) is None


async def test_a_deleted_queue_is_gone_with_its_messages_and_a_new_one_of_its_name_is_empty(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "a")
    handle = (await bench.receive(queue)).messages[0].receipt_handle
    await bench.write(lambda tx: queues.delete_queue(tx, queue))
    with pytest.raises(ApiError, match="QueueDoesNotExist"):
        await bench.receive(queue)
    with pytest.raises(ApiError, match="QueueDoesNotExist"):
        await bench.send(queue, "b")
    again = await bench.queue()
    assert again.id != queue.id
    assert await bench.depth(again) == (0, 0, 0)
    [refusal] = await bench.delete(again, handle)
    assert refusal is not None


async def test_a_lease_ends_at_a_restart_when_a_poller_held_it(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "client", "poller")
    await bench.receive(queue, 1, owner="client")
    await bench.receive(queue, 1, owner="poller")
    await bench.restart()
    assert await bench.write(lambda tx: tx.messages.end_poller_leases()) == 1
    assert await bench.depth(queue) == (1, 1, 0)
    [message] = (await bench.receive(queue)).messages
    assert (message.body, message.receive_count) == ("poller", 2)


async def test_a_clock_that_went_back_strands_nothing(bench: Bench) -> None:
    queue = await bench.queue()
    fifo = await bench.queue("q.fifo", DelaySeconds=10)
    await bench.send(queue, "leased")
    await bench.receive(queue, visibility_timeout_s=30)
    await bench.send(queue, "delayed", delay_s=20)
    await bench.send(fifo, "x")
    bench.clock.moment -= 1_000_000
    await bench.write(lambda tx: tx.messages.rebase(-1_000_000.0))
    assert (await bench.send(fifo, "x"))[0].duplicate
    assert await bench.bodies(fifo) == ["x"]
    bench.clock.advance(20)
    assert await bench.bodies(queue) == ["delayed"]
    bench.clock.advance(10)
    assert await bench.bodies(queue) == ["leased"]
    bench.clock.advance(270)
    assert not (await bench.send(fifo, "x"))[0].duplicate


async def test_row_ids_never_come_back(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "a")
    first = receipts.read((await bench.receive(queue)).messages[0].receipt_handle)
    await bench.write(lambda tx: tx.messages.purge(queue))
    await bench.write(lambda tx: tx.messages.sweep(100))
    await bench.restart()
    await bench.send(queue, "b")
    second = receipts.read((await bench.receive(queue)).messages[0].receipt_handle)
    assert first is not None
    assert second is not None
    assert second.row_id > first.row_id


async def test_a_lease_that_ends_before_what_was_told_rings_the_bell(bench: Bench) -> None:
    queue = await bench.queue()
    await bench.send(queue, "a", "b")
    await bench.receive(queue, 1, visibility_timeout_s=100)
    await bench.receive(queue, 1, visibility_timeout_s=200)
    with bench.store.watch(("queue", queue.id)) as bell:
        told = (await bench.receive(queue)).next_visible_at
        assert told == bench.clock.moment + 100
        await bench.send(queue, "c")
        await bell.wait()
        assert (await bench.receive(queue, visibility_timeout_s=5)).messages
        await asyncio.wait_for(bell.wait(), PATIENCE_S)
        assert (await bench.receive(queue)).next_visible_at == bench.clock.moment + 5


async def test_units_that_share_a_commit_see_each_other(bench: Bench) -> None:
    queue = await bench.queue()
    answers = await asyncio.gather(
        bench.store.write(lambda tx: queues.send(tx, queue, [draft("a")])),
        bench.store.write(lambda tx: queues.receive(tx, queue, limit=1)),
        bench.store.write(lambda tx: queues.receive(tx, queue, limit=1)),
    )
    assert [m.body for m in answers[1].messages] == ["a"]
    assert answers[2].messages == ()
