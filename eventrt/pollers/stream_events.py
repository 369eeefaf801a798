"""The events that streams' mappings give to functions: records as JSON, and the members of a window beside them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from eventrt.api import Record, Shard, Written
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.shard import sequence_key
from eventrt.core.shard_values import ShardBatch


def event_of(batch: ShardBatch, mapping: EventSourceMapping, shard_id: str) -> bytes:
    """Return the JSON event that delivers a batch, with the members of its window if it has one."""
    event = records_event(batch.records)
    window = batch.window
    if window is None:
        return event
    members = {
        "window": {"start": _second(window.start_at), "end": _second(window.end_at)},
        "state": orjson.Fragment(window.state),
        "shardId": shard_id,
        "eventSourceARN": mapping.source_arn,
        "isFinalInvokeForWindow": window.is_final,
        "isWindowTerminatedEarly": window.is_terminated_early,
    }
    return event[:-1] + b"," + orjson.dumps(members)[1:]


def records_event(records: Sequence[Record]) -> bytes:
    """Return the JSON event of some records: `{"Records": [...]}`."""
    return b'{"Records":[' + b",".join([_json_of(record) for record in records]) + b"]}"


def _json_of(record: Record) -> bytes:
    assert isinstance(record.body, Written)
    return record.body.json


def _second(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


def check_order(records: Sequence[Record], shard: Shard) -> None:
    """Hold a plugin to its word.

    Raises: ValueError: sequence numbers are no decimal digits, or do not grow.
    """
    last = ""
    for record in records:
        if not (record.id.isascii() and record.id.isdecimal()) or sequence_key(record.id) <= sequence_key(last):
            raise ValueError(f"the poller of {shard.id} gave the sequence number {record.id!r} after {last!r}")
        last = record.id


def written(record: Record) -> Record:
    """Return a plugin's record with its body as JSON, and its size as that of the JSON."""
    body = record.body
    if isinstance(body, Written):
        return record
    text = orjson.dumps(dict(body))
    return Record(record.id, Written(text, body), record.arrived_at, len(text), record.key, record.receipt)
