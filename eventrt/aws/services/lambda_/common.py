"""What Lambda's operations share: whom a request names, refusals in the door's terms, moments and pages."""

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from eventrt.aws.call import Call
from eventrt.core.function_rules import LIST_LIMIT, FunctionRef, parse_function_name
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.store.api import Store, Tx

T = TypeVar("T")

_STATUSES = {
    "AccessDeniedException": 403,
    "RequestEntityTooLargeException": 413,
}
"""HTTP statuses of errors that Lambda's service model does not have."""


def api_error(refused: Refused) -> ApiError:
    """Return the refusal of a pure rule as the door sends it."""
    return ApiError(refused.code, refused.message, status=_STATUSES.get(refused.code))


async def write(store: Store, unit: Callable[[Tx], T]) -> T:
    """Run a unit of work; what it refuses is the caller's answer.

    Raises: ApiError: the unit refused.
    """
    try:
        return await store.write(unit)
    except Refused as refused:
        raise api_error(refused) from refused


async def read(store: Store, query: Callable[[Tx], T]) -> T:
    """Run a query; what it refuses is the caller's answer.

    Raises: ApiError: the query refused.
    """
    try:
        return await store.read(query)
    except Refused as refused:
        raise api_error(refused) from refused


def ref_of(call: Call, request: Mapping[str, Any]) -> FunctionRef:
    """Return whom FunctionName and Qualifier name.

    Raises: ApiError: they name a function of elsewhere, or contradict each other.
    """
    try:
        return parse_function_name(
            request["FunctionName"],
            account_id=call.account_id,
            region=call.region,
            qualifier=request.get("Qualifier"),
        )
    except Refused as refused:
        raise api_error(refused) from refused


def iso_moment(moment: float) -> str:
    """Return a moment as functions show it: `2024-01-31T10:11:12.345+0000`."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "+0000"


def page_start(request: Mapping[str, Any]) -> tuple[str, int]:
    """Return (the name to start after, how many to list) for Marker and MaxItems.

    Raises: ApiError: the marker is none of ours.
    """
    marker, limit = request.get("Marker"), min(request.get("MaxItems") or LIST_LIMIT, LIST_LIMIT)
    if not marker:
        return "", limit
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode(), limit
    except ValueError as error:
        raise ApiError("InvalidParameterValueException", "Invalid Marker") from error


def page_of(found: Sequence[T], limit: int, *, name_of: Callable[[T], str]) -> tuple[Sequence[T], dict[str, str]]:
    """Return (the page, its NextMarker member if there is more); `found` holds one more than the page if so."""
    if len(found) <= limit:
        return found, {}
    page = found[:limit]
    return page, {"NextMarker": base64.urlsafe_b64encode(name_of(page[-1]).encode()).decode()}
