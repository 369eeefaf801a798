"""Streams as a shelf: create, put, read, reshard; plain functions on a transaction.

The door (`aws.services.kinesis`) checks what a caller sent; tables append their changes here too; pollers and the
stream APIs read here. Sequence numbers are the stream's counter; `core.streams` gives them their wire form.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventrt.core.streams import Page, Shard, Stream, even_ranges
from eventrt.store.api import Tx

MAXIMUM_READ_BYTES = 10 * 1024 * 1024
"""What one read gives at the most (semantics 04, part B, GetRecords)."""


class Draft(NamedTuple):
    """A record as its producer gave it, already checked; `hash_key` chooses the shard."""

    partition_key: str
    data: bytes
    hash_key: int


Placed = tuple[Shard, int | None]
"""Where a record went: its shard, and its sequence, None where it was not admitted."""

Admit = Callable[[Shard, int], bool]
"""May a record of so many bytes go to this shard now?"""


def create(tx: Tx, stream: Stream, *, shard_count: int) -> Stream:
    """Keep a new stream with so many shards of equal hash ranges and return it."""
    stream = tx.streams.create(stream)
    for low, high in even_ranges(shard_count):
        tx.streams.open_shard(stream, starting_hash_key=low, ending_hash_key=high)
    tx.announce(("streams",))  # mappings whose stream is missing wait for this
    return stream


def open_shards(tx: Tx, stream: Stream) -> Sequence[Shard]:
    """Return the shards that take records, in order of their hash ranges, which cover the whole space."""
    return tx.streams.route(stream).shards


def put(
    tx: Tx, stream: Stream, drafts: Sequence[tuple[str, bytes, int]], *, admit: Admit | None = None
) -> Sequence[Placed]:
    """Lay records on a stream, in order, and wake who waits for them; one chunk per shard touched.

    Args: drafts: `Draft`s, or tuples like them.
    Returns: where each draft went, in order.
    """
    route = tx.streams.route(stream)
    starts, shards = route.starts, route.shards
    goes_to = [bisect_right(starts, draft[2]) - 1 for draft in drafts]
    if admit is not None:
        for number, (key, data, _) in enumerate(drafts):
            if not admit(shards[goes_to[number]], len(data) + len(key.encode())):
                goes_to[number] = ~goes_to[number]
    chunks: dict[int, tuple[list[str], list[bytes]]] = {}
    for index, (key, data, _) in zip(goes_to, drafts, strict=True):
        if index in chunks:
            keys, datas = chunks[index]
            keys.append(key)
            datas.append(data)
        elif index >= 0:
            chunks[index] = [key], [data]
    sequences = {index: tx.streams.append(shards[index], keys, datas) for index, (keys, datas) in chunks.items()}
    placed: list[Placed] = []
    for index in goes_to:
        if index < 0:
            placed.append((shards[~index], None))
        else:
            sequence = sequences[index]
            sequences[index] = sequence + 1
            placed.append((shards[index], sequence))
    return placed


def append(tx: Tx, stream: Stream, partition_key: str, data: bytes, *, shard: Shard) -> int:
    """Lay one record on a given shard, and return its sequence."""
    return tx.streams.append(shard, (partition_key,), (data,))


def extend(tx: Tx, shard: Shard, partition_keys: Sequence[str], datas: Sequence[bytes]) -> int:
    """Lay records on a given shard as one chunk; return the first of their sequences, which follow each other."""
    return tx.streams.append(shard, partition_keys, datas)


def read(tx: Tx, shard: Shard, *, after: int, limit: int, maximum_bytes: int = MAXIMUM_READ_BYTES) -> Page:
    """Return records of a shard that follow the counter value `after`; expired ones are passed over.

    The shard is looked at as it is now, whatever the given value says of it; of one that is gone nothing is left.
    """
    now = tx.now
    present = tx.streams.shard(shard.id)
    stream = tx.streams.by_id(shard.stream_id)
    if present is None or stream is None:
        return Page((), after, 0.0, True, True)
    records, has_more = tx.streams.read(
        present, after=after, limit=limit, maximum_bytes=maximum_bytes, not_before=stream.horizon(now)
    )
    if not records:
        return Page((), after, 0.0, True, not present.is_open)
    behind_s = max(0.0, now - records[-1].arrived_at) if has_more else 0.0
    return Page(records, records[-1].sequence, behind_s, not has_more, not has_more and not present.is_open)


def latest(tx: Tx, shard: Shard) -> int:
    """Return the counter value that every record which comes to a shard from now on will be beyond."""
    if shard.last_sequence is not None:
        return shard.last_sequence
    stream = tx.streams.by_id(shard.stream_id)
    return tx.streams.next_sequence(stream) - 1 if stream is not None else shard.first_sequence


def increase_retention(tx: Tx, stream: Stream, retention_s: int) -> Stream:
    """Keep records longer from now on; what has expired by now stays so. Returns the stream as it is now."""
    return tx.streams.update(stream, retention_s=retention_s, floor=stream.horizon(tx.now))


def decrease_retention(tx: Tx, stream: Stream, retention_s: int) -> Stream:
    """Keep records for a shorter time; older ones have expired at once. Returns the stream as it is now."""
    return tx.streams.update(stream, retention_s=retention_s)


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
    bounds = [low for low, _ in wanted[1:]]
    pieces: list[Shard] = []
    position = 0
    for shard in open_shards(tx, stream):
        while position < len(bounds) and bounds[position] <= shard.ending_hash_key:
            if bounds[position] > shard.starting_hash_key:
                piece, shard = split(tx, stream, shard, bounds[position])
                pieces.append(piece)
            position += 1
        pieces.append(shard)
    position = 0
    for _, high in wanted:
        joined = pieces[position]
        position += 1
        while joined.ending_hash_key < high:
            joined = merge(tx, stream, joined, pieces[position])
            position += 1
