"""Access control lists: canned ones and documents, kept and given back; nobody is let in or kept out by them."""

import re
from collections.abc import Mapping
from typing import Any

from eventrt.aws.services.s3.listing import canonical_id, owner_of
from eventrt.core.buckets import Bucket
from eventrt.core.object_rules import S3Refused, invalid_argument, invalid_request

_GROUPS = "http://acs.amazonaws.com/groups/"
ALL_USERS = f"{_GROUPS}global/AllUsers"
AUTHENTICATED = f"{_GROUPS}global/AuthenticatedUsers"
LOG_DELIVERY = f"{_GROUPS}s3/LogDelivery"

_EVERYBODY = (ALL_USERS, AUTHENTICATED)
_CANONICAL_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)

_CANNED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "private": (),
    "public-read": ((ALL_USERS, "READ"),),
    "public-read-write": ((ALL_USERS, "READ"), (ALL_USERS, "WRITE")),
    "authenticated-read": ((AUTHENTICATED, "READ"),),
    "log-delivery-write": ((LOG_DELIVERY, "WRITE"), (LOG_DELIVERY, "READ_ACP")),
    "aws-exec-read": (),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
}
CANNED_ACLS = frozenset(_CANNED)

_PERMISSIONS = ("FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP")
GRANT_HEADERS = {
    "GrantFullControl": "FULL_CONTROL",
    "GrantRead": "READ",
    "GrantReadACP": "READ_ACP",
    "GrantWrite": "WRITE",
    "GrantWriteACP": "WRITE_ACP",
}


def read_acl(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request sets: `{"canned": name}` or `{"grants": [...]}`.

    Raises:
        S3Refused: InvalidArgument, InvalidRequest, MalformedACLError, MissingSecurityHeader, UnexpectedContent,
            UnresolvableGrantByEmailAddress.
    """
    canned, document = request.get("ACL"), request.get("AccessControlPolicy")
    headers = {name: request[name] for name in GRANT_HEADERS if request.get(name)}
    if canned is not None and headers:
        raise invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")
    if document is not None and (canned is not None or headers):
        raise S3Refused("UnexpectedContent", "This request does not support content")
    if canned is not None:
        if canned not in CANNED_ACLS:
            raise invalid_argument("", "x-amz-acl", canned)
        return {"canned": canned}
    if headers:
        return {
            "grants": [grant for name, text in headers.items() for grant in _header_grants(text, GRANT_HEADERS[name])]
        }
    if document is None:
        raise S3Refused(
            "MissingSecurityHeader",
            "Your request was missing a required header",
            members={"MissingHeaderName": "x-amz-acl"},
        )
    if not (document.get("Owner") or {}).get("ID"):
        raise _malformed_acl()
    return {"grants": [_read_grant(grant) for grant in document.get("Grants") or ()]}


def is_public(kept: Mapping[str, Any]) -> bool:
    """Does a list let everybody in, or everybody who has an account?"""
    if "canned" in kept:
        return any(uri in _EVERYBODY for uri, _ in _CANNED[kept["canned"]])
    return any(grant["Grantee"].get("URI") in _EVERYBODY for grant in kept["grants"])


def is_private(kept: Mapping[str, Any], account_id: str) -> bool:
    """Does a list let nobody in but the owner?"""
    if "canned" in kept:
        return not _CANNED[kept["canned"]]
    return all(grant["Grantee"].get("ID") == canonical_id(account_id) for grant in kept["grants"])


def _header_grants(text: str, permission: str) -> list[dict[str, Any]]:
    grants = []
    for one in text.split(","):
        name, _, value = one.strip().partition("=")
        value = value.strip('"')
        if name == "id":
            grantee = {"Type": "CanonicalUser", "ID": value}
        elif name == "uri":
            grantee = {"Type": "Group", "URI": value}
        else:
            raise invalid_argument("Argument format not recognized", f"x-amz-grant-{permission.lower()}", one)
        grants.append(_read_grant({"Grantee": grantee, "Permission": permission}))
    return grants


def _read_grant(grant: Mapping[str, Any]) -> dict[str, Any]:
    grantee = grant.get("Grantee") or {}
    kind, permission = grantee.get("Type"), grant.get("Permission")
    if permission not in _PERMISSIONS:
        raise _malformed_acl()
    if kind == "CanonicalUser" and grantee.get("ID"):
        if not _CANONICAL_ID.fullmatch(grantee["ID"]):
            raise invalid_argument("Invalid id", "CanonicalUser/ID", grantee["ID"])
        return {"Grantee": {"Type": kind, "ID": grantee["ID"]}, "Permission": permission}
    if kind == "Group" and grantee.get("URI"):
        if grantee["URI"] not in (ALL_USERS, AUTHENTICATED, LOG_DELIVERY):
            raise invalid_argument("Invalid group uri", "Group/URI", grantee["URI"])
        return {"Grantee": {"Type": kind, "URI": grantee["URI"]}, "Permission": permission}
    if kind == "AmazonCustomerByEmail":
        raise S3Refused("UnresolvableGrantByEmailAddress", "The e-mail address you provided does not match any account")
    raise _malformed_acl()


def _malformed_acl() -> S3Refused:
    return S3Refused(
        "MalformedACLError", "The XML you provided was not well-formed or did not validate against our published schema"
    )


def acl_document(kept: Mapping[str, Any], bucket: Bucket) -> dict[str, Any]:
    """Return the list as GetBucketAcl and GetObjectAcl show it."""
    grants = kept.get("grants")
    if grants is None:
        owner = {"Type": "CanonicalUser", "ID": canonical_id(bucket.account_id)}
        grants = [{"Grantee": owner, "Permission": "FULL_CONTROL"}]
        grants += [
            {"Grantee": {"Type": "Group", "URI": uri}, "Permission": permission}
            for uri, permission in _CANNED[kept["canned"]]
        ]
    return {"Owner": owner_of(bucket.account_id), "Grants": grants}
