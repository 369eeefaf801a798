"""How a message lies in a row: fresh ids, sequence numbers, and the packed extras."""

import os
from collections.abc import Mapping
from typing import Any

import msgspec

from eventrt.core.messages import NO_ATTRIBUTES, MessageAttribute, MessageDraft

SEQUENCE_BASE = 18_870_000_000_000_000_000
"""Sequence numbers have 20 digits and grow with the row's id, so they grow within each group."""

_SEQUENCE_STEP = 256

Extras = tuple[Mapping[str, MessageAttribute], str | None, str | None]
"""Attributes, their digest, the trace header."""

NO_EXTRAS: Extras = (NO_ATTRIBUTES, None, None)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[dict[str, tuple[str, str | None, bytes | None]], str | None, str | None]).decode

INSERT_MESSAGE = (
    "INSERT INTO message (id, shelf_id, fifo, rank, sent_at, message_id, sender_id, group_id, deduplication_id,"
    " extras, body_md5, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

MOVE_MESSAGE = (
    "INSERT INTO message (id, shelf_id, fifo, rank, sent_at, message_id, sender_id, group_id, deduplication_id,"
    " dead_letter_source, extras, body_md5, body)"
    " SELECT ?, ?, fifo, ?, ?, coalesce(?, message_id), sender_id, group_id, deduplication_id, ?, extras, body_md5,"
    " body FROM message WHERE id = ?"
)
"""Parameters: the new id, shelf, rank, sent_at, message id (NULL keeps it), dead-letter source; the old id."""


def new_message_ids(count: int) -> list[str]:
    """Return so many fresh UUIDs (version 4) as text."""
    digits = os.urandom(16 * count).hex()
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}"
        f"-{_VARIANT[digits[i + 16]]}{digits[i + 17 : i + 20]}-{digits[i + 20 : i + 32]}"
        for i in range(0, 32 * count, 32)
    ]


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def sequence_number(row_id: int) -> str:
    """Return the sequence number of a FIFO message's row."""
    return str(SEQUENCE_BASE + row_id * _SEQUENCE_STEP)


def pack_extras(draft: MessageDraft) -> bytes | None:
    """Return what most messages do not have, packed; None when this one has nothing of it."""
    if not draft.attributes and draft.trace_header is None:
        return None
    return _pack((dict(draft.attributes), draft.md5_of_attributes, draft.trace_header))


def unpack_extras(packed: bytes | None) -> Any:
    """Return (attributes, their digest, trace header) of a row's extras."""
    if packed is None:
        return NO_EXTRAS
    attributes, md5, trace_header = _unpack(packed)
    return {name: MessageAttribute(*value) for name, value in attributes.items()}, md5, trace_header
