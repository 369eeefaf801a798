"""What a mapping may say: its parameters for a queue, their defaults, and every refusal in AWS's words.

Pure: requests come as the codec read them (members by their model names, inside the model's ranges), and the
queue and the function as the store knows them. A broken rule is a `Refused`.
Source: semantics 03, section 3.1; docs/behaviour/mappings.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from eventrt.core.arn import Arn
from eventrt.core.filters import compile_filters
from eventrt.core.mapping import EventSourceMapping, ProvisionedPollers, State
from eventrt.core.messages import Queue
from eventrt.core.operators import PatternError
from eventrt.core.refused import Refused

MOST_FILTERS: Final = 5
MOST_TAGS: Final = 50
FIFO_BATCH_SIZE: Final = 10
UNWINDOWED_BATCH_SIZE: Final = 10

_LATER_SOURCES: Final[Mapping[str, str]] = {
    "kinesis": "Kinesis streams",
    "dynamodb": "DynamoDB streams",
    "kafka": "Amazon MSK clusters",
    "mq": "Amazon MQ brokers",
    "rds": "DocumentDB clusters",
}

_STREAM_PARAMETERS: Final[Mapping[str, tuple[Any, ...]]] = {
    "StartingPosition": (),
    "StartingPositionTimestamp": (),
    "ParallelizationFactor": (1,),
    "MaximumRecordAgeInSeconds": (-1,),
    "MaximumRetryAttempts": (-1,),
    "BisectBatchOnFunctionError": (False,),
    "TumblingWindowInSeconds": (0,),
    "DestinationConfig": ({}, {"OnFailure": {}}, {"OnSuccess": {}}, {"OnSuccess": {}, "OnFailure": {}}),
}
"""Parameters of stream sources, and the values that ask for nothing."""


def invalid(message: str) -> Refused:
    """Return the InvalidParameterValueException with this sentence."""
    return Refused("InvalidParameterValueException", message)


def queue_missing() -> Refused:
    """Return the refusal of a mapping whose queue is not there."""
    return invalid(
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
        "SQS Error Message: The specified queue does not exist."
    )


def function_missing() -> Refused:
    """Return the refusal of a mapping whose function is not there."""
    return invalid("Function does not exist")


def mapping_missing() -> Refused:
    """Return the 404 of an unknown UUID."""
    return Refused("ResourceNotFoundException", "The resource you requested does not exist.")


def already_mapped(mapping: EventSourceMapping) -> Refused:
    """Return the 409 of a second mapping between the same queue and function."""
    return Refused(
        "ResourceConflictException",
        f'An event source mapping with SQS arn (" {mapping.source_arn} ") and function '
        f'(" {mapping.function_name} ") already exists. Please update or delete the existing mapping with '
        f"UUID {mapping.id}",
    )


def in_use(verb: str) -> Refused:
    """Return the refusal of an update or a delete (`verb`) during a transition."""
    return Refused("ResourceInUseException", f"Cannot {verb} the event source mapping because it is in use.")


def read_source(arn_text: str | None, *, region: str) -> Arn:
    """Return the queue's ARN that a request names.

    Raises: Refused: there is none, it is of another region, no event source, or one not served yet (by name).
    """
    try:
        arn = Arn.parse(arn_text or "")
    except ValueError:
        raise invalid("Unrecognized event source.") from None
    if arn.service in _LATER_SOURCES:
        raise invalid(
            f"Event source mappings for {_LATER_SOURCES[arn.service]} ({arn.service}) are not served by eventrt "
            f"yet; it serves Amazon SQS queues. Event source: {arn}"
        )
    if arn.service != "sqs" or arn.region != region or not arn.account_id or ":" in arn.resource:
        raise invalid("Unrecognized event source.")
    return arn


def new_mapping(
    request: Mapping[str, Any],
    *,
    mapping_id: str,
    account_id: str,
    region: str,
    source_arn: str,
    function_arn: str,
    now: float,
) -> EventSourceMapping:
    """Return the mapping that a create request asks for, in state Creating.

    Raises: Refused: a parameter is of another kind of source, or breaks a rule that needs no queue.
    """
    tags = request.get("Tags") or {}
    if len(tags) > MOST_TAGS:
        raise invalid("Number of tags exceeds resource tag limit.")
    blank = EventSourceMapping(
        id=mapping_id,
        account_id=account_id,
        region=region,
        source_arn=source_arn,
        function_arn=function_arn,
        state="Creating",
        modified_at=now,
        tags=dict(tags),
    )
    return _with_policy(blank, request)


def changed_mapping(
    mapping: EventSourceMapping, request: Mapping[str, Any], *, function_arn: str, now: float
) -> EventSourceMapping:
    """Return the mapping that an update request asks for, in the transition that leads there.

    A member that is not given leaves its setting as it is; empty FilterCriteria and ScalingConfig clear theirs.
    Raises: Refused: a parameter is of another kind of source, or breaks a rule that needs no queue.
    """
    changed = _with_policy(mapping, request)
    state: State = "Updating"
    if changed.enabled != mapping.enabled:
        state = "Enabling" if changed.enabled else "Disabling"
    return replace(changed, function_arn=function_arn, state=state, modified_at=now, state_reason=mapping.state_reason)


def deleting(mapping: EventSourceMapping, *, now: float) -> EventSourceMapping:
    """Return the mapping on its way out."""
    return replace(mapping, state="Deleting", modified_at=now)


def check_against(mapping: EventSourceMapping, queue: Queue, *, timeout_s: int) -> None:
    """Let a mapping pass that its queue and its function (of this timeout) allow.

    Raises: Refused: FIFO queues take no window and small batches; a message must stay invisible for as long as
        the function may run.
    """
    if queue.is_fifo:
        if mapping.batching_window_s:
            raise invalid("Maximum batch window in seconds is not supported for FIFO queues.")
        if mapping.batch_size > FIFO_BATCH_SIZE:
            raise invalid(f"Batch size must be less than or equal to {FIFO_BATCH_SIZE} for FIFO queues.")
    if mapping.batch_size > UNWINDOWED_BATCH_SIZE and mapping.batching_window_s < 1:
        raise invalid("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10")
    if queue.visibility_timeout_s < timeout_s:
        raise invalid(
            f"Queue visibility timeout: {queue.visibility_timeout_s} seconds is less than Function timeout: "
            f"{timeout_s} seconds"
        )


def _with_policy(mapping: EventSourceMapping, request: Mapping[str, Any]) -> EventSourceMapping:
    for name, nothing in _STREAM_PARAMETERS.items():
        value = request.get(name)
        if value is not None and not any(value == empty and type(value) is type(empty) for empty in nothing):
            raise invalid(f"Unsupported {name} parameter for given event source mapping type.")
    if request.get("KMSKeyArn"):
        raise invalid("KMSKeyArn is not served by eventrt: filter criteria are kept unencrypted here.")
    if (request.get("MetricsConfig") or {}).get("Metrics"):
        raise invalid("MetricsConfig is not served by eventrt yet: mappings publish no metrics.")
    settings: dict[str, Any] = {}
    if request.get("Enabled") is not None:
        settings["enabled"] = request["Enabled"]
    if request.get("BatchSize") is not None:
        settings["batch_size"] = request["BatchSize"]
    if request.get("MaximumBatchingWindowInSeconds") is not None:
        settings["batching_window_s"] = request["MaximumBatchingWindowInSeconds"]
    if request.get("FunctionResponseTypes") is not None:
        settings["response_types"] = tuple(request["FunctionResponseTypes"])
    if request.get("FilterCriteria") is not None:
        settings["filters"] = _filters(request["FilterCriteria"])
    if request.get("ScalingConfig") is not None:
        settings["maximum_concurrency"] = request["ScalingConfig"].get("MaximumConcurrency")
    if request.get("ProvisionedPollerConfig") is not None:
        settings["provisioned"] = _provisioned(request["ProvisionedPollerConfig"], mapping.provisioned)
    changed = replace(mapping, **settings)
    if changed.provisioned is not None and changed.maximum_concurrency is not None:
        raise invalid("ScalingConfig and ProvisionedPollerConfig cannot both be set on an event source mapping.")
    return changed


def _filters(criteria: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = tuple(entry.get("Pattern") or "" for entry in criteria.get("Filters") or ())
    if len(patterns) > MOST_FILTERS:
        raise invalid(f"Filter criteria can have at most {MOST_FILTERS} filters.")
    try:
        compile_filters(patterns)
    except PatternError as error:
        raise invalid("Invalid filter pattern definition.") from error
    return patterns


def _provisioned(config: Mapping[str, Any], present: ProvisionedPollers | None) -> ProvisionedPollers | None:
    """Return the pollers of provisioned mode; an empty configuration leaves that mode."""
    if config.get("PollerGroupName"):
        raise invalid("Unsupported PollerGroupName parameter for given event source mapping type.")
    if config.get("MinimumPollers") is None and config.get("MaximumPollers") is None:
        return None
    default = present or ProvisionedPollers()
    minimum = config.get("MinimumPollers")
    maximum = config.get("MaximumPollers")
    pollers = ProvisionedPollers(
        minimum=default.minimum if minimum is None else minimum,
        maximum=default.maximum if maximum is None else maximum,
    )
    if pollers.minimum < 2 or pollers.maximum < 2:
        raise invalid("MinimumPollers and MaximumPollers must be at least 2 for Amazon SQS event sources.")
    if pollers.minimum > pollers.maximum:
        raise invalid("MinimumPollers must be less than or equal to MaximumPollers.")
    return pollers
