"""Reading records: GetShardIterator and GetRecords, and where in a shard a reader begins."""

from datetime import UTC, datetime
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import (
    KinesisRoom,
    Request,
    child_shards,
    dry_run,
    find_shard,
    find_usable,
    finite,
    no_such_shard,
    stream_of_arn,
)
from eventrt.core.streams import (
    Iterator,
    Page,
    Shard,
    Stream,
    parse_sequence_number,
    sequence_number,
    shard_name,
)
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

ITERATOR_LIFE_S = 300.0
"""How long a shard iterator may be used. Source: API, GetShardIterator."""

MAXIMUM_RECORDS = 10_000

_BY_SEQUENCE = ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER")


class Reading(KinesisRoom):
    """The operations that read records."""

    @operation("GetShardIterator")
    async def get_shard_iterator(self, call: Call, request: Request) -> Answer:
        """Return a place in a shard to read from."""

        def query(tx: Tx) -> Answer:
            stream = find_usable(tx, call, request)
            shard = find_shard(tx, stream, request["ShardId"])
            after = starting_position(
                tx,
                stream,
                shard,
                request["ShardIteratorType"],
                request.get("StartingSequenceNumber"),
                request.get("Timestamp"),
                call.operation,
            )
            dry_run(request)
            return {"ShardIterator": Iterator(stream.id, shard.id, after, tx.now).token()}

        return await self._store.read(query)

    @operation("GetRecords")
    async def get_records(self, call: Call, request: Request) -> Answer:
        """Return records from a shard iterator on, and the next iterator; none at the end of a closed shard."""
        iterator = self._iterator(request["ShardIterator"])
        limit = request.get("Limit", MAXIMUM_RECORDS)

        def query(tx: Tx) -> tuple[Stream, Shard, Page, list[dict[str, Any]]]:
            stream = tx.streams.by_id(iterator.stream_id)
            if stream is not None and stream.kind != "kinesis":
                raise ApiError("InvalidArgumentException", "Invalid ShardIterator.")
            if stream is None or (stream.account_id, stream.region) != (call.account_id, call.region):
                raise ApiError(
                    "ResourceNotFoundException",
                    f"The stream of this ShardIterator under account {call.account_id} was not found.",
                )
            if "StreamARN" in request and stream_of_arn(tx, call, request["StreamARN"]).id != stream.id:
                raise ApiError("InvalidArgumentException", "Invalid ShardIterator.")
            shard = tx.streams.shard(iterator.shard_id)
            if shard is None or (shard.closed_at is not None and shard.closed_at < stream.horizon(tx.now)):
                raise no_such_shard(stream, "of this ShardIterator" if shard is None else shard_name(shard.index))
            dry_run(request)
            if self._has_limits and not self._throughput.admits_read(shard.id, tx.now):
                raise ApiError(
                    "ProvisionedThroughputExceededException",
                    f"Rate exceeded for shard {shard_name(shard.index)} in stream {stream.name} under account "
                    f"{stream.account_id}.",
                )
            page = shelf.read(tx, shard, after=iterator.after, limit=limit)
            return stream, shard, page, child_shards(tx, stream, shard) if page.is_at_end else []

        stream, shard, page, children = await self._store.read(query)
        if self._has_limits:
            size = sum(len(record.data) for record in page.records)
            self._throughput.has_read(shard.id, size, self._clock.now())
        answer: dict[str, Any] = {
            "Records": record_members(stream, shard, page),
            "MillisBehindLatest": int(page.behind_s * 1000),
        }
        if page.is_at_end:
            answer["ChildShards"] = children
        else:
            answer["NextShardIterator"] = Iterator(stream.id, shard.id, page.after, self._clock.now()).token()
        return answer

    def _iterator(self, token: str) -> Iterator:
        """Return what a ShardIterator means.

        Raises: ApiError: it is none, or too old.
        """
        try:
            iterator = Iterator.of(token)
        except ValueError:
            raise ApiError("InvalidArgumentException", "Invalid ShardIterator.") from None
        now = self._clock.now()
        if now - iterator.issued_at > ITERATOR_LIFE_S:
            raise ApiError(
                "ExpiredIteratorException",
                f"Iterator expired. The iterator was created at time {_java_date(iterator.issued_at)} while right now "
                f"it is {_java_date(now)} which is further in the future than the tolerated delay of 300000 "
                "milliseconds.",
            )
        return iterator


def record_members(stream: Stream, shard: Shard, page: Page) -> list[dict[str, Any]]:
    """Return records as AWS gives them."""
    index = shard.index
    more = {"EncryptionType": stream.encryption} if stream.encryption != "NONE" else {}
    return [
        {
            "SequenceNumber": sequence_number(sequence, index),
            "ApproximateArrivalTimestamp": round(arrived_at, 3),
            "Data": data,
            "PartitionKey": key,
            **more,
        }
        for sequence, arrived_at, key, data in page.records
    ]


def starting_position(
    tx: Tx, stream: Stream, shard: Shard, kind: str, number: str | None, moment: float | None, asked_by: str
) -> int:
    """Return the counter value that a reader begins after.

    Args: kind: a ShardIteratorType. asked_by: the operation, for refusals.
    Raises: ApiError: InvalidArgumentException for what does not go with the kind, and for foreign sequence numbers.
    """
    if (kind in _BY_SEQUENCE) != (number is not None):
        given = "no StartingSequenceNumber" if number is None else "also a StartingSequenceNumber"
        raise ApiError(
            "InvalidArgumentException",
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) "
            f"TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} and {given}.",
        )
    if kind == "AT_TIMESTAMP" and moment is None:
        raise ApiError(
            "InvalidArgumentException",
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no "
            "timestamp parameter.",
        )
    if kind != "AT_TIMESTAMP" and moment is not None:
        raise ApiError("InvalidArgumentException", f"Timestamp cannot be specified for an iterator of type {kind}.")
    if number is not None:
        sequence = _sequence_of(tx, stream, shard, number, asked_by)
        return sequence if kind == "AFTER_SEQUENCE_NUMBER" else sequence - 1
    if kind == "LATEST":
        return shelf.latest(tx, shard)
    if moment is None:
        return shard.first_sequence - 1
    # Clients send milliseconds, our clock may be a fraction of one behind what it told them.
    if finite(moment, "Timestamp") > tx.now + 0.001:
        raise ApiError(
            "InvalidArgumentException",
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: "
            f"{int(moment * 1000)}, currentTimestampInMillis: {int(tx.now * 1000)}",
        )
    # Arrivals are shown in whole milliseconds: one that reads as this moment belongs to it.
    return tx.streams.position_at(shard, moment - 0.0005)


def _sequence_of(tx: Tx, stream: Stream, shard: Shard, number: str, asked_by: str) -> int:
    """Return the counter value of a sequence number that was given out in this shard."""
    parsed = parse_sequence_number(number)
    name = shard_name(shard.index)
    if parsed is not None and parsed[1] != shard.index:
        raise ApiError(
            "InvalidArgumentException",
            f"Invalid StartingSequenceNumber. It encodes {shard_name(parsed[1])}, while it was used in a call to a "
            f"shard with {name}",
        )
    highest = shard.last_sequence if shard.last_sequence is not None else tx.streams.next_sequence(stream) - 1
    if parsed is None or not shard.first_sequence <= parsed[0] <= highest:
        raise ApiError(
            "InvalidArgumentException",
            f"StartingSequenceNumber {number} used in {asked_by} on shard {name} in stream {stream.name} under "
            f"account {stream.account_id} is invalid because it did not come from this stream.",
        )
    return parsed[0]


def _java_date(moment: float) -> str:
    """Return a moment as Java prints it: `Tue Jun 19 08:11:18 UTC 2018`."""
    return datetime.fromtimestamp(moment, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
