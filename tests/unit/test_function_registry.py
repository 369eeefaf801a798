"""The registry on a real store: transitions, guards, what invocations run meanwhile, and what memory holds."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from eventrt.clock import VirtualClock
from eventrt.core.function_rules import FunctionRef
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.refused import Refused
from eventrt.invoker import functions
from eventrt.invoker.functions import FunctionSettings
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.invoker.transitions import Transitions
from eventrt.store.sqlite.store import SqliteStore, SqliteTx

REF = FunctionRef("000000000000", "us-east-1", "fn")
CODE = CodePackage(sha256="hash", size_bytes=10, folder="/code/fn")
SETTINGS = FunctionSettings(
    runtime="python3.12", handler="app.handler", role="arn:aws:iam::000000000000:role/r", code=CODE
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "data", clock=VirtualClock(), durability="process")
    opened.open()
    yield opened
    await opened.close()


async def create(store: SqliteStore) -> Function:
    return await store.write(lambda tx: functions.create(tx, REF.key, SETTINGS, {"k": "v"}))


async def created(store: SqliteStore) -> Function:
    await create(store)
    assert await store.write(functions.complete_transitions) == 1
    return await found(store)


async def found(store: SqliteStore) -> Function:
    return await store.read(lambda tx: functions.find(tx, REF))


async def running(store: SqliteStore) -> FunctionVersion | None:
    return await store.read(lambda tx: tx.functions.get(*REF.key))


async def refusal(store: SqliteStore, change: dict[str, object], revision_id: str | None = None) -> str:
    with pytest.raises(Refused) as raised:
        await store.write(lambda tx: functions.update(tx, REF, change, revision_id=revision_id))
    return f"{raised.value.code}: {raised.value.message}"


async def test_a_new_function_is_pending_until_its_transition_is_completed(store: SqliteStore) -> None:
    new = (await create(store)).latest
    assert (new.state, new.state_reason, new.state_reason_code, new.update_status) == (
        "Pending",
        "The function is being created.",
        "Creating",
        None,
    )
    await store.write(functions.complete_transitions)
    done = (await found(store)).latest
    assert (done.state, done.state_reason, done.update_status) == ("Active", None, "Successful")
    assert done.revision_id != new.revision_id
    assert done.configuration_id == new.configuration_id


async def test_a_second_function_of_the_same_name_is_refused(store: SqliteStore) -> None:
    await create(store)
    with pytest.raises(Refused, match="Function already exist: fn"):
        await create(store)


async def test_while_an_update_is_in_progress_the_former_version_runs(store: SqliteStore) -> None:
    before = (await created(store)).latest
    updated = await store.write(lambda tx: functions.update(tx, REF, {"timeout_s": 9}))
    assert (updated.latest.timeout_s, updated.latest.update_status) == (9, "InProgress")
    assert updated.latest.update_status_reason_code == "Creating"
    assert await running(store) == before
    await store.write(functions.complete_transitions)
    after = await running(store)
    assert after == (await found(store)).latest
    assert after is not None
    assert (after.timeout_s, after.update_status, after.update_status_reason) == (9, "Successful", None)
    assert len({before.revision_id, updated.latest.revision_id, after.revision_id}) == 3


async def test_no_change_passes_during_a_transition(store: SqliteStore) -> None:
    await create(store)
    assert (await refusal(store, {"timeout_s": 1})).endswith("currently in the following state: Pending")
    await store.write(functions.complete_transitions)
    await store.write(lambda tx: functions.update(tx, REF, {"timeout_s": 9}))
    assert await refusal(store, {"timeout_s": 1}) == (
        "ResourceConflictException: The operation cannot be performed at this time. An update is in progress for "
        f"resource: {REF.arn}"
    )


async def test_a_change_decided_on_an_older_revision_is_refused(store: SqliteStore) -> None:
    pending = (await create(store)).latest.revision_id
    await store.write(functions.complete_transitions)
    assert await refusal(store, {"timeout_s": 1}, pending) == (
        "PreconditionFailedException: The Revision Id provided does not match the latest Revision Id. "
        "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )
    current = (await found(store)).latest.revision_id
    await store.write(lambda tx: functions.update(tx, REF, {"timeout_s": 1}, revision_id=current))


async def test_transitions_are_completed_behind_the_commit_and_at_the_next_start(
    store: SqliteStore, tmp_path: Path
) -> None:
    await create(store)
    packages = Packages(tmp_path / "data", clock=VirtualClock())
    async with anyio.create_task_group() as group:
        await group.start(Transitions(store, packages, Interpreters()).run)
        assert (await found(store)).latest.state == "Active"
        with store.watch(("function", REF.arn)) as bell:
            await store.write(lambda tx: functions.update(tx, REF, {"memory_mb": 256}))
            await bell.wait()
        assert (await found(store)).latest.update_status == "Successful"
        group.cancel_scope.cancel()


async def test_deleting_forgets_the_function_and_rings_its_bell(store: SqliteStore) -> None:
    await created(store)
    with store.watch(("function", REF.arn)) as bell:
        await store.write(lambda tx: functions.delete(tx, REF))
        await bell.wait()
    assert await running(store) is None
    with pytest.raises(Refused, match=f"Function not found: {REF.arn}"):
        await store.write(lambda tx: functions.delete(tx, replace(REF, qualifier="7")))


async def test_latest_and_aliases_cannot_be_deleted_and_missing_versions_are_silently(store: SqliteStore) -> None:
    await created(store)
    with pytest.raises(Refused, match="LATEST version cannot be deleted without deleting the function"):
        await store.write(lambda tx: functions.delete(tx, replace(REF, qualifier="$LATEST")))
    with pytest.raises(Refused, match="Deletion of aliases"):
        await store.write(lambda tx: functions.delete(tx, replace(REF, qualifier="live")))
    await store.write(lambda tx: functions.delete(tx, replace(REF, qualifier="7")))
    assert await running(store) is not None


async def test_memory_forgets_what_a_lone_rollback_takes_back(store: SqliteStore) -> None:
    before = (await created(store)).latest

    def change_and_fail(tx: SqliteTx) -> None:
        functions.update(tx, REF, {"timeout_s": 9})
        changed = functions.find(tx, REF)
        assert changed.latest.timeout_s == 9
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(change_and_fail)
    assert (await found(store)).latest == before
    assert await running(store) == before


async def test_a_running_function_is_read_from_memory(store: SqliteStore) -> None:
    await created(store)
    assert await running(store) is await running(store)


async def test_reserved_concurrency_leaves_a_hundred_and_reaches_what_runs(store: SqliteStore) -> None:
    await created(store)
    await store.write(lambda tx: functions.reserve_concurrency(tx, REF, 900))
    await store.write(lambda tx: functions.reserve_concurrency(tx, REF, 899))
    with pytest.raises(Refused, match="below its minimum value"):
        await store.write(lambda tx: functions.reserve_concurrency(tx, REF, 901))
    version = await running(store)
    assert version is not None
    assert version.reserved_concurrency == 899
    assert (await store.read(lambda tx: tx.functions.usage(*REF.key[:2]))).reserved_concurrency == 899
    await store.write(lambda tx: functions.reserve_concurrency(tx, REF, None))
    assert (await store.read(lambda tx: functions.reserved_concurrency(tx, REF))) is None


async def test_permissions_change_the_revision_and_are_guarded_by_it(store: SqliteStore) -> None:
    before = (await created(store)).latest
    request = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    await store.write(lambda tx: functions.add_permission(tx, REF, request, revision_id=before.revision_id))
    after = await found(store)
    assert after.latest.revision_id != before.revision_id
    assert after.latest.configuration_id == before.configuration_id
    with pytest.raises(Refused, match="Call the GetPolicy API"):
        await store.write(lambda tx: functions.remove_permission(tx, REF, "s", revision_id=before.revision_id))
    await store.write(lambda tx: functions.remove_permission(tx, REF, "s", revision_id=None))
    assert (await found(store)).policy == ()


async def test_a_declared_function_is_created_then_left_alone_then_updated(store: SqliteStore) -> None:
    def declare(settings: FunctionSettings) -> object:
        return store.write(lambda tx: functions.declare(tx, REF.key, settings))

    assert await declare(SETTINGS) == "created"  # type: ignore[misc]
    first = await running(store)
    assert first is not None
    assert (first.state, first.update_status) == ("Active", "Successful")
    assert await declare(SETTINGS) == "unchanged"  # type: ignore[misc]
    assert await running(store) == first
    changed = replace(SETTINGS, code=replace(CODE, sha256="other"))
    assert await declare(changed) == "updated"  # type: ignore[misc]
    second = await running(store)
    assert second is not None
    assert second.configuration_id != first.configuration_id


async def test_a_declared_function_keeps_its_environments_when_only_tags_change(store: SqliteStore) -> None:
    await store.write(lambda tx: functions.declare(tx, REF.key, SETTINGS))
    first = await running(store)
    assert await store.write(lambda tx: functions.declare(tx, REF.key, SETTINGS, {"a": "b"})) == "updated"
    second = await running(store)
    assert first is not None
    assert second is not None
    assert second.configuration_id == first.configuration_id
    assert second.tags == {"a": "b"}


async def test_functions_are_the_same_after_the_store_is_opened_again(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    store = SqliteStore(directory, clock=VirtualClock(), durability="process")
    store.open()
    code = CodePackage("hash", 10, str(directory / "code" / "folders" / "abc"), archive="abc")
    settings = replace(SETTINGS, code=code, environment={"A": "ä"}, log_group="g")
    await store.write(lambda tx: functions.create(tx, REF.key, settings, {"k": "v"}))
    before = await found(store)
    await store.close()

    moved = tmp_path / "moved"
    directory.rename(moved)
    store = SqliteStore(moved, clock=VirtualClock(), durability="process")
    store.open()
    after = await found(store)
    assert after.latest.code.folder == str(moved / "code" / "folders" / "abc")
    assert replace(after.latest, code=code) == before.latest
    assert await store.read(lambda tx: tx.functions.archives()) == {"abc"}
    await store.close()
