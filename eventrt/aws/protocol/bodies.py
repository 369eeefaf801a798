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


class Payload:
    """A streaming payload: read once, in pieces or whole, out of its `aws-chunked` framing where it has one.

    Attributes:
        length: its size as the request announces it, without framing; None when it does not.
        trailers: what followed the last chunk, names in lower case; there once the payload was read.
        expected_sha256: the hash that a verified signature vouches for, "" without one. The reader compares.
    """

    __slots__ = ("_has_trailer", "_is_framed", "_request", "_verified", "expected_sha256", "length", "trailers")

    def __init__(self, request: Request, verified: Verified | None) -> None:
        headers = request.headers
        mode = headers.get("x-amz-content-sha256", "")
        self._request = request
        self._is_framed = mode.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", "")
        self._verified = verified if mode.startswith("STREAMING-") and "UNSIGNED" not in mode else None
        self._has_trailer = mode.endswith("-TRAILER")
        announced = headers.get("x-amz-decoded-content-length" if self._is_framed else "content-length", "")
        self.length = int(announced) if len(announced) < 20 and announced.isascii() and announced.isdecimal() else None
        self.trailers: dict[str, str] = {}
        self.expected_sha256 = mode.lower() if verified is not None and len(mode) == 64 else ""

    @property
    def is_chunked(self) -> bool:
        """Does the request come in chunks of HTTP's own, so that nobody knows how long it is?"""
        return "chunked" in self._request.headers.get("transfer-encoding", "")

    def __aiter__(self) -> AsyncIterator[bytes]:
        if not self._is_framed:
            return self._request.stream_body()
        return verified_chunks(
            self._request.stream_body(), self._verified, has_trailer=self._has_trailer, trailers=self.trailers
        )

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole payload.

        Raises: BodyTooLarge: it is longer than the limit. Unauthentic: a chunk's signature or framing is wrong.
        """
        if not self._is_framed:
            return await self._request.read_body(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        async for piece in self:
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            pieces.append(piece)
        return b"".join(pieces)


def payload_stream(request: Request, verified: Verified | None) -> Payload:
    """Return a streaming payload."""
    return Payload(request, verified)


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
    stream: AsyncIterator[bytes],
    verified: Verified | None,
    *,
    has_trailer: bool = False,
    trailers: dict[str, str] | None = None,
) -> AsyncIterator[bytes]:
    """Yield the payload of an `aws-chunked` body; a signed chunk after its signature was found right.

    Args:
        verified: the request's own signature, from which the chunks' continue; None for unsigned chunks
            (`STREAMING-UNSIGNED-PAYLOAD-TRAILER`), whose framing is read and whose signatures do not exist. They may
            be of any size, and are yielded as they come.
        has_trailer: must headers follow the last chunk (`...-PAYLOAD-TRAILER`), and be signed where chunks are?
        trailers: filled with those headers.

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
        if size < 0 or (verified is not None and size > CHUNK_LIMIT_BYTES):
            raise Unauthentic("incomplete", "The chunk is too large")
        if verified is None:
            async for piece in reader.pieces(size):
                yield piece
        else:
            data = await reader.exactly(size)
            digest = hashlib.sha256(data).hexdigest()
            to_sign = "\n".join(
                [f"{ALGORITHM}-PAYLOAD", verified.amz_date, verified.scope, previous, EMPTY_SHA256, digest]
            )
            previous = _must_match(verified, to_sign, extension.strip().removeprefix("chunk-signature="))
            if data:
                yield data
        if size == 0:
            break
        if await reader.line(limit=2):
            raise Unauthentic("incomplete", "A chunk is longer than its size says")
    signed = await _read_trailer(reader, {} if trailers is None else trailers)
    if verified is not None and (has_trailer or any(signed)):
        trailer, signature = signed
        digest = hashlib.sha256(trailer.encode()).hexdigest()
        to_sign = "\n".join([f"{ALGORITHM}-TRAILER", verified.amz_date, verified.scope, previous, digest])
        _must_match(verified, to_sign, signature)


async def _read_trailer(reader: "_Chunks", trailers: dict[str, str]) -> tuple[str, str]:
    """Fill in the headers after the last chunk; return them as they are signed, and their signature."""
    trailer, signature = "", ""
    while line := (await reader.line(limit=8192)).decode("utf-8", errors="replace"):
        name, _, value = line.partition(":")
        if name.lower() == "x-amz-trailer-signature":
            signature = value.strip()
        else:
            trailers[name.lower()] = value.strip()
            trailer += f"{name.lower()}:{value.strip()}\n"
    return trailer, signature


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

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """Yield so many bytes as they come."""
        while size:
            if not self._buffer and not await self._more():
                raise Unauthentic("incomplete", "The chunked body ends early")
            piece = bytes(self._buffer[:size]) if len(self._buffer) > size else bytes(self._buffer)
            del self._buffer[: len(piece)]
            size -= len(piece)
            yield piece

    async def _more(self) -> bool:
        piece = await anext(self._stream, b"")
        self._buffer += piece
        return bool(piece)
