"""A table as DescribeTable shows it."""

from typing import Any

from eventrt.core.tables.schema import Index, KeySchema, Table
from eventrt.sources.table_streams import stream_of
from eventrt.store.api import Tx


def description(tx: Tx, table: Table, *, status: str | None = None) -> dict[str, Any]:
    """Return a table's description. Args: status: what to say instead of its present status."""
    count, size = tx.tables.counts(table)
    is_filling = any(index.status == "CREATING" for index in table.indexes)
    shown: dict[str, Any] = {
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in sorted(table.attribute_types.items())
        ],
        "TableName": table.name,
        "KeySchema": key_schema(table.key),
        "TableStatus": status or ("UPDATING" if is_filling else table.status),
        "CreationDateTime": table.created_at,
        "ProvisionedThroughput": _throughput(table.throughput),
        "TableSizeBytes": size,
        "ItemCount": count,
        "TableArn": table.arn,
        "TableId": table.uuid,
        "DeletionProtectionEnabled": table.is_protected,
        "WarmThroughput": _warm(table.settings.get("WarmThroughput"), table.throughput),
    }
    if table.billing_mode != "PROVISIONED":
        moment = table.settings.get("PayPerRequestSince", table.created_at)
        shown["BillingModeSummary"] = {
            "BillingMode": table.billing_mode,
            "LastUpdateToPayPerRequestDateTime": moment,
        }
    elif "PayPerRequestSince" in table.settings:
        shown["BillingModeSummary"] = {"BillingMode": table.billing_mode}
    local = [_index(tx, table, index) for index in table.indexes if not index.is_global]
    global_ = [_global_index(tx, table, index) for index in table.indexes if index.is_global]
    if local:
        shown["LocalSecondaryIndexes"] = local
    if global_:
        shown["GlobalSecondaryIndexes"] = global_
    _show_settings(shown, table)
    stream = stream_of(tx, table)
    if stream is not None:
        if stream.status == "ENABLED":
            shown["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": stream.view_type}
        shown["LatestStreamLabel"] = stream.label
        shown["LatestStreamArn"] = stream.arn
    return shown


def _show_settings(shown: dict[str, Any], table: Table) -> None:
    encryption = table.settings.get("SSESpecification")
    if encryption and encryption.get("Enabled"):
        key = encryption.get("KMSMasterKeyId") or f"arn:aws:kms:{table.region}:{table.account_id}:alias/aws/dynamodb"
        if not key.startswith("arn:"):
            key = f"arn:aws:kms:{table.region}:{table.account_id}:{key if key.startswith('alias/') else f'key/{key}'}"
        shown["SSEDescription"] = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}
    if table.table_class is not None:
        shown["TableClassSummary"] = {"TableClass": table.table_class}
    if "OnDemandThroughput" in table.settings:
        shown["OnDemandThroughput"] = table.settings["OnDemandThroughput"]


def key_schema(key: KeySchema) -> list[dict[str, str]]:
    """Return a key as KeySchema shows it."""
    elements = [{"AttributeName": key.partition, "KeyType": "HASH"}]
    if key.sort is not None:
        elements.append({"AttributeName": key.sort, "KeyType": "RANGE"})
    return elements


def _index(tx: Tx, table: Table, index: Index) -> dict[str, Any]:
    """Return what every index shows."""
    count, size = tx.tables.counts(table, index.id)
    projection: dict[str, Any] = {"ProjectionType": index.projection}
    if index.projected:
        projection["NonKeyAttributes"] = list(index.projected)
    return {
        "IndexName": index.name,
        "KeySchema": key_schema(index.key),
        "Projection": projection,
        "IndexSizeBytes": size,
        "ItemCount": count,
        "IndexArn": f"{table.arn}/index/{index.name}",
    }


def _global_index(tx: Tx, table: Table, index: Index) -> dict[str, Any]:
    shown = _index(tx, table, index)
    shown["IndexStatus"] = index.status
    if index.status == "CREATING":
        shown["Backfilling"] = True
    shown["ProvisionedThroughput"] = _throughput(index.throughput)
    shown["WarmThroughput"] = _warm(index.settings.get("WarmThroughput"), index.throughput)
    if "OnDemandThroughput" in index.settings:
        shown["OnDemandThroughput"] = index.settings["OnDemandThroughput"]
    return shown


def _throughput(units: tuple[int, int]) -> dict[str, int]:
    return {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": units[0], "WriteCapacityUnits": units[1]}


def _warm(asked: dict[str, int] | None, units: tuple[int, int]) -> dict[str, Any]:
    """Return the throughput a table could take at once: what was asked for, what is provisioned, or AWS's start."""
    reads, writes = units if units != (0, 0) else (12_000, 4_000)
    asked = asked or {}
    return {
        "ReadUnitsPerSecond": asked.get("ReadUnitsPerSecond", reads),
        "WriteUnitsPerSecond": asked.get("WriteUnitsPerSecond", writes),
        "Status": "ACTIVE",
    }
