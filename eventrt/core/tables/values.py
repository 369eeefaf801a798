"""Attribute values as DynamoDB's API writes them: `{"S": "text"}`, `{"N": "1"}`, `{"M": {...}}`; binaries as bytes.

Items are mappings of names to such values. This module checks and normalises what a client sent, measures it, and
compares two values; nothing here knows of tables or expressions.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.numbers import canonical, number_of

Value: TypeAlias = Mapping[str, Any]
Item: TypeAlias = Mapping[str, Value]

TYPES = ("S", "N", "B", "SS", "NS", "BS", "M", "L", "NULL", "BOOL")
MAX_DEPTH = 32
MAX_ITEM_BYTES = 400 * 1024
_SET_NAMES = {"SS": "string set", "NS": "number set", "BS": "binary set"}


def type_of(value: Value) -> str:
    """Return the type tag of a checked value."""
    return next(iter(value))


def checked_item(item: Mapping[str, Any]) -> dict[str, Value]:
    """Return an item with every value checked and its numbers in canonical text (raises TableError)."""
    return {name: checked(value) for name, value in item.items()}


def checked(value: Mapping[str, Any], depth: int = 1) -> Value:
    """Return a value that has exactly one known type, with its numbers in canonical text.

    Raises: TableError: no type, two types, an empty set, a duplicate in a set, a bad number, nested too deeply.
    """
    present = [(tag, content) for tag, content in value.items() if content is not None]
    if not present:
        raise TableError("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    if len(present) > 1:
        raise TableError(
            "Supplied AttributeValue has more than one datatypes set, "
            "must contain exactly one of the supported datatypes"
        )
    tag, content = present[0]
    if tag in ("S", "B"):
        return {tag: content}
    if tag == "N":
        return {"N": canonical(content)}
    if tag == "BOOL":
        return {"BOOL": content}
    if tag == "NULL":
        if content is not True:
            raise TableError(
                "One or more parameter values were invalid: Null attribute value types must have the value of true"
            )
        return {"NULL": True}
    if tag in ("M", "L"):
        if depth >= MAX_DEPTH:
            raise TableError(
                "Nesting Levels have exceeded supported limits: Attributes have nested beyond supported level"
            )
        if tag == "M":
            return {"M": {name: checked(inner, depth + 1) for name, inner in content.items()}}
        return {"L": [checked(inner, depth + 1) for inner in content]}
    if tag in _SET_NAMES:
        return {tag: _checked_set(tag, content)}
    raise TableError("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")


def _checked_set(tag: str, content: Any) -> list[Any]:
    if not content:
        raise TableError(f"One or more parameter values were invalid: An {_SET_NAMES[tag]}  may not be empty")
    members = [canonical(member) for member in content] if tag == "NS" else list(content)
    if len(set(members)) != len(members):
        shown = ", ".join(member.decode("latin-1") if isinstance(member, bytes) else member for member in content)
        raise TableError(f"One or more parameter values were invalid: Input collection [{shown}] contains duplicates.")
    return members


def size_of_item(item: Item) -> int:
    """Return what an item weighs, in bytes, names included (developer guide, "Item sizes and formats")."""
    return sum(len(name.encode()) + size_of(value) for name, value in item.items())


def size_of(value: Value) -> int:
    """Return what a value weighs, in bytes."""
    tag = type_of(value)
    content = value[tag]
    if tag == "S":
        return len(content.encode()) if not content.isascii() else len(content)
    if tag == "B":
        return len(content)
    if tag == "N":
        return _size_of_number(content)
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
