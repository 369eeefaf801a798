"""Message move tasks: messages go from a dead-letter queue to where they came from, or elsewhere, in slices.

The functions are what the door calls; `Mover` is the task that carries. A task is a durable row, so it goes on after
a restart.
"""

from collections.abc import Sequence

from eventrt.core.messages import MoveTask, Queue, Refusal
from eventrt.store.api import Tx


def start(
    tx: Tx, source: Queue, *, destination: Queue | None, max_per_second: int | None
) -> MoveTask | Refusal:
    """Begin to move the source's messages, or say why not.

    Args: destination: None sends each message back to the queue it was dead-lettered from. The door has looked up
        both queues (404s are its own).
    Refusals: InvalidParameterValueException (the source is no dead-letter queue), UnsupportedOperation (a task is
        running already).
    """
    raise NotImplementedError


def latest(tx: Tx, source: Queue, *, limit: int) -> Sequence[MoveTask]:
    """Return the source's tasks, newest first."""
    return tx.messages.move_tasks(source.arn, limit)


def cancel(tx: Tx, handle: str) -> MoveTask | Refusal:
    """Stop a running task and return it as it is now, or say why not.

    Refusals: InvalidParameterValueException (malformed handle, task not running), ResourceNotFoundException (unknown
    source or task).
    """
    raise NotImplementedError
