"""Watching a folder: by inotify, and without it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from eventrt.sources import folders
from tests.running import PATIENCE_S

watchfiles = pytest.importorskip("watchfiles")


@pytest.mark.parametrize("has_room", [True, False])
async def test_a_folder_is_watched_also_where_inotify_has_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_room: bool
) -> None:
    awatch = watchfiles.awatch

    async def awatch_here(*paths: Any, force_polling: bool | None, **more: Any) -> AsyncIterator[Any]:
        if not has_room and not force_polling:
            raise RuntimeError("Error creating recommended watcher: Too many open files (os error 24)")
        async for changes in awatch(*paths, force_polling=True, **more):
            yield changes

    monkeypatch.setattr(watchfiles, "awatch", awatch_here)
    watch, end = folders._inotify(), anyio.Event()
    seen: set[str] = set()

    async def collect() -> None:
        async for paths in watch(tmp_path, end):
            seen.update(paths)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            number = 0
            while not seen:  # what is made before the watch begins is not told
                (tmp_path / f"file-{number}").write_text("x")
                number += 1
                await anyio.sleep(0.1)
            end.set()
    assert seen <= {str(tmp_path), *(str(tmp_path / f"file-{each}") for each in range(number))}
    assert ("folder.polled" in capsys.readouterr().out) is not has_room
