"""What the daemon shows of itself: health, queues and their messages, mappings at work, functions, logs, code.

Everything is read, nothing disturbed: a peek leases nothing, counts are those the shelf keeps anyway.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from eventrt.core.functions import FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.messages import MessageAttribute, PeekedMessage, Queue
from eventrt.invoker.packages import Packages
from eventrt.observability.function_logs import FunctionLogs
from eventrt.sources import queues
from eventrt.store.api import Store, Tx
from eventrt.store.reports import Reports as MessageReports

PAGE = 1000


class Reports:
    """What can be known of the rooms.

    Args:
        shelves: looks at messages without disturbing them.
        describe_mapping: what the poller of a mapping (by UUID) is doing.
        inspect_mapping: the same, with how far each shard of a stream is behind.
        rooms: the status of each room by name, asked anew for each health report.
    """

    def __init__(
        self,
        store: Store,
        packages: Packages,
        logs: FunctionLogs,
        *,
        shelves: MessageReports,
        describe_mapping: Callable[[str], Mapping[str, Any]],
        inspect_mapping: Callable[[str], Awaitable[Mapping[str, Any]]],
        rooms: Callable[[], Mapping[str, Mapping[str, Any]]],
    ) -> None:
        self._store = store
        self._packages = packages
        self._logs = logs
        self._shelves = shelves
        self._describe_mapping = describe_mapping
        self._inspect_mapping = inspect_mapping
        self._rooms = rooms

    def health(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the status of each room by name, at least `{"status": ...}`."""
        return self._rooms()

    async def queues(self, account_id: str, region: str) -> list[Mapping[str, Any]]:
        """Return every queue of an account and region with its depth, in order of names."""

        def query(tx: Tx) -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = []
            page = tx.queues.list(account_id, region, limit=PAGE)
            while page:
                found += [_queue(queue, tx) for queue in page]
                page = tx.queues.list(account_id, region, after=page[-1].name, limit=PAGE)
            return found

        return await self._store.read(query)

    async def messages(
        self, account_id: str, region: str, name: str, *, limit: int, after: str | None
    ) -> Mapping[str, Any] | None:
        """Return a queue with up to `limit` of its messages, those behind the position `after`.

        None when there is no such queue. `next_after` is where the next page begins, None at the end.
        Raises: ValueError: `after` is no position.
        """
        queue = await self._store.read(lambda tx: tx.queues.find(account_id, region, name))
        if queue is None:
            return None
        shown = await self._store.read(lambda tx: _queue(queue, tx))
        found = await self._shelves.peek_messages(queue, limit=limit, after=after)
        next_after = found[-1].position if len(found) == limit else None
        return {**shown, "messages": [_message(message) for message in found], "next_after": next_after}

    async def mappings(self, account_id: str | None, region: str | None) -> list[Mapping[str, Any]]:
        """Return the mappings, of all accounts and regions or one, with what their pollers are doing."""
        every = await self._store.read(lambda tx: tx.mappings.every())
        return [
            self._mapping(mapping)
            for mapping in every
            if account_id in (None, mapping.account_id) and region in (None, mapping.region)
        ]

    async def mapping(self, mapping_id: str) -> Mapping[str, Any] | None:
        """Return a mapping with what its poller is doing, and of a stream how far it is in each shard; None for none.

        `checkpoints` are those on disk, by shard; a mapping that is disabled goes on from there.
        """
        mapping = await self._store.read(lambda tx: tx.mappings.get(mapping_id))
        if mapping is None:
            return None
        shown = {**self._mapping(mapping), "poller": await self._inspect_mapping(mapping_id)}
        if mapping.is_of_stream:
            kept = await self._store.read(lambda tx: tx.checkpoints.of(mapping_id))
            shown["checkpoints"] = {
                shard.partition("@")[0]: {
                    "checkpoint": checkpoint.progress.checkpoint or None,
                    "is_finished": checkpoint.is_finished,
                    "saved_at": checkpoint.saved_at,
                }
                for shard, checkpoint in kept.items()
            }
        return shown

    async def functions(self, account_id: str, region: str) -> list[Mapping[str, Any]]:
        """Return every function of an account and region, in order of names."""

        def query(tx: Tx) -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = []
            page = tx.functions.page(account_id, region, after="", limit=PAGE)
            while page:
                found += [_function(version) for version in page]
                page = tx.functions.page(account_id, region, after=page[-1].name, limit=PAGE)
            return found

        return await self._store.read(query)

    async def log(
        self, account_id: str, region: str, name: str, *, follow: bool, tail: int
    ) -> AsyncIterator[bytes] | None:
        """Return the last `tail` lines of a function's log, going on for ever when `follow`.

        None when there is neither such a function nor a log of one.
        """
        known = await self._store.read(lambda tx: tx.functions.get(account_id, region, name))
        lines = self._logs.tail(account_id, region, name, lines=tail)
        if known is None and not lines:
            return None
        if follow:
            return _encoded(self._logs.follow(account_id, region, name, lines=tail))
        return _all_at_once(lines)

    async def code(self, token: str) -> bytes | None:
        """Return the archive that a link's token opens; None when it opens nothing (any more)."""
        return await self._packages.open_archive(token)

    def _mapping(self, mapping: EventSourceMapping) -> Mapping[str, Any]:
        return {
            "uuid": mapping.id,
            "account": mapping.account_id,
            "region": mapping.region,
            "source_arn": mapping.source_arn,
            "function_arn": mapping.function_arn,
            "state": mapping.state,
            "problem": mapping.problem,
            "last_result": mapping.last_result,
            "poller": self._describe_mapping(mapping.id),
        }


async def _encoded(lines: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield line.encode() + b"\n"


async def _all_at_once(lines: list[str]) -> AsyncIterator[bytes]:
    if lines:
        yield "\n".join(lines).encode() + b"\n"


def _queue(queue: Queue, tx: Tx) -> dict[str, Any]:
    depth = queues.depth(tx, queue)
    return {
        "name": queue.name,
        "arn": queue.arn,
        "visible": depth.visible,
        "in_flight": depth.in_flight,
        "delayed": depth.delayed,
    }


def _function(version: FunctionVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "arn": version.arn,
        "runtime": version.runtime,
        "handler": version.handler,
        "code_folder": version.code.folder,
        "timeout_s": version.timeout_s,
        "memory_mb": version.memory_mb,
        "state": version.state,
        "state_reason": version.state_reason,
        "reserved_concurrency": version.reserved_concurrency,
    }


def _message(message: PeekedMessage) -> dict[str, Any]:
    return {
        "message_id": message.message_id,
        "place": message.place,
        "until": message.until,
        "body": message.body,
        "sent_at": message.sent_at,
        "receive_count": message.receive_count,
        "first_received_at": message.first_received_at,
        "sender_id": message.sender_id,
        "attributes": {name: _attribute(value) for name, value in message.attributes.items()},
        "group_id": message.group_id,
        "deduplication_id": message.deduplication_id,
        "sequence_number": message.sequence_number,
        "dead_letter_source_arn": message.dead_letter_source_arn,
    }


def _attribute(value: MessageAttribute) -> dict[str, Any]:
    shown: dict[str, Any] = {"data_type": value.data_type}
    if value.string_value is not None:
        shown["string_value"] = value.string_value
    if value.binary_value is not None:
        shown["binary_value"] = base64.b64encode(value.binary_value).decode()
    return shown
