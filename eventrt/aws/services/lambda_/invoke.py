"""Invoke: the payload's rules before, the outcome's shape after; what happens between is the invoker's.

An asynchronous event is answered once it lies on the shelf; who drains that is `invoker.asynchronous`.

This is a hot path: what depends on the request's words only (whom it names) is remembered, a payload is checked to
be JSON without building it, and answers are written here. Besides the model's members they carry the trace header
that the invocation goes on with, as on AWS.
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import api_error, write
from eventrt.core.asynchronous import ASYNC_PAYLOAD_LIMIT_BYTES
from eventrt.core.function_rules import (
    CLIENT_CONTEXT_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    FunctionRef,
    function_not_found,
    parse_function_name,
)
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.core.recursion import decoded
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.http import Response
from eventrt.invoker import async_shelf
from eventrt.invoker.functions import pending
from eventrt.invoker.invocation import Invocation
from eventrt.invoker.traces import trace_of
from eventrt.store.api import Store

_RAW = msgspec.json.Decoder(msgspec.Raw)


class Invoking(Protocol):
    """What the invoker offers (`invoker.invoker.Invoker`)."""

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run the function with one event and return what came of it."""
        ...


class InvokeService:
    """Invoke (synchronously, asynchronously and as a dry run), and its elder sister InvokeAsync."""

    service_id = "lambda"

    def __init__(self, store: Store, invoker: Invoking) -> None:
        self._store = store
        self._invoker = invoker

    @operation("Invoke")
    async def invoke(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Run a function and return its result, or its error with FunctionError set; or lay an event on the shelf."""
        try:
            ref, invoked_arn = _named(request["FunctionName"], call.account_id, call.region, request.get("Qualifier"))
        except Refused as refused:
            raise api_error(refused) from refused
        payload: bytes = request.get("Payload") or b"{}"
        kind = request.get("InvocationType")
        trace_header = trace_of(decoded(call.http.headers.get("x-amzn-trace-id")))
        if kind == "Event":
            await self._accept(call, ref, payload, trace_header)
            return _empty(202, call, trace_header)
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise _too_large(PAYLOAD_LIMIT_BYTES)
        await self._check(ref)
        _check_json(payload)
        client_context = request.get("ClientContext")
        context = _client_context(client_context) if client_context else None
        if kind == "DryRun":
            return _empty(204, call, trace_header)
        wants_log_tail = request.get("LogType") == "Tail"
        outcome = await self._invoker.invoke(
            Invocation(
                account_id=ref.account_id,
                region=ref.region,
                function_name=ref.name,
                payload=payload,
                request_id=call.request_id,
                invoked_arn=invoked_arn,
                qualifier=ref.qualifier,
                client_context=context,
                trace_header=trace_header,
                wants_log_tail=wants_log_tail,
            )
        )
        return _answer(outcome, call.request_id, trace_header, wants_log_tail=wants_log_tail)

    @operation("InvokeAsync")
    async def invoke_async(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Lay an event on the shelf; the operation that came before InvocationType."""
        try:
            ref, _ = _named(request["FunctionName"], call.account_id, call.region, None)
        except Refused as refused:
            raise api_error(refused) from refused
        payload = bytearray()
        async for chunk in request["InvokeArgs"]:
            payload += chunk
            if len(payload) > ASYNC_PAYLOAD_LIMIT_BYTES:
                raise _too_large(ASYNC_PAYLOAD_LIMIT_BYTES)
        trace_header = trace_of(decoded(call.http.headers.get("x-amzn-trace-id")))
        await self._accept(call, ref, bytes(payload) or b"{}", trace_header)
        return {"Status": 202}

    async def _accept(self, call: Call, ref: FunctionRef, payload: bytes, trace_header: str) -> None:
        """Lay an event on the shelf of its function; it is on disk when this returns.

        Raises: ApiError: the event is too large or no JSON, or the function cannot be invoked.
        """
        if len(payload) > ASYNC_PAYLOAD_LIMIT_BYTES:
            raise _too_large(ASYNC_PAYLOAD_LIMIT_BYTES)
        _check_json(payload)
        request_id = call.request_id
        await write(
            self._store,
            lambda tx: async_shelf.accept(tx, ref, payload=payload, request_id=request_id, trace_header=trace_header),
        )

    async def _check(self, ref: FunctionRef) -> None:
        """Let a function pass that can be invoked.

        Raises: ApiError: it does not exist, has no such version or alias, or is still being created.
        """
        version = await self._store.read(lambda tx: tx.functions.get(ref.account_id, ref.region, ref.name))
        if version is None or (ref.qualifier is not None and ref.qualifier != "$LATEST"):
            raise api_error(function_not_found(f"{ref.arn}:{ref.qualifier or '$LATEST'}"))
        if version.state == "Pending":
            raise api_error(pending())


@lru_cache(maxsize=4096)
def _named(name: str, account_id: str, region: str, qualifier: str | None) -> tuple[FunctionRef, str]:
    """Return (whom the request names, the ARN as the handler sees it)."""
    ref = parse_function_name(name, account_id=account_id, region=region, qualifier=qualifier)
    return ref, ref.qualified_arn


def _too_large(limit_bytes: int) -> ApiError:
    return ApiError(
        "RequestTooLargeException",
        f"Request must be smaller than {limit_bytes} bytes for the InvokeFunction operation",
    )


def _check_json(payload: bytes) -> None:
    """Let a JSON document in UTF-8 pass.

    Raises: ApiError: it is none, or nests deeper than a handler could read.
    """
    try:
        _RAW.decode(payload)
        if not payload.isascii():
            payload.decode()
        return
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        detail = str(error)
    raise ApiError(
        "InvalidRequestContentException",
        f"Could not parse request body into json: Could not parse payload into json: {detail}\n at [Source: "
        "REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled)]",
    )


def _client_context(text: str) -> bytes:
    """Return the client context's JSON.

    Raises: ApiError: it is too long, or not base64 of a JSON object.
    """
    if len(text) > CLIENT_CONTEXT_LIMIT_BYTES:
        raise ApiError(
            "InvalidRequestContentException",
            f"Client context must be smaller than {CLIENT_CONTEXT_LIMIT_BYTES} bytes.",
        )
    try:
        decoded = base64.b64decode(text, validate=True)
        msgspec.json.decode(decoded, type=dict[str, msgspec.Raw])
    except (ValueError, msgspec.DecodeError) as error:  # binascii's and Unicode's errors are ValueErrors
        raise ApiError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from error
    return decoded


def _empty(status: int, call: Call, trace_header: str) -> Response:
    """Return the answer to an event that was taken, or to a dry run."""
    headers = {"x-amzn-RequestId": call.request_id, "X-Amzn-Trace-Id": trace_header}
    if status != 204:
        headers["Content-Type"] = "application/json"
    return Response(status, headers)


def _answer(outcome: Outcome, request_id: str, trace_header: str, *, wants_log_tail: bool) -> Response:
    """Return what came of an invocation.

    Raises: ApiError: it was not made: it was throttled, or could not be.
    """
    match outcome:
        case Succeeded() | FunctionError():
            headers = {
                "x-amzn-RequestId": request_id,
                "X-Amz-Executed-Version": outcome.executed_version,
                "X-Amzn-Trace-Id": trace_header,
                "Content-Type": "application/json",
            }
            if isinstance(outcome, FunctionError):
                headers["X-Amz-Function-Error"] = outcome.kind
            if wants_log_tail:
                headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log_tail).decode("ascii")
            return Response(200, headers, outcome.payload)
        case Throttled():
            raise ApiError(
                "TooManyRequestsException",
                "Rate Exceeded.",
                status=429,
                members={"Reason": outcome.reason},
                headers={"Retry-After": str(max(1, round(outcome.retry_after_s)))},
            )
        case ServiceFault():
            raise ApiError(outcome.code, outcome.message, status=outcome.status, members=dict(outcome.members))
