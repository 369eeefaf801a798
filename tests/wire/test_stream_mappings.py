"""Mappings of streams over the wire: every knob seen to act, with real functions, on Kinesis streams and tables."""

import base64
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.lambda_speaking import error_of, members_of, new_name, zip_of
from tests.wire.mappings_speaking import wait_for
from tests.wire.streams_speaking import StreamLife, begin, begin_with_table, payloads_of

ALWAYS = {
    "UUID",
    "EventSourceMappingArn",
    "EventSourceArn",
    "FunctionArn",
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "FunctionResponseTypes",
    "State",
    "StateTransitionReason",
    "LastModified",
    "StartingPosition",
    "ParallelizationFactor",
    "BisectBatchOnFunctionError",
    "MaximumRecordAgeInSeconds",
    "MaximumRetryAttempts",
    "TumblingWindowInSeconds",
    "DestinationConfig",
    "LastProcessingResult",
}

READS = """
import base64

def payloads(event):
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]

"""

FAIL_ON_BAD = (
    READS
    + """
def behave(event):
    if any("bad" in payload for payload in payloads(event)):
        raise ValueError("bad")
"""
)

REPORT_BAD = (
    READS
    + """
def behave(event):
    named = zip(payloads(event), event["Records"])
    bad = [record["kinesis"]["sequenceNumber"] for payload, record in named if "bad" in payload]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}
"""
)

COUNT = """
def behave(event):
    return {"state": {"n": event["state"].get("n", 0) + len(event["Records"])}}
"""


@pytest.fixture
def lives(daemon: RunningDaemon) -> Iterator[list[StreamLife]]:
    """Lives that end with the test."""
    begun: list[StreamLife] = []
    yield begun
    for life in begun:
        life.close()


# -- what reaches the function


def test_a_record_reaches_the_function_in_the_shape_of_aws(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map()
    (number,) = life.put(("a key", "hello"))
    event = life.told_next()
    assert set(event) == {"Records"}
    (record,) = event["Records"]
    arrived = record["kinesis"].pop("approximateArrivalTimestamp")
    assert isinstance(arrived, float)
    assert abs(arrived - daemon.get("/_eventrt/clock")["now"]) < 60
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "a key",
            "sequenceNumber": number,
            "data": base64.b64encode(b"hello").decode(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/tester",
        "awsRegion": "us-east-1",
        "eventSourceARN": life.arn,
    }
    life.catches_up()


def test_a_change_of_an_item_reaches_the_function_in_the_shape_of_aws(
    daemon: RunningDaemon, lives: list[StreamLife]
) -> None:
    life = begin_with_table(daemon)
    lives.append(life)
    life.map()
    life.dynamodb.put_item(TableName=life.name, Item={"id": {"S": "a"}, "n": {"N": "1"}})
    (record,) = life.told_next()["Records"]
    assert len(record.pop("eventID")) == 32
    told = record["dynamodb"]
    assert isinstance(told.pop("ApproximateCreationDateTime"), int | float)
    assert told.pop("SequenceNumber").isdigit()
    assert record == {
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "n": {"N": "1"}},
            "SizeBytes": told["SizeBytes"],
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": life.arn,
    }
    life.dynamodb.delete_item(TableName=life.name, Key={"id": {"S": "a"}})
    (record,) = life.told_next()["Records"]
    assert record["eventName"] == "REMOVE"
    assert "userIdentity" not in record


def test_an_item_that_expired_names_the_service_that_deleted_it(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin_with_table(daemon)
    lives.append(life)
    life.map(StartingPosition="LATEST")
    life.dynamodb.update_time_to_live(
        TableName=life.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
    )
    soon = int(daemon.get("/_eventrt/clock")["now"]) + 60
    life.dynamodb.put_item(TableName=life.name, Item={"id": {"S": "a"}, "ttl": {"N": str(soon)}})
    assert life.told_next()["Records"][0]["eventName"] == "INSERT"
    daemon.advance(3600)
    (record,) = life.told_next()["Records"]
    assert record["eventName"] == "REMOVE"
    assert record["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def test_a_consumer_of_a_stream_is_a_source_too(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    consumer = life.kinesis.register_stream_consumer(StreamARN=life.arn, ConsumerName="fan")["Consumer"]
    life.map(source=consumer["ConsumerARN"])
    life.put("hello")
    event = life.told_next()
    assert payloads_of(event) == ["hello"]
    assert event["Records"][0]["eventSourceARN"] == consumer["ConsumerARN"]


def test_a_consumer_that_was_deregistered_is_read_no_more(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    consumer = life.kinesis.register_stream_consumer(StreamARN=life.arn, ConsumerName="fan")["Consumer"]
    life.map(source=consumer["ConsumerARN"])
    life.kinesis.deregister_stream_consumer(ConsumerARN=consumer["ConsumerARN"])
    life.put("hello")
    assert life.is_silent()
    result = life.lambda_.get_event_source_mapping(UUID=life.uuid)["LastProcessingResult"]
    assert result == "PROBLEM: The consumer does not exist."


# -- the mapping itself


def test_a_mapping_is_created_with_the_defaults_of_streams(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    made = members_of(life.map(StartingPosition="LATEST"))
    assert set(made) == ALWAYS
    wanted = {
        "State": "Creating",
        "StateTransitionReason": "User action",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "StartingPosition": "LATEST",
        "ParallelizationFactor": 1,
        "BisectBatchOnFunctionError": False,
        "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1,
        "TumblingWindowInSeconds": 0,
        "DestinationConfig": {"OnFailure": {}},
        "LastProcessingResult": "No records processed",
        "FunctionResponseTypes": [],
    }
    assert {name: made[name] for name in wanted} == wanted
    life.put("hello")
    life.told_next()
    wait_for(life.settled, lambda mapping: mapping["LastProcessingResult"] == "OK")


def test_an_update_changes_what_it_names(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    target = life.dead_letters()
    life.map(DestinationConfig={"OnFailure": {"Destination": target}}, MaximumRetryAttempts=3)
    changed = life.update(ParallelizationFactor=5, BisectBatchOnFunctionError=True, MaximumRecordAgeInSeconds=120)
    assert changed["ParallelizationFactor"] == 5
    assert changed["BisectBatchOnFunctionError"] is True
    assert changed["MaximumRecordAgeInSeconds"] == 120
    assert changed["MaximumRetryAttempts"] == 3
    assert changed["DestinationConfig"] == {"OnFailure": {"Destination": target}}
    changed = life.update(DestinationConfig={"OnFailure": {}}, MaximumRetryAttempts=-1)
    assert changed["DestinationConfig"] == {"OnFailure": {}}
    assert changed["MaximumRetryAttempts"] == -1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"StartingPosition": ...},
            (
                "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
                "Member must not be null."
            ),
        ),
        (
            {"ScalingConfig": {"MaximumConcurrency": 5}},
            "Unsupported ScalingConfig parameter for given event source mapping type.",
        ),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"data": ["text"]}'}]}}, "Invalid filter pattern definition."),
    ],
)
def test_what_a_stream_does_not_take_is_refused_in_the_words_of_aws(
    daemon: RunningDaemon, parameters: dict[str, Any], message: str
) -> None:
    life = begin(daemon)
    wanted = {"StartingPosition": "LATEST", **parameters}
    wanted = {name: value for name, value in wanted.items() if value is not ...}
    refusal = error_of(
        life.lambda_.create_event_source_mapping, EventSourceArn=life.arn, FunctionName=life.function, **wanted
    )
    assert refusal == (400, "InvalidParameterValueException", message)


def test_a_table_has_no_timestamp_to_start_at(daemon: RunningDaemon) -> None:
    life = begin_with_table(daemon)
    refusal = error_of(
        life.lambda_.create_event_source_mapping,
        EventSourceArn=life.arn,
        FunctionName=life.function,
        StartingPosition="AT_TIMESTAMP",
        StartingPositionTimestamp=1.0,
    )
    words = f"Unsupported starting position for arn type: {life.arn}"
    assert refusal == (400, "InvalidParameterValueException", words)


def test_a_stream_that_is_not_there_is_refused(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    missing = life.arn + "-not"
    refusal = error_of(
        life.lambda_.create_event_source_mapping,
        EventSourceArn=missing,
        FunctionName=life.function,
        StartingPosition="LATEST",
    )
    assert refusal == (400, "InvalidParameterValueException", f"Stream not found: {missing}")


def test_a_source_of_another_partition_is_none(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    refusal = error_of(
        life.lambda_.create_event_source_mapping,
        EventSourceArn=life.arn.replace("arn:aws:", "arn:aws-cn:"),
        FunctionName=life.function,
        StartingPosition="LATEST",
    )
    assert refusal == (400, "InvalidParameterValueException", "Unrecognized event source.")


def test_a_second_mapping_between_the_same_two_is_a_conflict(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map()
    refusal = error_of(
        life.lambda_.create_event_source_mapping,
        EventSourceArn=life.arn,
        FunctionName=life.function,
        StartingPosition="LATEST",
    )
    assert refusal == (
        409,
        "ResourceConflictException",
        (
            f'The event source arn (" {life.arn} ") and function (" {life.function} ") provided mapping already '
            f"exists. Please update or delete the existing mapping with UUID {life.uuid}"
        ),
    )


# -- where it starts


def test_latest_and_at_timestamp_pass_over_what_was_there(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.put("old")
    moment = daemon.advance(10) - 5
    life.put("middle")
    life.map(StartingPosition="LATEST")
    life.put("new")
    assert payloads_of(life.told_next()) == ["new"]
    life.lambda_.delete_event_source_mapping(UUID=life.uuid)
    gone = life.uuid
    wait_for(
        lambda: [
            m["UUID"] for m in life.lambda_.list_event_source_mappings(EventSourceArn=life.arn)["EventSourceMappings"]
        ],
        lambda left: gone not in left,
    )
    life.map(StartingPosition="AT_TIMESTAMP", StartingPositionTimestamp=moment)
    assert life.told_until("new") == [["middle", "new"]]


# -- batches


def test_batches_hold_at_most_the_batch_size(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.put(*[str(number) for number in range(7)])
    life.map(BatchSize=3)
    assert life.told_until("6") == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_a_batch_gathers_for_its_window(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map(MaximumBatchingWindowInSeconds=300)
    life.put("0")
    daemon.advance(100)
    life.put("1")
    assert life.is_silent()
    daemon.advance(201)
    assert payloads_of(life.told_next()) == ["0", "1"]


def test_a_batch_never_exceeds_six_megabytes(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    for _ in range(2):
        life.put(*["x" * 900_000 for _ in range(4)])
    # What the function tells has to fit into a message, so only the count of batches is looked at.
    life.lambda_.update_function_code(
        FunctionName=life.function, ZipFile=zip_of("def handler(event, context):\n    print(len(event['Records']))\n")
    )
    life.lambda_.get_waiter("function_updated_v2").wait(FunctionName=life.function)
    life.map()
    life.catches_up()
    lines = daemon_log(daemon, life.function)
    counts = [int(line) for line in lines if line.isdigit()]
    assert sum(counts) == 8
    assert max(counts) == 5


def test_a_record_that_no_event_can_hold_is_given_up_at_once(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.kinesis.update_max_record_size(StreamARN=life.arn, MaxRecordSizeInKiB=10_240)
    life.map(DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}})
    numbers = life.put("x" * 5_000_000, "small")
    assert payloads_of(life.told_next()) == ["small"]
    record = life.dead_letter()
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 1
    assert "responseContext" not in record
    assert record["KinesisBatchInfo"]["batchSize"] == 1
    assert record["KinesisBatchInfo"]["startSequenceNumber"] == numbers[0]


def test_forty_invocations_are_in_flight_with_four_shards_and_a_factor_of_ten(
    daemon: RunningDaemon, lives: list[StreamLife]
) -> None:
    sleeper = "def behave(event):\n    time.sleep(2)\n"
    life = begin(daemon, sleeper, shards=4)
    lives.append(life)
    life.put(*[(f"key-{number}", str(number)) for number in range(480)])
    life.map(ParallelizationFactor=10, BatchSize=1)
    most = 0
    give_up_at = time.monotonic() + PATIENCE_S
    while most < 40 and time.monotonic() < give_up_at:
        shards = life.status()["poller"]["shards"]
        most = max(most, sum(lane["running"] for shard in shards for lane in shard["lanes"]))
    assert most == 40


# -- failures


def test_bisect_finds_exactly_the_poison(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    numbers = life.put(*["bad" if number == 6 else str(number) for number in range(8)])
    life.map(
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}},
    )
    assert [len(batch) for batch in life.told_until("7")] == [8]
    assert life.told_until("7") == [
        ["0", "1", "2", "3"],
        ["4", "5", "bad", "7"],
    ]
    assert life.told_until("7") == [["4", "5"], ["bad", "7"]]
    assert life.told_until("7") == [["bad"], ["7"]]
    record = life.dead_letter()
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert record["requestContext"]["functionArn"].endswith(f":function:{life.function}")
    info = record["KinesisBatchInfo"]
    assert (info["batchSize"], info["startSequenceNumber"], info["endSequenceNumber"]) == (1, numbers[6], numbers[6])
    assert info["shardId"] == "shardId-000000000000"
    assert info["streamArn"] == life.arn


def test_a_batch_is_tried_once_and_as_often_again_as_asked(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    life.map(MaximumRetryAttempts=2, DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}})
    life.put("bad")
    for pause_s in (1, 2, 0):
        assert payloads_of(life.told_next()) == ["bad"]
        wait_for(lambda: life.status()["poller"]["shards"][0]["lanes"][0]["running"], lambda running: not running)
        daemon.advance(pause_s)
    record = life.dead_letter()
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    life.put("good")
    assert payloads_of(life.told_next()) == ["good"]


def test_a_partial_report_keeps_what_was_done(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, REPORT_BAD)
    lives.append(life)
    numbers = life.put("0", "1", "bad", "3")
    life.map(
        FunctionResponseTypes=["ReportBatchItemFailures"],
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}},
    )
    assert payloads_of(life.told_next()) == ["0", "1", "bad", "3"]
    wait_for(lambda: life.status()["poller"]["shards"][0]["checkpoint"], lambda at: at == numbers[1])
    daemon.advance(5)
    assert payloads_of(life.told_next()) == ["bad", "3"]
    record = life.dead_letter()
    assert record["responseContext"]["functionError"] is None
    assert record["KinesisBatchInfo"]["startSequenceNumber"] == numbers[2]
    assert record["KinesisBatchInfo"]["endSequenceNumber"] == numbers[3]
    assert record["requestContext"]["approximateInvokeCount"] == 2


def test_records_beyond_their_age_are_reported_and_the_rest_is_delivered(
    daemon: RunningDaemon, lives: list[StreamLife]
) -> None:
    life = begin(daemon)
    lives.append(life)
    life.put("old")
    daemon.advance(120)
    life.put("young")
    life.map(MaximumRecordAgeInSeconds=60, DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}})
    assert payloads_of(life.told_next()) == ["young"]
    record = life.dead_letter()
    assert record["requestContext"]["condition"] == "RecordAgeExceeded"
    assert "responseContext" not in record


def test_a_failure_record_of_a_table_points_into_its_stream(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin_with_table(daemon, "def behave(event):\n    raise ValueError\n")
    lives.append(life)
    life.dynamodb.put_item(TableName=life.name, Item={"id": {"S": "a"}})
    life.map(MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}})
    number = life.told_next()["Records"][0]["dynamodb"]["SequenceNumber"]
    info = life.dead_letter()["DDBStreamBatchInfo"]
    assert info["startSequenceNumber"] == info["endSequenceNumber"] == number
    assert len(info["approximateArrivalOfFirstRecord"]) == len("2024-01-01T00:00:00Z")
    streams = daemon.client("dynamodbstreams")
    iterator = streams.get_shard_iterator(
        StreamArn=info["streamArn"],
        ShardId=info["shardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        SequenceNumber=number,
    )["ShardIterator"]
    assert streams.get_records(ShardIterator=iterator)["Records"][0]["dynamodb"]["Keys"] == {"id": {"S": "a"}}


def test_a_bucket_keeps_the_records_that_were_given_up(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    s3, bucket = daemon.client("s3"), new_name("failures")
    s3.create_bucket(Bucket=bucket)
    life.put(("k", "0"), ("k", "bad"))
    life.map(
        BatchSize=1,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}},
    )
    found = wait_for(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents", []), bool)
    (key,) = [one["Key"] for one in found]
    stamp = r"\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f-]{36}"
    assert re.fullmatch(rf"aws/lambda/{life.uuid}/shardId-000000000000/{stamp}", key)
    record = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert record["KinesisBatchInfo"]["batchSize"] == 1
    assert payloads_of(record["payload"]) == ["bad"]
    assert record["payload"]["Records"][0]["eventSourceARN"] == life.arn


def test_a_failing_shard_delays_no_other(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD, shards=4)
    lives.append(life)
    life.map()
    life.put(("k0", "bad"))
    life.put(*[(f"k{number}", f"good-{number}") for number in range(1, 60)])
    wait_for(
        lambda: sorted(shard["lag_records"] for shard in life.status()["poller"]["shards"])[:3],
        lambda lags: lags == [0, 0, 0],
    )
    shown = life.settled()["LastProcessingResult"]
    assert shown == "PROBLEM: Function call failed"


# -- filters and windows


def test_filters_look_into_the_payload(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map(
        FilterCriteria={"Filters": [{"Pattern": json.dumps({"data": {"kind": ["good"], "n": [{"exists": True}]}})}]}
    )
    life.put("plain", '{"kind": "bad"}', '{"kind": "good", "n": 1}')
    assert payloads_of(life.told_next()) == ['{"kind": "good", "n": 1}']
    life.catches_up()
    assert life.is_silent()


def test_filters_look_into_the_changes_of_a_table(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin_with_table(daemon)
    lives.append(life)
    pattern = {"eventName": ["INSERT"], "dynamodb": {"NewImage": {"kind": {"S": ["good"]}}}}
    life.map(FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]})
    for key, kind in (("a", "bad"), ("b", "good")):
        life.dynamodb.put_item(TableName=life.name, Item={"id": {"S": key}, "kind": {"S": kind}})
    life.dynamodb.delete_item(TableName=life.name, Key={"id": {"S": "b"}})
    (record,) = life.told_next()["Records"]
    assert record["dynamodb"]["Keys"] == {"id": {"S": "b"}}
    life.catches_up()
    assert life.is_silent()


def test_a_tumbling_window_carries_state_and_ends_with_a_final_call(
    daemon: RunningDaemon, lives: list[StreamLife]
) -> None:
    life = begin(daemon, COUNT)
    lives.append(life)
    now = daemon.get("/_eventrt/clock")["now"]
    daemon.advance(900 - now % 900 + 1)  # the beginning of a window
    life.map(TumblingWindowInSeconds=900, BatchSize=2)
    life.put("0", "1", "2")
    events = [life.told_next(), life.told_next()]
    daemon.advance(900)
    events.append(life.told_next())
    assert [(payloads_of(e), e["state"], e["isFinalInvokeForWindow"]) for e in events] == [
        (["0", "1"], {}, False),
        (["2"], {"n": 2}, False),
        ([], {"n": 3}, True),
    ]
    assert set(events[0]) == {
        "Records",
        "window",
        "state",
        "shardId",
        "eventSourceARN",
        "isFinalInvokeForWindow",
        "isWindowTerminatedEarly",
    }
    assert len({(e["window"]["start"], e["window"]["end"]) for e in events}) == 1


# -- shards


def test_children_of_a_split_come_after_their_parent_and_keep_the_order_of_keys(
    daemon: RunningDaemon, lives: list[StreamLife]
) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map(StartingPosition="LATEST", BatchSize=5)
    keys = [f"k{number}" for number in range(10)]
    life.put(*[(key, f"{key} 1") for key in keys])
    life.kinesis.split_shard(StreamName=life.name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127))
    wait_for(
        lambda: life.kinesis.describe_stream_summary(StreamName=life.name)["StreamDescriptionSummary"]["StreamStatus"],
        lambda status: status == "ACTIVE",
    )
    life.put(*[(key, f"{key} 2") for key in keys])
    seen: list[str] = []
    while len(seen) < 20:
        seen += payloads_of(life.told_next())
    assert set(seen[:10]) == {f"{key} 1" for key in keys}
    assert set(seen[10:]) == {f"{key} 2" for key in keys}
    states = {shard["shard_id"]: shard["state"] for shard in life.status()["poller"]["shards"]}
    assert states["shardId-000000000000"] == "finished"


# -- pauses and kills


def test_a_paused_mapping_goes_on_from_its_checkpoint(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    lives.append(life)
    life.map()
    life.put("0")
    assert payloads_of(life.told_next()) == ["0"]
    life.catches_up()
    assert life.update(Enabled=False)["State"] == "Disabled"
    life.put("1")
    assert life.is_silent()
    assert life.status()["checkpoints"]["shardId-000000000000"]["checkpoint"]
    assert life.update(Enabled=True)["State"] == "Enabled"
    assert payloads_of(life.told_next()) == ["1"]


def test_a_kill_keeps_the_checkpoint(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD, shards=2)
    lives.append(life)
    life.map(BatchSize=1)
    numbers = life.put("0", "1", "bad")
    for expected in ("0", "1", "bad"):
        assert payloads_of(life.told_next()) == [expected]
    daemon.restart(kill=True)
    daemon.advance(2)
    assert payloads_of(life.told_next()) == ["bad"]
    checkpoints = {kept["checkpoint"] for kept in life.status()["checkpoints"].values()}
    assert numbers[1] in checkpoints


def test_neither_a_kill_nor_a_pause_gives_attempts_back(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    life.map(MaximumRetryAttempts=2, DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}})
    life.put("bad")
    for interrupted in (lambda: daemon.restart(kill=True), lambda: life.update(Enabled=False), lambda: None):
        assert payloads_of(life.told_next()) == ["bad"]
        wait_for(
            lambda: life.status()["poller"]["shards"][0],
            lambda shard: not shard["buffered"] or shard["waiting_until"] is not None,
        )
        interrupted()
        if life.settled()["State"] == "Disabled":
            life.update(Enabled=True)
        daemon.advance(5)
    assert life.dead_letter()["requestContext"]["approximateInvokeCount"] == 3
    assert life.is_silent()


def test_a_deleted_mapping_forgets_where_it_was(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon)
    life.map()
    life.put("0")
    assert payloads_of(life.told_next()) == ["0"]
    life.catches_up()
    deleted = life.lambda_.delete_event_source_mapping(UUID=life.uuid)
    assert deleted["State"] == "Deleting"
    wait_for(
        lambda: life.lambda_.list_event_source_mappings(EventSourceArn=life.arn)["EventSourceMappings"],
        lambda left: not left,
    )
    lives.append(life)
    life.map()
    assert payloads_of(life.told_next()) == ["0"]


def test_several_mappings_of_one_stream_are_independent(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    first = begin(daemon, FAIL_ON_BAD)
    second = begin(daemon)
    lives += [first, second]
    first.map()
    second.map(source=first.arn)
    first.put("bad")
    first.put("good")
    assert second.told_until("good")[-1][-1] == "good"
    assert second.is_silent()
    assert {tuple(payloads) for payloads in [payloads_of(first.told_next())]} <= {("bad",), ("bad", "good")}


def test_status_shows_each_shard_with_its_lag(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    life.map(BatchSize=1)
    life.put("bad", "1", "2")
    life.told_next()
    shard = wait_for(
        lambda: life.status()["poller"]["shards"][0],
        lambda shard: shard["waiting_for"] == "the next attempt, after a failed one",
    )
    assert shard["lag_records"] == 3
    assert shard["iterator_age_ms"] >= 0
    assert shard["attempts"] >= 1
    assert shard["waiting_until"] is not None
    assert shard["last_error"] == "ValueError: bad"


def test_status_shows_how_far_a_paused_mapping_is_behind(daemon: RunningDaemon, lives: list[StreamLife]) -> None:
    life = begin(daemon, FAIL_ON_BAD)
    lives.append(life)
    life.map(Enabled=False)
    assert life.status()["poller"] == {"running": False, "shards": []}
    life.update(Enabled=True)
    life.put("bad")
    life.told_next()
    life.update(Enabled=False)
    life.put("1", "2")
    daemon.advance(30)
    shard = wait_for(lambda: life.status()["poller"], lambda poller: not poller["running"])["shards"][0]
    assert (shard["state"], shard["waiting_for"]) == ("paused", "the mapping to be enabled")
    assert (shard["lag_records"], shard["attempts"]) == (3, 1)
    assert 30_000 <= shard["iterator_age_ms"] < 90_000


def test_an_unknown_mapping_has_no_report(daemon: RunningDaemon) -> None:
    with pytest.raises(AssertionError, match="404"):
        daemon.get(f"/_eventrt/mappings/{new_name()}")


# -- plugins


def test_a_plugin_reads_its_source_like_any_stream(
    daemon: RunningDaemon, lives: list[StreamLife], tmp_path: Path
) -> None:
    """The file-tail poller of `plugins/`, through create, batches, failures, a kill and delete."""
    path = tmp_path / "app.log"
    path.write_text("one\nbad\nthree\n")
    life = begin(daemon, 'def behave(event):\n    assert "bad" not in str(event)\n')
    lives.append(life)
    arn = f"arn:eventrt:file:::{path}"
    made = life.map(
        source=arn,
        BatchSize=10,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": life.dead_letters()}},
    )
    assert made["EventSourceArn"] == arn
    lines = [[record["line"] for record in life.told_next()["Records"]] for _ in range(5)]
    assert lines == [["one", "bad", "three"], ["one"], ["bad", "three"], ["bad"], ["three"]]
    info = life.dead_letter()["StreamBatchInfo"]
    assert (info["startSequenceNumber"], info["batchSize"], info["streamArn"]) == ("8", 1, arn)
    daemon.restart(kill=True)
    with path.open("a") as file:
        file.write("four\n")
    told: list[str] = []
    while "four" not in told:
        told += [record["line"] for record in life.told_next()["Records"]]
    assert told in (["four"], ["three", "four"])  # what the kill met in flight comes again


def test_a_source_that_no_plugin_reads_is_refused(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    refusal = error_of(
        life.lambda_.create_event_source_mapping,
        EventSourceArn="arn:eventrt:redis:::queue",
        FunctionName=life.function,
        StartingPosition="LATEST",
    )
    text = "Unrecognized event source: no poller plugin for 'redis' is installed."
    assert refusal == (400, "InvalidParameterValueException", text)


def daemon_log(daemon: RunningDaemon, function: str) -> list[str]:
    """Return what a function printed, line by line."""
    with urllib.request.urlopen(f"{daemon.url}/_eventrt/functions/{function}/logs") as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return lines
