"""Buckets themselves: CreateBucket, DeleteBucket, HeadBucket, ListBuckets, GetBucketLocation."""

import re
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.protocol.overlays import XML_NAMESPACES
from eventrt.aws.services.s3.acls import CANNED_ACLS, is_public
from eventrt.aws.services.s3.listing import owner_of, read_token, write_token
from eventrt.aws.services.s3.room import Request, S3Room, answers, empty, find_bucket
from eventrt.core.object_rules import S3Refused, check_bucket_name, invalid_argument, read_tag_set
from eventrt.store.api import Tx

_US_EAST_1 = "us-east-1"
_REGION = re.compile(
    r"(af|ap|ca|cn|eu|eusc-de|il|me|mx|sa|us|us-gov|us-iso[a-z]?)-(central|north|south|east|west|(north|south)(east|west))"
    r"-\d",
    re.ASCII,
)


class BucketOperations(S3Room):
    """The operations on buckets as such."""

    @answers("CreateBucket")
    async def create_bucket(self, call: Call, request: Request) -> Answer:
        """Make a bucket; in us-east-1 one's own bucket may be made again."""
        name = request["Bucket"]
        check_bucket_name(name)
        configuration = request.get("CreateBucketConfiguration") or {}
        region = _region_of(call, configuration.get("LocationConstraint"))
        settings = _settings_of(request, configuration)

        def unit(tx: Tx) -> None:
            present = tx.buckets.find(name)
            if present is not None and present.account_id != call.account_id:
                raise S3Refused(
                    "BucketAlreadyExists",
                    "The requested bucket name is not available. The bucket namespace is shared by all users of the "
                    "system. Please select a different name and try again.",
                    status=409,
                    members={"BucketName": name},
                )
            if present is not None:
                if present.region == region == _US_EAST_1:
                    return
                raise S3Refused(
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                    status=409,
                    members={"BucketName": name},
                )
            has_lock = bool(request.get("ObjectLockEnabledForBucket"))
            made = tx.buckets.create(name, call.account_id, region, has_object_lock=has_lock)
            if has_lock:
                settings["object-lock"] = {"ObjectLockEnabled": "Enabled"}
            if settings:
                tx.buckets.change(made, settings=settings)

        await self._store.write(unit)
        location = f"/{name}" if region == _US_EAST_1 else f"http://{name}.s3.amazonaws.com/"
        return empty(call, {"Location": location, "x-amz-bucket-arn": f"arn:aws:s3:::{name}"})

    @answers("DeleteBucket")
    async def delete_bucket(self, call: Call, request: Request) -> Answer:
        """Take an empty bucket away."""

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            if bucket.folder:
                raise S3Refused(
                    "InvalidBucketState", "The bucket is declared over a folder in the configuration.", status=409
                )
            if not tx.buckets.is_empty(bucket):
                message = "The bucket you tried to delete is not empty"
                if bucket.versioning:
                    message += ". You must delete all versions in the bucket."
                raise S3Refused("BucketNotEmpty", message, status=409, members={"BucketName": bucket.name})
            self._shelf.delete_bucket(tx, bucket)

        await self._store.write(unit)
        return empty(call, status=204)

    @answers("HeadBucket")
    async def head_bucket(self, call: Call, request: Request) -> Answer:
        """Tell whether a bucket is there, and in which region."""
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        return empty(
            call,
            {
                "x-amz-bucket-region": bucket.region,
                "x-amz-access-point-alias": "false",
                "x-amz-bucket-arn": bucket.arn,
                "Content-Type": "application/xml",
            },
        )

    @answers("GetBucketLocation")
    async def get_bucket_location(self, call: Call, request: Request) -> Answer:
        """Tell a bucket's region; us-east-1 is told by silence."""
        bucket = await self._store.read(lambda tx: find_bucket(tx, call, request))
        region = "" if bucket.region == _US_EAST_1 else bucket.settings.get("location", bucket.region)
        namespace = XML_NAMESPACES["s3"]
        answer = empty(call, {"Content-Type": "application/xml"})
        element = f'<LocationConstraint xmlns="{namespace}">{region}</LocationConstraint>'
        answer.body = f'<?xml version="1.0" encoding="UTF-8"?>\n{element}'.encode()
        return answer

    @answers("ListBuckets")
    async def list_buckets(self, call: Call, request: Request) -> Answer:
        """Return the caller's buckets of every region, in order of their names."""
        limit = request.get("MaxBuckets")
        if limit is not None and not 1 <= limit <= 10_000:
            raise invalid_argument("Argument max-buckets must be an integer between 1 and 10000")
        token = request.get("ContinuationToken")
        after = read_token(token) if token else ""
        prefix, region = request.get("Prefix") or "", request.get("BucketRegion") or ""
        size = limit or 10_000
        found = await self._store.read(
            lambda tx: tx.buckets.list(call.account_id, prefix=prefix, region=region, after=after, limit=size + 1)
        )
        answer: dict[str, Any] = {
            "Owner": owner_of(call.account_id),
            "Buckets": [
                {
                    "Name": bucket.name,
                    "CreationDate": float(int(bucket.created_at)),
                    "BucketArn": bucket.arn,
                    **({"BucketRegion": bucket.region} if limit or region or prefix or token else {}),
                }
                for bucket in found[:size]
            ],
        }
        if prefix:
            answer["Prefix"] = prefix
        if len(found) > size:
            answer["ContinuationToken"] = write_token(found[size - 1].name)
        return answer


def _region_of(call: Call, constraint: str | None) -> str:
    """Return the region a new bucket is in.

    Raises: S3Refused: IllegalLocationConstraintException, InvalidLocationConstraint.
    """
    if constraint in (None, ""):
        if call.region != _US_EAST_1 and call.access_key:
            raise S3Refused(
                "IllegalLocationConstraintException",
                "The unspecified location constraint is incompatible for the region specific endpoint this request "
                "was sent to.",
            )
        return _US_EAST_1
    region = "eu-west-1" if constraint == "EU" else str(constraint)
    if region == _US_EAST_1 or not _REGION.fullmatch(region):
        raise S3Refused(
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
            members={"LocationConstraint": region},
        )
    if call.region not in (region, _US_EAST_1):
        raise S3Refused(
            "IllegalLocationConstraintException",
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was "
            "sent to.",
        )
    return region


def _settings_of(request: Request, configuration: Any) -> dict[str, Any]:
    """Return the settings a new bucket begins with.

    Raises: S3Refused: InvalidArgument, InvalidBucketAclWithObjectOwnership, NotImplemented.
    """
    settings: dict[str, Any] = {}
    if configuration.get("LocationConstraint") == "EU":
        settings["location"] = "EU"  # an old name of eu-west-1, which GetBucketLocation keeps to
    ownership = request.get("ObjectOwnership")
    if ownership is not None:
        if ownership not in ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced"):
            raise invalid_argument("Invalid x-amz-object-ownership header", "x-amz-object-ownership", ownership)
        settings["ownershipControls"] = {"Rules": [{"ObjectOwnership": ownership}]}
    acl = request.get("ACL")
    if acl:
        if acl not in CANNED_ACLS:
            raise invalid_argument("", "x-amz-acl", acl)
        if acl != "private" and ownership in (None, "BucketOwnerEnforced"):
            raise S3Refused(
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            )
        if is_public({"canned": acl}):  # new buckets block public access, so this can never be
            raise S3Refused(
                "InvalidBucketAclWithBlockPublicAccessError",
                "Bucket cannot have public ACLs set with BlockPublicAccess enabled",
            )
        settings["acl"] = {"canned": acl}
    if configuration.get("Tags"):
        settings["tagging"] = read_tag_set(configuration["Tags"], of_bucket=True)
    return settings
