"""Signature Version 4, the verifying side: who signed a request, and is the signature theirs?

Header and presigned-URL signatures; signed chunks of a body are `bodies`' business. Time is the wall clock:
signatures speak of real time. What a wrong signature is called is the door's business.
"""

import calendar
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from eventrt.errors import EventrtError
from eventrt.http import Request

SKEW_LIMIT_S = 15 * 60
PRESIGN_LIMIT_S = 7 * 24 * 3600
ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"

Kind = Literal["missing", "incomplete", "unknown-key", "mismatch", "expired", "token", "query", "unhashed", "hash"]
"""`query`: a presigned URL of S3's whose parameters are wrong in themselves; `unhashed`, `hash`: a request to S3 that
does not say its body's hash, or says another."""


class Unauthentic(EventrtError):  # noqa: N818 - a refusal, worded by the door
    """A request's signature is missing, wrong or too old. `kind` says which, the message is AWS's.

    `members` are what S3 tells beside it.
    """

    def __init__(self, kind: Kind, message: str, members: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.members = dict(members or {})


MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request says of its signer: `AKID/20240131/us-east-1/sqs/aws4_request`."""

    access_key: str
    date: str = ""
    region: str = ""
    service: str = ""


_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+(?=.*Credential=(?P<credential>[^,\s]+))(?=.*SignedHeaders=(?P<signed>[^,\s]+))"
    r"(?=.*Signature=(?P<signature>[^,\s]+))"
)


@lru_cache(maxsize=1024)
def parse_credential(text: str) -> Credential:
    """Return the parts of a credential scope; an access key may hold slashes, the scope does not."""
    parts = text.rsplit("/", 4)
    if len(parts) != 5:
        return Credential(text)
    return Credential(parts[0], parts[1], parts[2], parts[3])


def credential_of(headers: Mapping[str, str], query: str) -> Credential | None:
    """Return who signed a request as it says itself, without verifying; None when it is not signed."""
    authorization = headers.get("authorization")
    if authorization:
        start = authorization.find("Credential=")
        if start >= 0:
            end = authorization.find(",", start)
            return parse_credential(authorization[start + 11 : None if end < 0 else end].strip())
        scheme, _, rest = authorization.partition(" ")
        if scheme == "AWS" and ":" in rest:  # signature version 2, which old S3 clients send
            return Credential(rest.partition(":")[0])
        return None
    if "X-Amz-Credential=" in query:
        for part in query.split("&"):
            if part.startswith("X-Amz-Credential="):
                return parse_credential(_decode(part[17:]))
    if "AWSAccessKeyId=" in query:
        for part in query.split("&"):
            if part.startswith("AWSAccessKeyId="):
                return Credential(_decode(part[15:]))
    return None


def _decode(text: str) -> str:
    return unquote_to_bytes(text).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Verified:
    """A request whose signature is right, with what its chunks are verified by."""

    credential: Credential
    signing_key: bytes
    signature: str
    amz_date: str
    scope: str
    payload_hash: str


class Verifier:
    """Verifies signatures against the secrets of known keys.

    Args:
        secret_of: return the secret of an access key (and the session token, "" without one), None when unknown.
        now: real time, epoch seconds.
    """

    def __init__(self, secret_of: Callable[[str, str], str | None], *, now: Callable[[], float] = time.time) -> None:
        self._secret_of = secret_of
        self._now = now

    def verify(
        self,
        request: Request,
        body: bytes | None,
        *,
        is_s3: bool = False,
        services: Sequence[str] = (),
        region: str = "",
    ) -> Verified:
        """Return what was verified; `body` is None where it streams and its own header vouches for it.

        Args:
            services: how a credential scope may name the service that is addressed, its usual name first; () for any.
            region: the region that the Host header names, "" when it names none.

        Raises: Unauthentic: the signature is missing, wrong, unknown or too old, or meant for another service or
            region.
        """
        verified = self._verify(request, body, is_s3=is_s3)
        credential = verified.credential
        if services and credential.service not in services:
            if is_s3:
                raise _malformed(request, f'incorrect service "{credential.service}". This endpoint belongs to "s3".')
            raise Unauthentic("mismatch", f"Credential should be scoped to correct service: '{services[0]}'. ")
        if region and credential.region != region:
            if is_s3:
                raise _malformed(request, f"the region '{credential.region}' is wrong; expecting '{region}'")
            raise Unauthentic("mismatch", "Credential should be scoped to a valid region. ")
        return verified

    def _verify(self, request: Request, body: bytes | None, *, is_s3: bool) -> Verified:
        if request.headers.get("authorization"):
            return self._verify_header(request, body, is_s3=is_s3)
        if "X-Amz-Signature=" in request.query:
            return self._verify_presigned(request, body, is_s3=is_s3)
        raise Unauthentic("missing", "Request is missing Authentication Token")

    def _verify_header(self, request: Request, body: bytes | None, *, is_s3: bool) -> Verified:
        match = _AUTHORIZATION.match(request.headers["authorization"])
        if match is None:
            raise Unauthentic(
                "incomplete", "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."
            )
        credential = self._credential(match["credential"])
        amz_date = request.headers.get("x-amz-date", "")
        signed_at = self._moment(amz_date, credential)
        if signed_at < self._now() - SKEW_LIMIT_S:
            raise Unauthentic("expired", self._expired(amz_date, SKEW_LIMIT_S), self._skew(amz_date))
        if signed_at > self._now() + SKEW_LIMIT_S:
            raise Unauthentic("expired", self._not_yet(amz_date), self._skew(amz_date))
        given = request.headers.get("x-amz-content-sha256")
        if given is None:
            if is_s3:
                raise Unauthentic("unhashed", "Missing required header for this request: x-amz-content-sha256")
            payload_hash = hashlib.sha256(body or b"").hexdigest()
        else:
            payload_hash = given
            is_hash = len(given) == 64 and not given.startswith(("STREAMING-", "UNSIGNED-"))
            if body is not None and is_hash and (computed := hashlib.sha256(body).hexdigest()) != given.lower():
                members = {"ClientComputedContentSHA256": given, "S3ComputedContentSHA256": computed}
                raise Unauthentic("hash" if is_s3 else "mismatch", MISMATCH, members)
            if not is_hash and not is_s3 and given != UNSIGNED:
                raise Unauthentic("mismatch", MISMATCH)
        token = request.headers.get("x-amz-security-token", "")
        pairs = request.query.split("&") if request.query else []
        return self._compare(
            request, credential, amz_date, match["signed"], match["signature"], payload_hash, pairs, token, is_s3=is_s3
        )

    def _verify_presigned(self, request: Request, body: bytes | None, *, is_s3: bool) -> Verified:
        pairs = request.query.split("&")
        values = {name: _decode(value) for name, _, value in (pair.partition("=") for pair in pairs)}
        missing = {"X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Algorithm"} - values.keys()
        if missing or values["X-Amz-Algorithm"] != ALGORITHM:
            raise Unauthentic("incomplete", "The presigned URL lacks parameters of its signature.")
        credential = self._credential(values["X-Amz-Credential"])
        amz_date = values["X-Amz-Date"]
        signed_at = self._moment(amz_date, credential)
        expires = values.get("X-Amz-Expires", str(SKEW_LIMIT_S))
        if not (expires.isascii() and expires.isdecimal()) or len(expires) > 10 or int(expires) > PRESIGN_LIMIT_S:
            raise Unauthentic("incomplete", "X-Amz-Expires must be between 0 and 604800 seconds.")
        if signed_at + int(expires) < self._now():
            raise Unauthentic("expired", self._expired(amz_date, int(expires)))
        if signed_at > self._now() + SKEW_LIMIT_S:
            raise Unauthentic("expired", self._not_yet(amz_date))
        if is_s3:
            payload_hash = request.headers.get("x-amz-content-sha256", UNSIGNED)
        else:
            payload_hash = hashlib.sha256(body or b"").hexdigest()
        rest = [pair for pair in pairs if not pair.startswith("X-Amz-Signature=")]
        token = values.get("X-Amz-Security-Token", "")
        signed, signature = values["X-Amz-SignedHeaders"], values.get("X-Amz-Signature", "")
        return self._compare(request, credential, amz_date, signed, signature, payload_hash, rest, token, is_s3=is_s3)

    def _compare(
        self,
        request: Request,
        credential: Credential,
        amz_date: str,
        signed_headers: str,
        signature: str,
        payload_hash: str,
        pairs: Iterable[str],
        token: str,
        *,
        is_s3: bool,
    ) -> Verified:
        secret = self._secret_of(credential.access_key, token)
        if secret is None:
            message = "The security token included in the request is invalid."
            raise Unauthentic("unknown-key", message, {"AWSAccessKeyId": credential.access_key})
        names = signed_headers.lower().split(";")
        if "host" not in names:
            raise Unauthentic("incomplete", "'Host' must be a 'SignedHeader' in the AWS Authorization.")
        lines = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
        path = request.path if is_s3 else quote(_normalised(request.path), safe="/~-._")
        canonical = "\n".join(
            [request.method, path or "/", _canonical_query(pairs), lines, ";".join(names), payload_hash]
        )
        scope = f"{credential.date}/{credential.region}/{credential.service}/aws4_request"
        to_sign = f"{ALGORITHM}\n{amz_date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = signing_key(secret, credential.date, credential.region, credential.service)
        expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            members = {
                "AWSAccessKeyId": credential.access_key,
                "StringToSign": to_sign,
                "SignatureProvided": signature,
                "StringToSignBytes": to_sign.encode().hex(" "),
                "CanonicalRequest": canonical,
                "CanonicalRequestBytes": canonical.encode(errors="replace").hex(" "),
            }
            raise Unauthentic("mismatch", MISMATCH, members)
        return Verified(credential, key, signature, amz_date, scope, payload_hash)

    def _credential(self, text: str) -> Credential:
        credential = parse_credential(text)
        if not credential.service or not text.endswith("/aws4_request"):
            raise Unauthentic(
                "incomplete",
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term",
            )
        return credential

    def _moment(self, amz_date: str, credential: Credential) -> float:
        if not re.fullmatch(r"\d{8}T\d{6}Z", amz_date, re.ASCII):
            raise Unauthentic(
                "incomplete", "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
            )
        try:
            moment = calendar.timegm(time.strptime(amz_date, "%Y%m%dT%H%M%SZ"))
        except ValueError as error:
            raise Unauthentic("incomplete", "Date must be in ISO-8601 'basic format'.") from error
        if amz_date[:8] != credential.date:
            raise Unauthentic(
                "mismatch",
                f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                f"date from HTTP: '{credential.date[:20]}' != '{amz_date[:8]}'.",
            )
        return moment

    def _skew(self, amz_date: str) -> dict[str, str]:
        server_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        limit = str(SKEW_LIMIT_S * 1000)
        return {"RequestTime": amz_date, "ServerTime": server_time, "MaxAllowedSkewMilliseconds": limit}

    def _expired(self, amz_date: str, allowed_s: int) -> str:
        now = self._now()
        return (
            f"Signature expired: {amz_date} is now earlier than {_basic(now - allowed_s)} ({_basic(now)} - "
            f"{allowed_s // 60} min.)"
        )

    def _not_yet(self, amz_date: str) -> str:
        now = self._now()
        latest = _basic(now + SKEW_LIMIT_S)
        return f"Signature not yet current: {amz_date} is still later than {latest} ({_basic(now)} + 15 min.)"


def _malformed(request: Request, what: str) -> Unauthentic:
    """Return S3's refusal of a credential scope, which it words by where the credential stands."""
    if request.headers.get("authorization"):
        return Unauthentic("incomplete", f"The authorization header is malformed; {what}")
    return Unauthentic("query", f"Error parsing the X-Amz-Credential parameter; {what}")


def _basic(moment: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))


@lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Return the key of a day, a region and a service, derived from a secret."""
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _normalised(path: str) -> str:
    """Return a path without empty, `.` and `..` segments, as every service but S3 signs it."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if path.endswith("/") and kept else "")


def _canonical_query(pairs: Iterable[str]) -> str:
    """Return the query string as it is signed: every name and value encoded anew, sorted."""
    encoded = []
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            encoded.append((_encode(name), _encode(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(encoded))


def _encode(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", "%20")), safe="-_.~")
