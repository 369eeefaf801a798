"""Objects whose bytes are not there any more, and copies of what goes away meanwhile."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import new_name
from tests.wire.mappings_speaking import wait_for
from tests.wire.s3_speaking import fresh, make_bucket, refusal

SIZE = 21_234_567
"""No other object of these tests has this size."""


def put_large(daemon: RunningDaemon, bucket: str, size: int) -> tuple[str, Path]:
    """Store an object of a size that no other has; return its key and the file its bytes are in."""
    key = fresh("key")
    daemon.client("s3").put_object(Bucket=bucket, Key=key, Body=b"x" * size)
    [path] = files_of(daemon, size)
    return key, path


def files_of(daemon: RunningDaemon, size: int) -> list[Path]:
    found: list[Path] = []
    for path in (daemon.data_dir / "blobs").rglob("*-*"):
        with contextlib.suppress(FileNotFoundError):  # it was just removed
            if path.stat().st_size == size:
                found.append(path)
    return found


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(100_000)


@pytest.mark.parametrize(("lose", "size"), [(Path.unlink, 1_234_567), (cut_off, 1_234_568)])
def test_an_object_without_its_bytes_is_an_internal_error_and_the_log_says_which(
    daemon: RunningDaemon, lose: Callable[[Path], None], size: int
) -> None:
    s3 = daemon.client("s3")
    bucket = make_bucket(s3)
    key, path = put_large(daemon, bucket, size)
    lose(path)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key=key)
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == (
        "InternalError",
        "We encountered an internal error. Please try again.",
    )
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    [line] = wait_for(lambda: [one for one in daemon.log.splitlines() if "object.lost" in one and key in one], bool)
    assert bucket in line
    assert path.name in line
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
    source = f"{bucket}/{key}"
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part: dict[str, Any] = {"Bucket": bucket, "Key": "parts", "UploadId": upload_id, "PartNumber": 1}
    tail = f"bytes={size - 9}-{size - 1}"
    for call in (
        lambda: s3.get_object(Bucket=bucket, Key=key, Range=tail),
        lambda: s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, ChecksumAlgorithm="SHA256"),
        lambda: s3.upload_part_copy(**part, CopySource=source),
    ):
        assert refusal(call) == ("InternalError", 500)
    code = {"S3Bucket": bucket, "S3Key": key}
    role = "arn:aws:iam::000000000000:role/r"
    function = {"FunctionName": new_name("f"), "Runtime": "python3.11", "Handler": "m.h", "Role": role, "Code": code}
    create = lambda: daemon.client("lambda").create_function(**function)  # noqa: E731
    assert refusal(create) == ("InvalidParameterValueException", 400)
    s3.put_object(Bucket=bucket, Key=key, Body=b"again")
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"again"


def test_a_part_copied_of_an_object_that_is_replaced_meanwhile_is_whole_or_refused(daemon: RunningDaemon) -> None:
    s3 = daemon.client("s3")
    bucket = make_bucket(s3)
    whole = bytes(range(256)) * (4096 * 12)
    s3.put_object(Bucket=bucket, Key="source", Body=whole)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="target")["UploadId"]
    part: dict[str, Any] = {"Bucket": bucket, "Key": "target", "UploadId": upload_id}
    told: list[str] = []

    def copy() -> None:
        try:
            s3.upload_part_copy(**part, PartNumber=1, CopySource=f"{bucket}/source")
            told.append("done")
        except ClientError as error:
            told.append(error.response["Error"]["Code"])

    copying = threading.Thread(target=copy)
    copying.start()
    while copying.is_alive():
        s3.put_object(Bucket=bucket, Key="source", Body=b"replaced")
    copying.join()
    if told != ["done"]:
        assert told == ["OperationAborted"]
        return
    present = s3.list_parts(**part)["Parts"]
    parts = [{"PartNumber": 1, "ETag": present[0]["ETag"]}]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="target")["Body"].read() in (whole, b"replaced")


def test_a_download_goes_on_when_its_object_is_deleted(daemon: RunningDaemon) -> None:
    s3 = daemon.client("s3")
    bucket = make_bucket(s3)
    whole = bytes(range(256)) * (4096 * 20)
    s3.put_object(Bucket=bucket, Key="k", Body=whole)
    with urllib.request.urlopen(f"{daemon.url}/{bucket}/k") as answer:
        s3.delete_object(Bucket=bucket, Key="k")
        s3.put_object(Bucket=bucket, Key="other", Body=whole)
        assert answer.read() == whole


def test_a_client_that_leaves_in_the_middle_of_a_download_is_no_defect(daemon: RunningDaemon) -> None:
    s3 = daemon.client("s3")
    bucket = make_bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(SIZE))
    ask = f"GET /{bucket}/k HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    before = len(daemon.log)
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", daemon.port)) as connection:
            connection.sendall(ask)
            assert connection.recv(1000)
        assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == SIZE
    s3.delete_object(Bucket=bucket, Key="k")
    wait_for(lambda: files_of(daemon, SIZE), lambda found: not found)
    assert "connection.failed" not in daemon.log[before:]
