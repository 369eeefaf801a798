"""What a shard takes and gives per second: buckets that fill with time.

A bucket holds one second's worth. What comes is admitted while there is anything in the bucket, and may leave it in
debt: so a record larger than a second's worth passes, and the shard rests until the debt is paid.
"""

from dataclasses import dataclass

RECORDS_PER_S = 1000
WRITE_BYTES_PER_S = 1024 * 1024
READS_PER_S = 5
READ_BYTES_PER_S = 2 * 1024 * 1024
"""Of one shard. Source: Kinesis developer guide, quotas and limits."""

_FORGET_ABOVE = 4096


@dataclass(slots=True)
class Bucket:
    """So much may be taken per second; `level` is what was left at `at` (epoch seconds)."""

    rate: float
    level: float
    at: float

    def fill(self, now: float) -> float:
        """Return what is in the bucket now."""
        if now > self.at:
            self.level = min(self.rate, self.level + (now - self.at) * self.rate)
        self.at = now
        return self.level


class Throughput:
    """The buckets of every shard that is in use."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, str], Bucket] = {}

    def admits_record(self, shard_id: int, size_bytes: int, now: float) -> bool:
        """May a record be put now? If so, it counts."""
        records = self._bucket(shard_id, "records", RECORDS_PER_S, now)
        volume = self._bucket(shard_id, "written", WRITE_BYTES_PER_S, now)
        if records.fill(now) < 1 or volume.fill(now) <= 0:
            return False
        records.level -= 1
        volume.level -= size_bytes
        return True

    def admits_read(self, shard_id: int, now: float) -> bool:
        """May the shard be read now? If so, the call counts."""
        reads = self._bucket(shard_id, "reads", READS_PER_S, now)
        if reads.fill(now) < 1 or self._bucket(shard_id, "read", READ_BYTES_PER_S, now).fill(now) <= 0:
            return False
        reads.level -= 1
        return True

    def has_read(self, shard_id: int, size_bytes: int, now: float) -> None:
        """Count what a read gave."""
        self._bucket(shard_id, "read", READ_BYTES_PER_S, now).level -= size_bytes

    def _bucket(self, shard_id: int, what: str, rate: float, now: float) -> Bucket:
        bucket = self._buckets.get((shard_id, what))
        if bucket is None:
            if len(self._buckets) >= _FORGET_ABOVE:  # those that are full again say nothing
                self._buckets = {key: each for key, each in self._buckets.items() if each.fill(now) < each.rate}
            bucket = self._buckets[shard_id, what] = Bucket(rate, rate, now)
        return bucket
