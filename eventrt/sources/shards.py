"""The embedded streams as pollers see them: names and positions of shards, where a mapping begins, what it missed.

One view of both kinds of stream, Kinesis's and tables'; plain functions on a transaction. A position is a sequence
number in wire form; "" is before everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eventrt.core import streams as kinesis
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.shard_values import Progress
from eventrt.core.streams import Shard, Stream, StreamRecord
from eventrt.core.tables import changes as tables
from eventrt.sources import streams
from eventrt.store.api import Tx
from eventrt.store.streams import Lag

READ_RECORDS = 500
READ_BYTES = 2 * 1024 * 1024
"""What one read of a poller gives at the most: others have their turn between reads."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read gave: records, where the next begins, and whether some before them expired unread."""

    records: Sequence[StreamRecord]
    after: int
    is_at_tip: bool
    is_at_end: bool
    has_gap: bool


def name_of(stream: Stream, shard: Shard) -> str:
    """Return a shard's ShardId."""
    return tables.shard_name(shard) if stream.kind == "table" else kinesis.shard_name(shard.index)


def key_of(stream: Stream, shard: Shard) -> str:
    """Return what a shard's checkpoints are kept under; the ShardIds of a stream that is made anew come again."""
    return f"{name_of(stream, shard)}@{shard.id}"


def unfinished(tx: Tx, mapping_id: str, stream: Stream) -> list[tuple[str, Shard]]:
    """Return the shards, with their ShardIds, that a mapping has not finished and the stream has forgotten.

    A read tells whether anything in them was missed, and that they are at their end.
    """
    present = {key_of(stream, shard) for shard in tx.streams.shards(stream)}
    found: list[tuple[str, Shard]] = []
    for key, checkpoint in tx.checkpoints.of(mapping_id).items():
        if not checkpoint.is_finished and key not in present:
            name, _, number = key.rpartition("@")
            found.append((name, Shard(int(number), stream.id, 0, 1, 0.0, last_sequence=0, closed_at=0.0)))
    return found


def position_of(stream: Stream, shard: Shard, sequence: int) -> str:
    """Return a counter value of a shard in wire form."""
    if stream.kind == "table":
        return tables.sequence_number(sequence)
    return kinesis.sequence_number(sequence, shard.index)


def sequence_of(stream: Stream, shard: Shard, position: str | None) -> int:
    """Return the counter value that a position names; None is the shard's birth.

    Raises: ValueError: it is no position of such a stream.
    """
    if not position:
        return shard.first_sequence - 1
    sequence = tables.sequence_of(position) if stream.kind == "table" else kinesis.sequence_of(position)
    if sequence is None:
        raise ValueError(f"{position!r} is no sequence number of {stream.arn}")
    return sequence


def begin(tx: Tx, mapping: EventSourceMapping) -> None:
    """Fix where a mapping begins in every shard there is now; one that comes later is read from its birth."""
    stream = tx.streams.by_arn(mapping.source_arn)
    assert stream is not None
    for shard in tx.streams.shards(stream):
        sequence = start_of(tx, stream, shard, mapping.starting_position or "TRIM_HORIZON", mapping.starting_at)
        is_over = not shard.is_open and mapping.starting_position == "LATEST"
        progress = Progress(position_of(stream, shard, sequence))
        tx.checkpoints.save(mapping.id, key_of(stream, shard), progress, is_finished=is_over)


def start_of(tx: Tx, stream: Stream, shard: Shard, position: str, moment: float | None) -> int:
    """Return the counter value after which a mapping with this StartingPosition begins in a shard."""
    if position == "LATEST":
        return tx.streams.next_sequence(stream) - 1
    begins_at = stream.horizon(tx.now)
    if position == "AT_TIMESTAMP" and moment is not None:
        begins_at = max(begins_at, moment)
    # What had expired before the mapping was made, swept or not, it has not missed.
    return max(tx.streams.position_at(shard, begins_at), tx.checkpoints.trimmed_to(shard.id))


def read(tx: Tx, shard: Shard, *, after: int, limit: int) -> Reading:
    """Return records of a shard that follow a counter value, and whether expired ones stood between."""
    page = streams.read(tx, shard, after=after, limit=min(limit, READ_RECORDS), maximum_bytes=READ_BYTES)
    reached, has_gap = page.after, False
    stream = tx.streams.by_id(shard.stream_id)
    if stream is not None:
        expired_to = tx.checkpoints.trimmed_to(shard.id)
        oldest_at, horizon = tx.streams.oldest(shard), stream.horizon(tx.now)
        if oldest_at is not None and oldest_at < horizon:
            # Expired, and not swept yet. Sequences between two chunks belong to nobody, so look for a record.
            found, _ = tx.streams.read(shard, after=max(after, expired_to), limit=1, maximum_bytes=1)
            if found and found[0].arrived_at < horizon:
                expired_to = max(expired_to, tx.streams.position_at(shard, horizon))
        has_gap = expired_to > after
        reached = max(reached, expired_to)
    return Reading(page.records, reached, page.is_at_tip, page.is_at_end, has_gap)


def lag(tx: Tx, shard: Shard, *, after: int) -> Lag:
    """Return what a reader at a counter value has before it."""
    return tx.streams.lag(shard, after)
