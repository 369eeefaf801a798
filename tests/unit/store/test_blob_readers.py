"""Readers of blobs: what they hold together is bounded, what is lost is told, what is used again stays."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from eventrt.core.buckets import Body, Extent
from eventrt.store.blobs import READ_BYTES, Blobs, BodyLost

SIZE = 3_000_000


async def put(blobs: Blobs, data: bytes) -> Body:
    writer = blobs.writer()
    await writer.write(data)
    return Body(len(data), None, [Extent(await writer.finish(), 0, len(data))])


async def at_once() -> None:
    """All that was committed is on disk."""


async def test_many_readers_hold_no_more_together_than_few(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    body = await put(blobs, bytes(SIZE))
    alone = [len(piece) async for piece in await blobs.begin(body)]
    assert (sum(alone), max(alone)) == (SIZE, READ_BYTES)
    streams = [await blobs.begin(body) for _ in range(32)]
    for _ in range(2):
        await anext(streams[0])
    pieces = [len(await anext(stream)) for stream in streams]
    assert max(pieces[1:]) <= READ_BYTES
    assert sum([len(await anext(stream)) for stream in streams]) <= 4 * 1024 * 1024
    for stream in streams:
        await stream.aclose()
    assert max([len(piece) async for piece in await blobs.begin(body)]) == READ_BYTES


async def test_a_body_whose_file_is_gone_or_too_short_is_lost_before_its_first_byte(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    body = await put(blobs, bytes(SIZE))
    path = blobs.path(body.extents[0].blob)
    with path.open("r+b") as file:
        file.truncate(SIZE - 1)
    with pytest.raises(BodyLost, match="ends at byte 2999999"):
        await blobs.begin(body)
    assert [len(piece) async for piece in await blobs.begin(body, 0, 9)] == [10]
    path.unlink()
    with pytest.raises(BodyLost, match=path.name):
        await blobs.begin(body, 0, 9)


async def test_a_blob_that_was_given_up_while_it_was_read_and_is_used_again_stays(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, is_power_safe=False)
    body, other = await put(blobs, b"used again"), await put(blobs, b"not used again")
    again, gone = body.extents[0].blob, other.extents[0].blob

    async def unused(names: Sequence[str]) -> Sequence[str]:
        return [name for name in names if name != again]

    async with anyio.create_task_group() as group:
        await group.start(partial(blobs.run, unused, at_once))
        stream = await blobs.begin(body)
        blobs.give_up([again, gone])
        assert [piece async for piece in stream] == [b"used again"]
        while blobs.path(gone).exists():  # noqa: ASYNC110 - the disk rings no bell
            await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert blobs.path(again).read_bytes() == b"used again"
