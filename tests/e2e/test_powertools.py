"""AWS Lambda Powertools inside a handler: its batch processor, and its model of the event."""

import importlib.metadata
import importlib.util
import io
import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name
from tests.bench.process import SHARED
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(180)

SUITE: tuple[str, ...] = ("aws-lambda-powertools", "pydantic", "pydantic-core", "annotated-types", "typing-extensions")
SUITE += ("typing-inspection", "jmespath")

BATCH = """
import os
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

processor = BatchProcessor(event_type=EventType.SQS)
JOURNAL = os.environ["JOURNAL"]

def one(record):
    with open(JOURNAL, "a") as journal:
        journal.write(f"{record.body} {record.attributes.approximate_receive_count}\\n")
    if record.json_body["order"] % 3 == 0 and int(record.attributes.approximate_receive_count) == 1:
        raise ValueError("not the first time")

def handler(event, context):
    return process_partial_response(event=event, record_handler=one, processor=processor, context=context)
"""

FIFO = BATCH.replace("import BatchProcessor, EventType", "import EventType, SqsFifoPartialProcessor").replace(
    "BatchProcessor(event_type=EventType.SQS)", "SqsFifoPartialProcessor()"
)

MODEL = """
import os
from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.parser.models import SqsModel
from aws_lambda_powertools.utilities.data_classes import SQSEvent

@event_parser(model=SqsModel)
def parsed(event: SqsModel, context):
    return event

def handler(event, context):
    model = parsed(event, context)
    with open(os.environ["JOURNAL"], "a") as journal:
        for record, plain in zip(model.Records, SQSEvent(event).records):
            assert plain.message_id == record.messageId
            journal.write(record.model_dump_json() + "\\n")
"""


def vendored(source: str) -> bytes:
    """Return an archive of a handler with Powertools beside it, taken from what is installed here."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        package.writestr("app.py", source)
        for name in SUITE:
            for file in importlib.metadata.files(name) or []:
                if file.suffix == ".pyc" or file.parts[0] == "..":
                    continue
                package.write(str(file.locate()), str(file))
    return archive.getvalue()


@pytest.fixture
def journal() -> Iterator[Path]:
    """A file that handlers can write: their /tmp is their own."""
    with tempfile.TemporaryDirectory(prefix="eventrt-powertools-", dir=SHARED) as folder:
        yield Path(folder) / "journal"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    if importlib.util.find_spec("aws_lambda_powertools") is None:
        pytest.skip("aws-lambda-powertools is not installed here")
    running = RunningDaemon(tmp_path_factory.mktemp("powertools") / "data", test_clock=False)
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


def deploy(daemon: RunningDaemon, name: str, source: str, journal: Path, *, queue: str, **mapping: Any) -> str:
    """Make a function and a queue that drives it; return the queue's URL. The mapping is disabled at first."""
    functions, sqs = daemon.client("lambda"), daemon.client("sqs")
    functions.create_function(
        FunctionName=name,
        Runtime=runtime_name(),
        Role="arn:aws:iam::000000000000:role/powertools",
        Handler="app.handler",
        Code={"ZipFile": vendored(source)},
        Timeout=5,
        MemorySize=512,
        Environment={
            "Variables": {
                "JOURNAL": str(journal),
                "POWERTOOLS_SERVICE_NAME": "orders",
                "POWERTOOLS_TRACE_DISABLED": "1",
            }
        },
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    attributes = {"VisibilityTimeout": "5"}
    if queue.endswith(".fifo"):
        attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url: str = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
    functions.create_event_source_mapping(
        EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{queue}",
        FunctionName=name,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        **mapping,
    )
    return url


def await_lines(journal: Path, count: int, log: RunningDaemon, *, timeout_s: float = 120.0) -> list[str]:
    """Return the journal's lines once there are so many."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        lines = journal.read_text().splitlines() if journal.exists() else []
        if len(lines) >= count:
            return lines
        assert time.monotonic() < give_up_at, f"{len(lines)} of {count} lines: {lines}\n{log.log[-3000:]}"
        time.sleep(0.05)


def await_empty(daemon: RunningDaemon, url: str, *, timeout_s: float = 120.0) -> None:
    """Return once the queue holds nothing."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    give_up_at = time.monotonic() + timeout_s
    while True:
        found = daemon.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        if set(found.values()) == {"0"}:
            return
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)


def test_the_batch_processor_brings_back_only_what_failed(daemon: RunningDaemon, journal: Path) -> None:
    url = deploy(daemon, "batch", BATCH, journal, queue="batch-orders", BatchSize=10)
    entries = [{"Id": str(n), "MessageBody": json.dumps({"order": n})} for n in range(1, 10)]
    daemon.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    lines = await_lines(journal, 12, daemon)
    await_empty(daemon, url)
    counts: dict[int, list[str]] = {}
    for line in lines:
        body, _, count = line.rpartition(" ")
        counts.setdefault(json.loads(body)["order"], []).append(count)
    assert counts == {n: ["1", "2"] if n % 3 == 0 else ["1"] for n in range(1, 10)}


def test_the_fifo_processor_keeps_what_follows_a_failure_for_later(daemon: RunningDaemon, journal: Path) -> None:
    url = deploy(daemon, "fifo", FIFO, journal, queue="steps.fifo", BatchSize=10)
    entries = [
        {"Id": str(n), "MessageBody": json.dumps({"order": n}), "MessageGroupId": "one"} for n in (1, 2, 3, 4, 5)
    ]
    daemon.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    await_empty(daemon, url)
    done: list[int] = []
    for line in journal.read_text().splitlines():
        body, _, count = line.rpartition(" ")
        order = json.loads(body)["order"]
        if not (order % 3 == 0 and count == "1"):
            done.append(order)
    assert done == [1, 2, 3, 4, 5]


def test_the_model_of_the_event_accepts_what_is_delivered(daemon: RunningDaemon, journal: Path) -> None:
    url = deploy(daemon, "model", MODEL, journal, queue="model-orders")
    sent = daemon.client("sqs").send_message(
        QueueUrl=url,
        MessageBody='{"order": 1}',
        MessageAttributes={
            "kind": {"DataType": "String", "StringValue": "new"},
            "weight": {"DataType": "Number", "StringValue": "1.5"},
            "seal": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        MessageSystemAttributes={
            "AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}
        },
    )
    record = json.loads(await_lines(journal, 1, daemon)[0])
    await_empty(daemon, url)
    assert record["messageId"] == sent["MessageId"]
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["messageAttributes"]["kind"]["stringValue"] == "new"
    assert record["messageAttributes"]["weight"]["dataType"] == "Number"
    assert record["attributes"]["AWSTraceHeader"] == "Root=1-5759e988-bd862e3fe1be46a994272793"
    assert record["eventSourceARN"] == "arn:aws:sqs:us-east-1:000000000000:model-orders"
    assert (record["eventSource"], record["awsRegion"]) == ("aws:sqs", "us-east-1")
