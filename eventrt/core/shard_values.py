"""The values between a `ShardMachine` and its driver: policy, progress, batches, discards, and the actions it wants.

The machine itself is in `core.shard`, what carries the actions out in `pollers.shards`.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from eventrt.core.records import Outcome, Record

Condition = Literal["RetryAttemptsExhausted", "RecordAgeExceeded", "RecordTooLarge"]


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
class Tried:
    """A range that has failed and is to be tried again: a lane's unfinished records up to `last`, and its counts.

    `failures` are attempts used up, `invocations` those and what a bisect took, `delays` how often it was delayed.
    The last call of a window has no records.
    """

    last: str
    failures: int
    invocations: int
    delays: int
    not_before: float
    closes_window: bool = False
    terminates_early: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What is finished: everything up to `checkpoint`, and per layer what each lane finished beyond it.

    A layer is the positions of so many lanes as it is long; the first is the present one. Older layers (of another
    ParallelizationFactor) stay until the checkpoint has passed them. `windows` and `tried` belong to the present
    lanes; `tried` is what follows a lane's position and has failed, in order, empty when nothing has.
    """

    checkpoint: str = ""
    layers: tuple[tuple[str, ...], ...] = ()
    windows: tuple[OpenWindow | None, ...] = ()
    tried: tuple[tuple[Tried, ...], ...] = ()


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
    There are no records when the last invocation of a window is given up: then `window` is that window, and
    `position` the last record finished before.
    """

    condition: Condition
    records: tuple[Record, ...]
    invoke_count: int
    outcome: Outcome | None = None
    request_id: str | None = None
    window: OpenWindow | None = None
    position: str = ""


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
