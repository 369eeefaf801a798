"""Event patterns, compiled: a pattern becomes one function that says whether an event matches.

One matcher serves mapping filters, rules and topic filter policies; what they do differently is a `Dialect`. The
grammar is EventBridge's (semantics 05, section C.1): objects of fields are AND-ed, arrays of alternatives OR-ed,
a dotted key is nesting, an array in the event matches by any of its elements, and a nested pattern looks for one
element that holds all of it. `core.operators` knows the alternatives; how a mapping reads its records is
`core.filters`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from eventrt.core.operators import OPERATORS, PatternError, Predicate, compile_alternative

Matcher: TypeAlias = Callable[[Any], bool]
"""Does this event (an object, as JSON gives it) match?"""

_Node: TypeAlias = Callable[[Any, Any], bool]
"""Does this value match, given the whole event beside it? `_MISSING` stands for a field that is not there."""

_MISSING: Final = object()
_MOST_COMBINATIONS: Final = 1000


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one user of patterns does differently.

    Args:
        operators: the match types that may be used.
        dotted: does a dot in a key, of the pattern or of the event, mean nesting?
        anything_but: the objects that `anything-but` may hold.
    """

    operators: frozenset[str] = OPERATORS
    dotted: bool = True
    anything_but: frozenset[str] = frozenset(("prefix", "suffix", "equals-ignore-case", "wildcard"))


RULES: Final = Dialect()
"""Rules of an event bus, and the filters of mappings."""

TOPICS: Final = Dialect(operators=OPERATORS - {"wildcard"}, dotted=False, anything_but=frozenset(("prefix",)))
"""Filter policies of a topic's subscriptions."""


def compile_pattern(pattern: Any, dialect: Dialect = RULES) -> Matcher:
    """Return the function that matches events against `pattern`.

    Args: pattern: the pattern as JSON gives it (of duplicate keys the last one).
    Raises: PatternError: with the reason, in the service's words.
    """
    if not isinstance(pattern, dict):
        raise PatternError("Filter is not an object")
    if not pattern:
        raise PatternError("Empty event pattern is not allowed")
    if _combinations(pattern) > _MOST_COMBINATIONS:
        raise PatternError("Rule is too complex - try using fewer OR relationships")
    node = _object(unfold(pattern) if dialect.dotted else pattern, (), dialect)
    return lambda event: node(event, event)


def compile_field(alternatives: Any, dialect: Dialect = RULES, *, name: str = "value") -> Matcher:
    """Return the function that matches one value against the alternatives of a field.

    Raises: PatternError: the alternatives are no array, an empty one, or hold a wrong match expression.
    """
    if not isinstance(alternatives, list):
        raise PatternError(f'"{name}" must be an object or an array')
    node = _leaf(alternatives, (name,), dialect)
    return lambda value: node(value, {name: value})


# -- objects of fields


def unfold(pattern: Mapping[str, Any]) -> dict[str, Any]:
    """Write dotted keys as nesting, all the way down; a later key wins over an earlier one it collides with."""
    unfolded: dict[str, Any] = {}
    for key, value in pattern.items():
        inner: Any
        if is_or(key, value):
            inner = [unfold(choice) for choice in value]
        else:
            inner = unfold(value) if isinstance(value, dict) else value
        steps = key.split(".") if "." in key else [key]
        for step in reversed(steps[1:]):
            inner = {step: inner}
        _merge(unfolded, steps[0], inner)
    return unfolded


def _merge(into: dict[str, Any], key: str, value: Any) -> None:
    present = into.get(key)
    if isinstance(present, dict) and isinstance(value, dict):
        for inner_key, inner_value in value.items():
            _merge(present, inner_key, inner_value)
    else:
        into[key] = value


def is_or(key: str, value: Any) -> bool:
    """Is this the `$or` of the grammar? Anything else of that name is an ordinary field."""
    return (
        key == "$or"
        and isinstance(value, list)
        and len(value) >= 2
        and all(isinstance(choice, dict) and choice for choice in value)
        and not any(len(choice) == 1 and next(iter(choice)) in OPERATORS for choice in value)
    )


def _combinations(pattern: Mapping[str, Any]) -> int:
    """Count the plain patterns that the pattern stands for once every `$or` is written out."""
    product = 1
    for key, value in pattern.items():
        if is_or(key, value):
            product *= sum(_combinations(choice) for choice in value)
        elif isinstance(value, dict):
            product *= _combinations(value)
    return product


def _object(pattern: Mapping[str, Any], path: tuple[str, ...], dialect: Dialect) -> _Node:
    """Compile an object of fields; every one of them has to match."""
    fields: list[tuple[str, _Node]] = []
    choices: list[_Node] = []
    for key, value in pattern.items():
        if is_or(key, value):
            choices.append(_any_of([_object(choice, path, dialect) for choice in value]))
        elif isinstance(value, dict):
            if not value:
                raise PatternError(f'"{key}" must be an object or an array')
            fields.append((key, _object(value, (*path, key), dialect)))
        elif isinstance(value, list):
            fields.append((key, _leaf(value, (*path, key), dialect)))
        else:
            raise PatternError(f'"{key}" must be an object or an array')
    look_up = _look_up_dotted if dialect.dotted else _look_up

    def matches(value: Any, event: Any) -> bool:
        if type(value) is list:
            return any(matches(element, event) for element in value) if value else matches(_MISSING, event)
        if not isinstance(value, dict):
            value = {}
        for key, node in fields:
            if not node(look_up(value, key), event):
                return False
        return all(choice(value, event) for choice in choices)

    return matches


def _any_of(nodes: Sequence[_Node]) -> _Node:
    return lambda value, event: any(node(value, event) for node in nodes)


def _look_up(value: Mapping[str, Any], key: str) -> Any:
    return value.get(key, _MISSING)


def _look_up_dotted(value: Mapping[str, Any], key: str) -> Any:
    """Return a field, or the object that its dotted keys stand for."""
    found = value.get(key, _MISSING)
    if found is not _MISSING:
        return found
    prefix = key + "."
    unfolded = {name[len(prefix) :]: inner for name, inner in value.items() if name.startswith(prefix)}
    return unfolded or _MISSING


# -- arrays of alternatives


def _leaf(alternatives: Sequence[Any], path: tuple[str, ...], dialect: Dialect) -> _Node:
    """Compile a field's alternatives; one of them has to match one of the field's values."""
    if not alternatives:
        raise PatternError("Empty arrays are not allowed")
    exact: set[tuple[str, Any]] = set()
    predicates: list[Predicate] = []
    may_be_absent = False
    for alternative in alternatives:
        if isinstance(alternative, list):
            raise PatternError("Match value must be String, number, true, false, or null")
        if not isinstance(alternative, dict):
            exact.add(_typed(alternative))
        elif alternative == {"exists": False} and alternative["exists"] is False:
            may_be_absent = True
        else:
            predicates.append(compile_alternative(alternative, dialect.operators, dialect.anything_but))
    strings = frozenset(value for kind, value in exact if kind == "string")
    test = _scalar_test(strings, exact, predicates)

    def matches(value: Any, event: Any) -> bool:
        if type(value) is str or type(value) is not list:
            if value is not _MISSING and not isinstance(value, dict) and test(value):
                return True
        elif any(test(element) for element in _scalars(value)):
            return True
        return may_be_absent and not _is_present(event, path, dialect)

    return matches


def _scalar_test(strings: frozenset[Any], exact: set[tuple[str, Any]], predicates: Sequence[Predicate]) -> Predicate:
    """Return the test of one scalar; the common case, a set of strings, is one look-up."""
    if not predicates and len(strings) == len(exact):
        return lambda value: type(value) is str and value in strings
    return lambda value: _typed(value) in exact or any(predicate(value) for predicate in predicates)


def _typed(value: Any) -> tuple[str, Any]:
    """Tell a value's JSON type beside it, since True equals 1 in Python and must not here."""
    if isinstance(value, str):
        return "string", value
    if value is None or isinstance(value, bool):
        return "word", value
    return "number", value


def _scalars(values: Sequence[Any]) -> list[Any]:
    """Return the leaves of an array, arrays in it opened; objects are no leaves."""
    leaves: list[Any] = []
    for value in values:
        if isinstance(value, list):
            leaves.extend(_scalars(value))
        elif not isinstance(value, dict):
            leaves.append(value)
    return leaves


def _is_present(value: Any, path: tuple[str, ...], dialect: Dialect) -> bool:
    """Does the path lead to a leaf anywhere in the value, through objects and arrays of objects?"""
    if isinstance(value, list):
        return any(_is_present(element, path, dialect) for element in value)
    if not path:
        return not isinstance(value, dict)
    if not isinstance(value, dict):
        return False
    found = _look_up_dotted(value, path[0]) if dialect.dotted else _look_up(value, path[0])
    return found is not _MISSING and _is_present(found, path[1:], dialect)
