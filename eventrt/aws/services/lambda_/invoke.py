"""Invoke: the payload's rules before, the outcome's shape after; what happens between is the invoker's.

This is a hot path: what depends on the request's words only (whom it names) is remembered, and a payload is
checked to be JSON without building it.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import msgspec

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import api_error
from eventrt.core.function_rules import (
    CLIENT_CONTEXT_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    FunctionRef,
    function_not_found,
    parse_function_name,
)
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.invoker.functions import pending
from eventrt.invoker.invocation import Invocation
from eventrt.store.api import Store

_RAW = msgspec.json.Decoder(msgspec.Raw)


class Invoking(Protocol):
    """What the invoker offers (`invoker.invoker.Invoker`)."""

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run the function with one event and return what came of it."""
        ...


class InvokeService:
    """The Invoke operation, synchronously and as a dry run."""

    service_id = "lambda"

    def __init__(self, store: Store, invoker: Invoking) -> None:
        self._store = store
        self._invoker = invoker

    @operation("Invoke")
    async def invoke(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Run a function and return its result, or its error with FunctionError set."""
        try:
            ref, invoked_arn = _named(request["FunctionName"], call.account_id, call.region, request.get("Qualifier"))
        except Refused as refused:
            raise api_error(refused) from refused
        payload: bytes = request.get("Payload") or b"{}"
        if len(payload) > PAYLOAD_LIMIT_BYTES:
            raise ApiError(
                "RequestTooLargeException",
                f"Request must be smaller than {PAYLOAD_LIMIT_BYTES} bytes for the InvokeFunction operation",
            )
        await self._check(ref)
        _check_json(payload)
        client_context = request.get("ClientContext")
        context = _client_context(client_context) if client_context else None
        if request.get("InvocationType") == "DryRun":
            return {"StatusCode": 204}
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
                trace_header=call.http.headers.get("x-amzn-trace-id"),
                wants_log_tail=wants_log_tail,
            )
        )
        return _answer(outcome, wants_log_tail=wants_log_tail)

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
    except (binascii.Error, msgspec.DecodeError, UnicodeError) as error:
        raise ApiError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from error
    return decoded


def _answer(outcome: Outcome, *, wants_log_tail: bool) -> Answer:
    match outcome:
        case Succeeded():
            answer: dict[str, Any] = {
                "StatusCode": 200,
                "Payload": outcome.payload,
                "ExecutedVersion": outcome.executed_version,
            }
        case FunctionError():
            answer = {
                "StatusCode": 200,
                "FunctionError": outcome.kind,
                "Payload": outcome.payload,
                "ExecutedVersion": outcome.executed_version,
            }
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
    if wants_log_tail:
        answer["LogResult"] = base64.b64encode(outcome.log_tail).decode("ascii")
    return answer
