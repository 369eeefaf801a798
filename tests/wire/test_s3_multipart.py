"""Uploads in parts: parts, copies into parts, listing, checksums of the whole and of parts, abort, complete."""

import base64
import hashlib
import io
import os
from importlib.util import find_spec
from typing import Any

import pytest

from eventrt.core.checksums import algorithms
from tests.running import RunningDaemon
from tests.wire.s3_speaking import make_bucket, refusal

MB = 1024 * 1024


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def upload(s3: Any, bucket: str, key: str, bodies: list[bytes], **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """Begin an upload and send its parts; return its id and what CompleteMultipartUpload is told."""
    algorithm = {"ChecksumAlgorithm": options["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in options else {}
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        sent = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body, **algorithm)
        checksums = {name: value for name, value in sent.items() if name.startswith("Checksum")} if algorithm else {}
        parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})
    return upload_id, parts


def test_an_empty_part_becomes_an_empty_object_and_leaves_no_file(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    def files() -> set[str]:
        return {path.name for path in (daemon.data_dir / "blobs").rglob("*") if path.is_file()}

    before = files()
    upload_id, parts = upload(s3, bucket, "k", [b""])
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b""
    assert not files() - before


def test_an_upload_becomes_one_object(s3: Any, bucket: str) -> None:
    bodies = [os.urandom(5 * MB), os.urandom(5 * MB), b"end"]
    upload_id, parts = upload(s3, bucket, "k", bodies, Metadata={"a": "1"}, ContentType="text/x", Tagging="t=1")
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key="k")) == ("NoSuchKey", 404)
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]] == [
        (part["PartNumber"], len(body), part["ETag"]) for part, body in zip(parts, bodies, strict=True)
    ]
    page = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, MaxParts=2)
    assert (page["IsTruncated"], page["NextPartNumberMarker"]) == (True, 2)
    rest = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, PartNumberMarker=2)
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    [going] = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert (going["Key"], going["UploadId"]) == ("k", upload_id)

    done = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
    assert done["ETag"] == f'"{digest}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(bodies)
    assert (got["ETag"], got["Metadata"], got["ContentType"], got["TagCount"]) == (
        done["ETag"],
        {"a": "1"},
        "text/x",
        1,
    )
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=3)
    assert (part["Body"].read(), part["PartsCount"]) == (b"end", 3)
    start = 5 * MB - 10
    middle = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{start + 19}")
    assert middle["Body"].read() == b"".join(bodies)[start : start + 20]
    assert refusal(lambda: s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)) == ("NoSuchUpload", 404)
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "ObjectSize"])
    assert told["ObjectParts"]["TotalPartsCount"] == 3
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key="k", PartNumber=4)) == ("InvalidPartNumber", 416)


def test_a_part_sent_again_replaces_the_first(s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", [b"first"])
    again = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"second")
    parts = [{"PartNumber": 1, "ETag": again["ETag"]}]
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"second"


def test_what_completing_refuses(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", [b"small", b"small too"])

    def complete(chosen: list[dict[str, Any]], **options: Any) -> None:
        s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": chosen}, **options
        )

    assert refusal(lambda: complete(parts)) == ("EntityTooSmall", 400)
    assert refusal(lambda: complete(parts[::-1])) == ("InvalidPartOrder", 400)
    assert refusal(lambda: complete([{"PartNumber": 9, "ETag": "x"}])) == ("InvalidPart", 400)
    assert refusal(lambda: complete([{**parts[0], "ETag": "x"}])) == ("InvalidPart", 400)
    assert refusal(lambda: complete([]))[0] == "MalformedXML"
    assert refusal(lambda: complete(parts[:1], MpuObjectSize=3))[0] == "InvalidRequest"
    s3.put_object(Bucket=bucket, Key="k", Body=b"there")
    assert refusal(lambda: complete(parts[:1], IfNoneMatch="*")) == ("PreconditionFailed", 412)
    complete(parts[:1])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"small"
    number = lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId="x", PartNumber=10001, Body=b"")  # noqa: E731
    assert refusal(number) == ("InvalidArgument", 400)


def test_an_aborted_upload_leaves_nothing(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", [os.urandom(100_000)])
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    gone = lambda: s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)  # noqa: E731
    assert refusal(gone) == ("NoSuchUpload", 404)
    s3.delete_bucket(Bucket=bucket)


WITH_CRT = pytest.param(
    "CRC32C", marks=pytest.mark.skipif(find_spec("awscrt") is None, reason="boto3 computes CRC32C with awscrt only")
)


@pytest.mark.parametrize("algorithm", ["CRC32", WITH_CRT, "SHA1", "SHA256"])
def test_composite_checksums(s3: Any, bucket: str, algorithm: str) -> None:
    bodies = [os.urandom(5 * MB), b"end"]
    upload_id, parts = upload(s3, bucket, "k", bodies, ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    known = algorithms({})[algorithm]
    assert [part[name] for part in parts] == [known.of(body) for body in bodies]
    done = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert (done[name], done["ChecksumType"]) == (known.composite([known.of(body) for body in bodies]), "COMPOSITE")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (done[name], "COMPOSITE")
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "Checksum"])
    assert [part[name] for part in told["ObjectParts"]["Parts"]] == [part[name] for part in parts]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_checksums_of_the_whole(s3: Any, bucket: str, algorithm: str) -> None:
    bodies = [os.urandom(5 * MB), b"end"]
    options = {"ChecksumAlgorithm": algorithm, "ChecksumType": "FULL_OBJECT"}
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", **options)["UploadId"]
    known, name = algorithms({})[algorithm], f"Checksum{algorithm}"
    parts = []
    for number, body in enumerate(bodies, 1):
        checksum = {name: known.of(body)}
        sent = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, **checksum)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    whole = known.of(b"".join(bodies))
    wrong = known.of(b"other")
    complete = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "MultipartUpload": {"Parts": parts}}
    assert refusal(lambda: s3.complete_multipart_upload(**complete, **{name: wrong})) == ("BadDigest", 400)
    done = s3.complete_multipart_upload(**complete, **{name: whole})
    assert (done[name], done["ChecksumType"]) == (whole, "FULL_OBJECT")


def test_what_checksums_cannot_be(s3: Any, bucket: str) -> None:
    def begin(algorithm: str, kind: str) -> None:
        s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)

    assert refusal(lambda: begin("CRC64NVME", "COMPOSITE")) == ("InvalidRequest", 400)
    assert refusal(lambda: begin("SHA256", "FULL_OBJECT")) == ("InvalidRequest", 400)


def test_parts_are_copied_from_objects(s3: Any, bucket: str) -> None:
    source = os.urandom(11 * MB)
    s3.upload_fileobj(io.BytesIO(source), bucket, "source")
    s3.put_object(Bucket=bucket, Key="small", Body=b"0123456789")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]

    def copy(number: int, key: str, text: str | None) -> dict[str, Any]:
        ranged = {"CopySourceRange": text} if text else {}
        done = s3.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, CopySource=f"{bucket}/{key}", **ranged
        )
        return {"PartNumber": number, "ETag": done["CopyPartResult"]["ETag"]}

    first, last = 3 * MB, 9 * MB
    parts = [copy(1, "source", f"bytes={first}-{last}"), copy(2, "small", "bytes=2-5")]
    assert parts[0]["ETag"] == f'"{hashlib.md5(source[first : last + 1]).hexdigest()}"'
    assert refusal(lambda: copy(3, "small", "bytes=5-99")) == ("InvalidArgument", 400)
    assert refusal(lambda: copy(3, "small", "5-9")) == ("InvalidArgument", 400)
    s3.delete_object(Bucket=bucket, Key="source")
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == source[first : last + 1] + b"2345"
    copied = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k")["CopyObjectResult"]
    assert copied["ETag"] == f'"{hashlib.md5(source[first : last + 1] + b"2345").hexdigest()}"'


def test_uploads_are_listed_in_pages(s3: Any, bucket: str) -> None:
    keys = ["a/1", "a/2", "b", "b", "c"]
    made = sorted((key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]) for key in keys)
    found: list[tuple[str, str]] = []
    markers: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **markers)
        found += [(one["Key"], one["UploadId"]) for one in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert found == made
    grouped = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in grouped["CommonPrefixes"]] == ["a/"]
    assert [one["Key"] for one in grouped["Uploads"]] == ["b", "b", "c"]
    assert [one["Key"] for one in s3.list_multipart_uploads(Bucket=bucket, Prefix="a/")["Uploads"]] == ["a/1", "a/2"]


def test_large_transfers_by_many_threads(s3: Any, bucket: str) -> None:
    body = os.urandom(40 * MB + 7)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big")
    back = io.BytesIO()
    s3.download_fileobj(bucket, "big", back)
    assert hashlib.sha256(back.getvalue()).digest() == hashlib.sha256(body).digest()
    head = s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert len(base64.b64decode(head["ChecksumCRC32"].partition("-")[0])) == 4
