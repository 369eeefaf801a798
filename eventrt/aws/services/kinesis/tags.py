"""Tags of streams and consumers, by the older operations of streams and the newer ones of any resource."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import KinesisRoom, Request, find_active, find_resource, find_stream
from eventrt.core.streams import Consumer, Stream
from eventrt.errors import ApiError
from eventrt.store.api import Tx

MAXIMUM_TAGS = 50
"""Of one resource. Source: API, AddTagsToStream."""

_ODD = re.compile(r"[^\w\s.:/=+\-@]")
"""What tags may not contain. Source: API, TagResource."""


class Tags(KinesisRoom):
    """The operations on tags."""

    @operation("AddTagsToStream")
    async def add_tags_to_stream(self, call: Call, request: Request) -> Answer:
        """Add or change tags of a stream."""

        def unit(tx: Tx) -> None:
            _add(tx, call, find_active(tx, call, request), None, request["Tags"])

        await self._store.write(unit)
        return {}

    @operation("RemoveTagsFromStream")
    async def remove_tags_from_stream(self, call: Call, request: Request) -> Answer:
        """Remove tags of a stream; those it does not have are passed over."""
        await self._store.write(lambda tx: _remove(tx, find_active(tx, call, request), None, request["TagKeys"]))
        return {}

    @operation("ListTagsForStream")
    async def list_tags_for_stream(self, call: Call, request: Request) -> Answer:
        """List the tags of a stream in order of key, a page at a time."""
        tags = (await self._store.read(lambda tx: find_stream(tx, call, request))).tags
        after, limit = request.get("ExclusiveStartTagKey"), request.get("Limit", MAXIMUM_TAGS)
        keys = [key for key in sorted(tags) if after is None or key > after]
        return {
            "Tags": [{"Key": key, "Value": tags[key]} for key in keys[:limit]],
            "HasMoreTags": len(keys) > limit,
        }

    @operation("TagResource")
    async def tag_resource(self, call: Call, request: Request) -> Answer:
        """Add or change tags of a stream or a consumer."""
        await self._store.write(lambda tx: _add(tx, call, *find_resource(tx, call, request), request["Tags"]))
        return {}

    @operation("UntagResource")
    async def untag_resource(self, call: Call, request: Request) -> Answer:
        """Remove tags of a stream or a consumer."""
        await self._store.write(lambda tx: _remove(tx, *find_resource(tx, call, request), request["TagKeys"]))
        return {}

    @operation("ListTagsForResource")
    async def list_tags_for_resource(self, call: Call, request: Request) -> Answer:
        """List the tags of a stream or a consumer in order of key."""
        stream, consumer = await self._store.read(lambda tx: find_resource(tx, call, request))
        tags = stream.tags if consumer is None else consumer.tags
        return {"Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}


def checked_tags(tags: Mapping[str, Any], what: str, call: Call) -> dict[str, str]:
    """Return tags that a resource may have; `what` names it in refusals.

    Raises: ApiError: InvalidArgumentException.
    """
    for key, value in tags.items():
        if _ODD.search(key) or _ODD.search(value):
            raise ApiError(
                "InvalidArgumentException",
                "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, "
                "_ . / = + - % @ :.",
            )
        if key.lower().startswith("aws:"):
            raise ApiError("InvalidArgumentException", "Tag keys cannot begin with aws:.")
    if len(tags) > MAXIMUM_TAGS:
        raise ApiError(
            "InvalidArgumentException",
            f"Failed to add tags to {what} under account {call.account_id} because a given {what.split()[0]} cannot "
            f"have more than {MAXIMUM_TAGS} tags associated with it.",
        )
    return dict(tags)


def _add(tx: Tx, call: Call, stream: Stream, consumer: Consumer | None, tags: Mapping[str, str]) -> None:
    if consumer is None:
        checked_tags(tags, f"stream {stream.name}", call)
        tx.streams.tag(stream, checked_tags({**stream.tags, **tags}, f"stream {stream.name}", call))
    else:
        checked_tags(tags, f"consumer {consumer.name}", call)
        merged = checked_tags({**consumer.tags, **tags}, f"consumer {consumer.name}", call)
        tx.streams.update_consumer(consumer, tags=merged)


def _remove(tx: Tx, stream: Stream, consumer: Consumer | None, keys: Sequence[str]) -> None:
    gone = frozenset(keys)
    tags = stream.tags if consumer is None else consumer.tags
    left = {key: value for key, value in tags.items() if key not in gone}
    if consumer is None:
        tx.streams.tag(stream, left)
    else:
        tx.streams.update_consumer(consumer, tags=left)
