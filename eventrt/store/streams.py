"""What the house may ask of the store about streams: shards, chunks of records, consumers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventrt.core.streams import Consumer, Kind, Shard, Stream, StreamRecord


class StreamRepository(Protocol):
    """Streams, their shards and their records; every look-up is by key, whatever the number of streams or records."""

    def create(self, stream: Stream) -> Stream:
        """Keep a new stream (its `id` is given here) and return it."""
        ...

    def update(self, stream: Stream, **changes: Any) -> Stream:
        """Change members of a stream and return it as it is now."""
        ...

    def delete(self, stream: Stream) -> None:
        """Take a stream away with its shards, consumers and records; the rows go later, in slices."""
        ...

    def find(self, account_id: str, region: str, name: str) -> Stream | None:
        """Return the Kinesis stream of this name, or None."""
        ...

    def by_id(self, stream_id: int) -> Stream | None:
        """Return the stream of this number, or None."""
        ...

    def by_arn(self, arn: str) -> Stream | None:
        """Return the stream that an ARN names (of either kind, also by a consumer's ARN), or None."""
        ...

    def list(
        self,
        account_id: str,
        region: str,
        kind: Kind,
        *,
        name: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[Stream]:
        """Return streams in order of name (tables: of ARN), those after `after`; with `name` only a table's."""
        ...

    def shards(self, stream: Stream) -> Sequence[Shard]:
        """Return all shards of a stream that are not forgotten yet, in order of their index."""
        ...

    def shard(self, shard_id: int) -> Shard | None:
        """Return the shard of this number, or None."""
        ...

    def open_shard(
        self,
        stream: Stream,
        *,
        starting_hash_key: int = 0,
        ending_hash_key: int = 0,
        parent: Shard | None = None,
        adjacent_parent: Shard | None = None,
    ) -> Shard:
        """Give a stream another shard and return it."""
        ...

    def close_shard(self, shard: Shard) -> Shard:
        """Close a shard at the stream's present counter and return it as it is now."""
        ...

    def take_sequences(self, stream: Stream, count: int) -> int:
        """Return the first of `count` counter values that follow each other."""
        ...

    def append(self, shard: Shard, records: Sequence[StreamRecord]) -> None:
        """Keep records of one shard, in order of their sequence, as one chunk."""
        ...

    def read(self, shard: Shard, *, after: int, limit: int, maximum_bytes: int) -> Sequence[StreamRecord]:
        """Return records that follow the counter value `after`, in order; one at least, if there is one."""
        ...

    def tip(self, shard: Shard) -> tuple[int, float] | None:
        """Return the sequence and arrival of the shard's last record; None when it holds none."""
        ...

    def position_at(self, shard: Shard, moment: float) -> int:
        """Return the counter value before the first record that arrived at or after `moment`."""
        ...

    def trim(self, shard: Shard, before: float, *, limit: int) -> int:
        """Drop up to `limit` chunks whose last record arrived before a moment; return how many were dropped."""
        ...

    def oldest(self, shard: Shard) -> float | None:
        """Return when the first record arrived that the shard still holds."""
        ...

    def trim_horizon(self, shard: Shard) -> int:
        """Return the counter value before the first record that the shard still holds."""
        ...

    def register(self, stream: Stream, name: str) -> Consumer:
        """Keep a consumer and return it."""
        ...

    def consumers(self, stream: Stream) -> Sequence[Consumer]:
        """Return the consumers of a stream in order of name."""
        ...

    def deregister(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        ...

    def tag(self, stream: Stream, tags: Mapping[str, str]) -> Stream:
        """Replace all tags and return the stream as it is now."""
        ...
