"""Powertools inside handlers that streams drive: its batch processor, its models of events and of failure records."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name
from tests.e2e.test_powertools import await_lines, journal, vendored
from tests.running import RunningDaemon
from tests.wire.mappings_speaking import wait_for

pytestmark = pytest.mark.timeout(600)

assert journal is not None  # a fixture

BATCH = """
import os
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response

KINESIS = os.environ["KIND"] == "kinesis"
processor = BatchProcessor(event_type=EventType.KinesisDataStreams if KINESIS else EventType.DynamoDBStreams)

def one(record):
    order = record.kinesis.data_as_json()["order"] if KINESIS else int(record.dynamodb.new_image["order"])
    with open(os.environ["JOURNAL"], "a+") as journal:
        journal.write(f"{order}\\n")
        journal.flush()
        journal.seek(0)
        tries = journal.read().split().count(str(order))
    if order == 3 and tries == 1:
        raise ValueError("not the first time")

def handler(event, context):
    return process_partial_response(event=event, record_handler=one, processor=processor, context=context)
"""

MODEL = """
import os
from aws_lambda_powertools.utilities.parser import parse
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel, KinesisDataStreamModel

def handler(event, context):
    model = parse(event, KinesisDataStreamModel if os.environ["KIND"] == "kinesis" else DynamoDBStreamModel)
    with open(os.environ["JOURNAL"], "a") as journal:
        for record in model.Records:
            journal.write(record.model_dump_json() + "\\n")
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    if importlib.util.find_spec("aws_lambda_powertools") is None:
        pytest.skip("aws-lambda-powertools is not installed here")
    running = RunningDaemon(tmp_path_factory.mktemp("powertools-streams") / "data", test_clock=False)
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


def make_stream(daemon: RunningDaemon, name: str) -> str:
    client = daemon.client("kinesis")
    client.create_stream(StreamName=name, ShardCount=1)
    found: dict[str, Any] = wait_for(
        lambda: client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"],
        lambda summary: summary["StreamStatus"] == "ACTIVE",
    )
    return str(found["StreamARN"])


def make_table(daemon: RunningDaemon, name: str) -> str:
    made = daemon.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return str(made["TableDescription"]["LatestStreamArn"])


def deploy(daemon: RunningDaemon, name: str, source: str, journal: Path, *, arn: str, **mapping: Any) -> str:
    """Make a function and its mapping from a stream's beginning; return the mapping's UUID."""
    functions = daemon.client("lambda")
    functions.create_function(
        FunctionName=name,
        Runtime=runtime_name(),
        Role="arn:aws:iam::000000000000:role/powertools",
        Handler="app.handler",
        Code={"ZipFile": vendored(source)},
        Timeout=10,
        MemorySize=512,
        Environment={
            "Variables": {
                "JOURNAL": str(journal),
                "KIND": "kinesis" if ":kinesis:" in arn else "dynamodb",
                "POWERTOOLS_SERVICE_NAME": "orders",
                "POWERTOOLS_TRACE_DISABLED": "1",
            }
        },
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    made = functions.create_event_source_mapping(
        EventSourceArn=arn,
        FunctionName=name,
        StartingPosition="TRIM_HORIZON",
        FunctionResponseTypes=["ReportBatchItemFailures"],
        **mapping,
    )
    return str(made["UUID"])


def test_the_batch_processor_reports_the_failed_record_of_a_stream(daemon: RunningDaemon, journal: Path) -> None:
    arn = make_stream(daemon, "batch")
    records = [{"PartitionKey": "k", "Data": json.dumps({"order": n}).encode()} for n in range(1, 6)]
    daemon.client("kinesis").put_records(StreamName="batch", Records=records)
    deploy(daemon, "batch-stream", BATCH, journal, arn=arn)
    lines = await_lines(journal, 8, daemon)
    assert lines == ["1", "2", "3", "4", "5", "3", "4", "5"]


def test_the_batch_processor_reports_the_failed_change_of_a_table(daemon: RunningDaemon, journal: Path) -> None:
    arn = make_table(daemon, "batch")
    for number in range(1, 6):
        item = {"id": {"S": f"item-{number}"}, "order": {"N": str(number)}}
        daemon.client("dynamodb").put_item(TableName="batch", Item=item)
    deploy(daemon, "batch-table", BATCH, journal, arn=arn)
    lines = await_lines(journal, 8, daemon)
    assert lines == ["1", "2", "3", "4", "5", "3", "4", "5"]


def test_the_model_of_a_streams_event_accepts_what_is_delivered(daemon: RunningDaemon, journal: Path) -> None:
    arn = make_stream(daemon, "model")
    deploy(daemon, "model-stream", MODEL, journal, arn=arn)
    sent = daemon.client("kinesis").put_record(
        StreamName="model", PartitionKey="a key", Data=b"\xf0\x9f\x8d\xba payload"
    )
    record = json.loads(await_lines(journal, 1, daemon)[0])
    assert record["kinesis"]["sequenceNumber"] == sent["SequenceNumber"]
    assert record["kinesis"]["partitionKey"] == "a key"
    assert record["kinesis"]["data"] == "\N{BEER MUG} payload"
    assert record["eventID"] == f"{sent['ShardId']}:{sent['SequenceNumber']}"


def test_the_model_of_a_tables_event_accepts_what_is_delivered(daemon: RunningDaemon, journal: Path) -> None:
    arn = make_table(daemon, "model")
    deploy(daemon, "model-table", MODEL, journal, arn=arn)
    client = daemon.client("dynamodb")
    client.put_item(TableName="model", Item={"id": {"S": "a"}, "n": {"N": "1.5"}, "set": {"SS": ["x", "y"]}})
    client.update_item(
        TableName="model",
        Key={"id": {"S": "a"}},
        UpdateExpression="SET n = n + :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )
    client.delete_item(TableName="model", Key={"id": {"S": "a"}})
    records = [json.loads(line) for line in await_lines(journal, 3, daemon)]
    assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert records[1]["dynamodb"]["OldImage"]["n"] == "1.5"
    assert records[1]["dynamodb"]["NewImage"]["n"] == "2.5"
    assert records[2]["dynamodb"]["OldImage"]["id"] == "a"


def test_the_model_of_failure_records_accepts_ours(daemon: RunningDaemon, journal: Path) -> None:
    from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamLambdaOnFailureDestinationModel

    arn = make_table(daemon, "failing")
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName="failed")["QueueUrl"]
    target = "arn:aws:sqs:us-east-1:000000000000:failed"
    deploy(
        daemon,
        "failing-table",
        "def handler(event, context):\n    raise ValueError('no')\n",
        journal,
        arn=arn,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": target}},
    )
    daemon.client("dynamodb").put_item(TableName="failing", Item={"id": {"S": "a"}})
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
    model = DynamoDBStreamLambdaOnFailureDestinationModel.model_validate_json(message["Body"])
    assert model.request_context.condition == "RetryAttemptsExhausted"
    assert model.response_context.function_error == "Unhandled"
    assert model.ddb_stream_batch_info.batch_size == 1
    assert model.ddb_stream_batch_info.stream_arn == arn
