"""What is set on a bucket and takes effect: versioning, object lock, lifecycle, notifications, CORS, encryption, tags.

Documents that are kept and given back, and settings that can only be as they are, stand in `bucket_documents`.
"""

from collections.abc import Mapping
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.protocol.overlays import HOST_ID
from eventrt.aws.services.s3.object_settings import tags_in
from eventrt.aws.services.s3.room import Request, S3Room, answers, empty, find_bucket
from eventrt.core import lifecycle
from eventrt.core.buckets import Bucket
from eventrt.core.object_rules import (
    S3Refused,
    check_cors,
    check_object_lock,
    invalid_argument,
    malformed_xml,
    read_tag_set,
)
from eventrt.store.api import Tx


class Settings(S3Room):
    """How settings are kept: a document each, under a name."""

    async def setting(self, call: Call, request: Request, name: str) -> tuple[Bucket, Any]:
        """Return a bucket and one of its documents, None when it is not set."""
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        return bucket, bucket.settings.get(name)

    async def keep(self, call: Call, request: Request, name: str, value: Any, *, status: int = 200) -> Answer:
        """Keep a document; None takes it away."""

        def unit(tx: Tx) -> None:
            tx.buckets.change(find_bucket(tx, call, request), settings={name: value})
            tx.announce((name,))

        await self._store.write(unit)
        return empty(call, status=status)


def missing(code: str, message: str, bucket: Bucket) -> S3Refused:
    """Return the refusal of a document that is not set."""
    return S3Refused(code, message, status=404, members={"BucketName": bucket.name})


class BucketSettings(Settings):
    """The operations on settings that take effect."""

    # -- versions and locks

    @answers("PutBucketVersioning")
    async def put_bucket_versioning(self, call: Call, request: Request) -> Answer:
        """Turn versioning on, or suspend it."""
        configuration = request.get("VersioningConfiguration") or {}
        status = configuration.get("Status")
        if status not in (None, "Enabled", "Suspended"):
            raise malformed_xml()
        if status is None:
            raise S3Refused("IllegalVersioningConfigurationException", "The Versioning element must be specified")

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            if bucket.folder:
                raise S3Refused("NotImplemented", "eventrt keeps no versions of files in a folder.", status=501)
            if bucket.has_object_lock and status != "Enabled":
                raise S3Refused(
                    "InvalidBucketState",
                    "An Object Lock configuration is present on this bucket, so the versioning state cannot be "
                    "changed.",
                    status=409,
                )
            tx.buckets.change(bucket, versioning=status)

        await self._store.write(unit)
        return empty(call)

    @answers("GetBucketVersioning")
    async def get_bucket_versioning(self, call: Call, request: Request) -> Answer:
        """Tell whether versioning is on; a bucket that never had it tells nothing."""
        bucket, _ = await self.setting(call, request, "")
        return {"Status": bucket.versioning} if bucket.versioning else {}

    @answers("PutObjectLockConfiguration")
    async def put_object_lock_configuration(self, call: Call, request: Request) -> Answer:
        """Let versions be locked, and how new ones are."""
        configuration = request.get("ObjectLockConfiguration") or {}
        check_object_lock(configuration)

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            if bucket.versioning != "Enabled":
                raise S3Refused(
                    "InvalidBucketState",
                    "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
                    status=409,
                )
            tx.buckets.change(bucket, has_object_lock=True, settings={"object-lock": configuration})

        await self._store.write(unit)
        return empty(call)

    @answers("GetObjectLockConfiguration")
    async def get_object_lock_configuration(self, call: Call, request: Request) -> Answer:
        """Return the object lock configuration."""
        bucket, configuration = await self.setting(call, request, "object-lock")
        if configuration is None:
            raise missing(
                "ObjectLockConfigurationNotFoundError",
                "Object Lock configuration does not exist for this bucket",
                bucket,
            )
        return {"ObjectLockConfiguration": configuration}

    # -- lifecycle

    @answers("PutBucketLifecycleConfiguration")
    async def put_bucket_lifecycle_configuration(self, call: Call, request: Request) -> Answer:
        """Replace the lifecycle rules; they take effect at the midnights (UTC) that follow."""
        rules = (request.get("LifecycleConfiguration") or {}).get("Rules") or ()
        lifecycle.check(rules)
        size = request.get("TransitionDefaultMinimumObjectSize") or "all_storage_classes_128K"
        kept = [{**rule, "ID": rule.get("ID") or f"rule-{number}"} for number, rule in enumerate(rules, 1)]
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        if bucket.folder:
            raise S3Refused("NotImplemented", "eventrt does not expire files in a folder.", status=501)
        answer = await self.keep(call, request, "lifecycle", {"Rules": kept, "size": size})
        assert not isinstance(answer, Mapping)
        answer.headers["x-amz-transition-default-minimum-object-size"] = size
        return answer

    @answers("GetBucketLifecycleConfiguration")
    async def get_bucket_lifecycle_configuration(self, call: Call, request: Request) -> Answer:
        """Return the lifecycle rules."""
        bucket, kept = await self.setting(call, request, "lifecycle")
        if kept is None:
            raise missing("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist", bucket)
        return {"Rules": kept["Rules"], "TransitionDefaultMinimumObjectSize": kept["size"]}

    @answers("DeleteBucketLifecycle")
    async def delete_bucket_lifecycle(self, call: Call, request: Request) -> Answer:
        """Take the lifecycle rules away."""
        return await self.keep(call, request, "lifecycle", None, status=204)

    # -- notifications

    @answers("PutBucketNotificationConfiguration")
    async def put_bucket_notification_configuration(self, call: Call, request: Request) -> Answer:
        """Replace who is told of what; queues are sent a test event."""
        configuration = request.get("NotificationConfiguration") or {}
        if "EventBridgeConfiguration" in configuration:
            raise S3Refused(
                "NotImplemented", "eventrt does not deliver bucket notifications to EventBridge yet.", status=501
            )
        await self._store.write(
            lambda tx: self._shelf.set_notification(
                tx,
                find_bucket(tx, call, request),
                configuration,
                request_id=call.request_id,
                host_id=HOST_ID,
                checks=not request.get("SkipDestinationValidation"),
            )
        )
        return empty(call)

    @answers("GetBucketNotificationConfiguration")
    async def get_bucket_notification_configuration(self, call: Call, request: Request) -> Answer:
        """Return who is told of what."""
        _, configuration = await self.setting(call, request, "notification")
        return dict(configuration or {})

    # -- CORS

    @answers("PutBucketCors")
    async def put_bucket_cors(self, call: Call, request: Request) -> Answer:
        """Replace the rules by which pages of other sites may ask."""
        rules = (request.get("CORSConfiguration") or {}).get("CORSRules") or ()
        check_cors(rules)
        return await self.keep(call, request, "cors", {"CORSRules": list(rules)})

    @answers("GetBucketCors")
    async def get_bucket_cors(self, call: Call, request: Request) -> Answer:
        """Return the CORS rules."""
        bucket, kept = await self.setting(call, request, "cors")
        if kept is None:
            raise missing("NoSuchCORSConfiguration", "The CORS configuration does not exist", bucket)
        return dict(kept)

    @answers("DeleteBucketCors")
    async def delete_bucket_cors(self, call: Call, request: Request) -> Answer:
        """Take the CORS rules away."""
        return await self.keep(call, request, "cors", None, status=204)

    # -- encryption

    @answers("PutBucketEncryption")
    async def put_bucket_encryption(self, call: Call, request: Request) -> Answer:
        """Replace the encryption that new objects are told to have."""
        configuration = request.get("ServerSideEncryptionConfiguration") or {}
        rules = configuration.get("Rules") or []
        if len(rules) != 1:
            raise malformed_xml()
        default = rules[0].get("ApplyServerSideEncryptionByDefault")
        if default is not None:
            algorithm = default.get("SSEAlgorithm")
            if algorithm not in ("AES256", "aws:kms", "aws:kms:dsse"):
                raise malformed_xml()
            if algorithm == "AES256" and default.get("KMSMasterKeyID"):
                raise invalid_argument(
                    "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
                    "ApplyServerSideEncryptionByDefault",
                    algorithm,
                )
        kept = {"Rules": [{**rules[0], "BucketKeyEnabled": bool(rules[0].get("BucketKeyEnabled"))}]}
        return await self.keep(call, request, "encryption", kept)

    @answers("GetBucketEncryption")
    async def get_bucket_encryption(self, call: Call, request: Request) -> Answer:
        """Return the encryption of new objects; without a setting it is AES256."""
        _, kept = await self.setting(call, request, "encryption")
        plain = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}
        return {"ServerSideEncryptionConfiguration": kept or {"Rules": [plain]}}

    @answers("DeleteBucketEncryption")
    async def delete_bucket_encryption(self, call: Call, request: Request) -> Answer:
        """Go back to AES256."""
        return await self.keep(call, request, "encryption", None, status=204)

    # -- tags

    @answers("PutBucketTagging")
    async def put_bucket_tagging(self, call: Call, request: Request) -> Answer:
        """Replace the bucket's tags."""
        tags = read_tag_set(tags_in(request), of_bucket=True)
        return await self.keep(call, request, "tagging", tags or None, status=204)

    @answers("GetBucketTagging")
    async def get_bucket_tagging(self, call: Call, request: Request) -> Answer:
        """Return the bucket's tags."""
        bucket, tags = await self.setting(call, request, "tagging")
        if not tags:
            raise missing("NoSuchTagSet", "The TagSet does not exist", bucket)
        return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}

    @answers("DeleteBucketTagging")
    async def delete_bucket_tagging(self, call: Call, request: Request) -> Answer:
        """Take the bucket's tags away."""
        return await self.keep(call, request, "tagging", None, status=204)
