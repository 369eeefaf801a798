"""What a handler's answer says about a batch when ReportBatchItemFailures is set: who failed, or everybody.

Sources and shards read the same answer; what they do with the failed records is their machine's business.
"""

import json
from collections.abc import Container
from typing import Final

WHOLE_BATCH: Final = None
"""The answer cannot be trusted, so every record of the batch failed."""

_NOBODY: Final[frozenset[str]] = frozenset()
_PLAIN_SUCCESS: Final = frozenset(
    (b"null", b"{}", b'""', b"[]", b'{"batchItemFailures": []}', b'{"batchItemFailures":[]}')
)
"""The answers that nearly every batch gets, so that they are not parsed."""


def failed_ids(payload: bytes, known: Container[str]) -> frozenset[str] | None:
    """Return the ids that the answer reports as failed, or `WHOLE_BATCH` (None) when it is malformed.

    Empty answers (`null`, `{}`, `""`, `[]`, an empty or null list) report nobody. One identifier that is empty, no
    string or not in the batch condemns the whole batch, and so does any other shape.

    Args: payload: the handler's JSON result. known: the ids of the batch's records.
    Source: semantics 03, section 3.3.
    """
    if payload in _PLAIN_SUCCESS:
        return _NOBODY
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return WHOLE_BATCH
    if answer is None or answer in ("", [], {}):
        return _NOBODY
    if not isinstance(answer, dict):
        return WHOLE_BATCH
    failures = answer.get("batchItemFailures")
    if failures is None:
        return _NOBODY
    if not isinstance(failures, list):
        return WHOLE_BATCH
    found: set[str] = set()
    for failure in failures:
        identifier = failure.get("itemIdentifier") if isinstance(failure, dict) else None
        if not isinstance(identifier, str) or not identifier or identifier not in known:
            return WHOLE_BATCH
        found.add(identifier)
    return frozenset(found)
