"""The values of queues: a queue with its attributes, messages as they are sent, received and refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """Where a message goes that was received `max_receive_count` times and never deleted."""

    dead_letter_target_arn: str
    max_receive_count: int


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
    content_based_deduplication: bool = False
    deduplicates_per_group: bool = False

    @property
    def arn(self) -> str:
        """The queue's ARN."""
        return f"arn:aws:sqs:{self.region}:{self.account_id}:{self.name}"


@dataclass(frozen=True, slots=True)
class MessageAttribute:
    """A typed value: `data_type` is String, Number or Binary, with an optional custom suffix; one value is set."""

    data_type: str
    string_value: str | None = None
    binary_value: bytes | None = None


@dataclass(frozen=True, slots=True)
class MessageDraft:
    """A message as its sender gave it, already checked: sizes, characters, attribute rules.

    `delay_s` None takes the queue's. `deduplication_id` is set for FIFO queues (content-based ids are computed
    by the door). `md5_of_*` are lower-case hex digests, as the answer shows them.
    """

    body: str
    md5_of_body: str
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)
    md5_of_attributes: str | None = None
    trace_header: str | None = None
    md5_of_system_attributes: str | None = None
    delay_s: int | None = None
    group_id: str | None = None
    deduplication_id: str | None = None
    sender_id: str = ""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """What became of a draft. A duplicate inside the window has the first one's id and sequence number."""

    message_id: str
    sequence_number: str | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message in flight, and the handle that settles it. Moments are epoch seconds."""

    message_id: str
    receipt_handle: str
    body: str
    md5_of_body: str
    sent_at: float
    receive_count: int
    first_received_at: float
    sender_id: str
    attributes: Mapping[str, MessageAttribute] = field(default_factory=dict)
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
