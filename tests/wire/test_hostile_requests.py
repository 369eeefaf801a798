"""Requests that no SDK sends: each gets a refusal in its service's shape, none a 500, and the daemon goes on."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from tests.running import PATIENCE_S, RunningDaemon

LONG = "9" * 5000
"""More digits than Python turns into a number without a word."""


def credential(service: str, region: str = "us-east-1") -> dict[str, str]:
    scope = f"000000000000/20260101/{region}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def ask(
    daemon: RunningDaemon, method: str, path: str, headers: dict[str, str | bytes], body: bytes = b""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def bucket(daemon: RunningDaemon) -> str:
    daemon.client("s3").create_bucket(Bucket="hostile-requests")
    daemon.client("s3").put_object(Bucket="hostile-requests", Key="k", Body=b"hello")
    return "/hostile-requests"


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        (f"bytes=1-{LONG}", 206, b"ello"),
        (f"bytes=-{LONG}", 206, b"hello"),
        (f"bytes={LONG}-", 416, b"InvalidRange"),
    ],
)
def test_a_range_of_more_digits_than_a_number_has(
    daemon: RunningDaemon, bucket: str, header: str, status: int, content: bytes
) -> None:
    answered, body = ask(daemon, "GET", f"{bucket}/k", {"Range": header, **credential("s3")})
    assert answered == status
    assert content in body


def test_a_decoded_length_of_more_digits_than_a_number_has(daemon: RunningDaemon, bucket: str) -> None:
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": LONG,
        "content-encoding": "aws-chunked",
    }
    status, body = ask(daemon, "PUT", f"{bucket}/new", {**headers, **credential("s3")}, b"0\r\n\r\n")
    assert (status, b"MissingContentLength" in body) == (411, True)


def test_a_presigned_url_that_expires_after_the_end_of_time(daemon: RunningDaemon, bucket: str) -> None:
    assert ask(daemon, "GET", f"{bucket}/k?AWSAccessKeyId=a&Signature=0&Expires={LONG}", {})[0] == 200
    status, body = ask(
        daemon, "GET", f"{bucket}/k?X-Amz-Signature=0&X-Amz-Date=20260101T000000Z&X-Amz-Expires={LONG}", {}
    )
    assert (status, b"AuthorizationQueryParametersError" in body) == (400, True)


def test_a_client_context_that_is_not_base64(daemon: RunningDaemon) -> None:
    for context in (b"\xff\xfe", b"e30", b"W10="):
        headers: dict[str, str | bytes] = {"X-Amz-Client-Context": context, **credential("lambda")}
        status, body = ask(daemon, "POST", "/2015-03-31/functions/none-such/invocations", headers, b"1")
        assert status in (400, 404), body


@pytest.mark.parametrize("region", ["us:east-1", "..", "<a>", "a" * 65, "us east 1", "\u00e9"])
def test_a_region_that_no_arn_can_carry(daemon: RunningDaemon, region: str) -> None:
    target = {"X-Amz-Target": "AmazonSQS.CreateQueue", "Content-Type": "application/x-amz-json-1.0"}
    status, body = ask(daemon, "POST", "/", {**target, **credential("sqs", region)}, b'{"QueueName":"hostile"}')
    assert (status, b"Credential should be scoped to a valid region." in body) == (403, True)


def test_a_region_that_aws_does_not_have_is_a_world_of_its_own(daemon: RunningDaemon) -> None:
    url = daemon.client("sqs", region="local-1").create_queue(QueueName="far-away")["QueueUrl"]
    attributes = daemon.client("sqs", region="local-1").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    assert attributes["Attributes"]["QueueArn"] == "arn:aws:sqs:local-1:000000000000:far-away"


# -- bodies that stand still


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that waits half a second for the rest of a body, and long for all else."""
    running = RunningDaemon(
        tmp_path_factory.mktemp("impatient") / "data", environment={"EVENTRT_SERVER_STALL_TIMEOUT_S": "0.5"}
    )
    running.start()
    yield running
    running.stop()
    running.close_clients()


def stall(daemon: RunningDaemon, head: str) -> bytes:
    """Send a request without the end of its body; return all that comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE_S) as sock:
        sock.sendall(f"{head}\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf".encode())
        return sock.makefile("rb").read()


def test_a_body_that_stands_still_is_given_up_in_the_words_of_the_service(impatient: RunningDaemon) -> None:
    impatient.client("s3").create_bucket(Bucket="bucket")
    answer = stall(impatient, "PUT /bucket/key HTTP/1.1")
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"<Code>RequestTimeout</Code><Message>Your socket connection to the server was not read from" in answer
    answer = stall(impatient, "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.ListQueues")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"#RequestTimeout" in answer
    assert impatient.client("s3").list_objects_v2(Bucket="bucket")["KeyCount"] == 0
