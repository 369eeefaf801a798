"""Kinesis in CBOR, as the AWS SDK for Java and the producer and client libraries speak it."""

import http.client
import struct
from typing import Any

import cbor2
import pytest

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.kinesis_speaking import FIRST, Kinesis

CBOR = "application/x-amz-cbor-1.1"


class CborClient:
    """Speaks CBOR over one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def call(self, operation: str, body: bytes | dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        headers = {"X-Amz-Target": f"Kinesis_20131202.{operation}", "Content-Type": CBOR}
        self.connection.request("POST", "/", body if isinstance(body, bytes) else cbor2.dumps(body), headers)
        answer = self.connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def ask(self, operation: str, **request: Any) -> Any:
        """Return the members of an answer that is a success."""
        status, headers, body = self.call(operation, request)
        assert status == 200, cbor2.loads(body)
        assert headers["content-type"] == CBOR
        assert headers["x-amzn-requestid"]
        return cbor2.loads(body) if body else None


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


@pytest.fixture
def client(daemon: RunningDaemon) -> Any:
    client = CborClient(daemon.port)
    yield client
    client.connection.close()


def test_a_records_life_in_cbor(client: CborClient, kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    data = bytes(range(256))
    put = client.ask("PutRecord", StreamName=name, Data=data, PartitionKey="k")
    assert put["ShardId"] == FIRST
    puts = client.ask("PutRecords", StreamName=name, Records=[{"Data": b"b", "PartitionKey": "k"}] * 2)
    assert puts["FailedRecordCount"] == 0
    iterator = client.ask("GetShardIterator", StreamName=name, ShardId=FIRST, ShardIteratorType="TRIM_HORIZON")
    got = client.ask("GetRecords", ShardIterator=iterator["ShardIterator"])
    assert [record["Data"] for record in got["Records"]] == [data, b"b", b"b"]
    assert got["Records"][0]["SequenceNumber"] == put["SequenceNumber"]
    assert got["MillisBehindLatest"] == 0
    arrived_at = got["Records"][0]["ApproximateArrivalTimestamp"]
    assert type(arrived_at) is int
    assert abs(arrived_at / 1000 - daemon.advance(0)) < 60
    assert kinesis.records(name)[0]["ApproximateArrivalTimestamp"].timestamp() == arrived_at / 1000


@pytest.mark.parametrize("tag", [None, 1])
def test_moments_are_milliseconds_whatever_their_tag_says(
    client: CborClient, kinesis: Kinesis, daemon: RunningDaemon, tag: int | None
) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    moment: Any = int(daemon.advance(10) * 1000)
    daemon.advance(10)
    kinesis.put(name, "b")
    if tag is not None:
        moment = cbor2.CBORTag(tag, moment)
    iterator = client.ask(
        "GetShardIterator", StreamName=name, ShardId=FIRST, ShardIteratorType="AT_TIMESTAMP", Timestamp=moment
    )
    got = client.ask("GetRecords", ShardIterator=iterator["ShardIterator"])
    assert [record["Data"] for record in got["Records"]] == [b"b"]
    described = client.ask("DescribeStream", StreamName=name)["StreamDescription"]
    created_at = described["StreamCreationTimestamp"]
    assert type(created_at) is int
    shards = client.ask("ListShards", StreamName=name, StreamCreationTimestamp=created_at)["Shards"]
    assert [shard["ShardId"] for shard in shards] == [FIRST]


def test_an_operation_without_output_answers_nothing(client: CborClient, kinesis: Kinesis) -> None:
    name = kinesis.stream()
    assert client.ask("AddTagsToStream", StreamName=name, Tags={"a": "b"}) is None
    assert kinesis.list_tags_for_stream(StreamName=name)["Tags"] == [{"Key": "a", "Value": "b"}]


def test_refusals_are_in_cbor_too(client: CborClient) -> None:
    status, headers, body = client.call("DescribeStream", {"StreamName": "missing"})
    assert (status, headers["content-type"]) == (400, CBOR)
    assert cbor2.loads(body) == {
        "__type": "ResourceNotFoundException",
        "message": "Stream missing under account 000000000000 not found.",
    }
    for wrong in (b"\xff", b"\x1c", b"[" * 100, cbor2.dumps([1]), cbor2.dumps({"StreamName": 5})):
        status, headers, body = client.call("DescribeStream", wrong)
        assert (status, cbor2.loads(body)["__type"]) == (400, "SerializationException")
    status, _, body = client.call("PutRecord", {"StreamName": "s", "PartitionKey": "k"})
    assert (status, cbor2.loads(body)["__type"]) == (400, "ValidationException")
    status, _, body = client.call("MakeCoffee", {})
    assert (status, cbor2.loads(body)["__type"]) == (400, "UnknownOperationException")


def test_pushed_events_carry_cbor(client: CborClient, kinesis: Kinesis) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    arn = kinesis.register_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName="c")["Consumer"]["ConsumerARN"]
    position = {"Type": "TRIM_HORIZON"}
    status, headers, body = client.call(
        "SubscribeToShard", {"ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": position}
    )
    assert (status, headers["content-type"]) == (200, "application/vnd.amazon.eventstream")
    payloads = []
    while body:
        total, head_length = struct.unpack(">II", body[:8])
        payloads.append(cbor2.loads(body[12 + head_length : total - 4]))
        body = body[total:]
    initial, event = payloads
    assert initial == {}
    assert [record["Data"] for record in event["Records"]] == [b"a"]


def test_other_services_do_not_speak_it(daemon: RunningDaemon) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    headers = {"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": CBOR}
    connection.request("POST", "/", cbor2.dumps({}), headers)
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"SerializationException" in answer.read()
    connection.close()
