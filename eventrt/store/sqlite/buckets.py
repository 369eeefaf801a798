"""Buckets in SQLite, with every bucket that was looked up kept decoded in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eventrt.core.buckets import Bucket, Versioning
from eventrt.store.sqlite.engine import Engine

_COLUMNS = "id, name, account_id, region, created_at, versioning, has_object_lock, settings, folder"
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, Any]).decode
_LAST = "\U0010ffff"


class SqliteBuckets:
    """The `store.buckets.BucketRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._by_name: dict[str, Bucket] = {}
        engine.after_rollback.append(self._by_name.clear)

    def create(
        self, name: str, account_id: str, region: str, *, has_object_lock: bool = False, folder: str = ""
    ) -> Bucket:
        """Make a bucket and return it."""
        now = self._engine.tx.now
        versioning: Versioning = "Enabled" if has_object_lock else ""
        cursor = self._execute(
            "INSERT INTO bucket (name, account_id, region, created_at, versioning, has_object_lock, settings, folder)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (name, account_id, region, now, versioning, has_object_lock, _pack({}), folder),
        )
        self._changed()
        made = Bucket(
            int(cursor.lastrowid or 0), name, account_id, region, now, versioning, has_object_lock, {}, folder
        )
        self._by_name[name] = made
        return made

    def find(self, name: str) -> Bucket | None:
        """Return the bucket of this name, or None."""
        bucket = self._by_name.get(name)
        if bucket is None:
            row = self._execute(f"SELECT {_COLUMNS} FROM bucket WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            bucket = self._by_name[name] = _decode(row)
        return bucket

    def list(
        self, account_id: str, *, prefix: str = "", region: str = "", after: str = "", limit: int = 10_000
    ) -> Sequence[Bucket]:
        """Return an account's buckets in order of their names, those after the name `after`."""
        rows = self._execute(
            f"SELECT {_COLUMNS} FROM bucket WHERE account_id = ? AND name >= ? AND name > ? AND name < ?"
            " AND (? = '' OR region = ?) ORDER BY name LIMIT ?",
            (account_id, prefix, after, prefix + _LAST, region, region, limit),
        )
        return [_decode(row) for row in rows]

    def every(self) -> Sequence[Bucket]:
        """Return every bucket of every account, in order of their names."""
        return [_decode(row) for row in self._execute(f"SELECT {_COLUMNS} FROM bucket ORDER BY name")]

    def change(
        self,
        bucket: Bucket,
        *,
        versioning: Versioning | None = None,
        has_object_lock: bool | None = None,
        folder: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Bucket:
        """Change what is given and return the bucket as it is now."""
        merged = {name: value for name, value in {**bucket.settings, **(settings or {})}.items() if value is not None}
        changed = replace(
            bucket,
            versioning=bucket.versioning if versioning is None else versioning,
            has_object_lock=bucket.has_object_lock if has_object_lock is None else has_object_lock,
            folder=bucket.folder if folder is None else folder,
            settings=merged,
        )
        self._execute(
            "UPDATE bucket SET versioning = ?, has_object_lock = ?, folder = ?, settings = ? WHERE id = ?",
            (changed.versioning, changed.has_object_lock, changed.folder, _pack(merged), bucket.id),
        )
        self._changed()
        self._by_name[bucket.name] = changed
        return changed

    def is_empty(self, bucket: Bucket) -> bool:
        """Has it no version and no delete marker at all?"""
        return not any(
            self._execute(
                f"SELECT 1 FROM object WHERE bucket_id = ? AND is_current = {current} LIMIT 1", (bucket.id,)
            ).fetchone()
            for current in (1, 0)
        )

    def delete(self, bucket: Bucket) -> None:
        """Take an empty bucket away; the caller has ended its uploads."""
        self._execute("DELETE FROM bucket WHERE id = ?", (bucket.id,))
        self._changed()

    def _changed(self) -> None:
        """Forget what is kept, now and once more if this unit is rolled back: changes of buckets are rare."""
        self._by_name.clear()
        self._engine.on_undo(self._by_name.clear)


def _decode(row: tuple[Any, ...]) -> Bucket:
    bucket_id, name, account_id, region, created_at, versioning, has_object_lock, settings, folder = row
    return Bucket(
        bucket_id, name, account_id, region, created_at, versioning, bool(has_object_lock), _unpack(settings), folder
    )
