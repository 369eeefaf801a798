"""Key conditions: from a parsed KeyConditionExpression to one partition and a range of sort keys.

Source: DynamoDB developer guide, "Key condition expressions for the Query operation".
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from eventrt.core.tables.conditions import (
    Attribute,
    Between,
    Both,
    Comparison,
    Condition,
    Either,
    Function,
    Literal,
    Membership,
    Not,
    Operand,
    Values,
)
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import (
    EVERYTHING,
    Bounds,
    KeySchema,
    after_prefix,
    partition_bytes,
    sortable_bytes,
)
from eventrt.core.tables.values import Value

FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_UNSUPPORTED = "Query key condition not supported"


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """What one key attribute must be: `=`, `<`, `<=`, `>`, `>=`, `BETWEEN` or `begins_with`, and its operands."""

    name: str
    operator: str
    operands: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """One partition (bytes as in `schema.Key`) and the range of its sort keys."""

    partition: bytes
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Asked:
    """A key condition as it was parsed: like `KeyCondition`, with placeholders for the operands."""

    name: str
    operator: str
    operands: tuple[str, ...]


def asked_of(condition: Condition) -> tuple[Asked, ...]:
    """Return the conditions on single attributes that a key condition consists of.

    Raises: TableError: it is no key condition.
    """
    found: dict[str, Asked] = {}
    for part in _conditions(condition):
        if part.name in found:
            raise TableError("KeyConditionExpressions must only contain one condition per key")
        found[part.name] = part
    return tuple(found.values())


def bound(asked: Iterable[Asked], values: Values) -> dict[str, KeyCondition]:
    """Return key conditions by attribute, with what the placeholders mean."""
    return {
        one.name: KeyCondition(one.name, one.operator, tuple([values[name] for name in one.operands])) for one in asked
    }


def range_of(conditions: Mapping[str, KeyCondition], schema: KeySchema) -> KeyRange:
    """Return what conditions on key attributes select (raises TableError)."""
    partition = conditions.get(schema.partition)
    if partition is None:
        raise TableError(f"Query condition missed key schema element: {schema.partition}")
    sort = conditions.get(schema.sort) if schema.sort is not None else None
    if len(conditions) > (1 if sort is None else 2):
        if schema.sort is not None and sort is None and len(conditions) == 2:
            raise TableError(f"Query condition missed key schema element: {schema.sort}")
        raise TableError(_UNSUPPORTED)
    if partition.operator != "=":
        raise TableError(_UNSUPPORTED)
    _check_operands(partition, schema.partition_type)
    bounds = EVERYTHING
    if sort is not None:
        _check_operands(sort, schema.sort_type)
        bounds = _bounds(sort)
    return KeyRange(partition_bytes(partition.operands[0]), bounds)


def _check_operands(condition: KeyCondition, expected: str) -> None:
    for value in condition.operands:
        content = value.get(expected)
        if content is None:
            raise TableError(
                "One or more parameter values were invalid: Condition parameter type does not match schema type"
            )
        if not content and condition.operator != "begins_with":
            kind = "string" if expected == "S" else "binary"
            raise TableError(
                "One or more parameter values are not valid. "
                f"The AttributeValue for a key attribute cannot contain an empty {kind} value. Key: {condition.name}"
            )
    if condition.operator == "begins_with" and expected == "N":
        raise TableError(_UNSUPPORTED)


def _bounds(condition: KeyCondition) -> Bounds:
    operands = [sortable_bytes(value) for value in condition.operands]
    match condition.operator:
        case "=":
            return Bounds(operands[0], operands[0])
        case "<":
            return Bounds(None, operands[0], high_included=False)
        case "<=":
            return Bounds(None, operands[0])
        case ">":
            return Bounds(operands[0], None, low_included=False)
        case ">=":
            return Bounds(operands[0], None)
        case "BETWEEN":
            return Bounds(operands[0], operands[1])
        case "begins_with":
            return Bounds(operands[0], after_prefix(operands[0]), high_included=False)
    raise TableError(_UNSUPPORTED)


def _conditions(condition: Condition) -> Iterator[Asked]:
    match condition:
        case Both(left, right):
            yield from _conditions(left)
            yield from _conditions(right)
        case Comparison(operator, left, right):
            if operator not in FLIPPED:
                _refuse(operator)
            if isinstance(left, Literal) and isinstance(right, Attribute):
                operator, left, right = FLIPPED[operator], right, left
            yield Asked(_name(left), operator, (_placeholder(right),))
        case Between(value, low, high):
            yield Asked(_name(value), "BETWEEN", (_placeholder(low), _placeholder(high)))
        case Function(name, path, operand, _):
            if name != "begins_with" or path is None or operand is None:
                _refuse(name)
            yield Asked(_name(Attribute(path)), name, (_placeholder(operand),))
        case Either():
            _refuse("OR")
        case Not():
            _refuse("NOT")
        case Membership():
            _refuse("IN")


def _refuse(operator: str) -> NoReturn:
    raise TableError(f"Invalid operator used in KeyConditionExpression: {operator}")


def _name(operand: Operand) -> str:
    if not isinstance(operand, Attribute):
        raise TableError(
            "Invalid condition in KeyConditionExpression: No key attribute specified"
            if isinstance(operand, Literal)
            else "KeyConditionExpressions cannot contain nested operations"
        )
    name, *below = operand.path
    if below:
        raise TableError("KeyConditionExpressions cannot have conditions on nested attributes")
    return str(name)


def _placeholder(operand: Operand) -> str:
    if isinstance(operand, Literal):
        return operand.name
    if isinstance(operand, Attribute):
        raise TableError("Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
    raise TableError("KeyConditionExpressions cannot contain nested operations")
