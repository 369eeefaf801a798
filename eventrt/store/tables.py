"""What the house may ask of the store about tables: definitions, items by key, ranges of keys, index entries."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from eventrt.core.tables.schema import Bounds, Index, Key, Table
from eventrt.core.tables.values import Item
from eventrt.store.items import Stored, encode


class Place(NamedTuple):
    """Where a range read stands: an item's own key, and its key in the index that is read."""

    key: Key
    index_key: Key | None = None


class Row(Stored):
    """One item as a range read met it.

    Args: keys: bytes of its own key, partition and sort, then of its key in the index that is read.
    """

    __slots__ = ("_keys",)

    def __init__(self, wire: bytes, size_bytes: int, keys: tuple[bytes, ...], item: Item | None = None) -> None:
        # What `Stored` does, without the call: a page has many rows.
        self.wire = wire
        self.size_bytes = size_bytes
        self._item = item
        self._keys = keys

    @property
    def place(self) -> Place:
        """Where it stands."""
        keys = self._keys
        return Place(Key(keys[0], keys[1]), Key(keys[2], keys[3]) if len(keys) > 2 else None)

    def holding(self, item: Item, size_bytes: int) -> "Row":
        """Return the row with so much of its item."""
        return Row(encode(item), size_bytes, self._keys, item)


class TableRepository(Protocol):
    """Tables and items; a read touches the rows it returns, whatever the size of the table."""

    def create(self, table: Table) -> Table:
        """Keep a new table (its number and its indexes' are given here) and return it."""
        ...

    def update(self, table: Table, **changes: Any) -> Table:
        """Change members of a table and return it as it is now.

        New indexes are given numbers; the entries of those that are gone are removed later, in slices.
        """
        ...

    def delete(self, table: Table) -> None:
        """Take a table away; its items go later, in slices (`drop_garbage`)."""
        ...

    def drop_garbage(self, *, limit: int) -> int:
        """Remove up to `limit` rows of tables and indexes that are gone; return how many were removed."""
        ...

    def find(self, account_id: str, region: str, name: str) -> Table | None:
        """Return the table of this name, or None."""
        ...

    def by_id(self, table_id: int) -> Table | None:
        """Return the table of this number, or None."""
        ...

    def names(self, account_id: str, region: str, *, after: str | None = None, limit: int = 100) -> Sequence[str]:
        """Return names of tables in their order, those after `after`."""
        ...

    def filling(self) -> Sequence[Table]:
        """Return the tables with an index that is not filled yet, or whose expiries are still to be noted."""
        ...

    def counts(self, table: Table, index_id: int = 0) -> tuple[int, int]:
        """Return how many items a table, or an index of it, holds and their bytes."""
        ...

    def get(self, table: Table, key: Key) -> Stored | None:
        """Return the item of a key, or None."""
        ...

    def put(self, table: Table, key: Key, stored: Stored, *, before: Stored | None) -> None:
        """Keep an item in the place of `before` (the item of that key as it is), indexes and expiry with it."""
        ...

    def remove(self, table: Table, key: Key, before: Stored) -> None:
        """Remove the item of a key, which is `before`, from the table and its indexes."""
        ...

    def partition(
        self,
        table: Table,
        index_id: int | None,
        partition: bytes,
        bounds: Bounds,
        *,
        descending: bool,
        after: Place | None,
    ) -> Iterator[Row]:
        """Yield the rows of one partition of the table or an index in order of sort key, after a given place."""
        ...

    def scan(self, table: Table, index_id: int | None, bounds: Bounds, *, after: Place | None) -> Iterator[Row]:
        """Yield the rows of the table or an index in order of the partition key's bytes, after a given place."""
        ...

    def fill_index(self, table: Table, index: Index, *, after: Key | None, limit: int) -> Key | None:
        """Enter up to `limit` items behind `after` into a new index; return the last one's key, None at the end."""
        ...

    def plan_expiries(self, table: Table, *, after: Key | None, limit: int) -> Key | None:
        """Note when up to `limit` items behind `after` expire, for a table whose time to live was just enabled."""
        ...

    def expired(self, *, limit: int) -> Sequence[tuple[Table, Key, Stored]]:
        """Return items whose time to live has ended; notes that are void are dropped on the way."""
        ...

    def next_expiry(self) -> float | None:
        """Return when the next item's time to live ends."""
        ...

    def end_stream(self, stream_id: int, ends_at: float) -> None:
        """Note when a disabled change stream can no longer be read."""
        ...

    def ended_streams(self) -> Sequence[int]:
        """Return the numbers of disabled change streams whose last day is over, and forget them."""
        ...

    def next_stream_end(self) -> float | None:
        """Return when the next disabled change stream's last day is over."""
        ...

    def transaction_digest(self, account_id: str, region: str, token: str) -> bytes | None:
        """Return the digest of the request that used this token in the last ten minutes."""
        ...

    def keep_transaction(self, account_id: str, region: str, token: str, digest: bytes, expires_at: float) -> None:
        """Keep a transaction's token; tokens that have expired are forgotten."""
        ...

    def tags(self, table: Table, tags: Mapping[str, str]) -> Table:
        """Replace all tags and return the table as it is now."""
        ...
