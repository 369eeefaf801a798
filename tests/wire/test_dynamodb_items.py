"""Items over the wire: put, get, update, delete; conditions, return values, capacities, refusals in AWS's words."""

import zlib
from decimal import Decimal
from typing import Any

import boto3
import pytest

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, error_of, fresh, invalid, make_table, plain, refusal_of

EVERYTHING: dict[str, Any] = {
    "id": {"S": "é\u2603"},
    "number": {"N": "-12.5"},
    "binary": {"B": b"\x00\xff"},
    "strings": {"SS": ["a", "b"]},
    "numbers": {"NS": ["1", "2.5"]},
    "binaries": {"BS": [b"\x00", b"\x01"]},
    "map": {"M": {"inner": {"L": [{"B": b"deep"}, {"NULL": True}]}}},
    "list": {"L": []},
    "yes": {"BOOL": True},
    "empty": {"S": ""},
    "nothing": {"B": b""},
}


@pytest.fixture
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


def test_an_item_of_every_type_comes_back_as_it_was_put(tables: Any) -> None:
    table = make_table(tables)
    assert plain(tables.put_item(TableName=table, Item=EVERYTHING)) == {}
    found = tables.get_item(TableName=table, Key={"id": EVERYTHING["id"]})
    assert found["Item"] == EVERYTHING


def test_an_item_that_is_not_there_has_no_member(tables: Any) -> None:
    table = make_table(tables)
    assert plain(tables.get_item(TableName=table, Key={"id": {"S": "nobody"}})) == {}


def test_numbers_are_kept_exactly_to_38_digits_and_shown_in_their_plain_form(tables: Any) -> None:
    table = make_table(tables)
    for given, shown in (
        ("1234567890.1234567890123456789012345678", "1234567890.1234567890123456789012345678"),
        ("1.50", "1.5"),
        ("-0", "0"),
        ("1e3", "1000"),
        ("1E-130", f"0.{'0' * 129}1"),
        ("007", "7"),
    ):
        tables.put_item(TableName=table, Item={"id": {"S": "n"}, "n": {"N": given}})
        assert tables.get_item(TableName=table, Key={"id": {"S": "n"}})["Item"]["n"] == {"N": shown}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"N": "one"}, "The parameter cannot be converted to a numeric value: one"),
        ({"N": "1" * 39}, "Attempting to store more than 38 significant digits in a Number"),
        (
            {"N": "1E126"},
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ),
        (
            {"N": "1E-131"},
            "Number underflow. Attempting to store a number with magnitude smaller than supported range",
        ),
        ({"SS": []}, "One or more parameter values were invalid: An string set  may not be empty"),
        ({"SS": ["a", "a"]}, "One or more parameter values were invalid: Input collection [a, a] contains duplicates."),
        ({}, "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"),
        (
            {"S": "a", "N": "1"},
            (
                "Supplied AttributeValue has more than one datatypes set, "
                "must contain exactly one of the supported datatypes"
            ),
        ),
    ],
)
def test_values_that_dynamodb_does_not_take_are_refused(tables: Any, value: dict[str, Any], message: str) -> None:
    table = make_table(tables)
    assert error_of(tables.put_item, TableName=table, Item={"id": {"S": "x"}, "v": value}) == invalid(message)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"other": {"S": "x"}}, "One or more parameter values were invalid: Missing the key id in the item"),
        (
            {"id": {"N": "1"}},
            "One or more parameter values were invalid: Type mismatch for key id expected: S actual: N",
        ),
        (
            {"id": {"S": ""}},
            (
                "One or more parameter values are not valid. "
                "The AttributeValue for a key attribute cannot contain an empty string value. Key: id"
            ),
        ),
        (
            {"id": {"S": "x"}, "big": {"S": "y" * (400 * 1024)}},
            "Item size has exceeded the maximum allowed size",
        ),
    ],
)
def test_items_that_do_not_fit_their_table_are_refused(tables: Any, item: dict[str, Any], message: str) -> None:
    table = make_table(tables)
    assert error_of(tables.put_item, TableName=table, Item=item) == invalid(message)


def test_a_key_must_be_the_tables_key(tables: Any) -> None:
    table = make_table(tables, sort="n")
    sentence = invalid("The provided key element does not match the schema")
    for key in ({"id": {"S": "x"}}, {"id": {"S": "x"}, "n": {"S": "1"}}, {"id": {"S": "x"}, "m": {"N": "1"}}):
        assert error_of(tables.get_item, TableName=table, Key=key) == sentence
        assert error_of(tables.delete_item, TableName=table, Key=key) == sentence


def test_a_table_that_is_not_there_is_not_found(tables: Any) -> None:
    code, message = error_of(tables.get_item, TableName=fresh(), Key={"id": {"S": "x"}})
    assert (code, message) == ("ResourceNotFoundException", "Requested resource not found")


def test_a_table_may_be_named_by_its_arn(tables: Any) -> None:
    table = make_table(tables)
    arn = tables.describe_table(TableName=table)["Table"]["TableArn"]
    tables.put_item(TableName=arn, Item={"id": {"S": "x"}})
    assert tables.get_item(TableName=arn, Key={"id": {"S": "x"}})["Item"] == {"id": {"S": "x"}}


def test_accounts_and_regions_are_separate_worlds(daemon: RunningDaemon, tables: Any) -> None:
    table = make_table(tables)
    for where in ({"account": "111122223333"}, {"region": "eu-west-1"}):
        elsewhere = daemon.client("dynamodb", **where)
        assert error_of(elsewhere.scan, TableName=table)[0] == "ResourceNotFoundException"


# -- conditions


def test_a_put_under_a_condition_happens_once(tables: Any) -> None:
    table = make_table(tables)
    item = {"id": {"S": "x"}, "v": {"N": "1"}}
    tables.put_item(TableName=table, Item=item, ConditionExpression="attribute_not_exists(id)")
    refused = refusal_of(
        tables.put_item,
        TableName=table,
        Item={"id": {"S": "x"}},
        ConditionExpression="attribute_not_exists(id)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    assert refused["Error"] == {"Code": "ConditionalCheckFailedException", "Message": "The conditional request failed"}
    assert refused["Item"] == item
    again = refusal_of(
        tables.delete_item,
        TableName=table,
        Key={"id": {"S": "x"}},
        ConditionExpression="v > :v",
        ExpressionAttributeValues={":v": {"N": "1"}},
    )
    assert "Item" not in again
    assert tables.get_item(TableName=table, Key={"id": {"S": "x"}})["Item"] == item


def test_expected_is_the_same_as_a_condition(tables: Any) -> None:
    table = make_table(tables)
    tables.put_item(TableName=table, Item={"id": {"S": "x"}, "v": {"N": "5"}}, Expected={"id": {"Exists": False}})
    code, _ = error_of(tables.put_item, TableName=table, Item={"id": {"S": "x"}}, Expected={"v": {"Value": {"N": "4"}}})
    assert code == "ConditionalCheckFailedException"
    tables.update_item(
        TableName=table,
        Key={"id": {"S": "x"}},
        AttributeUpdates={
            "v": {"Action": "ADD", "Value": {"N": "2"}},
            "w": {"Action": "PUT", "Value": {"S": "new"}},
            "s": {"Action": "ADD", "Value": {"SS": ["a"]}},
        },
        Expected={
            "v": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "1"}, {"N": "9"}]},
            "q": {"ComparisonOperator": "NOT_NULL"},
        },
        ConditionalOperator="OR",
    )
    found = tables.get_item(TableName=table, Key={"id": {"S": "x"}}, AttributesToGet=["v", "w", "s"])["Item"]
    assert found == {"v": {"N": "7"}, "w": {"S": "new"}, "s": {"SS": ["a"]}}


def test_old_and_new_parameters_do_not_mix(tables: Any) -> None:
    table = make_table(tables)
    assert error_of(
        tables.put_item,
        TableName=table,
        Item={"id": {"S": "x"}},
        Expected={"id": {"Exists": False}},
        ConditionExpression="attribute_not_exists(id)",
    ) == invalid(
        "Can not use both expression and non-expression parameters in the same request: "
        "Non-expression parameters: {Expected} Expression parameters: {ConditionExpression}"
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"ExpressionAttributeNames": {"#a": "a"}},
            "ExpressionAttributeNames can only be specified when using expressions",
        ),
        (
            {"ExpressionAttributeValues": {":a": {"S": "a"}}},
            "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
        ),
        (
            {"ConditionExpression": "a = :a", "ExpressionAttributeValues": {}},
            "ExpressionAttributeValues must not be empty",
        ),
        (
            {"ConditionExpression": "attribute_exists(id)", "ExpressionAttributeNames": {"#x": "x"}},
            "Value provided in ExpressionAttributeNames unused in expressions: keys: {#x}",
        ),
        (
            {"ConditionExpression": "attribute_exists(id)", "ExpressionAttributeValues": {":x": {"S": "x"}}},
            "Value provided in ExpressionAttributeValues unused in expressions: keys: {:x}",
        ),
        (
            {"ConditionExpression": "name = :x", "ExpressionAttributeValues": {":x": {"S": "x"}}},
            "Invalid ConditionExpression: Attribute name is a reserved keyword; reserved keyword: name",
        ),
        ({"ConditionExpression": ""}, "Invalid ConditionExpression: The expression can not be empty;"),
        ({"ReturnValues": "ALL_NEW"}, "ReturnValues can only be ALL_OLD or NONE"),
    ],
)
def test_wrong_parameters_are_refused_in_dynamodbs_words(tables: Any, parameters: dict[str, Any], message: str) -> None:
    table = make_table(tables)
    assert error_of(tables.put_item, TableName=table, Item={"id": {"S": "x"}}, **parameters) == invalid(message)


# -- return values


def test_put_and_delete_return_what_was_there(tables: Any) -> None:
    table = make_table(tables)
    first = {"id": {"S": "x"}, "v": {"B": b"\x01"}}
    assert plain(tables.put_item(TableName=table, Item=first, ReturnValues="ALL_OLD")) == {}
    answer = tables.put_item(TableName=table, Item={"id": {"S": "x"}}, ReturnValues="ALL_OLD")
    assert answer["Attributes"] == first
    answer = tables.delete_item(TableName=table, Key={"id": {"S": "x"}}, ReturnValues="ALL_OLD")
    assert answer["Attributes"] == {"id": {"S": "x"}}
    assert plain(tables.delete_item(TableName=table, Key={"id": {"S": "x"}}, ReturnValues="ALL_OLD")) == {}


def test_update_returns_what_is_asked_for(tables: Any) -> None:
    table = make_table(tables)
    key = {"id": {"S": "x"}}
    tables.put_item(TableName=table, Item={**key, "a": {"N": "1"}, "m": {"M": {"b": {"N": "2"}, "c": {"N": "3"}}}})

    def update(how: str) -> Any:
        answer = tables.update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET m.b = m.b + :one, fresh = :one REMOVE a",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues=how,
        )
        return answer.get("Attributes")

    assert update("UPDATED_OLD") == {"a": {"N": "1"}, "m": {"M": {"b": {"N": "2"}}}}
    assert update("UPDATED_NEW") == {"m": {"M": {"b": {"N": "4"}}}, "fresh": {"N": "1"}}
    assert update("ALL_OLD")["m"] == {"M": {"b": {"N": "4"}, "c": {"N": "3"}}}
    assert update("ALL_NEW")["m"] == {"M": {"b": {"N": "6"}, "c": {"N": "3"}}}
    assert update("NONE") is None


def test_an_update_makes_the_item_that_is_not_there(tables: Any) -> None:
    table = make_table(tables)
    tables.update_item(TableName=table, Key={"id": {"S": "bare"}})
    tables.update_item(TableName=table, Key={"id": {"S": "gone"}}, UpdateExpression="REMOVE a")
    assert tables.get_item(TableName=table, Key={"id": {"S": "bare"}})["Item"] == {"id": {"S": "bare"}}
    assert tables.get_item(TableName=table, Key={"id": {"S": "gone"}})["Item"] == {"id": {"S": "gone"}}


def test_an_update_leaves_keys_and_sizes_as_they_must_be(tables: Any) -> None:
    table = make_table(tables)
    assert error_of(
        tables.update_item,
        TableName=table,
        Key={"id": {"S": "x"}},
        UpdateExpression="SET id = :v",
        ExpressionAttributeValues={":v": {"S": "y"}},
    ) == invalid(
        "One or more parameter values were invalid: Cannot update attribute id. This attribute is part of the key"
    )
    assert error_of(
        tables.update_item,
        TableName=table,
        Key={"id": {"S": "x"}},
        UpdateExpression="SET v = :v",
        ExpressionAttributeValues={":v": {"S": "y" * (400 * 1024)}},
    ) == invalid("Item size to update has exceeded the maximum allowed size")


def test_updates_cannot_build_what_nests_deeper_than_32_levels(tables: Any) -> None:
    table = make_table(tables)
    value: dict[str, Any] = {"S": "deep"}
    for _ in range(20):
        value = {"M": {"n": value}}
    tables.put_item(TableName=table, Item={"id": {"S": "x"}, "n": value})
    path = ".".join(["n"] * 21)
    code, message = error_of(
        tables.update_item,
        TableName=table,
        Key={"id": {"S": "x"}},
        UpdateExpression=f"SET {path} = :v",
        ExpressionAttributeValues={":v": value},
    )
    assert (code, message.split(":")[0]) == ("ValidationException", "Nesting Levels have exceeded supported limits")


# -- capacities and headers


def test_capacities_are_told_when_asked_for(tables: Any) -> None:
    table = make_table(tables)
    answer = tables.put_item(
        TableName=table, Item={"id": {"S": "x"}, "v": {"S": "y" * 2000}}, ReturnConsumedCapacity="TOTAL"
    )
    assert answer["ConsumedCapacity"] == {"TableName": table, "CapacityUnits": 2.0}
    for consistent, units in ((False, 0.5), (True, 1.0)):
        answer = tables.get_item(
            TableName=table, Key={"id": {"S": "x"}}, ConsistentRead=consistent, ReturnConsumedCapacity="INDEXES"
        )
        assert answer["ConsumedCapacity"] == {
            "TableName": table,
            "CapacityUnits": units,
            "Table": {"CapacityUnits": units},
        }


def test_every_answer_carries_the_checksum_of_its_body(tables: Any) -> None:
    bodies: list[tuple[bytes, str]] = []

    def note(http_response: Any, **_: Any) -> None:
        bodies.append((http_response.content, http_response.headers["x-amz-crc32"]))

    tables.meta.events.register("after-call.dynamodb", note, unique_id="crc")
    try:
        table = make_table(tables)
        tables.put_item(TableName=table, Item=EVERYTHING)
        tables.scan(TableName=table)
        error_of(tables.scan, TableName=fresh())
    finally:
        tables.meta.events.unregister("after-call.dynamodb", unique_id="crc")
    assert len(bodies) == 4
    assert all(zlib.crc32(body) == int(header) for body, header in bodies)


def test_wrong_json_types_are_serialization_exceptions(tables: Any, daemon: RunningDaemon) -> None:
    import json
    import urllib.error
    import urllib.request

    table = make_table(tables)

    def send(operation: str, body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            daemon.url,
            json.dumps(body).encode(),
            {"X-Amz-Target": f"DynamoDB_20120810.{operation}", "Content-Type": "application/x-amz-json-1.0"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=PATIENCE_S)
        with caught.value as error:
            assert error.code == 400
            found: dict[str, Any] = json.loads(error.read())
            return found

    for item in ([], "x", {"id": "x"}, {"id": {"S": 5}}, {"id": {"B": "%%%"}}, {"id": {"M": []}}, {"id": {"SS": [1]}}):
        answer = send("PutItem", {"TableName": table, "Item": item})
        assert answer["__type"] == "com.amazon.coral.service#SerializationException", item
    answer = send("PutItem", {"TableName": table, "Item": {"id": {"Q": "x"}}})
    assert answer["__type"] == "com.amazon.coral.validate#ValidationException"
    answer = send("GetItem", {"TableName": fresh(), "Key": {}})
    assert answer["__type"] == "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"


def test_the_resource_interface_of_boto3_works_with_python_values(daemon: RunningDaemon, tables: Any) -> None:
    table = make_table(tables, sort="n")
    resource = boto3.resource(
        "dynamodb",
        region_name="us-east-1",
        endpoint_url=daemon.url,
        aws_access_key_id="000000000000",
        aws_secret_access_key="secret",
    )
    orders = resource.Table(table)
    with orders.batch_writer() as batch:
        for number in range(40):
            batch.put_item(Item={"id": "a", "n": Decimal(number), "tags": {"x", "y"}, "ok": number % 2 == 0})
    from boto3.dynamodb.conditions import Attr, Key

    answer = orders.query(
        KeyConditionExpression=Key("id").eq("a") & Key("n").between(Decimal(10), Decimal(19)),
        FilterExpression=Attr("ok").eq(True) & Attr("tags").contains("x"),
    )
    assert [int(item["n"]) for item in answer["Items"]] == [10, 12, 14, 16, 18]
    assert answer["ScannedCount"] == 10
    resource.meta.client.close()
