"""What a bucket and its objects are: the values that the store keeps and the doors show.

Rules on them (names, conditions, ranges, locks, lifecycles) are `object_rules` and `lifecycle`; notifications are
`notifications`. Moments are epoch seconds, UTC. What every read and write of an object makes is a tuple: a frozen
dataclass of as many fields costs seven times as much to make.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Versioning = Literal["", "Enabled", "Suspended"]

NULL = "null"
"""The version id of what was stored while versioning was not enabled, at the door; "" in here."""

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket.

    Attributes:
        settings: its documents by their name (`cors`, `lifecycle`, `notification`, `policy`, `tagging`, ...), as
            the API's requests gave them.
        folder: the folder on disk whose files are its objects, "" when it keeps its objects itself.
    """

    id: int
    name: str
    account_id: str
    region: str
    created_at: float
    versioning: Versioning = ""
    has_object_lock: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""

    @property
    def arn(self) -> str:
        """`arn:aws:s3:::name`."""
        return f"arn:aws:s3:::{self.name}"


class Extent(NamedTuple):
    """A stretch of a blob: `size` bytes of it from `offset` on."""

    blob: str
    offset: int
    size: int


class PartLayout(NamedTuple):
    """One part of an object that was uploaded in parts: its number, size, checksum ("" without one)."""

    number: int
    size: int
    checksum: str = ""


class Body(NamedTuple):
    """Where the bytes of an object or a part are: in the row itself, in stretches of blobs, or in a folder's file."""

    size: int
    inline: bytes | None = None
    extents: Sequence[Extent] = ()
    file: str = ""

    @property
    def blobs(self) -> list[str]:
        """The names of its blobs, one for each stretch."""
        return [extent.blob for extent in self.extents]


class Checksum(NamedTuple):
    """An object's additional checksum: algorithm, value in base64, and whether of the whole or of its parts."""

    algorithm: str
    value: str
    type: Literal["FULL_OBJECT", "COMPOSITE"] = "FULL_OBJECT"


class Lock(NamedTuple):
    """What keeps a version from being deleted; `legal_hold` None: nobody ever said whether it is held."""

    mode: Literal["", "GOVERNANCE", "COMPLIANCE"] = ""
    retain_until: float = 0.0
    legal_hold: bool | None = None


class ObjectDraft(NamedTuple):
    """An object about to be stored.

    Attributes:
        etag: without its quotes.
        headers: what GetObject gives back as it is: `Content-Type`, `Cache-Control`, ...
        file_stamp: in a bucket over a folder, the file's modification time in nanoseconds.
        metadata: the user's own, by name without its prefix.
        upload: the id of the upload in parts that it is made by, "" when it came in one.
    """

    key: str
    body: Body
    etag: str
    checksum: Checksum | None = None
    headers: Mapping[str, Any] = _NOTHING
    metadata: Mapping[str, str] = _NOTHING
    tags: Mapping[str, str] = _NOTHING
    storage_class: str = "STANDARD"
    lock: Lock | None = None
    parts: Sequence[PartLayout] = ()
    encryption: Mapping[str, Any] = _NOTHING
    acl: str = ""
    file_stamp: int = 0
    upload: str = ""


class ObjectVersion(NamedTuple):
    """One version of an object, or a delete marker (`is_marker`).

    Attributes:
        id: orders writes; a later version has a greater one.
        version_id: "" for the null version.
    """

    id: int
    bucket_id: int
    key: str
    version_id: str
    is_current: bool
    is_marker: bool
    modified_at: float
    size: int
    etag: str
    storage_class: str
    checksum: Checksum | None
    headers: Mapping[str, Any]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    lock: Lock
    body: Body
    part_count: int = 0
    encryption: Mapping[str, Any] = _NOTHING
    acl: str = ""
    file_stamp: int = 0
    noncurrent_since: float = 0.0
    upload: str = ""

    @property
    def shown_version_id(self) -> str:
        """The version id as the API writes it."""
        return self.version_id or NULL


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload in parts that has begun and not ended.

    `draft` holds what the object will be, apart from its body.
    """

    id: str
    bucket_id: int
    key: str
    started_at: float
    account_id: str
    draft: Mapping[str, Any]
    checksum_algorithm: str = ""
    checksum_type: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One uploaded part; `etag` without its quotes, `checksum` in base64 or ""."""

    number: int
    size: int
    etag: str
    checksum: str
    modified_at: float
    body: Body


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a listing: what was found in order of keys, and where the next page begins."""

    entries: Sequence["ObjectVersion"]
    prefixes: Sequence[str]
    next_key: str = ""
    """The last key (or common prefix) of this page; "" when nothing follows."""
    next_id: int = 0
    """The last version of this page, where versions are listed."""
