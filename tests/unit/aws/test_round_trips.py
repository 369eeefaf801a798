"""Every operation of many services: what botocore writes we read, and what we write botocore reads.

botocore is the oracle: its serialisers make the requests and its parsers read the answers.
"""

import functools
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from botocore.model import OperationModel, ServiceModel, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from eventrt.aws.protocol.codecs import CborCodec, Codec, Incoming, JsonCodec, QueryCodec
from eventrt.aws.protocol.models import load
from eventrt.aws.protocol.overlays import Policy
from eventrt.aws.protocol.query import pairs_of
from eventrt.aws.protocol.rest import RestJsonCodec, RestXmlCodec
from eventrt.aws.protocol.routes import RouteTable
from tests.unit.aws.samples import Samples, as_seen, botocore_model

NO_CHECKS = Policy(checks=False)


class AnyXmlCodec(RestXmlCodec):
    """Without S3's refusal of bodies that do not come (held by tests/wire/test_s3_refusals.py)."""

    empty_body_code = ""


CODECS: dict[str, Codec] = {
    codec.name: codec for codec in (JsonCodec(), QueryCodec(), CborCodec(), RestJsonCodec(), AnyXmlCodec())
}
SPOKEN = [
    ("sqs", "json"),
    ("lambda", "rest-json"),
    ("iam", "query"),
    ("sts", "query"),
    ("sns", "query"),
    ("s3", "rest-xml"),
    ("dynamodb", "json"),
    ("dynamodbstreams", "json"),
    ("kinesis", "json"),
    ("events", "json"),
    ("scheduler", "rest-json"),
    ("logs", "json"),
    ("cloudwatch", "smithy-rpc-v2-cbor"),
    ("cloudwatch", "json"),
    ("cloudwatch", "query"),
    ("cloudformation", "query"),
    ("route53", "rest-xml"),
    ("apigateway", "rest-json"),
]
FILLS = (0.0, 0.6, 1.0)


ELSEWHERE = {
    ("s3", "WriteGetObjectResponse"),  # spoken to a host of its own
    ("s3", "GetBucketLifecycle"),  # superseded, at the URI of their successors
    ("s3", "PutBucketLifecycle"),
    ("s3", "GetBucketNotification"),
    ("s3", "PutBucketNotification"),
    ("s3", "ListDirectoryBuckets"),  # told from ListBuckets by the host
    ("apigateway", "ImportRestApi"),  # their maps of all query parameters hold the named ones, too
    ("apigateway", "ImportApiKeys"),
    ("apigateway", "ImportDocumentationParts"),
    ("apigateway", "PutRestApi"),
    ("apigateway", "GetExport"),
    ("apigateway", "GetSdk"),
}


@functools.cache
def oracle(service_id: str) -> ServiceModel:
    return botocore_model(service_id)


@functools.cache
def routes(service_id: str) -> RouteTable:
    return RouteTable(load(service_id))


def is_event_stream(operation: OperationModel) -> bool:
    return operation.has_event_stream_input or operation.has_event_stream_output


def incoming_of(request: dict[str, Any], service_id: str, operation: str, codec: Codec) -> Incoming:
    """Return what the door would hand the codec for a request botocore serialised."""
    headers = {name.lower(): str(value) for name, value in request["headers"].items()}
    body = request["body"]
    query = request["query_string"]
    path, _, fixed = request["url_path"].partition("?")
    text = urlencode(query, doseq=True) if isinstance(query, dict | list) else query
    pairs = pairs_of("&".join(part for part in (fixed, text) if part))
    labels: dict[str, str] = {}
    if codec.name == "query":
        pairs = pairs_of(urlencode(body))
        body = b""
    elif codec.name.startswith("rest"):
        path = quote(path, safe="/%:~-._")
        found = routes(service_id).find(request["method"], path, dict(pairs), headers)
        assert found is not None, f"no route for {request['method']} {path}"
        assert found[0] == operation, f"{request['method']} {path}?{pairs} is {found[0]}"
        labels = found[1]
    if isinstance(body, str):
        body = body.encode()
    return Incoming(body, headers, pairs, labels)


def cases() -> list[Any]:
    return [pytest.param(service, protocol, id=f"{service}-{protocol}") for service, protocol in SPOKEN]


@pytest.mark.parametrize(("service_id", "protocol"), cases())
def test_requests_that_botocore_writes_are_read_as_they_were_meant(service_id: str, protocol: str) -> None:
    codec, model = CODECS[protocol], load(service_id)
    for name in oracle(service_id).operation_names:
        operation = oracle(service_id).operation_model(name)
        if is_event_stream(operation) or (service_id, name) in ELSEWHERE:
            continue
        bound = codec.bind(model, NO_CHECKS, name)
        for fill in FILLS:
            shape = operation.input_shape
            given = Samples(f"{service_id}.{name}.{fill}", fill).structure(shape) if shape is not None else {}
            serializer = create_serializer(protocol, include_validation=False)
            request = serializer.serialize_to_request(given, operation)
            incoming = incoming_of(request, service_id, name, codec)
            problems: list[Any] = []
            got = bound.parse(incoming, problems)
            expected = as_seen(given, shape) if shape is not None else {}
            assert without_empty(got) == without_empty(expected), f"{service_id}.{name} fill {fill}"
            assert problems == []


@pytest.mark.parametrize(("service_id", "protocol"), cases())
def test_answers_are_read_by_botocore_as_they_were_meant(service_id: str, protocol: str) -> None:
    codec, model = CODECS[protocol], load(service_id)
    for name in oracle(service_id).operation_names:
        operation = oracle(service_id).operation_model(name)
        shape = operation.output_shape
        if shape is None or is_event_stream(operation) or (service_id, name) in ELSEWHERE:
            continue
        bound = codec.bind(model, NO_CHECKS, name)
        for fill in FILLS:
            meant = Samples(f"{service_id}.{name}.{fill}", fill).structure(shape)
            response = bound.write(as_seen(meant, shape), "the-request-id")
            got = create_parser(protocol).parse(
                {
                    "status_code": response.status,
                    "headers": CaseInsensitive(response.headers),
                    "body": raw_or_not(shape, response.body),
                    "context": {},
                },
                shape,
            )
            metadata = got.pop("ResponseMetadata")
            if service_id != "s3":
                assert metadata.get("RequestId", metadata["HTTPHeaders"].get("x-amzn-requestid")) == "the-request-id"
            if response.status == 204:
                continue
            for member in set(got) - set(meant):  # the status and the content type are always there
                place = shape.members[member].serialization.get("location")
                assert place in ("statusCode", "header") or not without_empty({"it": got[member]})
                del got[member]
            assert without_empty(comparable(got)) == without_empty(comparable(meant)), (
                f"{service_id}.{name} fill {fill}"
            )


class CaseInsensitive(dict[str, str]):
    """Headers as botocore's parsers expect them."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())


def raw_or_not(shape: StructureShape, body: bytes) -> Any:
    """Return a body as botocore's endpoint hands it on: a blob payload is a stream that its parser leaves alone."""
    payload = shape.serialization.get("payload")
    return memoryview(body) if payload and shape.members[payload].type_name == "blob" else body


def comparable(value: Any) -> Any:
    """Return a parsed answer with moments as epoch seconds."""
    if isinstance(value, memoryview):
        return bytes(value)
    if hasattr(value, "timestamp"):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    return value


def without_empty(value: Any) -> Any:
    """Return a value without empty structures, lists and maps: some protocols cannot say them."""
    if isinstance(value, dict):
        pruned = {key: without_empty(one) for key, one in value.items()}
        return {key: one for key, one in pruned.items() if one not in ({}, [], None, b"", "")}
    if isinstance(value, list):
        return [one for one in map(without_empty, value) if one not in ({}, [])]
    return value
