"""Tables in SQLite: definitions decoded in memory, items as JSON under keys whose bytes sort as DynamoDB's.

An index holds keys only; a read of an index joins the items. Counts are kept in memory and written once per commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import msgspec

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Bounds, Destination, Index, Key, KeySchema, Table, index_key_of
from eventrt.core.tables.values import Item, size_of_item
from eventrt.store.items import Stored, decode
from eventrt.store.sqlite.engine import Engine
from eventrt.store.tables import Place, Row

_DEFINITION = "id, account_id, region, name, definition"
_PUT = (
    "INSERT INTO item (table_id, partition_key, sort_key, size_bytes, item) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes, item = excluded.item"
)
_GET = "SELECT item, size_bytes FROM item WHERE table_id = ? AND partition_key = ? AND sort_key = ?"
_REMOVE = "DELETE FROM item WHERE table_id = ? AND partition_key = ? AND sort_key = ?"
_ENTER = "INSERT INTO index_entry VALUES (?, ?, ?, ?, ?, ?)"
_ENTER_ONCE = "INSERT OR IGNORE INTO index_entry VALUES (?, ?, ?, ?, ?, ?)"
_AT_ENTRY = (
    " FROM index_entry WHERE table_id = ? AND index_id = ? AND partition_key = ? AND sort_key = ?"
    " AND item_partition_key = ? AND item_sort_key = ?"
)
_LEAVE, _IS_ENTERED = f"DELETE{_AT_ENTRY}", f"SELECT 1{_AT_ENTRY}"
FIVE_YEARS_S = 5 * 365 * 86_400
"""A time to live further back than this is ignored (developer guide, "Using time to live")."""

_INDEXED = (
    "SELECT i.item, i.size_bytes, i.partition_key, i.sort_key, e.partition_key, e.sort_key"
    " FROM index_entry AS e CROSS JOIN item AS i ON i.table_id = e.table_id"
    " AND i.partition_key = e.item_partition_key AND i.sort_key = e.item_sort_key"
)
_UNINDEXED = "SELECT i.item, i.size_bytes, i.partition_key, i.sort_key FROM item AS i"
_FORGET_EXPIRY = "DELETE FROM item_expiry WHERE expires_at = ? AND table_id = ? AND partition_key = ? AND sort_key = ?"
_ITEM_KEY = "table_id, partition_key, sort_key"
_ENTRY_KEY = "table_id, index_id, partition_key, sort_key, item_partition_key, item_sort_key"
_EXPIRY_KEY = "expires_at, table_id, partition_key, sort_key"

SWEEP = ("sweep", "tables")
"""Announced when the sweeper of tables has something to do sooner than it knew."""


class SqliteTables:
    """The `store.tables.TableRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._by_name: dict[tuple[str, str, str], Table] = {}
        self._by_id: dict[int, Table] = {}
        self._counts: dict[tuple[int, int], list[int]] = {}
        self._counted: set[tuple[int, int]] = set()
        self._next_expiry: float | None = None
        engine.before_commit.append(self._flush)
        engine.after_rollback.append(self._forget_all)

    # -- definitions

    def create(self, table: Table) -> Table:
        """Keep a new table (its number and its indexes' are given here) and return it."""
        row_id = self._execute(
            "INSERT INTO table_definition (account_id, region, name, definition) VALUES (?, ?, ?, '')",
            (table.account_id, table.region, table.name),
        ).lastrowid
        assert row_id is not None
        return self.update(replace(table, id=row_id))

    def update(self, table: Table, **changes: Any) -> Table:
        """Change members of a table and return it as it is now; new indexes are given numbers."""
        changed: Table = replace(table, **changes)
        if any(not index.id for index in changed.indexes):
            changed = replace(changed, indexes=tuple(self._numbered(changed, index) for index in changed.indexes))
        numbers = {index.id for index in changed.indexes}
        for index in table.indexes:
            if index.id and index.id not in numbers:
                self._discard(table.id, index.id)
        is_filling = changed.plans_expiries or any(index.status == "CREATING" for index in changed.indexes)
        self._execute(
            "UPDATE table_definition SET definition = ?, is_filling = ? WHERE id = ?",
            (_encode(changed), is_filling, table.id),
        )
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
        if is_filling:
            self._engine.announce(SWEEP)
        return self._keep(changed)

    def tags(self, table: Table, tags: Mapping[str, str]) -> Table:
        """Replace all tags and return the table as it is now."""
        return self.update(table, tags=dict(tags))

    def _numbered(self, table: Table, index: Index) -> Index:
        if index.id:
            return index
        (number,) = self._execute(
            "UPDATE table_definition SET next_index = next_index + 1 WHERE id = ? RETURNING next_index - 1", (table.id,)
        ).fetchone()
        return replace(index, id=number)

    def delete(self, table: Table) -> None:
        """Take a table away; its items go later, in slices (`drop_garbage`)."""
        self._execute("DELETE FROM table_definition WHERE id = ?", (table.id,))
        self._discard(table.id, 0)
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)

    def _discard(self, table_id: int, index_id: int) -> None:
        self._execute("INSERT OR IGNORE INTO table_garbage VALUES (?, ?)", (table_id, index_id))
        self._engine.announce(SWEEP)

    def drop_garbage(self, *, limit: int) -> int:
        """Remove up to `limit` rows of tables and indexes that are gone; return how many were removed."""
        removed = 0
        while removed < limit:
            row = self._execute("SELECT table_id, index_id FROM table_garbage LIMIT 1").fetchone()
            if row is None:
                break
            taken = self._drop_rows(*row, limit=limit - removed)
            if not taken:
                self._execute("DELETE FROM table_garbage WHERE table_id = ? AND index_id = ?", row)
                self._forget_counts(*row)
            removed += taken
        return removed

    def _drop_rows(self, table_id: int, index_id: int, *, limit: int) -> int:
        """Remove rows of a table (index 0) or of one index of it; return how many."""
        if index_id:
            return self._slice("index_entry", _ENTRY_KEY, "table_id = ? AND index_id = ?", (table_id, index_id), limit)
        removed = 0
        for name, key in (("item", _ITEM_KEY), ("index_entry", _ENTRY_KEY), ("item_expiry", _EXPIRY_KEY)):
            if removed < limit:
                removed += self._slice(name, key, "table_id = ?", (table_id,), limit - removed)
        return removed

    def _forget_counts(self, table_id: int, index_id: int) -> None:
        where = "table_id = ? AND index_id = ?" if index_id else "table_id = ?"
        self._execute(f"DELETE FROM table_count WHERE {where}", (table_id, index_id) if index_id else (table_id,))
        for of in [of for of in self._counts if of == (table_id, index_id) or (of[0] == table_id and not index_id)]:
            del self._counts[of]
            self._counted.discard(of)

    def _slice(self, name: str, key: str, where: str, parameters: tuple[int, ...], limit: int) -> int:
        statement = f"DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {name} WHERE {where} LIMIT ?)"
        return self._execute(statement, (*parameters, limit)).rowcount

    def find(self, account_id: str, region: str, name: str) -> Table | None:
        """Return the table of this name, or None."""
        table = self._by_name.get((account_id, region, name))
        if table is None:
            table = self._one("account_id = ? AND region = ? AND name = ?", (account_id, region, name))
        return table

    def by_id(self, table_id: int) -> Table | None:
        """Return the table of this number, or None."""
        return self._by_id.get(table_id) or self._one("id = ?", (table_id,))

    def _one(self, where: str, parameters: tuple[object, ...]) -> Table | None:
        row = self._execute(f"SELECT {_DEFINITION} FROM table_definition WHERE {where}", parameters).fetchone()
        return self._keep(_decode(row)) if row else None

    def names(self, account_id: str, region: str, *, after: str | None = None, limit: int = 100) -> Sequence[str]:
        """Return names of tables in their order, those after `after`."""
        rows = self._execute(
            "SELECT name FROM table_definition WHERE account_id = ? AND region = ? AND name > ? ORDER BY name LIMIT ?",
            (account_id, region, after or "", limit),
        )
        return [name for (name,) in rows]

    def filling(self) -> Sequence[Table]:
        """Return the tables with an index that is not filled yet, or whose expiries are still to be noted."""
        rows = self._execute("SELECT id FROM table_definition WHERE is_filling ORDER BY id").fetchall()
        return [table for (table_id,) in rows if (table := self.by_id(table_id)) is not None]

    # -- items

    def counts(self, table: Table, index_id: int = 0) -> tuple[int, int]:
        """Return how many items a table, or an index of it, holds and their bytes."""
        count, size = self._counts_of((table.id, index_id))
        return count, size

    def get(self, table: Table, key: Key) -> Stored | None:
        """Return the item of a key, or None."""
        row = self._execute(_GET, (table.id, key.partition, key.sort)).fetchone()
        return Stored(row[0], row[1]) if row else None

    def put(self, table: Table, key: Key, stored: Stored, *, before: Stored | None) -> None:
        """Keep an item in the place of `before` (the item of that key as it is), indexes and expiry with it."""
        self._execute(_PUT, (table.id, key.partition, key.sort, stored.size_bytes, stored.wire))
        if before is None:
            self._count((table.id, 0), 1, stored.size_bytes)
        elif stored.size_bytes != before.size_bytes:
            self._count((table.id, 0), 0, stored.size_bytes - before.size_bytes)
        if table.indexes:
            self._reindex(table, key, before, stored)
        if table.ttl_attribute is not None:
            self._plan_expiry(table, key, before, stored)

    def remove(self, table: Table, key: Key, before: Stored) -> None:
        """Remove the item of a key, which is `before`, from the table and its indexes."""
        self._execute(_REMOVE, (table.id, key.partition, key.sort))
        self._count((table.id, 0), -1, -before.size_bytes)
        if table.indexes:
            self._reindex(table, key, before, None)
        if table.ttl_attribute is not None:
            self._plan_expiry(table, key, before, None)

    def _reindex(self, table: Table, key: Key, before: Stored | None, after: Stored | None) -> None:
        old_item = before.item if before is not None else None
        new_item = after.item if after is not None else None
        for index in table.indexes:
            old, new = _place(index, old_item), _place(index, new_item)
            if old != new:
                if old is not None:
                    found = self._execute(
                        _LEAVE, (table.id, index.id, old.partition, old.sort, key.partition, key.sort)
                    )
                    if not found.rowcount:  # the index is being filled, and this item's turn has not come
                        old = None
                if new is not None:
                    self._execute(_ENTER, (table.id, index.id, new.partition, new.sort, key.partition, key.sort))
            elif index.status != "ACTIVE" and old is not None and not self._is_entered(table, index, old, key):
                continue
            items = (new is not None) - (old is not None)
            size = _size(table, index, new, new_item) - _size(table, index, old, old_item)
            if items or size:
                self._count((table.id, index.id), items, size)

    def _is_entered(self, table: Table, index: Index, place: Key, key: Key) -> bool:
        found = self._execute(
            _IS_ENTERED, (table.id, index.id, place.partition, place.sort, key.partition, key.sort)
        ).fetchone()
        return found is not None

    def fill_index(self, table: Table, index: Index, *, after: Key | None, limit: int) -> Key | None:
        """Enter up to `limit` items behind `after` into a new index; return the last one's key, None at the end."""
        rows = self._execute(
            "SELECT partition_key, sort_key, item FROM item WHERE table_id = ? AND (partition_key, sort_key) > (?, ?)"
            " ORDER BY partition_key, sort_key LIMIT ?",
            (table.id, after.partition if after else b"", after.sort if after else b"", limit),
        ).fetchall()
        for partition_key, sort_key, wire in rows:
            item = decode(wire)
            place = _place(index, item)
            if place is not None:
                entry = (table.id, index.id, place.partition, place.sort, partition_key, sort_key)
                if self._execute(_ENTER_ONCE, entry).rowcount:  # those written meanwhile are there already
                    self._count((table.id, index.id), 1, _size(table, index, place, item))
        return Key(rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    # -- ranges

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
        bounds = _beyond(bounds, descending=descending) if after is not None else bounds
        return self._rows(table, index_id, partition, bounds, descending=descending, after=after)

    def scan(self, table: Table, index_id: int | None, bounds: Bounds, *, after: Place | None) -> Iterator[Row]:
        """Yield the rows of the table or an index in order of the partition key's bytes, after a given place."""
        bounds = _beyond(bounds, descending=False) if after is not None else bounds
        return self._rows(table, index_id, None, bounds, descending=False, after=after)

    def _rows(
        self,
        table: Table,
        index_id: int | None,
        partition: bytes | None,
        bounds: Bounds,
        *,
        descending: bool,
        after: Place | None,
    ) -> Iterator[Row]:
        """Yield rows, of one partition or of all; the bounds are of the first key column that is left open.

        SQLite seeks with one lower and one upper bound: those that `after` makes needless must not be given.
        """
        values: list[Any] = [table.id]
        place: tuple[bytes, ...] = ()
        if index_id is not None:
            values.append(index_id)
            if after is not None and after.index_key is not None:
                place = (*after.index_key, *after.key)
        elif after is not None:
            place = tuple(after.key)
        if partition is not None:
            values.append(partition)
            place = place[1:]
        if bounds.low is not None:
            values.append(bounds.low)
        if bounds.high is not None:
            values.append(bounds.high)
        values.extend(place)
        statement = _range_statement(
            index_id is not None,
            partition is not None,
            None if bounds.low is None else bounds.low_included,
            None if bounds.high is None else bounds.high_included,
            bool(place),
            descending,
        )
        cursor = self._execute(statement, values)
        try:
            for row in cursor:
                yield Row(row[0], row[1], row[2:])
        finally:
            cursor.close()

    # -- time to live

    def _plan_expiry(self, table: Table, key: Key, before: Stored | None, after: Stored | None) -> None:
        old, new = self._expiry(table, before), self._expiry(table, after)
        if old == new:
            return
        if old is not None:
            self._execute(_FORGET_EXPIRY, (old, table.id, key.partition, key.sort))
        if new is not None:
            self._execute(
                "INSERT OR IGNORE INTO item_expiry VALUES (?, ?, ?, ?)", (new, table.id, key.partition, key.sort)
            )
            if self._next_expiry is None or new < self._next_expiry:
                self._next_expiry = new
                self._engine.announce(SWEEP)
                self._engine.on_undo(self._forget_next_expiry)

    def _expiry(self, table: Table, stored: Stored | None) -> int | None:
        """Return when an item's time to live ends; None when it has none, or one that ended five years ago."""
        value = stored.item.get(table.ttl_attribute or "") if stored is not None else None
        if value is None or "N" not in value:
            return None
        try:
            moment = int(float(value["N"]))
        except (ValueError, OverflowError):
            return None
        return moment if table.created_at - FIVE_YEARS_S < moment < 1 << 62 else None

    def plan_expiries(self, table: Table, *, after: Key | None, limit: int) -> Key | None:
        """Note when up to `limit` items behind `after` expire, for a table whose time to live was just enabled."""
        rows = self._execute(
            "SELECT partition_key, sort_key, item, size_bytes FROM item"
            " WHERE table_id = ? AND (partition_key, sort_key) > (?, ?) ORDER BY partition_key, sort_key LIMIT ?",
            (table.id, after.partition if after else b"", after.sort if after else b"", limit),
        ).fetchall()
        for partition_key, sort_key, wire, size_bytes in rows:
            self._plan_expiry(table, Key(partition_key, sort_key), None, Stored(wire, size_bytes))
        return Key(rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    def expired(self, *, limit: int) -> Sequence[tuple[Table, Key, Stored]]:
        """Return items whose time to live has ended; notes that are void are dropped on the way."""
        found: list[tuple[Table, Key, Stored]] = []
        now = self._engine.tx.now
        rows = self._execute(
            "SELECT expires_at, table_id, partition_key, sort_key FROM item_expiry WHERE expires_at <= ?"
            " ORDER BY expires_at LIMIT ?",
            (int(now), limit),
        ).fetchall()
        for expires_at, table_id, partition_key, sort_key in rows:
            table, key = self.by_id(table_id), Key(partition_key, sort_key)
            stored = self.get(table, key) if table is not None and table.ttl_attribute is not None else None
            if (
                table is not None
                and stored is not None
                and self._expiry(table, stored) == expires_at
                and expires_at > now - FIVE_YEARS_S
            ):
                found.append((table, key, stored))
            else:
                self._execute(_FORGET_EXPIRY, (expires_at, table_id, partition_key, sort_key))
        return found

    def next_expiry(self) -> float | None:
        """Return when the next item's time to live ends."""
        (moment,) = self._execute("SELECT min(expires_at) FROM item_expiry").fetchone()
        self._next_expiry = float(moment) if moment is not None else None
        return self._next_expiry

    # -- streams that have ended

    def end_stream(self, stream_id: int, ends_at: float) -> None:
        """Note when a disabled change stream can no longer be read."""
        self._execute("INSERT OR REPLACE INTO table_stream_end VALUES (?, ?)", (stream_id, ends_at))
        self._engine.announce(SWEEP)

    def ended_streams(self) -> Sequence[int]:
        """Return the numbers of disabled change streams whose last day is over, and forget them."""
        rows = self._execute(
            "DELETE FROM table_stream_end WHERE ends_at <= ? RETURNING stream_id", (self._engine.tx.now,)
        ).fetchall()
        return [stream_id for (stream_id,) in rows]

    def next_stream_end(self) -> float | None:
        """Return when the next disabled change stream's last day is over."""
        (moment,) = self._execute("SELECT min(ends_at) FROM table_stream_end").fetchone()
        return float(moment) if moment is not None else None

    # -- transactions

    def transaction_digest(self, account_id: str, region: str, token: str) -> bytes | None:
        """Return the digest of the request that used this token in the last ten minutes."""
        row = self._execute(
            "SELECT digest FROM transaction_token WHERE account_id = ? AND region = ? AND token = ? AND expires_at > ?",
            (account_id, region, token, self._engine.tx.now),
        ).fetchone()
        return row[0] if row else None

    def keep_transaction(self, account_id: str, region: str, token: str, digest: bytes, expires_at: float) -> None:
        """Keep a transaction's token; tokens that have expired are forgotten."""
        self._execute("DELETE FROM transaction_token WHERE expires_at <= ?", (self._engine.tx.now,))
        self._execute(
            "INSERT OR REPLACE INTO transaction_token VALUES (?, ?, ?, ?, ?)",
            (account_id, region, token, digest, expires_at),
        )

    # -- memory

    def _counts_of(self, of: tuple[int, int]) -> list[int]:
        counts = self._counts.get(of)
        if counts is None:
            row = self._execute(
                "SELECT item_count, size_bytes FROM table_count WHERE table_id = ? AND index_id = ?", of
            ).fetchone()
            counts = self._counts[of] = list(row or (0, 0))
        return counts

    def _count(self, of: tuple[int, int], items: int, size_bytes: int) -> None:
        counts = self._counts_of(of)
        counts[0] += items
        counts[1] += size_bytes
        self._counted.add(of)
        self._engine.on_undo(partial(_count_back, counts, items, size_bytes))

    def _flush(self) -> None:
        """Write the counts that changed (inside the transaction, before its commit)."""
        for of in self._counted:
            self._execute("INSERT OR REPLACE INTO table_count VALUES (?, ?, ?, ?)", (*of, *self._counts[of]))
        self._counted.clear()

    def _keep(self, table: Table) -> Table:
        self._by_id[table.id] = table
        self._by_name[(table.account_id, table.region, table.name)] = table
        return table

    def _forget_next_expiry(self) -> None:
        self._next_expiry = None

    def _forget_definitions(self) -> None:
        self._by_id.clear()
        self._by_name.clear()

    def _forget_all(self) -> None:
        self._forget_definitions()
        self._counts.clear()
        self._counted.clear()
        self._next_expiry = None


@cache
def _range_statement(
    is_index: bool,
    is_partition: bool,
    low_included: bool | None,
    high_included: bool | None,
    is_after: bool,
    is_descending: bool,
) -> str:
    """Return the statement that reads a range: there are some dozens, and each is made once.

    Its parameters: the table, the index, the partition, the lower bound, the upper one (None: open), the place to go
    on from; as far as there are such.
    """
    order, beyond = ("DESC", "<") if is_descending else ("ASC", ">")
    if is_index:
        source, head, conditions = "e", _INDEXED, ["e.table_id = ?", "e.index_id = ?"]
        columns = ["partition_key", "sort_key", "item_partition_key", "item_sort_key"]
    else:
        source, head, conditions = "i", _UNINDEXED, ["i.table_id = ?"]
        columns = ["partition_key", "sort_key"]
    if is_partition:
        conditions.append(f"{source}.partition_key = ?")
        columns = columns[1:]
    names = [f"{source}.{column}" for column in columns]
    if low_included is not None:
        conditions.append(f"{names[0]} {'>=' if low_included else '>'} ?")
    if high_included is not None:
        conditions.append(f"{names[0]} {'<=' if high_included else '<'} ?")
    if is_after:
        conditions.append(f"({', '.join(names)}) {beyond} ({', '.join('?' * len(names))})")
    ordering = ", ".join(f"{name} {order}" for name in names)
    return f"{head} WHERE {' AND '.join(conditions)} ORDER BY {ordering}"


def _count_back(counts: list[int], items: int, size_bytes: int) -> None:
    counts[0] -= items
    counts[1] -= size_bytes


def _place(index: Index, item: Item | None) -> Key | None:
    """Return where an item stands in an index; an item whose key attribute does not fit is not in it."""
    if item is None:
        return None
    try:
        return index_key_of(index.key, item)
    except TableError:
        return None


def _beyond(bounds: Bounds, *, descending: bool) -> Bounds:
    """Return the bounds without the one that the place to go on from lies beyond."""
    return replace(bounds, high=None) if descending else replace(bounds, low=None)


def _size(table: Table, index: Index, place: Key | None, item: Item | None) -> int:
    """Return what an item weighs in an index; nothing when it is not in it."""
    if place is None or item is None:
        return 0
    if index.projection == "ALL":
        return size_of_item(item)
    names = {*table.key.names, *index.key.names, *index.projected}
    return size_of_item({name: value for name, value in item.items() if name in names})


class _Definition(msgspec.Struct, omit_defaults=True):
    """A table's definition as its row keeps it."""

    uuid: str
    key: KeySchema
    created_at: float
    status: str = "ACTIVE"
    indexes: tuple[Index, ...] = ()
    attribute_types: dict[str, str] = {}
    billing_mode: str = "PROVISIONED"
    throughput: tuple[int, int] = (0, 0)
    stream_id: int | None = None
    is_streaming: bool = False
    destinations: tuple[Destination, ...] = ()
    ttl_attribute: str | None = None
    plans_expiries: bool = False
    is_protected: bool = False
    table_class: str | None = None
    settings: dict[str, Any] = {}
    tags: dict[str, str] = {}


_definition_of = msgspec.json.Decoder(_Definition).decode


def _encode(table: Table) -> str:
    members = {name: getattr(table, name) for name in _Definition.__struct_fields__}
    return msgspec.json.encode(_Definition(**members)).decode()


def _decode(row: tuple[Any, ...]) -> Table:
    definition = _definition_of(row[4])
    members = {name: getattr(definition, name) for name in _Definition.__struct_fields__}
    return Table(id=row[0], account_id=row[1], region=row[2], name=row[3], **members)
