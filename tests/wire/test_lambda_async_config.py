"""Event invoke configs and dead-letter configs: what is kept, merged, listed, and refused in AWS's words."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.async_speaking import new_queue
from tests.wire.lambda_speaking import create, error_of, members_of, new_name, request_of

INVALID = "InvalidParameterValueException"
MISSING = "ResourceNotFoundException"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


@pytest.fixture(scope="module")
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


@pytest.fixture
def name(lambda_: Any) -> str:
    return create(lambda_)


@pytest.fixture(scope="module")
def queue_arn(daemon: RunningDaemon) -> str:
    return new_queue(daemon)[1]


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    members = members_of(answer)
    assert members.pop("LastModified").year > 2000
    return members


EMPTY: dict[str, Any] = {"OnSuccess": {}, "OnFailure": {}}


def test_put_replaces_and_update_merges(lambda_: Any, name: str, queue_arn: str) -> None:
    answer = lambda_.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": queue_arn}}
    )
    first = {
        "FunctionArn": f"{ARN}{name}:$LATEST",
        "MaximumRetryAttempts": 1,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": queue_arn}},
    }
    assert shown(answer) == first
    answer = lambda_.update_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=60)
    assert shown(answer) == {**first, "MaximumEventAgeInSeconds": 60}
    assert shown(lambda_.get_function_event_invoke_config(FunctionName=name, Qualifier="$LATEST")) == {
        **first,
        "MaximumEventAgeInSeconds": 60,
    }
    answer = lambda_.put_function_event_invoke_config(FunctionName=name, MaximumEventAgeInSeconds=21600)
    assert shown(answer) == {
        "FunctionArn": f"{ARN}{name}:$LATEST",
        "MaximumEventAgeInSeconds": 21600,
        "DestinationConfig": EMPTY,
    }


def test_an_empty_destination_clears_one_and_leaves_the_other(lambda_: Any, name: str, queue_arn: str) -> None:
    both = {"OnSuccess": {"Destination": queue_arn}, "OnFailure": {"Destination": queue_arn}}
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig=both)
    answer = lambda_.update_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": ""}}
    )
    assert shown(answer)["DestinationConfig"] == {"OnSuccess": {}, "OnFailure": {"Destination": queue_arn}}


def test_configs_are_listed_and_deleted(lambda_: Any, name: str) -> None:
    assert lambda_.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    (listed,) = lambda_.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"]
    listed.pop("LastModified")
    assert listed == {
        "FunctionArn": f"{ARN}{name}:$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": EMPTY,
    }
    assert lambda_.delete_function_event_invoke_config(FunctionName=name)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert lambda_.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []


@pytest.mark.parametrize("call", ["get", "delete", "update"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_config_that_is_not_there_is_missing(lambda_: Any, name: str, call: str, is_there: bool) -> None:
    named = name if is_there else new_name()
    more = {"MaximumRetryAttempts": 1} if call == "update" else {}
    ask = getattr(lambda_, f"{call}_function_event_invoke_config")
    assert error_of(ask, FunctionName=named, **more) == (
        404,
        MISSING,
        f"The function {ARN}{named}:$LATEST doesn't have an EventInvokeConfig",
    )
    assert error_of(ask, FunctionName=named, Qualifier="live", **more) == (
        404,
        MISSING,
        f"The function {ARN}{named}:live doesn't have an EventInvokeConfig",
    )


def test_a_config_of_a_function_that_is_not_there_is_refused(lambda_: Any, name: str) -> None:
    put = lambda_.put_function_event_invoke_config
    expected = (404, MISSING, "The function doesn't exist.")
    assert error_of(put, FunctionName=new_name(), MaximumRetryAttempts=1) == expected
    assert error_of(put, FunctionName=name, Qualifier="7", MaximumRetryAttempts=1) == expected
    assert error_of(lambda_.list_function_event_invoke_configs, FunctionName=new_name())[0] == 404


def test_a_config_must_set_something(lambda_: Any, name: str) -> None:
    expected = (400, INVALID, "You must specify at least one of error handling or destination setting.")
    assert error_of(lambda_.put_function_event_invoke_config, FunctionName=name) == expected
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    assert error_of(lambda_.update_function_event_invoke_config, FunctionName=name) == expected


@pytest.mark.parametrize("qualifier", ["", ":$LATEST", ":live"])
def test_a_function_is_no_destination_of_its_own(lambda_: Any, name: str, qualifier: str) -> None:
    assert error_of(
        lambda_.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={"OnSuccess": {"Destination": f"{ARN}{name}{qualifier}"}},
    ) == (400, INVALID, "You can't specify the function as a destination for itself.")


def test_a_destination_function_must_be_there(lambda_: Any, name: str) -> None:
    for arn in (f"{ARN}{new_name()}", f"{ARN}{create(lambda_)}:live", "arn:aws:lambda:us-east-1:000000000000:layer:x"):
        assert error_of(
            lambda_.put_function_event_invoke_config,
            FunctionName=name,
            DestinationConfig={"OnFailure": {"Destination": arn}},
        ) == (400, INVALID, f"The destination ARN {arn} is invalid.")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::000000000000:role/r",
        "arn:aws:sqs:us-east-1:000000000000:q.fifo",
        "arn:aws:kinesis:us-east-1:000000000000:stream/s",
    ],
)
def test_a_destination_of_another_kind_is_refused(lambda_: Any, name: str, arn: str) -> None:
    put = lambda_.put_function_event_invoke_config
    refusal = "The provided destination config DestinationConfig(onSuccess={}, onFailure={}) is invalid."
    success = {"OnSuccess": {"Destination": arn}}
    assert error_of(put, FunctionName=name, DestinationConfig=success) == (
        400,
        INVALID,
        refusal.format(f"OnSuccess(destination={arn})", "null"),
    )
    failure = {"OnFailure": {"Destination": arn}}
    shown = error_of(put, FunctionName=name, DestinationConfig=failure)[2]
    assert shown == refusal.format("null", f"OnFailure(destination={arn})")


def test_a_bucket_is_told_of_failures_only(lambda_: Any, name: str) -> None:
    status, code, message = error_of(
        lambda_.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={"OnSuccess": {"Destination": "arn:aws:s3:::bucket"}},
    )
    assert (status, code) == (400, INVALID)
    assert message.startswith("The provided destination config DestinationConfig(onSuccess=")


@pytest.mark.parametrize(
    ("arn", "named"),
    [
        ("arn:aws:sns:us-east-1:000000000000:t", "SNS topics"),
        ("arn:aws:events:us-east-1:000000000000:event-bus/default", "EventBridge buses"),
    ],
)
def test_what_is_not_served_yet_is_refused_by_name(lambda_: Any, name: str, arn: str, named: str) -> None:
    status, code, message = error_of(
        lambda_.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={"OnFailure": {"Destination": arn}},
    )
    assert (status, code) == (400, INVALID)
    assert named in message


@pytest.mark.parametrize("members", [{"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 59}])
def test_numbers_out_of_range_are_refused(lambda_: Any, name: str, members: dict[str, int]) -> None:
    from botocore.exceptions import ParamValidationError

    with pytest.raises((lambda_.exceptions.ClientError, ParamValidationError)):
        lambda_.put_function_event_invoke_config(FunctionName=name, **members)


@pytest.mark.parametrize(
    ("arn", "named"),
    [
        ("arn:aws:sns:us-east-1:000000000000:t", "SNS topics"),
        ("arn:aws:sqs:us-east-1:000000000000:q.fifo", "standard"),
        ("arn:aws:s3:::bucket", "standard"),
    ],
)
def test_dead_letters_go_to_standard_queues(lambda_: Any, name: str, arn: str, named: str) -> None:
    for call, request in (
        (lambda_.create_function, request_of(new_name())),
        (lambda_.update_function_configuration, {"FunctionName": name}),
    ):
        status, code, message = error_of(call, **request, DeadLetterConfig={"TargetArn": arn})
        assert (status, code) == (400, INVALID)
        assert named in message


def test_configs_survive_a_kill_and_go_with_their_function(daemon: RunningDaemon, lambda_: Any, name: str) -> None:
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    lambda_.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    daemon.restart(kill=True)
    assert lambda_.get_function_event_invoke_config(FunctionName=name)["MaximumRetryAttempts"] == 1
    assert lambda_.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Allow"
    lambda_.delete_function(FunctionName=name)
    lambda_.create_function(**request_of(name))
    assert lambda_.list_function_event_invoke_configs(FunctionName=name)["FunctionEventInvokeConfigs"] == []
    assert lambda_.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
