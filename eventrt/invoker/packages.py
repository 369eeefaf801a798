"""The code of functions: archives and what was unpacked from them, named by their contents; and folders in place.

Under `code/` in the data directory: `archives/<sha256>.zip` as it was uploaded, `folders/<sha256>/` as it runs,
`staging/` for what is not finished. A folder or an archive comes to its name by a rename, so it is whole or not
there; with a power-safe store it is synced before. The same archive uploaded twice is kept once.

What no function uses any more is cleared away after GRACE_S, for an invocation that began before may still run
and import from it; and at the next start, when nothing runs yet. Disk work is done in threads, never on the loop.
"""

import base64
import contextlib
import ctypes
import errno
import hashlib
import hmac
import math
import os
import secrets
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core.function_rules import TIMEOUT_LIMIT_S
from eventrt.core.functions import CodePackage
from eventrt.errors import ConfigurationError, StoreFull
from eventrt.invoker.functions import CODE
from eventrt.invoker.unpack import unpack
from eventrt.store.api import Store

T = TypeVar("T")

GRACE_S = TIMEOUT_LIMIT_S + 60.0
"""How long (real seconds) unused code stays: longer than any invocation that began with it can run."""

LINK_LIFE_S = 600.0
"""How long (on the clock) a link to a function's code is good for, as on AWS."""

_SYNC_ONE_BY_ONE = 64
_SKIPPED_FOLDERS = frozenset({"__pycache__", ".git", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LOG = structlog.get_logger("eventrt.functions")


class Packages:
    """The code folders of one data directory.

    Args:
        directory: the data directory.
        clock: what the life of a link is measured by.
        grace_s: see GRACE_S.
    """

    def __init__(self, directory: Path, *, clock: Clock, grace_s: float = GRACE_S) -> None:
        self._root = directory.absolute() / "code"
        self._archives = self._root / "archives"
        self._folders = self._root / "folders"
        self._staging = self._root / "staging"
        self._clock = clock
        self._grace_s = grace_s
        self._in_work: Counter[str] = Counter()
        self._unused_since: dict[str, float] = {}
        self._limiter = anyio.CapacityLimiter(4)
        self._link_key = secrets.token_bytes(32)

    # -- uploads

    @asynccontextmanager
    async def adding(self, archive: bytes) -> AsyncIterator[CodePackage]:
        """Keep an archive and unpack it; inside the block the package stays, though no function uses it yet.

        Whoever keeps a function that uses it does so inside the block. Left over, it is cleared away later.

        Raises:
            Refused: the archive is damaged or dangerous, or its contents are too large.
            StoreFull: the disk has no room.
        """
        digest = await self._in_thread(lambda: hashlib.sha256(archive).digest())
        name = digest.hex()
        self._in_work[name] += 1
        try:
            try:
                await self._in_thread(lambda: self._keep(name, archive))
            except OSError as error:
                if error.errno in _FULL:
                    raise StoreFull(f"the disk has no room for the function's code: {error}") from error
                raise
            yield CodePackage(
                sha256=base64.b64encode(digest).decode(),
                size_bytes=len(archive),
                folder=str(self._folders / name),
                archive=name,
            )
        finally:
            self._in_work[name] -= 1
            if not self._in_work[name]:
                del self._in_work[name]

    def _keep(self, name: str, archive: bytes) -> None:
        """Put the archive and its folder to their names (in a thread)."""
        folder, kept = self._folders / name, self._archives / f"{name}.zip"
        for directory in (self._archives, self._folders, self._staging):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not folder.exists():
            staged = self._staging / secrets.token_hex(16)
            staged.mkdir(mode=0o700)
            try:
                unpacked = staged / "folder"
                unpacked.mkdir()
                unpack(archive, unpacked)
                (staged / "archive").write_bytes(archive)
                # Whatever the store's durability: a folder that lost its files would count as kept for good.
                _sync_tree(staged)
                (staged / "archive").replace(kept)
                try:
                    unpacked.rename(folder)
                except OSError as error:  # another upload of the same archive was faster
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                else:
                    folder.chmod(0o555)  # code is read-only, as on AWS
            finally:
                _remove_tree(staged)
        for directory in (self._archives, self._folders, self._root, self._root.parent):
            _sync(directory)

    # -- folders in place

    async def describe_folder(self, folder: Path) -> CodePackage:
        """Return the package of a folder whose files are used in place; its hash covers names, modes, contents.

        Raises: ConfigurationError: there is no such folder, or it cannot be read.
        """
        return await self._in_thread(lambda: _describe_folder(folder))

    # -- downloads

    def link_token(self, code: CodePackage) -> str:
        """Return a token that opens this code for LINK_LIFE_S; it cannot be guessed or changed."""
        what = f"{int(self._clock.now() + LINK_LIFE_S)}:{code.archive or ''}:{code.folder}".encode()
        seal = hmac.digest(self._link_key, what, "sha256")[:16]
        return base64.urlsafe_b64encode(seal + what).decode().rstrip("=")

    async def open_archive(self, token: str) -> bytes | None:
        """Return the archive that a token opens, a folder's packed on the spot; None when it opens nothing."""
        try:
            sealed = base64.urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            return None
        seal, what = sealed[:16], sealed[16:]
        if not hmac.compare_digest(seal, hmac.digest(self._link_key, what, "sha256")[:16]):
            return None
        until, archive, folder = what.decode().split(":", 2)
        if self._clock.now() > int(until):
            return None
        try:
            if archive:
                return await self._in_thread((self._archives / f"{archive}.zip").read_bytes)
            return await self._in_thread(lambda: _pack_folder(Path(folder)))
        except FileNotFoundError:
            return None

    # -- clearing away

    async def run(self, store: Store, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Clear what a former daemon left, report started, then clear what falls out of use, until cancelled."""
        with store.watch(CODE) as bell:
            await self._in_thread(lambda: _remove_tree(self._staging))
            await self.clear(store, grace_s=0.0)
            task_status.started()
            while True:
                due_at = min(self._unused_since.values(), default=math.inf) + self._grace_s
                with anyio.move_on_at(due_at):
                    await bell.wait()
                await self.clear(store, grace_s=self._grace_s)

    async def clear(self, store: Store, *, grace_s: float) -> None:
        """Note what no function uses now, and remove what nobody has used for `grace_s`."""
        present = await self._in_thread(lambda: set(_names(self._folders)) | set(_names(self._archives)))
        used = await store.read(lambda tx: tx.functions.archives())
        unused = present - used - self._in_work.keys()
        now = anyio.current_time()
        self._unused_since = {name: self._unused_since.get(name, now) for name in unused}
        expired = [name for name, since in self._unused_since.items() if since + grace_s <= now]
        # Renamed here on the loop, with no await since `used` was read: no function can come in between, and an
        # upload of the same archive finds the folder whole or not at all.
        trash = [self._retire(name) for name in expired]
        if trash:
            await self._in_thread(lambda: _remove_trees(trash))
            _LOG.debug("code.cleared", archives=expired)

    def _retire(self, name: str) -> Path:
        del self._unused_since[name]
        trash = self._staging / secrets.token_hex(16)
        trash.mkdir(mode=0o700, parents=True)
        folder = self._folders / name
        with contextlib.suppress(FileNotFoundError):
            folder.chmod(0o700)  # a folder that is not writable cannot be moved either
            folder.rename(trash / "folder")
        with contextlib.suppress(FileNotFoundError):
            (self._archives / f"{name}.zip").rename(trash / "archive")
        return trash

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _names(directory: Path) -> Iterator[str]:
    """Name the archives that have something in `directory`."""
    if directory.is_dir():
        yield from (entry.name.removesuffix(".zip") for entry in os.scandir(directory))


def _remove_trees(folders: Sequence[Path]) -> None:
    for folder in folders:
        _remove_tree(folder)


def _remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, writable or not; nothing happens when it is not there."""
    if not folder.is_dir():
        return
    for directory, _, _ in os.walk(folder):
        os.chmod(directory, 0o700)
    shutil.rmtree(folder)


# -- what is on disk stays there


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_tree(folder: Path) -> None:
    """Return once all of a folder is on disk: file by file when they are few, else its whole file system."""
    paths = [folder]
    for directory, folders, files in os.walk(folder):
        paths += [Path(directory, name) for name in (*folders, *files)]
        if len(paths) > _SYNC_ONE_BY_ONE:
            _sync_file_system(folder)
            return
    for path in paths:
        if not path.is_symlink():
            _sync(path)


def _sync_file_system(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    finally:
        os.close(fd)


# -- folders in place


def _files_of(folder: Path) -> Iterator[tuple[str, Path, os.stat_result]]:
    """Yield (name, path, state) of all files and links of a folder in a stable order, without caches."""
    for directory, folders, files in os.walk(folder):
        links = [name for name in folders if Path(directory, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS)
        for name in sorted((*files, *links)):
            path = Path(directory, name)
            state = path.lstat()
            if stat.S_ISREG(state.st_mode) or stat.S_ISLNK(state.st_mode):
                yield path.relative_to(folder).as_posix(), path, state


def _describe_folder(folder: Path) -> CodePackage:
    if not folder.is_dir():
        raise ConfigurationError(f"the code folder {folder} is not a folder; name one that holds the handler")
    digest, size_bytes = hashlib.sha256(), 0
    try:
        for name, path, state in _files_of(folder):
            is_link = stat.S_ISLNK(state.st_mode)
            kind = "l" if is_link else "x" if state.st_mode & 0o111 else "f"
            content = os.fsencode(os.readlink(path)) if is_link else path.read_bytes()
            digest.update(f"{kind}{len(name)}:{name}{len(content)}:".encode(errors="surrogateescape"))
            digest.update(content)
            size_bytes += len(content)
    except OSError as error:
        raise ConfigurationError(f"the code folder {folder} cannot be read: {error}") from error
    sha256 = base64.b64encode(digest.digest()).decode()
    return CodePackage(sha256=sha256, size_bytes=size_bytes, folder=str(folder.absolute()))


def _pack_folder(folder: Path) -> bytes:
    """Return a zip of a folder's files as they are now."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for name, path, state in _files_of(folder):
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            entry.external_attr = (state.st_mode & 0xFFFF) << 16
            is_link = stat.S_ISLNK(state.st_mode)
            content = os.fsencode(os.readlink(path)) if is_link else path.read_bytes()
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
