"""Message move tasks: StartMessageMoveTask, ListMessageMoveTasks, CancelMessageMoveTask.

A task is a row of the store; `sources.moves` carries the messages.
"""

from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.sqs.room import Request, SqsRoom, answers, required
from eventrt.core.messages import MoveTask, Queue, Refusal
from eventrt.core.queue_attributes import queue_arn
from eventrt.core.refused import Refused, invalid_parameter
from eventrt.errors import ApiError
from eventrt.sources import moves
from eventrt.store.api import Tx

MAXIMUM_PER_SECOND = 500
MAXIMUM_RESULTS = 10
MAXIMUM_HANDLE_LENGTH = 1024
"""No handle of ours is longer; what is, need not be taken apart."""


class Moves(SqsRoom):
    """The operations on message move tasks."""

    @answers("StartMessageMoveTask")
    async def start_message_move_task(self, call: Call, request: Request) -> Answer:
        """Begin to move a dead-letter queue's messages back, or to another queue."""
        max_per_second = request.get("MaxNumberOfMessagesPerSecond")
        if max_per_second is not None and not 1 <= max_per_second <= MAXIMUM_PER_SECOND:
            raise invalid_parameter(
                "Value for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: You must enter a value "
                "between 1 and 500."
            )

        def unit(tx: Tx) -> MoveTask:
            source = _queue(tx, call, required(request, "SourceArn"), "SourceArn")
            destination = None
            if destination_arn := request.get("DestinationArn"):
                destination = _queue(tx, call, destination_arn, "DestinationArn")
            return _accepted(moves.start(tx, source, destination=destination, max_per_second=max_per_second))

        return {"TaskHandle": (await self._store.write(unit)).handle}

    @answers("ListMessageMoveTasks")
    async def list_message_move_tasks(self, call: Call, request: Request) -> Answer:
        """Show a source's latest tasks, newest first."""
        limit = request.get("MaxResults")
        if limit is None:
            limit = 1
        elif not 1 <= limit <= MAXIMUM_RESULTS:
            raise invalid_parameter(
                "Value for parameter MaxResults is invalid. Reason: You must enter a value between 1 and 10."
            )
        tasks = await self._store.read(
            lambda tx: moves.latest(tx, _queue(tx, call, required(request, "SourceArn"), "SourceArn"), limit=limit)
        )
        return {"Results": [_members(task) for task in tasks]} if tasks else {}

    @answers("CancelMessageMoveTask")
    async def cancel_message_move_task(self, call: Call, request: Request) -> Answer:
        """Stop a running task; what it moved stays moved."""
        handle = required(request, "TaskHandle")
        if len(handle) > MAXIMUM_HANDLE_LENGTH:
            raise invalid_parameter("Value for parameter TaskHandle is invalid.")

        def unit(tx: Tx) -> MoveTask:
            task = tx.messages.move_task(handle)
            if task is not None and not _is_callers(call, task):
                raise Refused("ResourceNotFoundException", "Task does not exist.")
            return _accepted(moves.cancel(tx, handle))

        return {"ApproximateNumberOfMessagesMoved": (await self._store.write(unit)).moved}


def _queue(tx: Tx, call: Call, text: str, parameter: str) -> Queue:
    """Return the queue an ARN in a request names.

    Raises: Refused: InvalidParameterValue for what is no queue's ARN, ResourceNotFoundException for no such queue
        in the caller's account and region.
    """
    arn = queue_arn(text)
    if arn is None:
        raise invalid_parameter(
            f"You must use this format to specify the {parameter}: arn:<partition>:<service>:<region>:<account-id>:"
            "<resource-id>"
        )
    queue = None
    if (arn.account_id, arn.region) == (call.account_id, call.region):
        queue = tx.queues.by_arn(text)
    if queue is None:
        raise Refused(
            "ResourceNotFoundException",
            f"The resource that you specified for the {parameter} parameter doesn't exist.",
        )
    return queue


def _is_callers(call: Call, task: MoveTask) -> bool:
    """Is this a task of the caller's account and region?"""
    arn = queue_arn(task.source_arn)
    return arn is not None and (arn.account_id, arn.region) == (call.account_id, call.region)


def _accepted(result: MoveTask | Refusal) -> MoveTask:
    if isinstance(result, Refusal):
        raise ApiError(result.code, result.message)
    return result


def _members(task: MoveTask) -> dict[str, Any]:
    members: dict[str, Any] = {
        "Status": task.status,
        "SourceArn": task.source_arn,
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": round(task.started_at * 1000),
    }
    if task.status == "RUNNING":
        members["TaskHandle"] = task.handle
    if task.destination_arn is not None:
        members["DestinationArn"] = task.destination_arn
    if task.max_per_second is not None:
        members["MaxNumberOfMessagesPerSecond"] = task.max_per_second
    if task.failure_reason is not None:
        members["FailureReason"] = task.failure_reason
    return members
