"""The filters of a mapping: which records of its source reach the function.

Filters are OR-ed; a pattern looks at the record as the function would see it, with the body (of a queue's record)
read as JSON when the pattern asks for JSON. A body of the other kind than the pattern's is dropped, never an
error. Source: semantics 03, section 3.5.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from eventrt.core.operators import PatternError
from eventrt.core.patterns import Matcher, compile_field, compile_pattern, is_or, unfold

RecordFilter: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Does the record with this body (the object that the function would see) pass?"""

Loads: TypeAlias = Callable[[str], Any]


def compile_filters(
    patterns: Sequence[str], *, loads: Loads = json.loads, member: str = "body", may_be_plain: bool = True
) -> RecordFilter | None:
    """Return the test that records have to pass; None when there are no patterns, so that all pass.

    Args:
        patterns: JSON texts.
        loads: the reader of JSON bodies; it raises ValueError for what is none.
        member: the member of a record that holds its body. may_be_plain: may a pattern ask for a plain body?
    Raises: PatternError: a pattern is no JSON object, or breaks the grammar.
    """
    if not patterns:
        return None
    filters = [parts for pattern in patterns for parts in _compile(pattern, member)]
    reads_body = any(part.body is not None for parts in filters for part in parts)
    if not may_be_plain and any(part.body is not None and not part.wants_json for parts in filters for part in parts):
        raise PatternError(f'"{member}" must be an object')

    def passes(record: Mapping[str, Any]) -> bool:
        body = record.get(member)
        is_json, body = _read(body, loads) if reads_body else (False, body)
        return any(all(part.passes(record, body, is_json) for part in parts) for parts in filters)

    return passes


@dataclass(frozen=True, slots=True)
class _Part:
    """What a pattern asks of the body, which must be of its kind, and of the rest of the record."""

    metadata: Matcher | None
    body: Matcher | None
    wants_json: bool

    def passes(self, record: Mapping[str, Any], body: Any, is_json: bool) -> bool:
        if self.body is not None and (is_json is not self.wants_json or not self.body(body)):
            return False
        return self.metadata is None or self.metadata(record)


def _compile(text: str, member: str) -> list[list[_Part]]:
    """Return the filters that a pattern stands for, each the parts that must all pass.

    That is one filter of one part, unless a `$or` stands around the body.
    """
    try:
        pattern = json.loads(text, parse_constant=_refuse)
        if not isinstance(pattern, dict):
            raise PatternError("Filter is not an object")
        return [[_part(asked, member) for asked in choice] for choice in _choices(unfold(pattern), member)]
    except PatternError:
        raise
    except ValueError as error:
        raise PatternError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise PatternError("Rule is too complex") from error


def _choices(pattern: dict[str, Any], member: str) -> list[list[dict[str, Any]]]:
    """Write out a `$or` around the body, since only the body is read as JSON: the choices, each in parts."""
    choices: Any = pattern.get("$or")
    if not is_or("$or", choices) or not any(_names_body(choice, member) for choice in choices):
        return [[pattern]]
    rest = {key: value for key, value in pattern.items() if key != "$or"}
    beside = [rest] if rest else []
    return [[*beside, *written] for choice in choices for written in _choices(choice, member)]


def _names_body(pattern: dict[str, Any], member: str) -> bool:
    return member in pattern or any(
        is_or(key, value) and any(_names_body(choice, member) for choice in value) for key, value in pattern.items()
    )


def _part(pattern: dict[str, Any], member: str) -> _Part:
    if member not in pattern:
        return _Part(compile_pattern(pattern), None, wants_json=False)
    rest = {key: value for key, value in pattern.items() if key != member}
    metadata = compile_pattern(rest) if rest else None
    wanted = pattern[member]
    if isinstance(wanted, dict):
        return _Part(metadata, compile_pattern(wanted), wants_json=True)
    return _Part(metadata, compile_field(wanted, name=member), wants_json=False)


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
