"""A mapping's filters decide by the kinds of body and pattern, as the table of semantics 03, section 3.5 says."""

import json
from typing import Any

import orjson
import pytest

from eventrt.core.filters import compile_filters
from eventrt.core.operators import PatternError

JSON_BODY = '{"kind": "order", "price": 300.0}'


def passes(pattern: Any, body: str, **metadata: Any) -> bool:
    test = compile_filters([json.dumps(pattern)], loads=orjson.loads)
    assert test is not None
    return test({"body": body, **metadata})


def test_no_patterns_let_everything_pass() -> None:
    assert compile_filters([]) is None


@pytest.mark.parametrize(
    ("pattern", "body", "is_kept"),
    [
        ({"body": ["order"]}, "order", True),
        ({"body": ["order"]}, "offer", False),
        ({"body": [{"prefix": "ord"}]}, "order", True),
        ({"body": {"kind": ["order"]}}, "order", False),
        ({"messageId": ["m1"]}, "order", True),
        ({"body": ["order"]}, JSON_BODY, False),
        ({"body": [{"exists": True}]}, JSON_BODY, False),
        ({"body": {"kind": ["order"]}}, JSON_BODY, True),
        ({"body": {"kind": ["offer"]}}, JSON_BODY, False),
        ({"body": {"price": [300]}}, JSON_BODY, True),
        ({"messageId": ["m1"]}, JSON_BODY, True),
        ({"messageId": ["m2"]}, JSON_BODY, False),
        ({"messageId": ["m1"], "body": {"kind": ["order"]}}, JSON_BODY, True),
        ({"messageId": ["m2"], "body": {"kind": ["order"]}}, JSON_BODY, False),
        ({"body": {"kind": ["order"]}}, "{broken", False),
        ({"body": ["{broken"]}, "{broken", True),
        ({"body": ["12"]}, "12", True),
        ({"body": ["true"]}, "true", True),
        ({"body": {"kind": ["order"]}}, '[{"kind": "offer"}, {"kind": "order"}]', True),
        ({"body.kind": ["order"]}, JSON_BODY, True),
        ({"body": {"$or": [{"kind": ["offer"]}, {"price": [{"numeric": [">", 1]}]}]}}, JSON_BODY, True),
        ({"$or": [{"messageId": ["m2"]}, {"body": {"kind": ["order"]}}]}, JSON_BODY, True),
        ({"$or": [{"messageId": ["m2"]}, {"body": {"kind": ["offer"]}}]}, JSON_BODY, False),
        ({"body": {"kind": ["order"]}, "$or": [{"messageId": ["m2"]}, {"body": {"price": [300]}}]}, JSON_BODY, True),
        ({"body": {"kind": ["offer"]}, "$or": [{"messageId": ["m2"]}, {"body": {"price": [300]}}]}, JSON_BODY, False),
    ],
)
def test_the_table_of_bodies_and_patterns(pattern: Any, body: str, is_kept: bool) -> None:
    assert passes(pattern, body, messageId="m1") is is_kept


def test_attributes_of_the_message_can_be_asked_for() -> None:
    pattern = {"messageAttributes": {"tenant": {"stringValue": ["blue"]}}, "attributes": {"SenderId": ["me"]}}
    attributes = {"tenant": {"stringValue": "blue", "dataType": "String"}}
    assert passes(pattern, "x", messageAttributes=attributes, attributes={"SenderId": "me"})
    assert not passes(pattern, "x", messageAttributes=attributes, attributes={"SenderId": "you"})


def test_one_of_several_filters_is_enough() -> None:
    test = compile_filters(['{"body": ["a"]}', '{"body": ["b"]}'])
    assert test is not None
    assert [test({"body": body}) for body in ("a", "b", "c")] == [True, True, False]


def test_of_duplicate_keys_the_last_one_counts() -> None:
    test = compile_filters(['{"body": ["a"], "body": ["b"]}'])
    assert test is not None
    assert not test({"body": "a"})
    assert test({"body": "b"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "{",
        '"body"',
        '{"body": "x"}',
        '{"body": []}',
        '{"body": {}}',
        '{"body": {"a": 1}}',
        '{"a": [NaN]}',
        '{"body": [{"like": 1}]}',
        '{"body": {"a": [{"numeric": ["<", "1"]}]}}',
        "{" * 5000,
        '{"a":' * 3000 + "[1]" + "}" * 3000,
    ],
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(PatternError):
        compile_filters([text])
