"""Lambda's operations on event source mappings: thin over `sources.mappings`, which holds checks and changes.

Served beside `services.lambda_` under the same service id; the tags of mappings are there.
"""

import base64
import binascii
import uuid
from collections.abc import Callable, Container, Mapping
from typing import Any, Final, TypeVar

from eventrt.aws.call import Answer, Call, operation
from eventrt.core.function_rules import parse_function_name
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.refused import Refused
from eventrt.errors import ApiError
from eventrt.sources import mappings
from eventrt.store.api import Store, Tx

T = TypeVar("T")

PAGE_LIMIT: Final = 100
"""ListEventSourceMappings answers at most so many, whatever MaxItems says."""

_STATUSES: Final = {"AccessDeniedException": 403, "ResourceConflictException": 409, "ResourceInUseException": 400}


class EventSourceMappingService:
    """Create, get, list, update and delete event source mappings.

    Args: plugin_services: returns the services of source ARNs that installed plugins read; asked when it is needed.
    """

    service_id = "lambda"

    def __init__(self, store: Store, plugin_services: Callable[[], Container[str]] = frozenset) -> None:
        self._store = store
        self._plugin_services = plugin_services

    @operation("CreateEventSourceMapping")
    async def create_event_source_mapping(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Keep a new mapping; it is Creating until its poller runs."""
        mapping_id = str(uuid.uuid4())
        where = {"account_id": call.account_id, "region": call.region}
        plugins: Container[str] = ()
        if not (request.get("EventSourceArn") or "").startswith("arn:aws:"):
            plugins = self._plugin_services()
        return await self._write(
            lambda tx: mappings.create(tx, request, mapping_id=mapping_id, plugins=plugins, **where)
        )

    @operation("GetEventSourceMapping")
    async def get_event_source_mapping(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a mapping as it stands."""
        mapping_id = request["UUID"].lower()
        with _Refusals():
            mapping = await self._store.read(
                lambda tx: mappings.find(tx, mapping_id, account_id=call.account_id, region=call.region)
            )
        return configuration_of(mapping)

    @operation("ListEventSourceMappings")
    async def list_event_source_mappings(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a page of mappings in order of their making, all or those of a source or a function."""
        function_arn = None
        if name := request.get("FunctionName"):
            with _Refusals():
                ref = parse_function_name(name, account_id=call.account_id, region=call.region)
            function_arn = ref.qualified_arn
        after = _position_of(request.get("Marker"))
        limit = min(request.get("MaxItems") or PAGE_LIMIT, PAGE_LIMIT)
        page = await self._store.read(
            lambda tx: tx.mappings.page(
                call.account_id,
                call.region,
                source_arn=request.get("EventSourceArn") or None,
                function_arn=function_arn,
                after=after,
                limit=limit,
            )
        )
        answer: dict[str, Any] = {"EventSourceMappings": [configuration_of(mapping) for mapping in page.mappings]}
        if page.next_after is not None:
            answer["NextMarker"] = base64.urlsafe_b64encode(str(page.next_after).encode()).decode()
        return answer

    @operation("UpdateEventSourceMapping")
    async def update_event_source_mapping(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Change what is given; the rest stays. It is Updating, Enabling or Disabling until that is carried out."""
        mapping_id = request["UUID"].lower()
        return await self._write(
            lambda tx: mappings.update(
                tx, request, mapping_id=mapping_id, account_id=call.account_id, region=call.region
            )
        )

    @operation("DeleteEventSourceMapping")
    async def delete_event_source_mapping(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Let a mapping go; it is Deleting until its poller has stopped, and then it is not there."""
        mapping_id = request["UUID"].lower()
        return await self._write(
            lambda tx: mappings.delete(tx, mapping_id=mapping_id, account_id=call.account_id, region=call.region)
        )

    async def _write(self, unit: Callable[[Tx], EventSourceMapping]) -> Answer:
        with _Refusals():
            return configuration_of(await self._store.write(unit))


class _Refusals:
    """Turn what a rule refuses within a `with` block into the caller's answer."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refused):
            raise ApiError(error.code, error.message, status=_STATUSES.get(error.code)) from error


def configuration_of(mapping: EventSourceMapping) -> dict[str, Any]:
    """Return the EventSourceMappingConfiguration of a mapping: what is always there, and what is set."""
    answer: dict[str, Any] = {
        "UUID": mapping.id,
        "EventSourceMappingArn": mapping.arn,
        "EventSourceArn": mapping.source_arn,
        "FunctionArn": mapping.function_arn,
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.batching_window_s,
        "FunctionResponseTypes": list(mapping.response_types),
        "State": mapping.state,
        "StateTransitionReason": mapping.state_reason,
        "LastModified": mapping.modified_at,
    }
    if mapping.filters:
        answer["FilterCriteria"] = {"Filters": [{"Pattern": pattern} for pattern in mapping.filters]}
    if mapping.is_of_stream:
        answer |= _stream_members(mapping)
    if mapping.maximum_concurrency is not None:
        answer["ScalingConfig"] = {"MaximumConcurrency": mapping.maximum_concurrency}
    if mapping.provisioned is not None:
        answer["ProvisionedPollerConfig"] = {
            "MinimumPollers": mapping.provisioned.minimum,
            "MaximumPollers": mapping.provisioned.maximum,
        }
    if mapping.problem is not None:
        answer["LastProcessingResult"] = f"PROBLEM: {mapping.problem}"
    return answer


def _stream_members(mapping: EventSourceMapping) -> dict[str, Any]:
    """Return what the answer has of a stream's mapping only."""
    on_failure = {} if mapping.on_failure_arn is None else {"Destination": mapping.on_failure_arn}
    members: dict[str, Any] = {
        "StartingPosition": mapping.starting_position,
        "ParallelizationFactor": mapping.parallelization_factor,
        "BisectBatchOnFunctionError": mapping.bisects,
        "MaximumRecordAgeInSeconds": mapping.maximum_record_age_s,
        "MaximumRetryAttempts": mapping.maximum_retries,
        "TumblingWindowInSeconds": mapping.tumbling_window_s,
        "DestinationConfig": {"OnFailure": on_failure},
        "LastProcessingResult": mapping.last_result,
    }
    if mapping.starting_at is not None:
        members["StartingPositionTimestamp"] = mapping.starting_at
    return members


def _position_of(marker: str | None) -> int:
    if not marker:
        return 0
    try:
        position = int(base64.urlsafe_b64decode(marker.encode("ascii")))
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise ApiError("InvalidParameterValueException", "Invalid Marker") from error
    if not 0 <= position < 2**63:
        raise ApiError("InvalidParameterValueException", "Invalid Marker")
    return position
