"""A queue as a source: lease messages as records in the shape a function sees, settle them, give them back.

Each function is one unit of work or a step of one. The record's JSON is written once, when it is received; the
event is then a join of what is there (`event_of`), and its size is known before. Source: semantics 03, section 3.6.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eventrt.core.functions import FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.messages import MessageAttribute, ReceivedMessage
from eventrt.core.records import Record
from eventrt.core.recursion import deepest
from eventrt.sources import queues
from eventrt.store.api import Tx

LEASE_MARGIN_S = 30
"""What a lease is longer than window and function timeout when the queue's own is too short for both."""

LONGEST_LEASE_S = 43_200


@dataclass(frozen=True, slots=True)
class Receipt:
    """What settles a record, and the record's JSON as it goes into the event."""

    handle: str
    json: bytes


@dataclass(frozen=True, slots=True)
class Leased:
    """What a receive gave. `is_dry`: nothing more is visible before `next_visible_at` (None: before a wake-up)."""

    records: Sequence[Record]
    lease_s: int
    is_dry: bool
    next_visible_at: float | None = None


class QueueMissing(Exception):  # noqa: N818 - a state of the world
    """The mapping's queue is not there."""


class FunctionMissing(Exception):  # noqa: N818 - a state of the world
    """The mapping's function is not there."""


def lease_s(mapping: EventSourceMapping, visibility_timeout_s: int, function_timeout_s: int) -> int:
    """Return how long records are leased: the queue's visibility timeout, or longer when the work may take longer."""
    work_s = mapping.batching_window_s + function_timeout_s
    if work_s <= visibility_timeout_s:
        return visibility_timeout_s
    return min(LONGEST_LEASE_S, work_s + LEASE_MARGIN_S)


def function_of(tx: Tx, mapping: EventSourceMapping) -> FunctionVersion:
    """Return the function that the mapping invokes.

    Raises: FunctionMissing: there is none.
    """
    _, _, _, region, account_id, *_ = mapping.function_arn.split(":")
    function = tx.functions.get(account_id, region, mapping.function_name)
    if function is None:
        raise FunctionMissing
    return function


def receive(tx: Tx, mapping: EventSourceMapping, limit: int) -> Leased:
    """Lease up to `limit` messages for the mapping.

    Raises: QueueMissing, FunctionMissing: nothing was leased.
    """
    queue = tx.queues.by_arn(mapping.source_arn)
    if queue is None:
        raise QueueMissing
    timeout_s = lease_s(mapping, queue.visibility_timeout_s, function_of(tx, mapping).timeout_s)
    received = queues.receive(tx, queue, limit=limit, visibility_timeout_s=timeout_s, owner="poller")
    messages = received.messages
    if messages and len(messages) < limit:  # is that all? then say until when, and spare the caller another unit
        received = queues.receive(
            tx, queue, limit=limit - len(messages), visibility_timeout_s=timeout_s, owner="poller"
        )
        messages += received.messages
    arn, region = queue.arn, queue.region
    write = _fifo_record if queue.is_fifo else _record
    return Leased(
        [write(message, arn, region) for message in messages],
        timeout_s,
        is_dry=not received.messages,
        next_visible_at=received.next_visible_at,
    )


def settle(tx: Tx, mapping: EventSourceMapping, done: Sequence[Record], released: Sequence[Record]) -> list[Record]:
    """Delete the done and end the leases of the released; return those the queue would not let go.

    A queue that is gone took its messages along, so there is nothing left to settle.
    """
    queue = tx.queues.by_arn(mapping.source_arn)
    if queue is None:
        return []
    refused: list[Record] = []
    if done:
        results = queues.delete(tx, queue, [record.receipt.handle for record in done])  # type: ignore[attr-defined]
        if any(results):
            refused = [record for record, result in zip(done, results, strict=True) if result is not None]
    if released:
        queues.change_visibility(tx, queue, [(record.receipt.handle, 0) for record in released])  # type: ignore[attr-defined]
    return refused


def extend(tx: Tx, mapping: EventSourceMapping, records: Sequence[Record], *, is_waiting: bool = True) -> int | None:
    """Lease records anew and return for how long; None when not all leases are ours any more.

    Args: is_waiting: their batch still waits for its turn; if it cannot go on as a whole, the other leases end.
    """
    queue = tx.queues.by_arn(mapping.source_arn)
    if queue is None:
        return None
    try:
        timeout_s = lease_s(mapping, queue.visibility_timeout_s, function_of(tx, mapping).timeout_s)
    except FunctionMissing:
        return None
    results = queues.change_visibility(
        tx,
        queue,
        [(record.receipt.handle, timeout_s) for record in records],  # type: ignore[attr-defined]
    )
    if not any(results):
        return timeout_s
    if is_waiting:
        kept = [record for record, refusal in zip(records, results, strict=True) if refusal is None]
        queues.change_visibility(tx, queue, [(record.receipt.handle, 0) for record in kept])  # type: ignore[attr-defined]
    return None


def event_of(records: Sequence[Record]) -> bytes:
    """Return the JSON event that delivers the records."""
    return b'{"Records":[' + b",".join([record.receipt.json for record in records]) + b"]}"  # type: ignore[attr-defined]


def trace_of(records: Sequence[Record], mark: str) -> str | None:
    """Return the trace header that an invocation with the records goes on with; None when none of them has one."""
    headers = [header for record in records if (header := record.body["attributes"].get("AWSTraceHeader")) is not None]
    return deepest(headers, mark) if headers else None


def _record(message: ReceivedMessage, arn: str, region: str) -> Record:
    return _write(message, arn, region, _attributes(message), "")


def _fifo_record(message: ReceivedMessage, arn: str, region: str) -> Record:
    return _write(message, arn, region, _attributes(message), message.group_id or "")


def _attributes(message: ReceivedMessage) -> dict[str, str]:
    attributes = {"ApproximateReceiveCount": str(message.receive_count)}
    if message.trace_header is not None:
        attributes["AWSTraceHeader"] = message.trace_header
    attributes["SentTimestamp"] = str(round(message.sent_at * 1000))
    if message.sequence_number is not None:
        attributes["SequenceNumber"] = message.sequence_number
    if message.group_id is not None:
        attributes["MessageGroupId"] = message.group_id
    attributes["SenderId"] = message.sender_id
    if message.deduplication_id is not None:
        attributes["MessageDeduplicationId"] = message.deduplication_id
    attributes["ApproximateFirstReceiveTimestamp"] = str(round(message.first_received_at * 1000))
    if message.dead_letter_source_arn is not None:
        attributes["DeadLetterQueueSourceArn"] = message.dead_letter_source_arn
    return attributes


def _write(message: ReceivedMessage, arn: str, region: str, attributes: Mapping[str, str], key: str) -> Record:
    body: dict[str, Any] = {
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": attributes,
        "messageAttributes": _message_attributes(message.attributes) if message.attributes else {},
    }
    if message.md5_of_attributes is not None:
        body["md5OfMessageAttributes"] = message.md5_of_attributes
    body["md5OfBody"] = message.md5_of_body
    body["eventSource"] = "aws:sqs"
    body["eventSourceARN"] = arn
    body["awsRegion"] = region
    written = orjson.dumps(body)
    return Record(
        message.message_id,
        body,
        message.sent_at,
        len(written),
        key,
        Receipt(message.receipt_handle, written),
        message.receive_count > 1,
    )


def _message_attributes(attributes: Mapping[str, MessageAttribute]) -> dict[str, dict[str, Any]]:
    """Return message attributes as the event shows them: only the value that is set, and two lists never used."""
    shown: dict[str, dict[str, Any]] = {}
    for name, attribute in attributes.items():
        entry: dict[str, Any] = {}
        if attribute.string_value is not None:
            entry["stringValue"] = attribute.string_value
        if attribute.binary_value is not None:
            entry["binaryValue"] = base64.b64encode(attribute.binary_value).decode()
        entry["stringListValues"] = []
        entry["binaryListValues"] = []
        entry["dataType"] = attribute.data_type
        shown[name] = entry
    return shown
