"""Condition, filter and key condition expressions: parsed once, then asked of items.

Grammar: operand comparator operand, BETWEEN, IN, functions, NOT, AND, OR, parentheses (developer guide, "Condition
and filter expressions, operators, and functions"). What can be wrong without an item is refused while parsing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from eventrt.core.tables.paths import Path, follow, read_path, shown
from eventrt.core.tables.tokens import Substitutions, Token, TokenReader
from eventrt.core.tables.values import TYPES, Item, Value, compare, equal, type_of

COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")
MAX_OPERATORS = 300
MAX_IN = 100
_FUNCTIONS = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
    "size": 1,
}
_UPDATE_FUNCTIONS = ("if_not_exists", "list_append")


@dataclass(frozen=True, slots=True)
class Literal:
    """A value that the request brought; `name` is its placeholder."""

    name: str
    value: Value


@dataclass(frozen=True, slots=True)
class Attribute:
    """The value at a path of the item."""

    path: Path


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the value at a path: characters, bytes or members."""

    path: Path


Operand: TypeAlias = Literal | Attribute | Size


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True, slots=True)
class Between:
    """`value BETWEEN low AND high`, bounds included."""

    value: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True, slots=True)
class Membership:
    """`value IN (...)`."""

    value: Operand
    choices: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """`name(path[, operand])`."""

    name: str
    path: Path | None
    operand: Operand | None
    subject: Operand | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT condition`."""

    condition: "Condition"


@dataclass(frozen=True, slots=True)
class Both:
    """`left AND right`."""

    left: "Condition"
    right: "Condition"


@dataclass(frozen=True, slots=True)
class Either:
    """`left OR right`."""

    left: "Condition"
    right: "Condition"


Condition: TypeAlias = Comparison | Between | Membership | Function | Not | Both | Either


def parse_condition(kind: str, text: str, substitutions: Substitutions) -> Condition:
    """Parse a condition expression (raises TableError with DynamoDB's sentence).

    Args: kind: `ConditionExpression`, `FilterExpression` or `KeyConditionExpression`.
    """
    parser = _Parser(TokenReader(kind, text, substitutions))
    condition = parser.disjunction()
    parser.reader.expect_end()
    return condition


class _Parser:
    def __init__(self, reader: TokenReader) -> None:
        self.reader = reader
        self._operators = 0
        self._parentheses: tuple[int, int] | None = None

    def disjunction(self) -> Condition:
        left = self._conjunction()
        while self.reader.accept_keyword("OR"):
            self._count()
            left = Either(left, self._conjunction())
        return left

    def _conjunction(self) -> Condition:
        left = self._negation()
        while self.reader.accept_keyword("AND"):
            self._count()
            left = Both(left, self._negation())
        return left

    def _negation(self) -> Condition:
        if self.reader.accept_keyword("NOT"):
            self._count()
            return Not(self._negation())
        return self._primary()

    def _count(self) -> None:
        self._operators += 1
        if self._operators > MAX_OPERATORS:
            raise self.reader.error(f"The expression contains too many operators; operator count: {self._operators}")

    def _primary(self) -> Condition:
        reader = self.reader
        if reader.token.text == "(" and reader.token.kind == "operator":
            outer = reader.position
            reader.advance()
            inner = reader.position
            condition = self.disjunction()
            is_doubled = self._parentheses == (inner, reader.position)
            reader.expect(")")
            if is_doubled:
                raise reader.error("The expression has redundant parentheses;")
            self._parentheses = (outer, reader.position)
            return condition
        if reader.token.kind == "name" and reader.token.text != "size" and reader.peek().text == "(":
            return self._function(reader.advance())
        return self._comparison()

    def _comparison(self) -> Condition:
        reader = self.reader
        left = self._operand()
        self._count()
        if reader.accept_keyword("BETWEEN"):
            low = self._operand()
            reader.expect_keyword("AND")
            high = self._operand()
            self._check_bounds(left, low, high)
            return Between(left, low, high)
        if reader.accept_keyword("IN"):
            reader.expect("(")
            choices = [self._operand()]
            while reader.accept(","):
                choices.append(self._operand())
            reader.expect(")")
            if len(choices) > MAX_IN:
                raise reader.error(
                    "Incorrect number of operands for operator or function; "
                    f"operator or function: IN, number of operands: {len(choices) + 1}"
                )
            self._check_distinct("IN", left, *choices)
            return Membership(left, tuple(choices))
        if reader.token.kind == "operator" and reader.token.text in COMPARATORS:
            operator = reader.advance().text
            right = self._operand()
            if operator not in ("=", "<>"):
                for operand in (left, right):
                    self._check_type(operator, operand, ("S", "N", "B"))
            self._check_distinct(operator, left, right)
            return Comparison(operator, left, right)
        raise reader.syntax_error()

    def _operand(self) -> Operand:
        reader = self.reader
        token = reader.token
        if token.kind == "value":
            reader.advance()
            return Literal(token.text, reader.value(token))
        if token.kind == "name" and reader.peek().text == "(":
            reader.advance()
            if token.text != "size":
                raise self._misplaced(token)
            arguments = self._arguments(token)
            (operand,) = arguments
            if not isinstance(operand, Attribute):
                raise self._wrong_type("size", operand)
            return Size(operand.path)
        if token.kind in ("name", "alias"):
            return Attribute(read_path(reader))
        raise reader.syntax_error()

    def _function(self, token: Token) -> Condition:
        arguments = self._arguments(token)
        name = token.text
        self._count()
        first = arguments[0]
        second = arguments[1] if len(arguments) > 1 else None
        wants_path = name in ("attribute_exists", "attribute_not_exists", "attribute_type")
        if wants_path and not isinstance(first, Attribute):
            raise self._wrong_type(name, first)
        if second is None:
            assert isinstance(first, Attribute)
            return Function(name, first.path, None)
        if name == "attribute_type":
            if not isinstance(second, Literal) or "S" not in second.value:
                raise self._wrong_type(name, second)
            if second.value["S"] not in TYPES:
                raise self.reader.error(
                    f"Invalid attribute type name found; type: {second.value['S']}, "
                    "valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"
                )
        if name == "begins_with":
            self._check_type(name, first, ("S", "B"))
            self._check_type(name, second, ("S", "B"))
        self._check_distinct(name, first, second)
        path = first.path if isinstance(first, Attribute) else None
        return Function(name, path, second, None if path is not None else first)

    def _arguments(self, token: Token) -> list[Operand]:
        reader = self.reader
        name = token.text
        if name in _UPDATE_FUNCTIONS:
            raise self._misplaced(token)
        if name not in _FUNCTIONS:
            raise reader.error(f"Invalid function name; function: {name}")
        reader.expect("(")
        arguments = [self._operand()]
        while reader.accept(","):
            arguments.append(self._operand())
        reader.expect(")")
        if len(arguments) != _FUNCTIONS[name]:
            raise reader.error(
                "Incorrect number of operands for operator or function; "
                f"operator or function: {name}, number of operands: {len(arguments)}"
            )
        return arguments

    def _misplaced(self, token: Token) -> Exception:
        if token.text not in _FUNCTIONS and token.text not in _UPDATE_FUNCTIONS:
            return self.reader.error(f"Invalid function name; function: {token.text}")
        return self.reader.error(
            f"The function is not allowed to be used this way in an expression; function: {token.text}"
        )

    def _check_type(self, operator: str, operand: Operand, types: tuple[str, ...]) -> None:
        if isinstance(operand, Literal) and type_of(operand.value) not in types:
            raise self._wrong_type(operator, operand)

    def _wrong_type(self, operator: str, operand: Operand) -> Exception:
        shown_type = type_of(operand.value) if isinstance(operand, Literal) else "N"
        return self.reader.error(
            "Incorrect operand type for operator or function; "
            f"operator or function: {operator}, operand type: {shown_type}"
        )

    def _check_distinct(self, operator: str, first: Operand, *others: Operand) -> None:
        if isinstance(first, Attribute) and first in others:
            raise self.reader.error(
                "The first operand must be distinct from the remaining operands for this operator or function; "
                f"operator: {operator}, first operand: {shown(first.path)}"
            )

    def _check_bounds(self, value: Operand, low: Operand, high: Operand) -> None:
        for operand in (value, low, high):
            self._check_type("BETWEEN", operand, ("S", "N", "B"))
        if isinstance(low, Literal) and isinstance(high, Literal):
            order = compare(low.value, high.value)
            if order is None:
                raise self.reader.error(
                    "The BETWEEN operator requires same data type for lower and upper bounds; "
                    f"lower bound operand: AttributeValue: {_brief(low.value)}, "
                    f"upper bound operand: AttributeValue: {_brief(high.value)}"
                )
            if order > 0:
                raise self.reader.error(
                    "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
                    f"lower bound operand: AttributeValue: {_brief(low.value)}, "
                    f"upper bound operand: AttributeValue: {_brief(high.value)}"
                )
        self._check_distinct("BETWEEN", value, low, high)


def _brief(value: Value) -> str:
    tag = type_of(value)
    return f"{{{tag}:{value[tag]}}}"


def holds(condition: Condition, item: Item) -> bool:
    """Is the condition true of this item? A missing item is an empty one."""
    match condition:
        case Both(left, right):
            return holds(left, item) and holds(right, item)
        case Either(left, right):
            return holds(left, item) or holds(right, item)
        case Not(inner):
            return not holds(inner, item)
        case Comparison(operator, left, right):
            return _compares(operator, _resolve(left, item), _resolve(right, item))
        case Between(value, low, high):
            found = _resolve(value, item)
            return _compares(">=", found, _resolve(low, item)) and _compares("<=", found, _resolve(high, item))
        case Membership(value, choices):
            found = _resolve(value, item)
            return any(_compares("=", found, _resolve(choice, item)) for choice in choices)
        case Function():
            return _function_holds(condition, item)


def _resolve(operand: Operand, item: Item) -> Value | None:
    if isinstance(operand, Literal):
        return operand.value
    found = follow(item, operand.path)
    if isinstance(operand, Attribute):
        return found
    return None if found is None else _size(found)


def _size(value: Value) -> Value | None:
    tag = type_of(value)
    if tag in ("BOOL", "NULL", "N"):
        return None
    return {"N": str(len(value[tag]))}


_ORDERS: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


def _compares(operator: str, left: Value | None, right: Value | None) -> bool:
    if operator == "<>":
        return left is None or right is None or not equal(left, right)
    if left is None or right is None:
        return False
    if operator == "=":
        return equal(left, right)
    order = compare(left, right)
    return order is not None and _ORDERS[operator](order)


def _function_holds(function: Function, item: Item) -> bool:
    found = follow(item, function.path) if function.path is not None else None
    if function.name == "attribute_exists":
        return found is not None
    if function.name == "attribute_not_exists":
        return found is None
    if function.subject is not None:
        found = _resolve(function.subject, item)
    operand = _resolve(function.operand, item) if function.operand is not None else None
    if found is None or operand is None:
        return False
    tag, wanted = type_of(found), type_of(operand)
    if function.name == "attribute_type":
        return bool(tag == operand["S"])
    if function.name == "begins_with":
        return tag == wanted and tag in ("S", "B") and bool(found[tag].startswith(operand[wanted]))
    if tag in ("S", "B"):
        return tag == wanted and operand[wanted] in found[tag]
    if tag in ("SS", "NS", "BS"):
        return tag == wanted + "S" and operand[wanted] in found[tag]
    if tag == "L":
        return any(equal(member, operand) for member in found["L"])
    return False


def attributes_of(condition: Condition) -> Iterator[Path]:
    """Yield every path that a condition reads."""
    match condition:
        case Both(left, right) | Either(left, right):
            yield from attributes_of(left)
            yield from attributes_of(right)
        case Not(inner):
            yield from attributes_of(inner)
        case Comparison(_, first, second):
            yield from _paths(first, second)
        case Between(value, low, high):
            yield from _paths(value, low, high)
        case Membership(value, choices):
            yield from _paths(value, *choices)
        case Function(_, path, operand, subject):
            if path is not None:
                yield path
            yield from _paths(*(each for each in (operand, subject) if each is not None))


def _paths(*operands: Operand) -> Iterator[Path]:
    for operand in operands:
        if not isinstance(operand, Literal):
            yield operand.path
