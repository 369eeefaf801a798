"""The values of streams: a stream, its shards, its records, their hash keys and sequence numbers.

A stream is Kinesis's or the change stream of a table (`kind`); shards, records and positions are the same for both.
"""

import base64
import binascii
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple
from zlib import crc32

try:
    from _md5 import md5  # type: ignore[import-not-found]  # a fifth of what hashlib's takes for a short text
except ImportError:  # a Python whose only digests are OpenSSL's
    from functools import partial
    from hashlib import md5 as _openssl_md5

    md5 = partial(_openssl_md5, usedforsecurity=False)

HIGHEST_HASH_KEY = 2**128 - 1
_SEQUENCE_DIGITS, _SHARD_DIGITS = 34, 20
_PREFIX = "49"
_ONE_SEQUENCE = 10**_SHARD_DIGITS
_FIRST_NUMBER = int(_PREFIX) * 10**_SEQUENCE_DIGITS * _ONE_SEQUENCE

Kind = Literal["kinesis", "table"]
Distribution = Literal["USER_PARTITION_KEY", "AUTO"]


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
    """A stream and what is set on it. Moments are epoch seconds; `label` is the last part of a table stream's ARN.

    `status` holds until `settles_at`, where that is set (see `status_at`). `floor` is a moment before which records
    stay expired, whatever the retention has become since. `resized_at` and `mode_changed_at` remember the changes of
    the last day, for AWS's quotas.
    """

    id: int
    account_id: str
    region: str
    name: str
    kind: Kind
    created_at: float
    status: str = "ACTIVE"
    settles_at: float | None = None
    mode: str = "PROVISIONED"
    retention_s: int = 86_400
    floor: float = 0.0
    encryption: str = "NONE"
    encryption_key: str | None = None
    maximum_record_kib: int = 1024
    distribution: Distribution = "USER_PARTITION_KEY"
    warm_mibps: int | None = None
    shard_level_metrics: tuple[str, ...] = ()
    view_type: str | None = None
    label: str | None = None
    policy: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    resized_at: tuple[float, ...] = ()
    mode_changed_at: tuple[float, ...] = ()
    key_names: tuple[str, ...] = ()
    """Of a table's stream: the table's key attributes, partition first."""

    @property
    def arn(self) -> str:
        """The stream's ARN."""
        if self.kind == "table":
            return f"arn:aws:dynamodb:{self.region}:{self.account_id}:table/{self.name}/stream/{self.label}"
        return f"arn:aws:kinesis:{self.region}:{self.account_id}:stream/{self.name}"

    def status_at(self, now: float) -> str:
        """Return the status at a moment: a transition that is over has become ACTIVE (or GONE, after DELETING)."""
        if self.settles_at is None or now < self.settles_at:
            return self.status
        return "GONE" if self.status == "DELETING" else "ACTIVE"

    def horizon(self, now: float) -> float:
        """Return the moment before which records have expired: the trim horizon."""
        return max(now - self.retention_s, self.floor)


@dataclass(frozen=True, slots=True)
class Consumer:
    """A registered consumer of a stream (enhanced fan-out). `created_at` is epoch seconds."""

    stream_id: int
    name: str
    created_at: float
    arn: str
    policy: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


class StreamRecord(NamedTuple):
    """A record as it stands in a shard. `sequence` is the stream's counter; `arrived_at` epoch seconds.

    `data` is the payload: of Kinesis the bytes as put, of a table the change as JSON. A tuple, since a read makes
    thousands.
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


class Route:
    """The open shards of a stream in order of their hash ranges: which one takes a record?"""

    __slots__ = ("shards", "starts")

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(sorted(shards, key=lambda shard: shard.starting_hash_key))
        self.starts = [shard.starting_hash_key for shard in self.shards]

    def index_of(self, hash_key: int) -> int:
        """Return the index in `shards` of the one that holds a hash key."""
        return bisect_right(self.starts, hash_key) - 1

    def covers_everything(self) -> bool:
        """Do the shards cover the hash key space without gap or overlap?"""
        expected = 0
        for shard in self.shards:
            if shard.starting_hash_key != expected:
                return False
            expected = shard.ending_hash_key + 1
        return expected == HIGHEST_HASH_KEY + 1


def hash_key_of(partition_key: str) -> int:
    """Return the hash key of a partition key: its MD5 as a 128-bit number."""
    return int.from_bytes(md5(partition_key.encode()).digest(), "big")


def parse_hash_key(text: str) -> int | None:
    """Return the hash key that a decimal text names; None when it is none."""
    if not 0 < len(text) <= 39 or not text.isascii() or not text.isdecimal():
        return None
    hash_key = int(text)
    return hash_key if hash_key <= HIGHEST_HASH_KEY else None


def even_ranges(count: int) -> list[tuple[int, int]]:
    """Cut the hash key space into `count` ranges (inclusive) that differ by at most one key."""
    bounds = [index * (HIGHEST_HASH_KEY + 1) // count for index in range(count + 1)]
    return [(low, high - 1) for low, high in pairwise(bounds)]


def open_at(shards: Sequence[Shard], moment: float) -> list[Shard]:
    """Return the shards that were open at a moment; of a shard and its parent, both of that moment, the parent."""
    found = {
        shard.index: shard
        for shard in shards
        if shard.opened_at <= moment and (shard.closed_at is None or shard.closed_at >= moment)
    }
    return [shard for shard in found.values() if shard.parent not in found and shard.adjacent_parent not in found]


@lru_cache(maxsize=1024)
def shard_name(index: int) -> str:
    """Return the ShardId of a Kinesis shard: `shardId-000000000000`."""
    return f"shardId-{index:012d}"


def shard_index(name: str) -> int | None:
    """Return the index a Kinesis ShardId names; None when it is none."""
    prefix, _, digits = name.partition("-")
    return (
        int(digits) if prefix == "shardId" and len(digits) == 12 and digits.isdecimal() and digits.isascii() else None
    )


def sequence_number(sequence: int, index: int) -> str:
    """Return the wire form of a counter value in a shard: 56 digits that order as the records do."""
    return str(_FIRST_NUMBER + sequence * _ONE_SEQUENCE + index)


def parse_sequence_number(number: str) -> tuple[int, int] | None:
    """Return (counter value, shard index) of a wire sequence number; None when it is none of ours."""
    if len(number) != 2 + _SEQUENCE_DIGITS + _SHARD_DIGITS or not number.isascii() or not number.isdecimal():
        return None
    if not number.startswith(_PREFIX):
        return None
    return int(number[2 : 2 + _SEQUENCE_DIGITS]), int(number[2 + _SEQUENCE_DIGITS :])


def sequence_of(number: str) -> int | None:
    """Return the counter value a wire sequence number holds; None when it is none of ours."""
    parsed = parse_sequence_number(number)
    return parsed[0] if parsed is not None else None


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
