"""Attribute values as DynamoDB's API writes them: `{"S": "text"}`, `{"N": "1"}`, `{"M": {...}}`; binaries as bytes.

Items are mappings of names to such values. This module checks and normalises what a client sent (JSON values, with
binaries in base64), measures it, and compares two values; nothing here knows of tables or expressions. Checked values
are never changed: parts of them are shared between items.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeAlias

from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.numbers import canonical, is_plain, number_of

Value: TypeAlias = Mapping[str, Any]
Item: TypeAlias = Mapping[str, Value]

TYPES = ("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL")
_KNOWN = frozenset(TYPES)
_WIRE_TYPES = {
    "S": "String",
    "N": "String",
    "B": "Blob",
    "BOOL": "Boolean",
    "NULL": "Boolean",
    "M": "map",
    "L": "list",
    "SS": "list",
    "NS": "list",
    "BS": "list",
}
MAX_DEPTH = 32
MAX_NAME_BYTES = 65_535
MAX_ITEM_BYTES = 400 * 1024
EMPTY_NAME = "One or more parameter values were invalid: An attribute name must not be empty"
_EMPTY_SETS = {
    "SS": "An string set  may not be empty",
    "NS": "An number set  may not be empty",
    "BS": "Binary sets should not be empty",
}


def type_of(value: Value) -> str:
    """Return the type tag of a checked value."""
    return next(iter(value))


def checked_item(item: Any) -> dict[str, Value]:
    """Return an item with every value checked and its numbers in canonical text (raises as `checked` does)."""
    if item.__class__ is not dict:
        raise Malformed(not_a("map", item))
    out: dict[str, Value] = {}
    if "" in item:
        raise TableError(EMPTY_NAME)
    for name, value in item.items():
        # Texts are what most attributes are, and whole numbers: they pass as they came.
        if value.__class__ is dict and len(value) == 1:
            if value.get("S").__class__ is str:
                out[name] = value
            else:
                number = value.get("N")
                if number.__class__ is str and is_plain(number):
                    out[name] = value
                else:
                    out[name] = checked(value)
        elif value is not None:
            out[name] = checked(value)
        if len(name) > MAX_NAME_BYTES and len(name.encode()) > MAX_NAME_BYTES:
            raise TableError(
                "One or more parameter values were invalid: Attribute name is too large, must be less than 65536 bytes"
            )
    return out


def checked(value: Any, depth: int = 1) -> Value:
    """Return a value that has exactly one known type, with its numbers in canonical text and binaries as bytes.

    Raises:
        TableError: no type, two types, an empty set, a duplicate in a set, a bad number, nested too deeply.
        Malformed: what stands there is not of the JSON type that the wire has for it.
    """
    if value.__class__ is not dict:
        raise Malformed(not_a("structure", value))
    content: Any
    if len(value) == 1:
        [(tag, content)] = value.items()
    else:
        present = [(tag, content) for tag, content in value.items() if content is not None and tag in _KNOWN]
        if len(present) > 1:
            raise TableError(
                "Supplied AttributeValue has more than one datatypes set, "
                "must contain exactly one of the supported datatypes"
            )
        tag, content = present[0] if present else ("", None)
    if tag == "S":
        if content.__class__ is str:
            return {"S": content}
    elif tag == "N":
        if content.__class__ is str:
            return {"N": canonical(content)}
    elif tag == "BOOL":
        if content.__class__ is bool:
            return {"BOOL": content}
    elif tag == "B":
        if content is not None:
            return {"B": _bytes_of(content)}
    elif tag == "NULL":
        if content is True:
            return {"NULL": True}
        if content is False:
            raise TableError(
                "One or more parameter values were invalid: Null attribute value types must have the value of true"
            )
    elif tag == "M":
        if content.__class__ is dict:
            _check_depth(depth)
            if "" in content:
                raise TableError(EMPTY_NAME)
            return {"M": {name: checked(inner, depth + 1) for name, inner in content.items()}}
    elif tag == "L":
        if content.__class__ is list:
            _check_depth(depth)
            return {"L": [checked(inner, depth + 1) for inner in content]}
    elif tag in _EMPTY_SETS and content.__class__ is list:
        return {tag: _checked_set(tag, content)}
    if content is None or tag not in _KNOWN:
        raise TableError("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    raise Malformed(not_a(_WIRE_TYPES[tag], content))


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise TableError("Nesting Levels have exceeded supported limits: Attributes have nested beyond supported level")


def _bytes_of(content: Any) -> bytes:
    """Return what a base64 text means; bytes pass as they are."""
    if content.__class__ is bytes:
        return bytes(content)
    if content.__class__ is not str:
        raise Malformed(not_a("Blob", content))
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("Invalid base64 in a binary value") from None


def not_a(wanted: str, value: Any) -> str:
    """Return how the wire's parser refuses a value of another type."""
    if value.__class__ is dict:
        return "Start of structure or map found where not expected"
    if value.__class__ is list:
        return "Start of list found where not expected"
    if wanted in ("structure", "map", "list"):
        return "Unexpected value type in payload"
    names = {bool: "TRUE_VALUE" if value else "FALSE_VALUE", str: "STRING_VALUE", int: "NUMBER_VALUE"}
    article = "an" if wanted[0] in "AEIOU" else "a"
    return f"{names.get(value.__class__, 'DECIMAL_VALUE')} can not be converted to {article} {wanted}"


def _checked_set(tag: str, content: list[Any]) -> list[Any]:
    if not content:
        raise TableError(f"One or more parameter values were invalid: {_EMPTY_SETS[tag]}")
    if tag == "BS":
        members: list[Any] = [_bytes_of(member) for member in content]
    else:
        for member in content:
            if member.__class__ is not str:
                raise Malformed(not_a("String", member))
        members = [canonical(member) for member in content] if tag == "NS" else list(content)
    if len(set(members)) != len(members):
        if tag == "NS":
            raise TableError("Input collection contains duplicates")
        shown = ", ".join(base64.b64encode(one).decode() if isinstance(one, bytes) else one for one in members)
        kind = "of type BS" if tag == "BS" else ""
        raise TableError(
            f"One or more parameter values were invalid: Input collection [{shown}]{kind} contains duplicates."
        )
    return members


def size_of_item(item: Item) -> int:
    """Return what an item weighs, in bytes, names included (developer guide, "Item sizes and formats")."""
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else len(name.encode())
        text = value.get("S")
        if text is not None and text.isascii():
            size += len(text)
        elif text is None and (number := value.get("N")) is not None:
            size += _size_of_number(number)
        else:
            size += size_of(value)
    return size


def size_of(value: Value) -> int:
    """Return what a value weighs, in bytes."""
    tag = type_of(value)
    content = value[tag]
    if tag == "S":
        return len(content) if content.isascii() else len(content.encode())
    if tag == "N":
        return _size_of_number(content)
    if tag == "B":
        return len(content)
    if tag in ("BOOL", "NULL"):
        return 1
    if tag == "M":
        return 3 + sum(1 + len(name.encode()) + size_of(inner) for name, inner in content.items())
    if tag == "L":
        return 3 + sum(1 + size_of(inner) for inner in content)
    if tag == "NS":
        return sum(_size_of_number(member) for member in content)
    if tag == "SS":
        return sum(len(member.encode()) for member in content)
    return sum(len(member) for member in content)


def _size_of_number(text: str) -> int:
    if text.isdigit():
        return 1 + (len(text.strip("0")) + 1) // 2
    digits = text.lstrip("-").replace(".", "").strip("0")
    return 1 + (len(digits) + 1) // 2 + (1 if text.startswith("-") else 0)


def equal(left: Value, right: Value) -> bool:
    """Are two checked values the same: type and content, sets without regard to order?"""
    tag = type_of(left)
    if tag != type_of(right):
        return False
    mine, theirs = left[tag], right[tag]
    if tag in ("SS", "NS", "BS"):
        return set(mine) == set(theirs)
    if tag == "L":
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    if tag == "M":
        return mine.keys() == theirs.keys() and all(equal(inner, theirs[name]) for name, inner in mine.items())
    return bool(mine == theirs)


def compare(left: Value, right: Value) -> int | None:
    """Order two values of one scalar type: negative, 0 or positive; None when they cannot be ordered."""
    tag = type_of(left)
    if tag != type_of(right) or tag not in ("S", "N", "B"):
        return None
    if tag == "N":
        mine, theirs = number_of(left["N"]), number_of(right["N"])
    elif tag == "S":
        mine, theirs = left["S"].encode(), right["S"].encode()
    else:
        mine, theirs = left["B"], right["B"]
    return (mine > theirs) - (mine < theirs)
