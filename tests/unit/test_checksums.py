"""The checksums of S3 against what is known of them, and against each other."""

import base64
import os
import random
import zlib

import pytest

from eventrt.core.checksums import algorithms

KNOWN = {
    # the check values of the CRC catalogue, for "123456789"
    "CRC32": 0xCBF43926.to_bytes(4, "big"),
    "CRC32C": 0xE3069283.to_bytes(4, "big"),
    "CRC64NVME": 0xAE8B14860A799888.to_bytes(8, "big"),
}
ALL = algorithms({})


@pytest.mark.parametrize("name", KNOWN)
def test_check_values(name: str) -> None:
    assert base64.b64decode(ALL[name].of(b"123456789")) == KNOWN[name]


@pytest.mark.parametrize("name", ["CRC32C", "CRC64NVME"])
@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2049, 100_000, (1 << 20) + 1])
def test_many_bytes_at_once_are_as_one_after_the_other(name: str, size: int) -> None:
    data = os.urandom(size)
    at_once, pieces = ALL[name].hasher(), ALL[name].hasher()
    at_once.update(data)
    for start in range(0, size, 1500):
        pieces.update(data[start : start + 1500])
    assert at_once.digest() == pieces.digest()


def test_the_loop_is_zlibs_where_zlib_has_one() -> None:
    from eventrt.core.checksums import _crc

    for size in (0, 5, 3000, 70_000):
        data = os.urandom(size)
        assert _crc("CRC32").update(data, 0) == zlib.crc32(data)


@pytest.mark.parametrize("name", KNOWN)
def test_the_whole_is_combined_out_of_its_parts(name: str) -> None:
    parts = [os.urandom(random.randrange(5000)) for _ in range(7)]
    whole = ALL[name].of(b"".join(parts))
    assert ALL[name].full([(ALL[name].of(part), len(part)) for part in parts]) == whole


def test_a_composite_checksum_is_of_the_checksums() -> None:
    parts = [b"a", b"b"]
    sums = [ALL["SHA256"].of(part) for part in parts]
    joined = b"".join(base64.b64decode(one) for one in sums)
    assert ALL["SHA256"].composite(sums) == f"{ALL['SHA256'].of(joined)}-2"


def test_what_is_well_formed() -> None:
    assert ALL["CRC32"].is_well_formed("AAAAAA==")
    assert not ALL["CRC32"].is_well_formed("AAAA")
    assert not ALL["CRC32"].is_well_formed("!")


def test_a_native_library_is_used_where_there_is_one() -> None:
    found = algorithms({"CRC32C": lambda data, crc: crc + len(data)})
    assert (found["CRC32C"].is_fast, found["CRC64NVME"].is_fast, found["CRC32"].is_fast) == (True, False, True)
    assert found["CRC32C"].of(b"abc") == base64.b64encode((3).to_bytes(4, "big")).decode()
