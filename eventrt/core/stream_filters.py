"""The filters of a stream's mapping: which of its records reach the function.

A Kinesis record's payload is asked for as `data`, decoded and read as JSON; its other members (`partitionKey`,
`eventName`, ...) as they stand. A table's record and a plugin's are matched as the function would see them.
Source: semantics 03, section 3.5.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from eventrt.core.filters import Loads, RecordFilter, compile_filters
from eventrt.core.mapping import Kind
from eventrt.core.records import Record, Written

Matches: TypeAlias = Callable[[Record], bool]
"""Does this record pass?"""


def compile_stream_filters(patterns: Sequence[str], kind: Kind, *, loads: Loads = json.loads) -> Matches | None:
    """Return the test that records of such a source have to pass; None when there are no patterns.

    Args: patterns: JSON texts. loads: the reader of JSON payloads; it raises ValueError for what is none.
    Raises: PatternError: a pattern breaks the grammar, or asks for `data` or `dynamodb` as if it were plain text.
    """
    if not patterns:
        return None
    passes: RecordFilter | None
    if kind == "kinesis":
        passes = compile_filters(patterns, loads=loads, member="data", may_be_plain=False)
        assert passes is not None
        data_passes = passes
        return lambda record: data_passes(_kinesis_view(record.body))
    if kind == "table":
        compile_filters(patterns, member="dynamodb", may_be_plain=False)  # it must be asked for as an object
    passes = compile_filters(patterns, member="")
    assert passes is not None
    body_passes = passes
    return lambda record: body_passes(_members_of(record.body))


def _members_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body as patterns know objects: as JSON gives them."""
    return body.members if isinstance(body, Written) else dict(body)


def _kinesis_view(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the members of `kinesis` beside its own, and its payload decoded (None: not text)."""
    members = _members_of(body)
    view = {**members, **members["kinesis"]}
    try:
        view["data"] = base64.b64decode(view["data"]).decode()
    except UnicodeDecodeError:
        view["data"] = None
    return view
