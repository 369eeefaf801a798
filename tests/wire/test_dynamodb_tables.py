"""Tables themselves over the wire: create, describe, change, delete, list; what is set beside them."""

import json
import time
from typing import Any

import pytest

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.dynamodb_speaking import (
    checked_client,
    error_of,
    fresh,
    invalid,
    make_table,
    plain,
    stream_arn,
    streamed,
)

HASH = [{"AttributeName": "id", "KeyType": "HASH"}]
DEFINED = [{"AttributeName": "id", "AttributeType": "S"}]
ON_DEMAND = {"BillingMode": "PAY_PER_REQUEST"}


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


def await_active(tables: Any, table: str) -> dict[str, Any]:
    """Return a table's description once it and its indexes are ACTIVE."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        shown: dict[str, Any] = tables.describe_table(TableName=table)["Table"]
        if shown["TableStatus"] == "ACTIVE":
            return shown
        assert time.monotonic() < give_up_at, shown
        time.sleep(0.02)


def test_a_table_is_creating_then_active(tables: Any) -> None:
    name = fresh()
    made = tables.create_table(
        TableName=name,
        KeySchema=HASH,
        AttributeDefinitions=DEFINED,
        ProvisionedThroughput={"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        Tags=[{"Key": "team", "Value": "a"}],
    )["TableDescription"]
    assert (made["TableStatus"], made["TableName"], made["ItemCount"]) == ("CREATING", name, 0)
    assert made["TableArn"] == f"arn:aws:dynamodb:us-east-1:000000000000:table/{name}"
    tables.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    shown = tables.describe_table(TableName=name)["Table"]
    assert shown["TableStatus"] == "ACTIVE"
    assert shown["ProvisionedThroughput"] == {
        "NumberOfDecreasesToday": 0,
        "ReadCapacityUnits": 3,
        "WriteCapacityUnits": 4,
    }
    assert "BillingModeSummary" not in shown
    code, message = error_of(
        tables.create_table, TableName=name, KeySchema=HASH, AttributeDefinitions=DEFINED, **ON_DEMAND
    )
    assert (code, message) == ("ResourceInUseException", f"Table already exists: {name}")


def test_counts_follow_what_is_written(tables: Any) -> None:
    table = make_table(tables)
    tables.put_item(TableName=table, Item={"id": {"S": "a"}, "v": {"S": "xyz"}})
    tables.put_item(TableName=table, Item={"id": {"S": "b"}})
    tables.put_item(TableName=table, Item={"id": {"S": "b"}, "v": {"S": "x"}})
    tables.delete_item(TableName=table, Key={"id": {"S": "a"}})
    shown = tables.describe_table(TableName=table)["Table"]
    assert (shown["ItemCount"], shown["TableSizeBytes"]) == (1, 5)


def test_a_deleted_table_is_gone_with_its_items(tables: Any) -> None:
    table = make_table(tables)
    tables.put_item(TableName=table, Item={"id": {"S": "a"}})
    assert tables.delete_table(TableName=table)["TableDescription"]["TableStatus"] == "DELETING"
    assert error_of(tables.describe_table, TableName=table) == (
        "ResourceNotFoundException",
        f"Requested resource not found: Table: {table} not found",
    )
    tables.create_table(TableName=table, KeySchema=HASH, AttributeDefinitions=DEFINED, **ON_DEMAND)
    assert tables.scan(TableName=table)["Count"] == 0


def test_a_protected_table_stays(tables: Any) -> None:
    table = make_table(tables, DeletionProtectionEnabled=True)
    code, _ = error_of(tables.delete_table, TableName=table)
    assert code == "ValidationException"
    tables.update_table(TableName=table, DeletionProtectionEnabled=False)
    tables.delete_table(TableName=table)


def test_tables_are_listed_by_name_in_pages(daemon: RunningDaemon) -> None:
    tables = checked_client(daemon, account="222233334444")
    names = sorted(make_table(tables, name=name) for name in ("delta", "alpha", "charlie", "bravo", "echo"))
    pages = [tables.list_tables(Limit=2)]
    while "LastEvaluatedTableName" in pages[-1]:
        pages.append(tables.list_tables(Limit=2, ExclusiveStartTableName=pages[-1]["LastEvaluatedTableName"]))
    assert [len(page["TableNames"]) for page in pages] == [2, 2, 1]
    assert [name for page in pages for name in page["TableNames"]] == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"KeySchema": [{"AttributeName": "id", "KeyType": "RANGE"}]},
            "Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        ),
        (
            {"KeySchema": [*HASH, {"AttributeName": "id", "KeyType": "RANGE"}]},
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ),
        (
            {"KeySchema": [*HASH, {"AttributeName": "n", "KeyType": "RANGE"}]},
            "Invalid KeySchema: Some index key attribute have no definition",
        ),
        (
            {"AttributeDefinitions": [*DEFINED, {"AttributeName": "n", "AttributeType": "N"}]},
            (
                "One or more parameter values were invalid: Number of attributes in KeySchema does not exactly match "
                "number of attributes defined in AttributeDefinitions"
            ),
        ),
        (
            {"BillingMode": "PROVISIONED"},
            (
                "One or more parameter values were invalid: ReadCapacityUnits and WriteCapacityUnits must both be "
                "specified when BillingMode is PROVISIONED"
            ),
        ),
        (
            {"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}},
            (
                "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be "
                "specified when BillingMode is PAY_PER_REQUEST"
            ),
        ),
        (
            {
                "LocalSecondaryIndexes": [
                    {"IndexName": "one", "KeySchema": HASH, "Projection": {"ProjectionType": "ALL"}}
                ]
            },
            (
                "One or more parameter values were invalid: Table KeySchema does not have a range key, which is "
                "required when specifying a LocalSecondaryIndex"
            ),
        ),
        (
            {"GlobalSecondaryIndexes": [{"IndexName": "one", "KeySchema": HASH, "Projection": {}}]},
            "One or more parameter values were invalid: Unknown ProjectionType: null",
        ),
        (
            {
                "GlobalSecondaryIndexes": [
                    {"IndexName": "one", "KeySchema": HASH, "Projection": {"ProjectionType": "INCLUDE"}}
                ]
            },
            (
                "One or more parameter values were invalid: ProjectionType is INCLUDE, but NonKeyAttributes is not "
                "specified"
            ),
        ),
        (
            {"GlobalSecondaryIndexes": []},
            "One or more parameter values were invalid: List of GlobalSecondaryIndexes is empty",
        ),
    ],
)
def test_definitions_that_make_no_sense_are_refused(tables: Any, change: dict[str, Any], message: str) -> None:
    request = {"TableName": fresh(), "KeySchema": HASH, "AttributeDefinitions": DEFINED, **ON_DEMAND, **change}
    assert error_of(tables.create_table, **request) == invalid(message)


@pytest.mark.parametrize("name", ["ab", "x" * 256, "with space", "sl/ash"])
def test_a_name_must_be_one(tables: Any, name: str) -> None:
    code, message = error_of(
        tables.create_table, TableName=name, KeySchema=HASH, AttributeDefinitions=DEFINED, **ON_DEMAND
    )
    assert code == "ValidationException"
    assert message.startswith(f"1 validation error detected: Value '{name}' at 'tableName' failed to satisfy")


# -- changes


def test_a_new_index_is_filled_with_the_items_that_are_there(tables: Any) -> None:
    table = make_table(tables)
    for start in range(0, 600, 25):
        tables.batch_write_item(
            RequestItems={
                table: [
                    {"PutRequest": {"Item": {"id": {"S": f"k{n}"}, "half": {"N": str(n % 2)}}}}
                    for n in range(start, start + 25)
                ]
            }
        )
    index = {
        "IndexName": "by-half",
        "KeySchema": [{"AttributeName": "half", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    half = [{"AttributeName": "half", "AttributeType": "N"}]
    made = tables.update_table(
        TableName=table, AttributeDefinitions=half, GlobalSecondaryIndexUpdates=[{"Create": index}]
    )["TableDescription"]
    assert (made["TableStatus"], made["GlobalSecondaryIndexes"][0]["IndexStatus"]) == ("UPDATING", "CREATING")
    shown = await_active(tables, table)
    assert shown["GlobalSecondaryIndexes"][0]["ItemCount"] == 600
    assert shown["AttributeDefinitions"] == [*half, *DEFINED]
    found = tables.query(
        TableName=table,
        IndexName="by-half",
        KeyConditionExpression="half = :h",
        ExpressionAttributeValues={":h": {"N": "1"}},
        Select="COUNT",
    )
    assert found["Count"] == 300
    code, _ = error_of(
        tables.update_table, TableName=table, AttributeDefinitions=half, GlobalSecondaryIndexUpdates=[{"Create": index}]
    )
    assert code == "ValidationException"
    tables.update_table(TableName=table, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "by-half"}}])
    shown = await_active(tables, table)
    assert "GlobalSecondaryIndexes" not in shown
    assert shown["AttributeDefinitions"] == DEFINED


def test_the_billing_mode_and_throughput_change(tables: Any) -> None:
    table = make_table(tables)
    tables.update_table(
        TableName=table,
        BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
    )
    shown = tables.describe_table(TableName=table)["Table"]
    assert shown["ProvisionedThroughput"]["WriteCapacityUnits"] == 6
    code, message = error_of(
        tables.update_table,
        TableName=table,
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
    )
    assert code == "ValidationException"
    assert message.startswith("The provisioned throughput for the table will not change.")
    tables.update_table(TableName=table, BillingMode="PAY_PER_REQUEST")
    shown = tables.describe_table(TableName=table)["Table"]
    assert shown["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_an_update_must_change_something(tables: Any) -> None:
    table = make_table(tables)
    assert error_of(tables.update_table, TableName=table)[1].startswith("At least one of ProvisionedThroughput")
    assert error_of(
        tables.update_table, TableName=table, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "nope"}}]
    ) == ("ResourceNotFoundException", "Requested resource not found")


def test_a_stream_is_switched_on_and_off_and_on_again_as_another(tables: Any) -> None:
    table = make_table(tables, **streamed())
    first = stream_arn(tables, table)
    assert error_of(tables.update_table, TableName=table, **streamed("KEYS_ONLY")) == invalid(
        f"Table already has an enabled stream: TableName: {table}"
    )
    tables.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
    shown = tables.describe_table(TableName=table)["Table"]
    assert "StreamSpecification" not in shown
    assert shown["LatestStreamArn"] == first
    assert error_of(tables.update_table, TableName=table, StreamSpecification={"StreamEnabled": False})[0] == (
        "ValidationException"
    )
    tables.update_table(TableName=table, **streamed("KEYS_ONLY"))
    assert stream_arn(tables, table) != first


# -- beside tables


def test_time_to_live_is_described_as_it_was_set(tables: Any) -> None:
    table = make_table(tables)
    assert tables.describe_time_to_live(TableName=table)["TimeToLiveDescription"] == {"TimeToLiveStatus": "DISABLED"}
    said = {"Enabled": True, "AttributeName": "until"}
    answer = tables.update_time_to_live(TableName=table, TimeToLiveSpecification=said)
    assert answer["TimeToLiveSpecification"] == said
    assert tables.describe_time_to_live(TableName=table)["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "until",
    }
    assert error_of(tables.update_time_to_live, TableName=table, TimeToLiveSpecification=said) == invalid(
        "TimeToLive is already enabled"
    )


def test_tags_are_kept_and_paged(tables: Any) -> None:
    table = make_table(tables)
    arn = tables.describe_table(TableName=table)["Table"]["TableArn"]
    tables.tag_resource(ResourceArn=arn, Tags=[{"Key": f"k{n:02}", "Value": str(n)} for n in range(12)])
    tables.tag_resource(ResourceArn=arn, Tags=[{"Key": "k00", "Value": "new"}])
    tables.untag_resource(ResourceArn=arn, TagKeys=["k01", "nowhere"])
    first = tables.list_tags_of_resource(ResourceArn=arn)
    second = tables.list_tags_of_resource(ResourceArn=arn, NextToken=first["NextToken"])
    found = {tag["Key"]: tag["Value"] for page in (first, second) for tag in page["Tags"]}
    assert found == {"k00": "new", **{f"k{n:02}": str(n) for n in range(2, 12)}}
    assert "NextToken" not in second
    code, _ = error_of(tables.list_tags_of_resource, ResourceArn=arn + "x")
    assert code == "ResourceNotFoundException"


def test_a_policy_is_kept_with_its_revision(tables: Any) -> None:
    table = make_table(tables, **streamed())
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    for arn in (tables.describe_table(TableName=table)["Table"]["TableArn"], stream_arn(tables, table)):
        assert error_of(tables.get_resource_policy, ResourceArn=arn)[0] == "PolicyNotFoundException"
        revision = tables.put_resource_policy(ResourceArn=arn, Policy=policy)["RevisionId"]
        assert plain(tables.get_resource_policy(ResourceArn=arn)) == {"Policy": policy, "RevisionId": revision}
        code, _ = error_of(tables.put_resource_policy, ResourceArn=arn, Policy=policy, ExpectedRevisionId="other")
        assert code == "PolicyNotFoundException"
        assert tables.delete_resource_policy(ResourceArn=arn)["RevisionId"] == revision
        assert plain(tables.delete_resource_policy(ResourceArn=arn)) == {}
    arn = tables.describe_table(TableName=table)["Table"]["TableArn"]
    assert error_of(tables.put_resource_policy, ResourceArn=arn, Policy="no json")[0] == "ValidationException"


def test_recovery_to_a_point_in_time_is_refused_and_said_to_be_off(tables: Any) -> None:
    table = make_table(tables)
    shown = tables.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    assert shown["PointInTimeRecoveryDescription"] == {"PointInTimeRecoveryStatus": "DISABLED"}
    off = {"PointInTimeRecoveryEnabled": False}
    assert tables.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=off)
    code, message = error_of(
        tables.update_continuous_backups,
        TableName=table,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
    )
    assert code == "ValidationException"
    assert "is not supported by eventrt" in message
    assert error_of(tables.describe_continuous_backups, TableName=fresh())[0] == "TableNotFoundException"


def test_what_is_kept_is_shown(tables: Any) -> None:
    table = make_table(
        tables,
        TableClass="STANDARD_INFREQUENT_ACCESS",
        SSESpecification={"Enabled": True, "SSEType": "KMS"},
        OnDemandThroughput={"MaxReadRequestUnits": 10, "MaxWriteRequestUnits": 20},
        WarmThroughput={"ReadUnitsPerSecond": 13000, "WriteUnitsPerSecond": 5000},
    )
    shown = tables.describe_table(TableName=table)["Table"]
    assert shown["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert (shown["SSEDescription"]["Status"], shown["SSEDescription"]["SSEType"]) == ("ENABLED", "KMS")
    assert shown["OnDemandThroughput"] == {"MaxReadRequestUnits": 10, "MaxWriteRequestUnits": 20}
    assert shown["WarmThroughput"]["ReadUnitsPerSecond"] == 13000


def test_the_service_tells_where_it_answers_and_its_limits(daemon: RunningDaemon, tables: Any) -> None:
    endpoint = tables.describe_endpoints()["Endpoints"][0]
    assert endpoint["Address"] == daemon.url.removeprefix("http://")
    assert tables.describe_limits()["TableMaxReadCapacityUnits"] == 40_000
    table = make_table(tables)
    assert tables.describe_contributor_insights(TableName=table)["ContributorInsightsStatus"] == "DISABLED"


def test_backups_and_global_tables_are_not_served(daemon: RunningDaemon) -> None:
    client = daemon.client("dynamodb")
    from botocore.exceptions import ClientError

    for call in (client.list_backups, client.list_global_tables):
        with pytest.raises(ClientError) as caught:
            call()
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
