"""What a request says an object is to be, besides its bytes: headers, metadata, tags, storage class, lock.

PutObject, CreateMultipartUpload, CopyObject and form posts say it in the same headers.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from eventrt.aws.protocol.parse import WrongType
from eventrt.aws.protocol.query import pairs_of
from eventrt.aws.services.s3.acls import CANNED_ACLS, GRANT_HEADERS, is_public, read_acl
from eventrt.aws.services.s3.claims import Claims
from eventrt.core.buckets import Bucket, Lock, ObjectVersion
from eventrt.core.object_rules import (
    S3Refused,
    access_denied,
    check_metadata,
    default_retention,
    invalid_argument,
    invalid_request,
    read_tag_header,
)

Request = Mapping[str, Any]

KEPT_HEADERS = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
    "expires": "Expires",
    "x-amz-website-redirect-location": "x-amz-website-redirect-location",
}
"""Headers that are kept with an object and given back with it."""

STORAGE_CLASSES = frozenset(
    {"STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP"})

_GRANTS = frozenset(GRANT_HEADERS)
_LOCKS = frozenset({"ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus"})
_NOTHING: Mapping[str, Any] = {}


def kept_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the headers that stay with an object, without the framing that is none of its own.

    Raises: S3Refused: InvalidRedirectLocation.
    """
    kept: dict[str, Any] = {}
    for name, shown in KEPT_HEADERS.items():
        value = headers.get(name)
        if value is None:
            continue
        if name == "x-amz-website-redirect-location" and not value.startswith(("/", "http://", "https://")):
            raise S3Refused(
                "InvalidRedirectLocation",
                "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
            )
        if name == "content-encoding" and "aws-chunked" in value:
            value = ",".join(part for part in (one.strip() for one in value.split(",")) if part != "aws-chunked")
            if not value:
                continue
        kept[shown] = value
    return kept


def storage_class(request: Request) -> str:
    """Return the storage class a request names; it is kept and shown, every class is stored alike.

    Raises: S3Refused: InvalidStorageClass; NotImplemented for archives, whose objects would need restoring.
    """
    asked: str = request.get("StorageClass") or "STANDARD"
    if asked in STORAGE_CLASSES:
        return asked
    if asked in _ARCHIVES:
        raise S3Refused("NotImplemented", f"eventrt does not serve the storage class {asked}.", status=501)
    raise S3Refused(
        "InvalidStorageClass",
        "The storage class you specified is not valid",
        members={"StorageClassRequested": asked},
    )


def metadata_of(request: Request) -> Mapping[str, str]:
    """Return the user's metadata, checked.

    Raises: S3Refused: MetadataTooLarge.
    """
    metadata: Mapping[str, str] = request.get("Metadata") or _NOTHING
    if metadata:
        check_metadata(metadata)
    return metadata


def tags_of(request: Request) -> Mapping[str, str]:
    """Return the tags of an `x-amz-tagging` header, checked.

    Raises: S3Refused: InvalidArgument, InvalidTag, BadRequest.
    """
    text = request.get("Tagging")
    if not text:
        return _NOTHING
    try:
        return read_tag_header(pairs_of(text))
    except WrongType as error:
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            "x-amz-tagging",
            text,
        ) from error


def lock_of(request: Request, bucket: Bucket, now: float) -> Lock | None:
    """Return the lock a request puts on the new version, None when it names none.

    Raises: S3Refused: InvalidRequest, InvalidArgument.
    """
    mode, until = request.get("ObjectLockMode"), request.get("ObjectLockRetainUntilDate")
    hold = request.get("ObjectLockLegalHoldStatus")
    if mode is None and until is None and hold is None:
        return None
    if not bucket.has_object_lock:
        raise invalid_request("Bucket is missing Object Lock Configuration")
    if (mode is None) != (until is None):
        raise invalid_argument("x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
    if hold not in (None, "ON", "OFF"):
        raise invalid_argument("Legal Hold must be either of 'ON' or 'OFF'")
    if mode is not None:
        check_retention(mode, until, now)
    return Lock(mode or "", until or 0.0, None if hold is None else hold == "ON")


def check_claims(claims: Claims, bucket: Bucket, *, is_locked: bool, what: str) -> None:
    """Let a body pass that says what it is, as every body must that will be locked.

    Args: is_locked: does the request itself name a lock? what: "Object" or "Part".
    Raises: S3Refused: InvalidRequest.
    Source: user guide, "Object Lock considerations".
    """
    if claims.md5 is not None or claims.algorithm is not None or not bucket.has_object_lock:
        return
    if is_locked or default_retention(bucket):
        raise invalid_request(
            f"Content-MD5 OR x-amz-checksum- HTTP header is required for Put {what} requests with Object Lock "
            "parameters"
        )


def names_a_lock(request: Request) -> bool:
    """Does a request say how the new version is locked?"""
    return not _LOCKS.isdisjoint(request)


def check_retention(mode: str, until: float | None, now: float) -> None:
    """Let a retention pass.

    Raises: S3Refused: InvalidArgument.
    """
    if mode not in ("GOVERNANCE", "COMPLIANCE"):
        raise invalid_argument("Unknown wormMode directive.")
    if until is None or until <= now:
        raise invalid_argument("The retain until date must be in the future!")


def encryption_of(request: Request, bucket: Bucket) -> Mapping[str, Any]:
    """Return the encryption that is kept and shown with an object, () for the plain AES256 that every object has.

    Raises: S3Refused: InvalidArgument.
    """
    asked = request.get("ServerSideEncryption")
    if asked is None:
        rules = bucket.settings.get("encryption", {}).get("Rules", ())
        default = next((rule.get("ApplyServerSideEncryptionByDefault") for rule in rules), None) or {}
        asked, key_id = default.get("SSEAlgorithm"), default.get("KMSMasterKeyID")
        uses_bucket_key = next((rule.get("BucketKeyEnabled") for rule in rules), None)
    else:
        key_id, uses_bucket_key = request.get("SSEKMSKeyId"), request.get("BucketKeyEnabled")
    if asked not in (None, "AES256", "aws:kms", "aws:kms:dsse"):
        raise invalid_argument(
            "The encryption method specified is not supported", "x-amz-server-side-encryption", str(asked)
        )
    if asked in (None, "AES256"):
        if request.get("SSEKMSKeyId"):
            raise invalid_argument(
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
                "aws:kms",
                "x-amz-server-side-encryption",
                asked or "",
            )
        return _NOTHING
    kept: dict[str, Any] = {"algorithm": asked}
    if key_id:
        kept["key"] = key_id
    if uses_bucket_key:
        kept["bucket_key"] = True
    return kept


def encryption_headers(encryption: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that tell an object's encryption."""
    if not encryption:
        return {"x-amz-server-side-encryption": "AES256"}
    headers = {"x-amz-server-side-encryption": encryption["algorithm"]}
    if "key" in encryption:
        headers["x-amz-server-side-encryption-aws-kms-key-id"] = encryption["key"]
    if encryption.get("bucket_key"):
        headers["x-amz-server-side-encryption-bucket-key-enabled"] = "true"
    return headers


def encryption_members(encryption: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for answers that are made of members."""
    members = {"ServerSideEncryption": encryption.get("algorithm", "AES256")}
    if "key" in encryption:
        members["SSEKMSKeyId"] = encryption["key"]
    if encryption.get("bucket_key"):
        members["BucketKeyEnabled"] = True
    return members


def acl_of(request: Request, bucket: Bucket) -> str:
    """Return the access control list a request sets, canned by its name or as JSON; "" when it sets none.

    Raises: S3Refused: InvalidArgument; AccessControlListNotSupported where the bucket's owner owns every object.
    """
    acl: str = request.get("ACL") or ""
    if not acl and not _GRANTS.isdisjoint(request) and any(request.get(name) for name in GRANT_HEADERS):
        kept = read_acl(request)
        check_acls_allowed(bucket, kept)
        return orjson.dumps(kept).decode()
    if not acl:
        return ""
    if acl not in CANNED_ACLS:
        raise invalid_argument("", "x-amz-acl", acl)
    if acl != "bucket-owner-full-control":
        check_acls_allowed(bucket, {"canned": acl})
    return acl


def check_acls_allowed(bucket: Bucket, kept: Mapping[str, Any]) -> None:
    """Let a request pass that sets an access control list, which is "private" also where that changes nothing.

    Raises: S3Refused: AccessControlListNotSupported, AccessDenied: the bucket blocks public lists.
    Source: user guide, "Controlling ownership of objects", "Blocking public access".
    """
    if ownership_of(bucket) == "BucketOwnerEnforced":
        raise S3Refused("AccessControlListNotSupported", "The bucket does not allow ACLs")
    if blocks(bucket, "BlockPublicAcls") and is_public(kept):
        raise access_denied()


def blocks(bucket: Bucket, what: str) -> bool:
    """Was a bucket told to block this? What a new bucket blocks by itself is shown and keeps nobody out."""
    return bool(bucket.settings.get("publicAccessBlock", {}).get(what))


def ownership_of(bucket: Bucket) -> str:
    """Return who owns the objects of a bucket; new buckets' owners own all, as on AWS since April 2023."""
    rules = bucket.settings.get("ownershipControls", {}).get("Rules", ())
    return next((rule["ObjectOwnership"] for rule in rules), "BucketOwnerEnforced")


def is_bypassing(request: Request) -> bool:
    """Does the request bypass retention of mode GOVERNANCE?"""
    return bool(request.get("BypassGovernanceRetention"))


def version_headers(bucket: Bucket, version: ObjectVersion) -> dict[str, str]:
    """Return the header that tells a version's id, where the bucket has versions."""
    return {"x-amz-version-id": version.shown_version_id} if bucket.versioning else {}
