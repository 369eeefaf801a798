"""Filters of streams' mappings: what a pattern sees of a Kinesis record, of a table's change, of a plugin's record."""

import base64
import json
from typing import Any

import pytest

from eventrt.core.mapping import Kind
from eventrt.core.operators import PatternError
from eventrt.core.records import Record, Written
from eventrt.core.stream_filters import compile_stream_filters


def kinesis(data: bytes, key: str = "k") -> Record:
    body = {
        "kinesis": {"partitionKey": key, "data": base64.b64encode(data).decode(), "sequenceNumber": "1"},
        "eventName": "aws:kinesis:record",
    }
    return Record("1", Written(json.dumps(body).encode()), 0.0, 10, key)


def passes(pattern: Any, record: Record, kind: Kind = "kinesis") -> bool:
    matches = compile_stream_filters([json.dumps(pattern)], kind)
    assert matches is not None
    return matches(record)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"kind": "good"}', True),
        (b'{"kind": "bad"}', False),
        (b'{"kind": ["good"]}', True),
        (b'["good"]', False),
        (b"good", False),
        (b'"good"', False),
        (b"\xff\xfe", False),
        (b"", False),
        (b'{"kind": "good"', False),
    ],
)
def test_data_is_decoded_and_read_as_json(data: bytes, expected: bool) -> None:
    assert passes({"data": {"kind": ["good"]}}, kinesis(data)) is expected


def test_without_data_the_payload_does_not_matter() -> None:
    assert passes({"partitionKey": ["k"]}, kinesis(b"\xff"))
    assert not passes({"partitionKey": ["other"]}, kinesis(b"\xff"))
    assert passes({"eventName": [{"prefix": "aws:kinesis"}]}, kinesis(b"\xff"))


def test_data_and_metadata_are_anded_and_filters_ored() -> None:
    both = {"data": {"n": [{"numeric": [">", 3]}]}, "partitionKey": ["k"]}
    assert passes(both, kinesis(b'{"n": 4}'))
    assert not passes(both, kinesis(b'{"n": 4}', "other"))
    matches = compile_stream_filters([json.dumps({"data": {"n": [1]}}), json.dumps({"data": {"n": [2]}})], "kinesis")
    assert matches is not None
    assert [matches(kinesis(b'{"n": %d}' % number)) for number in (1, 2, 3)] == [True, True, False]


def test_an_or_may_stand_around_data() -> None:
    pattern = {"$or": [{"data": {"n": [1]}}, {"partitionKey": ["vip"]}]}
    assert passes(pattern, kinesis(b'{"n": 1}'))
    assert passes(pattern, kinesis(b"plain", "vip"))
    assert not passes(pattern, kinesis(b"plain"))


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ({"data": ["text"]}, "kinesis"),
        ({"dynamodb": ["text"]}, "table"),
        ({"data": {"n": 1}}, "kinesis"),
        ({}, "kinesis"),
        ([], "table"),
    ],
)
def test_wrong_patterns_are_refused(pattern: Any, kind: Kind) -> None:
    with pytest.raises(PatternError):
        compile_stream_filters([json.dumps(pattern)], kind)


def test_a_tables_change_is_matched_with_its_types() -> None:
    body = {"eventName": "INSERT", "dynamodb": {"NewImage": {"n": {"N": "42"}, "s": {"S": "x"}}}}
    record = Record("1", Written(json.dumps(body).encode()), 0.0, 10)
    assert passes({"dynamodb": {"NewImage": {"s": {"S": ["x"]}}}}, record, "table")
    assert passes({"dynamodb": {"NewImage": {"n": {"N": [{"anything-but": ["101"]}]}}}}, record, "table")
    assert not passes({"dynamodb": {"NewImage": {"n": {"N": [{"numeric": [">", 1]}]}}}}, record, "table")
    assert passes(
        {"eventName": ["INSERT"], "dynamodb": {"OldImage": {"s": {"S": [{"exists": False}]}}}}, record, "table"
    )


def test_a_plugins_record_is_matched_as_it_is() -> None:
    record = Record("1", {"line": "an error"}, 0.0, 10)
    assert passes({"line": [{"suffix": "error"}]}, record, "plugin")
    assert not passes({"line": [{"suffix": "warning"}]}, record, "plugin")


def test_without_patterns_everything_passes() -> None:
    assert compile_stream_filters([], "kinesis") is None
