"""Laws of event patterns: each operator against its plain meaning, and no input that surprises the compiler."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.core.filters import compile_filters
from eventrt.core.operators import PatternError
from eventrt.core.patterns import RULES, TOPICS, compile_pattern

keys = st.sampled_from(("a", "b", "c", "a.b", "body", "$or"))
texts = st.text("abAB*.\\ß", max_size=6)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5, width=16) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)
events = st.dictionaries(keys, values, max_size=4)
operators = st.sampled_from(
    ("prefix", "suffix", "equals-ignore-case", "anything-but", "numeric", "exists", "cidr", "wildcard", "x")
)
anything = st.recursive(
    scalars | st.sampled_from(("=", "<", ">=", "10.0.0.0/8", "::/0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys | operators, inner, max_size=3),
    max_leaves=15,
)


def matches(alternatives: list[Any], value: Any) -> bool:
    return compile_pattern({"k": alternatives})({"k": value})


@given(anything, events, st.sampled_from((RULES, TOPICS)))
@settings(max_examples=1000)
def test_any_pattern_is_refused_with_a_reason_or_answers_for_any_event(pattern: Any, event: Any, dialect: Any) -> None:
    try:
        test = compile_pattern(pattern, dialect)
    except PatternError:
        return
    assert test(event) in (True, False)


@given(st.dictionaries(keys, anything, max_size=3), texts | events.map(json.dumps))
@settings(max_examples=500)
def test_any_filter_is_refused_or_answers_for_any_body(pattern: Any, body: str) -> None:
    try:
        test = compile_filters([json.dumps(pattern)])
    except PatternError:
        return
    assert test is not None
    assert test({"body": body, "messageId": "m"}) in (True, False)


def pattern_of(value: Any) -> Any:
    """The pattern that asks for exactly the leaves of an object."""
    if isinstance(value, dict):
        return {key: pattern_of(inner) for key, inner in value.items()}
    return [value]


plain = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(scalars, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)),
    min_size=1,
    max_size=3,
)


@given(plain)
def test_an_event_matches_the_pattern_of_its_own_leaves(event: dict[str, Any]) -> None:
    assert compile_pattern(pattern_of(event))(event)


@given(plain, st.sampled_from("abc"))
def test_a_pattern_asks_for_nothing_that_it_does_not_name(event: dict[str, Any], extra: str) -> None:
    assert compile_pattern(pattern_of(event))({**event, "zz" + extra: {"more": 1}})


@given(texts, texts)
def test_operators_on_text_mean_what_they_say(asked: str, value: str) -> None:
    assert matches([{"prefix": asked}], value) == value.startswith(asked)
    assert matches([{"suffix": asked}], value) == value.endswith(asked)
    assert matches([{"equals-ignore-case": asked}], value) == (value.casefold() == asked.casefold())
    assert matches([asked], value) == (asked == value)


@given(scalars.filter(lambda value: value is not None and not isinstance(value, bool)), scalars)
def test_anything_but_is_the_opposite_of_the_value_itself(asked: Any, value: Any) -> None:
    assert matches([{"anything-but": [asked]}], value) != matches([asked], value)


@given(texts.filter(bool), scalars, st.sampled_from(("prefix", "suffix", "equals-ignore-case")))
def test_anything_but_is_the_opposite_of_the_operator_in_it(asked: str, value: Any, operator: str) -> None:
    assert matches([{"anything-but": {operator: asked}}], value) != matches([{operator: asked}], value)


@given(st.floats(-10, 10), st.floats(-10, 10), scalars)
def test_numeric_compares_numbers_and_nothing_else(low: float, high: float, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    assert matches([{"numeric": ["<=", high]}], value) == (is_number and value <= high)
    assert matches([{"numeric": ["=", low]}], value) == (is_number and value == low)
    if low < high:
        assert matches([{"numeric": [">", low, "<", high]}], value) == (is_number and low < value < high)


def wildcard_matches(pattern: str, value: str) -> bool:
    """The plain meaning of a wildcard without escapes: try every split."""
    if not pattern:
        return not value
    if pattern[0] == "*":
        return any(wildcard_matches(pattern[1:], value[start:]) for start in range(len(value) + 1))
    return bool(value) and value[0] == pattern[0] and wildcard_matches(pattern[1:], value[1:])


@given(st.text("ab*", max_size=8).filter(lambda text: "**" not in text), st.text("ab", max_size=10))
@settings(max_examples=500)
def test_a_wildcard_matches_as_trying_every_split_would(asked: str, value: str) -> None:
    assert matches([{"wildcard": asked}], value) == wildcard_matches(asked, value)


@given(st.lists(scalars, min_size=1, max_size=4), st.lists(scalars, max_size=4))
def test_arrays_match_when_they_have_a_value_in_common(asked: list[Any], value: list[Any]) -> None:
    assert matches(asked, value) == any(matches(asked, element) for element in value)


@given(plain, plain, plain)
def test_or_is_either_of_its_patterns(first: dict[str, Any], second: dict[str, Any], event: dict[str, Any]) -> None:
    either = compile_pattern({"$or": [pattern_of(first), pattern_of(second)]})
    assert either(event) == any(compile_pattern(pattern_of(choice))(event) for choice in (first, second))


@given(plain, st.sampled_from("abc"))
def test_exists_and_its_opposite_never_agree(event: dict[str, Any], key: str) -> None:
    present = compile_pattern({key: [{"exists": True}]})(event)
    assert present != compile_pattern({key: [{"exists": False}]})(event)
    assert present == (key in event and not isinstance(event[key], dict))
