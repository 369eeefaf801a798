"""The expression language of tables: what it says yes to, what it does to an item, what it refuses and how."""

from typing import Any

import pytest

from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.expressions import Expressions
from eventrt.core.tables.projections import project
from eventrt.core.tables.updates import apply_update

ITEM = {
    "id": {"S": "a1"},
    "n": {"N": "5"},
    "name_": {"S": "Ada Lovelace"},
    "colors": {"SS": ["red", "blue"]},
    "l": {"L": [{"N": "1"}, {"S": "two"}, {"M": {"deep": {"BOOL": True}}}]},
    "m": {"M": {"x": {"N": "1"}, "y": {"M": {"z": {"S": "zz"}}}}},
    "nothing": {"NULL": True},
    "bin": {"B": b"\x01\x02"},
}
VALUES: dict[str, Any] = {
    ":five": {"N": "5.0"},
    ":one": {"N": "1"},
    ":ten": {"N": "10"},
    ":s": {"S": "Ada"},
    ":red": {"S": "red"},
    ":t": {"S": "N"},
    ":list": {"L": [{"S": "new"}]},
    ":set": {"SS": ["red", "green"]},
    ":map": {"M": {}},
    ":bytes": {"B": b"\x01"},
}
NAMES = {"#n": "n", "#size": "size", "#absent": "absent"}


def condition(text: str) -> bool:
    return Expressions(NAMES, VALUES).condition("ConditionExpression", text)(ITEM)


@pytest.mark.parametrize(
    "text",
    [
        "n = :five",
        "#n = :five",
        "n <> :one",
        "#absent <> :one",
        "n BETWEEN :one AND :ten",
        "n IN (:one, :five)",
        "n > :one and n < :ten",
        "NOT n = :one",
        "n = :one OR n = :five",
        "n = :one AND n = :one OR n = :five",
        "(n = :one OR n = :five) AND id <> :s",
        "begins_with(name_, :s)",
        "begins_with(bin, :bytes)",
        "contains(colors, :red)",
        "contains(name_, :s)",
        "contains(l, :one)",
        "attribute_exists(nothing)",
        "attribute_exists(m.y.z)",
        "attribute_not_exists(m.y.q)",
        "attribute_not_exists(l[7])",
        "attribute_type(n, :t)",
        "size(name_) > :ten",
        "size(colors) < :ten",
        "l[0] = :one",
        "l[0] = m.x",
        "attribute_exists(l[2].deep)",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert condition(text)


@pytest.mark.parametrize(
    "text",
    ["n = :s", "name_ > :one", "#absent = :one", "#absent < :one", "n < :five", "contains(n, :one)", "size(n) > :one"],
)
def test_values_of_different_types_and_missing_ones_compare_as_false(text: str) -> None:
    assert not condition(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The expression can not be empty;"),
        ("n = ", 'Syntax error; token: "<EOF>", near: "="'),
        ("n = :one :one", 'Syntax error; token: ":one", near: ":one :one"'),
        ("n ! :one", 'Syntax error; token: "!", near: "n ! :one"'),
        ("size = :one", "Attribute name is a reserved keyword; reserved keyword: size"),
        (
            "#who = :one",
            "An expression attribute name used in the document path is not defined; attribute name: #who",
        ),
        ("n = :who", "An expression attribute value used in expression is not defined; attribute value: :who"),
        ("foo(n)", "Invalid function name; function: foo"),
        (
            "n = begins_with(n, :s)",
            "The function is not allowed to be used this way in an expression; function: begins_with",
        ),
        (
            "if_not_exists(n, :one)",
            "The function is not allowed in a condition expression; function: if_not_exists",
        ),
        (
            "begins_with(n)",
            (
                "Incorrect number of operands for operator or function; "
                "operator or function: begins_with, number of operands: 1"
            ),
        ),
        (
            "begins_with(n, :one)",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        ("n < :map", "Incorrect operand type for operator or function; operator or function: <, operand type: M"),
        (
            "n = n",
            (
                "The first operand must be distinct from the remaining operands for this operator or function; "
                "operator: =, first operand: [n]"
            ),
        ),
        (
            "n BETWEEN :five AND :one",
            (
                "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; "
                "lower bound operand: AttributeValue: {N:5}, upper bound operand: AttributeValue: {N:1}"
            ),
        ),
        ("((n = :one))", "The expression has redundant parentheses;"),
        ("((n = :one AND n = :five))", "The expression has redundant parentheses;"),
    ],
)
def test_a_bad_condition_is_refused_in_dynamodbs_words(text: str, message: str) -> None:
    with pytest.raises(TableError) as error:
        Expressions(NAMES, VALUES).condition("ConditionExpression", text)
    assert str(error.value) == f"Invalid ConditionExpression: {message}"


def test_names_and_values_that_nothing_uses_are_refused() -> None:
    expressions = Expressions({"#a": "a", "#b": "b"}, {":v": {"N": "1"}, ":w": {"N": "2"}})
    expressions.condition("FilterExpression", "#a = :v")
    with pytest.raises(TableError, match=r"ExpressionAttributeNames unused in expressions: keys: \{#b\}"):
        expressions.check_all_used()


def update(text: str) -> dict[str, Any]:
    expressions = Expressions(NAMES, VALUES)
    return apply_update(expressions.update(text), ITEM, expressions.values)


def test_set_reads_the_item_as_it_was_before_the_update() -> None:
    after = update("SET n = n + :one, was = n, fresh = if_not_exists(#absent, :ten)")
    assert (after["n"], after["was"], after["fresh"]) == ({"N": "6"}, {"N": "5"}, {"N": "10"})
    assert ITEM["n"] == {"N": "5"}


def test_lists_grow_at_their_ends_and_close_ranks_when_members_go() -> None:
    assert update("SET l = list_append(:list, l)")["l"]["L"][0] == {"S": "new"}
    assert len(update("SET l[9] = :one")["l"]["L"]) == 4
    assert update("REMOVE l[0], l[1]")["l"]["L"] == [ITEM["l"]["L"][2]]  # type: ignore[index]


def test_add_counts_and_joins_and_delete_takes_members_away() -> None:
    assert update("ADD n :one")["n"] == {"N": "6"}
    assert update("ADD #absent :ten")["absent"] == {"N": "10"}
    assert set(update("ADD colors :set")["colors"]["SS"]) == {"red", "blue", "green"}
    assert update("DELETE colors :set")["colors"] == {"SS": ["blue"]}


def test_a_set_that_loses_its_last_member_is_gone() -> None:
    expressions = Expressions(None, {":all": {"SS": ["red", "blue"]}})
    assert "colors" not in apply_update(expressions.update("DELETE colors :all"), ITEM, expressions.values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SET a = :one SET b = :one", 'The "SET" section can only be used once in an update expression;'),
        (
            "SET a = :one, a.b = :one",
            (
                "Two document paths overlap with each other; must remove or rewrite one of these paths; "
                "path one: [a], path two: [a, b]"
            ),
        ),
        (
            "SET a[0] = :one, a.b = :one",
            (
                "Two document paths conflict with each other; must remove or rewrite one of these paths; "
                "path one: [a, [0]], path two: [a, b]"
            ),
        ),
        ("SET a = size(n)", "The function is not allowed in an update expression; function: size"),
        ("UPDATE a", 'Syntax error; token: "UPDATE", near: "UPDATE a"'),
        (
            "ADD n :s",
            (
                "Incorrect operand type for operator or function; operator: ADD, operand type: STRING, "
                "typeSet: ALLOWED_FOR_ADD_OPERAND"
            ),
        ),
        (
            "SET n = n + :s",
            "Incorrect operand type for operator or function; operator or function: +, operand type: S",
        ),
    ],
)
def test_a_bad_update_is_refused_in_dynamodbs_words(text: str, message: str) -> None:
    with pytest.raises(TableError) as error:
        Expressions(NAMES, VALUES).update(text)
    assert str(error.value) == f"Invalid UpdateExpression: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SET m.q.r = :one", "The document path provided in the update expression is invalid for update"),
        ("SET n.x = :one", "The document path provided in the update expression is invalid for update"),
        ("SET n = id + :one", "An operand in the update expression has an incorrect data type"),
        ("SET n = #absent + :one", "The provided expression refers to an attribute that does not exist in the item"),
        ("ADD id :one", "An operand in the update expression has an incorrect data type"),
    ],
)
def test_an_update_that_does_not_fit_the_item_is_refused(text: str, message: str) -> None:
    with pytest.raises(TableError) as error:
        update(text)
    assert str(error.value) == message


def test_a_projection_shows_the_named_parts_nested_as_they_were() -> None:
    paths = Expressions(NAMES).projection("id, m.y.z, l[2].deep, l[0], #absent")
    assert project(ITEM, paths) == {
        "id": {"S": "a1"},
        "m": {"M": {"y": {"M": {"z": {"S": "zz"}}}}},
        "l": {"L": [{"N": "1"}, {"M": {"deep": {"BOOL": True}}}]},
    }


@pytest.mark.parametrize("values", ["text", ["list"], True, 1])
def test_values_that_are_no_map_are_malformed(values: Any) -> None:
    with pytest.raises(Malformed):
        Expressions(None, values)
