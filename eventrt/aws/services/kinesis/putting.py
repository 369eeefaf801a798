"""Putting records: PutRecord and PutRecords.

A request's records are laid on their shards in one unit of work; the answer leaves after its commit.
"""

from collections.abc import Sequence

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import KinesisRoom, Request, dry_run, find_usable
from eventrt.core.streams import (
    Shard,
    Stream,
    hash_key_of,
    parse_hash_key,
    parse_sequence_number,
    sequence_number,
    shard_name,
)
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

MAXIMUM_REQUEST_BYTES = 10 * 1024 * 1024
"""Of all records of one PutRecords with their partition keys. Source: API, PutRecords."""

_KEY_BYTES = 4 * 256
"""What no partition key is longer than, in UTF-8."""


class Putting(KinesisRoom):
    """The operations that put records."""

    _turn = 0
    """Which shard takes the next record of a stream that distributes evenly."""

    @operation("PutRecord")
    async def put_record(self, call: Call, request: Request) -> Answer:
        """Put one record."""
        ordering = request.get("SequenceNumberForOrdering")

        def unit(tx: Tx) -> tuple[Stream, shelf.Placed]:
            stream = find_usable(tx, call, request)
            draft = self._draft(tx, stream, request, "")
            if ordering is not None:
                _check_ordering(tx, stream, ordering)
            dry_run(request)
            [placed] = shelf.put(tx, stream, (draft,), admit=self._admit(tx))
            return stream, placed

        stream, (shard, sequence) = await self._store.write(unit)
        if sequence is None:
            raise ApiError("ProvisionedThroughputExceededException", _rate_exceeded(stream, shard))
        return {
            "ShardId": shard_name(shard.index),
            "SequenceNumber": sequence_number(sequence, shard.index),
            **_encryption(stream),
        }

    @operation("PutRecords")
    async def put_records(self, call: Call, request: Request) -> Answer:
        """Put up to 500 records; each succeeds or fails by itself."""
        entries: Sequence[Request] = request["Records"]

        def unit(tx: Tx) -> tuple[Stream, Sequence[shelf.Placed]]:
            stream = find_usable(tx, call, request)
            drafts = self._drafts(tx, stream, entries)
            dry_run(request)
            return stream, shelf.put(tx, stream, drafts, admit=self._admit(tx))

        stream, all_placed = await self._store.write(unit)
        results: list[dict[str, str]] = []
        failed = 0
        for shard, sequence in all_placed:
            if sequence is None:
                failed += 1
                code = "ProvisionedThroughputExceededException"
                results.append({"ErrorCode": code, "ErrorMessage": _rate_exceeded(stream, shard)})
            else:
                index = shard.index
                results.append({"SequenceNumber": sequence_number(sequence, index), "ShardId": shard_name(index)})
        return {"FailedRecordCount": failed, "Records": results, **_encryption(stream)}

    def _drafts(self, tx: Tx, stream: Stream, entries: Sequence[Request]) -> Sequence[tuple[str, bytes, int]]:
        """Return the records of a PutRecords, checked.

        Raises: ApiError: one of them, or all together, break a rule.
        """
        # What is well below the limit, and has a key only, needs no further look.
        surely_fits = stream.maximum_record_kib * 1024 - _KEY_BYTES
        is_even = stream.distribution == "AUTO"
        drafts: list[tuple[str, bytes, int]] = []
        size = 0
        for entry in entries:
            data, key = entry["Data"], entry.get("PartitionKey")
            size += len(data)
            if key is None or is_even or len(data) > surely_fits or "ExplicitHashKey" in entry:
                drafts.append(self._draft(tx, stream, entry, f"records.{len(drafts) + 1}.member."))
            else:
                drafts.append((key, data, hash_key_of(key)))
        if (
            size + _KEY_BYTES * len(drafts) > MAXIMUM_REQUEST_BYTES
            and size + sum(len(key.encode()) for key, _, _ in drafts) > MAXIMUM_REQUEST_BYTES
        ):
            raise ApiError("InvalidArgumentException", "Records size exceeds 10 MB limit")
        return drafts

    def _draft(self, tx: Tx, stream: Stream, entry: Request, where: str) -> shelf.Draft:
        """Return a record as it was asked for, checked; `where` is its place in the request, for refusals."""
        data, key = entry["Data"], entry.get("PartitionKey")
        explicit = entry.get("ExplicitHashKey")
        if key is None:
            if stream.distribution != "AUTO":
                raise _invalid(f"Value null at '{where}partitionKey'", "Member must not be null")
            key = ""
        maximum = stream.maximum_record_kib * 1024
        if len(data) + _KEY_BYTES > maximum and len(data) + len(key.encode()) > maximum:
            raise _invalid(f"Value at '{where}data'", f"Member must have length less than or equal to {maximum}")
        hash_key = parse_hash_key(explicit) if explicit is not None else hash_key_of(key)
        if hash_key is None:
            raise ApiError(
                "InvalidArgumentException",
                "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was "
                f"{explicit}",
            )
        if stream.distribution == "AUTO":
            shards = shelf.open_shards(tx, stream)
            self._turn += 1
            hash_key = shards[self._turn % len(shards)].starting_hash_key
        return shelf.Draft(key, data, hash_key)

    def _admit(self, tx: Tx) -> shelf.Admit | None:
        """Return the check of the shards' write throughput, None where it is not enforced."""
        if not self._has_limits:
            return None
        now, throughput = tx.now, self._throughput
        return lambda shard, size_bytes: throughput.admits_record(shard.id, size_bytes, now)


def _check_ordering(tx: Tx, stream: Stream, number: str) -> None:
    """Refuse a SequenceNumberForOrdering that is none of this stream; every later number is greater anyway."""
    parsed = parse_sequence_number(number)
    if parsed is None or parsed[0] >= tx.streams.next_sequence(stream):
        raise ApiError(
            "InvalidArgumentException",
            f"SequenceNumberForOrdering {number} used in a PutRecord on stream {stream.name} under account "
            f"{stream.account_id} is invalid because it did not come from this stream.",
        )


def _invalid(what: str, constraint: str) -> ApiError:
    return ApiError(
        "ValidationException", f"1 validation error detected: {what} failed to satisfy constraint: {constraint}"
    )


def _encryption(stream: Stream) -> dict[str, str]:
    return {"EncryptionType": stream.encryption} if stream.encryption != "NONE" else {}


def _rate_exceeded(stream: Stream, shard: Shard) -> str:
    return (
        f"Rate exceeded for shard {shard_name(shard.index)} in stream {stream.name} under account {stream.account_id}."
    )
