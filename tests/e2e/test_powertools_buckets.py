"""Powertools inside handlers that buckets drive: its models and its class of events, on functions and over queues."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from tests.bench.client import runtime_name
from tests.e2e.test_powertools import await_lines, journal, vendored
from tests.running import RunningDaemon
from tests.wire.s3_speaking import drain

pytestmark = pytest.mark.timeout(180)

assert journal is not None  # a fixture

HANDLER = """
import json, os
from aws_lambda_powertools.utilities.data_classes import S3Event, SQSEvent
from aws_lambda_powertools.utilities.parser import parse
from aws_lambda_powertools.utilities.parser.models import S3Model, S3SqsEventNotificationModel

def told(model, event):
    plain = S3Event(event)
    for record, other in zip(model.Records, plain.records, strict=True):
        thing = other.s3.get_object
        assert thing.key == record.s3.object.key
        assert (thing.etag or None, thing.version_id) == (record.s3.object.eTag, record.s3.object.versionId)
        assert other.event_name == record.eventName
        assert other.user_identity.principal_id == record.userIdentity.principalId
        assert other.response_elements["x-amz-request-id"] == record.responseElements.x_amz_request_id
        assert record.responseElements.x_amz_id_2
        assert plain.bucket_name == record.s3.bucket.name
        with open(os.environ["JOURNAL"], "a") as journal:
            line = record.model_dump(mode="json") | {"decoded": plain.object_key, "source": str(event_source(record))}
            journal.write(json.dumps(line) + "\\n")

def event_source(record):
    return record.requestParameters.sourceIPAddress

def handler(event, context):
    if os.environ["KIND"] == "function":
        return told(parse(event, S3Model), event)
    model = parse(event, S3SqsEventNotificationModel)
    for record, plain in zip(model.Records, SQSEvent(event).records, strict=True):
        assert next(plain.decoded_nested_s3_event.records).s3.bucket.name == record.body.Records[0].s3.bucket.name
        told(record.body, json.loads(plain.body))
"""

# Powertools' model wants a size of all other events; those of tags and access control lists have none, here as on AWS.
EVENTS = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"]
KEY = "a dir/ü+1.txt"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    if importlib.util.find_spec("aws_lambda_powertools") is None:
        pytest.skip("aws-lambda-powertools is not installed here")
    running = RunningDaemon(tmp_path / "data")
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


def deploy(daemon: RunningDaemon, kind: str, journal: Path) -> str:
    """Make the function; return its ARN."""
    functions = daemon.client("lambda")
    arn: str = functions.create_function(
        FunctionName=f"by-{kind}",
        Runtime=runtime_name(),
        Role="arn:aws:iam::000000000000:role/powertools",
        Handler="app.handler",
        Code={"ZipFile": vendored(HANDLER)},
        Timeout=10,
        MemorySize=512,
        Environment={"Variables": {"JOURNAL": str(journal), "KIND": kind, "POWERTOOLS_TRACE_DISABLED": "1"}},
    )["FunctionArn"]
    functions.get_waiter("function_active_v2").wait(FunctionName=f"by-{kind}", WaiterConfig={"Delay": 1})
    return arn


def notify(daemon: RunningDaemon, **configuration: str) -> None:
    """Have a new bucket tell."""
    s3 = daemon.client("s3")
    s3.create_bucket(Bucket="photos")
    (member,) = configuration
    kind = "QueueConfigurations" if member == "QueueArn" else "LambdaFunctionConfigurations"
    s3.put_bucket_notification_configuration(
        Bucket="photos", NotificationConfiguration={kind: [{"Id": "all", "Events": EVENTS, **configuration}]}
    )


def live(daemon: RunningDaemon) -> list[tuple[str, Any]]:
    """Lead an object through its life; return the events that follow: (name, version id)."""
    s3 = daemon.client("s3")
    s3.put_object(Bucket="photos", Key=KEY, Body=b"hello")
    s3.copy_object(Bucket="photos", Key="copy", CopySource={"Bucket": "photos", "Key": KEY})
    upload_id = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
    etag = s3.upload_part(Bucket="photos", Key="parts", UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket="photos", Key="parts", UploadId=upload_id, MultipartUpload=parts)
    s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "copy"}, {"Key": "parts"}]})
    s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="photos", Key=KEY, Body=b"again")["VersionId"]
    marker = s3.delete_object(Bucket="photos", Key=KEY)["VersionId"]
    s3.delete_object(Bucket="photos", Key=KEY, VersionId=marker)
    rule = {"ID": "e", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket="photos", LifecycleConfiguration={"Rules": [rule]})
    daemon.advance(2 * 86_400)
    (expired,) = s3.list_object_versions(Bucket="photos")["DeleteMarkers"]
    created, removed = "ObjectCreated", "ObjectRemoved"
    return [
        (f"{created}:Put", None),
        (f"{created}:Copy", None),
        (f"{created}:CompleteMultipartUpload", None),
        (f"{removed}:Delete", None),
        (f"{removed}:Delete", None),
        (f"{created}:Put", first),
        (f"{removed}:DeleteMarkerCreated", marker),
        (f"{removed}:Delete", marker),
        ("LifecycleExpiration:DeleteMarkerCreated", expired["VersionId"]),
    ]


def hold(lines: list[str], expected: list[tuple[str, Any]]) -> None:
    """Hold what Powertools understood against what was done; asynchronous events come in any order."""
    found = [json.loads(line) for line in lines]
    names = sorted((one["eventName"], one["s3"]["object"]["versionId"] or "") for one in found)
    assert names == sorted((name, version_id or "") for name, version_id in expected)
    for one in found:
        thing = one["s3"]["object"]
        assert one["decoded"] == unquote_plus(thing["key"])
        assert one["decoded"] in (KEY, "copy", "parts")
        assert one["s3"]["configurationId"] == "all"
        by_lifecycle = one["eventName"].startswith("LifecycleExpiration")
        assert one["source"] == ("s3.amazonaws.com" if by_lifecycle else "127.0.0.1/32")
        assert (thing["size"] is not None) == one["eventName"].startswith("ObjectCreated")
        assert thing["sequencer"]
    (put,) = [one for one in found if (one["eventName"], one["s3"]["object"]["versionId"]) == expected[0]]
    assert (put["s3"]["object"]["size"], put["s3"]["object"]["eTag"]) == (5, "5d41402abc4b2a76b9719d911017c592")


def test_the_model_and_the_class_of_buckets_events_accept_what_functions_get(
    daemon: RunningDaemon, journal: Path
) -> None:
    notify(daemon, LambdaFunctionArn=deploy(daemon, "function", journal))
    expected = live(daemon)
    hold(await_lines(journal, len(expected), daemon), expected)


def test_the_model_of_buckets_events_in_messages_accepts_what_queues_carry(
    daemon: RunningDaemon, journal: Path
) -> None:
    deploy(daemon, "queue", journal)
    url = daemon.client("sqs").create_queue(QueueName="told")["QueueUrl"]
    arn = "arn:aws:sqs:us-east-1:000000000000:told"
    notify(daemon, QueueArn=arn)
    assert [body["Event"] for body in drain(daemon, url)] == ["s3:TestEvent"]  # which no model of Powertools takes
    daemon.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="by-queue")
    expected = live(daemon)
    hold(await_lines(journal, len(expected), daemon), expected)
