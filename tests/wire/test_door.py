"""The door on the running daemon: STS, signatures, web pages, waiting clients, and what is not served."""

import http.client
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.running import PATIENCE_S, RunningDaemon

KEY, SECRET = "AKIADOOR", "door/secret+key"


def raw(daemon: RunningDaemon, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send(daemon: RunningDaemon, url: str, **headers: str) -> tuple[int, bytes]:
    """Send a message as a web page's script could: a form needs no leave from the server."""
    body = f"Action=SendMessage&Version=2012-11-05&QueueUrl={url}&MessageBody=x".encode()
    return raw(daemon, "POST", "/", {"Content-Type": "application/x-www-form-urlencoded", **headers}, body)


@pytest.fixture
def queue(daemon: RunningDaemon) -> str:
    url: str = daemon.client("sqs").create_queue(QueueName=f"door-{uuid.uuid4().hex}")["QueueUrl"]
    return url


def depth(daemon: RunningDaemon, url: str) -> int:
    names = ["ApproximateNumberOfMessages"]
    attributes = daemon.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


# -- STS -------------------------------------------------------------------------------------------------------


def test_the_caller_is_its_accounts_root(daemon: RunningDaemon) -> None:
    identity = daemon.client("sts", account="123456789012").get_caller_identity()
    assert identity["Account"] == identity["UserId"] == "123456789012"
    assert identity["Arn"] == "arn:aws:iam::123456789012:root"


def test_an_assumed_role_lives_in_its_own_account(daemon: RunningDaemon) -> None:
    sts = daemon.client("sts")
    answer = sts.assume_role(
        RoleArn="arn:aws:iam::555555555555:role/team/deploy", RoleSessionName="me", DurationSeconds=900
    )
    assert answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::555555555555:assumed-role/deploy/me"
    assert answer["AssumedRoleUser"]["AssumedRoleId"].startswith("AROA")
    assert 0 < answer["Credentials"]["Expiration"].timestamp() - time.time() <= 900
    assumed = client_of(daemon, "sts", answer["Credentials"]).get_caller_identity()
    assert assumed["Arn"] == "arn:aws:sts::555555555555:assumed-role/deploy/me"
    name = f"door-{uuid.uuid4().hex}"
    url = client_of(daemon, "sqs", answer["Credentials"]).create_queue(QueueName=name)["QueueUrl"]
    assert url.endswith(f"/555555555555/{name}")


def test_a_session_token_is_for_the_callers_account(daemon: RunningDaemon) -> None:
    credentials = daemon.client("sts", account="123456789012").get_session_token()["Credentials"]
    assert client_of(daemon, "sts", credentials).get_caller_identity()["Account"] == "123456789012"
    with pytest.raises(ClientError, match="AccessDenied"):
        client_of(daemon, "sts", credentials).get_session_token()


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"RoleArn": "arn:aws:iam::555555555555:user/not-a-role", "RoleSessionName": "me"}, "is invalid"),
        ({"RoleArn": "arn:aws:iam::555555555555:role/r", "RoleSessionName": "not a name"}, "'roleSessionName'"),
        (
            {"RoleArn": "arn:aws:iam::555555555555:role/r", "RoleSessionName": "me", "DurationSeconds": 43201},
            "'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to 43200",
        ),
    ],
)
def test_what_cannot_be_assumed_is_a_validation_error(daemon: RunningDaemon, request_: Any, text: str) -> None:
    with pytest.raises(ClientError) as refusal:
        daemon.client("sts").assume_role(**request_)
    assert refusal.value.response["Error"]["Code"] == "ValidationError"
    assert text in refusal.value.response["Error"]["Message"]


def client_of(daemon: RunningDaemon, service: str, credentials: Any) -> Any:
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=daemon.url,
        aws_access_key_id=credentials["AccessKeyId"],
        aws_secret_access_key=credentials["SecretAccessKey"],
        aws_session_token=credentials.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}),
    )


# -- not served ------------------------------------------------------------------------------------------------


def test_what_is_not_served_is_501_named_and_logged_once(daemon: RunningDaemon) -> None:
    for _ in range(3):
        with pytest.raises(ClientError) as refusal:
            daemon.client("sns").list_topics()
        assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert refusal.value.response["Error"]["Message"] == "eventrt does not serve sns.ListTopics yet."
    assert daemon.log.count("sns.ListTopics") == 1


@pytest.mark.parametrize("service", ["dynamodb", "ec2", "s3", "apigateway", "cloudwatch"])
def test_every_protocol_is_told_what_is_not_served(daemon: RunningDaemon, service: str) -> None:
    calls = {
        "dynamodb": lambda client: client.list_backups(),
        "ec2": lambda client: client.describe_vpcs(),
        "s3": lambda client: client.list_bucket_inventory_configurations(Bucket="any"),
        "apigateway": lambda client: client.get_rest_apis(),
        "cloudwatch": lambda client: client.list_dashboards(),
    }
    with pytest.raises(ClientError) as refusal:
        calls[service](daemon.client(service))
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert "eventrt does not serve" in refusal.value.response["Error"]["Message"]


# -- web pages and foreign names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:4566"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_foreign_page_has_no_effect(daemon: RunningDaemon, queue: str, headers: dict[str, str]) -> None:
    status, _ = send(daemon, queue, **headers)
    assert status == 403
    assert raw(daemon, "POST", "/_eventrt/clock", headers, b'{"advance": 1000}')[0] == 403
    assert depth(daemon, queue) == 0


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://localhost:3000"}, {"Host": "sqs.us-east-1.amazonaws.com"}])
def test_this_machine_has(daemon: RunningDaemon, queue: str, headers: dict[str, str]) -> None:
    assert send(daemon, queue, **headers)[0] == 200
    assert depth(daemon, queue) == 1


# -- connections -----------------------------------------------------------------------------------------------


def test_expect_100_continue_is_answered(daemon: RunningDaemon, queue: str) -> None:
    body = orjson.dumps({"QueueUrl": queue, "MessageBody": "m"})
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock,
        sock.makefile("rb") as answer,
    ):
        sock.sendall(head.encode())
        assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answer.readline() == b"\r\n"
        sock.sendall(body)
        assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        assert b"MessageId" in answer.read()


def test_a_long_poller_whose_client_has_gone_receives_nothing(daemon: RunningDaemon, queue: str) -> None:
    body = orjson.dumps({"QueueUrl": queue, "WaitTimeSeconds": 20})
    head = (
        "POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
        f"Content-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock:
            sock.sendall(head.encode() + body)
            assert depth(daemon, queue) == 0  # the poll has reached the daemon by the time this is answered
    sqs = daemon.client("sqs")
    sqs.send_message(QueueUrl=queue, MessageBody="m")
    (message,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], WaitTimeSeconds=0)["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"


# -- signatures ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that verifies signatures."""
    running = RunningDaemon(
        tmp_path_factory.mktemp("guarded") / "data",
        arguments=("--auth", "sigv4"),
        environment={"EVENTRT_AUTH_KEYS": f"{KEY}={SECRET}"},
    )
    running.start()
    yield running
    running.stop()


def test_a_known_key_is_served_and_so_are_the_credentials_it_gets(guarded: RunningDaemon) -> None:
    ours = {"AccessKeyId": KEY, "SecretAccessKey": SECRET}
    assert client_of(guarded, "iam", ours).list_roles()["Roles"] == []
    assert client_of(guarded, "lambda", ours).list_functions()["Functions"] == []
    issued = client_of(guarded, "sts", ours).assume_role(
        RoleArn="arn:aws:iam::555555555555:role/r", RoleSessionName="me"
    )["Credentials"]
    url = client_of(guarded, "sqs", issued).create_queue(QueueName="q")["QueueUrl"]
    assert url.endswith("/555555555555/q")


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("sqs", "list_queues", "SignatureDoesNotMatch"),
        ("lambda", "list_functions", "InvalidSignatureException"),
        ("iam", "list_roles", "SignatureDoesNotMatch"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_secret_is_the_services_own_403(
    guarded: RunningDaemon, service: str, operation: str, code: str
) -> None:
    client = client_of(guarded, service, {"AccessKeyId": KEY, "SecretAccessKey": "wrong"})
    with pytest.raises(ClientError) as refusal:
        getattr(client, operation)()
    assert refusal.value.response["Error"]["Code"] == code
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_presigned_url_is_served(guarded: RunningDaemon) -> None:
    ours = {"AccessKeyId": KEY, "SecretAccessKey": SECRET}
    url = client_of(guarded, "sts", ours).generate_presigned_url("get_caller_identity", HttpMethod="GET")
    path = url.removeprefix(guarded.url)
    status, body = raw(guarded, "GET", path, {"Host": f"127.0.0.1:{guarded.port}"})
    assert (status, b"000000000000" in body) == (200, True)
    status, body = raw(guarded, "GET", f"{path}0", {"Host": f"127.0.0.1:{guarded.port}"})
    assert (status, b"SignatureDoesNotMatch" in body) == (403, True)


def test_nobody_is_refused(guarded: RunningDaemon) -> None:
    status, body = raw(guarded, "GET", "/?Action=GetCallerIdentity&Version=2011-06-15", {})
    assert (status, b"MissingAuthenticationToken" in body) == (403, True)
