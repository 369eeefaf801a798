"""Where the end of an asynchronous event is told: dead-letter queues, destinations, functions after functions."""

import re
from typing import Any

import orjson
import pytest

from tests.running import RunningDaemon
from tests.wire.async_speaking import TELLING, failing, new_queue, nothing_in, received, record_in, runs, send
from tests.wire.lambda_speaking import HANDLER, create, new_name
from tests.wire.mappings_speaking import wait_for


@pytest.fixture(scope="module")
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


def test_a_success_is_told_with_the_whole_record(daemon: RunningDaemon, lambda_: Any) -> None:
    url, arn = new_queue(daemon)
    name = create(lambda_, "def handler(event, context):\n    return {'got': event, 'ä': None}\n")
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    request_id = send(daemon, name, b'{"a": [1, 2]}')
    message = received(daemon, url)[0]
    record = orjson.loads(message["Body"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("timestamp"))
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": [1, 2]},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": {"got": {"a": [1, 2]}, "ä": None},
    }
    assert message["Attributes"]["AWSTraceHeader"].startswith("Root=1-")


def test_a_failure_goes_to_the_dead_letter_queue_and_to_the_destination(daemon: RunningDaemon, lambda_: Any) -> None:
    (dead_url, dead_arn), (url, arn), (other_url, other_arn) = (new_queue(daemon) for _ in range(3))
    name = failing(daemon, DeadLetterConfig={"TargetArn": dead_arn})
    assert lambda_.get_function_configuration(FunctionName=name)["DeadLetterConfig"] == {"TargetArn": dead_arn}
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": arn}, "OnSuccess": {"Destination": other_arn}},
    )
    request_id = send(daemon, name, b'{ "spaces" : "stay" }')
    record = record_in(daemon, url)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorType"] == "ValueError"
    letter = received(daemon, dead_url)[0]
    assert letter["Body"] == '{ "spaces" : "stay" }'
    assert letter["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": request_id},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "no"},
    }
    assert nothing_in(daemon, other_url)


def test_a_dead_letter_config_is_taken_back_with_an_empty_target(daemon: RunningDaemon, lambda_: Any) -> None:
    _, arn = new_queue(daemon)
    name = failing(daemon, DeadLetterConfig={"TargetArn": arn})
    lambda_.update_function_configuration(FunctionName=name, Description="other")
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert lambda_.get_function_configuration(FunctionName=name)["DeadLetterConfig"] == {"TargetArn": arn}
    lambda_.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": ""})
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert "DeadLetterConfig" not in lambda_.get_function_configuration(FunctionName=name)


def test_synchronous_calls_are_told_to_nobody(daemon: RunningDaemon, lambda_: Any) -> None:
    url, arn = new_queue(daemon)
    name = create(lambda_)
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    lambda_.invoke(FunctionName=name)
    daemon.advance(0)
    assert nothing_in(daemon, url)


def test_a_function_is_told_with_an_event_of_its_own(daemon: RunningDaemon, lambda_: Any) -> None:
    url, _ = new_queue(daemon)
    listener = create(lambda_, TELLING, Timeout=20, Environment={"Variables": {"TOLD": url}})
    name = create(lambda_, HANDLER)
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        DestinationConfig={
            "OnSuccess": {"Destination": f"arn:aws:lambda:us-east-1:000000000000:function:{listener}:$LATEST"}
        },
    )
    request_id = send(daemon, name, b'{"n": 1}')
    told = record_in(daemon, url)
    assert told["event"]["requestContext"]["requestId"] == request_id
    assert told["event"]["requestPayload"] == {"n": 1}
    assert told["id"] != request_id
    assert told["trace"].count("|") == 1  # both functions are in its lineage


def test_a_missing_target_ends_the_event_and_is_logged(daemon: RunningDaemon, lambda_: Any) -> None:
    (url, arn), name = new_queue(daemon), failing(daemon)
    lambda_.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    daemon.client("sqs").delete_queue(QueueUrl=url)
    request_id = send(daemon, name)
    runs(daemon, name, at_least=1)
    wait_for(lambda: is_logged(daemon, "async.undelivered", request_id), bool)
    daemon.advance(1000)
    assert len(runs(daemon, name)) == 1


def test_the_end_of_an_event_as_large_as_a_message_is_told_with_less(daemon: RunningDaemon, lambda_: Any) -> None:
    (url, arn), (letters, letters_arn), name = new_queue(daemon), new_queue(daemon), failing(daemon)
    lambda_.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": letters_arn})
    lambda_.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    for room, attributes in ((0, []), (70, ["RequestID"]), (200, ["ErrorCode", "ErrorMessage", "RequestID"])):
        payload = b'"%b"' % (b"x" * (1_048_576 - 2 - room))
        request_id = send(daemon, name, payload)
        letter = received(daemon, letters)[0]
        assert letter["Body"].encode() == payload
        assert sorted(letter.get("MessageAttributes", {})) == attributes
        record = record_in(daemon, url)
        assert record["requestContext"]["requestId"] == request_id
        assert record["responseContext"]["functionError"] == "Unhandled"
        assert record.keys() == {"version", "timestamp", "requestContext", "responseContext"}
        wait_for(lambda sent=request_id: is_logged(daemon, "async.shortened", sent), bool)  # type: ignore[misc]


def test_an_event_nobody_is_told_of_is_logged_when_it_fails(daemon: RunningDaemon, lambda_: Any) -> None:
    name = failing(daemon)
    lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    request_id = send(daemon, name)
    wait_for(lambda: is_logged(daemon, "async.dropped", request_id), bool)


def is_logged(daemon: RunningDaemon, event: str, request_id: str) -> bool:
    return any(event in line and request_id in line for line in daemon.log.splitlines())


def test_many_ends_are_each_told_once(daemon: RunningDaemon, lambda_: Any) -> None:
    url, arn = new_queue(daemon)
    name = create(lambda_, HANDLER)
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    sent = {send(daemon, name) for _ in range(300)}
    told: list[str] = []
    while len(told) < len(sent):
        answer = daemon.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        assert answer.get("Messages")
        told += [orjson.loads(message["Body"])["requestContext"]["requestId"] for message in answer["Messages"]]
    assert sorted(told) == sorted(sent)
    assert nothing_in(daemon, url)


def test_a_kill_between_run_and_end_loses_no_end(daemon: RunningDaemon, lambda_: Any) -> None:
    url, arn = new_queue(daemon)
    name = create(lambda_, "import time\ndef handler(event, context):\n    time.sleep(0.02)\n    return event\n")
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnSuccess": {"Destination": arn}})
    sent = set()
    for _ in range(3):
        sent |= {send(daemon, name) for _ in range(20)}
        daemon.restart(kill=True)
    told: set[str] = set()
    while told != sent:
        answer = daemon.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        assert answer.get("Messages"), f"{len(sent - told)} ends were lost"
        for message in answer["Messages"]:
            told.add(orjson.loads(message["Body"])["requestContext"]["requestId"])


def test_the_names_of_queues_do_not_have_to_exist_when_they_are_set(daemon: RunningDaemon, lambda_: Any) -> None:
    """AWS asks whether the role may send, not whether the queue is there."""
    name = create(lambda_)
    arn = f"arn:aws:sqs:us-east-1:000000000000:{new_name('later')}"
    lambda_.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": arn})


def test_a_failure_is_kept_in_a_bucket(daemon: RunningDaemon, lambda_: Any) -> None:
    s3 = daemon.client("s3")
    bucket, name = new_name("told"), failing(daemon)
    s3.create_bucket(Bucket=bucket)
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}},
    )
    request_id = send(daemon, name, b'{"n": 1}')
    found = wait_for(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"), bool)
    (key,) = [one["Key"] for one in found]
    day, moment = r"\d{4}/\d\d/\d\d", r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d"
    assert re.fullmatch(f"aws/lambda/async/{name}/{day}/{moment}-[0-9a-f-]{{36}}", key)
    record = orjson.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestPayload"] == {"n": 1}
