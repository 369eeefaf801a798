"""Blobs: bodies as files, whole or not there, removed when nothing uses them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from eventrt.core.buckets import Body, Extent
from eventrt.errors import StoreFull
from eventrt.store.blobs import Blobs, BodyLost
from tests.running import PATIENCE_S


async def put(blobs: Blobs, data: bytes) -> Extent:
    writer = blobs.writer()
    for start in range(0, len(data), 100_000):
        await writer.write(data[start : start + 100_000])
    return Extent(await writer.finish(), 0, len(data))


async def whole(blobs: Blobs, body: Body, first: int = 0, last: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.read(body, first, last)])


def files(directory: Path) -> set[str]:
    return {path.name for path in (directory / "blobs").rglob("*") if path.is_file()}


async def until(directory: Path, expected: set[str]) -> None:
    """Return once the blobs on disk are these: a thread removes the others."""
    with anyio.fail_after(PATIENCE_S):
        while files(directory) != expected:  # noqa: ASYNC110 - the disk rings no bell
            await anyio.sleep(0.01)


async def nothing(names: Sequence[str]) -> Sequence[str]:
    return names


async def at_once() -> None:
    """All that was committed is on disk."""


@pytest.mark.parametrize("is_power_safe", [True, False])
async def test_a_body_of_several_stretches_reads_as_one(tmp_path: Path, is_power_safe: bool) -> None:
    blobs = Blobs(tmp_path, is_power_safe=is_power_safe)
    one, two = bytes(range(256)) * 10_000, b"0123456789" * 1000
    first, second = await put(blobs, one), await put(blobs, two)
    cut = Extent(second.blob, 5, 100)
    body = Body(len(one) + 100 + len(two), None, [first, cut, second])
    expected = one + two[5:105] + two
    assert await whole(blobs, body) == expected
    for start, end in ((0, 0), (len(one) - 3, len(one) + 50), (len(one) + 99, len(one) + 100), (7, len(expected) - 1)):
        assert await whole(blobs, body, start, end) == expected[start : end + 1]


async def test_a_discarded_body_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=True)
    writer = blobs.writer()
    await writer.write(b"x" * 2_000_000)
    await writer.discard()
    assert files(tmp_path) == set()


async def test_what_is_given_up_is_deleted_once_nobody_reads_it(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    kept, gone = await put(blobs, b"kept"), await put(blobs, b"gone")
    async with anyio.create_task_group() as group:
        await group.start(partial(blobs.run, nothing, at_once))
        with blobs.reading([gone.blob]):
            blobs.give_up([gone.blob])
            await anyio.sleep(0.05)
            assert files(tmp_path) == {kept.blob, gone.blob}
        await until(tmp_path, {kept.blob})
        group.cancel_scope.cancel()


async def test_a_blob_stays_until_the_commit_that_gave_it_up_is_on_disk(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    gone, is_asked, is_settled = await put(blobs, b"gone"), anyio.Event(), anyio.Event()

    async def settle() -> None:
        is_asked.set()
        await is_settled.wait()

    async with anyio.create_task_group() as group:
        await group.start(partial(blobs.run, nothing, settle))
        blobs.give_up([gone.blob])
        await is_asked.wait()
        assert files(tmp_path) == {gone.blob}
        is_settled.set()
        await until(tmp_path, set())
        group.cancel_scope.cancel()


async def test_a_blob_stays_while_the_store_takes_nothing_and_goes_with_the_next_one(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    first, second = await put(blobs, b"first"), await put(blobs, b"second")
    is_refused = anyio.Event()

    async def settle() -> None:
        if not is_refused.is_set():
            is_refused.set()
            raise StoreFull("the disk has no room for it")

    async with anyio.create_task_group() as group:
        await group.start(partial(blobs.run, nothing, settle))
        blobs.give_up([first.blob])
        await is_refused.wait()
        assert files(tmp_path) == {first.blob, second.blob}
        blobs.give_up([second.blob])
        await until(tmp_path, set())
        group.cancel_scope.cancel()


async def test_leftovers_of_earlier_starts_are_collected_and_present_ones_are_not(tmp_path: Path) -> None:
    earlier = Blobs(tmp_path, is_power_safe=False)
    used, leftover = await put(earlier, b"used"), await put(earlier, b"left over")
    unfinished = earlier.writer()
    await unfinished.write(b"x" * 2_000_000)
    await unfinished.flush()
    await anyio.sleep(0.005)  # starts have different names from one millisecond to the next
    later = Blobs(tmp_path, is_power_safe=False)
    fresh = await put(later, b"of this start, and not committed yet")

    async def unused(names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name != used.blob]

    async with anyio.create_task_group() as group:
        await group.start(partial(later.run, unused, at_once))
        await until(tmp_path, {used.blob, fresh.blob})
        group.cancel_scope.cancel()
    assert leftover.blob not in files(tmp_path)


async def test_an_empty_file_reads_as_nothing_and_a_shortened_one_as_broken(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert await whole(blobs, Body(0, file=str(file))) == b""
    file.write_bytes(b"short")
    assert await whole(blobs, Body(5, file=str(file)), 1, 3) == b"hor"
    with pytest.raises(BodyLost):
        await whole(blobs, Body(6, file=str(file)))
