"""What IAM refuses before it keeps anything: policy grammar, quotas, tags, ARNs, page marks.

Pure checks over values; the grammar is that of the IAM policy language (IAM user guide, "Grammar of the IAM
JSON policy language"). What a policy allows or denies is not evaluated here or anywhere else yet.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from eventrt.core.refused import Refused

MAX_TRUST_CHARACTERS = 2048
MAX_POLICY_CHARACTERS = 6144
MAX_INLINE_CHARACTERS = 10240
"""Of all inline policies of one role together. White space does not count in any of these."""
MAX_TAGS = 50
MAX_VERSIONS = 5
MAX_ATTACHED = 10
MAX_ROLES = 1000
MAX_POLICIES = 1500

ID_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

_VERSIONS = ("2012-10-17", "2008-10-17")
_POLICY_KEYS = {"Version", "Id", "Statement"}
_PERMISSION_KEYS = {"Action", "NotAction", "Resource", "NotResource", "Principal", "NotPrincipal"}
_STATEMENT_KEYS = {"Sid", "Effect", "Condition", *_PERMISSION_KEYS}
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SID = re.compile(r"[0-9A-Za-z]*")
_RESOURCE = re.compile(r"\*|arn:[^:]+:[^:]*:[^:]*:[^:]*:.*", re.DOTALL)
_OPERATOR = re.compile(
    r"(?:ForAllValues:|ForAnyValue:)?"
    r"(?:String(?:Not)?(?:Equals(?:IgnoreCase)?|Like)"
    r"|Numeric(?:Not)?Equals|Numeric(?:LessThan|GreaterThan)(?:Equals)?"
    r"|Date(?:Not)?Equals|Date(?:LessThan|GreaterThan)(?:Equals)?"
    r"|Bool|BinaryEquals|(?:Not)?IpAddress|Arn(?:Not)?(?:Equals|Like))(?:IfExists)?|Null",
    re.IGNORECASE,
)
_POLICY_ARN = re.compile(
    r"arn:aws[\w-]*:iam::(aws|\d{12}):policy(/(?:[A-Za-z0-9.,+@=_-]+/)*)([\w+=,.@-]{1,128})", re.ASCII
)
_PRINCIPAL_KINDS = {"AWS", "Service", "Federated", "CanonicalUser"}
_TRUST_ACTIONS = {
    action.lower()
    for action in (
        "sts:AssumeRole",
        "sts:AssumeRoleWithSAML",
        "sts:AssumeRoleWithWebIdentity",
        "sts:SetContext",
        "sts:SetSourceIdentity",
        "sts:TagSession",
    )
}

_Strings: TypeAlias = list[str]


def _malformed(message: str) -> Refused:
    return Refused("MalformedPolicyDocument", message)


# -- documents


def check_trust_document(document: str) -> None:
    """Accept a role's trust policy, or raise.

    Raises: Refused: MalformedPolicyDocument, or LimitExceeded above 2,048 characters without white space.
    """
    for statement in _statements(document):
        if "Resource" in statement or "NotResource" in statement:
            raise _malformed("Has prohibited field Resource")
        if ("Principal" in statement) == ("NotPrincipal" in statement):
            raise _malformed("Missing required field Principal")
        _check_principal(statement.get("Principal", statement.get("NotPrincipal")))
        actions = _strings(statement, "Action", "NotAction", missing="Missing required field Action")
        if "NotAction" in statement or not all(map(_is_trust_action, actions)):
            raise _malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    if weight(document) > MAX_TRUST_CHARACTERS:
        raise Refused("LimitExceeded", f"Cannot exceed quota for ACLSizePerRole: {MAX_TRUST_CHARACTERS}")


def check_identity_document(document: str) -> None:
    """Accept a policy that is attached to or embedded in an identity, or raise.

    Raises: Refused: MalformedPolicyDocument.
    """
    for statement in _statements(document):
        if "Principal" in statement or "NotPrincipal" in statement:
            raise _malformed("Policy document should not specify a principal.")
        actions = _strings(statement, "Action", "NotAction", missing="Policy statement must contain actions.")
        for action in actions:
            if not _ACTION.fullmatch(action):
                raise _malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        resources = _strings(statement, "Resource", "NotResource", missing="Policy statement must contain resources.")
        for resource in resources:
            if not _RESOURCE.fullmatch(resource):
                raise _malformed(f'Resource {resource} must be in ARN format or "*".')


def check_managed_document(document: str) -> None:
    """Accept a version of a managed policy, or raise.

    Raises: Refused: MalformedPolicyDocument, or LimitExceeded above 6,144 characters without white space.
    """
    check_identity_document(document)
    if weight(document) > MAX_POLICY_CHARACTERS:
        raise Refused("LimitExceeded", f"Cannot exceed quota for PolicySize: {MAX_POLICY_CHARACTERS}")


def check_inline_documents(role_name: str, documents: Iterable[str]) -> None:
    """Accept the size of all inline policies of a role together.

    Raises: Refused: LimitExceeded above 10,240 characters without white space.
    """
    if sum(map(weight, documents)) > MAX_INLINE_CHARACTERS:
        raise Refused(
            "LimitExceeded",
            f"Maximum policy size of {MAX_INLINE_CHARACTERS} bytes exceeded for role {role_name}",
        )


def weight(document: str) -> int:
    """Return a document's length as the quotas count it: without white space."""
    return len(document) - sum(map(document.count, " \t\r\n"))


def _statements(document: str) -> Sequence[Mapping[str, Any]]:
    """Return the statements of a policy whose outline, effects, sids and conditions are right."""
    try:
        policy = json.loads(document, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        raise _malformed("This policy contains invalid Json") from error
    if not isinstance(policy, dict) or not set(policy) <= _POLICY_KEYS:
        raise _malformed("Syntax errors in policy.")
    if "Version" in policy and policy["Version"] not in _VERSIONS:
        raise _malformed("The policy must contain a valid version string")
    if not isinstance(policy.get("Id", ""), str):
        raise _malformed("Syntax errors in policy.")
    statements = policy.get("Statement")
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _malformed("Syntax errors in policy.")
    sids: set[str] = set()
    for statement in statements:
        if not isinstance(statement, dict) or not set(statement) <= _STATEMENT_KEYS:
            raise _malformed("Syntax errors in policy.")
        if statement.get("Effect") not in ("Allow", "Deny"):
            raise _malformed("Syntax errors in policy.")
        sid = statement.get("Sid", "")
        if not isinstance(sid, str) or not _SID.fullmatch(sid):
            raise _malformed(
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular "
                "expression [0-9A-Za-z]*"
            )
        if sid and sid in sids:
            raise _malformed("Statement IDs (SID) in a single policy must be unique.")
        sids.add(sid)
        _check_condition(statement.get("Condition", {}))
    return statements


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _malformed("Syntax errors in policy.")
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _strings(statement: Mapping[str, Any], name: str, opposite: str, *, missing: str) -> _Strings:
    """Return the one of two opposite elements that is there, as a list of strings."""
    if (name in statement) == (opposite in statement):
        raise _malformed("Syntax errors in policy." if name in statement else missing)
    value = statement.get(name, statement.get(opposite))
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise _malformed("Syntax errors in policy.")
    if not values:
        raise _malformed(missing)
    return values


def _is_trust_action(action: str) -> bool:
    """Is it one of the actions that take a role? A pattern counts as long as it stays within STS."""
    name = action.lower()
    return name in _TRUST_ACTIONS or (name.startswith("sts:") and ("*" in name or "?" in name))


def _check_principal(principal: Any) -> None:
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal:
        raise _malformed("Syntax errors in policy.")
    for kind, values in principal.items():
        if kind not in _PRINCIPAL_KINDS:
            raise _malformed(f'Invalid principal in policy: "{kind}"')
        for value in [values] if isinstance(values, str) else values if isinstance(values, list) else [None]:
            if not isinstance(value, str) or not value:
                raise _malformed("Syntax errors in policy.")
            if not _is_principal(kind, value):
                raise _malformed(f'Invalid principal in policy: "{kind}":"{value}"')


def _is_principal(kind: str, value: str) -> bool:
    match kind:
        case "AWS":
            return value == "*" or bool(
                re.fullmatch(r"\d{12}|A[A-Z0-9]{15,}|arn:[\w-]+:(?:iam|sts)::\d{12}:\S+", value)
            )
        case "Service":
            return bool(re.fullmatch(r"[\w.*-]+\.[\w.-]+", value))
        case _:
            return True


def _check_condition(condition: Any) -> None:
    if not isinstance(condition, dict):
        raise _malformed("Syntax errors in policy.")
    for operator, keys in condition.items():
        if not _OPERATOR.fullmatch(operator):
            raise _malformed(f"Invalid Condition type : {operator}.")
        if not isinstance(keys, dict) or not keys:
            raise _malformed("Syntax errors in policy.")
        for key, values in keys.items():
            items = values if isinstance(values, list) else [values]
            if not key or not all(isinstance(item, str | int | float | bool) for item in items):
                raise _malformed("Syntax errors in policy.")


# -- tags


def merged_tags(present: Mapping[str, str], given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the tags after adding `given` (Key, Value).

    Keys are one whatever their case; the newest spelling stays.

    Raises: Refused: InvalidInput for a key given twice or a reserved one, LimitExceeded above 50.
    """
    seen: set[str] = set()
    merged = dict(present)
    for tag in given:
        key = tag["Key"]
        folded = key.casefold()
        if folded in seen:
            raise Refused(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            )
        if folded.startswith("aws:"):
            raise Refused("InvalidInput", "Tag keys beginning with aws: are reserved for system use.")
        seen.add(folded)
        for old in [old for old in merged if old.casefold() == folded]:
            del merged[old]
        merged[key] = tag["Value"]
    if len(merged) > MAX_TAGS:
        raise Refused("LimitExceeded", "The number of tags has reached the maximum limit.")
    return merged


def without_tags(present: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Return the tags that are left; a key that is not there is passed over."""
    gone = {key.casefold() for key in keys}
    return {key: value for key, value in present.items() if key.casefold() not in gone}


# -- names


def parse_policy_arn(text: str) -> tuple[str, str, str]:
    """Return (account id or "aws", path, name) of a managed policy's ARN.

    Raises: Refused: InvalidInput, it is no such ARN.
    """
    found = _POLICY_ARN.fullmatch(text)
    if found is None:
        raise Refused("InvalidInput", f"ARN {text} is not valid.")
    return found[1], found[2], found[3]


def version_number(version_id: str) -> int | None:
    """Return the number of a version id such as `v3`; None when it cannot be one of ours."""
    found = re.fullmatch(r"v([1-9]\d{0,8})", version_id)
    return int(found[1]) if found else None


def principal_id(prefix: str, choose: Callable[[str, int], list[str]]) -> str:
    """Return a new unique id: four letters of prefix, seventeen characters from `choose(alphabet, count)`."""
    return prefix + "".join(choose(ID_ALPHABET, 17))


# -- pages


def encode_marker(last: str) -> str:
    """Return the opaque mark of a page that ended with the key `last`."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def decode_marker(marker: str | None) -> str:
    """Return the key after which the page begins; the empty string without a mark.

    Raises: Refused: ValidationError, this mark was not made here.
    """
    if marker is None:
        return ""
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise Refused("ValidationError", "Invalid Marker.") from error
