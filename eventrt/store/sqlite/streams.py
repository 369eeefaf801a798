"""Streams in SQLite: what changes seldom is kept decoded in memory, records stand in chunks, one row per append.

A record costs a fraction of a row: an append packs its records into one blob, a read unpacks the chunks it touches.
The sequence counter lives in memory and is written once per commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eventrt.core.streams import Consumer, Kind, Shard, Stream, StreamRecord
from eventrt.store.sqlite.engine import Engine

_STREAM = "id, account_id, region, kind, name, label, settings"
_SHARD = (
    "id, stream_id, shard_index, first_sequence, opened_at, starting_hash_key, ending_hash_key, parent,"
    " adjacent_parent, last_sequence, closed_at"
)
_IN_COLUMNS = frozenset(("id", "account_id", "region", "kind", "name", "label"))
_APPEND = (
    "INSERT INTO chunk (shard_id, first_sequence, last_sequence, first_at, last_at, records) VALUES (?, ?, ?, ?, ?, ?)"
)

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(list[tuple[int, float, str, bytes]]).decode
_settings_of = msgspec.json.Decoder(dict[str, Any]).decode


class SqliteStreams:
    """The `store.streams.StreamRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._streams: dict[int, Stream] = {}
        self._by_name: dict[tuple[str, str, str, str], Stream] = {}
        self._shards: dict[int, Shard] = {}
        self._shards_of: dict[int, tuple[Shard, ...]] = {}
        self._next: dict[int, int] = {}
        self._advanced: set[int] = set()
        engine.before_commit.append(self._flush)
        engine.after_rollback.append(self._forget_all)

    # -- streams

    def create(self, stream: Stream) -> Stream:
        """Keep a new stream (its `id` is given here) and return it."""
        row_id = self._execute(
            "INSERT INTO stream (account_id, region, kind, name, label, settings) VALUES (?, ?, ?, ?, ?, ?)",
            (
                stream.account_id,
                stream.region,
                stream.kind,
                stream.name,
                stream.label or "",
                _encode_settings(stream),
            ),
        ).lastrowid
        assert row_id is not None
        return self._changed(replace(stream, id=row_id))

    def update(self, stream: Stream, **changes: Any) -> Stream:
        """Change members of a stream and return it as it is now."""
        changed: Stream = replace(stream, **changes)
        self._execute("UPDATE stream SET settings = ? WHERE id = ?", (_encode_settings(changed), stream.id))
        return self._changed(changed)

    def tag(self, stream: Stream, tags: Mapping[str, str]) -> Stream:
        """Replace all tags and return the stream as it is now."""
        return self.update(stream, tags=dict(tags))

    def delete(self, stream: Stream) -> None:
        """Take a stream away; its chunks are left to the sweeper, which finds shards without a stream."""
        self._execute("DELETE FROM stream WHERE id = ?", (stream.id,))
        self._execute("DELETE FROM consumer WHERE stream_id = ?", (stream.id,))
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
        self._engine.announce(("stream", stream.id))
        self._engine.announce(("sweep",))

    def find(self, account_id: str, region: str, name: str) -> Stream | None:
        """Return the Kinesis stream of this name, or None."""
        return self._find(account_id, region, "kinesis", name)

    def _find(self, account_id: str, region: str, kind: str, name: str, label: str = "") -> Stream | None:
        key = (account_id, region, f"{kind}/{name}", label)
        stream = self._by_name.get(key)
        if stream is None:
            stream = self._one(
                "account_id = ? AND region = ? AND kind = ? AND name = ? AND label = ?",
                (account_id, region, kind, name, label),
            )
        return stream

    def by_id(self, stream_id: int) -> Stream | None:
        """Return the stream of this number, or None."""
        return self._streams.get(stream_id) or self._one("id = ?", (stream_id,))

    def by_arn(self, arn: str) -> Stream | None:
        """Return the stream that an ARN names (of either kind, also by a consumer's ARN), or None."""
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn":
            return None
        _, _, service, region, account_id, resource = parts
        steps = resource.split("/")
        if service == "kinesis" and steps[0] == "stream" and len(steps) in (2, 4):
            if len(steps) == 4 and self.consumer(arn) is None:
                return None
            return self._find(account_id, region, "kinesis", steps[1])
        if service == "dynamodb" and len(steps) == 4 and steps[0] == "table" and steps[2] == "stream":
            return self._find(account_id, region, "table", steps[1], steps[3])
        return None

    def list(
        self,
        account_id: str,
        region: str,
        kind: Kind,
        *,
        name: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Sequence[Stream]:
        """Return streams in order of name, those after the name `after` (tables: `name/label`)."""
        last_name, _, last_label = (after or "").partition("/")
        rows = self._execute(
            f"SELECT {_STREAM} FROM stream WHERE account_id = ? AND region = ? AND kind = ? AND name >= ? AND name <= ?"
            " AND (name, label) > (?, ?) ORDER BY name, label LIMIT ?",
            (account_id, region, kind, name or "", name or "\U0010ffff", last_name, last_label, limit),
        )
        return [_decode_stream(row) for row in rows]

    def _one(self, where: str, parameters: tuple[object, ...]) -> Stream | None:
        row = self._execute(f"SELECT {_STREAM} FROM stream WHERE {where}", parameters).fetchone()
        return self._keep(_decode_stream(row)) if row else None

    # -- shards

    def shards(self, stream: Stream) -> Sequence[Shard]:
        """Return all shards of a stream that are not forgotten yet, in order of their index."""
        shards = self._shards_of.get(stream.id)
        if shards is None:
            rows = self._execute(f"SELECT {_SHARD} FROM shard WHERE stream_id = ? ORDER BY shard_index", (stream.id,))
            shards = self._shards_of[stream.id] = tuple(_decode_shard(row) for row in rows)
            self._shards.update((shard.id, shard) for shard in shards)
        return shards

    def shard(self, shard_id: int) -> Shard | None:
        """Return the shard of this number, or None."""
        shard = self._shards.get(shard_id)
        if shard is None:
            row = self._execute(f"SELECT {_SHARD} FROM shard WHERE id = ?", (shard_id,)).fetchone()
            if row is not None:
                shard = self._shards[shard_id] = _decode_shard(row)
        return shard

    def open_shard(
        self,
        stream: Stream,
        *,
        starting_hash_key: int = 0,
        ending_hash_key: int = 0,
        parent: Shard | None = None,
        adjacent_parent: Shard | None = None,
    ) -> Shard:
        """Give a stream another shard and return it."""
        (index,) = self._execute(
            "UPDATE stream SET next_shard = next_shard + 1 WHERE id = ? RETURNING next_shard - 1", (stream.id,)
        ).fetchone()
        now = self._engine.tx.now
        first = self.take_sequences(stream, 1)
        row_id = self._execute(
            "INSERT INTO shard (stream_id, shard_index, starting_hash_key, ending_hash_key, parent, adjacent_parent,"
            " first_sequence, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream.id,
                index,
                str(starting_hash_key),
                str(ending_hash_key),
                parent.index if parent else None,
                adjacent_parent.index if adjacent_parent else None,
                first,
                now,
            ),
        ).lastrowid
        assert row_id is not None
        self._shards_changed(stream.id)
        shard = self.shard(row_id)
        assert shard is not None
        return shard

    def close_shard(self, shard: Shard) -> Shard:
        """Close a shard at the stream's present counter and return it as it is now."""
        stream = self.by_id(shard.stream_id)
        assert stream is not None
        last, now = self.take_sequences(stream, 1), self._engine.tx.now
        self._execute("UPDATE shard SET last_sequence = ?, closed_at = ? WHERE id = ?", (last, now, shard.id))
        self._shards_changed(shard.stream_id)
        self._engine.announce(("shard", shard.id))
        return replace(shard, last_sequence=last, closed_at=now)

    def forget_shard(self, shard: Shard) -> None:
        """Drop a closed shard whose records are all gone."""
        self._execute("DELETE FROM shard WHERE id = ?", (shard.id,))
        self._shards_changed(shard.stream_id)

    def orphans(self, limit: int) -> Sequence[Shard]:
        """Return shards whose stream was deleted, so that their chunks can be dropped in slices."""
        rows = self._execute(
            f"SELECT {_SHARD} FROM shard WHERE stream_id NOT IN (SELECT id FROM stream) LIMIT ?", (limit,)
        )
        return [_decode_shard(row) for row in rows]

    def _shards_changed(self, stream_id: int) -> None:
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
        self._engine.announce(("stream", stream_id))

    # -- records

    def take_sequences(self, stream: Stream, count: int) -> int:
        """Return the first of `count` counter values that follow each other."""
        first = self._next.get(stream.id)
        if first is None:
            (first,) = self._execute("SELECT next_sequence FROM stream WHERE id = ?", (stream.id,)).fetchone()
        self._next[stream.id] = first + count
        self._advanced.add(stream.id)
        return int(first)

    def append(self, shard: Shard, records: Sequence[StreamRecord]) -> None:
        """Keep records of one shard, in order of their sequence, as one chunk."""
        first, last = records[0], records[-1]
        packed = _pack([(each.sequence, each.arrived_at, each.partition_key, each.data) for each in records])
        self._execute(_APPEND, (shard.id, first.sequence, last.sequence, first.arrived_at, last.arrived_at, packed))
        self._engine.announce(("shard", shard.id))

    def read(self, shard: Shard, *, after: int, limit: int, maximum_bytes: int) -> Sequence[StreamRecord]:
        """Return records that follow the counter value `after`, in order; one at least, if there is one."""
        found: list[StreamRecord] = []
        size = 0
        # The chunk that holds `after` begins at or before it; no other chunk before that one matters.
        begin = self._execute(
            "SELECT max(first_sequence) FROM chunk WHERE shard_id = ? AND first_sequence <= ?", (shard.id, after)
        ).fetchone()[0]
        rows = self._execute(
            "SELECT records FROM chunk WHERE shard_id = ? AND first_sequence >= ? AND last_sequence > ?"
            " ORDER BY first_sequence",
            (shard.id, begin or 0, after),
        )
        for (packed,) in rows:
            for sequence, arrived_at, partition_key, data in _unpack(packed):
                if sequence <= after:
                    continue
                size += len(data) + len(partition_key)
                if found and (len(found) >= limit or size > maximum_bytes):
                    rows.close()
                    return found
                found.append(StreamRecord(sequence, arrived_at, partition_key, data))
            if len(found) >= limit:
                break
        rows.close()
        return found

    def tip(self, shard: Shard) -> tuple[int, float] | None:
        """Return the sequence and arrival of the shard's last record; None when it holds none."""
        row: tuple[int, float] | None = self._execute(
            "SELECT last_sequence, last_at FROM chunk WHERE shard_id = ? ORDER BY first_sequence DESC LIMIT 1",
            (shard.id,),
        ).fetchone()
        return row

    def position_at(self, shard: Shard, moment: float) -> int:
        """Return the counter value before the first record that arrived at or after `moment`."""
        row = self._execute(
            "SELECT records FROM chunk WHERE shard_id = ? AND last_at >= ? ORDER BY last_at, first_sequence LIMIT 1",
            (shard.id, moment),
        ).fetchone()
        if row is None:
            tip = self.tip(shard)
            return tip[0] if tip else shard.first_sequence
        return next(int(record[0]) - 1 for record in _unpack(row[0]) if record[1] >= moment)

    def oldest(self, shard: Shard) -> float | None:
        """Return when the first chunk was filled that the shard still holds."""
        row = self._execute(
            "SELECT last_at FROM chunk WHERE shard_id = ? ORDER BY first_sequence LIMIT 1", (shard.id,)
        ).fetchone()
        return row[0] if row else None

    def trim_horizon(self, shard: Shard) -> int:
        """Return the counter value before the first record that the shard still holds."""
        row = self._execute(
            "SELECT first_sequence FROM chunk WHERE shard_id = ? ORDER BY first_sequence LIMIT 1", (shard.id,)
        ).fetchone()
        return row[0] - 1 if row else shard.first_sequence

    def trim(self, shard: Shard, before: float, *, limit: int) -> int:
        """Drop up to `limit` chunks whose last record arrived before a moment; return how many were dropped."""
        return self._execute(
            "DELETE FROM chunk WHERE (shard_id, first_sequence) IN"
            " (SELECT shard_id, first_sequence FROM chunk WHERE shard_id = ? AND last_at < ? ORDER BY last_at LIMIT ?)",
            (shard.id, before, limit),
        ).rowcount

    # -- consumers

    def register(self, stream: Stream, name: str) -> Consumer:
        """Keep a consumer and return it."""
        now = self._engine.tx.now
        consumer = Consumer(stream.id, name, now, f"{stream.arn}/consumer/{name}:{int(now)}")
        self._execute("INSERT INTO consumer VALUES (?, ?, ?, ?)", (stream.id, name, now, consumer.arn))
        return consumer

    def consumers(self, stream: Stream) -> Sequence[Consumer]:
        """Return the consumers of a stream in order of name."""
        rows = self._execute(
            "SELECT stream_id, name, created_at, arn FROM consumer WHERE stream_id = ? ORDER BY name", (stream.id,)
        )
        return [Consumer(*row) for row in rows]

    def consumer(self, arn: str) -> Consumer | None:
        """Return the consumer of this ARN, or None."""
        row = self._execute("SELECT stream_id, name, created_at, arn FROM consumer WHERE arn = ?", (arn,)).fetchone()
        return Consumer(*row) if row else None

    def deregister(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        self._execute("DELETE FROM consumer WHERE stream_id = ? AND name = ?", (consumer.stream_id, consumer.name))
        self._engine.announce(("stream", consumer.stream_id))

    # -- memory

    def _changed(self, stream: Stream) -> Stream:
        self._forget_definitions()
        self._engine.on_undo(self._forget_definitions)
        self._engine.announce(("stream", stream.id))
        return self._keep(stream)

    def _keep(self, stream: Stream) -> Stream:
        self._streams[stream.id] = stream
        key = (stream.account_id, stream.region, f"{stream.kind}/{stream.name}", stream.label or "")
        self._by_name[key] = stream
        return stream

    def _flush(self) -> None:
        """Write the counters that moved (inside the transaction, before its commit)."""
        for stream_id in self._advanced:
            self._execute("UPDATE stream SET next_sequence = ? WHERE id = ?", (self._next[stream_id], stream_id))
        self._advanced.clear()

    def _forget_definitions(self) -> None:
        self._streams.clear()
        self._by_name.clear()
        self._shards.clear()
        self._shards_of.clear()

    def _forget_all(self) -> None:
        """A whole group was lost; the counter stays ahead of every number that was handed out."""
        self._forget_definitions()
        self._advanced.update(self._next)


def _encode_settings(stream: Stream) -> str:
    settings = {name: getattr(stream, name) for name in Stream.__slots__ if name not in _IN_COLUMNS}
    return msgspec.json.encode(settings).decode()


def _decode_stream(row: tuple[Any, ...]) -> Stream:
    settings = _settings_of(row[6])
    settings["shard_level_metrics"] = tuple(settings["shard_level_metrics"])
    return Stream(
        id=row[0], account_id=row[1], region=row[2], kind=row[3], name=row[4], label=row[5] or None, **settings
    )


def _decode_shard(row: tuple[Any, ...]) -> Shard:
    return Shard(
        id=row[0],
        stream_id=row[1],
        index=row[2],
        first_sequence=row[3],
        opened_at=row[4],
        starting_hash_key=int(row[5]),
        ending_hash_key=int(row[6]),
        parent=row[7],
        adjacent_parent=row[8],
        last_sequence=row[9],
        closed_at=row[10],
    )
