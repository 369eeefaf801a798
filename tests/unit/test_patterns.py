"""Event patterns match as AWS documents and recordings show, and refuse what breaks the grammar."""

from typing import Any

import pytest

from eventrt.core.operators import PatternError
from eventrt.core.patterns import TOPICS, compile_pattern

EVENT = {
    "version": "0",
    "source": "aws.ec2",
    "account": "111122223333",
    "region": "us-west-2",
    "resources": ["arn:aws:ec2:us-west-2:111122223333:instance/i-1", "other"],
    "detail": {
        "state": "terminated",
        "responsible": None,
        "empty": "",
        "count": 5,
        "price": 300.0,
        "flag": True,
        "ip": "10.0.0.17",
        "ip6": "2001:db8::1",
        "file": "dir/Photo.PNG",
        "tags": [],
        "items": [{"kind": "a", "size": 1}, {"kind": "b", "size": 2}],
        "matrix": [[1, 2], [3]],
    },
}


@pytest.mark.parametrize(
    "pattern",
    [
        {"source": ["aws.ec2"]},
        {"source": ["aws.s3", "aws.ec2"]},
        {"source": ["aws.ec2"], "detail": {"state": ["terminated"]}},
        {"detail": {"responsible": [None]}},
        {"detail": {"empty": [""]}},
        {"detail": {"flag": [True]}},
        {"detail": {"price": [300]}},
        {"detail": {"count": [5.0]}},
        {"resources": ["other"]},
        {"resources": [{"prefix": "arn:aws:ec2"}]},
        {"region": [{"prefix": "us-"}]},
        {"region": [{"prefix": ""}]},
        {"region": [{"prefix": {"equals-ignore-case": "US-"}}]},
        {"detail": {"file": [{"suffix": ".PNG"}]}},
        {"detail": {"file": [{"suffix": {"equals-ignore-case": ".png"}}]}},
        {"detail": {"state": [{"equals-ignore-case": "TERMinated"}]}},
        {"detail": {"state": [{"anything-but": "initializing"}]}},
        {"detail": {"state": [{"anything-but": ["stopped", "overloaded"]}]}},
        {"detail": {"count": [{"anything-but": [1, 2]}]}},
        {"detail": {"responsible": [{"anything-but": "x"}]}},
        {"detail": {"count": [{"anything-but": {"prefix": "init"}}]}},
        {"detail": {"state": [{"anything-but": {"prefix": ["init", "start"]}}]}},
        {"detail": {"state": [{"anything-but": {"suffix": "ing"}}]}},
        {"detail": {"state": [{"anything-but": {"equals-ignore-case": ["STOPPED"]}}]}},
        {"detail": {"file": [{"anything-but": {"wildcard": "*/lib/*"}}]}},
        {"detail": {"count": [{"numeric": ["=", 5]}]}},
        {"detail": {"count": [{"numeric": [">", 0, "<=", 5]}]}},
        {"detail": {"count": [{"numeric": ["<", 5.5]}]}},
        {"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}},
        {"detail": {"ip6": [{"cidr": "2001:db8::/32"}]}},
        {"detail": {"file": [{"wildcard": "dir/*.PNG"}]}},
        {"detail": {"file": [{"wildcard": "*/Ph*.P*"}]}},
        {"detail": {"empty": [{"wildcard": ""}]}},
        {"detail": {"state": [{"exists": True}]}},
        {"detail": {"missing": [{"exists": False}]}},
        {"nowhere": {"missing": [{"exists": False}]}},
        {"source": {"missing": [{"exists": False}]}},
        {"detail": {"items": [{"exists": False}]}},
        {"detail": {"missing": [{"anything-but": ["roses"]}, {"exists": False}]}},
        {"detail": {"items": {"kind": ["b"], "size": [2]}}},
        {"detail": {"matrix": [3]}},
        {"detail.state": ["terminated"]},
        {"$or": [{"source": ["no"]}, {"detail": {"count": [5]}}]},
        {"detail": {"$or": [{"state": ["x"]}, {"count": [{"numeric": [">", 1]}]}]}},
        {"source": ["aws.ec2"], "$or": [{"region": ["us-west-2"]}, {"region": ["eu-west-1"]}]},
    ],
)
def test_it_matches(pattern: Any) -> None:
    assert compile_pattern(pattern)(EVENT)


@pytest.mark.parametrize(
    "pattern",
    [
        {"source": ["aws.s3"]},
        {"source": ["AWS.ec2"]},
        {"detail": {"count": ["5"]}},
        {"version": [0]},
        {"detail": {"flag": [1]}},
        {"detail": {"count": [True]}},
        {"detail": {"state": [None]}},
        {"detail": {"missing": [None]}},
        {"detail": {"missing": [{"anything-but": "x"}]}},
        {"detail": {"state": [{"anything-but": ["terminated"]}]}},
        {"detail": {"state": [{"anything-but": {"equals-ignore-case": "TERMINATED"}}]}},
        {"detail": {"price": [{"anything-but": 300}]}},
        {"version": [{"numeric": ["=", 0]}]},
        {"detail": {"flag": [{"numeric": ["=", 1]}]}},
        {"detail": {"responsible": [{"numeric": ["=", 0]}]}},
        {"detail": {"count": [{"numeric": [">", 5, "<", 9]}]}},
        {"detail": {"ip": [{"cidr": "10.0.1.0/24"}]}},
        {"detail": {"state": [{"cidr": "10.0.1.0/24"}]}},
        {"detail": {"file": [{"wildcard": "*.png"}]}},
        {"detail": {"state": [{"wildcard": ""}]}},
        {"detail": [{"exists": True}]},
        {"detail": {"state": [{"exists": False}]}},
        {"detail": {"tags": [{"exists": True}]}},
        {"detail": {"tags": [None]}},
        {"detail": {"items": {"kind": ["a"], "size": [2]}}},
        {"detail": {"items": {"kind": [{"exists": False}]}}},
        {"$or": [{"source": ["no"]}, {"detail": {"count": [6]}}]},
        {"source": ["aws.s3"], "$or": [{"region": ["us-west-2"]}, {"region": ["eu-west-1"]}]},
    ],
)
def test_it_does_not_match(pattern: Any) -> None:
    assert not compile_pattern(pattern)(EVENT)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ([], "Filter is not an object"),
        ({}, "Empty event pattern is not allowed"),
        ({"a": "b"}, '"a" must be an object or an array'),
        ({"a": 1}, '"a" must be an object or an array'),
        ({"a": []}, "Empty arrays are not allowed"),
        ({"a": {}}, '"a" must be an object or an array'),
        ({"a": [["b"]]}, "Match value must be String, number, true, false, or null"),
        ({"a": [{"like": "b"}]}, "Unrecognized match type like"),
        ({"a": [{"prefix": "b", "suffix": "c"}]}, "Only one key allowed in match expression"),
        ({"a": [{"prefix": 1}]}, "prefix match pattern must be a string"),
        ({"a": [{"suffix": None}]}, "suffix match pattern must be a string"),
        ({"a": [{"exists": "yes"}]}, "exists match pattern must be either true or false."),
        ({"a": [{"exists": 0}]}, "exists match pattern must be either true or false."),
        ({"a": [{"equals-ignore-case": 1}]}, "equals-ignore-case match pattern must be a string"),
        ({"a": [{"wildcard": 1}]}, "wildcard match pattern must be a string"),
        ({"a": [{"wildcard": "a**b"}]}, "Consecutive wildcard characters at pos 1"),
        ({"a": [{"wildcard": "a\\b"}]}, "Invalid escape character at pos 1"),
        ({"a": [{"numeric": 1}]}, "Value of numeric must be an array."),
        ({"a": [{"numeric": ["<", "1"]}]}, "Value of < must be numeric"),
        ({"a": [{"numeric": ["=", None]}]}, "Value of equals must be numeric"),
        ({"a": [{"numeric": ["~", 1]}]}, "Unrecognized numeric range operator: ~"),
        ({"a": [{"numeric": [">", 1, ">", 2]}]}, "Bad numeric range operator: >"),
        ({"a": [{"numeric": [">", 2, "<", 1]}]}, "Bottom must be less than top"),
        ({"a": [{"numeric": ["=", 1, "=", 2]}]}, "Too many elements in numeric expression"),
        ({"a": [{"numeric": [">", 1, "<", 2, "<", 3]}]}, "Too many terms in numeric range expression"),
        ({"a": [{"cidr": "10.0.0.0"}]}, "Malformed CIDR, one '/' required"),
        ({"a": [{"cidr": "10.0.0.0/x"}]}, "Malformed CIDR, mask bits must be an integer"),
        ({"a": [{"cidr": "10.0.0/8"}]}, "Nonstandard IP address: 10.0.0"),
        ({"a": [{"anything-but": []}]}, "Empty arrays are not allowed"),
        ({"a": [{"anything-but": [None]}]}, "Inside anything but list, start|null|boolean is not supported."),
        ({"a": [{"anything-but": {"prefix": ""}}]}, "Null prefix/suffix not allowed"),
        ({"a": [{"anything-but": {"numeric": 1}}]}, "Unsupported anything-but pattern: numeric"),
    ],
)
def test_a_broken_pattern_is_refused_with_its_reason(pattern: Any, reason: str) -> None:
    with pytest.raises(PatternError) as refusal:
        compile_pattern(pattern)
    assert refusal.value.reason == reason


def test_too_many_combinations_of_or_are_refused() -> None:
    choice = {"$or": [{f"k{number}": ["x"]} for number in range(11)]}
    with pytest.raises(PatternError, match="too complex"):
        compile_pattern({"a": choice, "b": choice, "c": choice})


def test_an_or_that_is_no_array_of_objects_is_an_ordinary_field() -> None:
    assert compile_pattern({"$or": ["x"]})({"$or": "x"})


def test_a_dotted_key_of_an_event_is_nesting() -> None:
    assert compile_pattern({"a": {"b": {"c": ["x"]}}})({"a.b": {"c": "x"}})
    assert compile_pattern({"a": {"b": {"c": ["x"]}}})({"a": {"b.c": "x"}})


def test_a_wildcard_may_escape_its_star() -> None:
    assert compile_pattern({"a": [{"wildcard": "1\\*2*"}]})({"a": "1*2=2"})
    assert not compile_pattern({"a": [{"wildcard": "1\\*2*"}]})({"a": "1x2=2"})


def test_a_wildcard_takes_linear_time() -> None:
    pattern = compile_pattern({"a": [{"wildcard": "*".join("a" * 200) + "*b"}]})
    assert not pattern({"a": "a" * 20_000})


def test_topic_policies_know_neither_wildcards_nor_nesting_by_dots() -> None:
    with pytest.raises(PatternError, match="Unrecognized match type wildcard"):
        compile_pattern({"a": [{"wildcard": "*"}]}, TOPICS)
    with pytest.raises(PatternError, match="Unsupported anything-but pattern: suffix"):
        compile_pattern({"a": [{"anything-but": {"suffix": "x"}}]}, TOPICS)
    assert compile_pattern({"a.b": ["x"]}, TOPICS)({"a.b": "x"})
    assert not compile_pattern({"a.b": ["x"]}, TOPICS)({"a": {"b": "x"}})
