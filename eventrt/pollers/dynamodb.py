"""DynamoDB streams as a source of mappings: the poller, and the records' shape (semantics 03, section 3.6)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from eventrt.api import OpenPoller, PollerContext, Record, ShardPoller, Written
from eventrt.core.streams import Shard, Stream, StreamRecord
from eventrt.core.tables.changes import sequence_number
from eventrt.pollers.embedded import EmbeddedPoller
from eventrt.store.api import Store, Tx

_BY_SERVICE = b'"userIdentity":{"PrincipalId"'
"""Stands in the records of deletions by time to live, and nowhere in an item: there a value follows its type."""


def opener(store: Store) -> OpenPoller:
    """Return what opens pollers of the embedded tables' streams."""

    @asynccontextmanager
    async def poller(context: PollerContext) -> AsyncIterator[ShardPoller]:
        yield EmbeddedPoller(store, context, write_records)

    return poller


def write_records(
    tx: Tx, context: PollerContext, stream: Stream, shard: Shard, records: Sequence[StreamRecord]
) -> list[Record]:
    """Return changes as the function sees them: as the streams API shows them, with the stream's ARN.

    A record's key is its item's, so that the changes of one item keep their order.
    """
    end = b',"eventSourceARN":%b}' % orjson.dumps(context.source_arn)
    written: list[Record] = []
    for sequence, arrived_at, item_key, data in records:
        body = _with_small_identity(data) if _BY_SERVICE in data else data
        body = body[:-1] + end
        written.append(Record(sequence_number(sequence), Written(body), arrived_at, len(body), item_key))
    return written


def _with_small_identity(data: bytes) -> bytes:
    """Name the members of `userIdentity` as functions know them: `type` and `principalId`."""
    record = orjson.loads(data)
    identity = record["userIdentity"]
    record["userIdentity"] = {"type": identity["Type"], "principalId": identity["PrincipalId"]}
    return orjson.dumps(record)
