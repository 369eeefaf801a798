"""ShardMachine: from the records of one shard to batches, retries, bisects, discards and a checkpoint.

A pure state machine (no I/O, no clock): the driver in `pollers.runner` feeds it what it read, asks for the next
action, carries it out and tells what came of it. Records of one key stay in one lane; a lane has one batch in
flight and keeps its order; lanes do not wait for each other. A record is finished when its batch succeeded, or
when it was filtered out, reported as done, or discarded. The checkpoint is the last record up to which everything
is finished; beside it each lane's own position is kept, so that after a crash only what was in flight runs again.

It leaves to others: reading and its iterators, building the event, delivering failure records (a `Commit` names
what was discarded), and storing the progress.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from zlib import crc32

from eventrt.core.backoff import delay_s
from eventrt.core.partial import failed_ids
from eventrt.core.records import FunctionError, Outcome, Record, Succeeded

PAYLOAD_LIMIT_BYTES = 6 * 1024 * 1024
"""Records of one batch together (semantics 03, section 3.4)."""

READ_AHEAD_RECORDS = 20_000
READ_AHEAD_BYTES = 48 * 1024 * 1024
"""What a shard may hold in memory: a lane that stays blocked stops the shard's reading once it holds so much."""

STATE_LIMIT_BYTES = 1024 * 1024
"""The state of a tumbling window; beyond it the window is terminated early (Lambda developer guide)."""

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 10.0
"""Waits between attempts: 1, 2, 4, 8, then 10 s. AWS says "exponential"; recorded are about 8 attempts a minute."""

_FINISHED = -1
"""In place of a lane: the record is finished already, by an earlier life or by the filters."""

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded"]


@dataclass(frozen=True, slots=True)
class ShardPolicy:
    """What the mapping says of batches and failures; -1 means "until the source drops the record".

    `lanes` is ParallelizationFactor, `window_s` MaximumBatchingWindowInSeconds, `tumbling_s` 0 without windows.
    """

    batch_size: int = 100
    window_s: float = 0.0
    lanes: int = 1
    maximum_retries: int = -1
    maximum_age_s: float = -1.0
    bisects: bool = False
    reports_item_failures: bool = False
    tumbling_s: int = 0


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """A tumbling window under way: its bounds (epoch seconds) and the state the function returned last (JSON)."""

    start_at: float
    end_at: float
    state: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Progress:
    """What is finished: everything up to `checkpoint`, and per layer what each lane finished beyond it.

    A layer is the positions of so many lanes as it is long; the first is the present one. Older layers (of another
    ParallelizationFactor) stay until the checkpoint has passed them. `windows` belongs to the present lanes.
    """

    checkpoint: str = ""
    layers: tuple[tuple[str, ...], ...] = ()
    windows: tuple[OpenWindow | None, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowCall:
    """The window members of one invocation's event (semantics 03, tumbling windows)."""

    start_at: float
    end_at: float
    state: bytes
    is_final: bool
    is_terminated_early: bool


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """One invocation wanted: the records of one lane in order; `attempt` counts the runs of this very range."""

    number: int
    lane: int
    records: tuple[Record, ...]
    attempt: int
    window: WindowCall | None = None


@dataclass(frozen=True, slots=True)
class Discard:
    """Records given up, in order, and what the failure record says of them.

    `invoke_count` is approximateInvokeCount; `outcome` and `request_id` are of the last attempt, None without one.
    """

    condition: Condition
    records: tuple[Record, ...]
    invoke_count: int
    outcome: Outcome | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """Read up to `limit` records that follow the last one fed."""

    limit: int


@dataclass(frozen=True, slots=True)
class Invoke:
    """Run this batch, beside whatever else is running."""

    batch: ShardBatch


@dataclass(frozen=True, slots=True)
class Commit:
    """Save the progress and deliver the failure records, in one write; then call `committed`."""

    progress: Progress
    discards: tuple[Discard, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until `until` (None: no moment), an invocation ends, or new records are announced."""

    until: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The shard is closed and everything in it is finished and committed; its children may begin."""


Action: TypeAlias = Read | Invoke | Commit | Wait | Finished


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
    ranges: deque[_Range] = field(default_factory=deque)
    running: _Range | None = None
    position: str = ""
    gathering_since: float = 0.0
    window: OpenWindow | None = None
    settled: bool = True
    """Is everything that this lane finished committed? Until then it starts nothing new."""


class ShardMachine:
    """The decisions for one shard of one mapping (see the module's docstring).

    Args:
        policy: what the mapping says.
        progress: what was stored at the last commit; empty at the beginning.
        matches: does a record pass the mapping's filters? One that does not is finished at once.
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
        self._matches = matches
        self._lanes = [_Lane() for _ in range(policy.lanes)]
        self._checkpoint = progress.checkpoint
        self._older: list[tuple[str, ...]] = []
        for layer in progress.layers:
            if len(layer) == policy.lanes:
                for lane, position in zip(self._lanes, layer, strict=True):
                    lane.position = max(lane.position, position, key=sequence_key)
            else:
                self._older.append(layer)
        if len(progress.windows) == policy.lanes:
            for lane, window in zip(self._lanes, progress.windows, strict=True):
                lane.window = window
        self._outstanding: deque[tuple[str, int]] = deque()
        self._buffered = 0
        self._buffered_bytes = 0
        self._number = 0
        self._reading = False
        self._read_limit = 0
        self._caught_up_at: float | None = None
        self._closed = False
        self._dirty = False
        self._committing = False
        self._committing_lanes: list[_Lane] = []
        self._discards: list[Discard] = []
        self._turn = 0

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
        for record in records:
            index = lane_of(record.key, self.policy.lanes)
            if self._is_finished(record, index) or not (self._matches is None or self._matches(record)):
                self._outstanding.append((record.id, _FINISHED))
                continue
            lane = self._lanes[index]
            if not lane.buffer:
                lane.gathering_since = now
            lane.buffer.append(record)
            self._outstanding.append((record.id, index))
            self._buffered += 1
            self._buffered_bytes += record.size_bytes
        self._advance()

    def announced(self) -> None:
        """Take note that the source may have more."""
        self._caught_up_at = None

    def invoked(self, batch: ShardBatch, outcome: Outcome, *, now: float, request_id: str | None = None) -> None:
        """Take what came of a batch."""
        lane = self._lanes[batch.lane]
        run = lane.running
        if run is None:
            raise AssertionError(f"lane {batch.lane} has no batch in flight")
        lane.running = None
        run.invocations += 1
        run.outcome, run.request_id = outcome, request_id
        if isinstance(outcome, Succeeded):
            self._returned(lane, run, outcome, now)
        elif isinstance(outcome, FunctionError):
            self._failed(lane, run, now)
        else:
            self._delay(lane, run, now)  # throttled, or no invocation at all: no attempt is used up
        self._advance()

    def committed(self) -> None:
        """Take note that the last `Commit` is on disk."""
        self._committing = False
        for lane in self._committing_lanes:
            lane.settled = True

    # -- what the driver asks

    def next_action(self, *, now: float) -> Action:
        """Say what to do now. Each action is given once; `Wait` as often as asked."""
        if self._dirty and not self._committing:
            return self._commit()
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
                self._read_limit = min(
                    10_000,
                    READ_AHEAD_RECORDS - self._buffered,
                    2 * self.policy.batch_size * self.policy.lanes,
                )
                return Read(self._read_limit)
        if self._is_finished_whole():
            return Finished()
        return self._wait(now)

    @property
    def checkpoint(self) -> str:
        """The sequence number up to which everything is finished; "" at the beginning."""
        return self._checkpoint

    def describe(self) -> dict[str, object]:
        """Show where the shard stands: per lane what is buffered, running, and waited for."""
        return {
            "checkpoint": self._checkpoint or None,
            "buffered": self._buffered,
            "lanes": [
                {
                    "position": lane.position or None,
                    "buffered": len(lane.buffer) + sum(len(each.records) for each in lane.ranges),
                    "running": len(lane.running.records) if lane.running else 0,
                    "attempts": (lane.running or lane.ranges[0]).invocations if lane.running or lane.ranges else 0,
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
        if not lane.ranges or not lane.settled or lane.ranges[0].not_before > now:
            return None
        run = lane.running = lane.ranges.popleft()
        self._number += 1
        return ShardBatch(self._number, index, tuple(run.records), run.invocations + 1, self._window_call(lane, run))

    def _gather(self, lane: _Lane, now: float, *, only_full: bool) -> None:
        """Form a range from the buffer when one is due: full, old enough, cut by a window, or the shard's last."""
        if self._closes_window(lane, now):
            lane.ranges.append(_Range([], closes_window=True))
            return
        if not lane.buffer:
            return
        size = count = 0
        is_cut = False
        for record in lane.buffer:
            if count == self.policy.batch_size or (count and size + record.size_bytes > PAYLOAD_LIMIT_BYTES):
                is_cut = True
                break
            if self.policy.tumbling_s and count and self._is_beyond_window(lane, record):
                is_cut = True
                break
            if self.policy.tumbling_s and not count and lane.window is None:
                lane.window = self._window_of(record)
            size += record.size_bytes
            count += 1
        is_full = is_cut or count == self.policy.batch_size
        is_due = self._closed or now >= lane.gathering_since + self.policy.window_s
        if is_full or (is_due and not only_full):
            lane.ranges.append(_Range([lane.buffer.popleft() for _ in range(count)]))
            lane.gathering_since = now

    def _drop_expired(self, lane: _Lane, now: float) -> None:
        """Discard records older than the limit, from the front of the range, before it is tried."""
        if self.policy.maximum_age_s < 0:
            return
        run = lane.ranges[0]
        oldest_at = now - self.policy.maximum_age_s
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

    # -- outcomes

    def _returned(self, lane: _Lane, run: _Range, outcome: Succeeded, now: float) -> None:
        state = _window_state(outcome.payload) if self.policy.tumbling_s else b""
        first_failure = self._first_failure(run, outcome.payload)
        if state is None:
            first_failure = 0  # a window's answer without a state is a failure of the whole batch
        if first_failure is None:
            self._keep_state(lane, run, state or b"{}")
            self._finish(lane, run.records)
            return
        if first_failure:
            self._keep_state(lane, run, state or b"{}")
            self._finish(lane, run.records[:first_failure])
            run.records = run.records[first_failure:]
        if first_failure and self.policy.bisects:
            lane.ranges.appendleft(run)  # split at the reported record, which is not a retry
        else:
            self._failed(lane, run, now)

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
            return
        run.failures += 1
        if 0 <= self.policy.maximum_retries < run.failures:
            self._discards.append(
                Discard("RetryAttemptsExhausted", tuple(run.records), run.failures, run.outcome, run.request_id)
            )
            if run.closes_window:
                lane.window = None
            self._finish(lane, run.records)
        else:
            self._delay(lane, run, now)

    def _delay(self, lane: _Lane, run: _Range, now: float) -> None:
        run.delays += 1
        run.not_before = now + delay_s(run.delays, 1.0, first_s=RETRY_FIRST_S, longest_s=RETRY_LONGEST_S)
        lane.ranges.appendleft(run)

    def _finish(self, lane: _Lane, records: Iterable[Record]) -> None:
        for record in records:
            lane.position = record.id
            self._buffered -= 1
            self._buffered_bytes -= record.size_bytes
        lane.settled = False
        self._dirty = True

    # -- progress

    def _is_finished(self, record: Record, index: int) -> bool:
        """Was this record finished before the restart, though the checkpoint had not passed it?"""
        at = sequence_key(record.id)
        if at <= sequence_key(self._checkpoint) or at <= sequence_key(self._lanes[index].position):
            return True
        return any(at <= sequence_key(layer[lane_of(record.key, len(layer))]) for layer in self._older)

    def _advance(self) -> None:
        """Move the checkpoint over everything finished at the front."""
        while self._outstanding:
            sequence_number, index = self._outstanding[0]
            if index >= 0 and sequence_key(sequence_number) > sequence_key(self._lanes[index].position):
                break
            self._outstanding.popleft()
            self._checkpoint = sequence_number
            self._dirty = True
        if self._older:
            passed = sequence_key(self._checkpoint)
            self._older = [layer for layer in self._older if any(sequence_key(position) > passed for position in layer)]

    def _commit(self) -> Commit:
        self._dirty = False
        self._committing = True
        self._committing_lanes = [lane for lane in self._lanes if not lane.settled]
        discards, self._discards = tuple(self._discards), []
        positions = tuple(lane.position for lane in self._lanes)
        passed = sequence_key(self._checkpoint)
        layers = list(self._older)
        if any(sequence_key(position) > passed for position in positions):
            layers.insert(0, positions)
        windows = tuple(lane.window for lane in self._lanes) if self.policy.tumbling_s else ()
        return Commit(Progress(self._checkpoint, tuple(layers), windows), discards)

    # -- reading and waiting

    def _wants_to_read(self, now: float) -> bool:
        return (
            not self._reading
            and not self._closed
            and (self._caught_up_at is None or self._must_look_again(self._caught_up_at, now))
            and self._buffered < READ_AHEAD_RECORDS
            and self._buffered_bytes < READ_AHEAD_BYTES
            and any(not lane.ranges and len(lane.buffer) < self.policy.batch_size for lane in self._lanes)
        )

    def _must_look_again(self, caught_up_at: float, now: float) -> bool:
        """Did a window end since the last look? Records of its last moments may have come meanwhile."""
        return any(lane.window is not None and caught_up_at < lane.window.end_at <= now for lane in self._lanes)

    def _is_finished_whole(self) -> bool:
        return (
            self._closed
            and not self._buffered
            and not self._dirty
            and not self._committing
            and all(
                lane.running is None and not lane.ranges and lane.window is None and lane.settled
                for lane in self._lanes
            )
        )

    def _wait(self, now: float) -> Wait:
        moments: list[tuple[float, str]] = []
        for lane in self._lanes:
            if lane.running is not None:
                continue
            if lane.ranges:
                moments.append((lane.ranges[0].not_before, "backing off after a failed attempt"))
            elif lane.buffer:
                moments.append((lane.gathering_since + self.policy.window_s, "gathering a batch"))
            if lane.window is not None and lane.window.end_at > now:
                moments.append((lane.window.end_at, "a tumbling window is open"))
        if moments:
            return Wait(*min(moments))
        return Wait(None, "a batch is running" if any(lane.running for lane in self._lanes) else "no records")

    # -- tumbling windows

    def _window_of(self, record: Record) -> OpenWindow:
        start_at = record.arrived_at // self.policy.tumbling_s * self.policy.tumbling_s
        return OpenWindow(start_at, start_at + self.policy.tumbling_s)

    def _is_beyond_window(self, lane: _Lane, record: Record) -> bool:
        return lane.window is not None and record.arrived_at >= lane.window.end_at

    def _closes_window(self, lane: _Lane, now: float) -> bool:
        """Is the open window complete: a later record waits, or its end is past and the shard holds no more?"""
        if lane.window is None:
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


def _window_state(payload: bytes) -> bytes | None:
    """Return the `state` object of a window's answer as JSON; None when there is none."""
    try:
        answer = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    state = answer.get("state") if isinstance(answer, dict) else None
    return json.dumps(state, separators=(",", ":")).encode() if isinstance(state, dict) else None
