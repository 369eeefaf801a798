"""What ReceiveMessage does at the edges that a wire test would need an hour to reach."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eventrt.aws.call import Call
from eventrt.aws.services.sqs import SqsService
from eventrt.clock import SystemClock, VirtualClock
from eventrt.errors import ApiError
from eventrt.http import Request
from eventrt.store.sqlite import shelves
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S

ACCOUNT = "000000000000"


def call(operation: str, *, account: str = ACCOUNT) -> Call:
    async def no_body(_: int) -> bytes:
        return b""

    def no_stream() -> Any:
        raise AssertionError("nobody reads this")

    request = Request("POST", "/", "", {}, "127.0.0.1", no_body, no_stream, lambda: False)
    return Call("sqs", operation, "json", account, "us-east-1", account, "r", "localhost:4566", request)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "data", clock=VirtualClock(), durability="process")
    store.open()
    yield store
    await store.close()


async def fill(service: SqsService, name: str, messages: int, **attributes: str) -> str:
    created = await service.create_queue(call("CreateQueue"), {"QueueName": name, "Attributes": attributes})
    url = str(created["QueueUrl"])
    for number in range(messages):
        request = {"QueueUrl": url, "MessageBody": str(number)}
        if attributes:
            request |= {"MessageGroupId": str(number), "MessageDeduplicationId": str(number)}
        await service.send_message(call("SendMessage"), request)
    return url


async def receive(service: SqsService, url: str, **more: Any) -> int:
    request = {"QueueUrl": url, "MaxNumberOfMessages": 10, **more}
    return len((await service.receive_message(call("ReceiveMessage"), request)).get("Messages", ()))


async def test_a_short_poll_beyond_the_limit_in_flight_is_refused_and_a_long_one_gets_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MAXIMUM_IN_FLIGHT", 20)
    service = SqsService(store, store.engine.clock)
    url = await fill(service, "q", 30)
    assert [await receive(service, url) for _ in range(2)] == [10, 10]
    with pytest.raises(ApiError) as caught:
        await receive(service, url)
    assert caught.value.code == "OverLimit"
    assert await receive(service, url, WaitTimeSeconds=1) == 0


async def test_a_fifo_queue_at_its_limit_gives_nothing_and_no_error(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "MAXIMUM_IN_FLIGHT", 10)
    service = SqsService(store, store.engine.clock)
    url = await fill(service, "q.fifo", 20, FifoQueue="true")
    assert [await receive(service, url) for _ in range(2)] == [10, 0]


async def test_a_name_stays_taken_for_as_long_as_the_setting_says(store: SqliteStore) -> None:
    clock = store.engine.clock
    assert isinstance(clock, SystemClock)
    service = SqsService(store, clock, recreation_wait_s=60)
    url = await fill(service, "q", 0)
    await service.delete_queue(call("DeleteQueue"), {"QueueUrl": url})
    with pytest.raises(ApiError) as caught:
        await fill(service, "q", 0)
    assert caught.value.code == "QueueDeletedRecently"
    assert caught.value.message == (
        "You must wait 60 seconds after deleting a queue before you can create another with the same name."
    )
    assert isinstance(clock, VirtualClock)
    await clock.advance(61)
    assert await fill(service, "q", 0) == url


async def test_a_strangers_task_cannot_be_cancelled(store: SqliteStore) -> None:
    service = SqsService(store, store.engine.clock)
    await fill(service, "dead", 0)
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:dead"
    redrive = f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":1}}'
    await service.create_queue(call("CreateQueue"), {"QueueName": "q", "Attributes": {"RedrivePolicy": redrive}})
    started = await service.start_message_move_task(call("StartMessageMoveTask"), {"SourceArn": arn})
    cancel = {"TaskHandle": started["TaskHandle"]}
    with pytest.raises(ApiError) as caught:
        await service.cancel_message_move_task(call("CancelMessageMoveTask", account="111111111111"), cancel)
    assert (caught.value.code, caught.value.message) == ("ResourceNotFoundException", "Task does not exist.")
    assert await service.cancel_message_move_task(call("CancelMessageMoveTask"), cancel) == {
        "ApproximateNumberOfMessagesMoved": 0
    }


async def test_waits_end_at_once_when_the_daemon_stops(store: SqliteStore) -> None:
    import anyio

    service = SqsService(store, store.engine.clock)
    url = await fill(service, "q", 0)
    answers: list[int] = []

    async def poll() -> None:
        answers.append(await receive(service, url, WaitTimeSeconds=20))

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(poll)
            await anyio.wait_all_tasks_blocked()
            service.end_waits()
        await poll()
    assert answers == [0, 0, 0, 0]
