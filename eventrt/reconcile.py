"""Declared things become so: what the configuration file declares is created or updated to match, at start.

One unit of work: all of it or nothing. What was made through the API and is not declared stays untouched; what was
declared once and is not any more is named in the plan and left. The rules are the API's own, from `core`.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from eventrt.config import requests
from eventrt.config.declared import (
    Declared,
    DeclaredFunction,
    DeclaredMapping,
    DeclaredQueue,
    DeclaredStream,
    DeclaredTable,
)
from eventrt.config.declared_buckets import DeclaredBucket, DeclaredNotification
from eventrt.config.references import folder_of
from eventrt.config.settings import Settings
from eventrt.core import queue_attributes
from eventrt.core.function_rules import SERVED_RUNTIMES, FunctionRef
from eventrt.core.functions import CodePackage
from eventrt.core.mapping_rules import changed_mapping
from eventrt.core.messages import Queue
from eventrt.core.refused import Refused
from eventrt.core.streams import Stream
from eventrt.core.tables.definitions import new_table
from eventrt.errors import ConfigurationError
from eventrt.invoker import functions
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.plugins import Plugins
from eventrt.sources import mappings, streams, table_streams
from eventrt.sources.buckets import Buckets
from eventrt.store.api import Store, Tx

Done = Literal["created", "updated", "unchanged", "left"]

_DECLARED = "declared"
"""The note that holds what was declared at the last start."""

_LOG = structlog.get_logger("eventrt.reconcile")


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the plan: what was done to which queue, function or mapping.

    `left`: it was declared at the last start, is not any more, and stays.
    """

    kind: str
    name: str
    done: Done
    detail: str = ""


async def reconcile(
    settings: Settings, store: Store, packages: Packages, interpreters: Interpreters, shelf: Buckets
) -> Sequence[Step]:
    """Make the declared things be as declared; return what had to be done, and log it.

    Args:
        interpreters: say whether another interpreter stands in for a Runtime; with `runtime.strict` it is refused.
        shelf: keeps who is told of what happens in buckets.
    Raises: ConfigurationError: a declared thing is refused; nothing was changed.
    """
    declared = settings.declared
    code = {
        function.code: await packages.describe_folder(folder_of(settings.source, function.code))
        for function in declared.functions
    }
    remarks: dict[str, str | None] = {}
    for function in declared.functions:
        if function.runtime in SERVED_RUNTIMES and function.runtime not in remarks:
            with _blaming("function", function.name):
                remarks[function.runtime] = await interpreters.check(function.runtime)
    limit = settings.lambda_.account_concurrency
    steps = await store.write(
        lambda tx: apply(
            tx, declared, source=settings.source, code=code, account_concurrency=limit, remarks=remarks, shelf=shelf
        )
    )
    for step in steps:
        if step.done != "unchanged":
            log = _LOG.warning if step.done == "left" else _LOG.info
            log(f"declared_{step.kind}.{step.done}", name=step.name, **({"detail": step.detail} if step.detail else {}))
    if steps:
        counts = {done: sum(step.done == done for step in steps) for done in ("created", "updated", "unchanged")}
        _LOG.info("declarations.reconciled", **counts)
    return steps


def apply(
    tx: Tx,
    declared: Declared,
    *,
    source: Path | None,
    code: Mapping[str, CodePackage],
    account_concurrency: int,
    remarks: Mapping[str, str | None],
    shelf: Buckets,
) -> list[Step]:
    """Create and update what differs, in the order things need each other; the unit of work.

    Args: code: the code package of each declared folder, by the path as declared. remarks: by runtime, what a
        function's state says of its interpreter.
    Raises: ConfigurationError: a thing is refused.
    """
    steps: list[Step] = []
    for queue in _dead_letters_first(declared.queues):
        with _blaming("queue", queue.name):
            steps.append(Step("queue", queue.name, *_queue(tx, queue)))
    for function in declared.functions:
        with _blaming("function", function.name):
            done = _function(tx, function, source, code[function.code], remarks.get(function.runtime))
            if _reserve(tx, function, account_concurrency) and done == "unchanged":
                done = "updated"
            steps.append(Step("function", function.name, done))
    for stream in declared.streams:
        with _blaming("stream", stream.name):
            steps.append(Step("stream", stream.name, *_stream(tx, stream)))
    for table in declared.tables:
        with _blaming("table", table.name):
            steps.append(Step("table", table.name, *_table(tx, table)))
    for bucket in declared.buckets:
        with _blaming("bucket", bucket.name):
            steps.append(Step("bucket", bucket.name, *_bucket(tx, bucket, source)))
    for name in dict.fromkeys(notification.bucket for notification in declared.notifications):
        with _blaming("notification", name):
            told = [notification for notification in declared.notifications if notification.bucket == name]
            steps.append(Step("notification", name, _notification(tx, shelf, name, told)))
    for mapping in declared.mappings:
        with _blaming("mapping", mapping.title):
            steps.append(Step("mapping", mapping.title, _mapping(tx, mapping)))
    return steps + _left(tx, declared)


def _left(tx: Tx, declared: Declared) -> list[Step]:
    """Return what was declared at the last start and is not any more, and note what is declared now."""
    now = {
        "queue": [_note(queue, queue.name) for queue in declared.queues],
        "function": [_note(function, function.name) for function in declared.functions],
        "stream": [_note(stream, stream.name) for stream in declared.streams],
        "table": [_note(table, table.name) for table in declared.tables],
        "bucket": [_note(bucket, bucket.name) for bucket in declared.buckets],
        "notification": [_note(one, one.bucket) for one in declared.notifications],
        "mapping": [_note(mapping, mapping.title) for mapping in declared.mappings],
    }
    noted = tx.notes.get(_DECLARED)
    before: dict[str, list[list[str]]] = orjson.loads(noted) if noted else {}
    if before != now:
        tx.notes.put(_DECLARED, orjson.dumps(now).decode())
    detail = "it is not declared any more; delete it through the API if it is not wanted"
    return [
        Step(kind, name, "left", detail)
        for kind, present in now.items()
        for account, region, name in dict.fromkeys(tuple(one) for one in before.get(kind, ()))
        if [account, region, name] not in present
    ]


def _note(
    thing: DeclaredQueue
    | DeclaredFunction
    | DeclaredStream
    | DeclaredTable
    | DeclaredBucket
    | DeclaredNotification
    | DeclaredMapping,
    name: str,
) -> list[str]:
    return [thing.account, thing.region, name]


@contextmanager
def _blaming(kind: str, name: str) -> Iterator[None]:
    """Turn a refusal into one that names the declared thing."""
    try:
        yield
    except Refused as refused:
        raise ConfigurationError(f"the declared {kind} {name} is refused: {refused.message}") from refused


def _dead_letters_first(queues: Sequence[DeclaredQueue]) -> list[DeclaredQueue]:
    """Order queues so that each comes after its dead-letter queue; a circle keeps its order."""
    by_arn = {requests.queue_arn(q.name, account=q.account, region=q.region): q for q in queues}
    ordered: dict[str, DeclaredQueue] = {}

    def visit(arn: str, above: frozenset[str]) -> None:
        if arn in by_arn and arn not in ordered and arn not in above:
            visit(requests.dead_letter_arn(by_arn[arn]), above | {arn})
            ordered[arn] = by_arn[arn]

    for arn in by_arn:
        visit(arn, frozenset())
    return list(ordered.values())


def _queue(tx: Tx, declared: DeclaredQueue) -> tuple[Done, str]:
    asked = requests.queue_attributes(declared)
    is_fifo = requests.is_fifo(declared)
    present = tx.queues.find(declared.account, declared.region, declared.name)
    if present is None:
        changes = queue_attributes.normalise(asked, is_fifo=is_fifo)
        wanted = queue_attributes.merged({}, changes)
        made = tx.queues.create(declared.account, declared.region, declared.name, wanted, declared.tags)
        _check_dead_letters(tx, made)
        return "created", ""
    asked.setdefault("RedrivePolicy", "")
    changes = queue_attributes.normalise(asked, is_fifo=is_fifo, present=present.attributes)
    wanted = queue_attributes.merged(present.attributes, changes)
    differing = sorted(
        name
        for name in {*wanted, *present.attributes}
        if wanted.get(name) != present.attributes.get(name, queue_attributes.DEFAULTS.get(name))
    )
    if differing:
        _check_dead_letters(tx, tx.queues.set_attributes(present, wanted))
    if dict(present.tags) != declared.tags:
        tx.queues.set_tags(present, declared.tags)
        differing.append("tags")
    return ("updated", ", ".join(differing)) if differing else ("unchanged", "")


def _check_dead_letters(tx: Tx, queue: Queue) -> None:
    if queue.redrive is not None:
        target = tx.queues.by_arn(queue.redrive.dead_letter_target_arn)
        queue_attributes.check_dead_letter_queue(queue, target, queue.attributes["RedrivePolicy"])


def _function(tx: Tx, declared: DeclaredFunction, source: Path | None, code: CodePackage, remark: str | None) -> Done:
    settings = functions.FunctionSettings(
        runtime=declared.runtime,
        handler=declared.handler,
        role=requests.role_arn(declared),
        code=code,
        description=declared.description,
        timeout_s=declared.timeout_s,
        memory_mb=declared.memory_mb,
        ephemeral_storage_mb=declared.ephemeral_storage_mb,
        environment=declared.environment or None,
        packages=str(folder_of(source, declared.packages)) if declared.packages else None,
        dead_letter_arn=requests.function_dead_letter_arn(declared),
    )
    return functions.declare(tx, _ref(declared).key, settings, declared.tags, remark=remark)


def _reserve(tx: Tx, declared: DeclaredFunction, account_concurrency: int) -> bool:
    """Reserve the declared concurrency; return whether that was a change."""
    ref, wanted = _ref(declared), declared.reserved_concurrency
    if functions.reserved_concurrency(tx, ref) == wanted:
        return False
    functions.reserve_concurrency(tx, ref, wanted, account_concurrency=account_concurrency)
    return True


def _ref(declared: DeclaredFunction) -> FunctionRef:
    return FunctionRef(declared.account, declared.region, declared.name)


def _stream(tx: Tx, declared: DeclaredStream) -> tuple[Done, str]:
    """Make a stream, or set its retention and tags; the number of its shards is left as it has become."""
    present = tx.streams.find(declared.account, declared.region, declared.name)
    retention_s = declared.retention_h * 3600
    if present is None:
        made = Stream(
            0,
            declared.account,
            declared.region,
            declared.name,
            "kinesis",
            tx.now,
            retention_s=retention_s,
            tags=declared.tags,
        )
        streams.create(tx, made, shard_count=declared.shards)
        return "created", ""
    differing: list[str] = []
    if present.retention_s != retention_s:
        # What has expired under the old retention stays expired under a longer one.
        present = tx.streams.update(present, retention_s=retention_s, floor=present.horizon(tx.now))
        tx.announce(("stream", present.id))
        differing.append("retention_h")
    if dict(present.tags) != declared.tags:
        tx.streams.tag(present, declared.tags)
        differing.append("tags")
    return ("updated", ", ".join(differing)) if differing else ("unchanged", "")


def _table(tx: Tx, declared: DeclaredTable) -> tuple[Done, str]:
    """Make a table, or switch its stream and set its tags."""
    wanted = new_table(
        requests.table_request(declared),
        account_id=declared.account,
        region=declared.region,
        name=declared.name,
        uuid=str(uuid.uuid4()),
        now=tx.now,
    )
    present = tx.tables.find(declared.account, declared.region, declared.name)
    if present is None:
        made = tx.tables.create(wanted)
        if declared.stream:
            table_streams.enable(tx, made, declared.stream)
        return "created", ""
    if present.key != wanted.key:
        raise Refused("ValidationException", "its keys differ from those it was made with; make it anew")
    differing: list[str] = []
    stream = table_streams.stream_of(tx, present) if present.is_streaming else None
    if (stream.view_type if stream is not None else "") != declared.stream:
        if stream is not None:
            table_streams.disable(tx, present)
            present = tx.tables.find(declared.account, declared.region, declared.name) or present
        if declared.stream:
            present = table_streams.enable(tx, present, declared.stream)
        differing.append("stream")
    if dict(present.tags) != declared.tags:
        tx.tables.update(present, tags=declared.tags)
        differing.append("tags")
    return ("updated", ", ".join(differing)) if differing else ("unchanged", "")


def _source_arn(tx: Tx, declared: DeclaredMapping) -> str:
    where = {"account": declared.account, "region": declared.region}
    if declared.queue:
        return requests.queue_arn(declared.queue, **where)
    if declared.stream:
        return requests.stream_arn(declared.stream, **where)
    if not declared.table:
        return declared.source
    table = tx.tables.find(declared.account, declared.region, declared.table)
    stream = table_streams.stream_of(tx, table) if table is not None and table.is_streaming else None
    if stream is None:
        raise Refused("ResourceNotFoundException", f"the table {declared.table} has no stream")
    return stream.arn


def _bucket(tx: Tx, declared: DeclaredBucket, source: Path | None) -> tuple[Done, str]:
    folder = str(folder_of(source, declared.folder)) if declared.folder else ""
    present = tx.buckets.find(declared.name)
    if present is None:
        made = tx.buckets.create(declared.name, declared.account, declared.region, folder=folder)
        if declared.versioning:
            tx.buckets.change(made, versioning="Enabled")
        return "created", ""
    if present.account_id != declared.account:
        raise Refused("BucketAlreadyExists", f"the bucket belongs to the account {present.account_id}")
    if bool(present.folder) != bool(folder) and not tx.buckets.is_empty(present):
        raise Refused(
            "BucketNotEmpty",
            f"it is not empty, and its objects are {'in ' + present.folder if present.folder else 'kept here'}; "
            "empty it first",
        )
    differing: list[str] = []
    if present.folder != folder:
        present = tx.buckets.change(present, folder=folder)
        differing.append("folder")
    if declared.versioning and present.versioning != "Enabled":
        tx.buckets.change(present, versioning="Enabled")
        differing.append("versioning")
    return ("updated", ", ".join(differing)) if differing else ("unchanged", "")


def _notification(tx: Tx, shelf: Buckets, name: str, declared: Sequence[DeclaredNotification]) -> Done:
    """Have those told who are declared, beside those that the API named."""
    bucket = tx.buckets.find(name)
    if bucket is None:
        raise Refused("NoSuchBucket", f"there is no bucket {name}")
    wanted = requests.notification_request(declared)
    present: Mapping[str, list[Mapping[str, Any]]] = bucket.settings.get("notification", {})
    for kind, entries in present.items():
        others = [entry for entry in entries if not entry["Id"].startswith(requests.DECLARED_ID)]
        if others:
            wanted[kind] = others + wanted.get(kind, [])
    if wanted == present:
        return "unchanged"
    shelf.set_notification(tx, bucket, wanted, request_id=str(uuid.uuid4()), host_id="eventrt", checks=True)
    return "updated" if present else "created"


def _mapping(tx: Tx, declared: DeclaredMapping) -> Done:
    where = {"account_id": declared.account, "region": declared.region}
    source_arn = _source_arn(tx, declared)
    function_arn = requests.function_arn(declared.function, account=declared.account, region=declared.region)
    present = tx.mappings.find_pair(source_arn, function_arn)
    if present is not None and present.state == "Deleting":
        tx.mappings.remove(present.id)
        present = None
    request = requests.mapping_request(declared)
    if present is None:
        request |= {"EventSourceArn": source_arn, "FunctionName": function_arn}
        plugins = Plugins().services if declared.source else ()
        mappings.create(tx, request, mapping_id=str(uuid.uuid4()), plugins=plugins, **where)
        return "created"
    changed = changed_mapping(present, request, function_arn=function_arn, now=tx.now)
    if replace(changed, state=present.state, modified_at=present.modified_at) == present:
        return "unchanged"
    if present.is_in_transition:  # a kill left it there: the change now asked for is the one to carry out
        tx.mappings.replace(replace(present, state=present.settled_state))
    mappings.update(tx, request, mapping_id=present.id, **where)
    return "updated"
