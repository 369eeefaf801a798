"""Objects: PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, GetObjectAttributes.

Bodies come in through `receiving` and go out through the blobs; storing an object and handing over its event is one
unit of work, and the answer leaves after its commit.
"""

import base64
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from eventrt.aws.call import Answer, Call
from eventrt.aws.protocol.overlays import HOST_ID
from eventrt.aws.protocol.serialise import http_date, iso8601
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.claims import read_claims
from eventrt.aws.services.s3.listing import page_size
from eventrt.aws.services.s3.receiving import Received, checksum_headers, is_small, receive_small, receiving
from eventrt.aws.services.s3.room import (
    DEFAULT_CONTENT_TYPE,
    Request,
    S3Room,
    answers,
    asked_version,
    empty,
    find_bucket,
    find_version,
    no_such_bucket,
    origin_of,
    quoted,
    shown_version,
)
from eventrt.core import lifecycle, object_rules
from eventrt.core.buckets import Bucket, Checksum, ObjectDraft, ObjectVersion, PartLayout
from eventrt.core.object_rules import (
    PART_LIMIT,
    PUT_LIMIT_BYTES,
    S3Refused,
    check_key,
    invalid_argument,
    is_version_id,
    malformed_xml,
    no_such_version,
    wrong_part_number,
)
from eventrt.core.refused import Refused
from eventrt.http import Response
from eventrt.store.api import Tx

T = TypeVar("T")

_OVERRIDES = {
    "ResponseCacheControl": "Cache-Control",
    "ResponseContentDisposition": "Content-Disposition",
    "ResponseContentEncoding": "Content-Encoding",
    "ResponseContentLanguage": "Content-Language",
    "ResponseContentType": "Content-Type",
    "ResponseExpires": "Expires",
}
_CONDITIONS = ("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince")
_DELETE_LIMIT = 1000


class Objects(S3Room):
    """The operations on whole objects."""

    @answers("PutObject")
    async def put_object(self, call: Call, request: Request) -> Answer:
        """Store an object."""
        headers = call.http.headers
        check_key(request["Key"])
        if "partNumber=" in call.http.query or "uploadId=" in call.http.query:
            raise invalid_argument("This operation does not accept a query-string.", "ResourceType", "partNumber")
        if request.get("WriteOffsetBytes") is not None:
            raise S3Refused("NotImplemented", "eventrt does not append to objects.", status=501)
        claims = read_claims(headers, self._algorithms)
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        if bucket.has_object_lock:
            drafts.check_claims(claims, bucket, is_locked=drafts.names_a_lock(request), what="Object")
        draft = new_draft(request, headers, bucket)
        staged_in = self._folders.staged_path(bucket, request["Key"]) if bucket.folder else None
        payload, wants = request["Body"], self.default_checksum
        if staged_in is None and is_small(payload):
            received = await receive_small(payload, claims, wants)
            return empty(call, await self.store_object(call, request, draft, received))
        async with receiving(
            self, payload, claims, limit_bytes=PUT_LIMIT_BYTES, wants=wants, staged_in=staged_in
        ) as received:
            made = await self.store_object(call, request, draft, received)
        return empty(call, made)

    @property
    def default_checksum(self) -> Any:
        """The checksum of objects that come without one: CRC-64/NVME as on AWS, where it costs little."""
        algorithm = self._algorithms["CRC64NVME"]
        return algorithm if algorithm.is_fast else None

    async def store_object(
        self,
        call: Call,
        request: Request,
        draft: Mapping[str, Any],
        received: Received,
        *,
        event: str = "s3:ObjectCreated:Put",
    ) -> dict[str, str]:
        """Store what was received and return the answer's headers."""

        def unit(tx: Tx) -> tuple[Bucket, ObjectVersion]:
            bucket = find_bucket(tx, call, request)
            made = ObjectDraft(
                request["Key"],
                received.body,
                received.md5,
                received.checksum,
                lock=drafts.lock_of(request, bucket, tx.now),
                file_stamp=received.file_stamp,
                **draft,
            )
            return bucket, self._shelf.put(
                tx, bucket, made, event, origin_of(call), conditions=write_conditions(request)
            )

        if received.staged is not None:
            bucket, version = await self.store_file(request, received, unit)
        else:
            bucket, version = await self._store.write(unit, secured=False)  # the shelf secures what needs it
        answer = {
            "ETag": quoted(version.etag),
            **drafts.encryption_headers(version.encryption),
            **checksum_headers(version.checksum, self._algorithms),
            **drafts.version_headers(bucket, version),
        }
        if "lifecycle" in bucket.settings and (expiration := lifecycle.expiration_header(bucket, version)):
            answer["x-amz-expiration"] = expiration
        return answer

    async def store_file(self, request: Request, received: Received, unit: Callable[[Tx], T]) -> T:
        """Run a unit that stores an object of a bucket over a folder, and put its file to its place with it."""
        writer = received.staged
        assert writer is not None
        staged = await writer.seal()
        received.file_stamp = (await self.blobs.in_thread(staged.stat)).st_mtime_ns
        bucket = await self._store.read(lambda tx: tx.buckets.find(request["Bucket"]))
        if bucket is None:
            raise no_such_bucket(request["Bucket"])
        value = await self._folders.place(bucket, request["Key"], staged, unit)
        writer.placed()
        return value

    @answers("GetObject")
    async def get_object(self, call: Call, request: Request) -> Answer:
        """Give an object's bytes, all or a range of them."""
        _check_no_encryption(call)
        bucket, version, parts = await self._look_up(call, request)
        headers = object_headers(bucket, version, call.request_id)
        if not object_rules.check_read(_conditions_of(request), version):
            return _not_modified(headers)
        for member, name in _OVERRIDES.items():
            value = request.get(member)
            if value is not None:
                headers[name] = http_date(value) if isinstance(value, float | int) else value
        body = self.locate(bucket, version)
        first, last, status = self._window(request, version, parts, headers)
        headers["Content-Length"] = str(last - first + 1)
        with self.blobs.reading(body.blobs):  # with no await since the unit: a deletion leaves the bytes to us
            if request.get("ChecksumMode") == "ENABLED" and (status == 200 or request.get("PartNumber") is not None):
                headers |= await self._checksum_headers(bucket, version, parts, request.get("PartNumber"))
            if body.inline is not None:
                return Response(status, headers, body.inline[first : last + 1])
            if last < first:
                return Response(status, headers)
            # Begun before the answer: what is not there is an error, and no answer that breaks off.
            stream = await self.blobs.begin(body, first, last)
        if len(stream.first) == last - first + 1:
            await stream.aclose()
            return Response(status, headers, stream.first)
        return Response(status, headers, stream=stream)

    @answers("HeadObject")
    async def head_object(self, call: Call, request: Request) -> Answer:
        """Tell what GetObject would, without the bytes."""
        _check_no_encryption(call)
        bucket, version, parts = await self._look_up(call, request)
        headers = object_headers(bucket, version, call.request_id)
        if not object_rules.check_read(_conditions_of(request), version):
            return _not_modified(headers)
        for member, name in _OVERRIDES.items():
            value = request.get(member)
            if value is not None:
                headers[name] = http_date(value) if isinstance(value, float | int) else value
        first, last, status = self._window(request, version, parts, headers)
        if request.get("ChecksumMode") == "ENABLED":
            headers |= await self._checksum_headers(bucket, version, parts, request.get("PartNumber"))
        headers["Content-Length"] = str(last - first + 1)
        return Response(status, headers)

    async def _look_up(self, call: Call, request: Request) -> tuple[Bucket, ObjectVersion, list[PartLayout]]:
        """Return bucket, version and its parts; the parts only where the request asks for one of them."""
        wants_part = request.get("PartNumber") is not None

        def query(tx: Tx) -> tuple[Bucket, ObjectVersion, list[PartLayout]]:
            bucket = find_bucket(tx, call, request)
            version = find_version(tx, bucket, request)
            return bucket, version, list(tx.objects.parts_of(version)) if wants_part else []

        bucket, version, parts = await self._store.read(query)
        if bucket.folder:
            bucket, version = await self._folders.fresh(bucket, version)
        return bucket, version, parts

    def _window(
        self, request: Request, version: ObjectVersion, parts: list[PartLayout], headers: dict[str, str]
    ) -> tuple[int, int, int]:
        """Return (first, last, status) of the bytes a request asks for, and add the headers that tell it."""
        size = version.size
        number = request.get("PartNumber")
        if number is not None:
            if request.get("Range") is not None:
                raise object_rules.invalid_request("Cannot specify both Range header and partNumber query parameter")
            if not 1 <= number <= PART_LIMIT:
                raise wrong_part_number(number)
            if number > max(1, len(parts)):
                raise S3Refused(
                    "InvalidPartNumber",
                    "The requested partnumber is not satisfiable",
                    status=416,
                    members={"PartNumberRequested": str(number), "ActualPartCount": str(max(1, len(parts)))},
                )
            if not parts:
                if not size:
                    return 0, -1, 200
                headers["Content-Range"] = f"bytes 0-{size - 1}/{size}"
                return 0, size - 1, 206
            first = sum(part.size for part in parts[: number - 1])
            last = first + parts[number - 1].size - 1
            headers["x-amz-mp-parts-count"] = str(len(parts))
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            return first, last, 206
        asked = request.get("Range")
        found = object_rules.read_range(asked, size) if asked is not None else None
        if found is None:
            return 0, size - 1, 200
        headers["Content-Range"] = f"bytes {found[0]}-{found[1]}/{size}"
        return found[0], found[1], 206

    async def _checksum_headers(
        self, bucket: Bucket, version: ObjectVersion, parts: list[PartLayout], number: int | None
    ) -> dict[str, str]:
        """Return the headers that tell the checksum of a version, or of the part of it that was asked for."""
        checksum: Checksum | None
        if number is not None and parts:
            value = parts[number - 1].checksum
            checksum = version.checksum._replace(value=value) if version.checksum is not None and value else None
        else:
            checksum = await self.checksum_of(bucket, version)
        return checksum_headers(checksum, self._algorithms)

    async def checksum_of(self, bucket: Bucket, version: ObjectVersion) -> Checksum | None:
        """Return a version's checksum; one that came without gets its CRC-64/NVME computed now."""
        if version.checksum is not None:
            return version.checksum
        algorithm = self._algorithms["CRC64NVME"]
        hasher = algorithm.hasher()
        body = self.locate(bucket, version)
        with self.blobs.reading(body.blobs):
            async for piece in self.blobs.read(body):
                await self.blobs.in_thread(lambda piece=piece: hasher.update(piece))  # type: ignore[misc]
        return Checksum(algorithm.name, base64.b64encode(hasher.digest()).decode())

    @answers("DeleteObject")
    async def delete_object(self, call: Call, request: Request) -> Answer:
        """Delete an object, or one version of it."""
        version_id = asked_version(request)

        def unit(tx: Tx) -> tuple[Bucket, Any]:
            bucket = find_bucket(tx, call, request)
            return bucket, self._shelf.delete(
                tx,
                bucket,
                request["Key"],
                version_id,
                origin_of(call),
                conditions=delete_conditions(request),
                bypasses_governance=drafts.is_bypassing(request),
            )

        bucket, deleted = await self._folders.deleting(request["Bucket"], [request["Key"]], unit)
        headers: dict[str, str] = {}
        if bucket.versioning or version_id is not None:
            if deleted.version is not None:
                headers["x-amz-version-id"] = deleted.version.shown_version_id
                if deleted.version.is_marker:
                    headers["x-amz-delete-marker"] = "true"
            elif version_id is not None:
                headers["x-amz-version-id"] = request["VersionId"]
        return empty(call, headers, status=204)

    @answers("DeleteObjects")
    async def delete_objects(self, call: Call, request: Request) -> Answer:
        """Delete up to a thousand objects or versions; each succeeds or fails by itself."""
        asked = request.get("Delete") or {}
        entries = asked.get("Objects") or ()
        if not entries or len(entries) > _DELETE_LIMIT or any("Key" not in entry for entry in entries):
            raise malformed_xml()
        is_quiet = bool(asked.get("Quiet"))
        bypasses = drafts.is_bypassing(request)

        def unit(tx: Tx) -> dict[str, Any]:
            bucket = find_bucket(tx, call, request)
            deleted, errors = [], []
            for entry in entries:
                told: dict[str, Any] = {"Key": entry["Key"]}
                if entry.get("VersionId"):
                    told["VersionId"] = entry["VersionId"]
                try:
                    if entry.get("VersionId") and not is_version_id(entry["VersionId"]):
                        raise no_such_version(entry["Key"], entry["VersionId"])
                    if not entry["Key"]:
                        raise S3Refused("UserKeyMustBeSpecified", "The request must contain a key.")
                    done = self._shelf.delete(
                        tx,
                        bucket,
                        entry["Key"],
                        asked_version(entry) if entry.get("VersionId") else None,
                        origin_of(call),
                        conditions={"IfMatch": entry["ETag"]} if entry.get("ETag") else {},
                        bypasses_governance=bypasses,
                    )
                except Refused as refused:
                    errors.append({**told, "Code": refused.code, "Message": refused.message})
                    continue
                if done.version is not None and done.version.is_marker and bucket.versioning:
                    told["DeleteMarker"] = True
                    told["DeleteMarkerVersionId"] = done.version.shown_version_id
                if not is_quiet:
                    deleted.append(told)
            return {"Deleted": deleted, "Errors": errors}

        return await self._folders.deleting(request["Bucket"], [entry["Key"] for entry in entries], unit)

    @answers("GetObjectAttributes")
    async def get_object_attributes(self, call: Call, request: Request) -> Answer:
        """Tell what is asked of ETag, checksum, size, storage class and parts."""
        wanted = request.get("ObjectAttributes") or []
        known = {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}
        if not wanted or not known.issuperset(wanted):
            raise invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", ",".join(wanted))

        def query(tx: Tx) -> tuple[Bucket, ObjectVersion, list[PartLayout]]:
            bucket = find_bucket(tx, call, request)
            version = find_version(tx, bucket, request)
            return bucket, version, list(tx.objects.parts_of(version))

        bucket, version, parts = await self._store.read(query)
        answer: dict[str, Any] = {
            "LastModified": int(version.modified_at),
            "VersionId": shown_version(bucket, version),
        }
        if "ETag" in wanted:
            answer["ETag"] = version.etag
        if "ObjectSize" in wanted:
            answer["ObjectSize"] = version.size
        if "StorageClass" in wanted:
            answer["StorageClass"] = version.storage_class
        if "Checksum" in wanted and (checksum := await self.checksum_of(bucket, version)) is not None:
            member = self._algorithms[checksum.algorithm].member
            value = checksum.value.rpartition("-")[0] if checksum.type == "COMPOSITE" else checksum.value
            answer["Checksum"] = {member: value, "ChecksumType": checksum.type}
        if "ObjectParts" in wanted and parts:
            answer["ObjectParts"] = _parts_page(request, version, parts, self._algorithms)
        return answer


def _parts_page(
    request: Request, version: ObjectVersion, parts: list[PartLayout], algorithms: Mapping[str, Any]
) -> dict[str, Any]:
    limit = page_size(request, "MaxParts", "max-parts")
    after = int(request.get("PartNumberMarker") or 0)
    page = [part for part in parts if part.number > after]
    shown, rest = page[:limit], page[limit:]
    answer: dict[str, Any] = {
        "TotalPartsCount": len(parts),
        "PartNumberMarker": str(after),
        "NextPartNumberMarker": str(shown[-1].number if shown else 0),
        "MaxParts": limit,
        "IsTruncated": bool(rest),
    }
    if version.checksum is not None and all(part.checksum for part in parts):
        member = algorithms[version.checksum.algorithm].member
        answer["Parts"] = [{"PartNumber": part.number, "Size": part.size, member: part.checksum} for part in shown]
    return answer


def new_draft(request: Request, headers: Mapping[str, str], bucket: Bucket) -> dict[str, Any]:
    """Return what an object is to be, as `ObjectDraft` takes it, apart from its body and lock."""
    draft = {
        "headers": drafts.kept_headers(headers),
        "metadata": drafts.metadata_of(request),
        "tags": drafts.tags_of(request),
        "storage_class": drafts.storage_class(request),
        "encryption": drafts.encryption_of(request, bucket),
        "acl": drafts.acl_of(request, bucket),
    }
    draft["headers"].setdefault("Content-Type", DEFAULT_CONTENT_TYPE)  # type: ignore[attr-defined]
    return draft


def object_headers(bucket: Bucket, version: ObjectVersion, request_id: str) -> dict[str, str]:
    """Return the headers that GetObject and HeadObject answer with."""
    headers = {
        "x-amz-request-id": request_id,
        "x-amz-id-2": HOST_ID,
        "Last-Modified": _date(int(version.modified_at)),
        "ETag": quoted(version.etag),
        "Accept-Ranges": "bytes",
        **drafts.encryption_headers(version.encryption),
        **version.headers,
    }
    for name, value in version.metadata.items():
        headers[f"x-amz-meta-{name}"] = value if value.isascii() else _as_ascii(value)
    if bucket.versioning:
        headers["x-amz-version-id"] = version.shown_version_id
    if version.storage_class != "STANDARD":
        headers["x-amz-storage-class"] = version.storage_class
    if version.tags:
        headers["x-amz-tagging-count"] = str(len(version.tags))
    if version.lock.mode:
        headers["x-amz-object-lock-mode"] = version.lock.mode
        headers["x-amz-object-lock-retain-until-date"] = iso8601(version.lock.retain_until)
    if version.lock.legal_hold is not None:
        headers["x-amz-object-lock-legal-hold"] = "ON" if version.lock.legal_hold else "OFF"
    if "lifecycle" in bucket.settings and (expiration := lifecycle.expiration_header(bucket, version)):
        headers["x-amz-expiration"] = expiration
    return headers


def _as_ascii(text: str) -> str:
    """Return a text as headers can carry it.

    Source: RFC 2047; user guide, "User-defined object metadata".
    """
    return f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="


@lru_cache(maxsize=1024)
def _date(second: int) -> str:
    return http_date(second)


def _check_no_encryption(call: Call) -> None:
    """Let a request pass that reads without saying how to encrypt.

    Source: API reference, GetObject, "Encryption": a 400.
    """
    asked = call.http.headers.get("x-amz-server-side-encryption")
    if asked is not None:
        name = "x-amz-server-side-encryption"
        raise invalid_argument(f"{name} header is not supported for this operation.", name, asked)


def _not_modified(headers: Mapping[str, str]) -> Response:
    kept = ("x-amz-request-id", "x-amz-id-2", "Last-Modified", "ETag", "x-amz-version-id", "Cache-Control", "Expires")
    return Response(304, {name: headers[name] for name in kept if name in headers})


def _conditions_of(request: Request) -> dict[str, Any]:
    return {name: request[name] for name in _CONDITIONS if name in request}


def write_conditions(request: Request) -> dict[str, Any]:
    """Return the conditions of a write."""
    return {name: request[name] for name in ("IfMatch", "IfNoneMatch") if name in request}


def delete_conditions(request: Request) -> dict[str, Any]:
    """Return the conditions of a deletion."""
    return {"IfMatch": request["IfMatch"]} if request.get("IfMatch") else {}
