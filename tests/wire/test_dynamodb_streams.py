"""Change streams over the wire: one record for every change, none for no-op writes, shards, iterators, expiry."""

import json
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import (
    checked_client,
    error_of,
    fresh,
    make_table,
    records_of,
    stream_arn,
    streamed,
)

NEW, OLD = {"id": {"S": "x"}, "v": {"B": b"\x01"}}, {"id": {"S": "x"}, "v": {"N": "1"}}


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


@pytest.fixture
def streams(daemon: RunningDaemon) -> Any:
    return checked_client(daemon, "dynamodbstreams")


def told(records: list[dict[str, Any]]) -> list[tuple[str, Any, Any]]:
    """Return name, old image and new image of records."""
    return [
        (record["eventName"], record["dynamodb"].get("OldImage"), record["dynamodb"].get("NewImage"))
        for record in records
    ]


def change(tables: Any, table: str) -> None:
    """Insert, modify and remove one item, with writes between that change nothing."""
    key = {"id": {"S": "x"}}
    tables.delete_item(TableName=table, Key=key)
    tables.put_item(TableName=table, Item=OLD)
    tables.put_item(TableName=table, Item=OLD)
    tables.update_item(
        TableName=table, Key=key, UpdateExpression="SET v = :v", ExpressionAttributeValues={":v": {"N": "1.0"}}
    )
    tables.put_item(TableName=table, Item=NEW)
    tables.delete_item(TableName=table, Key=key)


@pytest.mark.parametrize(
    ("view_type", "expected"),
    [
        ("KEYS_ONLY", [("INSERT", None, None), ("MODIFY", None, None), ("REMOVE", None, None)]),
        ("NEW_IMAGE", [("INSERT", None, OLD), ("MODIFY", None, NEW), ("REMOVE", None, None)]),
        ("OLD_IMAGE", [("INSERT", None, None), ("MODIFY", OLD, None), ("REMOVE", NEW, None)]),
        ("NEW_AND_OLD_IMAGES", [("INSERT", None, OLD), ("MODIFY", OLD, NEW), ("REMOVE", NEW, None)]),
    ],
)
def test_each_view_shows_its_images_and_only_real_changes(
    tables: Any, streams: Any, view_type: str, expected: list[Any]
) -> None:
    table = make_table(tables, **streamed(view_type))
    change(tables, table)
    records = records_of(streams, stream_arn(tables, table))
    assert told(records) == expected
    for record in records:
        assert record["dynamodb"]["Keys"] == {"id": {"S": "x"}}
        assert record["dynamodb"]["StreamViewType"] == view_type
        assert (record["eventSource"], record["eventVersion"], record["awsRegion"]) == (
            "aws:dynamodb",
            "1.1",
            "us-east-1",
        )
        assert "userIdentity" not in record
        assert record["dynamodb"]["SizeBytes"] > 0
    assert len({record["eventID"] for record in records}) == 3
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in records]
    assert numbers == sorted(set(numbers))


def test_batches_and_transactions_tell_each_item_once(tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed())
    arn = stream_arn(tables, table)
    tables.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(5)]})
    refused = {
        "Put": {"TableName": table, "Item": {"id": {"S": "0"}}, "ConditionExpression": "attribute_not_exists(id)"}
    }
    added = {"Put": {"TableName": table, "Item": {"id": {"S": "t"}}}}
    error_of(tables.transact_write_items, TransactItems=[added, refused])
    tables.transact_write_items(TransactItems=[added, {"Delete": {"TableName": table, "Key": {"id": {"S": "0"}}}}])
    tables.execute_statement(Statement=f"INSERT INTO \"{table}\" VALUE {{'id': 'p'}}")
    found = [(record["eventName"], record["dynamodb"]["Keys"]["id"]["S"]) for record in records_of(streams, arn)]
    assert found == [*(("INSERT", str(n)) for n in range(5)), ("INSERT", "t"), ("REMOVE", "0"), ("INSERT", "p")]


def test_the_service_says_that_it_deleted_what_expired(daemon: RunningDaemon, tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed())
    now = int(daemon.get("/_eventrt/clock")["now"])
    before = {"id": {"S": "before"}, "until": {"N": str(now + 50)}}
    tables.put_item(TableName=table, Item=before)
    tables.update_time_to_live(TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"})
    for name, until in (
        ("soon", {"N": str(now + 60)}),
        ("later", {"N": str(now + 10_000)}),
        ("text", {"S": str(now)}),
        ("ancient", {"N": str(now - 6 * 365 * 86_400)}),
        ("moved", {"N": str(now + 60)}),
    ):
        tables.put_item(TableName=table, Item={"id": {"S": name}, "until": until})
    tables.update_item(
        TableName=table,
        Key={"id": {"S": "moved"}},
        UpdateExpression="SET #u = :u",
        ExpressionAttributeNames={"#u": "until"},
        ExpressionAttributeValues={":u": {"N": str(now + 10_000)}},
    )
    daemon.advance(40)
    assert tables.scan(TableName=table)["Count"] == 6
    daemon.advance(30)
    assert sorted(item["id"]["S"] for item in tables.scan(TableName=table)["Items"]) == [
        "ancient",
        "later",
        "moved",
        "text",
    ]
    removed = [record for record in records_of(streams, stream_arn(tables, table)) if record["eventName"] == "REMOVE"]
    assert {record["dynamodb"]["Keys"]["id"]["S"] for record in removed} == {"before", "soon"}
    assert all(
        record["userIdentity"] == {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"} for record in removed
    )


def test_a_shard_is_followed_by_another_after_four_hours(daemon: RunningDaemon, tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed("KEYS_ONLY"))
    arn = stream_arn(tables, table)
    tables.put_item(TableName=table, Item={"id": {"S": "1"}})
    daemon.advance(4 * 3600 + 1)
    tables.put_item(TableName=table, Item={"id": {"S": "2"}})
    first, second = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    assert second["ParentShardId"] == first["ShardId"]
    assert "EndingSequenceNumber" in first["SequenceNumberRange"]
    assert "EndingSequenceNumber" not in second["SequenceNumberRange"]
    children = streams.describe_stream(
        StreamArn=arn, ShardFilter={"Type": "CHILD_SHARDS", "ShardId": first["ShardId"]}
    )["StreamDescription"]["Shards"]
    assert [shard["ShardId"] for shard in children] == [second["ShardId"]]
    page = streams.describe_stream(StreamArn=arn, Limit=1)["StreamDescription"]
    assert page["LastEvaluatedShardId"] == first["ShardId"]
    page = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=first["ShardId"])["StreamDescription"]
    assert [shard["ShardId"] for shard in page["Shards"]] == [second["ShardId"]]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=first["ShardId"], ShardIteratorType="TRIM_HORIZON")
    answer = streams.get_records(ShardIterator=iterator["ShardIterator"])
    assert len(answer["Records"]) == 1
    assert "NextShardIterator" not in answer


def test_iterators_begin_where_they_say(daemon: RunningDaemon, tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed("KEYS_ONLY"))
    arn = stream_arn(tables, table)
    for name in ("1", "2", "3"):
        tables.put_item(TableName=table, Item={"id": {"S": name}})
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records_of(streams, arn)]
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]

    def read(kind: str, **more: Any) -> Any:
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType=kind, **more)[
            "ShardIterator"
        ]
        return streams.get_records(ShardIterator=iterator, Limit=10)

    def ids(page: Any) -> list[str]:
        return [record["dynamodb"]["Keys"]["id"]["S"] for record in page["Records"]]

    assert ids(read("TRIM_HORIZON")) == ["1", "2", "3"]
    assert ids(read("AT_SEQUENCE_NUMBER", SequenceNumber=numbers[1])) == ["2", "3"]
    assert ids(read("AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[1])) == ["3"]
    latest = read("LATEST")
    assert ids(latest) == []
    tables.put_item(TableName=table, Item={"id": {"S": "4"}})
    assert ids(streams.get_records(ShardIterator=latest["NextShardIterator"])) == ["4"]
    first = streams.get_records(
        ShardIterator=streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"],
        Limit=2,
    )
    assert ids(first) == ["1", "2"]
    assert ids(streams.get_records(ShardIterator=first["NextShardIterator"])) == ["3", "4"]
    for kind, more in (("LATEST", {"SequenceNumber": numbers[1]}), ("TRIM_HORIZON", {"SequenceNumber": numbers[1]})):
        asked = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": kind, **more}
        assert error_of(streams.get_shard_iterator, **asked)[0] == "ValidationException"
    for number in ("1" * 25, "9" * 25, "0" * 25, str(int(numbers[-1]) + 5)):  # no number of any record
        asked = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"}
        assert error_of(streams.get_shard_iterator, SequenceNumber=number, **asked)[0] == "ValidationException"
    daemon.advance(15 * 60 + 1)
    code, _ = error_of(streams.get_records, ShardIterator=first["NextShardIterator"])
    assert code == "ExpiredIteratorException"
    assert error_of(streams.get_records, ShardIterator="nonsense")[0] == "ValidationException"


def test_records_are_trimmed_after_a_day(daemon: RunningDaemon, tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed("KEYS_ONLY"))
    arn = stream_arn(tables, table)
    tables.put_item(TableName=table, Item={"id": {"S": "old"}})
    number = records_of(streams, arn)[0]["dynamodb"]["SequenceNumber"]
    daemon.advance(13 * 3600)
    tables.put_item(TableName=table, Item={"id": {"S": "new"}})
    daemon.advance(12 * 3600)
    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records_of(streams, arn)] == ["new"]
    shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    code, _ = error_of(
        streams.get_shard_iterator,
        StreamArn=arn,
        ShardId=shards[-1]["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        SequenceNumber=number,
    )
    assert code in ("ValidationException", "TrimmedDataAccessException")


@pytest.mark.parametrize("hours", [0, 3])
def test_a_place_before_records_that_have_expired_is_trimmed(
    daemon: RunningDaemon, tables: Any, streams: Any, hours: int
) -> None:
    """Whether they were swept already or not, and whether any are left or none."""
    table = make_table(tables, **streamed("KEYS_ONLY"))
    arn = stream_arn(tables, table)
    for name in "abc":
        tables.put_item(TableName=table, Item={"id": {"S": name}})
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    request = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "AFTER_SEQUENCE_NUMBER"}
    first, second, _ = [record["dynamodb"]["SequenceNumber"] for record in records_of(streams, arn)]
    daemon.advance(hours * 3600)
    if hours:
        tables.put_item(TableName=table, Item={"id": {"S": "d"}})
    assert streams.get_shard_iterator(**request, SequenceNumber=first)["ShardIterator"]
    daemon.advance(24 * 3600 - hours * 3600 + 1)
    code, text = error_of(streams.get_shard_iterator, **request, SequenceNumber=second)
    assert code == "TrimmedDataAccessException"
    assert text == "The operation attempted to read past the oldest stream record in a shard."


def test_a_disabled_stream_can_be_read_for_a_day(daemon: RunningDaemon, tables: Any, streams: Any) -> None:
    table = make_table(tables, **streamed("KEYS_ONLY"))
    first = stream_arn(tables, table)
    tables.put_item(TableName=table, Item={"id": {"S": "1"}})
    tables.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
    tables.put_item(TableName=table, Item={"id": {"S": "2"}})
    tables.update_table(TableName=table, **streamed("KEYS_ONLY"))
    second = stream_arn(tables, table)
    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records_of(streams, first)] == ["1"]
    assert streams.describe_stream(StreamArn=first)["StreamDescription"]["StreamStatus"] == "DISABLED"
    tables.delete_table(TableName=table)
    listed = streams.list_streams(TableName=table)["Streams"]
    assert [each["StreamArn"] for each in listed] == [first, second]
    page = streams.list_streams(TableName=table, Limit=1)
    assert page["LastEvaluatedStreamArn"] == first
    rest = streams.list_streams(TableName=table, ExclusiveStartStreamArn=first)["Streams"]
    assert [each["StreamArn"] for each in rest] == [second]
    daemon.advance(24 * 3600 + 1)
    assert streams.list_streams(TableName=table)["Streams"] == []
    assert error_of(streams.describe_stream, StreamArn=first) == (
        "ResourceNotFoundException",
        f"Requested resource not found: Stream: {first} not found",
    )


def test_changes_are_put_into_a_kinesis_stream(daemon: RunningDaemon, tables: Any) -> None:
    kinesis = daemon.client("kinesis")
    name = fresh("changes")
    kinesis.create_stream(StreamName=name, ShardCount=2)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    arn = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    table = make_table(tables)
    answer = tables.enable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
    assert answer["DestinationStatus"] == "ENABLING"
    change(tables, table)
    tables.update_kinesis_streaming_destination(
        TableName=table,
        StreamArn=arn,
        UpdateKinesisStreamingConfiguration={"ApproximateCreationDateTimePrecision": "MICROSECOND"},
    )
    (shown,) = tables.describe_kinesis_streaming_destination(TableName=table)["KinesisDataStreamDestinations"]
    assert (shown["DestinationStatus"], shown["ApproximateCreationDateTimePrecision"]) == ("ACTIVE", "MICROSECOND")
    tables.disable_kinesis_streaming_destination(TableName=table, StreamArn=arn)
    tables.put_item(TableName=table, Item={"id": {"S": "unseen"}})
    found: list[dict[str, Any]] = []
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        found += [json.loads(record["Data"]) for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    assert [(record["eventName"], record["tableName"], record["recordFormat"]) for record in found] == [
        ("INSERT", table, "application/json"),
        ("MODIFY", table, "application/json"),
        ("REMOVE", table, "application/json"),
    ]
    assert found[1]["dynamodb"]["OldImage"] == {"id": {"S": "x"}, "v": {"N": "1"}}
    assert found[1]["dynamodb"]["NewImage"] == {"id": {"S": "x"}, "v": {"B": "AQ=="}}
    code, _ = error_of(tables.enable_kinesis_streaming_destination, TableName=table, StreamArn=arn + "x")
    assert code == "ResourceNotFoundException"


def test_a_kill_loses_neither_items_nor_records(tables: Any, tmp_path: Any) -> None:
    running = RunningDaemon(tmp_path / "data")
    running.start()
    try:
        client, streams = running.client("dynamodb"), running.client("dynamodbstreams")
        table = make_table(client, **streamed())
        for number in range(50):
            client.put_item(TableName=table, Item={"id": {"S": str(number)}})
        running.restart(kill=True)
        records = records_of(streams, stream_arn(client, table))
        assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == [str(n) for n in range(50)]
        assert client.scan(TableName=table)["Count"] == 50
        assert client.describe_table(TableName=table)["Table"]["ItemCount"] == 50
    finally:
        running.close_clients()
        running.stop()
