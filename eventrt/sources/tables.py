"""Tables as a shelf: create, change, drop; write items under conditions; read pages; plain functions on a transaction.

The door (`aws.services.dynamodb`) checks what a caller sent and words the answers; here every write keeps the item,
its index entries, its expiry and the record of its change together.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eventrt.core.tables.errors import ConditionFailed, TableError
from eventrt.core.tables.schema import (
    MAXIMUM_PARTITION_KEY_BYTES,
    MAXIMUM_SORT_KEY_BYTES,
    Index,
    Key,
    Table,
    partition_bytes,
    sort_bytes,
)
from eventrt.core.tables.updates import Update, apply_update
from eventrt.core.tables.values import MAX_DEPTH, MAX_ITEM_BYTES, Item, Value, size_of, size_of_item, type_of
from eventrt.sources import table_streams
from eventrt.sources.table_streams import Changes
from eventrt.store.api import Tx
from eventrt.store.items import Stored, encode
from eventrt.store.tables import Row

PAGE_BYTES = 1024 * 1024
"""What one Query or Scan looks at, at the most."""

Test = Callable[[Item], bool]
"""A condition or filter, bound to its values; a missing item is an empty one."""

NOTHING: Item = {}


def delete(tx: Tx, table: Table) -> None:
    """Take a table away with its items; its stream can be read for another day."""
    table_streams.disable(tx, table)
    tx.tables.delete(table)


def finish_index(tx: Tx, table: Table, index: Index) -> Table:
    """Let an index that is filled be read; return the table as it is now."""
    done = tuple(replace(one, status="ACTIVE") if one.id == index.id else one for one in table.indexes)
    return tx.tables.update(table, indexes=done)


def forget_streams(tx: Tx) -> None:
    """Drop the change streams that were disabled a day ago; a table no longer shows such a one as its latest."""
    for stream_id in tx.tables.ended_streams():
        stream = tx.streams.by_id(stream_id)
        if stream is None:
            continue
        table = tx.tables.find(stream.account_id, stream.region, stream.name)
        if table is not None and table.stream_id == stream_id:
            tx.tables.update(table, stream_id=None)
        tx.streams.delete(stream)


# -- writing


def kept(item: Item) -> Stored:
    """Return an item as it would be stored.

    Raises: TableError: it is larger than 400 KB.
    """
    size = size_of_item(item)
    if size > MAX_ITEM_BYTES:
        raise TableError("Item size has exceeded the maximum allowed size")
    return Stored(encode(item), size, item)


def check_index_keys(table: Table, item: Item) -> None:
    """Refuse an item to be put whose attributes do not fit the keys of an index (raises TableError)."""
    for index in table.indexes:
        for name, expected in index.key.types().items():
            value = item.get(name)
            if value is None:
                continue
            actual = type_of(value)
            if actual != expected:
                raise TableError(
                    f"One or more parameter values were invalid: Type mismatch for Index Key {name} "
                    f"Expected: {expected} Actual: {actual} IndexName: {index.name}"
                )
            if not value[actual]:
                kind = "string" if actual == "S" else "binary"
                raise TableError(
                    "One or more parameter values are not valid. A value specified for a secondary index key is not "
                    f"supported. The AttributeValue for a key attribute cannot contain an empty {kind} value. "
                    f"IndexName: {index.name}, IndexKey: {name}"
                )
            if name == index.key.partition:
                partition_bytes(value)
            else:
                sort_bytes(value)


def check_updated_index_keys(table: Table, item: Item, names: Collection[str]) -> None:
    """Refuse an update that lets these attributes not fit the keys of an index (raises TableError)."""
    for index in table.indexes:
        for name, expected in index.key.types().items():
            value = item.get(name)
            if value is None or name not in names:
                continue
            actual = type_of(value)
            if actual != expected:
                raise TableError(
                    "The update expression attempted to update the secondary index key to unsupported type"
                )
            if not value[actual]:
                kind = "string" if actual == "S" else "binary"
                raise TableError(
                    "One or more parameter values are not valid. The update expression attempted to update a "
                    "secondary index key to a value that is not supported. The AttributeValue for a key attribute "
                    f"cannot contain an empty {kind} value."
                )
            most = MAXIMUM_PARTITION_KEY_BYTES if name == index.key.partition else MAXIMUM_SORT_KEY_BYTES
            if size_of(value) > most:
                raise TableError(
                    "The update expression attempted to update the secondary index key beyond allowed size limits"
                )


class Refusal(ConditionFailed):
    """The condition of a write failed; `stored` is the item that did not meet it, None when there is none."""

    def __init__(self, stored: Stored | None) -> None:
        super().__init__("The conditional request failed")
        self.stored = stored


def check(tx: Tx, table: Table, key: Key, condition: Test) -> Stored | None:
    """Return the item of a key; refuse when it does not meet a condition (raises Refusal)."""
    stored = tx.tables.get(table, key)
    _met(stored, condition)
    return stored


def _met(before: Stored | None, condition: Test | None) -> None:
    if condition is not None and not condition(before.item if before is not None else NOTHING):
        raise Refusal(before)


def _secure(tx: Tx, table: Table) -> None:
    """Secure a unit that is about to write more than the item itself; until then writes here have only refused."""
    if table.indexes or table.is_streaming or table.destinations or table.ttl_attribute is not None:
        tx.secure()


def put(
    tx: Tx, table: Table, key: Key, after: Stored, condition: Test | None, changes: Changes | None = None
) -> Stored | None:
    """Keep an item and return the one that was in its place (raises Refusal, TableError)."""
    before = tx.tables.get(table, key)
    if condition is not None:
        _met(before, condition)
    if table.indexes:
        check_index_keys(table, after.item)
    _secure(tx, table)
    tx.tables.put(table, key, after, before=before)
    if table.is_followed:
        _tell(tx, table, before, after, changes)
    return before


def update(
    tx: Tx,
    table: Table,
    key: Key,
    named: Item,
    change: tuple[Update, Mapping[str, Value]],
    condition: Test | None,
    changes: Changes | None = None,
) -> tuple[Stored | None, Stored]:
    """Update the item of a key, or make it; return it as it was and as it is (raises Refusal, TableError).

    Args: named: the key as attributes. change: an update and what its placeholders mean.
    """
    before = tx.tables.get(table, key)
    if condition is not None:
        _met(before, condition)
    update, values = change
    item = apply_update(update, before.item if before is not None else named, values)
    size = size_of_item(item)
    if size > MAX_ITEM_BYTES:
        raise TableError("Item size to update has exceeded the maximum allowed size")
    if any(len(path) > 1 for path, _ in update.sets):
        _check_depth(item)
    if table.indexes:
        check_updated_index_keys(table, item, {str(path[0]) for path in update.paths})
    after = Stored(encode(item), size, item)
    _secure(tx, table)
    tx.tables.put(table, key, after, before=before)
    if table.is_followed:
        _tell(tx, table, before, after, changes)
    return before, after


def remove(
    tx: Tx,
    table: Table,
    key: Key,
    condition: Test | None,
    changes: Changes | None = None,
    identity: Mapping[str, str] | None = None,
) -> Stored | None:
    """Remove the item of a key and return it; None when there was none (raises Refusal)."""
    before = tx.tables.get(table, key)
    if condition is not None:
        _met(before, condition)
    if before is not None:
        _secure(tx, table)
        tx.tables.remove(table, key, before)
        if table.is_followed:
            _tell(tx, table, before, None, changes, identity)
    return before


def _tell(
    tx: Tx,
    table: Table,
    before: Stored | None,
    after: Stored | None,
    changes: Changes | None,
    identity: Mapping[str, str] | None = None,
) -> None:
    """Note a change for the table's stream: with others of its unit, or at once."""
    if changes is not None:
        changes.note(table, before, after, identity)
        return
    alone = Changes(tx)
    alone.note(table, before, after, identity)
    alone.flush()


def _check_depth(item: Item) -> None:
    for value in item.values():
        _check_value_depth(value, 1)


def _check_value_depth(value: Value, depth: int) -> None:
    inner: Iterable[Value] = value["M"].values() if "M" in value else value.get("L", ())
    if ("M" in value or "L" in value) and depth >= MAX_DEPTH:
        raise TableError("Nesting Levels have exceeded supported limits: Attributes have nested beyond supported level")
    for each in inner:
        _check_value_depth(each, depth + 1)


# -- reading


@dataclass(frozen=True, slots=True)
class Page:
    """What one Query or Scan found: the rows that passed the filter, how many were looked at, their bytes.

    `last` is the row to go on from; None at the end. `fetched` are the sizes of the items that an index fetched from
    its table.
    """

    rows: Sequence[Row]
    scanned: int
    size_bytes: int
    last: Row | None
    fetched: Sequence[int] = ()


def page(
    rows: Iterable[Row],
    *,
    limit: int | None,
    keeps: Test | None,
    shows: Callable[[Row], Row] | None,
    weighs: Callable[[Item], int] | None = None,
) -> Page:
    """Take rows until so many were looked at, or a megabyte of them.

    Args: keeps: the filter. shows: turns a row into what the index that is read holds of it. weighs: what an item
        weighs in the index that is read, where the item itself is fetched from the table.
    """
    found: list[Row] = []
    fetched: list[int] = []
    scanned = size = 0
    last: Row | None = None
    for row in rows:
        if shows is not None:
            row = shows(row)
        row_size = row.size_bytes
        if weighs is not None:
            fetched.append(row_size)
            row_size = weighs(row.item)
        if size + row_size > PAGE_BYTES and scanned:
            return Page(found, scanned, size, last, fetched[:scanned])
        scanned += 1
        size += row_size
        last = row
        if keeps is None or keeps(row.item):
            found.append(row)
        if scanned == limit:
            return Page(found, scanned, size, last, fetched)
    return Page(found, scanned, size, None, fetched)


def projected(table: Table, index: Index) -> Callable[[Row], Row] | None:
    """Return what reduces rows to the attributes that an index holds; None when it holds them all."""
    if index.projection == "ALL":
        return None
    names = {*table.key.names, *index.key.names, *index.projected}

    def show(row: Row) -> Row:
        item = {name: value for name, value in row.item.items() if name in names}
        return row.holding(item, size_of_item(item))

    return show
