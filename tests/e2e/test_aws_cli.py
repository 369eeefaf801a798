"""The AWS CLI: the walk a person takes, queue, role, function, mapping, messages, and everything taken away again."""

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name

pytestmark = pytest.mark.timeout(1800)

HANDLER = """
import boto3, os

def handler(event, context):
    for record in event.get("Records", []):
        if record["body"] == "poison":
            raise ValueError("poison")
        boto3.client("sqs").send_message(QueueUrl=os.environ["RESULTS"], MessageBody=record["body"][::-1])
    return {"function": context.function_name, "event": event}
"""

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}

Aws = Callable[..., str]
AwsJson = Callable[..., Any]


@pytest.fixture
def aws_json(aws: Aws) -> AwsJson:
    """Run an AWS CLI command and return its JSON, or its text where it is none."""

    def run(*arguments: str, **options: Any) -> Any:
        shown = aws(*arguments, **options)
        return json.loads(shown) if shown.strip().startswith(("{", "[")) else shown

    return run


def receive(aws: AwsJson, url: str, *, timeout_s: float = 120.0) -> Any:
    """Return the next message of a queue, deleted."""
    give_up_at = time.monotonic() + timeout_s
    while time.monotonic() < give_up_at:
        answer = aws("sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "5")
        if answer:
            message = answer["Messages"][0]
            aws("sqs", "delete-message", "--queue-url", url, "--receipt-handle", message["ReceiptHandle"])
            return message
    raise AssertionError("no message came")


def test_a_person_walks_from_an_empty_daemon_to_a_dead_letter_and_back(aws_json: AwsJson, tmp_path: Path) -> None:
    aws = aws_json
    assert aws("sts", "get-caller-identity")["Account"] == "000000000000"

    dead = aws("sqs", "create-queue", "--queue-name", "dead")["QueueUrl"]
    names = ("--attribute-names", "QueueArn")
    dead_arn = aws("sqs", "get-queue-attributes", "--queue-url", dead, *names)["Attributes"]["QueueArn"]
    assert dead_arn == "arn:aws:sqs:eu-central-1:000000000000:dead"
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "1"})
    attributes = json.dumps({"VisibilityTimeout": "5", "RedrivePolicy": redrive})
    orders = aws("sqs", "create-queue", "--queue-name", "orders", "--attributes", attributes)["QueueUrl"]
    results = aws("sqs", "create-queue", "--queue-name", "results")["QueueUrl"]
    assert sorted(aws("sqs", "list-queues")["QueueUrls"]) == sorted([dead, orders, results])

    make = ("iam", "create-role", "--role-name", "worker", "--assume-role-policy-document", json.dumps(TRUST))
    role = aws(*make)["Role"]["Arn"]
    basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaSQSQueueExecutionRole"
    aws("iam", "attach-role-policy", "--role-name", "worker", "--policy-arn", basic)
    assert aws("iam", "get-role", "--role-name", "worker")["Role"]["AssumeRolePolicyDocument"] == TRUST

    with zipfile.ZipFile(tmp_path / "app.zip", "w") as package:
        package.writestr("app.py", HANDLER)
    made = aws(
        *("lambda", "create-function", "--function-name", "worker", "--runtime", runtime_name()),
        *("--role", role, "--handler", "app.handler", "--zip-file", "fileb://app.zip", "--timeout", "5"),
        *("--environment", json.dumps({"Variables": {"RESULTS": results}})),
    )
    assert made["State"] in ("Pending", "Active")
    aws("lambda", "wait", "function-active-v2", "--function-name", "worker")
    invoked = aws("lambda", "invoke", "--function-name", "worker", "--payload", '{"hello": 1}', "out.json")
    assert invoked["StatusCode"] == 200
    assert json.loads((tmp_path / "out.json").read_text()) == {"function": "worker", "event": {"hello": 1}}

    orders_arn = dead_arn.replace(":dead", ":orders")
    mapping = aws(
        *("lambda", "create-event-source-mapping", "--function-name", "worker"),
        *("--event-source-arn", orders_arn, "--batch-size", "1"),
    )
    listed = aws("lambda", "list-event-source-mappings", "--function-name", "worker")["EventSourceMappings"]
    assert [one["UUID"] for one in listed] == [mapping["UUID"]]

    sent = aws("sqs", "send-message", "--queue-url", orders, "--message-body", "stressed")
    assert len(sent["MD5OfMessageBody"]) == 32
    assert receive(aws, results)["Body"] == "desserts"
    entries = json.dumps([{"Id": "a", "MessageBody": "poison"}, {"Id": "b", "MessageBody": "live"}])
    batch = aws("sqs", "send-message-batch", "--queue-url", orders, "--entries", entries)
    assert {one["Id"] for one in batch["Successful"]} == {"a", "b"}
    assert receive(aws, results)["Body"] == "evil"
    assert receive(aws, dead)["Body"] == "poison"

    refused = aws("sqs", "get-queue-url", "--queue-name", "nowhere", fails=True)
    assert "NonExistentQueue" in refused
    refused = aws("lambda", "get-function", "--function-name", "nowhere", fails=True)
    assert "ResourceNotFoundException" in refused
    refused = aws("iam", "delete-role", "--role-name", "worker", fails=True)
    assert "DeleteConflict" in refused

    aws("lambda", "delete-event-source-mapping", "--uuid", mapping["UUID"])
    aws("lambda", "delete-function", "--function-name", "worker")
    aws("iam", "detach-role-policy", "--role-name", "worker", "--policy-arn", basic)
    aws("iam", "delete-role", "--role-name", "worker")
    for url in (dead, orders, results):
        aws("sqs", "delete-queue", "--queue-url", url)
    assert not aws("sqs", "list-queues")
    assert aws("lambda", "list-functions")["Functions"] == []
    assert aws("iam", "list-roles")["Roles"] == []
