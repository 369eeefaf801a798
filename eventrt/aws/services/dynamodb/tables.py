"""Tables themselves: create, describe, change, delete, list; their change streams."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.descriptions import description
from eventrt.aws.services.dynamodb.room import (
    Request,
    TablesRoom,
    answers,
    check_name,
    find_table_itself,
    name_of,
)
from eventrt.aws.services.dynamodb.settings import check_policy, new_revision
from eventrt.core.tables import definitions
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Table
from eventrt.errors import ApiError
from eventrt.sources import table_streams
from eventrt.sources import tables as shelf
from eventrt.store.api import Tx

_CHANGES = frozenset(
    {
        "BillingMode",
        "ProvisionedThroughput",
        "GlobalSecondaryIndexUpdates",
        "StreamSpecification",
        "SSESpecification",
        "TableClass",
        "DeletionProtectionEnabled",
        "OnDemandThroughput",
        "WarmThroughput",
    }
)


class Tables(TablesRoom):
    """The operations on tables."""

    @answers("CreateTable")
    async def create_table(self, call: Call, request: Request) -> Answer:
        """Make a table; it is ACTIVE as soon as this is answered."""
        name = name_of(call, request["TableName"])
        check_name(name)
        table_id, revision = str(uuid.uuid4()), new_revision()
        if "ResourcePolicy" in request:
            check_policy(request["ResourcePolicy"])
        view_type = definitions.view_type_of(request.get("StreamSpecification"))

        def unit(tx: Tx) -> dict[str, Any]:
            draft = definitions.new_table(
                request, account_id=call.account_id, region=call.region, name=name, uuid=table_id, now=tx.now
            )
            if tx.tables.find(call.account_id, call.region, name) is not None:
                raise ApiError("ResourceInUseException", f"Table already exists: {name}")
            if "ResourcePolicy" in request:
                policy = {"Policy": request["ResourcePolicy"], "RevisionId": revision}
                draft = replace(draft, settings={**draft.settings, "ResourcePolicy": policy})
            table = tx.tables.create(draft)
            if view_type is not None:
                table = table_streams.enable(tx, table, view_type)
            shown = description(tx, table, status="CREATING")
            for index in shown.get("GlobalSecondaryIndexes", ()):
                index["IndexStatus"] = "CREATING"
            return shown

        return {"TableDescription": await self._store.write(unit)}

    @answers("DescribeTable")
    async def describe_table(self, call: Call, request: Request) -> Answer:
        """Show a table."""
        return {
            "Table": await self._store.read(
                lambda tx: description(tx, find_table_itself(tx, call, request["TableName"]))
            )
        }

    @answers("DeleteTable")
    async def delete_table(self, call: Call, request: Request) -> Answer:
        """Take a table away with its items; it is gone as soon as this is answered."""

        def unit(tx: Tx) -> dict[str, Any]:
            table = find_table_itself(tx, call, request["TableName"])
            if table.is_protected:
                raise TableError(
                    "Resource cannot be deleted as it is currently protected against deletion. "
                    "Disable deletion protection first."
                )
            shown = description(tx, table, status="DELETING")
            shelf.delete(tx, table)
            return {
                member: shown[member]
                for member in (
                    "TableName",
                    "TableStatus",
                    "ProvisionedThroughput",
                    "TableSizeBytes",
                    "ItemCount",
                    "TableArn",
                    "TableId",
                    "BillingModeSummary",
                    "LatestStreamArn",
                    "LatestStreamLabel",
                    "DeletionProtectionEnabled",
                )
                if member in shown
            }

        return {"TableDescription": await self._store.write(unit)}

    @answers("ListTables")
    async def list_tables(self, call: Call, request: Request) -> Answer:
        """List the account's tables in this region by name."""
        limit = request.get("Limit", 100)
        after = request.get("ExclusiveStartTableName")
        found: Sequence[str] = await self._store.read(
            lambda tx: tx.tables.names(call.account_id, call.region, after=after, limit=limit + 1)
        )
        answer: dict[str, Any] = {"TableNames": list(found[:limit])}
        if len(found) > limit:
            answer["LastEvaluatedTableName"] = found[limit - 1]
        return answer

    @answers("UpdateTable")
    async def update_table(self, call: Call, request: Request) -> Answer:
        """Change a table's settings, its stream or its global indexes."""
        if not any(request.get(member) not in (None, []) for member in _CHANGES):
            raise TableError(
                "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates "
                "or SSESpecification or ReplicaUpdates is required"
            )
        view_type = definitions.view_type_of(request.get("StreamSpecification"))

        def unit(tx: Tx) -> dict[str, Any]:
            table = find_table_itself(tx, call, request["TableName"])
            if any(index.status == "CREATING" for index in table.indexes):
                raise ApiError(
                    "ResourceInUseException",
                    f"Attempt to change a resource which is still in use: Table is being updated: {table.name}",
                )
            table = _changed(tx, table, request)
            if "StreamSpecification" in request:
                table = _restreamed(tx, table, view_type)
            return description(tx, table, status="UPDATING")

        return {"TableDescription": await self._store.write(unit)}


def _changed(tx: Tx, table: Table, request: Request) -> Table:
    changes = definitions.changed(table, request)
    mode = changes.get("billing_mode", table.billing_mode)
    if mode != table.billing_mode and mode == "PAY_PER_REQUEST":
        changes["settings"] = {**changes.get("settings", table.settings), "PayPerRequestSince": tx.now}
    updates = request.get("GlobalSecondaryIndexUpdates") or ()
    if sum("Update" not in update for update in updates) > 1:
        raise ApiError(
            "LimitExceededException",
            "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
        )
    try:
        indexes = definitions.changed_indexes(table, request, mode)
    except LookupError as error:
        sentence = str(error.args[0])
        if sentence.startswith("Attempting"):
            raise TableError(sentence) from error
        raise ApiError("ResourceNotFoundException", sentence) from error
    if updates:
        changes["indexes"] = indexes
        changes["attribute_types"] = definitions.kept_types(table, request, indexes)
    return tx.tables.update(table, **changes) if changes else table


def _restreamed(tx: Tx, table: Table, view_type: str | None) -> Table:
    stream = table_streams.stream_of(tx, table)
    is_enabled = stream is not None and stream.status == "ENABLED"
    if view_type is not None:
        if is_enabled:
            raise TableError(f"Table already has an enabled stream: TableName: {table.name}")
        return table_streams.enable(tx, table, view_type)
    if not is_enabled:
        raise TableError(f"Table is already not streaming: TableName: {table.name}")
    return table_streams.disable(tx, table)
