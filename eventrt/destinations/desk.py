"""The desk: gives a message to whatever an ARN names, inside the caller's transaction.

Bucket notifications, topic subscriptions, rule targets, destinations and dead letters are one act. The desk knows
no target itself: each room that takes deliveries registers an acceptor for its part of an ARN (`sqs`, `lambda`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from eventrt.core.arn import Arn
from eventrt.core.messages import MessageAttribute
from eventrt.errors import EventrtError
from eventrt.store.api import Tx


class Undeliverable(EventrtError):  # noqa: N818 - a state of the target
    """The target does not take the message: it is missing, of the wrong kind, or the message is too large."""


class MessageTooLarge(Undeliverable):
    """The target would take a shorter message."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is handed over: a body (text, mostly JSON) and what a target may carry along with it.

    `group_id` and `deduplication_id` matter to FIFO queues only. `sender_id` is who the queue names as sender.
    `object_key` is the key under which a bucket keeps the body, `content_type` what it is then.
    """

    body: str
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)
    trace_header: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    sender_id: str = ""
    object_key: str | None = None
    content_type: str = "application/json"


class Acceptor(Protocol):
    """Lays a message down at a target.

    Raises: Undeliverable: the target does not take it; nothing was changed.
    """

    def __call__(self, tx: Tx, target: Arn, message: Message) -> None:
        """Take the message."""
        ...


class Desk:
    """Deliveries by ARN."""

    def __init__(self) -> None:
        self._acceptors: dict[str, Acceptor] = {}

    def register(self, service: str, acceptor: Acceptor) -> None:
        """Let an acceptor take what goes to ARNs of a service: `sqs`, `lambda`, `sns`."""
        self._acceptors[service] = acceptor

    def takes(self, target_arn: str) -> bool:
        """Is there an acceptor for this kind of ARN?"""
        try:
            return Arn.parse(target_arn).service in self._acceptors
        except ValueError:
            return False

    def deliver(self, tx: Tx, target_arn: str, message: Message) -> None:
        """Give the message to the target; it is there when the unit is committed.

        Raises: Undeliverable: nobody takes it, or the target refuses it.
        """
        try:
            target = Arn.parse(target_arn)
        except ValueError as error:
            raise Undeliverable(str(error)) from error
        acceptor = self._acceptors.get(target.service)
        if acceptor is None:
            raise Undeliverable(f"no target of {target_arn} is served here")
        acceptor(tx, target, message)
