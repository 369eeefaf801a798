"""Fair queues: a tenant's backlog never delays another tenant by more than one round."""

import asyncio
import hashlib
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.core.messages import MessageDraft
from eventrt.sources import queues
from eventrt.store.sqlite.store import SqliteStore

TENANTS = ["noisy", "quiet", "third", None]


class FloatClock:
    def __init__(self) -> None:
        self.moment = 1_700_000_000.0

    def now(self) -> float:
        return self.moment


async def play(steps: list[tuple[str, Any]]) -> None:
    """Send and receive one by one; check at each receive who was passed over."""
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory), clock=FloatClock(), durability="process")  # type: ignore[arg-type]
        store.open()
        queue = await store.write(
            lambda tx: queues.create(tx, account_id="0" * 12, region="us-east-1", name="q", attributes={}, tags={})
        )
        backlog: dict[str | None, deque[str]] = {tenant: deque() for tenant in TENANTS}
        served_since: dict[str | None, dict[str | None, int]] = {tenant: {} for tenant in TENANTS}
        serial = 0
        for what, value in steps:
            if what == "send":
                tenant, count = value
                for _ in range(count):
                    serial += 1
                    body = f"{serial}"
                    one = MessageDraft(body, hashlib.md5(body.encode()).hexdigest(), group_id=tenant)
                    await store.write(lambda tx, one=one: queues.send(tx, queue, [one]))
                    if not backlog[tenant]:
                        served_since[tenant] = {}
                    backlog[tenant].append(body)
            else:
                for _ in range(value):
                    received = await store.write(lambda tx: queues.receive(tx, queue, limit=1))
                    if not any(backlog.values()):
                        assert received.messages == ()
                        continue
                    [message] = received.messages
                    tenant = message.group_id
                    assert backlog[tenant].popleft() == message.body, "a tenant's messages keep their order"
                    served_since[tenant] = {}
                    for other, waiting in backlog.items():
                        if waiting and other != tenant:
                            passed = served_since[other]
                            passed[tenant] = passed.get(tenant, 0) + 1
                            # One that was being served when `other` began to wait, and one of the next round.
                            assert passed[tenant] <= 2, f"{tenant} was served {passed[tenant]} times before {other}"
        await store.close()


@settings(max_examples=40, deadline=None, print_blob=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.tuples(st.sampled_from(TENANTS), st.integers(1, 30))),
            st.tuples(st.just("receive"), st.integers(1, 25)),
        ),
        max_size=20,
    )
)
def test_no_tenant_waits_longer_than_one_round(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(play(steps))


async def test_a_quiet_tenant_is_served_at_once_behind_a_backlog_of_a_thousand(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, clock=FloatClock(), durability="process")  # type: ignore[arg-type]
    store.open()
    queue = await store.write(
        lambda tx: queues.create(tx, account_id="0" * 12, region="us-east-1", name="q", attributes={}, tags={})
    )
    noisy = [MessageDraft(f"{i}", "", group_id="noisy") for i in range(1000)]
    await store.write(lambda tx: queues.send(tx, queue, noisy))
    await store.write(lambda tx: queues.receive(tx, queue, limit=100))
    await store.close()
    store = SqliteStore(tmp_path, clock=FloatClock(), durability="process")  # type: ignore[arg-type]
    store.open()  # the order survives a restart
    await store.write(lambda tx: queues.send(tx, queue, [MessageDraft("hello", "", group_id="quiet")]))
    received = await store.write(lambda tx: queues.receive(tx, queue, limit=2))
    assert "hello" in [m.body for m in received.messages]
    await store.close()
