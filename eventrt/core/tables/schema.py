"""What a table is: its keys, its indexes, its settings; and how a key becomes bytes that sort like it."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.numbers import sortable
from eventrt.core.tables.values import Item, Value, type_of

KeyType = Literal["S", "N", "B"]
MAXIMUM_PARTITION_KEY_BYTES = 2048
MAXIMUM_SORT_KEY_BYTES = 1024
HASH_BYTES = 8
"""The partition key's bytes begin with so many of its digest: scans go in its order, segments are ranges of it."""


@dataclass(frozen=True, slots=True)
class KeySchema:
    """The key attributes of a table or index and their types; `sort` is None without a sort key."""

    partition: str
    partition_type: KeyType
    sort: str | None = None
    sort_type: KeyType = "S"

    @property
    def names(self) -> tuple[str, ...]:
        """The key attributes' names, partition first."""
        return (self.partition,) if self.sort is None else (self.partition, self.sort)

    def types(self) -> dict[str, KeyType]:
        """Return the type of each key attribute."""
        types: dict[str, KeyType] = {self.partition: self.partition_type}
        if self.sort is not None:
            types[self.sort] = self.sort_type
        return types


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index. `id` is the store's number of it; `projected` names further attributes for INCLUDE."""

    name: str
    key: KeySchema
    is_global: bool
    projection: str = "ALL"
    projected: tuple[str, ...] = ()
    id: int = 0
    status: str = "ACTIVE"
    throughput: tuple[int, int] = (0, 0)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further members that are kept and shown: on-demand and warm throughput."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A Kinesis stream that a table's changes are put into. `precision` is MILLISECOND or MICROSECOND."""

    stream_arn: str
    is_active: bool = True
    precision: str = "MILLISECOND"


@dataclass(frozen=True, slots=True)
class Table:
    """A table and what is set on it. `id` is the store's number of it; moments are epoch seconds."""

    id: int
    account_id: str
    region: str
    name: str
    uuid: str
    key: KeySchema
    created_at: float
    status: str = "ACTIVE"
    indexes: tuple[Index, ...] = ()
    attribute_types: Mapping[str, KeyType] = field(default_factory=dict)
    billing_mode: str = "PROVISIONED"
    throughput: tuple[int, int] = (0, 0)
    stream_id: int | None = None
    """The latest change stream; `is_streaming`: does it take records?"""
    is_streaming: bool = False
    destinations: tuple[Destination, ...] = ()
    ttl_attribute: str | None = None
    plans_expiries: bool = False
    """Is it still to be noted when the items expire that were there before `ttl_attribute` was set?"""
    is_protected: bool = False
    table_class: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further members that are kept and shown: encryption, contributor insights, point-in-time recovery, policy."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The table's ARN."""
        return f"arn:aws:dynamodb:{self.region}:{self.account_id}:table/{self.name}"

    @property
    def is_followed(self) -> bool:
        """Does anyone want to know of its changes?"""
        return self.is_streaming or bool(self.destinations)

    def index(self, name: str) -> Index | None:
        """Return the index of this name, or None."""
        return next((index for index in self.indexes if index.name == name), None)


class Key(NamedTuple):
    """A key as bytes: `partition` begins with its hash; `sort` is empty without a sort key."""

    partition: bytes
    sort: bytes = b""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A range of sort keys within one partition, or of partitions for a scan; None is open at that end."""

    low: bytes | None = None
    high: bytes | None = None
    low_included: bool = True
    high_included: bool = True


EVERYTHING = Bounds()


def partition_bytes(value: Value) -> bytes:
    """Return the bytes of a partition key value: its hash, then the bytes that sort as it does.

    Raises: TableError: it is too long.
    """
    encoded = _encoded(value)
    if len(encoded) > MAXIMUM_PARTITION_KEY_BYTES:
        raise TableError(
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit "
            "of2048 bytes"
        )
    return _digest(encoded).digest()[:HASH_BYTES] + encoded


_digest = functools.partial(hashlib.md5, usedforsecurity=False)


def sort_bytes(value: Value) -> bytes:
    """Return the bytes of a sort key value, which sort as it does (raises TableError: it is too long)."""
    encoded = _encoded(value)
    if len(encoded) > MAXIMUM_SORT_KEY_BYTES:
        raise TableError(
            "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit"
            " of 1024 bytes"
        )
    return encoded


def key_of(schema: KeySchema, item: Item) -> Key:
    """Return the key of an item or key map.

    Raises: TableError: a key attribute is missing, of another type, empty or too long.
    """
    partition = _checked_key(schema.partition, schema.partition_type, item)
    hashed = partition_bytes(partition)
    if schema.sort is None:
        return Key(hashed)
    return Key(hashed, sort_bytes(_checked_key(schema.sort, schema.sort_type, item)))


def index_key_of(schema: KeySchema, item: Item) -> Key | None:
    """Return the key of an item in an index; None when a key attribute is missing, so that the index skips it.

    Raises: TableError: a key attribute is there, but of another type or empty.
    """
    for name in schema.names:
        if name not in item:
            return None
    return key_of(schema, item)


def _checked_key(name: str, expected: str, item: Item) -> Value:
    value = item.get(name)
    if value is None:
        raise TableError(f"One or more parameter values were invalid: Missing the key {name} in the item")
    content = value.get(expected)
    if content is None:
        raise TableError(
            f"One or more parameter values were invalid: Type mismatch for key {name} expected: {expected}"
            f" actual: {type_of(value)}"
        )
    if not content:
        kind = "string" if expected == "S" else "binary"
        raise TableError(
            "One or more parameter values are not valid. "
            f"The AttributeValue for a key attribute cannot contain an empty {kind} value. Key: {name}"
        )
    return value


def sortable_bytes(value: Value) -> bytes:
    """Return bytes that compare as the key values of one type do: UTF-8, numeric or unsigned byte order."""
    return _encoded(value)


def _encoded(value: Value) -> bytes:
    for tag, content in value.items():
        if tag == "S":
            return content.encode()  # type: ignore[no-any-return]
        if tag == "N":
            return sortable(content)
    return bytes(value["B"])


def key_of_map(schema: KeySchema, key: Mapping[str, Value]) -> Key:
    """Return the key that a Key parameter means: it must hold exactly the key attributes (raises TableError)."""
    if len(key) != (1 if schema.sort is None else 2):
        raise TableError(_NO_KEY)
    try:
        partition = key[schema.partition]
        if schema.partition_type not in partition or (
            schema.sort is not None and schema.sort_type not in key[schema.sort]
        ):
            raise TableError(_NO_KEY)
    except KeyError:
        raise TableError(_NO_KEY) from None
    return key_of(schema, key)


_NO_KEY = "The provided key element does not match the schema"


def segment_bounds(segment: int, total: int) -> Bounds:
    """Return the range of partition keys of a parallel scan's segment: an equal part of the hashes."""
    space = 1 << (8 * HASH_BYTES)
    low, high = segment * space // total, (segment + 1) * space // total
    return Bounds(
        low.to_bytes(HASH_BYTES, "big"),
        None if segment + 1 == total else high.to_bytes(HASH_BYTES, "big"),
        high_included=False,
    )


def after_prefix(prefix: bytes) -> bytes | None:
    """Return the least bytes above everything that begins with `prefix`; None when there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None
