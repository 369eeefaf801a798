"""How a statement's WHERE is answered: one item, ranges of partitions, or a scan; the whole of it filters what is read.

Source: DynamoDB developer guide, "PartiQL select statements": equality or IN on the partition key avoids a full scan.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eventrt.core.tables.conditions import (
    Attribute,
    Between,
    Both,
    Comparison,
    Condition,
    Function,
    Literal,
    Membership,
    Values,
    attributes_of,
)
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.keyconditions import FLIPPED, KeyCondition, KeyRange, range_of
from eventrt.core.tables.schema import KeySchema
from eventrt.core.tables.values import Value, type_of


@dataclass(frozen=True, slots=True)
class Plan:
    """The partitions to read, in order; None is a scan."""

    ranges: Sequence[KeyRange] | None


def plan_of(where: Condition | None, values: Values, schema: KeySchema) -> Plan:
    """Return how to read what a WHERE selects of a table or index (raises TableError)."""
    if where is None:
        return Plan(None)
    partitions: list[Value] | None = None
    sort: KeyCondition | None = None
    for part in _parts(where):
        found = _key_condition(part, values)
        if found is None:
            partitions = _choices(part, values, schema.partition) or partitions
        elif found.name == schema.partition and found.operator == "=":
            partitions = [found.operands[0]]
        elif found.name == schema.sort and (sort is None or found.operator == "="):
            # A value of another type selects nothing: the filter sees to that.
            fits = all(type_of(value) == schema.sort_type for value in found.operands)
            sort = found if fits else sort
    if partitions is None:
        return Plan(None)
    ranges: list[KeyRange] = []
    for value in partitions:
        if type_of(value) != schema.partition_type:
            raise TableError("Key attribute data type mismatch for the partition key")
        conditions: dict[str, KeyCondition] = {schema.partition: KeyCondition(schema.partition, "=", (value,))}
        if sort is not None:
            conditions[sort.name] = sort
        wanted = range_of(conditions, schema)
        if wanted not in ranges:
            ranges.append(wanted)
    return Plan(ranges)


def key_in(where: Condition | None, values: Values, schema: KeySchema) -> tuple[dict[str, Value], bool]:
    """Return the key that a WHERE names in full, and whether it says more than that.

    Raises: TableError: it does not name the whole key by equality.
    """
    key: dict[str, Value] = {}
    says_more = False
    for part in _parts(where) if where is not None else ():
        found = _key_condition(part, values)
        if found is not None and found.operator == "=" and found.name in schema.names and found.name not in key:
            key[found.name] = found.operands[0]
        else:
            says_more = True
    if len(key) != len(schema.names):
        raise TableError("Where clause does not contain a mandatory equality on all key attributes")
    return key, says_more


def names_in(where: Condition | None) -> set[str]:
    """Return the attributes that a WHERE reads."""
    return {str(path[0]) for path in attributes_of(where)} if where is not None else set()


def _parts(where: Condition) -> Iterator[Condition]:
    """Yield what must all hold."""
    stack: list[Condition] = [where]
    while stack:
        condition = stack.pop()
        if isinstance(condition, Both):
            stack.extend((condition.right, condition.left))
        else:
            yield condition


def _key_condition(part: Condition, values: Mapping[str, Value]) -> KeyCondition | None:
    """Return a condition on one plain attribute and literals in the form of key conditions; None for all others."""
    match part:
        case Comparison(operator, Attribute((name,)), Literal(placeholder, _)) if operator in FLIPPED:
            return KeyCondition(str(name), operator, (values[placeholder],))
        case Comparison(operator, Literal(placeholder, _), Attribute((name,))) if operator in FLIPPED:
            return KeyCondition(str(name), FLIPPED[operator], (values[placeholder],))
        case Between(Attribute((name,)), Literal(low, _), Literal(high, _)):
            return KeyCondition(str(name), "BETWEEN", (values[low], values[high]))
        case Function("begins_with", (name,), Literal(placeholder, "S" | "B"), _):
            return KeyCondition(str(name), "begins_with", (values[placeholder],))
    return None


def _choices(part: Condition, values: Mapping[str, Value], name: str) -> list[Value] | None:
    match part:
        case Membership(Attribute((attribute,)), choices) if attribute == name:
            if all(isinstance(choice, Literal) for choice in choices):
                return [values[choice.name] for choice in choices if isinstance(choice, Literal)]
    return None
