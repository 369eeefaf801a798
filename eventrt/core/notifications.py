"""Bucket notifications: which configurations an event matches, what may be configured, and what a message says.

Pure: numbers, moments and ids are handed in. Who is told is an ARN; handing over is the desk's business.

Source: semantics 05, A; S3 user guide, "Amazon S3 Event Notifications".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from eventrt.core.object_rules import invalid_argument, malformed_xml

LIMIT = 100

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "s3:ObjectCreated:*": ("Put", "Post", "Copy", "CompleteMultipartUpload"),
    "s3:ObjectRemoved:*": ("Delete", "DeleteMarkerCreated"),
    "s3:ObjectRestore:*": ("Post", "Completed", "Delete"),
    "s3:Replication:*": (
        "OperationFailedReplication",
        "OperationMissedThreshold",
        "OperationReplicatedAfterThreshold",
        "OperationNotTracked",
    ),
    "s3:LifecycleExpiration:*": ("Delete", "DeleteMarkerCreated"),
    "s3:ObjectTagging:*": ("Put", "Delete"),
    "s3:ObjectAnnotation:*": ("Put", "Delete"),
}
"""Event types that a wildcard stands for."""

SINGLES = (
    "s3:ObjectAcl:Put",
    "s3:LifecycleTransition",
    "s3:IntelligentTiering",
    "s3:ReducedRedundancyLostObject",
    "s3:ObjectRetention:Put",
)

NEVER_HERE = ("s3:ObjectRestore:", "s3:Replication:", "s3:ObjectAnnotation:")
"""Events of what eventrt does not do. Configuring them is taken, as on AWS; they never happen here."""

TARGETS: Mapping[str, tuple[str, str, str]] = {
    "QueueConfigurations": ("QueueArn", "Queue", "sqs"),
    "LambdaFunctionConfigurations": ("LambdaFunctionArn", "CloudFunction", "lambda"),
    "TopicConfigurations": ("TopicArn", "Topic", "sns"),
}
"""A configuration's list -> (the member with the ARN, its name in refusals, the service)."""

_VERSIONS = {"ObjectTagging": "2.3", "ObjectAcl": "2.3", "LifecycleExpiration": "2.3", "LifecycleTransition": "2.3"}


def _expand(event: str) -> frozenset[str]:
    if event in FAMILIES:
        return frozenset(event[:-1] + member for member in FAMILIES[event])
    return frozenset((event,))


ALL = frozenset(name for family in FAMILIES for name in _expand(family)) | frozenset(SINGLES)
"""Every event type, without wildcards."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One configuration: who is told of which events on which keys."""

    id: str
    target_arn: str
    events: frozenset[str]
    prefix: str
    suffix: str

    def matches(self, event: str, key: str) -> bool:
        """Is the target told of this event on this key?"""
        return event in self.events and key.startswith(self.prefix) and key.endswith(self.suffix)


def read(configuration: Mapping[str, Any], region: str = "") -> list[Rule]:
    """Return the rules of a notification configuration, given by the model's member names, ids filled in.

    Args: region: the bucket's, which is to be the destinations' as well; "" takes any.
    Raises: S3Refused: InvalidArgument, MalformedXML.
    """
    rules: list[Rule] = []
    for kind, (member, name, service) in TARGETS.items():
        for one in configuration.get(kind, ()):
            if member not in one:
                raise malformed_xml()
            arn = one[member]
            parts = arn.split(":", 5)
            if len(parts) < 6 or parts[0] != "arn" or parts[2] != service or not parts[3] or not parts[5]:
                raise invalid_argument("The ARN could not be parsed", name, arn)
            if region and parts[3] != region:
                raise invalid_argument(
                    "The notification destination service region is not valid for the bucket location constraint",
                    name,
                    arn,
                )
            events = one.get("Events") or ()
            if not events:
                raise malformed_xml()
            for event in events:
                if event not in ALL and event not in FAMILIES:
                    raise invalid_argument("The event is not supported for notifications", "Event", event)
            prefix, suffix = _filter_of(one)
            found = frozenset[str]().union(*(_expand(event) for event in events))
            rules.append(Rule(one["Id"], arn, found, prefix, suffix))
    _check_together(rules)
    return rules


def _filter_of(configuration: Mapping[str, Any]) -> tuple[str, str]:
    found: dict[str, str] = {}
    for rule in (configuration.get("Filter") or {}).get("Key", {}).get("FilterRules", ()):
        name = rule.get("Name", "").lower()
        if name not in ("prefix", "suffix"):
            raise invalid_argument(
                "filter rule name must be either prefix or suffix", "FilterRule.Name", rule.get("Name", "")
            )
        if name in found:
            raise invalid_argument(
                f"Cannot specify more than one {name} rule in a filter.", "FilterRule.Name", rule["Name"]
            )
        value = rule.get("Value", "")
        if len(value.encode()) > 1024:
            raise invalid_argument("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation")
        found[name] = value
    return found.get("prefix", ""), found.get("suffix", "")


def _check_together(rules: Sequence[Rule]) -> None:
    if len(rules) > LIMIT:
        raise invalid_argument(f"The number of notification configurations must not exceed {LIMIT}.")
    if len({rule.id for rule in rules}) != len(rules):
        raise invalid_argument("Same ID used for multiple configurations. IDs must be unique")
    for index, one in enumerate(rules):
        for other in rules[:index]:
            if (
                not one.events.isdisjoint(other.events)
                and _overlap(one.prefix, other.prefix, str.startswith)
                and _overlap(one.suffix, other.suffix, str.endswith)
            ):
                raise invalid_argument(
                    "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the "
                    "prefixes are overlapping for the same event type."
                )


def _overlap(one: str, other: str, covers: Any) -> bool:
    return bool(covers(one, other) or covers(other, one))


def with_names(configuration: Mapping[str, Any], fresh_id: Any) -> dict[str, Any]:
    """Return a configuration as it is kept and given back: ids filled in, filter names as `Prefix` and `Suffix`."""
    kept: dict[str, Any] = {}
    for kind in TARGETS:
        entries = []
        for one in configuration.get(kind, ()):
            entry = {"Id": one.get("Id") or fresh_id(), **{name: one[name] for name in one if name != "Id"}}
            rules = (entry.get("Filter") or {}).get("Key", {}).get("FilterRules")
            if rules:
                entry["Filter"] = {
                    "Key": {
                        "FilterRules": [
                            {"Name": rule.get("Name", "").capitalize(), "Value": rule.get("Value", "")}
                            if rule.get("Name", "").lower() in ("prefix", "suffix")
                            else rule
                            for rule in rules
                        ]
                    }
                }
            entries.append(entry)
        if entries:
            kept[kind] = entries
    return kept


class Event(NamedTuple):
    """What happened to an object.

    Attributes:
        name: `s3:ObjectCreated:Put`. version_id: None in a bucket that never had versions.
        size, etag: None where the record leaves them out. sequence: orders the events of a key; None leaves it out.
    """

    name: str
    key: str
    version_id: str | None = None
    size: int | None = None
    etag: str | None = None
    sequence: int | None = None


class Origin(NamedTuple):
    """Who made it happen: what stands in `userIdentity`, `requestParameters` and `responseElements`.

    `trace_header` is the request's; it goes along with the notification, so that loops are found.
    """

    principal_id: str
    source_ip: str = "127.0.0.1"
    request_id: str = ""
    host_id: str = ""
    trace_header: str | None = None


def sequencer(sequence: int) -> str:
    """Return a number as `sequencer` says it: texts of one length, in the order of the numbers."""
    return f"{sequence:018X}"


def record(event: Event, rule_id: str, *, bucket: str, region: str, owner: str, origin: Origin, now: float) -> Any:
    """Return the one record of a notification, its members in AWS's order."""
    thing: dict[str, Any] = {"key": quote_plus(event.key, safe="/*-._")}
    if event.size is not None:
        thing["size"] = event.size
    if event.etag is not None:
        thing["eTag"] = event.etag
    if event.version_id is not None:
        thing["versionId"] = event.version_id
    if event.sequence is not None:
        thing["sequencer"] = sequencer(event.sequence)
    name = event.name.removeprefix("s3:")
    return {
        "eventVersion": _VERSIONS.get(name.partition(":")[0], "2.1"),
        "eventSource": "aws:s3",
        "awsRegion": region,
        "eventTime": _iso_ms(now),
        "eventName": name,
        "userIdentity": {"principalId": origin.principal_id},
        "requestParameters": {"sourceIPAddress": origin.source_ip},
        "responseElements": {"x-amz-request-id": origin.request_id, "x-amz-id-2": origin.host_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule_id,
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": owner}, "arn": f"arn:aws:s3:::{bucket}"},
            "object": thing,
        },
    }


def test_event(bucket: str, *, request_id: str, host_id: str, now: float) -> dict[str, str]:
    """Return the message that a new destination is sent."""
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": _iso_ms(now),
        "Bucket": bucket,
        "RequestId": request_id,
        "HostId": host_id,
    }


def _iso_ms(moment: float) -> str:
    return datetime.fromtimestamp(int(moment * 1000) / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
