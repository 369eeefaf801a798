"""What the parts of IAM share: refusals in AWS's words, look-ups that refuse, pages, shapes of answers."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

from eventrt.aws.services.iam.aws_managed import aws_managed_policy
from eventrt.core import iam_rules
from eventrt.core.identities import ManagedPolicy, PolicyVersion, Role
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.store.api import Store, Tx

T = TypeVar("T")

DEFAULT_PAGE = 100

_RANDOM = random.SystemRandom()


class IamOperations:
    """The base of the operations: the store, and units of work whose refusals are AWS's."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def _write(self, work: Callable[[Tx], T]) -> T:
        with aws_refusals():
            return await self._store.write(work)

    async def _read(self, query: Callable[[Tx], T]) -> T:
        with aws_refusals():
            return await self._store.read(query)


@contextmanager
def aws_refusals() -> Iterator[None]:
    """Turn the refusals of `core.iam_rules` into those of the wire."""
    try:
        yield
    except Refused as refused:
        raise ApiError(refused.code, refused.message, status=_STATUS.get(refused.code, 400)) from refused


_STATUS = {"LimitExceeded": 409, "NoSuchEntity": 404, "EntityAlreadyExists": 409, "DeleteConflict": 409}


def no_such_entity(message: str) -> ApiError:
    """Return the refusal for what is not there."""
    return ApiError("NoSuchEntity", message, status=404)


def already_exists(message: str) -> ApiError:
    """Return the refusal for a name that is taken."""
    return ApiError("EntityAlreadyExists", message, status=409)


def delete_conflict(message: str) -> ApiError:
    """Return the refusal for what something else still holds."""
    return ApiError("DeleteConflict", message, status=409)


def limit_exceeded(message: str) -> ApiError:
    """Return the refusal for one more than the quota."""
    return ApiError("LimitExceeded", message, status=409)


def new_id(prefix: str) -> str:
    """Return a new unique id, such as AROA and seventeen characters."""
    return iam_rules.principal_id(prefix, lambda alphabet, count: _RANDOM.choices(alphabet, k=count))


# -- look-ups that refuse


def role_of(tx: Tx, account_id: str, name: str) -> Role:
    """Return the role, or refuse with NoSuchEntity."""
    role = tx.identities.role(account_id, name)
    if role is None:
        raise no_such_entity(f"The role with name {name} cannot be found.")
    return role


def find_policy(tx: Tx, account_id: str, arn: str) -> ManagedPolicy | None:
    """Return the managed policy an ARN names, of the account or of AWS; None when there is none.

    Raises: Refused: InvalidInput, the ARN is none of a policy.
    """
    owner, path, name = iam_rules.parse_policy_arn(arn)
    if owner == "aws":
        return aws_managed_policy(path, name)
    policy = tx.identities.policy(account_id, name) if owner == account_id else None
    return policy if policy is not None and policy.arn == arn else None


def attachable_policy(tx: Tx, account_id: str, arn: str, *, noun: str = "Policy") -> ManagedPolicy:
    """Return the policy that is to be attached or made a boundary, or refuse with NoSuchEntity."""
    policy = find_policy(tx, account_id, arn)
    if policy is None:
        raise no_such_entity(f"{noun} {arn} does not exist or is not attachable.")
    return policy


def policy_of(tx: Tx, account_id: str, arn: str) -> ManagedPolicy:
    """Return the policy that is to be read, or refuse with NoSuchEntity."""
    policy = find_policy(tx, account_id, arn)
    if policy is None:
        raise no_such_entity(f"Policy {arn} was not found.")
    return policy


def own_policy_of(tx: Tx, account_id: str, arn: str) -> ManagedPolicy:
    """Return the policy that is to be changed; AWS's own are nobody's to change."""
    policy = policy_of(tx, account_id, arn)
    if policy.account_id == "aws":
        raise ApiError("AccessDenied", f"Policy {arn} is managed by AWS and cannot be changed.", status=403)
    return policy


# -- pages


def page(
    request: Mapping[str, Any],
    member: str,
    fetch: Callable[[str, int], Sequence[T]],
    *,
    key: Callable[[T], str],
    shape: Callable[[T], Any],
) -> dict[str, Any]:
    """Return one page of a list; `fetch(after, limit)` gives up to `limit` items that follow a key."""
    limit = request.get("MaxItems", DEFAULT_PAGE)
    found = fetch(iam_rules.decode_marker(request.get("Marker")), limit + 1)
    answer: dict[str, Any] = {
        member: [shape(item) for item in found[:limit]],
        "IsTruncated": len(found) > limit,
    }
    if len(found) > limit:
        answer["Marker"] = iam_rules.encode_marker(key(found[limit - 1]))
    return answer


def following(items: Sequence[T], key: Callable[[T], str]) -> Callable[[str, int], Sequence[T]]:
    """Return the `fetch` of a short list that is at hand whole, in order of its keys."""
    return lambda after, limit: [item for item in items if key(item) > after][:limit]


def tag_page(request: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of tags, in order of their keys."""
    items = sorted(tags.items())
    return page(request, "Tags", following(items, _first), key=_first, shape=lambda item: _tag(*item))


def _first(item: tuple[str, str]) -> str:
    return item[0]


# -- shapes


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the wire has them."""
    return [_tag(key, value) for key, value in tags.items()]


def _tag(key: str, value: str) -> dict[str, str]:
    return {"Key": key, "Value": value}


def encoded(document: str) -> str:
    """Return a policy document as every answer of IAM has it: percent-encoded (RFC 3986)."""
    return quote(document, safe="")


def role_shape(role: Role) -> dict[str, Any]:
    """Return a role as lists show it; a single role shows its boundary, tags and last use as well."""
    shape: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": encoded(role.trust_document),
        "MaxSessionDuration": role.max_session_s,
    }
    if role.description is not None:
        shape["Description"] = role.description
    return shape


def whole_role_shape(role: Role) -> dict[str, Any]:
    """Return a role as CreateRole and GetRole show it."""
    shape = role_shape(role)
    if role.tags:
        shape["Tags"] = tag_list(role.tags)
    if role.boundary_arn is not None:
        shape["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": role.boundary_arn,
        }
    return shape


def policy_shape(tx: Tx, account_id: str, policy: ManagedPolicy) -> dict[str, Any]:
    """Return a managed policy as lists show it, with how often `account_id` uses it."""
    attached, bounded = tx.identities.usage(account_id, policy.arn)
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.default_version}",
        "AttachmentCount": attached,
        "PermissionsBoundaryUsageCount": bounded,
        "IsAttachable": True,
        "CreateDate": policy.created_at,
        "UpdateDate": policy.updated_at,
    }


def version_shape(policy: ManagedPolicy, version: PolicyVersion) -> dict[str, Any]:
    """Return a version of a policy as lists show it: without its document."""
    return {
        "VersionId": f"v{version.number}",
        "IsDefaultVersion": version.number == policy.default_version,
        "CreateDate": version.created_at,
    }
