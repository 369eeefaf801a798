"""Documents of a bucket that are kept and given back, and settings that can only be as they are here.

Policies, access control lists and public access blocks are judged by nobody: accounts are separate worlds, and a
local port has no public. Websites, logging, replication and acceleration do not exist, so only "off" is taken.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.s3 import drafts
from eventrt.aws.services.s3.acls import acl_document, read_acl
from eventrt.aws.services.s3.bucket_settings import Settings, missing
from eventrt.aws.services.s3.room import Request, answers, empty, find_bucket
from eventrt.core.object_rules import S3Refused, malformed_xml
from eventrt.store.api import Tx

POLICY_LIMIT_BYTES = 20 * 1024


class BucketDocuments(Settings):
    """The operations on kept documents and on what cannot be turned on."""

    # -- policy

    @answers("PutBucketPolicy")
    async def put_bucket_policy(self, call: Call, request: Request) -> Answer:
        """Keep a policy document."""
        text = request.get("Policy") or ""
        check_policy(text, request["Bucket"])
        return await self.keep(call, request, "policy", text, status=204)

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
            if kept != {"canned": "private"}:
                drafts.check_acls_allowed(bucket)
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
        """Keep what would be blocked."""
        asked = request.get("PublicAccessBlockConfiguration") or {}
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        return await self.keep(call, request, "publicAccessBlock", {name: bool(asked.get(name)) for name in names})

    @answers("GetPublicAccessBlock")
    async def get_public_access_block(self, call: Call, request: Request) -> Answer:
        """Return what would be blocked."""
        bucket, kept = await self.setting(call, request, "publicAccessBlock")
        if kept is None:
            raise missing(
                "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found", bucket
            )
        return {"PublicAccessBlockConfiguration": kept}

    @answers("DeletePublicAccessBlock")
    async def delete_public_access_block(self, call: Call, request: Request) -> Answer:
        """Forget what would be blocked."""
        return await self.keep(call, request, "publicAccessBlock", None, status=204)

    @answers("PutBucketOwnershipControls")
    async def put_bucket_ownership_controls(self, call: Call, request: Request) -> Answer:
        """Say whether access control lists may be set."""
        rules = (request.get("OwnershipControls") or {}).get("Rules") or []
        known = ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced")
        if len(rules) != 1 or rules[0].get("ObjectOwnership") not in known:
            raise malformed_xml()
        return await self.keep(call, request, "ownershipControls", {"Rules": list(rules)})

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
