"""What is done in a quick way where it is common comes out as the plain way says."""

import base64
import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from eventrt.api import PollerContext, Written
from eventrt.core.streams import Route, Shard, Stream, StreamRecord, even_ranges, hash_key_of, sequence_number
from eventrt.core.tables import changes, numbers, values
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.expressions import Expressions
from eventrt.pollers import dynamodb, kinesis
from eventrt.pollers.stream_events import records_event
from eventrt.store.items import decode, encode

# -- tables

names = st.one_of(
    st.sampled_from(["id", "S", "N", "B", "BS", "M", "userIdentity", "PrincipalId", 'a"B":', "\u00e9"]),
    st.text(min_size=1, max_size=5),
).filter(lambda name: not any("\ud800" <= letter <= "\udfff" for letter in name))
texts = st.one_of(st.sampled_from(["", '"B":', '"userIdentity":{"PrincipalId"', "\u00e9\u4e2d\U0001f600"]), names)
plain = st.integers(0, 10**20).map(str)
numerals = st.one_of(
    plain,
    st.sampled_from(["0", "00", "-0", "007", "1e3", "0.10", ".5", "+4", "100", "1000", "-100", "1E-130", "9e125"]),
    st.builds(
        lambda sign, digits, at: f"{sign}{digits[:at]}.{digits[at:]}0",
        st.sampled_from(["", "-", "+"]),
        st.integers(1, 10**18).map(str),
        st.integers(1, 18),
    ),
)
bytestrings = st.binary(max_size=6)
scalars = st.one_of(
    texts.map(lambda text: {"S": text}),
    numerals.map(lambda number: {"N": number}),
    bytestrings.map(lambda content: {"B": content}),
    st.booleans().map(lambda flag: {"BOOL": flag}),
    st.just({"NULL": True}),
    st.lists(texts, min_size=1, max_size=3, unique=True).map(lambda members: {"SS": members}),
    st.lists(st.integers(-9, 999), min_size=1, max_size=3, unique=True).map(lambda ones: {"NS": [*map(str, ones)]}),
    st.lists(bytestrings, min_size=1, max_size=3, unique=True).map(lambda members: {"BS": members}),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda members: {"L": members}),
        st.dictionaries(names, inner, max_size=3).map(lambda members: {"M": members}),
    ),
    max_leaves=8,
)
items = st.dictionaries(names, anything, max_size=5)


@given(items)
def test_an_item_is_checked_as_each_of_its_values_is(item: dict[str, Any]) -> None:
    assert values.checked_item(item) == {name: values.checked(value) for name, value in item.items()}


@given(st.sampled_from([{"S": 1}, {"S": None}, {"N": 1}, {"N": "x"}, {"S": "a", "N": "1"}, {}, {"Q": "1"}, {"B": "!"}]))
def test_an_item_is_refused_as_its_value_is(value: dict[str, Any]) -> None:
    refusals = []
    for check in (values.checked, lambda value: values.checked_item({"a": value})):
        try:
            check(value)  # type: ignore[operator]
        except Exception as error:
            refusals.append((type(error), str(error)))
    assert len(refusals) == 2
    assert refusals[0] == refusals[1]


@given(items)
def test_an_item_weighs_what_its_parts_do(item: dict[str, Any]) -> None:
    checked = values.checked_item(item)
    expected = sum(len(name.encode()) + values.size_of(value) for name, value in checked.items())
    assert values.size_of_item(checked) == expected


@given(items)
def test_an_item_comes_back_as_it_was_kept(item: dict[str, Any]) -> None:
    checked = values.checked_item(item)
    wire = encode(checked)
    assert decode(wire) == checked
    shown = json.dumps(checked, default=lambda content: base64.b64encode(content).decode())
    assert json.loads(wire) == json.loads(shown)


@given(numerals)
def test_a_number_has_one_text_one_place_and_one_weight(text: str) -> None:
    try:
        number = numbers.number_of(text)
    except TableError:
        return
    shown = numbers.text_of(number)
    assert numbers.canonical(text) == shown
    assert numbers.sortable(text) == numbers.sortable(shown) == numbers._sortable(text)
    digits = shown.lstrip("-").replace(".", "").strip("0")
    assert values._size_of_number(shown) == 1 + (len(digits) + 1) // 2 + shown.startswith("-")


TEXTS = [
    ("ConditionExpression", "#a = :v"),
    ("ConditionExpression", "begins_with(#a, :v)"),
    ("ConditionExpression", "#a < :v AND attribute_exists(#b)"),
    ("ConditionExpression", "attribute_type(#a, :v)"),
    ("ConditionExpression", "#a BETWEEN :v AND :w"),
    ("FilterExpression", "contains(#b, :v) OR size(#a) > :w"),
    ("UpdateExpression", "SET #a = :v, #b = if_not_exists(#b, :w)"),
    ("UpdateExpression", "SET #a = #a + :v"),
    ("UpdateExpression", "ADD #a :v DELETE #b :w"),
    ("ProjectionExpression", "#a, #b.c[0]"),
    ("KeyConditionExpression", "#a = :v AND #b BETWEEN :v AND :w"),
]
requests = st.tuples(
    st.sampled_from(TEXTS),
    st.fixed_dictionaries({"#a": st.sampled_from("abc"), "#b": st.sampled_from("abc")}),
    st.fixed_dictionaries({":v": scalars, ":w": scalars}),
)


def meaning(request: Any, item: dict[str, Any], *, is_kept: bool) -> Any:
    """Return what a request means, or its refusal; from a parse that was kept, or one of its own."""
    (kind, text), aliases, placeholders = request
    try:
        expressions = Expressions(aliases, placeholders)
        expressions._is_kept = is_kept
        if kind == "UpdateExpression":
            return expressions.update(text)
        if kind == "ProjectionExpression":
            return expressions.projection(text)
        if kind == "KeyConditionExpression":
            return expressions.key_conditions(text)
        return expressions.condition(kind, text)(item)
    except TableError as error:
        return str(error)


@given(st.lists(requests, max_size=20), st.dictionaries(st.sampled_from("abc"), scalars.map(values.checked)))
def test_a_parse_that_was_kept_means_what_a_new_one_does(asked: list[Any], item: dict[str, Any]) -> None:
    for request in asked:
        assert meaning(request, item, is_kept=True) == meaning(request, item, is_kept=False)


# -- streams

streams = st.builds(
    Stream, st.just(1), st.just("000000000000"), st.just("eu-west-1"), st.just("s"), st.just("kinesis"), st.just(0.0)
)
shards = st.builds(Shard, st.just(1), st.just(1), st.integers(0, 2000), st.just(1), st.just(0.0))
moments = st.floats(0, 4e9).map(lambda moment: round(moment, 6))
records = st.lists(
    st.builds(StreamRecord, st.integers(1, 2**62), moments, texts.filter(bool), st.binary(max_size=20)), max_size=6
)


class NoFunctions:
    """A transaction in which there is no function."""

    class functions:  # noqa: N801
        @staticmethod
        def get(*_: str) -> None:
            return None


def context(arn: str) -> PollerContext:
    return PollerContext("m", arn, "000000000000", "eu-west-1", "arn:aws:lambda:eu-west-1:000000000000:function:f")


@given(streams, shards, records)
def test_records_of_a_stream_are_written_as_json_writes_them(
    stream: Stream, shard: Shard, found: list[StreamRecord]
) -> None:
    tx: Any = NoFunctions()
    written = kinesis.write_records(tx, context(stream.arn), stream, shard, found)
    event = orjson.loads(records_event(written))
    number = [f"49{record.sequence:034d}{shard.index:020d}" for record in found]
    assert [record.id for record in written] == number
    assert number == [sequence_number(record.sequence, shard.index) for record in found]
    assert [(record.arrived_at, record.key) for record in written] == [
        (record.arrived_at, record.partition_key) for record in found
    ]
    assert event["Records"] == [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": record.partition_key,
                "sequenceNumber": name,
                "data": base64.b64encode(record.data).decode(),
                "approximateArrivalTimestamp": round(record.arrived_at, 3),
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-{shard.index:012d}:{name}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "",
            "awsRegion": "eu-west-1",
            "eventSourceARN": stream.arn,
        }
        for record, name in zip(found, number, strict=True)
    ]
    for record in written:
        assert isinstance(record.body, Written)
        assert record.size_bytes == len(record.body.json)


@given(streams, shards, items, st.booleans())
def test_changes_of_items_are_told_as_they_were_kept(
    stream: Stream, shard: Shard, item: dict[str, Any], is_expiry: bool
) -> None:
    change: dict[str, Any] = {"eventName": "REMOVE", "dynamodb": {"OldImage": orjson.Fragment(encode(item))}}
    if is_expiry:
        change["userIdentity"] = changes.SERVICE_IDENTITY
    kept = orjson.dumps(change)
    tx: Any = NoFunctions()
    (written,) = dynamodb.write_records(tx, context(stream.arn), stream, shard, [StreamRecord(1, 0.0, "key", kept)])
    expected = orjson.loads(kept) | {"eventSourceARN": stream.arn}
    if is_expiry:
        expected["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert orjson.loads(records_event([written]))["Records"] == [expected]


@given(st.integers(1, 50), st.lists(st.one_of(st.text(max_size=8), st.integers(0, 2**128 - 1))))
def test_a_record_goes_to_the_shard_whose_range_holds_its_hash_key(count: int, keys: list[Any]) -> None:
    route = Route([Shard(i, 1, i, 1, 0.0, low, high) for i, (low, high) in enumerate(even_ranges(count))])
    for key in keys:
        if isinstance(key, str) and any("\ud800" <= letter <= "\udfff" for letter in key):
            continue
        hash_key = hash_key_of(key) if isinstance(key, str) else key
        (expected,) = [each for each in route.shards if each.starting_hash_key <= hash_key <= each.ending_hash_key]
        assert route.shards[route.index_of(hash_key)] is expected
