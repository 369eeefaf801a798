"""Listings and versions over the wire."""

from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.s3_speaking import fresh, make_bucket, refusal


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


KEYS = ["a", "b/1", "b/2", "b/c/3", "d", "e/4", "ä/5"]


@pytest.fixture
def filled(s3: Any, bucket: str) -> str:
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def test_keys_are_listed_in_order_of_their_bytes(s3: Any, filled: str) -> None:
    listed = s3.list_objects_v2(Bucket=filled)
    assert [one["Key"] for one in listed["Contents"]] == sorted(KEYS, key=str.encode)
    assert (listed["KeyCount"], listed["MaxKeys"], listed["IsTruncated"]) == (7, 1000, False)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=filled, Prefix="b/")["Contents"]] == KEYS[1:4]
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=filled, StartAfter="b/2")["Contents"]] == KEYS[3:]
    one = s3.list_objects_v2(Bucket=filled, FetchOwner=True)["Contents"][0]
    assert (one["Size"], one["StorageClass"]) == (1, "STANDARD")
    assert one["Owner"]["ID"]


def test_a_delimiter_gathers_common_prefixes(s3: Any, filled: str) -> None:
    listed = s3.list_objects_v2(Bucket=filled, Delimiter="/")
    assert [one["Key"] for one in listed["Contents"]] == ["a", "d"]
    assert [one["Prefix"] for one in listed["CommonPrefixes"]] == ["b/", "e/", "ä/"]
    assert listed["KeyCount"] == 5
    below = s3.list_objects_v2(Bucket=filled, Delimiter="/", Prefix="b/")
    assert [one["Key"] for one in below["Contents"]] == ["b/1", "b/2"]
    assert [one["Prefix"] for one in below["CommonPrefixes"]] == ["b/c/"]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_follow_each_other(s3: Any, filled: str, size: int, delimiter: str) -> None:
    options = {"Delimiter": delimiter} if delimiter else {}
    whole = s3.list_objects_v2(Bucket=filled, **options)
    for operation in ("list_objects", "list_objects_v2", "list_object_versions"):
        keys: list[str] = []
        prefixes: list[str] = []
        for page in s3.get_paginator(operation).paginate(Bucket=filled, PaginationConfig={"PageSize": size}, **options):
            contents = page.get("Contents", []) + page.get("Versions", [])
            assert len(contents) + len(page.get("CommonPrefixes", [])) <= size
            keys += [one["Key"] for one in contents]
            prefixes += [one["Prefix"] for one in page.get("CommonPrefixes", [])]
        assert keys == [one["Key"] for one in whole["Contents"]]
        assert prefixes == [one["Prefix"] for one in whole.get("CommonPrefixes", [])]


def test_no_keys_at_all_may_be_asked_for(s3: Any, filled: str) -> None:
    listed = s3.list_objects_v2(Bucket=filled, MaxKeys=0)
    assert (listed["KeyCount"], listed["IsTruncated"]) == (0, False)


def test_what_listings_refuse(s3: Any, bucket: str) -> None:
    assert refusal(lambda: s3.list_objects_v2(Bucket=bucket, ContinuationToken="nonsense")) == ("InvalidArgument", 400)
    assert refusal(lambda: s3.list_objects_v2(Bucket=bucket, MaxKeys=-1)) == ("InvalidArgument", 400)
    assert refusal(lambda: s3.list_objects_v2(Bucket=fresh())) == ("NoSuchBucket", 404)
    call = lambda: s3.list_object_versions(Bucket=bucket, VersionIdMarker="x")  # noqa: E731
    assert refusal(call) == ("InvalidArgument", 400)


# -- versions


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def versions(s3: Any, bucket: str, **options: Any) -> list[tuple[str, str, bool, bool]]:
    """Return (key, version id, is latest, is marker) of every version, as they are ordered."""
    page = s3.list_object_versions(Bucket=bucket, **options)
    found = [(one["Key"], one["VersionId"], one["IsLatest"], False) for one in page.get("Versions", [])]
    return found + [(one["Key"], one["VersionId"], one["IsLatest"], True) for one in page.get("DeleteMarkers", [])]


def test_every_write_makes_a_version(s3: Any, versioned: str) -> None:
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=str(n).encode())["VersionId"] for n in range(3)]
    assert len(set(ids)) == 3
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"2"
    for number, version_id in enumerate(ids):
        got = s3.get_object(Bucket=versioned, Key="k", VersionId=version_id)
        assert (got["Body"].read(), got["VersionId"]) == (str(number).encode(), version_id)
    assert versions(s3, versioned) == [("k", one, one == ids[2], False) for one in reversed(ids)]
    assert refusal(lambda: s3.get_object(Bucket=versioned, Key="k", VersionId="0" * 32)) == ("NoSuchVersion", 404)
    paged = s3.list_object_versions(Bucket=versioned, MaxKeys=2)
    assert paged["IsTruncated"]
    rest = s3.list_object_versions(
        Bucket=versioned, KeyMarker=paged["NextKeyMarker"], VersionIdMarker=paged["NextVersionIdMarker"]
    )
    assert [one["VersionId"] for one in rest["Versions"]] == [ids[0]]


def test_deleting_lays_a_marker_and_deleting_the_marker_brings_the_object_back(s3: Any, versioned: str) -> None:
    first = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    assert refusal(lambda: s3.get_object(Bucket=versioned, Key="k")) == ("NoSuchKey", 404)
    named = lambda: s3.get_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])  # noqa: E731
    assert refusal(named) == ("MethodNotAllowed", 405)
    assert versions(s3, versioned) == [("k", first, False, False), ("k", marker["VersionId"], True, True)]
    assert s3.list_objects_v2(Bucket=versioned)["KeyCount"] == 0
    removed = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert (removed["DeleteMarker"], removed["VersionId"]) == (True, marker["VersionId"])
    assert s3.get_object(Bucket=versioned, Key="k")["VersionId"] == first
    s3.delete_object(Bucket=versioned, Key="k", VersionId=first)
    assert versions(s3, versioned) == []


def test_deleting_the_current_version_makes_the_one_before_it_current(s3: Any, versioned: str) -> None:
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=str(n).encode())["VersionId"] for n in range(3)]
    s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[2])
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"1"
    assert versions(s3, versioned)[0] == ("k", ids[1], True, False)


def test_what_was_there_before_versioning_is_the_null_version(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    new = s3.put_object(Bucket=bucket, Key="k", Body=b"new")["VersionId"]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"old"
    assert [one[1] for one in versions(s3, bucket)] == [new, "null"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"suspended")
    assert [one[1:3] for one in versions(s3, bucket)] == [("null", True), (new, False)]
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"suspended"
    s3.put_object(Bucket=bucket, Key="k", Body=b"again")
    assert [one[1:3] for one in versions(s3, bucket)] == [("null", True), (new, False)]
    gone = s3.delete_object(Bucket=bucket, Key="k")
    assert (gone["DeleteMarker"], gone["VersionId"]) == (True, "null")
    assert {one[1:] for one in versions(s3, bucket)} == {("null", True, True), (new, False, False)}
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"


def test_a_bucket_with_versions_in_it_is_not_empty(s3: Any, versioned: str) -> None:
    s3.put_object(Bucket=versioned, Key="k", Body=b"1")
    s3.delete_object(Bucket=versioned, Key="k")
    assert refusal(lambda: s3.delete_bucket(Bucket=versioned)) == ("BucketNotEmpty", 409)
    everything = [{"Key": key, "VersionId": version_id} for key, version_id, _, _ in versions(s3, versioned)]
    done = s3.delete_objects(Bucket=versioned, Delete={"Objects": everything})
    assert len(done["Deleted"]) == 2
    s3.delete_bucket(Bucket=versioned)


def test_a_version_is_copied_and_tagged_by_its_id(s3: Any, versioned: str) -> None:
    first = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=versioned, Key="k", Body=b"2")
    source = {"Bucket": versioned, "Key": "k", "VersionId": first}
    copied = s3.copy_object(Bucket=versioned, Key="c", CopySource=source)
    assert copied["CopySourceVersionId"] == first
    assert s3.get_object(Bucket=versioned, Key="c")["Body"].read() == b"1"
    tags = {"TagSet": [{"Key": "a", "Value": "1"}]}
    s3.put_object_tagging(Bucket=versioned, Key="k", VersionId=first, Tagging=tags)
    assert s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=first)["TagSet"] == tags["TagSet"]
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == []
