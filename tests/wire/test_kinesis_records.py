"""Records over the wire: put, read through iterators of every kind, expired, encrypted, refused."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, FIRST, HIGHEST, SECOND, Kinesis, refused

DAY = 86_400


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


def shard_of(key: str, count: int) -> str:
    hash_key = int(hashlib.md5(key.encode()).hexdigest(), 16)
    return f"shardId-{hash_key * count // 2**128:012d}"


def test_a_record_goes_to_the_shard_of_its_keys_md5(kinesis: Kinesis) -> None:
    name = kinesis.stream(4)
    keys = ["a", "key-1", "é", "\U0001f4a5", "x" * 256]
    records = [{"Data": key.encode(), "PartitionKey": key} for key in keys]
    results = kinesis.put_records(StreamName=name, Records=records)["Records"]
    assert [result["ShardId"] for result in results] == [shard_of(key, 4) for key in keys]
    for key in keys:
        assert kinesis.put_record(StreamName=name, Data=b"", PartitionKey=key)["ShardId"] == shard_of(key, 4)


def test_an_explicit_hash_key_wins(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    records = [
        {"Data": b"a", "PartitionKey": "k", "ExplicitHashKey": "0"},
        {"Data": b"b", "PartitionKey": "k", "ExplicitHashKey": str(HIGHEST)},
        {"Data": b"c", "PartitionKey": "k"},
    ]
    results = kinesis.put_records(StreamName=name, Records=records)["Records"]
    assert [result["ShardId"] for result in results] == [FIRST, SECOND, shard_of("k", 2)]
    too_high = {"StreamName": name, "Data": b"a", "PartitionKey": "k", "ExplicitHashKey": str(HIGHEST + 1)}
    assert refused(kinesis.put_record, **too_high) == (
        "InvalidArgumentException",
        (
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was "
            f"{HIGHEST + 1}"
        ),
    )


def test_sequence_numbers_rise_within_a_shard_in_the_order_of_the_request(kinesis: Kinesis) -> None:
    name = kinesis.stream(3)
    numbers: dict[str, list[int]] = {}
    for _ in range(3):
        records = [{"Data": b"%d" % number, "PartitionKey": f"key-{number}"} for number in range(100)]
        answer = kinesis.put_records(StreamName=name, Records=records)
        assert answer["FailedRecordCount"] == 0
        assert "EncryptionType" not in answer
        for result in answer["Records"]:
            numbers.setdefault(result["ShardId"], []).append(int(result["SequenceNumber"]))
    for shard, given in numbers.items():
        assert given == sorted(set(given))
        records = kinesis.records(name, shard)
        assert [int(record["SequenceNumber"]) for record in records] == given
    assert sum(map(len, numbers.values())) == 300


def test_a_record_comes_back_as_it_was_put(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    every_byte = bytes(range(256)) * 17
    for data in (b"", b"x", every_byte):
        kinesis.put_record(StreamName=name, Data=data, PartitionKey="Schlüssel")
    now = daemon.advance(0)
    records = kinesis.records(name)
    assert [record["Data"] for record in records] == [b"", b"x", every_byte]
    for record in records:
        assert record["PartitionKey"] == "Schlüssel"
        assert abs(record["ApproximateArrivalTimestamp"].timestamp() - now) < 60
        assert record.keys() == {"SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey"}


def test_a_producer_may_ask_for_order_by_its_last_number(kinesis: Kinesis) -> None:
    name, other = kinesis.stream(), kinesis.stream()
    numbers = kinesis.put(name, "a")
    for data in ("b", "c"):
        answer = kinesis.put_record(
            StreamName=name, Data=data.encode(), PartitionKey="k", SequenceNumberForOrdering=numbers[-1]
        )
        numbers.append(answer["SequenceNumber"])
    assert numbers == sorted(numbers)
    for number in ("12345", "49" + "9" * 54, kinesis.put(name, *"defghij")[-1]):
        code, _ = refused(
            kinesis.put_record, StreamName=other, Data=b"", PartitionKey="k", SequenceNumberForOrdering=number
        )
        assert code == "InvalidArgumentException"


def test_what_cannot_be_put(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    assert refused(kinesis.put_record, StreamName="missing", Data=b"", PartitionKey="k") == (
        "ResourceNotFoundException",
        f"Stream missing under account {ACCOUNT} not found.",
    )
    code, text = refused(kinesis.put_record, StreamName=name, Data=b"", PartitionKey="x" * 257)
    assert code == "ValidationException"
    assert "at 'partitionKey' failed to satisfy constraint: Member must have length less than or equal to 256" in text
    records = [{"Data": b"", "PartitionKey": "k"}] * 501
    code, text = refused(kinesis.put_records, StreamName=name, Records=records)
    assert code == "ValidationException"
    assert "at 'records' failed to satisfy constraint: Member must have length less than or equal to 500" in text
    records = [{"Data": b"", "PartitionKey": "k"}, {"Data": b"", "PartitionKey": "x" * 257}]
    code, text = refused(kinesis.put_records, StreamName=name, Records=records)
    assert code == "ValidationException"
    assert "at 'records.2.member.partitionKey' failed to satisfy constraint" in text
    megabyte = {"Data": bytes(1024 * 1024 - 1), "PartitionKey": "k"}
    assert kinesis.put_records(StreamName=name, Records=[megabyte] * 10)["FailedRecordCount"] == 0
    code, text = refused(kinesis.put_records, StreamName=name, Records=[megabyte] * 10 + [megabyte])
    assert (code, text) == ("InvalidArgumentException", "Records size exceeds 10 MB limit")
    kinesis.put_record(StreamName=name, Data=bytes(1024 * 1024 - 1), PartitionKey="k")
    code, _ = refused(kinesis.put_record, StreamName=name, Data=bytes(1024 * 1024), PartitionKey="k")
    assert code == "ValidationException"


def test_a_dry_run_says_whether_it_would_have_worked_and_does_nothing(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    iterator = kinesis.iterator(name)
    consumer = kinesis.register_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName="c")["Consumer"]
    start = {"ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}}
    for call, request in (
        (kinesis.put_record, {"StreamName": name, "Data": b"b", "PartitionKey": "k"}),
        (kinesis.put_records, {"StreamName": name, "Records": [{"Data": b"b", "PartitionKey": "k"}]}),
        (kinesis.get_shard_iterator, {"StreamName": name, "ShardId": FIRST, "ShardIteratorType": "LATEST"}),
        (kinesis.get_records, {"ShardIterator": iterator}),
        (kinesis.subscribe_to_shard, {"ConsumerARN": consumer["ConsumerARN"], **start}),
    ):
        assert refused(call, DryRun=True, **request)[0] == "DryRunOperationException"
    code, _ = refused(kinesis.put_record, StreamName="missing", Data=b"b", PartitionKey="k", DryRun=True)
    assert code == "ResourceNotFoundException"
    assert kinesis.datas(name) == ["a"]


# -- iterators


def test_iterators_of_every_kind_begin_where_they_say(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    early = kinesis.put(name, "a", "b")
    daemon.advance(10)
    between = daemon.advance(0)
    daemon.advance(10)
    late = kinesis.put(name, "c", "d")
    assert kinesis.datas(name) == ["a", "b", "c", "d"]
    assert kinesis.datas(name, kind="LATEST") == []
    assert kinesis.datas(name, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=early[1]) == ["b", "c", "d"]
    assert kinesis.datas(name, kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=early[1]) == ["c", "d"]
    assert kinesis.datas(name, kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=late[1]) == []
    assert kinesis.datas(name, kind="AT_TIMESTAMP", Timestamp=between) == ["c", "d"]
    assert kinesis.datas(name, kind="AT_TIMESTAMP", Timestamp=1_000_000_000) == ["a", "b", "c", "d"]
    assert kinesis.datas(name, kind="AT_TIMESTAMP", Timestamp=daemon.advance(1)) == []
    start = kinesis.shards(name)[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    assert kinesis.datas(name, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=start) == ["a", "b", "c", "d"]


def test_the_moment_of_a_record_finds_it(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    """Also when the moment is only as exact as a client shows it."""
    name = kinesis.stream()
    for data in "abc":
        kinesis.put(name, data)
        daemon.advance(1.0005)
    _, second, _ = kinesis.records(name)
    moment = second["ApproximateArrivalTimestamp"].timestamp()
    import json
    import urllib.request

    body = {"StreamName": name, "ShardId": FIRST, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment}
    headers = {"X-Amz-Target": "Kinesis_20131202.GetShardIterator", "Content-Type": "application/x-amz-json-1.1"}
    request = urllib.request.Request(daemon.url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        iterator = json.load(answer)["ShardIterator"]
    assert [record["Data"] for record in kinesis.get_records(ShardIterator=iterator)["Records"]] == [b"b", b"c"]


def test_a_latest_iterator_sees_what_comes_after_it(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    kinesis.put(name, "a", hash_key=0)
    iterator = kinesis.iterator(name, kind="LATEST")
    kinesis.put(name, "elsewhere", hash_key=HIGHEST)
    kinesis.put(name, "b", hash_key=0)
    answer = kinesis.get_records(ShardIterator=iterator)
    assert [record["Data"] for record in answer["Records"]] == [b"b"]
    answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"])
    assert answer["Records"] == []
    assert answer["NextShardIterator"]


def test_records_are_read_in_pages(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    records = [{"Data": b"%d" % number, "PartitionKey": "k"} for number in range(50)]
    kinesis.put_records(StreamName=name, Records=records)
    kinesis.put(name, "50", "51")
    found: list[bytes] = []
    iterator = kinesis.iterator(name)
    while True:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=7)
        assert len(answer["Records"]) <= 7
        if not answer["Records"]:
            break
        found += [record["Data"] for record in answer["Records"]]
        iterator = answer["NextShardIterator"]
    assert found == [b"%d" % number for number in range(52)]
    again = kinesis.get_records(ShardIterator=kinesis.iterator(name))
    assert len(again["Records"]) == 52
    code, _ = refused(kinesis.get_records, ShardIterator=iterator, Limit=10_001)
    assert code == "ValidationException"


def test_a_read_gives_ten_mebibytes_at_the_most(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    half = {"Data": bytes(512 * 1024), "PartitionKey": "k"}
    for _ in range(2):
        kinesis.put_records(StreamName=name, Records=[half] * 15)
    answer = kinesis.get_records(ShardIterator=kinesis.iterator(name))
    assert len(answer["Records"]) == 19
    assert len(kinesis.get_records(ShardIterator=answer["NextShardIterator"])["Records"]) == 11


def test_a_reader_is_told_how_far_it_is_behind(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a", "b")
    daemon.advance(100)
    answer = kinesis.get_records(ShardIterator=kinesis.iterator(name), Limit=1)
    assert 100_000 <= answer["MillisBehindLatest"] < 130_000
    answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"], Limit=1)
    assert answer["MillisBehindLatest"] == 0


def test_a_closed_shard_ends_with_its_children(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a", "b")
    waiting = kinesis.iterator(name, kind="LATEST")
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    children = [
        {
            "ShardId": SECOND,
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "99"},
        },
        {
            "ShardId": "shardId-000000000002",
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": "100", "EndingHashKey": str(HIGHEST)},
        },
    ]
    answer = kinesis.get_records(ShardIterator=kinesis.iterator(name), Limit=1)
    assert [record["Data"] for record in answer["Records"]] == [b"a"]
    assert "ChildShards" not in answer
    answer = kinesis.get_records(ShardIterator=answer["NextShardIterator"], Limit=1)
    assert [record["Data"] for record in answer["Records"]] == [b"b"]
    assert "NextShardIterator" not in answer
    assert answer["ChildShards"] == children
    for iterator in (waiting, kinesis.iterator(name, kind="LATEST")):
        answer = kinesis.get_records(ShardIterator=iterator)
        assert "NextShardIterator" not in answer
        assert (answer["Records"], answer["ChildShards"]) == ([], children)


def test_an_iterator_expires_after_five_minutes(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    iterator = kinesis.iterator(name)
    daemon.advance(290)
    assert len(kinesis.get_records(ShardIterator=iterator)["Records"]) == 1
    now = daemon.advance(20)
    code, text = refused(kinesis.get_records, ShardIterator=iterator)
    assert code == "ExpiredIteratorException"
    shown = datetime.fromtimestamp(now, UTC).strftime("%a %b %d %H:")
    assert text.startswith("Iterator expired. The iterator was created at time ")
    assert f"while right now it is {shown}" in text
    assert text.endswith("which is further in the future than the tolerated delay of 300000 milliseconds.")


@pytest.mark.parametrize("iterator", ["x", "AAAAAAAAAAE=", "=" * 44, "é"])
def test_what_is_no_iterator_is_refused(kinesis: Kinesis, iterator: str) -> None:
    assert refused(kinesis.get_records, ShardIterator=iterator) == (
        "InvalidArgumentException",
        "Invalid ShardIterator.",
    )


def test_an_iterator_belongs_to_its_stream_account_and_region(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name, other = kinesis.stream(), kinesis.stream()
    iterator = kinesis.iterator(name)
    assert kinesis.get_records(ShardIterator=iterator, StreamARN=kinesis.arn(name))["Records"] == []
    code, _ = refused(kinesis.get_records, ShardIterator=iterator, StreamARN=kinesis.arn(other))
    assert code == "InvalidArgumentException"
    for stranger in (daemon.client("kinesis", account="111111111111"), daemon.client("kinesis", region="eu-west-1")):
        assert refused(stranger.get_records, ShardIterator=iterator)[0] == "ResourceNotFoundException"
    kinesis.delete_stream(StreamName=name)
    assert refused(kinesis.get_records, ShardIterator=iterator)[0] == "ResourceNotFoundException"


def test_an_iterator_of_a_tables_stream_is_none_of_kinesis(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = f"{kinesis.stream()}-table"
    arn = daemon.client("dynamodb").create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )["TableDescription"]["LatestStreamArn"]
    streams = daemon.client("dynamodbstreams")
    [shard] = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")[
        "ShardIterator"
    ]
    assert streams.get_records(ShardIterator=iterator)["Records"] == []
    assert refused(kinesis.get_records, ShardIterator=iterator)[0] == "InvalidArgumentException"
    assert refused(kinesis.list_shards, StreamARN=arn)[0] == "ValidationException"
    assert kinesis.describe_limits()["OpenShardCount"] >= 1


def test_what_does_not_go_with_a_kind_of_iterator(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    [number] = kinesis.put(name, "a", hash_key=0)

    def refusal(kind: str, shard: str = FIRST, **more: Any) -> tuple[str, str]:
        return refused(kinesis.get_shard_iterator, StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)

    sentence = (
        "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) "
        "TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified "
    )
    assert refusal("AT_SEQUENCE_NUMBER") == (
        "InvalidArgumentException",
        f"{sentence}AT_SEQUENCE_NUMBER and no StartingSequenceNumber.",
    )
    assert refusal("LATEST", StartingSequenceNumber=number) == (
        "InvalidArgumentException",
        f"{sentence}LATEST and also a StartingSequenceNumber.",
    )
    assert "no timestamp parameter" in refusal("AT_TIMESTAMP")[1]
    assert "cannot be greater than the currentTimestampInMillis" in refusal("AT_TIMESTAMP", Timestamp=99_999_999_999)[1]
    assert refusal("LATEST", Timestamp=1)[0] == "InvalidArgumentException"
    assert refusal("AT_SEQUENCE_NUMBER", SECOND, StartingSequenceNumber=number) == (
        "InvalidArgumentException",
        f"Invalid StartingSequenceNumber. It encodes {FIRST}, while it was used in a call to a shard with {SECOND}",
    )
    for wrong in ("0", "12345", "49" + "0" * 54, "49" + "9" * 34 + "0" * 20):
        assert refusal("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=wrong) == (
            "InvalidArgumentException",
            (
                f"StartingSequenceNumber {wrong} used in GetShardIterator on shard {FIRST} in stream {name} under "
                f"account {ACCOUNT} is invalid because it did not come from this stream."
            ),
        )
    assert refusal("LATEST", "shardId-000000000007")[0] == "ResourceNotFoundException"
    assert refusal("LATEST", "nonsense")[0] == "ResourceNotFoundException"
    assert refusal("SOMEWHERE")[0] == "ValidationException"


# -- retention, encryption, monitoring


def test_records_expire_after_the_retention(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    [number, _] = kinesis.put(name, "a", "b")
    daemon.advance(DAY - 3600)
    kinesis.put(name, "c")
    assert kinesis.datas(name) == ["a", "b", "c"]
    daemon.advance(3700)
    assert kinesis.datas(name) == ["c"]
    assert kinesis.datas(name, kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=number) == ["c"]
    assert kinesis.datas(name, kind="AT_TIMESTAMP", Timestamp=1) == ["c"]
    daemon.advance(DAY)
    assert kinesis.datas(name) == []


def test_a_longer_retention_keeps_what_is_there_and_brings_nothing_back(
    kinesis: Kinesis, daemon: RunningDaemon
) -> None:
    name = kinesis.stream()
    kinesis.put(name, "expired")
    daemon.advance(DAY + 10)
    kinesis.put(name, "kept")
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=48)
    assert kinesis.datas(name) == ["kept"]
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["RetentionPeriodHours"] == 48
    daemon.advance(DAY + DAY // 2)
    assert kinesis.datas(name) == ["kept"]
    kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    assert kinesis.datas(name) == []


def test_a_retention_has_its_range_and_its_direction(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    for call, hours in (
        (kinesis.increase_stream_retention_period, 8761),
        (kinesis.decrease_stream_retention_period, 23),
        (kinesis.decrease_stream_retention_period, 25),
    ):
        assert refused(call, StreamName=name, RetentionPeriodHours=hours)[0] == "InvalidArgumentException"
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=8760)
    code, text = refused(kinesis.increase_stream_retention_period, StreamName=name, RetentionPeriodHours=25)
    assert code == "InvalidArgumentException"
    assert text.startswith(f"Requested retention period (25 hours) for stream {name} can not be shorter than existing")


def test_encryption_is_kept_and_answered(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    kinesis.start_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert (summary["EncryptionType"], summary["KeyId"]) == ("KMS", "alias/aws/kinesis")
    assert kinesis.put_record(StreamName=name, Data=b"a", PartitionKey="k")["EncryptionType"] == "KMS"
    records = [{"Data": b"b", "PartitionKey": "k"}]
    assert kinesis.put_records(StreamName=name, Records=records)["EncryptionType"] == "KMS"
    assert [record["EncryptionType"] for record in kinesis.records(name)] == ["KMS", "KMS"]
    kinesis.stop_stream_encryption(StreamName=name, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert described["EncryptionType"] == "NONE"
    assert "KeyId" not in described
    code, _ = refused(kinesis.start_stream_encryption, StreamName=name, EncryptionType="NONE", KeyId="k")
    assert code == "InvalidArgumentException"


def test_enhanced_monitoring_is_kept_and_answered(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    answer = kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["OutgoingBytes", "IncomingBytes"])
    del answer["ResponseMetadata"]
    assert answer == {
        "StreamName": name,
        "StreamARN": kinesis.arn(name),
        "CurrentShardLevelMetrics": [],
        "DesiredShardLevelMetrics": ["IncomingBytes", "OutgoingBytes"],
    }
    answer = kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    assert len(answer["DesiredShardLevelMetrics"]) == 7
    answer = kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["IncomingBytes"])
    assert len(answer["CurrentShardLevelMetrics"]) == 7
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    [monitoring] = described["EnhancedMonitoring"]
    assert sorted(monitoring["ShardLevelMetrics"]) == sorted(answer["DesiredShardLevelMetrics"])
    answer = kinesis.disable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    assert answer["DesiredShardLevelMetrics"] == []


def test_records_put_at_the_same_time_by_many_are_all_there(kinesis: Kinesis) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name = kinesis.stream(4)

    def put(worker: int) -> None:
        for number in range(10):
            records = [{"Data": f"{worker}-{number}-{i}".encode(), "PartitionKey": f"{worker}-{i}"} for i in range(10)]
            assert kinesis.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(8)))
    found = [data for number in range(4) for data in kinesis.datas(name, f"shardId-00000000000{number}")]
    assert len(found) == len(set(found)) == 800
