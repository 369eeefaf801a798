"""ReceiveMessage: leasing messages for a client, at once or when some arrive within its waiting time.

A long poll waits for the queue's bell or for the moment a message becomes visible by itself; the waiting time is
real time. The pollers of one queue stand in line: the first tries, the others sleep without any cost, and whoever
leaves the line hands its place on. So a message wakes one poller, however many wait, and the one that waited
longest gets it.

A client that has gone gets nothing: whether it is still there is asked in the unit that leases, and between the
lease and the answer nothing can be cancelled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.sqs.room import Request, SqsRoom, answers, find_queue
from eventrt.clock import Clock
from eventrt.core import message_rules as rules
from eventrt.core.messages import MessageAttribute, Queue, Received, ReceivedMessage
from eventrt.core.refused import invalid_value
from eventrt.errors import ApiError
from eventrt.sources import queues as shelf
from eventrt.store.api import Store, Tx

_NOTHING = Received()


class _Lines:
    """The lines of long pollers, one per queue that has any."""

    def __init__(self) -> None:
        self._lines: dict[int, tuple[anyio.Lock, int]] = {}

    def has_pollers(self, queue_id: int) -> bool:
        """Does anybody wait on this queue?"""
        return queue_id in self._lines

    @contextmanager
    def line(self, queue_id: int) -> Iterator[anyio.Lock]:
        """Join a queue's line; the lock inside is one's turn, given in order of arrival."""
        lock, members = self._lines.get(queue_id) or (anyio.Lock(fast_acquire=True), 0)
        self._lines[queue_id] = lock, members + 1
        try:
            yield lock
        finally:
            members = self._lines[queue_id][1] - 1
            if members:
                self._lines[queue_id] = lock, members
            else:
                del self._lines[queue_id]


class Receiving(SqsRoom):
    """The operation that receives messages."""

    def __init__(self, store: Store, clock: Clock, **options: Any) -> None:
        super().__init__(store, clock, **options)
        self._lines = _Lines()
        self._waits: set[anyio.CancelScope] = set()
        self._is_closing = False

    def end_waits(self) -> None:
        """Answer every long poll now with what there is, and let none wait from here on: the daemon is stopping."""
        self._is_closing = True
        for wait in self._waits:
            wait.cancel()

    @answers("ReceiveMessage")
    async def receive_message(self, call: Call, request: Request) -> Answer:
        """Lease up to ten messages."""
        get = request.get
        limit = rules.check_range(_given(get("MaxNumberOfMessages"), 1), "MaxNumberOfMessages", 1, 10)
        visibility_timeout_s = get("VisibilityTimeout")
        if visibility_timeout_s is not None:
            rules.check_range(visibility_timeout_s, "VisibilityTimeout", 0, rules.MAXIMUM_VISIBILITY_S)
        wait_s = get("WaitTimeSeconds")
        if wait_s is not None:
            rules.check_range(wait_s, "WaitTimeSeconds", 0, rules.MAXIMUM_WAIT_S)
        shown = rules.system_view((get("AttributeNames") or []) + (get("MessageSystemAttributeNames") or []))
        shown_attributes = rules.attribute_view(get("MessageAttributeNames") or ())
        attempt_id = get("ReceiveRequestAttemptId")
        is_disconnected = call.http.is_disconnected

        def unit(tx: Tx) -> tuple[Queue, Received]:
            queue = find_queue(tx, call, request)
            if attempt_id is not None:
                _check_attempt_id(queue, attempt_id)
            if is_disconnected():
                return queue, _NOTHING
            return queue, shelf.receive(
                tx,
                queue,
                limit=limit,
                visibility_timeout_s=visibility_timeout_s,
                attempt_id=attempt_id,
            )

        # A lease may be lost to a kill: the message is then delivered again, which a client must bear anyhow.
        queue = await self._store.read(lambda tx: find_queue(tx, call, request))
        if wait_s is None:
            wait_s = queue.receive_wait_s
        if not wait_s:
            received = (await self._store.write(unit, durable=False))[1]
            if received.over_limit and not queue.is_fifo:
                raise ApiError(
                    "OverLimit",
                    "Too many messages are in flight: delete some of those received before receiving more.",
                )
        else:
            received = _NOTHING
            if attempt_id is not None or not self._lines.has_pollers(queue.id):
                received = (await self._store.write(unit, durable=False))[1]
            if not received.messages:
                received = await self._wait(queue, unit, wait_s=wait_s, is_disconnected=is_disconnected)
        if not received.messages:
            return {}
        return {"Messages": [_members(message, shown, shown_attributes) for message in received.messages]}

    async def _wait(self, queue: Queue, unit: Any, *, wait_s: int, is_disconnected: Any) -> Received:
        """Wait in the queue's line until a try brings messages, or `wait_s` of real time have passed."""
        store, clock = self._store, self._clock
        with (
            self._lines.line(queue.id) as turn,
            anyio.move_on_after(0 if self._is_closing else wait_s) as wait,
            self._ending(wait),
        ):
            async with turn:
                # The watch begins before the try: a message that arrives in between rings.
                with store.watch(("queue", queue.id)) as watch:
                    while not is_disconnected():
                        received: Received = (await store.write(unit, durable=False))[1]
                        if received.messages:
                            return received
                        with anyio.CancelScope() as until_visible:
                            timer = None
                            if received.next_visible_at is not None:
                                timer = clock.call_at(received.next_visible_at, until_visible.cancel)
                            try:
                                await watch.wait()
                            finally:
                                if timer is not None:
                                    timer.cancel()
        return _NOTHING

    @contextmanager
    def _ending(self, wait: anyio.CancelScope) -> Iterator[None]:
        """Let `end_waits` reach a wait for the length of a block."""
        self._waits.add(wait)
        try:
            yield
        finally:
            self._waits.discard(wait)


def _given(value: Any, default: int) -> int:
    return default if value is None else value


def _check_attempt_id(queue: Queue, attempt_id: str) -> None:
    if not queue.is_fifo:
        raise invalid_value(attempt_id, "ReceiveRequestAttemptId", rules.NOT_FOR_THIS_QUEUE)
    rules.check_group_id(attempt_id, parameter="ReceiveRequestAttemptId")


def _members(
    message: ReceivedMessage, shown: rules.SystemView, shown_attributes: rules.AttributeView | None
) -> dict[str, Any]:
    """Return one received message as the answer shows it."""
    members: dict[str, Any] = {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "MD5OfBody": message.md5_of_body,
        "Body": message.body,
    }
    if shown and (system := {name: value for name, read in shown if (value := read(message)) is not None}):
        members["Attributes"] = system
    if shown_attributes is not None and message.attributes:
        attributes = shown_attributes.of(message.attributes)
        if attributes:
            members["MessageAttributes"] = {name: _value(value) for name, value in attributes.items()}
            members["MD5OfMessageAttributes"] = (
                message.md5_of_attributes
                if len(attributes) == len(message.attributes)
                else rules.md5_of_attributes(attributes)
            )
    return members


def _value(attribute: MessageAttribute) -> dict[str, Any]:
    if attribute.binary_value is not None:
        return {"BinaryValue": attribute.binary_value, "DataType": attribute.data_type}
    return {"StringValue": attribute.string_value, "DataType": attribute.data_type}
