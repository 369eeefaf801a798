"""The change stream of a table: enabled, disabled, and what each change lays on it; plain functions on a transaction.

A record is the JSON that the DynamoDB Streams API answers with (semantics 04, part C); whoever delivers it to a
function adds the event source's ARN. It is appended in the unit that writes the item: exactly once, in order.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from eventrt.core.streams import Shard, Stream, hash_key_of
from eventrt.core.tables import changes as rules
from eventrt.core.tables.schema import Destination, Table
from eventrt.core.tables.values import Item, equal, size_of_item
from eventrt.sources import streams
from eventrt.store.api import Tx
from eventrt.store.items import Stored, encode


def enable(tx: Tx, table: Table, view_type: str) -> Table:
    """Give a table a change stream with one shard and return the table as it is now."""
    moment = tx.now
    while tx.streams.by_arn(f"{table.arn}/stream/{(label := _label(moment))}") is not None:
        moment += 0.001  # enabled twice within a millisecond
    stream = Stream(
        0,
        table.account_id,
        table.region,
        table.name,
        "table",
        tx.now,
        status="ENABLED",
        retention_s=rules.RETENTION_S,
        view_type=view_type,
        label=label,
        key_names=table.key.names,
    )
    stream = streams.create(tx, stream, shard_count=1)
    return tx.tables.update(table, stream_id=stream.id, is_streaming=True)


def _label(moment: float) -> str:
    """Return a moment as the last part of a stream's ARN: `2024-01-31T10:11:12.345`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")


def disable(tx: Tx, table: Table) -> Table:
    """End a table's change stream and return the table: it takes no records, and can be read for another day."""
    stream = stream_of(tx, table)
    if stream is None or stream.status != "ENABLED":
        return table
    for shard in tx.streams.shards(stream):
        if shard.is_open:
            tx.streams.close_shard(shard)
    tx.streams.update(stream, status="DISABLED")
    tx.tables.end_stream(stream.id, tx.now + rules.RETENTION_S)
    return tx.tables.update(table, is_streaming=False)


def stream_of(tx: Tx, table: Table) -> Stream | None:
    """Return the change stream that a table has, or had last and that can still be read; or None."""
    return tx.streams.by_id(table.stream_id) if table.stream_id is not None else None


def open_shard(tx: Tx, stream: Stream) -> Shard:
    """Return the shard that takes records; one that is older than four hours is closed and followed by another."""
    shard = streams.open_shards(tx, stream)[0]
    if tx.now - shard.opened_at < rules.SHARD_LIFE_S:
        return shard
    parent = tx.streams.close_shard(shard)
    return tx.streams.open_shard(
        stream, starting_hash_key=shard.starting_hash_key, ending_hash_key=shard.ending_hash_key, parent=parent
    )


def shard_of(tx: Tx, stream: Stream, name: str) -> Shard | None:
    """Return the shard that a ShardId names, or None."""
    return next((shard for shard in tx.streams.shards(stream) if rules.shard_name(shard) == name), None)


@dataclass(frozen=True, slots=True)
class _Change:
    before: Stored | None
    after: Stored | None
    identity: Mapping[str, Any] | None


class Changes:
    """The changes of one unit, laid on the streams of their tables together when the unit is done (`flush`)."""

    __slots__ = ("_by_table", "_tx")

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._by_table: dict[int, tuple[Table, list[_Change]]] = {}

    def note(
        self,
        table: Table,
        before: Stored | None,
        after: Stored | None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Note one write of an item; a write that changes nothing is passed over."""
        if before is not None and after is not None and is_same(before, after):
            return
        self._by_table.setdefault(table.id, (table, []))[1].append(_Change(before, after, identity))

    def flush(self) -> None:
        """Lay what was noted on the streams, in order."""
        for table, noted in self._by_table.values():
            stream = stream_of(self._tx, table) if table.is_streaming else None
            if stream is not None:
                self._append(table, stream, noted)
            for destination in table.destinations:
                if destination.is_active:
                    self._put(table, destination, noted)
        self._by_table.clear()

    def _append(self, table: Table, stream: Stream, noted: Sequence[_Change]) -> None:
        tx = self._tx
        shard = open_shard(tx, stream)
        first = tx.streams.next_sequence(stream)
        keys = [encode(_keys(table, change)) for change in noted]
        datas = [
            _record(tx, table, stream, sequence, change, key)
            for sequence, change, key in zip(range(first, first + len(noted)), noted, keys, strict=True)
        ]
        given = streams.extend(tx, shard, [key.decode() for key in keys], datas)
        assert given == first, "a record says which sequence number it has"

    def _put(self, table: Table, destination: Destination, noted: Sequence[_Change]) -> None:
        """Put changes into the Kinesis stream of a destination; one whose stream is gone takes nothing."""
        tx = self._tx
        stream = tx.streams.by_arn(destination.stream_arn)
        if stream is None or stream.status == "DELETING":
            return
        drafts: list[streams.Draft] = []
        for number, change in enumerate(noted):
            keys = encode(_keys(table, change))
            partition_key = hashlib.md5(keys, usedforsecurity=False).hexdigest().upper()
            data = _kinesis_record(tx, table, destination, change, keys, number)
            drafts.append(streams.Draft(partition_key, data, hash_key_of(partition_key)))
        streams.put(tx, stream, drafts)


def is_same(before: Stored, after: Stored) -> bool:
    """Do two items hold the same, sets and attributes in whatever order?"""
    if before.wire == after.wire:
        return True
    if before.size_bytes != after.size_bytes:
        return False
    return equal({"M": before.item}, {"M": after.item})


def _keys(table: Table, change: _Change) -> Item:
    stored = change.after if change.after is not None else change.before
    assert stored is not None
    return {name: stored.item[name] for name in table.key.names}


def _record(tx: Tx, table: Table, stream: Stream, sequence: int, change: _Change, keys: bytes) -> bytes:
    """Return a change as the DynamoDB Streams API shows it."""
    shows_new, shows_old = rules.VIEWS[stream.view_type or "KEYS_ONLY"]
    size = size_of_item(_keys(table, change))
    told: dict[str, Any] = {"ApproximateCreationDateTime": int(tx.now), "Keys": orjson.Fragment(keys)}
    if shows_new and change.after is not None:
        told["NewImage"] = change.after.fragment
        size += change.after.size_bytes
    if shows_old and change.before is not None:
        told["OldImage"] = change.before.fragment
        size += change.before.size_bytes
    told["SequenceNumber"] = rules.sequence_number(sequence)
    told["SizeBytes"] = size
    told["StreamViewType"] = stream.view_type
    record: dict[str, Any] = {
        "eventID": hashlib.md5(f"{stream.arn}/{sequence}".encode(), usedforsecurity=False).hexdigest(),
        "eventName": rules.event_name(existed=change.before is not None, exists=change.after is not None),
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": table.region,
        "dynamodb": told,
    }
    if change.identity is not None:
        record["userIdentity"] = change.identity
    return orjson.dumps(record)


def _kinesis_record(tx: Tx, table: Table, destination: Destination, change: _Change, keys: bytes, number: int) -> bytes:
    """Return a change as a Kinesis streaming destination gets it (developer guide, "Kinesis Data Streams")."""
    told: dict[str, Any] = {"Keys": orjson.Fragment(keys)}
    size = size_of_item(_keys(table, change))
    scale = 1_000_000 if destination.precision == "MICROSECOND" else 1000
    told["ApproximateCreationDateTime"] = int(tx.now * scale)
    if scale != 1000:
        told["ApproximateCreationDateTimePrecision"] = "MICROSECOND"
    for member, image in (("NewImage", change.after), ("OldImage", change.before)):
        if image is not None:
            told[member] = image.fragment
            size += image.size_bytes
    told["SizeBytes"] = size
    mark = f"{destination.stream_arn}/{tx.now!r}/{number}".encode() + keys
    digest = hashlib.md5(mark, usedforsecurity=False).hexdigest()
    identity = change.identity
    return orjson.dumps(
        {
            "awsRegion": table.region,
            "eventID": f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}",
            "eventName": rules.event_name(existed=change.before is not None, exists=change.after is not None),
            "userIdentity": None
            if identity is None
            else {"principalId": identity["PrincipalId"], "type": identity["Type"]},
            "recordFormat": "application/json",
            "tableName": table.name,
            "dynamodb": told,
            "eventSource": "aws:dynamodb",
        }
    )
