"""PartiQL for DynamoDB: SELECT, INSERT, UPDATE, DELETE and EXISTS, parsed into the conditions and updates of the rest.

Source: DynamoDB developer guide, "PartiQL - a SQL-compatible query language for Amazon DynamoDB". A statement is
parsed with its parameters: `?` takes the next of them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from eventrt.core.tables.conditions import (
    COMPARATORS,
    MAX_NESTING,
    Attribute,
    Between,
    Both,
    Comparison,
    Condition,
    Either,
    Function,
    Membership,
    Not,
    Operand,
    Size,
)
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.legacy import Bindings
from eventrt.core.tables.numbers import canonical
from eventrt.core.tables.paths import Path
from eventrt.core.tables.updates import Given, IfNotExists, ListAppend, Stored, Sum, Update
from eventrt.core.tables.updates import Operand as UpdateOperand
from eventrt.core.tables.values import Item, Value, checked, checked_item, type_of

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<number>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<operator><<|>>|<>|!=|<=|>=|[=<>()\[\]{},.:?*+\-;])
    )""",
    re.VERBOSE | re.ASCII,
)
_FUNCTIONS = {"begins_with": 2, "contains": 2, "attribute_type": 2}


@dataclass(frozen=True, slots=True)
class Select:
    """`SELECT paths FROM table[.index] WHERE where ORDER BY order_by`; `paths` None is `*`."""

    table: str
    index: str | None
    paths: tuple[Path, ...] | None
    where: Condition | None
    order_by: str | None
    is_descending: bool
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Insert:
    """`INSERT INTO table VALUE {...}`."""

    table: str
    item: Item


@dataclass(frozen=True, slots=True)
class Modify:
    """`UPDATE table SET ... REMOVE ... WHERE ... RETURNING ...`; `returning` is as ReturnValues says it."""

    table: str
    update: Update
    where: Condition
    returning: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Erase:
    """`DELETE FROM table WHERE ... RETURNING ...`."""

    table: str
    where: Condition
    returning: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Exists:
    """`EXISTS(SELECT ...)`: a condition check of a transaction."""

    select: Select


Statement: TypeAlias = Select | Insert | Modify | Erase | Exists


def parse_statement(text: str, parameters: Sequence[Value]) -> Statement:
    """Parse one statement with its checked parameters (raises TableError)."""
    parser = _Parser(text, parameters)
    statement = parser.statement()
    parser.finish()
    return statement


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int


class _Parser:
    def __init__(self, text: str, parameters: Sequence[Value]) -> None:
        self._tokens = list(_split(text))
        self._at = 0
        self._depth = 0
        self._parameters = parameters
        self._taken = 0
        self._bindings = Bindings()

    # -- statements

    def statement(self) -> Statement:
        if self._accept_word("SELECT"):
            return self._select()
        if self._accept_word("INSERT"):
            return self._insert()
        if self._accept_word("UPDATE"):
            return self._update()
        if self._accept_word("DELETE"):
            self._expect_word("FROM")
            table = self._name()
            where = self._where()
            return Erase(table, where, self._returning(), self._bindings.values)
        if self._accept_word("EXISTS"):
            self._expect("(")
            self._expect_word("SELECT")
            select = self._select()
            self._expect(")")
            return Exists(select)
        raise self._failure()

    def finish(self) -> None:
        self._accept(";")
        if self._token.kind != "end":
            raise self._failure()
        if self._taken != len(self._parameters):
            raise TableError("Number of parameters in request and statement don't match.")

    def _select(self) -> Select:
        paths: list[Path] | None = None
        if not self._accept("*"):
            paths = [self._path()]
            while self._accept(","):
                paths.append(self._path())
        self._expect_word("FROM")
        table = self._name()
        index = self._name() if self._accept(".") else None
        where = self._condition() if self._accept_word("WHERE") else None
        order_by, is_descending = None, False
        if self._accept_word("ORDER"):
            self._expect_word("BY")
            order_by = self._name()
            is_descending = self._accept_word("DESC")
            if not is_descending:
                self._accept_word("ASC")
        return Select(
            table,
            index,
            tuple(paths) if paths is not None else None,
            where,
            order_by,
            is_descending,
            self._bindings.values,
        )

    def _insert(self) -> Insert:
        self._expect_word("INTO")
        table = self._name()
        self._expect_word("VALUE")
        value = self._value()
        if "M" not in value:
            raise TableError("Unsupported operation: Inserting a value that is not a tuple is not supported")
        return Insert(table, checked_item(value["M"]))

    def _update(self) -> Modify:
        table = self._name()
        sets: list[tuple[Path, UpdateOperand]] = []
        removes: list[Path] = []
        adds: list[tuple[Path, str]] = []
        deletes: list[tuple[Path, str]] = []
        while True:
            if self._accept_word("SET"):
                self._set(sets, adds, deletes)
                while self._accept(","):
                    self._set(sets, adds, deletes)
            elif self._accept_word("REMOVE"):
                removes.append(self._path())
                while self._accept(","):
                    removes.append(self._path())
            else:
                break
        update = Update(tuple(sets), tuple(removes), tuple(adds), tuple(deletes))
        if not update.paths:
            raise self._failure()
        _check_disjoint(update.paths)
        where = self._where()
        return Modify(table, update, where, self._returning(), self._bindings.values)

    def _set(
        self,
        sets: list[tuple[Path, UpdateOperand]],
        adds: list[tuple[Path, str]],
        deletes: list[tuple[Path, str]],
    ) -> None:
        path = self._path()
        self._expect("=")
        for word, target in (("set_add", adds), ("set_delete", deletes)):
            if self._is_call(word):
                self._at += 2
                if self._path() != path:
                    raise TableError(f"{word} must name the attribute that is set")
                self._expect(",")
                value = self._value()
                self._expect(")")
                if type_of(value) not in ("SS", "NS", "BS"):
                    raise TableError(f"Incorrect operand type for operator or function; operator or function: {word}")
                target.append((path, self._bindings.literal(value).name))
                return
        left = self._update_operand()
        for symbol, sign in (("+", 1), ("-", -1)):
            if self._accept(symbol):
                sets.append((path, Sum(left, self._update_operand(), sign)))
                return
        if self._token.kind == "number" and self._token.text.startswith("-"):  # `a -1`: a sign without blanks
            sets.append((path, Sum(left, self._update_operand(), 1)))
            return
        sets.append((path, left))

    def _update_operand(self) -> UpdateOperand:
        if self._is_call("list_append"):
            self._at += 2
            first = self._update_operand()
            self._expect(",")
            second = self._update_operand()
            self._expect(")")
            return ListAppend(first, second)
        if self._is_call("if_not_exists"):
            self._at += 2
            path = self._path()
            self._expect(",")
            otherwise = self._update_operand()
            self._expect(")")
            return IfNotExists(path, otherwise)
        if self._at_path():
            return Stored(self._path())
        literal = self._bindings.literal(checked(self._value()))
        return Given(literal.name, literal.type)

    def _where(self) -> Condition:
        self._expect_word("WHERE")
        return self._condition()

    def _returning(self) -> str:
        if not self._accept_word("RETURNING"):
            return "NONE"
        scope = "ALL" if self._accept_word("ALL") else "UPDATED"
        if scope == "UPDATED":
            self._expect_word("MODIFIED")
        age = "OLD" if self._accept_word("OLD") else "NEW"
        if age == "NEW":
            self._expect_word("NEW")
        self._expect("*")
        return f"{scope}_{age}"

    # -- conditions

    def _condition(self) -> Condition:
        left = self._conjunction()
        while self._accept_word("OR"):
            left = Either(left, self._conjunction())
        return left

    def _conjunction(self) -> Condition:
        left = self._negation()
        while self._accept_word("AND"):
            left = Both(left, self._negation())
        return left

    def _negation(self) -> Condition:
        self._deepen()
        condition: Condition = Not(self._negation()) if self._accept_word("NOT") else self._primary()
        self._depth -= 1
        return condition

    def _deepen(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise TableError("Statement wasn't well formed, can't be processed: it nests too deeply")

    def _primary(self) -> Condition:
        token = self._token
        if token.text == "(" and token.kind == "operator":
            self._at += 1
            condition = self._condition()
            self._expect(")")
            return condition
        if token.kind == "name" and token.text.lower() in _FUNCTIONS and self._peek().text == "(":
            self._at += 2
            path = self._path()
            self._expect(",")
            operand = self._operand()
            self._expect(")")
            return Function(token.text.lower(), path, operand)
        left = self._operand()
        if self._accept_word("IS"):
            return self._is(left)
        if self._accept_word("BETWEEN"):
            low = self._operand()
            self._expect_word("AND")
            return Between(left, low, self._operand())
        is_negated = self._accept_word("NOT")
        if self._accept_word("IN"):
            members = Membership(left, self._choices())
            return Not(members) if is_negated else members
        if is_negated:
            raise self._failure()
        operator = "<>" if self._token.text == "!=" else self._token.text
        if self._token.kind != "operator" or operator not in COMPARATORS:
            raise self._failure()
        self._at += 1
        return Comparison(operator, left, self._operand())

    def _is(self, left: Operand) -> Condition:
        is_negated = self._accept_word("NOT")
        if not isinstance(left, Attribute):
            raise self._failure()
        if self._accept_word("MISSING"):
            return Function("attribute_exists" if is_negated else "attribute_not_exists", left.path, None)
        self._expect_word("NULL")
        is_null = Comparison("=", left, self._bindings.literal({"NULL": True}))
        return Not(is_null) if is_negated else is_null

    def _choices(self) -> tuple[Operand, ...]:
        closing = "]" if self._accept("[") else ")"
        if closing == ")":
            self._expect("(")
        choices = [self._operand()]
        while self._accept(","):
            choices.append(self._operand())
        self._expect(closing)
        return tuple(choices)

    def _operand(self) -> Operand:
        if self._is_call("size"):
            self._at += 2
            path = self._path()
            self._expect(")")
            return Size(path)
        if self._at_path():
            return Attribute(self._path())
        return self._bindings.literal(checked(self._value()))

    # -- paths and values

    def _at_path(self) -> bool:
        token = self._token
        return token.kind == "quoted" or (token.kind == "name" and token.text.lower() not in ("true", "false", "null"))

    def _name(self) -> str:
        token = self._token
        if token.kind not in ("name", "quoted"):
            raise self._failure()
        self._at += 1
        return token.text if token.kind == "name" else token.text[1:-1].replace('""', '"')

    def _path(self) -> Path:
        steps: list[str | int] = [self._name()]
        while True:
            if self._accept("."):
                steps.append(self._name())
            elif self._accept("["):
                token = self._token
                if token.kind == "number" and token.text.isdigit():
                    steps.append(int(token.text))
                elif token.kind == "string":
                    steps.append(_unquoted(token.text))
                else:
                    raise self._failure()
                self._at += 1
                self._expect("]")
            else:
                return tuple(steps)

    def _value(self) -> Value:
        self._deepen()
        value = self._one_value()
        self._depth -= 1
        return value

    def _one_value(self) -> Value:
        token = self._token
        self._at += 1
        match token.kind, token.text.lower():
            case "string", _:
                return {"S": _unquoted(token.text)}
            case "number", _:
                return {"N": canonical(token.text)}
            case "name", "true" | "false" as word:
                return {"BOOL": word == "true"}
            case "name", "null":
                return {"NULL": True}
            case "operator", "?":
                if self._taken >= len(self._parameters):
                    raise TableError("Number of parameters in request and statement don't match.")
                self._taken += 1
                return self._parameters[self._taken - 1]
            case "operator", "[":
                return {"L": list(self._members("]"))}
            case "operator", "<<":
                return self._set_of(list(self._members(">>")))
            case "operator", "{":
                return {"M": dict(self._pairs())}
        self._at -= 1
        raise self._failure()

    def _members(self, closing: str) -> Iterator[Value]:
        while not self._accept(closing):
            yield self._value()
            if not self._accept(",") and self._token.text != closing:
                raise self._failure()

    def _pairs(self) -> Iterator[tuple[str, Value]]:
        while not self._accept("}"):
            token = self._token
            if token.kind not in ("string", "quoted"):
                raise self._failure()
            self._at += 1
            self._expect(":")
            yield _unquoted(token.text), self._value()
            if not self._accept(",") and self._token.text != "}":
                raise self._failure()

    def _set_of(self, members: list[Value]) -> Value:
        tags = {type_of(member) for member in members}
        if len(tags) != 1 or not tags <= {"S", "N", "B"}:
            raise TableError("Unsupported operation: a set must hold members of one type: string, number or binary")
        [tag] = tags
        return checked({tag + "S": [member[tag] for member in members]})

    # -- tokens

    @property
    def _token(self) -> _Token:
        return self._tokens[self._at]

    def _peek(self) -> _Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _is_call(self, word: str) -> bool:
        return self._token.kind == "name" and self._token.text.lower() == word and self._peek().text == "("

    def _accept(self, operator: str) -> bool:
        if self._token.kind == "operator" and self._token.text == operator:
            self._at += 1
            return True
        return False

    def _expect(self, operator: str) -> None:
        if not self._accept(operator):
            raise self._failure()

    def _accept_word(self, word: str) -> bool:
        if self._token.kind == "name" and self._token.text.upper() == word:
            self._at += 1
            return True
        return False

    def _expect_word(self, word: str) -> None:
        if not self._accept_word(word):
            raise self._failure()

    def _failure(self) -> TableError:
        token = self._token
        return TableError(
            "Statement wasn't well formed, can't be processed: "
            f"Unexpected token {token.text!r} at position {token.start + 1}"
        )


def _split(text: str) -> Iterator[_Token]:
    position, stop = 0, len(text.rstrip())
    while position < stop:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            raise TableError(
                f"Statement wasn't well formed, can't be processed: Unexpected character at position {position + 1}"
            )
        yield _Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))
        position = match.end()
    yield _Token("end", "<EOF>", stop)


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote)


def _check_disjoint(paths: Sequence[Path]) -> None:
    """Refuse an update that writes one path twice, or a path and a part of it."""
    ordered = sorted(paths, key=lambda path: [(isinstance(step, str), step) for step in path])
    for one, two in pairwise(ordered):
        if two[: len(one)] == one:
            raise TableError("Two document paths overlap with each other in the SET and REMOVE clauses")
