"""Streams as a whole: create, delete, describe, list, and what is set on them."""

from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis import tokens
from eventrt.aws.services.kinesis.account import DAY_S, has_commitment, limits_of
from eventrt.aws.services.kinesis.room import (
    KinesisRoom,
    Request,
    find_active,
    find_stream,
    must_be_active,
    present_shards,
)
from eventrt.aws.services.kinesis.shards import shard_members
from eventrt.aws.services.kinesis.tags import checked_tags
from eventrt.core.streams import Stream, shard_index
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

ON_DEMAND_SHARDS = 4
"""What an on-demand stream begins with. Source: developer guide, capacity modes."""

MAXIMUM_LISTED = 100
"""Streams or shards in one answer of ListStreams and DescribeStream, whatever the Limit."""

MODE_CHANGES_PER_DAY = 2
_CREATING_AT_ONCE = 5


class Streams(KinesisRoom):
    """The operations on streams as a whole."""

    @operation("CreateStream")
    async def create_stream(self, call: Call, request: Request) -> Answer:
        """Make a stream, provisioned with its shards or on demand."""
        name = request["StreamName"]
        mode = request.get("StreamModeDetails", {}).get("StreamMode")
        count = request.get("ShardCount")
        if mode is None:
            mode = "PROVISIONED" if count is not None else "ON_DEMAND"
        if mode == "PROVISIONED" and count is None:
            raise ApiError("ValidationException", "ShardCount must be specified for streams in PROVISIONED mode.")
        if mode == "ON_DEMAND" and count is not None:
            raise ApiError("ValidationException", "ShardCount must not be specified for streams in ON_DEMAND mode.")
        tags = checked_tags(request.get("Tags", {}), f"stream {name}", call)
        distribution = request.get("RecordDistributionStrategy", "USER_PARTITION_KEY")
        _check_distribution(mode, request.get("RecordDistributionStrategy"))

        def unit(tx: Tx) -> None:
            if tx.streams.find(call.account_id, call.region, name) is not None:
                raise ApiError(
                    "ResourceInUseException", f"Stream {name} under account {call.account_id} already exists."
                )
            shard_count = count if count is not None else ON_DEMAND_SHARDS
            limits_of(tx, call).check_shards(shard_count)
            if self._has_limits:
                self._check_quotas(tx, call, mode)
            stream = Stream(
                id=0,
                account_id=call.account_id,
                region=call.region,
                name=name,
                kind="kinesis",
                created_at=tx.now,
                mode=mode,
                maximum_record_kib=request.get("MaxRecordSizeInKiB", 1024),
                distribution=distribution,
                warm_mibps=_warm_throughput(tx, call, mode, request),
                tags=tags,
                **self.settling(tx, "CREATING"),
            )
            shelf.create(tx, stream, shard_count=shard_count)

        await self._store.write(unit)
        return {}

    def _check_quotas(self, tx: Tx, call: Call, mode: str) -> None:
        """Refuse what an account may not have by default (limits.kinesis = "aws")."""
        if mode == "ON_DEMAND":
            limits_of(tx, call).check_on_demand()
        streams = tx.streams.list(call.account_id, call.region, "kinesis", limit=1_000_000)
        if sum(each.status_at(tx.now) == "CREATING" for each in streams) >= _CREATING_AT_ONCE:
            raise ApiError(
                "LimitExceededException",
                f"Account {call.account_id} has {_CREATING_AT_ONCE} streams in the CREATING state already.",
            )

    @operation("DeleteStream")
    async def delete_stream(self, call: Call, request: Request) -> Answer:
        """Delete a stream with its shards and records; its consumers too, if that is asked for."""

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            if not request.get("EnforceConsumerDeletion") and tx.streams.consumers(stream):
                raise ApiError(
                    "ResourceInUseException",
                    f"Stream {stream.name} under account {stream.account_id} has registered consumers. Set "
                    "EnforceConsumerDeletion to true to delete them with it.",
                )
            if self._transition_s:
                tx.streams.update(stream, **self.settling(tx, "DELETING"))
            else:
                tx.streams.delete(stream)

        await self._store.write(unit)
        return {}

    @operation("DescribeStream")
    async def describe_stream(self, call: Call, request: Request) -> Answer:
        """Describe a stream and its shards, a page of them at a time."""
        limit = min(request.get("Limit", MAXIMUM_LISTED), MAXIMUM_LISTED)
        start = _start_index(request)

        def query(tx: Tx) -> dict[str, Any]:
            stream = find_stream(tx, call, request)
            is_there = stream.status_at(tx.now) != "CREATING"
            shards = [shard for shard in present_shards(tx, stream) if shard.index > start] if is_there else []
            return {
                **_described(stream, tx.now),
                "Shards": [shard_members(shard) for shard in shards[:limit]],
                "HasMoreShards": len(shards) > limit,
                "EncryptionType": stream.encryption,
                "KeyId": stream.encryption_key,
            }

        return {"StreamDescription": await self._store.read(query)}

    @operation("DescribeStreamSummary")
    async def describe_stream_summary(self, call: Call, request: Request) -> Answer:
        """Describe a stream without its shards."""

        def query(tx: Tx) -> dict[str, Any]:
            stream = find_stream(tx, call, request)
            is_there = stream.status_at(tx.now) != "CREATING"
            summary = {
                **_described(stream, tx.now),
                "EncryptionType": stream.encryption,
                "KeyId": stream.encryption_key,
                "OpenShardCount": len(shelf.open_shards(tx, stream)) if is_there else 0,
                "ConsumerCount": len(tx.streams.consumers(stream)),
                "MaxRecordSizeInKiB": stream.maximum_record_kib,
            }
            if stream.mode == "ON_DEMAND":
                summary["RecordDistributionStrategy"] = stream.distribution
                if stream.warm_mibps is not None:
                    summary["WarmThroughput"] = _warm(stream)
            return summary

        return {"StreamDescriptionSummary": await self._store.read(query)}

    @operation("ListStreams")
    async def list_streams(self, call: Call, request: Request) -> Answer:
        """List the streams of an account and region in order of name."""
        limit = min(request.get("Limit", MAXIMUM_LISTED), MAXIMUM_LISTED)
        after, token = request.get("ExclusiveStartStreamName"), request.get("NextToken")
        if token is not None:
            if after is not None:
                raise ApiError(
                    "InvalidArgumentException", "NextToken and ExclusiveStartStreamName cannot be provided together."
                )
            after = tokens.redeem(token, "streams", self._clock.now())["after"]

        def query(tx: Tx) -> Answer:
            found = tx.streams.list(call.account_id, call.region, "kinesis", after=after, limit=limit + 1)
            streams, has_more = found[:limit], len(found) > limit
            answer: dict[str, Any] = {
                "StreamNames": [stream.name for stream in streams],
                "HasMoreStreams": has_more,
                "StreamSummaries": [
                    {
                        "StreamName": stream.name,
                        "StreamARN": stream.arn,
                        "StreamStatus": stream.status_at(tx.now),
                        "StreamModeDetails": {"StreamMode": stream.mode},
                        "StreamCreationTimestamp": stream.created_at,
                    }
                    for stream in streams
                ],
            }
            if has_more:
                answer["NextToken"] = tokens.issue("streams", tx.now, after=streams[-1].name)
            return answer

        return await self._store.read(query)

    @operation("UpdateStreamMode")
    async def update_stream_mode(self, call: Call, request: Request) -> Answer:
        """Change between provisioned and on-demand; the shards stay as they are."""
        mode = request["StreamModeDetails"]["StreamMode"]

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            recent = tuple(moment for moment in stream.mode_changed_at if moment > tx.now - DAY_S)
            if self._has_limits and len(recent) >= MODE_CHANGES_PER_DAY:
                raise ApiError(
                    "LimitExceededException",
                    f"Stream {stream.name} under account {stream.account_id} has changed its capacity mode "
                    f"{MODE_CHANGES_PER_DAY} times within the last 24 hours.",
                )
            changes: dict[str, Any] = {"mode": mode, "warm_mibps": _warm_throughput(tx, call, mode, request)}
            if mode == "PROVISIONED":
                changes["distribution"] = "USER_PARTITION_KEY"
            elif self._has_limits and stream.mode != mode:
                limits_of(tx, call).check_on_demand()
            if stream.mode != mode:
                changes |= {"mode_changed_at": (*recent, tx.now), **self.settling(tx, "UPDATING")}
            tx.streams.update(stream, **changes)

        await self._store.write(unit)
        return {}

    @operation("UpdateMaxRecordSize")
    async def update_max_record_size(self, call: Call, request: Request) -> Answer:
        """Change how large one record may be."""

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            tx.streams.update(stream, maximum_record_kib=request["MaxRecordSizeInKiB"], **self.settling(tx, "UPDATING"))

        await self._store.write(unit)
        return {}

    @operation("UpdateStreamRecordDistributionStrategy")
    async def update_stream_record_distribution_strategy(self, call: Call, request: Request) -> Answer:
        """Let records be placed by their partition keys, or evenly whatever their keys."""

        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            _check_distribution(stream.mode, request["RecordDistributionStrategy"])
            tx.streams.update(stream, distribution=request["RecordDistributionStrategy"])

        await self._store.write(unit)
        return {}

    @operation("UpdateStreamWarmThroughput")
    async def update_stream_warm_throughput(self, call: Call, request: Request) -> Answer:
        """Keep the write throughput an on-demand stream shall be ready for."""

        def unit(tx: Tx) -> Stream:
            stream = find_stream(tx, call, request)
            must_be_active(tx, stream)
            warm = _warm_throughput(tx, call, stream.mode, request)
            return tx.streams.update(stream, warm_mibps=warm, **self.settling(tx, "UPDATING"))

        stream = await self._store.write(unit)
        return {"StreamARN": stream.arn, "StreamName": stream.name, "WarmThroughput": _warm(stream)}


def _described(stream: Stream, now: float) -> dict[str, Any]:
    """Return what both descriptions of a stream have."""
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status_at(now),
        "StreamModeDetails": {"StreamMode": stream.mode},
        "RetentionPeriodHours": stream.retention_s // 3600,
        "StreamCreationTimestamp": stream.created_at,
        "EnhancedMonitoring": [{"ShardLevelMetrics": list(stream.shard_level_metrics)}],
    }


def _warm(stream: Stream) -> dict[str, Any]:
    return {"TargetMiBps": stream.warm_mibps, "CurrentMiBps": stream.warm_mibps}


def _start_index(request: Request) -> int:
    """Return the index after which a listing of shards begins."""
    start = request.get("ExclusiveStartShardId")
    if start is None:
        return -1
    index = shard_index(start)
    if index is None:
        raise ApiError("InvalidArgumentException", f"ExclusiveStartShardId {start} is not a shard's id.")
    return index


def _check_distribution(mode: str, strategy: str | None) -> None:
    """Refuse a distribution strategy for a provisioned stream; the default one changes nothing there."""
    if mode == "PROVISIONED" and strategy == "AUTO":
        raise ApiError(
            "InvalidArgumentException",
            "RecordDistributionStrategy AUTO is only supported for streams in ON_DEMAND mode.",
        )


def _warm_throughput(tx: Tx, call: Call, mode: str, request: Request) -> int | None:
    """Return the warm throughput a request asks for, None without.

    Raises: ApiError: the stream is provisioned, or the account has no minimum throughput billing commitment.
    """
    asked: int | None = request.get("WarmThroughputMiBps")
    if asked is None:
        return None
    if mode != "ON_DEMAND":
        raise ApiError("ValidationException", "WarmThroughputMiBps is only supported for streams in ON_DEMAND mode.")
    if not has_commitment(tx, call):
        raise ApiError(
            "ValidationException",
            "WarmThroughputMiBps is only supported for accounts with MinimumThroughputBillingCommitment enabled.",
        )
    if asked > 10 * 1024:
        raise ApiError("LimitExceededException", "WarmThroughputMiBps cannot be greater than 10240.")
    return asked
