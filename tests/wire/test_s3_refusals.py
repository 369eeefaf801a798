"""How S3 refuses, to the letter: codes, sentences, what else stands in the error, and the order of the checks."""

import base64
import hashlib
import http.client
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.s3_speaking import fresh, make_bucket, make_queue


@pytest.fixture
def s3(daemon: RunningDaemon) -> Any:
    return daemon.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def error(call: Callable[[], Any]) -> dict[str, Any]:
    """Return what stands in the error a call gets, its status as `Status`."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return {**response["Error"], "Status": response["ResponseMetadata"]["HTTPStatusCode"]}


class Raw:
    """An answer as it came: status, headers by their names in lower case, body."""

    def __init__(self, daemon: RunningDaemon, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE_S)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()
        connection.close()

    def __getattr__(self, name: str) -> str:
        """Return the text of an element of the error."""
        match = re.search(f"<{name}>(.*?)</{name}>".encode(), self.body)
        assert match is not None, self.body
        return match[1].decode()


def signed(daemon: RunningDaemon) -> dict[str, str]:
    """Return a header by which a request says that it is for S3."""
    return {"Authorization": "AWS4-HMAC-SHA256 Credential=000000000000/20240131/us-east-1/s3/aws4_request"}


def test_ids_are_of_s3s_form_and_in_headers_and_body(daemon: RunningDaemon, bucket: str) -> None:
    answer = Raw(daemon, "GET", f"/{bucket}/nothing")
    assert re.fullmatch(r"[0-9A-Z]{16}", answer.RequestId)
    assert (answer.headers["x-amz-request-id"], answer.headers["x-amz-id-2"]) == (answer.RequestId, answer.HostId)
    assert "x-amzn-requestid" not in answer.headers
    assert answer.headers["content-type"] == "application/xml"


def test_methods_that_mean_nothing_are_refused_by_their_level(daemon: RunningDaemon, bucket: str) -> None:
    for method, path, level in (("PATCH", f"/{bucket}/k", "OBJECT"), ("POST", f"/{bucket}/k", "OBJECT")):
        answer = Raw(daemon, method, path)
        assert (answer.status, answer.Code, answer.Method, answer.ResourceType) == (
            405,
            "MethodNotAllowed",
            method,
            level,
        )
    answer = Raw(daemon, "PUT", "/", **signed(daemon))
    assert (answer.Code, answer.ResourceType) == ("MethodNotAllowed", "SERVICE")
    answer = Raw(daemon, "POST", f"/{bucket}", b"x")
    assert (answer.status, answer.Code) == (412, "PreconditionFailed")
    assert answer.Condition == "Bucket POST must be of the enclosure-type multipart/form-data"


def test_a_plus_in_a_path_is_a_blank(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    assert Raw(daemon, "PUT", f"/{bucket}/a+b%2Bc", b"x").status == 200
    [found] = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Key"] == "a b+c"


@pytest.mark.parametrize("subresource", ["tagging", "cors", "lifecycle", "versioning", "notification"])
def test_a_document_must_come_and_be_the_right_one(daemon: RunningDaemon, bucket: str, subresource: str) -> None:
    digest = base64.b64encode(hashlib.md5(b"<Other/>").digest()).decode()
    answer = Raw(daemon, "PUT", f"/{bucket}?{subresource}")
    assert (answer.status, answer.Code, answer.Message) == (400, "MissingRequestBodyError", "Request Body is empty")
    assert Raw(daemon, "PUT", f"/{bucket}?{subresource}", b"<Other/>", Content_MD5=digest).Code == "MalformedXML"


def test_some_documents_must_say_their_digest(daemon: RunningDaemon, bucket: str) -> None:
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    answer = Raw(daemon, "POST", f"/{bucket}?delete", body)
    assert (answer.Code, answer.Message) == (
        "InvalidRequest",
        "Missing required header for this request: Content-MD5",
    )
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    assert Raw(daemon, "POST", f"/{bucket}?delete", body, Content_MD5=digest).status == 200
    wrong = Raw(daemon, "PUT", f"/{bucket}/k", b"x", Content_MD5="no digest")
    assert (wrong.Code, wrong.Message) == ("InvalidDigest", "The Content-MD5 you specified was invalid.")


@pytest.mark.parametrize(
    ("path", "message", "name", "value"),
    [
        ("?max-keys=x", "Provided max-keys not an integer or within integer range", "max-keys", "x"),
        ("?max-keys=-1", "Argument maxKeys must be an integer between 0 and 2147483647", "maxKeys", "-1"),
        (
            "?list-type=2&continuation-token=x",
            "The continuation token provided is incorrect",
            "continuation-token",
            "x",
        ),
        ("?encoding-type=x", "Invalid Encoding Method specified in Request", "encoding-type", "x"),
        (
            "?versions&version-id-marker=x",
            "A version-id marker cannot be specified without a key marker.",
            "version-id-marker",
            "x",
        ),
        ("/k?versionId=x", "Invalid version id specified", "versionId", "x"),
        ("/k?versionId=", "Version id cannot be the empty string", "versionId", ""),
        ("/k?partNumber=x", "Part number must be an integer between 1 and 10000, inclusive", "partNumber", "x"),
        ("/k?partNumber=0", "Part number must be an integer between 1 and 10000, inclusive", "partNumber", "0"),
    ],
)
def test_wrong_arguments_are_named(
    daemon: RunningDaemon, s3: Any, bucket: str, path: str, message: str, name: str, value: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    answer = Raw(daemon, "GET", f"/{bucket}{path}")
    told = answer.Code, answer.Message, answer.ArgumentName, answer.ArgumentValue
    assert (answer.status, *told) == (400, "InvalidArgument", message, name, value)


def test_names_that_no_bucket_can_have_are_not_looked_for(daemon: RunningDaemon, s3: Any) -> None:
    assert Raw(daemon, "GET", "/ab/k").Code == "InvalidBucketName"
    assert Raw(daemon, "GET", "/No_Such_Bucket/k").Code == "NoSuchBucket"
    for name in (fresh("a.-b"), fresh("a-.b")):
        assert error(lambda name=name: s3.create_bucket(Bucket=name))["Code"] == "InvalidBucketName"


def test_keys_are_too_long_also_to_be_read(s3: Any, bucket: str) -> None:
    told = error(lambda: s3.get_object(Bucket=bucket, Key="ü" * 513))
    assert (told["Code"], told["Size"], told["MaxSizeAllowed"]) == ("KeyTooLongError", "1026", "1024")


def test_a_condition_that_fails_is_named(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/k"}
    long_ago, some_day = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
    for options, name in (
        ({"CopySourceIfMatch": '"x"'}, "x-amz-copy-source-If-Match"),
        ({"CopySourceIfNoneMatch": "*"}, "x-amz-copy-source-If-None-Match"),
        ({"CopySourceIfUnmodifiedSince": long_ago}, "x-amz-copy-source-If-Unmodified-Since"),
        ({"CopySourceIfModifiedSince": some_day}, "x-amz-copy-source-If-Modified-Since"),
    ):
        told = error(lambda options=options: s3.copy_object(**copy, **options))
        assert (told["Status"], told["Code"], told["Condition"]) == (412, "PreconditionFailed", name)
    told = error(lambda: s3.put_object(Bucket=bucket, Key="none", IfMatch='"x"'))
    assert (told["Status"], told["Code"], told["Key"]) == (404, "NoSuchKey", "none")


def test_a_delete_marker_is_no_source_and_tells_its_age(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    source = {"Bucket": bucket, "Key": "k"}
    assert error(lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=source))["Code"] == "NoSuchKey"
    told = error(lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource={**source, "VersionId": marker}))
    assert (told["Code"], told["Message"]) == (
        "InvalidRequest",
        "The source of a copy request may not specifically refer to a delete marker by version id.",
    )
    answer = Raw(daemon, "GET", f"/{bucket}/k?versionId={marker}")
    assert (answer.status, answer.ResourceType, answer.headers["x-amz-delete-marker"]) == (405, "DeleteMarker", "true")
    assert "last-modified" in answer.headers
    put = error(lambda: s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=marker, Tagging={"TagSet": []}))
    assert (put["Code"], put["Method"]) == ("MethodNotAllowed", "PUT")


def test_what_is_no_version_is_refused_and_what_is_not_there_is_deleted(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k")
    assert error(lambda: s3.delete_object(Bucket=bucket, Key="k", VersionId="x"))["Code"] == "InvalidArgument"
    assert s3.delete_object(Bucket=bucket, Key="k", VersionId="0" * 32)["VersionId"] == "0" * 32
    told = error(lambda: s3.get_object(Bucket=bucket, Key="k", VersionId="0" * 32))
    assert (told["Status"], told["Code"], told["VersionId"]) == (404, "NoSuchVersion", "0" * 32)
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": "x"}, {"Key": "other"}]})
    assert [one["Code"] for one in answer["Errors"]] == ["NoSuchVersion"]
    assert [one["Key"] for one in answer["Deleted"]] == ["other"]


def test_reading_does_not_encrypt(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    answer = Raw(daemon, "GET", f"/{bucket}/k", x_amz_server_side_encryption="AES256")
    assert (answer.status, answer.ArgumentName) == (400, "x-amz-server-side-encryption")


def test_what_an_object_cannot_be(s3: Any, bucket: str) -> None:
    told = error(lambda: s3.put_object(Bucket=bucket, Key="k", WebsiteRedirectLocation="elsewhere"))
    assert told["Code"] == "InvalidRedirectLocation"
    told = error(lambda: s3.put_object(Bucket=bucket, Key="k", SSEKMSKeyId="k", ServerSideEncryption="AES256"))
    assert (told["Code"], told["ArgumentName"]) == ("InvalidArgument", "x-amz-server-side-encryption")
    told = error(lambda: s3.get_object(Bucket=bucket, Key="k", ExpectedBucketOwner="nobody"))
    assert told["Code"] == "InvalidBucketOwnerAWSAccountID"


def test_places_that_do_not_exist(daemon: RunningDaemon, s3: Any) -> None:
    def make(place: str, client: Any = s3) -> str:
        name = fresh()
        options = {"CreateBucketConfiguration": {"LocationConstraint": place}}
        return str(client.create_bucket(Bucket=name, **options)["Location"])

    told = error(lambda: make("mars-1"))
    assert (told["Code"], told["LocationConstraint"]) == ("InvalidLocationConstraint", "mars-1")
    assert make("eu-west-1").endswith(".s3.amazonaws.com/")
    told = error(lambda: make("us-west-2", daemon.client("s3", region="eu-west-1")))
    assert told["Code"] == "IllegalLocationConstraintException"
    assert told["Message"].startswith("The us-west-2 location constraint is incompatible")


def test_the_old_name_of_a_place_is_kept(s3: Any) -> None:
    name = make_bucket(s3, CreateBucketConfiguration={"LocationConstraint": "EU"})
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == "EU"
    assert s3.head_bucket(Bucket=name)["BucketRegion"] == "eu-west-1"


def test_versioning_needs_a_status_of_two(daemon: RunningDaemon, bucket: str) -> None:
    start, end = b"<VersioningConfiguration>", b"</VersioningConfiguration>"
    assert Raw(daemon, "PUT", f"/{bucket}?versioning", start + end).Code == "IllegalVersioningConfigurationException"
    wrong = start + b"<Status>On</Status>" + end
    assert Raw(daemon, "PUT", f"/{bucket}?versioning", wrong).Code == "MalformedXML"


# -- who may do what


def statement(bucket: str, **members: Any) -> str:
    one = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [{**one, **members}]})


def test_an_action_needs_a_resource_of_its_kind_and_a_principal_a_name(s3: Any, bucket: str) -> None:
    def refused(**members: Any) -> str:
        told = error(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=statement(bucket, **members)))
        assert told["Code"] == "MalformedPolicy"
        return str(told["Message"])

    nowhere = "Action does not apply to any resource(s) in statement"
    assert refused(Resource=f"arn:aws:s3:::{bucket}") == nowhere
    assert refused(Action=["s3:GetObject", "s3:ListBucket"]) == nowhere
    assert refused(Principal={"AWS": "somebody"}) == "Invalid principal in policy"
    assert refused(Principal="somebody") == "Invalid principal in policy"
    both = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    fine = statement(bucket, Action=["s3:GetObject", "s3:ListBucket"], Resource=both, Principal={"AWS": "1" * 12})
    s3.put_bucket_policy(Bucket=bucket, Policy=fine)


def test_a_bucket_blocks_what_it_was_told_to_block(s3: Any, bucket: str) -> None:
    every = {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"] == every
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=every)
    told = error(lambda: s3.put_bucket_policy(Bucket=bucket, Policy=statement(bucket)))
    assert (told["Status"], told["Code"], "BlockPublicPolicy" in told["Message"]) == (403, "AccessDenied", True)
    s3.put_bucket_policy(Bucket=bucket, Policy=statement(bucket, Principal={"AWS": "000000000000"}))
    writers = {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=writers)
    assert error(lambda: s3.put_bucket_acl(Bucket=bucket, ACL="public-read"))["Code"] == "AccessDenied"
    assert error(lambda: s3.put_object(Bucket=bucket, Key="k", ACL="public-read"))["Code"] == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="k", ACL="private")
    s3.delete_public_access_block(Bucket=bucket)
    assert error(lambda: s3.get_public_access_block(Bucket=bucket))["Code"] == "NoSuchPublicAccessBlockConfiguration"
    s3.put_bucket_policy(Bucket=bucket, Policy=statement(bucket))
    s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
    enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    told = error(lambda: s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=enforced))
    assert told["Code"] == "InvalidBucketAclWithObjectOwnership"


def test_where_the_owner_owns_all_no_list_is_taken_not_even_a_private_one(s3: Any, bucket: str) -> None:
    for call in (
        lambda: s3.put_bucket_acl(Bucket=bucket, ACL="private"),
        lambda: s3.put_object(Bucket=bucket, Key="k", ACL="private"),
    ):
        assert error(call)["Code"] == "AccessControlListNotSupported"
    s3.put_object(Bucket=bucket, Key="k", ACL="bucket-owner-full-control")
    make_bucket(s3, ACL="private")
    told = error(lambda: make_bucket(s3, ACL="public-read"))
    assert told["Code"] == "InvalidBucketAclWithObjectOwnership"
    told = error(lambda: make_bucket(s3, ACL="public-read", ObjectOwnership="ObjectWriter"))
    assert told["Code"] == "InvalidBucketAclWithBlockPublicAccessError"


def test_a_list_that_says_nothing_or_too_much(s3: Any) -> None:
    bucket = make_bucket(s3, ObjectOwnership="ObjectWriter")
    s3.put_object(Bucket=bucket, Key="k")

    def put(**options: Any) -> dict[str, Any]:
        return error(lambda: s3.put_object_acl(Bucket=bucket, Key="k", **options))

    told = put()
    assert (told["Code"], told["MissingHeaderName"]) == ("MissingSecurityHeader", "x-amz-acl")
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]
    told = put(ACL="private", GrantRead=f'id="{owner["ID"]}"')
    assert (told["Code"], told["Message"]) == (
        "InvalidRequest",
        "Specifying both Canned ACLs and Header Grants is not allowed",
    )
    assert put(ACL="private", AccessControlPolicy={"Owner": owner, "Grants": []})["Code"] == "UnexpectedContent"
    assert put(AccessControlPolicy={"Grants": []})["Code"] == "MalformedACLError"
    told = put(GrantRead='id="nobody"')
    assert (told["Code"], told["Message"], told["ArgumentName"]) == (
        "InvalidArgument",
        "Invalid id",
        "CanonicalUser/ID",
    )
    assert put(GrantRead='uri="http://nowhere"')["ArgumentName"] == "Group/URI"


# -- notifications


def test_a_destination_must_be_where_the_bucket_is(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    _, arn = make_queue(daemon)

    def put(arn: str, **options: Any) -> Any:
        one = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}
        return s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [one]}, **options
        )

    elsewhere = arn.replace("us-east-1", "eu-west-1")
    told = error(lambda: put(elsewhere, SkipDestinationValidation=True))
    assert (told["Code"], told["ArgumentValue"]) == ("InvalidArgument", elsewhere)
    assert told["Message"] == (
        "The notification destination service region is not valid for the bucket location constraint"
    )
    function = {"LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:none:live"}
    configuration = {"LambdaFunctionConfigurations": [{**function, "Events": ["s3:ObjectCreated:*"]}]}
    told = error(
        lambda: s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configuration)
    )
    assert told["ArgumentName1"] == f"{function['LambdaFunctionArn']}, null"
    assert told["ArgumentValue1"] == f"Not authorized to invoke function [{function['LambdaFunctionArn']}]"


def test_a_configuration_without_a_destination_is_malformed(daemon: RunningDaemon, bucket: str) -> None:
    body = (
        b"<NotificationConfiguration><QueueConfiguration><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"
        b"</NotificationConfiguration>"
    )
    assert Raw(daemon, "PUT", f"/{bucket}?notification", body).Code == "MalformedXML"


# -- pages of other sites


def test_preflights_are_refused_in_s3s_words(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    def ask(path: str, method: str = "GET") -> Raw:
        return Raw(daemon, "OPTIONS", path, Origin="http://a.example", Access_Control_Request_Method=method)

    answer = ask(f"/{bucket}/k")
    assert (answer.status, answer.Code, answer.ResourceType, answer.Method) == (403, "AccessForbidden", "OBJECT", "GET")
    assert answer.Message == "CORSResponse: CORS is not enabled for this bucket."
    assert ask(f"/{bucket}").ResourceType == "BUCKET"
    assert ask(f"/{fresh()}/k").Message == "CORSResponse: Bucket not found"
    assert ask(f"/{bucket}/k", "BREW").Message == "Invalid Access-Control-Request-Method: BREW"
    plain = Raw(daemon, "GET", f"/{bucket}/k", Origin="http://a.example")
    assert (plain.status, b"other sites" in plain.body) == (403, True)


# -- signatures


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    running = RunningDaemon(
        tmp_path_factory.mktemp("strict") / "data",
        environment={"EVENTRT_AUTH_MODE": "sigv4", "EVENTRT_AUTH_KEYS": "000000000000=secret"},
    )
    running.start()
    yield running
    running.stop()
    running.close_clients()


def test_a_wrong_signature_is_explained(strict: RunningDaemon) -> None:
    import boto3
    from botocore.config import Config

    def client(key: str, secret: str) -> Any:
        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=strict.url,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
        )

    told = error(lambda: client("000000000000", "wrong").list_buckets())
    assert (told["Status"], told["Code"], told["AWSAccessKeyId"]) == (403, "SignatureDoesNotMatch", "000000000000")
    assert told["Message"].endswith("Check your key and signing method.")
    assert told["StringToSign"].startswith("AWS4-HMAC-SHA256\n")
    assert told["CanonicalRequest"].startswith("GET\n/\n")
    assert bytes.fromhex(told["StringToSignBytes"]).decode() == told["StringToSign"]
    told = error(lambda: client("AKIAUNKNOWN", "secret").list_buckets())
    assert (told["Code"], told["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "AKIAUNKNOWN")
    answer = Raw(strict, "GET", "/some-bucket/k")
    assert (answer.status, answer.Code, answer.Message) == (403, "AccessDenied", "Access Denied")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("X-Amz-Date=20240131T000000Z&X-Amz-Expires=x", "X-Amz-Expires should be a number"),
        ("X-Amz-Date=20240131T000000Z&X-Amz-Expires=-1", "X-Amz-Expires must be non-negative"),
        ("X-Amz-Date=20240131T000000Z&X-Amz-Expires=604801", "X-Amz-Expires must be less than a week (in seconds)"),
        ("X-Amz-Date=today&X-Amz-Expires=60", "X-Amz-Date must be in the ISO8601 Long Format"),
        ("X-Amz-Date=20240131T000000Z", "Query-string authentication version 4 requires the X-Amz-Algorithm"),
    ],
)
def test_a_presigned_address_must_be_well_formed(daemon: RunningDaemon, query: str, message: str) -> None:
    answer = Raw(daemon, "GET", f"/some-bucket/k?X-Amz-Signature=0&{query}")
    assert (answer.status, answer.Code) == (400, "AuthorizationQueryParametersError")
    assert answer.Message.startswith(message)


def test_nothing_is_restored_as_nothing_is_archived(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", StorageClass="STANDARD_IA")
    told = error(lambda: s3.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1}))
    assert (told["Status"], told["Code"], told["StorageClass"]) == (403, "InvalidObjectState", "STANDARD_IA")
    assert error(lambda: s3.restore_object(Bucket=bucket, Key="none", RestoreRequest={}))["Code"] == "NoSuchKey"


def test_metadata_beyond_ascii_is_told_as_mails_tell_it(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    value = "Ämazon".encode().decode("latin-1")
    assert Raw(daemon, "PUT", f"/{bucket}/k", b"x", x_amz_meta_name=value).status == 200
    encoded = base64.b64encode("Ämazon".encode()).decode()
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"name": f"=?UTF-8?B?{encoded}?="}


def test_a_document_without_a_set_of_tags_is_malformed(daemon: RunningDaemon, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    assert Raw(daemon, "PUT", f"/{bucket}/k?tagging", b"<Tagging/>").Code == "MalformedXML"
    assert Raw(daemon, "PUT", f"/{bucket}?tagging", b"<Tagging/>").Code == "MalformedXML"
    assert Raw(daemon, "PUT", f"/{bucket}/k?tagging", b"<Tagging><TagSet/></Tagging>").status == 200
