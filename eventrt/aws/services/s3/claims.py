"""What a request's headers say of its body, and whether a small document keeps it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from eventrt.core.checksums import Algorithm, encode
from eventrt.core.object_rules import S3Refused, invalid_request

_CHECKSUM_HEADER = "x-amz-checksum-"
_NOT_ALGORITHMS = frozenset({"algorithm", "type", "mode"})


@dataclass(frozen=True, slots=True)
class Claims:
    """What a request says of its body.

    `checksum` None with an algorithm: it comes in the trailer.
    """

    md5: str | None = None
    algorithm: Algorithm | None = None
    checksum: str | None = None


def read_claims(headers: Mapping[str, str], algorithms: Mapping[str, Algorithm]) -> Claims:
    """Return what a request's headers say of its body.

    Raises: S3Refused: InvalidDigest, InvalidRequest.
    """
    md5 = headers.get("content-md5")
    if md5 is not None:
        try:
            is_md5 = len(base64.b64decode(md5, validate=True)) == 16
        except ValueError:
            is_md5 = False
        if not is_md5:
            raise S3Refused("InvalidDigest", "The Content-MD5 you specified was invalid.", members={"Content-MD5": md5})
    given = [
        name
        for name in headers
        if name.startswith(_CHECKSUM_HEADER) and name[len(_CHECKSUM_HEADER) :] not in _NOT_ALGORITHMS
    ]
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if trailer.startswith(_CHECKSUM_HEADER):
        given.append(trailer)
    if len(given) > 1:
        raise invalid_request("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
    named = headers.get("x-amz-sdk-checksum-algorithm")
    if not given:
        if named is not None and md5 is None:
            if named.upper() not in algorithms:
                raise invalid_request(
                    "Checksum algorithm provided is unsupported. Please try again with any of the "
                    "valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
                )
            raise invalid_request(
                "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer "
                "headers were found."
            )
        return Claims(md5)
    algorithm = algorithms.get(given[0][len(_CHECKSUM_HEADER) :].upper())
    if algorithm is None:
        raise invalid_request("The algorithm type you specified in x-amz-checksum- header is invalid.")
    if named is not None and named.upper() != algorithm.name:
        raise invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
    value = headers.get(given[0])
    if value is not None and not algorithm.is_well_formed(value):
        raise invalid_request(f"Value for {given[0]} header is invalid.")
    return Claims(md5, algorithm, value)


def check_document(claims: Claims, body: bytes) -> None:
    """Let a document pass that is as its request says.

    Raises: S3Refused: BadDigest.
    """
    if claims.md5 is not None:
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        if base64.b64decode(claims.md5) != digest:
            raise wrong_md5(claims.md5, digest)
    algorithm, checksum = claims.algorithm, claims.checksum
    if algorithm is not None and checksum is not None and algorithm.of(body) != checksum:
        raise wrong_checksum(algorithm)


def wrong_md5(claimed: str, digest: bytes) -> S3Refused:
    """Return `BadDigest` for a Content-MD5."""
    return S3Refused(
        "BadDigest",
        "The Content-MD5 you specified did not match what we received.",
        members={"ExpectedDigest": claimed, "CalculatedDigest": encode(digest)},
    )


def wrong_checksum(algorithm: Algorithm) -> S3Refused:
    """Return `BadDigest` for a checksum."""
    return S3Refused("BadDigest", f"The {algorithm.name} you specified did not match the calculated checksum.")
