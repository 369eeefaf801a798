"""The expressions of one request: names and values checked, texts parsed once for all requests that are alike.

A parse depends on the text, on what the `#aliases` mean and on the types of the `:values`, not on the values: so the
parses of the last texts are kept, and a request binds its own values to them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

from eventrt.core.tables.conditions import Condition, Content, Predicate, compiled, parse_condition
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.keyconditions import Asked, asked_of
from eventrt.core.tables.paths import Path
from eventrt.core.tables.projections import parse_projection
from eventrt.core.tables.tokens import Substitutions
from eventrt.core.tables.updates import Update, parse_update
from eventrt.core.tables.values import Item, Value, type_of

T = TypeVar("T")

_LONGEST_KEPT = 2048
"""Characters of text, or of aliases; a parse of more is not kept: a cache must not be a place to fill memory from."""


@dataclass(frozen=True, slots=True)
class _Parse(Generic[T]):
    """What a text means, and which aliases and placeholders it uses."""

    meaning: T
    used_names: frozenset[str]
    used_values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition as it was parsed: its tree, itself as a function, and the checks of what placeholders hold."""

    tree: Condition
    holds: Predicate
    contents: tuple[Content, ...]


def _clause(kind: str, text: str, substitutions: Substitutions) -> Clause:
    tree, contents = parse_condition(kind, text, substitutions)
    return Clause(tree, compiled(tree), contents)


def _key_conditions(kind: str, text: str, substitutions: Substitutions) -> tuple[tuple[Asked, ...], Any]:
    tree, contents = parse_condition(kind, text, substitutions)
    return asked_of(tree), contents


_PARSERS: dict[str, Callable[[str, str, Substitutions], Any]] = {
    "ConditionExpression": _clause,
    "FilterExpression": _clause,
    "KeyConditionExpression": _key_conditions,
    "UpdateExpression": lambda kind, text, substitutions: parse_update(text, substitutions),
    "ProjectionExpression": lambda kind, text, substitutions: parse_projection(text, substitutions),
}


def _parse(kind: str, text: str, names: tuple[tuple[str, str], ...], types: tuple[tuple[str, str], ...]) -> _Parse[Any]:
    substitutions = Substitutions(dict(names), {name: {tag: None} for name, tag in types})
    meaning = _PARSERS[kind](kind, text, substitutions)
    return _Parse(meaning, frozenset(substitutions.used_names), frozenset(substitutions.used_values))


_parse_kept = lru_cache(maxsize=2048)(_parse)


class Expressions:
    """The expression parameters of one request.

    Args: names, values: ExpressionAttributeNames and ExpressionAttributeValues; None when not given.
    Raises: TableError: a name or a value is wrong.
    """

    __slots__ = ("_is_kept", "_names", "_types", "_used_names", "_used_values", "values")

    def __init__(self, names: Mapping[str, str] | None = None, values: Mapping[str, Any] | None = None) -> None:
        self.values: Mapping[str, Value] = {}
        self._names: tuple[tuple[str, str], ...] = ()
        self._types: tuple[tuple[str, str], ...] = ()
        self._is_kept = True
        if names is not None or values is not None:
            checked = Substitutions.of(names, values)
            self.values = checked.values
            self._names = tuple(checked.names.items())
            self._types = tuple([(name, type_of(value)) for name, value in checked.values.items()])
            length = sum(map(len, checked.names)) + sum(map(len, checked.names.values())) + 8 * len(self._types)
            self._is_kept = length <= _LONGEST_KEPT
        self._used_names: frozenset[str] = frozenset()
        self._used_values: frozenset[str] = frozenset()

    def _meaning(self, kind: str, text: str) -> Any:
        parse = _parse_kept if self._is_kept and len(text) <= _LONGEST_KEPT else _parse
        found = parse(kind, text, self._names, self._types)
        self._used_names = self._used_names | found.used_names if self._used_names else found.used_names
        self._used_values = self._used_values | found.used_values if self._used_values else found.used_values
        return found.meaning

    def clause(self, kind: str, text: str) -> Clause:
        """Return a condition, filter or key condition (raises TableError)."""
        clause: Clause = self._meaning(kind, text)
        for check in clause.contents:
            check(self.values)
        return clause

    def key_conditions(self, text: str) -> tuple[Asked, ...]:
        """Return what a KeyConditionExpression says of single attributes (raises TableError); bind it to `values`."""
        asked: tuple[Asked, ...]
        asked, contents = self._meaning("KeyConditionExpression", text)
        for check in contents:
            check(self.values)
        return asked

    def condition(self, kind: str, text: str) -> Callable[[Item], bool]:
        """Return a condition or filter as a predicate of items, bound to this request's values (raises TableError)."""
        holds, values = self.clause(kind, text).holds, self.values
        return lambda item: holds(item, values)

    def update(self, text: str) -> Update:
        """Return an update (raises TableError); apply it with `self.values`."""
        update: Update = self._meaning("UpdateExpression", text)
        return update

    def projection(self, text: str) -> tuple[Path, ...]:
        """Return the paths of a projection (raises TableError)."""
        paths: tuple[Path, ...] = self._meaning("ProjectionExpression", text)
        return paths

    def check_all_used(self) -> None:
        """Refuse names and values that no expression of the request used."""
        # What is used is given, so as many are the same ones.
        if len(self._used_names) == len(self._names) and len(self._used_values) == len(self._types):
            return
        unused = [alias for alias, _ in self._names if alias not in self._used_names]
        if unused:
            raise TableError(
                f"Value provided in ExpressionAttributeNames unused in expressions: keys: {{{', '.join(unused)}}}"
            )
        unused = [name for name, _ in self._types if name not in self._used_values]
        if unused:
            raise TableError(
                f"Value provided in ExpressionAttributeValues unused in expressions: keys: {{{', '.join(unused)}}}"
            )
