"""What reads and writes of tables with indexes, of transactions and of ARNs are said to consume."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, make_table

KILOBYTES = "x" * 3000


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


def _make(tables: Any) -> str:
    """Return a table with a global index of keys only (`kind`) and a local one of `rank` that holds `word`."""
    return make_table(
        tables,
        sort="n",
        attributes=[
            {"AttributeName": "kind", "AttributeType": "S"},
            {"AttributeName": "rank", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-kind",
                "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        LocalSecondaryIndexes=[
            {
                "IndexName": "by-rank",
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "rank", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["word"]},
            }
        ],
    )


def _item(**more: str) -> dict[str, Any]:
    return {"id": {"S": "a"}, "n": {"N": "1"}, **{name: {"S": value} for name, value in more.items()}}


def _write(tables: Any, table: str, **more: str) -> tuple[float, float, float]:
    """Put an item and return what the table, the global and the local index consumed."""
    used = tables.put_item(TableName=table, Item=_item(**more), ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    by_kind = used.get("GlobalSecondaryIndexes", {}).get("by-kind", {}).get("CapacityUnits", 0.0)
    by_rank = used.get("LocalSecondaryIndexes", {}).get("by-rank", {}).get("CapacityUnits", 0.0)
    assert used["CapacityUnits"] == used["Table"]["CapacityUnits"] + by_kind + by_rank
    return used["Table"]["CapacityUnits"], by_kind, by_rank


def test_a_write_costs_an_index_what_its_entry_weighs(tables: Any) -> None:
    table = _make(tables)
    assert _write(tables, table, body=KILOBYTES) == (3.0, 0.0, 0.0)  # in no index
    assert _write(tables, table, body=KILOBYTES, kind="k", rank="r") == (3.0, 1.0, 1.0)  # new entries, of keys only
    assert _write(tables, table, body=KILOBYTES, kind="k", rank="r", x="y") == (3.0, 0.0, 0.0)  # nothing they hold
    assert _write(tables, table, kind="k", rank="r", word=KILOBYTES) == (3.0, 0.0, 3.0)  # what one of them holds
    assert _write(tables, table, kind="l", rank="r", word=KILOBYTES) == (
        3.0,
        2.0,
        0.0,
    )  # out of one place, into another
    assert _write(tables, table) == (3.0, 1.0, 3.0)  # out of both


def test_a_transaction_writes_everything_twice(tables: Any) -> None:
    table = _make(tables)
    put = {"Put": {"TableName": table, "Item": _item(kind="k")}}
    [used] = tables.transact_write_items(TransactItems=[put], ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
    twice = {"CapacityUnits": 2.0, "WriteCapacityUnits": 2.0}
    assert used == {
        "TableName": table,
        "CapacityUnits": 4.0,
        "WriteCapacityUnits": 4.0,
        "Table": twice,
        "GlobalSecondaryIndexes": {"by-kind": twice},
    }


def test_a_condition_check_costs_what_it_looks_at(tables: Any) -> None:
    table = make_table(tables)
    tables.put_item(TableName=table, Item={"id": {"S": "a"}, "body": {"S": KILOBYTES}})
    check = {"TableName": table, "Key": {"id": {"S": "a"}}, "ConditionExpression": "attribute_exists(id)"}
    [used] = tables.transact_write_items(TransactItems=[{"ConditionCheck": check}], ReturnConsumedCapacity="TOTAL")[
        "ConsumedCapacity"
    ]
    assert used["CapacityUnits"] == 6.0


def test_what_a_local_index_fetches_is_read_from_its_table_item_by_item(tables: Any) -> None:
    table = _make(tables)
    for n in range(3):
        item = {**_item(kind="k", rank=f"r{n}", body="x" * 5000), "n": {"N": str(n)}}
        tables.put_item(TableName=table, Item=item)

    def read(**more: Any) -> tuple[float, float]:
        used = tables.query(
            TableName=table,
            IndexName="by-rank",
            KeyConditionExpression="id = :a",
            ExpressionAttributeValues={":a": {"S": "a"}},
            ReturnConsumedCapacity="INDEXES",
            **more,
        )["ConsumedCapacity"]
        return used["Table"]["CapacityUnits"], used["LocalSecondaryIndexes"]["by-rank"]["CapacityUnits"]

    assert read() == (0.0, 0.5)
    assert read(Select="ALL_ATTRIBUTES") == (3.0, 0.5)
    assert read(ProjectionExpression="body", ConsistentRead=True) == (6.0, 1.0)


def test_a_table_named_by_its_arn_is_told_by_it(tables: Any) -> None:
    table = make_table(tables)
    arn = tables.describe_table(TableName=table)["Table"]["TableArn"]
    key = {"id": {"S": "a"}}
    assert tables.get_item(TableName=arn, Key=key, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"] == {
        "TableName": arn,
        "CapacityUnits": 0.5,
    }
    answer = tables.batch_get_item(RequestItems={arn: {"Keys": [key]}}, ReturnConsumedCapacity="TOTAL")
    assert [used["TableName"] for used in answer["ConsumedCapacity"]] == [arn]
