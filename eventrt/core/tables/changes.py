"""A table's changes as its stream tells them: which images a view shows, sequence numbers, names of shards.

Source: DynamoDB Streams API reference (Record, StreamRecord); semantics 04, part C.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from eventrt.core.streams import Shard

VIEWS: Mapping[str, tuple[bool, bool]] = {
    "KEYS_ONLY": (False, False),
    "NEW_IMAGE": (True, False),
    "OLD_IMAGE": (False, True),
    "NEW_AND_OLD_IMAGES": (True, True),
}
"""For each view type: does it show the new image, does it show the old one?"""

SERVICE_IDENTITY: Mapping[str, Any] = {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}
"""Who deleted an item whose time to live ended."""

SHARD_LIFE_S = 4 * 3600
"""A shard takes records for so long; then another follows it."""

RETENTION_S = 24 * 3600
"""How long a record can be read, and the stream after it was disabled."""

_DIGITS = 24
_OFFSET = 10**_DIGITS


def event_name(*, existed: bool, exists: bool) -> str:
    """Return the name of a change: INSERT, MODIFY or REMOVE."""
    if not exists:
        return "REMOVE"
    return "MODIFY" if existed else "INSERT"


def sequence_number(sequence: int) -> str:
    """Return the wire form of a counter value: 25 digits that order as the records do."""
    return str(_OFFSET + sequence)


def sequence_of(number: str) -> int | None:
    """Return the counter value a wire sequence number holds; None when it is none of ours."""
    if not number.isascii() or not number.isdigit() or len(number) != _DIGITS + 1 or number[0] != "1":
        return None
    value: int = int(number) - _OFFSET
    return value


def shard_name(shard: Shard) -> str:
    """Return the ShardId of a table's shard: its birth in milliseconds, and what tells it from others."""
    mark = zlib.crc32(f"{shard.stream_id}/{shard.index}".encode())
    return f"shardId-{int(shard.opened_at * 1000):020d}-{mark:08x}"
