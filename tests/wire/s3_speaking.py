"""What the wire tests of S3 share: fresh buckets, and reading what they did to a queue."""

import itertools
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import RunningDaemon

_numbers = itertools.count()


def fresh(prefix: str = "bucket") -> str:
    """Return a name that no other test takes."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}-{next(_numbers)}"


def make_bucket(s3: Any, **options: Any) -> str:
    """Make a bucket and return its name."""
    name = fresh()
    s3.create_bucket(Bucket=name, **options)
    return name


def refusal(call: Callable[[], Any]) -> tuple[str, int]:
    """Return code and status of the error a call gets."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def make_queue(daemon: RunningDaemon) -> tuple[str, str]:
    """Make a queue; return URL and ARN."""
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName=fresh("queue"))["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def drain(daemon: RunningDaemon, url: str) -> list[Any]:
    """Return the bodies of every message that is on a queue now, decoded, and delete them."""
    sqs = daemon.client("sqs")
    found: list[Any] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def records(daemon: RunningDaemon, url: str) -> list[Any]:
    """Return the records of every notification that is on a queue now."""
    return [record for body in drain(daemon, url) for record in body.get("Records", [])]
