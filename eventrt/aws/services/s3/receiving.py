"""Taking the body of an object or a part: small ones into the row, large ones into a blob, hashed as they come.

Whatever the request says of its body is compared with what came: length, Content-MD5, an additional checksum in a
header or a trailer, and the SHA-256 that a verified signature vouches for.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventrt.aws.protocol.bodies import Payload
from eventrt.aws.services.s3.claims import Claims, wrong_checksum, wrong_md5
from eventrt.aws.services.s3.formdata import FormFile
from eventrt.aws.services.s3.room import S3Room
from eventrt.core.buckets import Body, Checksum, Extent
from eventrt.core.checksums import Algorithm, Hasher, encode
from eventrt.core.object_rules import S3Refused, invalid_request
from eventrt.store.blobs import BlobWriter

INLINE_BYTES = 64 * 1024
"""Bodies up to this size lie in the object's row: one commit, no file."""


@dataclass(slots=True)
class Received:
    """A body that has come: where it is, its MD5 in hexadecimal, its checksum.

    `staged` is set instead of a place when the caller finishes the file itself (buckets over folders).
    """

    body: Body
    md5: str
    checksum: Checksum | None
    staged: BlobWriter | None = None
    file_stamp: int = 0


Source = Payload | FormFile
"""Where a body comes from: a request's payload, or the file of a form, whose length (-1) is known at its end."""


@asynccontextmanager
async def receiving(
    room: S3Room,
    payload: Source,
    claims: Claims,
    *,
    limit_bytes: int,
    wants: Algorithm | None = None,
    always_blob: bool = False,
    staged_in: Path | None = None,
) -> AsyncIterator[Received]:
    """Take a body; whoever stores what uses it does so inside the block, or raises: then it is removed again.

    Args:
        wants: the checksum to compute when the request brings none.
        always_blob: keep also a small body as a blob (parts). staged_in: write a file there and leave it staged.

    Raises: S3Refused: MissingContentLength, EntityTooLarge, IncompleteBody, BadDigest, XAmzContentSHA256Mismatch.
    """
    length = payload.length
    if length is None:
        raise _unknown_length(payload)
    if length > limit_bytes:
        raise S3Refused(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            members={"ProposedSize": str(length), "MaxSizeAllowed": str(limit_bytes)},
        )
    if is_small(payload) and not always_blob and staged_in is None:
        assert isinstance(payload, Payload)
        yield await receive_small(payload, claims, wants)
        return
    checks = _Checks(claims, payload, wants)
    pieces = aiter(payload)
    first: list[bytes] = []
    if length < 0 and staged_in is None:
        size = 0
        async for piece in pieces:
            first.append(piece)
            size += len(piece)
            if size > INLINE_BYTES:
                break
        else:
            data = b"".join(first)
            checks.update(data)
            yield Received(Body(size, data), *checks.settle(payload, size))
            return
    writer = room.blobs.writer([checks]) if staged_in is None else room.blobs.writer_at(staged_in, [checks])
    name = ""
    try:
        for piece in first:
            await writer.write(piece)
        async for piece in pieces:
            await writer.write(piece)
            if 0 <= length < writer.size:
                raise _incomplete()
        if staged_in is not None:
            await writer.flush()
            yield Received(Body(writer.size), *checks.settle(payload, writer.size), staged=writer)
            return
        await writer.flush()
        settled = checks.settle(payload, writer.size)
        body = Body(0)
        if writer.size:
            name = await writer.finish()
            body = Body(writer.size, None, [Extent(name, 0, writer.size)])
        yield Received(body, *settled)
    except BaseException:
        if name:
            await room.give_up_unused(name)
        raise
    finally:
        await writer.discard()


def _unknown_length(payload: Source) -> S3Refused:
    if isinstance(payload, Payload) and payload.is_chunked:
        return S3Refused(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            status=501,
            members={"Header": "Transfer-Encoding"},
        )
    return S3Refused("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)


def is_small(payload: Source) -> bool:
    """Does a body fit into its object's row, as far as its request tells?"""
    return payload.length is not None and 0 <= payload.length <= INLINE_BYTES


async def receive_small(payload: Payload, claims: Claims, wants: Algorithm | None) -> Received:
    """Take a body that `is_small`: nothing is left behind of it, so it needs no block (see `receiving`).

    Raises: as `receiving` does.
    """
    data = await payload.read(payload.length or 0)
    checks = _Checks(claims, payload, wants)
    checks.update(data)
    return Received(Body(len(data), data), *checks.settle(payload, len(data)))


class _Checks:
    """Everything that is computed over a body, as one hasher."""

    def __init__(self, claims: Claims, payload: Source, wants: Algorithm | None) -> None:
        self._claims = claims
        self._algorithm = claims.algorithm or wants
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sum: Hasher | None = self._algorithm.hasher() if self._algorithm is not None else None
        self._sha256 = hashlib.sha256() if payload.expected_sha256 else None

    def update(self, data: bytes, /) -> None:
        """Take more data."""
        self._md5.update(data)
        if self._sum is not None:
            self._sum.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    def settle(self, payload: Source, size: int) -> tuple[str, Checksum | None]:
        """Compare with what was said; return MD5 and checksum.

        Raises: S3Refused: IncompleteBody, BadDigest, InvalidRequest, XAmzContentSHA256Mismatch.
        """
        claims, algorithm = self._claims, self._algorithm
        if size != payload.length:
            raise _incomplete()
        digest = self._md5.digest()
        if claims.md5 is not None and base64.b64decode(claims.md5) != digest:
            raise wrong_md5(claims.md5, digest)
        if self._sha256 is not None and self._sha256.hexdigest() != payload.expected_sha256:
            raise S3Refused(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
                members={
                    "ClientComputedContentSHA256": payload.expected_sha256,
                    "S3ComputedContentSHA256": self._sha256.hexdigest(),
                },
            )
        if algorithm is None or self._sum is None:
            return digest.hex(), None
        computed = encode(self._sum.digest())
        if claims.algorithm is not None:
            said = claims.checksum or payload.trailers.get(algorithm.header)
            if said is None:
                raise S3Refused(
                    "MalformedTrailerError",
                    "The request contained trailing data that was not well-formed or did not "
                    "conform to our published schema.",
                )
            if said != computed:
                if not algorithm.is_well_formed(said):
                    raise invalid_request(f"Value for {algorithm.header} trailing header is invalid.")
                raise wrong_checksum(algorithm)
        return digest.hex(), Checksum(algorithm.name, computed)


def _incomplete() -> S3Refused:
    return S3Refused(
        "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
    )


def checksum_headers(checksum: Checksum | None, algorithms: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that tell a checksum."""
    if checksum is None:
        return {}
    return {algorithms[checksum.algorithm].header: checksum.value, "x-amz-checksum-type": checksum.type}
