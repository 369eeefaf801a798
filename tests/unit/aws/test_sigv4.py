"""Verifying signatures: botocore signs, the door verifies; every tampering is found."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from html import unescape
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.credentials import Credentials

from eventrt.aws.protocol import sigv4
from eventrt.aws.protocol.bodies import verified_chunks
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.aws.protocol.faults import auth_error
from eventrt.aws.protocol.sigv4 import Unauthentic, Verified, Verifier
from eventrt.aws.services.sts import TemporaryCredentials
from eventrt.http import Request
from tests.unit.aws.asking import request_of, service, signed

KEYS = Credentials("AKIAEXAMPLE", "the+secret/key")
HOST = "http://sqs.us-east-1.localhost:4566"


def secret_of(access_key: str, token: str) -> str | None:
    return KEYS.secret_key if access_key == KEYS.access_key and not token else None


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(secret_of)


def requests() -> list[Any]:
    return [
        ("POST", f"{HOST}/", b'{"a": 1}'),
        ("GET", f"{HOST}/000000000000/queue?Action=Receive&b=2&a=1&empty=", b""),
        ("GET", f"{HOST}/2017-03-31/tags/arn:aws:lambda:us-east-1:000000000000:function:f", b""),
        ("DELETE", f"{HOST}/2017-03-31/tags/arn%3Aaws%3Alambda?tagKeys=a%20b&tagKeys=%C3%A9", b""),
        ("POST", f"{HOST}/2015-03-31/functions/f/invocations?Qualifier=%24LATEST", b"\x00\xff"),
        ("GET", f"{HOST}/a//b/./c/../d/", b""),
    ]


@pytest.mark.parametrize("request_", requests())
def test_a_signed_request_is_verified(verifier: Verifier, request_: Any) -> None:
    request = signed(request_, "lambda", KEYS)
    verified = verifier.verify(request, request_[2])
    assert verified.credential.access_key == KEYS.access_key
    assert verified.credential.region == "us-east-1"


@pytest.mark.parametrize("request_", [one for one in requests() if not one[2]])
def test_a_presigned_request_is_verified(verifier: Verifier, request_: Any) -> None:
    request = signed(request_, "lambda", KEYS, signer=SigV4QueryAuth)
    assert verifier.verify(request, request_[2]).credential.service == "lambda"


def test_s3_signs_its_paths_as_they_are(verifier: Verifier) -> None:
    url = f"{HOST}/bucket/{quote('a key//with/../dots and é')}"
    request = signed(("PUT", url, b"body"), "s3", KEYS, signer=S3SigV4Auth)
    verifier.verify(request, b"body", is_s3=True)
    presigned = signed(("GET", url, b""), "s3", KEYS, signer=S3SigV4QueryAuth)
    verifier.verify(presigned, b"", is_s3=True)


def tampered() -> list[Any]:
    def body(request: Request) -> bytes:
        return b'{"a": 2}'

    def path(request: Request) -> bytes:
        request.path = "/other"
        return b'{"a": 1}'

    def query(request: Request) -> bytes:
        request.query = "x=1"
        return b'{"a": 1}'

    def method(request: Request) -> bytes:
        request.method = "PUT"
        return b'{"a": 1}'

    def header(request: Request) -> bytes:
        request.headers = {**request.headers, "host": "elsewhere"}
        return b'{"a": 1}'

    def signature(request: Request) -> bytes:
        text = request.headers["authorization"]
        request.headers = {**request.headers, "authorization": text[:-1] + ("0" if text[-1] != "0" else "1")}
        return b'{"a": 1}'

    def date(request: Request) -> bytes:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - 60))
        request.headers = {**request.headers, "x-amz-date": moment}
        return b'{"a": 1}'

    return [pytest.param(change, id=change.__name__) for change in (body, path, query, method, header, signature, date)]


@pytest.mark.parametrize("change", tampered())
def test_a_tampered_request_is_found(verifier: Verifier, change: Any) -> None:
    request = signed(("POST", f"{HOST}/", b'{"a": 1}'), "sqs", KEYS)
    changed_body = change(request)
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request, changed_body)
    assert refusal.value.kind == "mismatch"


@pytest.mark.parametrize("skew_s", [-16 * 60, 16 * 60])
@pytest.mark.parametrize("signer", [SigV4Auth, SigV4QueryAuth])
def test_a_signature_of_another_time_is_refused(skew_s: int, signer: Any) -> None:
    if signer is SigV4QueryAuth and skew_s > 0:
        skew_s = 2 * 3600  # a presigned URL names how long it lasts: an hour
    request = signed(("GET", f"{HOST}/", b""), "sqs", KEYS, signer=signer)
    with pytest.raises(Unauthentic) as refusal:
        Verifier(secret_of, now=lambda: time.time() + skew_s).verify(request, b"")
    assert refusal.value.kind == "expired"
    assert ("expired" if skew_s > 0 else "not yet current") in str(refusal.value)


@pytest.mark.parametrize(
    ("authorization", "kind"),
    [
        ("", "missing"),
        ("Bearer x", "incomplete"),
        ("AWS4-HMAC-SHA256 Credential=a", "incomplete"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0", "incomplete"),
        ("AWS4-HMAC-SHA256 Credential=A/20240131/r/s/aws4_request, SignedHeaders=host, Signature=0", "incomplete"),
    ],
)
def test_what_is_not_a_signature_is_refused(verifier: Verifier, authorization: str, kind: str) -> None:
    headers = {"authorization": authorization} if authorization else {}
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request_of(headers=headers), b"")
    assert refusal.value.kind == kind


@pytest.mark.parametrize("query", ["X-Amz-Signature=0", "X-Amz-Signature=0&X-Amz-Credential=a/b/c/d/aws4_request"])
def test_a_presigned_url_with_holes_is_refused(verifier: Verifier, query: str) -> None:
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request_of("GET", f"/?{query}"), b"")
    assert refusal.value.kind == "incomplete"


def test_a_key_nobody_knows_is_refused(verifier: Verifier) -> None:
    request = signed(("GET", f"{HOST}/", b""), "sqs", Credentials("AKIASTRANGER", "x"))
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request, b"")
    assert refusal.value.kind == "unknown-key"


def test_the_host_must_be_signed(verifier: Verifier) -> None:
    request = signed(("GET", f"{HOST}/", b""), "sqs", KEYS)
    text = request.headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    request.headers = {**request.headers, "authorization": text}
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request, b"")
    assert refusal.value.kind == "incomplete"


def test_a_content_hash_must_be_that_of_the_body(verifier: Verifier) -> None:
    request = signed(("PUT", f"{HOST}/b/k", b"body"), "s3", KEYS, signer=S3SigV4Auth)
    with pytest.raises(Unauthentic):
        verifier.verify(request, b"other", is_s3=True)


def test_temporary_credentials_verify_with_their_token_until_they_expire() -> None:
    moment = [time.time()]
    temporary = TemporaryCredentials(b"s" * 32, now=lambda: moment[0])
    issued = temporary.issue("123456789012", {"arn": "arn", "user_id": "id"}, 900)
    keys = Credentials(issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"])
    request = signed(("GET", f"{HOST}/", b""), "sqs", keys)
    verifier = Verifier(temporary.secret_of)
    assert verifier.verify(request, b"").credential.access_key == issued["AccessKeyId"]
    assert temporary.account_of(issued["AccessKeyId"]) == "123456789012"
    presigned = signed(("GET", f"{HOST}/", b""), "sqs", keys, signer=SigV4QueryAuth)
    verifier.verify(presigned, b"")
    moment[0] += 901
    with pytest.raises(Unauthentic):
        verifier.verify(request, b"")


def test_temporary_credentials_of_another_daemon_are_strangers() -> None:
    ours, theirs = TemporaryCredentials(b"a" * 16), TemporaryCredentials(b"b" * 16)
    issued = theirs.issue("123456789012", {}, 900)
    assert ours.account_of(issued["AccessKeyId"]) is None
    assert ours.secret_of(issued["AccessKeyId"], issued["SessionToken"]) is None
    assert ours.account_of("ASIA" + "A" * 16) is None
    for token in ("", "x", "EVENTRT1.", "EVENTRT1.%%%", "EVENTRT1." + "A" * 100, "EVENTRT1.\u2603"):
        assert ours.claims_of(issued["AccessKeyId"], token) is None


# -- the door in sigv4 mode ------------------------------------------------------------------------------------


@pytest.fixture
def door() -> AwsDoor:
    return AwsDoor(
        [
            service("sqs", ListQueues=lambda call, request: {}),
            service("lambda", ListFunctions=lambda call, request: {"Functions": []}),
            service("iam", ListRoles=lambda call, request: {"Roles": []}),
        ],
        auth="sigv4",
        secret_of=secret_of,
    )


def shapes() -> list[Any]:
    target = {"x-amz-target": "AmazonSQS.ListQueues", "content-type": "application/x-amz-json-1.0"}
    form = {"content-type": "application/x-www-form-urlencoded"}
    return [
        pytest.param("sqs", "POST", "/", target, b"{}", "json", id="json"),
        pytest.param("lambda", "GET", "/2015-03-31/functions", {}, b"", "rest", id="rest"),
        pytest.param("iam", "POST", "/", form, b"Action=ListRoles&Version=2010-05-08", "query", id="query"),
    ]


CODES = {
    "missing": {"json": "MissingAuthenticationTokenException", "query": "MissingAuthenticationToken"},
    "unknown-key": {"json": "UnrecognizedClientException", "query": "InvalidClientTokenId"},
    "mismatch": {"json": "InvalidSignatureException", "query": "SignatureDoesNotMatch"},
}


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize(("name", "method", "path", "headers", "body", "shape"), shapes())
async def test_a_wrong_signature_is_the_services_own_403(
    door: AwsDoor, kind: str, name: str, method: str, path: str, headers: Any, body: bytes, shape: str
) -> None:
    keys = {"unknown-key": Credentials("AKIASTRANGER", "x"), "mismatch": Credentials(KEYS.access_key, "wrong")}
    if kind == "missing":
        request = request_of(method, path, body=body)
    else:
        request = signed((method, f"http://localhost:4566{path}", body), name, keys[kind])
    request.headers = {**request.headers, **headers}
    response = await door.handle(request)
    assert response.status == 403
    code = CODES[kind]["query" if shape == "query" else "json"]
    if shape == "json":
        assert orjson.loads(response.body)["__type"].endswith(f"#{code}")
    elif shape == "rest":
        assert response.headers["x-amzn-ErrorType"] == code
    else:
        assert f"<Code>{code}</Code>".encode() in response.body


@pytest.mark.parametrize(("name", "method", "path", "headers", "body", "shape"), shapes())
async def test_a_right_signature_is_served(
    door: AwsDoor, name: str, method: str, path: str, headers: Any, body: bytes, shape: str
) -> None:
    request = signed((method, f"http://localhost:4566{path}", body), name, KEYS)
    request.headers = {**request.headers, **headers}
    assert (await door.handle(request)).status == 200


def presigned(url: str, scope: str) -> Any:
    return signed(("GET", url, b""), scope, KEYS, signer=SigV4QueryAuth)


async def test_a_presigned_url_for_another_service_is_refused(door: AwsDoor) -> None:
    url = "http://localhost:4566/?Action=ListQueues&Version=2012-11-05"
    assert (await door.handle(presigned(url, "sqs"))).status == 200
    response = await door.handle(presigned(url, "s3"))
    assert response.status == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in response.body
    assert "Credential should be scoped to correct service: 'sqs'." in unescape(response.body.decode())


async def test_a_header_signed_for_another_service_is_refused(door: AwsDoor) -> None:
    headers = {"x-amz-target": "AmazonSQS.ListQueues", "content-type": "application/x-amz-json-1.0"}
    request = signed(("POST", "http://localhost:4566/", b"{}"), "lambda", KEYS)
    request.headers = {**request.headers, **headers}
    response = await door.handle(request)
    assert response.status == 403
    assert orjson.loads(response.body)["__type"].endswith("#InvalidSignatureException")
    assert orjson.loads(response.body)["message"].startswith("Credential should be scoped to correct service: 'sqs'.")


async def test_a_scope_of_another_region_than_the_hosts_is_refused(door: AwsDoor) -> None:
    path = "/?Action=ListQueues&Version=2012-11-05"
    assert (await door.handle(presigned(f"http://sqs.us-east-1.localhost:4566{path}", "sqs"))).status == 200
    response = await door.handle(presigned(f"http://sqs.eu-west-1.localhost:4566{path}", "sqs"))
    assert response.status == 403
    assert b"Credential should be scoped to a valid region." in response.body


@pytest.mark.parametrize(
    ("signer", "kind", "text"),
    [
        (SigV4Auth, "incomplete", "The authorization header is malformed; incorrect service"),
        (SigV4QueryAuth, "query", "Error parsing the X-Amz-Credential parameter; incorrect service"),
    ],
)
def test_s3_words_a_wrong_scope_by_where_it_stands(verifier: Verifier, signer: Any, kind: Any, text: str) -> None:
    request = signed(("GET", "http://localhost:4566/bucket/key", b""), "sqs", KEYS, signer=signer)
    # Both sign the empty body's hash, which S3 expects in a header.
    request.headers = {**request.headers, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest()}
    with pytest.raises(Unauthentic) as refusal:
        verifier.verify(request, b"", services=("s3",), is_s3=True)
    assert refusal.value.kind == kind
    assert str(refusal.value) == f'{text} "sqs". This endpoint belongs to "s3".'
    assert auth_error(refusal.value, "s3", "rest-xml").status == 400


# -- aws-chunked bodies ----------------------------------------------------------------------------------------

AMZ_DATE, SCOPE = "20240131T101112Z", "20240131/us-east-1/s3/aws4_request"
KEY = sigv4.signing_key("secret", "20240131", "us-east-1", "s3")
SEED = "5" * 64
SIGNED = Verified(
    sigv4.Credential("A", "20240131", "us-east-1", "s3"),
    KEY,
    SEED,
    AMZ_DATE,
    SCOPE,
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
)


def sign(kind: str, previous: str, *hashes: str) -> str:
    text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", AMZ_DATE, SCOPE, previous, *hashes])
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


def chunked(chunks: list[bytes], *, trailer: str = "") -> bytes:
    """Return an aws-chunked body as an SDK signs it."""
    out, previous = b"", SEED
    for chunk in [*chunks, b""]:
        empty = hashlib.sha256(b"").hexdigest()
        previous = sign("PAYLOAD", previous, empty, hashlib.sha256(chunk).hexdigest())
        out += f"{len(chunk):x};chunk-signature={previous}\r\n".encode()
        if chunk:
            out += chunk + b"\r\n"
    if trailer:
        signature = sign("TRAILER", previous, hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
        return out + f"{trailer}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()
    return out + b"\r\n"


async def pieces(body: bytes, size: int = 11) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, verified: Verified | None = SIGNED, *, has_trailer: bool = False) -> bytes:
    return b"".join([piece async for piece in verified_chunks(pieces(body), verified, has_trailer=has_trailer)])


async def test_signed_chunks_are_unpacked() -> None:
    assert await read(chunked([b"a" * 100, b"\r\n", b"z"])) == b"a" * 100 + b"\r\n" + b"z"
    assert await read(chunked([])) == b""


async def test_signed_trailers_are_verified() -> None:
    body = chunked([b"data"], trailer="x-amz-checksum-crc32:AAAAAA==")
    assert await read(body, has_trailer=True) == b"data"
    with pytest.raises(Unauthentic):
        await read(body.replace(b"AAAAAA", b"BBBBBB"), has_trailer=True)


async def test_unsigned_chunks_with_a_trailer_are_unpacked() -> None:
    body = b"4\r\ndata\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    assert await read(body, None, has_trailer=True) == b"data"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body.replace(b"aaa", b"aab", 1),
        lambda body: body[:-90],
        lambda body: body.replace(b"chunk-signature=", b"chunk-signature=0", 1),
        lambda body: b"zz;" + body,
        lambda body: b"ffffffffff;chunk-signature=0\r\n" + body,
        lambda body: b"-1;chunk-signature=0\r\n" + body,
        lambda body: b"1" * 10_000,
        lambda body: b"",
    ],
)
async def test_spoilt_chunks_are_refused(spoil: Any) -> None:
    with pytest.raises(Unauthentic):
        await read(spoil(chunked([b"a" * 100, b"b"])))


async def test_a_streaming_payload_reaches_the_handler_verified_chunk_by_chunk() -> None:
    got: list[bytes] = []

    async def keep(call: Any, request: Any) -> dict[str, Any]:
        got.extend([piece async for piece in request["Body"]])
        return {}

    keep.__aws_operation__ = "PutObject"  # type: ignore[attr-defined]
    s3 = type("S3", (), {"service_id": "s3", "put": lambda self, call, request: keep(call, request)})()
    type(s3).put.__aws_operation__ = "PutObject"
    body = b"4\r\ndata\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    headers = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "4"}
    response = await AwsDoor([s3]).handle(request_of("PUT", "/bucket/key", headers=headers, body=body))
    assert response.status == 200
    assert b"".join(got) == b"data"
