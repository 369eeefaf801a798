"""A disk with a write cache that forgets, as a process: one file in a FUSE mount, for a loop device to stand on.

    python -m tests.torture.volatile IMAGE FOLDER

What is written is held in memory, each version of each block, until the disk is told to flush (the loop device turns
a flush into an fsync of this file); only then does it reach IMAGE. A line `cut SEED FATE` on standard input is the
power cut: from then on every request fails, and of what was not flushed IMAGE gets

    none  nothing
    some  for each block by chance: nothing, or any of its versions, now and then only some of its sectors
    all   everything, as if the cache had been emptied in the last moment

Now and then a flush takes its time, and a cut may come in the middle of it. The answer is a line with the number of
unflushed blocks and of those that were kept. Standard input's end is the program's. Blocking and single: one request
after the other, as on one wire. Source of the protocol: linux/fuse.h.
"""

import ctypes
import errno
import os
import random
import select
import selectors
import struct
import sys
from collections.abc import Callable
from pathlib import Path

NAME = "disk"
BLOCK = 4096
SECTOR = 512
FATES = ("none", "some", "all")
TORN = 0.05
"""Of the blocks that are kept by chance, how many are kept in part."""

SLOW, SLOW_S = 0.02, 0.04
"""Of the flushes, how many take long, and how long at most."""

_MAX_WRITE = 256 * 1024
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _RELEASE = 1, 2, 3, 4, 14, 15, 16, 18
_FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 20, 25, 26, 36, 38, 42
_ROOT, _FILE = 1, 2
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_DIRECT = 1
_MINOR = 31

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_IO = struct.Struct("<QQIIQII")


class Disk:
    """The file's contents: what was flushed, and beside it what was not."""

    def __init__(self, image: Path) -> None:
        self._fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self.size = os.fstat(self._fd).st_size
        self._unflushed: dict[int, list[bytes]] = {}
        self.is_cut = False

    def read(self, offset: int, size: int) -> bytes:
        """Return what was written last, flushed or not."""
        data = bytearray(os.pread(self._fd, size, offset))
        if self._unflushed:
            for block in range(offset // BLOCK, -(-(offset + len(data)) // BLOCK)):
                versions = self._unflushed.get(block)
                if versions:
                    begin, end = max(offset, block * BLOCK), min(offset + len(data), (block + 1) * BLOCK)
                    data[begin - offset : end - offset] = versions[-1][begin - block * BLOCK : end - block * BLOCK]
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """Take what may be forgotten."""
        at = 0
        while at < len(data):
            block, inside = divmod(offset + at, BLOCK)
            length = min(BLOCK - inside, len(data) - at)
            piece = data[at : at + length]
            if length < BLOCK:
                old = self.read(block * BLOCK, BLOCK)
                piece = old[:inside] + piece + old[inside + length :]
            self._unflushed.setdefault(block, []).append(piece)
            at += length

    def flush(self) -> None:
        """Keep all that was written."""
        for block, versions in self._unflushed.items():
            os.pwrite(self._fd, versions[-1], block * BLOCK)
        self._unflushed.clear()

    def cut(self, rng: random.Random, fate: str) -> tuple[int, int]:
        """Forget what was not flushed, as the fate says; return how many blocks were not flushed and how many stay."""
        unflushed, kept = len(self._unflushed), 0
        chance = rng.random()
        for block, versions in sorted(self._unflushed.items()):
            if fate == "none" or (fate == "some" and rng.random() >= chance):
                continue
            data = versions[-1] if fate == "all" else rng.choice(versions)
            if fate == "some" and rng.random() < TORN:
                data = self._torn(rng, block, data)
            os.pwrite(self._fd, data, block * BLOCK)
            kept += 1
        self._unflushed.clear()
        self.is_cut = True
        return unflushed, kept

    def _torn(self, rng: random.Random, block: int, data: bytes) -> bytes:
        old = os.pread(self._fd, BLOCK, block * BLOCK)
        sectors = range(0, BLOCK, SECTOR)
        return b"".join((data if rng.random() < 0.5 else old)[at : at + SECTOR] for at in sectors)


class Server:
    """Answers the kernel's requests for the one file. `before_flush` is called before each flush."""

    def __init__(self, disk: Disk, folder: Path, before_flush: Callable[[], None]) -> None:
        self._disk = disk
        self._before_flush = before_flush
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"volatile", str(folder).encode(), b"fuse", 0, options.encode()) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))

    def step(self) -> None:
        """Take one request and answer it.

        Raises: OSError: ENODEV when it was unmounted.
        """
        try:
            request = os.read(self.fd, _MAX_WRITE + BLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):  # the request was taken back
                return
            raise
        _, opcode, unique, node, *_ = _IN.unpack_from(request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            return
        try:
            answer, number = self._answer(opcode, node, request[_IN.size :]), 0
        except OSError as error:
            answer, number = b"", error.errno or errno.EIO
        try:
            os.write(self.fd, _OUT.pack(_OUT.size + len(answer), -number, unique) + answer)
        except FileNotFoundError:
            return  # taken back meanwhile

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        disk = self._disk
        if opcode == _INIT:
            return struct.pack(
                "<IIIIHHIIHHII24x", 7, _MINOR, 0, _BIG_WRITES | _MAX_PAGES, 16, 12, _MAX_WRITE, 1, 64, 0, 0, 0
            )
        if opcode == _LOOKUP:
            if body.rstrip(b"\0") != NAME.encode():
                raise OSError(errno.ENOENT, "no such file")
            return struct.pack("<QQQQII", _FILE, 0, 3600, 3600, 0, 0) + self._attributes(_FILE)
        if opcode in (_GETATTR, _SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if opcode == _OPEN:
            return struct.pack("<QII", 0, _DIRECT, 0)
        if opcode in (_FLUSH, _RELEASE, _DESTROY):
            return b""
        if opcode not in (_READ, _WRITE, _FSYNC):
            raise OSError(errno.ENOSYS, "not offered")
        if opcode == _FSYNC:
            self._before_flush()
        if disk.is_cut:
            raise OSError(errno.EIO, "there is no power")
        if opcode == _FSYNC:
            disk.flush()
            return b""
        _, offset, size, *_ = _IO.unpack_from(body)
        if opcode == _READ:
            return disk.read(offset, size)
        disk.write(offset, body[_IO.size : _IO.size + size])
        return struct.pack("<II", size, 0)

    def _attributes(self, node: int) -> bytes:
        if node == _ROOT:
            return _ATTR.pack(_ROOT, 0, 0, *(0,) * 6, 0o40700, 2, 0, 0, 0, BLOCK, 0)
        size = self._disk.size
        return _ATTR.pack(_FILE, size, size // 512, *(0,) * 6, 0o100600, 1, 0, 0, 0, BLOCK, 0)


def main() -> None:
    """Serve until standard input ends or the mount is gone."""
    disk = Disk(Path(sys.argv[1]))

    def obey() -> None:
        words = sys.stdin.readline().split()
        if not words:
            sys.exit()
        print(*disk.cut(random.Random(words[1]), words[2]), flush=True)

    def dawdle() -> None:
        if random.random() < SLOW and select.select([sys.stdin], [], [], random.uniform(0, SLOW_S))[0]:
            obey()

    server = Server(disk, Path(sys.argv[2]), dawdle)
    print("ready", flush=True)
    with selectors.DefaultSelector() as selector:
        selector.register(server.fd, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if sys.stdin in ready:
                obey()
                continue
            try:
                server.step()
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise


if __name__ == "__main__":
    main()
