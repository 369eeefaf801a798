"""Loops of events through functions are found by the lineage of their traces, and stopped."""

from typing import Any

import orjson
import pytest

from tests.running import RunningDaemon
from tests.wire.async_speaking import new_queue, received, runs, send
from tests.wire.lambda_speaking import create, error_of, new_name

SENDS_ON = """
import boto3, os
sqs = boto3.client("sqs")
def handler(event, context):
    print("RAN", context.aws_request_id)
    sqs.send_message(QueueUrl=os.environ["LOOP"], MessageBody="again")
"""
PUTS_ON = """
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    print("RAN", context.aws_request_id)
    s3.put_object(Bucket=event["Records"][0]["s3"]["bucket"]["name"], Key="again", Body=b"x")
"""
INVOKES_ITSELF = """
import boto3
client = boto3.client("lambda")
def handler(event, context):
    print("RAN", context.aws_request_id)
    client.invoke(FunctionName=context.function_name, InvocationType="Event", Payload=b'{"again": true}')
"""
CALLS_ITSELF = """
import boto3, json
client = boto3.client("lambda")
def handler(event, context):
    print("RAN", context.aws_request_id)
    try:
        answer = client.invoke(FunctionName=context.function_name, Payload=json.dumps(event))
        return json.loads(answer["Payload"].read())
    except client.exceptions.RecursiveInvocationException as error:
        return {"code": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
"""


@pytest.fixture(scope="module")
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


def test_a_function_that_invokes_itself_is_stopped_after_16_passes(daemon: RunningDaemon, lambda_: Any) -> None:
    (dead_url, dead_arn), (url, arn) = new_queue(daemon), new_queue(daemon)
    name = create(lambda_, INVOKES_ITSELF, Timeout=20, DeadLetterConfig={"TargetArn": dead_arn})
    lambda_.put_function_event_invoke_config(FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn}})
    send(daemon, name)
    letter = received(daemon, dead_url)[0]
    assert letter["Body"] == '{"again": true}'
    attributes = {key: value["StringValue"] for key, value in letter["MessageAttributes"].items()}
    assert attributes["ErrorCode"] == "400"
    assert "recursive loop" in attributes["ErrorMessage"]
    record = orjson.loads(received(daemon, url)[0]["Body"])
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert len(runs(daemon, name)) == 16


def test_a_loop_through_a_queue_is_stopped_and_its_message_dead_lettered(daemon: RunningDaemon, lambda_: Any) -> None:
    dead_url, dead_arn = new_queue(daemon)
    redrive = orjson.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1}).decode()
    url, arn = new_queue(daemon, RedrivePolicy=redrive, VisibilityTimeout="30")
    name = create(lambda_, SENDS_ON, Timeout=20, Environment={"Variables": {"LOOP": url}})
    mapping = lambda_.create_event_source_mapping(FunctionName=name, EventSourceArn=arn)
    try:
        daemon.client("sqs").send_message(QueueUrl=url, MessageBody="first")
        runs(daemon, name, at_least=16)
        daemon.advance(31)
        letter = received(daemon, dead_url)[0]
        assert len(runs(daemon, name)) == 16
        assert letter["Body"] == "again"
        assert "Lineage=16:" in letter["Attributes"]["AWSTraceHeader"]
    finally:
        lambda_.delete_event_source_mapping(UUID=mapping["UUID"])


def test_a_synchronous_caller_gets_the_exception(daemon: RunningDaemon, lambda_: Any) -> None:
    name = create(lambda_, CALLS_ITSELF, Timeout=300)
    answer = orjson.loads(lambda_.invoke(FunctionName=name)["Payload"].read())
    assert answer == {"code": "RecursiveInvocationException", "status": 400}
    assert len(runs(daemon, name)) == 16


def test_a_loop_that_is_allowed_goes_on(daemon: RunningDaemon, lambda_: Any) -> None:
    name = create(
        lambda_,
        CALLS_ITSELF.replace(
            'print("RAN"', 'if event["n"] > 17: return event["n"]\n    event["n"] += 1\n    print("RAN"'
        ),
        Timeout=300,
    )
    assert lambda_.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert lambda_.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")["RecursiveLoop"] == "Allow"
    assert orjson.loads(lambda_.invoke(FunctionName=name, Payload=b'{"n": 0}')["Payload"].read()) == 18
    lambda_.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    answer = orjson.loads(lambda_.invoke(FunctionName=name, Payload=b'{"n": 0}')["Payload"].read())
    assert answer["code"] == "RecursiveInvocationException"


def test_a_recursion_config_belongs_to_a_function_that_is_there(lambda_: Any) -> None:
    name = new_name()
    assert error_of(lambda_.get_function_recursion_config, FunctionName=name)[:2] == (404, "ResourceNotFoundException")
    status, code, _ = error_of(lambda_.put_function_recursion_config, FunctionName=name, RecursiveLoop="Allow")
    assert (status, code) == (404, "ResourceNotFoundException")
    assert error_of(lambda_.put_function_recursion_config, FunctionName=name, RecursiveLoop="Maybe")[0] == 400


def test_a_loop_through_a_bucket_is_stopped(daemon: RunningDaemon, lambda_: Any) -> None:
    s3, bucket = daemon.client("s3"), new_name("loop")
    dead_url, dead_arn = new_queue(daemon)
    s3.create_bucket(Bucket=bucket)
    name = create(lambda_, PUTS_ON, Timeout=20, DeadLetterConfig={"TargetArn": dead_arn})
    lambda_.add_permission(
        FunctionName=name, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [{"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    s3.put_object(Bucket=bucket, Key="first", Body=b"x")
    letter = received(daemon, dead_url)[0]
    assert orjson.loads(letter["Body"])["Records"][0]["s3"]["object"]["key"] == "again"
    assert len(runs(daemon, name)) == 16
