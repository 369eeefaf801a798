"""Uploads in parts in SQLite: what was begun, and the parts that came so far."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventrt.core.buckets import Body, Bucket, Extent, Part, Upload
from eventrt.core.object_rules import after_prefix
from eventrt.store.sqlite.blob_uses import BlobUses
from eventrt.store.sqlite.engine import Engine

_COLUMNS = "id, bucket_id, key, started_at, account_id, draft, checksum_algorithm, checksum_type"
_pack = msgspec.msgpack.Encoder().encode
_unpack_draft = msgspec.msgpack.Decoder(dict[str, Any]).decode
_unpack_extents = msgspec.msgpack.Decoder(list[tuple[str, int, int]]).decode


class Uploads:
    """The part of `store.buckets.ObjectRepository` that is about uploads in parts."""

    def __init__(self, engine: Engine[Any], uses: BlobUses) -> None:
        self._run = engine.connection.execute
        self._blob_uses = uses

    def start_upload(self, upload: Upload) -> None:
        """Note that an upload began."""
        self._run(
            f"INSERT INTO upload ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                upload.id,
                upload.bucket_id,
                upload.key,
                upload.started_at,
                upload.account_id,
                _pack(upload.draft),
                upload.checksum_algorithm,
                upload.checksum_type,
            ),
        )

    def upload(self, upload_id: str) -> Upload | None:
        """Return an upload that goes on, or None."""
        row = self._run(f"SELECT {_COLUMNS} FROM upload WHERE id = ?", (upload_id,)).fetchone()
        return _decode(row) if row else None

    def put_part(self, upload: Upload, part: Part) -> None:
        """Keep a part; one of the same number is replaced."""
        self._blob_uses.take(part.body.blobs)
        row = self._run(
            "SELECT extents FROM upload_part WHERE upload_id = ? AND number = ?", (upload.id, part.number)
        ).fetchone()
        if row is not None:
            self._blob_uses.release(extent[0] for extent in _unpack_extents(row[0]))
        self._run(
            "INSERT OR REPLACE INTO upload_part (upload_id, number, size, etag, checksum, modified_at, extents)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                upload.id,
                part.number,
                part.size,
                part.etag,
                part.checksum,
                part.modified_at,
                _pack([(extent.blob, extent.offset, extent.size) for extent in part.body.extents]),
            ),
        )

    def parts(self, upload: Upload, *, after: int = 0, limit: int = 10_001) -> Sequence[Part]:
        """Return parts in order of their numbers, those after `after`."""
        rows = self._run(
            "SELECT number, size, etag, checksum, modified_at, extents FROM upload_part"
            " WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?",
            (upload.id, after, limit),
        )
        return [
            Part(
                number,
                size,
                etag,
                checksum,
                modified_at,
                Body(size, None, [Extent(*extent) for extent in _unpack_extents(extents)]),
            )
            for number, size, etag, checksum, modified_at, extents in rows
        ]

    def end_upload(self, upload: Upload) -> int:
        """Forget an upload and its parts, and return how many there were; what an object took over stays."""
        parts = self.parts(upload)
        for part in parts:
            self._blob_uses.release(part.body.blobs)
        self._run("DELETE FROM upload_part WHERE upload_id = ?", (upload.id,))
        self._run("DELETE FROM upload WHERE id = ?", (upload.id,))
        return len(parts)

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
        """Return uploads in order of key and id, those after the given ones whose keys begin with `from_key`."""
        lower = max(prefix, after_key, from_key)
        begin = ""
        if after_key and lower == after_key:
            begin = " AND key > ?2" if after_id is None else " AND (key > ?2 OR id > ?4)"
        rows = self._run(
            f"SELECT {_COLUMNS} FROM upload WHERE bucket_id = ?1 AND key >= ?2 AND key < ?3{begin}"
            " ORDER BY key, id LIMIT ?5",
            (bucket.id, lower, after_prefix(prefix), after_id, limit),
        )
        return [_decode(row) for row in rows]

    def orphans(self, limit: int) -> Sequence[Upload]:
        """Return uploads whose buckets were deleted."""
        rows = self._run(
            f"SELECT {_COLUMNS} FROM upload WHERE bucket_id NOT IN (SELECT id FROM bucket) LIMIT ?", (limit,)
        )
        return [_decode(row) for row in rows]


def _decode(row: tuple[Any, ...]) -> Upload:
    upload_id, bucket_id, key, started_at, account_id, draft, algorithm, kind = row
    unpacked: Mapping[str, Any] = _unpack_draft(draft)
    return Upload(upload_id, bucket_id, key, started_at, account_id, unpacked, algorithm, kind)
