"""What the parameters of a mapping may say, for each kind of source: read from a request, refused in AWS's words.

Pure. `queue_settings` and `stream_settings` return the members of `EventSourceMapping` that a request sets; those it
does not name stay as they are. Source: semantics 03, section 3.1.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from eventrt.core.arn import Arn
from eventrt.core.filters import compile_filters
from eventrt.core.mapping import EventSourceMapping, ProvisionedPollers
from eventrt.core.operators import PatternError
from eventrt.core.refused import Refused
from eventrt.core.stream_filters import compile_stream_filters

MOST_FILTERS: Final = 5
SHORTEST_RECORD_AGE_S: Final = 60

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

_QUEUE_PARAMETERS: Final[Mapping[str, tuple[Any, ...]]] = {
    "ScalingConfig": ({},),
    "ProvisionedPollerConfig": ({},),
}
"""Parameters of queues, and the values that ask for nothing."""

_LATER_DESTINATIONS: Final[Mapping[str, str]] = {
    "sns": "Amazon SNS topics",
    "kafka": "Kafka topics",
}


def invalid(message: str) -> Refused:
    """Return the InvalidParameterValueException with this sentence."""
    return Refused("InvalidParameterValueException", message)


def queue_settings(mapping: EventSourceMapping, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that a request sets on a queue's mapping.

    Raises: Refused: a parameter is of streams, or has a value that it cannot have.
    """
    _refuse_others(request, _STREAM_PARAMETERS)
    settings = _common_settings(request)
    if request.get("FilterCriteria") is not None:
        patterns = _patterns(request["FilterCriteria"])
        try:
            compile_filters(patterns)
        except PatternError as error:
            raise invalid("Invalid filter pattern definition.") from error
        settings["filters"] = patterns
    if request.get("ScalingConfig") is not None:
        settings["maximum_concurrency"] = request["ScalingConfig"].get("MaximumConcurrency")
    if request.get("ProvisionedPollerConfig") is not None:
        settings["provisioned"] = _provisioned(request["ProvisionedPollerConfig"], mapping.provisioned)
    return settings


def stream_settings(mapping: EventSourceMapping, request: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """Return the members that a request sets on a stream's mapping.

    The starting position is read when the mapping has none yet: it never changes.
    Raises: Refused: a parameter is of queues, or has a value that it cannot have.
    """
    _refuse_others(request, _QUEUE_PARAMETERS)
    settings = _common_settings(request)
    if mapping.starting_position is None:
        settings |= _start(mapping, request, now=now)
    for member, setting in _NUMBERS.items():
        if request.get(member) is not None:
            settings[setting] = request[member]
    age_s = settings.get("maximum_record_age_s", -1)
    if 0 <= age_s < SHORTEST_RECORD_AGE_S:
        raise invalid(
            f"Invalid MaximumRecordAgeInSeconds: {age_s}. It must be -1 or from {SHORTEST_RECORD_AGE_S} to 604800."
        )
    if request.get("FilterCriteria") is not None:
        patterns = _patterns(request["FilterCriteria"])
        try:
            compile_stream_filters(patterns, mapping.kind)
        except PatternError as error:
            raise invalid("Invalid filter pattern definition.") from error
        settings["filters"] = patterns
    if request.get("DestinationConfig") is not None:
        settings["on_failure_arn"] = _on_failure(request["DestinationConfig"])
    lanes = settings.get("parallelization_factor", mapping.parallelization_factor)
    if lanes > 1 and settings.get("tumbling_window_s", mapping.tumbling_window_s):
        raise invalid(
            "ParallelizationFactor must be 1 when TumblingWindowInSeconds is set: a window's state is of a whole shard."
        )
    return settings


_NUMBERS: Final = {
    "ParallelizationFactor": "parallelization_factor",
    "MaximumRecordAgeInSeconds": "maximum_record_age_s",
    "MaximumRetryAttempts": "maximum_retries",
    "BisectBatchOnFunctionError": "bisects",
    "TumblingWindowInSeconds": "tumbling_window_s",
}


def _refuse_others(request: Mapping[str, Any], parameters: Mapping[str, tuple[Any, ...]]) -> None:
    for name, nothing in parameters.items():
        value = request.get(name)
        if value is not None and not any(value == empty and type(value) is type(empty) for empty in nothing):
            raise invalid(f"Unsupported {name} parameter for given event source mapping type.")


def _common_settings(request: Mapping[str, Any]) -> dict[str, Any]:
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
    return settings


def _patterns(criteria: Mapping[str, Any]) -> tuple[str, ...]:
    patterns = tuple(entry.get("Pattern") or "" for entry in criteria.get("Filters") or ())
    if len(patterns) > MOST_FILTERS:
        raise invalid(f"Filter criteria can have at most {MOST_FILTERS} filters.")
    return patterns


def _start(mapping: EventSourceMapping, request: Mapping[str, Any], *, now: float) -> dict[str, Any]:
    """Return where the mapping begins."""
    position = request.get("StartingPosition")
    moment = request.get("StartingPositionTimestamp")
    if position is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: "
            "Member must not be null."
        )
    if position != "AT_TIMESTAMP":
        if moment is not None:
            raise invalid("StartingPositionTimestamp is only valid with the starting position AT_TIMESTAMP.")
        return {"starting_position": position}
    if mapping.kind == "table":
        raise invalid(f"Unsupported starting position for arn type: {mapping.source_arn}")
    if moment is None:
        raise invalid("StartingPositionTimestamp is required with the starting position AT_TIMESTAMP.")
    starting_at = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    if starting_at > now:
        raise invalid("StartingPositionTimestamp must not be in the future.")
    return {"starting_position": position, "starting_at": starting_at}


def _on_failure(config: Mapping[str, Any]) -> str | None:
    """Return the ARN that takes failure records; None when it is cleared.

    Source: "SQS std / SNS std / S3" (semantics 03, section 3.1).
    """
    if (config.get("OnSuccess") or {}).get("Destination"):
        raise invalid("Unsupported DestinationConfig parameter for given event source mapping type.")
    text = (config.get("OnFailure") or {}).get("Destination")
    if not text:
        return None
    service = "kafka" if text.startswith("kafka://") else _service_of(text)
    if service in _LATER_DESTINATIONS:
        raise invalid(
            f"{_LATER_DESTINATIONS[service]} as on-failure destinations are not served by eventrt yet; it serves "
            f"standard Amazon SQS queues and Amazon S3 buckets. Destination: {text}"
        )
    if service not in ("sqs", "s3") or text.endswith(".fifo"):
        raise invalid_destination(text)
    return str(text)


def invalid_destination(arn: str) -> Refused:
    """Return the refusal of a destination that takes no failure records, or is not there."""
    return invalid(
        f"The provided destination config DestinationConfig(onSuccess=null, onFailure=OnFailure(destination={arn})) "
        "is invalid."
    )


def _service_of(arn: str) -> str:
    try:
        return Arn.parse(arn).service
    except ValueError:
        return ""


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
