"""What the house may ask of the store about tables: definitions, items by key, ranges of keys, index entries."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eventrt.core.tables.schema import Key, Table
from eventrt.core.tables.values import Item


@dataclass(frozen=True, slots=True)
class Row:
    """One item as a range read met it. `key` is the item's own; `index_key` its place in the index that was read."""

    key: Key
    item: Item
    size_bytes: int
    index_key: Key | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of sort keys within one partition, or of partitions for a scan; None is open at that end."""

    low: bytes | None = None
    high: bytes | None = None
    low_included: bool = True
    high_included: bool = True


class TableRepository(Protocol):
    """Tables and items; a read touches the rows it returns, whatever the size of the table."""

    def create(self, table: Table) -> Table:
        """Keep a new table (its number and its indexes' are given here) and return it."""
        ...

    def update(self, table: Table, **changes: Any) -> Table:
        """Change members of a table and return it as it is now; new indexes are given numbers."""
        ...

    def delete(self, table: Table) -> None:
        """Take a table away; its items go later, in slices."""
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

    def counts(self, table: Table) -> tuple[int, int]:
        """Return how many items a table holds and their bytes."""
        ...

    def get(self, table: Table, key: Key) -> Item | None:
        """Return the item of a key, or None."""
        ...

    def put(self, table: Table, key: Key, item: Item, size_bytes: int, *, before: Item | None) -> None:
        """Keep an item in the place of `before` (the item of that key as it is), indexes and expiry with it."""
        ...

    def remove(self, table: Table, key: Key, before: Item) -> None:
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
        after: Row | None,
    ) -> Iterator[Row]:
        """Yield the rows of one partition of the table or an index in order of sort key, after a given place."""
        ...

    def scan(self, table: Table, index_id: int | None, bounds: Bounds, *, after: Row | None) -> Iterator[Row]:
        """Yield the rows of the table or an index in order of the partition key's bytes, after a given place."""
        ...

    def expired(self, before: float, *, limit: int) -> Sequence[tuple[Table, Key, Item]]:
        """Return items whose time to live ended before a moment."""
        ...

    def next_expiry(self) -> float | None:
        """Return when the next item's time to live ends."""
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
