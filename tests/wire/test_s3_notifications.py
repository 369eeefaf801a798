"""Bucket notifications over the wire: who is told what, in which words."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from tests.running import RunningDaemon
from tests.wire.s3_speaking import drain, make_bucket, make_queue, records, refusal


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def tell(s3: Any, bucket: str, arn: str, *events: str, rules: dict[str, str] | None = None, **more: Any) -> None:
    """Have a queue told of events."""
    one: dict[str, Any] = {"QueueArn": arn, "Events": list(events), **more}
    if rules is not None:
        one["Filter"] = {"Key": {"FilterRules": [{"Name": name, "Value": value} for name, value in rules.items()]}}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [one]})


def test_a_new_destination_gets_a_test_event(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:*")
    [test] = drain(daemon, url)
    assert list(test) == ["Service", "Event", "Time", "Bucket", "RequestId", "HostId"]
    assert (test["Service"], test["Event"], test["Bucket"]) == ("Amazon S3", "s3:TestEvent", bucket)


def test_a_record_says_what_aws_says(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:*", Id="mine")
    drain(daemon, url)
    put = s3.put_object(Bucket=bucket, Key="a dir/ü+1.txt", Body=b"hello")
    [record] = records(daemon, url)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("eventTime"))
    assert re.fullmatch(r"[0-9A-F]{18}", record["s3"]["object"].pop("sequencer"))
    assert record.pop("responseElements")["x-amz-request-id"] == put["ResponseMetadata"]["RequestId"]
    assert record == {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventName": "ObjectCreated:Put",
        "userIdentity": {"principalId": "AWS:000000000000"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "mine",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "000000000000"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {"key": "a+dir/%C3%BC%2B1.txt", "size": 5, "eTag": "5d41402abc4b2a76b9719d911017c592"},
        },
    }


def test_every_kind_of_event(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*", "s3:ObjectAcl:Put")
    drain(daemon, url)

    def told() -> list[str]:
        return [f"{one['eventName']} {one['s3']['object']['key']}" for one in records(daemon, url)]

    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k")
    assert told() == ["ObjectCreated:Put k", "ObjectCreated:Copy c"]
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    etag = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload_id, PartNumber=1, Body=b"p")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload_id, MultipartUpload=parts)
    assert told() == ["ObjectCreated:CompleteMultipartUpload m"]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "1"}]})
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert told() == ["ObjectTagging:Put k", "ObjectTagging:Delete k"]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "none"}]})
    [one, two] = records(daemon, url)
    assert (one["eventName"], sorted(one["s3"]["object"])) == ("ObjectRemoved:Delete", ["key", "sequencer"])
    assert two["s3"]["object"]["key"] == "none"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version_id = s3.put_object(Bucket=bucket, Key="v", Body=b"x")["VersionId"]
    [record] = records(daemon, url)
    assert record["s3"]["object"]["versionId"] == version_id
    marker = s3.delete_object(Bucket=bucket, Key="v")["VersionId"]
    [record] = records(daemon, url)
    assert (record["eventName"], record["s3"]["object"]["versionId"]) == ("ObjectRemoved:DeleteMarkerCreated", marker)


def test_sequencers_order_the_events_of_a_key(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:*", "s3:ObjectRemoved:*")
    drain(daemon, url)
    for number in range(5):
        s3.put_object(Bucket=bucket, Key="k", Body=str(number).encode())
        s3.delete_object(Bucket=bucket, Key="k")
    found = [one["s3"]["object"]["sequencer"] for one in records(daemon, url)]
    assert len(found) == 10
    assert found == sorted(found)


def test_filters_look_at_the_key_as_it_is(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:Put", rules={"PREFIX": "in dir/", "Suffix": ".jpg"})
    drain(daemon, url)
    for key in ("in dir/a.jpg", "in dir/a.png", "out/a.jpg", "in dir/ü.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    found = [unquote_plus(one["s3"]["object"]["key"]) for one in records(daemon, url)]
    assert found == ["in dir/a.jpg", "in dir/ü.jpg"]
    [kept] = s3.get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"]
    assert kept["Filter"]["Key"]["FilterRules"] == [
        {"Name": "Prefix", "Value": "in dir/"},
        {"Name": "Suffix", "Value": ".jpg"},
    ]
    assert kept["Id"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    s3.put_object(Bucket=bucket, Key="in dir/b.jpg", Body=b"")
    assert records(daemon, url) == []


def test_what_is_refused(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    _, arn = make_queue(daemon)
    missing = arn + "x"

    def put(*configurations: dict[str, Any], **more: Any) -> None:
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": list(configurations)}, **more
        )

    def keyed(arn: str, event: str, **rules: str) -> dict[str, Any]:
        filters = [{"Name": name, "Value": value} for name, value in rules.items()]
        return {"QueueArn": arn, "Events": [event], "Filter": {"Key": {"FilterRules": filters}}}

    created, put_only = "s3:ObjectCreated:*", "s3:ObjectCreated:Put"
    assert refusal(lambda: put(keyed(missing, created))) == ("InvalidArgument", 400)
    put(keyed(missing, created), SkipDestinationValidation=True)
    assert refusal(lambda: put(keyed("nonsense", created))) == ("InvalidArgument", 400)
    assert refusal(lambda: put(keyed(arn, "s3:Nonsense"))) == ("InvalidArgument", 400)
    assert refusal(lambda: put(keyed(arn, created, middle="x"))) == ("InvalidArgument", 400)
    overlapping = (keyed(arn, created, prefix="a", suffix="g"), keyed(arn, put_only, prefix="ab", suffix=".jpg"))
    assert refusal(lambda: put(*overlapping)) == ("InvalidArgument", 400)
    put(keyed(arn, created, prefix="a", suffix=".png"), keyed(arn, put_only, prefix="ab", suffix=".jpg"))
    twice = {**keyed(arn, created, prefix="x"), "Id": "1"}, {**keyed(arn, created, prefix="y"), "Id": "1"}
    assert refusal(lambda: put(*twice)) == ("InvalidArgument", 400)
    topic = {"TopicArn": "arn:aws:sns:us-east-1:000000000000:t", "Events": [created]}
    call = lambda: s3.put_bucket_notification_configuration(  # noqa: E731
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": [topic]}
    )
    assert refusal(call) == ("NotImplemented", 501)
    function = {"LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:none", "Events": [created]}
    call = lambda: s3.put_bucket_notification_configuration(  # noqa: E731
        Bucket=bucket, NotificationConfiguration={"LambdaFunctionConfigurations": [function]}
    )
    assert refusal(call) == ("InvalidArgument", 400)


def test_lifecycle_expiration_tells_its_own_events(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:LifecycleExpiration:*", "s3:ObjectRemoved:*")
    drain(daemon, url)
    rule = {"ID": "e", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    daemon.advance(3 * 86_400)
    [record] = records(daemon, url)
    assert (record["eventName"], record["eventVersion"]) == ("LifecycleExpiration:Delete", "2.3")
    assert record["userIdentity"] == {"principalId": "s3.amazonaws.com"}
    assert record["requestParameters"] == {"sourceIPAddress": "s3.amazonaws.com"}
    assert all(record["responseElements"].values())


def test_an_event_is_there_after_a_kill_if_its_object_is(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    url, arn = make_queue(daemon)
    tell(s3, bucket, arn, "s3:ObjectCreated:*")
    drain(daemon, url)
    for number in range(20):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    daemon.restart(kill=True)
    keys = {one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert {one["s3"]["object"]["key"] for one in records(daemon, url)} == keys == {f"k{n}" for n in range(20)}


def test_a_destination_that_is_gone_is_passed_over(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    gone_url, gone = make_queue(daemon)
    url, arn = make_queue(daemon)
    queues = [{"QueueArn": one, "Events": [f"s3:ObjectCreated:{kind}"]} for one, kind in ((gone, "Put"), (arn, "Copy"))]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": queues})
    drain(daemon, url)
    daemon.client("sqs").delete_queue(QueueUrl=gone_url)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    assert [one["s3"]["object"]["key"] for one in records(daemon, url)] == ["c"]
    assert any("notification.dropped" in line and gone in line for line in daemon.log.splitlines())


def test_quick_writes_to_a_key_are_told_once_where_that_is_asked_for(tmp_path: Path) -> None:
    coalescing = RunningDaemon(tmp_path / "data", environment={"EVENTRT_S3_COALESCE": "true"})
    coalescing.start()
    try:
        s3 = coalescing.client("s3")
        plain, versioned = make_bucket(s3), make_bucket(s3)
        s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
        url, arn = make_queue(coalescing)
        for name in (plain, versioned):
            tell(s3, name, arn, "s3:ObjectCreated:*")
        drain(coalescing, url)
        for key in ("k", "k", "other"):
            s3.put_object(Bucket=plain, Key=key, Body=b"x")
        assert [one["s3"]["object"]["key"] for one in records(coalescing, url)] == ["k", "other"]
        coalescing.advance(2)
        s3.put_object(Bucket=plain, Key="k", Body=b"y")
        assert len(records(coalescing, url)) == 1
        for _ in range(2):
            s3.put_object(Bucket=versioned, Key="k", Body=b"x")
        assert len(records(coalescing, url)) == 2
    finally:
        coalescing.stop()
        coalescing.close_clients()
