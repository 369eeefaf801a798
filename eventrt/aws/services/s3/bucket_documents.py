"""Documents of a bucket that are kept and given back, and settings that can only be as they are here.

Policies and access control lists let nobody in and keep nobody out: accounts are separate worlds, and a local port has
no public. What a bucket was told to block is refused all the same. Websites, logging, replication and acceleration do
not exist, so only "off" is taken.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.acls import acl_document, is_private, read_acl
from eventrt.aws.services.s3.bucket_settings import Settings, missing
from eventrt.aws.services.s3.room import Request, answers, empty, find_bucket
from eventrt.core.object_rules import S3Refused, access_denied, malformed_xml
from eventrt.store.api import Tx

POLICY_LIMIT_BYTES = 20 * 1024
_PRINCIPALS = frozenset({"AWS", "CanonicalUser", "Federated", "Service"})
_ACCOUNTS = re.compile(r"\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::(\d{12}|cloudfront):.+|A[A-Z0-9]{15,}", re.ASCII)
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_ON_OBJECTS = re.compile(
    r"s3:(Get|Put|Delete|Restore|Replicate)Object.*|s3:(AbortMultipartUpload|ListMultipartUploadParts"
    r"|BypassGovernanceRetention|ReplicateDelete|ReplicateTags|ObjectOwnerOverrideToBucketOwner|InitiateReplication)",
    re.IGNORECASE,
)
"""Actions on objects; all others are on buckets."""


class BucketDocuments(Settings):
    """The operations on kept documents and on what cannot be turned on."""

    # -- policy

    @answers("PutBucketPolicy")
    async def put_bucket_policy(self, call: Call, request: Request) -> Answer:
        """Keep a policy document, unless the bucket blocks public ones and this is one."""
        text = request.get("Policy") or ""

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            check_policy(text, bucket.name)
            if drafts.blocks(bucket, "BlockPublicPolicy") and is_public(text):
                raise access_denied(
                    f"User: arn:aws:iam::{call.account_id}:root is not authorized to perform: s3:PutBucketPolicy on "
                    f'resource: "{bucket.arn}" because public policies are prevented by the BlockPublicPolicy setting '
                    "in S3 Block Public Access."
                )
            tx.buckets.change(bucket, settings={"policy": text})

        await self._store.write(unit)
        return empty(call, status=204)

    @answers("GetBucketPolicy")
    async def get_bucket_policy(self, call: Call, request: Request) -> Answer:
        """Return the policy document as it was given."""
        bucket, policy = await self.setting(call, request, "policy")
        if policy is None:
            raise missing("NoSuchBucketPolicy", "The bucket policy does not exist", bucket)
        return {"Policy": policy}

    @answers("DeleteBucketPolicy")
    async def delete_bucket_policy(self, call: Call, request: Request) -> Answer:
        """Take the policy away."""
        return await self.keep(call, request, "policy", None, status=204)

    @answers("GetBucketPolicyStatus")
    async def get_bucket_policy_status(self, call: Call, request: Request) -> Answer:
        """Tell whether the policy names everybody without a condition."""
        bucket, policy = await self.setting(call, request, "policy")
        if policy is None:
            raise missing("NoSuchBucketPolicy", "The bucket policy does not exist", bucket)
        return {"PolicyStatus": {"IsPublic": is_public(policy)}}

    # -- access

    @answers("PutBucketAcl")
    async def put_bucket_acl(self, call: Call, request: Request) -> Answer:
        """Keep an access control list."""

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            kept = read_acl(request)
            drafts.check_acls_allowed(bucket, kept)
            tx.buckets.change(bucket, settings={"acl": kept})

        await self._store.write(unit)
        return empty(call)

    @answers("GetBucketAcl")
    async def get_bucket_acl(self, call: Call, request: Request) -> Answer:
        """Return the access control list."""
        bucket, kept = await self.setting(call, request, "acl")
        return acl_document(kept or {"canned": "private"}, bucket)

    @answers("PutPublicAccessBlock")
    async def put_public_access_block(self, call: Call, request: Request) -> Answer:
        """Say which policies and access control lists are refused because they let everybody in."""
        asked = request.get("PublicAccessBlockConfiguration") or {}
        kept = {name: bool(asked.get(name)) for name in _BLOCKS}
        return await self.keep(call, request, "publicAccessBlock", kept)

    @answers("GetPublicAccessBlock")
    async def get_public_access_block(self, call: Call, request: Request) -> Answer:
        """Return what is blocked; a new bucket says that everything is."""
        bucket, kept = await self.setting(call, request, "publicAccessBlock")
        if kept == {}:
            raise missing(
                "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found", bucket
            )
        return {"PublicAccessBlockConfiguration": kept or dict.fromkeys(_BLOCKS, True)}

    @answers("DeletePublicAccessBlock")
    async def delete_public_access_block(self, call: Call, request: Request) -> Answer:
        """Block nothing any more."""
        return await self.keep(call, request, "publicAccessBlock", {}, status=204)

    @answers("PutBucketOwnershipControls")
    async def put_bucket_ownership_controls(self, call: Call, request: Request) -> Answer:
        """Say whether access control lists may be set."""
        rules = (request.get("OwnershipControls") or {}).get("Rules") or []
        known = ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced")
        if len(rules) != 1 or rules[0].get("ObjectOwnership") not in known:
            raise malformed_xml()

        def unit(tx: Tx) -> None:
            bucket = find_bucket(tx, call, request)
            kept = bucket.settings.get("acl") or {"canned": "private"}
            if rules[0]["ObjectOwnership"] == "BucketOwnerEnforced" and not is_private(kept, bucket.account_id):
                raise S3Refused(
                    "InvalidBucketAclWithObjectOwnership",
                    "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
                )
            tx.buckets.change(bucket, settings={"ownershipControls": {"Rules": list(rules)}})

        await self._store.write(unit)
        return empty(call)

    @answers("GetBucketOwnershipControls")
    async def get_bucket_ownership_controls(self, call: Call, request: Request) -> Answer:
        """Return whether access control lists may be set."""
        bucket, kept = await self.setting(call, request, "ownershipControls")
        if kept == {}:
            raise missing("OwnershipControlsNotFoundError", "The bucket ownership controls were not found", bucket)
        return {"OwnershipControls": kept or {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}

    @answers("DeleteBucketOwnershipControls")
    async def delete_bucket_ownership_controls(self, call: Call, request: Request) -> Answer:
        """Forget who owns new objects; access control lists may then be set, as on AWS."""
        return await self.keep(call, request, "ownershipControls", {}, status=204)

    # -- what there is none of

    @answers("GetBucketWebsite")
    async def get_bucket_website(self, call: Call, request: Request) -> Answer:
        """Tell that there is no website."""
        bucket, _ = await self.setting(call, request, "")
        raise missing(
            "NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration", bucket
        )

    @answers("DeleteBucketWebsite")
    async def delete_bucket_website(self, call: Call, request: Request) -> Answer:
        """Take away the website that is not there."""
        await self.setting(call, request, "")
        return empty(call, status=204)

    @answers("GetBucketReplication")
    async def get_bucket_replication(self, call: Call, request: Request) -> Answer:
        """Tell that nothing is replicated."""
        bucket, _ = await self.setting(call, request, "")
        raise missing("ReplicationConfigurationNotFoundError", "The replication configuration was not found", bucket)

    @answers("DeleteBucketReplication")
    async def delete_bucket_replication(self, call: Call, request: Request) -> Answer:
        """Take away the replication that is not there."""
        await self.setting(call, request, "")
        return empty(call, status=204)

    @answers("GetBucketLogging")
    async def get_bucket_logging(self, call: Call, request: Request) -> Answer:
        """Tell that access is not logged into a bucket."""
        await self.setting(call, request, "")
        return {}

    @answers("PutBucketLogging")
    async def put_bucket_logging(self, call: Call, request: Request) -> Answer:
        """Take "no logging" for an answer."""
        await self.setting(call, request, "")
        if (request.get("BucketLoggingStatus") or {}).get("LoggingEnabled"):
            raise _not_here("log access into buckets")
        return empty(call)

    @answers("GetBucketAccelerateConfiguration")
    async def get_bucket_accelerate_configuration(self, call: Call, request: Request) -> Answer:
        """Tell whether acceleration was ever suspended; it is never on."""
        _, kept = await self.setting(call, request, "accelerate")
        return dict(kept or {})

    @answers("PutBucketAccelerateConfiguration")
    async def put_bucket_accelerate_configuration(self, call: Call, request: Request) -> Answer:
        """Take "suspended" for an answer."""
        status = (request.get("AccelerateConfiguration") or {}).get("Status")
        if status not in ("Enabled", "Suspended"):
            raise malformed_xml()
        if status == "Enabled":
            raise _not_here("accelerate transfers")
        return await self.keep(call, request, "accelerate", {"Status": status})

    @answers("GetBucketRequestPayment")
    async def get_bucket_request_payment(self, call: Call, request: Request) -> Answer:
        """Tell who would pay."""
        await self.setting(call, request, "")
        return {"Payer": "BucketOwner"}

    @answers("PutBucketRequestPayment")
    async def put_bucket_request_payment(self, call: Call, request: Request) -> Answer:
        """Take "the owner pays" for an answer."""
        payer = (request.get("RequestPaymentConfiguration") or {}).get("Payer")
        if payer not in ("BucketOwner", "Requester"):
            raise malformed_xml()
        await self.setting(call, request, "")
        if payer == "Requester":
            raise _not_here("let requesters pay")
        return empty(call)


def _not_here(what: str) -> S3Refused:
    return S3Refused("NotImplemented", f"eventrt does not {what}.", status=501)


def check_policy(text: str, bucket: str) -> None:
    """Let a policy document pass that S3 would take for this bucket.

    Raises: S3Refused: MalformedPolicy, PolicyTooLarge.
    """
    if len(text.encode()) > POLICY_LIMIT_BYTES:
        raise S3Refused("PolicyTooLarge", "Normalized size of the policy exceeds the maximum allowed size")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _malformed("Policies must be valid JSON and the first byte must be '{'") from error
    if not isinstance(document, dict):
        raise _malformed("Policies must be valid JSON and the first byte must be '{'")
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        raise _malformed("Missing required field Statement")
    for statement in statements:
        _check_statement(statement, bucket)


def _check_statement(statement: Any, bucket: str) -> None:
    if not isinstance(statement, dict):
        raise _malformed("Missing required field Statement")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise _malformed("Missing required field Effect")
    if "Principal" not in statement and "NotPrincipal" not in statement:
        raise _malformed("Missing required field Principal")
    if "Principal" in statement:
        _check_principal(statement["Principal"])
    if "Action" not in statement and "NotAction" not in statement:
        raise _malformed("Missing required field Action")
    actions = _texts(statement.get("Action", statement.get("NotAction")))
    if not all(action == "*" or action.lower().startswith("s3:") for action in actions):
        raise _malformed("Policy has invalid action")
    if "Resource" not in statement and "NotResource" not in statement:
        raise _malformed("Missing required field Resource")
    for resource in _texts(statement.get("Resource", statement.get("NotResource"))):
        name = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        if resource == name or not (name == bucket or "*" in name or "?" in name):
            raise _malformed("Policy has invalid resource")
    if "Action" in statement and "Resource" in statement:
        _check_applies(actions, _texts(statement["Resource"]))


def _check_principal(principal: Any) -> None:
    """Let a principal pass that is everybody, or accounts, roles, services by their names; whether they are there is
    not asked.
    """
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal or not _PRINCIPALS.issuperset(principal):
        raise _malformed("Invalid principal in policy")
    for kind, names in principal.items():
        for name in _texts(names):
            if kind == "AWS" and not _ACCOUNTS.fullmatch(name):
                raise _malformed("Invalid principal in policy")


def _check_applies(actions: Sequence[str], resources: Sequence[str]) -> None:
    """Let a statement pass each of whose actions has a resource of its kind; wildcards are of both kinds."""
    on_objects = any("/" in resource or resource.endswith("*") for resource in resources)
    on_buckets = any("/" not in resource for resource in resources)
    for action in actions:
        if "*" in action or "?" in action:
            continue
        if not (on_objects if _ON_OBJECTS.fullmatch(action) else on_buckets):
            raise _malformed("Action does not apply to any resource(s) in statement")


def _texts(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _malformed(message: str) -> S3Refused:
    return S3Refused("MalformedPolicy", message)


def is_public(policy: str) -> bool:
    """Does a policy allow something to everybody, without a condition?"""
    document: Mapping[str, Any] = orjson.loads(policy)
    statements = document["Statement"]
    for statement in [statements] if isinstance(statements, dict) else statements:
        principal = statement.get("Principal")
        everybody = principal == "*" or (isinstance(principal, dict) and "*" in _texts(principal.get("AWS", "")))
        if statement["Effect"] == "Allow" and everybody and not statement.get("Condition"):
            return True
    return False
