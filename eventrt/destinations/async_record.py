"""What an asynchronous event's end is told with: the record for destinations, the attributes of a dead letter.

Payloads are put into the record as the JSON they are, so a large one is neither read nor written anew. What is too
large for its target is told once more with less: an event may have as many bytes as a message. What a batch
of a stream leaves has another shape; that is not here.

Source: semantics 02, section 2.7.
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from eventrt.core.asynchronous import AsyncEvent, Ended
from eventrt.core.messages import MessageAttribute
from eventrt.destinations.desk import Message

DEAD_LETTER_MESSAGE_BYTES = 1024
"""So much of an error message goes with a dead letter."""

_encode = msgspec.json.encode
_RAW = msgspec.json.Decoder(msgspec.Raw)


def record_of(event: AsyncEvent, ended: Ended, *, function_arn: str, now: float, has_payloads: bool = True) -> bytes:
    """Return the record of an event's end as JSON.

    Args: function_arn: qualified. now: the moment of the record, epoch seconds. has_payloads: or leave both out.
    """
    parts = [
        b'{"version":"1.0","timestamp":"',
        _moment(now).encode(),
        b'","requestContext":{"requestId":',
        _encode(event.request_id),
        b',"functionArn":',
        _encode(function_arn),
        b',"condition":"',
        ended.condition.encode(),
        b'","approximateInvokeCount":',
        str(ended.executed).encode(),
        b"}",
    ]
    if has_payloads:
        parts += [b',"requestPayload":', event.payload]
    response = None if ended.last is None else ended.last.response
    if response is not None:
        error = b"" if response.function_error is None else b',"functionError":' + _encode(response.function_error)
        parts += [
            b',"responseContext":{"statusCode":200,"executedVersion":',
            _encode(response.executed_version),
            error,
            b"}",
        ]
        if has_payloads:
            parts += [b',"responsePayload":', _json(response.payload)]
    parts.append(b"}")
    return b"".join(parts)


def record_messages(
    event: AsyncEvent, ended: Ended, *, function_arn: str, now: float, trace_header: str, is_object: bool
) -> Iterator[Message]:
    """Yield what a destination is given: the record, with the trace it belongs to; then one without the payloads.

    Args: is_object: it goes to a bucket, which needs a key.
    """
    key = object_key(event.function[2], now) if is_object else None
    for has_payloads in (True, False):
        record = record_of(event, ended, function_arn=function_arn, now=now, has_payloads=has_payloads)
        yield Message(record.decode(), trace_header=trace_header, sender_id=event.function[0], object_key=key)


def object_key(function_name: str, now: float) -> str:
    """Return the key of a record in a bucket."""
    at = datetime.fromtimestamp(now, UTC)
    return f"aws/lambda/async/{function_name}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{uuid.uuid4()}"


def dead_letter(event: AsyncEvent, ended: Ended, *, trace_header: str) -> Message:
    """Return the event as a dead letter: its payload unchanged, and three attributes that say what went wrong."""
    attributes = {"RequestID": MessageAttribute("String", event.request_id)}
    if ended.last is not None:
        attributes["ErrorCode"] = MessageAttribute("Number", str(ended.last.error_code))
        text = ended.last.error_message.encode(errors="replace")[:DEAD_LETTER_MESSAGE_BYTES].decode(errors="ignore")
        if text:  # a queue takes no empty attribute
            attributes["ErrorMessage"] = MessageAttribute("String", text)
    return Message(event.payload.decode(), attributes, trace_header=trace_header, sender_id=event.function[0])


def dead_letters(event: AsyncEvent, ended: Ended, *, trace_header: str) -> Iterator[Message]:
    """Yield the dead letter; then, for an event as large as a message may be, those with fewer attributes."""
    letter = dead_letter(event, ended, trace_header=trace_header)
    yield letter
    yield replace(letter, attributes={"RequestID": letter.attributes["RequestID"]})
    yield replace(letter, attributes={})


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _json(payload: bytes) -> bytes:
    """Return a handler's answer as JSON: as it is, or as a string when it is none (a `NaN` of Python's)."""
    try:
        _RAW.decode(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _encode(payload.decode(errors="replace"))
    return payload
