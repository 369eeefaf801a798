"""Message rules: what may be sent, how its digests are computed, what a receive shows of it.

Everything here is a pure function of the request's values. Whether a queue exists and what becomes of a message
is for others.

Source: semantics 04, A.3 to A.5; Amazon SQS developer guide, "Amazon SQS message metadata" (MD5 of attributes).
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import md5 as _md5
from hashlib import sha256
from typing import Any

from eventrt.core.messages import MessageAttribute, ReceivedMessage
from eventrt.core.queue_attributes import READABLE
from eventrt.core.refused import Refused, invalid_parameter, invalid_value, missing_parameter

MAXIMUM_BATCH_BYTES = 1_048_576
MAXIMUM_BATCH_ENTRIES = 10
MAXIMUM_ATTRIBUTES = 10
MAXIMUM_VISIBILITY_S = 43_200
MAXIMUM_DELAY_S = 900
MAXIMUM_WAIT_S = 20

NOT_FOR_THIS_QUEUE = "The request include parameter that is not valid for this queue type."
"""AWS's reason (its grammar included) for a parameter that queues of the other kind have."""

_ALLOWED_ASCII = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x80)])
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BATCH_ID = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_GROUP_OR_DEDUPLICATION_ID = re.compile(r"[!-~]{1,128}", re.ASCII)
_ATTRIBUTE_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)", re.ASCII)
_RESERVED_PREFIX = re.compile(r"(aws|amazon)\.", re.IGNORECASE)
_TYPE = re.compile(r"(String|Number|Binary)(\..+)?", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,4}))?", re.ASCII)


def md5_hex(data: bytes) -> str:
    """Return the lower-case hex MD5 of bytes, as SQS shows it."""
    return _md5(data, usedforsecurity=False).hexdigest()


# -- bodies


def encoded_body(body: object) -> bytes:
    """Return a message's body in UTF-8, once it has been found sendable.

    Raises: Refused: there is no body (`MissingParameter`), or it holds a character outside of XML 1.0's
        (`InvalidMessageContents`).
    """
    if not isinstance(body, str) or not body:
        raise missing_parameter("MessageBody")
    if body.isascii():
        data = body.encode()
        if not data.translate(None, _ALLOWED_ASCII):
            return data
    found = _FORBIDDEN.search(body)
    if found is not None:
        raise Refused(
            "InvalidMessageContents",
            f"Invalid binary character '#x{ord(found[0]):X}' was found in the message body, the set of allowed "
            "characters is #x9 | #xA | #xD | [#x20 to #xD7FF] | [#xE000 to #xFFFD] | [#x10000 to #x10FFFF]",
        )
    return body.encode()


def check_size(size_bytes: int, maximum_bytes: int, *, in_batch: bool = False) -> None:
    """Refuse a message (body, attribute names, types and values together) that is longer than its queue takes."""
    if size_bytes > maximum_bytes:
        verb = "cannot be validated" if in_batch else "are invalid"
        raise invalid_parameter(
            f"One or more parameters {verb}. Reason: Message must be shorter than {maximum_bytes} bytes."
        )


# -- attributes


def user_attributes(given: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, MessageAttribute], int]:
    """Check message attributes and return them with the bytes they cost (names, types, values).

    Raises: Refused: InvalidParameterValue, in AWS's words.
    """
    if len(given) > MAXIMUM_ATTRIBUTES:
        raise invalid_parameter(
            f"Number of message attributes [{len(given)}] exceeds the allowed maximum [{MAXIMUM_ATTRIBUTES}]."
        )
    attributes: dict[str, MessageAttribute] = {}
    size_bytes = 0
    for name, value in given.items():
        _check_attribute_name(name)
        attribute, value_bytes = _typed_value(name, value, kind="user", prefixes=("Binary", "Number", "String"))
        attributes[name] = attribute
        size_bytes += len(name) + len(attribute.data_type.encode()) + value_bytes
    return attributes, size_bytes


def trace_header(given: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """Check message system attributes; return AWSTraceHeader's value and the digest of the system attributes.

    The trace header is the only system attribute a sender may set; it does not count towards the size.

    Raises: Refused: InvalidParameterValue.
    """
    found: MessageAttribute | None = None
    for name, value in given.items():
        if name != "AWSTraceHeader":
            raise invalid_parameter(
                f"Message system attribute name '{name}' is invalid. The only supported name is AWSTraceHeader."
            )
        found, _ = _typed_value(name, value, kind="system", prefixes=("String",))
    if found is None or found.string_value is None:
        return None
    return found.string_value, md5_of_attributes({"AWSTraceHeader": found})


def _check_attribute_name(name: str) -> None:
    if not name:
        raise invalid_parameter("The request must contain non-empty message attribute name.")
    if not _ATTRIBUTE_NAME.fullmatch(name) or _RESERVED_PREFIX.match(name):
        raise invalid_parameter(
            f"The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, "
            "underscore (_), hyphen (-), and period (.) characters only, can be up to 256 characters long, must "
            "not start or end with a period or have two in a row, and must not start with AWS. or Amazon."
        )


def _typed_value(
    name: str, value: Mapping[str, Any], *, kind: str, prefixes: tuple[str, ...]
) -> tuple[MessageAttribute, int]:
    """Check one attribute's type and value; return it and the bytes of its value."""
    data_type = value.get("DataType") or ""
    if not data_type:
        raise invalid_parameter(f"Message ({kind}) attribute '{name}' must contain a non-empty message attribute type.")
    parts = _TYPE.fullmatch(data_type)
    if parts is None or parts[1] not in prefixes:
        raise invalid_parameter(
            f"The type of message ({kind}) attribute '{name}' is invalid. You must use only the following "
            f"supported type prefixes: {', '.join(prefixes)}."
        )
    if len(data_type) > 256 or _FORBIDDEN.search(data_type):
        raise invalid_parameter(
            f"The type of message ({kind}) attribute '{name}' is invalid. "
            "It can be at most 256 characters long, of the characters a message may have."
        )
    if value.get("StringListValues") or value.get("BinaryListValues"):
        raise invalid_parameter(f"Message ({kind}) attribute list values in SendMessage operation are not supported.")
    text, data = value.get("StringValue"), value.get("BinaryValue")
    if parts[1] == "Binary":
        if not data:
            raise _empty(kind, name, data_type)
        if text is not None:
            raise _both(kind, name, data_type)
        return MessageAttribute(data_type, None, bytes(data)), len(data)
    if not text:
        raise _empty(kind, name, data_type)
    if data is not None:
        raise _both(kind, name, data_type)
    if _FORBIDDEN.search(text):
        raise Refused(
            "InvalidMessageContents",
            f"Invalid binary character was found in the value of message ({kind}) attribute '{name}', the set of "
            "allowed characters is #x9 | #xA | #xD | [#x20 to #xD7FF] | [#xE000 to #xFFFD] | "
            "[#x10000 to #x10FFFF]",
        )
    if parts[1] == "Number" and not is_number(text):
        raise invalid_parameter(f"Can't cast the value of message ({kind}) attribute '{name}' to a number.")
    return MessageAttribute(data_type, text), len(text.encode())


def _empty(kind: str, name: str, data_type: str) -> Refused:
    return invalid_parameter(
        f"Message ({kind}) attribute '{name}' must contain a non-empty value of type '{data_type}'."
    )


def _both(kind: str, name: str, data_type: str) -> Refused:
    return invalid_parameter(f"Message ({kind}) attribute '{name}' has more than one value for type '{data_type}'.")


def is_number(text: str) -> bool:
    """Is a text a number SQS takes: up to 38 digits of precision, between 1e-128 and 1e+126 in size?"""
    parts = _NUMBER.fullmatch(text)
    if parts is None:
        return False
    whole, fraction, exponent = parts[1], parts[2], int(parts[3] or 0)
    if not whole and not fraction:
        return False
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return True
    highest = len(digits) - len(fraction) + exponent - 1
    return len(significant) <= 38 and -128 <= highest <= 126


def md5_of_attributes(attributes: Mapping[str, MessageAttribute]) -> str:
    """Return SQS's digest of attributes: names in UTF-8 order, each part led by its length as 4 bytes.

    The type is the full one, with its custom suffix; a byte 1 stands before text and 2 before binary values.
    """
    parts: list[bytes] = []
    for name in sorted(attributes):
        attribute = attributes[name]
        encoded_name, encoded_type = name.encode(), attribute.data_type.encode()
        if attribute.binary_value is not None:
            mark, value = b"\x02", attribute.binary_value
        else:
            mark, value = b"\x01", (attribute.string_value or "").encode()
        parts += (
            len(encoded_name).to_bytes(4, "big"),
            encoded_name,
            len(encoded_type).to_bytes(4, "big"),
            encoded_type,
            mark,
            len(value).to_bytes(4, "big"),
            value,
        )
    return md5_hex(b"".join(parts))


# -- FIFO


def check_group_id(value: str, *, parameter: str = "MessageGroupId") -> None:
    """Refuse a message group or deduplication id outside of 1 to 128 alphanumeric and punctuation characters."""
    if not _GROUP_OR_DEDUPLICATION_ID.fullmatch(value):
        raise invalid_value(
            value,
            parameter,
            f"{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.",
        )


def content_deduplication_id(body: bytes) -> str:
    """Return the deduplication id of a message without one: SHA-256 of the body alone, in hex."""
    return sha256(body, usedforsecurity=False).hexdigest()


def check_delay(delay_s: int | None, *, is_fifo: bool) -> int | None:
    """Return the delay of one message; None is the queue's own.

    Raises: Refused: outside of 0 to 900, or any but 0 on a FIFO queue, where only the queue has a delay.
    """
    if delay_s is None:
        return None
    if is_fifo:
        if delay_s:
            raise invalid_value(delay_s, "DelaySeconds", NOT_FOR_THIS_QUEUE)
        return None
    if not 0 <= delay_s <= MAXIMUM_DELAY_S:
        raise invalid_value(delay_s, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900.")
    return delay_s


# -- batches


def check_batch(entries: Sequence[Mapping[str, Any]] | None, entry_name: str) -> Sequence[Mapping[str, Any]]:
    """Return a batch's entries once their number and ids are right.

    Args: entry_name: what the Query protocol calls an entry, such as `SendMessageBatchRequestEntry`.
    Raises: Refused: EmptyBatchRequest, TooManyEntriesInBatchRequest, InvalidBatchEntryId, BatchEntryIdsNotDistinct.
    """
    if not entries:
        raise Refused("EmptyBatchRequest", f"There should be at least one {entry_name} in the request.")
    if len(entries) > MAXIMUM_BATCH_ENTRIES:
        raise Refused(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are {MAXIMUM_BATCH_ENTRIES}. You have sent {len(entries)}.",
        )
    seen: set[str] = set()
    for entry in entries:
        entry_id = entry.get("Id")
        if entry_id is None:
            raise missing_parameter("Id")
        if not _BATCH_ID.fullmatch(entry_id):
            raise Refused(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. "
                "It can be at most 80 letters long.",
            )
        if entry_id in seen:
            raise Refused("BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")
        seen.add(entry_id)
    return entries


def check_batch_size(size_bytes: int) -> None:
    """Refuse a batch whose messages are too long together."""
    if size_bytes > MAXIMUM_BATCH_BYTES:
        raise Refused(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {MAXIMUM_BATCH_BYTES} bytes. You have sent {size_bytes} bytes.",
        )


# -- receiving


def check_range(value: int, parameter: str, least: int, greatest: int) -> int:
    """Return a number of a receive, once it is in its range.

    Raises: Refused: `Value <n> for parameter <P> is invalid. Reason: Must be ..., if provided.`
    """
    if not least <= value <= greatest:
        words = (
            f"Must be between {least} and {greatest}, if provided."
            if parameter == "MaxNumberOfMessages"
            else f"Must be >= {least} and <= {greatest}, if provided."
        )
        raise invalid_value(value, parameter, words)
    return value


SYSTEM_ATTRIBUTES: Mapping[str, Callable[[ReceivedMessage], str | None]] = {
    "SenderId": lambda m: m.sender_id,
    "SentTimestamp": lambda m: str(round(m.sent_at * 1000)),
    "ApproximateReceiveCount": lambda m: str(m.receive_count),
    "ApproximateFirstReceiveTimestamp": lambda m: str(round(m.first_received_at * 1000)),
    "SequenceNumber": lambda m: m.sequence_number,
    "MessageDeduplicationId": lambda m: m.deduplication_id,
    "MessageGroupId": lambda m: m.group_id,
    "AWSTraceHeader": lambda m: m.trace_header,
    "DeadLetterQueueSourceArn": lambda m: m.dead_letter_source_arn,
}
"""A received message's system attributes by wire name; None where the message has none."""

SystemView = tuple[tuple[str, Callable[[ReceivedMessage], str | None]], ...]


def system_view(names: Sequence[str]) -> SystemView:
    """Compile the system attributes a receive asks for; `All` is all of them.

    The names of queue attributes pass and show nothing: the deprecated AttributeNames takes both kinds.

    Raises: Refused: InvalidAttributeName `Unknown Attribute <X>.`
    """
    if not names:
        return ()
    wanted = frozenset(names)
    for name in wanted:
        if name not in SYSTEM_ATTRIBUTES and name not in READABLE and name != "All":
            raise Refused("InvalidAttributeName", f"Unknown Attribute {name}.")
    return _system_view(wanted)


@lru_cache(maxsize=512)
def _system_view(names: frozenset[str]) -> SystemView:
    if "All" in names:
        return tuple(SYSTEM_ATTRIBUTES.items())
    return tuple((name, read) for name, read in SYSTEM_ATTRIBUTES.items() if name in names)


class AttributeView:
    """Which message attributes a receive shows: exact names, `All` or `.*`, and `prefix.*`."""

    __slots__ = ("_names", "_prefixes", "shows_all")

    def __init__(self, names: Iterable[str]) -> None:
        wanted = set(names)
        self.shows_all = bool(wanted & {"All", ".*"})
        self._names = frozenset(wanted)
        self._prefixes = tuple(name[:-2] for name in wanted if name.endswith(".*"))

    def of(self, attributes: Mapping[str, MessageAttribute]) -> Mapping[str, MessageAttribute]:
        """Return those of `attributes` that are shown."""
        if self.shows_all:
            return attributes
        return {
            name: value
            for name, value in attributes.items()
            if name in self._names or (self._prefixes and name.startswith(self._prefixes))
        }


def attribute_view(names: Sequence[str]) -> AttributeView | None:
    """Compile MessageAttributeNames; None when the receive asks for none."""
    if not names:
        return None
    if names == ["All"]:
        return _ALL_ATTRIBUTES
    return AttributeView(names)


_ALL_ATTRIBUTES = AttributeView(["All"])
