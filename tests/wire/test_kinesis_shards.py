"""Shards over the wire: split, merged, resized and listed."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, FIRST, FOURTH, HIGHEST, SECOND, THIRD, Kinesis, fresh, refused

DAY = 86_400


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


def ids(shards: list[dict[str, Any]]) -> list[str]:
    return [shard["ShardId"] for shard in shards]


def covers_everything(shards: list[dict[str, Any]]) -> bool:
    ranges = sorted(
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
        for shard in shards
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    )
    expected = 0
    for low, high in ranges:
        if low != expected:
            return False
        expected = high + 1
    return expected == HIGHEST + 1


def test_a_split_closes_a_shard_and_opens_two_in_its_place(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    before = kinesis.put(name, "a", "b", "c")
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    parent, low, high = kinesis.shards(name)
    assert covers_everything([parent, low, high])
    assert low["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": "99"}
    assert high["HashKeyRange"] == {"StartingHashKey": "100", "EndingHashKey": str(HIGHEST)}
    assert low["ParentShardId"] == high["ParentShardId"] == FIRST
    assert "AdjacentParentShardId" not in low
    end = int(parent["SequenceNumberRange"]["EndingSequenceNumber"])
    assert int(before[-1]) < end
    after = kinesis.put(name, "d", hash_key=99) + kinesis.put(name, "e", hash_key=100)
    assert min(map(int, after)) > end
    assert (kinesis.datas(name), kinesis.datas(name, SECOND), kinesis.datas(name, THIRD)) == (
        ["a", "b", "c"],
        ["d"],
        ["e"],
    )


def test_a_merge_closes_two_neighbours_and_opens_one(kinesis: Kinesis) -> None:
    name = kinesis.stream(3)
    kinesis.merge_shards(StreamName=name, ShardToMerge=THIRD, AdjacentShardToMerge=SECOND)
    shards = kinesis.shards(name)
    assert covers_everything(shards)
    child = shards[3]
    assert (child["ParentShardId"], child["AdjacentParentShardId"]) == (THIRD, SECOND)
    assert child["HashKeyRange"]["StartingHashKey"] == shards[1]["HashKeyRange"]["StartingHashKey"]
    assert child["HashKeyRange"]["EndingHashKey"] == str(HIGHEST)


def test_what_cannot_be_split_or_merged(kinesis: Kinesis) -> None:
    name = kinesis.stream(3)
    width = int(kinesis.shards(name)[0]["HashKeyRange"]["EndingHashKey"])
    for key in (0, width + 1):
        code, text = refused(kinesis.split_shard, StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(key))
        assert code == "InvalidArgumentException"
        assert text == (
            f"NewStartingHashKey {key} used in SplitShard() on shard {FIRST} in stream {name} under account {ACCOUNT} "
            f"is not both greater than one plus the shard's StartingHashKey 0 and less than the shard's EndingHashKey "
            f"{width}."
        )
    missing = refused(kinesis.split_shard, StreamName=name, ShardToSplit="shardId-000000000009", NewStartingHashKey="1")
    assert missing == (
        "ResourceNotFoundException",
        f"Could not find shard shardId-000000000009 in stream {name} under account {ACCOUNT}.",
    )
    code, text = refused(kinesis.merge_shards, StreamName=name, ShardToMerge=FIRST, AdjacentShardToMerge=THIRD)
    assert (code, text) == (
        "InvalidArgumentException",
        (
            f"Shards {FIRST} and {THIRD} in stream {name} under account {ACCOUNT} are not an adjacent pair of shards "
            "eligible for merging"
        ),
    )
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey=str(width))
    code, _ = refused(kinesis.split_shard, StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="5")
    assert code == "ResourceInUseException"
    code, _ = refused(kinesis.merge_shards, StreamName=name, ShardToMerge=FIRST, AdjacentShardToMerge=SECOND)
    assert code == "InvalidArgumentException"
    same = refused(kinesis.merge_shards, StreamName=name, ShardToMerge=SECOND, AdjacentShardToMerge=SECOND)
    assert same[0] == "InvalidArgumentException"


def test_the_number_of_shards_changes_by_double_or_half_at_the_most(kinesis: Kinesis) -> None:
    name = kinesis.stream(3)
    resize = {"StreamName": name, "ScalingType": "UNIFORM_SCALING"}
    answer = kinesis.update_shard_count(TargetShardCount=6, **resize)
    del answer["ResponseMetadata"]
    assert answer == {
        "StreamName": name,
        "StreamARN": kinesis.arn(name),
        "CurrentShardCount": 3,
        "TargetShardCount": 6,
    }
    shards = kinesis.shards(name)
    assert covers_everything(shards)
    assert len(kinesis.shards(name, ShardFilter={"Type": "AT_LATEST"})) == 6
    code, text = refused(kinesis.update_shard_count, TargetShardCount=13, **resize)
    assert (code, text) == (
        "InvalidArgumentException",
        (
            "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 6 "
            "Target shard count: 13"
        ),
    )
    code, text = refused(kinesis.update_shard_count, TargetShardCount=2, **resize)
    assert (code, text) == (
        "InvalidArgumentException",
        (
            "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 6 "
            "Target shard count: 2"
        ),
    )
    for count in (4, 5, 7, 4, 3):
        kinesis.update_shard_count(TargetShardCount=count, **resize)
        shards = kinesis.shards(name, ShardFilter={"Type": "AT_LATEST"})
        assert len(shards) == count
        assert covers_everything(shards)
    assert kinesis.update_shard_count(TargetShardCount=3, **resize)["CurrentShardCount"] == 3


def test_every_record_is_read_once_across_reshards_parents_first(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    put: list[str] = []
    for round_number, count in enumerate((4, 3, 6, 5)):
        datas = [f"{round_number}-{number}" for number in range(40)]
        records = [{"Data": data.encode(), "PartitionKey": f"key-{number}"} for number, data in enumerate(datas)]
        assert kinesis.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
        put += datas
        kinesis.update_shard_count(StreamName=name, TargetShardCount=count, ScalingType="UNIFORM_SCALING")
    read: list[str] = []
    by_key: dict[str, list[int]] = {}
    waiting, done = ids(kinesis.shards(name, ShardFilter={"Type": "AT_TRIM_HORIZON"})), set()
    assert waiting == [FIRST, SECOND]
    while waiting:
        shard = waiting.pop(0)
        done.add(shard)
        iterator: str | None = kinesis.iterator(name, shard)
        while iterator is not None:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=7)
            read += [record["Data"].decode() for record in answer["Records"]]
            for record in answer["Records"]:
                by_key.setdefault(record["PartitionKey"], []).append(int(record["SequenceNumber"]))
            iterator = answer.get("NextShardIterator")
            if not answer["Records"] and iterator is not None:
                break  # an open shard's tip
            for child in answer.get("ChildShards", []) if iterator is None else []:
                if child["ShardId"] not in waiting and done.issuperset(child["ParentShards"]):
                    waiting.append(child["ShardId"])
    assert sorted(read) == sorted(put)
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert done == set(ids(kinesis.shards(name)))


def test_shards_are_listed_in_pages_with_tokens_that_expire(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream(5)
    page = kinesis.list_shards(StreamName=name, MaxResults=2)
    assert ids(page["Shards"]) == [FIRST, SECOND]
    following = kinesis.list_shards(NextToken=page["NextToken"], MaxResults=2)
    assert ids(following["Shards"]) == [THIRD, FOURTH]
    last = kinesis.list_shards(NextToken=following["NextToken"])
    assert ids(last["Shards"]) == ["shardId-000000000004"]
    assert "NextToken" not in last
    assert ids(kinesis.shards(name, ExclusiveStartShardId=THIRD)) == [FOURTH, "shardId-000000000004"]
    for more in ({"StreamName": name}, {"ExclusiveStartShardId": FIRST}, {"ShardFilter": {"Type": "AT_LATEST"}}):
        code, _ = refused(kinesis.list_shards, NextToken=page["NextToken"], **more)
        assert code == "InvalidArgumentException"
    assert refused(kinesis.list_shards, NextToken="nonsense")[0] == "InvalidArgumentException"
    daemon.advance(299)
    assert kinesis.list_shards(NextToken=page["NextToken"], MaxResults=2)["Shards"] == following["Shards"]
    daemon.advance(2)
    assert refused(kinesis.list_shards, NextToken=page["NextToken"])[0] == "ExpiredNextTokenException"


def test_the_creation_of_a_stream_tells_it_from_another_of_its_name(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    created_at = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamCreationTimestamp"]
    assert ids(kinesis.shards(name, StreamCreationTimestamp=created_at)) == [FIRST]
    code, _ = refused(kinesis.list_shards, StreamName=name, StreamCreationTimestamp=1_000_000_000)
    assert code == "ResourceNotFoundException"


def test_a_filter_lets_through_the_shards_of_a_time(daemon: RunningDaemon) -> None:
    kinesis = Kinesis(daemon)
    name = kinesis.stream()
    start = daemon.advance(0)

    def filtered(kind: str, **more: Any) -> list[str]:
        return ids(kinesis.shards(name, ShardFilter={"Type": kind, **more}))

    daemon.advance(3600)
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    split_at = daemon.advance(0)
    daemon.advance(3600)
    kinesis.merge_shards(StreamName=name, ShardToMerge=SECOND, AdjacentShardToMerge=THIRD)
    daemon.advance(10)
    everything = [FIRST, SECOND, THIRD, FOURTH]
    assert filtered("AT_LATEST") == [FOURTH]
    assert filtered("AT_TRIM_HORIZON") == [FIRST]
    assert filtered("FROM_TRIM_HORIZON") == ids(kinesis.shards(name)) == everything
    assert filtered("AFTER_SHARD_ID", ShardId=SECOND) == [THIRD, FOURTH]
    assert filtered("AT_TIMESTAMP", Timestamp=start + 100) == [FIRST]
    assert filtered("AT_TIMESTAMP", Timestamp=split_at + 100) == [SECOND, THIRD]
    assert filtered("FROM_TIMESTAMP", Timestamp=split_at + 100) == [SECOND, THIRD, FOURTH]
    assert filtered("FROM_TIMESTAMP", Timestamp=1_000_000_000) == everything
    for by in (
        {"Type": "AT_TIMESTAMP"},
        {"Type": "AFTER_SHARD_ID"},
        {"Type": "AT_LATEST", "ShardId": FIRST},
        {"Type": "AT_LATEST", "Timestamp": start},
    ):
        assert refused(kinesis.list_shards, StreamName=name, ShardFilter=by)[0] == "InvalidArgumentException"
    page = kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": FIRST}, MaxResults=1)
    assert ids(kinesis.list_shards(NextToken=page["NextToken"])["Shards"]) == [THIRD, FOURTH]


def test_a_closed_shard_is_there_as_long_as_its_records(daemon: RunningDaemon) -> None:
    kinesis = Kinesis(daemon)
    name = kinesis.stream()
    kinesis.put(name, "a")
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    daemon.advance(DAY - 600)
    assert kinesis.datas(name) == ["a"]
    daemon.advance(700)
    assert ids(kinesis.shards(name)) == [SECOND, THIRD]
    assert ids(kinesis.describe_stream(StreamName=name)["StreamDescription"]["Shards"]) == [SECOND, THIRD]
    code, text = refused(kinesis.get_shard_iterator, StreamName=name, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    assert (code, text) == (
        "ResourceNotFoundException",
        f"Could not find shard {FIRST} in stream {name} under account {ACCOUNT}.",
    )
    assert kinesis.shards(name)[0]["ParentShardId"] == FIRST


def test_many_shards_are_resharded_at_once(kinesis: Kinesis) -> None:
    name = fresh()
    kinesis.create_stream(StreamName=name, ShardCount=500)
    kinesis.update_shard_count(StreamName=name, TargetShardCount=1000, ScalingType="UNIFORM_SCALING")
    kinesis.update_shard_count(StreamName=name, TargetShardCount=700, ScalingType="UNIFORM_SCALING")
    assert covers_everything(kinesis.shards(name, ShardFilter={"Type": "AT_LATEST"}))
    kinesis.delete_stream(StreamName=name)
