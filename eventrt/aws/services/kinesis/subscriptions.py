"""SubscribeToShard: a shard's records pushed to a consumer as they come, for five minutes.

One subscription per consumer and shard: a second call within five seconds is refused, a later one takes over, and
the first then ends with an error. What an event stream looks like on the wire is the codec's business.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.reading import MAXIMUM_RECORDS, record_members, starting_position
from eventrt.aws.services.kinesis.room import (
    KinesisRoom,
    Request,
    child_shards,
    dry_run,
    find_consumer,
    find_shard,
    must_be_active,
)
from eventrt.core.streams import Consumer, Page, Shard, Stream, sequence_number
from eventrt.core.throughput import READ_BYTES_PER_S
from eventrt.errors import ApiError
from eventrt.sources import streams as shelf
from eventrt.store.api import Tx

LIFE_S = 300.0
"""How long one subscription lasts, in real time: it is the length of an HTTP answer."""

HOLD_S = 5.0
"""How long nobody may take a subscription over, in real time."""

HEARTBEAT_S = 5.0
"""An event is sent at least this often, so that a reader can keep its place; ours, AWS does not say how often."""

EVENT_BYTES = 2 * 1024 * 1024
"""What one event carries at the most, beyond its first record."""

Event = tuple[str, dict[str, Any]]


class Subscription:
    """One consumer's place in one shard. `started_at` is on the loop's clock."""

    def __init__(self, consumer_arn: str, shard: Shard, after: int, started_at: float) -> None:
        self.consumer_arn = consumer_arn
        self.shard_id, self.stream_id = shard.id, shard.stream_id
        self.after = after
        self.started_at = started_at
        self.is_over = anyio.Event()
        self.was_taken_over = False


class Subscriptions(KinesisRoom):
    """The operation that pushes records."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._active: dict[tuple[str, int], Subscription] = {}

    def end_waits(self) -> None:
        """End every subscription; the daemon is stopping."""
        for subscription in self._active.values():
            subscription.is_over.set()

    @operation("SubscribeToShard")
    async def subscribe_to_shard(self, call: Call, request: Request) -> Answer:
        """Push a shard's records to a consumer."""
        arn = request["ConsumerARN"]
        position = request["StartingPosition"]

        def query(tx: Tx) -> tuple[Shard, int]:
            stream, _ = self._find(tx, call, arn)
            shard = find_shard(tx, stream, request["ShardId"])
            after = starting_position(
                tx,
                stream,
                shard,
                position["Type"],
                position.get("SequenceNumber"),
                position.get("Timestamp"),
                call.operation,
            )
            return shard, after

        shard, after = await self._store.read(query)
        former = self._active.get((arn, shard.id))
        now = anyio.current_time()
        if former is not None and now < former.started_at + HOLD_S:
            raise ApiError(
                "ResourceInUseException",
                f"Another active subscription exists for this consumer: {arn.rpartition('/')[2]} and shard: "
                f"{request['ShardId']}",
            )
        dry_run(request)
        if former is not None:
            former.was_taken_over = True
            former.is_over.set()
        subscription = Subscription(arn, shard, after, now)
        self._active[arn, shard.id] = subscription
        return {"EventStream": self._events(call, subscription)}

    def _find(self, tx: Tx, call: Call, arn: str) -> tuple[Stream, Consumer]:
        stream, consumer = find_consumer(tx, call, arn)
        _must_be_there(tx, stream)
        if tx.now < consumer.created_at + self._transition_s:
            raise ApiError("ResourceInUseException", f"Consumer {arn} is not ACTIVE, instead in state CREATING")
        return stream, consumer

    async def _events(self, call: Call, subscription: Subscription) -> AsyncIterator[Event]:
        """Yield events until the shard, the time, the consumer or the patience of another call is at its end."""
        ends_at = subscription.started_at + LIFE_S
        key = (subscription.consumer_arn, subscription.shard_id)
        watch = self._store.watch
        is_due = True
        try:
            with (
                watch(("shard", subscription.shard_id)) as records,
                watch(("stream", subscription.stream_id)) as stream,
            ):
                while not subscription.is_over.is_set() and anyio.current_time() < ends_at:
                    found = await self._store.read(lambda tx: self._read(tx, call, subscription))
                    if found.page.is_at_end:
                        yield found.event()
                        return
                    if found.page.records or is_due:
                        yield found.event()
                        subscription.after, is_due = found.page.after, False
                        if self._has_limits:
                            await self._rest(subscription, found.page)
                        if not found.page.is_at_tip:
                            continue
                    wait_s = min(HEARTBEAT_S, ends_at - anyio.current_time())
                    # When nothing comes for so long, an empty event says that the reader is still at the tip.
                    is_due = not await _any_of(wait_s, records.wait, stream.wait, subscription.is_over.wait)
            if subscription.was_taken_over:
                raise ApiError(
                    "ResourceInUseException",
                    "Another SubscribeToShard call with the same ConsumerARN and ShardId took over this subscription.",
                )
        finally:
            if self._active.get(key) is subscription:
                del self._active[key]

    def _read(self, tx: Tx, call: Call, subscription: Subscription) -> "_Found":
        """Return what follows in the shard; refuse when consumer or shard have gone."""
        stream, _ = find_consumer(tx, call, subscription.consumer_arn)
        shard = tx.streams.shard(subscription.shard_id)
        if shard is None:
            raise ApiError("ResourceNotFoundException", f"The shard of stream {stream.name} is gone.")
        page = shelf.read(tx, shard, after=subscription.after, limit=MAXIMUM_RECORDS, maximum_bytes=EVENT_BYTES)
        return _Found(stream, shard, page, child_shards(tx, stream, shard) if page.is_at_end else [])

    async def _rest(self, subscription: Subscription, page: Page) -> None:
        """Wait as long as what was pushed takes at a shard's read throughput (limits.kinesis = "aws")."""
        with anyio.move_on_after(sum(len(record.data) for record in page.records) / READ_BYTES_PER_S):
            await subscription.is_over.wait()


def _must_be_there(tx: Tx, stream: Stream) -> None:
    """Refuse a stream that is being created or deleted."""
    if stream.status_at(tx.now) != "UPDATING":
        must_be_active(tx, stream)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look at a shard gave."""

    stream: Stream
    shard: Shard
    page: Page
    children: list[dict[str, Any]]

    def event(self) -> Event:
        """Return it as a SubscribeToShardEvent. At the end of a shard there is no continuation, but its children."""
        shard, page = self.shard, self.page
        members: dict[str, Any] = {
            "Records": record_members(self.stream, shard, page),
            "MillisBehindLatest": int(page.behind_s * 1000),
        }
        if page.is_at_end:
            members["ChildShards"] = self.children
        else:
            members["ContinuationSequenceNumber"] = sequence_number(max(page.after, shard.first_sequence), shard.index)
        return "SubscribeToShardEvent", members


async def _any_of(seconds: float, *waits: Callable[[], Awaitable[object]]) -> bool:
    """Return True once one of these has returned; False when the time is over first."""
    with anyio.move_on_after(max(0.0, seconds)):
        async with anyio.create_task_group() as group:

            async def first(wait: Callable[[], Awaitable[object]]) -> None:
                await wait()
                group.cancel_scope.cancel()

            for wait in waits:
                group.start_soon(first, wait)
        return True
    return False
