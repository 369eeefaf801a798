"""Event streams: messages that botocore's own parser reads, failures included."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from botocore.eventstream import EventStreamBuffer

from eventrt.aws.protocol import eventstream
from eventrt.aws.protocol.models import load
from eventrt.aws.protocol.serialise import WriterCompiler
from eventrt.errors import ApiError


def writer() -> eventstream.EventStreamWriter:
    model = load("kinesis")
    return eventstream.EventStreamWriter(
        model,
        "SubscribeToShard",
        "EventStream",
        writers=WriterCompiler(model),
        encode=orjson.dumps,
        content_type="application/x-amz-json-1.1",
        has_initial_response=True,
    )


async def parsed(events: AsyncIterator[Any]) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    async for message in writer().write({"EventStream": events}):
        buffer.add_data(message)
    return [(message.headers, message.payload) for message in buffer]


def event(*datas: bytes) -> tuple[str, dict[str, Any]]:
    records = [{"SequenceNumber": "1", "Data": data, "PartitionKey": "k"} for data in datas]
    return "SubscribeToShardEvent", {"Records": records, "MillisBehindLatest": 0}


async def test_events_follow_the_initial_response() -> None:
    async def events() -> AsyncIterator[Any]:
        yield event(b"a", b"b")
        yield event()

    initial, first, second = await parsed(events())
    kind = {":message-type": "event", ":content-type": "application/x-amz-json-1.1"}
    assert initial == ({**kind, ":event-type": "initial-response"}, b"{}")
    assert first[0] == {**kind, ":event-type": "SubscribeToShardEvent"}
    assert [record["Data"] for record in orjson.loads(first[1])["Records"]] == ["YQ==", "Yg=="]
    assert orjson.loads(second[1]) == {"Records": [], "MillisBehindLatest": 0}


@pytest.mark.parametrize(
    ("code", "headers", "payload"),
    [
        (
            "ResourceInUseException",
            {
                ":message-type": "exception",
                ":exception-type": "ResourceInUseException",
                ":content-type": "application/x-amz-json-1.1",
            },
            b'{"message":"why"}',
        ),
        (
            "SomethingElse",
            {":message-type": "error", ":error-code": "SomethingElse", ":error-message": "why"},
            b"",
        ),
    ],
)
async def test_a_refusal_is_the_last_message(code: str, headers: dict[str, str], payload: bytes) -> None:
    async def events() -> AsyncIterator[Any]:
        yield event(b"a")
        raise ApiError(code, "why")

    _, _, last = await parsed(events())
    assert last == (headers, payload)


async def test_who_stops_reading_closes_the_events() -> None:
    closed = False

    async def events() -> AsyncIterator[Any]:
        nonlocal closed
        try:
            while True:
                yield event(b"a")
        finally:
            closed = True

    messages = writer().write({"EventStream": events()})
    await anext(messages)
    await anext(messages)
    await messages.aclose()  # type: ignore[attr-defined]
    assert closed


def test_only_operations_with_an_event_stream_have_one() -> None:
    assert eventstream.stream_member(load("kinesis"), "SubscribeToShard") == "EventStream"
    assert eventstream.stream_member(load("kinesis"), "GetRecords") is None
