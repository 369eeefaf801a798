"""Amazon DynamoDB Streams at the door: list and describe streams, find a place in a shard, read records from there.

Records stand in the stream as the API shows them (`sources.table_streams`) and leave as they are.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call, answering
from eventrt.clock import Clock
from eventrt.core.streams import Iterator, Page, Shard, Stream
from eventrt.core.tables.changes import sequence_number, sequence_of, shard_name
from eventrt.core.tables.errors import TableError
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.sources.table_streams import shard_of
from eventrt.store.api import Store, Tx

Request = Mapping[str, Any]

MAXIMUM_RECORDS = 1000
MAXIMUM_READ_BYTES = 1024 * 1024
MAXIMUM_LISTED = 100
ITERATOR_LIFE_S = 15 * 60

_STARTS = {"SequenceNumber": ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"), "Timestamp": ("AT_TIMESTAMP",)}
"""Members that say where an iterator begins, and the types they belong to."""


_answers = answering({TableError: lambda error, request: ApiError("ValidationException", str(error))})
"""Marks a method as the handler of an operation; a rule it breaks becomes a ValidationException."""


class DynamoDbStreamsService:
    """The DynamoDB Streams service: one object for the dispatcher."""

    service_id = "dynamodbstreams"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @_answers("ListStreams")
    async def list_streams(self, call: Call, request: Request) -> Answer:
        """List the streams of the account's tables in this region, also the disabled ones that can still be read."""
        limit = _limit(request, MAXIMUM_LISTED)

        def query(tx: Tx) -> list[Stream]:
            after: str | None = None
            if "ExclusiveStartStreamArn" in request:
                start = _find(tx, call, request["ExclusiveStartStreamArn"])
                after = f"{start.name}/{start.label}"
            found = tx.streams.list(
                call.account_id, call.region, "table", name=request.get("TableName"), after=after, limit=limit + 1
            )
            return list(found)

        found = await self._store.read(query)
        answer: dict[str, Any] = {
            "Streams": [
                {"StreamArn": stream.arn, "TableName": stream.name, "StreamLabel": stream.label}
                for stream in found[:limit]
            ]
        }
        if len(found) > limit:
            answer["LastEvaluatedStreamArn"] = found[limit - 1].arn
        return answer

    @_answers("DescribeStream")
    async def describe_stream(self, call: Call, request: Request) -> Answer:
        """Show a stream and its shards, oldest first; with a ShardFilter only the children of one shard."""
        limit = _limit(request, MAXIMUM_LISTED)

        def query(tx: Tx) -> tuple[Stream, list[Shard], list[Shard]]:
            stream = _find(tx, call, request["StreamArn"])
            everyone = list(tx.streams.shards(stream))
            wanted = _filtered(everyone, request.get("ShardFilter"))
            if "ExclusiveStartShardId" in request:
                start = shard_of(tx, stream, request["ExclusiveStartShardId"])
                if start is None:
                    raise _no_shard(request["ExclusiveStartShardId"], stream)
                wanted = [shard for shard in wanted if shard.index > start.index]
            return stream, everyone, wanted

        stream, everyone, shards = await self._store.read(query)
        names = {shard.index: shard_name(shard) for shard in everyone}
        shown: dict[str, Any] = {
            "StreamArn": stream.arn,
            "StreamLabel": stream.label,
            "StreamStatus": stream.status,
            "StreamViewType": stream.view_type,
            "CreationRequestDateTime": stream.created_at,
            "TableName": stream.name,
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind}
                for name, kind in zip(stream.key_names, ("HASH", "RANGE"), strict=False)
            ],
            "Shards": [_shown(shard, names) for shard in shards[:limit]],
        }
        if len(shards) > limit:
            shown["LastEvaluatedShardId"] = names[shards[limit - 1].index]
        return {"StreamDescription": shown}

    @_answers("GetShardIterator")
    async def get_shard_iterator(self, call: Call, request: Request) -> Answer:
        """Return an iterator to a place in a shard; it is good for 15 minutes."""

        def query(tx: Tx) -> str:
            stream = _find(tx, call, request["StreamArn"])
            shard = shard_of(tx, stream, request["ShardId"])
            if shard is None:
                raise _no_shard(request["ShardId"], stream)
            return Iterator(stream.id, shard.id, _place(tx, stream, shard, request), tx.now).token()

        return {"ShardIterator": await self._store.read(query)}

    @_answers("GetRecords")
    async def get_records(self, call: Call, request: Request) -> Answer:
        """Return records from an iterator on, and the iterator to go on with; none at the end of a closed shard."""
        limit = _limit(request, MAXIMUM_RECORDS)
        try:
            place = Iterator.of(request["ShardIterator"])
        except ValueError as error:
            raise TableError("Invalid ShardIterator") from error

        def query(tx: Tx) -> tuple[Page, float]:
            stream, shard = tx.streams.by_id(place.stream_id), tx.streams.shard(place.shard_id)
            if stream is None or shard is None or stream.kind != "table":
                raise ApiError(
                    "ResourceNotFoundException", "Requested resource not found: Shard does not exist or was trimmed"
                )
            if (stream.account_id, stream.region) != (call.account_id, call.region):
                raise TableError("Invalid ShardIterator")
            if tx.now - place.issued_at > ITERATOR_LIFE_S:
                raise ApiError(
                    "ExpiredIteratorException",
                    "The shard iterator has expired. Shard iterators expire 15 minutes after they are retrieved "
                    "using the GetShardIterator action.",
                )
            return shelf.read(tx, shard, after=place.after, limit=limit, maximum_bytes=MAXIMUM_READ_BYTES), tx.now

        page, now = await self._store.read(query)
        answer: dict[str, Any] = {"Records": [orjson.Fragment(record.data) for record in page.records]}
        if not page.is_at_end:
            answer["NextShardIterator"] = Iterator(place.stream_id, place.shard_id, page.after, now).token()
        return answer


def _limit(request: Request, most: int) -> int:
    limit: int = request.get("Limit", most)
    if limit > most:
        raise TableError(
            f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: "
            f"Member must have value less than or equal to {most}"
        )
    return limit


def _find(tx: Tx, call: Call, arn: str) -> Stream:
    """Return the caller's stream of this ARN (raises ApiError: ResourceNotFoundException)."""
    stream = tx.streams.by_arn(arn)
    if stream is None or stream.kind != "table" or (stream.account_id, stream.region) != (call.account_id, call.region):
        raise ApiError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")
    return stream


def _no_shard(name: str, stream: Stream) -> ApiError:
    return ApiError(
        "ResourceNotFoundException", f"Requested resource not found: Shard: {name} in Stream: {stream.arn} not found"
    )


def _filtered(shards: list[Shard], asked: Mapping[str, Any] | None) -> list[Shard]:
    if not asked:
        return shards
    if "ShardId" not in asked or "Type" not in asked:
        raise TableError("Both Type and ShardId must be specified for a ShardFilter")
    parents = {shard.index for shard in shards if shard_name(shard) == asked["ShardId"]}
    return [shard for shard in shards if shard.parent in parents]


def _shown(shard: Shard, names: Mapping[int, str]) -> dict[str, Any]:
    span = {"StartingSequenceNumber": sequence_number(shard.first_sequence)}
    if shard.last_sequence is not None:
        span["EndingSequenceNumber"] = sequence_number(shard.last_sequence)
    shown: dict[str, Any] = {"ShardId": names[shard.index], "SequenceNumberRange": span}
    if shard.parent is not None and shard.parent in names:
        shown["ParentShardId"] = names[shard.parent]
    return shown


def _place(tx: Tx, stream: Stream, shard: Shard, request: Request) -> int:
    """Return the counter value that an iterator begins behind (raises TableError, ApiError)."""
    kind = request["ShardIteratorType"]
    for member, kinds in _STARTS.items():
        if member in request and kind not in kinds:
            raise TableError(f"{member} must not be specified when ShardIteratorType is {kind}")
    if kind == "LATEST":
        return shelf.latest(tx, shard)
    if kind == "TRIM_HORIZON":
        return tx.streams.trim_horizon(shard)
    if kind == "AT_TIMESTAMP":
        if "Timestamp" not in request:
            raise TableError("Timestamp must be specified when ShardIteratorType is AT_TIMESTAMP")
        if request["Timestamp"] > tx.now:
            raise TableError("Timestamp must not be in the future")
        return tx.streams.position_at(shard, request["Timestamp"])
    if "SequenceNumber" not in request:
        raise TableError(f"SequenceNumber must be specified when ShardIteratorType is {kind}")
    sequence = sequence_of(request["SequenceNumber"])
    last = shard.last_sequence if shard.last_sequence is not None else shelf.latest(tx, shard)
    # A shard without records has a first number, too: clients begin there.
    if sequence is None or not shard.first_sequence <= sequence <= max(last, shard.first_sequence):
        raise TableError(
            f"Invalid SequenceNumber. Sequence number {request['SequenceNumber']} is not in shard {request['ShardId']}"
        )
    after = sequence - 1 if kind == "AT_SEQUENCE_NUMBER" else sequence
    gone_to = max(tx.streams.position_at(shard, stream.horizon(tx.now)), tx.checkpoints.trimmed_to(shard.id))
    if after < gone_to and sequence != shard.first_sequence:
        raise ApiError(
            "TrimmedDataAccessException",
            "The operation attempted to read past the oldest stream record in a shard.",
        )
    return after
