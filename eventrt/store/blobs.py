"""Bodies too large for a row, as files: written once, never changed, deleted when nothing uses them any more.

Under `blobs/` in the data directory: `staging/` for what is not finished, and `00` to `ff`. A body comes to its name
by a rename, so it is whole or not there; with a power-safe store file and folder are synced before, and so before
the commit that mentions it. Which blobs are used is counted in the database. A file that no commit mentions (the
daemon was killed in between) is removed at the next start: names begin with the start that made them.

Disk work is done in threads, never on the loop; a body in the making never holds more than a few megabytes.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from eventrt.core.buckets import Body
from eventrt.errors import EventrtError, StoreFull

T = TypeVar("T")


class BodyLost(EventrtError):  # noqa: N818 - a state of the disk
    """The bytes of a body are not where they were put: the file is gone, or shorter than it was.

    Without `store.durability = "power"` a power cut may do that; so may whoever has hands in the data directory.
    """

    def __init__(self, path: Path, reason: str, *, is_blob: bool) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason
        self.is_blob = is_blob
        """Or a file of a bucket over a folder, which is others' to change."""


BATCH_BYTES = 512 * 1024
"""What is gathered of a body before a thread takes it."""

READ_BYTES = 512 * 1024
_READ_FIRST_BYTES = 256 * 1024
_READ_LEAST_BYTES = 64 * 1024
_READING_BYTES = 4 * 1024 * 1024
"""What all readers together take at once, as long as each has its least; a reader holds a piece or two of it."""

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOG = structlog.get_logger("eventrt.buckets")


class Hashing(Protocol):
    """What is computed over a body while it is written; several at once."""

    def update(self, data: bytes, /) -> None:
        """Take more data."""
        ...


class BlobWriter:
    """A body in the making. Pieces go in, `finish` names it; `discard` forgets it."""

    def __init__(self, blobs: "Blobs", hashers: Sequence[Hashing], path: Path | None = None) -> None:
        self._blobs = blobs
        self._hashers = hashers
        self._staged = path or blobs.staged_path()
        self._fd = -1
        self._is_staged = False
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._pending: asyncio.Future[None] | None = None
        self.size = 0

    async def write(self, piece: bytes) -> None:
        """Take a piece; a thread hashes and writes one batch while the next one comes in."""
        self._pieces.append(piece)
        self._gathered += len(piece)
        self.size += len(piece)
        if self._gathered >= BATCH_BYTES:
            pieces, self._pieces, self._gathered = self._pieces, [], 0
            await self._settle()
            self._pending = self._blobs.start_in_thread(lambda: self._append(pieces))

    async def _settle(self) -> None:
        """Wait for the batch that a thread has.

        Raises: StoreFull: the disk has no room.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            await asyncio.shield(pending)  # the thread goes on when we are cancelled; `discard` waits for it
        except asyncio.CancelledError:
            self._pending = pending
            raise
        except OSError as error:
            raise _full_or(error) from error

    def _append(self, pieces: list[bytes]) -> None:
        if self._fd < 0:
            self._is_staged = True
            self._fd = os.open(self._staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        for piece in pieces:
            for hasher in self._hashers:
                hasher.update(piece)
        if len(pieces) > 64:  # one call for many small pieces
            pieces = [b"".join(pieces)]
        left = [memoryview(piece) for piece in pieces]
        while left:
            written = os.writev(self._fd, left)
            while left and written >= len(left[0]):
                written -= len(left[0])
                left.pop(0)
            if left:
                left[0] = left[0][written:]

    async def flush(self) -> None:
        """Have everything that came hashed and written; then the hashers may be asked.

        Raises: StoreFull: the disk has no room.
        """
        await self._settle()
        if self._pieces or self._fd < 0:
            pieces, self._pieces, self._gathered = self._pieces, [], 0
            await self._blobs.in_thread(lambda: self._append(pieces))

    async def finish(self) -> str:
        """Put the body to its name and return the name; it is on disk when this returns.

        Raises: StoreFull: the disk has no room.
        """
        name = self._blobs.fresh_name()
        await self.flush()
        await self._blobs.in_thread(lambda: self._seal_and_place(self._blobs.path(name)))
        return name

    async def seal(self) -> Path:
        """Have the body whole and on disk where it is staged; return the place. Whoever moves it says `placed`."""
        await self.flush()
        await self._blobs.in_thread(self._seal)
        return self._staged

    def placed(self) -> None:
        """Note that the staged file was moved: it is not ours any more."""
        self._is_staged = False

    def _seal(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if self._blobs.is_power_safe:
                os.fsync(fd)
        finally:
            os.close(fd)

    def _seal_and_place(self, target: Path) -> None:
        self._seal()
        self._blobs.have_folder(target.parent)
        self._staged.replace(target)
        self._is_staged = False
        if self._blobs.is_power_safe:
            sync_folder(target.parent)

    async def discard(self) -> None:
        """Forget what was written; once it has its place nothing happens."""
        self._pieces = []
        if not self._is_staged and self._pending is None:
            return
        with anyio.CancelScope(shield=True):
            if self._pending is not None:
                with contextlib.suppress(OSError):  # what failed is forgotten with the rest
                    await self._pending
                self._pending = None
            await self._blobs.in_thread(self._discard)

    def _discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._is_staged:
            self._staged.unlink(missing_ok=True)


class Begun:
    """The bytes of a body whose first piece was read (`first`): a stream that begins with it."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None]) -> None:
        self.first = first
        self._rest = rest
        self._is_begun = False

    def __aiter__(self) -> "Begun":
        return self

    async def __anext__(self) -> bytes:
        if not self._is_begun:
            self._is_begun = True
            return self.first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Let go of the body, however much of it was read."""
        await self._rest.aclose()


class Blobs:
    """The blobs of one data directory.

    Args: is_power_safe: sync a body, and its name, before it counts as kept.
    """

    def __init__(self, directory: Path, *, is_power_safe: bool) -> None:
        self._root = directory.absolute() / "blobs"
        self._staging = self._root / "staging"
        self.is_power_safe = is_power_safe
        self._start = f"{time.time_ns() // 1_000_000:012x}"
        self._limiter: anyio.CapacityLimiter | None = None
        self._pool = ThreadPoolExecutor(4, "eventrt-blobs")
        self._readers: Counter[str] = Counter()
        self._streams = 0
        """How many bodies are being read."""
        self._doomed: set[str] = set()
        self._given_up: list[str] = []
        self._folders: set[Path] = set()
        self._bell: anyio.Event | None = None
        self._is_ready = False

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run blocking work in a thread and return its value.

        Raises: StoreFull: the disk has no room.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(8)
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        except OSError as error:
            if (reason := _full_or(error)) is not error:
                raise reason from error
            raise

    def start_in_thread(self, work: Callable[[], None]) -> "asyncio.Future[None]":
        """Begin blocking work in a thread and return what waits for it."""
        return asyncio.get_running_loop().run_in_executor(self._pool, work)

    # -- names

    def fresh_name(self) -> str:
        """Return a name that no blob has: two digits for its folder, the start that made it, and chance."""
        return f"{secrets.token_hex(1)}-{self._start}-{secrets.token_hex(10)}"

    def path(self, name: str) -> Path:
        """Return where a blob lies."""
        return self._root / name[:2] / name

    def have_folder(self, folder: Path) -> None:
        """Have a folder of blobs, and its name as durable as what is put there (in a thread).

        Another thread may just have made it, so each folder counts as there only once this process has synced it.
        """
        if folder in self._folders:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.is_power_safe:
            sync_folder(self._root)
            sync_folder(self._root.parent)
        self._folders.add(folder)

    def staged_path(self) -> Path:
        """Return a path for a body in the making."""
        if not self._is_ready:
            self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._is_ready = True
        return self._staging / f"{self._start}-{secrets.token_hex(12)}"

    # -- writing and reading

    def writer(self, hashers: Sequence[Hashing] = ()) -> BlobWriter:
        """Return a body in the making, computed over by `hashers` as it comes."""
        return BlobWriter(self, hashers)

    def writer_at(self, path: Path, hashers: Sequence[Hashing] = ()) -> BlobWriter:
        """Return a body in the making that is staged elsewhere, beside the file it is to become."""
        return BlobWriter(self, hashers, path)

    @contextmanager
    def reading(self, names: Iterable[str]) -> Iterator[None]:
        """Keep blobs from being deleted for the length of a `with` block."""
        held = list(dict.fromkeys(names))
        self._readers.update(held)
        try:
            yield
        finally:
            for name in held:
                self._readers[name] -= 1
                if not self._readers[name]:
                    del self._readers[name]
                    if name in self._doomed:
                        self._doomed.discard(name)
                        self.give_up([name])

    async def begin(self, body: Body, first: int = 0, last: int | None = None) -> "Begun":
        """Return the bytes of a body from `first` to `last` (inclusive) with the first piece of them at hand.

        Its blobs are kept until all was read, or the stream is closed.

        Raises: BodyLost: they are not there.
        """
        pieces = self._held(body, first, last)
        return Begun(await anext(pieces, b""), pieces)

    async def _held(self, body: Body, first: int, last: int | None) -> AsyncGenerator[bytes, None]:
        with self.reading(body.blobs):
            async with contextlib.aclosing(self.read(body, first, last)) as pieces:
                async for piece in pieces:
                    yield piece

    async def read(self, body: Body, first: int = 0, last: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a body from `first` to `last` (inclusive), wherever they are.

        Who reads holds `reading` around it, from the unit that told of the body on.

        Raises: BodyLost: they are not there.
        """
        end = body.size if last is None else last + 1
        if body.inline is not None:
            if end > first:
                yield body.inline[first:end]
            return
        is_blob = not body.file
        self._streams += 1
        size = self._piece_bytes(_READ_FIRST_BYTES)
        try:
            for path, offset, length in self._stretches(body, first, end):
                try:
                    fd, piece = await self.in_thread(partial(_open_and_read, path, offset, min(size, length), length))
                except EOFError as error:
                    raise BodyLost(path, str(error), is_blob=is_blob) from error
                except OSError as error:
                    if error.errno not in _NOT_THERE:
                        raise
                    raise BodyLost(path, error.strerror or "it cannot be opened", is_blob=is_blob) from error
                try:
                    while True:
                        if not piece:
                            raise BodyLost(path, f"it ends at byte {offset} now", is_blob=is_blob)
                        offset += len(piece)
                        length -= len(piece)
                        yield piece
                        if not length:
                            break
                        size = self._piece_bytes(READ_BYTES)
                        piece = await self.in_thread(partial(os.pread, fd, min(size, length), offset))
                finally:
                    os.close(fd)
        finally:
            self._streams -= 1

    def _piece_bytes(self, most: int) -> int:
        """Return how much a reader takes at once: less of it the more readers there are."""
        return max(_READ_LEAST_BYTES, min(most, _READING_BYTES // self._streams))

    def _stretches(self, body: Body, first: int, end: int) -> Iterator[tuple[Path, int, int]]:
        if body.file:
            if end > first:
                yield Path(body.file), first, end - first
            return
        at = 0
        for extent in body.extents:
            begin, stop = max(first, at), min(end, at + extent.size)
            if begin < stop:
                yield self.path(extent.blob), extent.offset + begin - at, stop - begin
            at += extent.size
            if at >= end:
                return

    # -- removing

    def give_up(self, names: Iterable[str]) -> None:
        """Delete blobs soon; those that are being read, when that is over."""
        for name in names:
            if name in self._readers:
                self._doomed.add(name)
            else:
                self._given_up.append(name)
        if self._given_up and self._bell is not None:
            self._bell.set()

    async def run(
        self,
        unused: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
        settle: Callable[[], Awaitable[None]],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Delete what was left over by earlier starts, then what is given up, until cancelled.

        Args:
            unused: return those of these names that the database does not mention.
            settle: return once all that was committed is as durable as an answer. A file's end may reach the disk
                before the commit that gave it up, and after a power cut the database would still mention it.
        """
        self._bell = anyio.Event()
        task_status.started()
        await self._collect_leftovers(unused, settle)
        while True:
            if not self._given_up:
                await self._bell.wait()
            self._bell = anyio.Event()
            names, self._given_up = self._given_up, []
            is_removed = False
            with anyio.CancelScope(shield=True):
                # Asked anew: while somebody read one, somebody else may have begun to use it again.
                is_removed = await self._remove_settled(await unused(names), settle)
            if not is_removed:
                self._given_up += names  # they go with the next ones, or at the next start
                await self._bell.wait()

    async def _remove_settled(self, names: Sequence[str], settle: Callable[[], Awaitable[None]]) -> bool:
        try:
            await settle()
        except StoreFull as error:
            _LOG.warning("blobs.kept", blobs=len(names), error=str(error))
            return False
        await self.in_thread(lambda: self._remove(names))
        return True

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self.path(name).unlink()

    async def _collect_leftovers(
        self, unused: Callable[[Sequence[str]], Awaitable[Sequence[str]]], settle: Callable[[], Awaitable[None]]
    ) -> None:
        folders = await self.in_thread(self._clear_staging)
        removed = 0
        for folder in folders:
            names = await self.in_thread(lambda folder=folder: self._old_names(folder))  # type: ignore[misc]
            if names:
                leftovers = await unused(names)
                if leftovers and await self._remove_settled(leftovers, settle):
                    removed += len(leftovers)
        if removed:
            _LOG.info("blobs.collected", removed=removed)

    def _clear_staging(self) -> list[Path]:
        if not self._root.is_dir():
            return []
        if self._staging.is_dir():
            for entry in os.scandir(self._staging):
                if not entry.name.startswith(self._start):
                    Path(entry.path).unlink(missing_ok=True)
        return [Path(entry.path) for entry in os.scandir(self._root) if len(entry.name) == 2]

    def _old_names(self, folder: Path) -> list[str]:
        return [name for name in os.listdir(folder) if name[3:15] != self._start]


def _open_and_read(path: Path, offset: int, size: int, wanted: int) -> tuple[int, bytes]:
    """Return an open file and what stands at a place of it.

    Raises: EOFError: it does not have the `wanted` bytes there.
    """
    fd = open_regular(path)
    try:
        present = os.fstat(fd).st_size
        if present < offset + wanted:
            raise EOFError(f"it ends at byte {present}, before {offset + wanted}")
        return fd, os.pread(fd, size, offset)
    except BaseException:
        os.close(fd)
        raise


def open_regular(path: Path) -> int:
    """Open a file for reading and return its descriptor; a symbolic link is not followed (OSError).

    Without blocking: a pipe that was put in the place of a file would wait for its writer.
    """
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _full_or(error: OSError) -> Exception:
    return StoreFull(f"the disk has no room for it: {error}") if error.errno in _FULL else error


def sync_folder(directory: Path) -> None:
    """Make the names in a folder as durable as the files' contents."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
