"""Records of streams in SQLite: a row per append and shard, whose records are packed into one blob.

A record costs a fraction of a row: an append packs, a read unpacks the chunks it touches. Rows are added at the end
of one table, and an index carries what is asked about positions (shard, sequences, arrival), so look-ups and
retention read no records. (A table keyed by shard and sequence was tried: 30 to 60 % slower, since every shard then
writes in a place of its own.) Within a shard neither sequences nor arrivals ever go back.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import msgspec

from eventrt.core.streams import StreamRecord
from eventrt.store.sqlite.engine import Engine
from eventrt.store.streams import Lag

SLICE_BYTES = 8 * 1024 * 1024
"""A trim frees no more than about so much at once: some milliseconds."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[list[str], list[bytes]]).decode
_record = StreamRecord._make


class Chunks:
    """The chunks of every shard."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute

    def append(self, shard_id: int, first: int, partition_keys: Sequence[str], datas: Sequence[bytes]) -> None:
        """Keep records that arrive now; their sequences follow each other from `first`."""
        self._execute(
            "INSERT INTO chunk (shard_id, first_sequence, last_sequence, arrived_at, records) VALUES (?, ?, ?, ?, ?)",
            (shard_id, first, first + len(datas) - 1, self._engine.tx.now, _pack((partition_keys, datas))),
        )

    def read(
        self, shard_id: int, after: int, limit: int, maximum_bytes: int, not_before: float
    ) -> tuple[list[StreamRecord], bool]:
        """Return records after a sequence, and whether there are more (see `StreamRepository.read`)."""
        found: list[StreamRecord] = []
        size = 0
        # The chunk that holds `after` begins at or before it; no other chunk before that one matters.
        begin = self._execute(
            "SELECT max(first_sequence) FROM chunk WHERE shard_id = ? AND first_sequence <= ?", (shard_id, after)
        ).fetchone()[0]
        rows = self._execute(
            "SELECT first_sequence, last_sequence, arrived_at, records FROM chunk WHERE shard_id = ?"
            " AND first_sequence >= ? AND last_sequence > ? AND arrived_at >= ? ORDER BY first_sequence",
            (shard_id, begin or 0, after, not_before),
        )
        for first, last, arrived_at, packed in rows:
            keys, datas = _unpack(packed)
            if first <= after:
                keys, datas, first = keys[after + 1 - first :], datas[after + 1 - first :], after + 1
            chunk_size = sum(map(len, datas)) + sum(map(len, keys))
            records = map(_record, zip(range(first, last + 1), repeat(arrived_at), keys, datas, strict=False))
            if len(found) + len(datas) <= limit and size + chunk_size <= maximum_bytes:
                found.extend(records)
                size += chunk_size
                continue
            for record in records:
                size += len(record.data) + len(record.partition_key)
                if found and (len(found) >= limit or size > maximum_bytes):
                    rows.close()
                    return found, True
                found.append(record)
        return found, False

    def tip(self, shard_id: int) -> tuple[int, float] | None:
        """Return sequence and arrival of a shard's last record."""
        row: tuple[int, float] | None = self._execute(
            "SELECT last_sequence, arrived_at FROM chunk WHERE shard_id = ? ORDER BY first_sequence DESC LIMIT 1",
            (shard_id,),
        ).fetchone()
        return row

    def first(self, shard_id: int) -> tuple[int, float] | None:
        """Return sequence and arrival of the first record that a shard still holds."""
        return self._at_or_after(shard_id, 0)

    def position_at(self, shard_id: int, moment: float) -> int | None:
        """Return the sequence before the first record that arrived at or after a moment; None when there is none.

        A search by halves along the index: arrivals rise with the sequences.
        """
        first, tip = self.first(shard_id), self.tip(shard_id)
        if first is None or tip is None or tip[1] < moment:
            return None
        low, high = first[0], tip[0] + 1
        while low < high:
            middle = (low + high) // 2
            row = self._at_or_after(shard_id, middle)
            if row is None or row[1] >= moment:
                high = middle
            else:
                low = row[0] + 1
        row = self._at_or_after(shard_id, low)
        return row[0] - 1 if row else None

    def _at_or_after(self, shard_id: int, sequence: int) -> tuple[int, float] | None:
        """Return sequence and arrival of the first chunk that begins at or after a sequence."""
        row: tuple[int, float] | None = self._execute(
            "SELECT first_sequence, arrived_at FROM chunk WHERE shard_id = ? AND first_sequence >= ?"
            " ORDER BY first_sequence LIMIT 1",
            (shard_id, sequence),
        ).fetchone()
        return row

    def lag(self, shard_id: int, after: int, not_before: float) -> Lag:
        """Count the records after a sequence, and find the arrival of the first of them."""
        count, oldest_at = self._execute(
            "SELECT sum(last_sequence - max(first_sequence - 1, ?2)), min(arrived_at) FROM chunk WHERE shard_id = ?1"
            " AND first_sequence >= coalesce((SELECT max(first_sequence) FROM chunk WHERE shard_id = ?1"
            " AND first_sequence <= ?2), 0) AND last_sequence > ?2 AND arrived_at >= ?3",
            (shard_id, after, not_before),
        ).fetchone()
        return Lag(count or 0, oldest_at)

    def trim(self, shard_id: int, before: float | None, limit: int) -> int:
        """Drop chunks that arrived before a moment (None: all), oldest first, and return how many.

        At most `limit`, and no more than SLICE_BYTES of them beyond the first.
        """
        rows = self._execute(
            "SELECT id, arrived_at, length(records) FROM chunk WHERE shard_id = ? ORDER BY first_sequence LIMIT ?",
            (shard_id, limit),
        ).fetchall()
        gone: list[tuple[int]] = []
        size = 0
        for row_id, arrived_at, length in rows:
            if (before is not None and arrived_at >= before) or (gone and size + length > SLICE_BYTES):
                break
            gone.append((row_id,))
            size += length
        self._engine.connection.executemany("DELETE FROM chunk WHERE id = ?", gone)
        return len(gone)

    def arrive_by(self, shard_id: int, now: float, *, horizon: float, expired_at: float) -> None:
        """Let what arrived in the future (a clock went back) have arrived now; what expired before it, at `expired_at`.

        Args: horizon: the moment before which records had expired when the clock went back.
        """
        self._execute(
            "UPDATE chunk SET arrived_at = iif(arrived_at < ?3, min(arrived_at, ?4), min(arrived_at, ?1))"
            " WHERE shard_id = ?2 AND arrived_at > min(?1, ?4)",
            (now, shard_id, horizon, expired_at),
        )
