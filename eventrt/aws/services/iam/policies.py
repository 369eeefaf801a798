"""Managed policies: made, read, listed, tagged, deleted, and their versions."""

import dataclasses
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.iam.aws_managed import (
    AwsManagedPolicy,
    aws_managed_policies,
    aws_managed_version,
)
from eventrt.aws.services.iam.common import (
    IamOperations,
    already_exists,
    delete_conflict,
    encoded,
    following,
    limit_exceeded,
    new_id,
    no_such_entity,
    own_policy_of,
    page,
    policy_of,
    policy_shape,
    tag_list,
    tag_page,
    version_shape,
)
from eventrt.core import iam_rules
from eventrt.core.identities import ManagedPolicy, PolicyVersion
from eventrt.store.api import Tx


class PolicyOperations(IamOperations):
    """Managed policies and their versions."""

    @operation("CreatePolicy")
    async def create_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Make a managed policy with its first version."""

        def work(tx: Tx) -> Answer:
            name = request["PolicyName"]
            iam_rules.check_managed_document(request["PolicyDocument"])
            tags = iam_rules.merged_tags({}, request.get("Tags", []))
            if tx.identities.policy(call.account_id, name) is not None:
                raise already_exists(f"A policy called {name} already exists. Duplicate names are not allowed.")
            if tx.identities.count_policies(call.account_id) >= iam_rules.MAX_POLICIES:
                raise limit_exceeded(f"Cannot exceed quota for PoliciesPerAccount: {iam_rules.MAX_POLICIES}")
            now = float(int(tx.now))
            policy = ManagedPolicy(
                account_id=call.account_id,
                name=name,
                id=new_id("ANPA"),
                path=request.get("Path", "/"),
                created_at=now,
                updated_at=now,
                description=request.get("Description"),
                tags=tags,
            )
            tx.identities.save_policy(policy)
            version = PolicyVersion(1, request["PolicyDocument"], now)
            tx.identities.add_policy_version(call.account_id, name, version)
            shape = policy_shape(tx, call.account_id, policy)
            if tags:
                shape["Tags"] = tag_list(tags)
            return {"Policy": shape}

        return await self._write(work)

    @operation("GetPolicy")
    async def get_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Show a policy with its description and tags; its document is a version's."""

        def query(tx: Tx) -> Answer:
            policy = policy_of(tx, call.account_id, request["PolicyArn"])
            shape = policy_shape(tx, call.account_id, policy)
            shape["Tags"] = tag_list(policy.tags)
            if policy.description is not None:
                shape["Description"] = policy.description
            return {"Policy": shape}

        return await self._read(query)

    @operation("ListPolicies")
    async def list_policies(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the account's policies, those of AWS that are known here, or both."""
        scope = request.get("Scope", "All")
        prefix = request.get("PathPrefix", "/")
        only_attached = request.get("OnlyAttached", False)
        usage = request.get("PolicyUsageFilter")

        def is_wanted(tx: Tx, policy: ManagedPolicy) -> bool:
            attached, bounded = tx.identities.usage(call.account_id, policy.arn)
            match usage:
                case "PermissionsBoundary":
                    return bounded > 0
                case "PermissionsPolicy":
                    return attached > 0
                case _:
                    return not only_attached or attached + bounded > 0

        def query(tx: Tx) -> Answer:
            policies: list[ManagedPolicy] = []
            if scope != "AWS":
                policies += tx.identities.policies(call.account_id)
            if scope != "Local":
                used = tx.identities.used_arns(call.account_id)
                policies += aws_managed_policies(used)
            wanted = sorted((p for p in policies if p.path.startswith(prefix) and is_wanted(tx, p)), key=_key)
            return page(
                request,
                "Policies",
                following(wanted, _key),
                key=_key,
                shape=lambda policy: policy_shape(tx, call.account_id, policy),
            )

        return await self._read(query)

    @operation("DeletePolicy")
    async def delete_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Forget a policy that nothing uses and that has its default version only."""

        def work(tx: Tx) -> None:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            if any(tx.identities.usage(call.account_id, policy.arn)):
                raise delete_conflict("Cannot delete a policy attached to entities.")
            if len(tx.identities.policy_versions(call.account_id, policy.name)) > 1:
                raise delete_conflict(
                    "This policy has more than one version. Before you delete a policy, you must delete the "
                    "policy's versions. The default version is deleted with the policy."
                )
            tx.identities.delete_policy(call.account_id, policy.name)

        await self._write(work)
        return {}

    # -- versions

    @operation("CreatePolicyVersion")
    async def create_policy_version(self, call: Call, request: dict[str, Any]) -> Answer:
        """Add a version, as the default one when asked for."""

        def work(tx: Tx) -> Answer:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            iam_rules.check_managed_document(request["PolicyDocument"])
            versions = tx.identities.policy_versions(call.account_id, policy.name)
            if len(versions) >= iam_rules.MAX_VERSIONS:
                raise limit_exceeded(
                    f"A managed policy can have up to {iam_rules.MAX_VERSIONS} versions. Before you create a "
                    "new version, you must delete an existing version."
                )
            now = float(int(tx.now))
            number = policy.next_version
            version = PolicyVersion(number, request["PolicyDocument"], now)
            policy = dataclasses.replace(
                policy,
                next_version=number + 1,
                default_version=number if request.get("SetAsDefault", False) else policy.default_version,
                updated_at=now,
            )
            tx.identities.save_policy(policy)
            tx.identities.add_policy_version(call.account_id, policy.name, version)
            return {"PolicyVersion": version_shape(policy, version)}

        return await self._write(work)

    @operation("GetPolicyVersion")
    async def get_policy_version(self, call: Call, request: dict[str, Any]) -> Answer:
        """Show a version with its document."""

        def query(tx: Tx) -> Answer:
            policy = policy_of(tx, call.account_id, request["PolicyArn"])
            version = _version(tx, policy, request["VersionId"])
            shape = version_shape(policy, version)
            return {"PolicyVersion": {"Document": encoded(version.document), **shape}}

        return await self._read(query)

    @operation("ListPolicyVersions")
    async def list_policy_versions(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the versions, newest first."""

        def query(tx: Tx) -> Answer:
            policy = policy_of(tx, call.account_id, request["PolicyArn"])
            if isinstance(policy, AwsManagedPolicy):
                version = aws_managed_version(policy)
                versions = [version] if version is not None else []
            else:
                versions = list(tx.identities.policy_versions(policy.account_id, policy.name))
            return page(
                request,
                "Versions",
                following(versions, _newest_first),
                key=_newest_first,
                shape=lambda version: version_shape(policy, version),
            )

        return await self._read(query)

    @operation("DeletePolicyVersion")
    async def delete_policy_version(self, call: Call, request: dict[str, Any]) -> Answer:
        """Forget a version that is not the default one."""

        def work(tx: Tx) -> None:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            version = _version(tx, policy, request["VersionId"])
            if version.number == policy.default_version:
                raise delete_conflict("Cannot delete the default version of a policy.")
            tx.identities.delete_policy_version(call.account_id, policy.name, version.number)

        await self._write(work)
        return {}

    @operation("SetDefaultPolicyVersion")
    async def set_default_policy_version(self, call: Call, request: dict[str, Any]) -> Answer:
        """Make another version the default one."""

        def work(tx: Tx) -> None:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            version = _version(tx, policy, request["VersionId"])
            tx.identities.save_policy(
                dataclasses.replace(policy, default_version=version.number, updated_at=float(int(tx.now)))
            )

        await self._write(work)
        return {}

    # -- tags

    @operation("TagPolicy")
    async def tag_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Add or replace tags."""

        def work(tx: Tx) -> None:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            tags = iam_rules.merged_tags(policy.tags, request["Tags"])
            tx.identities.save_policy(dataclasses.replace(policy, tags=tags))

        await self._write(work)
        return {}

    @operation("UntagPolicy")
    async def untag_policy(self, call: Call, request: dict[str, Any]) -> Answer:
        """Take tags away."""

        def work(tx: Tx) -> None:
            policy = own_policy_of(tx, call.account_id, request["PolicyArn"])
            tags = iam_rules.without_tags(policy.tags, request["TagKeys"])
            tx.identities.save_policy(dataclasses.replace(policy, tags=tags))

        await self._write(work)
        return {}

    @operation("ListPolicyTags")
    async def list_policy_tags(self, call: Call, request: dict[str, Any]) -> Answer:
        """List the policy's tags."""
        return await self._read(lambda tx: tag_page(request, policy_of(tx, call.account_id, request["PolicyArn"]).tags))


def _version(tx: Tx, policy: ManagedPolicy, version_id: str) -> PolicyVersion:
    number = iam_rules.version_number(version_id)
    version = None
    if number is not None and isinstance(policy, AwsManagedPolicy):
        version = aws_managed_version(policy)
        version = version if version is not None and version.number == number else None
    elif number is not None:
        version = tx.identities.policy_version(policy.account_id, policy.name, number)
    if version is None:
        raise no_such_entity(f"Policy {policy.arn} version {version_id} does not exist or is not attachable.")
    return version


def _key(policy: ManagedPolicy) -> str:
    return f"{policy.name.casefold()}\n{policy.arn}"


def _newest_first(version: PolicyVersion) -> str:
    return f"{2**31 - version.number:010d}"
