"""What the house may ask of the store about roles and policies.

Names are one whatever their case inside an account; look-ups take the name in any case. Lists come in order
of the folded name, after a given one, so that a page is a short range of an index.
"""

from collections.abc import Sequence
from typing import Protocol

from eventrt.core.identities import ManagedPolicy, PolicyVersion, Role


class IdentityRepository(Protocol):
    """Roles, managed policies and what binds them, one world per account."""

    # -- roles

    def role(self, account_id: str, name: str) -> Role | None:
        """Return a role, or None."""
        ...

    def roles(self, account_id: str, *, path_prefix: str, after: str, limit: int) -> Sequence[Role]:
        """Return up to `limit` roles whose path begins so, after the folded name `after`."""
        ...

    def count_roles(self, account_id: str) -> int:
        """Return how many roles the account has."""
        ...

    def save_role(self, role: Role) -> None:
        """Insert the role, or replace the one of its name."""
        ...

    def delete_role(self, account_id: str, name: str) -> None:
        """Forget a role; what was attached to it must be gone already."""
        ...

    # -- inline policies

    def inline_policies(self, account_id: str, role_name: str) -> dict[str, str]:
        """Return the role's inline policies: name to document, in order of names."""
        ...

    def save_inline_policy(self, account_id: str, role_name: str, policy_name: str, document: str) -> None:
        """Insert or replace one inline policy."""
        ...

    def delete_inline_policy(self, account_id: str, role_name: str, policy_name: str) -> bool:
        """Forget one inline policy; False when there was none."""
        ...

    # -- managed policies

    def policy(self, account_id: str, name: str) -> ManagedPolicy | None:
        """Return a managed policy of the account, or None."""
        ...

    def policies(self, account_id: str) -> Sequence[ManagedPolicy]:
        """Return all managed policies of the account, at most 1,500, in order of names."""
        ...

    def count_policies(self, account_id: str) -> int:
        """Return how many managed policies the account has."""
        ...

    def save_policy(self, policy: ManagedPolicy) -> None:
        """Insert the policy, or replace the one of its name; versions stay."""
        ...

    def delete_policy(self, account_id: str, name: str) -> None:
        """Forget a policy and its versions."""
        ...

    def policy_version(self, account_id: str, name: str, number: int) -> PolicyVersion | None:
        """Return one version, or None."""
        ...

    def policy_versions(self, account_id: str, name: str) -> Sequence[PolicyVersion]:
        """Return all versions, newest first."""
        ...

    def add_policy_version(self, account_id: str, name: str, version: PolicyVersion) -> None:
        """Insert a version."""
        ...

    def delete_policy_version(self, account_id: str, name: str, number: int) -> None:
        """Forget a version."""
        ...

    # -- what binds them

    def attach(self, account_id: str, role_name: str, policy_arn: str) -> None:
        """Bind a managed policy to a role; binding twice is as once."""
        ...

    def detach(self, account_id: str, role_name: str, policy_arn: str) -> bool:
        """Unbind; False when it was not bound."""
        ...

    def attached_to_role(self, account_id: str, role_name: str) -> Sequence[str]:
        """Return the ARNs of the role's managed policies, in order."""
        ...

    def used_arns(self, account_id: str) -> Sequence[str]:
        """Return the ARNs of all policies attached to or bounding some role of the account, each once."""
        ...

    def roles_with_policy(self, account_id: str, policy_arn: str) -> Sequence[Role]:
        """Return the roles it is attached to, in order of names."""
        ...

    def roles_with_boundary(self, account_id: str, policy_arn: str) -> Sequence[Role]:
        """Return the roles whose permissions boundary it is, in order of names."""
        ...

    def usage(self, account_id: str, policy_arn: str) -> tuple[int, int]:
        """Return how many roles it is attached to, and of how many it is the boundary."""
        ...
