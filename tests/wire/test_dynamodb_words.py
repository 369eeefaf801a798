"""What DynamoDB says to requests that are wrong: its words, as clients match them."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import checked_client, error_of, invalid, make_table

INVALID = "One or more parameter values were invalid: "
GLOBAL: dict[str, Any] = {
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "by-kind",
            "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "by-rank",
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "rank", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
    "attributes": [
        {"AttributeName": "kind", "AttributeType": "S"},
        {"AttributeName": "at", "AttributeType": "N"},
        {"AttributeName": "rank", "AttributeType": "S"},
    ],
}


@pytest.fixture(scope="module")
def tables(daemon: RunningDaemon) -> Any:
    return checked_client(daemon)


@pytest.fixture(scope="module")
def plain_table(tables: Any) -> str:
    return make_table(tables)


@pytest.fixture(scope="module")
def sorted_table(tables: Any) -> str:
    table = make_table(tables, sort="n")
    for n in range(1, 4):
        tables.put_item(TableName=table, Item={"id": {"S": "p"}, "n": {"N": str(n)}})
    return table


@pytest.fixture(scope="module")
def indexed_table(tables: Any) -> str:
    return make_table(tables, sort="n", **GLOBAL)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"N": ""}, "The parameter cannot be converted to a numeric value"),
        ({"N": "one"}, "The parameter cannot be converted to a numeric value: one"),
        ({"SS": []}, f"{INVALID}An string set  may not be empty"),
        ({"NS": []}, f"{INVALID}An number set  may not be empty"),
        ({"BS": []}, f"{INVALID}Binary sets should not be empty"),
        ({"SS": ["a", "a"]}, f"{INVALID}Input collection [a, a] contains duplicates."),
        ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
        ({"M": {"": {"S": "a"}}}, f"{INVALID}An attribute name must not be empty"),
        ({"BS": [b"b", b"b"]}, f"{INVALID}Input collection [Yg==, Yg==]of type BS contains duplicates."),
    ],
)
def test_a_wrong_value_is_called_what_it_is(tables: Any, plain_table: str, value: Any, message: str) -> None:
    item = {"id": {"S": "a"}, "x": value}
    assert error_of(tables.put_item, TableName=plain_table, Item=item) == invalid(message)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        (
            "if_not_exists(a, :s)",
            {":s": {"S": "s"}},
            "The function is not allowed in a condition expression; function: if_not_exists",
        ),
        ("size(a)", {}, "The function is not allowed to be used this way in an expression; function: size"),
        (
            "begins_with(a, :s) = :s",
            {":s": {"S": "s"}},
            "The function is not allowed to be used this way in an expression; function: begins_with",
        ),
        (
            "attribute_exists(:s)",
            {":s": {"S": "s"}},
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
    ],
)
def test_a_function_in_the_wrong_place_is_named(
    tables: Any, plain_table: str, text: str, values: dict[str, Any], message: str
) -> None:
    more = {"ExpressionAttributeValues": values} if values else {}
    assert error_of(
        tables.put_item, TableName=plain_table, Item={"id": {"S": "a"}}, ConditionExpression=text, **more
    ) == invalid(f"Invalid ConditionExpression: {message}")


@pytest.mark.parametrize(
    ("text", "value", "message"),
    [
        (
            "ADD a :v",
            {"S": "s"},
            (
                "Incorrect operand type for operator or function; operator: ADD, operand type: STRING, "
                "typeSet: ALLOWED_FOR_ADD_OPERAND"
            ),
        ),
        (
            "DELETE a :v",
            {"N": "1"},
            (
                "Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER, "
                "typeSet: ALLOWED_FOR_DELETE_OPERAND"
            ),
        ),
        (
            "SET a[99999999999] = :v",
            {"N": "1"},
            "List index is not within the allowable range; index: [99999999999]",
        ),
        ("SET a = ((b + :v))", {"N": "1"}, "The expression has redundant parentheses;"),
        (
            "SET a = contains(b, :v)",
            {"N": "1"},
            "The function is not allowed in an update expression; function: contains",
        ),
    ],
)
def test_a_wrong_update_says_what_it_wants(
    tables: Any, plain_table: str, text: str, value: dict[str, str], message: str
) -> None:
    assert error_of(
        tables.update_item,
        TableName=plain_table,
        Key={"id": {"S": "a"}},
        UpdateExpression=text,
        ExpressionAttributeValues={":v": value},
    ) == invalid(f"Invalid UpdateExpression: {message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"N": "1"}, "The update expression attempted to update the secondary index key to unsupported type"),
        (
            {"S": ""},
            (
                "One or more parameter values are not valid. The update expression attempted to update a secondary "
                "index key to a value that is not supported. The AttributeValue for a key attribute cannot contain an "
                "empty string value."
            ),
        ),
        (
            {"S": "x" * 2049},
            "The update expression attempted to update the secondary index key beyond allowed size limits",
        ),
    ],
)
def test_an_update_keeps_the_keys_of_indexes_whole(
    tables: Any, indexed_table: str, value: dict[str, str], message: str
) -> None:
    assert error_of(
        tables.update_item,
        TableName=indexed_table,
        Key={"id": {"S": "a"}, "n": {"N": "1"}},
        UpdateExpression="SET kind = :v",
        ExpressionAttributeValues={":v": value},
    ) == invalid(message)


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"kind": {"S": "x" * 2049}}, f"{INVALID}Size of hashkey has exceeded the maximum size limit of2048 bytes"),
        (
            {"rank": {"S": "x" * 1025}},
            f"{INVALID}Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
        ),
    ],
)
def test_an_items_index_keys_have_the_lengths_of_keys(
    tables: Any, indexed_table: str, attribute: dict[str, Any], message: str
) -> None:
    item = {"id": {"S": "a"}, "n": {"N": "1"}, **attribute}
    assert error_of(tables.put_item, TableName=indexed_table, Item=item) == invalid(message)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "Conditions can be of length 1 or 2 only"),
        (
            {name: {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "a"}]} for name in ("id", "n", "x")},
            "Conditions can be of length 1 or 2 only",
        ),
        (
            {"id": {"ComparisonOperator": "NE", "AttributeValueList": [{"S": "a"}]}},
            "Attempted conditional constraint is not an indexable operation",
        ),
    ],
)
def test_key_conditions_are_one_or_two_that_an_index_can_answer(
    tables: Any, sorted_table: str, conditions: dict[str, Any], message: str
) -> None:
    assert error_of(tables.query, TableName=sorted_table, KeyConditions=conditions) == invalid(message)


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({"word": {"Action": "ADD", "Value": {"N": "1"}}}, "Type mismatch for attribute to update"),
        ({"list": {"Action": "ADD", "Value": {"SS": ["a"]}}}, "Type mismatch for attribute to update"),
        ({"word": {"Action": "ADD", "Value": {"L": []}}}, "Type mismatch for attribute to update"),
        ({"set": {"Action": "DELETE", "Value": {"NS": ["1"]}}}, "Type mismatch for attribute to update"),
    ],
)
def test_attribute_updates_have_words_of_their_own(
    tables: Any, plain_table: str, updates: dict[str, Any], message: str
) -> None:
    item = {"id": {"S": "older"}, "word": {"S": "w"}, "list": {"L": []}, "set": {"SS": ["a"]}}
    tables.put_item(TableName=plain_table, Item=item)
    assert error_of(
        tables.update_item, TableName=plain_table, Key={"id": {"S": "older"}}, AttributeUpdates=updates
    ) == invalid(message)


def test_a_set_is_no_operand_of_contains_in_older_filters(tables: Any, plain_table: str) -> None:
    condition = {"ComparisonOperator": "CONTAINS", "AttributeValueList": [{"SS": ["a"]}]}
    assert error_of(tables.scan, TableName=plain_table, ScanFilter={"a": condition}) == invalid(
        f"{INVALID}ComparisonOperator CONTAINS is not valid for SS AttributeValue type"
    )


def test_an_update_may_put_a_sum_into_parentheses(tables: Any, plain_table: str) -> None:
    answer = tables.update_item(
        TableName=plain_table,
        Key={"id": {"S": "sum"}},
        UpdateExpression="SET a = ((:five + :two) - :two) - (if_not_exists(a, :two) + :two)",
        ExpressionAttributeValues={":five": {"N": "5"}, ":two": {"N": "2"}},
        ReturnValues="UPDATED_NEW",
    )
    assert answer["Attributes"] == {"a": {"N": "1"}}


def test_the_size_of_a_given_value_is_a_number_too(tables: Any, plain_table: str) -> None:
    for text, size in (("abc", "3"), ("", "0")):
        tables.put_item(
            TableName=plain_table,
            Item={"id": {"S": "sized"}},
            ConditionExpression="size(:text) = :size",
            ExpressionAttributeValues={":text": {"S": text}, ":size": {"N": size}},
        )


def test_values_without_expressions_are_refused_beside_older_parameters(tables: Any, plain_table: str) -> None:
    assert error_of(
        tables.put_item,
        TableName=plain_table,
        Item={"id": {"S": "a"}},
        Expected={"a": {"Exists": False}},
        ExpressionAttributeValues={":a": {"S": "a"}},
    ) == invalid("ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null")


def test_projected_attributes_are_those_of_an_index(tables: Any, plain_table: str) -> None:
    assert error_of(tables.scan, TableName=plain_table, Select="ALL_PROJECTED_ATTRIBUTES") == invalid(
        f"{INVALID}ALL_PROJECTED_ATTRIBUTES can be used only when Scanning using an IndexName"
    )


def test_a_write_of_a_batch_says_what_to_write(tables: Any, plain_table: str) -> None:
    assert error_of(tables.batch_write_item, RequestItems={plain_table: [{}]}) == invalid(
        "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
    )


def test_a_batch_of_too_many_writes_to_one_table_breaks_a_constraint(tables: Any, plain_table: str) -> None:
    writes = [{"DeleteRequest": {"Key": {"id": {"S": str(number)}}}} for number in range(26)]
    code, message = error_of(tables.batch_write_item, RequestItems={plain_table: writes})
    assert code == "ValidationException"
    assert message.endswith(
        " at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: "
        "[Member must have length less than or equal to 25, Member must have length greater than or equal to 1]"
    )


def test_a_transaction_that_updates_a_key_is_refused_before_it_begins(tables: Any, plain_table: str) -> None:
    update = {
        "TableName": plain_table,
        "Key": {"id": {"S": "a"}},
        "UpdateExpression": "SET id = :v",
        "ExpressionAttributeValues": {":v": {"S": "b"}},
    }
    assert error_of(tables.transact_write_items, TransactItems=[{"Update": update}]) == invalid(
        f"{INVALID}Cannot update attribute id. This attribute is part of the key"
    )


def test_a_time_to_live_is_of_one_attribute(tables: Any) -> None:
    table = make_table(tables)
    tables.update_time_to_live(TableName=table, TimeToLiveSpecification={"AttributeName": "one", "Enabled": True})
    for is_enabled in (True, False):
        assert error_of(
            tables.update_time_to_live,
            TableName=table,
            TimeToLiveSpecification={"AttributeName": "two", "Enabled": is_enabled},
        ) == invalid("TimeToLive is active on a different AttributeName: current AttributeName is one")
    assert error_of(
        tables.update_time_to_live,
        TableName=table,
        TimeToLiveSpecification={"AttributeName": "one", "Enabled": True},
    ) == invalid("TimeToLive is already enabled")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"AttributeDefinitions": [{"AttributeName": "id", "AttributeType": kind} for kind in "SN"]},
            "Cannot have two attributes with the same name",
        ),
        (
            {
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "a", "KeyType": "RANGE"},
                    {"AttributeName": "b", "KeyType": "RANGE"},
                ]
            },
            (
                "1 validation error detected: Value '[KeySchemaElement(attributeName=id, keyType=HASH), "
                "KeySchemaElement(attributeName=a, keyType=RANGE), KeySchemaElement(attributeName=b, keyType=RANGE)]' "
                "at 'keySchema' failed to satisfy constraint: Member must have length less than or equal to 2"
            ),
        ),
        (
            {
                "GlobalSecondaryIndexes": [
                    {
                        "IndexName": "one",
                        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
                        "Projection": {"ProjectionType": "ALL"},
                        "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
                    }
                ]
            },
            (
                f"{INVALID}ProvisionedThroughput should not be specified for index: one when BillingMode is "
                "PAY_PER_REQUEST"
            ),
        ),
        (
            {"SSESpecification": {"Enabled": True, "SSEType": "AES256"}},
            f"{INVALID}SSEType AES256 is not supported: the only supported value is KMS",
        ),
        (
            {"Tags": [{"Key": "aws:mine", "Value": "no"}]},
            f"{INVALID}Tag keys that begin with aws: are reserved: aws:mine",
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused(tables: Any, change: dict[str, Any], message: str) -> None:
    asked = {
        "TableName": "never-made",
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
        **change,
    }
    assert error_of(tables.create_table, **asked) == invalid(message)
