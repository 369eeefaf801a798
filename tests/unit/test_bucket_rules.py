"""Rules of buckets, objects, notifications and lifecycles, as plain functions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventrt.core import lifecycle, notifications, object_rules
from eventrt.core.buckets import Body, Lock, ObjectVersion
from eventrt.core.notifications import Event, Origin
from eventrt.core.object_rules import S3Refused

DAY = 86_400.0


def version(**changes: Any) -> ObjectVersion:
    values: dict[str, Any] = {
        "id": 1,
        "bucket_id": 1,
        "key": "logs/1",
        "version_id": "",
        "is_current": True,
        "is_marker": False,
        "modified_at": 10 * DAY + 5,
        "size": 10,
        "etag": "e",
        "storage_class": "STANDARD",
        "checksum": None,
        "headers": {},
        "metadata": {},
        "tags": {},
        "lock": Lock(),
        "body": Body(10, b"x" * 10),
    }
    return ObjectVersion(**{**values, **changes})


# -- keys and ranges


@given(st.text(), st.text())
def test_what_follows_a_prefix_is_greater_than_all_that_begin_with_it(prefix: str, rest: str) -> None:
    if any("\ud800" <= one <= "\udfff" for one in prefix + rest) or len((prefix + rest).encode()) > 1024:
        return
    after = object_rules.after_prefix(prefix)
    assert (prefix + rest).encode() < after.encode()


def test_common_prefixes() -> None:
    assert object_rules.common_prefix("a/b/c", "a/", "/") == "a/b/"
    assert object_rules.common_prefix("a/b", "a/", "/") == ""
    assert object_rules.common_prefix("a/b", "x", "/") == ""


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 0)),
        ("bytes=3-", 10, (3, 9)),
        ("bytes=-3", 10, (7, 9)),
        ("bytes=-30", 10, (0, 9)),
        ("bytes=0-99", 10, (0, 9)),
        ("bytes=5-2", 10, None),
        ("bytes=-", 10, None),
        ("items=0-1", 10, None),
    ],
)
def test_ranges(header: str, size: int, expected: tuple[int, int] | None) -> None:
    assert object_rules.read_range(header, size) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=0-", 0), ("bytes=-0", 10)])
def test_ranges_behind_the_end(header: str, size: int) -> None:
    with pytest.raises(S3Refused, match="InvalidRange"):
        object_rules.read_range(header, size)


def test_copy_sources() -> None:
    read = object_rules.read_copy_source
    assert (read("/b/k%20x").bucket, read("/b/k%20x").key, read("b/k").version_id) == ("b", "k x", None)
    assert read("b/k?versionId=v1").version_id == "v1"
    for wrong in ("", "b", "b/", "/k", "arn:aws:s3:us-east-1:1:accesspoint/x/object/y"):
        with pytest.raises(S3Refused):
            read(wrong)


# -- locks


def test_a_lock_lets_itself_be_strengthened_only() -> None:
    held = version(lock=Lock("COMPLIANCE", 100.0))
    change = object_rules.changed_retention
    assert change(held, "COMPLIANCE", 200.0, bypasses_governance=False, now=50.0).retain_until == 200.0
    for mode, until in (("COMPLIANCE", 90.0), ("GOVERNANCE", 200.0), ("", 0.0)):
        with pytest.raises(S3Refused):
            change(held, mode, until, bypasses_governance=True, now=50.0)
    assert change(held, "", 0.0, bypasses_governance=False, now=101.0) == Lock()
    governed = version(lock=Lock("GOVERNANCE", 100.0))
    with pytest.raises(S3Refused):
        change(governed, "", 0.0, bypasses_governance=False, now=50.0)
    assert change(governed, "", 0.0, bypasses_governance=True, now=50.0) == Lock()


# -- notifications


def rule(number: int, *, prefix: str = "", suffix: str = "", event: str = "s3:ObjectCreated:*") -> dict[str, Any]:
    rules = [{"Name": "prefix", "Value": prefix}, {"Name": "suffix", "Value": suffix}]
    return {
        "Id": str(number),
        "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
        "Events": [event],
        "Filter": {"Key": {"FilterRules": rules}},
    }


@pytest.mark.parametrize(
    ("one", "other", "is_ambiguous"),
    [
        (rule(1), rule(2), True),
        (rule(1, prefix="a"), rule(2, prefix="b"), False),
        (rule(1, prefix="a"), rule(2, prefix="ab"), True),
        (rule(1, prefix="a", suffix=".jpg"), rule(2, prefix="ab", suffix=".png"), False),
        (rule(1, prefix="a", suffix="g"), rule(2, prefix="ab", suffix=".jpg"), True),
        (rule(1, event="s3:ObjectCreated:Put"), rule(2, event="s3:ObjectCreated:Post"), False),
        (rule(1, event="s3:ObjectCreated:Put"), rule(2, event="s3:ObjectCreated:*"), True),
        (rule(1, event="s3:ObjectRemoved:*"), rule(2, event="s3:LifecycleExpiration:*"), False),
    ],
)
def test_two_rules_may_not_tell_of_the_same_event(one: Any, other: Any, is_ambiguous: bool) -> None:
    if is_ambiguous:
        with pytest.raises(S3Refused, match="ambiguously defined"):
            notifications.read({"QueueConfigurations": [one, other]})
    else:
        assert len(notifications.read({"QueueConfigurations": [one, other]})) == 2


def test_every_event_of_the_model_may_be_asked_for() -> None:
    from eventrt.aws.protocol.models import load

    assert set(load("s3").shapes["Event"]["enum"]) == notifications.ALL | set(notifications.FAMILIES)


def test_sequencers_are_ordered_as_texts() -> None:
    numbers = [0, 9, 10, 255, 256, 2**40, 2**60]
    assert sorted(numbers, key=notifications.sequencer) == numbers


@given(st.text(min_size=1).filter(lambda text: not any("\ud800" <= one <= "\udfff" for one in text)))
def test_keys_in_records_decode_to_the_keys(key: str) -> None:
    from urllib.parse import unquote_plus

    record = notifications.record(
        Event("s3:ObjectCreated:Put", key),
        "id",
        bucket="b",
        region="r",
        owner="o",
        origin=Origin("p"),
        now=0.0,
    )
    assert unquote_plus(record["s3"]["object"]["key"]) == key
    assert record["eventTime"] == "1970-01-01T00:00:00.000Z"


# -- lifecycles


def expiring(**expiration: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": expiration}


def test_days_end_at_the_midnight_that_follows() -> None:
    assert lifecycle.due_at(10 * DAY + 5, 3) == 14 * DAY
    assert lifecycle.due_at(10 * DAY, 3) == 13 * DAY
    assert lifecycle.expires_at([expiring(Days=3)], version()) == (14 * DAY, "r")
    assert lifecycle.expires_at([expiring(Days=3)], version(key="other")) is None
    assert lifecycle.expires_at([expiring(Date=5 * DAY)], version()) == (5 * DAY, "r")
    assert lifecycle.expires_at([expiring(Days=3), expiring(Days=1)], version()) == (12 * DAY, "r")
    assert lifecycle.expires_at([expiring(Days=3)], version(is_marker=True)) is None


def test_filters_by_tags_and_sizes() -> None:
    both = {"And": {"Prefix": "logs/", "Tags": [{"Key": "a", "Value": "1"}], "ObjectSizeGreaterThan": 5}}
    rule = {**expiring(Days=1), "Filter": both}
    assert lifecycle.applies(rule, version(tags={"a": "1"}))
    assert not lifecycle.applies(rule, version(tags={"a": "2"}))
    assert not lifecycle.applies(rule, version(tags={"a": "1"}, size=5))
    with pytest.raises(S3Refused, match="MalformedXML"):
        lifecycle.check([{**rule, "Filter": {"Prefix": "a", "Tag": {"Key": "a", "Value": "1"}}}])


def test_noncurrent_versions_go_by_age_and_number() -> None:
    rule = {
        "ID": "n",
        "Status": "Enabled",
        "Filter": {},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 1},
    }
    old = version(is_current=False, noncurrent_since=10 * DAY)
    assert not lifecycle.removes_noncurrent([rule], old, newer=1, now=11.9 * DAY)
    assert lifecycle.removes_noncurrent([rule], old, newer=1, now=12 * DAY)
    assert not lifecycle.removes_noncurrent([rule], old, newer=0, now=99 * DAY)
