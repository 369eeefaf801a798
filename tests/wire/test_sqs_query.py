"""SQS over the Query protocol: what older SDKs and plain HTTP clients speak."""

import json
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import QueryAnswer, fresh, query


@pytest.fixture
def queue_url(daemon: RunningDaemon) -> str:
    answer = query(daemon.url, "CreateQueue", {"QueueName": fresh()})
    assert answer.status == 200
    url = answer.text("CreateQueueResult/QueueUrl")
    assert url is not None
    return url


def pairs(answer: QueryAnswer, path: str, key: str = "Name") -> dict[str | None, str | None]:
    out: dict[str | None, str | None] = {}
    for element in answer.all(path):
        fields = {child.tag.rpartition("}")[2]: child.text for child in element}
        out[fields[key]] = fields["Value"]
    return out


def test_a_queues_life(daemon: RunningDaemon) -> None:
    name = fresh()
    created = query(
        daemon.url,
        "CreateQueue",
        {
            "QueueName": name,
            "Attribute.1.Name": "VisibilityTimeout",
            "Attribute.1.Value": "9",
            "Tag.1.Key": "team",
            "Tag.1.Value": "blue",
        },
    )
    url = created.text("CreateQueueResult/QueueUrl")
    assert url == f"{daemon.url}/000000000000/{name}"
    assert created.text("ResponseMetadata/RequestId")
    assert query(daemon.url, "GetQueueUrl", {"QueueName": name}).text("GetQueueUrlResult/QueueUrl") == url
    listed = query(daemon.url, "ListQueues", {"QueueNamePrefix": name})
    assert [element.text for element in listed.all("ListQueuesResult/QueueUrl")] == [url]
    shown = query(url, "GetQueueAttributes", {"AttributeName.1": "VisibilityTimeout", "AttributeName.2": "QueueArn"})
    assert pairs(shown, "GetQueueAttributesResult/Attribute") == {
        "VisibilityTimeout": "9",
        "QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}",
    }
    changed = {"Attribute.1.Name": "VisibilityTimeout", "Attribute.1.Value": "8"}
    assert query(url, "SetQueueAttributes", changed).status == 200
    assert pairs(query(url, "ListQueueTags"), "ListQueueTagsResult/Tag", "Key") == {"team": "blue"}
    assert query(url, "TagQueue", {"Tag.1.Key": "a", "Tag.1.Value": "b"}).status == 200
    assert query(url, "UntagQueue", {"TagKey.1": "team"}).status == 200
    assert pairs(query(url, "ListQueueTags"), "ListQueueTagsResult/Tag", "Key") == {"a": "b"}
    grant = {"Label": "l", "AWSAccountId.1": "111111111111", "ActionName.1": "SendMessage"}
    assert query(url, "AddPermission", grant).status == 200
    assert query(url, "RemovePermission", {"Label": "l"}).status == 200
    assert query(url, "PurgeQueue").status == 200
    assert query(url, "PurgeQueue").status == 403
    assert query(url, "DeleteQueue").status == 200
    gone = query(url, "GetQueueAttributes", {"AttributeName.1": "All"})
    assert gone.status == 400
    assert gone.text("Error/Type") == "Sender"
    assert gone.text("Error/Code") == "AWS.SimpleQueueService.NonExistentQueue"
    assert gone.text("Error/Message") == "The specified queue does not exist for this wsdl version."
    assert gone.text("RequestId")


def test_a_messages_life_on_the_queues_own_path(queue_url: str) -> None:
    sent = query(
        queue_url,
        "SendMessage",
        {
            "MessageBody": "a < b & ü",
            "MessageAttribute.1.Name": "n",
            "MessageAttribute.1.Value.DataType": "Number",
            "MessageAttribute.1.Value.StringValue": "12",
            "MessageAttribute.2.Name": "b",
            "MessageAttribute.2.Value.DataType": "Binary",
            "MessageAttribute.2.Value.BinaryValue": "AP8=",
            "MessageSystemAttribute.1.Name": "AWSTraceHeader",
            "MessageSystemAttribute.1.Value.DataType": "String",
            "MessageSystemAttribute.1.Value.StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793",
        },
    )
    assert sent.status == 200
    received = query(
        queue_url,
        "ReceiveMessage",
        {"AttributeName.1": "All", "MessageAttributeName.1": "All", "MaxNumberOfMessages": "10"},
    )
    message = "ReceiveMessageResult/Message"
    assert received.text(f"{message}/Body") == "a < b & ü"
    assert received.text(f"{message}/MessageId") == sent.text("SendMessageResult/MessageId")
    assert received.text(f"{message}/MD5OfBody") == sent.text("SendMessageResult/MD5OfMessageBody")
    digest = sent.text("SendMessageResult/MD5OfMessageAttributes")
    assert received.text(f"{message}/MD5OfMessageAttributes") == digest
    assert sent.text("SendMessageResult/MD5OfMessageSystemAttributes")
    shown = pairs(received, f"{message}/Attribute")
    assert shown["ApproximateReceiveCount"] == "1"
    assert shown["AWSTraceHeader"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
    values = {
        (element.find("{*}Name").text, element.find("{*}Value/{*}DataType").text)  # type: ignore[union-attr]
        for element in received.all(f"{message}/MessageAttribute")
    }
    assert values == {("n", "Number"), ("b", "Binary")}
    handle = received.text(f"{message}/ReceiptHandle") or ""
    change = {"ReceiptHandle": handle, "VisibilityTimeout": "60"}
    assert query(queue_url, "ChangeMessageVisibility", change).status == 200
    assert query(queue_url, "DeleteMessage", {"ReceiptHandle": handle}).status == 200
    empty = query(queue_url, "ReceiveMessage", {"AttributeName.1": "All"})
    assert empty.status == 200
    assert empty.all(message) == []


def test_batches(queue_url: str) -> None:
    def entries(kind: str, *items: dict[str, str]) -> dict[str, str]:
        return {f"{kind}.{n}.{k}": v for n, item in enumerate(items, 1) for k, v in item.items()}

    sent = query(
        queue_url,
        "SendMessageBatch",
        entries(
            "SendMessageBatchRequestEntry",
            {"Id": "a", "MessageBody": "1"},
            {"Id": "b", "MessageBody": "2", "DelaySeconds": "901"},
        ),
    )
    assert sent.text("SendMessageBatchResult/SendMessageBatchResultEntry/Id") == "a"
    assert sent.text("SendMessageBatchResult/BatchResultErrorEntry/Id") == "b"
    assert sent.text("SendMessageBatchResult/BatchResultErrorEntry/Code") == "InvalidParameterValue"
    assert sent.text("SendMessageBatchResult/BatchResultErrorEntry/SenderFault") == "true"
    handle = query(queue_url, "ReceiveMessage").text("ReceiveMessageResult/Message/ReceiptHandle") or ""
    changed = query(
        queue_url,
        "ChangeMessageVisibilityBatch",
        entries(
            "ChangeMessageVisibilityBatchRequestEntry",
            {"Id": "a", "ReceiptHandle": handle, "VisibilityTimeout": "5"},
        ),
    )
    result = "ChangeMessageVisibilityBatchResult/ChangeMessageVisibilityBatchResultEntry/Id"
    assert changed.text(result) == "a"
    deleted = query(
        queue_url,
        "DeleteMessageBatch",
        entries("DeleteMessageBatchRequestEntry", {"Id": "a", "ReceiptHandle": handle}),
    )
    assert deleted.text("DeleteMessageBatchResult/DeleteMessageBatchResultEntry/Id") == "a"
    empty = query(queue_url, "SendMessageBatch")
    assert empty.text("Error/Code") == "AWS.SimpleQueueService.EmptyBatchRequest"


def test_the_queue_is_also_named_by_a_parameter(daemon: RunningDaemon, queue_url: str) -> None:
    sent = query(daemon.url, "SendMessage", {"QueueUrl": queue_url, "MessageBody": "x"})
    assert sent.status == 200
    assert query(daemon.url, "SendMessage", {"MessageBody": "x"}).text("Error/Code") == "MissingParameter"


def test_a_get_request_does_the_same(queue_url: str) -> None:
    assert query(queue_url, "SendMessage", {"MessageBody": "by get"}, method="GET").status == 200
    received = query(queue_url, "ReceiveMessage", method="GET")
    assert received.text("ReceiveMessageResult/Message/Body") == "by get"


def test_dead_letter_sources_and_move_tasks(daemon: RunningDaemon) -> None:
    def create(given: dict[str, str] | None = None) -> str:
        answer = query(daemon.url, "CreateQueue", {"QueueName": fresh(), **(given or {})})
        return answer.text("CreateQueueResult/QueueUrl") or ""

    target = create()
    arn = f"arn:aws:sqs:us-east-1:000000000000:{target.rpartition('/')[2]}"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    source = create({"Attribute.1.Name": "RedrivePolicy", "Attribute.1.Value": policy})
    sources = query(target, "ListDeadLetterSourceQueues")
    assert sources.text("ListDeadLetterSourceQueuesResult/QueueUrl") == source
    started = query(daemon.url, "StartMessageMoveTask", {"SourceArn": arn})
    assert started.text("StartMessageMoveTaskResult/TaskHandle")
    listed = query(daemon.url, "ListMessageMoveTasks", {"SourceArn": arn})
    assert listed.text("ListMessageMoveTasksResult/ListMessageMoveTasksResultEntry/SourceArn") == arn
    cancelled = query(daemon.url, "CancelMessageMoveTask", {"TaskHandle": "nonsense"})
    assert cancelled.text("Error/Code") == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("action", "given", "code"),
    [
        ("SendMessage", {"MessageBody": "x", "DelaySeconds": "soon"}, None),
        ("ReceiveMessage", {"MaxNumberOfMessages": "11"}, "InvalidParameterValue"),
        ("DeleteMessage", {"ReceiptHandle": "x"}, "ReceiptHandleIsInvalid"),
    ],
)
def test_refusals_are_xml_too(queue_url: str, action: str, given: dict[str, Any], code: str | None) -> None:
    answer = query(queue_url, action, given)
    assert answer.status == 400
    assert answer.text("Error/Type") == "Sender"
    assert answer.text("Error/Code")
    if code is not None:
        assert answer.text("Error/Code") == code


@pytest.mark.parametrize("host", ["sqs.us-east-1.localhost", "us-east-1.queue.localhost", "sqs.localhost", "localhost"])
def test_the_host_header_may_name_the_service_and_the_answer_comes_back_to_it(
    daemon: RunningDaemon, queue_url: str, host: str
) -> None:
    headers = {"Host": f"{host}:{daemon.port}"}
    name = queue_url.rpartition("/")[2]
    found = query(daemon.url, "GetQueueUrl", {"QueueName": name}, headers=headers)
    assert found.text("GetQueueUrlResult/QueueUrl") == f"http://{host}:{daemon.port}/000000000000/{name}"
    sent = query(queue_url, "SendMessage", {"MessageBody": "by host"}, headers=headers)
    assert sent.status == 200
    assert query(queue_url, "ReceiveMessage").text("ReceiveMessageResult/Message/Body") == "by host"


def test_a_region_in_the_host_header_is_the_region_of_an_unsigned_request(daemon: RunningDaemon) -> None:
    name = fresh()
    headers = {"Host": f"sqs.eu-west-1.localhost:{daemon.port}"}
    assert query(daemon.url, "CreateQueue", {"QueueName": name}, headers=headers).status == 200
    assert daemon.client("sqs", region="eu-west-1").get_queue_url(QueueName=name)
    assert query(daemon.url, "GetQueueUrl", {"QueueName": name}).status == 400


def test_the_only_element_of_a_list_or_map_may_go_without_its_number(queue_url: str) -> None:
    changed = query(queue_url, "SetQueueAttributes", {"Attribute.Name": "DelaySeconds", "Attribute.Value": "0"})
    assert changed.status == 200
    assert query(queue_url, "SendMessage", {"MessageBody": "x"}).status == 200
    shown = query(queue_url, "GetQueueAttributes", {"AttributeName": "DelaySeconds"})
    assert pairs(shown, "GetQueueAttributesResult/Attribute") == {"DelaySeconds": "0"}
    received = query(queue_url, "ReceiveMessage", {"AttributeName": "All"})
    assert "SentTimestamp" in pairs(received, "ReceiveMessageResult/Message/Attribute")
