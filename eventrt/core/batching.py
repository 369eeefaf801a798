"""When a batch is ready: by count, by window since its first record, by the size of the event it becomes."""

from collections.abc import Sequence

from eventrt.core.records import Record

PAYLOAD_LIMIT_BYTES = 6_291_456
"""A synchronous invocation takes no larger event."""

ENVELOPE_BYTES = len(b'{"Records":[]}')
"""What the event costs around its records; each record after the first costs a comma more."""


def event_bytes(records: Sequence[Record]) -> int:
    """Return the length of the JSON event that delivers these records."""
    return ENVELOPE_BYTES + sum([record.size_bytes for record in records]) + max(0, len(records) - 1)


class OpenBatch:
    """A batch that still collects records.

    Args: size: records at most. window_s: how long after the first record it closes at the latest.
    """

    __slots__ = ("limit_bytes", "opened_at", "records", "size", "size_bytes", "window_s")

    def __init__(self, size: int, window_s: float, limit_bytes: int = PAYLOAD_LIMIT_BYTES) -> None:
        self.size = size
        self.window_s = window_s
        self.limit_bytes = limit_bytes
        self.records: list[Record] = []
        self.size_bytes = ENVELOPE_BYTES
        self.opened_at = 0.0

    def fits(self, record: Record) -> bool:
        """May the record join? The first one always may, so that no record waits for ever."""
        if not self.records:
            return True
        return len(self.records) < self.size and self.size_bytes + 1 + record.size_bytes <= self.limit_bytes

    def add(self, record: Record, *, now: float) -> None:
        """Take in a record that fits."""
        if self.records:
            self.size_bytes += 1
        else:
            self.opened_at = now
        self.records.append(record)
        self.size_bytes += record.size_bytes

    @property
    def closes_at(self) -> float | None:
        """When the window ends; None while there is no record."""
        return self.opened_at + self.window_s if self.records else None

    def is_ready(self, *, now: float) -> bool:
        """Is it full, or over its window?"""
        if not self.records:
            return False
        return (
            len(self.records) >= self.size
            or self.size_bytes >= self.limit_bytes
            or now >= self.opened_at + self.window_s
        )

    def take(self) -> tuple[Record, ...]:
        """Return what was collected and start anew."""
        records = tuple(self.records)
        self.records = []
        self.size_bytes = ENVELOPE_BYTES
        return records
