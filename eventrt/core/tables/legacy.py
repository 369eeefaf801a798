"""The conditional parameters from before expressions, as the same conditions and updates that expressions become.

Expected, KeyConditions, QueryFilter, ScanFilter with ConditionalOperator, and AttributeUpdates (developer guide,
"Legacy DynamoDB conditional parameters"). Placeholders are made up here; the caller binds the values that come along.
"""

from collections.abc import Mapping
from typing import Any

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
    Predicate,
    compiled,
)
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.keyconditions import KeyCondition
from eventrt.core.tables.paths import Path
from eventrt.core.tables.updates import Given, IfNotExists, ListAppend, Operand, Update
from eventrt.core.tables.values import Value, checked, compare, type_of

_COUNTS: Mapping[str, tuple[int, int]] = {
    "EQ": (1, 1),
    "NE": (1, 1),
    "LE": (1, 1),
    "LT": (1, 1),
    "GE": (1, 1),
    "GT": (1, 1),
    "NOT_NULL": (0, 0),
    "NULL": (0, 0),
    "CONTAINS": (1, 1),
    "NOT_CONTAINS": (1, 1),
    "BEGINS_WITH": (1, 1),
    "IN": (1, 100),
    "BETWEEN": (2, 2),
}
_OPERATORS = {"EQ": "=", "NE": "<>", "LE": "<=", "LT": "<", "GE": ">=", "GT": ">"}
_INVALID = "One or more parameter values were invalid: "


class Bindings:
    """Values under placeholders of their own."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}

    def literal(self, value: Value) -> Literal:
        """Return a value as an operand."""
        name = f":{len(self.values)}"
        self.values[name] = value
        return Literal(name, type_of(value))


def filter_of(conditions: Mapping[str, Mapping[str, Any]], conditional_operator: str | None) -> tuple[Predicate, Any]:
    """Return QueryFilter or ScanFilter as a predicate, and the values to call it with (raises TableError)."""
    bindings = Bindings()
    parts = [_condition(name, said, bindings) for name, said in conditions.items()]
    return compiled(_joined(parts, conditional_operator)), bindings.values


def expectation_of(
    expected: Mapping[str, Mapping[str, Any]], conditional_operator: str | None
) -> tuple[Predicate, Any]:
    """Return Expected as a predicate, and the values to call it with (raises TableError)."""
    bindings = Bindings()
    parts = [_expected(name, said, bindings) for name, said in expected.items()]
    return compiled(_joined(parts, conditional_operator)), bindings.values


def _joined(parts: list[Condition], conditional_operator: str | None) -> Condition:
    joined = parts[0]
    for part in parts[1:]:
        joined = Either(joined, part) if conditional_operator == "OR" else Both(joined, part)
    return joined


def _expected(name: str, said: Mapping[str, Any], bindings: Bindings) -> Condition:
    if "ComparisonOperator" in said:
        if "Exists" in said or "Value" in said:
            member = "Exists" if "Exists" in said else "Value"
            raise TableError(f"{_INVALID}{member} and ComparisonOperator cannot be used together for Attribute: {name}")
        return _condition(name, said, bindings)
    if "AttributeValueList" in said:
        raise TableError(
            f"{_INVALID}AttributeValueList can only be used with a ComparisonOperator for Attribute: {name}"
        )
    exists = said.get("Exists", True)
    if not exists:
        if "Value" in said:
            raise TableError(f"{_INVALID}Value cannot be used when Exists is set to false for Attribute: {name}")
        return Function("attribute_not_exists", (name,), None)
    if "Value" not in said:
        shown = "true" if "Exists" in said else "null"
        raise TableError(f"{_INVALID}Value must be provided when Exists is {shown} for Attribute: {name}")
    return Comparison("=", Attribute((name,)), bindings.literal(checked(said["Value"])))


def _operands(name: str, said: Mapping[str, Any]) -> tuple[str, list[Value]]:
    operator = said["ComparisonOperator"]
    values = [checked(value) for value in said.get("AttributeValueList") or ()]
    least, most = _COUNTS[operator]
    if not least <= len(values) <= most:
        raise TableError(f"{_INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator")
    for value in values:
        tag = type_of(value)
        if operator in ("CONTAINS", "NOT_CONTAINS"):
            fits = tag not in ("SS", "NS", "BS")
        else:
            fits = operator in ("EQ", "NE") or tag in (("S", "B") if operator == "BEGINS_WITH" else ("S", "N", "B"))
        if not fits:
            raise TableError(f"{_INVALID}ComparisonOperator {operator} is not valid for {tag} AttributeValue type")
    if operator == "BETWEEN":
        order = compare(values[0], values[1])
        if order is None:
            raise TableError(f"{_INVALID}AttributeValues inside AttributeValueList must be of same type")
        if order > 0:
            raise TableError(
                "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"
            )
    return operator, values


def _condition(name: str, said: Mapping[str, Any], bindings: Bindings) -> Condition:
    operator, values = _operands(name, said)
    attribute, literals = Attribute((name,)), [bindings.literal(value) for value in values]
    if operator in _OPERATORS:
        return Comparison(_OPERATORS[operator], attribute, literals[0])
    match operator:
        case "NOT_NULL":
            return Function("attribute_exists", (name,), None)
        case "NULL":
            return Function("attribute_not_exists", (name,), None)
        case "BEGINS_WITH":
            return Function("begins_with", (name,), literals[0])
        case "BETWEEN":
            return Between(attribute, literals[0], literals[1])
        case "IN":
            return Membership(attribute, tuple(literals))
    contains = Function("contains", (name,), literals[0])
    if operator == "CONTAINS":
        return contains
    return Both(Function("attribute_exists", (name,), None), Not(contains))


def key_conditions_of(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, KeyCondition]:
    """Return KeyConditions, by attribute (raises TableError)."""
    if not 1 <= len(conditions) <= 2:
        raise TableError("Conditions can be of length 1 or 2 only")
    found: dict[str, KeyCondition] = {}
    for name, said in conditions.items():
        operator, values = _operands(name, said)
        if operator in ("NE", "NULL", "NOT_NULL", "CONTAINS", "NOT_CONTAINS", "IN"):
            raise TableError("Attempted conditional constraint is not an indexable operation")
        translated = {"BEGINS_WITH": "begins_with", "BETWEEN": "BETWEEN"}.get(operator) or _OPERATORS[operator]
        found[name] = KeyCondition(name, translated, tuple(values))
    return found


def update_of(updates: Mapping[str, Mapping[str, Any]]) -> tuple[Update, dict[str, Value]]:
    """Return AttributeUpdates as an update, and the values to apply it with (raises TableError)."""
    bindings = Bindings()
    sets: list[tuple[Path, Operand]] = []
    removes: list[Path] = []
    adds: list[tuple[Path, str]] = []
    deletes: list[tuple[Path, str]] = []
    for name, said in updates.items():
        action, path = said.get("Action", "PUT"), (name,)
        if "Value" not in said:
            if action != "DELETE":
                raise TableError(f"{_INVALID}Only DELETE action is allowed when no attribute value is specified")
            removes.append(path)
            continue
        value = checked(said["Value"])
        literal, tag = bindings.literal(value), type_of(value)
        given = Given(literal.name, tag)
        if action == "PUT":
            sets.append((path, given))
        elif action == "DELETE":
            if tag not in ("SS", "NS", "BS"):
                raise TableError(f"{_INVALID}DELETE action with value is not supported for the type {tag}")
            deletes.append((path, literal.name))
        elif tag == "L":
            empty = bindings.literal({"L": []})
            sets.append((path, ListAppend(IfNotExists(path, Given(empty.name, "L")), given)))
        elif tag in ("N", "SS", "NS", "BS"):
            adds.append((path, literal.name))
        else:
            raise TableError(f"{_INVALID}ADD action is not supported for the type {tag}")
    return Update(tuple(sets), tuple(removes), tuple(adds), tuple(deletes), is_older=True), bindings.values
