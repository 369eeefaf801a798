"""What declared things refer to, and the rules that tie them: folders, handlers, names, AWS's own limits.

The file's shape and the range of each value were checked before; here the things are held against one another, the
disk, and the rules of `core` that the API's requests are held to as well. Of a thing with a mistake the rest is looked
at all the same; nothing is said of the members that are wrong already (`Build.wrong`), nor of what hangs on them.
"""

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import msgspec
import orjson

from eventrt.config import requests
from eventrt.config.declared import DeclaredFunction, DeclaredMapping, DeclaredQueue, DeclaredTable
from eventrt.config.declared_buckets import DeclaredBucket, DeclaredNotification
from eventrt.config.document import Build, Document
from eventrt.config.mistakes import Mistake, did_you_mean
from eventrt.core import function_rules, notifications, object_rules, queue_attributes
from eventrt.core.arn import Arn
from eventrt.core.mapping_rules import check_against, new_mapping, read_source
from eventrt.core.messages import Queue, acting_fields
from eventrt.core.refused import Refused
from eventrt.core.tables.definitions import new_table
from eventrt.core.tables.errors import TableError

_HANDLER = re.compile(r"(?P<module>[^.\s][^\s]*)\.(?P<function>[^.\s]+)")


def check_declared(document: Document, built: Build) -> list[Mistake]:
    """Return what is wrong with the declared things of a document."""
    return list(_Checker(document, built).mistakes())


def folder_of(document_path: Path | None, path: str) -> Path:
    """Return a declared path as an absolute one: relative to the file's folder."""
    base = document_path.parent if document_path is not None else Path()
    return (base / path).absolute()


class _Checker:
    def __init__(self, document: Document, built: Build) -> None:
        self._document = document
        self._declared = built.settings.declared
        self._account_concurrency = built.settings.lambda_.account_concurrency
        self._reserved: Counter[tuple[str, str]] = Counter()
        self._paths = built.paths
        self._wrong_members = built.wrong
        self._partial = {path[:-1] for path in built.wrong}
        self._queues = {
            requests.queue_arn(queue.name, account=queue.account, region=queue.region): queue
            for queue in self._declared.queues
        }
        self._functions = {
            requests.function_arn(function.name, account=function.account, region=function.region): function
            for function in self._declared.functions
        }

    def mistakes(self) -> Iterator[Mistake]:
        yield from self._twice("functions", self._declared.functions, "name")
        yield from self._twice("queues", self._declared.queues, "name")
        yield from self._twice("streams", self._declared.streams, "name")
        yield from self._twice("tables", self._declared.tables, "name")
        yield from self._twice("mappings", self._declared.mappings, "queue", "stream", "table", "source", "function")
        for place, function in enumerate(self._declared.functions):
            yield from self._function(function, self._paths["functions", place])
        for place, queue in enumerate(self._declared.queues):
            yield from self._queue(queue, self._paths["queues", place])
        for place, table in enumerate(self._declared.tables):
            yield from self._table(table, self._paths["tables", place])
        yield from self._twice("buckets", self._declared.buckets, "name")
        for place, bucket in enumerate(self._declared.buckets):
            yield from self._bucket(bucket, self._paths["buckets", place])
        for place, notification in enumerate(self._declared.notifications):
            yield from self._notification(notification, self._paths["notifications", place])
        for place, mapping in enumerate(self._declared.mappings):
            yield from self._mapping(mapping, self._paths["mappings", place])

    def _wrong(self, path: tuple[str | int, ...], message: str, hint: str = "", *, warning: bool = False) -> Mistake:
        line, column = self._document.positions.of_value(path)
        return Mistake(str(self._document.path), line, column, message, hint, is_warning=warning)

    def _is_wrong(self, path: tuple[str | int, ...], *names: str) -> bool:
        """Are any of these members of a thing wrong in themselves?"""
        return any((*path, name) in self._wrong_members for name in names)

    def _is_partial(self, kind: str, things: Sequence[msgspec.Struct], thing: msgspec.Struct | None) -> bool:
        """Is anything wrong with this thing (there may be none)?"""
        if thing is None:
            return False
        return any(each is thing and self._paths[kind, place] in self._partial for place, each in enumerate(things))

    def _twice(self, kind: str, things: Sequence[msgspec.Struct], *names: str) -> Iterator[Mistake]:
        seen: dict[tuple[str, ...], int] = {}
        for place, thing in enumerate(things):
            if self._is_wrong(self._paths[kind, place], "account", "region", *names):
                continue
            key = tuple(getattr(thing, name) for name in ("account", "region", *names))
            if key in seen:
                line, _ = self._document.positions.of_key(self._paths[kind, seen[key]])
                title = " → ".join(filter(None, key[2:]))
                yield self._wrong(
                    (*self._paths[kind, place], names[0]), f"{title} is declared twice", f"see line {line}"
                )
            else:
                seen[key] = place

    # -- buckets

    def _bucket(self, bucket: DeclaredBucket, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        try:
            if not self._is_wrong(path, "name"):
                object_rules.check_bucket_name(bucket.name)
        except Refused:
            yield self._wrong((*path, "name"), f'"{bucket.name}" is no name that a bucket may have')
        if bucket.folder and bucket.versioning:
            yield self._wrong((*path, "versioning"), "no versions are kept of files in a folder")
        if bucket.folder and folder_of(self._document.path, bucket.folder).is_file():
            yield self._wrong((*path, "folder"), f"{bucket.folder} is a file, not a folder")

    def _notification(self, declared: DeclaredNotification, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        if len(declared.targets) != 1 and not self._is_wrong(path, "function", "queue"):
            yield self._wrong((*path, "bucket"), "notifications needs one of function and queue")
        if self._is_wrong(path, "bucket"):
            return
        if declared.bucket not in {bucket.name for bucket in self._declared.buckets}:
            names = [bucket.name for bucket in self._declared.buckets]
            message = f'no bucket "{declared.bucket}" is declared; it has to be there when the daemon starts'
            yield self._wrong((*path, "bucket"), message, did_you_mean(declared.bucket, names), warning=True)
        if path in self._partial or len(declared.targets) != 1:
            return
        where = {"account": declared.account, "region": declared.region}
        if declared.queue and requests.queue_arn(declared.queue, **where) not in self._queues:
            yield from self._not_declared("queue", declared.queue, (*path, "queue"), self._declared.queues)
        if declared.function and requests.function_arn(declared.function, **where) not in self._functions:
            yield from self._not_declared("function", declared.function, (*path, "function"), self._declared.functions)
        try:
            notifications.read(requests.notification_request([declared]))
        except Refused as refused:
            yield self._wrong((*path, "events"), refused.message)

    def _not_declared(
        self, kind: str, name: str, path: tuple[str | int, ...], things: Sequence[DeclaredFunction | DeclaredQueue]
    ) -> Iterator[Mistake]:
        """Warn of a name that stands for nothing declared, unless it is an ARN: it may have been made by the API."""
        if not name.startswith("arn:"):
            message = f'no {kind} "{name}" is declared; it has to be there when the daemon starts'
            yield self._wrong(path, message, did_you_mean(name, [thing.name for thing in things]), warning=True)

    # -- functions

    def _function(self, function: DeclaredFunction, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        if function.runtime not in function_rules.SERVED_RUNTIMES:
            served = ", ".join(function_rules.SERVED_RUNTIMES)
            message = f'the runtime "{function.runtime}" is not served here; {served} are'
            hint = did_you_mean(function.runtime, function_rules.SERVED_RUNTIMES)
            yield self._wrong((*path, "runtime"), message, hint)
        try:
            function_rules.check_role(requests.role_arn(function))
        except Refused:
            yield self._wrong(
                (*path, "role"),
                f'functions.role must be the ARN of a role, not "{function.role}"',
                f"such as arn:aws:iam::{function.account}:role/{function.name}",
            )
        try:
            function_rules.check_environment(
                function.environment, compact_json=orjson.dumps(function.environment).decode()
            )
        except Refused as refused:
            yield self._wrong((*path, "environment"), refused.message)
        try:
            function_rules.merge_tags({}, function.tags)
        except Refused as refused:
            yield self._wrong((*path, "tags"), refused.message)
        if function.reserved_concurrency is not None:
            world = (function.account, function.region)
            try:
                function_rules.check_reserved_concurrency(
                    function.reserved_concurrency,
                    reserved_by_others=self._reserved[world],
                    account_concurrency=self._account_concurrency,
                )
            except Refused as refused:
                hint = f"lambda.account_concurrency is {self._account_concurrency}"
                yield self._wrong((*path, "reserved_concurrency"), refused.message, hint)
            self._reserved[world] += function.reserved_concurrency
        folder = folder_of(self._document.path, function.code)
        if self._is_wrong(path, "code"):
            pass
        elif not folder.is_dir():
            what = "is a file" if folder.is_file() else "does not exist"
            names = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
            hint = did_you_mean(folder.name, names) or f"functions.code is relative to {self._document.path.parent}/"
            yield self._wrong((*path, "code"), f"the folder {folder} {what}", hint)
        elif not self._is_wrong(path, "handler"):
            yield from self._handler(function, folder, path)
        if function.packages:
            packages = folder_of(self._document.path, function.packages)
            if not packages.is_dir():
                yield self._wrong((*path, "packages"), f"the folder {packages} does not exist")

    def _handler(self, function: DeclaredFunction, folder: Path, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        match = _HANDLER.fullmatch(function.handler)
        if match is None:
            message = f'functions.handler must be "module.function", not "{function.handler}"'
            yield self._wrong((*path, "handler"), message)
            return
        file = folder / (match["module"].replace(".", "/") + ".py")
        package = file.with_suffix("") / "__init__.py"
        if not file.is_file() and not package.is_file():
            here = [entry.stem for entry in folder.iterdir() if entry.suffix == ".py"]
            yield self._wrong(
                (*path, "handler"),
                f"there is no {file} for the handler {function.handler}",
                did_you_mean(match["module"], here),
            )
            return
        source = (file if file.is_file() else package).read_text("utf-8", errors="replace")
        name = re.escape(match["function"])
        if not re.search(rf"^\s*(?:async\s+)?def\s+{name}\b|\b{name}\s*[:=,]|\bimport\b.*\b{name}\b|\*", source, re.M):
            known = re.findall(r"^def\s+(\w+)", source, re.M)
            hint = did_you_mean(match["function"], known)
            message = f"{file.name} does not seem to define {match['function']}"
            yield self._wrong((*path, "handler"), message, hint, warning=True)

    # -- queues

    def _queue(self, queue: DeclaredQueue, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        fifo = requests.is_fifo(queue) or self._is_wrong(path, "name")
        for name in ("content_based_deduplication", "deduplication_scope", "fifo_throughput_limit"):
            default = next(f.default for f in msgspec.structs.fields(queue) if f.name == name)
            if not fifo and getattr(queue, name) != default:
                message = f"queues.{name} is for FIFO queues only"
                yield self._wrong((*path, name), message, f'name the queue "{queue.name}.fifo"')
        if self._is_wrong(path, "name", "dead_letter_queue", "max_receive_count"):
            return
        if bool(queue.dead_letter_queue) != (queue.max_receive_count is not None):
            given, missing = ("dead_letter_queue", "max_receive_count")
            if not queue.dead_letter_queue:
                given, missing = missing, given
            yield self._wrong((*path, given), f"queues.{given} needs queues.{missing} beside it")
            return
        try:
            attributes = queue_attributes.normalise(requests.queue_attributes(queue), is_fifo=fifo)
            queue_attributes.check_name(queue.name, is_fifo=fifo)
            queue_attributes.check_tags(queue.tags, queue_name=queue.name)
        except Refused as refused:
            yield self._wrong(path, f"the queue {queue.name}: {refused.message}")
            return
        if queue.dead_letter_queue:
            yield from self._dead_letters(queue, {k: v for k, v in attributes.items() if v is not None}, path)

    def _dead_letters(
        self, queue: DeclaredQueue, attributes: dict[str, str], path: tuple[str | int, ...]
    ) -> Iterator[Mistake]:
        target = self._queues.get(requests.dead_letter_arn(queue))
        if target is None:
            if not queue.dead_letter_queue.startswith("arn:"):
                yield self._missing_queue(queue.dead_letter_queue, (*path, "dead_letter_queue"))
            return
        try:
            queue_attributes.check_dead_letter_queue(
                _queue_value(queue), _queue_value(target), attributes["RedrivePolicy"]
            )
        except Refused as refused:
            yield self._wrong((*path, "dead_letter_queue"), refused.message)

    def _missing_queue(self, name: str, path: tuple[str | int, ...]) -> Mistake:
        known = [queue.name for queue in self._declared.queues]
        hint = did_you_mean(name, known) or "declare it, or give the ARN of one made through the API"
        return self._wrong(path, f'no queue "{name}" is declared', hint)

    # -- tables

    def _table(self, table: DeclaredTable, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        if path in self._partial:
            return
        try:
            new_table(
                requests.table_request(table),
                account_id=table.account,
                region=table.region,
                name=table.name,
                uuid="",
                now=0.0,
            )
        except TableError as error:
            yield self._wrong(path, f"the table {table.name}: {error}")

    # -- mappings

    def _mapping(self, mapping: DeclaredMapping, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        if self._is_wrong(path, "queue", "stream", "table", "source"):
            return
        if len(mapping.sources) != 1:
            given = " and ".join(f"mappings.{name}" for name in mapping.sources) or "none"
            yield self._wrong(path, f"a mapping has one of queue, stream, table and source, not {given}")
            return
        where = {"account": mapping.account, "region": mapping.region}
        target = requests.function_arn(mapping.function, **where)
        function = self._functions.get(target)
        is_named = not self._is_wrong(path, "function", "account", "region")
        if function is None and is_named and not mapping.function.startswith("arn:"):
            known = [function.name for function in self._declared.functions]
            hint = did_you_mean(mapping.function, known) or "declare it, or give the ARN of one made through the API"
            yield self._wrong((*path, "function"), f'no function "{mapping.function}" is declared', hint)
        yield from self._source(mapping, path)
        source = self._source_arn(mapping)
        queue = self._queues.get(source)
        if (
            path in self._partial
            or self._is_partial("queues", self._declared.queues, queue)
            or self._is_partial("functions", self._declared.functions, function)
        ):
            return
        try:
            read_source(source, region=mapping.region, plugins=_plugins(mapping))
            Arn.parse(target)
            made = new_mapping(
                requests.mapping_request(mapping),
                mapping_id="",
                account_id=mapping.account,
                region=mapping.region,
                source_arn=source,
                function_arn=target,
                now=0.0,
            )
            if queue is not None:
                timeout_s = function.timeout_s if function is not None else 0
                check_against(made, _queue_value(queue), timeout_s=timeout_s)
        except (Refused, ValueError) as refused:
            message = refused.message if isinstance(refused, Refused) else str(refused)
            yield self._wrong(path, f"the mapping {mapping.title}: {message}")

    def _source_arn(self, mapping: DeclaredMapping) -> str:
        """Return the ARN of a mapping's source; that of a table's stream is known in full when it is there."""
        where = {"account": mapping.account, "region": mapping.region}
        if mapping.queue:
            return requests.queue_arn(mapping.queue, **where)
        if mapping.stream:
            return requests.stream_arn(mapping.stream, **where)
        return requests.table_stream_arn(mapping.table, "declared", **where) if mapping.table else mapping.source

    def _source(self, mapping: DeclaredMapping, path: tuple[str | int, ...]) -> Iterator[Mistake]:
        """Find the things that a mapping names among those declared."""
        where = {"account": mapping.account, "region": mapping.region}
        if mapping.queue and not mapping.queue.startswith("arn:") and self._source_arn(mapping) not in self._queues:
            yield self._missing_queue(mapping.queue, (*path, "queue"))
        target = mapping.on_failure_queue
        if target and not target.startswith("arn:") and requests.queue_arn(target, **where) not in self._queues:
            yield self._missing_queue(target, (*path, "on_failure_queue"))
        streams = [each.name for each in self._declared.streams]
        if mapping.stream and not mapping.stream.startswith("arn:") and mapping.stream not in streams:
            hint = did_you_mean(mapping.stream, streams) or "declare it, or give the ARN of one made through the API"
            yield self._wrong((*path, "stream"), f'no stream "{mapping.stream}" is declared', hint)
        if mapping.table:
            tables = {table.name: table for table in self._declared.tables}
            if mapping.table not in tables:
                hint = did_you_mean(mapping.table, list(tables)) or "declare it"
                yield self._wrong((*path, "table"), f'no table "{mapping.table}" is declared', hint)
            elif not tables[mapping.table].stream and not self._is_partial(
                "tables", self._declared.tables, tables[mapping.table]
            ):
                hint = 'set tables.stream, such as to "NEW_AND_OLD_IMAGES"'
                yield self._wrong((*path, "table"), f"the table {mapping.table} has no stream", hint)


def _plugins(mapping: DeclaredMapping) -> Container[str]:
    """Return the services that installed plugins read; looked up only when a mapping may need one."""
    if not mapping.source:
        return ()
    from eventrt.plugins import Plugins

    return Plugins().services


def _queue_value(queue: DeclaredQueue) -> Queue:
    attributes = queue_attributes.normalise(requests.queue_attributes(queue), is_fifo=requests.is_fifo(queue))
    kept = {name: value for name, value in attributes.items() if value is not None}
    return Queue(
        id=0,
        account_id=queue.account,
        region=queue.region,
        name=queue.name,
        created_at=0.0,
        modified_at=0.0,
        attributes=kept,
        tags=queue.tags,
        **acting_fields(kept),
    )
