"""Uploads in parts: begin, parts, copies into parts, listing, complete, abort.

A part lies in a blob of its own (or in stretches of the blobs it was copied from); completing an upload gathers these
stretches into one object and rewrites nothing.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.claims import read_claims
from eventrt.aws.services.s3.listing import encoder, owner_of, page_size
from eventrt.aws.services.s3.objects import new_draft, write_conditions
from eventrt.aws.services.s3.receiving import receiving
from eventrt.aws.services.s3.room import Request, S3Room, answers, empty, find_bucket, location_of, origin_of, quoted
from eventrt.core import lifecycle
from eventrt.core.buckets import Body, Bucket, Checksum, Lock, ObjectDraft, ObjectVersion, Part, PartLayout, Upload
from eventrt.core.checksums import Algorithm
from eventrt.core.object_rules import (
    OBJECT_LIMIT_BYTES,
    PART_LIMIT,
    PART_LIMIT_BYTES,
    PART_MINIMUM_BYTES,
    S3Refused,
    after_prefix,
    check_key,
    check_write,
    common_prefix,
    invalid_request,
    malformed_xml,
    multipart_etag,
    no_such_upload,
    wrong_part_number,
)
from eventrt.store.api import Tx

_FEW = 4
"""Uploads read behind a common prefix: the next ones may well have another."""

FileUnit = Callable[[Tx, ObjectDraft], tuple[Bucket, ObjectVersion]]


class Uploads(S3Room):
    """The operations on uploads in parts; copying into a part is in `copies`."""

    @answers("CreateMultipartUpload")
    async def create_multipart_upload(self, call: Call, request: Request) -> Answer:
        """Begin an upload."""
        check_key(request["Key"])
        algorithm, kind = _checksum_kind(request, self._algorithms)

        def unit(tx: Tx) -> tuple[Bucket, Upload, Mapping[str, Any]]:
            bucket = find_bucket(tx, call, request)
            if bucket.folder:
                self._folders.path(bucket, request["Key"])
            draft = new_draft(request, call.http.headers, bucket)
            lock = drafts.lock_of(request, bucket, tx.now)
            kept = {**draft, "lock": None if lock is None else [lock.mode, lock.retain_until, lock.legal_hold]}
            upload_id = secrets.token_urlsafe(48).replace("-", "_")
            upload = Upload(upload_id, bucket.id, request["Key"], tx.now, call.account_id, kept, algorithm, kind)
            tx.objects.start_upload(upload)
            return bucket, upload, draft["encryption"]

        bucket, upload, encryption = await self._store.write(unit)
        answer: dict[str, Any] = {"Bucket": bucket.name, "Key": upload.key, "UploadId": upload.id}
        answer |= drafts.encryption_members(encryption)
        if algorithm:
            answer |= {"ChecksumAlgorithm": algorithm, "ChecksumType": kind}
        return answer | _abort_members(bucket, upload)

    @answers("UploadPart")
    async def upload_part(self, call: Call, request: Request) -> Answer:
        """Keep one part."""
        number = part_number(request)
        claims = read_claims(call.http.headers, self._algorithms)
        bucket, upload = await self._store.read(
            lambda tx: (find_bucket(tx, call, request), find_upload(tx, call, request))
        )
        drafts.check_claims(claims, bucket, is_locked=upload.draft.get("lock") is not None, what="Part")
        wants = self._algorithms.get(upload.checksum_algorithm)
        if claims.algorithm is not None and wants is not None and claims.algorithm.name != wants.name:
            raise invalid_request(
                f"Checksum Type mismatch occurred, expected checksum Type: {wants.name.lower()}, actual checksum Type: "
                f"{claims.algorithm.name.lower()}"
            )
        async with receiving(
            self, request["Body"], claims, limit_bytes=PART_LIMIT_BYTES, wants=wants, always_blob=True
        ) as received:
            checksum = received.checksum

            def unit(tx: Tx) -> None:
                present = find_upload(tx, call, request)
                value = checksum.value if checksum is not None else ""
                kept = value if not wants or (checksum is not None and checksum.algorithm == wants.name) else ""
                part = Part(number, received.body.size, received.md5, kept, tx.now, received.body)
                tx.objects.put_part(present, part)

            await self._store.write(unit)
        headers = {"ETag": quoted(received.md5), **drafts.encryption_headers(upload.draft.get("encryption", {}))}
        if checksum is not None:
            headers[self._algorithms[checksum.algorithm].header] = checksum.value
        return empty(call, headers)

    @answers("CompleteMultipartUpload")
    async def complete_multipart_upload(self, call: Call, request: Request) -> Answer:
        """Make the parts one object; asked again while the object stands, say the same again, as on AWS."""
        listed = (request.get("MultipartUpload") or {}).get("Parts") or ()
        if "MultipartUpload" not in request:
            raise invalid_request("You must specify at least one part")
        if not listed or any("PartNumber" not in one or "ETag" not in one for one in listed):
            raise malformed_xml()
        done = await self._store.read(lambda tx: _completed(tx, call, request, listed))
        if done is not None:
            return self._completion(call, *done)
        numbers = [one["PartNumber"] for one in listed]
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise S3Refused(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
                members={"UploadId": request["UploadId"]},
            )
        bucket, upload, parts = await self._store.read(lambda tx: self._upload_and_parts(tx, call, request))
        chosen = _chosen_parts(upload, parts, listed, self._algorithms)
        size = sum(part.size for part in chosen)
        if size > OBJECT_LIMIT_BYTES:
            raise S3Refused("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
        said = request.get("MpuObjectSize")
        if said is not None and said != size:
            raise invalid_request(
                f"The provided 'x-amz-mp-object-size' header value {said} does not match what was computed: {size}"
            )
        checksum = self._whole_checksum(request, upload, chosen)
        extents = [extent for part in chosen for extent in part.body.extents]
        etag = multipart_etag([part.etag for part in chosen])
        layout = [PartLayout(part.number, part.size, part.checksum) for part in chosen]
        values = dict(upload.draft)
        lock = values.pop("lock")
        draft = ObjectDraft(
            upload.key,
            Body(size, None, extents),
            etag,
            checksum,
            lock=None if lock is None else Lock(*lock),
            parts=layout,
            upload=upload.id,
            **values,
        )

        def unit(tx: Tx, made: ObjectDraft = draft) -> tuple[Bucket, ObjectVersion]:
            now, present, kept = self._upload_and_parts(tx, call, request)
            if kept != parts:  # not even in a blob: the one that was replaced is gone
                raise S3Refused(
                    "ConditionalRequestConflict",
                    "The conditional request cannot succeed due to a conflicting operation against this resource.",
                    status=409,
                )
            version = self._shelf.put(
                tx,
                now,
                made,
                "s3:ObjectCreated:CompleteMultipartUpload",
                origin_of(call),
                conditions=write_conditions(request),
            )
            tx.objects.end_upload(present)
            return now, version

        if bucket.folder:
            bucket, version = await self._complete_in_folder(bucket, draft, unit)
        else:
            bucket, version = await self._store.write(unit)
        return self._completion(call, bucket, version)

    def _completion(self, call: Call, bucket: Bucket, version: ObjectVersion) -> dict[str, Any]:
        """Return what the completion of an upload is answered with."""
        answer: dict[str, Any] = {
            "Location": location_of(call, bucket.name, version.key),
            "Bucket": bucket.name,
            "Key": version.key,
            "ETag": quoted(version.etag),
            **drafts.encryption_members(version.encryption),
        }
        checksum = version.checksum
        if checksum is not None:
            answer |= {self._algorithms[checksum.algorithm].member: checksum.value, "ChecksumType": checksum.type}
        if bucket.versioning:
            answer["VersionId"] = version.shown_version_id
        if "lifecycle" in bucket.settings and (expiration := lifecycle.expiration_header(bucket, version)):
            answer["Expiration"] = expiration
        return answer

    async def _complete_in_folder(
        self, bucket: Bucket, draft: ObjectDraft, unit: "FileUnit"
    ) -> tuple[Bucket, ObjectVersion]:
        """Write the parts into one file of a bucket over a folder, and complete the upload with it."""
        writer = self.blobs.writer_at(self._folders.staged_path(bucket, draft.key))
        try:
            with self.blobs.reading(draft.body.blobs):
                async for piece in self.blobs.read(draft.body):
                    await writer.write(piece)
            staged = await writer.seal()
            stamp = (await self.blobs.in_thread(staged.stat)).st_mtime_ns
            filed = draft._replace(body=Body(draft.body.size), parts=(), file_stamp=stamp)
            value = await self._folders.place(bucket, draft.key, staged, lambda tx: unit(tx, filed))
            writer.placed()
            return value
        finally:
            await writer.discard()

    def _upload_and_parts(self, tx: Tx, call: Call, request: Request) -> tuple[Bucket, Upload, Sequence[Part]]:
        bucket = find_bucket(tx, call, request)
        upload = find_upload(tx, call, request)
        conditions = write_conditions(request)
        if conditions:
            check_write(conditions, tx.objects.current(bucket, upload.key), upload.key)
        return bucket, upload, tx.objects.parts(upload)

    def _whole_checksum(self, request: Request, upload: Upload, parts: Sequence[Part]) -> Checksum | None:
        """Return the checksum of the whole object, compared with what the request says it is.

        Raises: S3Refused: BadDigest, InvalidRequest.
        """
        algorithm: Algorithm | None = self._algorithms.get(upload.checksum_algorithm)
        if algorithm is None:
            return None
        kind = upload.checksum_type
        asked_kind = request.get("ChecksumType")
        if asked_kind is not None and asked_kind != kind:
            raise invalid_request(
                f"The upload was created using the {kind} checksum mode. The complete request must use the same "
                "checksum mode."
            )
        if any(not part.checksum for part in parts):
            raise invalid_request(
                f"The upload was created using a {algorithm.name.lower()} checksum. The complete request must include "
                "the checksum for each part."
            )
        if kind == "FULL_OBJECT":
            value = algorithm.full([(part.checksum, part.size) for part in parts])
        else:
            value = algorithm.composite([part.checksum for part in parts])
        said = request.get(algorithm.member)
        if said is not None and said not in (value, value.rpartition("-")[0] if kind == "COMPOSITE" else value):
            raise S3Refused(
                "BadDigest", f"The {algorithm.name.lower()} you specified did not match the calculated checksum."
            )
        return Checksum(algorithm.name, value, kind)  # type: ignore[arg-type]

    @answers("AbortMultipartUpload")
    async def abort_multipart_upload(self, call: Call, request: Request) -> Answer:
        """Give an upload up, with the parts that came."""

        def unit(tx: Tx) -> None:
            upload = find_upload(tx, call, request)
            since = request.get("IfMatchInitiatedTime")
            if since is not None and int(upload.started_at) != int(since):
                raise S3Refused(
                    "PreconditionFailed",
                    "At least one of the pre-conditions you specified did not hold",
                    status=412,
                    members={"Condition": "x-amz-if-match-initiated-time"},
                )
            tx.objects.end_upload(upload)

        await self._store.write(unit)
        return empty(call, status=204)

    @answers("ListParts")
    async def list_parts(self, call: Call, request: Request) -> Answer:
        """Return a page of the parts that came so far."""
        limit = page_size(request, "MaxParts", "max-parts")
        after = int(request.get("PartNumberMarker") or 0)

        def query(tx: Tx) -> tuple[Bucket, Upload, Sequence[Part]]:
            bucket = find_bucket(tx, call, request)
            upload = find_upload(tx, call, request)
            return bucket, upload, tx.objects.parts(upload, after=after, limit=limit + 1)

        bucket, upload, parts = await self._store.read(query)
        shown = parts[:limit]
        algorithm = self._algorithms.get(upload.checksum_algorithm)
        answer: dict[str, Any] = {
            "Bucket": bucket.name,
            "Key": upload.key,
            "UploadId": upload.id,
            "PartNumberMarker": after,
            "NextPartNumberMarker": shown[-1].number if shown else 0,
            "MaxParts": limit,
            "IsTruncated": 0 < limit < len(parts),
            "Parts": [
                {
                    "PartNumber": part.number,
                    "LastModified": float(int(part.modified_at)),
                    "ETag": quoted(part.etag),
                    "Size": part.size,
                    **({algorithm.member: part.checksum} if algorithm is not None and part.checksum else {}),
                }
                for part in shown
            ],
            "Initiator": {**owner_of(upload.account_id)},
            "Owner": owner_of(bucket.account_id),
            "StorageClass": upload.draft.get("storage_class", "STANDARD"),
        }
        if algorithm is not None:
            answer |= {"ChecksumAlgorithm": algorithm.name, "ChecksumType": upload.checksum_type}
        return answer | _abort_members(bucket, upload)

    @answers("ListMultipartUploads")
    async def list_multipart_uploads(self, call: Call, request: Request) -> Answer:
        """Return a page of the uploads that go on."""
        limit = page_size(request, "MaxUploads", "max-uploads")
        prefix, delimiter = request.get("Prefix") or "", request.get("Delimiter") or ""
        key_marker, id_marker = request.get("KeyMarker") or "", request.get("UploadIdMarker")
        encode = encoder(request)

        def query(tx: Tx) -> tuple[Bucket, list[Upload], list[str], bool]:
            bucket = find_bucket(tx, call, request)
            return bucket, *_uploads_page(tx, bucket, prefix, delimiter, key_marker, id_marker, limit)

        bucket, uploads, prefixes, has_more = await self._store.read(query)
        answer: dict[str, Any] = {
            "Bucket": bucket.name,
            "KeyMarker": encode(key_marker),
            "UploadIdMarker": id_marker or "",
            "Prefix": encode(prefix),
            "MaxUploads": limit,
            "IsTruncated": has_more,
            "Uploads": [
                {
                    "UploadId": upload.id,
                    "Key": encode(upload.key),
                    "Initiated": float(int(upload.started_at)),
                    "StorageClass": upload.draft.get("storage_class", "STANDARD"),
                    "Owner": owner_of(bucket.account_id),
                    "Initiator": owner_of(upload.account_id),
                    **(
                        {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}
                        if upload.checksum_algorithm
                        else {}
                    ),
                }
                for upload in uploads
            ],
            "CommonPrefixes": [{"Prefix": encode(one)} for one in prefixes],
        }
        if delimiter:
            answer["Delimiter"] = encode(delimiter)
        if has_more:
            last_key = max([upload.key for upload in uploads[-1:]] + prefixes[-1:])
            answer["NextKeyMarker"] = encode(last_key)
            answer["NextUploadIdMarker"] = uploads[-1].id if uploads and uploads[-1].key == last_key else ""
        if request.get("EncodingType"):
            answer["EncodingType"] = "url"
        return answer


def _abort_members(bucket: Bucket, upload: Upload) -> dict[str, Any]:
    """Return what tells when a lifecycle rule gives an upload up, and which."""
    found = lifecycle.aborts_at(lifecycle.rules_of(bucket), upload)
    return {"AbortDate": found[0], "AbortRuleId": found[1]} if found is not None else {}


def _uploads_page(
    tx: Tx, bucket: Bucket, prefix: str, delimiter: str, key_marker: str, id_marker: str | None, limit: int
) -> tuple[list[Upload], list[str], bool]:
    """Return (uploads, common prefixes, whether there are more); a common prefix is passed over, not read through."""
    uploads: list[Upload] = []
    prefixes: list[str] = []
    after_key, after_id, from_key = key_marker, id_marker, ""
    if delimiter and key_marker and common_prefix(key_marker, prefix, delimiter) == key_marker:
        from_key = after_prefix(key_marker)  # the last page ended with this common prefix
    size = most = limit + 1
    while True:
        page = tx.objects.uploads(
            bucket, prefix=prefix, after_key=after_key, after_id=after_id, from_key=from_key, limit=size
        )
        for upload in page:
            if len(uploads) + len(prefixes) == limit:
                return uploads, prefixes, True
            shared = common_prefix(upload.key, prefix, delimiter) if delimiter else ""
            if shared:
                prefixes.append(shared)
                from_key, size = after_prefix(shared), _FEW
                break
            uploads.append(upload)
            after_key, after_id = upload.key, upload.id
        else:
            if len(page) < size:
                return uploads, prefixes, False
            size = min(2 * size, most)


def find_upload(tx: Tx, call: Call, request: Request) -> Upload:
    """Return the upload a request means.

    Raises: S3Refused: NoSuchBucket, NoSuchUpload.
    """
    bucket = find_bucket(tx, call, request)
    upload = tx.objects.upload(request["UploadId"])
    if upload is None or upload.bucket_id != bucket.id or upload.key != request["Key"]:
        raise no_such_upload(request["UploadId"])
    return upload


def _completed(
    tx: Tx, call: Call, request: Request, listed: Sequence[Mapping[str, Any]]
) -> tuple[Bucket, ObjectVersion] | None:
    """Return the object that an upload has become from these parts; None while the upload goes on.

    Raises: S3Refused: NoSuchBucket; NoSuchUpload: it does not go on, and there is no such object (any more).
    """
    try:
        find_upload(tx, call, request)
    except S3Refused as refused:
        if refused.code != "NoSuchUpload":
            raise
        bucket = find_bucket(tx, call, request)
        version = tx.objects.current(bucket, request["Key"])
        if version is None or version.upload != request["UploadId"] or len(listed) != version.part_count:
            raise
        try:
            etag = multipart_etag([one["ETag"].strip('"') for one in listed])
        except ValueError:
            etag = ""
        if etag != version.etag:
            raise
        return bucket, version
    return None


def part_number(request: Request) -> int:
    """Return a request's part number.

    Raises: S3Refused: InvalidArgument.
    """
    number: int = request["PartNumber"]
    if not 1 <= number <= PART_LIMIT:
        raise wrong_part_number(number)
    return number


def _checksum_kind(request: Request, algorithms: Mapping[str, Algorithm]) -> tuple[str, str]:
    """Return the algorithm and the type of checksum a new upload asks for, ("", "") when it asks for none.

    Raises: S3Refused: InvalidRequest.
    Source: user guide, "Checking object integrity": CRC-64/NVME is of the whole only, the SHAs of parts only.
    """
    asked, kind = request.get("ChecksumAlgorithm"), request.get("ChecksumType")
    if asked is None:
        if kind is not None:
            raise invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            )
        return "", ""
    name = asked.upper()
    if name not in algorithms:
        raise invalid_request(
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            "types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
        )
    kind = kind or ("FULL_OBJECT" if name == "CRC64NVME" else "COMPOSITE")
    if kind not in ("FULL_OBJECT", "COMPOSITE"):
        raise invalid_request("Value for x-amz-checksum-type header is invalid.")
    if (name == "CRC64NVME" and kind == "COMPOSITE") or (not algorithms[name].is_crc and kind == "FULL_OBJECT"):
        raise invalid_request(f"The {kind} checksum type cannot be used with the {name.lower()} checksum algorithm.")
    return name, kind


def _chosen_parts(
    upload: Upload, parts: Sequence[Part], listed: Sequence[Mapping[str, Any]], algorithms: Mapping[str, Algorithm]
) -> list[Part]:
    """Return the parts a completion names, in order.

    Raises: S3Refused: InvalidPart, EntityTooSmall, InvalidRequest.
    """
    by_number = {part.number: part for part in parts}
    algorithm = algorithms.get(upload.checksum_algorithm)
    chosen: list[Part] = []
    for one in listed:
        part = by_number.get(one["PartNumber"])
        etag = (one.get("ETag") or "").strip('"')
        checksum = one.get(algorithm.member) if algorithm is not None else None
        if part is None or part.etag != etag or (checksum is not None and checksum != part.checksum):
            raise S3Refused(
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag.",
                members={"UploadId": upload.id, "PartNumber": str(one["PartNumber"]), "ETag": etag},
            )
        if algorithm is not None and checksum is None and upload.checksum_type == "COMPOSITE":
            raise invalid_request(
                f"The upload was created using a {algorithm.name.lower()} checksum. The complete request must include "
                f"the checksum for each part. It was missing for part {part.number} in the request."
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < PART_MINIMUM_BYTES:
            raise S3Refused(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                members={
                    "ProposedSize": str(part.size),
                    "MinSizeAllowed": str(PART_MINIMUM_BYTES),
                    "PartNumber": str(part.number),
                    "ETag": part.etag,
                },
            )
    return chosen
