"""Buckets and what is set on them: names, regions, owners, documents, tags, locks, lifecycles."""

import json
from datetime import UTC, datetime, timedelta
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


# -- buckets


def test_a_bucket_is_made_found_listed_and_deleted(s3: Any) -> None:
    name = fresh()
    made = s3.create_bucket(Bucket=name)
    assert made["Location"] == f"/{name}"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "us-east-1"
    assert name in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.create_bucket(Bucket=name)  # one's own may be made again in us-east-1
    s3.delete_bucket(Bucket=name)
    assert refusal(lambda: s3.head_bucket(Bucket=name)) == ("404", 404)
    assert refusal(lambda: s3.delete_bucket(Bucket=name)) == ("NoSuchBucket", 404)


def test_a_bucket_with_objects_is_not_deleted(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert refusal(lambda: s3.delete_bucket(Bucket=bucket)) == ("BucketNotEmpty", 409)


def test_names_are_one_namespace_over_accounts(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    other = daemon.client("s3", account="111111111111")
    assert refusal(lambda: other.create_bucket(Bucket=bucket)) == ("BucketAlreadyExists", 409)
    assert refusal(lambda: other.list_objects_v2(Bucket=bucket)) == ("AccessDenied", 403)
    assert bucket not in [one["Name"] for one in other.list_buckets()["Buckets"]]
    wrong_owner = lambda: s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner="111111111111")  # noqa: E731
    assert refusal(wrong_owner) == ("AccessDenied", 403)


@pytest.mark.parametrize("name", ["ab", "A" * 5, "a..b", "192.168.1.1", "-ab", "ab-", "xn--ab", "a_b", "a" * 64])
def test_names_that_no_bucket_may_have(daemon: RunningDaemon, name: str) -> None:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{daemon.url}/{name}", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as error:
        assert b"InvalidBucketName" in error.read()


def test_regions(daemon: RunningDaemon) -> None:
    west = daemon.client("s3", region="eu-west-1")
    name = fresh()
    assert refusal(lambda: west.create_bucket(Bucket=name)) == ("IllegalLocationConstraintException", 400)
    west.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert west.get_bucket_location(Bucket=name)["LocationConstraint"] == "eu-west-1"
    assert daemon.client("s3").head_bucket(Bucket=name)["BucketRegion"] == "eu-west-1"
    again = {"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    assert refusal(lambda: west.create_bucket(**again)) == ("BucketAlreadyOwnedByYou", 409)


def test_buckets_are_listed_in_pages(daemon: RunningDaemon) -> None:
    s3 = daemon.client("s3", account="222222222222")
    names = sorted(make_bucket(s3) for _ in range(5))
    first = s3.list_buckets(MaxBuckets=2)
    assert [one["Name"] for one in first["Buckets"]] == names[:2]
    rest = s3.list_buckets(MaxBuckets=5, ContinuationToken=first["ContinuationToken"])
    assert [one["Name"] for one in rest["Buckets"]] == names[2:]
    assert "ContinuationToken" not in rest
    assert [one["Name"] for one in s3.list_buckets(Prefix=names[3])["Buckets"]] == [names[3]]


# -- documents


def test_what_is_not_set_has_its_own_error(s3: Any, bucket: str) -> None:
    def code(operation: str) -> str:
        found = refusal(lambda: getattr(s3, operation)(Bucket=bucket))
        assert found[1] == 404
        return found[0]

    assert code("get_bucket_policy") == "NoSuchBucketPolicy"
    assert code("get_bucket_policy_status") == "NoSuchBucketPolicy"
    assert code("get_bucket_cors") == "NoSuchCORSConfiguration"
    assert code("get_bucket_website") == "NoSuchWebsiteConfiguration"
    assert code("get_bucket_lifecycle_configuration") == "NoSuchLifecycleConfiguration"
    assert code("get_bucket_replication") == "ReplicationConfigurationNotFoundError"
    assert code("get_bucket_tagging") == "NoSuchTagSet"
    assert code("get_object_lock_configuration") == "ObjectLockConfigurationNotFoundError"
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    [rule] = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    [rule] = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    assert rule["ObjectOwnership"] == "BucketOwnerEnforced"
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["BlockPublicAcls"] is True
    [grant] = s3.get_bucket_acl(Bucket=bucket)["Grants"]
    assert grant["Permission"] == "FULL_CONTROL"
    notification = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert notification.keys() == {"ResponseMetadata"}


def test_policies_are_kept_and_checked(s3: Any, bucket: str) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"]["IsPublic"] is True
    s3.delete_bucket_policy(Bucket=bucket)
    assert refusal(lambda: s3.get_bucket_policy(Bucket=bucket))[0] == "NoSuchBucketPolicy"
    elsewhere = json.dumps({"Statement": [{**statement, "Resource": "arn:aws:s3:::other/*"}]})
    for wrong in ("{", "[]", json.dumps({"Statement": [{"Effect": "Allow"}]}), elsewhere):
        assert refusal(lambda wrong=wrong: s3.put_bucket_policy(Bucket=bucket, Policy=wrong))[0] == "MalformedPolicy"


def test_access_control_lists_need_ownership_controls(s3: Any, bucket: str) -> None:
    call = lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read")  # noqa: E731
    assert refusal(call) == ("AccessControlListNotSupported", 400)
    assert (
        refusal(lambda: s3.put_object(Bucket=bucket, Key="k", ACL="public-read"))[0] == "AccessControlListNotSupported"
    )
    s3.put_object(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)
    call()
    assert len(s3.get_bucket_acl(Bucket=bucket)["Grants"]) == 2
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    assert [one["Permission"] for one in grants] == ["FULL_CONTROL", "READ"]
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]
    user = {"Grantee": {"Type": "CanonicalUser", "ID": owner["ID"]}, "Permission": "WRITE"}
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Grants": [user], "Owner": owner})
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"] == [user]


def test_tags(s3: Any, bucket: str) -> None:
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Tagging="x=1&y=zwei%20drei")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [
        {"Key": "x", "Value": "1"},
        {"Key": "y", "Value": "zwei drei"},
    ]
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    many = [{"Key": str(number), "Value": ""} for number in range(11)]
    assert refusal(lambda: s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": many}))[0] == "BadRequest"
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    assert refusal(lambda: s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": twice}))[0] == "InvalidTag"


def test_encryption_is_told_with_new_objects(s3: Any, bucket: str) -> None:
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:key"},
        "BucketKeyEnabled": True,
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"], put["BucketKeyEnabled"]) == ("aws:kms", "arn:key", True)
    s3.delete_bucket_encryption(Bucket=bucket)
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"")["ServerSideEncryption"] == "AES256"


def test_what_is_not_enforced_is_refused(s3: Any, bucket: str) -> None:
    def code(call: Any) -> tuple[str, int]:
        return refusal(call)

    refused = ("NotImplemented", 501)
    assert code(lambda: s3.put_object(Bucket=bucket, Key="k", StorageClass="GLACIER")) == refused
    assert code(lambda: s3.put_object(Bucket=bucket, Key="k", StorageClass="NONSENSE")) == ("InvalidStorageClass", 400)
    accelerate = {"Status": "Enabled"}
    assert (
        code(lambda: s3.put_bucket_accelerate_configuration(Bucket=bucket, AccelerateConfiguration=accelerate))
        == refused
    )
    payer = {"Payer": "Requester"}
    assert code(lambda: s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration=payer)) == refused
    site = {"IndexDocument": {"Suffix": "index.html"}}
    assert code(lambda: s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=site)) == refused
    move = {
        "ID": "m",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}],
    }
    call = lambda: s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [move]})  # noqa: E731
    assert code(call)[0] == "NotImplemented"
    buses = {"EventBridgeConfiguration": {}}
    assert (
        code(lambda: s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=buses))
        == refused
    )
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    assert code(lambda: s3.put_object(Bucket=bucket, Key="k", **key))[0] == "NotImplemented"


def test_what_is_not_served_says_so(s3: Any, bucket: str) -> None:
    where = {"Bucket": bucket, "Key": "k"}
    select = {"Expression": "SELECT 1", "ExpressionType": "SQL", "InputSerialization": {"CSV": {}}}
    replication = {"Role": "arn:aws:iam::000000000000:role/r", "Rules": []}
    for call in (
        lambda: s3.select_object_content(**where, **select, OutputSerialization={"CSV": {}}),
        lambda: s3.get_object_torrent(**where),
        lambda: s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration=replication),
        lambda: s3.list_bucket_inventory_configurations(Bucket=bucket),
        lambda: s3.list_bucket_analytics_configurations(Bucket=bucket),
        lambda: s3.list_bucket_metrics_configurations(Bucket=bucket),
        lambda: s3.list_bucket_intelligent_tiering_configurations(Bucket=bucket),
    ):
        assert refusal(call) == ("NotImplemented", 501)


# -- locks


@pytest.fixture
def locked(s3: Any) -> str:
    return make_bucket(s3, ObjectLockEnabledForBucket=True)


def test_a_retained_version_cannot_be_deleted(daemon: RunningDaemon, s3: Any, locked: str) -> None:
    until = datetime.fromtimestamp(daemon.advance(0), UTC) + timedelta(days=1)
    held = s3.put_object(
        Bucket=locked, Key="k", Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
    )["VersionId"]
    delete = lambda **more: s3.delete_object(Bucket=locked, Key="k", VersionId=held, **more)  # noqa: E731
    assert refusal(delete) == ("AccessDenied", 403)
    assert refusal(lambda: delete(BypassGovernanceRetention=True)) == ("AccessDenied", 403)
    assert s3.delete_object(Bucket=locked, Key="k")["DeleteMarker"] is True
    earlier = {"Mode": "COMPLIANCE", "RetainUntilDate": until - timedelta(hours=1)}
    put = lambda retention: s3.put_object_retention(Bucket=locked, Key="k", VersionId=held, Retention=retention)  # noqa: E731
    assert refusal(lambda: put(earlier)) == ("AccessDenied", 403)
    put({"Mode": "COMPLIANCE", "RetainUntilDate": until + timedelta(hours=1)})
    daemon.advance(86_400 + 3_601)
    delete()


def test_governance_may_be_bypassed_and_a_legal_hold_may_not(daemon: RunningDaemon, s3: Any, locked: str) -> None:
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}}
    s3.put_object_lock_configuration(Bucket=locked, ObjectLockConfiguration=rule)
    assert s3.get_object_lock_configuration(Bucket=locked)["ObjectLockConfiguration"] == rule
    held = s3.put_object(Bucket=locked, Key="k", Body=b"x")["VersionId"]
    head = s3.head_object(Bucket=locked, Key="k")
    assert head["ObjectLockMode"] == "GOVERNANCE"
    assert s3.get_object_retention(Bucket=locked, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    s3.put_object_legal_hold(Bucket=locked, Key="k", LegalHold={"Status": "ON"})
    delete = lambda **more: s3.delete_object(Bucket=locked, Key="k", VersionId=held, **more)  # noqa: E731
    assert refusal(lambda: delete(BypassGovernanceRetention=True)) == ("AccessDenied", 403)
    s3.put_object_legal_hold(Bucket=locked, Key="k", LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(Bucket=locked, Key="k")["LegalHold"]["Status"] == "OFF"
    assert refusal(delete) == ("AccessDenied", 403)
    errors = s3.delete_objects(Bucket=locked, Delete={"Objects": [{"Key": "k", "VersionId": held}]})["Errors"]
    assert [one["Code"] for one in errors] == ["AccessDenied"]
    delete(BypassGovernanceRetention=True)


def test_versions_stay_on_where_objects_are_locked(s3: Any, locked: str, bucket: str) -> None:
    suspend = {"Status": "Suspended"}
    call = lambda: s3.put_bucket_versioning(Bucket=locked, VersioningConfiguration=suspend)  # noqa: E731
    assert refusal(call) == ("InvalidBucketState", 409)
    hold = lambda: s3.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": "ON"})  # noqa: E731
    s3.put_object(Bucket=bucket, Key="k")
    assert refusal(hold) == ("InvalidRequest", 400)


# -- lifecycles


def test_objects_expire_at_the_midnight_after_their_days(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    rules = [
        {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 2}},
        {"ID": "old", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
        {
            "ID": "parts",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == rules
    put = s3.put_object(Bucket=bucket, Key="logs/1", Body=b"")
    s3.put_object(Bucket=bucket, Key="kept", Body=b"")
    s3.create_multipart_upload(Bucket=bucket, Key="k")
    assert 'rule-id="logs"' in put["Expiration"]
    daemon.advance(86_400)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 2
    daemon.advance(2 * 86_400)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["kept"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_noncurrent_versions_and_lone_markers_expire(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rules = [
        {
            "ID": "n",
            "Status": "Enabled",
            "Filter": {},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 1},
        },
        {"ID": "m", "Status": "Enabled", "Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
    ]
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    for number in range(4):
        s3.put_object(Bucket=bucket, Key="k", Body=str(number).encode())
    s3.delete_object(Bucket=bucket, Key="gone")
    daemon.advance(3 * 86_400)
    page = s3.list_object_versions(Bucket=bucket)
    assert len(page["Versions"]) == 2  # the current one and the newest noncurrent one
    assert "DeleteMarkers" not in page


def test_what_lifecycles_refuse(s3: Any, bucket: str) -> None:
    def put(rule: dict[str, Any]) -> None:
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})

    base = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}}
    assert refusal(lambda: put(base)) == ("InvalidRequest", 400)
    assert refusal(lambda: put({**base, "Expiration": {"Days": 0}})) == ("InvalidArgument", 400)
    assert refusal(lambda: put({**base, "Expiration": {}}))[0] == "MalformedXML"
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    assert refusal(lambda: put({**base, "Expiration": {"Date": noon}})) == ("InvalidArgument", 400)
