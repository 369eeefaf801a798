"""How requests reach a bucket: path and virtual-host style, presigned URLs, unsigned; CORS; HTML forms; signatures."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.s3_speaking import make_bucket, refusal


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


def ask(
    daemon: RunningDaemon,
    method: str,
    path: str,
    *,
    host: str | None = None,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request, unsigned, to a host of one's choice."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    try:
        connection.request(
            method, path, body=body, headers={"Host": host or f"127.0.0.1:{daemon.port}", **(headers or {})}
        )
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host",
    [
        "{bucket}.s3.localhost:4566",
        "{bucket}.localhost",
        "{bucket}.s3.us-east-1.localhost",
        "{bucket}.s3.amazonaws.com",
    ],
)
def test_a_bucket_may_be_named_by_the_host(daemon: RunningDaemon, s3: Any, bucket: str, host: str) -> None:
    host = host.format(bucket=bucket)
    assert ask(daemon, "PUT", "/a/b%20c", host=host, body=b"x").status == 200
    assert ask(daemon, "GET", "/a/b%20c", host=host).body == b"x"
    listing = ask(daemon, "GET", "/?list-type=2", host=host)
    assert b"<Key>a/b c</Key>" in listing.body
    assert b'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' in listing.body
    assert s3.get_object(Bucket=bucket, Key="a/b c")["Body"].read() == b"x"


def test_a_name_with_dots_is_a_host_too(daemon: RunningDaemon, s3: Any) -> None:
    name = f"my.bucket.{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    assert ask(daemon, "PUT", "/k", host=f"{name}.s3.localhost", body=b"x").status == 200
    assert ask(daemon, "GET", f"/{name}/k").body == b"x"


def test_boto3_speaks_virtual_host_style(daemon: RunningDaemon, bucket: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=f"http://s3.localhost:{daemon.port}",
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="x",
        config=Config(s3={"addressing_style": "virtual"}),
    )
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert urlsplit(url).hostname == f"{bucket}.s3.localhost"
    client.close()


def test_errors_are_s3s_own(daemon: RunningDaemon) -> None:
    answer = ask(daemon, "GET", "/no-such-bucket-here/k")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/xml")
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchBucket</Code>')
    assert answer.headers["x-amz-request-id"].encode() in answer.body
    assert ask(daemon, "PATCH", "/no-such-bucket-here/k").status == 405
    assert ask(daemon, "HEAD", "/no-such-bucket-here/k").body == b""


# -- presigned URLs


def test_presigned_urls_put_and_get(s3: Any, bucket: str) -> None:
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k x"})
    with urllib.request.urlopen(urllib.request.Request(put, data=b"hello", method="PUT")) as answer:
        assert answer.status == 200
    get = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k x", "ResponseContentType": "text/csv"}
    )
    with urllib.request.urlopen(get) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"hello", "text/csv")


def test_presigned_urls_expire(daemon: RunningDaemon, bucket: str) -> None:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20200101%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
    )
    answer = ask(daemon, "GET", f"/{bucket}/k?{query}")
    assert (answer.status, b"Request has expired" in answer.body) == (403, True)
    answer = ask(daemon, "GET", f"/{bucket}/k?AWSAccessKeyId=k&Signature=x&Expires=1000000000")
    assert (answer.status, b"Request has expired" in answer.body) == (403, True)


# -- CORS


CORS = {
    "CORSRules": [
        {
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*", "content-type"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 300,
        }
    ]
}


def test_pages_are_let_in_by_the_buckets_rules(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    page = {"Origin": "https://app.example.com"}
    assert ask(daemon, "GET", f"/{bucket}/k", headers=page).status == 403  # the guard: no rule lets it in
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == CORS["CORSRules"]
    preflight = ask(
        daemon,
        "OPTIONS",
        f"/{bucket}/k",
        headers={
            **page,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "Content-Type, x-amz-meta-a",
        },
    )
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    assert preflight.headers["access-control-allow-methods"] == "GET, PUT"
    assert preflight.headers["access-control-allow-headers"] == "content-type, x-amz-meta-a"
    assert preflight.headers["access-control-max-age"] == "300"
    put = ask(daemon, "PUT", f"/{bucket}/k", headers=page, body=b"x")
    assert (put.status, put.headers["access-control-expose-headers"]) == (200, "ETag")
    missing = ask(daemon, "GET", f"/{bucket}/none", headers=page)
    assert (missing.status, missing.headers["access-control-allow-origin"]) == (404, "https://app.example.com")
    assert ask(daemon, "DELETE", f"/{bucket}/k", headers=page).status == 403
    assert ask(daemon, "GET", f"/{bucket}/k", headers={"Origin": "https://example.org"}).status == 403
    assert "access-control-allow-origin" not in ask(daemon, "GET", f"/{bucket}/k").headers


def test_a_rule_lets_pages_into_its_bucket_and_nowhere_else(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    everybody = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "POST", "PUT"]}]}
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=everybody)
    page = {"Origin": "https://evil.example"}
    form = {**page, "Content-Type": "application/x-www-form-urlencoded"}
    queue = ask(daemon, "POST", f"/{bucket}", headers=form, body=b"Action=ListQueues&Version=2012-11-05")
    assert queue.status == 403
    assert ask(daemon, "GET", f"/{bucket}?Action=ListQueues&Version=2012-11-05", headers=page).status == 403
    target = {**page, "X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "text/plain"}
    assert ask(daemon, "POST", f"/{bucket}", headers=target, body=b"{}").status == 403
    assert ask(daemon, "GET", "/_eventrt/status", headers=page).status == 403
    rebound = ask(daemon, "GET", f"/{bucket}", headers=page, host="evil.example")
    assert rebound.status == 403
    assert ask(daemon, "GET", f"/{bucket}", headers=page).status == 200


def test_a_preflight_nobody_allows_is_refused(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    own = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"}
    refused = ask(daemon, "OPTIONS", f"/{bucket}/k", headers=own)
    assert (refused.status, b"CORS is not enabled for this bucket" in refused.body) == (403, True)
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    assert ask(daemon, "OPTIONS", f"/{bucket}/k", headers=own).status == 403
    s3.delete_bucket_cors(Bucket=bucket)
    wrong = {"CORSRules": [{"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}]}
    assert refusal(lambda: s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=wrong)) == ("InvalidRequest", 400)


# -- forms


def form(fields: dict[str, str], file: bytes, name: str = "a file.txt") -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a browser's form with one file."""
    mark = "----form" + uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/x\r\n\r\n'
    body = b"".join([*parts, head.encode(), file, f"\r\n--{mark}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={mark}"}


@pytest.mark.parametrize("size", [10, 65_537, 2_000_000])
def test_a_form_uploads_a_file(daemon: RunningDaemon, s3: Any, bucket: str, size: int) -> None:
    file = os.urandom(size)
    body, headers = form({"key": "up/${filename}", "Content-Type": "text/plain", "x-amz-meta-a": "1"}, file)
    answer = ask(daemon, "POST", f"/{bucket}", body=body, headers=headers)
    assert answer.status == 204, answer.body
    assert answer.headers["location"].endswith(f"/{bucket}/up%2Fa%20file.txt")
    got = s3.get_object(Bucket=bucket, Key="up/a file.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (file, "text/plain", {"a": "1"})


def test_what_a_form_is_answered_with(daemon: RunningDaemon, bucket: str) -> None:
    body, headers = form({"key": "k", "success_action_status": "201"}, b"x")
    answer = ask(daemon, "POST", f"/{bucket}", body=body, headers=headers)
    assert (answer.status, b"<PostResponse><Location>" in answer.body) == (201, True)
    body, headers = form({"key": "k", "success_action_redirect": "http://localhost/done?a=1"}, b"x")
    answer = ask(daemon, "POST", f"/{bucket}", body=body, headers=headers)
    assert answer.status == 303
    assert answer.headers["location"].startswith(f"http://localhost/done?a=1&bucket={bucket}&key=k&etag=")
    body, headers = form({"nokey": "k"}, b"x")
    assert b"InvalidArgument" in ask(daemon, "POST", f"/{bucket}", body=body, headers=headers).body
    broken = ask(daemon, "POST", f"/{bucket}", body=b"nonsense", headers=headers)
    assert b"MalformedPOSTRequest" in broken.body


def test_a_forms_policy_is_kept(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    conditions = [["starts-with", "$key", "user/"], ["content-length-range", 2, 10]]
    post = s3.generate_presigned_post(bucket, "user/${filename}", Conditions=conditions, ExpiresIn=60)

    def send(fields: dict[str, str], file: bytes) -> Answer:
        body, headers = form(fields, file)
        return ask(daemon, "POST", f"/{bucket}", body=body, headers=headers)

    assert send(post["fields"], b"12345").status == 204
    assert b"EntityTooLarge" in send(post["fields"], b"1" * 11).body
    assert b"EntityTooSmall" in send(post["fields"], b"1").body
    elsewhere = send({**post["fields"], "key": "other/x"}, b"12345")
    assert (elsewhere.status, b"Policy Condition failed" in elsewhere.body) == (403, True)
    assert b"Extra input fields: acl" in send({**post["fields"], "acl": "private"}, b"12345").body
    policy = {"expiration": "2020-01-01T00:00:00Z", "conditions": conditions}
    old = {**post["fields"], "policy": base64.b64encode(json.dumps(policy).encode()).decode()}
    assert b"Policy expired" in send(old, b"12345").body


# -- verified signatures


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    running = RunningDaemon(
        tmp_path_factory.mktemp("strict") / "data",
        environment={"EVENTRT_AUTH_MODE": "sigv4", "EVENTRT_AUTH_KEYS": "000000000000=secret"},
    )
    running.start()
    yield running
    running.stop()
    running.close_clients()


def test_signed_requests_are_verified(strict: RunningDaemon, tmp_path: Path) -> None:
    s3 = strict.client("s3")
    name = make_bucket(s3)
    key = "a b/ü+~.txt"
    for body in (b"x" * 100, os.urandom(300_000)):
        s3.put_object(Bucket=name, Key=key, Body=body, Metadata={"a": "1"})
        assert s3.get_object(Bucket=name, Key=key)["Body"].read() == body
    assert ask(strict, "GET", f"/{name}/k").status == 403
    wrong = boto3.client(
        "s3",
        endpoint_url=strict.url,
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="wrong",
    )
    assert refusal(lambda: wrong.list_objects_v2(Bucket=name)) == ("SignatureDoesNotMatch", 403)
    wrong.close()
    newer = boto3.client(
        "s3",
        endpoint_url=strict.url,
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="secret",
        config=Config(signature_version="s3v4"),
    )
    for client in (s3, newer):  # by version 2, as boto3 does unasked, and by version 4
        asked = {"Bucket": name, "Key": key, "ResponseContentType": "text/a b"}
        url = client.generate_presigned_url("get_object", Params=asked)
        with urllib.request.urlopen(url) as answer:
            assert (len(answer.read()), answer.headers["Content-Type"]) == (300_000, "text/a b")
        parts = urlsplit(url)
        broken = ask(strict, "GET", f"{parts.path}?{parts.query.replace('a%20b', 'a%20c')}", host=parts.netloc)
        assert broken.status == 403
        sent = client.generate_presigned_post(name, "posted-too")
        body, headers = form(sent["fields"], b"file")
        assert ask(strict, "POST", f"/{name}", body=body, headers=headers).status == 204
    newer.close()
    post = s3.generate_presigned_post(name, "posted")
    body, headers = form(post["fields"], b"file")
    assert ask(strict, "POST", f"/{name}", body=body, headers=headers).status == 204
    forged = {**post["fields"], "signature": "A" * 27 + "="}
    body, headers = form(forged, b"file")
    assert b"SignatureDoesNotMatch" in ask(strict, "POST", f"/{name}", body=body, headers=headers).body
    body, headers = form({"key": "posted"}, b"file")
    assert ask(strict, "POST", f"/{name}", body=body, headers=headers).status == 403


def test_the_signed_hash_of_a_body_is_compared(strict: RunningDaemon) -> None:
    s3 = strict.client("s3")
    name = make_bucket(s3)
    for size in (10, 200_000):
        claimed, sent = os.urandom(size), os.urandom(size)
        digest = hashlib.sha256(claimed).hexdigest()
        moment = datetime.now(UTC)
        date, day = moment.strftime("%Y%m%dT%H%M%SZ"), moment.strftime("%Y%m%d")
        host, path = f"127.0.0.1:{strict.port}", f"/{name}/k"
        signed = f"host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{date}\n"
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = f"PUT\n{path}\n\n{signed}\n{names}\n{digest}"
        scope = f"{day}/us-east-1/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = b"AWS4secret"
        for part in (day, "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers = {
            "x-amz-content-sha256": digest,
            "x-amz-date": date,
            "Authorization": f"AWS4-HMAC-SHA256 Credential=000000000000/{scope}, SignedHeaders={names}, "
            f"Signature={signature}",
        }
        assert ask(strict, "PUT", path, body=claimed, headers=headers, host=host).status == 200
        answer = ask(strict, "PUT", path, body=sent, headers=headers, host=host)
        assert (answer.status, b"XAmzContentSHA256Mismatch" in answer.body) == (400, True)
