"""The grammar and the quotas of IAM, as pure rules."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventrt.core import iam_rules
from eventrt.core.refused import Refused

TRUST = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
ALLOW = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}


def refusal(rule: Callable[[str], object], text: str) -> str:
    """Return the code a rule refuses a text with, or the empty string."""
    try:
        rule(text)
    except Refused as refused:
        return refused.code
    return ""


def document(*statements: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Principal": "*"},
        {"Principal": {"AWS": ["123456789012", "arn:aws:iam::123456789012:role/x", "*"]}},
        {"Principal": {"Service": ["lambda.amazonaws.com", "edgelambda.amazonaws.com"]}},
        {"Principal": {"Federated": "accounts.google.com"}, "Action": "sts:AssumeRoleWithWebIdentity"},
        {"Action": ["sts:AssumeRole", "sts:TagSession"]},
        {"Action": "sts:*"},
        {"Sid": "One", "Condition": {"StringEquals": {"aws:SourceAccount": ["1", "2"]}, "Bool": {"a:b": True}}},
        {"Condition": {"ForAnyValue:StringLikeIfExists": {"aws:TagKeys": "x*"}, "Null": {"a": "true"}}},
    ],
)
def test_these_trust_policies_are_taken(change: dict[str, Any]) -> None:
    iam_rules.check_trust_document(document({**TRUST, **change}))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Action": ["sqs:SendMessage", "*"]},
        {"Resource": ["arn:aws:sqs:*:*:*", "*"]},
        {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}},
    ],
)
def test_these_identity_policies_are_taken(change: dict[str, Any]) -> None:
    iam_rules.check_identity_document(document({**ALLOW, **change}))
    iam_rules.check_identity_document(json.dumps({"Statement": {**ALLOW, **change}}))


def test_a_statement_id_is_used_once() -> None:
    one = {**ALLOW, "Sid": "a"}
    with pytest.raises(Refused, match="must be unique"):
        iam_rules.check_identity_document(document(one, one))
    with pytest.raises(Refused, match="alpha-numeric"):
        iam_rules.check_identity_document(document({**ALLOW, "Sid": "a b"}))


def test_a_key_that_stands_twice_is_a_syntax_error() -> None:
    text = document(ALLOW).replace('"Effect"', '"Effect": "Deny", "Effect"')
    with pytest.raises(Refused, match="Syntax errors"):
        iam_rules.check_identity_document(text)


def test_white_space_does_not_count() -> None:
    assert iam_rules.weight(' {\n\t"a": 1\r}') == len('{"a":1}')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*TRUST, *ALLOW, "Statement", "Version", "Sid", "Condition", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    for check in (iam_rules.check_trust_document, iam_rules.check_managed_document):
        for text in (json.dumps(value), document(value)):
            assert refusal(check, text) in ("", "MalformedPolicyDocument", "LimitExceeded")


@given(st.text())
def test_any_text_is_refused_as_a_policy(text: str) -> None:
    with pytest.raises(Refused):
        iam_rules.check_identity_document(text)


def test_json_that_nests_too_deeply_is_refused() -> None:
    with pytest.raises(Refused):
        iam_rules.check_identity_document("[" * 100_000)


@given(st.text())
def test_a_marker_comes_back_as_the_key_it_stands_for(key: str) -> None:
    assert iam_rules.decode_marker(iam_rules.encode_marker(key)) == key


@given(st.text())
def test_any_marker_is_a_key_or_refused(marker: str) -> None:
    assert refusal(iam_rules.decode_marker, marker) in ("", "ValidationError")


@pytest.mark.parametrize(
    ("arn", "parts"),
    [
        ("arn:aws:iam::aws:policy/service-role/AWSLambdaRole", ("aws", "/service-role/", "AWSLambdaRole")),
        ("arn:aws:iam::123456789012:policy/p", ("123456789012", "/", "p")),
        ("arn:aws:iam::123456789012:policy/a/b/p", ("123456789012", "/a/b/", "p")),
    ],
)
def test_a_policy_arn_has_an_owner_a_path_and_a_name(arn: str, parts: tuple[str, str, str]) -> None:
    assert iam_rules.parse_policy_arn(arn) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn:aws:iam::aws:policy/",
        "arn:aws:iam::12:policy/p",
        "arn:aws:iam::aws:role/p",
        "arn:aws:iam::aws:policy/p\n",
    ],
)
def test_other_texts_are_no_policy_arn(text: str) -> None:
    with pytest.raises(Refused, match="is not valid"):
        iam_rules.parse_policy_arn(text)


def test_tags_keep_their_newest_spelling() -> None:
    merged = iam_rules.merged_tags({"Team": "a"}, [{"Key": "team", "Value": "b"}])
    assert merged == {"team": "b"}
    assert iam_rules.without_tags(merged, ["TEAM"]) == {}
