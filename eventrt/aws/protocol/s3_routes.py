"""Where S3 differs from every other REST service: buckets in host names, keys with slashes, subresources.

The operation is told by the method, by whether there is a key, and by names in the query string (`?acl`,
`?uploads`, `?list-type=2`) or headers (`x-amz-copy-source`). The table of these comes out of the model.
"""

import calendar
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from eventrt.aws.protocol.models import ServiceModel
from eventrt.aws.protocol.query import decode, decode_path
from eventrt.aws.protocol.sigv4 import credential_of
from eventrt.errors import ApiError
from eventrt.http import Request

_S3_HOST = re.compile(
    r"(?:(?P<bucket>.+)\.)?s3(?:[.-](?:dualstack\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?(?:\.[a-z0-9-]+)*", re.ASCII
)
_SECONDS = re.compile(r"\d{1,20}", re.ASCII)
_LEVELS = ("/", "/{Bucket}", "/{Bucket}/{Key+}")
_ELSEWHERE = frozenset({"ListDirectoryBuckets", "CreateSession"})
"""Operations of directory buckets, which have endpoints of their own."""


@dataclass(frozen=True, slots=True)
class Host:
    """What a host name says: is it S3's, which bucket, which region ("" where it does not say)."""

    is_s3: bool
    bucket: str = ""
    region: str = ""


_PLAIN = Host(False)


@lru_cache(maxsize=4096)
def read_host(host: str) -> Host:
    """Return what a Host header says of S3: `bucket.s3.localhost:4566`, `s3.eu-west-1.amazonaws.com`, ..."""
    if len(host) > 512:
        return _PLAIN
    name = host.partition(":")[0].lower().rstrip(".")
    match = _S3_HOST.fullmatch(name)
    if match is None:
        return _PLAIN
    return Host(True, match["bucket"] or "", match["region"] or "")


@lru_cache(maxsize=4096)
def bucket_below_localhost(host: str) -> str:
    """Return the bucket of `<bucket>.localhost`, "" when the host is no such name."""
    name = host.partition(":")[0].lower().rstrip(".")
    return name[: -len(".localhost")] if name.endswith(".localhost") and len(host) <= 512 else ""


def read_path(path: str, bucket: str) -> tuple[str, str]:
    """Return bucket and key of a raw path; `bucket` is the one the host names, "" in path style.

    S3 takes a `+` in a path for a blank, as forms do; every SDK writes `%2B`.

    Raises: WrongType: the path is not UTF-8.
    """
    if bucket:
        return bucket, decode(path[1:])
    first, _, rest = path[1:].partition("/")
    return decode_path(first), decode(rest)


class S3Routes:
    """Finds operations by method, level and subresource."""

    def __init__(self, model: ServiceModel) -> None:
        plain: dict[tuple[str, int], list[tuple[str, tuple[tuple[str, str], ...]]]] = {}
        named: dict[tuple[str, int], dict[str, list[tuple[str, Mapping[str, str], tuple[tuple[str, str], ...]]]]] = {}
        for name, operation in model.operations.items():
            if operation.get("deprecated") or name in _ELSEWHERE:
                continue
            path, _, query = operation["http"]["requestUri"].partition("?")
            if path not in _LEVELS:
                continue
            level = operation["http"]["method"], _LEVELS.index(path)
            _, shape = model.input_shape(name)
            required = tuple(
                (ref["location"], ref["locationName"].lower() if ref["location"] == "header" else ref["locationName"])
                for member, ref in shape["members"].items()
                if member in shape.get("required", ()) and ref.get("location") in ("querystring", "header")
            )
            demanded = dict(part.partition("=")[::2] for part in query.split("&")) if query else {}
            if demanded:
                one = (name, demanded, required)
                named.setdefault(level, {}).setdefault(next(iter(demanded)), []).append(one)
            elif any(place == "querystring" for place, _ in required):
                first = next(wire for place, wire in required if place == "querystring")
                named.setdefault(level, {}).setdefault(first, []).append((name, {}, required))
            else:
                plain.setdefault(level, []).append((name, required))
        for table in named.values():
            for some in table.values():
                some.sort(key=lambda one: -len(one[2]))
        for others in plain.values():
            others.sort(key=lambda one: -len(one[1]))
        self._named, self._plain = named, plain

    def find(self, request: Request, bucket: str, key: str, query: Mapping[str, str]) -> str | None:
        """Return the operation, None when S3 knows none."""
        level = request.method, 2 if key else 1 if bucket else 0
        if query:
            named = self._named.get(level)
            if named is not None:
                for parameter in query:
                    for name, demanded, required in named.get(parameter, ()):
                        if all(not value or query.get(wire) == value for wire, value in demanded.items()) and (
                            _is_there(required, query, request.headers) or (demanded and name == "GetObjectAttributes")
                        ):
                            return name
        for name, required in self._plain.get(level, ()):
            if _is_there(required, query, request.headers):
                return name
        return None


def _is_there(required: tuple[tuple[str, str], ...], query: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    for place, wire in required:  # noqa: SIM110 - for every request to S3, and a generator costs more than the loop
        if wire not in (headers if place == "header" else query):
            return False
    return True


_REQUIRED = (
    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
    "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
)


def check_presigned(query: Mapping[str, str], *, now: float) -> None:
    """Let a presigned URL pass that has not expired; signatures of either version say when they do.

    Raises: ApiError: AccessDenied, or AuthorizationQueryParametersError.
    """
    if "X-Amz-Signature" in query:
        date, lifetime = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
        if not date or not lifetime:
            raise _wrong_query(_REQUIRED)
        try:
            signed_at = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        except ValueError as error:
            message = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
            raise _wrong_query(message) from error
        try:
            lifetime_s = int(lifetime)
        except ValueError as error:
            raise _wrong_query("X-Amz-Expires should be a number") from error
        if lifetime_s < 0:
            raise _wrong_query("X-Amz-Expires must be non-negative")
        if lifetime_s > 604_800:
            raise _wrong_query(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
                "than 604800 seconds"
            )
        if signed_at + lifetime_s < now:
            members = {"X-Amz-Expires": lifetime, "Expires": _iso(signed_at + lifetime_s), "ServerTime": _iso(now)}
            raise ApiError("AccessDenied", "Request has expired", status=403, members=members)
    elif "Signature" in query and _SECONDS.fullmatch(query.get("Expires", "")) and int(query["Expires"]) < now:
        members = {"Expires": _iso(int(query["Expires"])), "ServerTime": _iso(now)}
        raise ApiError("AccessDenied", "Request has expired", status=403, members=members)


def _wrong_query(message: str) -> ApiError:
    return ApiError("AuthorizationQueryParametersError", message, status=400)


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def looks_like_s3(request: Request) -> bool:
    """Is a request that no signature and no host gives to another service perhaps S3's?

    Signed in version 2, which only S3's clients still do in headers; or unsigned, to a host that is S3's or a bucket's.
    """
    credential = credential_of(request.headers, request.query)
    if credential is not None:
        return not credential.service
    host = request.headers.get("host", "")
    return read_host(host).is_s3 or bool(bucket_below_localhost(host))


def not_allowed(method: str, bucket: str, key: str) -> ApiError:
    """Return the refusal of a method that S3 has no operation for at this level."""
    if method == "POST" and bucket and not key:
        condition = "Bucket POST must be of the enclosure-type multipart/form-data"
        message = "At least one of the pre-conditions you specified did not hold"
        return ApiError("PreconditionFailed", message, status=412, members={"Condition": condition})
    level = "OBJECT" if key else "BUCKET" if bucket else "SERVICE"
    return ApiError(
        "MethodNotAllowed",
        "The specified method is not allowed against this resource.",
        status=405,
        members={"Method": method, "ResourceType": level},
    )


def is_form(request: Request) -> bool:
    """Is this an HTML form that uploads a file?"""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")
