"""What every part of the Kinesis service needs: finding what a request means, and AWS's refusals.

Accounts and regions are separate worlds: a stream is looked up in the caller's account and region; an ARN of another
account's stream is refused, whatever its policy says (docs/behaviour/streams.md).
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from eventrt.aws.call import Call
from eventrt.clock import Clock
from eventrt.core.streams import Consumer, Shard, Stream, shard_index, shard_name
from eventrt.core.throughput import Throughput
from eventrt.errors import ApiError
from eventrt.store.api import Store, Tx

Request = Mapping[str, Any]
Limits = Literal["aws", "off"]


class KinesisRoom:
    """The store and the clock, and how requests find their stream. The operations are in the subclasses.

    Args:
        limits: "aws" enforces what a shard may take and give per second and what an account may have and do per day;
            "off" does not.
        transition_s: how long a stream stays CREATING, UPDATING or DELETING; 0 is through before the answer leaves.
    """

    service_id = "kinesis"

    def __init__(self, store: Store, clock: Clock, *, limits: Limits = "off", transition_s: float = 0.0) -> None:
        self._store = store
        self._clock = clock
        self._transition_s = transition_s
        self._has_limits = limits == "aws"
        self._throughput = Throughput()

    def settling(self, tx: Tx, status: str) -> dict[str, Any]:
        """Return the members of a stream that has just begun a transition: its status, and until when."""
        if not self._transition_s:
            return {"status": "ACTIVE", "settles_at": None}
        return {"status": status, "settles_at": tx.now + self._transition_s}


# -- finding streams


def find_stream(tx: Tx, call: Call, request: Request) -> Stream:
    """Return the stream a request means, by StreamName or StreamARN or both.

    Raises: ApiError: it is not there, or is another account's; neither is given, or the two do not agree.
    """
    name, arn = request.get("StreamName"), request.get("StreamARN")
    if arn is None:
        if name is None:
            raise ApiError("InvalidArgumentException", "Either StreamName or StreamARN must be specified.")
        stream = tx.streams.find(call.account_id, call.region, name)
        if stream is None:
            raise no_such_stream(call, name)
        return stream
    stream = stream_of_arn(tx, call, arn)
    if name is not None and name != stream.name:
        raise ApiError("InvalidArgumentException", f"StreamName {name} does not match StreamARN {arn}.")
    return stream


def stream_of_arn(tx: Tx, call: Call, arn: str) -> Stream:
    """Return the stream of an ARN.

    Raises: ApiError: it is not there, or is another account's.
    """
    parts = arn.split(":", 5)
    stream = tx.streams.by_arn(arn) if len(parts) == 6 and parts[5].count("/") == 1 and parts[2] == "kinesis" else None
    if stream is not None and stream.account_id != call.account_id:
        raise ApiError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{call.account_id}:root is not authorized to perform: kinesis:{call.operation} on "
            f"resource: {arn} because no resource-based policy allows the kinesis:{call.operation} action",
        )
    if stream is None or stream.region != call.region:
        account_id = parts[4] if len(parts) == 6 else call.account_id
        raise ApiError(
            "ResourceNotFoundException", f"Stream {arn.rpartition('/')[2]} under account {account_id} not found."
        )
    return stream


def no_such_stream(call: Call, name: str) -> ApiError:
    """Return AWS's refusal of a stream that is not there."""
    return ApiError("ResourceNotFoundException", f"Stream {name} under account {call.account_id} not found.")


def find_active(tx: Tx, call: Call, request: Request) -> Stream:
    """Return the stream a request would change.

    Raises: ApiError: as `find_stream`; ResourceInUseException while it is in a transition.
    """
    stream = find_stream(tx, call, request)
    must_be_active(tx, stream)
    return stream


def must_be_active(tx: Tx, stream: Stream) -> None:
    """Refuse a stream that is in a transition."""
    status = stream.status_at(tx.now)
    if status != "ACTIVE":
        raise ApiError(
            "ResourceInUseException",
            f"Stream {stream.name} under account {stream.account_id} not ACTIVE, instead in state {status}",
        )


def find_usable(tx: Tx, call: Call, request: Request) -> Stream:
    """Return a stream that records are put on or read from: one that is being created is not there yet."""
    stream = find_stream(tx, call, request)
    if stream.settles_at is not None and stream.status_at(tx.now) == "CREATING":
        raise no_such_stream(call, stream.name)
    return stream


def find_shard(tx: Tx, stream: Stream, name: str) -> Shard:
    """Return the shard of this ShardId.

    Raises: ApiError: the stream has none, or it has expired.
    """
    index = shard_index(name)
    if index is not None:
        for shard in present_shards(tx, stream):
            if shard.index == index:
                return shard
    raise no_such_shard(stream, name)


def no_such_shard(stream: Stream, name: str) -> ApiError:
    """Return AWS's refusal of a shard that is not there."""
    return ApiError(
        "ResourceNotFoundException",
        f"Could not find shard {name} in stream {stream.name} under account {stream.account_id}.",
    )


def present_shards(tx: Tx, stream: Stream) -> list[Shard]:
    """Return the shards of a stream that have not expired: open ones, and those closed within the retention."""
    horizon = stream.horizon(tx.now)
    return [shard for shard in tx.streams.shards(stream) if shard.closed_at is None or shard.closed_at >= horizon]


def find_consumer(tx: Tx, call: Call, arn: str) -> tuple[Stream, Consumer]:
    """Return the consumer of an ARN, and its stream.

    Raises: ApiError: it is not there.
    """
    consumer = tx.streams.consumer(arn)
    stream = tx.streams.by_id(consumer.stream_id) if consumer is not None else None
    if consumer is None or stream is None or (stream.account_id, stream.region) != (call.account_id, call.region):
        raise ApiError(
            "ResourceNotFoundException", f"Consumer under account {call.account_id} with ARN {arn} not found."
        )
    return stream, consumer


def find_resource(tx: Tx, call: Call, request: Request) -> tuple[Stream, Consumer | None]:
    """Return the stream, or the stream and its consumer, that a ResourceARN names."""
    arn: str = request["ResourceARN"]
    if "/consumer/" in arn:
        return find_consumer(tx, call, arn)
    return stream_of_arn(tx, call, arn), None


def finite(moment: float, name: str) -> float:
    """Return a moment of a request, which is one at all.

    Raises: ApiError: it is infinite, or no number.
    """
    if not math.isfinite(moment):
        raise ApiError("InvalidArgumentException", f"{name} is not a moment in time.")
    return moment


def dry_run(request: Request) -> None:
    """End a request that only asks whether it would succeed: it would.

    Raises: ApiError: DryRunOperationException.
    """
    if request.get("DryRun"):
        raise ApiError("DryRunOperationException", "Request would have succeeded, but DryRun flag is set.")


# -- what answers are made of


def hash_key_range(shard: Shard) -> dict[str, str]:
    """Return a shard's HashKeyRange."""
    return {"StartingHashKey": str(shard.starting_hash_key), "EndingHashKey": str(shard.ending_hash_key)}


def child_shards(tx: Tx, stream: Stream, shard: Shard) -> list[dict[str, Any]]:
    """Return the ChildShards of a shard."""
    return [
        {
            "ShardId": shard_name(child.index),
            "ParentShards": [
                shard_name(parent) for parent in (child.parent, child.adjacent_parent) if parent is not None
            ],
            "HashKeyRange": hash_key_range(child),
        }
        for child in tx.streams.shards(stream)
        if shard.index in (child.parent, child.adjacent_parent)
    ]
