"""Condition, filter and key condition expressions: parsed once, then asked of items.

Grammar: operand comparator operand, BETWEEN, IN, functions, NOT, AND, OR, parentheses (developer guide, "Condition
and filter expressions, operators, and functions"). What can be wrong without an item is refused while parsing. A parsed
condition holds placeholders, not values: one parse serves every request of the same text (`expressions`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from eventrt.core.tables.errors import TableError
from eventrt.core.tables.paths import Path, follow, read_path, shown
from eventrt.core.tables.tokens import Substitutions, Token, TokenReader
from eventrt.core.tables.values import TYPES, Item, Value, compare, equal, type_of

Values: TypeAlias = Mapping[str, Value]
"""What the placeholders of a request mean: `{":v": {"S": "x"}}`."""

Predicate: TypeAlias = Callable[[Item, Values], bool]
"""Does the item meet the condition, given what the placeholders mean?"""

Content: TypeAlias = Callable[[Values], None]
"""A check of the placeholders' contents, to be made for each request; raises TableError."""

COMPARATORS = ("=", "<>", "<", "<=", ">", ">=")
MAX_OPERATORS = 300
MAX_IN = 100
MAX_NESTING = 100
"""Parentheses within parentheses; AWS names no number."""

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
    """A value that the request brings under this placeholder, and its type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """The value at a path of the item."""

    path: Path


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the value at a path, or of one that the request brings: characters, bytes or members."""

    path: Path
    given: Literal | None = None


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


def parse_condition(kind: str, text: str, substitutions: Substitutions) -> tuple[Condition, tuple[Content, ...]]:
    """Parse a condition expression; return it, and the checks of its placeholders' contents.

    Of the substitutions only the types of the values matter.

    Args: kind: `ConditionExpression`, `FilterExpression` or `KeyConditionExpression`.
    Raises: TableError: with DynamoDB's sentence.
    """
    parser = _Parser(TokenReader(kind, text, substitutions))
    condition = parser.disjunction()
    parser.reader.expect_end()
    return condition, tuple(parser.contents)


class _Parser:
    def __init__(self, reader: TokenReader) -> None:
        self.reader = reader
        self.contents: list[Content] = []
        self._operators = 0
        self._depth = 0
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
            self._depth += 1
            if self._depth > MAX_NESTING:
                raise reader.error(f"The expression nests too deeply; nesting levels: {self._depth}")
            condition = self.disjunction()
            self._depth -= 1
            is_doubled = self._parentheses == (inner, reader.position)
            reader.expect(")")
            if is_doubled:
                raise reader.error("The expression has redundant parentheses;")
            self._parentheses = (outer, reader.position)
            return condition
        if reader.token.kind == "name" and reader.token.text != "size" and reader.peek().text == "(":
            token = reader.advance()
            function = self._function(token)
            after = reader.token
            if (after.kind == "operator" and after.text in COMPARATORS) or reader.at_keyword("BETWEEN", "IN"):
                raise self._misplaced(token)  # what it says is a condition, not a value to compare
            return function
        return self._comparison()

    def _comparison(self) -> Condition:
        reader = self.reader
        token = reader.token
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
        if isinstance(left, Size):
            raise self._misplaced(token)
        raise reader.syntax_error()

    def _operand(self) -> Operand:
        reader = self.reader
        token = reader.token
        if token.kind == "value":
            reader.advance()
            return Literal(token.text, type_of(reader.value(token)))
        if token.kind == "name" and reader.peek().text == "(":
            reader.advance()
            if token.text != "size":
                raise self._misplaced(token)
            arguments = self._arguments(token)
            (operand,) = arguments
            if isinstance(operand, Attribute):
                return Size(operand.path)
            self._check_type("size", operand, ("S", "B", "SS", "NS", "BS", "L", "M"))
            if not isinstance(operand, Literal):
                raise self._wrong_type("size", operand)
            return Size((), operand)
        if token.kind in ("name", "alias"):
            return Attribute(read_path(reader))
        raise reader.syntax_error()

    def _function(self, token: Token) -> Condition:
        reader = self.reader
        arguments = self._arguments(token)
        name = token.text
        self._count()
        first = arguments[0]
        second = arguments[1] if len(arguments) > 1 else None
        wants_path = name in ("attribute_exists", "attribute_not_exists", "attribute_type")
        if wants_path and not isinstance(first, Attribute):
            raise reader.error(f"Operator or function requires a document path; operator or function: {name}")
        if second is None:
            assert isinstance(first, Attribute)
            return Function(name, first.path, None)
        if name == "attribute_type":
            if not isinstance(second, Literal) or second.type != "S":
                raise self._wrong_type(name, second)
            self.contents.append(partial(_check_type_name, reader_kind=self.reader.kind, name=second.name))
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
            raise reader.error(f"The function is not allowed in a condition expression; function: {name}")
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
        if token.text in _UPDATE_FUNCTIONS:
            return self.reader.error(f"The function is not allowed in a condition expression; function: {token.text}")
        if token.text not in _FUNCTIONS:
            return self.reader.error(f"Invalid function name; function: {token.text}")
        return self.reader.error(
            f"The function is not allowed to be used this way in an expression; function: {token.text}"
        )

    def _check_type(self, operator: str, operand: Operand, types: tuple[str, ...]) -> None:
        if isinstance(operand, Literal) and operand.type not in types:
            raise self._wrong_type(operator, operand)

    def _wrong_type(self, operator: str, operand: Operand) -> Exception:
        shown_type = operand.type if isinstance(operand, Literal) else "N"
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
            self.contents.append(
                partial(_check_order, reader_kind=self.reader.kind, low_name=low.name, high_name=high.name)
            )
        self._check_distinct("BETWEEN", value, low, high)


def _check_type_name(values: Values, *, reader_kind: str, name: str) -> None:
    wanted = values[name]["S"]
    if wanted not in TYPES:
        raise TableError(
            f"Invalid {reader_kind}: Invalid attribute type name found; type: {wanted}, "
            "valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}"
        )


def _check_order(values: Values, *, reader_kind: str, low_name: str, high_name: str) -> None:
    low, high = values[low_name], values[high_name]
    order = compare(low, high)
    if order is None or order > 0:
        rule = "same data type for lower and upper bounds" if order is None else _BOUNDS_RULE
        raise TableError(
            f"Invalid {reader_kind}: The BETWEEN operator requires {rule}; "
            f"lower bound operand: AttributeValue: {_brief(low)}, "
            f"upper bound operand: AttributeValue: {_brief(high)}"
        )


_BOUNDS_RULE = "upper bound to be greater than or equal to lower bound"


def _brief(value: Value) -> str:
    tag = type_of(value)
    return f"{{{tag}:{value[tag]}}}"


def compiled(condition: Condition) -> Predicate:
    """Return the condition as one function of an item and the placeholders' values; a missing item is an empty one."""
    match condition:
        case Both(left, right):
            first, second = compiled(left), compiled(right)
            return lambda item, values: first(item, values) and second(item, values)
        case Either(left, right):
            first, second = compiled(left), compiled(right)
            return lambda item, values: first(item, values) or second(item, values)
        case Not(inner):
            negated = compiled(inner)
            return lambda item, values: not negated(item, values)
        case Comparison(operator, left, right):
            return _comparison(operator, _resolver(left), _resolver(right))
        case Between(value, low, high):
            found, lowest, highest = _resolver(value), _resolver(low), _resolver(high)
            return lambda item, values: (
                compares(">=", found(item, values), lowest(item, values))
                and compares("<=", found(item, values), highest(item, values))
            )
        case Membership(value, choices):
            found, others = _resolver(value), [_resolver(choice) for choice in choices]
            return lambda item, values: any(compares("=", found(item, values), other(item, values)) for other in others)
        case Function():
            return _function(condition)


_Resolver: TypeAlias = Callable[[Item, Values], Value | None]


def _resolver(operand: Operand) -> _Resolver:
    """Return what finds an operand's value; None is a missing one."""
    if isinstance(operand, Literal):
        name = operand.name
        return lambda item, values: values[name]
    path = operand.path
    if isinstance(operand, Size) and operand.given is not None:
        given = operand.given.name
        return lambda item, values: _size(values[given])
    if isinstance(operand, Size):
        return lambda item, values: _size(follow(item, path))
    if len(path) == 1:
        attribute = path[0]
        return lambda item, values: item.get(attribute)  # type: ignore[arg-type]
    return lambda item, values: follow(item, path)


def _size(value: Value | None) -> Value | None:
    if value is None:
        return None
    tag = type_of(value)
    if tag in ("BOOL", "NULL", "N"):
        return None
    return {"N": str(len(value[tag]))}


def _comparison(operator: str, left: _Resolver, right: _Resolver) -> Predicate:
    return lambda item, values: compares(operator, left(item, values), right(item, values))


_ORDERS: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


def compares(operator: str, left: Value | None, right: Value | None) -> bool:
    """Does `left operator right` hold? Values of different types and missing ones only differ."""
    if operator == "<>":
        return left is None or right is None or not equal(left, right)
    if left is None or right is None:
        return False
    if operator == "=":
        return equal(left, right)
    order = compare(left, right)
    return order is not None and _ORDERS[operator](order)


def _function(function: Function) -> Predicate:
    """Return a function call of a condition as a predicate."""
    name, path = function.name, function.path
    if name in ("attribute_exists", "attribute_not_exists"):
        assert path is not None
        found, wanted = _resolver(Attribute(path)), name == "attribute_exists"
        return lambda item, values: (found(item, values) is not None) is wanted
    subject = function.subject if function.subject is not None else Attribute(path or ())
    assert function.operand is not None
    of, operand = _resolver(subject), _resolver(function.operand)
    test = {"attribute_type": _has_type, "begins_with": _begins_with, "contains": _contains}[name]

    def holds(item: Item, values: Values) -> bool:
        left, right = of(item, values), operand(item, values)
        return left is not None and right is not None and test(left, right)

    return holds


def _has_type(value: Value, wanted: Value) -> bool:
    return bool(type_of(value) == wanted["S"])


def _begins_with(value: Value, prefix: Value) -> bool:
    tag = type_of(value)
    return tag == type_of(prefix) and tag in ("S", "B") and bool(value[tag].startswith(prefix[tag]))


def _contains(value: Value, operand: Value) -> bool:
    tag, wanted = type_of(value), type_of(operand)
    if tag in ("S", "B"):
        return tag == wanted and operand[wanted] in value[tag]
    if tag in ("SS", "NS", "BS"):
        return tag == wanted + "S" and operand[wanted] in value[tag]
    return tag == "L" and any(equal(member, operand) for member in value["L"])


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
        if not isinstance(operand, Literal) and operand.path:
            yield operand.path
