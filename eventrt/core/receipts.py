"""Receipt handles: opaque text that names one lease of one message, and cannot be mistyped into another.

A handle carries the queue, the message's row and its receive count at the lease, with a checksum. The receive count
is what tells the present lease from those before it.
"""

import binascii
import struct
from typing import NamedTuple

_HEAD = b"\x01\x01\x01"  # base64 "AQEB", as AWS's handles begin
_FIELDS = struct.Struct(">3s3xQQI")  # with the checksum a multiple of three bytes: no padding
_CHECK = struct.Struct(">I")
_ROWS = 1 << 63
"""No row's number is so large; a store could not even look for it."""
_LENGTH = _FIELDS.size + _CHECK.size


class Receipt(NamedTuple):
    """What a handle says."""

    queue_id: int
    row_id: int
    receive_count: int


def write(queue_id: int, row_id: int, receive_count: int) -> str:
    """Return the handle of a lease."""
    fields = _FIELDS.pack(_HEAD, queue_id, row_id, receive_count)
    return binascii.b2a_base64(fields + _CHECK.pack(binascii.crc32(fields)), newline=False).decode("ascii")


def read(handle: str) -> Receipt | None:
    """Return what a handle says, or None when it is malformed."""
    try:
        raw = binascii.a2b_base64(handle, strict_mode=True)
    except ValueError:
        return None
    if len(raw) != _LENGTH or _CHECK.unpack_from(raw, _FIELDS.size)[0] != binascii.crc32(raw[: _FIELDS.size]):
        return None
    head, queue_id, row_id, receive_count = _FIELDS.unpack_from(raw)
    if head != _HEAD or row_id >= _ROWS:
        return None
    return Receipt(queue_id, row_id, receive_count)
