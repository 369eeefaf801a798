"""The tokens of an expression, and a reader over them that reports errors in DynamoDB's words."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.reserved import RESERVED_WORDS
from eventrt.core.tables.values import Value, checked, not_a

MAX_EXPRESSION_BYTES = 4096
_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<alias>\#[A-Za-z0-9_]+)|(?P<value>:[A-Za-z0-9_]+)"
    r"|(?P<number>\d+)|(?P<operator><>|<=|>=|[=<>()\[\],.+\-]))",
    re.ASCII,
)
_ALIAS = re.compile(r"#[A-Za-z0-9_]+", re.ASCII)
_PLACEHOLDER = re.compile(r":[A-Za-z0-9_]+", re.ASCII)
END = "<EOF>"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (name, alias, value, number, operator, end), its text and where it stands."""

    kind: str
    text: str
    start: int
    stop: int


@dataclass(slots=True)
class Substitutions:
    """ExpressionAttributeNames and ExpressionAttributeValues of one request, and which of them were used."""

    names: Mapping[str, str]
    values: Mapping[str, Value]
    used_names: set[str] = field(default_factory=set)
    used_values: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, names: Mapping[str, str] | None, values: Mapping[str, Mapping[str, Any]] | None) -> "Substitutions":
        """Check what the request brought (raises TableError)."""
        if values is not None and values.__class__ is not dict:
            raise Malformed(not_a("map", values))
        if names is not None and not names:
            raise TableError("ExpressionAttributeNames must not be empty")
        if values is not None and not values:
            raise TableError("ExpressionAttributeValues must not be empty")
        for alias, name in (names or {}).items():
            if not _ALIAS.fullmatch(alias):
                raise TableError(f'ExpressionAttributeNames contains invalid key: Syntax error; key: "{alias}"')
            if not name:
                raise TableError(
                    f"ExpressionAttributeNames contains invalid value: Empty attribute name for key {alias}"
                )
        checked_values: dict[str, Value] = {}
        for key, value in (values or {}).items():
            if not _PLACEHOLDER.fullmatch(key):
                raise TableError(f'ExpressionAttributeValues contains invalid key: Syntax error; key: "{key}"')
            try:
                checked_values[key] = checked(value)
            except TableError as error:
                raise TableError(f"ExpressionAttributeValues contains invalid value: {error} for key {key}") from None
        return cls(names or {}, checked_values)


class TokenReader:
    """Reads the tokens of one expression from front to back.

    Args: kind: the parameter's name, for messages: `UpdateExpression`, `ConditionExpression`, ...
    """

    def __init__(self, kind: str, text: str, substitutions: Substitutions) -> None:
        self.kind = kind
        self.text = text
        self.substitutions = substitutions
        if not text.strip():
            raise self.error("The expression can not be empty;")
        if len(text.encode()) > MAX_EXPRESSION_BYTES:
            raise self.error(
                f"Expression size has exceeded the maximum allowed size; expression size: {len(text.encode())}"
            )
        self._tokens = list(self._split())
        self._at = 0

    def _split(self) -> "list[Token]":
        tokens: list[Token] = []
        position, stop = 0, len(self.text.rstrip())
        while position < stop:
            match = _TOKEN.match(self.text, position)
            if match is None or match.lastgroup is None:
                start = position + len(self.text[position:]) - len(self.text[position:].lstrip())
                around = self.text[max(0, start - 10) : start + 10].strip()
                raise self.error(f'Syntax error; token: "{self.text[start]}", near: "{around}"')
            tokens.append(Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup), match.end()))
            position = match.end()
        tokens.append(Token("end", END, stop, stop))
        return tokens

    def error(self, sentence: str) -> TableError:
        """Return the error of this expression with DynamoDB's prefix."""
        return TableError(f"Invalid {self.kind}: {sentence}")

    def syntax_error(self, token: Token | None = None) -> TableError:
        """Return the syntax error at a token (the present one), with its neighbours."""
        index = self._at if token is None else self._tokens.index(token)
        here = self._tokens[index]
        first = self._tokens[max(0, index - 1)]
        last = self._tokens[min(len(self._tokens) - 1, index + 1)]
        near = self.text[first.start : last.stop]
        return self.error(f'Syntax error; token: "{here.text}", near: "{near}"')

    @property
    def position(self) -> int:
        """How many tokens were read."""
        return self._at

    @property
    def token(self) -> Token:
        """The present token."""
        return self._tokens[self._at]

    def peek(self, ahead: int = 1) -> Token:
        """The token so many places ahead."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def advance(self) -> Token:
        """Return the present token and go on to the next."""
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def at_keyword(self, *words: str) -> bool:
        """Is the present token one of these keywords (in any case)?"""
        token = self.token
        return token.kind == "name" and token.text.upper() in words

    def accept_keyword(self, word: str) -> bool:
        """Skip a keyword if it is there."""
        if self.at_keyword(word):
            self._at += 1
            return True
        return False

    def expect_keyword(self, word: str) -> None:
        """Skip a keyword that must be there."""
        if not self.accept_keyword(word):
            raise self.syntax_error()

    def accept(self, operator: str) -> bool:
        """Skip an operator if it is there."""
        token = self.token
        if token.kind == "operator" and token.text == operator:
            self._at += 1
            return True
        return False

    def expect(self, operator: str) -> None:
        """Skip an operator that must be there."""
        if not self.accept(operator):
            raise self.syntax_error()

    def expect_end(self) -> None:
        """Refuse anything that is left."""
        if self.token.kind != "end":
            raise self.syntax_error()

    def name(self, token: Token) -> str:
        """Return the attribute name that a name or alias token means."""
        if token.kind == "alias":
            self.substitutions.used_names.add(token.text)
            try:
                return self.substitutions.names[token.text]
            except KeyError:
                raise self.error(
                    "An expression attribute name used in the document path is not defined; "
                    f"attribute name: {token.text}"
                ) from None
        if token.text.upper() in RESERVED_WORDS:
            raise self.error(f"Attribute name is a reserved keyword; reserved keyword: {token.text}")
        return token.text

    def value(self, token: Token) -> Value:
        """Return the value that a value token means."""
        self.substitutions.used_values.add(token.text)
        try:
            return self.substitutions.values[token.text]
        except KeyError:
            raise self.error(
                f"An expression attribute value used in expression is not defined; attribute value: {token.text}"
            ) from None
