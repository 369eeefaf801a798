"""The embedded streams as a poller: the same protocol that plugins use, over `sources.shards`.

How a record looks to a function is the business of `pollers.kinesis` and `pollers.dynamodb`, which hand in a writer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from eventrt.api import Bell, Lag, Page, PollerContext, Record, Shard, SourceUnavailable, StartingPosition
from eventrt.core import streams as core
from eventrt.core.streams import Stream, StreamRecord
from eventrt.sources import shards
from eventrt.store.api import Store, Tx

WriteRecords: TypeAlias = Callable[[Tx, PollerContext, Stream, core.Shard, Sequence[StreamRecord]], list[Record]]
"""Turns records as they stand in a shard into records as the function sees them."""

MISSING_RETRY_S = 60.0
"""A stream that is not there is looked for again when one is made, and after so long in any case."""


class EmbeddedPoller:
    """A `ShardPoller` over the store; it announces, seeks and measures too.

    Args: write: the record shape.
    """

    def __init__(self, store: Store, context: PollerContext, write: WriteRecords) -> None:
        self._store = store
        self._context = context
        self._write = write
        self._stream: Stream | None = None
        self._shards: dict[str, core.Shard] = {}
        self._is_consumer = "/consumer/" in context.source_arn

    async def shards(self) -> Sequence[Shard]:
        """Return every shard that the stream still has, and those it has forgotten that the mapping has not finished.

        Raises: SourceUnavailable: there is no such stream.
        """
        return await self._store.read(self._list)

    def _list(self, tx: Tx) -> list[Shard]:
        stream = tx.streams.by_arn(self._context.source_arn)
        if stream is None:
            self._stream = None
            raise self._missing()
        self._stream = stream
        present = tx.streams.shards(stream)
        names = {shard.index: shards.name_of(stream, shard) for shard in present}
        self._shards.update((shards.key_of(stream, shard), shard) for shard in present)
        forgotten = {
            f"{name}@{shard.id}": (name, shard)
            for name, shard in shards.unfinished(tx, self._context.mapping_id, stream)
        }
        self._shards.update((key, shard) for key, (_, shard) in forgotten.items())
        return [Shard(name, key=key) for key, (name, _) in forgotten.items()] + [
            Shard(
                names[shard.index],
                tuple(names[index] for index in (shard.parent, shard.adjacent_parent) if index in names),
                float(stream.retention_s),
                shards.key_of(stream, shard),
            )
            for shard in present
        ]

    def _missing(self) -> SourceUnavailable:
        what = "consumer" if self._is_consumer else "stream"
        return SourceUnavailable(f"The {what} does not exist.", retry_after_s=MISSING_RETRY_S)

    @contextmanager
    def watch(self, shard: Shard | None) -> Iterator[Bell]:
        """Watch a shard's records, or the list of shards: of a stream that is not there, streams that are made."""
        with self._store.watch(self._topic(shard)) as bell:
            yield bell

    def _topic(self, shard: Shard | None) -> tuple[object, ...]:
        if shard is not None:
            return ("shard", self._shards[shard.checkpoint_key].id)
        return ("streams",) if self._stream is None else ("stream", self._stream.id)

    async def read(self, shard: Shard, *, after: str | None, limit: int) -> Page:
        """Return records that follow `after`, in the function's shape."""
        return await self._store.read(lambda tx: self._read(tx, shard, after, limit))

    def _read(self, tx: Tx, wanted: Shard, after: str | None, limit: int) -> Page:
        shard = self._shards[wanted.checkpoint_key]
        stream = tx.streams.by_id(shard.stream_id)
        if stream is None:
            return Page((), after, end_of_shard=True, look_again_s=None)
        if self._is_consumer and tx.streams.by_arn(self._context.source_arn) is None:
            raise self._missing()  # it was deregistered; the stream is still there
        reading = shards.read(tx, shard, after=shards.sequence_of(stream, shard, after), limit=limit)
        return Page(
            self._write(tx, self._context, stream, shard, reading.records),
            shards.position_of(stream, shard, reading.after),
            end_of_shard=reading.is_at_end,
            is_caught_up=reading.is_at_tip,
            look_again_s=None,
            has_gap=reading.has_gap,
        )

    async def seek(self, shard: Shard, position: StartingPosition, moment: float | None) -> str | None:
        """Return where a new mapping begins in a shard (embedded mappings begin when they are created)."""

        def query(tx: Tx) -> str | None:
            present = self._shards[shard.checkpoint_key]
            stream = tx.streams.by_id(present.stream_id)
            if stream is None:
                return None
            return shards.position_of(stream, present, shards.start_of(tx, stream, present, position, moment))

        return await self._store.read(query)

    async def lag(self, shard: Shard, *, after: str | None) -> Lag:
        """Return what a reader at `after` has before it."""

        def query(tx: Tx) -> Lag:
            present = self._shards[shard.checkpoint_key]
            stream = tx.streams.by_id(present.stream_id)
            if stream is None:
                return Lag(0, None)
            found = shards.lag(tx, present, after=shards.sequence_of(stream, present, after))
            return Lag(found.records, found.oldest_at)

        return await self._store.read(query)
