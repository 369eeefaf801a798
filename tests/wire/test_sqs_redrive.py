"""Dead letters and move tasks over the wire."""

import json
import threading
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import check_members, error_of, fresh, plain, status_of


@pytest.fixture
def sqs(daemon: RunningDaemon) -> Any:
    client = daemon.client("sqs")
    check_members(client)
    return client


def arn_of(url: str) -> str:
    return f"arn:aws:sqs:us-east-1:000000000000:{url.rpartition('/')[2]}"


def create(sqs: Any, name: str = "q", *, dead: str | None = None, count: int = 1, fifo: bool = False) -> str:
    given = {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if fifo else {}
    if dead is not None:
        given["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": arn_of(dead), "maxReceiveCount": count})
    return str(sqs.create_queue(QueueName=fresh(name, fifo=fifo), Attributes=given)["QueueUrl"])


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    answer = sqs.receive_message(
        QueueUrl=url,
        **{
            "MaxNumberOfMessages": 10,
            "MessageSystemAttributeNames": ["All"],
            "MessageAttributeNames": ["All"],
            **more,
        },
    )
    return list(answer.get("Messages", []))


def fail(sqs: Any, daemon: RunningDaemon, url: str, times: int) -> None:
    """Receive what is there so often and let every lease end."""
    for _ in range(times):
        receive(sqs, url)
        daemon.advance(31)


def test_a_message_is_delivered_exactly_max_receive_count_times(sqs: Any, daemon: RunningDaemon) -> None:
    dead = create(sqs, "dead")
    url = create(sqs, dead=dead, count=3)
    attribute = {"a": {"DataType": "String", "StringValue": "v"}}
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison", MessageAttributes=attribute)
    seen = []
    for _ in range(3):
        [message] = receive(sqs, url)
        seen.append(message)
        daemon.advance(31)
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in seen] == ["1", "2", "3"]
    assert receive(sqs, dead) == []
    assert receive(sqs, url) == []
    [letter] = receive(sqs, dead)
    assert letter["MessageId"] == sent["MessageId"]
    assert letter["Body"] == "poison"
    assert letter["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(url)
    assert letter["Attributes"]["SentTimestamp"] == seen[0]["Attributes"]["SentTimestamp"]
    assert letter["Attributes"]["ApproximateReceiveCount"] == "4"


def test_a_dead_letter_wakes_whoever_waits_for_it(sqs: Any, daemon: RunningDaemon) -> None:
    dead = create(sqs, "dead")
    url = create(sqs, dead=dead)
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.extend(receive(sqs, dead, WaitTimeSeconds=20)))
    waiting.start()
    sqs.send_message(QueueUrl=url, MessageBody="x")
    fail(sqs, daemon, url, 1)
    assert receive(sqs, url) == []
    waiting.join()
    assert [message["Body"] for message in found] == ["x"]


def test_the_poison_of_a_fifo_group_lets_the_rest_go_on(sqs: Any, daemon: RunningDaemon) -> None:
    dead = create(sqs, "dead", fifo=True)
    url = create(sqs, dead=dead, fifo=True)
    for body in ("poison", "next"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    [poison] = receive(sqs, url, MaxNumberOfMessages=1)
    assert poison["Body"] == "poison"
    daemon.advance(31)
    assert [message["Body"] for message in receive(sqs, url)] == ["next"]
    [letter] = receive(sqs, dead)
    assert letter["MessageId"] == poison["MessageId"]
    for name in ("MessageGroupId", "MessageDeduplicationId"):
        assert letter["Attributes"][name] == poison["Attributes"][name]


def test_letters_stay_when_the_dead_letter_queue_is_gone_or_says_no(sqs: Any, daemon: RunningDaemon) -> None:
    gone, deaf = create(sqs, "gone"), create(sqs, "deaf")
    orphan, refused = create(sqs, dead=gone), create(sqs, dead=deaf)
    for url in (orphan, refused):
        sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.delete_queue(QueueUrl=gone)
    sqs.set_queue_attributes(
        QueueUrl=deaf, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"})}
    )
    for _ in range(3):
        for url in (orphan, refused):
            assert len(receive(sqs, url)) == 1
        daemon.advance(31)
    assert receive(sqs, deaf) == []


def letters(sqs: Any, daemon: RunningDaemon, number: int) -> tuple[str, str, list[str]]:
    """Return a queue, its dead-letter queue with so many letters, and the letters' ids."""
    dead = create(sqs, "dead")
    url = create(sqs, dead=dead)
    ids = [sqs.send_message(QueueUrl=url, MessageBody=str(n))["MessageId"] for n in range(number)]
    for _ in range(2):
        for _ in range(0, number, 10):
            receive(sqs, url)
        daemon.advance(31)
    receive(sqs, url)
    return url, dead, ids


def task(sqs: Any, url: str) -> dict[str, Any]:
    [found] = sqs.list_message_move_tasks(SourceArn=arn_of(url))["Results"]
    return dict(found)


def test_letters_move_back_to_where_they_came_from(sqs: Any, daemon: RunningDaemon) -> None:
    url, dead, ids = letters(sqs, daemon, 5)
    started = plain(sqs.start_message_move_task(SourceArn=arn_of(dead)))
    assert set(started) == {"TaskHandle"}
    daemon.advance(5)
    done = task(sqs, dead)
    assert done.pop("StartedTimestamp") > 1_600_000_000_000
    assert done == {
        "Status": "COMPLETED",
        "SourceArn": arn_of(dead),
        "ApproximateNumberOfMessagesMoved": 5,
        "ApproximateNumberOfMessagesToMove": 5,
    }
    assert receive(sqs, dead) == []
    moved = receive(sqs, url)
    assert sorted(message["Body"] for message in moved) == list("01234")
    assert {message["Attributes"]["ApproximateReceiveCount"] for message in moved} == {"1"}
    assert not {message["MessageId"] for message in moved} & set(ids)


def test_letters_move_to_another_queue(sqs: Any, daemon: RunningDaemon) -> None:
    url, dead, _ = letters(sqs, daemon, 3)
    other = create(sqs, "other")
    sqs.start_message_move_task(SourceArn=arn_of(dead), DestinationArn=arn_of(other))
    daemon.advance(5)
    done = task(sqs, dead)
    assert (done["Status"], done["DestinationArn"]) == ("COMPLETED", arn_of(other))
    assert len(receive(sqs, other)) == 3
    assert receive(sqs, url) == []


def test_a_task_keeps_its_rate_and_is_cancelled(sqs: Any, daemon: RunningDaemon) -> None:
    _, dead, _ = letters(sqs, daemon, 10)
    handle = sqs.start_message_move_task(SourceArn=arn_of(dead), MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    daemon.advance(3)
    running = task(sqs, dead)
    assert running["Status"] == "RUNNING"
    assert running["TaskHandle"] == handle
    assert running["MaxNumberOfMessagesPerSecond"] == 1
    assert 1 <= running["ApproximateNumberOfMessagesMoved"] <= 6
    assert running["ApproximateNumberOfMessagesToMove"] == 10
    assert error_of(sqs.start_message_move_task, SourceArn=arn_of(dead))[:2] == (
        "InvalidParameterValue",
        "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
    )
    cancelled = plain(sqs.cancel_message_move_task(TaskHandle=handle))
    assert set(cancelled) == {"ApproximateNumberOfMessagesMoved"}
    daemon.advance(60)
    ended = task(sqs, dead)
    assert ended["Status"] == "CANCELLED"
    assert "TaskHandle" not in ended
    moved = ended["ApproximateNumberOfMessagesMoved"]
    assert len(receive(sqs, dead)) == 10 - moved
    assert error_of(sqs.cancel_message_move_task, TaskHandle=handle) == (
        "InvalidParameterValue",
        "Only active tasks can be cancelled.",
    )


def test_tasks_are_listed_newest_first(sqs: Any, daemon: RunningDaemon) -> None:
    dead = create(sqs, "dead")
    create(sqs, dead=dead)
    assert plain(sqs.list_message_move_tasks(SourceArn=arn_of(dead))) == {}
    for _ in range(3):
        sqs.start_message_move_task(SourceArn=arn_of(dead))
        daemon.advance(5)
    assert len(sqs.list_message_move_tasks(SourceArn=arn_of(dead))["Results"]) == 1
    results = sqs.list_message_move_tasks(SourceArn=arn_of(dead), MaxResults=10)["Results"]
    started = [result["StartedTimestamp"] for result in results]
    assert len(started) == 3
    assert started == sorted(started, reverse=True)
    assert error_of(sqs.list_message_move_tasks, SourceArn=arn_of(dead), MaxResults=11)[0] == ("InvalidParameterValue")


def test_what_cannot_be_moved(sqs: Any) -> None:
    plain_queue, dead = create(sqs), create(sqs, "dead")
    create(sqs, dead=dead)
    start = sqs.start_message_move_task
    assert error_of(start, SourceArn=arn_of(plain_queue)) == (
        "InvalidParameterValue",
        "Source queue must be configured as a Dead Letter Queue.",
    )
    missing = arn_of(plain_queue) + "-not"
    assert error_of(start, SourceArn=missing) == (
        "ResourceNotFoundException",
        "The resource that you specified for the SourceArn parameter doesn't exist.",
    )
    assert status_of(start, SourceArn=missing) == 404
    assert error_of(start, SourceArn=arn_of(dead), DestinationArn=missing) == (
        "ResourceNotFoundException",
        "The resource that you specified for the DestinationArn parameter doesn't exist.",
    )
    for wrong in ({"SourceArn": "nonsense"}, {"SourceArn": arn_of(dead), "MaxNumberOfMessagesPerSecond": 501}):
        assert error_of(start, **wrong)[0] == "InvalidParameterValue"
    fifo = create(sqs, fifo=True)
    assert error_of(start, SourceArn=arn_of(dead), DestinationArn=arn_of(fifo))[0] == "InvalidParameterValue"
    assert error_of(sqs.cancel_message_move_task, TaskHandle="nonsense") == (
        "InvalidParameterValue",
        "Value for parameter TaskHandle is invalid.",
    )
    assert error_of(sqs.list_message_move_tasks, SourceArn=missing)[0] == "ResourceNotFoundException"
