"""Queues as a shelf: make, send, receive, settle, dead-letter, purge; plain functions on a transaction.

What is asked here has been checked by its door: sizes, characters, ranges. These functions hold what takes two
queues or more than one step: which dead-letter queue a receive uses, how often a queue may be purged. Move tasks are
in `moves`, the removal of what is over in `sweeper`.
"""

from collections.abc import Mapping, Sequence

from eventrt.core.arn import Arn
from eventrt.core.message_rules import content_deduplication_id, md5_hex, md5_of_attributes
from eventrt.core.messages import (
    MessageDraft,
    Queue,
    QueueDepth,
    Received,
    Refusal,
    SentMessage,
    SettleResult,
)
from eventrt.destinations.desk import Message, MessageTooLarge, Undeliverable
from eventrt.store.api import Tx
from eventrt.store.messages import Owner

__all__ = [
    "PURGE_INTERVAL_S",
    "Owner",
    "accept",
    "change_visibility",
    "create",
    "delete",
    "delete_queue",
    "depth",
    "find",
    "purge",
    "receive",
    "send",
    "set_attributes",
    "set_tags",
]

PURGE_INTERVAL_S = 60.0
"""A queue may be purged once in so many seconds (semantics 04, A.4)."""


def create(
    tx: Tx,
    *,
    account_id: str,
    region: str,
    name: str,
    attributes: Mapping[str, str],
    tags: Mapping[str, str],
) -> Queue:
    """Make a queue and return it; its name must be free, so `find` it first in the same unit.

    Args: attributes: those that were set, by wire name and in wire form (strings), already checked.
    """
    tx.announce(("queues",))  # mappings whose queue is missing wait for this
    return tx.queues.create(account_id, region, name, attributes, tags)


def find(tx: Tx, *, account_id: str, region: str, name: str) -> Queue | None:
    """Return the queue of this name, or None. (Also: `tx.queues.by_arn`, `by_id`, `list`, `dead_letter_sources`.)"""
    return tx.queues.find(account_id, region, name)


def set_attributes(tx: Tx, queue: Queue, attributes: Mapping[str, str]) -> Queue:
    """Replace all attributes of a queue (so merge first) and return it as it is now; who waits on it is woken."""
    changed = tx.queues.set_attributes(queue, attributes)
    tx.announce(("queue", queue.id))
    return changed


def set_tags(tx: Tx, queue: Queue, tags: Mapping[str, str]) -> Queue:
    """Replace all tags of a queue (so merge first) and return it as it is now."""
    return tx.queues.set_tags(queue, tags)


def delete_queue(tx: Tx, queue: Queue) -> None:
    """Take a queue away with all its messages; who waits on it is woken, and finds it gone."""
    tx.queues.delete(queue)
    tx.announce(("queue", queue.id))


def send(tx: Tx, queue: Queue, drafts: Sequence[MessageDraft]) -> list[SentMessage]:
    """Lay messages on a queue, in order, and wake who waits for them.

    Returns one value per draft, in order. On a FIFO queue a draft whose deduplication id was sent within the last 5
    minutes (even if that message is deleted) is not laid down again; its answer is the first one's.
    """
    return tx.messages.send(queue, drafts)


def receive(
    tx: Tx,
    queue: Queue,
    *,
    limit: int,
    visibility_timeout_s: int | None = None,
    attempt_id: str | None = None,
    owner: Owner = "client",
) -> Received:
    """Lease up to `limit` messages until now + visibility timeout; dead-letter those received too often.

    Never waits: to wait, watch `("queue", queue.id)` *before* receiving, then wait for the bell or for
    `next_visible_at` on the clock, whichever comes first, and receive again. A lease that would end before a moment
    told as `next_visible_at` rings the bell, so one look per ring or moment is enough.

    Args:
        visibility_timeout_s: None takes the queue's. With 0 a message stays visible, its receive count raised.
        attempt_id: FIFO's ReceiveRequestAttemptId: the same id within 5 minutes gets the same messages again, as
            long as their leases hold.
        owner: a poller's leases end at once when the daemon restarts.
    """
    dead_letter_queue = None
    if queue.redrive is not None:
        dead_letter_queue = tx.queues.by_arn(queue.redrive.dead_letter_target_arn)
        if dead_letter_queue is not None and not _accepts(dead_letter_queue, queue):
            dead_letter_queue = None
    return tx.messages.receive(
        queue,
        limit=limit,
        visibility_timeout_s=queue.visibility_timeout_s if visibility_timeout_s is None else visibility_timeout_s,
        attempt_id=attempt_id,
        owner=owner,
        dead_letter_queue=dead_letter_queue,
    )


def _accepts(dead_letter_queue: Queue, source: Queue) -> bool:
    """Does the dead-letter queue take this source's messages? Else they stay where they are (semantics 04, A.6)."""
    return (
        dead_letter_queue.id != source.id
        and dead_letter_queue.is_fifo == source.is_fifo
        and dead_letter_queue.account_id == source.account_id
        and dead_letter_queue.region == source.region
        and dead_letter_queue.redrive_allow.permits(source.arn)
    )


def delete(tx: Tx, queue: Queue, receipt_handles: Sequence[str]) -> list[SettleResult]:
    """Settle messages as done. Per handle: None, or why not.

    A standard queue takes any handle a message ever had, also after its lease; deleting twice succeeds. A FIFO
    queue refuses a handle whose lease has ended. Refusals: ReceiptHandleIsInvalid (malformed, or of another queue),
    InvalidParameterValueException (expired).
    """
    return tx.messages.delete(queue, receipt_handles)


def change_visibility(tx: Tx, queue: Queue, changes: Sequence[tuple[str, int]]) -> list[SettleResult]:
    """Let leases end `timeout_s` from now; 0 releases at once. Per (handle, timeout_s): None, or why not.

    Refusals: ReceiptHandleIsInvalid; InvalidParameterValueException (more than 12 hours since the receive, the
    message is deleted, a FIFO handle has expired). `timeout_s` is 0..43200, checked by the door.
    """
    return tx.messages.change_visibility(queue, changes)


def depth(tx: Tx, queue: Queue) -> QueueDepth:
    """Count the queue's messages, exactly, at a cost that does not grow with them. Good for `store.read`."""
    return tx.messages.depth(queue)


def purge(tx: Tx, queue: Queue) -> Refusal | None:
    """Empty the queue at once, in-flight messages too; or say why not (PurgeQueueInProgress: once in 60 s)."""
    purged_at = tx.messages.purged_at(queue)
    if purged_at is not None and 0 <= tx.now - purged_at < PURGE_INTERVAL_S:
        return Refusal(
            "PurgeQueueInProgress",
            f"Only one PurgeQueue operation on {queue.name} is allowed every 60 seconds.",
        )
    tx.messages.purge(queue)
    return None


def accept(tx: Tx, target: Arn, message: Message) -> None:
    """Lay a delivery on the queue the ARN names: the desk's acceptor for `sqs`.

    Raises: Undeliverable: no such queue; too large for it; or it is a FIFO queue and the message has no group, or
        no deduplication id though the queue does not compute one.
    """
    queue = tx.queues.by_arn(str(target))
    if queue is None:
        raise Undeliverable(f"the queue {target} does not exist")
    body = message.body.encode()
    size = len(body) + sum(
        len(name.encode())
        + len(value.data_type.encode())
        + len(value.binary_value or (value.string_value or "").encode())
        for name, value in message.attributes.items()
    )
    if size > queue.maximum_message_bytes:
        raise MessageTooLarge(f"the message has {size} bytes, {target} takes {queue.maximum_message_bytes}")
    deduplication_id = message.deduplication_id
    if queue.is_fifo:
        if message.group_id is None:
            raise Undeliverable(f"{target} is a FIFO queue, and the message has no group")
        if deduplication_id is None and queue.content_based_deduplication:
            deduplication_id = content_deduplication_id(body)
        if deduplication_id is None:
            raise Undeliverable(f"{target} is a FIFO queue, and the message has no deduplication id")
    draft = MessageDraft(
        message.body,
        md5_hex(body),
        message.attributes,
        md5_of_attributes(message.attributes) if message.attributes else None,
        message.trace_header,
        group_id=message.group_id,
        deduplication_id=deduplication_id,
        sender_id=message.sender_id,
    )
    send(tx, queue, [draft])
