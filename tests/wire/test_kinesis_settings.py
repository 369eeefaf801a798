"""What the settings change: AWS's throughput and quotas, and transitions that take their time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, FIRST, Kinesis, fresh, refused


@pytest.fixture(scope="module")
def kinesis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kinesis]:
    directory: Path = tmp_path_factory.mktemp("kinesis")
    environment = {"EVENTRT_LIMITS_KINESIS": "aws", "EVENTRT_KINESIS_TRANSITION_S": "2"}
    daemon = RunningDaemon(directory / "data", environment=environment)
    daemon.start()
    daemon.post("/_eventrt/clock", {"rate": 0})
    yield Kinesis(daemon)
    daemon.stop()
    daemon.close_clients()


def made(kinesis: Kinesis, shards: int | None = 1) -> str:
    name = kinesis.stream(shards)
    kinesis.daemon.advance(3)
    return name


def status_of(kinesis: Kinesis, name: str) -> str:
    return str(kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"])


def test_a_stream_is_created_for_as_long_as_the_setting_says(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    assert status_of(kinesis, name) == "CREATING"
    assert kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"] == []
    in_use = (
        "ResourceInUseException",
        f"Stream {name} under account {ACCOUNT} not ACTIVE, instead in state CREATING",
    )
    assert refused(kinesis.add_tags_to_stream, StreamName=name, Tags={"a": "b"}) == in_use
    assert refused(kinesis.list_shards, StreamName=name) == in_use
    assert refused(kinesis.delete_stream, StreamName=name) == in_use
    missing = ("ResourceNotFoundException", f"Stream {name} under account {ACCOUNT} not found.")
    assert refused(kinesis.put_record, StreamName=name, Data=b"", PartitionKey="k") == missing
    kinesis.daemon.advance(2)
    assert status_of(kinesis, name) == "ACTIVE"
    assert len(kinesis.shards(name)) == 2


def test_a_stream_that_is_updated_takes_and_gives_records(kinesis: Kinesis) -> None:
    name = made(kinesis)
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="5")
    assert status_of(kinesis, name) == "UPDATING"
    code, text = refused(kinesis.split_shard, StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="5")
    assert (code, text.endswith("instead in state UPDATING")) == ("ResourceInUseException", True)
    kinesis.put(name, "a", hash_key=0)
    assert kinesis.datas(name, "shardId-000000000001") == ["a"]
    kinesis.daemon.advance(2)
    assert status_of(kinesis, name) == "ACTIVE"


def test_a_stream_is_deleted_for_as_long_as_the_setting_says(kinesis: Kinesis) -> None:
    name = made(kinesis)
    kinesis.delete_stream(StreamName=name)
    assert status_of(kinesis, name) == "DELETING"
    assert refused(kinesis.create_stream, StreamName=name, ShardCount=1)[0] == "ResourceInUseException"
    kinesis.daemon.advance(2)
    assert refused(kinesis.describe_stream_summary, StreamName=name)[0] == "ResourceNotFoundException"
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.daemon.advance(2)
    assert status_of(kinesis, name) == "ACTIVE"


def test_a_consumer_is_created_for_as_long_as_the_setting_says(kinesis: Kinesis) -> None:
    name = made(kinesis)
    consumer = kinesis.register_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName="c")["Consumer"]
    assert consumer["ConsumerStatus"] == "CREATING"
    request = {"ConsumerARN": consumer["ConsumerARN"], "ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}}
    assert refused(kinesis.subscribe_to_shard, **request)[0] == "ResourceInUseException"
    kinesis.daemon.advance(2)
    described = kinesis.describe_stream_consumer(ConsumerARN=consumer["ConsumerARN"])["ConsumerDescription"]
    assert described["ConsumerStatus"] == "ACTIVE"
    kinesis.subscribe_to_shard(**request)["EventStream"].close()


def test_a_transition_survives_a_kill(kinesis: Kinesis) -> None:
    name, doomed = kinesis.stream(), made(kinesis)
    kinesis.delete_stream(StreamName=doomed)
    kinesis.daemon.restart(kill=True)
    kinesis.daemon.post("/_eventrt/clock", {"rate": 0})
    kinesis.daemon.advance(3)
    assert status_of(kinesis, name) == "ACTIVE"
    assert refused(kinesis.describe_stream_summary, StreamName=doomed)[0] == "ResourceNotFoundException"


def test_a_shard_takes_a_thousand_records_a_second_and_refuses_the_rest_one_by_one(kinesis: Kinesis) -> None:
    name = made(kinesis)
    records = [{"Data": b"x", "PartitionKey": "k"}] * 500
    for _ in range(2):
        assert kinesis.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
    kinesis.daemon.advance(0.25)
    answer = kinesis.put_records(StreamName=name, Records=records)
    assert answer["FailedRecordCount"] == 250
    assert [sorted(result) for result in answer["Records"]] == [["SequenceNumber", "ShardId"]] * 250 + [
        ["ErrorCode", "ErrorMessage"]
    ] * 250
    sentence = f"Rate exceeded for shard {FIRST} in stream {name} under account {ACCOUNT}."
    assert answer["Records"][-1] == {
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": sentence,
    }
    assert refused(kinesis.put_record, StreamName=name, Data=b"x", PartitionKey="k") == (
        "ProvisionedThroughputExceededException",
        sentence,
    )
    kinesis.daemon.advance(1)
    assert len(kinesis.records(name)) == 1250


def test_a_shard_is_read_five_times_a_second(kinesis: Kinesis) -> None:
    name = made(kinesis)
    iterator = kinesis.iterator(name)
    for _ in range(5):
        kinesis.get_records(ShardIterator=iterator)
    code, text = refused(kinesis.get_records, ShardIterator=iterator)
    assert code == "ProvisionedThroughputExceededException"
    assert text == f"Rate exceeded for shard {FIRST} in stream {name} under account {ACCOUNT}."
    kinesis.daemon.advance(1)
    kinesis.get_records(ShardIterator=iterator)


def test_quotas_of_an_account_and_a_day_hold(kinesis: Kinesis) -> None:
    name = made(kinesis)
    for count in (2, 1) * 5:
        kinesis.update_shard_count(StreamName=name, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
        kinesis.daemon.advance(2)
    resize = {"StreamName": name, "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING"}
    assert refused(kinesis.update_shard_count, **resize)[0] == "LimitExceededException"
    for mode in ("ON_DEMAND", "PROVISIONED"):
        kinesis.update_stream_mode(StreamARN=kinesis.arn(name), StreamModeDetails={"StreamMode": mode})
        kinesis.daemon.advance(2)
    on_demand = {"StreamARN": kinesis.arn(name), "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}
    assert refused(kinesis.update_stream_mode, **on_demand)[0] == "LimitExceededException"
    kinesis.daemon.advance(86_400)
    kinesis.update_shard_count(**resize)
    kinesis.daemon.advance(2)
    kinesis.update_stream_mode(**on_demand)
    kinesis.daemon.advance(2)
    assert kinesis.describe_limits()["OnDemandStreamCountLimit"] == 50
    for _ in range(5):
        kinesis.stream()
    assert refused(kinesis.create_stream, StreamName=fresh(), ShardCount=1)[0] == "LimitExceededException"
    kinesis.daemon.advance(2)
    kinesis.stream()


def test_an_account_has_fifty_on_demand_streams(kinesis: Kinesis) -> None:
    other = Kinesis(kinesis.daemon, "555555555555")
    for _ in range(50):
        other.stream(None)
        kinesis.daemon.advance(2)
    code, text = refused(other.create_stream, StreamName=fresh())
    assert code == "LimitExceededException"
    assert "on-demand stream limit" in text
