"""Message move tasks: messages go from a dead-letter queue to where they came from, or elsewhere, in slices.

The functions are what the door calls; `Mover` is the room that carries. A task is a durable row and a slice is one
unit of work with its count, so a task goes on after a restart where it stood.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from functools import partial

import anyio
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core.messages import MoveTask, Queue, Refusal
from eventrt.errors import StoreFull
from eventrt.store.api import Store, Tx

MAXIMUM_DURATION_S = 36 * 3600.0
"""A task that runs longer fails (semantics 04, A.6)."""

MAXIMUM_ACTIVE = 100
"""So many tasks of one account may be active at a time (semantics 04, A.6)."""

SLICE = 100
"""Messages moved in one unit of work: about a millisecond."""

RETRY_S = 5.0
"""How long a task rests when the disk had no room for its slice."""

_ALREADY = "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
_LOG = structlog.get_logger("eventrt.queues")


def start(tx: Tx, source: Queue, *, destination: Queue | None, max_per_second: int | None) -> MoveTask | Refusal:
    """Begin to move the source's messages, or say why not.

    Args: destination: None sends each message back to the queue it was dead-lettered from. The door has looked
        up both queues (their 404s are its own).
    Refusals: InvalidParameterValueException (the source is no dead-letter queue, the destination is the source
        or of another kind, a task of this source is active), OverLimit (100 are active).
    """
    if not tx.queues.dead_letter_sources(source, limit=1):
        return _invalid("Source queue must be configured as a Dead Letter Queue.")
    if destination is not None and destination.id == source.id:
        return _invalid("Source queue arn and destination queue arn cannot be the same.")
    if destination is not None and destination.is_fifo != source.is_fifo:
        return _invalid("Source and destination queue must be of the same type.")
    active = [task for task in tx.messages.active_moves() if task.source_arn.split(":")[4] == source.account_id]
    if len(active) >= MAXIMUM_ACTIVE:
        return Refusal("OverLimit", f"There are already {MAXIMUM_ACTIVE} active message move tasks.")
    task = tx.messages.start_move(source, destination.arn if destination else None, max_per_second)
    return task if task is not None else _invalid(_ALREADY)


def latest(tx: Tx, source: Queue, *, limit: int) -> Sequence[MoveTask]:
    """Return the source's tasks, newest first."""
    return tx.messages.move_tasks(source.arn, limit)


def cancel(tx: Tx, handle: str) -> MoveTask | Refusal:
    """Stop a running task and return it as it is now, or say why not; what is moved stays moved.

    Refusals: InvalidParameterValueException (malformed handle, task not running), ResourceNotFoundException
        (status 404: unknown source or task).
    """
    task = tx.messages.move_task(handle)
    if task is None:
        source_arn = _source_in(handle)
        if source_arn is None:
            return _invalid("Value for parameter TaskHandle is invalid.")
        if tx.queues.by_arn(source_arn) is None:
            return Refusal(
                "ResourceNotFoundException",
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        return Refusal("ResourceNotFoundException", "Task does not exist.")
    if task.status != "RUNNING":
        return _invalid("Only active tasks can be cancelled.")
    # A slice is one unit of work, so between units nothing is under way: it is cancelled as soon as it is said.
    return tx.messages.end_move(task, "CANCELLED")


def _source_in(handle: str) -> str | None:
    """Return the source ARN a well-formed handle names, or None."""
    try:
        named = json.loads(base64.b64decode(handle, validate=True))
        arn, task_id = named["sourceArn"], named["taskId"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
    return arn if isinstance(arn, str) and isinstance(task_id, str) else None


def _invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterValueException", message)


class Mover:
    """The room that carries out move tasks: all of them at once, each at its own rate on the clock."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._running: set[int] = set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Carry tasks until cancelled; those that were active at the last stop go on."""
        async with anyio.create_task_group() as tasks:
            with self._store.watch(("moves",)) as bell:
                task_status.started()
                while True:
                    for task in await self._store.read(lambda tx: tx.messages.active_moves()):
                        if task.id not in self._running:
                            self._running.add(task.id)
                            tasks.start_soon(self._carry, task)
                    await bell.wait()

    async def _carry(self, task: MoveTask) -> None:
        """Move slice after slice until the task is over."""
        rate = task.max_per_second
        next_at = self._clock.now()
        try:
            while task.status in ("RUNNING", "CANCELLING"):
                await self._clock.sleep_until(next_at)
                with self._clock.working():
                    try:
                        moved_before = task.moved
                        task = await self._store.write(partial(self._slice, task))
                    except StoreFull:
                        _LOG.warning("move.paused", source_arn=task.source_arn, reason="disk full")
                        next_at = self._clock.now() + RETRY_S
                        continue
                if rate is not None:
                    next_at = max(next_at, self._clock.now() - 1.0) + (task.moved - moved_before) / rate
            _LOG.info(
                "move.finished",
                source_arn=task.source_arn,
                status=task.status,
                moved=task.moved,
                reason=task.failure_reason,
            )
        finally:
            self._running.discard(task.id)

    def _slice(self, task: MoveTask, tx: Tx) -> MoveTask:
        if tx.now > task.started_at + MAXIMUM_DURATION_S:
            return tx.messages.end_move(task, "FAILED", "The task ran longer than 36 hours.")
        # At a limited rate, a tenth of a second's worth at a time keeps the flow even.
        limit = SLICE if task.max_per_second is None else max(1, min(SLICE, task.max_per_second // 10))
        return tx.messages.move_slice(task, limit)
