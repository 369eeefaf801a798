"""The values of streams: a stream, its shards, its records, their hash keys and sequence numbers.

A stream is Kinesis's or the change stream of a table (`kind`); shards, records and positions are the same for both.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal
from zlib import crc32

HIGHEST_HASH_KEY = 2**128 - 1
_SEQUENCE_DIGITS, _SHARD_DIGITS = 34, 20
_PREFIX = "49"

Kind = Literal["kinesis", "table"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard. `index` numbers it within its stream, in order of birth; `opened_at` and `closed_at` are epoch seconds.

    `first_sequence` is the counter at its birth, `last_sequence` that at its end (None while it is open); parents are
    indexes. Hash keys are 0 for shards of tables.
    """

    id: int
    stream_id: int
    index: int
    first_sequence: int
    opened_at: float
    starting_hash_key: int = 0
    ending_hash_key: int = HIGHEST_HASH_KEY
    parent: int | None = None
    adjacent_parent: int | None = None
    last_sequence: int | None = None
    closed_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Does it still take records?"""
        return self.last_sequence is None


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream and what is set on it. Moments are epoch seconds; `label` is the last part of a table stream's ARN."""

    id: int
    account_id: str
    region: str
    name: str
    kind: Kind
    created_at: float
    status: str = "ACTIVE"
    mode: str = "PROVISIONED"
    retention_s: int = 86_400
    encryption: str = "NONE"
    encryption_key: str | None = None
    maximum_record_kib: int = 1024
    shard_level_metrics: tuple[str, ...] = ()
    view_type: str | None = None
    label: str | None = None
    policy: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The stream's ARN."""
        if self.kind == "table":
            return f"arn:aws:dynamodb:{self.region}:{self.account_id}:table/{self.name}/stream/{self.label}"
        return f"arn:aws:kinesis:{self.region}:{self.account_id}:stream/{self.name}"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A registered consumer of a stream (enhanced fan-out). `created_at` is epoch seconds."""

    stream_id: int
    name: str
    created_at: float
    arn: str


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A record as it stands in a shard. `sequence` is the stream's counter; `arrived_at` epoch seconds.

    `data` is the payload: of Kinesis the bytes as put, of a table the change as JSON.
    """

    sequence: int
    arrived_at: float
    partition_key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What one read gave: records in order, and where the next read begins (`after`).

    `behind_s` is how far the reader is behind the tip; `is_at_tip`: nothing more for now; `is_at_end`: the shard is
    closed and this was its last.
    """

    records: Sequence[StreamRecord]
    after: int
    behind_s: float
    is_at_tip: bool
    is_at_end: bool


def hash_key_of(partition_key: str) -> int:
    """Return the hash key of a partition key: its MD5 as a 128-bit number."""
    return int.from_bytes(hashlib.md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def even_ranges(count: int) -> list[tuple[int, int]]:
    """Cut the hash key space into `count` ranges (inclusive) that differ by at most one key."""
    bounds = [index * (HIGHEST_HASH_KEY + 1) // count for index in range(count + 1)]
    return [(low, high - 1) for low, high in pairwise(bounds)]


def shard_name(index: int) -> str:
    """Return the ShardId of a Kinesis shard: `shardId-000000000000`."""
    return f"shardId-{index:012d}"


def shard_index(name: str) -> int | None:
    """Return the index a Kinesis ShardId names; None when it is none."""
    prefix, _, digits = name.partition("-")
    return int(digits) if prefix == "shardId" and len(digits) == 12 and digits.isdigit() else None


def sequence_number(sequence: int, index: int) -> str:
    """Return the wire form of a counter value in a shard: 56 digits that order as the records do."""
    return f"{_PREFIX}{sequence:034d}{index:020d}"


def sequence_of(number: str) -> int | None:
    """Return the counter value a wire sequence number holds; None when it is none of ours."""
    if not number.isascii() or not number.isdigit() or len(number) != 2 + _SEQUENCE_DIGITS + _SHARD_DIGITS:
        return None
    return int(number[2 : 2 + _SEQUENCE_DIGITS]) if number.startswith(_PREFIX) else None


@dataclass(frozen=True, slots=True)
class Iterator:
    """A place in a shard: the next read gives what follows `after`. `issued_at` is epoch seconds."""

    stream_id: int
    shard_id: int
    after: int
    issued_at: float

    def token(self) -> str:
        """Return the opaque text a client keeps."""
        packed = struct.pack(">QQqd", self.stream_id, self.shard_id, self.after, self.issued_at)
        return base64.b64encode(packed + struct.pack(">I", crc32(packed))).decode()

    @classmethod
    def of(cls, token: str) -> "Iterator":
        """Read a token.

        Raises: ValueError: it is none of ours.
        """
        try:
            raw = base64.b64decode(token.encode("ascii"), validate=True)
            packed, (checksum,) = raw[:-4], struct.unpack(">I", raw[-4:])
            values = struct.unpack(">QQqd", packed)
        except (binascii.Error, UnicodeEncodeError, struct.error):
            raise ValueError("not a shard iterator") from None
        if crc32(packed) != checksum:
            raise ValueError("not a shard iterator")
        return cls(*values)
