"""Enhanced fan-out consumers: register, deregister, describe, list."""

from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis import tokens
from eventrt.aws.services.kinesis.room import KinesisRoom, Request, find_consumer, must_be_active, stream_of_arn
from eventrt.aws.services.kinesis.shards import is_same_stream
from eventrt.aws.services.kinesis.tags import checked_tags
from eventrt.core.streams import Consumer, Stream
from eventrt.errors import ApiError
from eventrt.store.api import Tx

MAXIMUM_CONSUMERS = 20
"""Of one stream. Source: API, RegisterStreamConsumer."""

MAXIMUM_LISTED = 100


class Consumers(KinesisRoom):
    """The operations on consumers."""

    @operation("RegisterStreamConsumer")
    async def register_stream_consumer(self, call: Call, request: Request) -> Answer:
        """Register a consumer with a stream."""
        name = request["ConsumerName"]
        tags = checked_tags(request.get("Tags", {}), f"consumer {name}", call)

        def unit(tx: Tx) -> Answer:
            stream = stream_of_arn(tx, call, request["StreamARN"])
            must_be_active(tx, stream)
            others = tx.streams.consumers(stream)
            if any(other.name == name for other in others):
                raise ApiError(
                    "ResourceInUseException",
                    f"Consumer {name} under stream {stream.name} already exists for account {stream.account_id}.",
                )
            if len(others) >= MAXIMUM_CONSUMERS:
                raise ApiError(
                    "LimitExceededException",
                    f"Stream {stream.name} under account {stream.account_id} has reached its limit of "
                    f"{MAXIMUM_CONSUMERS} registered consumers.",
                )
            return {"Consumer": self._members(tx, tx.streams.register(stream, name, tags=tags))}

        return await self._store.write(unit)

    @operation("DeregisterStreamConsumer")
    async def deregister_stream_consumer(self, call: Call, request: Request) -> Answer:
        """Forget a consumer; its subscriptions end."""
        await self._store.write(lambda tx: tx.streams.deregister(_find(tx, call, request)[1]))
        return {}

    @operation("DescribeStreamConsumer")
    async def describe_stream_consumer(self, call: Call, request: Request) -> Answer:
        """Describe a consumer."""

        def query(tx: Tx) -> Answer:
            stream, consumer = _find(tx, call, request)
            return {"ConsumerDescription": {**self._members(tx, consumer), "StreamARN": stream.arn}}

        return await self._store.read(query)

    @operation("ListStreamConsumers")
    async def list_stream_consumers(self, call: Call, request: Request) -> Answer:
        """List the consumers of a stream in order of name."""
        limit = min(request.get("MaxResults", MAXIMUM_LISTED), MAXIMUM_LISTED)
        token = request.get("NextToken")
        if token is not None and "StreamCreationTimestamp" in request:
            raise ApiError(
                "InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together."
            )

        def query(tx: Tx) -> Answer:
            stream = stream_of_arn(tx, call, request["StreamARN"])
            is_same_stream(stream, request)
            consumers = list(tx.streams.consumers(stream))
            if token is not None:
                kept = tokens.redeem(token, "consumers", tx.now)
                if kept["stream"] != stream.id:
                    raise ApiError("InvalidArgumentException", "NextToken is not one of this StreamARN.")
                consumers = [consumer for consumer in consumers if consumer.name > kept["after"]]
            answer: dict[str, Any] = {"Consumers": [self._members(tx, consumer) for consumer in consumers[:limit]]}
            if len(consumers) > limit:
                answer["NextToken"] = tokens.issue(
                    "consumers", tx.now, stream=stream.id, after=consumers[limit - 1].name
                )
            return answer

        return await self._store.read(query)

    def _members(self, tx: Tx, consumer: Consumer) -> dict[str, Any]:
        is_new = tx.now < consumer.created_at + self._transition_s
        return {
            "ConsumerName": consumer.name,
            "ConsumerARN": consumer.arn,
            "ConsumerStatus": "CREATING" if is_new else "ACTIVE",
            "ConsumerCreationTimestamp": consumer.created_at,
        }


def _find(tx: Tx, call: Call, request: Request) -> tuple[Stream, Consumer]:
    """Return the consumer a request means: by its ARN, or by its stream's ARN and its name; all three must agree.

    Raises: ApiError: it is not there, or the request does not say which.
    """
    arn, stream_arn, name = request.get("ConsumerARN"), request.get("StreamARN"), request.get("ConsumerName")
    if arn is None and (stream_arn is None or name is None):
        raise ApiError(
            "InvalidArgumentException", "Either ConsumerARN, or StreamARN and ConsumerName must be specified."
        )
    if arn is None:
        stream = stream_of_arn(tx, call, stream_arn or "")
        for consumer in tx.streams.consumers(stream):
            if consumer.name == name:
                return stream, consumer
        raise ApiError(
            "ResourceNotFoundException",
            f"Consumer {name} under stream {stream.name} under account {stream.account_id} not found.",
        )
    stream, consumer = find_consumer(tx, call, arn)
    if stream_arn not in (None, stream.arn) or name not in (None, consumer.name):
        raise ApiError("InvalidArgumentException", f"StreamARN and ConsumerName do not agree with ConsumerARN {arn}.")
    return stream, consumer
