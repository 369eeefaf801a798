"""Streams in SQLite: what changes seldom (streams, shards, consumers) is kept decoded in memory.

Records are `chunks`' business, expiry `stream_sweeping`'s. The sequence counter of a stream lives in memory and is
written once per commit; after a start it begins well beyond what was written, so that a number which a reader saw
just before a power cut is never given to another record.
"""

from bisect import bisect_left
from collections.abc import Mapping, MutableSequence, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eventrt.core.streams import Consumer, Kind, Route, Shard, Stream, StreamRecord
from eventrt.store.sqlite.chunks import Chunks
from eventrt.store.sqlite.engine import Engine
from eventrt.store.sqlite.stream_sweeping import StreamSweeping
from eventrt.store.streams import Lag, StreamsSwept, Usage

SEQUENCE_GAP = 1_000_000
"""How far beyond the written counter a stream goes on after a start."""

_STREAM = "id, account_id, region, kind, name, label, settles_at, settings"
_SHARD = (
    "id, stream_id, shard_index, first_sequence, opened_at, starting_hash_key, ending_hash_key, parent,"
    " adjacent_parent, last_sequence, closed_at"
)
_CONSUMER = "stream_id, name, created_at, arn, policy, tags"
_IN_COLUMNS = frozenset(("id", "account_id", "region", "kind", "name", "label", "settles_at"))

_settings_of = msgspec.json.Decoder(dict[str, Any]).decode
_tags_of = msgspec.json.Decoder(dict[str, str]).decode


class SqliteStreams:
    """The `store.streams.StreamRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine
        self._execute = engine.connection.execute
        self._chunks = Chunks(engine)
        self._sweeping = StreamSweeping(engine, self, self._chunks)
        self._streams: dict[int, Stream] = {}
        self._by_name: dict[tuple[str, str, str, str, str], int] = {}
        self._by_arn: dict[str, int] = {}
        self._shards: dict[int, Shard] = {}
        self._shards_of: dict[int, MutableSequence[Shard]] = {}
        self._routes: dict[int, Route] = {}
        self._next: dict[int, int] = {}
        self._advanced: set[int] = set()
        engine.before_commit.append(self._flush)
        engine.after_rollback.append(self._forget_all)

    # -- streams

    def create(self, stream: Stream) -> Stream:
        """Keep a new stream (its `id` is given here) and return it."""
        self._clear_name(stream)
        row_id = self._execute(
            "INSERT INTO stream (account_id, region, kind, name, label, settles_at, settings)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                stream.account_id,
                stream.region,
                stream.kind,
                stream.name,
                stream.label or "",
                stream.settles_at,
                _encode_settings(stream),
            ),
        ).lastrowid
        assert row_id is not None
        self._next[row_id] = max(1, self._next.get(row_id, 1))
        return self._changed(replace(stream, id=row_id))

    def _clear_name(self, stream: Stream) -> None:
        """Delete a stream of this name whose deletion has settled, and which the sweeper has not met yet."""
        row = self._execute(
            f"SELECT {_STREAM} FROM stream WHERE account_id = ? AND region = ? AND kind = ? AND name = ? AND label = ?",
            (stream.account_id, stream.region, stream.kind, stream.name, stream.label or ""),
        ).fetchone()
        if row is not None and not self._is_alive(former := _decode_stream(row)):
            self.delete(former)

    def update(self, stream: Stream, **changes: Any) -> Stream:
        """Change members of a stream and return it as it is now."""
        changed: Stream = replace(stream, **changes)
        self._execute(
            "UPDATE stream SET settings = ?, settles_at = ? WHERE id = ?",
            (_encode_settings(changed), changed.settles_at, stream.id),
        )
        if "retention_s" in changes or "floor" in changes:
            self._sweeping.expect_now()
            self._engine.announce(("stream", stream.id))  # readers give up what is too old
        return self._changed(changed)

    def tag(self, stream: Stream, tags: Mapping[str, str]) -> Stream:
        """Replace all tags and return the stream as it is now."""
        return self.update(stream, tags=dict(tags))

    def delete(self, stream: Stream) -> None:
        """Take a stream away; its shards and chunks are left to the sweeper."""
        self._execute("DELETE FROM stream WHERE id = ?", (stream.id,))
        self._execute("DELETE FROM consumer WHERE stream_id = ?", (stream.id,))
        self._note_change(stream.id)
        self._sweeping.expect_orphans()
        for shard in self._of_stream(stream.id):
            self._engine.announce(("shard", shard.id))
        self._forget_definitions()

    def find(self, account_id: str, region: str, name: str) -> Stream | None:
        """Return the Kinesis stream of this name, or None."""
        return self._find(account_id, region, "kinesis", name, "")

    def _find(self, account_id: str, region: str, kind: str, name: str, label: str) -> Stream | None:
        key = (account_id, region, kind, name, label)
        stream_id = self._by_name.get(key)
        if stream_id is not None:
            return self.by_id(stream_id)
        stream = self._one("account_id = ? AND region = ? AND kind = ? AND name = ? AND label = ?", key)
        return stream if stream is not None and self._is_alive(stream) else None

    def by_id(self, stream_id: int) -> Stream | None:
        """Return the stream of this number, or None."""
        stream = self._streams.get(stream_id) or self._one("id = ?", (stream_id,))
        if stream is None or (stream.settles_at is not None and not self._is_alive(stream)):
            return None
        return stream

    def load(self, stream_id: int) -> Stream:
        """Return a stream that is there, also one whose deletion has settled."""
        stream = self._streams.get(stream_id) or self._one("id = ?", (stream_id,))
        assert stream is not None
        return stream

    def _is_alive(self, stream: Stream) -> bool:
        return stream.status_at(self._engine.tx.now) != "GONE"

    def by_arn(self, arn: str) -> Stream | None:
        """Return the stream that an ARN names (of either kind, also by a consumer's ARN), or None."""
        known = self._by_arn.get(arn)
        if known is not None:
            return self.by_id(known)
        parts = arn.split(":", 5)
        if len(parts) != 6 or parts[0] != "arn":
            return None
        _, _, service, region, account_id, resource = parts
        steps = resource.split("/")
        stream = None
        if service == "kinesis" and steps[0] == "stream" and len(steps) == 2:
            stream = self._find(account_id, region, "kinesis", steps[1], "")
        elif service == "kinesis" and steps[0] == "stream" and len(steps) == 4:
            consumer = self.consumer(arn)
            return self.by_id(consumer.stream_id) if consumer is not None else None
        elif service == "dynamodb" and len(steps) == 4 and steps[0] == "table" and steps[2] == "stream":
            stream = self._find(account_id, region, "table", steps[1], steps[3])
        if stream is not None:
            self._by_arn[arn] = stream.id
        return stream

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
            " AND (name, label) > (?, ?) AND (settles_at IS NULL OR settles_at > ?"
            " OR json_extract(settings, '$.status') <> 'DELETING') ORDER BY name, label LIMIT ?",
            (
                account_id,
                region,
                kind,
                name or "",
                name or "\U0010ffff",
                last_name,
                last_label,
                self._engine.tx.now,
                limit,
            ),
        )
        return [_decode_stream(row) for row in rows]

    def _one(self, where: str, parameters: tuple[object, ...]) -> Stream | None:
        row = self._execute(f"SELECT {_STREAM} FROM stream WHERE {where}", parameters).fetchone()
        return self._keep(_decode_stream(row)) if row else None

    def usage(self, account_id: str, region: str) -> Usage:
        """Return what an account has in a region; counts its shards."""
        shards, on_demand = self._execute(
            "SELECT coalesce(sum((SELECT count(*) FROM shard WHERE stream_id = stream.id AND closed_at IS NULL)), 0),"
            " coalesce(sum(json_extract(settings, '$.mode') = 'ON_DEMAND'), 0)"
            " FROM stream WHERE account_id = ? AND region = ? AND kind = 'kinesis'",
            (account_id, region),
        ).fetchone()
        return Usage(shards, on_demand)

    def account(self, account_id: str, region: str) -> Mapping[str, Any]:
        """Return what is set on an account's streams as a whole; empty when nothing is."""
        row = self._execute(
            "SELECT settings FROM stream_account WHERE account_id = ? AND region = ?", (account_id, region)
        ).fetchone()
        return _settings_of(row[0]) if row else {}

    def set_account(self, account_id: str, region: str, settings: Mapping[str, Any]) -> None:
        """Set what holds for an account's streams as a whole."""
        self._execute(
            "INSERT INTO stream_account (account_id, region, settings) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET settings = excluded.settings",
            (account_id, region, msgspec.json.encode(settings).decode()),
        )

    # -- shards

    def shards(self, stream: Stream) -> Sequence[Shard]:
        """Return all shards of a stream that are not forgotten yet, in order of their index."""
        return tuple(self._of_stream(stream.id))

    def _of_stream(self, stream_id: int) -> MutableSequence[Shard]:
        shards = self._shards_of.get(stream_id)
        if shards is None:
            rows = self._execute(f"SELECT {_SHARD} FROM shard WHERE stream_id = ? ORDER BY shard_index", (stream_id,))
            shards = self._shards_of[stream_id] = [_decode_shard(row) for row in rows]
            self._shards.update((shard.id, shard) for shard in shards)
        return shards

    def route(self, stream: Stream) -> Route:
        """Return the open shards of a stream, as hash keys find them."""
        route = self._routes.get(stream.id)
        if route is None:
            route = self._routes[stream.id] = Route([shard for shard in self._of_stream(stream.id) if shard.is_open])
        return route

    def shard(self, shard_id: int) -> Shard | None:
        """Return the shard of this number as it is now, or None; also when its stream is gone."""
        shard = self._shards.get(shard_id)
        if shard is None:
            row = self._execute(f"SELECT {_SHARD} FROM shard WHERE id = ?", (shard_id,)).fetchone()
            if row is None:
                return None
            shard = self._shards[shard_id] = _decode_shard(row)
        return shard if self.by_id(shard.stream_id) is not None else None

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
        others = self._of_stream(stream.id)
        (index,) = self._execute(
            "UPDATE stream SET next_shard = next_shard + 1 WHERE id = ? RETURNING next_shard - 1", (stream.id,)
        ).fetchone()
        shard = Shard(
            id=0,
            stream_id=stream.id,
            index=index,
            first_sequence=self.take_sequences(stream.id, 1),
            opened_at=self._engine.tx.now,
            starting_hash_key=starting_hash_key,
            ending_hash_key=ending_hash_key,
            parent=parent.index if parent else None,
            adjacent_parent=adjacent_parent.index if adjacent_parent else None,
        )
        row_id = self._execute(
            "INSERT INTO shard (stream_id, shard_index, starting_hash_key, ending_hash_key, parent, adjacent_parent,"
            " first_sequence, opened_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream.id,
                index,
                str(starting_hash_key),
                str(ending_hash_key),
                shard.parent,
                shard.adjacent_parent,
                shard.first_sequence,
                shard.opened_at,
            ),
        ).lastrowid
        assert row_id is not None
        shard = replace(shard, id=row_id)
        self._note_change(stream.id)
        others.append(shard)
        self._shards[row_id] = shard
        self._routes.pop(stream.id, None)
        return shard

    def close_shard(self, shard: Shard) -> Shard:
        """Close a shard at the stream's present counter and return it as it is now."""
        last, now = self.take_sequences(shard.stream_id, 1), self._engine.tx.now
        self._execute("UPDATE shard SET last_sequence = ?, closed_at = ? WHERE id = ?", (last, now, shard.id))
        closed = replace(shard, last_sequence=last, closed_at=now)
        self._note_change(shard.stream_id)
        self._engine.announce(("shard", shard.id))
        others = self._of_stream(shard.stream_id)
        others[bisect_left(others, shard.index, key=lambda each: each.index)] = closed
        self._shards[shard.id] = closed
        self._routes.pop(shard.stream_id, None)
        self._sweeping.expect_of(shard.stream_id)
        return closed

    def forget_shard(self, shard: Shard) -> None:
        """Drop a shard whose records are all gone."""
        self._execute("DELETE FROM shard WHERE id = ?", (shard.id,))
        self._note_change(shard.stream_id)
        self._engine.announce(("shard", shard.id))
        self._forget_definitions()

    # -- records

    def take_sequences(self, stream_id: int, count: int) -> int:
        """Return the first of `count` counter values that follow each other."""
        first = self._load_next(stream_id)
        self._next[stream_id] = first + count
        self._advanced.add(stream_id)
        return first

    def _load_next(self, stream_id: int) -> int:
        known = self._next.get(stream_id)
        if known is None:
            (written,) = self._execute("SELECT next_sequence FROM stream WHERE id = ?", (stream_id,)).fetchone()
            known = self._next[stream_id] = int(written) + SEQUENCE_GAP
        return known

    def next_sequence(self, stream: Stream) -> int:
        """Return the counter value that the stream's next record will have, or a lower one that none has."""
        return self._load_next(stream.id)

    def append(self, shard: Shard, partition_keys: Sequence[str], datas: Sequence[bytes]) -> int:
        """Keep records that arrive now, as one chunk; return the first of their sequences, which follow each other."""
        first = self.take_sequences(shard.stream_id, len(datas))
        self._chunks.append(shard.id, first, partition_keys, datas)
        self._sweeping.expect_of(shard.stream_id)
        self._engine.announce(("shard", shard.id))
        return first

    def read(
        self, shard: Shard, *, after: int, limit: int, maximum_bytes: int, not_before: float = 0.0
    ) -> tuple[Sequence[StreamRecord], bool]:
        """Return records that follow the counter value `after`, in order, and whether there are more."""
        return self._chunks.read(shard.id, after, limit, maximum_bytes, not_before)

    def tip(self, shard: Shard) -> tuple[int, float] | None:
        """Return the sequence and arrival of the shard's last record; None when it holds none."""
        return self._chunks.tip(shard.id)

    def position_at(self, shard: Shard, moment: float) -> int:
        """Return the counter value before the first record that arrived at or after `moment`."""
        position = self._chunks.position_at(shard.id, moment)
        if position is None:
            tip = self._chunks.tip(shard.id)
            return tip[0] if tip else shard.first_sequence
        return position

    def oldest(self, shard: Shard) -> float | None:
        """Return when the first record arrived that the shard still holds."""
        first = self._chunks.first(shard.id)
        return first[1] if first else None

    def trim_horizon(self, shard: Shard) -> int:
        """Return the counter value before the first record that the shard still holds."""
        first = self._chunks.first(shard.id)
        return first[0] - 1 if first else shard.first_sequence

    def lag(self, shard: Shard, after: int) -> Lag:
        """Return what a reader that has read up to `after` has before it."""
        stream = self.by_id(shard.stream_id)
        return self._chunks.lag(shard.id, after, stream.horizon(self._engine.tx.now) if stream else 0.0)

    # -- consumers

    def register(self, stream: Stream, name: str, *, tags: Mapping[str, str]) -> Consumer:
        """Keep a consumer and return it."""
        now = self._engine.tx.now
        consumer = Consumer(stream.id, name, now, f"{stream.arn}/consumer/{name}:{int(now)}", None, dict(tags))
        self._execute(
            "INSERT INTO consumer (stream_id, name, created_at, arn, tags) VALUES (?, ?, ?, ?, ?)",
            (stream.id, name, now, consumer.arn, msgspec.json.encode(consumer.tags).decode()),
        )
        return consumer

    def consumers(self, stream: Stream) -> Sequence[Consumer]:
        """Return the consumers of a stream in order of name."""
        rows = self._execute(f"SELECT {_CONSUMER} FROM consumer WHERE stream_id = ? ORDER BY name", (stream.id,))
        return [_decode_consumer(row) for row in rows]

    def consumer(self, arn: str) -> Consumer | None:
        """Return the consumer of this ARN, or None; also when its stream is gone."""
        row = self._execute(f"SELECT {_CONSUMER} FROM consumer WHERE arn = ?", (arn,)).fetchone()
        return _decode_consumer(row) if row and self.by_id(row[0]) is not None else None

    def update_consumer(self, consumer: Consumer, **changes: Any) -> Consumer:
        """Change policy or tags of a consumer and return it as it is now."""
        changed: Consumer = replace(consumer, **changes)
        self._execute(
            "UPDATE consumer SET policy = ?, tags = ? WHERE stream_id = ? AND name = ?",
            (changed.policy, msgspec.json.encode(changed.tags).decode(), changed.stream_id, changed.name),
        )
        return changed

    def deregister(self, consumer: Consumer) -> None:
        """Forget a consumer."""
        self._execute("DELETE FROM consumer WHERE stream_id = ? AND name = ?", (consumer.stream_id, consumer.name))
        self._engine.announce(("stream", consumer.stream_id))

    # -- time

    def sweep(self, limit: int) -> StreamsSwept:
        """Complete transitions that are over, and remove what nobody can read any more, in a slice."""
        return self._sweeping.sweep(limit)

    def rebase(self, delta_s: float) -> None:
        """Live with a clock that went back by `-delta_s`: what came from the future has arrived now."""
        self._sweeping.rebase(delta_s)
        self._forget_definitions()

    # -- memory

    def _changed(self, stream: Stream) -> Stream:
        self._note_change(stream.id)
        self._keep(stream)
        self._sweeping.expect_of(stream.id)
        return stream

    def _note_change(self, stream_id: int) -> None:
        """Ring the stream's bell at the commit; what is in memory goes if the unit is rolled back."""
        self._engine.on_undo(self._forget_definitions)
        self._engine.announce(("stream", stream_id))

    def _keep(self, stream: Stream) -> Stream:
        self._streams[stream.id] = stream
        key = (stream.account_id, stream.region, stream.kind, stream.name, stream.label or "")
        self._by_name[key] = stream.id
        return stream

    def _flush(self) -> None:
        """Write the counters that moved (inside the transaction, before its commit)."""
        if self._advanced:
            self._engine.connection.executemany(
                "UPDATE stream SET next_sequence = ? WHERE id = ?",
                [(self._next[stream_id], stream_id) for stream_id in self._advanced],
            )
            self._advanced.clear()

    def _forget_definitions(self) -> None:
        self._streams.clear()
        self._by_name.clear()
        self._by_arn.clear()
        self._shards.clear()
        self._shards_of.clear()
        self._routes.clear()

    def _forget_all(self) -> None:
        """A whole group was lost; the counters stay ahead of every number that was handed out."""
        self._forget_definitions()
        self._advanced.update(self._next)


def _encode_settings(stream: Stream) -> str:
    settings = {name: getattr(stream, name) for name in Stream.__slots__ if name not in _IN_COLUMNS}
    return msgspec.json.encode(settings).decode()


def decode_settings(text: str) -> dict[str, Any]:
    """Return the members of a stream that its settings hold; what is a list there is a tuple here."""
    return {name: tuple(value) if value.__class__ is list else value for name, value in _settings_of(text).items()}


def _decode_stream(row: tuple[Any, ...]) -> Stream:
    return Stream(
        id=row[0],
        account_id=row[1],
        region=row[2],
        kind=row[3],
        name=row[4],
        label=row[5] or None,
        settles_at=row[6],
        **decode_settings(row[7]),
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


def _decode_consumer(row: tuple[Any, ...]) -> Consumer:
    return Consumer(row[0], row[1], row[2], row[3], row[4], _tags_of(row[5]))
