"""Queues themselves: create, delete, find, list; their attributes and tags; purge.

Attributes are checked by `core.queue_attributes`; a change takes effect at once, where AWS may take a minute.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.sqs.room import (
    Request,
    SqsRoom,
    answers,
    find_queue,
    look_up,
    queue_url,
    required,
)
from eventrt.core import queue_attributes as rules
from eventrt.core.messages import Queue, QueueDepth
from eventrt.core.refused import Refused, invalid_parameter
from eventrt.errors import ApiError
from eventrt.sources import queues as shelf
from eventrt.store.api import Tx

MAXIMUM_RESULTS = 1000
_PAGE_MARK = "after"
_COUNTS = frozenset(
    {
        "All",
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    }
)
_NOT_COUNTED = QueueDepth()


class Queues(SqsRoom):
    """The operations on queues themselves."""

    @answers("CreateQueue")
    async def create_queue(self, call: Call, request: Request) -> Answer:
        """Make a queue, or answer with the one that is there already and agrees in every attribute mentioned."""
        name = required(request, "QueueName")
        asked: Mapping[str, str] = request.get("Attributes") or {}
        tags: Mapping[str, str] = request.get("tags") or {}
        is_fifo = rules.is_fifo_requested(asked)
        rules.check_name(name, is_fifo=is_fifo)
        changes = rules.normalise(asked, is_fifo=is_fifo)
        attributes = rules.merged({}, changes)
        rules.check_tags(tags, queue_name=name)

        def unit(tx: Tx) -> Queue:
            present = tx.queues.find(call.account_id, call.region, name)
            if present is not None:
                different = rules.first_difference(present.attributes, attributes, is_fifo=present.is_fifo)
                if different is not None:
                    raise Refused(
                        "QueueNameExists",
                        f"A queue already exists with the same name and a different value for attribute {different}",
                    )
                return present
            if self._recreation_wait_s:
                deleted_at = tx.queues.deleted_at(call.account_id, call.region, name)
                if deleted_at is not None and 0 <= tx.now - deleted_at < self._recreation_wait_s:
                    raise Refused(
                        "QueueDeletedRecently",
                        "You must wait 60 seconds after deleting a queue before you can create another with the "
                        "same name.",
                    )
            if redrive := asked.get("RedrivePolicy"):
                draft = Queue(0, call.account_id, call.region, name, tx.now, tx.now, is_fifo=is_fifo)
                _check_redrive(tx, draft, redrive)
            return shelf.create(
                tx,
                account_id=call.account_id,
                region=call.region,
                name=name,
                attributes=attributes,
                tags=tags,
            )

        return {"QueueUrl": queue_url(call, await self._store.write(unit))}

    @answers("DeleteQueue")
    async def delete_queue(self, call: Call, request: Request) -> Answer:
        """Take a queue away with all its messages."""
        await self._store.write(lambda tx: shelf.delete_queue(tx, find_queue(tx, call, request)))
        return {}

    @answers("GetQueueUrl")
    async def get_queue_url(self, call: Call, request: Request) -> Answer:
        """Find a queue by its name."""
        name = required(request, "QueueName")
        account_id = request.get("QueueOwnerAWSAccountId") or call.account_id
        queue = await self._store.read(lambda tx: look_up(tx, call, account_id, name))
        return {"QueueUrl": queue_url(call, queue)}

    @answers("ListQueues")
    async def list_queues(self, call: Call, request: Request) -> Answer:
        """List the account's queues in this region by name; pages only when MaxResults asks for them."""
        limit, after = _page(request)
        prefix = request.get("QueueNamePrefix") or ""
        found = await self._store.read(
            lambda tx: tx.queues.list(call.account_id, call.region, prefix=prefix, after=after, limit=limit + 1)
        )
        return _listed(call, request, found, limit, member="QueueUrls")

    @answers("ListDeadLetterSourceQueues")
    async def list_dead_letter_source_queues(self, call: Call, request: Request) -> Answer:
        """List the queues whose redrive policy names this one."""
        limit, after = _page(request)

        def query(tx: Tx) -> Sequence[Queue]:
            queue = find_queue(tx, call, request)
            return tx.queues.dead_letter_sources(queue, after=after, limit=limit + 1)

        found = await self._store.read(query)
        # The model requires this member, so it is there even when it is empty.
        return {"queueUrls": [], **_listed(call, request, found, limit, member="queueUrls")}

    @answers("GetQueueAttributes")
    async def get_queue_attributes(self, call: Call, request: Request) -> Answer:
        """Show the attributes asked for; none asked for, none shown."""
        names: Sequence[str] = request.get("AttributeNames") or ()

        def query(tx: Tx) -> dict[str, str]:
            queue = find_queue(tx, call, request)
            rules.check_readable(names)
            depth = _NOT_COUNTED if _COUNTS.isdisjoint(names) else shelf.depth(tx, queue)
            return rules.described(queue, depth, names)

        attributes = await self._store.read(query)
        return {"Attributes": attributes} if attributes else {}

    @answers("SetQueueAttributes")
    async def set_queue_attributes(self, call: Call, request: Request) -> Answer:
        """Change the attributes given; an empty Policy, RedrivePolicy, ... clears it."""

        def unit(tx: Tx) -> None:
            queue = find_queue(tx, call, request)
            asked = required(request, "Attributes")
            if not asked:
                raise invalid_parameter("The request must contain at least one attribute.")
            changes = rules.normalise(asked, is_fifo=queue.is_fifo, present=queue.attributes)
            if redrive := asked.get("RedrivePolicy"):
                _check_redrive(tx, queue, redrive)
            shelf.set_attributes(tx, queue, rules.merged(queue.attributes, changes))

        await self._store.write(unit)
        return {}

    @answers("PurgeQueue")
    async def purge_queue(self, call: Call, request: Request) -> Answer:
        """Empty a queue at once; once in 60 seconds."""

        def unit(tx: Tx) -> None:
            refusal = shelf.purge(tx, find_queue(tx, call, request))
            if refusal is not None:
                raise ApiError(refusal.code, refusal.message)

        await self._store.write(unit)
        return {}

    # -- tags

    @answers("ListQueueTags")
    async def list_queue_tags(self, call: Call, request: Request) -> Answer:
        """Show a queue's tags."""
        queue = await self._store.read(lambda tx: find_queue(tx, call, request))
        return {"Tags": dict(queue.tags)} if queue.tags else {}

    @answers("TagQueue")
    async def tag_queue(self, call: Call, request: Request) -> Answer:
        """Add tags to a queue; a key that is there gets the new value."""

        def unit(tx: Tx) -> None:
            queue = find_queue(tx, call, request)
            tags = {**queue.tags, **(request.get("Tags") or required({}, "Tags"))}
            rules.check_tags(tags, queue_name=queue.name)
            shelf.set_tags(tx, queue, tags)

        await self._store.write(unit)
        return {}

    @answers("UntagQueue")
    async def untag_queue(self, call: Call, request: Request) -> Answer:
        """Take tags off a queue; keys it does not have are passed over."""

        def unit(tx: Tx) -> None:
            queue = find_queue(tx, call, request)
            keys = frozenset(request.get("TagKeys") or required({}, "TagKeys"))
            shelf.set_tags(tx, queue, {key: value for key, value in queue.tags.items() if key not in keys})

        await self._store.write(unit)
        return {}


def _check_redrive(tx: Tx, source: Queue, policy_text: str) -> None:
    """Refuse a RedrivePolicy whose dead-letter queue will not do; the refusal quotes the policy as it was given."""
    target = tx.queues.by_arn(rules.parse_redrive(policy_text).dead_letter_target_arn)
    rules.check_dead_letter_queue(source, target, policy_text)


# -- pages


def _page(request: Request) -> tuple[int, str | None]:
    """Return how many results a page has and the name it begins after.

    Raises: Refused: MaxResults is outside of 1 to 1000, or the token is none of ours.
    """
    limit = request.get("MaxResults")
    if limit is None:
        limit = MAXIMUM_RESULTS
    elif not 1 <= limit <= MAXIMUM_RESULTS:
        raise invalid_parameter(
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and 1000."
        )
    token = request.get("NextToken")
    if not token:
        return limit, None
    try:
        head, _, after = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        head = after = ""
    if head != _PAGE_MARK or not after:
        raise invalid_parameter("Invalid or expired next token.")
    return limit, after


def _listed(call: Call, request: Request, found: Sequence[Queue], limit: int, *, member: str) -> dict[str, object]:
    """Return a page of queue URLs; a token only when MaxResults asked for pages, and more follow."""
    if not found:
        return {}
    answer: dict[str, object] = {member: [queue_url(call, queue) for queue in found[:limit]]}
    if len(found) > limit and request.get("MaxResults") is not None:
        answer["NextToken"] = base64.b64encode(f"{_PAGE_MARK}:{found[limit - 1].name}".encode()).decode()
    return answer
