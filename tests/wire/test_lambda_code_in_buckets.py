"""Functions whose code lies in a bucket: CreateFunction and UpdateFunctionCode with S3Bucket and S3Key."""

import base64
import hashlib
import io
import json
import uuid
import zipfile
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import ROLE, error_of, new_name, request_of, zip_of

FIRST = "def handler(event, context):\n    return 'first'\n"
SECOND = "def handler(event, context):\n    return 'second'\n"


@pytest.fixture
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"code-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name


def created(lambda_: Any, **code: str) -> str:
    name = new_name()
    lambda_.create_function(FunctionName=name, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code=code)
    lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    return name


def result_of(lambda_: Any, name: str) -> Any:
    return json.load(lambda_.invoke(FunctionName=name)["Payload"])


def refusal(lambda_: Any, **code: str) -> tuple[str, str]:
    request = {"FunctionName": new_name(), "Runtime": "python3.12", "Role": ROLE, "Handler": "app.handler"}
    return error_of(lambda_.create_function, **request, Code=code)[1:]


def test_a_function_is_made_from_an_object_and_keeps_it(lambda_: Any, s3: Any, bucket: str) -> None:
    archive = zip_of(FIRST)
    s3.put_object(Bucket=bucket, Key="builds/app 1.zip", Body=archive)
    name = created(lambda_, S3Bucket=bucket, S3Key="builds/app 1.zip")
    s3.delete_object(Bucket=bucket, Key="builds/app 1.zip")
    assert result_of(lambda_, name) == "first"
    shown = lambda_.get_function(FunctionName=name)["Configuration"]
    assert shown["CodeSize"] == len(archive)
    assert shown["CodeSha256"] == base64.b64encode(hashlib.sha256(archive).digest()).decode()


def test_code_is_updated_from_a_version_of_an_object(lambda_: Any, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="app.zip", Body=zip_of(FIRST))["VersionId"]
    s3.put_object(Bucket=bucket, Key="app.zip", Body=zip_of(SECOND))
    name = created(lambda_, S3Bucket=bucket, S3Key="app.zip")
    assert result_of(lambda_, name) == "second"
    lambda_.update_function_code(FunctionName=name, S3Bucket=bucket, S3Key="app.zip", S3ObjectVersion=first)
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert result_of(lambda_, name) == "first"


def test_an_archive_in_a_bucket_may_be_larger_than_one_in_a_request(lambda_: Any, s3: Any, bucket: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("app.py", FIRST)
        archive.writestr("data", bytes(52_428_800))
    refused = error_of(lambda_.create_function, **{**request_of(new_name()), "Code": {"ZipFile": packed.getvalue()}})
    assert refused == (
        413,
        "RequestEntityTooLargeException",
        "Zipped size must be smaller than 52428800 bytes",
    )
    s3.put_object(Bucket=bucket, Key="large.zip", Body=packed.getvalue())
    assert result_of(lambda_, created(lambda_, S3Bucket=bucket, S3Key="large.zip")) == "first"


def test_what_s3_refuses_is_told_in_its_words(daemon: RunningDaemon, lambda_: Any, s3: Any, bucket: str) -> None:
    said = "Error occurred while GetObject. S3 Error Code: "
    assert refusal(lambda_, S3Bucket=f"no-{bucket}", S3Key="k") == (
        "InvalidParameterValueException",
        f"{said}NoSuchBucket. S3 Error Message: The specified bucket does not exist",
    )
    assert refusal(lambda_, S3Bucket=bucket, S3Key="k") == (
        "InvalidParameterValueException",
        f"{said}NoSuchKey. S3 Error Message: The specified key does not exist.",
    )
    s3.put_object(Bucket=bucket, Key="k", Body=zip_of(FIRST))
    assert refusal(lambda_, S3Bucket=bucket, S3Key="k", S3ObjectVersion="other")[1].startswith(f"{said}NoSuchVersion. ")
    assert refusal(daemon.client("lambda", region="eu-west-1"), S3Bucket=bucket, S3Key="k")[1] == (
        f"{said}PermanentRedirect. S3 Error Message: The bucket is in this region: us-east-1. Please use this region "
        "to retry the request"
    )
    stranger = daemon.client("lambda", account="111122223333")
    code, message = refusal(stranger, S3Bucket=bucket, S3Key="k")
    assert (code, message.partition(". ")[0]) == (
        "AccessDeniedException",
        (
            "Your access has been denied by S3, please make sure your request credentials have permission to GetObject "
            f"for {bucket}/k"
        ),
    )


def test_an_object_that_is_no_archive_makes_no_function(lambda_: Any, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"no zip")
    assert refusal(lambda_, S3Bucket=bucket, S3Key="k") == (
        "InvalidParameterValueException",
        "Could not unzip uploaded file. Please check your file, then try to upload again.",
    )
