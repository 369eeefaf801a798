"""The model's constraints on one value, and the sentences AWS refuses with.

A check returns the constraints a value breaks, as AWS words them; `describe` puts the sentences of a request
together. Patterns are Java's; those that Python's `re` reads otherwise, or not at all, are not checked.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eventrt.aws.protocol.models import Shape

Path = tuple[Any, str]
"""Where a value stands: (the Path around it or None, its own step)."""

Problem = tuple[Path, Any, str, bool]
"""(where, the value, the constraint it breaks, whether AWS would print the value)."""

Check = Callable[[Any], list[str]]
"""Return the constraints that a value breaks; empty when it keeps them all."""

NOT_NULL = "Member must not be null"

_IAM_NAME = "It must contain only alphanumeric characters and/or the following: +=,.@_-"

PATTERNS_IN_WORDS: Mapping[str, Mapping[str, str]] = {
    "iam": {
        "roleName": _IAM_NAME,
        "policyName": _IAM_NAME,
        "path": "It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    }
}
"""What services say of members that do not match their pattern, where it is not the pattern itself."""

_NO_WORDS: Mapping[str, str] = {}
_PATTERN = "Member must satisfy regular expression pattern: "

_PATTERN_LIMIT_CHARS = 65_536
"""A longer text is not matched against a pattern: no constrained member of AWS's is that long."""

_JAVA_ONLY = re.compile(
    r"\\p\{|\\P\{|&&|\\x\{|\\Q|\\z|\\h|\\R|\\X|\\G|\(\?<[a-zA-Z]|\[[^\]\\]*\[|\(\?[a-z]+[-)]|\{,|--|~~|\|\|"
)


def compile_pattern(pattern: str) -> re.Pattern[str] | None:
    """Return a model's Java pattern as Python's, or None where the two languages read it differently."""
    if _JAVA_ONLY.search(pattern):
        return None
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError):
        return None


def check_of(shape: Shape) -> Check | None:
    """Return the check of a shape's own constraints (not of what it contains), or None when it has none."""
    kind = shape["type"]
    at_least, at_most = shape.get("min"), shape.get("max")
    checks: list[Check] = []
    if kind in ("integer", "long", "float", "double", "short", "byte"):
        if at_most is not None or at_least is not None:
            checks.append(_range_check(at_least, at_most))
    elif (at_most is not None or at_least is not None) and kind in ("string", "blob", "list", "map"):
        checks.append(_length_check(at_least, at_most))
    if kind == "string":
        if shape.get("enum"):
            checks.append(_enum_check(shape["enum"]))
        elif shape.get("pattern"):
            pattern = compile_pattern(shape["pattern"])
            if pattern is not None:
                checks.append(_pattern_check(pattern, shape["pattern"]))
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda value: [broken for check in checks for broken in check(value)]


def constraints_of(shape: Shape) -> list[str]:
    """Return every constraint of a shape as AWS words it, whether broken or not; for lists and maps of scalars."""
    texts: list[str] = []
    numeric = shape["type"] in ("integer", "long", "float", "double")
    what = "value" if numeric else "length"
    if "max" in shape:
        texts.append(f"Member must have {what} less than or equal to {shape['max']}")
    if "min" in shape:
        texts.append(f"Member must have {what} greater than or equal to {shape['min']}")
    if shape.get("enum"):
        texts.append(f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]")
    elif shape.get("pattern"):
        texts.append(f"{_PATTERN}{shape['pattern']}")
    texts.append(NOT_NULL)
    return texts


def _range_check(at_least: float | None, at_most: float | None) -> Check:
    low = float("-inf") if at_least is None else at_least
    high = float("inf") if at_most is None else at_most

    def check(value: Any) -> list[str]:
        if low <= value <= high:
            return []
        if value > high:
            return [f"Member must have value less than or equal to {at_most}"]
        return [f"Member must have value greater than or equal to {at_least}"]

    return check


def _length_check(at_least: int | None, at_most: int | None) -> Check:
    low = at_least or 0
    high = float("inf") if at_most is None else at_most

    def check(value: Any) -> list[str]:
        if low <= len(value) <= high:
            return []
        if len(value) > high:
            return [f"Member must have length less than or equal to {at_most}"]
        return [f"Member must have length greater than or equal to {at_least}"]

    return check


def _enum_check(values: Sequence[str]) -> Check:
    known = frozenset(values)
    text = f"Member must satisfy enum value set: [{', '.join(values)}]"

    def check(value: str) -> list[str]:
        return [] if value in known else [text]

    return check


def _pattern_check(pattern: re.Pattern[str], source: str) -> Check:
    match = pattern.fullmatch
    text = f"{_PATTERN}{source}"

    def check(value: str) -> list[str]:
        if len(value) > _PATTERN_LIMIT_CHARS or match(value):
            return []
        return [text]

    return check


def describe(problems: Sequence[Problem], in_words: Mapping[str, str] = _NO_WORDS) -> str:
    """Return AWS's sentence for the constraints a request breaks.

    Args: in_words: the service's entry in PATTERNS_IN_WORDS; such a pattern is looked at when all else holds.
    Source: semantics of Lambda's control plane, "ValidationException text format".
    """
    if in_words:
        others = [one for one in problems if not (one[2].startswith(_PATTERN) and one[0][1] in in_words)]
        if not others:
            name = problems[0][0][1]
            return f"The specified value for {name} is invalid. {in_words[name]}"
        problems = others
    count = len(problems)
    items = "; ".join(_item(problem) for problem in problems)
    return f"{count} validation error{'' if count == 1 else 's'} detected: {items}"


def _item(problem: Problem) -> str:
    path, value, constraint, shows_value = problem
    if value is None:
        shown = "Value null at"
    elif shows_value:
        shown = f"Value '{_as_java(value)}' at"
    else:
        shown = "Value at"
    return f"{shown} '{path_text(path)}' failed to satisfy constraint: {constraint}"


def path_text(path: Path | None) -> str:
    """Return a path as AWS prints it: `code.zipFile`, `records.1.member.data`."""
    steps: list[str] = []
    while path is not None:
        steps.append(path[1])
        path = path[0]
    return ".".join(reversed(steps))


def _as_java(value: Any) -> str:
    """Return a value as Java's toString prints it; long ones are cut, for a refusal need not repeat a megabyte."""
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key}={_as_java(item)}" for key, item in value.items()) + "}"
    elif isinstance(value, list):
        text = "[" + ", ".join(_as_java(item) for item in value) + "]"
    else:
        text = str(value)
    return text if len(text) <= 1024 else text[:1024] + "..."


def member_step(name: str) -> str:
    """Return a member's name as a step of a path: its first letter small, as in AWS's sentences."""
    return name[:1].lower() + name[1:]
