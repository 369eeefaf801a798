"""The engine: group commit, units that fail alone, full disks, damaged files, bells."""

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from eventrt.clock import SystemClock
from eventrt.errors import CommitLost, StartupError, StoreClosed, StoreCorrupt, StoreFull
from eventrt.store.sqlite import engine as engine_module
from eventrt.store.sqlite.engine import Durability, Engine, StampedTx
from tests.running import PATIENCE_S


def make(directory: Path, durability: Durability = "process") -> Engine[Any]:
    engine: Engine[Any] = Engine(directory, clock=SystemClock(), durability=durability)
    engine.open()
    engine.tx = StampedTx()
    engine.connection.execute("CREATE TABLE IF NOT EXISTS thing (name TEXT PRIMARY KEY, body TEXT)")
    return engine


@asynccontextmanager
async def opened(directory: Path, durability: Durability = "process") -> AsyncIterator[Engine[Any]]:
    engine = make(directory, durability)
    try:
        yield engine
    finally:
        await engine.close()


def put(engine: Engine[Any], name: str, body: str = "") -> Callable[[Any], str]:
    def unit(tx: Any) -> str:
        engine.connection.execute("INSERT INTO thing VALUES (?, ?)", (name, body))
        return name

    return unit


def names(engine: Engine[Any]) -> list[str]:
    return [row[0] for row in engine.connection.execute("SELECT name FROM thing ORDER BY name")]


def names_on_disk(path: Path) -> list[str]:
    """What another process would find after a kill now."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT name FROM thing ORDER BY name")]
    finally:
        connection.close()


def log_size(engine: Engine[Any]) -> int:
    return Path(f"{engine.path}-wal").stat().st_size


async def until_the_log_begins_anew(engine: Engine[Any]) -> None:
    """Write until the log is written from its beginning again, which it is once it was folded in whole."""
    before = 0
    for i in range(10_000):
        await engine.write(put(engine, f"more-{i}", "x" * 3000))
        if engine._log_frames() < before:
            return
        before = engine._log_frames()
    raise AssertionError(f"the log has {before} frames and was never folded in")


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_units_asked_for_together_are_committed_together(tmp_path: Path, durability: Durability) -> None:
    async with opened(tmp_path, durability) as engine:
        commits = []
        engine.before_commit.append(lambda: commits.append(1))
        answers = await asyncio.gather(*(engine.write(put(engine, f"n{i}")) for i in range(50)))
        assert answers == [f"n{i}" for i in range(50)]
        assert len(commits) == 1
        assert len(names_on_disk(engine.path)) == 50


async def test_a_unit_that_fails_is_rolled_back_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        undone = []

        def fails(tx: Any) -> None:
            put(engine, "b")(tx)
            engine.announce("bell")
            engine.after_commit(lambda: undone.append("told"))
            engine.on_undo(lambda: undone.append("undo"))
            raise ValueError("no")

        with engine.watch("bell") as bell:
            answers = await asyncio.gather(
                engine.write(put(engine, "a")),
                engine.write(fails),
                engine.write(put(engine, "c")),
                return_exceptions=True,
            )
            assert answers[0] == "a"
            assert isinstance(answers[1], ValueError)
            assert answers[2] == "c"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(bell.wait(), 0.01)
        assert names_on_disk(engine.path) == ["a", "c"]
        assert undone == ["undo"]


async def test_a_unit_without_a_savepoint_may_refuse_before_it_writes(tmp_path: Path) -> None:
    taken_back: list[str] = []
    async with opened(tmp_path) as engine:

        def refuse(tx: Any) -> None:
            engine.on_undo(lambda: taken_back.append("noted"))
            raise LookupError("no")

        answers = await asyncio.gather(
            engine.write(put(engine, "a"), secured=False),
            engine.write(refuse, secured=False),
            engine.write(put(engine, "b"), secured=False),
            return_exceptions=True,
        )
        assert [answers[0], type(answers[1]), answers[2]] == ["a", LookupError, "b"]
        assert names_on_disk(engine.path) == ["a", "b"]
        assert taken_back == ["noted"]


async def test_a_unit_that_secures_itself_is_rolled_back_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:

        def fail(tx: Any) -> None:
            engine.secure()
            put(engine, "b")(tx)
            raise LookupError("no")

        answers = await asyncio.gather(
            engine.write(put(engine, "a"), secured=False), engine.write(fail, secured=False), return_exceptions=True
        )
        assert [answers[0], type(answers[1])] == ["a", LookupError]
        assert names_on_disk(engine.path) == ["a"]


async def test_a_unit_that_writes_and_fails_without_a_savepoint_takes_its_group_along(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:

        def fail(tx: Any) -> None:
            put(engine, "b")(tx)
            raise LookupError("no")

        answers = await asyncio.gather(
            engine.write(put(engine, "a"), secured=False), engine.write(fail, secured=False), return_exceptions=True
        )
        # Its neighbours did nothing wrong: they are told to ask again, not what was wrong with it.
        assert [type(answer) for answer in answers] == [CommitLost, LookupError]
        await engine.write(put(engine, "c"))
        assert names_on_disk(engine.path) == ["c"]


async def test_a_unit_that_secures_itself_too_late_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:

        def fail(tx: Any) -> None:
            put(engine, "b")(tx)
            engine.secure()
            put(engine, "c")(tx)
            raise LookupError("no")

        answers = await asyncio.gather(
            engine.write(put(engine, "a"), secured=False), engine.write(fail, secured=False), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [CommitLost, LookupError]
        await engine.write(put(engine, "d"))
        assert names_on_disk(engine.path) == ["d"]


async def test_a_failed_unit_leaves_no_transaction_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        with pytest.raises(ZeroDivisionError):
            await engine.write(lambda tx: 1 / 0)
        await asyncio.sleep(0)
        assert not engine.connection.in_transaction


async def test_an_answer_in_power_mode_waits_for_the_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync = os.fdatasync

    def watched_sync(fd: int) -> None:
        sync(fd)
        order.append("synced")

    monkeypatch.setattr(os, "fdatasync", watched_sync)
    async with opened(tmp_path, "power") as engine:
        await engine.write(put(engine, "a"))
        order.append("answered")
        assert order == ["synced", "answered"]


async def test_a_relaxed_unit_answers_before_the_commit_and_is_in_the_next_one(tmp_path: Path) -> None:
    async with opened(tmp_path, "power") as engine:
        await engine.write(put(engine, "lease"), durable=False)
        assert names_on_disk(engine.path) == []
        await engine.write(put(engine, "settle"))
        assert names_on_disk(engine.path) == ["lease", "settle"]


async def test_units_gather_while_a_sync_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path, "power") as engine:
        commits = []
        engine.before_commit.append(lambda: commits.append(1))
        first = asyncio.ensure_future(engine.write(put(engine, "a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first group is committed and being synced
        rest = [asyncio.ensure_future(engine.write(put(engine, f"b{i}"))) for i in range(20)]
        await asyncio.gather(first, *rest)
        assert len(commits) <= 3


async def test_a_full_disk_refuses_a_unit_and_takes_the_next_once_there_is_room(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        await engine.write(put(engine, "before"))
        pages = engine.connection.execute("PRAGMA page_count").fetchone()[0]
        engine.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreFull):
            await engine.write(put(engine, "large", "x" * 100_000))
        assert await engine.write(put(engine, "small")) == "small"
        engine.connection.execute("PRAGMA max_page_count = 1000000")
        await engine.write(put(engine, "large", "x" * 100_000))
        assert names_on_disk(engine.path) == ["before", "large", "small"]


async def test_a_group_lost_at_its_commit_fails_everyone_in_it_and_memory_forgets(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        forgotten, told = [], []
        engine.after_rollback.append(lambda: forgotten.append(1))
        pages = engine.connection.execute("PRAGMA page_count").fetchone()[0]

        def tally() -> None:
            engine.connection.execute("INSERT INTO thing VALUES ('tally', ?)", ("x" * 100_000,))

        engine.before_commit.append(tally)
        engine.connection.execute(f"PRAGMA max_page_count = {pages + 2}")

        def unit(tx: Any) -> None:
            put(engine, "a")(tx)
            engine.after_commit(lambda: told.append(1))

        answers = await asyncio.gather(engine.write(unit), engine.write(put(engine, "b")), return_exceptions=True)
        assert [type(answer) for answer in answers] == [StoreFull, StoreFull]
        assert forgotten == [1]
        assert told == []
        engine.connection.execute("PRAGMA max_page_count = 1000000")
        engine.before_commit.remove(tally)
        await engine.write(put(engine, "c"))
        assert names_on_disk(engine.path) == ["c"]


async def test_a_defect_in_a_tally_reaches_those_who_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:

        def broken() -> None:
            raise KeyError("tally")

        engine.before_commit.append(broken)
        with pytest.raises(KeyError):
            await asyncio.wait_for(engine.write(put(engine, "a")), PATIENCE_S)
        engine.before_commit.remove(broken)
        await engine.write(put(engine, "b"))
        assert names_on_disk(engine.path) == ["b"]


async def test_a_failed_sync_is_reported_and_the_log_is_folded_in_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fdatasync
    broken = [True]

    def sometimes(fd: int) -> None:
        if broken[0]:
            raise OSError(5, "Input/output error")
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", sometimes)
    async with opened(tmp_path, "power") as engine:
        with pytest.raises(StoreFull):
            await engine.write(put(engine, "a"))
        with pytest.raises(StoreFull):
            await engine.write(put(engine, "b"))
        broken[0] = False
        await engine.write(put(engine, "c"))
        (tmp_path / "folded").mkdir()
        (tmp_path / "folded" / "eventrt.db").write_bytes(engine.path.read_bytes())
        assert names_on_disk(tmp_path / "folded" / "eventrt.db") == ["a", "b", "c"]


async def test_a_sync_that_fails_before_a_checkpoint_is_mended_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1)
    sync, checkpoint = os.fdatasync, Engine._checkpoint

    def breaks(self: Engine[Any]) -> None:
        def broken(fd: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Engine, "_checkpoint", checkpoint)
        monkeypatch.setattr(os, "fdatasync", broken)
        try:
            checkpoint(self)
        finally:
            monkeypatch.setattr(os, "fdatasync", sync)

    monkeypatch.setattr(Engine, "_checkpoint", breaks)
    async with opened(tmp_path, "power") as engine:
        kept: list[str] = []
        failed = 0
        while not failed:
            assert len(kept) < 10_000
            try:
                kept.append(await engine.write(put(engine, f"{len(kept):04}", "x" * 3000)))
            except StoreFull:
                failed = len(kept)
        monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1 << 40)
        await engine.write(put(engine, "after"))
        (tmp_path / "folded").mkdir()
        (tmp_path / "folded" / "eventrt.db").write_bytes(engine.path.read_bytes())
        assert names_on_disk(tmp_path / "folded" / "eventrt.db")[-1] == "after"


async def test_nothing_is_folded_beside_the_checkpoint_that_mends_a_failed_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "_fold_committed", lambda engine: folds.append(engine._fold))
    folds: list[str] = []
    sync = os.fdatasync
    async with opened(tmp_path, "power") as engine:

        def broken(fd: int) -> None:
            monkeypatch.setattr(os, "fdatasync", sync)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(StoreFull):
            await engine.write(put(engine, "a"))
        # The log is due to be folded, too; but two that fold it at the same time would be in each other's way.
        monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1)
        await asyncio.wait_for(engine.write(put(engine, "b")), PATIENCE_S)
        monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1 << 40)
        assert names_on_disk(engine.path) == ["a", "b"]
    assert folds == []


async def test_the_log_stays_small_under_a_load_that_never_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 200_000)
    async with opened(tmp_path, "power") as engine:
        largest = 0

        async def writer(number: int) -> None:
            nonlocal largest
            for i in range(60):
                await engine.write(put(engine, f"{number}-{i}", "x" * 3000))
                largest = max(largest, log_size(engine))

        await asyncio.gather(*(writer(n) for n in range(8)))
        # They write some 13 MB; how fast the log is folded beside them is the machine's affair.
        assert largest < 10_000_000
        assert len(names(engine)) == 480


async def test_units_wait_at_the_door_during_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1)
    async with opened(tmp_path) as engine:
        for i in range(20):
            await engine.write(put(engine, str(i)))
            assert await engine.read(lambda tx: len(names(engine))) == i + 1


@pytest.fixture
def slow_folding(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Folding beside the units begins at once, and ends when this is set."""
    let_go = threading.Event()
    fold = Engine._fold_committed

    def slowly(self: Engine[Any]) -> None:
        assert let_go.wait(30)
        fold(self)

    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(Engine, "_fold_committed", slowly)
    yield let_go
    let_go.set()


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_units_go_on_while_the_log_is_folded(
    tmp_path: Path, durability: Durability, slow_folding: threading.Event
) -> None:
    async with opened(tmp_path, durability) as engine:
        for i in range(20):
            await asyncio.wait_for(engine.write(put(engine, f"{i:02}", "x" * 5000)), PATIENCE_S)
        grown = log_size(engine)
        assert len(names_on_disk(engine.path)) == 20
        slow_folding.set()
        await until_the_log_begins_anew(engine)
        assert log_size(engine) >= grown
        assert len(names_on_disk(engine.path)) > 20


async def test_closing_waits_for_the_folding(tmp_path: Path, slow_folding: threading.Event) -> None:
    engine = make(tmp_path)
    await engine.write(put(engine, "a"))
    closing = asyncio.create_task(engine.close())
    await asyncio.wait({closing}, timeout=0.05)
    assert not closing.done()
    slow_folding.set()
    await asyncio.wait_for(closing, PATIENCE_S)
    assert sorted(os.listdir(tmp_path)) == ["eventrt.db", "lock"]
    assert names_on_disk(engine.path) == ["a"]


async def test_a_failed_sync_waits_for_the_folding_before_it_is_mended(
    tmp_path: Path, slow_folding: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fdatasync
    async with opened(tmp_path, "power") as engine:

        def broken(fd: int) -> None:
            monkeypatch.setattr(os, "fdatasync", sync)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(StoreFull):
            await engine.write(put(engine, "a"))
        second = asyncio.create_task(engine.write(put(engine, "b")))
        await asyncio.wait({second}, timeout=0.05)
        assert not second.done()  # nothing is promised while the log may have a hole
        slow_folding.set()
        await asyncio.wait_for(second, PATIENCE_S)
        (tmp_path / "folded").mkdir()
        (tmp_path / "folded" / "eventrt.db").write_bytes(engine.path.read_bytes())
        assert names_on_disk(tmp_path / "folded" / "eventrt.db") == ["a", "b"]


async def test_folding_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "CHECKPOINT_BYTES", 50_000)
    fold, failures = Engine._fold_committed, [1, 1]

    def sometimes(self: Engine[Any]) -> None:
        if failures:
            failures.pop()
            raise sqlite3.OperationalError("disk I/O error")
        fold(self)

    monkeypatch.setattr(Engine, "_fold_committed", sometimes)
    async with opened(tmp_path) as engine:
        await until_the_log_begins_anew(engine)
        assert not failures


async def test_a_bell_rings_after_the_commit_and_several_rings_are_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:

        def ring(tx: Any) -> None:
            engine.announce(("queue", 1))

        with engine.watch(("queue", 1)) as bell, engine.watch(("queue", 2)) as other:
            await asyncio.gather(engine.write(ring), engine.write(ring))
            await asyncio.wait_for(bell.wait(), PATIENCE_S)
            for silent in (bell, other):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(silent.wait(), 0.01)
            await engine.write(ring)  # between two waits: not lost
            await asyncio.wait_for(bell.wait(), PATIENCE_S)


async def test_a_second_daemon_is_locked_out(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StartupError, match="in use by another") as caught:
            make(tmp_path)
        assert caught.value.exit_code == 75
    async with opened(tmp_path):
        pass


async def test_a_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        path = engine.path
        await engine.write(put(engine, "a"))
        engine.connection.execute("PRAGMA user_version = 9999")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="schema 9999"):
        make(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["not a database at all" * 500, None])
async def test_a_damaged_file_is_refused_and_untouched(tmp_path: Path, damage: str | None) -> None:
    async with opened(tmp_path) as engine:
        path = engine.path
        for i in range(200):
            await engine.write(put(engine, f"n{i}", "x" * 500))
    if damage is not None:
        path.write_text(damage)
    else:
        content = bytearray(path.read_bytes())
        page = len(content) // 4096 // 2 * 4096
        content[page : page + 4096] = os.urandom(4096)
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="is damaged") as refused:
        make(tmp_path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before
    assert set(os.listdir(tmp_path)) <= {"eventrt.db", "eventrt.db-wal", "eventrt.db-shm", "lock"}


async def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot be made") as caught:
        make(tmp_path / "file" / "data")
    assert caught.value.exit_code == 73


async def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    """The files are copied while the engine runs, as a kill would leave them."""
    async with opened(tmp_path / "live") as engine:
        for i in range(10):
            await engine.write(put(engine, f"n{i}"))
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("eventrt.db", "eventrt.db-wal"):
            (copy / name).write_bytes((tmp_path / "live" / name).read_bytes())
    async with opened(copy) as engine:
        assert len(names(engine)) == 10


async def test_a_closed_store_takes_nothing_more(tmp_path: Path) -> None:
    engine = make(tmp_path)
    pending = asyncio.ensure_future(engine.write(put(engine, "last")))
    await asyncio.sleep(0)
    await engine.close()
    assert await pending == "last"
    with pytest.raises(StoreClosed):
        await engine.write(put(engine, "late"))
    with pytest.raises(StoreClosed):
        await engine.read(lambda tx: None)


async def test_a_writer_that_is_cancelled_leaves_its_unit_whole(tmp_path: Path) -> None:
    async with opened(tmp_path, "power") as engine:
        task = asyncio.ensure_future(engine.write(put(engine, "a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await engine.write(put(engine, "b"))
        assert names_on_disk(engine.path) == ["a", "b"]


def test_the_data_directory_is_private(tmp_path: Path) -> None:
    engine = make(tmp_path / "data")
    try:
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert engine.path.stat().st_mode & 0o777 == 0o600
    finally:
        asyncio.run(engine.close())
