"""Messages over the wire: send, receive, settle, visibility, delays, retention, batches."""

import hashlib
import json
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import check_members, error_of, fresh, plain

MEBIBYTE = 1048576


@pytest.fixture
def sqs(daemon: RunningDaemon) -> Any:
    client = daemon.client("sqs")
    check_members(client)
    return client


@pytest.fixture
def url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName=fresh())["QueueUrl"])


def receive(sqs: Any, url: str, **more: Any) -> list[dict[str, Any]]:
    return list(sqs.receive_message(QueueUrl=url, **{"MaxNumberOfMessages": 10, **more}).get("Messages", []))


def counts(sqs: Any, url: str) -> tuple[int, int, int]:
    """Return how many messages are visible, in flight, delayed."""
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    prefix = "ApproximateNumberOfMessages"
    return int(shown[prefix]), int(shown[prefix + "NotVisible"]), int(shown[prefix + "Delayed"])


def test_a_message_is_sent_received_once_and_deleted(sqs: Any, url: str) -> None:
    sent = plain(sqs.send_message(QueueUrl=url, MessageBody="héllo"))
    digest = hashlib.md5("héllo".encode()).hexdigest()
    assert sent == {"MessageId": sent["MessageId"], "MD5OfMessageBody": digest}
    [message] = receive(sqs, url)
    assert message == {
        "MessageId": sent["MessageId"],
        "ReceiptHandle": message["ReceiptHandle"],
        "MD5OfBody": digest,
        "Body": "héllo",
    }
    assert counts(sqs, url) == (0, 1, 0)
    assert plain(sqs.receive_message(QueueUrl=url)) == {}
    assert plain(sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])) == {}
    assert counts(sqs, url) == (0, 0, 0)


def test_all_system_attributes_are_shown_when_asked_for(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"
    sent = sqs.send_message(
        QueueUrl=url,
        MessageBody="x",
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": trace}},
    )
    assert sent["MD5OfMessageSystemAttributes"]
    receive(sqs, url, VisibilityTimeout=1)
    daemon.advance(2)
    [message] = receive(sqs, url, MessageSystemAttributeNames=["All"])
    shown = message["Attributes"]
    assert set(shown) == {
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "AWSTraceHeader",
    }
    assert shown["ApproximateReceiveCount"] == "2"
    assert shown["AWSTraceHeader"] == trace
    assert len(shown["SentTimestamp"]) == 13
    assert int(shown["ApproximateFirstReceiveTimestamp"]) >= int(shown["SentTimestamp"])
    assert error_of(sqs.receive_message, QueueUrl=url, AttributeNames=["Nonsense"]) == (
        "InvalidAttributeName",
        "Unknown Attribute Nonsense.",
    )


def test_the_sender_is_who_sts_says_it_is(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    import boto3

    sts = daemon.client("sts")
    sqs.send_message(QueueUrl=url, MessageBody="root")
    role = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/any", RoleSessionName="session")
    keys = role["Credentials"]
    actor = boto3.client(
        "sqs",
        endpoint_url=daemon.url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    actor.send_message(QueueUrl=url, MessageBody="role")
    actor.close()
    senders = {
        message["Body"]: message["Attributes"]["SenderId"]
        for message in receive(sqs, url, MessageSystemAttributeNames=["SenderId"])
    }
    assert senders == {
        "root": sts.get_caller_identity()["UserId"],
        "role": role["AssumedRoleUser"]["AssumedRoleId"],
    }


def test_the_older_and_the_newer_name_of_the_list_add_up(sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(
        sqs,
        url,
        AttributeNames=["SenderId"],
        MessageSystemAttributeNames=["ApproximateReceiveCount", "MessageGroupId"],
    )
    assert set(message["Attributes"]) == {"SenderId", "ApproximateReceiveCount"}


def test_message_attributes_come_back_with_the_digest_of_those_shown(sqs: Any, url: str) -> None:
    attributes = {
        "b.n": {"DataType": "Number.int", "StringValue": "12"},
        "a-s": {"DataType": "String", "StringValue": "zwölf 🦊"},
        "Z": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff\x01"},
    }
    sent = sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    assert sent["MD5OfMessageAttributes"] == "bf7d597d3bbcf880a2d40b9d8602a3f6"
    one = sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes={"b.n": attributes["b.n"]})

    def shown(*names: str) -> tuple[set[str], str | None]:
        [message] = [
            message
            for message in receive(sqs, url, MessageAttributeNames=list(names), VisibilityTimeout=0)
            if message["MessageId"] == sent["MessageId"]
        ]
        for name, value in message.get("MessageAttributes", {}).items():
            assert value == attributes[name]
        return set(message.get("MessageAttributes", {})), message.get("MD5OfMessageAttributes")

    assert shown("All") == (set(attributes), sent["MD5OfMessageAttributes"])
    assert shown(".*") == (set(attributes), sent["MD5OfMessageAttributes"])
    assert shown("b.*") == ({"b.n"}, one["MD5OfMessageAttributes"])
    assert shown("b.n", "nothing") == ({"b.n"}, one["MD5OfMessageAttributes"])
    assert shown("nothing") == (set(), None)
    assert shown() == (set(), None)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"MessageBody": ""}, "MissingParameter", "The request must contain the parameter MessageBody."),
        ({"MessageBody": "\x00"}, "InvalidMessageContents", None),
        ({"MessageBody": "\ufffe"}, "InvalidMessageContents", None),
        (
            {"DelaySeconds": 901},
            "InvalidParameterValue",
            "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.",
        ),
        (
            {"MessageBody": "x" * (MEBIBYTE + 1)},
            "InvalidParameterValue",
            "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.",
        ),
        (
            {"MessageAttributes": {"a": {"DataType": "String", "StringValue": ""}}},
            "InvalidParameterValue",
            "Message (user) attribute 'a' must contain a non-empty value of type 'String'.",
        ),
        ({"MessageAttributes": {"AWS.a": {"DataType": "String", "StringValue": "v"}}}, "InvalidParameterValue", None),
        (
            {"MessageAttributes": {"a": {"DataType": "String", "StringValue": "v", "StringListValues": ["v"]}}},
            "InvalidParameterValue",
            "Message (user) attribute list values in SendMessage operation are not supported.",
        ),
        (
            {"MessageDeduplicationId": "d"},
            "InvalidParameterValue",
            (
                "Value d for parameter MessageDeduplicationId is invalid. Reason: The request include parameter that "
                "is not valid for this queue type."
            ),
        ),
        (
            {"MessageGroupId": "a b"},
            "InvalidParameterValue",
            (
                "Value a b for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include "
                "alphanumeric and punctuation characters. 1 to 128 in length."
            ),
        ),
    ],
)
def test_what_cannot_be_sent(sqs: Any, url: str, more: dict[str, Any], code: str, message: str | None) -> None:
    answered = error_of(sqs.send_message, QueueUrl=url, **{"MessageBody": "x", **more})
    assert answered[0] == code
    assert message is None or answered[1] == message
    assert counts(sqs, url) == (0, 0, 0)


def test_a_message_of_exactly_one_mebibyte_passes_attributes_included(sqs: Any, url: str) -> None:
    attribute = {"a": {"DataType": "String", "StringValue": "v"}}
    body = "x" * (MEBIBYTE - 8)
    sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attribute)
    assert error_of(sqs.send_message, QueueUrl=url, MessageBody=body + "y", MessageAttributes=attribute)[0] == (
        "InvalidParameterValue"
    )
    [message] = receive(sqs, url)
    assert message["Body"] == body


def test_the_queues_own_limit_counts_at_once(sqs: Any, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"MaximumMessageSize": "1024"})
    sqs.send_message(QueueUrl=url, MessageBody="x" * 1024)
    assert error_of(sqs.send_message, QueueUrl=url, MessageBody="x" * 1025)[1] == (
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes."
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"MaxNumberOfMessages": 0},
            "Value 0 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"MaxNumberOfMessages": 11},
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            {"WaitTimeSeconds": 21},
            "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        ({"VisibilityTimeout": 43201}, None),
        ({"VisibilityTimeout": -1}, None),
        (
            {"ReceiveRequestAttemptId": "a"},
            (
                "Value a for parameter ReceiveRequestAttemptId is invalid. Reason: The request include parameter that "
                "is not valid for this queue type."
            ),
        ),
    ],
)
def test_a_receive_out_of_its_ranges_is_refused(sqs: Any, url: str, more: dict[str, Any], message: str | None) -> None:
    code, text = error_of(sqs.receive_message, QueueUrl=url, **more)
    assert code == "InvalidParameterValue"
    assert message is None or text == message


def test_a_message_comes_back_when_its_lease_ends(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [first] = receive(sqs, url)
    daemon.advance(29)
    assert receive(sqs, url) == []
    daemon.advance(2)
    [second] = receive(sqs, url, MessageSystemAttributeNames=["ApproximateReceiveCount"])
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    assert second["ReceiptHandle"] != first["ReceiptHandle"]
    # A standard queue takes the older handle as well, and deletes what is deleted already.
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    daemon.advance(60)
    assert receive(sqs, url) == []


def test_a_changed_visibility_timeout_counts_for_the_next_receive(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "100"})
    sqs.send_message(QueueUrl=url, MessageBody="x")
    receive(sqs, url)
    daemon.advance(99)
    assert receive(sqs, url) == []
    daemon.advance(2)
    assert len(receive(sqs, url)) == 1


def test_a_lease_is_extended_and_released(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url)
    handle = message["ReceiptHandle"]
    changed = sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=120)
    assert plain(changed) == {}
    daemon.advance(119)
    assert receive(sqs, url) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert len(receive(sqs, url)) == 1


def test_a_lease_lasts_twelve_hours_at_most(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = receive(sqs, url, VisibilityTimeout=100)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
    daemon.advance(50)
    assert error_of(sqs.change_message_visibility, **change, VisibilityTimeout=43200) == (
        "InvalidParameterValue",
        (
            "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message "
            "is beyond the limit [43200 seconds]."
        ),
    )
    assert error_of(sqs.change_message_visibility, **change, VisibilityTimeout=43201)[0] == ("InvalidParameterValue")
    sqs.change_message_visibility(**change, VisibilityTimeout=43100)


def test_a_malformed_handle_is_refused(sqs: Any, url: str) -> None:
    expected = ("ReceiptHandleIsInvalid", 'The input receipt handle "nonsense" is not a valid receipt handle.')
    assert error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle="nonsense") == expected
    assert (
        error_of(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle="nonsense", VisibilityTimeout=1) == expected
    )


def test_a_handle_of_another_queue_is_refused(sqs: Any, url: str) -> None:
    other = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    sqs.send_message(QueueUrl=other, MessageBody="x")
    [message] = receive(sqs, other)
    assert error_of(sqs.delete_message, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])[0] == (
        "ReceiptHandleIsInvalid"
    )
    assert counts(sqs, other) == (0, 1, 0)


def test_delays_of_the_queue_and_of_the_message(sqs: Any, daemon: RunningDaemon) -> None:
    url = sqs.create_queue(QueueName=fresh(), Attributes={"DelaySeconds": "100", "VisibilityTimeout": "900"})[
        "QueueUrl"
    ]
    sqs.send_message(QueueUrl=url, MessageBody="the queue's")
    sqs.send_message(QueueUrl=url, MessageBody="its own", DelaySeconds=50)
    sqs.send_message(QueueUrl=url, MessageBody="none", DelaySeconds=0)
    assert counts(sqs, url) == (1, 0, 2)
    assert [message["Body"] for message in receive(sqs, url)] == ["none"]
    daemon.advance(51)
    assert [message["Body"] for message in receive(sqs, url)] == ["its own"]
    daemon.advance(50)
    assert [message["Body"] for message in receive(sqs, url)] == ["the queue's"]


def test_messages_expire_with_the_retention_period_in_flight_or_not(sqs: Any, daemon: RunningDaemon) -> None:
    url = sqs.create_queue(QueueName=fresh(), Attributes={"MessageRetentionPeriod": "60"})["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="flying")
    receive(sqs, url, VisibilityTimeout=600)
    sqs.send_message(QueueUrl=url, MessageBody="waiting")
    daemon.advance(61)
    assert receive(sqs, url) == []
    daemon.advance(600)
    assert receive(sqs, url) == []


# -- batches


def test_a_batch_of_ten_is_sent_received_changed_and_deleted(sqs: Any, url: str, daemon: RunningDaemon) -> None:
    entries = [{"Id": f"e{n}", "MessageBody": str(n)} for n in range(10)]
    sent = plain(sqs.send_message_batch(QueueUrl=url, Entries=entries))
    assert set(sent) == {"Successful"}
    assert [entry["Id"] for entry in sent["Successful"]] == [entry["Id"] for entry in entries]
    messages = receive(sqs, url)
    assert {message["Body"] for message in messages} == {str(n) for n in range(10)}
    handles = [{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(messages)]
    changed = plain(
        sqs.change_message_visibility_batch(
            QueueUrl=url, Entries=[{**handle, "VisibilityTimeout": 100} for handle in handles]
        )
    )
    assert len(changed["Successful"]) == 10
    daemon.advance(60)
    assert receive(sqs, url) == []
    deleted = plain(sqs.delete_message_batch(QueueUrl=url, Entries=handles))
    assert [entry["Id"] for entry in deleted["Successful"]] == [str(n) for n in range(10)]
    assert counts(sqs, url) == (0, 0, 0)


def test_each_entry_of_a_batch_succeeds_or_fails_by_itself(sqs: Any, url: str) -> None:
    sent = plain(
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": "good", "MessageBody": "x"},
                {"Id": "delay", "MessageBody": "x", "DelaySeconds": 901},
                {"Id": "characters", "MessageBody": "\x00"},
                {
                    "Id": "number",
                    "MessageBody": "x",
                    "MessageAttributes": {"n": {"DataType": "Number", "StringValue": "a"}},
                },
            ],
        )
    )
    assert [entry["Id"] for entry in sent["Successful"]] == ["good"]
    assert {entry["Id"]: (entry["Code"], entry["SenderFault"]) for entry in sent["Failed"]} == {
        "delay": ("InvalidParameterValue", True),
        "characters": ("InvalidMessageContents", True),
        "number": ("InvalidParameterValue", True),
    }
    [message] = receive(sqs, url)
    deleted = plain(
        sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": "good", "ReceiptHandle": message["ReceiptHandle"]},
                {"Id": "bad", "ReceiptHandle": "nonsense"},
            ],
        )
    )
    assert deleted["Successful"] == [{"Id": "good"}]
    assert deleted["Failed"] == [
        {
            "Id": "bad",
            "SenderFault": True,
            "Code": "ReceiptHandleIsInvalid",
            "Message": 'The input receipt handle "nonsense" is not a valid receipt handle.',
        }
    ]
    changed = plain(
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": "a", "ReceiptHandle": "nonsense", "VisibilityTimeout": 1},
                {"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 43201},
            ],
        )
    )
    assert {entry["Id"]: entry["Code"] for entry in changed["Failed"]} == {
        "a": "ReceiptHandleIsInvalid",
        "b": "InvalidParameterValue",
    }


@pytest.mark.parametrize("operation", ["send_message_batch", "delete_message_batch", "change_message_visibility_batch"])
def test_a_batch_that_is_wrong_as_a_whole_is_refused(sqs: Any, url: str, operation: str) -> None:
    call = getattr(sqs, operation)
    rest = {"MessageBody": "x"} if operation == "send_message_batch" else {"ReceiptHandle": "x"}
    prefix = "AWS.SimpleQueueService."

    def refused(*ids: str) -> tuple[str, str]:
        return error_of(call, QueueUrl=url, Entries=[{"Id": entry_id, **rest} for entry_id in ids])

    assert refused()[0] == prefix + "EmptyBatchRequest"
    assert refused(*"abcdefghijk") == (
        prefix + "TooManyEntriesInBatchRequest",
        "Maximum number of entries per request are 10. You have sent 11.",
    )
    assert refused("a", "b", "a") == (prefix + "BatchEntryIdsNotDistinct", "Id a repeated.")
    assert refused("a b")[0] == prefix + "InvalidBatchEntryId"
    assert counts(sqs, url) == (0, 0, 0)


def test_a_batch_weighs_one_mebibyte_at_most(sqs: Any, url: str) -> None:
    half = "x" * (MEBIBYTE // 2)
    entries = [{"Id": "a", "MessageBody": half}, {"Id": "b", "MessageBody": half}]
    assert len(sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]) == 2
    entries.append({"Id": "c", "MessageBody": "y"})
    assert error_of(sqs.send_message_batch, QueueUrl=url, Entries=entries) == (
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.",
    )
    assert counts(sqs, url) == (2, 0, 0)


def test_bodies_come_back_character_by_character(sqs: Any, url: str) -> None:
    bodies = ["\t\n\r", "\u2028\u2029", "🦊" * 10, '{"a": "<&>\\""}', "\x7f\x80\ud7ff\ue000\ufffd", " x "]
    entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)]
    sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert sorted(message["Body"] for message in receive(sqs, url)) == sorted(bodies)


def test_messages_outlive_a_kill(daemon: RunningDaemon, tmp_path: Any) -> None:
    own = RunningDaemon(tmp_path / "data").start()
    try:
        client = own.client("sqs")
        url = client.create_queue(QueueName="q", Attributes={"VisibilityTimeout": "77"})["QueueUrl"]
        sent = [client.send_message(QueueUrl=url, MessageBody=str(n))["MessageId"] for n in range(20)]
        own.restart(kill=True)
        found = {message["MessageId"] for _ in range(2) for message in receive(client, url)}
        assert found == set(sent)
        assert client.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"] == {
            "VisibilityTimeout": "77"
        }
    finally:
        own.stop()
        own.close_clients()


def test_json_of_the_wrong_types_is_the_callers_fault(daemon: RunningDaemon, url: str) -> None:
    import urllib.error
    import urllib.request

    for body in (b"[]", b'{"QueueUrl": 1}', b'{"QueueUrl": "x", "MessageBody": {}}', b"{", b"\xff"):
        request = urllib.request.Request(
            daemon.url, body, {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessage"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as error:
            assert error.code == 400
            assert json.loads(error.read())["__type"]
