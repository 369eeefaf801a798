"""Invoke over the wire: results, errors of functions, refusals, limits, the log's tail."""

import base64
import json
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import create, error_of, new_name, request_of, zip_of


@pytest.fixture
def lambda_(daemon: RunningDaemon) -> BaseClient:
    return daemon.client("lambda")


@pytest.fixture(scope="module")
def echo(daemon: RunningDaemon) -> str:
    return create(daemon.client("lambda"))


def invoke(client: Any, name: str, payload: Any = None, **more: Any) -> tuple[dict[str, Any], Any]:
    answer = client.invoke(FunctionName=name, Payload=json.dumps(payload), **more)
    body = answer["Payload"].read()
    return answer, json.loads(body) if body else None


def test_the_result_comes_back_with_the_version_that_ran(lambda_: Any, echo: str) -> None:
    answer, result = invoke(lambda_, echo, {"a": ["ä", 1, None]})
    assert result == {"a": ["ä", 1, None]}
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert "LogResult" not in answer


def test_a_function_is_invoked_by_name_arn_and_latest(lambda_: Any, echo: str) -> None:
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{echo}"
    for name in (echo, arn, f"000000000000:function:{echo}", f"{echo}:$LATEST"):
        assert invoke(lambda_, name, 1)[1] == 1
    assert invoke(lambda_, echo, 1, Qualifier="$LATEST")[1] == 1


def test_an_empty_payload_is_an_empty_object(lambda_: Any, echo: str) -> None:
    assert json.load(lambda_.invoke(FunctionName=echo)["Payload"]) == {}
    assert json.load(lambda_.invoke(FunctionName=echo, Payload=b"")["Payload"]) == {}


def test_a_handler_sees_the_arn_it_was_invoked_by_and_the_answers_request_id(lambda_: Any) -> None:
    name = create(
        lambda_, "def handler(event, context):\n    return [context.invoked_function_arn, context.aws_request_id]\n"
    )
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    answer, result = invoke(lambda_, name)
    assert result == [arn, answer["ResponseMetadata"]["RequestId"]]
    assert invoke(lambda_, name, Qualifier="$LATEST")[1][0] == f"{arn}:$LATEST"


def test_an_answer_tells_the_trace_that_the_invocation_went_on_with(lambda_: Any) -> None:
    name = create(lambda_, "import os\n\ndef handler(event, context):\n    return os.environ['_X_AMZN_TRACE_ID']\n")
    answer, seen = invoke(lambda_, name)
    assert seen.startswith(answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"])
    for kind in ("Event", "DryRun"):
        answer, _ = invoke(lambda_, name, InvocationType=kind)
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-trace-id"].startswith("Root=1-")


def test_a_handler_calls_as_its_role_in_a_session_named_like_the_function(daemon: RunningDaemon, lambda_: Any) -> None:
    role_name = new_name("role")
    role = daemon.client("iam").create_role(
        RoleName=role_name,
        Path="/made/by/",
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            }
        ),
    )["Role"]
    name = create(
        lambda_,
        "import boto3\n\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()\n",
        Role=role["Arn"],
        Timeout=30,
    )
    _, caller = invoke(lambda_, name)
    assert caller["Arn"] == f"arn:aws:sts::000000000000:assumed-role/{role_name}/{name}"
    assert (caller["Account"], caller["UserId"]) == ("000000000000", f"{role['RoleId']}:{name}")


def test_an_error_of_the_function_is_an_answer(lambda_: Any) -> None:
    name = create(lambda_, "def handler(event, context):\n    raise KeyError('gone')\n")
    answer, result = invoke(lambda_, name)
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (result["errorType"], result["errorMessage"]) == ("KeyError", "'gone'")
    assert answer["ExecutedVersion"] == "$LATEST"


def test_the_tail_of_the_log_comes_when_it_is_asked_for(lambda_: Any) -> None:
    name = create(lambda_, "def handler(event, context):\n    print('hello from inside')\n")
    answer, _ = invoke(lambda_, name, LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert log.startswith(f"START RequestId: {answer['ResponseMetadata']['RequestId']} Version: $LATEST\n")
    assert "hello from inside\n" in log
    assert "REPORT RequestId: " in log


def test_the_client_context_reaches_the_handler(lambda_: Any) -> None:
    name = create(lambda_, "def handler(event, context):\n    return context.client_context.custom\n")
    context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    assert invoke(lambda_, name, ClientContext=context)[1] == {"k": "v"}


def test_a_dry_run_answers_204_and_runs_nothing(lambda_: Any, echo: str) -> None:
    answer = lambda_.invoke(FunctionName=echo, InvocationType="DryRun", Payload=b"1")
    assert answer["StatusCode"] == 204
    assert answer["Payload"].read() == b""
    assert error_of(lambda_.invoke, FunctionName=new_name(), InvocationType="DryRun")[0] == 404


@pytest.mark.parametrize(
    "payload", [b'"\xff"', b"[" * 100_000, b"NaN", b"{", b"nothing", b'{"a":1}}', b"'a'", b"[1,]", b"\xff", b'{"a":01}']
)
def test_a_payload_that_is_no_json_is_refused(lambda_: Any, echo: str, payload: bytes) -> None:
    status, code, message = error_of(lambda_.invoke, FunctionName=echo, Payload=payload)
    assert (status, code) == (400, "InvalidRequestContentException")
    assert message.startswith("Could not parse request body into json: Could not parse payload into json: ")


@pytest.mark.parametrize("payload", [b" 1 ", b'"text"', b"null", b"[]", b'{"deep": [[[{"er": 1e400}]]]}'])
def test_every_json_document_is_a_payload(lambda_: Any, echo: str, payload: bytes) -> None:
    assert lambda_.invoke(FunctionName=echo, InvocationType="DryRun", Payload=payload)["StatusCode"] == 204


def test_a_payload_may_have_six_megabytes_and_no_more(lambda_: Any, echo: str) -> None:
    most = b'"' + b"a" * 6_291_454 + b'"'
    assert len(lambda_.invoke(FunctionName=echo, Payload=most)["Payload"].read()) == 6_291_456
    status, code, message = error_of(lambda_.invoke, FunctionName=echo, Payload=most + b" ")
    assert (status, code) == (413, "RequestTooLargeException")
    assert message == "Request must be smaller than 6291456 bytes for the InvokeFunction operation"


@pytest.mark.parametrize("context", ["!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode()])
def test_a_wrong_client_context_is_refused(lambda_: Any, echo: str, context: str) -> None:
    assert error_of(lambda_.invoke, FunctionName=echo, ClientContext=context) == (
        400,
        "InvalidRequestContentException",
        "Client context must be a valid Base64-encoded JSON object.",
    )


def test_a_too_long_client_context_is_refused(lambda_: Any, echo: str) -> None:
    context = base64.b64encode(json.dumps({"k": "v" * 3000}).encode()).decode()
    assert error_of(lambda_.invoke, FunctionName=echo, ClientContext=context)[:2] == (
        400,
        "InvalidRequestContentException",
    )


def test_what_is_not_there_is_404_with_its_qualifier(lambda_: Any, echo: str) -> None:
    name = new_name()
    arn = "arn:aws:lambda:us-east-1:000000000000:function:"
    missing = "ResourceNotFoundException"
    assert error_of(lambda_.invoke, FunctionName=name) == (404, missing, f"Function not found: {arn}{name}:$LATEST")
    assert error_of(lambda_.invoke, FunctionName=f"{echo}:7") == (404, missing, f"Function not found: {arn}{echo}:7")
    assert error_of(lambda_.invoke, FunctionName=echo, Qualifier="live")[2] == f"Function not found: {arn}{echo}:live"


def test_a_reservation_of_zero_throttles_every_invocation(daemon: RunningDaemon, lambda_: Any) -> None:
    name = create(lambda_)
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(lambda_.exceptions.TooManyRequestsException) as raised:
        lambda_.invoke(FunctionName=name)
    answer = raised.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert answer["Type"] == "User"
    assert int(answer["ResponseMetadata"]["HTTPHeaders"]["retry-after"]) >= 1


def test_an_update_is_what_the_next_invocation_runs(lambda_: Any) -> None:
    name = create(lambda_, "def handler(event, context):\n    return 1\n")
    assert invoke(lambda_, name)[1] == 1
    lambda_.update_function_code(
        FunctionName=name, ZipFile=zip_of("import os\ndef handler(event, context):\n    return os.environ['AB']\n")
    )
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": {"AB": "set"}})
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert invoke(lambda_, name)[1] == "set"


def test_a_new_function_can_be_invoked_as_soon_as_its_create_is_answered(lambda_: Any) -> None:
    for _ in range(5):
        name = new_name()
        lambda_.create_function(**request_of(name))
        assert invoke(lambda_, name, 7)[1] == 7
