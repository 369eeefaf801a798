"""Objects over the wire: what goes in comes out, ranges, conditions, checksums, copies, deletions."""

import base64
import hashlib
import io
import os
import urllib.request
import zlib
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.s3_speaking import fresh, make_bucket, refusal

SIZES = [0, 1, 1000, 65_536, 65_537, 3_000_000]


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_any_size_comes_back_as_it_was(s3: Any, bucket: str, size: int) -> None:
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="one", Body=body)
    got = s3.get_object(Bucket=bucket, Key="one")
    assert got["Body"].read() == body
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert got["ContentLength"] == size
    assert got["ContentType"] == "binary/octet-stream"
    assert put["ChecksumCRC32"] == base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    head = s3.head_object(Bucket=bucket, Key="one")
    assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])


@pytest.mark.parametrize(
    "key", ["a", "a/b//c/", "/lead", "ü b+c%20&?#.txt", "日本語/写真.jpg", "a" * 1024, "..", "x/../y", "*'()!~"]
)
def test_a_key_may_be_any_text_of_a_kilobyte(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert [one["Key"] for one in s3.list_objects(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_of_more_than_a_kilobyte_is_refused(s3: Any, bucket: str) -> None:
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="a" * 1025, Body=b"")) == ("KeyTooLongError", 400)


def test_headers_and_metadata_stay_with_the_object(s3: Any, bucket: str) -> None:
    kept = {
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment",
        "ContentEncoding": "identity",
        "ContentLanguage": "de",
        "ContentType": "text/plain",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    metadata = {"one": "1", "two-words": "zwei"}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata=metadata, StorageClass="STANDARD_IA", **kept)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert {name: head[name] for name in kept} == kept
    assert (head["Metadata"], head["StorageClass"]) == (metadata, "STANDARD_IA")
    assert head["ServerSideEncryption"] == "AES256"
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="image/png", ResponseCacheControl="no-store")
    assert (got["ContentType"], got["CacheControl"]) == ("image/png", "no-store")


def test_metadata_of_more_than_two_kilobytes_is_refused(s3: Any, bucket: str) -> None:
    call = lambda: s3.put_object(Bucket=bucket, Key="k", Metadata={"a": "x" * 2048})  # noqa: E731
    assert refusal(call) == ("MetadataTooLarge", 400)


@pytest.mark.parametrize("size", [1000, 200_000])
def test_ranges(s3: Any, bucket: str, size: int) -> None:
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)

    def ask(text: str) -> tuple[bytes, str, int]:
        got = s3.get_object(Bucket=bucket, Key="k", Range=text)
        status = got["ResponseMetadata"]["HTTPStatusCode"]
        return got["Body"].read(), got.get("ContentRange", ""), status

    assert ask("bytes=0-9") == (body[:10], f"bytes 0-9/{size}", 206)
    assert ask("bytes=10-") == (body[10:], f"bytes 10-{size - 1}/{size}", 206)
    assert ask("bytes=-7") == (body[-7:], f"bytes {size - 7}-{size - 1}/{size}", 206)
    assert ask(f"bytes=5-{size * 2}") == (body[5:], f"bytes 5-{size - 1}/{size}", 206)
    assert ask("bytes=9-2") == (body, "", 200)
    assert ask("lines=1-2") == (body, "", 200)
    assert ask("bytes=0-1,4-5") == (body, "", 200)
    assert refusal(lambda: ask(f"bytes={size}-")) == ("InvalidRange", 416)
    assert s3.head_object(Bucket=bucket, Key="k", Range="bytes=0-9")["ContentLength"] == 10


def test_conditional_reads(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]

    def ask(**conditions: Any) -> tuple[str, int] | int:
        try:
            return s3.get_object(Bucket=bucket, Key="k", **conditions)["ResponseMetadata"]["HTTPStatusCode"]
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]

    assert ask(IfMatch=etag) == 200
    assert ask(IfMatch="*") == 200
    assert ask(IfMatch='"other"') == ("PreconditionFailed", 412)
    assert ask(IfNoneMatch=etag) == ("304", 304)
    assert ask(IfNoneMatch='"other"') == 200
    assert ask(IfModifiedSince=modified) == ("304", 304)
    assert ask(IfUnmodifiedSince=modified) == 200
    earlier = modified.replace(year=modified.year - 1)
    assert ask(IfUnmodifiedSince=earlier) == ("PreconditionFailed", 412)
    assert ask(IfMatch=etag, IfUnmodifiedSince=earlier) == 200
    assert ask(IfNoneMatch='"other"', IfModifiedSince=modified) == 200


def test_conditional_writes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")) == (
        "PreconditionFailed",
        412,
    )
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch='"x"'))[0] == "PreconditionFailed"
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="no", Body=b"2", IfMatch=etag)) == ("NoSuchKey", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag)
    assert refusal(lambda: s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag))[0] == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"
    big = os.urandom(100_000)
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=big, IfNoneMatch="*"))[0] == "PreconditionFailed"


def test_what_is_not_there(s3: Any, bucket: str) -> None:
    assert refusal(lambda: s3.get_object(Bucket=bucket, Key="no")) == ("NoSuchKey", 404)
    assert refusal(lambda: s3.head_object(Bucket=bucket, Key="no")) == ("404", 404)
    assert refusal(lambda: s3.get_object(Bucket=fresh(), Key="no")) == ("NoSuchBucket", 404)
    assert refusal(lambda: s3.put_object(Bucket=fresh(), Key="no", Body=b"")) == ("NoSuchBucket", 404)
    s3.delete_object(Bucket=bucket, Key="no")  # no error


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [11, 100_000])
def test_checksums_are_compared_kept_and_told(s3: Any, bucket: str, algorithm: str, size: int) -> None:
    from eventrt.core.checksums import algorithms

    body = os.urandom(size)
    value = algorithms({})[algorithm].of(body)
    name = f"Checksum{algorithm}"
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, **{name: value})
    assert (put[name], put["ChecksumType"]) == (value, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[name] == value
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ETag", "ObjectSize"])
    assert told["Checksum"] == {name: value, "ChecksumType": "FULL_OBJECT"}
    assert told["ObjectSize"] == size
    assert told["ETag"] == hashlib.md5(body).hexdigest()
    wrong = algorithms({})[algorithm].of(body + b"!")
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=body, **{name: wrong})) == ("BadDigest", 400)
    assert (
        refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=body, **{name: "nonsense"}))[0] == "InvalidRequest"
    )


def test_content_md5_is_compared(s3: Any, bucket: str) -> None:
    right = base64.b64encode(hashlib.md5(b"x").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentMD5=right)
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"y", ContentMD5=right)) == ("BadDigest", 400)
    assert refusal(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"y", ContentMD5="x"))[0] == "InvalidDigest"


def test_an_object_without_a_checksum_gets_crc64nvme(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    from eventrt.core.checksums import algorithms

    request = urllib.request.Request(f"{daemon.url}/{bucket}/plain", data=b"hello", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    head = s3.head_object(Bucket=bucket, Key="plain", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == algorithms({})["CRC64NVME"].of(b"hello")


@pytest.mark.parametrize("size", [100, 200_000])
def test_chunked_bodies_with_trailers(daemon: RunningDaemon, s3: Any, bucket: str, size: int) -> None:
    body = os.urandom(size)
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()

    def send(trailer: str) -> int:
        half = size // 2
        framed = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (body[:half], body[half:]))
        framed += f"0\r\nx-amz-checksum-crc32:{trailer}\r\n\r\n".encode()
        request = urllib.request.Request(f"{daemon.url}/{bucket}/chunked", data=framed, method="PUT")
        request.add_header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        request.add_header("x-amz-decoded-content-length", str(size))
        request.add_header("x-amz-trailer", "x-amz-checksum-crc32")
        request.add_header("content-encoding", "gzip,aws-chunked")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            with error:
                return error.code if b"BadDigest" in error.read() else 0

    assert send(checksum) == 200
    got = s3.get_object(Bucket=bucket, Key="chunked")
    assert got["Body"].read() == body
    assert got["ContentEncoding"] == "gzip"
    assert send("AAAAAA==") == 400


def test_a_copy_has_its_sources_bytes_and_metadata_unless_told_otherwise(s3: Any, bucket: str) -> None:
    for size in (10, 300_000):
        body = os.urandom(size)
        s3.put_object(Bucket=bucket, Key="von/ü", Body=body, Metadata={"a": "1"}, ContentType="text/x", Tagging="t=1")
        copied = s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "von/ü"})
        assert copied["CopyObjectResult"]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        got = s3.get_object(Bucket=bucket, Key="to")
        assert (got["Body"].read(), got["Metadata"], got["ContentType"], got["TagCount"]) == (
            body,
            {"a": "1"},
            "text/x",
            1,
        )
        s3.copy_object(
            Bucket=bucket,
            Key="to2",
            CopySource=f"{bucket}/von/ü",
            MetadataDirective="REPLACE",
            Metadata={"b": "2"},
            TaggingDirective="REPLACE",
        )
        s3.delete_object(Bucket=bucket, Key="von/ü")
        got = s3.get_object(Bucket=bucket, Key="to2")
        assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (body, {"b": "2"}, "binary/octet-stream")
        assert "TagCount" not in got


def test_a_copy_onto_itself_must_change_something(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "k"}
    assert refusal(lambda: s3.copy_object(Bucket=bucket, Key="k", CopySource=source)) == ("InvalidRequest", 400)
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"a": "2"})
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Metadata"], got["Body"].read()) == ({"a": "2"}, b"x")


def test_conditional_copies(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="c", CopySource=source, CopySourceIfMatch=etag)
    call = lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=source, CopySourceIfNoneMatch=etag)  # noqa: E731
    assert refusal(call) == ("PreconditionFailed", 412)
    assert refusal(lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/no")) == ("NoSuchKey", 404)
    assert refusal(lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource="no"))[0] == "InvalidArgument"


def test_many_objects_are_deleted_at_once(s3: Any, bucket: str) -> None:
    keys = [f"k{number}" for number in range(30)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys[:20], "none"]]})
    assert {one["Key"] for one in done["Deleted"]} == {*keys[:20], "none"}
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[20:]], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    too_many = {"Objects": [{"Key": str(number)} for number in range(1001)]}
    assert refusal(lambda: s3.delete_objects(Bucket=bucket, Delete=too_many)) == ("MalformedXML", 400)


def test_a_body_must_come_whole_and_with_its_length(daemon: RunningDaemon, bucket: str) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    connection.putrequest("PUT", f"/{bucket}/k")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"1\r\nx\r\n0\r\n\r\n")
    answer = connection.getresponse()
    assert (answer.status, b"<Header>Transfer-Encoding</Header>" in answer.read()) == (501, True)
    connection.close()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
    connection.putrequest("PUT", f"/{bucket}/k")
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b"MissingContentLength" in answer.read()) == (411, True)
    connection.close()


def test_blobs_are_removed_once_nothing_uses_them(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    def files() -> set[str]:
        return {path.name for path in (daemon.data_dir / "blobs").rglob("*") if path.is_file()}

    before = files()
    s3.put_object(Bucket=bucket, Key="a", Body=os.urandom(100_000))
    s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a")
    assert len(files() - before) == 1
    s3.put_object(Bucket=bucket, Key="a", Body=b"small")
    assert len(s3.get_object(Bucket=bucket, Key="b")["Body"].read()) == 100_000
    s3.delete_object(Bucket=bucket, Key="b")
    daemon.advance(0)
    for _ in range(100):
        if not files() - before:
            break
        daemon.advance(0)
    assert not files() - before
    refusal(lambda: s3.put_object(Bucket=bucket, Key="a", Body=os.urandom(100_000), IfNoneMatch="*"))
    for _ in range(100):
        if not files() - before:
            break
        daemon.advance(0)
    assert not files() - before


def test_objects_survive_a_kill(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    small, large = os.urandom(1000), os.urandom(500_000)
    s3.put_object(Bucket=bucket, Key="small", Body=small)
    s3.upload_fileobj(io.BytesIO(large), bucket, "large")
    daemon.restart(kill=True)
    assert s3.get_object(Bucket=bucket, Key="small")["Body"].read() == small
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == large
