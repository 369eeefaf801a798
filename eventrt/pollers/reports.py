"""What a poller tells of a batch that came to its end; who wants to know registers with the supervisor."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from eventrt.core.mapping import EventSourceMapping
from eventrt.core.records import Batch, Outcome


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch whose end is committed.

    `outcome` is what the function answered; `done` and `failed` count the batch's records, those given back among
    the failed. `request_id` is the invocation's, `duration_ms` the time from asking for it to its outcome. A batch of
    a stream is told of by its outcome, each attempt; `shard_id` is its shard.
    """

    mapping: EventSourceMapping
    batch: Batch
    outcome: Outcome
    request_id: str
    duration_ms: float
    done: int
    failed: int
    shard_id: str | None = None


BatchObserver: TypeAlias = Callable[[BatchReport], None]
"""Called once per batch, on the loop, after its settle is committed (of a stream: once per attempt, with its outcome);
it must be quick and must not raise."""
