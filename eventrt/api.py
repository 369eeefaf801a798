"""The names a plugin may import; everything else is private and changes without notice.

A poller plugin gives eventrt a source: a stream of shards whose records are read in order. It is a package with an
entry point in the group `eventrt.pollers`, named as the service part of its source ARNs, that opens a `ShardPoller`
(docs/plugins.md). The embedded Kinesis and DynamoDB streams are pollers of this very protocol. Batches, filters,
retries, bisects, checkpoints, failure records and logs are not the poller's business.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from eventrt.core.records import Record, Written
from eventrt.errors import ConfigurationError, SourceUnavailable

__all__ = [
    "Announces",
    "Bell",
    "ConfigurationError",
    "Lag",
    "Measures",
    "OpenPoller",
    "Page",
    "PollerContext",
    "Record",
    "Seeks",
    "Shard",
    "ShardPoller",
    "SourceUnavailable",
    "StartingPosition",
    "Written",
]

StartingPosition: TypeAlias = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]


@dataclass(frozen=True, slots=True)
class Shard:
    """One ordered part of a source.

    `id` is what events and failure records call it. `parents` are the ids of the shards it continues: it is read once
    they are finished. `retention_s` is how long the source keeps a record, None for ever. `key` is what its checkpoint
    is kept under; it differs from the id where an id may come again for another shard.
    """

    id: str
    parents: tuple[str, ...] = ()
    retention_s: float | None = None
    key: str = ""

    @property
    def checkpoint_key(self) -> str:
        """What its checkpoint is kept under."""
        return self.key or self.id


@dataclass(frozen=True, slots=True)
class Page:
    """What one read gave.

    `records` are in order; each record's `id` is its sequence number: decimal digits, larger than every one before it
    in the shard. `cursor` is where the next read begins: it is handed back as `after`, and so is, after a restart, the
    id of the last finished record. `end_of_shard`: nothing comes after these, ever. `is_caught_up`: nothing comes
    after these for now. `look_again_s`: when the source will not tell of new records (see `Announces`), the real time
    after which a shard that is caught up is read again. `has_gap`: records after `after` were dropped by the source
    before they could be read.
    """

    records: Sequence[Record]
    cursor: str | None
    end_of_shard: bool = False
    is_caught_up: bool = True
    look_again_s: float | None = 1.0
    has_gap: bool = False


class ShardPoller(Protocol):
    """A source of shards, opened for one mapping. It keeps no state: checkpoints are eventrt's."""

    async def shards(self) -> Sequence[Shard]:
        """Return every shard that can still be read, in any order.

        Raises: SourceUnavailable: not now; it is asked again.
        """
        ...

    async def read(self, shard: Shard, *, after: str | None, limit: int) -> Page:
        """Return up to `limit` records that follow `after`; None is the beginning of what the shard still holds.

        Answers at once, with an empty page when there is nothing. May be cancelled at any await.
        Raises: SourceUnavailable: not now; it is asked again.
        """
        ...


class Bell(Protocol):
    """Rings when there may be something new. A ring between two waits is not lost; several rings are one."""

    async def wait(self) -> None:
        """Return once it rang since the last `wait` returned (or since the watch began)."""
        ...


@runtime_checkable
class Announces(Protocol):
    """A poller that tells when to look again, so that nobody has to look in between."""

    def watch(self, shard: Shard | None) -> AbstractContextManager[Bell]:
        """Watch a shard for new records (None: the list of shards) for the length of a `with` block."""
        ...


@runtime_checkable
class Seeks(Protocol):
    """A poller that can begin elsewhere than at the beginning; without it a mapping takes TRIM_HORIZON only."""

    async def seek(self, shard: Shard, position: StartingPosition, moment: float | None) -> str | None:
        """Return the cursor after which a new mapping begins in a shard; None is its beginning.

        Args: moment: epoch seconds, with AT_TIMESTAMP.
        """
        ...


@dataclass(frozen=True, slots=True)
class Lag:
    """What a reader has before it: how many records, and when the first of them arrived (epoch seconds)."""

    records: int
    oldest_at: float | None


@runtime_checkable
class Measures(Protocol):
    """A poller that can tell how far behind a reader is."""

    async def lag(self, shard: Shard, *, after: str | None) -> Lag:
        """Return what follows `after` in a shard."""
        ...


@dataclass(frozen=True, slots=True)
class PollerContext:
    """What a poller is opened for: a mapping (its UUID) from a source to a function, in an account and region."""

    mapping_id: str
    source_arn: str
    account_id: str
    region: str
    function_arn: str


OpenPoller: TypeAlias = Callable[[PollerContext], AbstractAsyncContextManager[ShardPoller]]
"""What the entry point names. Raises ConfigurationError when the ARN makes no sense."""
