"""Errors before they get a protocol's shape: which of AWS's errors an `ApiError` means, and with what status.

A handler may name an error by its shape in the model (`QueueDoesNotExist`) or by the code the Query protocol uses
(`AWS.SimpleQueueService.NonExistentQueue`); both lead to the same `Fault`.
"""

from dataclasses import dataclass, field
from typing import Any

from eventrt.aws.protocol import overlays
from eventrt.aws.protocol.models import ServiceModel
from eventrt.aws.protocol.sigv4 import Unauthentic
from eventrt.errors import ApiError


@dataclass(slots=True)
class Fault:
    """One error, ready to be written in any protocol.

    Attributes:
        shape: its name in the JSON protocols; code: its code in Query and XML.
        is_sender: the caller's fault (4xx), else ours.
        message_member: `message` or `Message`, as the model's shape spells it.
        is_modelled: does the service's model have this shape?
        members: further members of the body.
    """

    shape: str
    code: str
    message: str
    status: int
    is_sender: bool
    message_member: str = "message"
    is_modelled: bool = False
    members: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    shape: str
    code: str
    status: int
    is_sender: bool
    message_member: str
    has_type: bool
    is_modelled: bool


class ErrorTable:
    """What one service's model says of its errors, found by shape name or by code."""

    def __init__(self, model: ServiceModel) -> None:
        self._known: dict[str, _Known] = {}
        more = overlays.ERRORS.get(model.id, {})
        for name, shape in [*model.shapes.items(), *more.items()]:
            if not (shape.get("exception") or "error" in shape):
                continue
            error = shape.get("error", {})
            members = shape.get("members", {})
            status = error.get("httpStatusCode") or (500 if shape.get("fault") else 400)
            known = _Known(
                shape=name,
                code=error.get("code", name),
                status=status,
                is_sender=status < 500,
                message_member="Message" if "Message" in members and "message" not in members else "message",
                has_type="Type" in members,
                is_modelled=name not in more,
            )
            self._known[name] = known
            self._known.setdefault(known.code, known)

    def fault(self, error: ApiError) -> Fault:
        """Return what an error means for this service; a code the model does not know stands for itself."""
        known = self._known.get(error.code)
        if known is None:
            status = error.status or 400
            return Fault(
                error.code,
                error.code,
                error.message,
                status,
                status < 500,
                "message",
                False,
                dict(error.members),
                error.headers,
            )
        status = error.status or known.status
        members = dict(error.members)
        if known.has_type and "Type" not in members:
            members["Type"] = "User" if status < 500 else "Service"
        return Fault(
            known.shape,
            known.code,
            error.message,
            status,
            status < 500,
            known.message_member,
            known.is_modelled,
            members,
            error.headers,
        )


def plain_fault(error: ApiError) -> Fault:
    """Return what an error means where no model is at hand: its code stands for itself."""
    status = error.status or 400
    return Fault(
        error.code,
        error.code,
        error.message,
        status,
        status < 500,
        "message",
        False,
        dict(error.members),
        error.headers,
    )


_AUTH_CODES: dict[str, dict[str, str]] = {
    "json": {
        "missing": "MissingAuthenticationTokenException",
        "incomplete": "IncompleteSignatureException",
        "unknown-key": "UnrecognizedClientException",
        "token": "UnrecognizedClientException",
        "mismatch": "InvalidSignatureException",
        "expired": "InvalidSignatureException",
    },
    "query": {
        "missing": "MissingAuthenticationToken",
        "incomplete": "IncompleteSignature",
        "unknown-key": "InvalidClientTokenId",
        "token": "InvalidClientTokenId",
        "mismatch": "SignatureDoesNotMatch",
        "expired": "SignatureDoesNotMatch",
    },
    "s3": {
        "missing": "AccessDenied",
        "incomplete": "AuthorizationHeaderMalformed",
        "unknown-key": "InvalidAccessKeyId",
        "token": "InvalidToken",
        "mismatch": "SignatureDoesNotMatch",
        "expired": "RequestTimeTooSkewed",
        "query": "AuthorizationQueryParametersError",
        "unhashed": "InvalidRequest",
        "hash": "XAmzContentSHA256Mismatch",
    },
}

_S3_400 = frozenset({"incomplete", "token", "query", "unhashed", "hash"})
_S3_SAYS = {
    "missing": "Access Denied",
    "unknown-key": "The AWS Access Key Id you provided does not exist in our records.",
    "mismatch": "The request signature we calculated does not match the signature you provided. Check your key and "
    "signing method.",
    "expired": "The difference between the request time and the current time is too large.",
    "hash": "The provided 'x-amz-content-sha256' header does not match what was computed.",
}
"""What S3 words in its own way."""


def auth_error(error: Unauthentic, service_id: str, protocol: str) -> ApiError:
    """Return a refused signature in the words of the service: 403, but what S3 cannot read is 400."""
    family = "s3" if service_id == "s3" else "query" if protocol in ("query", "rest-xml") else "json"
    status = 400 if family == "s3" and error.kind in _S3_400 else 403
    if family != "s3":
        return ApiError(_AUTH_CODES[family][error.kind], str(error), status=status)
    message = _S3_SAYS.get(error.kind) or str(error)
    return ApiError(_AUTH_CODES[family][error.kind], message, status=status, members=error.members)
