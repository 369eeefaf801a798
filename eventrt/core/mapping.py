"""Event source mappings: a source, a function, the policy between them, and the states they pass through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["queue", "kinesis", "table", "plugin"]
"""What a mapping's source is: an SQS queue, a Kinesis stream, a table's stream, or something a plugin reads."""

State = Literal["Creating", "Enabling", "Enabled", "Disabling", "Disabled", "Updating", "Deleting"]

TRANSITIONS: Final = frozenset(("Creating", "Enabling", "Disabling", "Updating", "Deleting"))
"""States that the supervisor ends; a mapping in one of them takes no update and no delete."""

USER_INITIATED: Final = "USER_INITIATED"
USER_ACTION: Final = "User action"
"""StateTransitionReason of mappings of queues and of streams."""

NOTHING_PROCESSED: Final = "No records processed"
PROCESSED: Final = "OK"
CALL_FAILED: Final = "PROBLEM: Function call failed"
"""LastProcessingResult of mappings of streams."""

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

    From `starting_position` on the members are those of streams; -1 is "until the source drops the record".
    `last_result` is LastProcessingResult. `has_begun`: where it starts in each shard is settled.
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
    starting_position: str | None = None
    starting_at: float | None = None
    parallelization_factor: int = 1
    maximum_record_age_s: int = -1
    maximum_retries: int = -1
    bisects: bool = False
    tumbling_window_s: int = 0
    on_failure_arn: str | None = None
    last_result: str | None = None
    has_begun: bool = False

    @property
    def arn(self) -> str:
        """The mapping's own ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:event-source-mapping:{self.id}"

    @property
    def kind(self) -> Kind:
        """What its source is."""
        return kind_of(self.source_arn)

    @property
    def is_of_stream(self) -> bool:
        """Does it read shards, rather than a queue?"""
        return self.kind != "queue"

    @property
    def tells_a_bucket(self) -> bool:
        """Do its failure records go to a bucket, where they carry the records themselves along?"""
        return self.on_failure_arn is not None and self.on_failure_arn.split(":", 3)[2] == "s3"

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


def kind_of(source_arn: str) -> Kind:
    """Return what an ARN of an event source names."""
    match source_arn.split(":", 3)[2]:
        case "sqs":
            return "queue"
        case "kinesis":
            return "kinesis"
        case "dynamodb":
            return "table"
        case _:
            return "plugin"
