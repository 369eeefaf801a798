"""ShardMachine: from the records of one shard to batches, retries, bisects, discards and a checkpoint.

A pure state machine (no I/O, no clock): the driver in `pollers.shards` feeds it what it read, asks for the next
action, carries it out and tells what came of it. Records of one key stay in one lane; a lane has one batch in
flight and keeps its order; lanes do not wait for each other. A record is finished when its batch succeeded, or
when it was filtered out, reported as done, or discarded. The checkpoint is the last record up to which everything
is finished; beside it each lane's own position is kept, so that after a crash only what was in flight runs again,
and what has failed is tried again as often as is left to it.

It leaves to others: reading and its iterators, building the event, delivering failure records (a `Commit` names
what was discarded), and storing the progress. Its values are in `core.shard_values`.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from zlib import crc32

from eventrt.core.backoff import delay_s
from eventrt.core.batching import ENVELOPE_BYTES
from eventrt.core.batching import PAYLOAD_LIMIT_BYTES as EVENT_LIMIT_BYTES
from eventrt.core.partial import failed_ids
from eventrt.core.records import FunctionError, Outcome, Record, Succeeded
from eventrt.core.shard_values import (
    Action,
    Commit,
    Discard,
    Finished,
    Invoke,
    OpenWindow,
    Progress,
    Read,
    ShardBatch,
    ShardPolicy,
    Tried,
    Wait,
    WindowCall,
)

WINDOW_MEMBERS_BYTES: Final = 1024
"""What a window adds to the event beside its state: its bounds, the shard, the source (a rounded-up bound)."""

READ_RECORDS: Final = 10_000
"""One read asks for no more."""

READ_AHEAD_RECORDS: Final = 20_000
READ_AHEAD_BYTES: Final = 32 * 1024 * 1024
"""What a shard may hold in memory: a lane that stays blocked stops the shard's reading once it holds so much."""

STATE_LIMIT_BYTES: Final = 1024 * 1024
"""The state of a tumbling window; beyond it the window is terminated early (Lambda developer guide)."""

RETRY_FIRST_S: Final = 1.0
RETRY_LONGEST_S: Final = 10.0
"""Waits between attempts: 1, 2, 4, 8, then 10 s. AWS says "exponential"; recorded are about 8 attempts a minute."""

_FINISHED: Final = -1
"""In place of a lane: the record is finished already, by an earlier life or by the filters."""

_Place = tuple[int, str]
"""A sequence number as it compares; see `sequence_key`."""

_BEGINNING: Final[_Place] = (0, "")


def sequence_key(sequence_number: str) -> tuple[int, str]:
    """Order sequence numbers, which are decimal strings of any length; "" comes first."""
    digits = sequence_number.lstrip("0")
    return len(digits), digits


def lane_of(key: str, lanes: int) -> int:
    """Return the lane of a key: the same for ever, for so many lanes."""
    return crc32(key.encode()) % lanes if lanes > 1 else 0


@dataclass(slots=True)
class _Range:
    """Records that are tried together, and what they have been through."""

    records: list[Record]
    failures: int = 0
    invocations: int = 0
    delays: int = 0
    not_before: float = 0.0
    closes_window: bool = False
    terminates_early: bool = False
    outcome: Outcome | None = None
    request_id: str | None = None


@dataclass(slots=True)
class _Lane:
    """One lane: what it has buffered, the ranges it owes an end, and how far it is."""

    buffer: deque[Record] = field(default_factory=deque)
    gathered: list[Record] = field(default_factory=list)
    """The batch that still collects records from the buffer."""
    gathered_bytes: int = 0
    is_cut: bool = False
    """Does the next record of the buffer not fit in what is gathered?"""
    gathering_since: float = 0.0
    ranges: deque[_Range] = field(default_factory=deque)
    running: _Range | None = None
    tried: deque[Tried] = field(default_factory=deque)
    """What an earlier life has left to be tried again, until its records have been read again."""
    position: str = ""
    place: _Place = _BEGINNING
    window: OpenWindow | None = None
    settled: bool = True
    """Is everything that this lane finished committed? Until then it starts nothing new."""


class ShardMachine:
    """The decisions for one shard of one mapping (see the module's docstring).

    Args:
        policy: what the mapping says.
        progress: what was stored at the last commit; empty at the beginning.
        matches: does a record pass the mapping's filters? One that does not is finished at once.

    `retention_s` is how long the source keeps a record, None for ever: one that is older is given up, whatever the
    policy says of ages, since the source has dropped it too.
    """

    def __init__(
        self,
        policy: ShardPolicy,
        progress: Progress | None = None,
        *,
        matches: Callable[[Record], bool] | None = None,
    ) -> None:
        progress = progress or Progress()
        self.policy = policy
        self.retention_s: float | None = None
        self._matches = matches
        self._lanes = [_Lane() for _ in range(policy.lanes)]
        self._checkpoint = progress.checkpoint
        self._older: list[tuple[str, ...]] = []
        self._resumed_to = sequence_key(progress.checkpoint)
        """Beyond this place an earlier life has finished nothing."""
        for layer in progress.layers:
            self._resumed_to = max(self._resumed_to, *map(sequence_key, layer))
            if len(layer) == policy.lanes:
                for lane, position in zip(self._lanes, layer, strict=True):
                    lane.position = max(lane.position, position, key=sequence_key)
                    lane.place = sequence_key(lane.position)
            else:
                self._older.append(layer)
        if len(progress.windows) == policy.lanes:
            for lane, window in zip(self._lanes, progress.windows, strict=True):
                lane.window = window
        if len(progress.tried) == policy.lanes:
            for lane, tried in zip(self._lanes, progress.tried, strict=True):
                lane.tried.extend(tried)
        self._outstanding: deque[tuple[_Place, str, int]] = deque()
        self._buffered = 0
        self._buffered_bytes = 0
        self._fed_to = sequence_key(progress.checkpoint)
        self._number = 0
        self._reading = False
        self._caught_up_at: float | None = None
        self._closed = False
        self._stopping = False
        self._dirty = False
        self._committing = False
        self._committing_lanes: list[_Lane] = []
        self._discards: list[Discard] = []
        self._turn = 0
        self._batch_limit_bytes = EVENT_LIMIT_BYTES - ENVELOPE_BYTES

    # -- what the driver tells

    def feed(
        self,
        records: Sequence[Record],
        *,
        now: float,
        end_of_shard: bool = False,
        caught_up: bool | None = None,
    ) -> None:
        """Take what a read gave, in sequence order.

        Args: caught_up: does the shard hold no more for now? None: it holds no more when the read gave nothing.
        """
        self._reading = False
        self._closed = self._closed or end_of_shard
        if caught_up is None:
            caught_up = not records
        self._caught_up_at = now if caught_up else None
        lanes, matches, count = self._lanes, self._matches, self.policy.lanes
        outstanding, resumed_to = self._outstanding, self._resumed_to
        buffered_bytes = 0
        if records:
            self._fed_to = sequence_key(records[-1].id)
        for record in records:
            sequence_number = record.id
            place = sequence_key(sequence_number)
            index = crc32(record.key.encode()) % count if count > 1 else 0
            if (place <= resumed_to and self._is_finished(record, place, index)) or not (
                matches is None or matches(record)
            ):
                outstanding.append((place, sequence_number, _FINISHED))
                continue
            lane = lanes[index]
            if not lane.buffer and not lane.gathered:
                lane.gathering_since = now
            lane.buffer.append(record)
            outstanding.append((place, sequence_number, index))
            self._buffered += 1
            buffered_bytes += record.size_bytes
        self._buffered_bytes += buffered_bytes
        self._advance()

    def not_read(self) -> None:
        """Take note that the last `Read` came to nothing; it will be wanted again."""
        self._reading = False

    def announced(self) -> None:
        """Take note that the source may have more."""
        self._caught_up_at = None

    def invoked(self, batch: ShardBatch, outcome: Outcome, *, now: float, request_id: str | None = None) -> int:
        """Take what came of a batch; return how many of its records it finished."""
        lane = self._lanes[batch.lane]
        run = lane.running
        if run is None:
            raise AssertionError(f"lane {batch.lane} has no batch in flight")
        lane.running = None
        run.outcome, run.request_id = outcome, request_id
        if isinstance(outcome, Succeeded | FunctionError):
            run.invocations += 1
        done = 0
        if isinstance(outcome, Succeeded):
            done = self._returned(lane, run, outcome, now)
        elif isinstance(outcome, FunctionError):
            self._failed(lane, run, now)
        else:
            self._delay(lane, run, now)  # throttled, or no invocation at all: no attempt is used up
        self._advance()
        return done

    def committed(self) -> None:
        """Take note that the last `Commit` is on disk."""
        self._committing = False
        for lane in self._committing_lanes:
            lane.settled = True

    def hurry(self) -> None:
        """Try again at once what waits for another attempt: the function has changed."""
        for lane in self._lanes:
            if lane.ranges:
                lane.ranges[0].not_before = 0.0
            if lane.tried:
                lane.tried[0] = replace(lane.tried[0], not_before=0.0)

    def stop(self) -> None:
        """Read and invoke nothing more; once `is_idle`, everything that was finished is committed."""
        self._stopping = True

    # -- what the driver asks

    def next_action(self, *, now: float) -> Action:
        """Say what to do now. Each action is given once; `Wait` as often as asked."""
        if self._dirty and not self._committing:
            return self._commit()
        if self._stopping:
            return Wait(None, "stopping: batches are still running")
        for only_full in (True, False):
            for _ in self._lanes:
                self._turn = (self._turn + 1) % len(self._lanes)
                batch = self._next_batch(self._turn, now, only_full=only_full)
                if batch is not None:
                    return Invoke(batch)
                if self._dirty and not self._committing:
                    return self._commit()
            if only_full and self._wants_to_read(now):
                self._reading = True
                wanted = 2 * self.policy.batch_size * self.policy.lanes
                return Read(min(READ_RECORDS, READ_AHEAD_RECORDS - self._buffered, wanted))
            if self._reading:
                break  # what it brings may fill the batches that are not full
        if self._is_finished_whole():
            return Finished()
        return self._wait(now)

    @property
    def checkpoint(self) -> str:
        """The sequence number up to which everything is finished; "" at the beginning."""
        return self._checkpoint

    @property
    def is_caught_up(self) -> bool:
        """Did the last read give everything that there is for now?"""
        return self._caught_up_at is not None

    @property
    def is_idle(self) -> bool:
        """Is nothing running or being committed, and nothing left to commit?"""
        return (
            not self._dirty
            and not self._committing
            and all(lane.running is None and lane.settled for lane in self._lanes)
        )

    def describe(self, *, now: float) -> dict[str, object]:
        """Show where the shard stands: per lane what is buffered, running, and waited for and why."""
        wait = self._wait(now)
        return {
            "checkpoint": self._checkpoint or None,
            "buffered": self._buffered,
            "attempts": max((_attempts_of(lane) for lane in self._lanes), default=0),
            "waiting_for": "stopping" if self._stopping else wait.reason,
            "waiting_until": wait.until,
            "lanes": [
                {
                    "position": lane.position or None,
                    "buffered": len(lane.buffer) + len(lane.gathered) + sum(len(each.records) for each in lane.ranges),
                    "running": len(lane.running.records) if lane.running else 0,
                    "attempts": _attempts_of(lane),
                    "retry_at": lane.ranges[0].not_before or None if lane.ranges else None,
                }
                for lane in self._lanes
            ],
        }

    # -- batches

    def _next_batch(self, index: int, now: float, *, only_full: bool) -> ShardBatch | None:
        lane = self._lanes[index]
        if lane.running is not None or not lane.settled:
            return None
        if not lane.ranges:
            self._gather(lane, now, only_full=only_full)
        if lane.ranges:
            self._drop_expired(lane, now)
        if lane.ranges:
            self._drop_too_large(lane)
        if not lane.ranges or not lane.settled or lane.ranges[0].not_before > now:
            return None
        run = lane.running = lane.ranges.popleft()
        self._number += 1
        return ShardBatch(self._number, index, tuple(run.records), run.invocations + 1, self._window_call(lane, run))

    def _gather(self, lane: _Lane, now: float, *, only_full: bool) -> None:
        """Form a range from the buffer when one is due: full, old enough, cut by a window, or the shard's last."""
        while lane.tried and not lane.ranges:
            if not self._gather_again(lane, lane.tried[0], now):
                return
        if lane.ranges:
            return
        if self._closes_window(lane, now):
            lane.ranges.append(_Range([], closes_window=True))
            return
        if lane.buffer:
            self._collect(lane)
        gathered = lane.gathered
        if not gathered:
            return
        is_full = lane.is_cut or len(gathered) == self.policy.batch_size
        if is_full or (not only_full and (self._closed or now >= lane.gathering_since + self.policy.window_s)):
            lane.ranges.append(_Range(gathered))
            lane.gathered, lane.gathered_bytes, lane.is_cut = [], 0, False
            lane.gathering_since = now

    def _gather_again(self, lane: _Lane, tried: Tried, now: float) -> bool:
        """Form the range that an earlier life had tried, as far as its records are there; False: read on first."""
        not_before = min(tried.not_before, now + RETRY_LONGEST_S)  # whatever became of the clock meanwhile
        counts = (tried.failures, tried.invocations, tried.delays, not_before)
        if tried.closes_window:
            lane.tried.popleft()
            if lane.window is not None:
                lane.ranges.append(_Range([], *counts, closes_window=True, terminates_early=tried.terminates_early))
            return True
        last = sequence_key(tried.last)
        following = lane.buffer
        lane.buffer = deque()
        while following and sequence_key(following[0].id) <= last:
            lane.buffer.append(following.popleft())
        self._collect(lane)
        is_whole = not lane.buffer and (
            bool(following) or self._closed or self._fed_to >= last or self._caught_up_at is not None
        )
        is_cut = lane.is_cut or len(lane.gathered) == self.policy.batch_size
        lane.buffer.extend(following)
        if not (is_whole or is_cut) and (self._reading or self._wants_to_read(now)):
            return False
        if is_whole:
            lane.tried.popleft()
        if lane.gathered:
            lane.ranges.append(_Range(lane.gathered, *counts))
            lane.gathered, lane.gathered_bytes, lane.is_cut = [], 0, False
            lane.gathering_since = now
        return is_whole or bool(lane.ranges)

    def _collect(self, lane: _Lane) -> None:
        """Move records from the buffer to what is gathered, as long as they fit."""
        buffer, gathered, size = lane.buffer, lane.gathered, lane.gathered_bytes
        batch_size, limit_bytes = self.policy.batch_size, self._room_of(lane)
        tumbles = bool(self.policy.tumbling_s) or lane.window is not None
        while buffer and len(gathered) < batch_size and not lane.is_cut:
            record = buffer[0]
            cost = record.size_bytes + 1  # and a comma
            if gathered and size + cost > limit_bytes:
                lane.is_cut = True
            elif tumbles and lane.window is None:
                lane.window = self._window_of(record)
                limit_bytes -= WINDOW_MEMBERS_BYTES
            elif tumbles and gathered and self._is_beyond_window(lane, record):
                lane.is_cut = True
            else:
                size += cost
                gathered.append(buffer.popleft())
        lane.gathered_bytes = size

    def _drop_expired(self, lane: _Lane, now: float) -> None:
        """Discard records older than the limit, from the front of the range, before it is tried."""
        age_s = self.policy.maximum_age_s
        if self.retention_s is not None and (age_s < 0 or self.retention_s < age_s):
            age_s = self.retention_s
        if age_s < 0:
            return
        run = lane.ranges[0]
        oldest_at = now - age_s
        expired = 0
        while expired < len(run.records) and run.records[expired].arrived_at < oldest_at:
            expired += 1
        if expired:
            gone = tuple(run.records[:expired])
            self._discards.append(
                Discard("RecordAgeExceeded", gone, max(1, run.invocations), run.outcome, run.request_id)
            )
            del run.records[:expired]
            if not run.records:
                lane.ranges.popleft()
            self._finish(lane, gone)
            self._advance()

    def _drop_too_large(self, lane: _Lane) -> None:
        """Discard a record that no event can hold; it has been gathered alone."""
        records = lane.ranges[0].records
        if len(records) != 1 or records[0].size_bytes <= self._room_of(lane):
            return
        self._discards.append(Discard("RecordTooLarge", tuple(records), 1))
        lane.ranges.popleft()
        self._finish(lane, records)
        self._advance()

    def _room_of(self, lane: _Lane) -> int:
        """Return how many bytes of records an event of this lane holds."""
        state_bytes = 0 if lane.window is None else len(lane.window.state) + WINDOW_MEMBERS_BYTES
        return self._batch_limit_bytes - state_bytes

    # -- outcomes

    def _returned(self, lane: _Lane, run: _Range, outcome: Succeeded, now: float) -> int:
        """Take an answer; return how many records it finished."""
        state = _window_state(outcome.payload) if lane.window is not None else b""
        first_failure = self._first_failure(run, outcome.payload)
        if state is None:
            first_failure = 0  # a window's answer without a state is a failure of the whole batch
        if first_failure is None:
            self._keep_state(lane, run, state or b"{}")
            self._finish(lane, run.records)
            return len(run.records)
        if first_failure:
            self._finish(lane, run.records[:first_failure])
            run.records = run.records[first_failure:]
        if first_failure and self.policy.bisects:
            lane.ranges.appendleft(run)  # split at the reported record, which is not a retry
            self._keep_counts(lane)
        else:
            self._failed(lane, run, now)
        if first_failure:
            self._keep_state(lane, run, state or b"{}")  # last: a state that is too large ends the window first of all
        return first_failure

    def _first_failure(self, run: _Range, payload: bytes) -> int | None:
        """Return the index of the first record that the answer reports as failed; None when all are done."""
        if not self.policy.reports_item_failures:
            return None
        failed = failed_ids(payload, {record.id for record in run.records})
        if failed is None:  # the whole batch
            return 0
        return next((index for index, record in enumerate(run.records) if record.id in failed), None)

    def _failed(self, lane: _Lane, run: _Range, now: float) -> None:
        """The whole range failed: halve it, or use up an attempt, or give it up."""
        if self.policy.bisects and len(run.records) > 1:
            half = len(run.records) // 2
            for records in (run.records[half:], run.records[:half]):
                lane.ranges.appendleft(
                    _Range(records, run.failures, run.invocations, outcome=run.outcome, request_id=run.request_id)
                )
            self._keep_counts(lane)
            return
        run.failures += 1
        if 0 <= self.policy.maximum_retries < run.failures:
            window = lane.window if run.closes_window else None
            self._discards.append(
                Discard(
                    "RetryAttemptsExhausted",
                    tuple(run.records),
                    run.failures,
                    run.outcome,
                    run.request_id,
                    window,
                    lane.position,
                )
            )
            if run.closes_window:
                lane.window = None
            self._finish(lane, run.records)
        else:
            self._delay(lane, run, now)
            self._keep_counts(lane)

    def _keep_counts(self, lane: _Lane) -> None:
        """Have it committed that an attempt has failed, before the next one: a restart does not give it back."""
        lane.settled = False
        self._dirty = True

    def _delay(self, lane: _Lane, run: _Range, now: float) -> None:
        run.delays += 1
        run.not_before = now + delay_s(run.delays, 1.0, first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S)
        lane.ranges.appendleft(run)

    def _finish(self, lane: _Lane, records: Sequence[Record]) -> None:
        if records:
            lane.position = records[-1].id
            lane.place = sequence_key(lane.position)
            self._buffered -= len(records)
            self._buffered_bytes -= sum([record.size_bytes for record in records])
        lane.settled = False
        self._dirty = True

    # -- progress

    def _is_finished(self, record: Record, place: _Place, index: int) -> bool:
        """Was this record finished before the restart, though the checkpoint had not passed it?"""
        if place <= self._lanes[index].place or place <= sequence_key(self._checkpoint):
            return True
        return any(place <= sequence_key(layer[lane_of(record.key, len(layer))]) for layer in self._older)

    def _advance(self) -> None:
        """Move the checkpoint over everything finished at the front."""
        outstanding, lanes = self._outstanding, self._lanes
        passed: tuple[_Place, str, int] | None = None
        while outstanding:
            place, _, index = outstanding[0]
            if index >= 0 and place > lanes[index].place:
                break
            passed = outstanding.popleft()
        if passed is None:
            return
        self._checkpoint = passed[1]
        self._dirty = True
        if self._older:
            reached = passed[0]
            self._older = [
                layer for layer in self._older if any(sequence_key(position) > reached for position in layer)
            ]

    def _commit(self) -> Commit:
        self._dirty = False
        self._committing = True
        self._committing_lanes = [lane for lane in self._lanes if not lane.settled]
        discards, self._discards = tuple(self._discards), []
        passed = sequence_key(self._checkpoint)
        layers = list(self._older)
        if any(lane.place > passed for lane in self._lanes):
            layers.insert(0, tuple(lane.position for lane in self._lanes))
        windows = tuple(lane.window for lane in self._lanes)
        tried = tuple(map(_tried_of, self._lanes))
        progress = Progress(
            self._checkpoint, tuple(layers), windows if any(windows) else (), tried if any(tried) else ()
        )
        return Commit(progress, discards)

    # -- reading and waiting

    def _wants_to_read(self, now: float) -> bool:
        """Is there a lane that could use more records, and may they be held?

        A few batches for every lane are read in any case; more only for a lane that has nothing at all.
        """
        if self._reading or self._closed:
            return False
        if self._caught_up_at is not None and not self._must_look_again(self._caught_up_at, now):
            return False
        if self._buffered >= READ_AHEAD_RECORDS or self._buffered_bytes >= READ_AHEAD_BYTES:
            return False
        batch_size = self.policy.batch_size
        if self._buffered < 4 * batch_size * len(self._lanes):
            return any(not lane.ranges and len(lane.buffer) + len(lane.gathered) < batch_size for lane in self._lanes)
        return any(
            lane.running is None and not lane.ranges and not lane.buffer and not lane.gathered for lane in self._lanes
        )

    def _must_look_again(self, caught_up_at: float, now: float) -> bool:
        """Did a window end since the last look? Records of its last moments may have come meanwhile."""
        return any(lane.window is not None and caught_up_at < lane.window.end_at <= now for lane in self._lanes)

    def _is_finished_whole(self) -> bool:
        return (
            self._closed
            and not self._buffered
            and self.is_idle
            and all(not lane.ranges and lane.window is None for lane in self._lanes)
        )

    def _wait(self, now: float) -> Wait:
        """Say what is waited for; a lane whose end is not committed yet is waited for by the driver's commit."""
        moments: list[tuple[float, str]] = []
        for lane in self._lanes:
            if lane.running is not None or not lane.settled:
                continue
            if lane.ranges:
                run = lane.ranges[0]
                moments.append((run.not_before, _why_delayed(run)))
            elif (lane.buffer or lane.gathered) and not self._reading:
                moments.append((lane.gathering_since + self.policy.window_s, "gathering a batch"))
            if lane.window is not None and lane.window.end_at > now:
                moments.append((lane.window.end_at, "the end of a tumbling window"))
        if moments:
            return Wait(*min(moments))
        if any(lane.running for lane in self._lanes):
            return Wait(None, "a running batch")
        return Wait(None, "a commit" if self._dirty or self._committing else "records")

    # -- tumbling windows

    def _window_of(self, record: Record) -> OpenWindow:
        start_at = record.arrived_at // self.policy.tumbling_s * self.policy.tumbling_s
        return OpenWindow(start_at, start_at + self.policy.tumbling_s)

    def _is_beyond_window(self, lane: _Lane, record: Record) -> bool:
        """Does the record belong to another window? To an earlier one only after the clock was set back."""
        window = lane.window
        return window is not None and not window.start_at <= record.arrived_at < window.end_at

    def _closes_window(self, lane: _Lane, now: float) -> bool:
        """Is the open window complete: a later record waits, or its end is past and the shard holds no more?"""
        if lane.window is None or lane.gathered:
            return False
        if lane.buffer:
            return self._is_beyond_window(lane, lane.buffer[0])
        if self._closed:
            return True
        return self._caught_up_at is not None and self._caught_up_at >= lane.window.end_at

    def _window_call(self, lane: _Lane, run: _Range) -> WindowCall | None:
        if lane.window is None:
            return None
        window = lane.window
        return WindowCall(window.start_at, window.end_at, window.state, run.closes_window, run.terminates_early)

    def _keep_state(self, lane: _Lane, run: _Range, state: bytes) -> None:
        """Carry the function's state on within the window, or let it go with the window's last invocation."""
        if lane.window is None:
            return
        start_at, end_at = lane.window.start_at, lane.window.end_at
        if run.terminates_early:
            lane.window = OpenWindow(start_at, end_at)
        elif run.closes_window:
            lane.window = None
        else:
            lane.window = OpenWindow(start_at, end_at, state)
            if len(state) > STATE_LIMIT_BYTES:
                lane.ranges.appendleft(_Range([], closes_window=True, terminates_early=True))
        lane.settled = False
        self._dirty = True


def _tried_of(lane: _Lane) -> tuple[Tried, ...]:
    """Return what of a lane has failed and is to be tried again, in order."""
    running = lane.running
    if not lane.ranges and not lane.tried and (running is None or not running.invocations):
        return ()
    ranges = lane.ranges if running is None else (running, *lane.ranges)
    return (
        *(
            Tried(
                run.records[-1].id if run.records else "",
                run.failures,
                run.invocations,
                run.delays,
                run.not_before,
                run.closes_window,
                run.terminates_early,
            )
            for run in ranges
        ),
        *lane.tried,
    )


def _attempts_of(lane: _Lane) -> int:
    """Return how often the lane's present range was tried, the run under way among them."""
    if lane.running is not None:
        return lane.running.invocations + 1
    if lane.ranges:
        return lane.ranges[0].invocations
    return lane.tried[0].invocations if lane.tried else 0


def _why_delayed(run: _Range) -> str:
    match run.outcome:
        case None if not run.failures:
            return "a slot"
        case None:  # in an earlier life
            return "the next attempt, after a failed one"
        case FunctionError() | Succeeded():
            return "the next attempt, after a failed one"
        case _:
            return "the next attempt: the function could not be invoked"


def _window_state(payload: bytes) -> bytes | None:
    """Return the `state` object of a window's answer as JSON; None when there is none."""
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    state = answer.get("state") if isinstance(answer, dict) else None
    return json.dumps(state, separators=(",", ":")).encode() if isinstance(state, dict) else None
