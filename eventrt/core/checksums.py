"""The checksums S3 knows besides MD5: how each is computed, combined over parts, and written.

CRC-32 comes with zlib and the SHAs with hashlib; CRC-32C and CRC-64/NVME are made here out of whole-array operations
(slices, `bytes.translate`, XOR of big integers), which run some ten times as fast as a loop over bytes. Where a
native library is at hand, its functions are handed in instead (`Algorithm.with_native`).

Source: Amazon S3 user guide, "Checking object integrity"; polynomials as in the CRC catalogue.
"""

import base64
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

Update = Callable[[bytes, int], int]
"""(data, checksum so far) -> checksum."""

_LANE_BYTES = 256
_SMALL = 2048
_BLOCK = 1 << 20


class Hasher(Protocol):
    """A checksum in the making; those of `hashlib` are some as well."""

    def update(self, data: bytes, /) -> None:
        """Take more data."""
        ...

    def digest(self) -> bytes:
        """Return the checksum of what was taken."""
        ...


class _Crc:
    """One CRC polynomial, bit-reflected, with all bits set before and inverted after.

    Args: polynomial: reflected. width: its bytes.
    """

    def __init__(self, polynomial: int, width: int) -> None:
        self.width = width
        self.mask = (1 << 8 * width) - 1
        self.polynomial = polynomial
        self.table = [self._byte(value) for value in range(256)]
        self.planes = [bytes(entry >> 8 * plane & 255 for entry in self.table) for plane in range(width)]

    def _byte(self, value: int) -> int:
        for _ in range(8):
            value = value >> 1 ^ self.polynomial if value & 1 else value >> 1
        return value

    def update(self, data: bytes, crc: int = 0) -> int:
        """Return the checksum of what `crc` stands for, followed by `data`."""
        view = memoryview(data)
        start = 0
        while len(view) - start > _SMALL:
            size = min(_BLOCK, (len(view) - start) // _LANE_BYTES * _LANE_BYTES)
            lanes = 1 << (size // _LANE_BYTES).bit_length() - 1
            size = lanes * _LANE_BYTES
            block = self._block(bytes(view[start : start + size]), lanes)
            crc = self.combine(crc, block, size)
            start += size
        return self._loop(view[start:], crc)

    def _loop(self, data: memoryview, crc: int) -> int:
        table = self.table
        crc ^= self.mask
        for byte in data:
            crc = table[(crc ^ byte) & 255] ^ crc >> 8
        return crc ^ self.mask

    def _block(self, data: bytes, lanes: int) -> int:
        """Return the checksum of `lanes` stretches of _LANE_BYTES each: all lanes at once, then folded in pairs."""
        as_int, planes, width = int.from_bytes, self.planes, self.width
        ones = (1 << 8 * lanes) - 1
        state = [ones] * width
        for column in range(_LANE_BYTES):
            index = (as_int(data[column::_LANE_BYTES], "little") ^ state[0]).to_bytes(lanes, "little")
            state = [
                as_int(index.translate(planes[plane]), "little") ^ (state[plane + 1] if plane + 1 < width else 0)
                for plane in range(width)
            ]
        rows = [(one ^ ones).to_bytes(lanes, "little") for one in state]
        span = _LANE_BYTES
        while lanes > 1:
            lanes //= 2
            moved = [0] * width
            for plane, tables in enumerate(self._shift_tables(span)):
                source = rows[plane][0::2]
                for target in range(width):
                    moved[target] ^= as_int(source.translate(tables[target]), "little")
            rows = [
                (moved[plane] ^ as_int(rows[plane][1::2], "little")).to_bytes(lanes, "little") for plane in range(width)
            ]
            span *= 2
        return sum(rows[plane][0] << 8 * plane for plane in range(width))

    @cache  # noqa: B019 - the two polynomials live as long as the module
    def _shift_tables(self, size: int) -> list[list[bytes]]:
        """Return, for each byte of a checksum, the bytes that it becomes when `size` zero bytes follow."""
        matrix = self._zeros(size)
        return [
            [
                bytes(_times(matrix, value << 8 * plane) >> 8 * target & 255 for value in range(256))
                for target in range(self.width)
            ]
            for plane in range(self.width)
        ]

    @cache  # noqa: B019 - the two polynomials live as long as the module
    def _zeros(self, size: int) -> tuple[int, ...]:
        """Return the matrix that takes a checksum over `size` zero bytes."""
        bits = 8 * self.width
        if size == 1:
            return tuple(self._step(1 << bit) for bit in range(bits))
        half = self._zeros(size // 2)
        squared = tuple(_times(half, column) for column in half)
        if size % 2 == 0:
            return squared
        one = self._zeros(1)
        return tuple(_times(one, column) for column in squared)

    def _step(self, crc: int) -> int:
        return self.table[crc & 255] ^ crc >> 8

    def combine(self, first: int, second: int, second_size: int) -> int:
        """Return the checksum of two stretches, from the checksums of each and the size of the second."""
        bit = 0
        while second_size and first:
            if second_size & 1:
                first = _times(self._power(bit), first)
            second_size >>= 1
            bit += 1
        return first ^ second

    def _power(self, bit: int) -> tuple[int, ...]:
        return self._zeros(1 << bit)


def _times(matrix: Sequence[int], vector: int) -> int:
    total = 0
    index = 0
    while vector:
        if vector & 1:
            total ^= matrix[index]
        vector >>= 1
        index += 1
    return total


@cache
def _crc(name: str) -> _Crc:
    return _Crc(*{"CRC32": (0xEDB88320, 4), "CRC32C": (0x82F63B78, 4), "CRC64NVME": (0x9A6C9329AC4BC9B5, 8)}[name])


class _CrcHasher:
    def __init__(self, update: Update, width: int) -> None:
        self._update, self._width, self._crc = update, width, 0

    def update(self, data: bytes, /) -> None:
        self._crc = self._update(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._width, "big")


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One checksum algorithm.

    Attributes:
        name: as in `x-amz-checksum-algorithm`; member: as in the model (`ChecksumCRC32`); header: its header.
        size_bytes: of a checksum. is_crc: can checksums of parts be combined into one of the whole?
        native: a library's update function, None without one.
    """

    name: str
    size_bytes: int
    is_crc: bool
    native: Update | None = None

    @property
    def member(self) -> str:
        """`ChecksumCRC32`."""
        return f"Checksum{self.name}"

    @property
    def header(self) -> str:
        """`x-amz-checksum-crc32`."""
        return f"x-amz-checksum-{self.name.lower()}"

    @property
    def is_fast(self) -> bool:
        """Does it run at some hundred megabytes per second or more?"""
        return not self.is_crc or self.name == "CRC32" or self.native is not None

    def hasher(self) -> Hasher:
        """Return a new checksum of nothing yet."""
        if not self.is_crc:
            return hashlib.new(self.name.lower(), usedforsecurity=False)
        if self.native is not None:
            return _CrcHasher(self.native, self.size_bytes)
        if self.name == "CRC32":
            return _CrcHasher(zlib.crc32, 4)
        return _CrcHasher(_crc(self.name).update, self.size_bytes)

    def of(self, data: bytes) -> str:
        """Return the checksum of some bytes, in base64."""
        hasher = self.hasher()
        hasher.update(data)
        return encode(hasher.digest())

    def composite(self, parts: Sequence[str]) -> str:
        """Return the checksum of the parts' checksums, with their number: `abcd==-3`."""
        return f"{self.of(b''.join(base64.b64decode(part) for part in parts))}-{len(parts)}"

    def full(self, parts: Sequence[tuple[str, int]]) -> str:
        """Return the checksum of the whole out of the (checksum, size) of its parts; for CRCs only."""
        crc, total = _crc(self.name), 0
        for text, size in parts:
            total = crc.combine(total, int.from_bytes(base64.b64decode(text), "big"), size)
        return encode(total.to_bytes(self.size_bytes, "big"))

    def is_well_formed(self, text: str) -> bool:
        """Is this base64 of a checksum's size?"""
        try:
            return len(base64.b64decode(text, validate=True)) == self.size_bytes
        except ValueError:
            return False


def encode(digest: bytes) -> str:
    """Return a checksum as S3 writes it: base64."""
    return base64.b64encode(digest).decode()


def algorithms(native: dict[str, Update]) -> dict[str, Algorithm]:
    """Return every algorithm by its name, those with a native function using it."""
    return {
        name: Algorithm(name, size, is_crc, native.get(name))
        for name, size, is_crc in (
            ("CRC32", 4, True),
            ("CRC32C", 4, True),
            ("CRC64NVME", 8, True),
            ("SHA1", 20, False),
            ("SHA256", 32, False),
            ("SHA512", 64, False),
            ("MD5", 16, False),
        )
    }
