"""What lies in the store beside queues: buckets, streams, tables, and asynchronous events that wait, and why.

Counts are those that are kept anyway, or one look at an index. A long list is read in pages, so that nobody waits.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from eventrt.clock import Clock
from eventrt.core import notifications
from eventrt.core.backlog import AtWork, Backlog, why
from eventrt.core.buckets import Bucket
from eventrt.core.functions import FunctionKey
from eventrt.core.streams import Stream
from eventrt.core.tables.schema import Table
from eventrt.store.api import Store, Tx
from eventrt.store.reports import Contents
from eventrt.store.reports import Reports as Counts

PAGE = 100

_Shown: TypeAlias = dict[str, Any]


class Inventory:
    """What there is in an account and region.

    Args:
        counts: counts what nobody counts otherwise, beside the units of work.
        at_work: what is being done for a lane of asynchronous events.
    """

    def __init__(self, store: Store, clock: Clock, counts: Counts, *, at_work: Callable[[int], AtWork]) -> None:
        self._store = store
        self._clock = clock
        self._counts = counts
        self._at_work = at_work

    async def buckets(self, account_id: str, region: str) -> list[_Shown]:
        """Return the buckets with what they hold and whom they tell, in order of names."""
        found: list[_Shown] = []
        after = ""
        while page := await self._store.read(partial(_page_of_buckets, account_id, region, after)):
            found += [_bucket(bucket, await self._counts.contents(bucket)) for bucket in page]
            after = page[-1].name
        return found

    async def streams(self, account_id: str, region: str) -> list[_Shown]:
        """Return the Kinesis streams with their shards, in order of names."""
        return await self._all(partial(_page_of_streams, account_id, region))

    async def tables(self, account_id: str, region: str) -> list[_Shown]:
        """Return the tables with what they hold, in order of names."""
        return await self._all(partial(_page_of_tables, account_id, region))

    async def asynchronous(self, account_id: str, region: str) -> list[_Shown]:
        """Return the functions with asynchronous events that have not come to their end, in order of names."""
        backlogs = await self._counts.backlogs(account_id, region)
        switched_off = await self._store.read(partial(_switched_off, [backlog.function for backlog in backlogs]))
        now = self._clock.now()
        return [
            _backlog(backlog, self._at_work(backlog.lane), now=now, is_switched_off=backlog.function in switched_off)
            for backlog in backlogs
        ]

    async def _all(self, page_after: Callable[[str, Tx], list[_Shown]]) -> list[_Shown]:
        found: list[_Shown] = []
        after = ""
        while page := await self._store.read(partial(page_after, after)):
            found += page
            after = page[-1]["name"]
        return found


def _page_of_buckets(account_id: str, region: str, after: str, tx: Tx) -> list[Bucket]:
    return list(tx.buckets.list(account_id, region=region, after=after, limit=PAGE))


def _page_of_streams(account_id: str, region: str, after: str, tx: Tx) -> list[_Shown]:
    return [_stream(tx, stream) for stream in tx.streams.list(account_id, region, "kinesis", after=after, limit=PAGE)]


def _page_of_tables(account_id: str, region: str, after: str, tx: Tx) -> list[_Shown]:
    names = tx.tables.names(account_id, region, after=after, limit=PAGE)
    return [_table(tx, table) for name in names if (table := tx.tables.find(account_id, region, name)) is not None]


def _switched_off(functions: list[FunctionKey], tx: Tx) -> set[FunctionKey]:
    """Return those of the functions whose reserved concurrency is 0."""
    found = {key: tx.functions.get(*key) for key in functions}
    return {key for key, function in found.items() if function is not None and function.reserved_concurrency == 0}


def _bucket(bucket: Bucket, contents: Contents) -> _Shown:
    return {
        "name": bucket.name,
        "arn": bucket.arn,
        "objects": contents.objects,
        "size_bytes": contents.size_bytes,
        "is_counted_whole": contents.is_all,
        "versioning": bucket.versioning or None,
        "folder": bucket.folder or None,
        "notifications": _notifications(bucket.settings.get("notification") or {}),
    }


def _notifications(configuration: Mapping[str, Any]) -> list[_Shown]:
    """Return whom a bucket tells, with the events as they were configured."""
    given = [one for kind in notifications.TARGETS for one in configuration.get(kind, ())]
    return [
        {
            "id": rule.id,
            "target_arn": rule.target_arn,
            "events": list(one["Events"]),
            "prefix": rule.prefix,
            "suffix": rule.suffix,
        }
        for rule, one in zip(notifications.read(configuration), given, strict=True)
    ]


def _stream(tx: Tx, stream: Stream) -> _Shown:
    shards = tx.streams.shards(stream)
    tips = [tip[1] for shard in shards if (tip := tx.streams.tip(shard)) is not None]
    return {
        "name": stream.name,
        "arn": stream.arn,
        "status": stream.status_at(tx.now),
        "mode": stream.mode,
        "open_shards": sum(shard.is_open for shard in shards),
        "closed_shards": sum(not shard.is_open for shard in shards),
        "retention_s": stream.retention_s,
        "last_record_at": max(tips, default=None),
        "consumers": [consumer.name for consumer in tx.streams.consumers(stream)],
    }


def _table(tx: Tx, table: Table) -> _Shown:
    items, size_bytes = tx.tables.counts(table)
    stream = tx.streams.by_id(table.stream_id) if table.is_streaming and table.stream_id is not None else None
    return {
        "name": table.name,
        "arn": table.arn,
        "status": table.status,
        "items": items,
        "size_bytes": size_bytes,
        "indexes": [index.name for index in table.indexes],
        "stream_arn": None if stream is None else stream.arn,
        "stream_view": None if stream is None else stream.view_type,
        "ttl_attribute": table.ttl_attribute,
    }


def _backlog(backlog: Backlog, at_work: AtWork, *, now: float, is_switched_off: bool) -> _Shown:
    account_id, region, name = backlog.function
    head = backlog.head
    return {
        "name": name,
        "arn": f"arn:aws:lambda:{region}:{account_id}:function:{name}",
        "waiting": backlog.waiting,
        "due": backlog.due,
        "at_work": at_work.running,
        "failed": backlog.failed,
        "refused": backlog.refused,
        "oldest_at": backlog.oldest_at,
        "next_attempt": {
            "number": head.executed + 1,
            "at": head.due_at,
            "why": why(backlog, at_work, now=now, is_switched_off=is_switched_off),
        },
    }
