"""What S3 keeps true of objects: checksums of parts, retention by default, uploads that are completed twice."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.s3_speaking import make_bucket, refusal
from tests.wire.test_s3_refusals import Raw, error

MB = 1024 * 1024


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def upload(s3: Any, bucket: str, bodies: list[bytes], **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """Begin an upload of some parts; return its id and the parts as a completion lists them."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", **options)["UploadId"]
    algorithm = {"ChecksumAlgorithm": options["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in options else {}
    parts = []
    for number, body in enumerate(bodies, 1):
        told = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, **algorithm)
        sums = {name: told[name] for name in told if name.startswith("Checksum") and algorithm}
        parts.append({"PartNumber": number, "ETag": told["ETag"], **sums})
    return upload_id, parts


def complete(s3: Any, bucket: str, upload_id: str, parts: list[dict[str, Any]], **options: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=upload_id, MultipartUpload={"Parts": parts}, **options
    )


def test_an_upload_completed_again_says_the_same_while_its_object_stands(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, [b"x" * 5 * MB, b"end"])
    first = complete(s3, bucket, upload_id, parts)
    again = complete(s3, bucket, upload_id, parts)
    for answer in (first, again):
        answer.pop("ResponseMetadata")
    assert first == again
    assert refusal(lambda: complete(s3, bucket, upload_id, parts[:1])) == ("NoSuchUpload", 404)
    assert refusal(lambda: complete(s3, bucket, "other", parts)) == ("NoSuchUpload", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"another")
    assert refusal(lambda: complete(s3, bucket, upload_id, parts)) == ("NoSuchUpload", 404)


def test_completing_twice_tells_once(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    from tests.wire.s3_speaking import make_queue, records

    url, arn = make_queue(daemon)
    one = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [one]})
    upload_id, parts = upload(s3, bucket, [b"x"])
    complete(s3, bucket, upload_id, parts)
    complete(s3, bucket, upload_id, parts)
    assert [record["eventName"] for record in records(daemon, url)] == ["ObjectCreated:CompleteMultipartUpload"]


def test_a_completion_must_list_parts_with_their_etags(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, [b"x"])
    told = error(lambda: s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id))
    assert (told["Code"], told["Message"]) == ("InvalidRequest", "You must specify at least one part")
    assert refusal(lambda: complete(s3, bucket, upload_id, [{"PartNumber": 1}])) == ("MalformedXML", 400)
    told = error(lambda: complete(s3, bucket, upload_id, parts, MpuObjectSize=2))
    assert told["Message"] == "The provided 'x-amz-mp-object-size' header value 2 does not match what was computed: 1"


def test_a_part_read_by_its_number_brings_its_own_checksum(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, [b"x" * 5 * MB, b"end"], ChecksumAlgorithm="SHA256")
    complete(s3, bucket, upload_id, parts)
    for read in (s3.get_object, s3.head_object):
        told = read(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
        assert (told["ChecksumSHA256"], told["PartsCount"]) == (parts[1]["ChecksumSHA256"], 2)
    whole = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert whole["ChecksumSHA256"].endswith("-2")


def test_an_object_in_one_piece_has_one_part(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    told = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (told["ResponseMetadata"]["HTTPStatusCode"], told["ContentRange"]) == (206, "bytes 0-9/10")
    assert "PartsCount" not in told
    told = error(lambda: s3.get_object(Bucket=bucket, Key="k", PartNumber=2))
    assert (told["Status"], told["Code"], told["ActualPartCount"]) == (416, "InvalidPartNumber", "1")


def test_the_location_of_an_upload_is_an_address(s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="a/b c")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="a/b c", UploadId=upload_id, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    told = s3.complete_multipart_upload(Bucket=bucket, Key="a/b c", UploadId=upload_id, MultipartUpload=parts)
    assert told["Location"].endswith(f"/{bucket}/a%2Fb%20c")


def test_an_upload_tells_when_it_is_given_up_and_how_it_is_encrypted(s3: Any, bucket: str) -> None:
    rule = {
        "ID": "away",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    begun = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ServerSideEncryption="aws:kms", SSEKMSKeyId="key", BucketKeyEnabled=True
    )
    assert (begun["AbortRuleId"], begun["AbortDate"].hour) == ("away", 0)
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=begun["UploadId"], PartNumber=1, Body=b"x")
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=begun["UploadId"])
    assert (listed["AbortRuleId"], listed["AbortDate"]) == ("away", begun["AbortDate"])
    done = complete(s3, bucket, begun["UploadId"], [{"PartNumber": 1, "ETag": part["ETag"]}])
    for told in (begun, part, done):
        assert (told["ServerSideEncryption"], told["SSEKMSKeyId"], told["BucketKeyEnabled"]) == ("aws:kms", "key", True)


def test_a_checksum_must_be_of_the_algorithm_that_is_named(daemon: RunningDaemon, bucket: str) -> None:
    answer = Raw(
        daemon,
        "PUT",
        f"/{bucket}/k",
        b"",
        x_amz_sdk_checksum_algorithm="SHA256",
        x_amz_checksum_crc32="AAAAAA==",
    )
    assert (answer.Code, answer.Message) == (
        "InvalidRequest",
        "Value for x-amz-sdk-checksum-algorithm header is invalid.",
    )


# -- locks


@pytest.fixture
def retaining(s3: Any) -> str:
    name = make_bucket(s3, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 5}}
    s3.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return name


def test_a_legal_hold_comes_beside_the_retention_by_default(s3: Any, retaining: str) -> None:
    s3.put_object(Bucket=retaining, Key="k", ObjectLockLegalHoldStatus="ON")
    told = s3.head_object(Bucket=retaining, Key="k")
    assert (told["ObjectLockMode"], told["ObjectLockLegalHoldStatus"]) == ("GOVERNANCE", "ON")
    assert told["ObjectLockRetainUntilDate"] - told["LastModified"] > timedelta(days=4)


def test_a_hold_that_nobody_spoke_of_is_not_there(s3: Any, retaining: str) -> None:
    s3.put_object(Bucket=retaining, Key="k")
    told = error(lambda: s3.get_object_legal_hold(Bucket=retaining, Key="k"))
    assert (told["Status"], told["Code"]) == (404, "NoSuchObjectLockConfiguration")
    s3.put_object_legal_hold(Bucket=retaining, Key="k", LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(Bucket=retaining, Key="k")["LegalHold"]["Status"] == "OFF"
    assert s3.head_object(Bucket=retaining, Key="k")["ObjectLockLegalHoldStatus"] == "OFF"


def test_what_will_be_locked_must_say_what_it_is(daemon: RunningDaemon, s3: Any, retaining: str) -> None:
    answer = Raw(daemon, "PUT", f"/{retaining}/k", b"x")
    assert (answer.status, answer.Code) == (400, "InvalidRequest")
    assert answer.Message.startswith("Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests")
    upload_id = s3.create_multipart_upload(Bucket=retaining, Key="k")["UploadId"]
    answer = Raw(daemon, "PUT", f"/{retaining}/k?partNumber=1&uploadId={upload_id}", b"x")
    assert answer.Message.startswith("Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests")
    digest = hashlib.sha256(b"x").digest()
    import base64

    said = base64.b64encode(digest).decode()
    assert Raw(daemon, "PUT", f"/{retaining}/k", b"x", x_amz_checksum_sha256=said).status == 200
