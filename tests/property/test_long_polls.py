"""The laws of long polls: whoever is given a message answers with it, and nobody else has it.

Pollers of one queue come, wait, are cancelled or hang up at any moment while messages arrive. Afterwards every
message that is in flight was returned by exactly one poller, and every poller that stayed has got one if there was
one.
"""

import random
import tempfile
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.aws.call import Call
from eventrt.aws.services.sqs import SqsService
from eventrt.clock import SystemClock
from eventrt.http import Request
from eventrt.sources import queues as shelf
from eventrt.store.sqlite.store import SqliteStore
from tests.running import PATIENCE_S


class Client:
    """A caller over the wire, as the door sees it; it may hang up."""

    def __init__(self) -> None:
        self.has_gone = False

    def call(self, operation: str) -> Call:
        """Return a call of this client."""

        async def no_body(_: int) -> bytes:
            return b""

        def no_stream() -> Any:
            raise AssertionError("nobody reads this")

        request = Request("POST", "/", "", {}, "127.0.0.1", no_body, no_stream, lambda: self.has_gone)
        account = "000000000000"
        return Call("sqs", operation, "json", account, "us-east-1", account, "r", "localhost:4566", request)


async def meet(seed: int, pollers: int, messages: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        clock = SystemClock()
        store = SqliteStore(Path(directory) / "data", clock=clock, durability="process")
        store.open()
        try:
            await _meet(chance, SqsService(store, clock), store, pollers, messages)
        finally:
            await store.close()


async def _meet(chance: random.Random, service: SqsService, store: SqliteStore, pollers: int, messages: int) -> None:
    me = Client()
    url = (await service.create_queue(me.call("CreateQueue"), {"QueueName": "q"}))["QueueUrl"]
    returned: list[str] = []
    stayed = 0

    async def ticks(most: int) -> None:
        for _ in range(chance.randrange(most)):
            await anyio.lowlevel.checkpoint()

    async def poll(leaves: str, scope: anyio.CancelScope, client: Client) -> None:
        nonlocal stayed
        await ticks(20)
        with scope:
            answer = await service.receive_message(
                client.call("ReceiveMessage"), {"QueueUrl": url, "WaitTimeSeconds": 20}
            )
            returned.extend(message["MessageId"] for message in answer.get("Messages", ()))
            if leaves == "no":
                stayed += 1

    async def leave(leaves: str, scope: anyio.CancelScope, client: Client) -> None:
        await ticks(20 + 8 * messages)
        if leaves == "cancelled":
            scope.cancel()
        elif leaves == "hangs up":
            client.has_gone = True

    async def send() -> None:
        for number in range(messages):
            await ticks(6)
            await service.send_message(me.call("SendMessage"), {"QueueUrl": url, "MessageBody": str(number)})

    staying = 0
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            scopes = []
            for _ in range(pollers):
                leaves = chance.choice(["no", "cancelled", "hangs up"])
                staying += leaves == "no"
                scope, client = anyio.CancelScope(), Client()
                scopes.append(scope)
                group.start_soon(poll, leaves, scope, client)
                group.start_soon(leave, leaves, scope, client)
            await send()
            for _ in range(200):
                await anyio.lowlevel.checkpoint()
            in_flight, visible = await _counts(store)
            assert in_flight == len(returned), "a message was leased and given to nobody"
            assert in_flight + visible == messages
            assert visible == 0 or stayed == staying, "a poller waits beside a message"
            for scope in scopes:
                scope.cancel()
    assert len(set(returned)) == len(returned)


async def _counts(store: SqliteStore) -> tuple[int, int]:
    def query(tx: Any) -> tuple[int, int]:
        queue = tx.queues.find("000000000000", "us-east-1", "q")
        depth = shelf.depth(tx, queue)
        return depth.in_flight, depth.visible

    return await store.read(query)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), pollers=st.integers(1, 40), messages=st.integers(0, 30))
def test_no_message_is_lost_between_a_lease_and_its_answer(seed: int, pollers: int, messages: int) -> None:
    anyio.run(meet, seed, pollers, messages)
