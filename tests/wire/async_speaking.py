"""Words for wire tests of asynchronous invocation: queues that are told of ends, handlers that tell of themselves."""

import time
import urllib.request
from typing import Any

import orjson

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.lambda_speaking import create, new_name
from tests.wire.mappings_speaking import next_message

FAILING = "def handler(event, context):\n    print('RAN', context.aws_request_id)\n    raise ValueError('no')\n"
TELLING = """
import boto3, json, os
sqs = boto3.client("sqs")
def handler(event, context):
    sqs.send_message(QueueUrl=os.environ["TOLD"], MessageBody=json.dumps({
        "id": context.aws_request_id, "event": event, "arn": context.invoked_function_arn,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }))
    return {"told": True}
"""


def new_queue(daemon: RunningDaemon, **attributes: str) -> tuple[str, str]:
    """Make a queue and return (URL, ARN)."""
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName=new_name("q"), Attributes=attributes)["QueueUrl"]
    return url, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def received(daemon: RunningDaemon, url: str, *, count: int = 1) -> list[dict[str, Any]]:
    """Receive and delete `count` messages, waiting for each."""
    sqs = daemon.client("sqs")
    found: list[dict[str, Any]] = []
    for _ in range(count):
        message = next_message(sqs, url, AttributeNames=["All"], MessageAttributeNames=["All"])
        assert message is not None, f"{len(found)} of {count} messages came"
        found.append(message)
    return found


def nothing_in(daemon: RunningDaemon, url: str) -> bool:
    """Is the queue empty now?"""
    return not daemon.client("sqs").receive_message(QueueUrl=url).get("Messages")


def record_in(daemon: RunningDaemon, url: str) -> dict[str, Any]:
    """Receive one message and return its body's JSON."""
    return dict(orjson.loads(received(daemon, url)[0]["Body"]))


def failing(daemon: RunningDaemon, source: str = FAILING, **more: Any) -> str:
    """Make a function whose handler raises."""
    return create(daemon.client("lambda"), source, **more)


def send(daemon: RunningDaemon, function: str, payload: bytes = b"{}", **more: Any) -> str:
    """Invoke asynchronously and return the request id."""
    answer = daemon.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload, **more)
    assert answer["StatusCode"] == 202
    return str(answer["ResponseMetadata"]["RequestId"])


def runs(daemon: RunningDaemon, function: str, *, at_least: int = 0) -> list[str]:
    """Return the request ids that a `FAILING` handler printed, in order, once there are so many."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with urllib.request.urlopen(f"{daemon.url}/_eventrt/functions/{function}/logs?tail=10000") as answer:
            lines = answer.read().decode().splitlines()
        found = [line.split()[-1] for line in lines if line.startswith("RAN ")]
        if len(found) >= at_least:
            return found
        assert time.monotonic() < give_up_at, f"{len(found)} of {at_least} runs"
        time.sleep(0.02)
