"""What every part of the S3 service needs: finding the bucket and object a request means, and S3's refusals.

One namespace of buckets holds those of all accounts and regions. A bucket is its owner's: another account's signature
is refused, whatever its policy says; unsigned requests are let in where `auth.mode` is "none". A bucket answers in
every region (docs/behaviour/buckets.md).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import anyio
import structlog

from eventrt.aws.call import Call, answering
from eventrt.aws.protocol.overlays import HOST_ID
from eventrt.aws.protocol.s3_routes import bucket_below_localhost, read_host
from eventrt.aws.protocol.serialise import http_date
from eventrt.aws.services.s3.claims import check_document, read_claims
from eventrt.aws.services.s3.native import algorithms
from eventrt.clock import Clock
from eventrt.core.buckets import NULL, Body, Bucket, ObjectVersion
from eventrt.core.notifications import Origin
from eventrt.core.object_rules import (
    S3Refused,
    access_denied,
    invalid_bucket_name,
    invalid_request,
    is_version_id,
    may_be_a_bucket,
    no_such_key,
    no_such_version,
)
from eventrt.core.recursion import decoded
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.http import Response
from eventrt.sources.buckets import Buckets
from eventrt.sources.folders import Folders
from eventrt.store.api import Store, Tx
from eventrt.store.blobs import Blobs, BodyLost

Request = Mapping[str, Any]

_LOG = structlog.get_logger("eventrt.buckets")

_VOUCHED = frozenset(
    {
        "DeleteObjects",
        "PutBucketCors",
        "PutBucketLifecycleConfiguration",
        "PutObjectLegalHold",
        "PutObjectLockConfiguration",
        "PutObjectRetention",
    }
)
"""Operations whose documents must come with a digest (API reference: "Content-MD5, required: yes")."""

DEFAULT_CONTENT_TYPE = "binary/octet-stream"


class S3Room:
    """The store, the blobs and the shelf of buckets; the operations are in the subclasses.

    Args: secret_of: the secret of (access key, session token), None when unknown: for signatures of form posts.
        None takes forms without looking at their signature, as `auth.mode = "none"` does.
    """

    service_id = "s3"

    def __init__(
        self,
        store: Store,
        clock: Clock,
        blobs: Blobs,
        shelf: Buckets,
        folders: Folders,
        *,
        secret_of: Callable[[str, str], str | None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self.blobs = blobs
        self._shelf = shelf
        self._folders = folders
        self._secret_of = secret_of

    @functools.cached_property
    def _algorithms(self) -> Any:
        """The checksum algorithms; a native library, where there is one, loads with the first use."""
        return algorithms()

    def check_body(self, name: str, headers: Mapping[str, str], body: bytes) -> None:
        """Compare a document with what its request's headers say of it: Content-MD5, or a checksum.

        The checksum of a CompleteMultipartUpload is that of the object.

        Raises: ApiError: InvalidDigest, BadDigest, InvalidRequest.
        """
        if name == "CompleteMultipartUpload":
            return
        try:
            claims = read_claims(headers, self._algorithms)
            if name in _VOUCHED and claims.md5 is None and claims.algorithm is None:
                raise invalid_request("Missing required header for this request: Content-MD5")
            check_document(claims, body)
        except Refused as refused:
            raise as_api_error(refused) from refused

    async def give_up_unused(self, name: str) -> None:
        """Delete a blob unless something uses it: whoever wanted to store it may have been refused."""
        with anyio.CancelScope(shield=True):
            self.blobs.give_up(await self._store.read(lambda tx: tx.objects.unused([name])))

    def locate(self, bucket: Bucket, version: ObjectVersion) -> Body:
        """Return where the bytes of a version are."""
        if bucket.folder:
            return Body(version.size, file=str(self._folders.path(bucket, version.key)))
        return version.body


def as_api_error(refused: Refused) -> ApiError:
    """Return a refusal as the door's error."""
    if isinstance(refused, S3Refused):
        return ApiError(refused.code, refused.message, status=refused.status, members=refused.members)
    return ApiError(refused.code, refused.message)


def lost(error: BodyLost, request: Request) -> ApiError:
    """Return the error of a request whose object has lost its bytes, and tell the operator which one has.

    A file of a folder is others' to change at any moment: the next request sees what has become of it.
    """
    if not error.is_blob:
        return ApiError("ServiceUnavailable", "The file is being written. Please try again.", status=503)
    _LOG.error(
        "object.lost",
        bucket=request.get("Bucket"),
        key=request.get("Key"),
        copy_source=request.get("CopySource"),
        path=str(error.path),
        reason=error.reason,
    )
    return ApiError("InternalError", "We encountered an internal error. Please try again.", status=500)


answers = answering({Refused: lambda refused, request: as_api_error(refused), BodyLost: lost})
"""Marks a method as the handler of an operation; a rule it breaks becomes S3's answer."""


# -- buckets and objects


def no_such_bucket(name: str) -> S3Refused:
    """Return `NoSuchBucket`."""
    return S3Refused("NoSuchBucket", "The specified bucket does not exist", status=404, members={"BucketName": name})


def find_bucket(tx: Tx, call: Call, request: Request) -> Bucket:
    """Return the bucket a request means.

    Raises: S3Refused: NoSuchBucket, or AccessDenied for another account's bucket.
    """
    name = request["Bucket"]
    bucket = tx.buckets.find(name)
    if bucket is None:
        raise no_such_bucket(name) if may_be_a_bucket(name) else invalid_bucket_name(name)
    if call.access_key and call.account_id != bucket.account_id:
        raise access_denied()
    expected = request.get("ExpectedBucketOwner")
    if expected is not None and expected != bucket.account_id:
        raise _not_the_owner(expected)
    return bucket


def _not_the_owner(expected: str) -> S3Refused:
    if len(expected) == 12 and expected.isascii() and expected.isdecimal():
        return access_denied()
    return S3Refused(
        "InvalidBucketOwnerAWSAccountID",
        "The value of the expected bucket owner parameter must be an AWS account ID.",
    )


def asked_version(request: Request) -> str | None:
    """Return the version id a request names: "" for the null version, None when it names none.

    Raises: S3Refused: InvalidArgument.
    """
    version_id = request.get("VersionId")
    if version_id is None:
        return None
    if version_id == "":
        raise S3Refused(
            "InvalidArgument",
            "Version id cannot be the empty string",
            members={"ArgumentName": "versionId", "ArgumentValue": ""},
        )
    if not is_version_id(version_id):
        raise wrong_version_id(version_id)
    return "" if version_id == NULL else str(version_id)


def wrong_version_id(version_id: str) -> S3Refused:
    """Return the refusal of what is no version id at all."""
    members = {"ArgumentName": "versionId", "ArgumentValue": version_id}
    return S3Refused("InvalidArgument", "Invalid version id specified", members=members)


def find_version(tx: Tx, bucket: Bucket, request: Request, method: str = "GET") -> ObjectVersion:
    """Return the version of an object a request means, the current one when it names none.

    Args: method: the request's, for the refusal of a delete marker.
    Raises:
        S3Refused: NoSuchKey, NoSuchVersion.
        ApiError: it is a delete marker: NoSuchKey, or MethodNotAllowed when it was named.
    """
    key, version_id = request["Key"], asked_version(request)
    if version_id is None:
        version = tx.objects.current(bucket, key)
        if version is None:
            raise no_such_key(key)
        if version.is_marker:
            headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version.shown_version_id}
            raise ApiError(
                "NoSuchKey", "The specified key does not exist.", status=404, members={"Key": key}, headers=headers
            )
        return version
    version = tx.objects.version(bucket, key, version_id)
    if version is None:
        raise no_such_version(key, request["VersionId"])
    if version.is_marker:
        headers = {
            "x-amz-delete-marker": "true",
            "x-amz-version-id": version.shown_version_id,
            "Last-Modified": http_date(int(version.modified_at)),
            "Allow": "DELETE",
        }
        raise ApiError(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            status=405,
            members={"Method": method, "ResourceType": "DeleteMarker"},
            headers=headers,
        )
    return version


def origin_of(call: Call) -> Origin:
    """Return who asks, as notifications tell it."""
    return Origin(
        f"AWS:{call.account_id}" if call.access_key else "Anonymous",
        call.http.remote,
        call.request_id,
        HOST_ID,
        decoded(call.http.headers.get("x-amzn-trace-id")),
    )


def empty(call: Call, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Response:
    """Return an answer without a body."""
    return Response(status, {"x-amz-request-id": call.request_id, "x-amz-id-2": HOST_ID, **(headers or {})})


def location_of(call: Call, bucket: str, key: str) -> str:
    """Return the address of an object, in the style in which it was asked for; slashes are encoded, as on AWS."""
    host = read_host(call.host)
    is_named = bool(host.bucket if host.is_s3 else bucket_below_localhost(call.host))
    return f"http://{call.host}/{'' if is_named else f'{bucket}/'}{quote(key, safe='')}"


def quoted(etag: str) -> str:
    """Return an ETag as headers and documents write it."""
    return f'"{etag}"'


def shown_version(bucket: Bucket, version: ObjectVersion) -> str | None:
    """Return the version id that answers tell, None in a bucket that never had versions."""
    return version.shown_version_id if bucket.versioning else None
