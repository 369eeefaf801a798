"""What the house may ask of the store about streams: shards, chunks of records, consumers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eventrt.core.streams import Consumer, Kind, Route, Shard, Stream, StreamRecord


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has in a region: open shards of Kinesis streams, and on-demand streams."""

    open_shards: int
    on_demand_streams: int


@dataclass(frozen=True, slots=True)
class Lag:
    """What a reader has before it: how many records, and when the first of them arrived (None without any)."""

    records: int
    oldest_at: float | None


@dataclass(frozen=True, slots=True)
class StreamsSwept:
    """What a sweep removed (rows), and when the next one is worth while: None when nothing waits."""

    removed: int
    next_at: float | None


class StreamRepository(Protocol):
    """Streams, their shards and their records; every look-up is by key, whatever the number of streams or records.

    A stream whose deletion has settled (`Stream.status_at`) is found by nobody.
    """

    # -- streams

    def create(self, stream: Stream) -> Stream:
        """Keep a new stream (its `id` is given here) and return it."""
        ...

    def update(self, stream: Stream, **changes: Any) -> Stream:
        """Change members of a stream and return it as it is now."""
        ...

    def tag(self, stream: Stream, tags: Mapping[str, str]) -> Stream:
        """Replace all tags and return the stream as it is now."""
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
        """Return streams in order of name, those after the name `after` (tables: `name/label`).

        With `name` only the streams of that name.
        """
        ...

    def usage(self, account_id: str, region: str) -> Usage:
        """Return what an account has in a region; counts its shards."""
        ...

    def account(self, account_id: str, region: str) -> Mapping[str, Any]:
        """Return what is set on an account's streams as a whole; empty when nothing is."""
        ...

    def set_account(self, account_id: str, region: str, settings: Mapping[str, Any]) -> None:
        """Set what holds for an account's streams as a whole."""
        ...

    # -- shards

    def shards(self, stream: Stream) -> Sequence[Shard]:
        """Return all shards of a stream that are not forgotten yet, in order of their index."""
        ...

    def route(self, stream: Stream) -> Route:
        """Return the open shards of a stream, as hash keys find them."""
        ...

    def shard(self, shard_id: int) -> Shard | None:
        """Return the shard of this number as it is now, or None."""
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

    # -- records

    def append(self, shard: Shard, partition_keys: Sequence[str], datas: Sequence[bytes]) -> int:
        """Keep records that arrive now, as one chunk; return the first of their sequences, which follow each other."""
        ...

    def next_sequence(self, stream: Stream) -> int:
        """Return the counter value that the stream's next record will have, or a lower one that none has."""
        ...

    def read(
        self, shard: Shard, *, after: int, limit: int, maximum_bytes: int, not_before: float = 0.0
    ) -> tuple[Sequence[StreamRecord], bool]:
        """Return records that follow the counter value `after`, in order, and whether there are more.

        One record at least, if there is one; those that arrived before `not_before` are passed over.
        """
        ...

    def tip(self, shard: Shard) -> tuple[int, float] | None:
        """Return the sequence and arrival of the shard's last record; None when it holds none."""
        ...

    def position_at(self, shard: Shard, moment: float) -> int:
        """Return the counter value before the first record that arrived at or after `moment`."""
        ...

    def trim_horizon(self, shard: Shard) -> int:
        """Return the counter value before the first record that the shard still holds."""
        ...

    def oldest(self, shard: Shard) -> float | None:
        """Return when the first record arrived that the shard still holds."""
        ...

    def lag(self, shard: Shard, after: int) -> Lag:
        """Return what a reader that has read up to `after` has before it; for reports: it walks the shard's index."""
        ...

    # -- consumers

    def register(self, stream: Stream, name: str, *, tags: Mapping[str, str]) -> Consumer:
        """Keep a consumer and return it."""
        ...

    def consumers(self, stream: Stream) -> Sequence[Consumer]:
        """Return the consumers of a stream in order of name."""
        ...

    def consumer(self, arn: str) -> Consumer | None:
        """Return the consumer of this ARN, or None."""
        ...

    def update_consumer(self, consumer: Consumer, **changes: Any) -> Consumer:
        """Change policy or tags of a consumer and return it as it is now."""
        ...

    def deregister(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        ...

    # -- time

    def sweep(self, limit: int) -> StreamsSwept:
        """Complete transitions that are over, and remove up to about `limit` rows of what nobody can read any more.

        Those are expired chunks, closed shards that are empty, and what deleted streams left.
        """
        ...

    def rebase(self, delta_s: float) -> None:
        """Live with a clock that went back by `-delta_s`: what came from the future has arrived now."""
        ...
