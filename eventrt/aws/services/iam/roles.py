"""Roles: made, read, changed, listed, tagged, deleted; and the policies written into a role itself."""

import dataclasses
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.iam.common import (
    IamOperations,
    already_exists,
    attachable_policy,
    delete_conflict,
    encoded,
    following,
    limit_exceeded,
    new_id,
    no_such_entity,
    page,
    role_of,
    role_shape,
    tag_page,
    whole_role_shape,
)
from eventrt.core import iam_rules
from eventrt.core.identities import Role
from eventrt.store.api import Tx

_BOUNDARY = "Scope ARN:"


class RoleOperations(IamOperations):
    """Roles and their inline policies."""

    @operation("CreateRole")
    async def create_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Make a role."""

        def work(tx: Tx) -> Answer:
            name = request["RoleName"]
            iam_rules.check_trust_document(request["AssumeRolePolicyDocument"])
            tags = iam_rules.merged_tags({}, request.get("Tags", []))
            if tx.identities.role(call.account_id, name) is not None:
                raise already_exists(f"Role with name {name} already exists.")
            if tx.identities.count_roles(call.account_id) >= iam_rules.MAX_ROLES:
                raise limit_exceeded(f"Cannot exceed quota for RolesPerAccount: {iam_rules.MAX_ROLES}")
            boundary = request.get("PermissionsBoundary")
            if boundary is not None:
                attachable_policy(tx, call.account_id, boundary, noun=_BOUNDARY)
            role = Role(
                account_id=call.account_id,
                name=name,
                id=new_id("AROA"),
                path=request.get("Path", "/"),
                trust_document=request["AssumeRolePolicyDocument"],
                created_at=float(int(tx.now)),
                description=request.get("Description"),
                max_session_s=request.get("MaxSessionDuration", 3600),
                boundary_arn=boundary,
                tags=tags,
            )
            tx.identities.save_role(role)
            return {"Role": whole_role_shape(role)}

        return await self._write(work)

    @operation("GetRole")
    async def get_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Show a role whole. It is never used to sign in here, so its last use is empty."""
        role = await self._read(lambda tx: role_of(tx, call.account_id, request["RoleName"]))
        return {"Role": {**whole_role_shape(role), "RoleLastUsed": {}}}

    @operation("UpdateRole")
    async def update_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Change the description, which stays when left out, and the session's length, which falls back."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            tx.identities.save_role(
                dataclasses.replace(
                    role,
                    description=request.get("Description", role.description),
                    max_session_s=request.get("MaxSessionDuration", 3600),
                )
            )

        await self._write(work)
        return {}

    @operation("UpdateRoleDescription")
    async def update_role_description(self, call: Call, request: dict[str, Any]) -> Answer:
        """Change the description and show the role."""

        def work(tx: Tx) -> Answer:
            role = role_of(tx, call.account_id, request["RoleName"])
            role = dataclasses.replace(role, description=request["Description"])
            tx.identities.save_role(role)
            return {"Role": whole_role_shape(role)}

        return await self._write(work)

    @operation("UpdateAssumeRolePolicy")
    async def update_assume_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Replace the trust policy."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            iam_rules.check_trust_document(request["PolicyDocument"])
            tx.identities.save_role(dataclasses.replace(role, trust_document=request["PolicyDocument"]))

        await self._write(work)
        return {}

    @operation("PutRolePermissionsBoundary")
    async def put_role_permissions_boundary(self, call: Call, request: dict[str, Any]) -> Answer:
        """Set the role's boundary."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            boundary = request["PermissionsBoundary"]
            attachable_policy(tx, call.account_id, boundary, noun=_BOUNDARY)
            tx.identities.save_role(dataclasses.replace(role, boundary_arn=boundary))

        await self._write(work)
        return {}

    @operation("DeleteRolePermissionsBoundary")
    async def delete_role_permissions_boundary(self, call: Call, request: dict[str, Any]) -> Answer:
        """Take the role's boundary away."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            if role.boundary_arn is None:
                raise no_such_entity(f"Role with name {role.name} does not have a permissions boundary.")
            tx.identities.save_role(dataclasses.replace(role, boundary_arn=None))

        await self._write(work)
        return {}

    @operation("ListRoles")
    async def list_roles(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the account's roles, without tags and boundaries."""
        prefix = request.get("PathPrefix", "/")
        return await self._read(
            lambda tx: page(
                request,
                "Roles",
                lambda after, limit: tx.identities.roles(call.account_id, path_prefix=prefix, after=after, limit=limit),
                key=lambda role: role.name.casefold(),
                shape=role_shape,
            )
        )

    @operation("DeleteRole")
    async def delete_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Forget a role that no policy holds any more."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            if tx.identities.attached_to_role(call.account_id, role.name):
                raise delete_conflict("Cannot delete entity, must detach all policies first.")
            if tx.identities.inline_policies(call.account_id, role.name):
                raise delete_conflict("Cannot delete entity, must delete policies first.")
            tx.identities.delete_role(call.account_id, role.name)

        await self._write(work)
        return {}

    # -- tags

    @operation("TagRole")
    async def tag_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Add or replace tags."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            tags = iam_rules.merged_tags(role.tags, request["Tags"])
            tx.identities.save_role(dataclasses.replace(role, tags=tags))

        await self._write(work)
        return {}

    @operation("UntagRole")
    async def untag_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Take tags away."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            tags = iam_rules.without_tags(role.tags, request["TagKeys"])
            tx.identities.save_role(dataclasses.replace(role, tags=tags))

        await self._write(work)
        return {}

    @operation("ListRoleTags")
    async def list_role_tags(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the role's tags."""
        return await self._read(lambda tx: tag_page(request, role_of(tx, call.account_id, request["RoleName"]).tags))

    # -- inline policies

    @operation("PutRolePolicy")
    async def put_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Write a policy into the role."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            iam_rules.check_identity_document(request["PolicyDocument"])
            documents = tx.identities.inline_policies(call.account_id, role.name)
            documents[request["PolicyName"]] = request["PolicyDocument"]
            iam_rules.check_inline_documents(role.name, documents.values())
            tx.identities.save_inline_policy(
                call.account_id, role.name, request["PolicyName"], request["PolicyDocument"]
            )

        await self._write(work)
        return {}

    @operation("GetRolePolicy")
    async def get_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Show a policy that is written into the role."""
        name = request["PolicyName"]

        def query(tx: Tx) -> Answer:
            role = role_of(tx, call.account_id, request["RoleName"])
            document = tx.identities.inline_policies(call.account_id, role.name).get(name)
            if document is None:
                raise _no_inline_policy(name)
            return {"RoleName": role.name, "PolicyName": name, "PolicyDocument": encoded(document)}

        return await self._read(query)

    @operation("ListRolePolicies")
    async def list_role_policies(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the names of the policies written into the role."""

        def query(tx: Tx) -> Answer:
            role = role_of(tx, call.account_id, request["RoleName"])
            names = list(tx.identities.inline_policies(call.account_id, role.name))
            return page(request, "PolicyNames", following(names, str), key=str, shape=str)

        return await self._read(query)

    @operation("DeleteRolePolicy")
    async def delete_role_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Take a policy out of the role."""

        def work(tx: Tx) -> None:
            role = role_of(tx, call.account_id, request["RoleName"])
            if not tx.identities.delete_inline_policy(call.account_id, role.name, request["PolicyName"]):
                raise _no_inline_policy(request["PolicyName"])

        await self._write(work)
        return {}

    @operation("ListInstanceProfilesForRole")
    async def list_instance_profiles_for_role(self, call: Call, request: dict[str, Any]) -> Answer:
        """Answer that the role is in no instance profile: there are none here."""

        def query(tx: Tx) -> Answer:
            role_of(tx, call.account_id, request["RoleName"])
            return page(request, "InstanceProfiles", lambda after, limit: [], key=str, shape=str)

        return await self._read(query)


def _no_inline_policy(name: str) -> Exception:
    return no_such_entity(f"The role policy with name {name} cannot be found.")
