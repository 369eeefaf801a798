"""Event streams: answers that are a sequence of messages (`application/vnd.amazon.eventstream`).

A message is a prelude (both lengths, big-endian, and their CRC), headers, a payload, and the CRC of all that. A
handler whose output has an event-stream member gives an async iterator of (event name, members); each becomes one
message. An `ApiError` out of the iterator becomes the last message. Source: Amazon event stream encoding (Smithy
specification, and the developer guides of Transcribe and S3 Select).
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from zlib import crc32

from eventrt.aws.protocol.faults import ErrorTable
from eventrt.aws.protocol.models import ServiceModel
from eventrt.errors import ApiError

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = b"\x07"

Events = AsyncIterator[tuple[str, Mapping[str, Any]]]
Encode = Callable[[Any], bytes]
"""An event's members, already as the wire wants them, to bytes: JSON or CBOR."""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one message."""
    head = b"".join(
        bytes((len(name),)) + name.encode() + _STRING + len(value.encode()).to_bytes(2, "big") + value.encode()
        for name, value in headers.items()
    )
    total = 12 + len(head) + len(payload) + 4
    prelude = total.to_bytes(4, "big") + len(head).to_bytes(4, "big")
    start = prelude + crc32(prelude).to_bytes(4, "big") + head
    return b"".join((start, payload, crc32(payload, crc32(start)).to_bytes(4, "big")))


def stream_member(model: ServiceModel, operation: str) -> str | None:
    """Return the name of the output member that is an event stream, None when the output has none."""
    _, shape = model.output_shape(operation)
    return next((name for name, ref in shape["members"].items() if model.shape(ref).get("eventstream")), None)


class EventStreamWriter:
    """Writes the event stream of one operation.

    Args:
        writers: a compiler of writers (`serialise.WriterCompiler` or its kin) for the payloads.
        content_type: of the payloads.
        has_initial_response: does the protocol put the other output members into a message of their own?
    """

    def __init__(
        self,
        model: ServiceModel,
        operation: str,
        member: str,
        *,
        writers: Any,
        encode: Encode,
        content_type: str,
        has_initial_response: bool,
    ) -> None:
        name, shape = model.output_shape(operation)
        self._member = member
        rest = {key: ref for key, ref in shape["members"].items() if key != member}
        self._initial = writers.structure(name, rest)
        self._writers = {
            key: writers.writer(ref) for key, ref in model.shape(shape["members"][member])["members"].items()
        }
        self._encode = encode
        self._content_type = content_type
        self._has_initial_response = has_initial_response
        self._errors = ErrorTable(model)

    async def write(self, answer: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """Yield the messages of an answer."""
        events: Any = answer[self._member]
        if self._has_initial_response:
            rest = {key: value for key, value in answer.items() if key != self._member}
            yield self._event("initial-response", self._initial(rest))
        async with contextlib.aclosing(events):
            try:
                async for name, members in events:
                    yield self._event(name, self._writers[name](members))
            except ApiError as error:
                yield self._failure(error)

    def _event(self, name: str, members: Any) -> bytes:
        headers = {":message-type": "event", ":event-type": name, ":content-type": self._content_type}
        return message(headers, self._encode(members))

    def _failure(self, error: ApiError) -> bytes:
        fault = self._errors.fault(error)
        if fault.shape in self._writers:
            headers = {
                ":message-type": "exception",
                ":exception-type": fault.shape,
                ":content-type": self._content_type,
            }
            return message(headers, self._encode({fault.message_member: fault.message, **fault.members}))
        headers = {":message-type": "error", ":error-code": fault.shape, ":error-message": fault.message}
        return message(headers, b"")
