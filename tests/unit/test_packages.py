"""Code packages: kept once, read-only, cleared away when unused, given out by links that cannot be guessed."""

import base64
import errno
import hashlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from eventrt.clock import VirtualClock
from eventrt.core.function_rules import FunctionRef
from eventrt.core.functions import CodePackage
from eventrt.core.refused import Refused
from eventrt.errors import ConfigurationError, StoreFull
from eventrt.invoker import functions
from eventrt.invoker.functions import FunctionSettings
from eventrt.invoker.packages import Packages
from eventrt.store.sqlite.store import SqliteStore

REF = FunctionRef("000000000000", "us-east-1", "fn")
ROLE = "arn:aws:iam::000000000000:role/r"


def zip_of(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.py", content)
    return packed.getvalue()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def packages(tmp_path: Path, clock: VirtualClock) -> Packages:
    return Packages(tmp_path, clock=clock, grace_s=0.0)


@pytest.fixture
async def store(tmp_path: Path, clock: VirtualClock) -> AsyncIterator[SqliteStore]:
    opened = SqliteStore(tmp_path, clock=clock, durability="process")
    opened.open()
    yield opened
    await opened.close()


def left_of(code: CodePackage, tmp_path: Path) -> tuple[bool, bool]:
    return Path(code.folder).exists(), (tmp_path / "code" / "archives" / f"{code.archive}.zip").exists()


async def test_an_archive_is_kept_with_its_folder_under_its_hash(packages: Packages, tmp_path: Path) -> None:
    archive = zip_of(app="x = 1")
    async with packages.adding(archive) as code:
        assert code.sha256 == base64.b64encode(hashlib.sha256(archive).digest()).decode()
        assert code.size_bytes == len(archive)
        assert (Path(code.folder) / "app.py").read_text() == "x = 1"
    assert left_of(code, tmp_path) == (True, True)
    assert os.listdir(tmp_path / "code" / "staging") == []


async def test_the_same_archive_is_kept_once_also_when_uploaded_at_once(packages: Packages, tmp_path: Path) -> None:
    archive, kept = zip_of(app="x = 1"), []

    async def upload() -> None:
        async with packages.adding(archive) as code:
            kept.append(code)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(upload)
    assert len(kept) == 8
    assert len(set(kept)) == 1
    assert len(os.listdir(tmp_path / "code" / "folders")) == 1


async def test_a_bad_archive_leaves_nothing(packages: Packages, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("good.py", "")
        archive.writestr("../../../../evil", "")
    before = {path for path in tmp_path.parent.rglob("*") if "code" not in path.parts}
    with pytest.raises(Refused):
        async with packages.adding(packed.getvalue()):
            pass
    assert {path for path in tmp_path.parent.rglob("*") if "code" not in path.parts} == before
    for directory in ("staging", "folders", "archives"):
        assert os.listdir(tmp_path / "code" / directory) == []


async def test_a_full_disk_is_told_and_leaves_nothing(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(archive: bytes, folder: Path) -> int:
        (folder / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("eventrt.invoker.packages.unpack", no_room)
    with pytest.raises(StoreFull):
        async with packages.adding(zip_of(app="1")):
            pass
    assert [os.listdir(tmp_path / "code" / name) for name in ("staging", "folders", "archives")] == [[], [], []]


async def test_many_files_are_kept_as_well(packages: Packages) -> None:
    async with packages.adding(zip_of(**{f"m{number}": "" for number in range(200)})) as code:
        assert len(os.listdir(code.folder)) == 200


async def test_code_goes_when_its_last_function_goes(packages: Packages, store: SqliteStore, tmp_path: Path) -> None:
    async with packages.adding(zip_of(app="x = 1")) as code:
        await packages.clear(store, grace_s=0)
        assert left_of(code, tmp_path) == (True, True)
        settings = FunctionSettings("python3.12", "app.h", ROLE, code)
        for name in ("one", "two"):
            key = (*REF.key[:2], name)
            await store.write(lambda tx, key=key: functions.create(tx, key, settings, {}))
    await store.write(lambda tx: functions.delete(tx, replace(REF, name="one")))
    await packages.clear(store, grace_s=0)
    assert left_of(code, tmp_path) == (True, True)
    await store.write(lambda tx: functions.delete(tx, replace(REF, name="two")))
    await packages.clear(store, grace_s=60)
    assert left_of(code, tmp_path) == (True, True)
    await packages.clear(store, grace_s=0)
    assert left_of(code, tmp_path) == (False, False)


async def test_code_in_use_by_what_still_serves_stays(packages: Packages, store: SqliteStore, tmp_path: Path) -> None:
    async with packages.adding(zip_of(app="1")) as first:
        settings = FunctionSettings("python3.12", "app.h", ROLE, first)
        await store.write(lambda tx: functions.create(tx, REF.key, settings, {}))
    await store.write(functions.complete_transitions)
    async with packages.adding(zip_of(app="2")) as second:
        await store.write(lambda tx: functions.update(tx, REF, {"code": second}))
    assert await store.read(lambda tx: tx.functions.archives()) == {first.archive, second.archive}
    await store.write(functions.complete_transitions)
    assert await store.read(lambda tx: tx.functions.archives()) == {second.archive}


async def test_a_start_clears_what_a_former_daemon_left(packages: Packages, store: SqliteStore, tmp_path: Path) -> None:
    async with packages.adding(zip_of(app="nobody")) as orphan:
        pass
    (tmp_path / "code" / "staging" / "half").mkdir()
    async with anyio.create_task_group() as group:
        await group.start(packages.run, store)
        group.cancel_scope.cancel()
    assert left_of(orphan, tmp_path) == (False, False)
    assert not (tmp_path / "code" / "staging" / "half").exists()


async def test_a_link_opens_its_archive_for_ten_minutes(packages: Packages, clock: VirtualClock) -> None:
    archive = zip_of(app="x = 1")
    async with packages.adding(archive) as code:
        token = packages.link_token(code)
        assert await packages.open_archive(token) == archive
        await clock.advance(601)
        assert await packages.open_archive(token) is None


@pytest.mark.parametrize("token", ["", "x", "ä", "A" * 64, "..", "%00"])
async def test_made_up_links_open_nothing(packages: Packages, token: str) -> None:
    assert await packages.open_archive(token) is None


async def test_a_changed_link_opens_nothing(packages: Packages) -> None:
    token = packages.link_token(CodePackage("", 0, "/etc"))
    for place in range(0, len(token) - 1, 5):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert await packages.open_archive(changed) is None


async def test_the_hash_of_a_folder_follows_its_files_and_not_its_caches(packages: Packages, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "app.py").write_text("1")
    (folder / "sub" / "b.py").write_text("2")
    first = await packages.describe_folder(folder)
    assert (first.archive, first.folder, first.size_bytes) == (None, str(folder), 2)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "app.pyc").write_text("cache")
    assert await packages.describe_folder(folder) == first
    (folder / "app.py").chmod(0o755)
    executable = await packages.describe_folder(folder)
    (folder / "sub" / "b.py").write_text("3")
    changed = await packages.describe_folder(folder)
    assert len({first.sha256, executable.sha256, changed.sha256}) == 3
    with pytest.raises(ConfigurationError, match="is not a folder"):
        await packages.describe_folder(tmp_path / "none")


async def test_a_folder_is_packed_when_its_link_is_opened(packages: Packages, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.sh").write_text("#!/bin/sh")
    (tmp_path / "mine" / "run.sh").chmod(0o755)
    os.symlink("run.sh", tmp_path / "mine" / "link")
    code = await packages.describe_folder(tmp_path / "mine")
    packed = await packages.open_archive(packages.link_token(code))
    assert packed is not None
    async with packages.adding(packed) as unpacked:
        assert os.access(Path(unpacked.folder) / "run.sh", os.X_OK)
        assert os.readlink(Path(unpacked.folder) / "link") == "run.sh"
