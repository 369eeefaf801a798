"""All or nothing: TransactGetItems and TransactWriteItems. A transaction is one unit of work of the store."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.batches import collections_of
from eventrt.aws.services.dynamodb.items import check_no_key
from eventrt.aws.services.dynamodb.parameters import Parameters
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, find_table
from eventrt.core.tables.capacity import Capacity, read_units
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.projections import project
from eventrt.core.tables.schema import Key, Table, key_of, key_of_map
from eventrt.core.tables.updates import Update
from eventrt.core.tables.values import Item, checked_item, size_of_item
from eventrt.errors import ApiError
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.store.api import Tx
from eventrt.store.items import Stored, fragment

TOKEN_LIFE_S = 600
MAXIMUM_BYTES = 4 * 1024 * 1024
_TWICE = "Transaction request cannot include multiple operations on one item"


@dataclass(frozen=True, slots=True)
class Step:
    """One write of a transaction, checked as far as that goes without its table.

    `named` holds the key's attributes; `run` does the write and returns the item's size before and after.
    """

    table_name: str
    named: Item
    is_whole_item: bool
    run: Callable[[Tx, Table, Key, Changes], tuple[Stored | None, Stored | None]]
    returns_old: bool
    size_bytes: int
    code: str = "ConditionalCheckFailed"
    """The reason's code when the condition fails."""
    update: Update | None = None


class Transactions(TablesRoom):
    """The operations on several items at once."""

    @answers("TransactGetItems")
    async def transact_get_items(self, call: Call, request: Request) -> Answer:
        """Return up to 100 items as they are at one moment."""
        asked = [_get(one) for one in request["TransactItems"]]

        def query(tx: Tx) -> tuple[list[dict[str, Any]], dict[int, Capacity]]:
            responses: list[dict[str, Any]] = []
            capacities: dict[int, Capacity] = {}
            size = 0
            for name, named, paths in asked:
                table = find_table(tx, call, name)
                stored = tx.tables.get(table, key_of_map(table.key, named))
                capacity = capacities.setdefault(table.id, Capacity(table, name=name, kind="ReadCapacityUnits"))
                capacity.add(2 * read_units(stored.size_bytes if stored else 0, consistent=True))
                if stored is None:
                    responses.append({})
                    continue
                size += stored.size_bytes
                shown = stored.fragment if paths is None else fragment(project(stored.item, paths))
                responses.append({"Item": shown})
            if size > MAXIMUM_BYTES:
                raise TableError("The aggregate size of the items in the transaction exceeded the limit of 4 MB")
            return responses, capacities

        responses, capacities = await self._store.read(query)
        answer: dict[str, Any] = {"Responses": responses}
        how = request.get("ReturnConsumedCapacity", "NONE")
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for capacity in capacities.values()]
        return answer

    @answers("TransactWriteItems")
    async def transact_write_items(self, call: Call, request: Request) -> Answer:
        """Do up to 100 writes, or none of them and say why of each."""
        steps = [_step(one) for one in request["TransactItems"]]
        how = request.get("ReturnConsumedCapacity", "NONE")

        def unit(tx: Tx) -> tuple[list[Capacity], list[tuple[Table, Item]]]:
            if remember(tx, call, request):
                tables = [find_table(tx, call, step.table_name) for step in steps]
                return reread(tables), []
            return run(tx, call, steps, counts=how != "NONE")

        capacities, items = await self._store.write(unit)
        answer: dict[str, Any] = {}
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for capacity in capacities]
        answer.update(collections_of(request, items))
        return answer


def remember(tx: Tx, call: Call, request: Request) -> bool:
    """Was this very request done in the last ten minutes? If not, remember its token.

    Raises: ApiError: the token was used for another request.
    """
    token = request.get("ClientRequestToken")
    if token is None:
        return False
    said = {name: value for name, value in request.items() if not name.startswith("Return")}
    said.pop("ClientRequestToken")
    digest = hashlib.sha256(orjson.dumps((call.operation, said), option=orjson.OPT_SORT_KEYS)).digest()
    known = tx.tables.transaction_digest(call.account_id, call.region, token)
    if known is None:
        tx.tables.keep_transaction(call.account_id, call.region, token, digest, tx.now + TOKEN_LIFE_S)
        return False
    if known != digest:
        raise ApiError(
            "IdempotentParameterMismatchException",
            "The request uses the same client token as a previous, but non-identical request. Do not reuse a client "
            "token with different requests, unless the requests are identical",
        )
    return True


def reread(tables: Sequence[Table]) -> list[Capacity]:
    """Return what a repeated transaction consumes: reads, no writes."""
    capacities: dict[int, Capacity] = {}
    for table in tables:
        capacities.setdefault(table.id, Capacity(table, kind="ReadCapacityUnits")).add(2.0)
    return list(capacities.values())


def run(tx: Tx, call: Call, steps: Sequence[Step], *, counts: bool) -> tuple[list[Capacity], list[tuple[Table, Item]]]:
    """Do the steps of a transaction; return what it consumed by table, and the items it wrote.

    Args: counts: is anyone going to ask what it consumed?
    Raises: ApiError: TransactionCanceledException with a reason for each step; the unit is rolled back whole.
    """
    if sum(step.size_bytes for step in steps) > MAXIMUM_BYTES:
        raise TableError("Member must have length less than or equal to 4194304 bytes: the transaction is too large")
    places: set[tuple[int, Key]] = set()
    found: list[tuple[Table, Key]] = []
    for step in steps:
        table = find_table(tx, call, step.table_name)
        make = key_of if step.is_whole_item else key_of_map
        key = make(table.key, step.named)
        if step.update is not None:
            check_no_key(table, step.update)
        if (table.id, key) in places:
            raise TableError(_TWICE)
        places.add((table.id, key))
        found.append((table, key))
    reasons: list[dict[str, Any]] = []
    capacities: dict[int, Capacity] = {}
    changes = Changes(tx)
    for step, (table, key) in zip(steps, found, strict=True):
        capacity = capacities.setdefault(table.id, Capacity(table, name=step.table_name, kind="WriteCapacityUnits"))
        try:
            before, after = step.run(tx, table, key, changes)
        except shelf.Refusal as refusal:
            reason: dict[str, Any] = {"Code": step.code, "Message": str(refusal)}
            if step.returns_old and refusal.stored is not None:
                reason["Item"] = refusal.stored.fragment
            reasons.append(reason)
        except TableError as error:
            reasons.append({"Code": "ValidationError", "Message": str(error)})
        else:
            reasons.append({"Code": "None"})
            if counts:
                sizes = [one.size_bytes for one in (before, after) if one is not None]
                old, new = (one.item if one is not None else None for one in (before, after))
                capacity.add_write(old, new, *sizes, times=2)
    if any(reason["Code"] != "None" for reason in reasons):
        codes = ", ".join(reason["Code"] for reason in reasons)
        raise ApiError(
            "TransactionCanceledException",
            f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
            members={"CancellationReasons": reasons},
        )
    changes.flush()
    items = [(table, step.named) for step, (table, _) in zip(steps, found, strict=True)]
    return list(capacities.values()), items


def _get(asked: Mapping[str, Any]) -> tuple[str, Item, Any]:
    get = asked["Get"]
    parameters = Parameters(get, ("ProjectionExpression",))
    paths = parameters.projection()
    parameters.finish()
    return get["TableName"], checked_item(get["Key"]), paths


def _step(asked: Mapping[str, Any]) -> Step:
    """Return one write of a TransactWriteItems request (raises TableError)."""
    if len(asked) != 1:
        raise TableError("TransactItems can only contain one of Check, Put, Update or Delete")
    [(verb, said)] = asked.items()
    parameters = Parameters(
        said,
        ("UpdateExpression", "ConditionExpression") if verb == "Update" else ("ConditionExpression",),
    )
    condition = parameters.condition()
    returns_old = said.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    if verb == "Put":
        item = checked_item(said["Item"])
        after = shelf.kept(item)
        parameters.finish()
        return put_step(said["TableName"], item, after, condition, returns_old)
    named = checked_item(said["Key"])
    if verb == "Update":
        change = parameters.update()
        parameters.finish()
        return update_step(said["TableName"], named, change, condition, returns_old)
    parameters.finish()
    if verb == "Delete":
        return delete_step(said["TableName"], named, condition, returns_old)
    assert condition is not None
    return check_step(said["TableName"], named, condition, returns_old)


def put_step(
    name: str,
    item: Item,
    after: Stored,
    condition: shelf.Test | None,
    returns_old: bool,
    code: str = "ConditionalCheckFailed",
) -> Step:
    """Return a put as a step."""

    def write(tx: Tx, table: Table, key: Key, changes: Changes) -> tuple[Stored | None, Stored | None]:
        return shelf.put(tx, table, key, after, condition, changes), after

    return Step(name, item, True, write, returns_old, after.size_bytes, code)


def update_step(name: str, named: Item, change: Any, condition: shelf.Test | None, returns_old: bool) -> Step:
    """Return an update as a step."""

    def write(tx: Tx, table: Table, key: Key, changes: Changes) -> tuple[Stored | None, Stored | None]:
        return shelf.update(tx, table, key, named, change, condition, changes)

    return Step(name, named, False, write, returns_old, size_of_item(named), update=change[0])


def delete_step(name: str, named: Item, condition: shelf.Test | None, returns_old: bool) -> Step:
    """Return a delete as a step."""

    def write(tx: Tx, table: Table, key: Key, changes: Changes) -> tuple[Stored | None, Stored | None]:
        return shelf.remove(tx, table, key, condition, changes), None

    return Step(name, named, False, write, returns_old, size_of_item(named))


def check_step(name: str, named: Item, condition: shelf.Test, returns_old: bool) -> Step:
    """Return a condition check as a step: it writes nothing."""

    def write(tx: Tx, table: Table, key: Key, changes: Changes) -> tuple[Stored | None, Stored | None]:
        stored = shelf.check(tx, table, key, condition)
        return stored, stored

    return Step(name, named, False, write, returns_old, size_of_item(named))
