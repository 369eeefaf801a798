"""Shards of a stream: split, merge, change their number, list them."""

from collections.abc import Sequence
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis import tokens
from eventrt.aws.services.kinesis.account import DAY_S, limits_of
from eventrt.aws.services.kinesis.room import (
    KinesisRoom,
    Request,
    find_active,
    find_shard,
    find_stream,
    finite,
    hash_key_range,
    present_shards,
)
from eventrt.core.streams import Shard, Stream, open_at, parse_hash_key, sequence_number, shard_index, shard_name
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

MAXIMUM_LISTED = 1000
MAXIMUM_SHARDS = 10_000
"""Of one stream, by UpdateShardCount. Source: API, UpdateShardCount."""

RESIZES_PER_DAY = 10


class Shards(KinesisRoom):
    """The operations on shards."""

    @operation("SplitShard")
    async def split_shard(self, call: Call, request: Request) -> Answer:
        """Close a shard and open two in its place."""
        name = request["ShardToSplit"]
        asked = request["NewStartingHashKey"]
        key = parse_hash_key(asked)

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            _must_be_provisioned(stream)
            shard = _open_shard(tx, stream, name)
            low, high = shard.starting_hash_key, shard.ending_hash_key
            if key is None or not low < key <= high:
                raise ApiError(
                    "InvalidArgumentException",
                    f"NewStartingHashKey {asked[:64]} used in SplitShard() on shard {name} in stream {stream.name} "
                    f"under account {stream.account_id} is not both greater than one plus the shard's StartingHashKey "
                    f"{low} and less than the shard's EndingHashKey {high}.",
                )
            limits_of(tx, call).check_shards(1)
            shelf.split(tx, stream, shard, key)
            tx.streams.update(stream, **self.settling(tx, "UPDATING"))

        await self._store.write(unit)
        return {}

    @operation("MergeShards")
    async def merge_shards(self, call: Call, request: Request) -> Answer:
        """Close two neighbouring shards and open one in their place."""
        names = request["ShardToMerge"], request["AdjacentShardToMerge"]

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            _must_be_provisioned(stream)
            one, other = (find_shard(tx, stream, name) for name in names)
            are_adjacent = (
                one.ending_hash_key + 1 == other.starting_hash_key or other.ending_hash_key + 1 == one.starting_hash_key
            )
            if not (are_adjacent and one.is_open and other.is_open):
                raise ApiError(
                    "InvalidArgumentException",
                    f"Shards {names[0]} and {names[1]} in stream {stream.name} under account {stream.account_id} are "
                    "not an adjacent pair of shards eligible for merging",
                )
            shelf.merge(tx, stream, one, other)
            tx.streams.update(stream, **self.settling(tx, "UPDATING"))

        await self._store.write(unit)
        return {}

    @operation("UpdateShardCount")
    async def update_shard_count(self, call: Call, request: Request) -> Answer:
        """Reshard to a number of shards of equal hash ranges."""
        target: int = request["TargetShardCount"]

        def unit(tx: Tx) -> tuple[Stream, int]:
            stream = find_active(tx, call, request)
            _must_be_provisioned(stream)
            current = len(shelf.open_shards(tx, stream))
            _check_target(current, target)
            limits_of(tx, call).check_shards(target - current)
            recent = tuple(moment for moment in stream.resized_at if moment > tx.now - DAY_S)
            if self._has_limits and len(recent) >= RESIZES_PER_DAY:
                raise ApiError(
                    "LimitExceededException",
                    f"Stream {stream.name} under account {stream.account_id} was scaled {RESIZES_PER_DAY} times "
                    "within the last 24 hours.",
                )
            shelf.resize(tx, stream, target)
            stream = tx.streams.update(
                stream, resized_at=(*recent[-RESIZES_PER_DAY:], tx.now), **self.settling(tx, "UPDATING")
            )
            return stream, current

        stream, current = await self._store.write(unit)
        return {
            "StreamName": stream.name,
            "CurrentShardCount": current,
            "TargetShardCount": target,
            "StreamARN": stream.arn,
        }

    @operation("ListShards")
    async def list_shards(self, call: Call, request: Request) -> Answer:
        """List the shards of a stream that a filter lets through, a page at a time."""
        limit = min(request.get("MaxResults", MAXIMUM_LISTED), MAXIMUM_LISTED)
        token = request.get("NextToken")
        if token is not None:
            for name in ("StreamName", "StreamCreationTimestamp", "ExclusiveStartShardId", "ShardFilter"):
                if name in request:
                    raise ApiError("InvalidArgumentException", f"NextToken and {name} cannot be provided together.")
        shard_filter = request.get("ShardFilter")
        _check_filter(request)

        def query(tx: Tx) -> Answer:
            if token is not None:
                kept = tokens.redeem(token, "shards", tx.now)
                found = tx.streams.by_id(kept["stream"])
                if found is None or (found.account_id, found.region) != (call.account_id, call.region):
                    raise ApiError("ResourceNotFoundException", "The stream of this NextToken was not found.")
                if "StreamARN" in request and request["StreamARN"] != found.arn:
                    raise ApiError("InvalidArgumentException", "NextToken is not one of this StreamARN.")
                stream, start, by = found, kept["after"], kept["filter"]
            else:
                stream, start, by = find_stream(tx, call, request), _start(request), shard_filter
                is_same_stream(stream, request)
            if stream.status_at(tx.now) == "CREATING":
                raise ApiError(
                    "ResourceInUseException",
                    f"Stream {stream.name} under account {stream.account_id} not ACTIVE, instead in state CREATING",
                )
            shards = [shard for shard in filtered(tx, stream, by) if shard.index > start]
            answer: dict[str, Any] = {"Shards": [shard_members(shard) for shard in shards[:limit]]}
            if len(shards) > limit:
                answer["NextToken"] = tokens.issue(
                    "shards", tx.now, stream=stream.id, after=shards[limit - 1].index, filter=by
                )
            return answer

        return await self._store.read(query)


def shard_members(shard: Shard) -> dict[str, Any]:
    """Return a shard as AWS describes it."""
    members: dict[str, Any] = {
        "ShardId": shard_name(shard.index),
        "HashKeyRange": hash_key_range(shard),
        "SequenceNumberRange": {"StartingSequenceNumber": sequence_number(shard.first_sequence, shard.index)},
    }
    if shard.last_sequence is not None:
        members["SequenceNumberRange"]["EndingSequenceNumber"] = sequence_number(shard.last_sequence, shard.index)
    if shard.parent is not None:
        members["ParentShardId"] = shard_name(shard.parent)
    if shard.adjacent_parent is not None:
        members["AdjacentParentShardId"] = shard_name(shard.adjacent_parent)
    return members


def is_same_stream(stream: Stream, request: Request) -> None:
    """Refuse a request that means another stream of this name, by its StreamCreationTimestamp.

    Clients send whole seconds.
    """
    asked = request.get("StreamCreationTimestamp")
    if asked is not None and int(finite(asked, "StreamCreationTimestamp")) != int(stream.created_at):
        raise ApiError(
            "ResourceNotFoundException",
            f"Stream {stream.name} under account {stream.account_id} created at {int(asked)} not found.",
        )


def filtered(tx: Tx, stream: Stream, by: dict[str, Any] | None) -> Sequence[Shard]:
    """Return the shards a ShardFilter lets through, in order. Source: API, ShardFilter."""
    shards = present_shards(tx, stream)
    # A stream that is younger than its retention begins with itself.
    horizon = max(stream.horizon(tx.now), stream.created_at)
    match by["Type"] if by is not None else "FROM_TRIM_HORIZON":
        case "AT_LATEST":
            return [shard for shard in shards if shard.is_open]
        case "AT_TRIM_HORIZON":
            return open_at(shards, horizon)
        case "AT_TIMESTAMP" if by is not None:
            return open_at(shards, max(by["Timestamp"], horizon))
        case "FROM_TIMESTAMP" if by is not None:
            moment = max(by["Timestamp"], horizon)
            return [shard for shard in shards if shard.closed_at is None or shard.closed_at >= moment]
        case "AFTER_SHARD_ID" if by is not None:
            start = shard_index(by["ShardId"])
            return [shard for shard in shards if start is not None and shard.index > start]
        case _:
            return shards


def _check_filter(request: Request) -> None:
    """Refuse a ShardFilter whose members do not go with its type."""
    by = request.get("ShardFilter")
    if by is None:
        return
    needs = {"AFTER_SHARD_ID": "ShardId", "AT_TIMESTAMP": "Timestamp", "FROM_TIMESTAMP": "Timestamp"}.get(by["Type"])
    if needs is not None and needs not in by:
        raise ApiError("InvalidArgumentException", f"{needs} must be provided for ShardFilter type {by['Type']}.")
    if needs == "Timestamp":
        finite(by["Timestamp"], "Timestamp")
    for name in by.keys() - {"Type", needs}:
        raise ApiError("InvalidArgumentException", f"{name} cannot be provided for ShardFilter type {by['Type']}.")
    if by["Type"] == "AFTER_SHARD_ID":
        if shard_index(by["ShardId"]) is None:
            raise ApiError("InvalidArgumentException", f"ShardId {by['ShardId']} is not a shard's id.")
        if "ExclusiveStartShardId" in request:
            raise ApiError(
                "InvalidArgumentException",
                "ExclusiveStartShardId and ShardFilter type AFTER_SHARD_ID cannot be provided together.",
            )


def _start(request: Request) -> int:
    start = request.get("ExclusiveStartShardId")
    if start is None:
        return -1
    index = shard_index(start)
    if index is None:
        raise ApiError("InvalidArgumentException", f"ExclusiveStartShardId {start} is not a shard's id.")
    return index


def _open_shard(tx: Tx, stream: Stream, name: str) -> Shard:
    shard = find_shard(tx, stream, name)
    if not shard.is_open:
        raise ApiError(
            "ResourceInUseException",
            f"Shard {name} in stream {stream.name} under account {stream.account_id} has already been merged or "
            "split, and thus is not eligible for merging or splitting.",
        )
    return shard


def _must_be_provisioned(stream: Stream) -> None:
    if stream.mode != "PROVISIONED":
        raise ApiError(
            "ValidationException",
            f"Request is invalid. Stream {stream.name} under account {stream.account_id} is in On-Demand mode.",
        )


def _check_target(current: int, target: int) -> None:
    """Refuse what UpdateShardCount does not do in one step: more than double, less than half, too many."""
    counts = f"Current open shard count: {current} Target shard count: {target}"
    if target > 2 * current:
        raise ApiError(
            "InvalidArgumentException",
            f"UpdateShardCount cannot scale up over double your current open shard count. {counts}",
        )
    if target * 2 < current:
        raise ApiError(
            "InvalidArgumentException",
            f"UpdateShardCount cannot scale down below half your current open shard count. {counts}",
        )
    if target > MAXIMUM_SHARDS:
        raise ApiError("LimitExceededException", f"A stream cannot have more than {MAXIMUM_SHARDS} shards. {counts}")
