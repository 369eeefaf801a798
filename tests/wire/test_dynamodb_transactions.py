"""Several items in one call over the wire: batches, transactions, and what a repeated token does."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, error_of, fresh, invalid, make_table, plain, refusal_of


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


def put(table: str, name: str, **more: Any) -> dict[str, Any]:
    return {"Put": {"TableName": table, "Item": {"id": {"S": name}}, **more}}


# -- batches


def test_a_batch_writes_and_reads_several_tables(tables: Any) -> None:
    one, two = make_table(tables), make_table(tables)
    tables.put_item(TableName=two, Item={"id": {"S": "old"}})
    answer = tables.batch_write_item(
        RequestItems={
            one: [{"PutRequest": {"Item": {"id": {"S": "a"}, "v": {"N": "1"}}}}],
            two: [{"PutRequest": {"Item": {"id": {"S": "b"}}}}, {"DeleteRequest": {"Key": {"id": {"S": "old"}}}}],
        },
        ReturnConsumedCapacity="TOTAL",
    )
    assert answer["UnprocessedItems"] == {}
    assert {each["TableName"]: each["CapacityUnits"] for each in answer["ConsumedCapacity"]} == {one: 1.0, two: 2.0}
    found = tables.batch_get_item(
        RequestItems={
            one: {"Keys": [{"id": {"S": "a"}}, {"id": {"S": "nobody"}}], "ProjectionExpression": "v"},
            two: {"Keys": [{"id": {"S": "old"}}, {"id": {"S": "b"}}], "ConsistentRead": True},
        }
    )
    assert plain(found) == {"Responses": {one: [{"v": {"N": "1"}}], two: [{"id": {"S": "b"}}]}, "UnprocessedKeys": {}}


def test_a_batch_must_name_each_item_once_and_not_too_many(tables: Any) -> None:
    table, other = make_table(tables), make_table(tables)
    twice = [{"PutRequest": {"Item": {"id": {"S": "a"}}}}, {"DeleteRequest": {"Key": {"id": {"S": "a"}}}}]
    assert error_of(tables.batch_write_item, RequestItems={table: twice}) == invalid(
        "Provided list of item keys contains duplicates"
    )
    assert tables.scan(TableName=table)["Count"] == 0
    keys = [{"id": {"S": "a"}}, {"id": {"S": "a"}}]
    assert error_of(tables.batch_get_item, RequestItems={table: {"Keys": keys}}) == invalid(
        "Provided list of item keys contains duplicates"
    )
    many = [{"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(13)]
    assert error_of(tables.batch_write_item, RequestItems={table: many, other: many}) == invalid(
        "Too many items requested for the BatchWriteItem call"
    )
    keys = [{"id": {"S": str(n)}} for n in range(51)]
    assert error_of(tables.batch_get_item, RequestItems={table: {"Keys": keys}, other: {"Keys": keys}}) == invalid(
        "Too many items requested for the BatchGetItem call"
    )


def test_a_batch_answer_stops_at_16_megabytes_and_says_what_is_left(tables: Any) -> None:
    table = make_table(tables)
    names = [str(n) for n in range(48)]
    for name in names:
        tables.put_item(TableName=table, Item={"id": {"S": name}, "v": {"S": "x" * 390_000}})
    asked: Any = {table: {"Keys": [{"id": {"S": name}} for name in names], "ConsistentRead": True}}
    seen: list[str] = []
    rounds = 0
    while asked:
        answer = tables.batch_get_item(RequestItems=asked)
        seen += [item["id"]["S"] for item in answer["Responses"][table]]
        asked = answer["UnprocessedKeys"]
        rounds += 1
    assert (sorted(seen), rounds) == (sorted(names), 2)


# -- transactions


def test_a_transaction_does_everything(tables: Any) -> None:
    one, two = make_table(tables), make_table(tables)
    tables.put_item(TableName=one, Item={"id": {"S": "there"}, "n": {"N": "1"}})
    tables.put_item(TableName=one, Item={"id": {"S": "gone"}})
    answer = tables.transact_write_items(
        TransactItems=[
            put(two, "new"),
            {
                "Update": {
                    "TableName": two,
                    "Key": {"id": {"S": "count"}},
                    "UpdateExpression": "ADD n :one",
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            },
            {"Delete": {"TableName": one, "Key": {"id": {"S": "gone"}}}},
            {
                "ConditionCheck": {
                    "TableName": one,
                    "Key": {"id": {"S": "there"}},
                    "ConditionExpression": "n = :one",
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            },
        ],
        ReturnConsumedCapacity="TOTAL",
    )
    assert {each["TableName"]: each["WriteCapacityUnits"] for each in answer["ConsumedCapacity"]} == {
        one: 4.0,
        two: 4.0,
    }
    read = tables.transact_get_items(
        TransactItems=[
            {"Get": {"TableName": two, "Key": {"id": {"S": "count"}}, "ProjectionExpression": "n"}},
            {"Get": {"TableName": one, "Key": {"id": {"S": "gone"}}}},
        ]
    )
    assert read["Responses"] == [{"Item": {"n": {"N": "1"}}}, {}]


def test_a_transaction_that_fails_changes_nothing_and_says_why(tables: Any) -> None:
    table = make_table(tables)
    kept = {"id": {"S": "a"}, "v": {"S": "text"}}
    tables.put_item(TableName=table, Item=kept)
    refused = refusal_of(
        tables.transact_write_items,
        TransactItems=[
            put(table, "b"),
            put(
                table,
                "a",
                ConditionExpression="attribute_not_exists(id)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            ),
            {
                "Update": {
                    "TableName": table,
                    "Key": {"id": {"S": "c"}},
                    "UpdateExpression": "SET v = nowhere + :one",
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            },
        ],
    )
    assert refused["Error"]["Code"] == "TransactionCanceledException"
    assert refused["Error"]["Message"] == (
        "Transaction cancelled, please refer cancellation reasons for specific reasons "
        "[None, ConditionalCheckFailed, ValidationError]"
    )
    none, failed, wrong = refused["CancellationReasons"]
    assert none == {"Code": "None"}
    assert failed == {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed", "Item": kept}
    assert wrong == {
        "Code": "ValidationError",
        "Message": "The provided expression refers to an attribute that does not exist in the item",
    }
    assert tables.scan(TableName=table)["Items"] == [kept]


def test_a_transaction_touches_each_item_once(tables: Any) -> None:
    table = make_table(tables)
    assert error_of(tables.transact_write_items, TransactItems=[put(table, "a"), put(table, "a")]) == invalid(
        "Transaction request cannot include multiple operations on one item"
    )


def test_a_transaction_needs_its_tables(tables: Any) -> None:
    table = make_table(tables)
    code, _ = error_of(tables.transact_write_items, TransactItems=[put(table, "a"), put(fresh(), "a")])
    assert code == "ResourceNotFoundException"
    assert tables.scan(TableName=table)["Count"] == 0


def test_a_token_makes_a_repeated_transaction_harmless_for_ten_minutes(daemon: RunningDaemon, tables: Any) -> None:
    table = make_table(tables)
    count = {
        "Update": {
            "TableName": table,
            "Key": {"id": {"S": "n"}},
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }
    token = fresh("token")

    def value() -> str:
        return str(tables.get_item(TableName=table, Key={"id": {"S": "n"}})["Item"]["n"]["N"])

    tables.transact_write_items(TransactItems=[count], ClientRequestToken=token)
    again = tables.transact_write_items(TransactItems=[count], ClientRequestToken=token, ReturnConsumedCapacity="TOTAL")
    assert value() == "1"
    assert "ReadCapacityUnits" in again["ConsumedCapacity"][0]
    code, _ = error_of(tables.transact_write_items, TransactItems=[put(table, "x")], ClientRequestToken=token)
    assert code == "IdempotentParameterMismatchException"
    daemon.advance(601)
    tables.transact_write_items(TransactItems=[count], ClientRequestToken=token)
    assert value() == "2"


def test_item_collection_metrics_come_with_a_local_index(tables: Any) -> None:
    table = make_table(
        tables,
        sort="n",
        attributes=[{"AttributeName": "rank", "AttributeType": "N"}],
        LocalSecondaryIndexes=[
            {
                "IndexName": "by-rank",
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    item = {"id": {"S": "a"}, "n": {"N": "1"}, "rank": {"N": "2"}}
    metrics = {"ItemCollectionKey": {"id": {"S": "a"}}, "SizeEstimateRangeGB": [0.0, 1.0]}
    answer = tables.put_item(
        TableName=table, Item=item, ReturnItemCollectionMetrics="SIZE", ReturnConsumedCapacity="INDEXES"
    )
    assert answer["ItemCollectionMetrics"] == metrics
    assert answer["ConsumedCapacity"]["LocalSecondaryIndexes"] == {"by-rank": {"CapacityUnits": 1.0}}
    assert answer["ConsumedCapacity"]["CapacityUnits"] == 2.0
    answer = tables.batch_write_item(
        RequestItems={table: [{"PutRequest": {"Item": item}}]}, ReturnItemCollectionMetrics="SIZE"
    )
    assert answer["ItemCollectionMetrics"] == {table: [metrics]}
