"""Asking an AwsDoor in process: requests as the server would make them."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from eventrt.aws.call import Call
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.http import BodyTooLarge, Request, Response


def request_of(
    method: str = "POST", url: str = "/", *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Request:
    """Return a request as the server hands it to the door."""

    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise BodyTooLarge(limit)
        return body

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    path, _, query = url.partition("?")
    given = {name.lower(): value for name, value in (headers or {}).items()}
    return Request(method, path, query, {"host": "localhost:4566", **given}, "127.0.0.1", read, stream, lambda: False)


def target(name: str) -> dict[str, str]:
    """Return the headers of an awsJson request: `AmazonSQS.SendMessage`."""
    return {"x-amz-target": name, "content-type": "application/x-amz-json-1.0"}


def scope(service: str, *, key: str = "test", region: str = "us-east-1") -> dict[str, str]:
    """Return an Authorization header that claims a service, with a signature nobody checks."""
    credential = f"{key}/20240131/{region}/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0"}


async def ask_json(door: AwsDoor, name: str, body: Any, **headers: str) -> tuple[Response, Any]:
    """Ask an awsJson operation; return the response and its parsed body."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    response = await door.handle(request_of(headers={**target(name), **headers}, body=raw))
    return response, orjson.loads(response.body) if response.body else {}


def signed(
    request: tuple[str, str, bytes], service: str, credentials: Credentials, *, signer: Callable[..., Any] = SigV4Auth
) -> Request:
    """Return a request signed by botocore. `request`: method, full URL, body."""
    method, url, body = request
    aws = AWSRequest(method=method, url=url, data=body, headers={"Host": urlsplit(url).netloc})
    signer(credentials, service, "us-east-1").add_auth(aws)
    parts = urlsplit(aws.url)
    headers = {name.lower(): value if isinstance(value, str) else value.decode() for name, value in aws.headers.items()}
    return request_of(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers, body=body)


def service(service_id: str, **operations: Callable[[Call, Mapping[str, Any]], Any]) -> Any:
    """Return a service whose operations are plain functions; it remembers what it was asked in `asked`."""
    asked: list[tuple[Call, Mapping[str, Any]]] = []

    def handler(name: str, function: Callable[[Call, Mapping[str, Any]], Any]) -> Any:
        async def handle(self: Any, call: Call, request: Mapping[str, Any]) -> Any:
            asked.append((call, request))
            return function(call, request)

        handle.__aws_operation__ = name  # type: ignore[attr-defined]
        return handle

    members = {f"op_{name}": handler(name, function) for name, function in operations.items()}
    return type("Fake", (), {"service_id": service_id, "asked": asked, **members})()
