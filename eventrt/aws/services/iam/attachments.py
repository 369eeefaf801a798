"""What binds managed policies to roles: attach, detach, and the lists of both sides."""

from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.iam.common import (
    IamOperations,
    attachable_policy,
    following,
    limit_exceeded,
    no_such_entity,
    page,
    policy_of,
    role_of,
)
from eventrt.core import iam_rules
from eventrt.core.identities import Role
from eventrt.store.api import Tx


class AttachmentOperations(IamOperations):
    """Attached policies of roles, and the roles of a policy."""

    @operation("AttachRolePolicy")
    async def attach_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Bind a managed policy to a role; once more changes nothing."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            policy = attachable_policy(tx, call.account_id, request["PolicyArn"])
            attached = tx.identities.attached_to_role(call.account_id, role.name)
            if policy.arn not in attached and len(attached) >= iam_rules.MAX_ATTACHED:
                raise limit_exceeded(f"Cannot exceed quota for PoliciesPerRole: {iam_rules.MAX_ATTACHED}")
            tx.identities.attach(call.account_id, role.name, policy.arn)

        await self._write(work)
        return {}

    @operation("DetachRolePolicy")
    async def detach_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Unbind a managed policy from a role."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            iam_rules.parse_policy_arn(request["PolicyArn"])
            if not tx.identities.detach(call.account_id, role.name, request["PolicyArn"]):
                raise no_such_entity(f"Policy {request['PolicyArn']} was not found.")

        await self._write(work)
        return {}

    @operation("ListAttachedRolePolicies")
    async def list_attached_role_policies(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the managed policies bound to a role."""
        prefix = request.get("PathPrefix", "/")

        def query(tx: Tx) -> Answer:
            role = role_of(tx, call.account_id, request["RoleName"])
            arns = [
                arn
                for arn in tx.identities.attached_to_role(call.account_id, role.name)
                if iam_rules.parse_policy_arn(arn)[1].startswith(prefix)
            ]
            return page(request, "AttachedPolicies", following(arns, str), key=str, shape=_attached_shape)

        return await self._read(query)

    @operation("ListEntitiesForPolicy")
    async def list_entities_for_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the roles a policy is bound to; users and groups there are none."""
        prefix = request.get("PathPrefix", "/")

        def query(tx: Tx) -> Answer:
            policy = policy_of(tx, call.account_id, request["PolicyArn"])
            roles: dict[str, Role] = {}
            if request.get("EntityFilter", "Role") == "Role":
                if request.get("PolicyUsageFilter") != "PermissionsBoundary":
                    found = tx.identities.roles_with_policy(call.account_id, policy.arn)
                    roles.update((_key(role), role) for role in found)
                if request.get("PolicyUsageFilter") != "PermissionsPolicy":
                    found = tx.identities.roles_with_boundary(call.account_id, policy.arn)
                    roles.update((_key(role), role) for role in found)
            wanted = [role for _, role in sorted(roles.items()) if role.path.startswith(prefix)]
            listed = page(request, "PolicyRoles", following(wanted, _key), key=_key, shape=_entity_shape)
            return {"PolicyGroups": [], "PolicyUsers": [], **listed}

        return await self._read(query)


def _key(role: Role) -> str:
    return role.name.casefold()


def _entity_shape(role: Role) -> dict[str, str]:
    return {"RoleName": role.name, "RoleId": role.id}


def _attached_shape(arn: str) -> dict[str, str]:
    return {"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn}
