"""One call of an AWS operation, and how a service offers its handlers.

A service is an object with a `service_id` (the name of its folder in botocore's data: `sqs`, `lambda`, `iam`) and
methods marked with `@operation`. The codec parses and checks the request before the handler sees it, and
serialises what it returns; a handler raises `ApiError` to refuse.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from eventrt.errors import ApiError
from eventrt.http import Request, Response

Answer: TypeAlias = Mapping[str, Any] | Response
"""Members by their model names: blobs as bytes, timestamps as epoch seconds (float), absent members left out.

Or a whole response, for answers that the model cannot tell or that must cost little (S3's objects).
"""

OperationHandler = Callable[["Call", Mapping[str, Any]], Awaitable[Answer]]

H = TypeVar("H", bound=Callable[..., Awaitable[Answer]])


@dataclass(slots=True)
class Call:
    """Who asks for what, as the door found out: service and operation, account and region, the raw request.

    `protocol` is the one the client spoke (`json`, `aws-cbor`, `query`, `rest-json`, `rest-xml`,
    `smithy-rpc-v2-cbor`);
    `host` is the Host header, from which answers build URLs that come back to this port.
    """

    service: str
    operation: str
    protocol: str
    account_id: str
    region: str
    access_key: str
    request_id: str
    host: str
    http: Request


class Service(Protocol):
    """What `aws.protocol.dispatch` serves: its handlers are the methods marked with `@operation`."""

    service_id: str


def raw_operation(name: str) -> Callable[[H], H]:
    """Mark a method as the handler of requests that the service's model does not know, such as S3's form posts.

    The method takes `(call, request)`; `request` holds the labels of the path and the payload as `Body`. It checks
    the caller itself and answers with a `Response`.
    """

    def mark(method: H) -> H:
        method.__aws_raw_operation__ = name  # type: ignore[attr-defined]
        return method

    return mark


def operation(name: str) -> Callable[[H], H]:
    """Mark a method of a service as the handler of the AWS operation `name`.

    The method takes `(call, request)`; `request` holds the members by their model names, already of the model's
    types and within its constraints: blobs as bytes, timestamps as epoch seconds.
    """

    def mark(method: H) -> H:
        method.__aws_operation__ = name  # type: ignore[attr-defined]
        return method

    return mark


def answering(
    refusals: Mapping[type[Exception], Callable[[Any, Mapping[str, Any]], ApiError]],
) -> Callable[[str], Callable[[H], H]]:
    """Return what marks handlers, as `operation` does, of a service whose rules raise errors of their own kinds.

    Args: refusals: of each kind of error, what it becomes, given the request.
    """
    kinds = tuple(refusals)

    def answers(name: str) -> Callable[[H], H]:
        def mark(method: H) -> H:
            @operation(name)
            @functools.wraps(method)
            async def handler(self: Any, call: Call, request: Mapping[str, Any]) -> Answer:
                try:
                    return await method(self, call, request)
                except kinds as error:
                    refuse = next(refusals[kind] for kind in kinds if isinstance(error, kind))
                    raise refuse(error, request) from error

            return cast("H", handler)

        return mark

    return answers
