"""Objects in SQLite: versions by key, delete markers, and pages of listings.

The current version of every key stands in one index, what came before it in another, so that a bucket without
versions pays for one. Uploads in parts and the uses of blobs are `uploads`' and `blob_uses`'.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from eventrt.core.buckets import (
    Body,
    Bucket,
    Checksum,
    Extent,
    Listed,
    Lock,
    ObjectDraft,
    ObjectVersion,
    Part,
    PartLayout,
    Upload,
)
from eventrt.core.object_rules import after_prefix, common_prefix
from eventrt.store.sqlite.blob_uses import BlobUses
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.uploads import Uploads

_LISTED = "id, bucket_id, key, version_id, is_current, is_marker, modified_at, noncurrent_since, size, etag, head"
_COLUMNS = f"{_LISTED}, layout, body"
_BLOCK = 1_000_000
_EMPTY: Mapping[str, Any] = {}
_NO_LOCK = Lock()


class _Head(msgspec.Struct, array_like=True, omit_defaults=True):
    """What a version is besides its bytes, as it lies in a row; only what differs from the defaults is written."""

    headers: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    checksum: tuple[str, str, str] | None = None
    storage_class: str = "STANDARD"
    tags: dict[str, str] = {}
    lock: tuple[str, float, bool | None] | None = None
    part_count: int = 0
    encryption: dict[str, Any] = {}
    acl: str = ""
    file: str = ""
    file_stamp: int = 0
    upload: str = ""


class _Layout(msgspec.Struct, array_like=True):
    """Where the bytes of a large body lie, and the parts it was uploaded in."""

    extents: list[tuple[str, int, int]]
    parts: list[tuple[int, int, str]]


_pack = msgspec.msgpack.Encoder().encode
_unpack_head = msgspec.msgpack.Decoder(_Head).decode
_unpack_layout = msgspec.msgpack.Decoder(_Layout).decode


class SqliteObjects(Uploads):
    """The `store.buckets.ObjectRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._uses = BlobUses(engine)
        super().__init__(engine, self._uses)
        self._engine = engine
        self._execute = engine.connection.execute
        row = self._execute("SELECT value FROM meta WHERE name = 'object_rows'").fetchone()
        self._reserved = int(row[0]) if row else 0
        self._next = self._reserved + 1
        engine.before_commit.append(self._reserve)
        engine.after_rollback.append(self._forget_reservation)

    @property
    def uses(self) -> BlobUses:
        """Which blobs are in use, and who is told when one no longer is."""
        return self._uses

    # -- numbers

    def next_id(self) -> int:
        """Take a number greater than those of all writes before."""
        taken = self._next
        self._next = taken + 1
        return taken

    def _reserve(self) -> None:
        if self._next > self._reserved:
            self._reserved = self._next + _BLOCK
            self._execute(
                "INSERT INTO meta (name, value) VALUES ('object_rows', ?)"
                " ON CONFLICT DO UPDATE SET value = excluded.value",
                (str(self._reserved),),
            )

    def _forget_reservation(self) -> None:
        self._reserved = 0

    # -- one object

    def current(self, bucket: Bucket, key: str) -> ObjectVersion | None:
        """Return the current version of a key, which may be a delete marker; None when there is none."""
        row = self._execute(
            f"SELECT {_COLUMNS} FROM object WHERE bucket_id = ? AND key = ? AND is_current = 1", (bucket.id, key)
        ).fetchone()
        return _decode(row) if row else None

    def version(self, bucket: Bucket, key: str, version_id: str) -> ObjectVersion | None:
        """Return one version; "" is the null version."""
        if version_id:
            try:
                row_id = int(version_id[16:], 16)
            except ValueError:
                return None
            if row_id >= 1 << 63:
                return None
            sql, parameters = f"SELECT {_COLUMNS} FROM object WHERE id = ?", (row_id,)
            row = self._execute(sql, parameters).fetchone()
            if row is None or (row[1], row[2], row[3]) != (bucket.id, key, version_id):
                return None
            return _decode(row)
        current = self.current(bucket, key)
        if current is not None and not current.version_id:
            return current
        row = self._execute(
            f"SELECT {_COLUMNS} FROM object WHERE bucket_id = ? AND key = ? AND is_current = 0 AND version_id = ''",
            (bucket.id, key),
        ).fetchone()
        return _decode(row) if row else None

    def put(self, bucket: Bucket, draft: ObjectDraft, *, replaces: ObjectVersion | None) -> ObjectVersion:
        """Store an object as the current version of its key."""
        checksum, lock, body = draft.checksum, draft.lock, draft.body
        head = _Head(
            draft.headers,  # type: ignore[arg-type]
            draft.metadata,  # type: ignore[arg-type]
            None if checksum is None else (checksum.algorithm, checksum.value, checksum.type),
            draft.storage_class,
            draft.tags,  # type: ignore[arg-type]
            None if lock is None else (lock.mode, lock.retain_until, lock.legal_hold),
            len(draft.parts),
            draft.encryption,  # type: ignore[arg-type]
            draft.acl,
            body.file,
            draft.file_stamp,
            draft.upload,
        )
        layout = None
        if body.extents or draft.parts:
            layout = _pack(
                _Layout(
                    [(extent.blob, extent.offset, extent.size) for extent in body.extents],
                    [(part.number, part.size, part.checksum) for part in draft.parts],
                )
            )
            self._uses.take(body.blobs)
        row_id, version_id = self._make_room(bucket, replaces)
        now = self._engine.tx.now
        self._execute(
            "INSERT INTO object (id, bucket_id, key, version_id, is_current, is_marker, modified_at, size, etag, head,"
            " layout, body) VALUES (?, ?, ?, ?, 1, 0, ?, ?, ?, ?, ?, ?)",
            (row_id, bucket.id, draft.key, version_id, now, body.size, draft.etag, _pack(head), layout, body.inline),
        )
        return ObjectVersion(
            row_id,
            bucket.id,
            draft.key,
            version_id,
            True,
            False,
            now,
            body.size,
            draft.etag,
            draft.storage_class,
            checksum,
            draft.headers,
            draft.metadata,
            draft.tags,
            lock or _NO_LOCK,
            body,
            len(draft.parts),
            draft.encryption,
            draft.acl,
            draft.file_stamp,
            upload=draft.upload,
        )

    def put_marker(self, bucket: Bucket, key: str, *, replaces: ObjectVersion | None) -> ObjectVersion:
        """Store a delete marker as the current version of a key."""
        row_id, version_id = self._make_room(bucket, replaces, key)
        now = self._engine.tx.now
        head = _pack(_Head())
        self._execute(
            "INSERT INTO object (id, bucket_id, key, version_id, is_current, is_marker, modified_at, size, etag, head)"
            " VALUES (?, ?, ?, ?, 1, 1, ?, 0, '', ?)",
            (row_id, bucket.id, key, version_id, now, head),
        )
        return _decode((row_id, bucket.id, key, version_id, 1, 1, now, None, 0, "", head, None, None))

    def _make_room(self, bucket: Bucket, replaces: ObjectVersion | None, key: str = "") -> tuple[int, str]:
        """Take away or push back what a new current version displaces; return the new one's row and version id."""
        row_id = self.next_id()
        version_id = ""
        if bucket.versioning == "Enabled":
            version_id = f"{secrets.randbits(64):016x}{row_id:016x}"
        if replaces is None:
            return row_id, version_id
        if version_id:
            self._push_back(replaces)
            return row_id, version_id
        if bucket.versioning and replaces.version_id:
            null = self.version(bucket, replaces.key, "")
            if null is not None:
                self._drop(null)
            self._push_back(replaces)
            return row_id, version_id
        self._drop(replaces)
        return row_id, version_id

    def _push_back(self, version: ObjectVersion) -> None:
        self._execute(
            "UPDATE object SET is_current = 0, noncurrent_since = ? WHERE id = ?", (self._engine.tx.now, version.id)
        )

    def _drop(self, version: ObjectVersion) -> None:
        self._execute("DELETE FROM object WHERE id = ?", (version.id,))
        if version.body.extents:
            self._uses.release(version.body.blobs)

    def remove(self, version: ObjectVersion) -> None:
        """Delete one version for good; when it was the current one, the one before it is now."""
        self._drop(version)
        if version.is_current:
            self._execute(
                "UPDATE object SET is_current = 1, noncurrent_since = NULL WHERE id ="
                " (SELECT id FROM object WHERE bucket_id = ? AND key = ? AND is_current = 0 ORDER BY id DESC LIMIT 1)",
                (version.bucket_id, version.key),
            )

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
        head = _unpack_head(self._execute("SELECT head FROM object WHERE id = ?", (version.id,)).fetchone()[0])
        if tags is not None:
            head.tags = dict(tags)
        if lock is not None:
            head.lock = (lock.mode, lock.retain_until, lock.legal_hold)
        if acl is not None:
            head.acl = acl
        if file_stamp is not None:
            head.file_stamp = file_stamp
        self._execute("UPDATE object SET head = ? WHERE id = ?", (_pack(head), version.id))
        return version._replace(
            tags=head.tags,
            lock=version.lock if lock is None else lock,
            acl=head.acl,
            file_stamp=head.file_stamp,
        )

    def parts_of(self, version: ObjectVersion) -> Sequence[PartLayout]:
        """Return the parts of a version that was uploaded in parts, in order; () for others."""
        if not version.part_count:
            return ()
        row = self._execute("SELECT layout FROM object WHERE id = ?", (version.id,)).fetchone()
        return [PartLayout(*part) for part in _unpack_layout(row[0]).parts]

    # -- listings

    def list_current(self, bucket: Bucket, *, prefix: str, delimiter: str, after: str, limit: int) -> Listed:
        """Return a page of current versions and common prefixes, those after `after`."""

        def rows(lower: str, operator: str) -> Iterator[tuple[Any, ...]]:
            return self._execute(
                f"SELECT {_LISTED}, NULL, NULL FROM object WHERE bucket_id = ? AND is_current = 1"
                f" AND key {operator} ? AND key < ? AND is_marker = 0 ORDER BY key",
                (bucket.id, lower, after_prefix(prefix)),
            )

        return _page(rows, prefix, delimiter, after, limit)

    def list_versions(
        self, bucket: Bucket, *, prefix: str, delimiter: str, after_key: str, after_id: int | None, limit: int
    ) -> Listed:
        """Return a page of all versions and delete markers, newest first within a key."""

        def select(where: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
            return self._execute(
                f"SELECT {_LISTED}, NULL, NULL FROM object WHERE bucket_id = ?1 AND {where} AND is_current = 1"
                f" UNION ALL SELECT {_LISTED}, NULL, NULL FROM object WHERE bucket_id = ?1 AND {where}"
                " AND is_current = 0 ORDER BY key, id DESC",
                (bucket.id, *parameters),
            )

        def rows(lower: str, operator: str) -> Iterator[tuple[Any, ...]]:
            if after_id is not None and (lower, operator) == (after_key, ">") and after_key < after_prefix(prefix):
                # The rest of the key is a search of its own: a key may have any number of versions.
                yield from select("key = ?2 AND id < ?3", after_key, after_id)
            yield from select(f"key {operator} ?2 AND key < ?3", lower, after_prefix(prefix))

        return _page(rows, prefix, delimiter, after_key, limit)

    def versions(self, bucket: Bucket, key: str, *, limit: int = -1) -> Sequence[ObjectVersion]:
        """Return versions and delete markers of one key, newest first; every one without a limit."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM object WHERE bucket_id = ?1 AND key = ?2 AND is_current = 1"
            f" UNION ALL SELECT {_COLUMNS} FROM object WHERE bucket_id = ?1 AND key = ?2 AND is_current = 0"
            " ORDER BY id DESC LIMIT ?3",
            (bucket.id, key, limit),
        )
        return [_decode(row) for row in rows]

    # -- blobs

    def unused(self, names: Iterable[str]) -> Sequence[str]:
        """Return those of these blobs that nothing uses."""
        return self._uses.unused(names)


def _page(rows: Any, prefix: str, delimiter: str, after: str, limit: int) -> Listed:
    """Gather a page out of ordered rows; after a common prefix the search goes on behind it, not through it."""
    entries: list[ObjectVersion] = []
    prefixes: list[str] = []
    if limit == 0:
        return Listed(entries, prefixes)
    lower, operator = (prefix, ">=") if after < prefix else (after, ">")
    if delimiter and after and common_prefix(after, prefix, delimiter) == after:
        lower, operator = after_prefix(after), ">="  # the last page ended with this common prefix
    last_key, last_id = "", 0
    while True:
        for row in rows(lower, operator):
            shared = common_prefix(row[2], prefix, delimiter) if delimiter else ""
            if len(entries) + len(prefixes) == limit:
                return Listed(entries, prefixes, last_key, last_id)
            if shared:
                prefixes.append(shared)
                last_key, last_id = shared, 0
                lower, operator = after_prefix(shared), ">="
                break
            entries.append(_decode(row))
            last_key, last_id = row[2], row[0]
        else:
            return Listed(entries, prefixes)


def _decode(row: tuple[Any, ...]) -> ObjectVersion:
    (
        row_id,
        bucket_id,
        key,
        version_id,
        is_current,
        is_marker,
        modified_at,
        noncurrent_since,
        size,
        etag,
        packed,
        layout,
        inline,
    ) = row
    head = _unpack_head(packed)
    extents: Sequence[Extent] = ()
    if layout is not None:
        extents = [Extent(*extent) for extent in _unpack_layout(layout).extents]
    return ObjectVersion(
        row_id,
        bucket_id,
        key,
        version_id,
        bool(is_current),
        bool(is_marker),
        modified_at,
        size,
        etag,
        head.storage_class,
        None if head.checksum is None else Checksum(*head.checksum),  # type: ignore[arg-type]
        head.headers,
        head.metadata,
        head.tags,
        _NO_LOCK if head.lock is None else Lock(*head.lock),  # type: ignore[arg-type]
        Body(size, inline, extents, head.file),
        head.part_count,
        head.encryption,
        head.acl,
        head.file_stamp,
        noncurrent_since or 0.0,
        head.upload,
    )


__all__ = ["Part", "SqliteObjects", "Upload"]
