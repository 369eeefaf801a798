"""Roles and policies in SQLite: plain rows, read anew each time, since nothing here is on a hot path."""

from collections.abc import Sequence
from typing import Any

import orjson

from eventrt.core.identities import ManagedPolicy, PolicyVersion, Role
from eventrt.store.sqlite.engine import Engine

_ROLE = "account_id, name, id, path, trust_document, created_at, description, max_session_s, boundary_arn, tags"
_POLICY = "account_id, name, id, path, created_at, updated_at, default_version, next_version, description, tags"


class SqliteIdentities:
    """The `store.identities.IdentityRepository` of the embedded store."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._run = engine.connection.execute

    # -- roles

    def role(self, account_id: str, name: str) -> Role | None:
        """Return a role, or None."""
        row = self._run(
            f"SELECT {_ROLE} FROM roles WHERE account_id = ? AND key = ?",
            (account_id, name.casefold()),
        ).fetchone()
        return _role(row) if row else None

    def roles(self, account_id: str, *, path_prefix: str, after: str, limit: int) -> Sequence[Role]:
        """Return up to `limit` roles whose path begins so, after the folded name `after`."""
        rows = self._run(
            f"SELECT {_ROLE} FROM roles WHERE account_id = ? AND key > ? "
            "AND substr(path, 1, length(?)) = ? ORDER BY key LIMIT ?",
            (account_id, after, path_prefix, path_prefix, limit),
        )
        return [_role(row) for row in rows]

    def count_roles(self, account_id: str) -> int:
        """Return how many roles the account has."""
        return self._count("SELECT count(*) FROM roles WHERE account_id = ?", account_id)

    def save_role(self, role: Role) -> None:
        """Insert the role, or replace the one of its name."""
        self._run(
            f"INSERT OR REPLACE INTO roles (key, {_ROLE}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                role.name.casefold(),
                role.account_id,
                role.name,
                role.id,
                role.path,
                role.trust_document,
                role.created_at,
                role.description,
                role.max_session_s,
                role.boundary_arn,
                orjson.dumps(dict(role.tags)).decode(),
            ),
        )

    def delete_role(self, account_id: str, name: str) -> None:
        """Forget a role; what was attached to it must be gone already."""
        self._run("DELETE FROM roles WHERE account_id = ? AND key = ?", (account_id, name.casefold()))

    # -- inline policies

    def inline_policies(self, account_id: str, role_name: str) -> dict[str, str]:
        """Return the role's inline policies: name to document, in order of names."""
        return dict(
            self._run(
                "SELECT name, document FROM role_inline_policies WHERE account_id = ? AND role_key = ? ORDER BY name",
                (account_id, role_name.casefold()),
            ).fetchall()
        )

    def save_inline_policy(self, account_id: str, role_name: str, policy_name: str, document: str) -> None:
        """Insert or replace one inline policy."""
        self._run(
            "INSERT OR REPLACE INTO role_inline_policies (account_id, role_key, name, document) VALUES (?,?,?,?)",
            (account_id, role_name.casefold(), policy_name, document),
        )

    def delete_inline_policy(self, account_id: str, role_name: str, policy_name: str) -> bool:
        """Forget one inline policy; False when there was none."""
        cursor = self._run(
            "DELETE FROM role_inline_policies WHERE account_id = ? AND role_key = ? AND name = ?",
            (account_id, role_name.casefold(), policy_name),
        )
        return cursor.rowcount > 0

    # -- managed policies

    def policy(self, account_id: str, name: str) -> ManagedPolicy | None:
        """Return a managed policy of the account, or None."""
        row = self._run(
            f"SELECT {_POLICY} FROM policies WHERE account_id = ? AND key = ?",
            (account_id, name.casefold()),
        ).fetchone()
        return _policy(row) if row else None

    def policies(self, account_id: str) -> Sequence[ManagedPolicy]:
        """Return all managed policies of the account, at most 1,500, in order of names."""
        rows = self._run(
            f"SELECT {_POLICY} FROM policies WHERE account_id = ? ORDER BY key",
            (account_id,),
        )
        return [_policy(row) for row in rows]

    def count_policies(self, account_id: str) -> int:
        """Return how many managed policies the account has."""
        return self._count("SELECT count(*) FROM policies WHERE account_id = ?", account_id)

    def save_policy(self, policy: ManagedPolicy) -> None:
        """Insert the policy, or replace the one of its name; versions stay."""
        self._run(
            f"INSERT OR REPLACE INTO policies (key, {_POLICY}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                policy.name.casefold(),
                policy.account_id,
                policy.name,
                policy.id,
                policy.path,
                policy.created_at,
                policy.updated_at,
                policy.default_version,
                policy.next_version,
                policy.description,
                orjson.dumps(dict(policy.tags)).decode(),
            ),
        )

    def delete_policy(self, account_id: str, name: str) -> None:
        """Forget a policy and its versions."""
        key = (account_id, name.casefold())
        self._run("DELETE FROM policy_versions WHERE account_id = ? AND policy_key = ?", key)
        self._run("DELETE FROM policies WHERE account_id = ? AND key = ?", key)

    def policy_version(self, account_id: str, name: str, number: int) -> PolicyVersion | None:
        """Return one version, or None."""
        row = self._run(
            "SELECT number, document, created_at FROM policy_versions "
            "WHERE account_id = ? AND policy_key = ? AND number = ?",
            (account_id, name.casefold(), number),
        ).fetchone()
        return PolicyVersion(*row) if row else None

    def policy_versions(self, account_id: str, name: str) -> Sequence[PolicyVersion]:
        """Return all versions, newest first."""
        rows = self._run(
            "SELECT number, document, created_at FROM policy_versions "
            "WHERE account_id = ? AND policy_key = ? ORDER BY number DESC",
            (account_id, name.casefold()),
        )
        return [PolicyVersion(*row) for row in rows]

    def add_policy_version(self, account_id: str, name: str, version: PolicyVersion) -> None:
        """Insert a version."""
        self._run(
            "INSERT INTO policy_versions (account_id, policy_key, number, document, created_at) VALUES (?,?,?,?,?)",
            (account_id, name.casefold(), version.number, version.document, version.created_at),
        )

    def delete_policy_version(self, account_id: str, name: str, number: int) -> None:
        """Forget a version."""
        self._run(
            "DELETE FROM policy_versions WHERE account_id = ? AND policy_key = ? AND number = ?",
            (account_id, name.casefold(), number),
        )

    # -- what binds them

    def attach(self, account_id: str, role_name: str, policy_arn: str) -> None:
        """Bind a managed policy to a role; binding twice is as once."""
        self._run(
            "INSERT OR IGNORE INTO role_attachments (account_id, role_key, policy_arn) VALUES (?,?,?)",
            (account_id, role_name.casefold(), policy_arn),
        )

    def detach(self, account_id: str, role_name: str, policy_arn: str) -> bool:
        """Unbind; False when it was not bound."""
        cursor = self._run(
            "DELETE FROM role_attachments WHERE account_id = ? AND role_key = ? AND policy_arn = ?",
            (account_id, role_name.casefold(), policy_arn),
        )
        return cursor.rowcount > 0

    def attached_to_role(self, account_id: str, role_name: str) -> Sequence[str]:
        """Return the ARNs of the role's managed policies, in order."""
        rows = self._run(
            "SELECT policy_arn FROM role_attachments WHERE account_id = ? AND role_key = ? ORDER BY policy_arn",
            (account_id, role_name.casefold()),
        )
        return [row[0] for row in rows]

    def used_arns(self, account_id: str) -> Sequence[str]:
        """Return the ARNs of all policies attached to or bounding some role of the account, each once."""
        rows = self._run(
            "SELECT policy_arn FROM role_attachments WHERE account_id = ? UNION "
            "SELECT boundary_arn FROM roles WHERE account_id = ? AND boundary_arn IS NOT NULL",
            (account_id, account_id),
        )
        return [row[0] for row in rows]

    def roles_with_policy(self, account_id: str, policy_arn: str) -> Sequence[Role]:
        """Return the roles it is attached to, in order of names."""
        rows = self._run(
            f"SELECT {_ROLE} FROM roles WHERE account_id = ? AND key IN "
            "(SELECT role_key FROM role_attachments WHERE account_id = ? AND policy_arn = ?) ORDER BY key",
            (account_id, account_id, policy_arn),
        )
        return [_role(row) for row in rows]

    def roles_with_boundary(self, account_id: str, policy_arn: str) -> Sequence[Role]:
        """Return the roles whose permissions boundary it is, in order of names."""
        rows = self._run(
            f"SELECT {_ROLE} FROM roles WHERE account_id = ? AND boundary_arn = ? ORDER BY key",
            (account_id, policy_arn),
        )
        return [_role(row) for row in rows]

    def usage(self, account_id: str, policy_arn: str) -> tuple[int, int]:
        """Return how many roles it is attached to, and of how many it is the boundary."""
        attached = "SELECT count(*) FROM role_attachments WHERE account_id = ? AND policy_arn = ?"
        bounded = "SELECT count(*) FROM roles WHERE account_id = ? AND boundary_arn = ?"
        return self._count(attached, account_id, policy_arn), self._count(bounded, account_id, policy_arn)

    def _count(self, query: str, *values: str) -> int:
        count: int = self._run(query, values).fetchone()[0]
        return count


def _role(row: Sequence[Any]) -> Role:
    return Role(
        account_id=row[0],
        name=row[1],
        id=row[2],
        path=row[3],
        trust_document=row[4],
        created_at=row[5],
        description=row[6],
        max_session_s=row[7],
        boundary_arn=row[8],
        tags=orjson.loads(row[9]),
    )


def _policy(row: Sequence[Any]) -> ManagedPolicy:
    return ManagedPolicy(
        account_id=row[0],
        name=row[1],
        id=row[2],
        path=row[3],
        created_at=row[4],
        updated_at=row[5],
        default_version=row[6],
        next_version=row[7],
        description=row[8],
        tags=orjson.loads(row[9]),
    )
