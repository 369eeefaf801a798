"""What CreateTable and UpdateTable ask for: checked as DynamoDB checks it, and made into a table's definition.

Requests come as the API writes them, already of the model's types. Source: DynamoDB API reference; semantics 04, D.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Index, KeySchema, KeyType, Table

MAXIMUM_LOCAL_INDEXES, MAXIMUM_GLOBAL_INDEXES = 5, 20
MAXIMUM_PROJECTED = 100
"""Attributes that INCLUDE projections of one table name together."""

Asked = Mapping[str, Any]


def invalid(sentence: str) -> NoReturn:
    """Refuse a parameter (raises TableError)."""
    raise TableError(f"One or more parameter values were invalid: {sentence}")


def new_table(asked: Asked, *, account_id: str, region: str, name: str, uuid: str, now: float) -> Table:
    """Return the table that a CreateTable request asks for, without a number yet (raises TableError)."""
    for member in ("AttributeDefinitions", "KeySchema"):
        if member not in asked:
            raise TableError(
                f"1 validation error detected: Value null at '{member[0].lower()}{member[1:]}' failed to satisfy "
                "constraint: Member must not be null"
            )
    types = attribute_types(asked["AttributeDefinitions"])
    billing_mode = asked.get("BillingMode", "PROVISIONED")
    throughput = throughput_of(asked, billing_mode)
    key = key_schema(asked["KeySchema"], types, of_index=False)
    indexes = _indexes(asked, key, types, billing_mode)
    _check_used(key, indexes, types)
    settings = {
        member: asked[member]
        for member in ("SSESpecification", "OnDemandThroughput", "WarmThroughput")
        if asked.get(member)
    }
    _check_encryption(asked)
    _check_on_demand(asked, billing_mode)
    return Table(
        0,
        account_id,
        region,
        name,
        uuid,
        key,
        now,
        indexes=indexes,
        attribute_types=types,
        billing_mode=billing_mode,
        throughput=throughput,
        is_protected=asked.get("DeletionProtectionEnabled", False),
        table_class=asked.get("TableClass"),
        settings=settings,
        tags=tags_of(asked.get("Tags") or ()),
    )


def attribute_types(definitions: Sequence[Asked]) -> dict[str, KeyType]:
    """Return the types that AttributeDefinitions give (raises TableError)."""
    types: dict[str, KeyType] = {}
    for definition in definitions:
        name = definition["AttributeName"]
        if name in types:
            raise TableError("Cannot have two attributes with the same name")
        types[name] = definition["AttributeType"]
    return types


def key_schema(elements: Sequence[Asked], types: Mapping[str, KeyType], *, of_index: bool = True) -> KeySchema:
    """Return the key of an index, or of a table, as KeySchema describes it (raises TableError)."""
    if not 1 <= len(elements) <= 2:
        shown = ", ".join(
            f"KeySchemaElement(attributeName={one['AttributeName']}, keyType={one['KeyType']})" for one in elements
        )
        raise TableError(
            f"1 validation error detected: Value '[{shown}]' at 'keySchema' failed to satisfy constraint: "
            "Member must have length less than or equal to 2"
        )
    names = [element["AttributeName"] for element in elements]
    if elements[0]["KeyType"] != "HASH":
        raise TableError("Invalid KeySchema: The first KeySchemaElement is not a HASH key type")
    if len(elements) == 2 and elements[1]["KeyType"] != "RANGE":
        raise TableError("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type")
    if len(set(names)) != len(names):
        raise TableError("Both the Hash Key and the Range Key element in the KeySchema have the same name")
    if any(name not in types for name in names):
        if not of_index:
            raise TableError("Invalid KeySchema: Some index key attribute have no definition")
        invalid(
            "Some index key attributes are not defined in AttributeDefinitions. "
            f"Keys: [{', '.join(names)}], AttributeDefinitions: [{', '.join(types)}]"
        )
    if len(names) == 1:
        return KeySchema(names[0], types[names[0]])
    return KeySchema(names[0], types[names[0]], names[1], types[names[1]])


def throughput_of(asked: Asked, billing_mode: str, index: str | None = None) -> tuple[int, int]:
    """Return the read and write units of a table or index; zeros when it is billed per request (raises TableError)."""
    given = asked.get("ProvisionedThroughput")
    if billing_mode == "PAY_PER_REQUEST":
        # Clients that always send it send zeros.
        if given is not None and (given["ReadCapacityUnits"], given["WriteCapacityUnits"]) != (0, 0):
            if index is not None:
                invalid(
                    f"ProvisionedThroughput should not be specified for index: {index} when BillingMode is "
                    "PAY_PER_REQUEST"
                )
            invalid(
                "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST"
            )
        return 0, 0
    if given is None:
        if index is not None:
            invalid(f"ProvisionedThroughput must be specified for index: {index}")
        invalid("ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED")
    return given["ReadCapacityUnits"], given["WriteCapacityUnits"]


def _check_encryption(asked: Asked) -> None:
    specification = asked.get("SSESpecification") or {}
    if specification.get("SSEType") == "AES256":
        invalid("SSEType AES256 is not supported: the only supported value is KMS")


def _check_on_demand(asked: Asked, billing_mode: str) -> None:
    if asked.get("OnDemandThroughput") and billing_mode != "PAY_PER_REQUEST":
        invalid("OnDemandThroughput can only be specified when BillingMode is PAY_PER_REQUEST")


def _indexes(asked: Asked, key: KeySchema, types: Mapping[str, KeyType], billing_mode: str) -> tuple[Index, ...]:
    local, global_ = asked.get("LocalSecondaryIndexes"), asked.get("GlobalSecondaryIndexes")
    if local is not None and not local:
        invalid("List of LocalSecondaryIndexes is empty")
    if global_ is not None and not global_:
        invalid("List of GlobalSecondaryIndexes is empty")
    indexes: list[Index] = []
    for one in local or ():
        if key.sort is None:
            invalid(
                "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex"
            )
        schema = key_schema(one["KeySchema"], types)
        if schema.partition != key.partition:
            invalid(
                "Index KeySchema does not have the same leading hash key as table KeySchema for index: "
                f"{one['IndexName']}. index hash key: {schema.partition}, table hash key: {key.partition}"
            )
        if schema.sort is None:
            invalid(f"Index KeySchema does not have a range key for index: {one['IndexName']}")
        projection, projected = _projection(one["Projection"])
        indexes.append(Index(one["IndexName"], schema, False, projection, projected))
    indexes.extend(global_index(one, types, billing_mode) for one in global_ or ())
    check_indexes(indexes)
    return tuple(indexes)


def global_index(asked: Asked, types: Mapping[str, KeyType], billing_mode: str) -> Index:
    """Return the global secondary index that a request asks for (raises TableError)."""
    projection, projected = _projection(asked["Projection"])
    _check_on_demand(asked, billing_mode)
    return Index(
        asked["IndexName"],
        key_schema(asked["KeySchema"], types),
        True,
        projection,
        projected,
        throughput=throughput_of(asked, billing_mode, asked["IndexName"]),
        settings={member: asked[member] for member in ("OnDemandThroughput", "WarmThroughput") if asked.get(member)},
    )


def _projection(asked: Asked) -> tuple[str, tuple[str, ...]]:
    kind, names = asked.get("ProjectionType"), asked.get("NonKeyAttributes")
    if kind is None:
        invalid("Unknown ProjectionType: null")
    if kind == "INCLUDE":
        if not names:
            invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
    elif names is not None:
        invalid(f"ProjectionType is {kind}, but NonKeyAttributes is specified")
    if len(set(names or ())) != len(names or ()):
        invalid("Duplicate attribute names in NonKeyAttributes")
    return kind, tuple(names or ())


def check_indexes(indexes: Sequence[Index]) -> None:
    """Refuse indexes of one name, and more of them than a table may have (raises TableError)."""
    seen: set[str] = set()
    for index in indexes:
        if index.name in seen:
            invalid(f"Duplicate index name: {index.name}")
        seen.add(index.name)
    if sum(not index.is_global for index in indexes) > MAXIMUM_LOCAL_INDEXES:
        invalid(f"Number of LocalSecondaryIndexes exceeds per-table limit of {MAXIMUM_LOCAL_INDEXES}")
    if sum(index.is_global for index in indexes) > MAXIMUM_GLOBAL_INDEXES:
        invalid(f"GlobalSecondaryIndex count exceeds the per-table limit of {MAXIMUM_GLOBAL_INDEXES}")
    if sum(len(index.projected) for index in indexes) > MAXIMUM_PROJECTED:
        invalid(f"Number of NonKeyAttributes exceeds the per-table limit of {MAXIMUM_PROJECTED}")


def used_names(key: KeySchema, indexes: Iterable[Index]) -> list[str]:
    """Return the attributes that keys are made of."""
    names = dict.fromkeys(key.names)
    for index in indexes:
        names.update(dict.fromkeys(index.key.names))
    return list(names)


def _check_used(key: KeySchema, indexes: Sequence[Index], types: Mapping[str, KeyType]) -> None:
    used = used_names(key, indexes)
    if set(used) == set(types):
        return
    if not indexes:
        invalid(
            "Number of attributes in KeySchema does not exactly match number of attributes defined in "
            "AttributeDefinitions"
        )
    invalid(
        "Some AttributeDefinitions are not used. "
        f"AttributeDefinitions: [{', '.join(types)}], keys used: [{', '.join(used)}]"
    )


def view_type_of(specification: Asked | None) -> str | None:
    """Return the view type of a stream that a StreamSpecification enables; None when it enables none.

    Raises: TableError: enabled without a view type, or a view type without enabling.
    """
    if specification is None:
        return None
    if specification["StreamEnabled"]:
        if "StreamViewType" not in specification:
            invalid("StreamViewType must be specified when StreamEnabled is true")
        view_type: str = specification["StreamViewType"]
        return view_type
    if "StreamViewType" in specification:
        invalid("StreamViewType must not be specified when StreamEnabled is false")
    return None


def tags_of(tags: Sequence[Asked]) -> dict[str, str]:
    """Return tags as a map (raises TableError: one key twice, too many)."""
    found: dict[str, str] = {}
    for tag in tags:
        if tag["Key"].lower().startswith("aws:"):
            invalid(f"Tag keys that begin with aws: are reserved: {tag['Key']}")
        if tag["Key"] in found:
            invalid(f"Duplicate tag key: {tag['Key']}")
        found[tag["Key"]] = tag["Value"]
    if len(found) > 50:
        invalid("Too many tags: a resource has at most 50")
    return found


# -- changes of a table


def changed(table: Table, asked: Asked) -> dict[str, Any]:
    """Return the members of a table that an UpdateTable request changes, without its indexes (raises TableError)."""
    changes: dict[str, Any] = {}
    mode = asked.get("BillingMode", table.billing_mode)
    if "BillingMode" in asked or "ProvisionedThroughput" in asked:
        throughput = (
            throughput_of(asked, mode)
            if mode == "PAY_PER_REQUEST" or "ProvisionedThroughput" in asked or mode != table.billing_mode
            else table.throughput
        )
        if mode == table.billing_mode == "PROVISIONED" and throughput == table.throughput:
            if "BillingMode" not in asked:
                raise TableError(_same_throughput(throughput))
        else:
            changes.update(billing_mode=mode, throughput=throughput)
    _check_encryption(asked)
    _check_on_demand(asked, mode)
    if "DeletionProtectionEnabled" in asked:
        changes["is_protected"] = asked["DeletionProtectionEnabled"]
    if "TableClass" in asked:
        changes["table_class"] = asked["TableClass"]
    settings = {
        member: asked[member]
        for member in ("SSESpecification", "OnDemandThroughput", "WarmThroughput")
        if asked.get(member)
    }
    if settings:
        changes["settings"] = {**table.settings, **settings}
    return changes


def _same_throughput(units: tuple[int, int]) -> str:
    reads, writes = units
    return (
        "The provisioned throughput for the table will not change. The requested value equals the current value. "
        f"Current ReadCapacityUnits provisioned for the table: {reads}. Requested ReadCapacityUnits: {reads}. "
        f"Current WriteCapacityUnits provisioned for the table: {writes}. Requested WriteCapacityUnits: {writes}. "
        "Refer to the Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
    )


def changed_indexes(table: Table, asked: Asked, billing_mode: str) -> tuple[Index, ...]:
    """Return a table's indexes as GlobalSecondaryIndexUpdates change them; new ones are CREATING.

    Raises: TableError; LookupError: an index is not there, or there already (the argument is AWS's sentence).
    """
    indexes = {index.name: index for index in table.indexes}
    types: dict[str, KeyType] = {**table.attribute_types, **attribute_types(asked.get("AttributeDefinitions") or ())}
    for change in asked.get("GlobalSecondaryIndexUpdates") or ():
        if len(change) != 1:
            invalid("Exactly one of Create, Update and Delete must be specified for a GlobalSecondaryIndexUpdate")
        [(verb, said)] = change.items()
        name = said["IndexName"]
        present = indexes.get(name)
        if verb == "Create":
            if present is not None:
                raise LookupError(f"Attempting to create an index which already exists: {name}")
            indexes[name] = replace(global_index(said, types, billing_mode), status="CREATING")
            continue
        if present is None or not present.is_global:
            raise LookupError("Requested resource not found")
        if verb == "Delete":
            del indexes[name]
            continue
        updates = {member: said[member] for member in ("OnDemandThroughput", "WarmThroughput") if said.get(member)}
        if not updates and "ProvisionedThroughput" not in said:
            invalid(f"At least one of ProvisionedThroughput, OnDemandThroughput is required for index: {name}")
        indexes[name] = replace(
            present,
            settings={**present.settings, **updates},
            throughput=throughput_of(said, billing_mode, name)
            if "ProvisionedThroughput" in said
            else present.throughput,
        )
    found = tuple(indexes.values())
    check_indexes(found)
    return found


def kept_types(table: Table, asked: Asked, indexes: Sequence[Index]) -> dict[str, KeyType]:
    """Return the attribute definitions that keys still use after a change (raises TableError)."""
    types: dict[str, KeyType] = {**table.attribute_types, **attribute_types(asked.get("AttributeDefinitions") or ())}
    for name, kind in table.attribute_types.items():
        if types[name] != kind:
            invalid(f"Cannot change the type of attribute {name}")
    return {name: types[name] for name in used_names(table.key, indexes)}
