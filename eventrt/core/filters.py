"""The filters of a mapping: which records of its source reach the function.

Filters are OR-ed; a pattern looks at the record as the function would see it, with the body (of a queue's record)
read as JSON when the pattern asks for JSON. A body of the other kind than the pattern's is dropped, never an
error. Source: semantics 03, section 3.5.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from eventrt.core.operators import PatternError
from eventrt.core.patterns import Matcher, compile_field, compile_pattern, is_or, unfold

RecordFilter: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Does the record with this body (the object that the function would see) pass?"""

Loads: TypeAlias = Callable[[str], Any]


def compile_filters(patterns: Sequence[str], *, loads: Loads = json.loads) -> RecordFilter | None:
    """Return the test that records have to pass; None when there are no patterns, so that all pass.

    Args: patterns: JSON texts. loads: the reader of JSON bodies; it raises ValueError for what is none.
    Raises: PatternError: a pattern is no JSON object, or breaks the grammar.
    """
    if not patterns:
        return None
    filters = [test for pattern in patterns for test in _compile(pattern)]
    reads_body = any(kind is _JSON or kind is _TEXT for _, _, kind in filters)

    def passes(record: Mapping[str, Any]) -> bool:
        body, is_json = None, False
        if reads_body:
            body = record.get("body")
            is_json, body = _read(body, loads)
        for metadata, test, kind in filters:
            if kind is not None and (kind is _JSON) is not is_json:
                continue
            if metadata is not None and not metadata(record):
                continue
            if test is None or test(body):
                return True
        return False

    return passes


_JSON = "json"
_TEXT = "text"


_Filter: TypeAlias = tuple[Matcher | None, Matcher | None, str | None]
"""The test of the metadata, that of the body, and which kind of body it wants."""


def _compile(text: str) -> list[_Filter]:
    """Return the filters that a pattern stands for: one, or one for each choice of a `$or` around the body."""
    try:
        pattern = json.loads(text, parse_constant=_refuse)
        if not isinstance(pattern, dict):
            raise PatternError("Filter is not an object")
        compile_pattern({key: value for key, value in pattern.items() if key != "body"} or {"body": [""]})
        return [_split(choice) for choice in _choices(unfold(pattern))]
    except PatternError:
        raise
    except ValueError as error:
        raise PatternError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise PatternError("Rule is too complex") from error


def _choices(pattern: dict[str, Any]) -> list[dict[str, Any]]:
    """Write out a `$or` that stands beside or around the body, since only the body is read as JSON."""
    choices: Any = pattern.get("$or")
    if not is_or("$or", choices) or not any(_names_body(choice) for choice in choices):
        return [pattern]
    rest = {key: value for key, value in pattern.items() if key != "$or"}
    return [written for choice in choices for written in _choices({**rest, **choice})]


def _names_body(pattern: dict[str, Any]) -> bool:
    return "body" in pattern or any(
        is_or(key, value) and any(_names_body(choice) for choice in value) for key, value in pattern.items()
    )


def _split(pattern: dict[str, Any]) -> _Filter:
    if not pattern:
        raise PatternError("Empty event pattern is not allowed")
    if "body" not in pattern:
        return compile_pattern(pattern), None, None
    rest = {key: value for key, value in pattern.items() if key != "body"}
    metadata = compile_pattern(rest) if rest else None
    wanted = pattern["body"]
    if isinstance(wanted, dict):
        return metadata, compile_pattern(wanted), _JSON
    return metadata, compile_field(wanted, name="body"), _TEXT


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _read(body: Any, loads: Loads) -> tuple[bool, Any]:
    """Tell whether a body is JSON (an object or an array; a bare word or number is plain text), and read it."""
    if not isinstance(body, str) or not body.lstrip(" \t\r\n").startswith(("{", "[")):
        return False, body
    try:
        return True, loads(body)
    except (ValueError, RecursionError):
        return False, body
