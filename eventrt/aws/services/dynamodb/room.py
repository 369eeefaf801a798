"""What every part of the DynamoDB service needs: finding the table a request means, AWS's refusals, capacities.

Accounts and regions are separate worlds: a table is looked up in the caller's account and region, and an ARN of
another one names no table here.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from eventrt.aws.call import Call, answering
from eventrt.clock import Clock
from eventrt.core.tables.capacity import Capacity
from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.schema import Table
from eventrt.core.tables.values import Item
from eventrt.errors import ApiError
from eventrt.sources.tables import Refusal
from eventrt.store.api import Store, Tx
from eventrt.store.items import fragment

Request = Mapping[str, Any]

_NAME = re.compile(r"[a-zA-Z0-9_.-]+", re.ASCII)


class TablesRoom:
    """The store and the clock. The operations are in the subclasses."""

    service_id = "dynamodb"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock


def _refused(refusal: Refusal, request: Request) -> ApiError:
    members: dict[str, Any] = {}
    if request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and refusal.stored is not None:
        members["Item"] = refusal.stored.fragment
    return ApiError("ConditionalCheckFailedException", str(refusal), members=members)


answers = answering(
    {
        TableError: lambda error, request: ApiError("ValidationException", str(error)),
        Malformed: lambda error, request: ApiError("SerializationException", str(error)),
        Refusal: _refused,
    }
)
"""Marks a method as the handler of an operation; a rule it breaks becomes DynamoDB's refusal."""


# -- tables and their names


def name_of(call: Call, given: str) -> str:
    """Return the name of a table given by its name or ARN.

    Raises: ApiError: the name cannot be one, or the ARN is of another account or region.
    """
    if ":" in given:
        parts = given.split(":", 5)
        if len(parts) != 6 or parts[2] != "dynamodb" or not parts[5].startswith("table/"):
            _refuse_name(given, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
        if (parts[4], parts[3]) != (call.account_id, call.region):
            raise ApiError("ResourceNotFoundException", f"Requested resource not found: Table: {given} not found")
        return parts[5].removeprefix("table/").partition("/")[0]
    return given


def check_name(name: str, member: str = "tableName") -> None:
    """Refuse what cannot be a table's name (raises ApiError)."""
    if not _NAME.fullmatch(name):
        _refuse_name(name, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+", member)
    if len(name) < 3:
        _refuse_name(name, "Member must have length greater than or equal to 3", member)
    if len(name) > 255:
        _refuse_name(name, "Member must have length less than or equal to 255", member)


def _refuse_name(name: str, constraint: str, member: str = "tableName") -> NoReturn:
    raise ApiError(
        "ValidationException",
        f"1 validation error detected: Value '{name}' at '{member}' failed to satisfy constraint: {constraint}",
    )


def find_table(tx: Tx, call: Call, given: str) -> Table:
    """Return the table that a data operation means (raises ApiError: ResourceNotFoundException)."""
    table = tx.tables.find(call.account_id, call.region, given)
    if table is None:
        table = _look_up(tx, call, given)
        if table is None:
            raise ApiError("ResourceNotFoundException", "Requested resource not found")
    return table


def find_table_itself(tx: Tx, call: Call, given: str) -> Table:
    """Return the table that an operation on tables means (raises ApiError: ResourceNotFoundException)."""
    table = _look_up(tx, call, given)
    if table is None:
        name = name_of(call, given)
        raise ApiError("ResourceNotFoundException", f"Requested resource not found: Table: {name} not found")
    return table


def _look_up(tx: Tx, call: Call, given: str) -> Table | None:
    name = name_of(call, given)
    table = tx.tables.find(call.account_id, call.region, name)
    if table is None:
        check_name(name)
    return table


# -- parts of answers


def consumed(request: Request, capacity: Callable[[], Capacity]) -> dict[str, Any]:
    """Return the ConsumedCapacity member as the request asks for it; empty when it does not."""
    how = request.get("ReturnConsumedCapacity", "NONE")
    if how == "NONE":
        return {}
    found = capacity()
    found.name = request.get("TableName", "")
    return {"ConsumedCapacity": found.shown(how)}


def collection_metrics(request: Request, table: Table, key: Item) -> dict[str, Any]:
    """Return the ItemCollectionMetrics member where the request asks for it and the table has a local index."""
    if request.get("ReturnItemCollectionMetrics", "NONE") != "SIZE":
        return {}
    metrics = metrics_of(table, key)
    return {"ItemCollectionMetrics": metrics} if metrics is not None else {}


def metrics_of(table: Table, key: Item) -> dict[str, Any] | None:
    """Return the metrics of an item's collection; None when the table has no local index."""
    if all(index.is_global for index in table.indexes):
        return None
    name = table.key.partition
    return {"ItemCollectionKey": fragment({name: key[name]}), "SizeEstimateRangeGB": [0.0, 1.0]}
