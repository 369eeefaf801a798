"""Checkpoints in SQLite: a row per mapping and shard, the progress packed into one blob."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from eventrt.core.shard_values import Progress
from eventrt.store.checkpoints import Checkpoint
from eventrt.store.sqlite.engine import Engine

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Progress).decode


class SqliteCheckpoints:
    """The `store.checkpoints.CheckpointRepository` of the embedded store; rows are read when asked for."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute

    def of(self, mapping_id: str) -> Mapping[str, Checkpoint]:
        """Return the checkpoints of a mapping by shard."""
        rows = self._execute(
            "SELECT shard, progress, is_finished, saved_at FROM checkpoint WHERE mapping_id = ?", (mapping_id,)
        )
        return {row[0]: Checkpoint(_unpack(row[1]), bool(row[2]), row[3]) for row in rows}

    def get(self, mapping_id: str, shard: str) -> Checkpoint | None:
        """Return the checkpoint of a mapping in a shard."""
        row = self._execute(
            "SELECT progress, is_finished, saved_at FROM checkpoint WHERE mapping_id = ? AND shard = ?",
            (mapping_id, shard),
        ).fetchone()
        return None if row is None else Checkpoint(_unpack(row[0]), bool(row[1]), row[2])

    def save(self, mapping_id: str, shard: str, progress: Progress, *, is_finished: bool = False) -> None:
        """Keep how far a mapping is in a shard, as long as there is the mapping."""
        self._execute(
            "INSERT INTO checkpoint (mapping_id, shard, is_finished, saved_at, progress)"
            " SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM mappings WHERE id = ?1)"
            " ON CONFLICT (mapping_id, shard) DO UPDATE SET"
            " is_finished = excluded.is_finished, saved_at = excluded.saved_at, progress = excluded.progress",
            (mapping_id, shard, int(is_finished), self._engine.tx.now, _pack(progress)),
        )

    def forget(self, mapping_id: str, shards: Iterable[str] | None = None) -> None:
        """Forget the checkpoints of a mapping, those of some shards or all."""
        if shards is None:
            self._execute("DELETE FROM checkpoint WHERE mapping_id = ?", (mapping_id,))
        else:
            self._engine.connection.executemany(
                "DELETE FROM checkpoint WHERE mapping_id = ? AND shard = ?", [(mapping_id, shard) for shard in shards]
            )

    def trimmed_to(self, shard_id: int) -> int:
        """Return the counter value of the last record that retention took out of a shard."""
        row = self._execute("SELECT last_sequence FROM trimmed WHERE shard_id = ?", (shard_id,)).fetchone()
        return row[0] if row else 0
