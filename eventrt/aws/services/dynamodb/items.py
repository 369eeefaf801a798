"""One item at a time: GetItem, PutItem, UpdateItem, DeleteItem."""

from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.parameters import Parameters
from eventrt.aws.services.dynamodb.room import (
    Request,
    TablesRoom,
    answers,
    collection_metrics,
    consumed,
    find_table,
)
from eventrt.core.tables.capacity import Capacity, read_units
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.projections import project
from eventrt.core.tables.schema import Table, key_of, key_of_map
from eventrt.core.tables.updates import Update
from eventrt.core.tables.values import checked_item
from eventrt.sources import tables as shelf
from eventrt.store.api import Tx
from eventrt.store.items import Stored, fragment

_PLAIN_GET = frozenset({"TableName", "Key", "ConsistentRead"})
_PLAIN_PUT = frozenset({"TableName", "Item"})


class Items(TablesRoom):
    """The operations on single items."""

    @answers("GetItem")
    async def get_item(self, call: Call, request: Request) -> Answer:
        """Return the item of a key; no member when there is none."""
        named = checked_item(request["Key"])
        paths = None
        if not request.keys() <= _PLAIN_GET:
            parameters = Parameters(request, ("ProjectionExpression",))
            paths = parameters.projection()
            parameters.finish()

        def query(tx: Tx) -> tuple[Table, Stored | None]:
            table = find_table(tx, call, request["TableName"])
            return table, tx.tables.get(table, key_of_map(table.key, named))

        table, stored = await self._store.read(query)
        answer: dict[str, Any] = {}
        if stored is not None:
            answer["Item"] = stored.fragment if paths is None else fragment(project(stored.item, paths))
        if "ReturnConsumedCapacity" in request:
            size = stored.size_bytes if stored is not None else 0
            units = read_units(size, consistent=request.get("ConsistentRead", False))
            answer.update(consumed(request, lambda: Capacity(table, units)))
        return answer

    @answers("PutItem")
    async def put_item(self, call: Call, request: Request) -> Answer:
        """Keep an item in the place of the one with its key."""
        item = checked_item(request["Item"])
        is_plain = request.keys() <= _PLAIN_PUT
        condition = None
        if not is_plain:
            _check_return(request, ("NONE", "ALL_OLD"), "ReturnValues can only be ALL_OLD or NONE")
            parameters = Parameters(request, ("ConditionExpression",))
            condition = parameters.condition()
            parameters.finish()
        after = shelf.kept(item)

        def unit(tx: Tx) -> tuple[Table, Stored | None]:
            table = find_table(tx, call, request["TableName"])
            return table, shelf.put(tx, table, key_of(table.key, item), after, condition)

        table, before = await self._store.write(unit, secured=False)
        if is_plain:
            return {}
        answer: dict[str, Any] = {}
        if before is not None and request.get("ReturnValues") == "ALL_OLD":
            answer["Attributes"] = before.fragment
        answer.update(consumed(request, lambda: written(table, before, after)))
        answer.update(collection_metrics(request, table, item))
        return answer

    @answers("DeleteItem")
    async def delete_item(self, call: Call, request: Request) -> Answer:
        """Remove the item of a key; one that is not there is removed already."""
        named = checked_item(request["Key"])
        _check_return(request, ("NONE", "ALL_OLD"), "ReturnValues can only be ALL_OLD or NONE")
        parameters = Parameters(request, ("ConditionExpression",))
        condition = parameters.condition()
        parameters.finish()

        def unit(tx: Tx) -> tuple[Table, Stored | None]:
            table = find_table(tx, call, request["TableName"])
            return table, shelf.remove(tx, table, key_of_map(table.key, named), condition)

        table, before = await self._store.write(unit, secured=False)
        answer: dict[str, Any] = {}
        if before is not None and request.get("ReturnValues") == "ALL_OLD":
            answer["Attributes"] = before.fragment
        answer.update(consumed(request, lambda: written(table, before, None)))
        answer.update(collection_metrics(request, table, named))
        return answer

    @answers("UpdateItem")
    async def update_item(self, call: Call, request: Request) -> Answer:
        """Change attributes of an item, or make it."""
        named = checked_item(request["Key"])
        parameters = Parameters(request, ("UpdateExpression", "ConditionExpression"))
        change = parameters.update()
        condition = parameters.condition()
        parameters.finish()

        def unit(tx: Tx) -> tuple[Table, Stored | None, Stored]:
            table = find_table(tx, call, request["TableName"])
            key = key_of_map(table.key, named)
            check_no_key(table, change[0])
            return table, *shelf.update(tx, table, key, named, change, condition)

        table, before, after = await self._store.write(unit, secured=False)
        answer: dict[str, Any] = {}
        attributes = updated_attributes(request.get("ReturnValues", "NONE"), change[0], before, after)
        if attributes is not None:
            answer["Attributes"] = attributes
        answer.update(consumed(request, lambda: written(table, before, after)))
        answer.update(collection_metrics(request, table, named))
        return answer


def check_no_key(table: Table, update: Update) -> None:
    """Refuse an update of a key attribute (raises TableError)."""
    for path in update.paths:
        if path[0] == table.key.partition or path[0] == table.key.sort:
            raise TableError(
                f"One or more parameter values were invalid: Cannot update attribute {path[0]}. "
                "This attribute is part of the key"
            )


def updated_attributes(how: str, update: Update, before: Stored | None, after: Stored) -> Any:
    """Return the Attributes member of an update as ReturnValues asks for it; None when there is nothing to show."""
    if how == "ALL_NEW":
        return after.fragment
    if how == "ALL_OLD":
        return before.fragment if before is not None else None
    if how == "NONE":
        return None
    shown = after if how == "UPDATED_NEW" else before
    found = project(shown.item, update.paths) if shown is not None else {}
    return fragment(found) if found else None


def written(table: Table, before: Stored | None, after: Stored | None) -> Capacity:
    """Return what a write consumed."""
    capacity = Capacity(table)
    sizes = [stored.size_bytes for stored in (before, after) if stored is not None]
    capacity.add_write(before.item if before else None, after.item if after else None, *sizes)
    return capacity


def _check_return(request: Request, allowed: tuple[str, ...], sentence: str) -> None:
    if request.get("ReturnValues", "NONE") not in allowed:
        raise TableError(sentence)
