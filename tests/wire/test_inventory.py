"""What an operator sees of buckets, streams, tables and waiting events: control paths, and `eventrt status`."""

from typing import Any

import pytest
from click.testing import CliRunner

from eventrt.console.cli import cli
from tests.running import RunningDaemon
from tests.wire.async_speaking import FAILING, new_queue, runs, send
from tests.wire.lambda_speaking import create, new_name


def shown(daemon: RunningDaemon, kind: str, name: str, member: str = "") -> dict[str, Any]:
    """Return what a control path tells of one thing."""
    return {one["name"]: one for one in daemon.get(f"/_eventrt/{kind}")[member or kind]}[name]


def status(daemon: RunningDaemon, name: str) -> list[list[str]]:
    """Return the lines of `eventrt status` that begin with a name, cut into their columns."""
    result = CliRunner().invoke(cli, ["status", "--region", "us-east-1", "--endpoint-url", daemon.url])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if line.startswith(name)]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_a_bucket_is_shown_with_what_it_holds_and_whom_it_tells(daemon: RunningDaemon) -> None:
    s3, name = daemon.client("s3"), new_name("bucket")
    _, queue_arn = new_queue(daemon)
    s3.create_bucket(Bucket=name)
    s3.put_bucket_notification_configuration(
        Bucket=name,
        NotificationConfiguration={
            "QueueConfigurations": [
                {
                    "Id": "told",
                    "QueueArn": queue_arn,
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
                }
            ]
        },
    )
    s3.put_object(Bucket=name, Key="in/a", Body=b"x" * 1000)
    s3.put_object(Bucket=name, Key="b", Body=b"x" * 100_000)
    bucket = shown(daemon, "buckets", name)
    assert (bucket["objects"], bucket["size_bytes"], bucket["is_counted_whole"]) == (2, 101_000, True)
    assert bucket["notifications"] == [
        {"id": "told", "target_arn": queue_arn, "events": ["s3:ObjectCreated:*"], "prefix": "in/", "suffix": ""}
    ]
    assert status(daemon, name) == [[name, "2", "98.6 KiB", queue_arn.rpartition(":")[2]]]


def test_a_stream_is_shown_with_its_shards_and_its_last_record(daemon: RunningDaemon) -> None:
    kinesis, name = daemon.client("kinesis"), new_name("stream")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    assert shown(daemon, "streams", name)["last_record_at"] is None
    put_at = daemon.get("/_eventrt/clock")["now"]
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"x")
    stream = shown(daemon, "streams", name)
    assert (stream["status"], stream["open_shards"], stream["closed_shards"]) == ("ACTIVE", 2, 0)
    assert stream["last_record_at"] >= put_at
    daemon.advance(600)
    ((_, state, shards, last),) = status(daemon, name)
    assert (state, shards, last) == ("ACTIVE", "2", "10 min ago")


def test_a_table_is_shown_with_its_items_and_its_stream(daemon: RunningDaemon) -> None:
    dynamodb, name = daemon.client("dynamodb"), new_name("table")
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    dynamodb.put_item(TableName=name, Item={"id": {"S": "one"}})
    table = shown(daemon, "tables", name)
    assert (table["items"], table["size_bytes"], table["status"]) == (1, 5, "ACTIVE")
    assert table["stream_arn"] == dynamodb.describe_table(TableName=name)["Table"]["LatestStreamArn"]
    assert status(daemon, name) == [[name, "ACTIVE", "1", "5 B", "NEW_IMAGE"]]


def test_events_that_wait_are_shown_with_the_reason(daemon: RunningDaemon) -> None:
    name = create(daemon.client("lambda"), FAILING)
    for _ in range(2):
        send(daemon, name)
    runs(daemon, name, at_least=2)
    daemon.advance(1)
    events = shown(daemon, "asynchronous", name, "functions")
    assert (events["waiting"], events["due"], events["failed"], events["refused"]) == (2, 0, 2, 0)
    now = daemon.get("/_eventrt/clock")["now"]
    assert events["next_attempt"]["number"] == 2
    assert events["next_attempt"]["why"] == "attempt 1 failed: no"
    assert now < events["next_attempt"]["at"] <= now + 60
    line = status(daemon, name)[-1]
    assert (line[1], line[-1]) == ("2", "attempt 1 failed: no")
    daemon.client("lambda").put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert status(daemon, name)[0][-1] == "throttled: its reserved concurrency is 0"
    assert status(daemon, name)[-1][-1] == "reserved concurrency is 0: it ends without a further attempt"
    daemon.advance(200)
    assert name not in [one["name"] for one in daemon.get("/_eventrt/asynchronous")["functions"]]


@pytest.mark.parametrize("kind", ["buckets", "streams", "tables", "asynchronous"])
def test_what_there_is_belongs_to_an_account_and_region(daemon: RunningDaemon, kind: str) -> None:
    (members,) = daemon.get(f"/_eventrt/{kind}?account=999999999999&region=eu-west-1").values()
    assert members == []
