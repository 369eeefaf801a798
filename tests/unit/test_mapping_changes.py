"""Changes of mappings in the store, without a supervisor: transitions, refusals, pages, what a rollback leaves."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventrt.clock import VirtualClock
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.refused import Refused
from eventrt.sources import mappings, queues
from eventrt.store.api import Tx
from eventrt.store.sqlite.store import SqliteStore

ACCOUNT, REGION = "000000000000", "us-east-1"
WHERE: dict[str, str] = {"account_id": ACCOUNT, "region": REGION}
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path, clock=VirtualClock(), durability="process")
    store.open()
    code = CodePackage("", 0, "/nowhere")

    def prepare(tx: Tx) -> None:
        for name in ("f", "g"):
            version = FunctionVersion(ACCOUNT, REGION, name, "python3.12", "a.b", "role", code, "r", "c", 0.0)
            tx.functions.save(Function(version))
        for name in ("q", "q2", "q3"):
            queues.create(tx, name=name, attributes={}, tags={}, **WHERE)

    await store.write(prepare)
    yield store
    await store.close()


async def create(store: SqliteStore, mapping_id: str = "m1", **more: Any) -> EventSourceMapping:
    request = {"EventSourceArn": QUEUE, "FunctionName": "f", **more}
    return await store.write(lambda tx: mappings.create(tx, request, mapping_id=mapping_id, **WHERE))


async def refusal_of(store: SqliteStore, unit: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refusal:
        await store.write(unit)
    return refusal.value.code, refusal.value.message


async def test_a_mapping_in_transition_takes_neither_update_nor_delete(store: SqliteStore) -> None:
    await create(store)
    for verb, unit in (
        ("update", lambda tx: mappings.update(tx, {"BatchSize": 5}, mapping_id="m1", **WHERE)),
        ("delete", lambda tx: mappings.delete(tx, mapping_id="m1", **WHERE)),
    ):
        message = f"Cannot {verb} the event source mapping because it is in use."
        assert await refusal_of(store, unit) == ("ResourceInUseException", message)


async def test_a_refused_change_leaves_the_mapping_as_it_was(store: SqliteStore) -> None:
    await create(store)

    def enable_then_fail(tx: Tx) -> None:
        mapping = tx.mappings.get("m1")
        assert mapping is not None
        tx.mappings.replace(replace(mapping, state="Enabled"))
        raise Refused("X", "no")

    await refusal_of(store, enable_then_fail)
    mapping = await store.read(lambda tx: tx.mappings.get("m1"))
    assert mapping is not None
    assert mapping.state == "Creating"


async def test_another_account_or_region_does_not_see_it(store: SqliteStore) -> None:
    await create(store)
    for where in ({**WHERE, "account_id": "111122223333"}, {**WHERE, "region": "eu-west-1"}):
        code, _ = await refusal_of(store, lambda tx, where=where: mappings.find(tx, "m1", **where))
        assert code == "ResourceNotFoundException"


async def test_an_update_may_not_make_a_second_mapping_of_the_same_pair(store: SqliteStore) -> None:
    await create(store)
    await create(store, "m2", FunctionName="g")

    def enabled(tx: Tx) -> None:
        for mapping in tx.mappings.every():
            tx.mappings.replace(replace(mapping, state="Enabled"))

    await store.write(enabled)
    code, message = await refusal_of(
        store, lambda tx: mappings.update(tx, {"FunctionName": "f"}, mapping_id="m2", **WHERE)
    )
    assert code == "ResourceConflictException"
    assert message.endswith("UUID m1")


async def test_pages_and_indexes_find_what_they_should(store: SqliteStore) -> None:
    for number, queue in enumerate(("q", "q2", "q3")):
        await create(store, f"m{number}", EventSourceArn=QUEUE.removesuffix("q") + queue)
    await create(store, "latest", FunctionName="f:$LATEST")
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"

    def ids(tx: Tx, **more: Any) -> tuple[list[str], int | None]:
        page = tx.mappings.page(ACCOUNT, REGION, **more)
        return [mapping.id for mapping in page.mappings], page.next_after

    assert await store.read(lambda tx: ids(tx, limit=2)) == (["m0", "m1"], 2)
    assert await store.read(lambda tx: ids(tx, limit=2, after=2)) == (["m2", "latest"], None)
    assert (await store.read(lambda tx: ids(tx, function_arn=function)))[0] == ["m0", "m1", "m2", "latest"]
    assert (await store.read(lambda tx: ids(tx, function_arn=f"{function}:$LATEST")))[0] == ["latest"]
    assert (await store.read(lambda tx: ids(tx, source_arn=QUEUE)))[0] == ["m0", "latest"]
    assert [m.id for m in await store.read(lambda tx: tx.mappings.in_transition())] == ["m0", "m1", "m2", "latest"]
    for columns in ("source_arn = ?", "unqualified_function_arn = ?"):
        plan = store.engine.connection.execute(
            f"EXPLAIN QUERY PLAN SELECT document FROM mappings WHERE account_id = ? AND region = ? AND {columns}"
            " AND position > ? ORDER BY position LIMIT 3",
            ("", "", "", 0),
        ).fetchall()
        assert all("SEARCH" in row[3] for row in plan), plan


async def test_tags_and_problems_change_nothing_else(store: SqliteStore) -> None:
    made = await create(store)
    await store.write(lambda tx: tx.mappings.set_tags("m1", {"a": "b"}))
    await store.write(lambda tx: tx.mappings.set_problem("m1", "no queue"))
    await store.write(lambda tx: tx.mappings.set_problem("gone", "no queue"))
    assert await store.read(lambda tx: tx.mappings.get("m1")) == replace(made, tags={"a": "b"}, problem="no queue")
    assert (await store.read(lambda tx: mappings.find_by_arn(tx, made.arn))) is not None
    assert (await store.read(lambda tx: mappings.find_by_arn(tx, made.arn.replace(REGION, "x")))) is None
