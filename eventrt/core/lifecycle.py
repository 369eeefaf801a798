"""Lifecycle rules: when an object expires, when a noncurrent version goes, when an upload is given up.

Pure; moments in, moments out. Days count from an object's making and end at the midnight (UTC) that follows.

Source: S3 user guide, "Lifecycle configuration elements" and "Expiring objects".
"""

import math
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import quote

from eventrt.core.buckets import Bucket, ObjectVersion, Upload
from eventrt.core.object_rules import S3Refused, invalid_argument, invalid_request, malformed_xml

DAY_S = 86_400.0
RULE_LIMIT = 1000


def next_midnight(moment: float) -> float:
    """Return the first midnight (UTC) after a moment."""
    return (math.floor(moment / DAY_S) + 1) * DAY_S


def due_at(since: float, days: float) -> float:
    """Return when something is due so many days after a moment: at the midnight that follows."""
    moment = since + days * DAY_S
    return math.ceil(moment / DAY_S) * DAY_S


def check(rules: Sequence[Mapping[str, Any]]) -> None:
    """Let a lifecycle configuration pass.

    Raises: S3Refused: MalformedXML, InvalidArgument, InvalidRequest; NotImplemented for transitions.
    """
    if not rules or len(rules) > RULE_LIMIT:
        raise malformed_xml()
    ids = [rule["ID"] for rule in rules if rule.get("ID")]
    if len(set(ids)) != len(ids):
        raise invalid_argument("RuleId must be unique. Found same ID for more than one rule")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: Mapping[str, Any]) -> None:
    if rule.get("Status") not in ("Enabled", "Disabled"):
        raise malformed_xml()
    if ("Prefix" in rule) == ("Filter" in rule):
        raise malformed_xml()
    if len(rule.get("ID") or "") > 255:
        raise invalid_argument("ID length should not exceed allowed limit of 255")
    if rule.get("Transitions") or rule.get("NoncurrentVersionTransitions"):
        raise S3Refused("NotImplemented", "eventrt does not move objects between storage classes.", status=501)
    expiration = rule.get("Expiration")
    noncurrent = rule.get("NoncurrentVersionExpiration")
    abort = rule.get("AbortIncompleteMultipartUpload")
    if expiration is None and noncurrent is None and abort is None:
        raise invalid_request("At least one action needs to be specified in a rule")
    if expiration is not None:
        given = [name for name in ("Days", "Date", "ExpiredObjectDeleteMarker") if expiration.get(name) is not None]
        if len(given) != 1:
            raise malformed_xml()
        if expiration.get("Days") is not None and expiration["Days"] <= 0:
            raise invalid_argument("'Days' for Expiration action must be a positive integer")
        if expiration.get("Date") is not None and expiration["Date"] % DAY_S:
            raise invalid_argument("'Date' must be at midnight GMT")
    if noncurrent is not None and (noncurrent.get("NoncurrentDays") or 0) <= 0:
        raise invalid_argument("'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer")
    newer = noncurrent.get("NewerNoncurrentVersions") if noncurrent is not None else None
    if newer is not None and not 1 <= newer <= 100:
        raise invalid_argument("'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be 1 to 100")
    if abort is not None and (abort.get("DaysAfterInitiation") or 0) <= 0:
        raise invalid_argument(
            "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer"
        )
    prefix, tags, low, high = filter_of(rule)
    if abort is not None and (tags or low is not None or high is not None):
        raise invalid_request("AbortIncompleteMultipartUpload cannot be specified with Tags")
    if expiration is not None and expiration.get("ExpiredObjectDeleteMarker") and tags:
        raise invalid_request("ExpiredObjectDeleteMarker cannot be specified with Tags")
    if len(prefix.encode()) > 1024:
        raise invalid_request("The maximum size of a prefix is 1024")


def filter_of(rule: Mapping[str, Any]) -> tuple[str, dict[str, str], int | None, int | None]:
    """Return (prefix, tags, size greater than, size less than) of a rule.

    Raises: S3Refused: MalformedXML: a filter has more than one condition without `And`.
    """
    if "Filter" not in rule:
        return rule.get("Prefix") or "", {}, None, None
    asked = rule["Filter"] or {}
    if len(asked) > 1:
        raise malformed_xml()
    both = asked.get("And")
    source = both if both is not None else asked
    listed = source.get("Tags", ()) if both is not None else [source["Tag"]] if "Tag" in source else ()
    tags = {tag["Key"]: tag["Value"] for tag in listed}
    return source.get("Prefix") or "", tags, source.get("ObjectSizeGreaterThan"), source.get("ObjectSizeLessThan")


def applies(rule: Mapping[str, Any], version: ObjectVersion) -> bool:
    """Is a version among those a rule is about?"""
    if rule["Status"] != "Enabled":
        return False
    prefix, tags, low, high = filter_of(rule)
    return (
        version.key.startswith(prefix)
        and all(version.tags.get(name) == value for name, value in tags.items())
        and (low is None or version.size > low)
        and (high is None or version.size < high)
    )


def rules_of(bucket: Bucket) -> Sequence[Mapping[str, Any]]:
    """Return the lifecycle rules of a bucket."""
    found: Sequence[Mapping[str, Any]] = bucket.settings.get("lifecycle", {}).get("Rules", ())
    return found


def expires_at(rules: Sequence[Mapping[str, Any]], version: ObjectVersion) -> tuple[float, str] | None:
    """Return when a current version expires and by which rule; None when none expires it."""
    found: tuple[float, str] | None = None
    if version.is_marker or not version.is_current:
        return None
    for rule in rules:
        expiration = rule.get("Expiration") or {}
        if expiration.get("Days") is not None:
            moment = due_at(version.modified_at, expiration["Days"])
        elif expiration.get("Date") is not None:
            moment = expiration["Date"]
        else:
            continue
        if applies(rule, version) and (found is None or moment < found[0]):
            found = moment, rule.get("ID", "")
    return found


def expiration_header(bucket: Bucket, version: ObjectVersion) -> str:
    """Return the `x-amz-expiration` header of a version, "" when nothing expires it."""
    found = expires_at(rules_of(bucket), version)
    if found is None:
        return ""
    return f'expiry-date="{formatdate(found[0], usegmt=True)}", rule-id="{quote(found[1], safe="")}"'


def removes_noncurrent(rules: Sequence[Mapping[str, Any]], version: ObjectVersion, *, newer: int, now: float) -> bool:
    """Is a noncurrent version to go now? `newer` counts the noncurrent versions of its key that are newer."""
    for rule in rules:
        asked = rule.get("NoncurrentVersionExpiration")
        if (
            asked is not None
            and newer >= (asked.get("NewerNoncurrentVersions") or 0)
            and due_at(version.noncurrent_since or version.modified_at, asked["NoncurrentDays"]) <= now
            and applies(rule, version)
        ):
            return True
    return False


def removes_marker(rules: Sequence[Mapping[str, Any]], marker: ObjectVersion, *, now: float) -> bool:
    """Is a delete marker that covers nothing any more to go now?

    A rule that expires objects by days removes such markers as well, once they are that old.
    """
    for rule in rules:
        expiration = rule.get("Expiration") or {}
        if not applies(rule, marker):
            continue
        if expiration.get("ExpiredObjectDeleteMarker"):
            return True
        if expiration.get("Days") is not None and due_at(marker.modified_at, expiration["Days"]) <= now:
            return True
    return False


def aborts_at(rules: Sequence[Mapping[str, Any]], upload: Upload) -> tuple[float, str] | None:
    """Return when an upload in parts is given up and by which rule; None when none gives it up."""
    found = [
        (due_at(upload.started_at, rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]), rule.get("ID", ""))
        for rule in rules
        if rule["Status"] == "Enabled"
        and rule.get("AbortIncompleteMultipartUpload")
        and upload.key.startswith(filter_of(rule)[0])
    ]
    return min(found) if found else None


def aborts(rules: Sequence[Mapping[str, Any]], upload: Upload, *, now: float) -> bool:
    """Is an upload in parts to be given up now?"""
    found = aborts_at(rules, upload)
    return found is not None and found[0] <= now
