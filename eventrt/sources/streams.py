"""Streams as a shelf: create, put, read, reshard, expire; plain functions on a transaction.

The door (`aws.services.kinesis`) checks what a caller sent; tables append their changes here too; pollers and the
stream APIs read here. Sequence numbers are the stream's counter; `core.streams` gives them their wire form.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from eventrt.core.streams import HIGHEST_HASH_KEY, Page, Shard, Stream, StreamRecord, even_ranges
from eventrt.store.api import Tx

MAXIMUM_READ_BYTES = 10 * 1024 * 1024
"""What one read gives at the most (semantics 04, part B, GetRecords)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record as its producer gave it, already checked; `hash_key` chooses the shard."""

    partition_key: str
    data: bytes
    hash_key: int


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a record went."""

    shard: Shard
    sequence: int


def create(tx: Tx, stream: Stream, *, shard_count: int) -> Stream:
    """Keep a new stream with so many shards of equal hash ranges and return it."""
    stream = tx.streams.create(stream)
    for low, high in even_ranges(shard_count):
        tx.streams.open_shard(stream, starting_hash_key=low, ending_hash_key=high)
    return stream


def open_shards(tx: Tx, stream: Stream) -> list[Shard]:
    """Return the shards that take records, in order of their hash ranges, which cover the whole space."""
    return sorted(
        (shard for shard in tx.streams.shards(stream) if shard.is_open), key=lambda each: each.starting_hash_key
    )


def put(tx: Tx, stream: Stream, drafts: Sequence[Draft]) -> list[Placed]:
    """Lay records on a stream, in order, and wake who waits for them; one chunk per shard touched.

    Arrival moments never go back within a shard.
    """
    shards = open_shards(tx, stream)
    starts = [shard.starting_hash_key for shard in shards]
    now = tx.now
    first = tx.streams.take_sequences(stream, len(drafts))
    placed: list[Placed] = []
    chunks: dict[int, list[StreamRecord]] = {}
    for sequence, draft in enumerate(drafts, first):
        index = bisect_right(starts, draft.hash_key) - 1
        placed.append(Placed(shards[index], sequence))
        chunks.setdefault(index, []).append(StreamRecord(sequence, now, draft.partition_key, draft.data))
    for index, records in chunks.items():
        tx.streams.append(shards[index], records)
    return placed


def append(tx: Tx, stream: Stream, partition_key: str, data: bytes, *, shard: Shard) -> int:
    """Lay one record on a given shard, and return its sequence."""
    sequence = tx.streams.take_sequences(stream, 1)
    tx.streams.append(shard, [StreamRecord(sequence, tx.now, partition_key, data)])
    return sequence


def read(tx: Tx, shard: Shard, *, after: int, limit: int, maximum_bytes: int = MAXIMUM_READ_BYTES) -> Page:
    """Return records of a shard that follow the counter value `after`; expired ones are passed over."""
    stream = tx.streams.by_id(shard.stream_id)
    oldest_at = tx.now - stream.retention_s if stream is not None else tx.now
    records = tx.streams.read(shard, after=after, limit=limit, maximum_bytes=maximum_bytes)
    while records and records[0].arrived_at < oldest_at:
        kept = [record for record in records if record.arrived_at >= oldest_at]
        after = records[-1].sequence
        records = kept or tx.streams.read(shard, after=after, limit=limit, maximum_bytes=maximum_bytes)
    after = records[-1].sequence if records else after
    tip = tx.streams.tip(shard)
    is_at_tip = tip is None or after >= tip[0]
    behind_s = 0.0 if is_at_tip else max(0.0, tx.now - (records[-1].arrived_at if records else tx.now))
    return Page(records, after, behind_s, is_at_tip, is_at_tip and not shard.is_open)


def split(tx: Tx, stream: Stream, shard: Shard, new_starting_hash_key: int) -> tuple[Shard, Shard]:
    """Close a shard and open two that share its hash range; the second begins at the given key."""
    parent = tx.streams.close_shard(shard)
    low = tx.streams.open_shard(
        stream,
        starting_hash_key=shard.starting_hash_key,
        ending_hash_key=new_starting_hash_key - 1,
        parent=parent,
    )
    high = tx.streams.open_shard(
        stream,
        starting_hash_key=new_starting_hash_key,
        ending_hash_key=shard.ending_hash_key,
        parent=parent,
    )
    return low, high


def merge(tx: Tx, stream: Stream, shard: Shard, adjacent: Shard) -> Shard:
    """Close two shards of neighbouring hash ranges and open one in their place."""
    parents = [tx.streams.close_shard(each) for each in (shard, adjacent)]
    return tx.streams.open_shard(
        stream,
        starting_hash_key=min(shard.starting_hash_key, adjacent.starting_hash_key),
        ending_hash_key=max(shard.ending_hash_key, adjacent.ending_hash_key),
        parent=parents[0],
        adjacent_parent=parents[1],
    )


def resize(tx: Tx, stream: Stream, target: int) -> None:
    """Reshard to `target` shards of equal ranges: cut where a new bound falls inside a shard, join what is between.

    A shard that has its new range already stays. Source: UpdateShardCount, UNIFORM_SCALING.
    """
    wanted = even_ranges(target)
    for low, _ in wanted[1:]:
        holder = next(each for each in open_shards(tx, stream) if each.starting_hash_key <= low <= each.ending_hash_key)
        if holder.starting_hash_key != low:
            split(tx, stream, holder, low)
    for low, high in wanted:
        inside = [each for each in open_shards(tx, stream) if low <= each.starting_hash_key <= high]
        while len(inside) > 1:
            inside[:2] = [merge(tx, stream, inside[0], inside[1])]


def covers_everything(shards: Sequence[Shard]) -> bool:
    """Do these shards cover the hash key space without gap or overlap?"""
    expected = 0
    for shard in sorted(shards, key=lambda each: each.starting_hash_key):
        if shard.starting_hash_key != expected:
            return False
        expected = shard.ending_hash_key + 1
    return expected == HIGHEST_HASH_KEY + 1
