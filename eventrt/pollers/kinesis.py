"""Kinesis streams as a source of mappings: the poller, and the records' shape (semantics 03, section 3.6)."""

from binascii import b2a_base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson

from eventrt.api import OpenPoller, PollerContext, Record, ShardPoller, Written
from eventrt.core.streams import Shard, Stream, StreamRecord, sequence_number, shard_name
from eventrt.pollers.embedded import EmbeddedPoller
from eventrt.store.api import Store, Tx


def opener(store: Store) -> OpenPoller:
    """Return what opens pollers of embedded Kinesis streams, and of their consumers."""

    @asynccontextmanager
    async def poller(context: PollerContext) -> AsyncIterator[ShardPoller]:
        yield EmbeddedPoller(store, context, write_records)

    return poller


def write_records(
    tx: Tx, context: PollerContext, stream: Stream, shard: Shard, records: Sequence[StreamRecord]
) -> list[Record]:
    """Return records as the function sees them, each written once, as JSON."""
    _, _, _, region, account_id, _, name, *_ = context.function_arn.split(":")
    function = tx.functions.get(account_id, region, name)
    shard_id = shard_name(shard.index)
    rest = {
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "" if function is None else function.role,
        "awsRegion": stream.region,
        "eventSourceARN": context.source_arn,
    }
    begin = b'{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":'
    middle = b'},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"%s:' % shard_id.encode()
    end = b'",' + orjson.dumps(rest)[1:]
    last_at, arrived = -1.0, b""
    written: list[Record] = []
    for sequence, arrived_at, partition_key, data in records:
        if arrived_at != last_at:
            last_at, arrived = arrived_at, b'","approximateArrivalTimestamp":%b' % repr(round(arrived_at, 3)).encode()
        number = sequence_number(sequence, shard.index)
        digits = number.encode()
        body = b"".join(
            (
                begin,
                orjson.dumps(partition_key),
                b',"sequenceNumber":"',
                digits,
                b'","data":"',
                b2a_base64(data, newline=False),
                arrived,
                middle,
                digits,
                end,
            )
        )
        written.append(Record(number, Written(body), arrived_at, len(body), partition_key))
    return written
