"""The values of identities: roles, managed policies and their versions; kept, never enforced."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Role:
    """A role; `trust_document` is the JSON text as it was given. Moments are epoch seconds."""

    account_id: str
    name: str
    id: str
    path: str
    trust_document: str
    created_at: float
    description: str | None = None
    max_session_s: int = 3600
    boundary_arn: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The role's ARN, path included."""
        return f"arn:aws:iam::{self.account_id}:role{self.path}{self.name}"


@dataclass(frozen=True, slots=True)
class ManagedPolicy:
    """A managed policy without its documents; moments are epoch seconds.

    `account_id` is "aws" for the policies that AWS publishes.
    `default_version` and `next_version` are version numbers; a number is never used twice.
    """

    account_id: str
    name: str
    id: str
    path: str
    created_at: float
    updated_at: float
    default_version: int = 1
    next_version: int = 2
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        """The policy's ARN, path included."""
        return f"arn:aws:iam::{self.account_id}:policy{self.path}{self.name}"


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a managed policy; `document` is the JSON text as it was given."""

    number: int
    document: str
    created_at: float
