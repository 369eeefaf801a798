"""Keys, ranges, plans and limits of tables, without a store."""

from itertools import pairwise
from typing import Any

import pytest

from eventrt.core.streams import Shard
from eventrt.core.tables.capacity import Capacity, read_units, write_units
from eventrt.core.tables.changes import sequence_number, sequence_of, shard_name
from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.expressions import Expressions
from eventrt.core.tables.keyconditions import bound, range_of
from eventrt.core.tables.partiql import Select, parse_statement
from eventrt.core.tables.plans import key_in, plan_of
from eventrt.core.tables.schema import KeySchema, Table, after_prefix, key_of, segment_bounds
from eventrt.core.tables.values import checked_item, size_of_item

SCHEMA = KeySchema("id", "S", "n", "N")
TEXTS = KeySchema("id", "S", "t", "S")


def test_keys_sort_as_their_values_do() -> None:
    numbers = ["-1000", "-2.5", "-2", "-0.001", "0", "0.1", "1", "1.05", "9", "10", "1E20"]
    keys = [key_of(SCHEMA, {"id": {"S": "a"}, "n": {"N": number}}) for number in numbers]
    assert keys == sorted(keys)
    assert len({key.partition for key in keys}) == 1


@pytest.mark.parametrize(
    ("prefix", "bound"), [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"ab", b"ac"), (b"", None)]
)
def test_what_begins_with_a_prefix_lies_below_its_bound(prefix: bytes, bound: bytes | None) -> None:
    assert after_prefix(prefix) == bound


def test_a_prefix_selects_the_texts_that_begin_with_it() -> None:
    expressions = Expressions(None, {":id": {"S": "a"}, ":p": {"S": "ab"}})
    asked = expressions.key_conditions("id = :id AND begins_with(t, :p)")
    bounds = range_of(bound(asked, expressions.values), TEXTS).bounds
    assert (bounds.low, bounds.high, bounds.high_included) == (b"ab", b"ac", False)


def test_segments_cover_everything_once() -> None:
    bounds = [segment_bounds(segment, 7) for segment in range(7)]
    assert bounds[0].low == b"\x00" * 8
    assert bounds[-1].high is None
    assert all(one.high == two.low for one, two in pairwise(bounds))


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": {"S": "é"}}, 3),
        ({"a": {"N": "123"}}, 4),
        ({"ab": {"BOOL": True}}, 3),
        ({"a": {"L": [{"S": "x"}]}}, 6),
        ({"a": {"M": {"b": {"N": "1"}}}}, 8),
        ({"a": {"SS": ["x", "yz"]}}, 4),
        ({"a": {"B": b"1234"}}, 5),
    ],
)
def test_items_weigh_what_the_guide_says(item: dict[str, Any], size: int) -> None:
    assert size_of_item(item) == size


@pytest.mark.parametrize(
    "value", ["x", [], 5, {"S": 5}, {"L": {}}, {"M": []}, {"BOOL": "true"}, {"B": "%"}, {"NS": [1]}]
)
def test_values_of_the_wrong_json_type_are_malformed(value: Any) -> None:
    with pytest.raises(Malformed):
        checked_item({"a": value})


def test_capacity_is_counted_in_whole_units() -> None:
    assert [read_units(size, consistent=True) for size in (0, 1, 4096, 4097)] == [1, 1, 1, 2]
    assert read_units(4097, consistent=False) == 1.0
    assert [write_units(size) for size in (0, 1024, 1025)] == [1, 1, 2]
    capacity = Capacity(Table(1, "0", "r", "t", "u", SCHEMA, 0.0))
    capacity.add(2.0)
    capacity.add(1.0, "i")
    assert capacity.shown("TOTAL") == {"TableName": "t", "CapacityUnits": 3.0}


def test_sequence_numbers_order_as_the_records_do() -> None:
    numbers = [sequence_number(sequence) for sequence in (0, 1, 9, 10, 10**12)]
    assert numbers == sorted(numbers)
    assert all(21 <= len(number) <= 40 for number in numbers)
    assert [sequence_of(number) for number in numbers] == [0, 1, 9, 10, 10**12]
    assert sequence_of("12") is sequence_of("x" * 25) is sequence_of("2" + "0" * 24) is None


def test_shards_have_names_of_their_own() -> None:
    names = {shard_name(Shard(1, 1, index, 1, 1_700_000_000.123)) for index in range(3)}
    assert len(names) == 3
    assert all(name.startswith("shardId-00000001700000000123-") and len(name) == 37 for name in names)


@pytest.mark.parametrize(
    "text",
    ["(" * 200 + "a = :a" + ")" * 200, "NOT " * 301 + "a = :a", " AND ".join(["a = :a"] * 302)],
)
def test_what_nests_without_end_is_refused(text: str) -> None:
    with pytest.raises(TableError):
        Expressions(None, {":a": {"S": "x"}}).condition("ConditionExpression", text)
    with pytest.raises(TableError, match="nests too deeply"):
        Expressions(None, {":a": {"S": "x"}}).update("SET a = " + "if_not_exists(a, " * 150 + ":a" + ")" * 150)


def test_a_parse_serves_every_request_of_its_text_and_types() -> None:
    one = Expressions({"#a": "x"}, {":v": {"N": "1"}}).condition("FilterExpression", "#a > :v")
    two = Expressions({"#a": "y"}, {":v": {"N": "5"}}).condition("FilterExpression", "#a > :v")
    assert one({"x": {"N": "2"}})
    assert not two({"x": {"N": "9"}})
    assert two({"y": {"N": "9"}})
    with pytest.raises(TableError, match="operand type: BOOL"):
        Expressions({"#a": "x"}, {":v": {"BOOL": True}}).condition("FilterExpression", "#a > :v")
    for low, high in (("1", "2"), ("2", "1"), ("3", "4")):
        expressions = Expressions(None, {":l": {"N": low}, ":h": {"N": high}})
        if low > high:
            with pytest.raises(TableError, match="requires upper bound"):
                expressions.condition("FilterExpression", "a BETWEEN :l AND :h")
        else:
            assert expressions.condition("FilterExpression", "a BETWEEN :l AND :h")({"a": {"N": low}})


# -- statements


def select(where: str, *parameters: Any) -> Select:
    statement = parse_statement(f"SELECT * FROM t WHERE {where}", list(parameters))
    assert isinstance(statement, Select)
    return statement


@pytest.mark.parametrize(
    ("where", "partitions"),
    [
        ("id = 'a'", 1),
        ("'a' = id AND n > 5", 1),
        ("id IN ['a', 'b', 'a']", 2),
        ("n = 5", None),
        ("id = 'a' OR id = 'b'", None),
        ("NOT id = 'a'", None),
        ("id = 'a' AND (n = 1 OR n = 2)", 1),
    ],
)
def test_a_where_says_which_partitions_to_read(where: str, partitions: int | None) -> None:
    statement = select(where)
    ranges = plan_of(statement.where, statement.values, SCHEMA).ranges
    assert (len(ranges) if ranges is not None else None) == partitions


def test_a_where_names_a_key_in_full_or_not() -> None:
    statement = select("id = ? AND n = 5 AND v = 'x'", {"S": "a"})
    assert key_in(statement.where, statement.values, SCHEMA) == ({"id": {"S": "a"}, "n": {"N": "5"}}, True)
    statement = select("id = 'a' AND n >= 5")
    with pytest.raises(TableError, match="mandatory equality"):
        key_in(statement.where, statement.values, SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "SELECT",
        "SELECT * FROM t WHERE a =",
        "INSERT INTO t VALUE 5",
        "INSERT INTO t VALUE {'a': " + "[" * 40 + "]" * 40 + "}",
        "UPDATE t SET a = " + "[" * 40 + "]" * 40 + " WHERE b = 1",
        "UPDATE t WHERE a = 1",
        "SELECT 'x' FROM t",
        "DELETE FROM t",
        "UPDATE t SET a = 1, a = 2 WHERE b = 1",
        "INSERT INTO t VALUE {'a': <<1, 'x'>>}",
        "SELECT * FROM t WHERE a = ?",
        "INSERT INTO t VALUE {'a': " + "[" * 300,
        "SELECT * FROM t; SELECT * FROM t",
        "%",
    ],
)
def test_what_is_no_statement_is_refused(text: str) -> None:
    with pytest.raises(TableError):
        parse_statement(text, [])
