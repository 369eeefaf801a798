"""What is set on an object beside its bytes: tags, access control list, retention, legal hold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.acls import acl_document, read_acl
from eventrt.aws.services.s3.room import Request, S3Room, answers, empty, find_bucket, find_version, origin_of
from eventrt.core.buckets import Bucket, Lock, ObjectVersion
from eventrt.core.object_rules import S3Refused, changed_retention, invalid_request, malformed_xml, read_tag_set
from eventrt.store.api import Tx

T = TypeVar("T")


class ObjectSettings(S3Room):
    """The operations on what is set on objects."""

    async def _on_version(
        self, call: Call, request: Request, work: Callable[[Tx, Bucket, ObjectVersion], T], *, writes: bool
    ) -> tuple[Bucket, ObjectVersion, T]:
        def unit(tx: Tx) -> tuple[Bucket, ObjectVersion, T]:
            bucket = find_bucket(tx, call, request)
            version = find_version(tx, bucket, request, call.http.method)
            return bucket, version, work(tx, bucket, version)

        return await (self._store.write(unit) if writes else self._store.read(unit))

    # -- tags

    @answers("PutObjectTagging")
    async def put_object_tagging(self, call: Call, request: Request) -> Answer:
        """Replace an object's tags."""
        tags = read_tag_set(tags_in(request))
        return await self._set_tags(call, request, tags, "s3:ObjectTagging:Put", 200)

    @answers("DeleteObjectTagging")
    async def delete_object_tagging(self, call: Call, request: Request) -> Answer:
        """Take an object's tags away."""
        return await self._set_tags(call, request, {}, "s3:ObjectTagging:Delete", 204)

    async def _set_tags(self, call: Call, request: Request, tags: Mapping[str, str], event: str, status: int) -> Answer:
        bucket, version, _ = await self._on_version(
            call,
            request,
            lambda tx, bucket, version: self._shelf.set_tags(tx, bucket, version, tags, origin_of(call), event=event),
            writes=True,
        )
        return empty(call, drafts.version_headers(bucket, version), status=status)

    @answers("GetObjectTagging")
    async def get_object_tagging(self, call: Call, request: Request) -> Answer:
        """Return an object's tags."""
        bucket, version, _ = await self._on_version(call, request, lambda *_: None, writes=False)
        answer: dict[str, Any] = {"TagSet": [{"Key": key, "Value": value} for key, value in version.tags.items()]}
        if bucket.versioning:
            answer["VersionId"] = version.shown_version_id
        return answer

    # -- access control lists

    @answers("PutObjectAcl")
    async def put_object_acl(self, call: Call, request: Request) -> Answer:
        """Replace an object's access control list, which is kept and not enforced."""

        def work(tx: Tx, bucket: Bucket, version: ObjectVersion) -> None:
            acl = read_acl(request)
            drafts.check_acls_allowed(bucket, acl)
            self._shelf.set_acl(tx, bucket, version, orjson.dumps(acl).decode(), origin_of(call))

        bucket, version, _ = await self._on_version(call, request, work, writes=True)
        return empty(call, drafts.version_headers(bucket, version))

    @answers("GetObjectAcl")
    async def get_object_acl(self, call: Call, request: Request) -> Answer:
        """Return an object's access control list."""
        bucket, version, _ = await self._on_version(call, request, lambda *_: None, writes=False)
        is_document = version.acl.startswith("{")
        kept = orjson.loads(version.acl) if is_document else {"canned": version.acl or "private"}
        return acl_document(kept, bucket)

    # -- archives

    @answers("RestoreObject")
    async def restore_object(self, call: Call, request: Request) -> Answer:
        """Refuse to bring an object back from an archive: none ever goes there."""
        _, version, _ = await self._on_version(call, request, lambda *_: None, writes=False)
        raise S3Refused(
            "InvalidObjectState",
            "Restore is not allowed for the object's current storage class",
            status=403,
            members={"StorageClass": version.storage_class},
        )

    # -- retention and legal hold

    @answers("PutObjectRetention")
    async def put_object_retention(self, call: Call, request: Request) -> Answer:
        """Keep a version from being deleted until a moment."""
        retention = request.get("Retention") or {}
        mode, until = retention.get("Mode"), retention.get("RetainUntilDate")

        def work(tx: Tx, bucket: Bucket, version: ObjectVersion) -> None:
            _check_locks(bucket)
            if (mode is None) != (until is None):
                raise malformed_xml()
            if mode is not None:
                if mode not in ("GOVERNANCE", "COMPLIANCE"):
                    raise malformed_xml()
                drafts.check_retention(mode, until, tx.now)
            lock = changed_retention(
                version, mode or "", until or 0.0, bypasses_governance=drafts.is_bypassing(request), now=tx.now
            )
            self._shelf.set_lock(tx, bucket, version, lock, origin_of(call), event="s3:ObjectRetention:Put")

        await self._on_version(call, request, work, writes=True)
        return empty(call)

    @answers("GetObjectRetention")
    async def get_object_retention(self, call: Call, request: Request) -> Answer:
        """Return until when a version is kept from being deleted."""
        bucket, version, _ = await self._on_version(call, request, lambda *_: None, writes=False)
        _check_locks(bucket)
        if not version.lock.mode:
            raise _no_lock()
        return {"Retention": {"Mode": version.lock.mode, "RetainUntilDate": version.lock.retain_until}}

    @answers("PutObjectLegalHold")
    async def put_object_legal_hold(self, call: Call, request: Request) -> Answer:
        """Keep a version from being deleted until the hold is taken off."""
        status = (request.get("LegalHold") or {}).get("Status")
        if status not in ("ON", "OFF"):
            raise malformed_xml()

        def work(tx: Tx, bucket: Bucket, version: ObjectVersion) -> None:
            _check_locks(bucket)
            lock = Lock(version.lock.mode, version.lock.retain_until, status == "ON")
            self._shelf.set_lock(tx, bucket, version, lock, origin_of(call))

        await self._on_version(call, request, work, writes=True)
        return empty(call)

    @answers("GetObjectLegalHold")
    async def get_object_legal_hold(self, call: Call, request: Request) -> Answer:
        """Return whether a version is held."""
        bucket, version, _ = await self._on_version(call, request, lambda *_: None, writes=False)
        _check_locks(bucket)
        if version.lock.legal_hold is None:
            raise _no_lock()
        return {"LegalHold": {"Status": "ON" if version.lock.legal_hold else "OFF"}}


def tags_in(request: Request) -> Sequence[Mapping[str, Any]]:
    """Return the tags of a request's document, which may be none.

    Raises: S3Refused: MalformedXML: it has no TagSet.
    """
    found: Sequence[Mapping[str, Any]] | None = (request.get("Tagging") or {}).get("TagSet")
    if found is None:
        raise malformed_xml()
    return found


def _check_locks(bucket: Bucket) -> None:
    if not bucket.has_object_lock:
        raise invalid_request("Bucket is missing Object Lock Configuration")


def _no_lock() -> S3Refused:
    return S3Refused(
        "NoSuchObjectLockConfiguration",
        "The specified object does not have a ObjectLock configuration",
        status=404,
    )
