"""The AWS door in process: finding the operation, refusing in the caller's protocol, never failing."""

import gzip
import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import cbor2
import orjson
import pytest

from eventrt.aws.call import Call
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.errors import ApiError, StoreClosed, StoreFull
from eventrt.http import BodyBroken
from tests.unit.aws.asking import ask_json, request_of, scope, service, target

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def echo(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    return {"MessageId": "id", "MD5OfMessageBody": "md5"}


def refuse(error: Exception) -> Any:
    def handle(call: Call, request: Mapping[str, Any]) -> Any:
        raise error

    return handle


@pytest.fixture
def sqs() -> Any:
    return service(
        "sqs",
        SendMessage=echo,
        ReceiveMessage=lambda call, request: {"Messages": []},
        GetQueueUrl=refuse(ApiError("QueueDoesNotExist", "The specified queue does not exist.")),
        DeleteQueue=refuse(ApiError("AWS.SimpleQueueService.NonExistentQueue", "Gone.")),
        ListQueues=refuse(RuntimeError("a secret of the inside")),
        PurgeQueue=refuse(ApiError("PurgeQueueInProgress", "Only one.")),
    )


@pytest.fixture
def functions() -> Any:
    return service(
        "lambda",
        Invoke=lambda call, request: {"StatusCode": 200, "Payload": request.get("Payload", b"null")},
        CreateFunction=lambda call, request: {"FunctionName": request["FunctionName"]},
        GetFunction=refuse(ApiError("ResourceNotFoundException", "Function not found: f")),
        ListFunctions=refuse(
            ApiError(
                "TooManyRequestsException",
                "Rate Exceeded.",
                members={"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"},
                headers={"Retry-After": "1"},
            )
        ),
        ListTags=lambda call, request: {"Tags": {"arn": request["Resource"]}},
        DeleteFunction=lambda call, request: {},
        UntagResource=lambda call, request: {},
    )


@pytest.fixture
def iam() -> Any:
    return service(
        "iam",
        GetRole=refuse(ApiError("NoSuchEntityException", "No role <r>.")),
        CreateRole=lambda call, request: {
            "Role": {
                "Path": "/",
                "RoleName": request["RoleName"],
                "RoleId": "AROA",
                "Arn": "arn",
                "CreateDate": 1_706_695_872.5,
                "Tags": request.get("Tags", []),
            }
        },
    )


@pytest.fixture
def door(sqs: Any, functions: Any, iam: Any) -> AwsDoor:
    return AwsDoor([sqs, functions, iam], account_of=lambda key: "999999999999" if key == "ASIAKNOWN" else None)


# -- who asks, and where ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "account"),
    [("123456789012", "123456789012"), ("AKIATEST", "000000000000"), ("ASIAKNOWN", "999999999999")],
)
async def test_a_key_of_12_digits_is_its_account(door: AwsDoor, sqs: Any, key: str, account: str) -> None:
    await ask_json(door, "AmazonSQS.SendMessage", {}, **scope("sqs", key=key, region="eu-west-1"))
    call, _ = sqs.asked[0]
    assert (call.account_id, call.region, call.access_key) == (account, "eu-west-1", key)


async def test_a_request_without_credentials_lives_in_the_default_account_and_region(door: AwsDoor, sqs: Any) -> None:
    await ask_json(door, "AmazonSQS.SendMessage", {})
    call, _ = sqs.asked[0]
    assert (call.account_id, call.region, call.protocol) == ("000000000000", "us-east-1", "json")


async def test_a_presigned_query_names_its_region(door: AwsDoor, sqs: Any) -> None:
    credential = "111111111111%2F20240131%2Fap-southeast-2%2Fsqs%2Faws4_request"
    url = f"/?Action=SendMessage&MessageBody=x&X-Amz-Credential={credential}"
    await door.handle(request_of("GET", url))
    call, request = sqs.asked[0]
    assert (call.account_id, call.region, request["MessageBody"]) == ("111111111111", "ap-southeast-2", "x")


async def test_request_ids_are_in_the_header_and_differ(door: AwsDoor) -> None:
    first, _ = await ask_json(door, "AmazonSQS.SendMessage", {})
    second, _ = await ask_json(door, "AmazonSQS.SendMessage", {})
    assert len(first.headers["x-amzn-RequestId"]) == 36
    assert first.headers["x-amzn-RequestId"] != second.headers["x-amzn-RequestId"]


# -- SQS in its two protocols ----------------------------------------------------------------------------------


async def test_empty_lists_of_sqs_are_left_out() -> None:
    door = AwsDoor([service("sqs", ListQueues=lambda call, request: {"QueueUrls": []})])
    _, body = await ask_json(door, "AmazonSQS.ListQueues", {})
    assert body == {}


async def test_an_sqs_error_in_json_carries_its_query_code(door: AwsDoor) -> None:
    response, body = await ask_json(door, "AmazonSQS.GetQueueUrl", {"QueueName": "q"})
    assert response.status == 400
    assert body == {
        "__type": "com.amazonaws.sqs#QueueDoesNotExist",
        "message": "The specified queue does not exist.",
    }
    assert response.headers["x-amzn-query-error"] == "AWS.SimpleQueueService.NonExistentQueue;Sender"


async def test_an_error_may_be_named_by_its_query_code(door: AwsDoor) -> None:
    response, body = await ask_json(door, "AmazonSQS.DeleteQueue", {"QueueUrl": "u"})
    assert body["__type"] == "com.amazonaws.sqs#QueueDoesNotExist"
    assert response.headers["x-amzn-query-error"].startswith("AWS.SimpleQueueService.NonExistentQueue;")


async def test_an_sqs_error_has_the_status_aws_gives_it(door: AwsDoor) -> None:
    response, _ = await ask_json(door, "AmazonSQS.PurgeQueue", {"QueueUrl": "u"})
    assert response.status == 403


async def test_an_sqs_error_in_query_is_xml(door: AwsDoor) -> None:
    response = await door.handle(request_of(headers=FORM, body=b"Action=GetQueueUrl&QueueName=q&Version=2012-11-05"))
    root = ElementTree.fromstring(response.body)
    space = {"s": "http://sqs.amazonaws.com/doc/2012-11-05/"}
    assert response.status == 400
    assert root.findtext("s:Error/s:Code", namespaces=space) == "AWS.SimpleQueueService.NonExistentQueue"
    assert root.findtext("s:Error/s:Type", namespaces=space) == "Sender"
    assert root.find("s:Error/s:Detail", namespaces=space) is not None
    assert root.findtext("s:RequestId", namespaces=space) == response.headers["x-amzn-RequestId"]


async def test_a_query_request_on_a_queues_path_is_about_that_queue(door: AwsDoor, sqs: Any) -> None:
    await door.handle(request_of("GET", "/000000000000/q?Action=SendMessage&MessageBody=a%2Bb+c"))
    call, request = sqs.asked[0]
    assert request == {"QueueUrl": "http://localhost:4566/000000000000/q", "MessageBody": "a+b c"}
    assert call.protocol == "query"


async def test_flattened_parameters_of_sqs_queries_are_folded(door: AwsDoor, sqs: Any) -> None:
    body = (
        b"Action=SendMessage&MessageBody=b&MessageAttribute.2.Name=n&MessageAttribute.2.Value.DataType=Number"
        b"&MessageAttribute.2.Value.StringValue=7&MessageAttribute.1.Name=bin&MessageAttribute.1.Value.DataType=Binary"
        b"&MessageAttribute.1.Value.BinaryValue=AAE%3D&MessageSystemAttribute.1.Name=AWSTraceHeader"
        b"&MessageSystemAttribute.1.Value.StringValue=Root%3D1&MessageSystemAttribute.1.Value.DataType=String"
    )
    await door.handle(request_of(headers=FORM, body=body))
    assert sqs.asked[0][1] == {
        "MessageBody": "b",
        "MessageAttributes": {
            "bin": {"DataType": "Binary", "BinaryValue": b"\x00\x01"},
            "n": {"DataType": "Number", "StringValue": "7"},
        },
        "MessageSystemAttributes": {"AWSTraceHeader": {"StringValue": "Root=1", "DataType": "String"}},
    }


@pytest.mark.parametrize(
    "form",
    [
        b"Action=SendMessage&DelaySeconds=abc",
        b"Action=SendMessage&DelaySeconds=1_0",
        b"Action=SendMessage&MessageAttribute.x.Name=n",
        b"Action=SendMessage&MessageAttribute=n&MessageAttribute.1.Name=x",
        b"Action=SendMessage&MessageAttribute.1.Value.BinaryValue=%%%",
        b"Action=SendMessage&MessageBody=%ff",
        b"Action=SendMessage&" + b"a." * 500 + b"b=1",
    ],
)
async def test_a_query_of_wrong_types_is_refused(door: AwsDoor, form: bytes) -> None:
    response = await door.handle(request_of(headers=FORM, body=form))
    assert response.status == 400
    assert b"<Code>" in response.body


# -- wrong requests --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Could not parse the request body as JSON"),
        (b"\xff\xfe", "Could not parse the request body as JSON"),
        (b'"text"', "Unexpected value type in payload"),
        (b"[]", "Start of list found where not expected"),
        (b'{"MessageBody": 1}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"MessageBody": true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"DelaySeconds": "5"}', "STRING_VALUE can not be converted to an Integer"),
        (b'{"DelaySeconds": 5.5}', "DECIMAL_VALUE can not be converted to an Integer"),
        (b'{"DelaySeconds": 4294967296}', "NUMBER_VALUE can not be converted to an Integer"),
        (b'{"MessageAttributes": []}', "Start of list found where not expected"),
        (b'{"MessageAttributes": {"a": {"BinaryValue": "*"}}}', "Invalid base64 in a binary value"),
    ],
)
async def test_wrong_types_are_a_serialization_exception(door: AwsDoor, body: bytes, message: str) -> None:
    response, answer = await ask_json(door, "AmazonSQS.SendMessage", body)
    assert response.status == 400
    assert answer == {"__type": "com.amazon.coral.service#SerializationException", "message": message}


async def test_members_that_aws_does_not_know_are_ignored_and_nulls_are_absent(door: AwsDoor, sqs: Any) -> None:
    await ask_json(door, "AmazonSQS.SendMessage", {"MessageBody": "m", "DelaySeconds": None, "Nonsense": [1]})
    assert sqs.asked[0][1] == {"MessageBody": "m"}


async def test_an_empty_body_is_an_empty_request(door: AwsDoor, sqs: Any) -> None:
    response, _ = await ask_json(door, "AmazonSQS.SendMessage", b"")
    assert response.status == 200


async def test_every_broken_constraint_is_told_at_once(door: AwsDoor) -> None:
    body = {"Timeout": 0, "Architectures": ["x86_64", "arm64"], "Code": {"S3Key": ""}, "Role": "nobody"}
    response = await door.handle(
        request_of("POST", "/2015-03-31/functions", headers=scope("lambda"), body=orjson.dumps(body))
    )
    assert response.status == 400
    assert response.headers["x-amzn-ErrorType"] == "ValidationException"
    message = orjson.loads(response.body)["message"]
    assert message.startswith("5 validation errors detected: ")
    for item in (
        "Value '0' at 'timeout' failed to satisfy constraint: Member must have value greater than or equal to 1",
        "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than",
        "Value '' at 'code.s3Key' failed to satisfy constraint: Member must have length greater than or equal to 1",
        "Value 'nobody' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: ",
        "Value null at 'functionName' failed to satisfy constraint: Member must not be null",
    ):
        assert item in message


async def test_one_broken_constraint_is_told_in_the_singular(door: AwsDoor) -> None:
    form = b"Action=CreateRole&Version=2010-05-08&AssumeRolePolicyDocument=x"
    response = await door.handle(request_of(headers=FORM, body=form))
    text = response.body.decode()
    assert "<Code>ValidationError</Code>" in text
    assert (
        "1 validation error detected: Value null at 'roleName' failed to satisfy constraint: Member must not be null"
    ) in text


async def test_scalars_in_lists_and_maps_are_reported_at_the_list_or_map(door: AwsDoor) -> None:
    body = {
        "FunctionName": "f",
        "Role": "arn:aws:iam::000000000000:role/r",
        "Code": {},
        "Environment": {"Variables": {"1bad": "v"}},
        "Architectures": ["mips"],
    }
    response = await door.handle(
        request_of("POST", "/2015-03-31/functions", headers=scope("lambda"), body=orjson.dumps(body))
    )
    message = orjson.loads(response.body)["message"]
    assert (
        "Value '[mips]' at 'architectures' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
    ) in message
    assert "at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [" in message
    assert "1bad" not in message  # environment values are sensitive: AWS does not print them


# -- Lambda: REST ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f",
        "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af",
        "/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f/",
    ],
)
async def test_labels_of_a_path_may_be_encoded_or_raw(door: AwsDoor, functions: Any, path: str) -> None:
    response = await door.handle(request_of("GET", path))
    assert response.status == 200
    assert functions.asked[0][1] == {"Resource": "arn:aws:lambda:us-east-1:000000000000:function:f"}


async def test_a_payload_passes_as_it_is(door: AwsDoor, functions: Any) -> None:
    response = await door.handle(
        request_of(
            "POST",
            "/2015-03-31/functions/f/invocations?Qualifier=live",
            headers={"X-Amz-Log-Type": "Tail"},
            body=b' {"a" :1}',
        )
    )
    assert (response.status, response.body) == (200, b' {"a" :1}')
    assert functions.asked[0][1] == {
        "FunctionName": "f",
        "Qualifier": "live",
        "LogType": "Tail",
        "Payload": b' {"a" :1}',
    }


async def test_repeated_query_parameters_are_a_list(door: AwsDoor, functions: Any) -> None:
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    response = await door.handle(request_of("DELETE", f"/2017-03-31/tags/{arn}?tagKeys=a&tagKeys=b%20c"))
    assert (response.status, response.body) == (204, b"")
    assert functions.asked[0][1]["TagKeys"] == ["a", "b c"]


async def test_a_rest_error_is_in_header_and_body(door: AwsDoor) -> None:
    response = await door.handle(request_of("GET", "/2015-03-31/functions/f"))
    assert response.status == 404
    assert response.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert orjson.loads(response.body) == {"Type": "User", "Message": "Function not found: f"}


async def test_an_error_may_have_members_and_headers_of_its_own(door: AwsDoor) -> None:
    response = await door.handle(request_of("GET", "/2015-03-31/functions/"))
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert orjson.loads(response.body) == {
        "Type": "User",
        "message": "Rate Exceeded.",
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
    }


# -- IAM: query ------------------------------------------------------------------------------------------------


async def test_iam_answers_in_xml_with_dates_as_iso(door: AwsDoor, iam: Any) -> None:
    form = (
        b"Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D"
        b"&Tags.member.1.Key=k&Tags.member.1.Value=v%26"
    )
    response = await door.handle(request_of(headers=FORM, body=form))
    text = response.body.decode()
    assert iam.asked[0][1]["Tags"] == [{"Key": "k", "Value": "v&"}]
    assert "<CreateDate>2024-01-31T10:11:12.500Z</CreateDate>" in text
    assert "<Tags><member><Key>k</Key><Value>v&amp;</Value></member></Tags>" in text
    assert f"<RequestId>{response.headers['x-amzn-RequestId']}</RequestId>" in text


async def test_an_iam_error_has_its_query_code(door: AwsDoor) -> None:
    response = await door.handle(request_of(headers=FORM, body=b"Action=GetRole&Version=2010-05-08&RoleName=r"))
    assert response.status == 404
    assert b"<Code>NoSuchEntity</Code><Message>No role &lt;r&gt;.</Message>" in response.body


# -- CBOR ------------------------------------------------------------------------------------------------------


async def test_cbor_is_spoken_where_the_model_says_so() -> None:
    cloudwatch = service(
        "cloudwatch", ListDashboards=lambda call, request: {"DashboardEntries": [{"LastModified": 1_706_695_872.5}]}
    )
    door = AwsDoor([cloudwatch])
    headers = {"smithy-protocol": "rpc-v2-cbor", "content-type": "application/cbor"}
    path = "/service/GraniteServiceVersion20100801/operation/ListDashboards"
    response = await door.handle(request_of("POST", path, headers=headers, body=cbor2.dumps({"NextToken": "n"})))
    assert response.status == 200
    assert response.headers["smithy-protocol"] == "rpc-v2-cbor"
    assert cbor2.loads(response.body)["DashboardEntries"][0]["LastModified"].timestamp() == 1_706_695_872.5
    assert cloudwatch.asked[0][1] == {"NextToken": "n"}
    wrong = await door.handle(request_of("POST", path, headers=headers, body=b"\xff\x00"))
    assert wrong.status == 400
    assert cbor2.loads(wrong.body)["__type"].endswith("SerializationException")


# -- not served, not known -------------------------------------------------------------------------------------


async def test_an_operation_that_is_not_served_is_501_and_named(door: AwsDoor) -> None:
    response, body = await ask_json(door, "AmazonSQS.TagQueue", {})
    assert response.status == 501
    assert body["message"] == "eventrt does not serve sqs.TagQueue yet."
    rest = await door.handle(request_of("GET", "/2016-08-19/account-settings/"))
    assert rest.status == 501
    assert "lambda.GetAccountSettings" in orjson.loads(rest.body)["message"]
    query = await door.handle(request_of(headers=FORM, body=b"Action=CreateUser&Version=2010-05-08&UserName=u"))
    assert query.status == 501
    assert b"iam.CreateUser" in query.body


async def test_a_service_that_is_not_served_is_501_and_named(door: AwsDoor) -> None:
    response, body = await ask_json(door, "DynamoDB_20120810.ListTables", {})
    assert response.status == 501
    assert "DynamoDB_20120810.ListTables" in body["message"]
    query = await door.handle(
        request_of(headers={**FORM, **scope("ec2")}, body=b"Action=DescribeVpcs&Version=2016-11-15")
    )
    assert query.status == 501
    assert b"ec2.DescribeVpcs" in query.body
    bucket = await door.handle(request_of("PUT", "/bucket/key", headers=scope("s3")))
    assert bucket.status == 501
    assert bucket.body.startswith(b"<?xml")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (request_of("GET", "/"), 404),
        (request_of("POST", "/", body=b"x"), 404),
        (request_of("GET", "/2015-03-31/nonsense"), 404),
        (request_of("DELETE", "/2015-03-31/functions"), 404),
        (request_of(headers=target("AmazonSQS.Nonsense")), 400),
        (request_of(headers={**FORM, **scope("sqs")}, body=b"Action=Nonsense"), 400),
        (request_of(headers={**FORM, **scope("sqs")}, body=b"Version=2012-11-05&Action="), 400),
        (request_of("PATCH", "/\x00%zz%ff?%ff=%", headers=scope("lambda")), 400),
    ],
)
async def test_what_aws_does_not_know_is_a_4xx(door: AwsDoor, request_: Any, status: int) -> None:
    response = await door.handle(request_)
    assert response.status == status
    assert response.headers["x-amzn-RequestId"]


# -- failures that are not the caller's ------------------------------------------------------------------------


async def test_a_defect_is_an_internal_failure_that_tells_nothing(door: AwsDoor) -> None:
    response, body = await ask_json(door, "AmazonSQS.ListQueues", {})
    assert response.status == 500
    assert body["__type"].endswith("InternalFailure")
    assert "secret" not in json.dumps(body)


@pytest.mark.parametrize(("error", "status"), [(StoreFull("full"), 500), (StoreClosed("closed"), 503)])
async def test_a_store_that_takes_nothing_is_a_5xx_of_the_protocol(error: Exception, status: int) -> None:
    door = AwsDoor([service("sqs", SendMessage=refuse(error)), service("lambda", ListFunctions=refuse(error))])
    response, body = await ask_json(door, "AmazonSQS.SendMessage", {})
    assert (response.status, "__type" in body) == (status, True)
    rest = await door.handle(request_of("GET", "/2015-03-31/functions"))
    assert (rest.status, rest.headers["x-amzn-ErrorType"]) == (status, "ServiceException")


async def test_a_body_that_is_too_long_is_413_in_the_services_words(door: AwsDoor) -> None:
    response, _ = await ask_json(door, "AmazonSQS.SendMessage", b" " * (8 * 1024 * 1024 + 1))
    assert response.status == 413
    rest = await door.handle(
        request_of("POST", "/2015-03-31/functions", headers=scope("lambda"), body=b" " * 70_167_212)
    )
    assert rest.status == 413
    assert orjson.loads(rest.body)["message"] == (
        "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    )


async def test_a_body_that_does_not_arrive_is_a_4xx(door: AwsDoor) -> None:
    async def read(limit: int) -> bytes:
        raise BodyBroken("the request body came too slowly", status=408)

    request = request_of(headers=target("AmazonSQS.SendMessage"))
    request.read_body = read
    response = await door.handle(request)
    assert response.status == 408


async def test_an_answer_with_an_unknown_member_is_a_defect() -> None:
    door = AwsDoor([service("sqs", ListQueues=lambda call, request: {"Nonsense": 1})])
    response, _ = await ask_json(door, "AmazonSQS.ListQueues", {})
    assert response.status == 500


async def test_a_compressed_body_is_unpacked_within_the_limit(door: AwsDoor, sqs: Any) -> None:
    packed = gzip.compress(b'{"MessageBody": "m"}')
    response, _ = await ask_json(door, "AmazonSQS.SendMessage", packed, **{"content-encoding": "gzip"})
    assert response.status == 200
    assert sqs.asked[0][1] == {"MessageBody": "m"}
    bomb, _ = await ask_json(
        door, "AmazonSQS.SendMessage", gzip.compress(b" " * 50_000_000), **{"content-encoding": "gzip"}
    )
    assert bomb.status == 413
    broken, _ = await ask_json(door, "AmazonSQS.SendMessage", b"\x1f\x8bnonsense", **{"content-encoding": "gzip"})
    assert broken.status == 400


async def test_two_handlers_for_one_operation_are_a_defect(sqs: Any) -> None:
    with pytest.raises(ValueError, match="two handlers for SendMessage"):
        AwsDoor([sqs, service("sqs", SendMessage=echo)])


async def test_several_objects_may_serve_one_service(sqs: Any) -> None:
    door = AwsDoor([sqs, service("sqs", TagQueue=lambda call, request: {})])
    response, _ = await ask_json(door, "AmazonSQS.TagQueue", {"QueueUrl": "u", "Tags": {"a": "b"}})
    assert response.status == 200
    assert {"SendMessage", "TagQueue"} <= set(door.operations["sqs"])


async def test_warming_up_compiles_every_operation(door: AwsDoor, sqs: Any) -> None:
    await door.warm_up()
    response, _ = await ask_json(door, "AmazonSQS.SendMessage", {"MessageBody": "m"})
    assert response.status == 200
