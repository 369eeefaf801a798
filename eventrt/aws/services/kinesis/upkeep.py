"""What is set on a stream in passing: retention, encryption, enhanced monitoring."""

from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import KinesisRoom, Request, find_active
from eventrt.core.streams import Stream
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

MINIMUM_HOURS, MAXIMUM_HOURS = 24, 8760
METRICS = (
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
)


class Upkeep(KinesisRoom):
    """The operations on retention, encryption and monitoring."""

    @operation("IncreaseStreamRetentionPeriod")
    async def increase_stream_retention_period(self, call: Call, request: Request) -> Answer:
        """Keep records longer; what has expired already stays so."""

        def unit(tx: Tx) -> None:
            stream, hours = _retention(tx, call, request)
            if hours * 3600 < stream.retention_s:
                raise ApiError(
                    "InvalidArgumentException",
                    f"Requested retention period ({hours} hours) for stream {stream.name} can not be shorter than "
                    f"existing retention period ({stream.retention_s // 3600} hours). Use DecreaseRetentionPeriod API.",
                )
            if hours * 3600 > stream.retention_s:
                shelf.increase_retention(tx, stream, hours * 3600)

        await self._store.write(unit)
        return {}

    @operation("DecreaseStreamRetentionPeriod")
    async def decrease_stream_retention_period(self, call: Call, request: Request) -> Answer:
        """Keep records for a shorter time; older ones are gone at once."""

        def unit(tx: Tx) -> None:
            stream, hours = _retention(tx, call, request)
            if hours * 3600 > stream.retention_s:
                raise ApiError(
                    "InvalidArgumentException",
                    f"Requested retention period ({hours} hours) for stream {stream.name} can not be longer than "
                    f"existing retention period ({stream.retention_s // 3600} hours). Use IncreaseRetentionPeriod API.",
                )
            if hours * 3600 < stream.retention_s:
                shelf.decrease_retention(tx, stream, hours * 3600)

        await self._store.write(unit)
        return {}

    @operation("StartStreamEncryption")
    async def start_stream_encryption(self, call: Call, request: Request) -> Answer:
        """Say of a stream that it is encrypted with a key."""
        if request["EncryptionType"] != "KMS":
            raise ApiError("InvalidArgumentException", "EncryptionType must be KMS.")
        await self._encrypt(call, request, encryption="KMS", encryption_key=request["KeyId"])
        return {}

    @operation("StopStreamEncryption")
    async def stop_stream_encryption(self, call: Call, request: Request) -> Answer:
        """Say of a stream that it is not encrypted any more."""
        if request["EncryptionType"] != "KMS":
            raise ApiError("InvalidArgumentException", "EncryptionType must be KMS.")
        await self._encrypt(call, request, encryption="NONE", encryption_key=None)
        return {}

    async def _encrypt(self, call: Call, request: Request, **changes: Any) -> None:
        def unit(tx: Tx) -> None:
            stream = find_active(tx, call, request)
            tx.streams.update(stream, **changes, **self.settling(tx, "UPDATING"))

        await self._store.write(unit)

    @operation("EnableEnhancedMonitoring")
    async def enable_enhanced_monitoring(self, call: Call, request: Request) -> Answer:
        """Add shard-level metrics to those a stream is said to have."""
        return await self._monitor(call, request, enable=True)

    @operation("DisableEnhancedMonitoring")
    async def disable_enhanced_monitoring(self, call: Call, request: Request) -> Answer:
        """Take shard-level metrics from those a stream is said to have."""
        return await self._monitor(call, request, enable=False)

    async def _monitor(self, call: Call, request: Request, *, enable: bool) -> Answer:
        named = set(METRICS if "ALL" in request["ShardLevelMetrics"] else request["ShardLevelMetrics"])

        def unit(tx: Tx) -> Answer:
            stream = find_active(tx, call, request)
            current = stream.shard_level_metrics
            wanted = named | set(current) if enable else set(current) - named
            desired = tuple(metric for metric in METRICS if metric in wanted)
            if desired != current:
                tx.streams.update(stream, shard_level_metrics=desired, **self.settling(tx, "UPDATING"))
            return {
                "StreamName": stream.name,
                "StreamARN": stream.arn,
                "CurrentShardLevelMetrics": list(current),
                "DesiredShardLevelMetrics": list(desired),
            }

        return await self._store.write(unit)


def _retention(tx: Tx, call: Call, request: Request) -> tuple[Stream, int]:
    """Return the stream and the hours a request asks for.

    Raises: ApiError: the hours are out of range.
    """
    hours: int = request["RetentionPeriodHours"]
    stream = find_active(tx, call, request)
    if hours < MINIMUM_HOURS:
        raise ApiError(
            "InvalidArgumentException",
            f"Minimum allowed retention period is {MINIMUM_HOURS} hours. Requested retention period ({hours} hours) "
            "is too short.",
        )
    if hours > MAXIMUM_HOURS:
        raise ApiError(
            "InvalidArgumentException",
            f"Maximum allowed retention period is {MAXIMUM_HOURS} hours. Requested retention period ({hours} hours) "
            "is too long.",
        )
    return stream, hours
