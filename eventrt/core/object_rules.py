"""Rules of buckets and objects: names, keys, conditions, ranges, ETags, tags, locks.

Pure: the present moment is handed in. A broken rule raises `S3Refused`, which carries S3's own code, status and words.

Source: Amazon S3 API reference and user guide; docs/behaviour/buckets.md has a line for each.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from eventrt.core.buckets import NULL, Bucket, Lock, ObjectVersion
from eventrt.core.refused import Refused

KEY_LIMIT_BYTES = 1024
METADATA_LIMIT_BYTES = 2048
PUT_LIMIT_BYTES = 5 * 1024**3
OBJECT_LIMIT_BYTES = 50 * 1024**4
PART_LIMIT_BYTES = 5 * 1024**3
PART_MINIMUM_BYTES = 5 * 1024**2
PART_LIMIT = 10_000
TAG_LIMIT = 10
BUCKET_TAG_LIMIT = 50

_FIRST_SURROGATE, _AFTER_SURROGATES = 0xD800, 0xE000
_HIGHEST = "\U0010ffff" * (KEY_LIMIT_BYTES // 4 + 1)

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_OLD_NAME = re.compile(r"[A-Za-z0-9._-]{3,255}", re.ASCII)
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_RESERVED_STARTS = ("xn--", "sthree-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_TAG_CHARACTERS = re.compile(r"[\w\s+\-=._:/@]*")
_VERSION_ID = re.compile(r"[A-Za-z0-9._-]{32}", re.ASCII)
_RANGE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", re.ASCII | re.IGNORECASE)


class S3Refused(Refused):
    """A refusal in S3's words: with its status, and what else stands in the `<Error>`."""

    def __init__(self, code: str, message: str, *, status: int = 400, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, message)
        self.status = status
        self.members = dict(members or {})


def invalid_argument(message: str, name: str = "", value: str = "") -> S3Refused:
    """Return `InvalidArgument`, naming the argument where there is one."""
    return S3Refused("InvalidArgument", message, members={"ArgumentName": name, "ArgumentValue": value} if name else {})


def invalid_request(message: str) -> S3Refused:
    """Return `InvalidRequest`."""
    return S3Refused("InvalidRequest", message)


def malformed_xml() -> S3Refused:
    """Return `MalformedXML`."""
    return S3Refused(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
    )


def access_denied(message: str = "Access Denied") -> S3Refused:
    """Return `AccessDenied`."""
    return S3Refused("AccessDenied", message, status=403)


def precondition_failed(condition: str) -> S3Refused:
    """Return `PreconditionFailed`, naming the header whose condition does not hold."""
    return S3Refused(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        status=412,
        members={"Condition": condition},
    )


# -- names and keys


def check_bucket_name(name: str) -> None:
    """Let a name pass that a new bucket may have.

    Raises: S3Refused: InvalidBucketName.
    """
    if (
        not _NAME.fullmatch(name)
        or ".." in name
        or ".-" in name
        or "-." in name
        or _ADDRESS.fullmatch(name)
        or name.startswith(_RESERVED_STARTS)
        or name.endswith(_RESERVED_ENDS)
    ):
        raise invalid_bucket_name(name)


def may_be_a_bucket(name: str) -> bool:
    """Could a bucket be called so, also by the rules that held in us-east-1 before 2018?"""
    return _OLD_NAME.fullmatch(name) is not None


def invalid_bucket_name(name: str) -> S3Refused:
    """Return `InvalidBucketName`."""
    return S3Refused("InvalidBucketName", "The specified bucket is not valid.", members={"BucketName": name})


def check_key(key: str) -> None:
    """Let a key pass that an object may have.

    Raises: S3Refused: KeyTooLongError.
    """
    if len(key) > KEY_LIMIT_BYTES // 4 and len(key.encode()) > KEY_LIMIT_BYTES:
        raise key_too_long(key)


def after_prefix(prefix: str) -> str:
    """Return the least text that is greater than every text which begins with the prefix."""
    while prefix:
        last = ord(prefix[-1])
        if last < 0x10FFFF:
            following = last + 1
            return prefix[:-1] + chr(_AFTER_SURROGATES if following == _FIRST_SURROGATE else following)
        prefix = prefix[:-1]
    return _HIGHEST


def common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """Return the key up to the first delimiter after the prefix, delimiter included; "" when there is none."""
    found = key.find(delimiter, len(prefix)) if key.startswith(prefix) else -1
    return key[: found + len(delimiter)] if found >= 0 else ""


# -- ETags, conditions, ranges


def md5_hex(data: bytes) -> str:
    """Return the MD5 of some bytes, the ETag of an object that was not uploaded in parts."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def multipart_etag(part_etags: Sequence[str]) -> str:
    """Return the ETag of an object in parts: the MD5 of the parts' MD5s, and their number."""
    digest = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in part_etags), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(part_etags)}"


def matches_etag(condition: str, etag: str) -> bool:
    """Does an If-Match or If-None-Match header name this ETag (or all of them)?"""
    if condition.strip() == "*":
        return True
    return any(one.strip().removeprefix("W/").strip('"') == etag for one in condition.split(","))


def check_read(conditions: Mapping[str, Any], version: ObjectVersion, *, headers: str = "") -> bool:
    """Return whether a conditional read goes on; False answers 304 Not Modified.

    Args:
        conditions: `IfMatch`, `IfNoneMatch` (texts), `IfModifiedSince`, `IfUnmodifiedSince` (moments), by presence.
        headers: how the names of the headers begin, where it is not themselves.

    Raises: S3Refused: PreconditionFailed.
    Source: API reference, GetObject: If-Match wins over If-Unmodified-Since, If-None-Match over If-Modified-Since.
    """
    modified_at = int(version.modified_at)
    match = conditions.get("IfMatch")
    if match is not None:
        if not matches_etag(match, version.etag):
            raise precondition_failed(f"{headers}If-Match")
    elif (since := conditions.get("IfUnmodifiedSince")) is not None and modified_at > since:
        raise precondition_failed(f"{headers}If-Unmodified-Since")
    none_match = conditions.get("IfNoneMatch")
    if none_match is not None:
        return not matches_etag(none_match, version.etag)
    since = conditions.get("IfModifiedSince")
    return since is None or modified_at > since


def check_write(conditions: Mapping[str, Any], current: ObjectVersion | None, key: str) -> None:
    """Let a conditional write to a key pass.

    Raises: S3Refused: PreconditionFailed, NoSuchKey (If-Match where there is no object), NotImplemented.
    Source: user guide, "Conditional writes".
    """
    exists = current is not None and not current.is_marker
    none_match = conditions.get("IfNoneMatch")
    if none_match is not None:
        if none_match.strip() != "*":
            raise S3Refused(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                status=501,
                members={"Header": "If-None-Match"},
            )
        if exists:
            raise precondition_failed("If-None-Match")
    match = conditions.get("IfMatch")
    if match is not None:
        if current is None or not exists:
            raise no_such_key(key)
        if not matches_etag(match, current.etag):
            raise precondition_failed("If-Match")


def no_such_key(key: str) -> S3Refused:
    """Return `NoSuchKey`, or `KeyTooLongError` where no object could have such a key."""
    if len(key) > KEY_LIMIT_BYTES // 4 and len(key.encode()) > KEY_LIMIT_BYTES:
        return key_too_long(key)
    return S3Refused("NoSuchKey", "The specified key does not exist.", status=404, members={"Key": key})


def key_too_long(key: str) -> S3Refused:
    """Return `KeyTooLongError`."""
    members = {"Size": str(len(key.encode())), "MaxSizeAllowed": str(KEY_LIMIT_BYTES)}
    return S3Refused("KeyTooLongError", "Your key is too long", members=members)


def is_version_id(text: str) -> bool:
    """Has a text the form of a version id? Any other is refused, rather than not found."""
    return text == NULL or _VERSION_ID.fullmatch(text) is not None


def no_such_version(key: str, version_id: str) -> S3Refused:
    """Return `NoSuchVersion`."""
    return S3Refused(
        "NoSuchVersion",
        "The specified version does not exist.",
        status=404,
        members={"Key": key, "VersionId": version_id},
    )


def wrong_part_number(number: int) -> S3Refused:
    """Return the refusal of a part number that no part can have."""
    return invalid_argument("Part number must be an integer between 1 and 10000, inclusive", "partNumber", str(number))


def no_such_upload(upload_id: str) -> S3Refused:
    """Return `NoSuchUpload`."""
    return S3Refused(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        status=404,
        members={"UploadId": upload_id},
    )


def _whole(digits: str) -> int:
    """Return a number; one that is longer than any object is just that long."""
    return int(digits.lstrip("0")[:20] or "0")


def read_range(header: str, size: int) -> tuple[int, int] | None:
    """Return (first, last) of the bytes a Range header asks for; None when it asks for all, or for nothing we know.

    Several ranges, and what is no range at all, are answered with the whole object, as S3 does.

    Raises: S3Refused: InvalidRange: it begins behind the end.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or (not match[1] and not match[2]):
        return None
    if match[1]:
        first = _whole(match[1])
        last = min(_whole(match[2]), size - 1) if match[2] else size - 1
        if match[2] and _whole(match[2]) < first:
            return None
    else:
        first, last = max(0, size - _whole(match[2])), size - 1
        if _whole(match[2]) == 0:
            first = size
    if first >= size:
        raise S3Refused(
            "InvalidRange",
            "The requested range is not satisfiable",
            status=416,
            members={"RangeRequested": header, "ActualObjectSize": str(size)},
        )
    return first, last


def read_copy_range(text: str, size: int) -> tuple[int, int]:
    """Return (first, last) of an `x-amz-copy-source-range`, which must be `bytes=first-last` within the source.

    Raises: S3Refused: InvalidArgument.
    """
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", text, re.ASCII)
    if match is None or _whole(match[1]) > _whole(match[2]):
        raise invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            text,
        )
    if _whole(match[2]) >= size:
        raise invalid_argument(
            f"Range specified is not valid for source object of size: {size}", "x-amz-copy-source-range", text
        )
    return _whole(match[1]), _whole(match[2])


@dataclass(frozen=True, slots=True)
class CopySource:
    """What `x-amz-copy-source` names; `version_id` None is the current version."""

    bucket: str
    key: str
    version_id: str | None


def read_copy_source(text: str) -> CopySource:
    """Return the source of a copy: `bucket/key` or `/bucket/key`, percent-encoded, with `?versionId=` or without.

    Raises: S3Refused: InvalidArgument.
    """
    path, _, query = text.partition("?versionId=")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        decoded = ""
    bucket, slash, key = decoded.removeprefix("/").partition("/")
    if decoded.startswith("arn:"):  # an access point: there are none here
        bucket = key = slash = ""
    if not slash or not bucket or not key:
        raise invalid_argument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey", "x-amz-copy-source", text
        )
    return CopySource(bucket, key, query if "?versionId=" in text else None)


# -- metadata and tags


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Let user metadata pass whose names and values have 2 KB at most together.

    Raises: S3Refused: MetadataTooLarge.
    """
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > METADATA_LIMIT_BYTES:
        raise S3Refused(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            members={"Size": str(size), "MaxSizeAllowed": str(METADATA_LIMIT_BYTES)},
        )


def read_tag_set(tags: Sequence[Mapping[str, Any]], *, of_bucket: bool = False) -> dict[str, str]:
    """Return a TagSet as a dict, checked.

    Raises: S3Refused: InvalidTag, BadRequest (too many), MalformedXML.
    """
    limit = BUCKET_TAG_LIMIT if of_bucket else TAG_LIMIT
    if len(tags) > limit:
        whose = "Bucket" if of_bucket else "Object"
        raise S3Refused("BadRequest", f"{whose} tags cannot be greater than {limit}")
    found: dict[str, str] = {}
    for tag in tags:
        if "Key" not in tag or "Value" not in tag:
            raise malformed_xml()
        key, value = tag["Key"], tag["Value"]
        if not 1 <= len(key) <= 128 or not _TAG_CHARACTERS.fullmatch(key):
            raise S3Refused("InvalidTag", "The TagKey you have provided is invalid", members={"TagKey": key})
        if len(value) > 256 or not _TAG_CHARACTERS.fullmatch(value):
            raise S3Refused("InvalidTag", "The TagValue you have provided is invalid", members={"TagValue": value})
        if key.startswith("aws:"):
            raise S3Refused("InvalidTag", "System tags cannot be added/updated by requester", members={"TagKey": key})
        if key in found:
            raise S3Refused("InvalidTag", "Cannot provide multiple Tags with the same key", members={"TagKey": key})
        found[key] = value
    return found


def read_tag_header(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the tags of an `x-amz-tagging` header, given its decoded pairs, checked.

    Raises: S3Refused: InvalidArgument, InvalidTag, BadRequest.
    """
    if len({name for name, _ in pairs}) != len(pairs):
        raise invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag "
            "name duplicates.",
            "x-amz-tagging",
            "&".join(f"{name}={value}" for name, value in pairs),
        )
    return read_tag_set([{"Key": name, "Value": value} for name, value in pairs])


# -- locks


def check_removable(version: ObjectVersion, *, bypasses_governance: bool, now: float) -> None:
    """Let the deletion of a version pass that nothing locks.

    Raises: S3Refused: AccessDenied.
    Source: user guide, "Locking objects with Object Lock".
    """
    lock = version.lock
    if lock.legal_hold:
        raise access_denied("Access Denied because object protected by object lock.")
    if lock.retain_until > now and (lock.mode == "COMPLIANCE" or not bypasses_governance):
        raise access_denied("Access Denied because object protected by object lock.")


def changed_retention(
    version: ObjectVersion, mode: str, retain_until: float, *, bypasses_governance: bool, now: float
) -> Lock:
    """Return the lock of a version with another retention; ("", 0) takes it away.

    Raises: S3Refused: AccessDenied where the present retention does not let itself be weakened.
    """
    lock = version.lock
    if lock.retain_until > now:
        weakens = retain_until < lock.retain_until or not mode
        if lock.mode == "COMPLIANCE" and (weakens or mode != "COMPLIANCE"):
            raise access_denied("Access Denied because object protected by object lock.")
        if lock.mode == "GOVERNANCE" and weakens and not bypasses_governance:
            raise access_denied("Access Denied because object protected by object lock.")
    return Lock(mode, retain_until, lock.legal_hold)  # type: ignore[arg-type]


def default_lock(bucket: Bucket, asked: Lock | None, now: float) -> Lock | None:
    """Return the lock of a new version: what was asked for, with the bucket's own retention where none was."""
    rule = default_retention(bucket)
    if not rule or (asked is not None and asked.mode):
        return asked
    days = rule["Days"] if rule.get("Days") else rule["Years"] * 365
    return Lock(rule["Mode"], now + days * 86_400.0, asked.legal_hold if asked is not None else None)


def default_retention(bucket: Bucket) -> Mapping[str, Any] | None:
    """Return the retention that the bucket's object lock configuration gives new versions, None without one."""
    found: Mapping[str, Any] | None = bucket.settings.get("object-lock", {}).get("Rule", {}).get("DefaultRetention")
    return found


# -- rules of bucket documents


def check_cors(rules: Sequence[Mapping[str, Any]]) -> None:
    """Let a CORS configuration pass.

    Raises: S3Refused: MalformedXML, InvalidRequest.
    """
    if not rules or len(rules) > 100:
        raise malformed_xml()
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise malformed_xml()
        for method in rule["AllowedMethods"]:
            if method not in ("GET", "PUT", "HEAD", "POST", "DELETE"):
                raise invalid_request(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
        for origin in rule["AllowedOrigins"]:
            if origin.count("*") > 1:
                raise invalid_request(f'AllowedOrigin "{origin}" can not have more than one wildcard.')
        for header in rule.get("AllowedHeaders", ()):
            if header.count("*") > 1:
                raise invalid_request(f'AllowedHeader "{header}" can not have more than one wildcard.')
        for header in rule.get("ExposeHeaders", ()):
            if "*" in header:
                raise invalid_request(
                    f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
                )


def matching_cors_rule(
    rules: Sequence[Mapping[str, Any]], origin: str, method: str, headers: Sequence[str] = ()
) -> Mapping[str, Any] | None:
    """Return the first rule that lets a page of this origin ask with this method and these headers."""
    for rule in rules:
        if (
            any(_fits(pattern, origin) for pattern in rule["AllowedOrigins"])
            and method in rule["AllowedMethods"]
            and all(
                any(_fits(pattern.lower(), header.lower()) for pattern in rule.get("AllowedHeaders", ()))
                for header in headers
            )
        ):
            return rule
    return None


def _fits(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def check_object_lock(configuration: Mapping[str, Any]) -> None:
    """Let an object lock configuration pass.

    Raises: S3Refused: MalformedXML, InvalidArgument.
    """
    if configuration.get("ObjectLockEnabled") != "Enabled":
        raise malformed_xml()
    rule = configuration.get("Rule")
    if rule is None:
        return
    retention = rule.get("DefaultRetention") or {}
    days, years = retention.get("Days"), retention.get("Years")
    if retention.get("Mode") not in ("GOVERNANCE", "COMPLIANCE") or (days is None) == (years is None):
        raise malformed_xml()
    if (days or years or 0) <= 0:
        raise invalid_argument("Default retention period must be a positive integer value.")
    if (days or 0) > 36_500 or (years or 0) > 100:
        raise invalid_argument("Default retention period too large.")
