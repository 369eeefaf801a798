"""Mappings as the control plane changes them: create, update, delete; plain functions on a transaction.

Each checks what a request asks for against the rules (`core.mapping_rules`), the source and the function, and keeps
it in a state of transition; the supervisor of the pollers carries it out. Where an embedded stream's mapping starts
is fixed in the unit that first enables it, so that nothing is missed that comes after the answer. A broken rule is a
`Refused`.
"""

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from eventrt.core import mapping_rules as rules
from eventrt.core.function_rules import FunctionRef, parse_function_name
from eventrt.core.functions import FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.mapping_policies import invalid_destination
from eventrt.sources import shards
from eventrt.store.api import Tx


def create(
    tx: Tx,
    request: Mapping[str, Any],
    *,
    mapping_id: str,
    account_id: str,
    region: str,
    plugins: Container[str] = (),
) -> EventSourceMapping:
    """Keep the mapping that a CreateEventSourceMapping request asks for, in state Creating, and return it.

    Args:
        request: by the model's member names, within its ranges. mapping_id: the new UUID.
        plugins: the services of source ARNs that installed plugins read.
    Raises: Refused: a rule of semantics 03, section 3.1, or a mapping between the two exists.
    """
    source = rules.read_source(request.get("EventSourceArn"), region=region, plugins=plugins)
    target = parse_function_name(request["FunctionName"], account_id=account_id, region=region)
    mapping = rules.new_mapping(
        request,
        mapping_id=mapping_id,
        account_id=account_id,
        region=region,
        source_arn=str(source),
        function_arn=target.qualified_arn,
        now=tx.now,
    )
    _check(tx, mapping, target)
    existing = tx.mappings.find_pair(mapping.source_arn, mapping.function_arn)
    if existing is not None:
        raise rules.already_mapped(existing)
    tx.mappings.insert(mapping)
    return _begun(tx, mapping)


def update(tx: Tx, request: Mapping[str, Any], *, mapping_id: str, account_id: str, region: str) -> EventSourceMapping:
    """Keep what an UpdateEventSourceMapping request changes, in the transition that leads there; return it.

    Raises: Refused: as for `create`; the mapping is not there, or in a transition already.
    """
    mapping = find(tx, mapping_id, account_id=account_id, region=region)
    if mapping.is_in_transition:
        raise rules.in_use("update")
    target = parse_function_name(
        request.get("FunctionName") or mapping.function_arn, account_id=account_id, region=region
    )
    changed = rules.changed_mapping(mapping, request, function_arn=target.qualified_arn, now=tx.now)
    _check(tx, changed, target)
    if changed.function_arn != mapping.function_arn:
        existing = tx.mappings.find_pair(changed.source_arn, changed.function_arn)
        if existing is not None:
            raise rules.already_mapped(existing)
    tx.mappings.replace(changed)
    return _begun(tx, changed)


def delete(tx: Tx, *, mapping_id: str, account_id: str, region: str) -> EventSourceMapping:
    """Let a mapping go, and return it in state Deleting.

    Raises: Refused: it is not there, or in a transition.
    """
    mapping = find(tx, mapping_id, account_id=account_id, region=region)
    if mapping.is_in_transition:
        raise rules.in_use("delete")
    deleting = rules.deleting(mapping, now=tx.now)
    tx.mappings.replace(deleting)
    return deleting


def find(tx: Tx, mapping_id: str, *, account_id: str, region: str) -> EventSourceMapping:
    """Return the account's mapping of this UUID.

    Raises: Refused: there is none in this account and region.
    """
    mapping = tx.mappings.get(mapping_id)
    if mapping is None or (mapping.account_id, mapping.region) != (account_id, region):
        raise rules.mapping_missing()
    return mapping


def find_by_arn(tx: Tx, arn: str) -> EventSourceMapping | None:
    """Return the mapping that an ARN names (as the tag operations do), or None."""
    mapping = tx.mappings.get(arn.rpartition(":")[2])
    return mapping if mapping is not None and mapping.arn == arn else None


def _begun(tx: Tx, mapping: EventSourceMapping) -> EventSourceMapping:
    """Fix where an enabled mapping of an embedded stream starts, once; a plugin's is asked by its poller."""
    if mapping.has_begun or not mapping.enabled or mapping.kind not in ("kinesis", "table"):
        return mapping
    shards.begin(tx, mapping)
    begun = replace(mapping, has_begun=True)
    tx.mappings.replace(begun)
    return begun


def _check(tx: Tx, mapping: EventSourceMapping, target: FunctionRef) -> None:
    """Let a mapping pass that its function and its source allow."""
    function = tx.functions.get(*target.key)
    if function is None or target.qualifier not in (None, function.version):
        raise rules.function_missing()
    if mapping.is_of_stream:
        _check_stream(tx, mapping)
    else:
        _check_queue(tx, mapping, function)


def _check_queue(tx: Tx, mapping: EventSourceMapping, function: FunctionVersion) -> None:
    queue = tx.queues.by_arn(mapping.source_arn)
    if queue is None:
        raise rules.queue_missing()
    if queue.account_id != mapping.account_id:
        raise rules.queue_denied()
    rules.check_against(mapping, queue, timeout_s=function.timeout_s)


def _check_stream(tx: Tx, mapping: EventSourceMapping) -> None:
    if mapping.kind in ("kinesis", "table"):
        stream = tx.streams.by_arn(mapping.source_arn)
        if stream is None:
            raise rules.stream_missing(mapping.source_arn)
        if stream.account_id != mapping.account_id:
            raise rules.stream_denied(mapping.source_arn)
    if mapping.on_failure_arn is None:
        return
    if mapping.tells_a_bucket:
        bucket = tx.buckets.find(mapping.on_failure_arn.rpartition(":")[2])
        if bucket is None or bucket.folder:
            raise invalid_destination(mapping.on_failure_arn)
    else:
        queue = tx.queues.by_arn(mapping.on_failure_arn)
        if queue is None or queue.is_fifo or queue.account_id != mapping.account_id:
            raise invalid_destination(mapping.on_failure_arn)
