"""Queue attributes as rules: names, ranges, defaults, how they depend on each other, and what they read as.

Attributes travel as strings. A queue keeps those that were set, normalised (`Queue.attributes`); what it acts
on is parsed by `core.messages.acting_fields`. Rules that need another queue (does the dead-letter queue exist,
does it allow this source) take that queue as an argument; finding it is the door's business.

Source: semantics 04, A.2 and A.6; Amazon SQS API reference, SetQueueAttributes.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from eventrt.core.arn import Arn
from eventrt.core.messages import Queue, QueueDepth, RedriveAllowPolicy, RedrivePolicy
from eventrt.core.refused import Refused, invalid_parameter, invalid_value

RANGES: Mapping[str, tuple[int, int]] = {
    "VisibilityTimeout": (0, 43_200),
    "MessageRetentionPeriod": (60, 1_209_600),
    "DelaySeconds": (0, 900),
    "MaximumMessageSize": (1_024, 1_048_576),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
}
"""Whole-number attributes with their least and greatest values."""

DEFAULTS: Mapping[str, str] = {
    "VisibilityTimeout": "30",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "DelaySeconds": "0",
    "ReceiveMessageWaitTimeSeconds": "0",
}
"""What a queue has of the attributes every queue has, when they were not set."""

FIFO_DEFAULTS: Mapping[str, str] = {
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}
"""What a FIFO queue has besides."""

READ_ONLY = frozenset(
    {
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "QueueArn",
    }
)
SETTABLE = frozenset(
    {
        *RANGES,
        *FIFO_DEFAULTS,
        "Policy",
        "RedrivePolicy",
        "RedriveAllowPolicy",
        "KmsMasterKeyId",
        "SqsManagedSseEnabled",
    }
)
READABLE = READ_ONLY | SETTABLE

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
    "SqsManagedSseEnabled": ("true", "false"),
}
_FIFO_ONLY_SETTINGS = ("DeduplicationScope", "FifoThroughputLimit")
_CLEARABLE = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId"})
_WHOLE_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
_STANDARD_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_FIFO_NAME = re.compile(r"(?=.{6,80}\Z)[A-Za-z0-9_-]+\.fifo", re.ASCII)

MAXIMUM_POLICY_BYTES = 8_192
DEEPEST_JSON = 500
MAXIMUM_TAGS = 50
MAXIMUM_REDRIVE_SOURCES = 10


def check_name(name: str, *, is_fifo: bool) -> None:
    """Refuse a queue name that AWS would not take.

    Raises: Refused: more than 80 characters, a character outside `[A-Za-z0-9_-]`, or `.fifo` where it must (not) be.
    """
    if is_fifo:
        if not _FIFO_NAME.fullmatch(name):
            raise invalid_parameter(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
                "must end with .fifo suffix and be 1 to 80 in length."
            )
    elif not _STANDARD_NAME.fullmatch(name):
        raise invalid_parameter("Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")


def check_tags(tags: Mapping[str, str], *, queue_name: str) -> None:
    """Refuse a set of tags (the queue's own and the new ones together) that AWS would not take."""
    if len(tags) > MAXIMUM_TAGS:
        raise invalid_parameter(f"Too many tags added for queue {queue_name}.")
    for key, value in tags.items():
        if not 1 <= len(key) <= 128:
            raise invalid_parameter("Tag keys must be between 1 and 128 characters in length.")
        if len(value) > 256:
            raise invalid_parameter("Tag values must be between 0 and 256 characters in length.")
        if key.lower().startswith("aws:"):
            raise invalid_parameter("Tag keys starting with aws: are reserved for system use.")


def is_fifo_requested(attributes: Mapping[str, str]) -> bool:
    """Say whether CreateQueue asks for a FIFO queue.

    Raises: Refused: FifoQueue is given with a value other than `true`.
    """
    value = attributes.get("FifoQueue")
    if value is None:
        return False
    if value.lower() == "true":
        return True
    if value.lower() == "false":
        raise _unknown("FifoQueue")
    raise _bad_value("FifoQueue")


def normalise(
    attributes: Mapping[str, str], *, is_fifo: bool, present: Mapping[str, str] | None = None
) -> dict[str, str | None]:
    """Check attributes as a caller gave them and return them in the form they are kept in.

    Args:
        attributes: wire names and strings.
        present: the attributes the queue already has; None while it is created.

    Returns: what to set; None as a value clears the attribute (an empty Policy, RedrivePolicy, ...).
    Raises: Refused: InvalidAttributeName, InvalidAttributeValue or InvalidParameterValue, in AWS's words.
    """
    changes: dict[str, str | None] = {}
    for name, value in attributes.items():
        if name not in SETTABLE:
            raise _unknown(name)
        if name in _CLEARABLE and value == "":
            if present is not None:
                changes[name] = None
            continue
        changes[name] = _normalised(name, value, is_fifo=is_fifo)
    _check_together(changes, is_fifo=is_fifo, present=present)
    return changes


def _normalised(name: str, value: str, *, is_fifo: bool) -> str:
    """Check one attribute by itself and return the form it is kept in."""
    if name in RANGES:
        least, greatest = RANGES[name]
        if not _WHOLE_NUMBER.fullmatch(value) or not least <= int(value) <= greatest:
            raise _bad_value(name)
        return str(int(value))
    if name == "FifoQueue":
        if not is_fifo:
            raise _unknown("FifoQueue")
        if value.lower() != "true":
            raise _bad_value(name, "Modifying queue type is not supported.")
        return "true"
    if name in _FIFO_ONLY_SETTINGS and not is_fifo:
        raise Refused("InvalidAttributeName", f"You can specify the {name} only when FifoQueue is set to true.")
    if name == "ContentBasedDeduplication" and not is_fifo:
        raise _unknown(name)
    if name in _CHOICES:
        if name.endswith("Enabled") or name == "ContentBasedDeduplication":
            value = value.lower()
        if value not in _CHOICES[name]:
            raise _bad_value(name)
        return value
    if name == "Policy":
        return _policy(value)
    if name == "RedrivePolicy":
        return redrive_text(parse_redrive(value))
    if name == "RedriveAllowPolicy":
        return allow_text(parse_allow(value))
    if len(value) > 2048:  # KmsMasterKeyId: a key id, an alias or an ARN
        raise _bad_value(name)
    return value


def _check_together(changes: dict[str, str | None], *, is_fifo: bool, present: Mapping[str, str] | None) -> None:
    """Hold the rules that tie attributes to each other, and draw their consequences into `changes`."""
    if changes.get("KmsMasterKeyId") and changes.get("SqsManagedSseEnabled") == "true":
        raise Refused(
            "InvalidAttributeName",
            "You can use one type of server-side encryption (SSE) at one time. "
            "You can either enable KMS SSE or SQS SSE.",
        )
    if changes.get("KmsMasterKeyId"):
        changes["SqsManagedSseEnabled"] = "false"
    elif changes.get("SqsManagedSseEnabled") == "true" and present is not None and "KmsMasterKeyId" in present:
        changes["KmsMasterKeyId"] = None
    if is_fifo:
        before = present or {}
        scope = changes.get("DeduplicationScope") or before.get("DeduplicationScope", "queue")
        limit = changes.get("FifoThroughputLimit") or before.get("FifoThroughputLimit", "perQueue")
        if limit == "perMessageGroupId" and scope != "messageGroup":
            raise Refused(
                "InvalidAttributeValue",
                "Invalid value for the parameter FifoThroughputLimit. Reason: The perMessageGroupId value is "
                "allowed only when the value for DeduplicationScope is messageGroup.",
            )


def merged(present: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return the attributes a queue has after `changes` (from `normalise`)."""
    after = dict(present)
    for name, value in changes.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = value
    return after


def first_difference(present: Mapping[str, str], asked: Mapping[str, str], *, is_fifo: bool) -> str | None:
    """Return the name of the first attribute in `asked` that differs from what the queue has, or None.

    Attributes that are not mentioned are not compared: CreateQueue again is the same queue. Policies that are the same
    JSON are the same policy.
    """
    defaults = {**DEFAULTS, **(FIFO_DEFAULTS if is_fifo else {}), "SqsManagedSseEnabled": "true"}
    for name, value in asked.items():
        have = present.get(name, defaults.get(name, "300" if name == "KmsDataKeyReusePeriodSeconds" else ""))
        if have != value and not (name == "Policy" and have and _json_map(have) == _json_map(value)):
            return name
    return None


# -- policies


def parse_redrive(text: str) -> RedrivePolicy:
    """Take a RedrivePolicy apart; `maxReceiveCount` may come as a number or as a string of digits.

    Raises: Refused: InvalidParameterValue `Value <text> for parameter RedrivePolicy is invalid. Reason: ...`
    """
    document = _json_map(text)
    if document is None:
        raise invalid_value(text, "RedrivePolicy", "Redrive policy is not a valid JSON map.")
    for name in ("deadLetterTargetArn", "maxReceiveCount"):
        if document.get(name) in (None, ""):
            raise invalid_value(text, "RedrivePolicy", f"Redrive policy does not contain mandatory attribute: {name}.")
    for name in document:
        if name not in ("deadLetterTargetArn", "maxReceiveCount"):
            raise invalid_value(
                text,
                "RedrivePolicy",
                f"Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount], {name} is not.",
            )
    count = document["maxReceiveCount"]
    number = count if isinstance(count, int) and not isinstance(count, bool) else None
    if isinstance(count, str) and _WHOLE_NUMBER.fullmatch(count):
        number = int(count)
    if number is None or not 1 <= number <= 1000:
        raise invalid_value(
            text,
            "RedrivePolicy",
            f"Invalid value for maxReceiveCount: {count}, valid values are from 1 to 1000 both inclusive.",
        )
    target = document["deadLetterTargetArn"]
    if not isinstance(target, str) or queue_arn(target) is None:
        raise invalid_value(text, "RedrivePolicy", "Invalid value for deadLetterTargetArn.")
    return RedrivePolicy(target, number)


def redrive_text(policy: RedrivePolicy) -> str:
    """Return a RedrivePolicy in the form AWS answers with; the count is a number, whatever came in."""
    return _compact({"deadLetterTargetArn": policy.dead_letter_target_arn, "maxReceiveCount": policy.max_receive_count})


def parse_allow(text: str) -> RedriveAllowPolicy:
    """Take a RedriveAllowPolicy apart.

    Raises: Refused: InvalidParameterValue, in AWS's words.
    """
    refusal = invalid_value(
        text,
        "RedriveAllowPolicy",
        "Amazon SQS can't create the redrive allow policy, as it\u2019s not in the supported format.",
    )
    document = _json_map(text)
    if document is None or not set(document) <= {"redrivePermission", "sourceQueueArns"}:
        raise refusal
    permission = document.get("redrivePermission")
    sources = document.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise refusal
    if permission != "byQueue":
        if sources is not None:
            raise refusal
        return RedriveAllowPolicy(permission)
    if (
        not isinstance(sources, list)
        or not 1 <= len(sources) <= MAXIMUM_REDRIVE_SOURCES
        or not all(isinstance(arn, str) and queue_arn(arn) is not None for arn in sources)
    ):
        raise refusal
    return RedriveAllowPolicy("byQueue", tuple(sources))


def allow_text(policy: RedriveAllowPolicy) -> str:
    """Return a RedriveAllowPolicy in the form it is kept and answered in."""
    document: dict[str, Any] = {"redrivePermission": policy.permission}
    if policy.permission == "byQueue":
        document["sourceQueueArns"] = list(policy.source_arns)
    return _compact(document)


def check_dead_letter_queue(source: Queue, target: Queue | None, policy_text: str) -> None:
    """Refuse a RedrivePolicy of `source` whose dead-letter queue is missing, of another kind, or says no.

    Args:
        source: the queue the policy is set on; account, region, name and kind count.
        target: the queue `deadLetterTargetArn` names, or None when there is none.

    Raises: Refused: InvalidParameterValue `Value <json> for parameter RedrivePolicy is invalid. Reason: ...`
    """
    target_arn = queue_arn(parse_redrive(policy_text).dead_letter_target_arn)
    if target_arn is None or target_arn.account_id != source.account_id:
        raise invalid_value(policy_text, "RedrivePolicy", "Dead letter target owner should be same as the source.")
    if target_arn.region != source.region:
        raise invalid_value(policy_text, "RedrivePolicy", "Dead letter target must be in same region as the source.")
    if target is None:
        raise invalid_value(policy_text, "RedrivePolicy", "Dead letter target does not exist.")
    if (target.region, target.account_id, target.name) == (source.region, source.account_id, source.name):
        raise invalid_value(policy_text, "RedrivePolicy", "Dead letter target must be different from the source.")
    if target.is_fifo != source.is_fifo:
        raise invalid_value(policy_text, "RedrivePolicy", "Dead-letter queue must be same type of queue as the source.")
    if not target.redrive_allow.permits(source.arn):
        raise invalid_value(
            policy_text, "RedrivePolicy", f"Queue {target.arn} does not allow {source.arn} as a source queue."
        )


def queue_arn(text: str) -> Arn | None:
    """Take a queue's ARN apart; None when the text is no ARN of a queue."""
    try:
        arn = Arn.parse(text)
    except ValueError:
        return None
    return arn if arn.service == "sqs" and arn.resource and ":" not in arn.resource else None


def _policy(text: str) -> str:
    """Check that an access policy is a JSON object of a policy's shape; it is kept as it came."""
    document = _json_map(text)
    if document is None:
        raise _bad_value("Policy")
    statements = document.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if (
        not isinstance(statements, list)
        or not statements
        or not all(isinstance(s, dict) and s.get("Effect") in ("Allow", "Deny") for s in statements)
        or len(text.encode("utf-8", "surrogatepass")) > MAXIMUM_POLICY_BYTES
    ):
        raise _bad_value("Policy")
    return text


def _json_map(text: str) -> dict[str, Any] | None:
    if text.count("[") + text.count("{") > DEEPEST_JSON:
        return None  # what cannot be nested deeper can also be written again
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


# -- reading


def check_readable(names: Iterable[str]) -> None:
    """Refuse names that GetQueueAttributes does not know."""
    for name in names:
        if name != "All" and name not in READABLE:
            raise _unknown(name)


def described(queue: Queue, depth: QueueDepth, names: Iterable[str]) -> dict[str, str]:
    """Return the attributes asked for, as GetQueueAttributes answers: unset optional ones are absent.

    Args: names: wire names (checked by `check_readable`); `All` is all of them.
    """
    have = {
        "QueueArn": queue.arn,
        "ApproximateNumberOfMessages": str(depth.visible),
        "ApproximateNumberOfMessagesNotVisible": str(depth.in_flight),
        "ApproximateNumberOfMessagesDelayed": str(depth.delayed),
        "CreatedTimestamp": str(int(queue.created_at)),
        "LastModifiedTimestamp": str(int(queue.modified_at)),
        **DEFAULTS,
        **(FIFO_DEFAULTS if queue.is_fifo else {}),
        "SqsManagedSseEnabled": "true",
        **queue.attributes,
    }
    if "KmsMasterKeyId" in have:
        have.setdefault("KmsDataKeyReusePeriodSeconds", "300")
    wanted = set(names)
    return have if "All" in wanted else {name: value for name, value in have.items() if name in wanted}


def _unknown(name: str) -> Refused:
    return Refused("InvalidAttributeName", f"Unknown Attribute {name}.")


def _bad_value(name: str, reason: str = "") -> Refused:
    ending = f" Reason: {reason}" if reason else ""
    return Refused("InvalidAttributeValue", f"Invalid value for the parameter {name}.{ending}")
