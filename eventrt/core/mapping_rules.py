"""What a mapping may be: its source, its identity, its changes, and every refusal in AWS's words.

Pure: requests come as the codec read them (members by their model names, inside the model's ranges), and the
source and the function as the store knows them. A broken rule is a `Refused`. What the parameters of each kind of
source may say is in `core.mapping_policies`. Source: semantics 03, section 3.1; docs/behaviour/mappings.md and
stream-mappings.md.
"""

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any, Final

from eventrt.core.arn import Arn
from eventrt.core.function_rules import merge_tags
from eventrt.core.mapping import NOTHING_PROCESSED, USER_ACTION, EventSourceMapping, State
from eventrt.core.mapping_policies import invalid, queue_settings, stream_settings
from eventrt.core.messages import Queue
from eventrt.core.refused import Refused

FIFO_BATCH_SIZE: Final = 10
UNWINDOWED_BATCH_SIZE: Final = 10
STREAM_BATCH_SIZE: Final = 100

_LATER_SOURCES: Final[Mapping[str, str]] = {
    "kafka": "Amazon MSK clusters",
    "mq": "Amazon MQ brokers",
    "rds": "DocumentDB clusters",
}


def queue_missing() -> Refused:
    """Return the refusal of a mapping whose queue is not there."""
    return invalid(
        "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. "
        "SQS Error Message: The specified queue does not exist."
    )


def stream_missing(source_arn: str) -> Refused:
    """Return the refusal of a mapping whose stream is not there."""
    return invalid(f"Stream not found: {source_arn}")


def queue_denied() -> Refused:
    """Return the refusal of a mapping whose queue is another account's: accounts are worlds of their own."""
    return invalid("The provided execution role does not have permissions to call ReceiveMessage on SQS")


def stream_denied(source_arn: str) -> Refused:
    """Return the refusal of a mapping whose stream is another account's; the sentence is unverified."""
    return invalid(
        f"Cannot access stream {source_arn}. Please ensure the role can perform the GetRecords, GetShardIterator, "
        "DescribeStream, ListShards, and ListStreams Actions on your stream in IAM."
    )


def function_missing() -> Refused:
    """Return the refusal of a mapping whose function is not there."""
    return invalid("Function does not exist")


def mapping_missing() -> Refused:
    """Return the 404 of an unknown UUID."""
    return Refused("ResourceNotFoundException", "The resource you requested does not exist.")


def already_mapped(mapping: EventSourceMapping) -> Refused:
    """Return the 409 of a second mapping between the same source and function."""
    advice = f"Please update or delete the existing mapping with UUID {mapping.id}"
    pair = f'arn (" {mapping.source_arn} ") and function (" {mapping.function_name} ")'
    if mapping.is_of_stream:
        return Refused(
            "ResourceConflictException", f"The event source {pair} provided mapping already exists. {advice}"
        )
    return Refused("ResourceConflictException", f"An event source mapping with SQS {pair} already exists. {advice}")


def in_use(verb: str) -> Refused:
    """Return the refusal of an update or a delete (`verb`) during a transition."""
    return Refused("ResourceInUseException", f"Cannot {verb} the event source mapping because it is in use.")


def read_source(arn_text: str | None, *, region: str, plugins: Container[str] = ()) -> Arn:
    """Return the source's ARN that a request names.

    Args: plugins: the services that installed plugins read.
    Raises: Refused: there is none, it is of another region, no event source, or one not served yet (by name).
    """
    try:
        arn = Arn.parse(arn_text or "")
    except ValueError:
        raise invalid("Unrecognized event source.") from None
    if arn.service in plugins:
        return arn
    if arn.service in _LATER_SOURCES:
        raise invalid(
            f"Event source mappings for {_LATER_SOURCES[arn.service]} ({arn.service}) are not served by eventrt "
            "yet; it serves Amazon SQS queues, Kinesis streams, DynamoDB streams, and what poller plugins read. "
            f"Event source: {arn}"
        )
    if arn.partition == "eventrt":
        raise invalid(f"Unrecognized event source: no poller plugin for {arn.service!r} is installed.")
    if arn.partition != "aws" or arn.region != region or not arn.account_id or not _is_source(arn):
        raise invalid("Unrecognized event source.")
    return arn


def _is_source(arn: Arn) -> bool:
    """Does the ARN have the form of a queue's, a Kinesis stream's, its consumer's, or a table's stream's?"""
    steps = arn.resource.split("/")
    match arn.service:
        case "sqs":
            return ":" not in arn.resource
        case "kinesis":
            return steps[0] == "stream" and (len(steps) == 2 or (len(steps) == 4 and steps[2] == "consumer"))
        case "dynamodb":
            return len(steps) == 4 and steps[0] == "table" and steps[2] == "stream"
        case _:
            return False


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

    Raises: Refused: a parameter is of another kind of source, or breaks a rule that needs no look at the source.
    """
    tags = merge_tags({}, request.get("Tags") or {})
    blank = EventSourceMapping(
        id=mapping_id,
        account_id=account_id,
        region=region,
        source_arn=source_arn,
        function_arn=function_arn,
        state="Creating",
        modified_at=now,
        tags=tags,
    )
    if blank.is_of_stream:
        blank = replace(blank, batch_size=STREAM_BATCH_SIZE, state_reason=USER_ACTION, last_result=NOTHING_PROCESSED)
        return replace(blank, **stream_settings(blank, request, now=now))
    return _with_queue_settings(blank, request)


def changed_mapping(
    mapping: EventSourceMapping, request: Mapping[str, Any], *, function_arn: str, now: float
) -> EventSourceMapping:
    """Return the mapping that an update request asks for, in the transition that leads there.

    A member that is not given leaves its setting as it is; empty FilterCriteria, ScalingConfig and OnFailure clear
    theirs.
    Raises: Refused: a parameter is of another kind of source, or breaks a rule that needs no look at the source.
    """
    if mapping.is_of_stream:
        changed = replace(mapping, **stream_settings(mapping, request, now=now))
    else:
        changed = _with_queue_settings(mapping, request)
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


def _with_queue_settings(mapping: EventSourceMapping, request: Mapping[str, Any]) -> EventSourceMapping:
    changed = replace(mapping, **queue_settings(mapping, request))
    if changed.provisioned is not None and changed.maximum_concurrency is not None:
        raise invalid("ScalingConfig and ProvisionedPollerConfig cannot both be set on an event source mapping.")
    return changed
