"""Listings: ListObjects, ListObjectsV2, ListObjectVersions."""

import base64
from typing import Any
from urllib.parse import quote

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3.room import Request, S3Room, answers, find_bucket, quoted
from eventrt.core.buckets import NULL, Bucket, Listed, ObjectVersion
from eventrt.core.object_rules import invalid_argument
from eventrt.store.api import Tx

PAGE = 1000


class Listing(S3Room):
    """The operations that list objects."""

    @answers("ListObjects")
    async def list_objects(self, call: Call, request: Request) -> Answer:
        """Return a page of keys, those after a marker."""
        limit = page_size(request, "MaxKeys", "max-keys")
        prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
        marker = request.get("Marker") or ""
        bucket, page = await self._page(call, request, prefix, delimiter, marker, limit)
        encode = encoder(request)
        answer: dict[str, Any] = {
            "Name": bucket.name,
            "Prefix": encode(prefix),
            "Marker": encode(marker),
            "MaxKeys": limit,
            "IsTruncated": bool(page.next_key),
            "Contents": [entry(version, encode, owner=bucket.account_id) for version in page.entries],
            "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
        }
        if delimiter:
            answer["Delimiter"] = encode(delimiter)
            if page.next_key:
                answer["NextMarker"] = encode(page.next_key)
        if request.get("EncodingType"):
            answer["EncodingType"] = "url"
        return answer

    @answers("ListObjectsV2")
    async def list_objects_v2(self, call: Call, request: Request) -> Answer:
        """Return a page of keys, those after a key or after the last page."""
        limit = page_size(request, "MaxKeys", "max-keys")
        prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
        start_after, token = request.get("StartAfter") or "", request.get("ContinuationToken")
        after = read_token(token) if token is not None else start_after
        bucket, page = await self._page(call, request, prefix, delimiter, after, limit)
        encode = encoder(request)
        owner = bucket.account_id if request.get("FetchOwner") else None
        answer: dict[str, Any] = {
            "Name": bucket.name,
            "Prefix": encode(prefix),
            "MaxKeys": limit,
            "KeyCount": len(page.entries) + len(page.prefixes),
            "IsTruncated": bool(page.next_key),
            "Contents": [entry(version, encode, owner=owner) for version in page.entries],
            "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
        }
        if delimiter:
            answer["Delimiter"] = encode(delimiter)
        if start_after:
            answer["StartAfter"] = encode(start_after)
        if token is not None:
            answer["ContinuationToken"] = token
        if page.next_key:
            answer["NextContinuationToken"] = write_token(page.next_key)
        if request.get("EncodingType"):
            answer["EncodingType"] = "url"
        return answer

    async def _page(
        self, call: Call, request: Request, prefix: str, delimiter: str, after: str, limit: int
    ) -> tuple[Bucket, Listed]:
        def query(tx: Tx) -> tuple[Bucket, Listed]:
            bucket = find_bucket(tx, call, request)
            return bucket, tx.objects.list_current(
                bucket, prefix=prefix, delimiter=delimiter, after=after, limit=min(limit, PAGE)
            )

        return await self._store.read(query)

    @answers("ListObjectVersions")
    async def list_object_versions(self, call: Call, request: Request) -> Answer:
        """Return a page of versions and delete markers, newest first within a key."""
        limit = page_size(request, "MaxKeys", "max-keys")
        prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
        key_marker, version_marker = request.get("KeyMarker") or "", request.get("VersionIdMarker")
        if version_marker is not None and "KeyMarker" not in request:
            raise invalid_argument(
                "A version-id marker cannot be specified without a key marker.", "version-id-marker", version_marker
            )
        if version_marker == "":
            raise invalid_argument("A version-id marker cannot be empty.", "version-id-marker", "")

        def query(tx: Tx) -> tuple[Bucket, Listed]:
            bucket = find_bucket(tx, call, request)
            after_id = None
            if version_marker is not None:
                after_id = _row_of(tx, bucket, key_marker, version_marker)
            return bucket, tx.objects.list_versions(
                bucket,
                prefix=prefix,
                delimiter=delimiter,
                after_key=key_marker,
                after_id=after_id,
                limit=min(limit, PAGE),
            )

        bucket, page = await self._store.read(query)
        encode = encoder(request)
        versions, markers = [], []
        for version in page.entries:
            told = {
                "Key": encode(version.key),
                "VersionId": version.shown_version_id,
                "IsLatest": version.is_current,
                "LastModified": _moment(version.modified_at),
                "Owner": owner_of(bucket.account_id),
            }
            if version.is_marker:
                markers.append(told)
            else:
                versions.append(
                    {
                        **told,
                        "ETag": quoted(version.etag),
                        "Size": version.size,
                        "StorageClass": version.storage_class,
                        **_checksum_members(version),
                    }
                )
        answer: dict[str, Any] = {
            "Name": bucket.name,
            "Prefix": encode(prefix),
            "KeyMarker": encode(key_marker),
            "VersionIdMarker": version_marker or "",
            "MaxKeys": limit,
            "IsTruncated": bool(page.next_key),
            "Versions": versions,
            "DeleteMarkers": markers,
            "CommonPrefixes": [{"Prefix": encode(one)} for one in page.prefixes],
        }
        if delimiter:
            answer["Delimiter"] = encode(delimiter)
        if page.next_key:
            answer["NextKeyMarker"] = encode(page.next_key)
            if page.next_id:
                answer["NextVersionIdMarker"] = page.entries[-1].shown_version_id
        if request.get("EncodingType"):
            answer["EncodingType"] = "url"
        return answer


def _row_of(tx: Tx, bucket: Bucket, key: str, version_id: str) -> int | None:
    version = tx.objects.version(bucket, key, "" if version_id == NULL else version_id)
    if version is not None:
        return version.id
    if version_id == NULL:
        return None
    try:
        return int(version_id[16:], 16)  # it was deleted meanwhile; its place in the order is in its id
    except ValueError as error:
        raise invalid_argument("Invalid version id specified", "version-id-marker", version_id) from error


def page_size(request: Request, member: str, wire_name: str) -> int:
    """Return how many entries a page may have.

    Raises: S3Refused: InvalidArgument.
    """
    asked = request.get(member)
    if asked is None:
        return PAGE
    if asked < 0:
        words = "maxKeys" if wire_name == "max-keys" else wire_name  # S3 calls this one by a name of its own
        raise invalid_argument(f"Argument {words} must be an integer between 0 and 2147483647", words, str(asked))
    return min(int(asked), PAGE)


def encoder(request: Request) -> Any:
    """Return how keys are written: as they are, or percent-encoded with `encoding-type=url`.

    Raises: S3Refused: InvalidArgument.
    """
    kind = request.get("EncodingType")
    if kind is None:
        return str
    if kind != "url":
        raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", kind)
    return lambda text: quote(text, safe="/-_.~*").replace("%20", "+")


def entry(version: ObjectVersion, encode: Any, *, owner: str | None) -> dict[str, Any]:
    """Return one object of a listing."""
    told: dict[str, Any] = {
        "Key": encode(version.key),
        "LastModified": _moment(version.modified_at),
        "ETag": quoted(version.etag),
        "Size": version.size,
        "StorageClass": version.storage_class,
        **_checksum_members(version),
    }
    if owner is not None:
        told["Owner"] = owner_of(owner)
    return told


def _checksum_members(version: ObjectVersion) -> dict[str, Any]:
    if version.checksum is None:
        return {}
    return {"ChecksumAlgorithm": [version.checksum.algorithm], "ChecksumType": version.checksum.type}


def owner_of(account_id: str) -> dict[str, str]:
    """Return the owner that an account is, by its canonical id: 64 digits, made of the account's."""
    return {"ID": canonical_id(account_id)}


def canonical_id(account_id: str) -> str:
    """Return an account's canonical user id."""
    return account_id.rjust(64, "0")


def _moment(moment: float) -> float:
    return int(moment) + 0.0


def write_token(key: str) -> str:
    """Return a continuation token that stands for "after this key"."""
    return base64.urlsafe_b64encode(b"1" + key.encode()).decode()


def read_token(token: str) -> str:
    """Return the key of a continuation token.

    Raises: S3Refused: InvalidArgument.
    """
    try:
        data = base64.urlsafe_b64decode(token.encode())
        if data[:1] != b"1":
            raise ValueError("not one of ours")
        return data[1:].decode()
    except ValueError as error:
        raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token) from error
