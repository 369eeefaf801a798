"""Query and Scan over the wire: ranges, pages, filters, indexes, segments."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, error_of, invalid, make_table, plain

WHO = {"AttributeName": "who", "AttributeType": "S"}
RANK = {"AttributeName": "rank", "AttributeType": "N"}


def gsi(name: str = "by-who", projection: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "GlobalSecondaryIndexes": [
            {
                "IndexName": name,
                "KeySchema": [
                    {"AttributeName": "who", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
                "Projection": projection or {"ProjectionType": "ALL"},
            }
        ],
        "attributes": [WHO, RANK],
    }


def lsi(projection: dict[str, Any]) -> dict[str, Any]:
    return {
        "LocalSecondaryIndexes": [
            {
                "IndexName": "by-rank",
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
                "Projection": projection,
            }
        ],
        "attributes": [RANK],
    }


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


def fill(tables: Any, table: str, count: int, **attributes: Any) -> None:
    for start in range(0, count, 25):
        tables.batch_write_item(
            RequestItems={
                table: [
                    {"PutRequest": {"Item": {"id": {"S": "p"}, "n": {"N": str(number)}, **attributes}}}
                    for number in range(start, min(start + 25, count))
                ]
            }
        )


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int(item["n"]["N"]) for item in answer["Items"]]


def pages_of(call: Any, **arguments: Any) -> list[dict[str, Any]]:
    """Return every page of a read."""
    pages = [call(**arguments)]
    while "LastEvaluatedKey" in pages[-1]:
        pages.append(call(**arguments, ExclusiveStartKey=pages[-1]["LastEvaluatedKey"]))
    return pages


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("n = :a", {":a": "5"}, [5]),
        ("n < :a", {":a": "3"}, [0, 1, 2]),
        ("n <= :a", {":a": "2"}, [0, 1, 2]),
        ("n > :a", {":a": "7"}, [8, 9, 10, 11]),
        (":a < n", {":a": "9"}, [10, 11]),
        ("n >= :a", {":a": "10"}, [10, 11]),
        ("n BETWEEN :a AND :b", {":a": "2", ":b": "4"}, [2, 3, 4]),
        ("n = :a", {":a": "50"}, []),
    ],
)
def test_a_query_reads_a_range_in_the_order_of_numbers(
    tables: Any, condition: str, values: dict[str, str], expected: list[int]
) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 12)
    arguments = {
        "TableName": table,
        "KeyConditionExpression": f"id = :id AND {condition}",
        "ExpressionAttributeValues": {":id": {"S": "p"}, **{name: {"N": value} for name, value in values.items()}},
    }
    assert numbers(tables.query(**arguments)) == expected
    assert numbers(tables.query(**arguments, ScanIndexForward=False)) == expected[::-1]


@pytest.mark.parametrize("forward", [True, False])
def test_pages_follow_each_other_without_gap_or_repetition(tables: Any, forward: bool) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 23)
    pages = pages_of(
        tables.query,
        TableName=table,
        KeyConditionExpression="id = :id AND n >= :low",
        ExpressionAttributeValues={":id": {"S": "p"}, ":low": {"N": "3"}},
        ScanIndexForward=forward,
        Limit=5,
    )
    assert [len(page["Items"]) for page in pages] == [5, 5, 5, 5, 0]
    found = [number for page in pages for number in numbers(page)]
    assert found == (list(range(3, 23)) if forward else list(range(22, 2, -1)))


def test_limit_counts_what_was_looked_at_not_what_the_filter_let_through(tables: Any) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 10)
    answer = tables.query(
        TableName=table,
        KeyConditionExpression="id = :id",
        FilterExpression="attribute_exists(nowhere)",
        ExpressionAttributeValues={":id": {"S": "p"}},
        Limit=4,
    )
    assert (answer["Count"], answer["ScannedCount"], answer["Items"]) == (0, 4, [])
    assert answer["LastEvaluatedKey"] == {"id": {"S": "p"}, "n": {"N": "3"}}


def test_a_page_holds_a_megabyte_at_the_most(tables: Any) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 30, body={"S": "x" * 100_000})
    pages = pages_of(tables.scan, TableName=table)
    assert [page["Count"] for page in pages] == [10, 10, 10]
    count = pages_of(tables.scan, TableName=table, Select="COUNT")
    assert sum(page["Count"] for page in count) == 30
    assert all("Items" not in page for page in count)


def test_begins_with_finds_texts_by_their_beginning(tables: Any) -> None:
    table = make_table(
        tables,
        attributes=[WHO],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "texts",
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "who", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    for number, who in enumerate(("a", "ab", "abc", "ac", "b", "aé", "ab\U0010ffff")):
        tables.put_item(TableName=table, Item={"id": {"S": str(number % 1)}, "who": {"S": who}})
        tables.put_item(TableName=table, Item={"id": {"S": f"k{number}"}, "who": {"S": who}})
    answer = tables.scan(
        TableName=table, FilterExpression="begins_with(who, :p)", ExpressionAttributeValues={":p": {"S": "ab"}}
    )
    assert sorted(item["who"]["S"] for item in answer["Items"] if item["id"]["S"] != "0") == [
        "ab",
        "abc",
        "ab\U0010ffff",
    ]


@pytest.mark.parametrize(
    ("condition", "values", "message"),
    [
        ("n = :n", {":n": {"N": "1"}}, "Query condition missed key schema element: id"),
        ("id = :a AND x = :n", {":a": {"S": "p"}, ":n": {"N": "1"}}, "Query condition missed key schema element: n"),
        ("id > :a", {":a": {"S": "p"}}, "Query key condition not supported"),
        (
            "id = :a OR n = :n",
            {":a": {"S": "p"}, ":n": {"N": "1"}},
            "Invalid operator used in KeyConditionExpression: OR",
        ),
        (
            "id = :a AND n <> :n",
            {":a": {"S": "p"}, ":n": {"N": "1"}},
            "Invalid operator used in KeyConditionExpression: <>",
        ),
        (
            "id = :a AND n = :n",
            {":a": {"S": "p"}, ":n": {"S": "1"}},
            "One or more parameter values were invalid: Condition parameter type does not match schema type",
        ),
        (
            "id = :a AND n > :n AND n < :n",
            {":a": {"S": "p"}, ":n": {"N": "1"}},
            "KeyConditionExpressions must only contain one condition per key",
        ),
    ],
)
def test_key_conditions_that_are_none_are_refused(
    tables: Any, condition: str, values: dict[str, Any], message: str
) -> None:
    table = make_table(tables, sort="n")
    assert error_of(
        tables.query, TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values
    ) == invalid(message)


def test_a_filter_of_a_query_leaves_the_key_alone(tables: Any) -> None:
    table = make_table(tables, sort="n")
    assert error_of(
        tables.query,
        TableName=table,
        KeyConditionExpression="id = :a",
        FilterExpression="n > :n",
        ExpressionAttributeValues={":a": {"S": "p"}, ":n": {"N": "1"}},
    ) == invalid("Filter Expression can only contain non-primary key attributes: Primary key attribute: n")


def test_the_older_query_parameters_do_the_same(tables: Any) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 10)
    answer = tables.query(
        TableName=table,
        KeyConditions={
            "id": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "p"}]},
            "n": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "2"}, {"N": "6"}]},
        },
        AttributesToGet=["n"],
    )
    assert answer["Items"] == [{"n": {"N": str(number)}} for number in range(2, 7)]
    scanned = tables.scan(
        TableName=table,
        ScanFilter={"n": {"ComparisonOperator": "IN", "AttributeValueList": [{"N": "1"}, {"N": "4"}]}},
    )
    assert sorted(numbers(scanned)) == [1, 4]


# -- indexes


def test_an_index_holds_the_items_that_have_its_key(tables: Any) -> None:
    table = make_table(tables, **gsi())
    items = [
        {"id": {"S": "1"}, "who": {"S": "ada"}, "rank": {"N": "2"}, "x": {"S": "one"}},
        {"id": {"S": "2"}, "who": {"S": "ada"}, "rank": {"N": "1"}},
        {"id": {"S": "3"}, "who": {"S": "bob"}, "rank": {"N": "1"}},
        {"id": {"S": "4"}, "who": {"S": "ada"}},
    ]
    for item in items:
        tables.put_item(TableName=table, Item=item)

    def who(name: str, **more: Any) -> list[dict[str, Any]]:
        answer = tables.query(
            TableName=table,
            IndexName="by-who",
            KeyConditionExpression="who = :w",
            ExpressionAttributeValues={":w": {"S": name}},
            **more,
        )
        return list(answer["Items"])

    assert who("ada") == [items[1], items[0]]
    assert who("ada", ScanIndexForward=False) == [items[0], items[1]]
    assert tables.scan(TableName=table, IndexName="by-who")["Count"] == 3
    tables.update_item(
        TableName=table,
        Key={"id": {"S": "1"}},
        UpdateExpression="SET who = :b",
        ExpressionAttributeValues={":b": {"S": "bob"}},
    )
    tables.delete_item(TableName=table, Key={"id": {"S": "2"}})
    assert who("ada") == []
    assert [item["id"]["S"] for item in who("bob")] == ["3", "1"]
    shown = tables.describe_table(TableName=table)["Table"]
    assert (shown["ItemCount"], shown["GlobalSecondaryIndexes"][0]["ItemCount"]) == (3, 2)


def test_pages_of_an_index_follow_each_other_through_equal_keys(tables: Any) -> None:
    table = make_table(tables, **gsi())
    for number in range(9):
        tables.put_item(
            TableName=table, Item={"id": {"S": str(number)}, "who": {"S": "ada"}, "rank": {"N": str(number // 4)}}
        )
    for forward in (True, False):
        pages = pages_of(
            tables.query,
            TableName=table,
            IndexName="by-who",
            KeyConditionExpression="who = :w",
            ExpressionAttributeValues={":w": {"S": "ada"}},
            ScanIndexForward=forward,
            Limit=2,
        )
        ranks = [int(item["rank"]["N"]) for page in pages for item in page["Items"]]
        assert ranks == sorted(ranks, reverse=not forward)
        assert len({item["id"]["S"] for page in pages for item in page["Items"]}) == 9
        assert set(pages[0]["LastEvaluatedKey"]) == {"id", "who", "rank"}
    scanned = [
        item for page in pages_of(tables.scan, TableName=table, IndexName="by-who", Limit=2) for item in page["Items"]
    ]
    assert len({item["id"]["S"] for item in scanned}) == len(scanned) == 9


def test_a_global_index_shows_what_it_projects_and_nothing_else(tables: Any) -> None:
    table = make_table(tables, **gsi(projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["x"]}))
    tables.put_item(
        TableName=table,
        Item={"id": {"S": "1"}, "who": {"S": "a"}, "rank": {"N": "1"}, "x": {"S": "x"}, "y": {"S": "y"}},
    )
    arguments = {
        "TableName": table,
        "IndexName": "by-who",
        "KeyConditionExpression": "who = :w",
        "ExpressionAttributeValues": {":w": {"S": "a"}},
    }
    assert tables.query(**arguments)["Items"] == [
        {"id": {"S": "1"}, "who": {"S": "a"}, "rank": {"N": "1"}, "x": {"S": "x"}}
    ]
    assert tables.query(**arguments, FilterExpression="attribute_exists(y)")["Count"] == 0
    assert error_of(tables.query, **arguments, ProjectionExpression="y") == invalid(
        "One or more parameter values were invalid: Global secondary index by-who does not project [y]"
    )
    assert error_of(tables.query, **arguments, Select="ALL_ATTRIBUTES") == invalid(
        "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global secondary "
        "index by-who because its projection type is not ALL"
    )
    assert error_of(tables.query, **arguments, ConsistentRead=True) == invalid(
        "Consistent reads are not supported on global secondary indexes"
    )
    assert error_of(tables.query, **{**arguments, "IndexName": "other"}) == invalid(
        "The table does not have the specified index: other"
    )


def test_a_local_index_fetches_what_it_does_not_hold(tables: Any) -> None:
    table = make_table(tables, sort="n", **lsi({"ProjectionType": "KEYS_ONLY"}))
    item = {"id": {"S": "p"}, "n": {"N": "1"}, "rank": {"N": "7"}, "y": {"S": "y"}}
    tables.put_item(TableName=table, Item=item)
    arguments = {
        "TableName": table,
        "IndexName": "by-rank",
        "KeyConditionExpression": "id = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
        "ConsistentRead": True,
    }
    assert tables.query(**arguments)["Items"] == [{name: item[name] for name in ("id", "n", "rank")}]
    assert tables.query(**arguments, ProjectionExpression="y")["Items"] == [{"y": {"S": "y"}}]
    assert tables.query(**arguments, Select="ALL_ATTRIBUTES")["Items"] == [item]


def test_an_item_that_does_not_fit_an_index_is_refused(tables: Any) -> None:
    table = make_table(tables, **gsi())
    assert error_of(tables.put_item, TableName=table, Item={"id": {"S": "1"}, "who": {"N": "1"}}) == invalid(
        "One or more parameter values were invalid: Type mismatch for Index Key who "
        "Expected: S Actual: N IndexName: by-who"
    )
    code, message = error_of(tables.put_item, TableName=table, Item={"id": {"S": "1"}, "who": {"S": ""}})
    assert (code, message.endswith("IndexName: by-who, IndexKey: who")) == ("ValidationException", True)


# -- scans


def test_segments_share_a_table_without_overlap(tables: Any) -> None:
    table = make_table(tables)
    for start in range(0, 100, 25):
        tables.batch_write_item(
            RequestItems={table: [{"PutRequest": {"Item": {"id": {"S": f"k{n}"}}}} for n in range(start, start + 25)]}
        )
    found = [
        item["id"]["S"]
        for segment in range(4)
        for page in pages_of(tables.scan, TableName=table, Segment=segment, TotalSegments=4, Limit=7)
        for item in page["Items"]
    ]
    assert sorted(found) == sorted(f"k{n}" for n in range(100))


def test_segments_must_make_sense(tables: Any) -> None:
    table = make_table(tables)
    assert error_of(tables.scan, TableName=table, Segment=4, TotalSegments=4) == invalid(
        "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
        "Segment: 4 is not less than TotalSegments: 4"
    )
    assert error_of(tables.scan, TableName=table, Segment=0)[0] == "ValidationException"
    assert error_of(tables.scan, TableName=table, TotalSegments=2)[0] == "ValidationException"


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (
            {"id": {"S": "other"}, "n": {"N": "1"}},
            "The provided starting key is outside query boundaries based on provided conditions",
        ),
        (
            {"id": {"S": "p"}, "n": {"N": "99"}},
            "The provided starting key does not match the range key predicate",
        ),
        ({"id": {"S": "p"}}, "Exclusive Start Key must have same size as table's key schema"),
        (
            {"id": {"S": "p"}, "x": {"S": "p"}},
            "The provided starting key is invalid: The provided key element does not match the schema",
        ),
    ],
)
def test_a_starting_key_must_be_of_the_range_that_is_read(tables: Any, start: dict[str, Any], message: str) -> None:
    table = make_table(tables, sort="n")
    assert error_of(
        tables.query,
        TableName=table,
        KeyConditionExpression="id = :a AND n < :n",
        ExpressionAttributeValues={":a": {"S": "p"}, ":n": {"N": "9"}},
        ExclusiveStartKey=start,
    ) == invalid(message)


def test_a_starting_key_may_be_one_that_is_gone(tables: Any) -> None:
    table = make_table(tables, sort="n")
    fill(tables, table, 6)
    tables.delete_item(TableName=table, Key={"id": {"S": "p"}, "n": {"N": "2"}})
    answer = tables.query(
        TableName=table,
        KeyConditionExpression="id = :a",
        ExpressionAttributeValues={":a": {"S": "p"}},
        ExclusiveStartKey={"id": {"S": "p"}, "n": {"N": "2"}},
    )
    assert numbers(answer) == [3, 4, 5]


def test_a_projection_shows_parts_of_items(tables: Any) -> None:
    table = make_table(tables)
    tables.put_item(
        TableName=table,
        Item={
            "id": {"S": "x"},
            "m": {"M": {"a": {"N": "1"}, "b": {"B": b"\x00"}}},
            "l": {"L": [{"S": "0"}, {"S": "1"}]},
        },
    )
    answer = tables.get_item(
        TableName=table,
        Key={"id": {"S": "x"}},
        ProjectionExpression="#m.b, l[1], nowhere",
        ExpressionAttributeNames={"#m": "m"},
    )
    assert plain(answer) == {"Item": {"m": {"M": {"b": {"B": b"\x00"}}}, "l": {"L": [{"S": "1"}]}}}
