"""Every served operation against wrong requests: only 2xx and 4xx, in AWS's shape, and never a hang.

The requests are made from the models: right ones with one thing spoilt, and bytes that are none at all. The seed is
in the test's id; a failure prints the request that repeats it. Members that are free for the service to word are
tried with values of every wrong type; members with meaning outside the model (names, ARNs, URLs) with odd texts.
"""

import base64
import copy
import http.client
import io
import random
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import cbor2
import orjson
import pytest
from botocore.exceptions import ClientError

from eventrt.aws import ledger
from eventrt.aws.protocol.codecs import AwsCborCodec
from eventrt.aws.protocol.models import load
from eventrt.aws.protocol.overlays import MORE_PROTOCOLS
from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.modelled import Modelled

ACCOUNT = "210987654321"
SEED = 20260101
ODD_TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\x01\x08\x1f",
    "\u2028\u202e\ufeff",
    "\U0001f4a5" * 50,
    "../../../../etc/passwd",
    "..",
    "/",
    "a/b",
    "' OR 1=1; --",
    "%00%0d%0aX-Evil:%201",
    "${jndi:ldap://x}",
    "arn:aws:sqs:us-east-1:000000000000:",
    "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST:x",
    "arn:::::",
    "http://[::1",
    "http://localhost:4566/000000000000/",
    "http://localhost:4566//",
    "-1",
    "NaN",
    "9" * 400,
    "{}",
    "[[[[",
    "null",
    "x" * 70_000,
    "\ufffe",
]
ODD_VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**31,
    2**63,
    2**64 - 1,
    1e308,
    0.5,
    [],
    {},
    [None],
    [[]],
    {"a": None},
    {"": ""},
    [{"a": [{}]}],
    *ODD_TEXTS,
]
READS_LONG = {("sqs", "ReceiveMessage"): {"WaitTimeSeconds": 0}}
"""Members that keep a request from waiting on purpose."""


class Speaker:
    """Speaks raw HTTP to the daemon."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        for attempt in (1, 2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
            try:
                self.connection.putrequest(method, path, skip_accept_encoding=True)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.connection.putheader(name, value)
                self.connection.endheaders(body)
                answer = self.connection.getresponse()
                found = {name.lower(): value for name, value in answer.getheaders()}
                content = answer.read()
                if answer.will_close:
                    self.close()
            except (ConnectionError, http.client.BadStatusLine):
                self.close()  # the server may close a connection that it has answered a bad head on
                if attempt == 2:
                    raise
                continue
            return answer.status, found, content
        raise AssertionError("unreachable")

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class World:
    """Things the fuzz may ask about, so that requests get past "does not exist"; made anew when it destroyed them."""

    ROLE = f"arn:aws:iam::{ACCOUNT}:role/fuzz"

    def __init__(self, daemon: RunningDaemon) -> None:
        self.sqs = daemon.client("sqs", account=ACCOUNT)
        self.functions = daemon.client("lambda", account=ACCOUNT)
        self.iam = daemon.client("iam", account=ACCOUNT)
        self.kinesis = daemon.client("kinesis", account=ACCOUNT)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("app.py", "def handler(event, context):\n    return event\n")
        self.code = archive.getvalue()

    def restore(self) -> dict[str, Any]:
        """Have the things there; return what members that name them should hold."""
        queues = {
            name: self._made(self.sqs.create_queue, QueueName=name, Attributes=more)
            for name, more in (("fuzz", {}), ("fuzz.fifo", {"FifoQueue": "true"}), ("fuzz-dead", {}))
        }
        url = (queues["fuzz"] or self.sqs.get_queue_url(QueueName="fuzz"))["QueueUrl"]
        trust = {"Version": "2012-10-17", "Statement": []}
        self._made(self.iam.create_role, RoleName="fuzz", AssumeRolePolicyDocument=orjson.dumps(trust).decode())
        self._made(self.iam.create_policy, PolicyName="fuzz", PolicyDocument=orjson.dumps(trust).decode())
        self._made(
            self.functions.create_function,
            FunctionName="fuzz",
            Role=self.ROLE,
            Runtime="python3.11",
            Handler="app.handler",
            Code={"ZipFile": self.code},
        )
        mappings = self.functions.list_event_source_mappings()["EventSourceMappings"]
        source = f"arn:aws:sqs:us-east-1:{ACCOUNT}:fuzz-dead"
        mapping = (
            mappings[0]
            if mappings
            else self._made(
                self.functions.create_event_source_mapping, FunctionName="fuzz", EventSourceArn=source, Enabled=False
            )
        )
        return {
            "QueueUrl": url,
            "SourceArn": source,
            "FunctionName": "fuzz",
            "Resource": f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:fuzz",
            "RoleName": "fuzz",
            "PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/fuzz",
            "VersionId": "v1",
            "EventSourceArn": source,
            **({"UUID": mapping["UUID"]} if mapping else {}),
            **self._stream(),
        }

    def _stream(self) -> dict[str, Any]:
        """Have a stream whose first shard is closed, so that reading it ends, and a consumer."""
        arn, shard = f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/fuzz", "shardId-000000000000"
        if self._made(self.kinesis.create_stream, StreamName="fuzz", ShardCount=1) is not None:
            self.kinesis.put_record(StreamName="fuzz", Data=b"data", PartitionKey="key")
            self.kinesis.split_shard(StreamName="fuzz", ShardToSplit=shard, NewStartingHashKey="1")
        self._made(self.kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="fuzz")
        consumer = self.kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="fuzz")["ConsumerDescription"]
        iterator = self.kinesis.get_shard_iterator(StreamName="fuzz", ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        return {
            "StreamName": "fuzz",
            "StreamARN": arn,
            "ResourceARN": arn,
            "ConsumerARN": consumer["ConsumerARN"],
            "ConsumerName": "fuzz",
            "ShardId": shard,
            "ShardToSplit": "shardId-000000000002",
            "ShardIterator": iterator["ShardIterator"],
        }

    def _made(self, create: Any, **request: Any) -> Any:
        """Create something; None when it is there, as the fuzz may have left it."""
        try:
            return create(**request)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise
            return None


@pytest.fixture(scope="module")
def world(daemon: RunningDaemon) -> World:
    return World(daemon)


@pytest.fixture(scope="module")
def speaker(daemon: RunningDaemon) -> Iterator[Speaker]:
    speaker = Speaker(daemon.port)
    yield speaker
    speaker.close()


def operations() -> list[Any]:
    return [
        pytest.param(service_id, operation, id=f"{service_id}.{operation}-{SEED}")
        for service_id in ledger.services()
        for operation in sorted(ledger.entries_of(service_id))
    ]


def scope(service_id: str) -> str:
    credential = f"{ACCOUNT}/20240131/us-east-1/{service_id}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"


def spoilt(request: dict[str, Any], names: list[str], choose: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the request with one member missing, odd, or of another type; and with odd values deeper inside."""
    for name in request:
        yield {key: value for key, value in request.items() if key != name}
    for name in names:
        for value in ODD_VALUES:
            yield {**request, name: value}
    for _ in range(40):
        changed = copy.deepcopy(request)
        spots = list(_spots(changed))
        if spots:
            holder, key = choose.choice(spots)
            holder[key] = choose.choice(ODD_VALUES)
            yield changed


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in list(items):
        yield value, key
        yield from _spots(one)


def as_json(value: Any) -> Any:
    """Return a request with its bytes as base64 texts, for a JSON body."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    return [as_json(one) for one in value] if isinstance(value, list) else value


def assert_well(answer: tuple[int, dict[str, str], bytes], sent: Any) -> None:
    """Check that an answer is 2xx or 4xx and, when it refuses, that it is an AWS error."""
    status, headers, body = answer
    if status == 501 and "x-amz-id-2" in headers and (not body or b"<Code>NotImplemented</Code>" in body):
        return  # S3's own answer to what it does not know, and ours in its words
    assert 200 <= status < 500, f"{status} {body[:500]!r} for {str(sent)[:2000]}"
    if status < 400:
        return
    assert "x-amzn-requestid" in headers or "x-amz-request-id" in headers, (
        f"{status} {body[:200]!r} for {str(sent)[:2000]}"
    )
    if headers.get("content-type", "").startswith(("text/xml", "application/xml")):
        assert b"<Code>" in body or not body  # an answer to HEAD has none
    elif headers.get("content-type", "") == AwsCborCodec.content_type:
        assert {"__type", "message"} <= cbor2.loads(body).keys()
    else:
        said = orjson.loads(body)
        assert "__type" in said or "x-amzn-errortype" in headers
        assert {"message", "Message"} & said.keys()


@pytest.mark.parametrize(("service_id", "operation"), operations())
def test_spoilt_requests_are_refused(speaker: Speaker, world: World, service_id: str, operation: str) -> None:
    """As the models make them, and about things that exist."""
    model, known = load(service_id), world.restore()
    choose = random.Random(f"{SEED} {service_id} {operation}")
    _, shape = model.input_shape(operation)
    fixed = READS_LONG.get((service_id, operation), {})
    least = Modelled(model).least(operation)
    names = sorted(shape["members"])
    real = {name: value for name, value in known.items() if name in names} | {
        name: value for name, value in least.items() if name not in known
    }
    protocols = [*model.protocols, *MORE_PROTOCOLS.get(service_id, ())]
    for request in [least, real, *spoilt(least, names, choose), *spoilt(real, names, choose)]:
        if any(isinstance(request.get(name), int) for name in fixed):
            request = {**request, **fixed}
        for protocol in dict.fromkeys(protocols):
            asked = ask_of(service_id, operation, request, protocol)
            if asked is not None:
                assert_well(speaker.ask(*asked), (protocol, asked))


def ask_of(
    service_id: str, operation: str, request: dict[str, Any], protocol: str
) -> tuple[str, str, dict[str, str], bytes] | None:
    """Return method, path, headers and body of a request, None where a protocol cannot say it at all."""
    model = load(service_id)
    headers = {"Authorization": scope(service_id)}
    if protocol == "json":
        headers |= {"X-Amz-Target": f"{model.target_prefix}.{operation}", "Content-Type": "application/x-amz-json-1.0"}
        try:
            return "POST", "/", headers, orjson.dumps(as_json(request))
        except (TypeError, ValueError):
            return None
    if protocol == "aws-cbor":
        content_type = AwsCborCodec.content_type
        headers |= {"X-Amz-Target": f"{model.target_prefix}.{operation}", "Content-Type": content_type}
        return "POST", "/", headers, cbor2.dumps(request)
    if protocol == "query":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        pairs = [("Action", operation), ("Version", model.api_version), *flat("", request)]
        return "POST", "/", headers, urlencode(pairs, errors="replace").encode()
    return rest_of(service_id, operation, request, headers)


def flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield a request as the pairs of a Query form, lists both flattened and with `member`."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from flat(f"{prefix}.{key}" if prefix else str(key), one)
    elif isinstance(value, list):
        for number, one in enumerate(value, 1):
            yield from flat(f"{prefix}.member.{number}", one)
            yield from flat(f"{prefix}.{number}", one)
    elif isinstance(value, bytes):
        yield prefix, base64.b64encode(value).decode()
    elif value is not None:
        yield prefix, str(value)


def rest_of(
    service_id: str, operation: str, request: dict[str, Any], headers: dict[str, str]
) -> tuple[str, str, dict[str, str], bytes]:
    """Return a REST request, whatever its members are."""
    model = load(service_id)
    trait = model.operations[operation]["http"]
    _, shape = model.input_shape(operation)
    path, _, fixed = trait["requestUri"].partition("?")
    query: list[tuple[str, str]] = []
    body: dict[str, Any] = {}
    raw = b""
    for name, value in request.items():
        ref = shape["members"].get(name, {})
        wire, place = ref.get("locationName", name), ref.get("location")
        text = value if isinstance(value, str) else str(value)
        if place == "uri":
            path = path.replace(f"{{{wire}}}", quote(text, safe=":")).replace(f"{{{wire}+}}", quote(text))
        elif place == "querystring":
            query += [
                (wire, one if isinstance(one, str) else str(one))
                for one in (value if isinstance(value, list) else [value])
            ]
        elif place == "header":
            headers[wire] = quote(text[:2000], safe=" /:;,.-_=")
        elif name == shape.get("payload"):
            raw = value if isinstance(value, bytes) else orjson.dumps(as_json(value))
        else:
            body[wire] = value
    target = "?".join(part for part in (path, "&".join(part for part in (fixed, urlencode(query)) if part)) if part)
    return trait["method"], target[:30_000], headers, raw or (orjson.dumps(as_json(body)) if body else b"")


@pytest.mark.parametrize(("service_id", "operation"), operations())
def test_bytes_that_are_no_request_are_refused(speaker: Speaker, service_id: str, operation: str) -> None:
    """Random bytes, cut and nested JSON, bad base64, and the right body in the wrong protocol."""
    choose = random.Random(f"{SEED} bytes {service_id} {operation}")
    model = load(service_id)
    right = ask_of(service_id, operation, Modelled(model).least(operation), model.protocols[0])
    assert right is not None
    method, path, headers, body = right
    bodies = [
        choose.randbytes(64),
        body[: len(body) // 2] + b"\xff",
        b"[" * 5000,
        b'{"a":' * 5000,
        b'{"ZipFile": "***", "Code": {"ZipFile": "***"}, "Entries": [{"Id": 1}]}',
        b'"\\ud800"',
        b"null",
        b"Action=" + operation.encode() + b"&" + b"A.1" * 300 + b"=1",
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    ]
    types = [
        "application/x-www-form-urlencoded",
        "application/x-amz-json-1.1",
        "application/cbor",
        "text/xml",
        "\u00ff",
    ]
    for one in bodies:
        assert_well(speaker.ask(method, path, headers, one), (path, one))
        other = {**headers, "Content-Type": choose.choice(types)}
        assert_well(speaker.ask(method, path, other, one), (path, other, one))
    cbor = {**headers, "smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}
    cbor_path = f"/service/{model.target_prefix or model.id}/operation/{operation}"
    status, _, _ = speaker.ask("POST", cbor_path, cbor, choose.randbytes(32))
    assert 400 <= status < 500 or status == 501


def test_right_requests_survive_the_fuzz(world: World) -> None:
    world.restore()
    world.functions.delete_function(FunctionName="fuzz")
    url = world.restore()["QueueUrl"]
    answer = world.functions.invoke(FunctionName="fuzz", Payload=b'{"still": "here"}')
    assert orjson.loads(answer["Payload"].read()) == {"still": "here"}
    world.sqs.delete_queue(QueueUrl=url)
