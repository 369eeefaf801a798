"""The match expressions of event patterns: `{"prefix": "a"}` and its kin, each compiled to a test of one scalar.

Which of them a pattern may use is its dialect's business (`core.patterns`). Reasons are the service's words.
Source: semantics 05, section C.1.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Predicate: TypeAlias = Callable[[Any], bool]
"""Does this scalar (string, number, boolean or None) match?"""

OPERATORS: Final = frozenset(
    ("prefix", "suffix", "equals-ignore-case", "anything-but", "numeric", "exists", "cidr", "wildcard")
)

_NUMBER_LIMIT: Final = 5_000_000_000
_LOWER: Final = (">", ">=")
_UPPER: Final = ("<", "<=")


class PatternError(ValueError):
    """The pattern breaks the grammar; `reason` says how, in the service's words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def compile_alternative(
    expression: Mapping[str, Any], operators: frozenset[str], anything_but: frozenset[str]
) -> Predicate:
    """Return the test that a match expression stands for.

    Args: operators: the ones the dialect knows. anything_but: those it allows inside `anything-but`.
    Raises: PatternError: the expression is wrong, or not of this dialect.
    """
    if len(expression) != 1:
        raise PatternError("Only one key allowed in match expression")
    name, operand = next(iter(expression.items()))
    if name not in operators:
        raise PatternError(f"Unrecognized match type {name}")
    match name:
        case "prefix":
            return _prefix(operand)
        case "suffix":
            return _suffix(operand)
        case "equals-ignore-case":
            return _equals_ignore_case(operand)
        case "anything-but":
            return _anything_but(operand, anything_but)
        case "numeric":
            return _numeric(operand)
        case "exists":
            if operand is not True:  # `false` is the field's business: it is true of what is not there
                raise PatternError("exists match pattern must be either true or false.")
            return lambda value: True
        case "cidr":
            return _cidr(operand)
        case _:
            return _wildcard(operand)


def is_number(value: Any) -> bool:
    """Is this a JSON number? A boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


# -- strings


def _prefix(operand: Any) -> Predicate:
    if isinstance(operand, dict):
        folded = _ignoring_case(operand, "prefix")
        return lambda value: isinstance(value, str) and value.casefold().startswith(folded)
    if not isinstance(operand, str):
        raise PatternError("prefix match pattern must be a string")
    return lambda value: isinstance(value, str) and value.startswith(operand)


def _suffix(operand: Any) -> Predicate:
    if isinstance(operand, dict):
        folded = _ignoring_case(operand, "suffix")
        return lambda value: isinstance(value, str) and value.casefold().endswith(folded)
    if not isinstance(operand, str):
        raise PatternError("suffix match pattern must be a string")
    return lambda value: isinstance(value, str) and value.endswith(operand)


def _ignoring_case(operand: Mapping[str, Any], name: str) -> str:
    """Read `{"prefix": {"equals-ignore-case": "a"}}`."""
    text = operand.get("equals-ignore-case")
    if len(operand) != 1 or not isinstance(text, str):
        raise PatternError(f"{name} match pattern must be a string")
    return text.casefold()


def _equals_ignore_case(operand: Any) -> Predicate:
    if not isinstance(operand, str):
        raise PatternError("equals-ignore-case match pattern must be a string")
    folded = operand.casefold()
    return lambda value: isinstance(value, str) and value.casefold() == folded


def _wildcard(operand: Any) -> Predicate:
    expression = re.compile(_wildcard_expression(operand), re.DOTALL)
    return lambda value: isinstance(value, str) and expression.fullmatch(value) is not None


def _wildcard_expression(operand: Any) -> str:
    r"""Return the regular expression of a wildcard: `*` any run, `\*` and `\\` themselves."""
    if not isinstance(operand, str):
        raise PatternError("wildcard match pattern must be a string")
    runs: list[str] = [""]
    position = 0
    while position < len(operand):
        character = operand[position]
        if character == "\\":
            position += 1
            if position == len(operand) or operand[position] not in "*\\":
                raise PatternError("Invalid escape character at pos " + str(position - 1))
            runs[-1] += operand[position]
        elif character == "*":
            if position and operand[position - 1] == "*" and not runs[-1] and len(runs) > 1:
                raise PatternError(f"Consecutive wildcard characters at pos {position - 1}")
            runs.append("")
        else:
            runs[-1] += character
        position += 1
    if len(runs) > 2:  # each run is taken where it is first found: no backtracking, whatever the pattern
        middle = "".join(f"(?>.*?{re.escape(run)})" for run in runs[1:-1])
        return f"{re.escape(runs[0])}{middle}.*{re.escape(runs[-1])}"
    return ".*".join(re.escape(run) for run in runs)


# -- numbers and addresses


def _numeric(operand: Any) -> Predicate:
    if not isinstance(operand, list):
        raise PatternError("Value of numeric must be an array.")
    if not operand:
        raise PatternError("Invalid member in numeric match: ]")
    operator = operand[0]
    if not isinstance(operator, str):
        raise PatternError(f"Invalid member in numeric match: {operator}")
    if operator not in ("=", *_LOWER, *_UPPER):
        raise PatternError(f"Unrecognized numeric range operator: {operator}")
    first = _bound(operand, 1, operator)
    if operator == "=":
        if len(operand) > 2:
            raise PatternError("Too many elements in numeric expression")
        return lambda value: is_number(value) and value == first
    if len(operand) == 2:
        return _compare(operator, first)
    if operator in _UPPER:
        raise PatternError("Too many elements in numeric expression")
    second_operator = operand[2]
    if second_operator not in _UPPER:
        raise PatternError(f"Bad numeric range operator: {second_operator}")
    second = _bound(operand, 3, second_operator)
    if len(operand) > 4:
        raise PatternError("Too many terms in numeric range expression")
    if first >= second:
        raise PatternError("Bottom must be less than top")
    above, below = _compare(operator, first), _compare(second_operator, second)
    return lambda value: above(value) and below(value)


def _bound(operand: list[Any], position: int, operator: str) -> float:
    value = operand[position] if len(operand) > position else None
    if not is_number(value):
        raise PatternError(f"Value of {'equals' if operator == '=' else operator} must be numeric")
    number: float = operand[position]
    if not -_NUMBER_LIMIT <= number <= _NUMBER_LIMIT:
        raise PatternError("Value must be between -5000000000 and 5000000000, inclusive")
    return number


def _compare(operator: str, bound: float) -> Predicate:
    match operator:
        case ">":
            return lambda value: is_number(value) and value > bound
        case ">=":
            return lambda value: is_number(value) and value >= bound
        case "<":
            return lambda value: is_number(value) and value < bound
        case _:
            return lambda value: is_number(value) and value <= bound


def _cidr(operand: Any) -> Predicate:
    if not isinstance(operand, str):
        raise PatternError("prefix match pattern must be a string")
    address, slash, bits = operand.partition("/")
    if not slash or "/" in bits:
        raise PatternError("Malformed CIDR, one '/' required")
    if not (bits.isascii() and bits.isdigit()):
        raise PatternError("Malformed CIDR, mask bits must be an integer")
    try:
        base = ipaddress.ip_address(address)
    except ValueError:
        raise PatternError(f"Nonstandard IP address: {address}") from None
    if int(bits) > base.max_prefixlen:
        raise PatternError(f"Malformed CIDR, mask bits must not exceed {base.max_prefixlen}")
    network = ipaddress.ip_network(operand, strict=False)

    def matches(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return matches


# -- anything but


def _anything_but(operand: Any, allowed: frozenset[str]) -> Predicate:
    if isinstance(operand, dict):
        return _anything_but_like(operand, allowed)
    values = operand if isinstance(operand, list) else [operand]
    if not values:
        raise PatternError("Empty arrays are not allowed")
    if any(isinstance(value, dict | list) for value in values):
        raise PatternError("Value of anything-but must be an array or single string/number value.")
    if any(value is None or isinstance(value, bool) for value in values):
        if not isinstance(operand, list):
            raise PatternError("Value of anything-but must be an array or single string/number value.")
        raise PatternError("Inside anything but list, start|null|boolean is not supported.")
    if len({isinstance(value, str) for value in values}) > 1:
        raise PatternError(
            "Inside anything but list, either all values are number or string, mixed type is not supported"
        )
    if isinstance(values[0], str):
        excluded = frozenset(values)
        return lambda value: not (isinstance(value, str) and value in excluded)
    numbers = frozenset(values)
    return lambda value: not (is_number(value) and value in numbers)


_LIKE: Final[Mapping[str, Callable[[Any], Predicate]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}


def _anything_but_like(operand: Mapping[str, Any], allowed: frozenset[str]) -> Predicate:
    """Compile `{"anything-but": {"prefix": …}}`: a string, or a list of them."""
    if len(operand) != 1:
        raise PatternError("Only one key allowed in match expression")
    name, value = next(iter(operand.items()))
    if name not in allowed:
        raise PatternError(f"Unsupported anything-but pattern: {name}")
    texts = value if isinstance(value, list) else [value]
    if not texts:
        raise PatternError("Empty arrays are not allowed")
    for text in texts:
        if not isinstance(text, str):
            raise PatternError(f"{name} match pattern must be a string")
        if not text and name in ("prefix", "suffix"):
            raise PatternError("Null prefix/suffix not allowed")
    tests = [_LIKE[name](text) for text in texts]
    return lambda value: not any(test(value) for test in tests)
