"""Removing from streams what nobody can read any more, and completing transitions whose moment has come.

Each call removes a bounded number of rows and bytes. Nothing here changes what a caller sees: reads pass over what
has expired, and status and deletion count from their moment on, swept or not.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from eventrt.core.streams import Shard, Stream
from eventrt.store.sqlite.chunks import Chunks
from eventrt.store.sqlite.engine import Engine
from eventrt.store.streams import StreamsSwept

INFINITY = float("inf")

GATHER_S = 60.0
"""Chunks expire all the time where they arrive all the time; they are swept together, at most this often."""


class SweptStreams(Protocol):
    """What the sweep needs of the repository of streams (`streams.SqliteStreams`)."""

    def by_id(self, stream_id: int) -> Stream | None:
        """Return the stream of this number, or None."""
        ...

    def load(self, stream_id: int) -> Stream:
        """Return a stream that is there, also one whose deletion has settled."""
        ...

    def update(self, stream: Stream, **changes: Any) -> Stream:
        """Change members of a stream and return it as it is now."""
        ...

    def delete(self, stream: Stream) -> None:
        """Take a stream away; its shards and chunks are left to the sweeper."""
        ...

    def shard(self, shard_id: int) -> Shard | None:
        """Return the shard of this number as it is now, or None."""
        ...

    def forget_shard(self, shard: Shard) -> None:
        """Drop a shard whose records are all gone."""
        ...


class StreamSweeping:
    """The sweep, and the moment when the next one is worth while."""

    def __init__(self, engine: Engine[Any], streams: SweptStreams, chunks: Chunks) -> None:
        self._engine = engine
        self._execute: Callable[..., Any] = engine.connection.execute
        self._streams = streams
        self._chunks = chunks
        self._next_at = -INFINITY
        """A moment until which there is nothing to sweep; the first sweep after a start finds it."""
        self._may_have_orphans = True
        engine.after_rollback.append(self._look_anew)

    def expect_of(self, stream_id: int) -> None:
        """Note that something of a stream expires after its retention, or settles; wake the sweeper if that is news."""
        stream = self._streams.by_id(stream_id)
        if stream is None:
            return
        moment = self._engine.tx.now + stream.retention_s
        if stream.settles_at is not None and stream.settles_at < moment:
            moment = stream.settles_at
        if moment < self._next_at:
            self._expect(moment)

    def expect_now(self) -> None:
        """Note that there may be something to sweep: a retention has changed."""
        self._expect(-INFINITY)

    def expect_orphans(self) -> None:
        """Note that a stream was deleted whose shards and chunks are still there."""
        self._may_have_orphans = True
        self._expect(-INFINITY)

    def _expect(self, moment: float) -> None:
        self._engine.on_undo(partial(setattr, self, "_next_at", INFINITY))
        self._next_at = moment
        self._engine.announce(("sweep", "streams"))

    def _look_anew(self) -> None:
        """A group was lost: its deletions may be there again, and its promises to wake the sweeper are void."""
        self._next_at = INFINITY
        self._may_have_orphans = True

    def sweep(self, limit: int) -> StreamsSwept:
        """Remove up to about `limit` rows and say when to come again."""
        now = self._engine.tx.now
        self._engine.on_undo(self._look_anew)
        next_at = self._settle(now)
        removed = self._sweep_orphans(limit)
        if not self._may_have_orphans:
            expired, expires_at = self._sweep_expired(max(1, limit - removed), now)
            removed, next_at = removed + expired, min(next_at, expires_at)
        else:
            next_at = now
        self._next_at = next_at
        return StreamsSwept(removed, None if next_at == INFINITY else next_at)

    def _settle(self, now: float) -> float:
        """Complete transitions that are over; return when the next one is."""
        for (stream_id,) in self._execute("SELECT id FROM stream WHERE settles_at <= ?", (now,)).fetchall():
            stream = self._streams.load(stream_id)
            if stream.status == "DELETING":
                self._streams.delete(stream)
            else:
                self._streams.update(stream, status="ACTIVE", settles_at=None)
        (settles_at,) = self._execute("SELECT min(settles_at) FROM stream").fetchone()
        return INFINITY if settles_at is None else float(settles_at)

    def _sweep_orphans(self, limit: int) -> int:
        """Remove chunks of shards that no stream has any more, and each shard with its last chunk.

        Returns: how many rows went; when none is left, `_may_have_orphans` is False.
        """
        removed = 0
        while self._may_have_orphans and removed < limit:
            row = self._execute(
                "SELECT id FROM shard WHERE stream_id NOT IN (SELECT id FROM stream) LIMIT 1"
            ).fetchone()
            if row is None:
                self._may_have_orphans = False
                break
            trimmed = self._chunks.trim(row[0], None, limit - removed)
            removed += trimmed
            if self._chunks.first(row[0]) is not None:
                break  # the slice is full
            self._execute("DELETE FROM shard WHERE id = ?", row)
            removed += 1
        return removed

    def _sweep_expired(self, limit: int, now: float) -> tuple[int, float]:
        """Trim chunks that have expired and forget closed shards that are empty; return how many, and the next moment.

        Asks the index of chunks once per shard.
        """
        removed, next_at = 0, INFINITY
        rows = self._execute(
            "SELECT id, stream_id, closed_at, (SELECT arrived_at FROM chunk WHERE shard_id = shard.id"
            " ORDER BY first_sequence LIMIT 1) FROM shard"
        ).fetchall()
        for shard_id, stream_id, closed_at, oldest_at in rows:
            stream = self._streams.by_id(stream_id)
            if stream is None or (oldest_at is None and closed_at is None):
                continue
            horizon = stream.horizon(now)
            if oldest_at is not None and oldest_at < horizon:
                if removed >= limit:
                    return removed, now
                removed += self._chunks.trim(shard_id, horizon, limit - removed)
                first = self._chunks.first(shard_id)
                oldest_at = None if first is None else first[1]
                if oldest_at is not None and oldest_at < horizon:
                    return removed, now
            if oldest_at is not None:
                next_at = min(next_at, oldest_at + stream.retention_s)
            elif closed_at is not None and closed_at < horizon:
                shard = self._streams.shard(shard_id)
                if shard is not None:
                    self._streams.forget_shard(shard)
                    removed += 1
            elif closed_at is not None:
                next_at = min(next_at, closed_at + stream.retention_s)
        return removed, max(next_at, now + GATHER_S)

    def rebase(self, delta_s: float) -> None:
        """Let nothing have happened in the future, and what waits for a moment wait as long as before.

        What had expired before the clock went back stays expired, swept or not.
        """
        now = self._engine.tx.now
        self._execute("UPDATE consumer SET created_at = min(created_at, ?)", (now,))
        for (stream_id,) in self._execute("SELECT id FROM stream").fetchall():
            stream = self._streams.load(stream_id)
            horizon = stream.horizon(now - delta_s)
            floor = min(horizon, now)
            self._execute(
                "UPDATE shard SET opened_at = min(opened_at, ?1),"
                " closed_at = iif(closed_at < ?2, min(closed_at, ?3 - 1.0), min(closed_at, ?1)) WHERE stream_id = ?4",
                (now, horizon, floor, stream_id),
            )
            for (shard_id,) in self._execute("SELECT id FROM shard WHERE stream_id = ?", (stream_id,)).fetchall():
                self._chunks.arrive_by(shard_id, now, horizon=horizon, expired_at=floor - 1.0)
            self._streams.update(
                stream,
                created_at=min(stream.created_at, now),
                floor=floor,
                settles_at=None if stream.settles_at is None else stream.settles_at + delta_s,
                resized_at=tuple(min(moment, now) for moment in stream.resized_at),
                mode_changed_at=tuple(min(moment, now) for moment in stream.mode_changed_at),
            )
        self._expect(-INFINITY)
