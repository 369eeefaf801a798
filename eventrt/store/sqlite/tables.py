"""Tables in SQLite: definitions decoded in memory, items as MessagePack under keys whose bytes sort as DynamoDB's.

An index holds keys only; a read of an index joins the items. Counts are kept in memory and written once per commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Index, Key, KeySchema, Table, index_key_of
from eventrt.core.tables.values import Item
from eventrt.store.sqlite.engine import Engine
from eventrt.store.tables import Bounds, Row

_DEFINITION = "id, account_id, region, name, definition"
_PUT = (
    "INSERT INTO item (table_id, partition_key, sort_key, size_bytes, item) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET size_bytes = excluded.size_bytes, item = excluded.item"
)
_GET = "SELECT item, size_bytes FROM item WHERE table_id = ? AND partition_key = ? AND sort_key = ?"
_REMOVE = "DELETE FROM item WHERE table_id = ? AND partition_key = ? AND sort_key = ? RETURNING size_bytes"
_ENTER = "INSERT INTO index_entry VALUES (?, ?, ?, ?, ?, ?)"
_LEAVE = (
    "DELETE FROM index_entry WHERE table_id = ? AND index_id = ? AND partition_key = ? AND sort_key = ?"
    " AND item_partition_key = ? AND item_sort_key = ?"
)
FIVE_YEARS_S = 5 * 365 * 86_400
"""A time to live further back than this is ignored (developer guide, "Using time to live")."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, dict[str, Any]]).decode


class SqliteTables:
    """The `store.tables.TableRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._by_name: dict[tuple[str, str, str], Table] = {}
        self._by_id: dict[int, Table] = {}
        self._counts: dict[int, list[int]] = {}
        self._counted: set[int] = set()
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
        self._execute("UPDATE table_definition SET definition = ? WHERE id = ?", (_encode(changed), table.id))
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
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
        """Take a table away; its items go later, in slices (`drop_orphans`)."""
        self._execute("DELETE FROM table_definition WHERE id = ?", (table.id,))
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
        self._engine.announce(("sweep",))

    def drop_orphans(self, *, limit: int) -> int:
        """Remove up to `limit` rows whose table is gone; return how many were removed."""
        removed = 0
        for name, key in (
            ("item", "table_id, partition_key, sort_key"),
            ("index_entry", "table_id, index_id, partition_key, sort_key, item_partition_key, item_sort_key"),
        ):
            orphan = self._first_orphan(name)
            while orphan is not None and removed < limit:
                removed += self._execute(
                    f"DELETE FROM {name} WHERE ({key}) IN (SELECT {key} FROM {name} WHERE table_id = ? LIMIT ?)",
                    (orphan, limit - removed),
                ).rowcount
                orphan = self._first_orphan(name)
        return removed

    def _first_orphan(self, name: str) -> int | None:
        """Find a table number that has rows but no definition, skipping from number to number by the index."""
        last = 0
        while True:
            row = self._execute(f"SELECT min(table_id) FROM {name} WHERE table_id > ?", (last,)).fetchone()
            if row[0] is None:
                return None
            last = int(row[0])
            if self.by_id(last) is None:
                return last

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

    # -- items

    def counts(self, table: Table) -> tuple[int, int]:
        """Return how many items a table holds and their bytes."""
        count, size = self._counts_of(table.id)
        return count, size

    def get(self, table: Table, key: Key) -> Item | None:
        """Return the item of a key, or None."""
        row = self._execute(_GET, (table.id, key.partition, key.sort)).fetchone()
        return _unpack(row[0]) if row else None

    def put(self, table: Table, key: Key, item: Item, size_bytes: int, *, before: Item | None) -> None:
        """Keep an item in the place of `before` (the item of that key as it is), indexes and expiry with it."""
        old_size = 0
        if before is not None:
            row = self._execute(_GET, (table.id, key.partition, key.sort)).fetchone()
            old_size = row[1] if row else 0
        self._execute(_PUT, (table.id, key.partition, key.sort, size_bytes, _pack(item)))
        self._count(table.id, 0 if before is not None else 1, size_bytes - old_size)
        if table.indexes:
            self._reindex(table, key, before, item)
        if table.ttl_attribute is not None:
            self._plan_expiry(table, key, before, item)

    def remove(self, table: Table, key: Key, before: Item) -> None:
        """Remove the item of a key, which is `before`, from the table and its indexes."""
        row = self._execute(_REMOVE, (table.id, key.partition, key.sort)).fetchone()
        if row is not None:
            self._count(table.id, -1, -row[0])
        if table.indexes:
            self._reindex(table, key, before, None)
        if table.ttl_attribute is not None:
            self._plan_expiry(table, key, before, None)

    def _reindex(self, table: Table, key: Key, before: Item | None, after: Item | None) -> None:
        for index in table.indexes:
            old = _place(index, before)
            new = _place(index, after)
            if old == new:
                continue
            if old is not None:
                self._execute(_LEAVE, (table.id, index.id, old.partition, old.sort, key.partition, key.sort))
            if new is not None:
                self._execute(_ENTER, (table.id, index.id, new.partition, new.sort, key.partition, key.sort))

    def fill_index(self, table: Table, index: Index, *, after: Key | None, limit: int) -> Key | None:
        """Enter up to `limit` items behind `after` into a new index; return the last one's key, None at the end."""
        rows = self._execute(
            "SELECT partition_key, sort_key, item FROM item WHERE table_id = ? AND (partition_key, sort_key) > (?, ?)"
            " ORDER BY partition_key, sort_key LIMIT ?",
            (table.id, after.partition if after else b"", after.sort if after else b"", limit),
        ).fetchall()
        for partition_key, sort_key, packed in rows:
            place = _place(index, _unpack(packed))
            if place is not None:
                self._execute(
                    _ENTER.replace("INSERT", "INSERT OR IGNORE"),
                    (table.id, index.id, place.partition, place.sort, partition_key, sort_key),
                )
        return Key(rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    def drop_index(self, table: Table, index: Index) -> None:
        """Remove the entries of an index that is going away."""
        self._execute("DELETE FROM index_entry WHERE table_id = ? AND index_id = ?", (table.id, index.id))

    # -- ranges

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
        where, parameters = ["partition_key = ?"], [partition]
        _bound(where, parameters, "sort_key", bounds)
        return self._rows(table, index_id, where, parameters, descending=descending, after=after)

    def scan(self, table: Table, index_id: int | None, bounds: Bounds, *, after: Row | None) -> Iterator[Row]:
        """Yield the rows of the table or an index in order of the partition key's bytes, after a given place."""
        where: list[str] = []
        parameters: list[bytes] = []
        _bound(where, parameters, "partition_key", bounds)
        return self._rows(table, index_id, where, parameters, descending=False, after=after)

    def _rows(
        self,
        table: Table,
        index_id: int | None,
        where: list[str],
        parameters: list[bytes],
        *,
        descending: bool,
        after: Row | None,
    ) -> Iterator[Row]:
        order, beyond = ("DESC", "<") if descending else ("ASC", ">")
        values: list[Any]
        if index_id is None:
            columns: tuple[str, ...] = ("partition_key", "sort_key")
            place: tuple[bytes, ...] = (after.key.partition, after.key.sort) if after else ()
            source, head, values = "item", "SELECT partition_key, sort_key, item, size_bytes FROM item", [table.id]
        else:
            columns = ("partition_key", "sort_key", "item_partition_key", "item_sort_key")
            place = ()
            if after is not None and after.index_key is not None:
                place = (after.index_key.partition, after.index_key.sort, after.key.partition, after.key.sort)
            source = "e"
            head = (
                "SELECT i.partition_key, i.sort_key, i.item, i.size_bytes, e.partition_key, e.sort_key"
                " FROM index_entry AS e CROSS JOIN item AS i ON i.table_id = e.table_id"
                " AND i.partition_key = e.item_partition_key AND i.sort_key = e.item_sort_key"
            )
            values = [table.id, index_id]
        conditions = [f"{source}.table_id = ?"]
        if index_id is not None:
            conditions.append("e.index_id = ?")
        conditions.extend(f"{source}.{condition}" for condition in where)
        values.extend(parameters)
        if place:
            names = ", ".join(f"{source}.{column}" for column in columns)
            conditions.append(f"({names}) {beyond} ({', '.join('?' * len(place))})")
            values.extend(place)
        ordering = ", ".join(f"{source}.{column} {order}" for column in columns)
        cursor = self._execute(f"{head} WHERE {' AND '.join(conditions)} ORDER BY {ordering}", values)
        try:
            for row in cursor:
                index_key = Key(row[4], row[5]) if index_id is not None else None
                yield Row(Key(row[0], row[1]), _unpack(row[2]), row[3], index_key)
        finally:
            cursor.close()

    # -- time to live

    def _plan_expiry(self, table: Table, key: Key, before: Item | None, after: Item | None) -> None:
        old, new = self._expiry(table, before), self._expiry(table, after)
        if old == new:
            return
        if old is not None:
            self._execute(
                "DELETE FROM item_expiry WHERE expires_at = ? AND table_id = ? AND partition_key = ? AND sort_key = ?",
                (old, table.id, key.partition, key.sort),
            )
        if new is not None:
            self._execute(
                "INSERT OR IGNORE INTO item_expiry VALUES (?, ?, ?, ?)", (new, table.id, key.partition, key.sort)
            )
            self._engine.announce(("sweep",))

    def _expiry(self, table: Table, item: Item | None) -> int | None:
        value = item.get(table.ttl_attribute or "") if item is not None else None
        if value is None or "N" not in value:
            return None
        try:
            moment = int(float(value["N"]))
        except (ValueError, OverflowError):
            return None
        return moment if 0 < moment < 1 << 62 else None

    def plan_expiries(self, table: Table, *, after: Key | None, limit: int) -> Key | None:
        """Note when up to `limit` items behind `after` expire, for a table whose time to live was just enabled."""
        rows = self._execute(
            "SELECT partition_key, sort_key, item FROM item WHERE table_id = ? AND (partition_key, sort_key) > (?, ?)"
            " ORDER BY partition_key, sort_key LIMIT ?",
            (table.id, after.partition if after else b"", after.sort if after else b"", limit),
        ).fetchall()
        for partition_key, sort_key, packed in rows:
            self._plan_expiry(table, Key(partition_key, sort_key), None, _unpack(packed))
        return Key(rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    def forget_expiries(self, table: Table) -> None:
        """Forget when a table's items expire: its time to live was disabled."""
        self._execute("DELETE FROM item_expiry WHERE table_id = ?", (table.id,))

    def expired(self, before: float, *, limit: int) -> Sequence[tuple[Table, Key, Item]]:
        """Return items whose time to live ended before a moment; stale notes are dropped on the way."""
        found: list[tuple[Table, Key, Item]] = []
        rows = self._execute(
            "SELECT expires_at, table_id, partition_key, sort_key FROM item_expiry WHERE expires_at < ?"
            " ORDER BY expires_at LIMIT ?",
            (int(before), limit),
        ).fetchall()
        for expires_at, table_id, partition_key, sort_key in rows:
            table, key = self.by_id(table_id), Key(partition_key, sort_key)
            item = self.get(table, key) if table is not None else None
            is_due = table is not None and item is not None and self._expiry(table, item) == expires_at
            if is_due and expires_at > before - FIVE_YEARS_S and table is not None and item is not None:
                found.append((table, key, item))
            else:
                self._execute(
                    "DELETE FROM item_expiry WHERE expires_at = ? AND table_id = ? AND partition_key = ?"
                    " AND sort_key = ?",
                    (expires_at, table_id, partition_key, sort_key),
                )
        return found

    def next_expiry(self) -> float | None:
        """Return when the next item's time to live ends."""
        row = self._execute("SELECT min(expires_at) FROM item_expiry").fetchone()
        return float(row[0]) if row[0] is not None else None

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

    def _counts_of(self, table_id: int) -> list[int]:
        counts = self._counts.get(table_id)
        if counts is None:
            row = self._execute(
                "SELECT item_count, size_bytes FROM table_definition WHERE id = ?", (table_id,)
            ).fetchone()
            counts = self._counts[table_id] = list(row or (0, 0))
        return counts

    def _count(self, table_id: int, items: int, size_bytes: int) -> None:
        counts = self._counts_of(table_id)
        counts[0] += items
        counts[1] += size_bytes
        self._counted.add(table_id)
        self._engine.on_undo(partial(_count_back, counts, items, size_bytes))

    def _flush(self) -> None:
        """Write the counts that changed (inside the transaction, before its commit)."""
        for table_id in self._counted:
            count, size = self._counts[table_id]
            self._execute(
                "UPDATE table_definition SET item_count = ?, size_bytes = ? WHERE id = ?", (count, size, table_id)
            )
        self._counted.clear()

    def _keep(self, table: Table) -> Table:
        self._by_id[table.id] = table
        self._by_name[(table.account_id, table.region, table.name)] = table
        return table

    def _forget_definitions(self) -> None:
        self._by_id.clear()
        self._by_name.clear()

    def _forget_all(self) -> None:
        self._forget_definitions()
        self._counts.clear()
        self._counted.clear()


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


def _bound(where: list[str], parameters: list[bytes], column: str, bounds: Bounds) -> None:
    if bounds.low is not None:
        where.append(f"{column} {'>=' if bounds.low_included else '>'} ?")
        parameters.append(bounds.low)
    if bounds.high is not None:
        where.append(f"{column} {'<=' if bounds.high_included else '<'} ?")
        parameters.append(bounds.high)


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
    ttl_attribute: str | None = None
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
