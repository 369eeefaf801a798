"""Update expressions: SET, REMOVE, ADD and DELETE, parsed once and applied to an item.

Every operand reads the item as it was before the update (developer guide, "Update expressions").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.numbers import add
from eventrt.core.tables.paths import Path, check_disjoint, follow, read_path
from eventrt.core.tables.tokens import Substitutions, Token, TokenReader
from eventrt.core.tables.values import Item, Value, type_of

MAX_NESTING = 100
"""Functions and parentheses within others; AWS names no number."""

_FUNCTIONS = ("if_not_exists", "list_append")
_CONDITION_FUNCTIONS = (
    "attribute_exists",
    "attribute_not_exists",
    "attribute_type",
    "begins_with",
    "contains",
    "size",
)
_INVALID_PATH = "The document path provided in the update expression is invalid for update"
_WRONG_TYPE = "An operand in the update expression has an incorrect data type"
_OLDER_WRONG_TYPE = "Type mismatch for attribute to update"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that the request brings under this placeholder, and its type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Stored:
    """The value at a path of the item before the update."""

    path: Path


@dataclass(frozen=True, slots=True)
class IfNotExists:
    """The value at a path, or another operand when there is none."""

    path: Path
    otherwise: "Operand"


@dataclass(frozen=True, slots=True)
class ListAppend:
    """Two lists as one."""

    first: "Operand"
    second: "Operand"


@dataclass(frozen=True, slots=True)
class Sum:
    """`left + right`, or with sign -1 `left - right`."""

    left: "Operand"
    right: "Operand"
    sign: int


Operand: TypeAlias = Given | Stored | IfNotExists | ListAppend | Sum


@dataclass(frozen=True, slots=True)
class Update:
    """A parsed update: what each clause does to which path; values stand under their placeholders."""

    sets: tuple[tuple[Path, Operand], ...] = ()
    removes: tuple[Path, ...] = ()
    adds: tuple[tuple[Path, str], ...] = ()
    deletes: tuple[tuple[Path, str], ...] = ()
    is_older: bool = False
    """Does it come from AttributeUpdates? They have a sentence of their own for a wrong type."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that the update writes."""
        pairs = (*self.sets, *self.adds, *self.deletes)
        return (*(path for path, _ in pairs), *self.removes)


def parse_update(text: str, substitutions: Substitutions) -> Update:
    """Parse an UpdateExpression; of the values only the types matter (raises TableError with DynamoDB's sentence)."""
    return _Parser(TokenReader("UpdateExpression", text, substitutions)).update()


class _Parser:
    def __init__(self, reader: TokenReader) -> None:
        self.reader = reader
        self._depth = 0
        self._parentheses: tuple[int, int] | None = None
        """Where the last pair of parentheses stands: the tokens before the one and behind the other."""

    def update(self) -> Update:
        reader = self.reader
        clauses: dict[str, list[Any]] = {}
        readers = {"SET": self._set, "REMOVE": self._remove, "ADD": self._typed, "DELETE": self._typed}
        while reader.token.kind != "end":
            if not reader.at_keyword(*readers):
                raise reader.syntax_error()
            name = reader.advance().text.upper()
            if name in clauses:
                raise reader.error(f'The "{name}" section can only be used once in an update expression;')
            actions = clauses[name] = [readers[name](name)]
            while reader.accept(","):
                actions.append(readers[name](name))
        update = Update(
            tuple(clauses.get("SET", ())),
            tuple(clauses.get("REMOVE", ())),
            tuple(clauses.get("ADD", ())),
            tuple(clauses.get("DELETE", ())),
        )
        check_disjoint(reader, update.paths)
        return update

    def _set(self, _clause: str) -> tuple[Path, Operand]:
        path = read_path(self.reader)
        self.reader.expect("=")
        return path, self._sum()

    def _sum(self) -> Operand:
        left = self._operand()
        for symbol, sign in (("+", 1), ("-", -1)):
            if self.reader.accept(symbol):
                right = self._operand()
                for operand in (left, right):
                    self._check_type(symbol, operand, ("N",))
                return Sum(left, right, sign)
        return left

    def _remove(self, _clause: str) -> Path:
        return read_path(self.reader)

    def _typed(self, clause: str) -> tuple[Path, str]:
        path = read_path(self.reader)
        token = self.reader.token
        if token.kind != "value":
            raise self.reader.syntax_error()
        value = self.reader.value(self.reader.advance())
        allowed = ("N", "SS", "NS", "BS") if clause == "ADD" else ("SS", "NS", "BS")
        if type_of(value) not in allowed:
            raise self._wrong_type(clause, type_of(value))
        return path, token.text

    def _operand(self) -> Operand:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self.reader.error(f"The expression nests too deeply; nesting levels: {self._depth}")
        operand = self._one_operand()
        self._depth -= 1
        return operand

    def _one_operand(self) -> Operand:
        reader = self.reader
        token = reader.token
        if token.kind == "value":
            reader.advance()
            return Given(token.text, type_of(reader.value(token)))
        if token.kind == "name" and reader.peek().text == "(":
            return self._function(reader.advance())
        if token.kind == "operator" and token.text == "(":
            outer = reader.position
            reader.advance()
            inner = reader.position
            operand = self._sum()
            is_doubled = self._parentheses == (inner, reader.position)
            reader.expect(")")
            if is_doubled:
                raise reader.error("The expression has redundant parentheses;")
            self._parentheses = (outer, reader.position)
            return operand
        return Stored(read_path(reader))

    def _function(self, token: Token) -> Operand:
        reader = self.reader
        if token.text in _CONDITION_FUNCTIONS:
            raise reader.error(f"The function is not allowed in an update expression; function: {token.text}")
        if token.text not in _FUNCTIONS:
            raise reader.error(f"Invalid function name; function: {token.text}")
        reader.expect("(")
        arguments = [self._operand()]
        while reader.accept(","):
            arguments.append(self._operand())
        reader.expect(")")
        if len(arguments) != 2:
            raise reader.error(
                "Incorrect number of operands for operator or function; "
                f"operator or function: {token.text}, number of operands: {len(arguments)}"
            )
        first, second = arguments
        if token.text == "if_not_exists":
            if not isinstance(first, Stored):
                raise reader.error("Operator or function requires a document path; operator or function: if_not_exists")
            return IfNotExists(first.path, second)
        for operand in arguments:
            self._check_type("list_append", operand, ("L",))
        return ListAppend(first, second)

    def _check_type(self, operator: str, operand: Operand, types: tuple[str, ...]) -> None:
        if isinstance(operand, Given) and operand.type not in types:
            raise self._wrong_type(operator, operand.type)

    def _wrong_type(self, operator: str, tag: str) -> TableError:
        names = {"S": "STRING", "N": "NUMBER", "B": "BINARY", "M": "MAP", "L": "LIST", "BOOL": "BOOLEAN"}
        sentence = "Incorrect operand type for operator or function; operator"
        if operator in ("ADD", "DELETE"):
            return self.reader.error(
                f"{sentence}: {operator}, operand type: {names.get(tag, tag)}, typeSet: ALLOWED_FOR_{operator}_OPERAND"
            )
        return self.reader.error(f"{sentence} or function: {operator}, operand type: {tag}")


def apply_update(update: Update, item: Item, given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the item after the update; the given one is left as it is, parts that do not change are shared.

    Args: given: what the placeholders mean.
    Raises: TableError: a path leads through what is not there, or an operand has the wrong type.
    """
    try:
        return _applied(update, item, given)
    except TableError as error:
        if update.is_older and str(error) == _WRONG_TYPE:
            raise TableError(_OLDER_WRONG_TYPE) from None
        raise


def _applied(update: Update, item: Item, given: Mapping[str, Value]) -> dict[str, Value]:
    after = _Draft(item)
    # Every operand is read before anything is written.
    values = [(path, _evaluate(operand, item, given)) for path, operand in update.sets]
    for path, value in sorted(values, key=_append_order) if len(values) > 1 else values:
        after.assign(path, value)
    for path, name in update.adds:
        _add(after, path, given[name])
    for path, name in update.deletes:
        _subtract(after, path, given[name])
    for path in sorted(update.removes, key=_removal_order, reverse=True):
        after.remove(path)
    return after.item


def _append_order(pair: tuple[Path, Value]) -> int:
    """Members that are appended to a list go in order of their indexes; all else as it was written."""
    last = pair[0][-1]
    return last if isinstance(last, int) else 0


def _removal_order(path: Path) -> tuple[tuple[bool, int, str], ...]:
    """Later list members go first, so that the indexes of the others still hold."""
    return tuple((isinstance(step, int), step if isinstance(step, int) else 0, str(step)) for step in path)


def _evaluate(operand: Operand, item: Item, given: Mapping[str, Value]) -> Value:
    match operand:
        case Given(name, _):
            return given[name]
        case Stored(path):
            found = follow(item, path)
            if found is None:
                raise TableError("The provided expression refers to an attribute that does not exist in the item")
            return found
        case IfNotExists(path, otherwise):
            found = follow(item, path)
            return _evaluate(otherwise, item, given) if found is None else found
        case ListAppend(first, second):
            lists = [_evaluate(first, item, given), _evaluate(second, item, given)]
            if any("L" not in each for each in lists):
                raise TableError(_WRONG_TYPE)
            return {"L": [*lists[0]["L"], *lists[1]["L"]]}
        case Sum(left, right, sign):
            numbers = [_evaluate(left, item, given), _evaluate(right, item, given)]
            if any("N" not in each for each in numbers):
                raise TableError(_WRONG_TYPE)
            return {"N": add(numbers[0]["N"], numbers[1]["N"], sign=sign)}


class _Draft:
    """An item being changed: containers on the way to a change are copied once, everything else is shared."""

    __slots__ = ("_copies", "item")

    def __init__(self, item: Item) -> None:
        self.item: dict[str, Any] = dict(item)
        self._copies: dict[int, Any] = {}

    def _container(self, path: Path) -> Any:
        """Return the map's or list's content that holds the last step of a path, ours to change."""
        content: Any = self.item
        for index, step in enumerate(path[:-1]):
            wanted = "L" if isinstance(path[index + 1], int) else "M"
            try:
                value = content[step]
            except (KeyError, IndexError, TypeError):
                raise TableError(_INVALID_PATH) from None
            if wanted not in value:
                raise TableError(_INVALID_PATH)
            inner = value[wanted]
            if id(inner) not in self._copies:
                inner = inner.copy()
                self._copies[id(inner)] = inner
                content[step] = {wanted: inner}
            content = inner
        return content

    def assign(self, path: Path, value: Value) -> None:
        content, last = self._container(path), path[-1]
        if isinstance(last, int) and last >= len(content):
            content.append(value)
        else:
            content[last] = value

    def remove(self, path: Path) -> None:
        content, last = self._container(path), path[-1]
        if isinstance(last, int):
            if last < len(content):
                del content[last]
        else:
            content.pop(last, None)


def _add(draft: _Draft, path: Path, value: Value) -> None:
    tag = type_of(value)
    present = follow(draft.item, path)
    if present is None:
        draft.assign(path, value)
    elif tag not in present:
        raise TableError(_WRONG_TYPE)
    elif tag == "N":
        draft.assign(path, {"N": add(present["N"], value["N"])})
    else:
        draft.assign(path, {tag: [*present[tag], *(each for each in value[tag] if each not in present[tag])]})


def _subtract(draft: _Draft, path: Path, value: Value) -> None:
    tag = type_of(value)
    present = follow(draft.item, path)
    if present is None:
        return
    if tag not in present:
        raise TableError(_WRONG_TYPE)
    left = [each for each in present[tag] if each not in value[tag]]
    if left:
        draft.assign(path, {tag: left})
    else:
        draft.remove(path)
