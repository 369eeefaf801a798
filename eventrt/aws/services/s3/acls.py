"""Access control lists: canned ones and documents, kept and given back; nobody is let in or kept out by them."""

from collections.abc import Mapping
from typing import Any

from eventrt.aws.services.s3.listing import canonical_id, owner_of
from eventrt.core.buckets import Bucket
from eventrt.core.object_rules import S3Refused, invalid_argument, invalid_request, malformed_xml

_GROUPS = "http://acs.amazonaws.com/groups/"
ALL_USERS = f"{_GROUPS}global/AllUsers"
AUTHENTICATED = f"{_GROUPS}global/AuthenticatedUsers"
LOG_DELIVERY = f"{_GROUPS}s3/LogDelivery"

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

    Raises: S3Refused: InvalidArgument, InvalidRequest, MalformedACLError, MissingSecurityHeader.
    """
    canned, document = request.get("ACL"), request.get("AccessControlPolicy")
    headers = {name: request[name] for name in GRANT_HEADERS if request.get(name)}
    if (canned is not None) + (document is not None) + bool(headers) > 1:
        raise invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")
    if canned is not None:
        if canned not in CANNED_ACLS:
            raise invalid_argument("", "x-amz-acl", canned)
        return {"canned": canned}
    if headers:
        return {
            "grants": [grant for name, text in headers.items() for grant in _header_grants(text, GRANT_HEADERS[name])]
        }
    if document is None:
        raise S3Refused("MissingSecurityHeader", "Your request was missing a required header")
    return {"grants": [_read_grant(grant) for grant in document.get("Grants") or ()]}


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
        raise malformed_xml()
    if kind == "CanonicalUser" and grantee.get("ID"):
        return {"Grantee": {"Type": kind, "ID": grantee["ID"]}, "Permission": permission}
    if kind == "Group" and grantee.get("URI") in (ALL_USERS, AUTHENTICATED, LOG_DELIVERY):
        return {"Grantee": {"Type": kind, "URI": grantee["URI"]}, "Permission": permission}
    if kind == "AmazonCustomerByEmail":
        raise S3Refused("UnresolvableGrantByEmailAddress", "The e-mail address you provided does not match any account")
    raise S3Refused(
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
