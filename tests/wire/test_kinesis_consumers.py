"""Enhanced fan-out over the wire: consumers, and records pushed to them."""

import datetime
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import orjson
import pytest
from botocore.exceptions import EventStreamError

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.kinesis_speaking import ACCOUNT, FIRST, HIGHEST, SECOND, THIRD, Kinesis, refused


@pytest.fixture
def kinesis(daemon: RunningDaemon) -> Kinesis:
    return Kinesis(daemon)


_STREAMS: list[Any] = []


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """Close the connections of every event stream that a test has opened."""
    yield
    while _STREAMS:
        _STREAMS.pop().close()


def consumer_of(kinesis: Kinesis, name: str, consumer: str = "c") -> str:
    answer = kinesis.register_stream_consumer(StreamARN=kinesis.arn(name), ConsumerName=consumer)
    return str(answer["Consumer"]["ConsumerARN"])


def subscribe(kinesis: Kinesis, arn: str, shard: str = FIRST, kind: str = "TRIM_HORIZON", **more: Any) -> Any:
    position = {"Type": kind, **more}
    answer = kinesis.subscribe_to_shard(ConsumerARN=arn, ShardId=shard, StartingPosition=position)
    _STREAMS.append(answer["EventStream"])
    return answer["EventStream"]


def take(stream: Any, count: int) -> list[dict[str, Any]]:
    """Return the next events of a stream."""
    events = iter(stream)
    return [next(events)["SubscribeToShardEvent"] for _ in range(count)]


def datas(event: dict[str, Any]) -> list[bytes]:
    return [record["Data"] for record in event["Records"]]


# -- consumers


def test_a_consumers_life(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn = kinesis.arn(name)
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app", Tags={"a": "b"})["Consumer"]
    created_at = consumer.pop("ConsumerCreationTimestamp")
    assert isinstance(created_at, datetime.datetime)
    consumer_arn = f"{arn}/consumer/app:{int(created_at.timestamp())}"
    assert consumer == {"ConsumerName": "app", "ConsumerARN": consumer_arn, "ConsumerStatus": "ACTIVE"}
    for asked in (
        {"ConsumerARN": consumer_arn},
        {"StreamARN": arn, "ConsumerName": "app"},
        {"StreamARN": arn, "ConsumerName": "app", "ConsumerARN": consumer_arn},
    ):
        described = kinesis.describe_stream_consumer(**asked)["ConsumerDescription"]
        assert described == {**consumer, "ConsumerCreationTimestamp": created_at, "StreamARN": arn}
    assert kinesis.list_stream_consumers(StreamARN=arn)["Consumers"] == [
        {**consumer, "ConsumerCreationTimestamp": created_at}
    ]
    summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    assert summary["ConsumerCount"] == 1
    assert kinesis.list_tags_for_resource(ResourceARN=consumer_arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    assert refused(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="app") == (
        "ResourceInUseException",
        f"Consumer app under stream {name} already exists for account {ACCOUNT}.",
    )
    kinesis.deregister_stream_consumer(StreamARN=arn, ConsumerName="app")
    for asked in ({"ConsumerARN": consumer_arn}, {"StreamARN": arn, "ConsumerName": "app"}):
        assert refused(kinesis.describe_stream_consumer, **asked)[0] == "ResourceNotFoundException"
        assert refused(kinesis.deregister_stream_consumer, **asked)[0] == "ResourceNotFoundException"


def test_a_consumer_is_named_in_full(kinesis: Kinesis) -> None:
    name, other = kinesis.stream(), kinesis.stream()
    arn = consumer_of(kinesis, name)
    for asked in (
        {},
        {"StreamARN": kinesis.arn(name)},
        {"ConsumerName": "c"},
        {"ConsumerARN": arn, "ConsumerName": "other"},
        {"ConsumerARN": arn, "StreamARN": kinesis.arn(other)},
    ):
        assert refused(kinesis.describe_stream_consumer, **asked)[0] == "InvalidArgumentException"


def test_a_stream_has_twenty_consumers_at_the_most_listed_in_pages(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name, other = kinesis.stream(), kinesis.stream()
    arn = kinesis.arn(name)
    names = [f"consumer-{number:02d}" for number in range(20)]
    for consumer in reversed(names):
        consumer_of(kinesis, name, consumer)
    code, _ = refused(kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="one-more")
    assert code == "LimitExceededException"
    page = kinesis.list_stream_consumers(StreamARN=arn, MaxResults=15)
    assert [consumer["ConsumerName"] for consumer in page["Consumers"]] == names[:15]
    rest = kinesis.list_stream_consumers(StreamARN=arn, NextToken=page["NextToken"])
    assert [consumer["ConsumerName"] for consumer in rest["Consumers"]] == names[15:]
    assert "NextToken" not in rest
    code, _ = refused(kinesis.list_stream_consumers, StreamARN=kinesis.arn(other), NextToken=page["NextToken"])
    assert code == "InvalidArgumentException"
    daemon.advance(301)
    code, _ = refused(kinesis.list_stream_consumers, StreamARN=arn, NextToken=page["NextToken"])
    assert code == "ExpiredNextTokenException"


# -- subscriptions


def test_what_is_there_and_what_comes_is_pushed(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    numbers = kinesis.put(name, "a", "b")
    stream = subscribe(kinesis, consumer_of(kinesis, name))
    events = iter(stream)
    first = next(events)["SubscribeToShardEvent"]
    assert datas(first) == [b"a", b"b"]
    assert first["ContinuationSequenceNumber"] == numbers[-1]
    assert first["MillisBehindLatest"] == 0
    assert first["Records"][0].keys() == {"SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey"}
    for data in (b"c", b"d"):
        kinesis.put(name, data.decode())
        assert datas(next(events)["SubscribeToShardEvent"]) == [data]
    stream.close()


def test_a_subscription_begins_where_it_is_told(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream(2)
    numbers = kinesis.put(name, "a", "b", "c", hash_key=0)
    moment = daemon.advance(10)

    def first(consumer: str, kind: str, **more: Any) -> list[bytes]:
        stream = subscribe(kinesis, consumer_of(kinesis, name, consumer), FIRST, kind, **more)
        [event] = take(stream, 1)
        stream.close()
        return datas(event)

    assert first("horizon", "TRIM_HORIZON") == [b"a", b"b", b"c"]
    assert first("latest", "LATEST") == []
    assert first("at", "AT_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == [b"b", b"c"]
    assert first("after", "AFTER_SEQUENCE_NUMBER", SequenceNumber=numbers[1]) == [b"c"]
    assert first("time", "AT_TIMESTAMP", Timestamp=moment) == []
    arn = consumer_of(kinesis, name)
    for position in ({"Type": "AT_SEQUENCE_NUMBER"}, {"Type": "LATEST", "SequenceNumber": numbers[0]}):
        code, _ = refused(kinesis.subscribe_to_shard, ConsumerARN=arn, ShardId=FIRST, StartingPosition=position)
        assert code == "InvalidArgumentException"
    code, text = refused(
        kinesis.subscribe_to_shard,
        ConsumerARN=arn,
        ShardId=SECOND,
        StartingPosition={"Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": numbers[0]},
    )
    assert code == "InvalidArgumentException"
    assert "Invalid StartingSequenceNumber" in text


def test_an_empty_event_says_where_a_reader_at_the_tip_stands(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn = consumer_of(kinesis, name)
    stream = subscribe(kinesis, arn, kind="LATEST")
    first, second = take(stream, 2)
    assert datas(first) == datas(second) == []
    stream.close()
    kinesis.put(name, "a")
    continued = subscribe(
        kinesis,
        consumer_of(kinesis, name, "other"),
        kind="AFTER_SEQUENCE_NUMBER",
        SequenceNumber=second["ContinuationSequenceNumber"],
    )
    assert datas(take(continued, 1)[0]) == [b"a"]
    continued.close()


def test_the_end_of_a_shard_is_pushed_with_its_children(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    events = iter(subscribe(kinesis, consumer_of(kinesis, name)))
    assert datas(next(events)["SubscribeToShardEvent"]) == [b"a"]
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    last = next(events)["SubscribeToShardEvent"]
    assert last["ChildShards"] == [
        {
            "ShardId": SECOND,
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "99"},
        },
        {
            "ShardId": THIRD,
            "ParentShards": [FIRST],
            "HashKeyRange": {"StartingHashKey": "100", "EndingHashKey": str(HIGHEST)},
        },
    ]
    assert "ContinuationSequenceNumber" not in last
    assert list(events) == []


def test_consumers_do_not_disturb_each_other_and_each_shard_has_its_own(kinesis: Kinesis) -> None:
    name = kinesis.stream(2)
    one, other = consumer_of(kinesis, name, "one"), consumer_of(kinesis, name, "other")
    kinesis.put(name, "low", hash_key=0)
    kinesis.put(name, "high", hash_key=HIGHEST)
    streams = [subscribe(kinesis, arn, shard) for arn in (one, other) for shard in (FIRST, SECOND)]
    assert [datas(take(stream, 1)[0]) for stream in streams] == [[b"low"], [b"high"], [b"low"], [b"high"]]
    for stream in streams:
        stream.close()


def test_a_second_subscription_is_refused_for_five_seconds_and_then_takes_over(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn = consumer_of(kinesis, name)
    first = iter(subscribe(kinesis, arn))
    next(first)
    request = {"ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": {"Type": "LATEST"}}
    code, text = refused(kinesis.subscribe_to_shard, **request)
    assert code == "ResourceInUseException"
    assert text.startswith("Another active subscription exists for this consumer")
    next(first)  # five seconds later, a sign of life
    second = None
    give_up_at = time.monotonic() + PATIENCE_S
    while second is None and time.monotonic() < give_up_at:
        try:
            second = subscribe(kinesis, arn, kind="LATEST")
        except kinesis.client.exceptions.ResourceInUseException:
            next(first)
    assert second is not None
    with pytest.raises(EventStreamError) as ended:
        list(first)
    assert ended.value.response["Error"]["Code"] == "ResourceInUseException"
    kinesis.put(name, "a")
    events = iter(second)
    assert datas(next(events)["SubscribeToShardEvent"]) + datas(next(events)["SubscribeToShardEvent"]) == [b"a"]
    second.close()


def test_a_place_is_free_once_its_subscriber_has_gone(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn = consumer_of(kinesis, name)
    stream = subscribe(kinesis, arn)
    take(stream, 1)
    stream.close()
    give_up_at = time.monotonic() + 4
    while True:
        try:
            again = subscribe(kinesis, arn)
            break
        except kinesis.client.exceptions.ResourceInUseException:
            assert time.monotonic() < give_up_at, "the place was not given up"
    take(again, 1)
    again.close()


def test_a_subscription_ends_with_its_consumer_or_its_stream(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn, other = consumer_of(kinesis, name), consumer_of(kinesis, name, "other")
    first, second = iter(subscribe(kinesis, arn)), iter(subscribe(kinesis, other))
    next(first)
    next(second)
    kinesis.deregister_stream_consumer(ConsumerARN=arn)
    with pytest.raises(EventStreamError) as ended:
        list(first)
    assert ended.value.response["Error"]["Code"] == "ResourceNotFoundException"
    kinesis.delete_stream(StreamName=name, EnforceConsumerDeletion=True)
    with pytest.raises(EventStreamError) as ended:
        list(second)
    assert ended.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_what_cannot_be_subscribed_to(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    arn = consumer_of(kinesis, name)
    latest = {"Type": "LATEST"}
    for request, code in (
        ({"ConsumerARN": f"{arn}9", "ShardId": FIRST}, "ResourceNotFoundException"),
        ({"ConsumerARN": arn, "ShardId": SECOND}, "ResourceNotFoundException"),
        ({"ConsumerARN": kinesis.arn(name), "ShardId": FIRST}, "ValidationException"),
    ):
        assert refused(kinesis.subscribe_to_shard, StartingPosition=latest, **request)[0] == code


def test_large_backlogs_are_pushed_in_several_events(kinesis: Kinesis) -> None:
    name = kinesis.stream()
    for _ in range(3):
        kinesis.put_records(StreamName=name, Records=[{"Data": bytes(900_000), "PartitionKey": "k"}] * 3)
    stream = subscribe(kinesis, consumer_of(kinesis, name))
    sizes, behind = [], []
    for event in stream:
        sizes.append(len(event["SubscribeToShardEvent"]["Records"]))
        behind.append(event["SubscribeToShardEvent"]["MillisBehindLatest"])
        if sum(sizes) == 9:
            break
    assert sizes == [2, 2, 2, 2, 1]
    assert behind[-1] == 0
    stream.close()


def messages(data: bytes) -> Iterator[tuple[dict[str, str], bytes]]:
    """Yield the messages of an event stream, every checksum verified."""
    while data:
        total, head_length = struct.unpack(">II", data[:8])
        assert crc32(data[:8]) == struct.unpack(">I", data[8:12])[0]
        assert crc32(data[: total - 4]) == struct.unpack(">I", data[total - 4 : total])[0]
        head, headers = data[12 : 12 + head_length], {}
        while head:
            name = head[1 : 1 + head[0]].decode()
            head = head[1 + head[0] :]
            assert head[0] == 7
            length = struct.unpack(">H", head[1:3])[0]
            headers[name] = head[3 : 3 + length].decode()
            head = head[3 + length :]
        yield headers, data[12 + head_length : total - 4]
        data = data[total:]


def test_the_event_stream_is_framed_as_amazons(kinesis: Kinesis, daemon: RunningDaemon) -> None:
    name = kinesis.stream()
    kinesis.put(name, "a")
    kinesis.split_shard(StreamName=name, ShardToSplit=FIRST, NewStartingHashKey="100")
    arn = consumer_of(kinesis, name)
    body = orjson.dumps({"ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": {"Type": "TRIM_HORIZON"}})
    with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"X-Amz-Target: Kinesis_20131202.SubscribeToShard\r\nContent-Type: application/x-amz-json-1.1\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, chunked = received.partition(b"\r\n\r\n")
    assert b"Content-Type: application/vnd.amazon.eventstream" in head
    assert b"Transfer-Encoding: chunked" in head
    data = b""
    while chunked:
        length, _, chunked = chunked.partition(b"\r\n")
        data += chunked[: int(length, 16)]
        chunked = chunked[int(length, 16) + 2 :]
    initial, event = messages(data)
    assert initial == (
        {
            ":message-type": "event",
            ":event-type": "initial-response",
            ":content-type": "application/x-amz-json-1.1",
        },
        b"{}",
    )
    assert event[0][":event-type"] == "SubscribeToShardEvent"
    members = orjson.loads(event[1])
    assert [record["Data"] for record in members["Records"]] == ["YQ=="]
    assert len(members["ChildShards"]) == 2


def test_subscriptions_end_when_the_daemon_stops(tmp_path: Any) -> None:
    daemon = RunningDaemon(tmp_path / "data")
    daemon.start()
    try:
        kinesis = Kinesis(daemon)
        name = kinesis.stream()
        stream = subscribe(kinesis, consumer_of(kinesis, name))
        ended = threading.Event()

        def read() -> None:
            list(stream)
            ended.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert daemon.stop() == 0
        reader.join(PATIENCE_S)
        assert ended.is_set(), "the stream ends as it should, and does not break"
    finally:
        daemon.close_clients()
        daemon.stop()
