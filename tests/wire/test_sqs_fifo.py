"""FIFO queues over the wire: order and locks of groups, deduplication, expired handles, receive attempts."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import check_members, error_of, fresh, plain


@pytest.fixture
def sqs(daemon: RunningDaemon) -> Any:
    client = daemon.client("sqs")
    check_members(client)
    return client


def create(sqs: Any, **attributes: str) -> str:
    given = {"FifoQueue": "true", **attributes}
    return str(sqs.create_queue(QueueName=fresh(fifo=True), Attributes=given)["QueueUrl"])


@pytest.fixture
def url(sqs: Any) -> str:
    return create(sqs, ContentBasedDeduplication="true")


def send(sqs: Any, url: str, body: str, group: str = "g", **more: Any) -> dict[str, Any]:
    return plain(sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, **more))


def receive(sqs: Any, url: str, limit: int = 10, **more: Any) -> list[dict[str, Any]]:
    return list(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=limit, **more).get("Messages", []))


def bodies(messages: list[dict[str, Any]]) -> list[str]:
    return [message["Body"] for message in messages]


def delete(sqs: Any, url: str, *messages: dict[str, Any]) -> None:
    for message in messages:
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_a_group_comes_in_order_and_shows_its_numbers(sqs: Any, url: str) -> None:
    sent = [send(sqs, url, body) for body in "abc"]
    numbers = [answer["SequenceNumber"] for answer in sent]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 3
    assert {len(number) for number in numbers} == {20}
    messages = receive(sqs, url, MessageSystemAttributeNames=["All"])
    assert bodies(messages) == ["a", "b", "c"]
    shown = messages[0]["Attributes"]
    assert shown["SequenceNumber"] == numbers[0]
    assert shown["MessageGroupId"] == "g"
    assert shown["MessageDeduplicationId"] == ("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")


def test_a_group_in_flight_is_locked_and_others_are_not(sqs: Any, url: str) -> None:
    for body in "ab":
        send(sqs, url, body, "locked")
    [first] = receive(sqs, url, 1)
    assert receive(sqs, url) == []
    send(sqs, url, "c", "free")
    assert bodies(receive(sqs, url)) == ["c"]
    delete(sqs, url, first)
    assert bodies(receive(sqs, url)) == ["b"]


def test_a_group_is_unlocked_when_its_lease_ends_and_starts_again_with_the_first(
    sqs: Any, url: str, daemon: RunningDaemon
) -> None:
    for body in "abc":
        send(sqs, url, body)
    messages = receive(sqs, url, 2)
    assert bodies(messages) == ["a", "b"]
    daemon.advance(31)
    assert bodies(receive(sqs, url)) == ["a", "b", "c"]


def test_an_expired_handle_deletes_nothing(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    send(sqs, url, "a")
    [message] = receive(sqs, url)
    handle = message["ReceiptHandle"]
    daemon.advance(31)
    assert error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle=handle) == (
        "InvalidParameterValue",
        f"Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    )
    assert bodies(receive(sqs, url)) == ["a"]


def test_a_duplicate_is_answered_like_the_first_and_not_laid_down_even_when_that_is_deleted(
    sqs: Any, url: str, daemon: RunningDaemon
) -> None:
    first = send(sqs, url, "a")
    delete(sqs, url, *receive(sqs, url))
    assert send(sqs, url, "a") == first
    assert receive(sqs, url) == []
    daemon.advance(301)
    assert send(sqs, url, "a")["MessageId"] != first["MessageId"]
    assert bodies(receive(sqs, url)) == ["a"]


def test_an_explicit_id_wins_over_the_content(sqs: Any, url: str) -> None:
    send(sqs, url, "a", MessageDeduplicationId="1")
    send(sqs, url, "a", MessageDeduplicationId="2")
    send(sqs, url, "b", MessageDeduplicationId="2")
    assert bodies(receive(sqs, url)) == ["a", "a"]


def test_the_scope_of_deduplication_is_the_queue_or_the_group(sqs: Any) -> None:
    of_queue = create(sqs)
    of_group = create(sqs, DeduplicationScope="messageGroup", FifoThroughputLimit="perMessageGroupId")
    for url in (of_queue, of_group):
        for group in ("g", "h"):
            send(sqs, url, "a", group, MessageDeduplicationId="1")
    assert len(receive(sqs, of_queue)) == 1
    assert len(receive(sqs, of_group)) == 2


def test_content_based_deduplication_switches_on_at_once(sqs: Any) -> None:
    url = create(sqs)
    message = {"QueueUrl": url, "MessageBody": "a", "MessageGroupId": "g"}
    assert error_of(sqs.send_message, **message) == (
        "InvalidParameterValue",
        (
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly"
        ),
    )
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ContentBasedDeduplication": "true"})
    sqs.send_message(**message)


def test_what_a_fifo_queue_asks_of_a_message(sqs: Any, url: str) -> None:
    assert error_of(sqs.send_message, QueueUrl=url, MessageBody="a") == (
        "MissingParameter",
        "The request must contain the parameter MessageGroupId.",
    )
    code, message = error_of(sqs.send_message, QueueUrl=url, MessageBody="a", MessageGroupId="g", DelaySeconds=1)
    assert code == "InvalidParameterValue"
    assert message == (
        "Value 1 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid for "
        "this queue type."
    )
    send(sqs, url, "a", DelaySeconds=0)
    failed = sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "b"}])["Failed"]
    assert [(entry["Id"], entry["Code"]) for entry in failed] == [("1", "InvalidParameterValue")]


def test_a_batch_without_a_deduplication_id_fails_as_a_whole(sqs: Any) -> None:
    url = create(sqs)
    entries = [
        {"Id": "1", "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "1"},
        {"Id": "2", "MessageBody": "b", "MessageGroupId": "g"},
    ]
    assert error_of(sqs.send_message_batch, QueueUrl=url, Entries=entries)[0] == "InvalidParameterValue"
    assert receive(sqs, url) == []


def test_a_batch_keeps_its_order(sqs: Any, url: str) -> None:
    entries = [{"Id": str(n), "MessageBody": str(n), "MessageGroupId": "g"} for n in range(10)]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    assert [entry["Id"] for entry in sent] == [str(n) for n in range(10)]
    assert bodies(receive(sqs, url)) == [str(n) for n in range(10)]


def test_the_queues_delay_holds_for_every_message(sqs: Any, daemon: RunningDaemon) -> None:
    url = create(sqs, ContentBasedDeduplication="true", DelaySeconds="60")
    send(sqs, url, "a")
    assert receive(sqs, url) == []
    daemon.advance(61)
    assert bodies(receive(sqs, url)) == ["a"]


def test_a_receive_attempt_may_be_repeated(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    for body in "ab":
        send(sqs, url, body)
    first = receive(sqs, url, ReceiveRequestAttemptId="attempt")
    again = receive(sqs, url, ReceiveRequestAttemptId="attempt")
    assert bodies(first) == bodies(again) == ["a", "b"]
    assert receive(sqs, url, ReceiveRequestAttemptId="other") == []
    delete(sqs, url, *again)
    assert receive(sqs, url, ReceiveRequestAttemptId="attempt") == []


def test_order_within_groups_survives_a_restart(tmp_path: Any) -> None:
    own = RunningDaemon(tmp_path / "data").start()
    try:
        client = own.client("sqs")
        url = client.create_queue(
            QueueName="q.fifo", Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        )["QueueUrl"]
        sent = {(group, number): send(client, url, f"{group}{number}", group) for number in range(5) for group in "xyz"}
        own.restart(kill=True)
        assert send(client, url, "x0", "x") == sent["x", 0]
        seen: dict[str, list[str]] = {}
        while messages := receive(client, url):
            for message in messages:
                seen.setdefault(message["Body"][0], []).append(message["Body"][1:])
            delete(client, url, *messages)
        assert seen == {group: [str(n) for n in range(5)] for group in "xyz"}
    finally:
        own.stop()
        own.close_clients()


def test_a_noisy_tenant_does_not_delay_the_quiet_one_on_a_standard_queue(sqs: Any) -> None:
    url = sqs.create_queue(QueueName=fresh(), Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    for start in range(0, 200, 10):
        entries = [{"Id": str(n), "MessageBody": f"noisy{start + n}", "MessageGroupId": "noisy"} for n in range(10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    first = receive(sqs, url)
    assert {message["Body"][:5] for message in first} == {"noisy"}
    send(sqs, url, "quiet", "quiet")
    [shown] = [
        message
        for _ in range(3)
        for message in receive(sqs, url, MessageSystemAttributeNames=["MessageGroupId"])
        if message["Body"] == "quiet"
    ]
    assert shown["Attributes"] == {"MessageGroupId": "quiet"}
