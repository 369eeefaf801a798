"""Signature Version 2, the verifying side, for S3: boto3 still signs presigned URLs with it, old clients all else.

Source: S3 developer guide, "Signing and authenticating REST requests" (signature version 2).
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_to_bytes

from eventrt.aws.protocol.sigv4 import MISMATCH, SKEW_LIMIT_S, Unauthentic
from eventrt.http import Request

_SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "encryption",
        "intelligent-tiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "ownershipControls",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "retention",
        "select",
        "select-type",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)


def is_signed(request: Request, query: Mapping[str, str]) -> bool:
    """Is this request signed in version 2, in its header or its query string?"""
    if "Signature" in query and "AWSAccessKeyId" in query:
        return True
    return request.headers.get("authorization", "").startswith("AWS ")


def verify(
    request: Request,
    query: Mapping[str, str],
    bucket_of_host: str,
    secret_of: Callable[[str, str], str | None],
    *,
    now: float,
) -> None:
    """Let a request pass whose signature is right.

    Args: bucket_of_host: the bucket that the Host header names, "" in path style.
    Raises: Unauthentic: the signature is wrong, unknown or too old.
    """
    headers = request.headers
    if "Signature" in query:
        access_key, signature, date = query["AWSAccessKeyId"], query["Signature"], query.get("Expires", "")
        if not date.isdecimal() or len(date) > 20 or int(date) < now:
            raise Unauthentic("expired", "Request has expired")
    else:
        access_key, _, signature = headers["authorization"][4:].strip().partition(":")
        date = "" if "x-amz-date" in headers else headers.get("date", "")
        try:
            moment = parsedate_to_datetime(headers.get("x-amz-date") or date).timestamp()
        except (TypeError, ValueError) as error:
            raise Unauthentic("incomplete", "AWS authentication requires a valid Date or x-amz-date header") from error
        if abs(moment - now) > SKEW_LIMIT_S:
            raise Unauthentic("expired", "The difference between the request time and the current time is too large.")
    token = headers.get("x-amz-security-token") or query.get("x-amz-security-token", "")
    secret = secret_of(access_key, token)
    if secret is None:
        raise Unauthentic("unknown-key", "The AWS Access Key Id you provided does not exist in our records.")
    amz = "".join(
        f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers) if name.startswith("x-amz-")
    )
    resource = (f"/{bucket_of_host}" if bucket_of_host else "") + request.path
    found = sorted((name, value) for name, value in _pairs(request.query) if name in _SUBRESOURCES)
    if found:
        resource += "?" + "&".join(name if value is None else f"{name}={value}" for name, value in found)
    text = "\n".join(
        [request.method, headers.get("content-md5", ""), headers.get("content-type", ""), date, amz + resource]
    )
    expected = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest())
    if not hmac.compare_digest(expected, signature.encode()):
        raise Unauthentic("mismatch", MISMATCH)


def _pairs(query: str) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if name:
            found.append((name, unquote_to_bytes(value.replace("+", " ")).decode(errors="replace") if equals else None))
    return found
