"""Sending and settling: SendMessage, DeleteMessage, ChangeMessageVisibility and their batches.

A request is checked by the rules of `core.message_rules`; laying the message on its queue and settling it is one
unit of work each, and the answer leaves after its commit.
"""

from collections.abc import Sequence
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.sqs.room import (
    Request,
    SqsRoom,
    answers,
    failed_entry,
    find_queue,
    required,
)
from eventrt.core import message_rules as rules
from eventrt.core.messages import MessageAttribute, MessageDraft, Queue, SentMessage, SettleResult
from eventrt.core.recursion import decoded
from eventrt.core.refused import Refused, invalid_parameter, invalid_value, missing_parameter
from eventrt.errors import ApiError
from eventrt.sources import queues as shelf
from eventrt.store.api import Tx

_NO_ATTRIBUTES: dict[str, MessageAttribute] = {}


class Messages(SqsRoom):
    """The operations that send and settle messages."""

    @answers("SendMessage")
    async def send_message(self, call: Call, request: Request) -> Answer:
        """Lay one message on a queue."""
        sender_id, trace_header = self.sender_id(call), decoded(call.http.headers.get("x-amzn-trace-id"))

        def unit(tx: Tx) -> tuple[MessageDraft, SentMessage]:
            queue = find_queue(tx, call, request)
            draft, size_bytes = draft_of(request, queue, sender_id, trace_header)
            rules.check_size(size_bytes, queue.maximum_message_bytes)
            return draft, shelf.send(tx, queue, (draft,))[0]

        draft, sent = await self._store.write(unit, secured=False)  # nothing refuses once the message is being laid
        return _sent_members(draft, sent)

    @answers("SendMessageBatch")
    async def send_message_batch(self, call: Call, request: Request) -> Answer:
        """Lay up to ten messages on a queue; each entry succeeds or fails by itself."""
        entry_name = "SendMessageBatchRequestEntry"
        sender_id, trace_header = self.sender_id(call), decoded(call.http.headers.get("x-amzn-trace-id"))

        def unit(tx: Tx) -> Answer:
            queue = find_queue(tx, call, request)
            entries = rules.check_batch(request.get("Entries"), entry_name)
            _require_deduplication(queue, entries)
            drafts: list[MessageDraft] = []
            ids: list[str] = []
            failed: list[dict[str, Any]] = []
            total_bytes = 0
            for number, entry in enumerate(entries, 1):
                if entry.get("MessageBody") is None:
                    raise missing_parameter(f"{entry_name}.{number}.MessageBody")
                try:
                    draft, size_bytes = draft_of(entry, queue, sender_id, trace_header, in_batch=True)
                    total_bytes += size_bytes
                    rules.check_size(size_bytes, queue.maximum_message_bytes, in_batch=True)
                except Refused as refused:
                    failed.append(failed_entry(entry["Id"], refused.refusal))
                else:
                    drafts.append(draft)
                    ids.append(entry["Id"])
            rules.check_batch_size(total_bytes)
            successful = []
            if drafts:
                for entry_id, draft, sent in zip(ids, drafts, shelf.send(tx, queue, drafts), strict=True):
                    members = _sent_members(draft, sent)
                    members["Id"] = entry_id
                    successful.append(members)
            return _results(successful, failed)

        return await self._store.write(unit)

    @answers("DeleteMessage")
    async def delete_message(self, call: Call, request: Request) -> Answer:
        """Settle one message as done."""
        handle = required(request, "ReceiptHandle")
        [refusal] = await self._store.write(
            lambda tx: shelf.delete(tx, find_queue(tx, call, request), (handle,)), secured=False
        )
        if refusal is not None:
            raise ApiError(refusal.code, refusal.message)
        return {}

    @answers("DeleteMessageBatch")
    async def delete_message_batch(self, call: Call, request: Request) -> Answer:
        """Settle up to ten messages as done, each by itself."""
        entry_name = "DeleteMessageBatchRequestEntry"

        def unit(tx: Tx) -> Answer:
            queue = find_queue(tx, call, request)
            entries = rules.check_batch(request.get("Entries"), entry_name)
            handles = [
                required(entry, "ReceiptHandle")
                if "ReceiptHandle" in entry
                else required({}, f"{entry_name}.{number}.ReceiptHandle")
                for number, entry in enumerate(entries, 1)
            ]
            refusals = shelf.delete(tx, queue, handles)
            ids = [entry["Id"] for entry in entries]
            return _settled(ids, refusals)

        return await self._store.write(unit)

    @answers("ChangeMessageVisibility")
    async def change_message_visibility(self, call: Call, request: Request) -> Answer:
        """Let one message's lease end so many seconds from now; 0 releases it."""
        handle = required(request, "ReceiptHandle")
        timeout_s = _visibility(required(request, "VisibilityTimeout"))
        [refusal] = await self._store.write(
            lambda tx: shelf.change_visibility(tx, find_queue(tx, call, request), ((handle, timeout_s),))
        )
        if refusal is not None:
            raise ApiError(refusal.code, refusal.message)
        return {}

    @answers("ChangeMessageVisibilityBatch")
    async def change_message_visibility_batch(self, call: Call, request: Request) -> Answer:
        """Change up to ten leases, each by itself. An entry without a timeout releases its message, as 0 does."""
        entry_name = "ChangeMessageVisibilityBatchRequestEntry"

        def unit(tx: Tx) -> Answer:
            queue = find_queue(tx, call, request)
            entries = rules.check_batch(request.get("Entries"), entry_name)
            ids: list[str] = []
            changes: list[tuple[str, int]] = []
            failed: list[dict[str, Any]] = []
            for number, entry in enumerate(entries, 1):
                if entry.get("ReceiptHandle") is None:
                    raise missing_parameter(f"{entry_name}.{number}.ReceiptHandle")
                try:
                    change = entry["ReceiptHandle"], _visibility(entry.get("VisibilityTimeout") or 0)
                except Refused as refused:
                    failed.append(failed_entry(entry["Id"], refused.refusal))
                else:
                    changes.append(change)
                    ids.append(entry["Id"])
            return _settled(ids, shelf.change_visibility(tx, queue, changes) if changes else [], failed)

        return await self._store.write(unit)


def draft_of(
    request: Request, queue: Queue, sender_id: str, trace_header: str | None = None, *, in_batch: bool = False
) -> tuple[MessageDraft, int]:
    """Return the message a SendMessage (or one entry of a batch) describes, and what it weighs in bytes.

    Args: trace_header: the request's, which the message carries on unless it names one itself.

    Raises: Refused: any rule of `core.message_rules`.
    """
    body = rules.encoded_body(request.get("MessageBody"))
    size_bytes = len(body)
    attributes, md5_of_attributes = _NO_ATTRIBUTES, None
    if given := request.get("MessageAttributes"):
        attributes, attribute_bytes = rules.user_attributes(given)
        md5_of_attributes = rules.md5_of_attributes(attributes)
        size_bytes += attribute_bytes
    trace = rules.trace_header(given) if (given := request.get("MessageSystemAttributes")) else None
    delay_s = rules.check_delay(request.get("DelaySeconds"), is_fifo=queue.is_fifo)
    group_id, deduplication_id = request.get("MessageGroupId"), request.get("MessageDeduplicationId")
    if group_id is not None:
        rules.check_group_id(group_id)
    elif queue.is_fifo:
        raise (
            invalid_parameter("The request must contain the parameter MessageGroupId.")
            if in_batch
            else missing_parameter("MessageGroupId")
        )
    if deduplication_id is not None:
        if not queue.is_fifo:
            raise invalid_value(deduplication_id, "MessageDeduplicationId", rules.NOT_FOR_THIS_QUEUE)
        rules.check_group_id(deduplication_id, parameter="MessageDeduplicationId")
    elif queue.is_fifo:
        if not queue.content_based_deduplication:
            raise _no_deduplication()
        deduplication_id = rules.content_deduplication_id(body)
    draft = MessageDraft(
        body=request["MessageBody"],
        md5_of_body=rules.md5_hex(body),
        attributes=attributes,
        md5_of_attributes=md5_of_attributes,
        trace_header=trace[0] if trace else trace_header,
        md5_of_system_attributes=trace[1] if trace else None,
        delay_s=delay_s,
        group_id=group_id,
        deduplication_id=deduplication_id,
        sender_id=sender_id,
    )
    return draft, size_bytes


def _require_deduplication(queue: Queue, entries: Any) -> None:
    """Refuse a whole batch one of whose entries has no deduplication id where the queue makes none."""
    if queue.is_fifo and not queue.content_based_deduplication:
        for entry in entries:
            if entry.get("MessageDeduplicationId") is None:
                raise _no_deduplication()


def _no_deduplication() -> Refused:
    return invalid_parameter(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
    )


def _sent_members(draft: MessageDraft, sent: SentMessage) -> dict[str, Any]:
    members = {"MessageId": sent.message_id, "MD5OfMessageBody": draft.md5_of_body}
    if draft.md5_of_attributes is not None:
        members["MD5OfMessageAttributes"] = draft.md5_of_attributes
    if draft.md5_of_system_attributes is not None:
        members["MD5OfMessageSystemAttributes"] = draft.md5_of_system_attributes
    if sent.sequence_number is not None:
        members["SequenceNumber"] = sent.sequence_number
    return members


def _visibility(timeout_s: int) -> int:
    return rules.check_range(timeout_s, "VisibilityTimeout", 0, rules.MAXIMUM_VISIBILITY_S)


def _settled(ids: list[str], refusals: Sequence[SettleResult], failed: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    successful: list[dict[str, Any]] = []
    failed = list(failed)
    for entry_id, refusal in zip(ids, refusals, strict=True):
        if refusal is None:
            successful.append({"Id": entry_id})
        else:
            failed.append(failed_entry(entry_id, refusal))
    return _results(successful, failed)


def _results(successful: list[dict[str, Any]], failed: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a batch's answer; as everywhere in SQS, a list without elements is left out."""
    answer: dict[str, Any] = {}
    if successful:
        answer["Successful"] = successful
    if failed:
        answer["Failed"] = failed
    return answer
