"""What an answer reports about its batch: the table of semantics 03, section 3.3."""

import pytest

from eventrt.core.partial import WHOLE_BATCH, failed_ids

KNOWN = {"a", "b", "c"}


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"{}",
        b'""',
        b"[]",
        b'{"batchItemFailures": []}',
        b'{ "batchItemFailures" : null }',
        b'{"other": 1}',
        b" null ",
    ],
)
def test_empty_answers_are_full_success(payload: bytes) -> None:
    assert failed_ids(payload, KNOWN) == frozenset()


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (b'{"batchItemFailures":[{"itemIdentifier":"b"}]}', {"b"}),
        (b'{"batchItemFailures":[{"itemIdentifier":"b"},{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}', {"a", "b"}),
    ],
)
def test_listed_records_failed(payload: bytes, failed: set[str]) -> None:
    assert failed_ids(payload, KNOWN) == failed


@pytest.mark.parametrize(
    "payload",
    [
        b'{"batchItemFailures":[{"itemIdentifier":""}]}',
        b'{"batchItemFailures":[{"itemIdentifier":null}]}',
        b'{"batchItemFailures":[{"itemIdentifier":7}]}',
        b'{"batchItemFailures":[{"foo":"a"}]}',
        b'{"batchItemFailures":["a"]}',
        b'{"batchItemFailures":[null]}',
        b'{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"x"}]}',
        b'{"batchItemFailures":{"itemIdentifier":"a"}}',
        b'{"batchItemFailures":"a"}',
        b'"text"',
        b"[1]",
        b"7",
        b"true",
        b"not json",
        b"",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_anything_else_condemns_the_whole_batch(payload: bytes) -> None:
    assert failed_ids(payload, KNOWN) is WHOLE_BATCH
