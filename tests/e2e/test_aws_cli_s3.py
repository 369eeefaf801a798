"""`aws s3`: copies of large files both ways, folders kept in step, presigned URLs."""

import hashlib
import json
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1800)

Aws = Callable[..., str]
MB = 1024 * 1024


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_person_copies_syncs_and_removes(aws: Aws, tmp_path: Path) -> None:
    assert "make_bucket: photos-of-mine" in aws("s3", "mb", "s3://photos-of-mine")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(60 * MB + 11))
    aws("s3", "cp", "large", "s3://photos-of-mine/big/large", "--no-progress")
    aws("s3", "cp", "s3://photos-of-mine/big/large", "back", "--no-progress")
    assert digest(tmp_path / "back") == digest(large)
    aws("s3", "cp", "s3://photos-of-mine/big/large", "s3://photos-of-mine/copy", "--no-progress")
    aws("s3", "cp", "s3://photos-of-mine/copy", "back", "--no-progress")
    assert digest(tmp_path / "back") == digest(large)

    aws("s3", "cp", "-", "s3://photos-of-mine/typed", given="typed")
    assert aws("s3", "cp", "s3://photos-of-mine/typed", "-") == "typed"
    aws("s3", "rm", "s3://photos-of-mine/typed")
    assert "(404)" in aws("s3", "cp", "s3://photos-of-mine/typed", "-", fails=True)

    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("a.txt", "b c.txt", "below/ü.txt"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1_700_000_000, 1_700_000_000))  # S3 tells moments to the second
    aws("s3", "sync", "folder", "s3://photos-of-mine/in")
    assert aws("s3", "sync", "folder", "s3://photos-of-mine/in") == ""
    (folder / "a.txt").unlink()
    (folder / "new").write_text("new")
    changed = aws("s3", "sync", "folder", "s3://photos-of-mine/in", "--delete", "--no-progress")
    assert "delete: s3://photos-of-mine/in/a.txt" in changed
    assert "upload: folder/new" in changed
    assert changed.count("\n") == 2
    aws("s3", "sync", "s3://photos-of-mine/in", "mirror")
    assert sorted(path.name for path in (tmp_path / "mirror").rglob("*.txt")) == ["b c.txt", "ü.txt"]
    listed = aws("s3", "ls", "s3://photos-of-mine/", "--recursive")
    assert [line.split(None, 3)[3] for line in listed.splitlines()] == [
        "big/large",
        "copy",
        "in/b c.txt",
        "in/below/ü.txt",
        "in/new",
    ]
    assert "PRE big/" in aws("s3", "ls", "s3://photos-of-mine/")
    aws("s3", "mv", "s3://photos-of-mine/in/new", "s3://photos-of-mine/moved")

    url = aws("s3", "presign", "s3://photos-of-mine/moved").strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"new"
    url = aws("s3", "presign", "s3://photos-of-mine/big/large", "--expires-in", "60").strip()
    with urllib.request.urlopen(url) as answer:
        assert hashlib.sha256(answer.read()).hexdigest() == digest(large)

    assert "BucketNotEmpty" in aws("s3", "rb", "s3://photos-of-mine", fails=True)
    aws("s3", "rm", "s3://photos-of-mine", "--recursive")
    aws("s3", "rb", "s3://photos-of-mine")
    assert aws("s3", "ls") == ""


def test_the_api_commands(aws: Aws, tmp_path: Path) -> None:
    def api(*arguments: str) -> Any:
        shown = aws("s3api", *arguments)
        return json.loads(shown) if shown.strip().startswith("{") else shown

    assert "NoSuchBucket" in aws("s3api", "list-objects-v2", "--bucket", "by-api", fails=True)
    where = ("--create-bucket-configuration", "LocationConstraint=eu-central-1")
    api("create-bucket", "--bucket", "by-api", *where)
    (tmp_path / "body").write_text("body")
    for algorithm in ("CRC32", "SHA256"):
        put = api("put-object", "--bucket", "by-api", "--key", "k", "--body", "body", "--checksum-algorithm", algorithm)
        assert put[f"Checksum{algorithm}"]
    head = ("head-object", "--bucket", "by-api", "--key", "k", "--checksum-mode", "ENABLED")
    assert api(*head)["ChecksumSHA256"] == put["ChecksumSHA256"]
    asked = ("--object-attributes", "ETag", "Checksum", "ObjectSize")
    told = api("get-object-attributes", "--bucket", "by-api", "--key", "k", *asked)
    assert (told["ObjectSize"], f'"{told["ETag"]}"') == (4, put["ETag"])
    assert told["Checksum"]["ChecksumSHA256"] == put["ChecksumSHA256"]
    api("put-bucket-versioning", "--bucket", "by-api", "--versioning-configuration", "Status=Enabled")
    tagging = json.dumps({"TagSet": [{"Key": "a", "Value": "1"}]})
    api("put-object-tagging", "--bucket", "by-api", "--key", "k", "--tagging", tagging)
    assert api("get-object-tagging", "--bucket", "by-api", "--key", "k")["TagSet"] == [{"Key": "a", "Value": "1"}]
    api("delete-object", "--bucket", "by-api", "--key", "k")
    versions = api("list-object-versions", "--bucket", "by-api")
    assert (len(versions["Versions"]), len(versions["DeleteMarkers"])) == (1, 1)
    assert api("get-bucket-location", "--bucket", "by-api")["LocationConstraint"] == "eu-central-1"
