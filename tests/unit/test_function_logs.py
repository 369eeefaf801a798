"""Functions' logs: written in the background, bounded, read and followed."""

import anyio
import anyio.lowlevel
import pytest

from eventrt.observability.function_logs import FunctionLogs
from tests.running import PATIENCE_S

OF = ("000000000000", "us-east-1", "f")


async def test_lines_come_back_in_order(tmp_path):
    logs = FunctionLogs(tmp_path)
    logs.of(*OF).write(b"one\ntwo\n")
    logs.of(*OF).write(b"three\n")
    assert logs.tail(*OF, lines=2) == ["two", "three"]
    assert logs.tail(*OF) == ["one", "two", "three"]
    assert logs.tail("000000000000", "us-east-1", "never-ran") == []


async def test_writing_waits_for_nobody_and_happens_soon(tmp_path):
    logs = FunctionLogs(tmp_path)
    logs.of(*OF).write(b"one\n")
    path = logs.path(*OF)
    assert not path.exists()
    with anyio.fail_after(PATIENCE_S):
        while not path.exists():  # noqa: ASYNC110 - a file rings no bell
            await anyio.sleep(0.005)
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", ".", "a/b", "x" * 500, "ä\n", ""])
async def test_no_name_leads_out_of_the_directory(tmp_path, name):
    logs = FunctionLogs(tmp_path / "logs")
    path = logs.path(name, name, name)
    assert (tmp_path / "logs") in path.parents
    assert not {"..", "."} & set(path.parts)
    logs.of(name, name, name).write(b"x\n")
    assert logs.tail(name, name, name) == ["x"]


async def test_a_log_never_outgrows_its_share_and_keeps_the_newest(tmp_path):
    logs = FunctionLogs(tmp_path, max_bytes=10_000)
    for number in range(5000):
        logs.of(*OF).write(b"line %d\n" % number)
        if number % 100 == 0:
            logs.flush()
            assert sum(file.stat().st_size for file in tmp_path.rglob("*.log*")) <= 12_000
    lines = logs.tail(*OF, lines=5)
    assert lines == [f"line {number}" for number in range(4995, 5000)]


async def test_following_shows_what_was_and_then_what_comes(tmp_path):
    logs = FunctionLogs(tmp_path, max_bytes=2000)
    log = logs.of(*OF)
    log.write(b"before\n")
    seen = []

    async def follow():
        async for line in logs.follow(*OF, lines=1):
            seen.append(line)
            if line == "last":
                return

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        await anyio.lowlevel.checkpoint()
        for number in range(300):  # past several rotations
            log.write(b"line %d\n" % number)
            if number % 20 == 0:
                logs.flush()
                await anyio.sleep(0.001)
        log.write(b"last\n")
        logs.flush()
    assert seen == ["before", *(f"line {number}" for number in range(300)), "last"]


async def test_a_disk_that_takes_nothing_stops_nobody(tmp_path):
    logs = FunctionLogs(tmp_path / "file")
    (tmp_path / "file").write_text("in the way")
    logs.of(*OF).write(b"lost\n")
    logs.flush()
    (tmp_path / "file").unlink()
    logs.of(*OF).write(b"kept\n")
    assert logs.tail(*OF) == ["kept"]
