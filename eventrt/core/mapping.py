"""Event source mappings: a source, a function, the policy between them, and the states they pass through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

State = Literal["Creating", "Enabling", "Enabled", "Disabling", "Disabled", "Updating", "Deleting"]

TRANSITIONS: Final = frozenset(("Creating", "Enabling", "Disabling", "Updating", "Deleting"))
"""States that the supervisor ends; a mapping in one of them takes no update and no delete."""

USER_INITIATED: Final = "USER_INITIATED"

POLLER_CONCURRENCY: Final = 10
"""Batches that one provisioned poller runs at once."""


@dataclass(frozen=True, slots=True)
class ProvisionedPollers:
    """How many pollers a mapping in provisioned mode has: never fewer, never more."""

    minimum: int = 2
    maximum: int = 200


@dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """A source whose records go to a function, and how.

    `id` is the UUID. `function_arn` has the qualifier it was given. `enabled` is what the user wants; `state` is
    where it stands. `filters` are the patterns' JSON texts. `problem` says what keeps an enabled mapping from
    working, None when nothing does. Moments are epoch seconds.
    """

    id: str
    account_id: str
    region: str
    source_arn: str
    function_arn: str
    state: State
    modified_at: float
    enabled: bool = True
    batch_size: int = 10
    batching_window_s: int = 0
    response_types: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    maximum_concurrency: int | None = None
    provisioned: ProvisionedPollers | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    state_reason: str = USER_INITIATED
    problem: str | None = None

    @property
    def arn(self) -> str:
        """The mapping's own ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:event-source-mapping:{self.id}"

    @property
    def is_in_transition(self) -> bool:
        """Is the supervisor still at work on its last change?"""
        return self.state in TRANSITIONS

    @property
    def settled_state(self) -> State:
        """The state that its transition ends in (a deletion ends in none)."""
        return "Enabled" if self.enabled else "Disabled"

    @property
    def reports_failures(self) -> bool:
        """Does the function's answer say which records failed?"""
        return "ReportBatchItemFailures" in self.response_types

    @property
    def function_name(self) -> str:
        """The function's bare name."""
        return self.function_arn.split(":")[6]

    @property
    def qualifier(self) -> str | None:
        """The version or alias in the function's ARN, None for the unqualified one."""
        parts = self.function_arn.split(":")
        return parts[7] if len(parts) > 7 else None

    @property
    def unqualified_function_arn(self) -> str:
        """The function's ARN without a qualifier."""
        return ":".join(self.function_arn.split(":")[:7])
