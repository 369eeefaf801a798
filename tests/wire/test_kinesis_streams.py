"""Streams over the wire: made, described, listed, changed and deleted."""

import datetime
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, FIRST, HIGHEST, Kinesis, fresh, refused


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


def test_a_provisioned_streams_life(kinesis: Kinesis) -> None:
    name = fresh()
    assert "ResponseMetadata" in kinesis.create_stream(StreamName=name, ShardCount=2, Tags={"team": "red"})
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    created_at = described.pop("StreamCreationTimestamp")
    assert isinstance(created_at, datetime.datetime)
    half = (HIGHEST + 1) // 2
    starts = [shard["SequenceNumberRange"]["StartingSequenceNumber"] for shard in described["Shards"]]
    assert described == {
        "StreamName": name,
        "StreamARN": kinesis.arn(name),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "Shards": [
            {
                "ShardId": "shardId-000000000000",
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(half - 1)},
                "SequenceNumberRange": {"StartingSequenceNumber": starts[0]},
            },
            {
                "ShardId": "shardId-000000000001",
                "HashKeyRange": {"StartingHashKey": str(half), "EndingHashKey": str(HIGHEST)},
                "SequenceNumberRange": {"StartingSequenceNumber": starts[1]},
            },
        ],
        "HasMoreShards": False,
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    }
    summary = kinesis.describe_stream_summary(StreamARN=kinesis.arn(name))["StreamDescriptionSummary"]
    assert summary == {
        "StreamName": name,
        "StreamARN": kinesis.arn(name),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": created_at,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": 2,
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": 1024,
    }
    assert kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "team", "Value": "red"}]
    kinesis.delete_stream(StreamName=name)
    missing = ("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")
    assert refused(kinesis.describe_stream, StreamName=name) == missing
    assert refused(kinesis.describe_stream_summary, StreamARN=kinesis.arn(name)) == missing
    assert refused(kinesis.delete_stream, StreamName=name) == missing


@pytest.mark.parametrize("more", [{}, {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}])
def test_an_on_demand_stream_begins_with_four_shards(kinesis: Kinesis, more: dict[str, Any]) -> None:
    name = kinesis.stream(None, **more)
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert summary["OpenShardCount"] == 4
    assert summary["RecordDistributionStrategy"] == "USER_PARTITION_KEY"
    assert len(kinesis.shards(name)) == 4


def test_what_cannot_be_created(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    assert refused(kinesis.create_stream, StreamName=name, ShardCount=1) == (
        "ResourceInUseException",
        f"Stream {name} under account {ACCOUNT} already exists.",
    )
    provisioned = {"StreamModeDetails": {"StreamMode": "PROVISIONED"}}
    assert refused(kinesis.create_stream, StreamName=fresh(), **provisioned)[0] == "ValidationException"
    on_demand = {"StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    assert refused(kinesis.create_stream, StreamName=fresh(), ShardCount=1, **on_demand)[0] == "ValidationException"
    code, text = refused(kinesis.create_stream, StreamName=fresh(), ShardCount=20_001)
    assert code == "LimitExceededException"
    assert text.startswith("This request would exceed the shard limit for the account 000000000000 in us-east-1.")
    assert refused(kinesis.create_stream, StreamName=fresh(), ShardCount=1, RecordDistributionStrategy="AUTO")[0] == (
        "InvalidArgumentException"
    )
    code, text = refused(kinesis.create_stream, StreamName="a b", ShardCount=1)
    assert code == "ValidationException"
    assert text == (
        "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy "
        "regular expression pattern: [a-zA-Z0-9_.-]+"
    )


def test_a_stream_is_named_by_its_name_or_its_arn_or_both_if_they_agree(kinesis: Kinesis) -> None:
    name, other = kinesis.stream(), kinesis.stream()
    arn = kinesis.arn(name)
    assert kinesis.put_record(StreamARN=arn, Data=b"a", PartitionKey="k")["ShardId"] == FIRST
    assert kinesis.put_record(StreamARN=arn, StreamName=name, Data=b"b", PartitionKey="k")["ShardId"] == FIRST
    assert kinesis.datas(name) == ["a", "b"]
    code, _ = refused(kinesis.describe_stream, StreamName=other, StreamARN=arn)
    assert code == "InvalidArgumentException"
    code, _ = refused(kinesis.describe_stream)
    assert code == "InvalidArgumentException"


def test_accounts_and_regions_are_separate_worlds(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    there = daemon.client("kinesis", region="eu-west-1")
    assert refused(there.describe_stream, StreamName=name)[0] == "ResourceNotFoundException"
    assert refused(there.describe_stream, StreamARN=kinesis.arn(name))[0] == "ResourceNotFoundException"
    there.create_stream(StreamName=name, ShardCount=1)
    assert there.describe_stream(StreamName=name)["StreamDescription"]["StreamARN"].split(":")[3] == "eu-west-1"
    stranger = daemon.client("kinesis", account="111111111111")
    assert refused(stranger.describe_stream, StreamName=name)[0] == "ResourceNotFoundException"
    assert refused(stranger.describe_stream, StreamARN=kinesis.arn(name))[0] == "AccessDeniedException"


def test_streams_are_listed_in_order_of_name_in_pages(daemon: RunningDaemon) -> None:
    kinesis = Kinesis(daemon, "222222222222")
    names = [f"list-{number:03d}" for number in range(105)]
    for name in reversed(names):
        kinesis.create_stream(StreamName=name, ShardCount=1)
    page = kinesis.list_streams()
    assert page["StreamNames"] == names[:100]
    assert page["HasMoreStreams"] is True
    summary = page["StreamSummaries"][0]
    assert isinstance(summary.pop("StreamCreationTimestamp"), datetime.datetime)
    assert summary == {
        "StreamName": "list-000",
        "StreamARN": "arn:aws:kinesis:us-east-1:222222222222:stream/list-000",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
    }
    rest = kinesis.list_streams(NextToken=page["NextToken"])
    assert rest["StreamNames"] == names[100:]
    assert rest["HasMoreStreams"] is False
    assert "NextToken" not in rest
    assert kinesis.list_streams(ExclusiveStartStreamName="list-102")["StreamNames"] == names[103:]
    assert kinesis.list_streams(Limit=2)["StreamNames"] == names[:2]
    found = [name for page in kinesis.get_paginator("list_streams").paginate(Limit=30) for name in page["StreamNames"]]
    assert found == names
    assert refused(kinesis.list_streams, NextToken="nonsense")[0] == "InvalidArgumentException"
    daemon.advance(301)
    code, text = refused(kinesis.list_streams, NextToken=page["NextToken"])
    assert code == "ExpiredNextTokenException"
    assert "300 seconds" in text
    for name in names:
        kinesis.delete_stream(StreamName=name)


def test_a_stream_describes_its_shards_in_pages(kinesis: Kinesis) -> None:
    name = kinesis.stream(105)
    page = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert len(page["Shards"]) == 100
    assert page["HasMoreShards"] is True
    last = page["Shards"][-1]["ShardId"]
    page = kinesis.describe_stream(StreamName=name, ExclusiveStartShardId=last)["StreamDescription"]
    assert [shard["ShardId"] for shard in page["Shards"]] == [
        f"shardId-000000000{number}" for number in range(100, 105)
    ]
    assert page["HasMoreShards"] is False
    page = kinesis.describe_stream(StreamName=name, Limit=3)["StreamDescription"]
    assert (len(page["Shards"]), page["HasMoreShards"]) == (3, True)
    assert refused(kinesis.describe_stream, StreamName=name, ExclusiveStartShardId="x")[0] == "InvalidArgumentException"


def test_a_stream_with_consumers_is_deleted_when_that_is_asked_for(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    consumer = kinesis.register_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName="c")["Consumer"]
    assert refused(kinesis.delete_stream, StreamName=name)[0] == "ResourceInUseException"
    assert refused(kinesis.delete_stream, StreamName=name, EnforceConsumerDeletion=False)[0] == (
        "ResourceInUseException"
    )
    kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
    assert refused(kinesis.describe_stream_consumer, ConsumerARN=consumer["ConsumerARN"])[0] == (
        "ResourceNotFoundException"
    )
    kinesis.create_stream(StreamName=name, ShardCount=1)
    assert kinesis.list_stream_consumers(StreamARN=kinesis.arn(name))["Consumers"] == []
    assert kinesis.datas(name) == []


def test_the_mode_of_a_stream_changes_and_its_shards_stay(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    on_demand, provisioned = {"StreamMode": "ON_DEMAND"}, {"StreamMode": "PROVISIONED"}
    arn = kinesis.arn(name)
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails=on_demand)
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert described["StreamModeDetails"] == on_demand
    assert len(described["Shards"]) == 2
    for call, request in (
        (kinesis.split_shard, {"ShardToSplit": FIRST, "NewStartingHashKey": "5"}),
        (kinesis.update_shard_count, {"TargetShardCount": 3, "ScalingType": "UNIFORM_SCALING"}),
    ):
        code, text = refused(call, StreamName=name, **request)
        assert code == "ValidationException"
        assert text == f"Request is invalid. Stream {name} under account {ACCOUNT} is in On-Demand mode."
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails=provisioned)
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="5")


def test_the_size_of_a_record_is_limited_per_stream(kinesis: Kinesis) -> None:
    name = kinesis.stream(MaxRecordSizeInKiB=2048)
    arn = kinesis.arn(name)

    def limit() -> int:
        return int(kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["MaxRecordSizeInKiB"])

    assert limit() == 2048
    kinesis.put_record(StreamName=name, Data=bytes(2048 * 1024 - 1), PartitionKey="k")
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=1024)
    assert limit() == 1024
    code, text = refused(kinesis.put_record, StreamName=name, Data=bytes(1024 * 1024), PartitionKey="k")
    assert code == "ValidationException"
    assert text == (
        "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less than "
        "or equal to 1048576"
    )
    records = [{"Data": b"a", "PartitionKey": "k"}, {"Data": bytes(1024 * 1024), "PartitionKey": "k"}]
    code, text = refused(kinesis.put_records, StreamName=name, Records=records)
    assert "'records.2.member.data'" in text
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=10240)
    kinesis.put_record(StreamName=name, Data=bytes(10240 * 1024 - 1), PartitionKey="k")
    code, _ = refused(kinesis.update_max_record_size, StreamARN=arn, MaxRecordSizeInKiB=10241)
    assert code == "ValidationException"


def test_records_of_an_auto_stream_are_distributed_evenly_whatever_their_keys(kinesis: Kinesis) -> None:
    name = kinesis.stream(None, RecordDistributionStrategy="AUTO")
    shards = [kinesis.put_record(StreamName=name, Data=b"a", PartitionKey="same")["ShardId"] for _ in range(8)]
    assert sorted(shards) == sorted([f"shardId-00000000000{number}" for number in range(4)] * 2)
    shards = [kinesis.put_record(StreamName=name, Data=b"a")["ShardId"] for _ in range(4)]
    assert len(set(shards)) == 4
    arn = kinesis.arn(name)
    kinesis.update_stream_record_distribution_strategy(StreamARN=arn, RecordDistributionStrategy="USER_PARTITION_KEY")
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["RecordDistributionStrategy"] == "USER_PARTITION_KEY"
    assert len({kinesis.put_record(StreamName=name, Data=b"a", PartitionKey="k")["ShardId"] for _ in range(5)}) == 1
    code, text = refused(kinesis.put_record, StreamName=name, Data=b"a")
    assert code == "ValidationException"
    assert "Value null at 'partitionKey'" in text


def test_warm_throughput_asks_for_the_accounts_commitment(daemon: RunningDaemon) -> None:
    kinesis = Kinesis(daemon, "333333333333")
    name = kinesis.stream(None)
    commitment = kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert commitment == {"Status": "DISABLED"}
    assert refused(kinesis.update_stream_warm_throughput, StreamName=name, WarmThroughputMiBps=100)[0] == (
        "ValidationException"
    )
    enabled = kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "ENABLED"})
    assert enabled["MinimumThroughputBillingCommitment"]["Status"] == "ENABLED"
    warm = kinesis.update_stream_warm_throughput(StreamName=name, WarmThroughputMiBps=100)
    assert warm["WarmThroughput"] == {"TargetMiBps": 100, "CurrentMiBps": 100}
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["WarmThroughput"] == {"TargetMiBps": 100, "CurrentMiBps": 100}
    kinesis.create_stream(StreamName=fresh(), WarmThroughputMiBps=50)
    assert refused(kinesis.create_stream, StreamName=fresh(), ShardCount=1, WarmThroughputMiBps=50)[0] == (
        "ValidationException"
    )
    disabled = kinesis.update_account_settings(MinimumThroughputBillingCommitment={"Status": "DISABLED"})
    standing = disabled["MinimumThroughputBillingCommitment"]
    assert standing["Status"] == "ENABLED_UNTIL_EARLIEST_ALLOWED_END"
    assert standing["EndedAt"] - standing["StartedAt"] == datetime.timedelta(days=1)
    daemon.advance(86_401)
    commitment = kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"]
    assert commitment["Status"] == "DISABLED"


def test_the_limits_of_an_account_are_shown_with_what_it_has(daemon: RunningDaemon) -> None:
    kinesis = Kinesis(daemon, "444444444444")
    kinesis.stream(3)
    kinesis.stream(None)
    limits = kinesis.describe_limits()
    del limits["ResponseMetadata"]
    assert limits == {
        "ShardLimit": 20_000,
        "OpenShardCount": 7,
        "OnDemandStreamCount": 1,
        "OnDemandStreamCountLimit": 1_000_000,
    }


def test_streams_and_records_survive_a_kill(daemon: RunningDaemon, kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    numbers = kinesis.put(name, "a", "b", "c", hash_key=0)
    shards = kinesis.shards(name)
    daemon.restart(kill=True)
    assert kinesis.shards(name) == shards
    assert [record["SequenceNumber"] for record in kinesis.records(name)] == numbers
    [later] = kinesis.put(name, "d", hash_key=0)
    assert int(later) > int(numbers[-1])
    assert kinesis.datas(name) == ["a", "b", "c", "d"]
