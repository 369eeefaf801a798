"""Bodies that are not what they seem: `aws-chunked` framing, with signatures chunk by chunk, and gzip."""

import hashlib
import hmac
import zlib
from collections.abc import AsyncIterator

from eventrt.aws.protocol.sigv4 import ALGORITHM, MISMATCH, Unauthentic, Verified
from eventrt.errors import ApiError
from eventrt.http import BodyTooLarge, Request

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
CHUNK_LIMIT_BYTES = 16 * 1024 * 1024


def payload_stream(request: Request, verified: Verified | None) -> AsyncIterator[bytes]:
    """Return a streaming payload, out of its `aws-chunked` framing where it has one."""
    mode = request.headers.get("x-amz-content-sha256", "")
    if mode.startswith("STREAMING-"):
        signed = verified if "UNSIGNED" not in mode else None
        return verified_chunks(request.stream_body(), signed, has_trailer=mode.endswith("-TRAILER"))
    return request.stream_body()


def inflate(body: bytes, limit_bytes: int) -> bytes:
    """Return a gzip body unpacked, never more than the limit.

    Raises: BodyTooLarge: it unpacks to more. ApiError: it is not gzip.
    """
    inflater = zlib.decompressobj(wbits=31)
    try:
        out = inflater.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise ApiError("SerializationException", "The request body is not gzip as its header says") from error
    if len(out) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    if not inflater.eof:
        raise ApiError("SerializationException", "The request body's gzip ends early")
    return out


async def verified_chunks(
    stream: AsyncIterator[bytes], verified: Verified | None, *, has_trailer: bool = False
) -> AsyncIterator[bytes]:
    """Yield the payload of an `aws-chunked` body, each chunk after its signature was found right.

    Args:
        verified: the request's own signature, from which the chunks' continue; None for unsigned chunks
            (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`), whose framing is read and whose signatures do not exist.
        has_trailer: do headers follow the last chunk (`...-PAYLOAD-TRAILER`)?

    Raises: Unauthentic: a chunk's or the trailer's signature is wrong, or the framing is.
    """
    reader = _Chunks(stream)
    previous = verified.signature if verified else ""
    while True:
        head = (await reader.line(limit=4096)).decode("ascii", errors="replace")
        size_text, _, extension = head.partition(";")
        try:
            size = int(size_text, 16)
        except ValueError as error:
            raise Unauthentic("incomplete", "The chunk's size is not a number") from error
        if not 0 <= size <= CHUNK_LIMIT_BYTES:
            raise Unauthentic("incomplete", "The chunk is too large")
        data = await reader.exactly(size)
        if verified is not None:
            digest = hashlib.sha256(data).hexdigest()
            to_sign = "\n".join(
                [f"{ALGORITHM}-PAYLOAD", verified.amz_date, verified.scope, previous, EMPTY_SHA256, digest]
            )
            previous = _must_match(verified, to_sign, extension.strip().removeprefix("chunk-signature="))
        if size == 0:
            break
        yield data
        if await reader.line(limit=2):
            raise Unauthentic("incomplete", "A chunk is longer than its size says")
    if has_trailer:
        await _check_trailer(reader, verified, previous)


async def _check_trailer(reader: "_Chunks", verified: Verified | None, previous: str) -> None:
    trailer, signature = "", ""
    while line := (await reader.line(limit=8192)).decode("utf-8", errors="replace"):
        name, _, value = line.partition(":")
        if name.lower() == "x-amz-trailer-signature":
            signature = value.strip()
        else:
            trailer += f"{name.lower()}:{value.strip()}\n"
    if verified is not None:
        digest = hashlib.sha256(trailer.encode()).hexdigest()
        to_sign = "\n".join([f"{ALGORITHM}-TRAILER", verified.amz_date, verified.scope, previous, digest])
        _must_match(verified, to_sign, signature)


def _must_match(verified: Verified, to_sign: str, signature: str) -> str:
    expected = hmac.new(verified.signing_key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
        raise Unauthentic("mismatch", MISMATCH)
    return expected


class _Chunks:
    """Lines and exact lengths out of a stream of byte pieces."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def line(self, *, limit: int) -> bytes:
        """Return the next line without its CR LF; empty at the end of the stream."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > limit:
                raise Unauthentic("incomplete", "A line of the chunked body is too long")
            if not await self._more():
                rest, self._buffer = bytes(self._buffer), bytearray()
                return rest
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def exactly(self, size: int) -> bytes:
        """Return so many bytes."""
        while len(self._buffer) < size:
            if not await self._more():
                raise Unauthentic("incomplete", "The chunked body ends early")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> bool:
        piece = await anext(self._stream, b"")
        self._buffer += piece
        return bool(piece)
