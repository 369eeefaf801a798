"""What the store offers for buckets: buckets by name, versions of objects by key, uploads in parts, uses of blobs.

The bytes of large bodies are `blobs`' business; here it is counted which of them are still used.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from eventrt.core.buckets import Bucket, Listed, Lock, ObjectDraft, ObjectVersion, Part, PartLayout, Upload, Versioning


class BucketRepository(Protocol):
    """Buckets by name. One namespace holds those of all accounts and regions."""

    def create(
        self, name: str, account_id: str, region: str, *, has_object_lock: bool = False, folder: str = ""
    ) -> Bucket:
        """Make a bucket and return it; its name must be free (`find` it in the same unit first)."""
        ...

    def find(self, name: str) -> Bucket | None:
        """Return the bucket of this name, or None."""
        ...

    def list(
        self, account_id: str, *, prefix: str = "", region: str = "", after: str = "", limit: int = 10_000
    ) -> Sequence[Bucket]:
        """Return an account's buckets in order of their names, those after the name `after`."""
        ...

    def every(self) -> Sequence[Bucket]:
        """Return every bucket of every account, in order of their names."""
        ...

    def change(
        self,
        bucket: Bucket,
        *,
        versioning: Versioning | None = None,
        has_object_lock: bool | None = None,
        folder: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Bucket:
        """Change what is given and return the bucket as it is now; `settings` are laid over, None takes one away."""
        ...

    def is_empty(self, bucket: Bucket) -> bool:
        """Has it no version and no delete marker at all?"""
        ...

    def delete(self, bucket: Bucket) -> None:
        """Take an empty bucket away, with the uploads that were not completed."""
        ...


class ObjectRepository(Protocol):
    """Objects by bucket and key. What a call costs depends on what it returns, not on what else is there."""

    def current(self, bucket: Bucket, key: str) -> ObjectVersion | None:
        """Return the current version of a key, which may be a delete marker; None when there is none."""
        ...

    def version(self, bucket: Bucket, key: str, version_id: str) -> ObjectVersion | None:
        """Return one version; "" is the null version."""
        ...

    def put(self, bucket: Bucket, draft: ObjectDraft, *, replaces: ObjectVersion | None) -> ObjectVersion:
        """Store an object as the current version of its key.

        With versioning enabled it gets a version id of its own; else it is the null version, and the null version
        there was goes.

        Args: replaces: the current version of the key, as `current` told it in this unit.
        """
        ...

    def put_marker(self, bucket: Bucket, key: str, *, replaces: ObjectVersion | None) -> ObjectVersion:
        """Store a delete marker as the current version of a key, as `put` does."""
        ...

    def remove(self, version: ObjectVersion) -> None:
        """Delete one version for good; when it was the current one, the one before it is now."""
        ...

    def next_id(self) -> int:
        """Take a number greater than those of all writes before; it orders events of deletions, too."""
        ...

    def change(
        self,
        version: ObjectVersion,
        *,
        tags: Mapping[str, str] | None = None,
        lock: Lock | None = None,
        acl: str | None = None,
        file_stamp: int | None = None,
    ) -> ObjectVersion:
        """Replace what is given of a version and return it as it is now."""
        ...

    def parts_of(self, version: ObjectVersion) -> Sequence[PartLayout]:
        """Return the parts of a version that was uploaded in parts, in order; () for others."""
        ...

    def list_current(self, bucket: Bucket, *, prefix: str, delimiter: str, after: str, limit: int) -> Listed:
        """Return a page of current versions (no delete markers) and common prefixes, those after `after`.

        Keys that share what stands before the first delimiter after the prefix are one common prefix; both count
        towards the limit.
        """
        ...

    def list_versions(
        self, bucket: Bucket, *, prefix: str, delimiter: str, after_key: str, after_id: int | None, limit: int
    ) -> Listed:
        """Return a page of all versions and delete markers, newest first within a key.

        Args: after_id: begin after this version of `after_key`; None begins after the whole key.
        """
        ...

    def versions(self, bucket: Bucket, key: str, *, limit: int = -1) -> Sequence[ObjectVersion]:
        """Return versions and delete markers of one key, newest first; every one without a limit."""
        ...

    # -- uploads in parts

    def start_upload(self, upload: Upload) -> None:
        """Note that an upload began."""
        ...

    def upload(self, upload_id: str) -> Upload | None:
        """Return an upload that goes on, or None."""
        ...

    def put_part(self, upload: Upload, part: Part) -> None:
        """Keep a part; one of the same number is replaced."""
        ...

    def parts(self, upload: Upload, *, after: int = 0, limit: int = 10_001) -> Sequence[Part]:
        """Return parts in order of their numbers, those after `after`."""
        ...

    def end_upload(self, upload: Upload) -> int:
        """Forget an upload and its parts, and return how many there were; what an object took over stays."""
        ...

    def uploads(
        self,
        bucket: Bucket,
        *,
        prefix: str = "",
        after_key: str = "",
        after_id: str | None = None,
        from_key: str = "",
        limit: int = 1001,
    ) -> Sequence[Upload]:
        """Return uploads in order of key and id, those after the given ones; no `after_id` is after the whole key.

        Args: from_key: pass over the keys before this one.
        """
        ...

    def orphans(self, limit: int) -> Sequence[Upload]:
        """Return uploads whose buckets were deleted."""
        ...

    # -- blobs

    def unused(self, names: Iterable[str]) -> Sequence[str]:
        """Return those of these blobs that nothing uses."""
        ...
