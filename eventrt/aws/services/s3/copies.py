"""Copies: CopyObject and UploadPartCopy. A copy shares the blobs of its source; no byte is written twice."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.objects import new_draft, write_conditions
from eventrt.aws.services.s3.receiving import INLINE_BYTES
from eventrt.aws.services.s3.room import (
    DEFAULT_CONTENT_TYPE,
    Request,
    answers,
    find_bucket,
    find_version,
    origin_of,
    quoted,
)
from eventrt.aws.services.s3.uploads import Uploads, find_upload, part_number
from eventrt.core import lifecycle
from eventrt.core.buckets import Body, Bucket, Checksum, Extent, ObjectDraft, ObjectVersion, Part
from eventrt.core.checksums import encode
from eventrt.core.object_rules import (
    PART_LIMIT_BYTES,
    PUT_LIMIT_BYTES,
    CopySource,
    S3Refused,
    check_key,
    check_read,
    invalid_argument,
    invalid_request,
    precondition_failed,
    read_copy_range,
    read_copy_source,
)
from eventrt.errors import ApiError
from eventrt.store.api import Tx

_TRIES = 5
"""So often a copy is begun whose source is replaced while it is read."""

_CONDITIONS = {
    "CopySourceIfMatch": "IfMatch",
    "CopySourceIfNoneMatch": "IfNoneMatch",
    "CopySourceIfModifiedSince": "IfModifiedSince",
    "CopySourceIfUnmodifiedSince": "IfUnmodifiedSince",
}


class Copies(Uploads):
    """The operations whose bytes come from an object that is here."""

    @answers("CopyObject")
    async def copy_object(self, call: Call, request: Request) -> Answer:
        """Store an object with the bytes of another."""
        return await _once_it_stays(lambda: self._copy_object(call, request))

    async def _copy_object(self, call: Call, request: Request) -> Answer:
        check_key(request["Key"])
        wanted = request.get("ChecksumAlgorithm")
        source_bucket, source = await self._source(call, request)
        if source.size > PUT_LIMIT_BYTES:
            raise invalid_request(
                f"The specified copy source is larger than the maximum allowable size for a copy source: "
                f"{PUT_LIMIT_BYTES}"
            )
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        draft = self._copied_draft(call, request, bucket, source)
        checksum = await self._copied_checksum(source_bucket, source, wanted)
        if bucket.folder or source_bucket.folder:
            version = await self._copy_bytes(call, request, bucket, source_bucket, source, draft, checksum)
        else:
            etag = source.etag
            if source.part_count:
                etag = (await self._hash(self.locate(source_bucket, source), 0, source.size - 1))[0]

            def unit(tx: Tx) -> ObjectVersion:
                found = _look_up(tx, call, read_copy_source(request["CopySource"]), request)[1]
                _check_same(found, source)
                now = find_bucket(tx, call, request)
                lock = drafts.lock_of(request, now, tx.now)
                made = ObjectDraft(request["Key"], found.body, etag, checksum, lock=lock, **draft)
                conditions = write_conditions(request)
                return self._shelf.put(tx, now, made, "s3:ObjectCreated:Copy", origin_of(call), conditions=conditions)

            version = await self._store.write(unit)
        result: dict[str, Any] = {"ETag": quoted(version.etag), "LastModified": float(int(version.modified_at))}
        if version.checksum is not None:
            result[self._algorithms[version.checksum.algorithm].member] = version.checksum.value
            result["ChecksumType"] = version.checksum.type
        answer: dict[str, Any] = {
            "CopyObjectResult": result,
            **drafts.encryption_members(version.encryption),
        }
        if "lifecycle" in bucket.settings and (expiration := lifecycle.expiration_header(bucket, version)):
            answer["Expiration"] = expiration
        if bucket.versioning:
            answer["VersionId"] = version.shown_version_id
        if source_bucket.versioning:
            answer["CopySourceVersionId"] = source.shown_version_id
        return answer

    def _copied_draft(self, call: Call, request: Request, bucket: Bucket, source: ObjectVersion) -> dict[str, Any]:
        """Return what the copy is to be: as its source, or as the request says.

        Raises: S3Refused: InvalidArgument, InvalidRequest.
        """
        metadata, tagging = request.get("MetadataDirective") or "COPY", request.get("TaggingDirective") or "COPY"
        if metadata not in ("COPY", "REPLACE"):
            raise invalid_argument("Unknown metadata directive.", "x-amz-metadata-directive", metadata)
        if tagging not in ("COPY", "REPLACE"):
            raise invalid_argument("Unknown tagging directive.", "x-amz-tagging-directive", tagging)
        draft = new_draft(request, call.http.headers, bucket)
        changes = metadata == "REPLACE" or any(
            request.get(name) is not None
            for name in ("StorageClass", "WebsiteRedirectLocation", "ServerSideEncryption", "ChecksumAlgorithm")
        )
        names = read_copy_source(request["CopySource"])
        if (names.bucket, names.key) == (request["Bucket"], request["Key"]) and not changes and not names.version_id:
            raise invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the "
                "object's metadata, storage class, website redirect location or encryption attributes."
            )
        if metadata == "COPY":
            kept = {**source.headers}
            kept.pop("x-amz-website-redirect-location", None)
            if (redirect := draft["headers"].get("x-amz-website-redirect-location")) is not None:
                kept["x-amz-website-redirect-location"] = redirect
            draft |= {"headers": kept, "metadata": source.metadata}
        else:
            draft["headers"].setdefault("Content-Type", DEFAULT_CONTENT_TYPE)
        if tagging == "COPY":
            draft["tags"] = source.tags
        return draft

    async def _copied_checksum(self, bucket: Bucket, source: ObjectVersion, wanted: str | None) -> Checksum | None:
        """Return the checksum of a copy: the one asked for, else the source's; of the whole, as a copy is not in parts.

        Raises: S3Refused: InvalidRequest.
        """
        if wanted is not None and wanted.upper() not in self._algorithms:
            raise invalid_request(
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
                "[CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
            )
        present = source.checksum
        name = wanted.upper() if wanted is not None else present.algorithm if present is not None else ""
        if present is not None and present.algorithm == name and present.type == "FULL_OBJECT":
            return present
        if not name:
            return None
        _, value = await self._hash(self.locate(bucket, source), 0, source.size - 1, name)
        return Checksum(name, value)

    async def _copy_bytes(
        self,
        call: Call,
        request: Request,
        bucket: Bucket,
        source_bucket: Bucket,
        source: ObjectVersion,
        draft: dict[str, Any],
        checksum: Checksum | None,
    ) -> ObjectVersion:
        """Copy from or to a folder, where bytes cannot be shared."""
        md5 = hashlib.md5(usedforsecurity=False)
        staged_in = self._folders.staged_path(bucket, request["Key"]) if bucket.folder else None
        writer = self.blobs.writer_at(staged_in, [md5]) if staged_in is not None else self.blobs.writer([md5])
        name = ""
        try:
            body = self.locate(source_bucket, source)
            with self.blobs.reading(body.blobs):
                async for piece in self.blobs.read(body):
                    await writer.write(piece)
            stamp = 0
            if staged_in is not None:
                stamp = (await self.blobs.in_thread((await writer.seal()).stat)).st_mtime_ns
                stored = Body(writer.size)
            else:
                name = await writer.finish()
                stored = Body(writer.size, None, [Extent(name, 0, writer.size)] if writer.size else [])

            def unit(tx: Tx) -> ObjectVersion:
                now = find_bucket(tx, call, request)
                made = ObjectDraft(
                    request["Key"],
                    stored,
                    md5.hexdigest(),
                    checksum,
                    file_stamp=stamp,
                    lock=drafts.lock_of(request, now, tx.now),
                    **draft,
                )
                conditions = write_conditions(request)
                return self._shelf.put(tx, now, made, "s3:ObjectCreated:Copy", origin_of(call), conditions=conditions)

            if staged_in is None:
                return await self._store.write(unit)
            version = await self._folders.place(bucket, request["Key"], staged_in, unit)
            writer.placed()
            return version
        finally:
            await writer.discard()
            if name:
                await self.give_up_unused(name)

    @answers("UploadPartCopy")
    async def upload_part_copy(self, call: Call, request: Request) -> Answer:
        """Keep a part whose bytes are those of an object, or of a range of one."""
        return await _once_it_stays(lambda: self._copy_part(call, request))

    async def _copy_part(self, call: Call, request: Request) -> Answer:
        number = part_number(request)
        upload = await self._store.read(lambda tx: find_upload(tx, call, request))
        source_bucket, source = await self._source(call, request)
        first, last = 0, source.size - 1
        if request.get("CopySourceRange") is not None:
            first, last = read_copy_range(request["CopySourceRange"], source.size)
        if last - first + 1 > PART_LIMIT_BYTES:
            raise invalid_request(
                f"The specified copy source is larger than the maximum allowable size for a copy source: "
                f"{PART_LIMIT_BYTES}"
            )
        body = self.locate(source_bucket, source)
        md5, checksum = await self._hash(body, first, last, upload.checksum_algorithm)
        name = ""
        size = last - first + 1
        with self.blobs.reading(body.blobs):
            if body.extents and not body.file:
                stretches = _cut(body.extents, first, last)
            else:
                writer = self.blobs.writer()
                try:
                    async for piece in self.blobs.read(body, first, last):
                        await writer.write(piece)
                    name = await writer.finish()
                finally:
                    await writer.discard()
                stretches = [Extent(name, 0, size)] if size else []

            def unit(tx: Tx) -> float:
                # The stretches are those of this very version: another one has other blobs.
                _check_same(_look_up(tx, call, read_copy_source(request["CopySource"]), request)[1], source)
                present = find_upload(tx, call, request)
                tx.objects.put_part(present, Part(number, size, md5, checksum, tx.now, Body(size, None, stretches)))
                return tx.now

            try:
                moment = await self._store.write(unit)
            finally:
                if name:
                    await self.give_up_unused(name)
        result: dict[str, Any] = {"ETag": quoted(md5), "LastModified": float(int(moment))}
        if upload.checksum_algorithm:
            result[self._algorithms[upload.checksum_algorithm].member] = checksum
        encryption = drafts.encryption_members(upload.draft.get("encryption", {}))
        answer: dict[str, Any] = {"CopyPartResult": result, **encryption}
        if source_bucket.versioning:
            answer["CopySourceVersionId"] = source.shown_version_id
        return answer

    async def _source(self, call: Call, request: Request) -> tuple[Bucket, ObjectVersion]:
        """Return the object a copy is made of, once its conditions hold.

        Raises: S3Refused: NoSuchBucket, NoSuchKey, PreconditionFailed, InvalidRequest.
        """
        names = read_copy_source(request.get("CopySource") or "")
        bucket, version = await self._store.read(lambda tx: _look_up(tx, call, names, request))
        if bucket.folder:
            bucket, version = await self._folders.fresh(bucket, version)
        return bucket, version

    async def _hash(self, body: Body, first: int, last: int, algorithm: str = "") -> tuple[str, str]:
        """Return MD5 (hexadecimal) and checksum (base64, "" without an algorithm) of a stretch of a body."""
        md5 = hashlib.md5(usedforsecurity=False)
        hasher = self._algorithms[algorithm].hasher() if algorithm else None

        def take(piece: bytes) -> None:
            md5.update(piece)
            if hasher is not None:
                hasher.update(piece)

        with self.blobs.reading(body.blobs):
            async for piece in self.blobs.read(body, first, last):
                if len(piece) <= INLINE_BYTES:
                    take(piece)
                else:
                    await self.blobs.in_thread(lambda piece=piece: take(piece))  # type: ignore[misc]
        return md5.hexdigest(), encode(hasher.digest()) if hasher is not None else ""


def _look_up(tx: Tx, call: Call, names: CopySource, request: Request) -> tuple[Bucket, ObjectVersion]:
    asked: dict[str, Any] = {"Bucket": names.bucket, "Key": names.key}
    if names.version_id is not None:
        asked["VersionId"] = names.version_id
    if request.get("ExpectedSourceBucketOwner") is not None:
        asked["ExpectedBucketOwner"] = request["ExpectedSourceBucketOwner"]
    bucket = find_bucket(tx, call, asked)
    try:
        version = find_version(tx, bucket, asked)
    except ApiError as error:
        if error.code != "MethodNotAllowed":
            raise
        raise invalid_request(
            "The source of a copy request may not specifically refer to a delete marker by version id."
        ) from error
    conditions = {mine: request[theirs] for theirs, mine in _CONDITIONS.items() if theirs in request}
    if conditions and not check_read(conditions, version, headers="x-amz-copy-source-"):
        name = "If-None-Match" if "IfNoneMatch" in conditions else "If-Modified-Since"
        raise precondition_failed(f"x-amz-copy-source-{name}")
    return bucket, version


class _SourceChanged(Exception):  # noqa: N818 - a state of the source
    """The source is another version than the one that was read."""


def _check_same(found: ObjectVersion, source: ObjectVersion) -> None:
    """Let a copy pass whose source is still the version that was read.

    Raises: _SourceChanged.
    """
    if found.id != source.id:
        raise _SourceChanged


async def _once_it_stays(copy: Callable[[], Awaitable[Answer]]) -> Answer:
    """Copy, anew while the source is replaced meanwhile, and return the answer.

    Raises: S3Refused: OperationAborted: it was replaced again and again.
    """
    for _ in range(_TRIES):
        try:
            return await copy()
        except _SourceChanged:
            continue
    raise S3Refused(
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource. Please try again.",
        status=409,
    )


def _cut(extents: Sequence[Extent], first: int, last: int) -> list[Extent]:
    """Return the stretches that hold the bytes from `first` to `last`."""
    found: list[Extent] = []
    at = 0
    for extent in extents:
        begin, end = max(first, at), min(last + 1, at + extent.size)
        if begin < end:
            found.append(extent._replace(offset=extent.offset + begin - at, size=end - begin))
        at += extent.size
    return found
