"""The disk that torture cuts the power of: it keeps what was flushed, and of the rest what the cut says."""

import random
from pathlib import Path

import pytest

from tests.torture.volatile import BLOCK, Disk

BLOCKS = 64


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"\0" * BLOCKS * BLOCK)
    return path


def test_what_was_flushed_stays_and_what_was_not_is_forgotten(image: Path) -> None:
    disk = Disk(image)
    disk.write(0, b"a" * BLOCK)
    disk.flush()
    disk.write(0, b"b" * BLOCK)
    disk.write(5 * BLOCK, b"c" * BLOCK)
    assert disk.read(0, 4) == b"bbbb"
    assert disk.cut(random.Random(1), "none") == (2, 0)
    kept = image.read_bytes()
    assert kept[:BLOCK] == b"a" * BLOCK
    assert kept[BLOCK:] == b"\0" * (BLOCKS - 1) * BLOCK


def test_a_cut_may_keep_everything(image: Path) -> None:
    disk = Disk(image)
    disk.write(BLOCK - 2, b"1234")
    assert disk.cut(random.Random(1), "all") == (2, 2)
    assert image.read_bytes()[BLOCK - 2 : BLOCK + 2] == b"1234"


def test_a_cut_keeps_some_blocks_in_any_of_their_versions(image: Path) -> None:
    disk = Disk(image)
    for version in (b"1", b"2"):
        for block in range(BLOCKS):
            disk.write(block * BLOCK, version * BLOCK)
    unflushed, kept = disk.cut(random.Random(4), "some")
    assert (unflushed, 0 < kept < BLOCKS) == (BLOCKS, True)
    assert set(image.read_bytes()) == {0, ord("1"), ord("2")}


def test_reads_see_the_last_write_also_across_blocks_and_in_part(image: Path) -> None:
    disk = Disk(image)
    model = bytearray(BLOCKS * BLOCK)
    rng = random.Random(7)
    for _ in range(200):
        offset, size = rng.randrange(BLOCKS * BLOCK - 9000), rng.randrange(1, 9000)
        data = rng.randbytes(size)
        disk.write(offset, data)
        model[offset : offset + size] = data
        if rng.random() < 0.1:
            disk.flush()
        offset = rng.randrange(BLOCKS * BLOCK - 9000)
        assert disk.read(offset, size) == model[offset : offset + size]
    disk.flush()
    assert image.read_bytes() == model
