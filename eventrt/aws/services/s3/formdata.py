"""HTML forms (multipart/form-data) as S3 takes them: fields first, then one file, which is read as it comes.

Source: RFC 7578; S3 API reference, "POST Object": fields after the file are ignored.
"""

import re
from collections.abc import AsyncIterator
from email.message import Message

from eventrt.aws.protocol.bodies import Payload
from eventrt.core.object_rules import S3Refused

_FIELDS_LIMIT_BYTES = 20 * 1024
_HEAD_LIMIT_BYTES = 16 * 1024
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,200})"?', re.IGNORECASE)


class FormReader:
    """One form: `fields` reads up to the file, `file` gives the file's bytes.

    `file_name` is the file's name once `fields` has returned, None when there is no file.
    """

    def __init__(self, payload: Payload, content_type: str) -> None:
        match = _BOUNDARY.search(content_type)
        if match is None:
            raise malformed("The form has no boundary")
        self._pieces = aiter(payload)
        self._boundary = b"\r\n--" + match[1].encode()
        self._buffer = bytearray(b"\r\n")
        self.file_name: str | None = None

    async def fields(self) -> dict[str, str]:
        """Return the fields before the file, names in lower case.

        Raises: S3Refused: MalformedPOSTRequest, MaxPostPreDataLengthExceeded.
        """
        fields: dict[str, str] = {}
        total = 0
        await self._until(self._boundary, _HEAD_LIMIT_BYTES)
        while await self._begins_part():
            head = await self._until(b"\r\n\r\n", _HEAD_LIMIT_BYTES)
            name, file_name = _read_head(head)
            if name == "file":
                self.file_name = file_name
                return fields
            value = await self._until(self._boundary, _FIELDS_LIMIT_BYTES)
            total += len(value) + len(name)
            if total > _FIELDS_LIMIT_BYTES:
                raise S3Refused(
                    "MaxPostPreDataLengthExceeded",
                    "Your POST request fields preceding the upload file were too large.",
                    members={"MaxPostPreDataLengthBytes": str(_FIELDS_LIMIT_BYTES)},
                )
            fields[name.lower()] = value.decode(errors="replace")
        return fields

    def file(self, *, min_bytes: int, max_bytes: int) -> "FormFile":
        """Return the file as a payload; its size must be within bounds."""
        return FormFile(self, min_bytes, max_bytes)

    async def file_pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file up to the boundary that ends it.

        Raises: S3Refused: MalformedPOSTRequest: the form ends before the file does.
        """
        keep = len(self._boundary) - 1
        while True:
            end = self._buffer.find(self._boundary)
            if end >= 0:
                if end:
                    yield bytes(self._buffer[:end])
                del self._buffer[: end + len(self._boundary)]
                break
            if len(self._buffer) > keep:
                piece = bytes(self._buffer[: len(self._buffer) - keep])
                del self._buffer[: len(piece)]
                yield piece
            await self._more()
        async for _ in self._pieces:
            pass  # what follows the file is ignored, and read so that the connection may go on

    async def _begins_part(self) -> bool:
        while len(self._buffer) < 2:
            await self._more()
        mark = bytes(self._buffer[:2])
        del self._buffer[:2]
        if mark == b"--":
            return False
        if mark != b"\r\n":
            raise malformed("A boundary of the form is broken")
        return True

    async def _until(self, end: bytes, limit: int) -> bytes:
        while (found := self._buffer.find(end)) < 0:
            if len(self._buffer) > limit + len(end):
                raise malformed("A part of the form is too long")
            await self._more()
        data = bytes(self._buffer[:found])
        del self._buffer[: found + len(end)]
        return data

    async def _more(self) -> None:
        piece = await anext(self._pieces, None)
        if piece is None:
            raise malformed("The form ends early")
        self._buffer += piece


class FormFile:
    """The file of a form, in the shape of a payload whose length is known only at its end."""

    def __init__(self, form: FormReader, min_bytes: int, max_bytes: int) -> None:
        self._form = form
        self._min, self._max = min_bytes, max_bytes
        self.length = -1
        self.trailers: dict[str, str] = {}
        self.expected_sha256 = ""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._form.file_pieces():
            size += len(piece)
            if size > self._max:
                raise S3Refused(
                    "EntityTooLarge",
                    "Your proposed upload exceeds the maximum allowed size",
                    members={"ProposedSize": str(size), "MaxSizeAllowed": str(self._max)},
                )
            yield piece
        if size < self._min:
            raise S3Refused(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                members={"ProposedSize": str(size), "MinSizeAllowed": str(self._min)},
            )
        self.length = size


def _read_head(head: bytes) -> tuple[str, str]:
    """Return (field name, file name) of a part's head."""
    message = Message()
    for line in head.decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            message["content-disposition"] = value.strip()
    field = message.get_param("name", "", "content-disposition")
    file_name = message.get_filename("")
    if not isinstance(field, str) or not field:
        raise malformed("A part of the form has no name")
    return field, file_name.replace("\\", "/").rpartition("/")[2]


def malformed(why: str) -> S3Refused:
    """Return `MalformedPOSTRequest`."""
    return S3Refused(
        "MalformedPOSTRequest", f"The body of your POST request is not well-formed multipart/form-data. {why}."
    )
