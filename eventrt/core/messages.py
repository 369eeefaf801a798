"""The values of queues: a queue with its attributes, messages as they are sent, received and refused.

The values made once per message are named tuples: as immutable as a frozen dataclass, and made in a quarter of the
time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias


@dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """Where a message goes that was received `max_receive_count` times and never deleted."""

    dead_letter_target_arn: str
    max_receive_count: int


@dataclass(frozen=True, slots=True)
class RedriveAllowPolicy:
    """Who may name this queue as its dead-letter queue; `source_arns` counts with "byQueue" only."""

    permission: Literal["allowAll", "denyAll", "byQueue"] = "allowAll"
    source_arns: tuple[str, ...] = ()

    def permits(self, source_arn: str) -> bool:
        """May the queue `source_arn` send its dead letters here?"""
        return self.permission == "allowAll" or (self.permission == "byQueue" and source_arn in self.source_arns)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and what is set on it.

    `id` is the store's number of it, never reused. `attributes` holds the attributes that were set, by their wire
    name and in wire form (strings); the fields below are those the machine acts on, parsed, with AWS's defaults.
    Moments are epoch seconds.
    """

    id: int
    account_id: str
    region: str
    name: str
    created_at: float
    modified_at: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    is_fifo: bool = False
    visibility_timeout_s: int = 30
    retention_s: int = 345600
    delay_s: int = 0
    maximum_message_bytes: int = 1048576
    receive_wait_s: int = 0
    redrive: RedrivePolicy | None = None
    redrive_allow: RedriveAllowPolicy = RedriveAllowPolicy()
    content_based_deduplication: bool = False
    deduplicates_per_group: bool = False

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return f"arn:aws:sqs:{self.region}:{self.account_id}:{self.name}"


def acting_fields(attributes: Mapping[str, str]) -> dict[str, Any]:
    """Parse what the machine acts on out of checked wire attributes: keyword arguments of `Queue`.

    Absent attributes are left to the defaults of `Queue`, which are AWS's (semantics 04, A.2).

    Raises: ValueError, KeyError: an attribute was not checked by the door.
    """
    fields: dict[str, Any] = {name: int(attributes[wire]) for wire, name in _NUMBERS.items() if wire in attributes}
    fields["is_fifo"] = attributes.get("FifoQueue") == "true"
    fields["content_based_deduplication"] = attributes.get("ContentBasedDeduplication") == "true"
    fields["deduplicates_per_group"] = attributes.get("DeduplicationScope") == "messageGroup"
    if redrive := attributes.get("RedrivePolicy"):
        policy = json.loads(redrive)
        fields["redrive"] = RedrivePolicy(policy["deadLetterTargetArn"], int(policy["maxReceiveCount"]))
    if allow := attributes.get("RedriveAllowPolicy"):
        policy = json.loads(allow)
        fields["redrive_allow"] = RedriveAllowPolicy(
            policy["redrivePermission"], tuple(policy.get("sourceQueueArns", ()))
        )
    return fields


_NUMBERS = {
    "VisibilityTimeout": "visibility_timeout_s",
    "MessageRetentionPeriod": "retention_s",
    "DelaySeconds": "delay_s",
    "MaximumMessageSize": "maximum_message_bytes",
    "ReceiveMessageWaitTimeSeconds": "receive_wait_s",
}


class MessageAttribute(NamedTuple):
    """A typed value: `data_type` is String, Number or Binary, with an optional custom suffix; one value is set."""

    data_type: str
    string_value: str | None = None
    binary_value: bytes | None = None


NO_ATTRIBUTES: Mapping[str, MessageAttribute] = MappingProxyType({})


class MessageDraft(NamedTuple):
    """A message as its sender gave it, already checked: sizes, characters, attribute rules.

    `delay_s` None takes the queue's. `deduplication_id` is set for FIFO queues (content-based ids are computed
    by the door). `md5_of_*` are lower-case hex digests, as the answer shows them.
    """

    body: str
    md5_of_body: str
    attributes: Mapping[str, MessageAttribute] = NO_ATTRIBUTES
    md5_of_attributes: str | None = None
    trace_header: str | None = None
    md5_of_system_attributes: str | None = None
    delay_s: int | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    sender_id: str = ""


class SentMessage(NamedTuple):
    """What became of a draft. A duplicate inside the window has the first one's id and sequence number."""

    message_id: str
    sequence_number: str | None = None
    duplicate: bool = False


class ReceivedMessage(NamedTuple):
    """A message in flight, and the handle that settles it. Moments are epoch seconds."""

    message_id: str
    receipt_handle: str
    body: str
    md5_of_body: str
    sent_at: float
    receive_count: int
    first_received_at: float
    sender_id: str
    attributes: Mapping[str, MessageAttribute] = NO_ATTRIBUTES
    md5_of_attributes: str | None = None
    trace_header: str | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    sequence_number: str | None = None
    dead_letter_source_arn: str | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What one receive gave: messages, or none and the moment when one may become visible by itself."""

    messages: tuple[ReceivedMessage, ...] = ()
    next_visible_at: float | None = None
    over_limit: bool = False
    """Nothing was given because the queue's in-flight limit is reached (OverLimit on a short poll)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one entry could not be settled: an AWS error code (shape name) and its sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages a queue holds, by where they stand."""

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0


SettleResult: TypeAlias = Refusal | None

Place = Literal["visible", "in flight", "delayed"]


class PeekedMessage(NamedTuple):
    """A message as it lies on its queue, for looking at only. `until` is when its lease or delay ends.

    `position` is where the next page of a listing begins. A message of a FIFO group that is locked is "visible"
    here, as it is in the queue's count, though nobody receives it before the group is free.
    """

    position: str
    message_id: str
    place: Place
    until: float | None
    body: str
    sent_at: float
    receive_count: int
    first_received_at: float | None
    sender_id: str
    attributes: Mapping[str, MessageAttribute] = NO_ATTRIBUTES
    group_id: str | None = None
    deduplication_id: str | None = None
    sequence_number: str | None = None
    dead_letter_source_arn: str | None = None


MoveStatus = Literal["RUNNING", "COMPLETED", "CANCELLING", "CANCELLED", "FAILED"]


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A message move task (StartMessageMoveTask). Moments are epoch seconds.

    `handle` is what cancels it. `destination_arn` None sends each message back to the queue it was dead-lettered
    from. `to_move` was counted when the task began.
    """

    id: int
    handle: str
    source_arn: str
    destination_arn: str | None
    max_per_second: int | None
    status: MoveStatus
    started_at: float
    moved: int = 0
    to_move: int = 0
    failure_reason: str | None = None
