"""Buckets over folders: the files of a folder are the objects, whoever wrote them.

A file that appears, changes or vanishes raises the same events as an object put or deleted through the API; also
when that happened while nobody watched. What the API stores becomes a file in the same unit of work. A file counts
once nobody has written to it for SETTLE_S, and holds up no other until then; its row remembers size and modification
time, so that a file is read and hashed once. Symbolic links are no objects, and nothing is read, written or deleted
through one: they may lead out of the folder. inotify comes through `watchfiles`, from the extra `files`.
"""

import contextlib
import hashlib
import mimetypes
import os
import re
import secrets
import stat
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core.buckets import Body, Bucket, ObjectDraft, ObjectVersion
from eventrt.core.object_rules import S3Refused, invalid_argument, no_such_key
from eventrt.errors import ConfigurationError
from eventrt.sources.buckets import Buckets, own_act
from eventrt.store.api import Store, Tx
from eventrt.store.blobs import Blobs, open_regular, sync_folder

T = TypeVar("T")

SETTLE_S = 0.3
"""How long (real seconds) a file must be left alone before it counts."""

PATIENCE_S = 1.0
"""How long (real seconds) a reader waits for a file that somebody writes to."""

STAGED = ".eventrt-"
"""What the names of files in the making begin with; such files are no objects."""

_STAGED_NAME = re.compile(rf"{re.escape(STAGED)}[0-9a-f]{{24}}")

_PAGE = 1000
_READ_BYTES = 1024 * 1024
_WATCHER = "AWS:eventrt"
"""Who made it happen, in the events of files."""

_LOG = structlog.get_logger("eventrt.buckets")

Watch = Callable[[Path, anyio.Event], AsyncIterator[set[str]]]
"""Yield the paths below a folder that something happened to, in bunches, until the event is set."""


@dataclass(frozen=True, slots=True)
class _File:
    stamp: int
    size: int


class _News:
    """What happened to a folder and was not looked at yet.

    `unsettled` are the keys of files that somebody writes to -> when to look again (`time.monotonic`).
    """

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.unsettled: dict[str, float] = {}
        self._bell = anyio.Event()

    def add(self, paths: set[str]) -> None:
        """Note paths that something happened to."""
        self.paths |= paths
        self._bell.set()

    async def wait(self) -> None:
        """Return when there is something to look at."""
        if not self.paths:
            self._bell = anyio.Event()
            moment = min(self.unsettled.values(), default=None)
            with anyio.move_on_after(None if moment is None else max(0.0, moment - time.monotonic())):
                await self._bell.wait()

    def take(self) -> tuple[set[str], list[str]]:
        """Return the paths that something happened to, and the keys to be looked at again."""
        paths, self.paths = self.paths, set()
        now = time.monotonic()
        keys = sorted(key for key, moment in self.unsettled.items() if moment <= now)
        for key in keys:
            del self.unsettled[key]
        return paths, keys


class Folders:
    """The buckets over folders.

    Args: watch: told in tests; None is inotify.
    """

    def __init__(self, store: Store, clock: Clock, blobs: Blobs, shelf: Buckets, *, watch: Watch | None = None) -> None:
        self._store = store
        self._clock = clock
        self._blobs = blobs
        self._shelf = shelf
        self._watch = watch
        self._busy: Counter[tuple[int, str]] = Counter()
        self._is_used = False

    # -- the API's side

    def path(self, bucket: Bucket, key: str) -> Path:
        """Return the file of a key.

        Raises: S3Refused: no file can be called so.
        """
        parts = key.split("/")
        if any(part in ("", ".", "..") or len(part.encode()) > 255 or "\x00" in part for part in parts):
            raise invalid_argument(
                f"The bucket {bucket.name} is a folder, and no file in it can have this key.", "Key", key
            )
        if any(part.startswith(STAGED) for part in parts):
            raise invalid_argument(f"Keys that begin with {STAGED} are those of files in the making.", "Key", key)
        return Path(bucket.folder, *parts)

    def staged_path(self, bucket: Bucket, key: str) -> Path:
        """Return where the file of a key may be written before it is moved to its place."""
        self.path(bucket, key)
        return Path(bucket.folder) / f"{STAGED}{secrets.token_hex(12)}"

    async def place(self, bucket: Bucket, key: str, staged: Path, unit: Callable[[Tx], T]) -> T:
        """Run a unit that stores an object, moving its file to its place as the unit's last act; return its value.

        Raises: S3Refused: a folder of the key's name, or a file of its folder's name, is in the way.
        """
        target = self.path(bucket, key)

        def both(tx: Tx) -> T:
            value = unit(tx)
            try:
                staged.replace(target)
            except FileNotFoundError:  # a deletion took the folder away with its last file
                target.parent.mkdir(parents=True, exist_ok=True)
                staged.replace(target)
            return value

        def make_room() -> None:
            if _is_through_a_link(bucket, key):
                raise FileExistsError
            target.parent.mkdir(parents=True, exist_ok=True)

        with self._working_on(bucket, [key]):
            try:
                await self._blobs.in_thread(make_room)
                value = await self._store.write(both)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise invalid_argument(
                    f"In the folder of {bucket.name} something else is in the way.", "Key", key
                ) from error
            if self._blobs.is_power_safe:
                await self._blobs.in_thread(lambda: _sync_names(Path(bucket.folder), [target]))
        return value

    async def deleting(self, name: str, keys: Sequence[str], unit: Callable[[Tx], T]) -> T:
        """Run a unit that deletes objects and return its value; of a bucket over a folder the files go, too.

        The file of an object that is still there afterwards stays: its deletion was refused, or was of no version.
        """
        bucket = await self._store.read(lambda tx: tx.buckets.find(name)) if self._is_used else None
        if bucket is None or not bucket.folder:
            return await self._store.write(unit)

        def both(tx: Tx) -> tuple[T, list[str]]:
            value = unit(tx)
            return value, [key for key in keys if tx.objects.current(bucket, key) is None]

        with self._working_on(bucket, keys):
            value, gone = await self._store.write(both)
            await self._blobs.in_thread(lambda: self._unlink(bucket, gone))
        return value

    def _unlink(self, bucket: Bucket, keys: Sequence[str]) -> None:
        gone: list[Path] = []
        for key in keys:
            try:
                target = self.path(bucket, key)
                if self._look(bucket, key) is None:
                    continue  # not there, or no object: a link, or a folder
                target.unlink()
                gone.append(target)
                for folder in target.relative_to(bucket.folder).parents:
                    if str(folder) != ".":
                        (Path(bucket.folder) / folder).rmdir()
            except (OSError, S3Refused):
                continue  # not there any more, or a folder with other files in it
        if self._blobs.is_power_safe:
            _sync_names(Path(bucket.folder), gone)

    @contextmanager
    def _working_on(self, bucket: Bucket, keys: Sequence[str]) -> Iterator[None]:
        """Keep the watcher from looking at files that the API is changing."""
        held = [(bucket.id, key) for key in keys]
        self._busy.update(held)
        try:
            yield
        finally:
            for one in held:
                self._busy[one] -= 1
                if not self._busy[one]:
                    del self._busy[one]

    async def fresh(self, bucket: Bucket, version: ObjectVersion) -> tuple[Bucket, ObjectVersion]:
        """Return a version as its file is now.

        Raises: S3Refused: NoSuchKey: the file is gone. ServiceUnavailable: somebody keeps writing to it.
        """
        found = await self._blobs.in_thread(lambda: self._look(bucket, version.key))
        if found == _File(version.file_stamp, version.size):
            return bucket, version
        give_up_at = time.monotonic() + PATIENCE_S
        while wait_s := await self._refresh(bucket, version.key):
            if time.monotonic() + wait_s > give_up_at:
                raise S3Refused("ServiceUnavailable", "The file is being written. Please try again.", status=503)
            await anyio.sleep(wait_s)
        current = await self._store.read(lambda tx: tx.objects.current(bucket, version.key))
        if current is None:
            raise no_such_key(version.key)
        return bucket, current

    # -- the folder's side

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Look at every folder, then watch it, until cancelled.

        Raises: ConfigurationError: the extra `files` is not installed.
        """
        buckets = [bucket for bucket in await self._store.read(lambda tx: tx.buckets.every()) if bucket.folder]
        self._is_used = bool(buckets)
        watch = self._watch or (_inotify() if buckets else None)
        async with anyio.create_task_group() as group:
            for bucket in buckets:
                assert watch is not None
                await self._blobs.in_thread(partial(_prepare, Path(bucket.folder)))
                group.start_soon(self._follow, bucket, watch)
            task_status.started()

    async def _follow(self, bucket: Bucket, watch: Watch) -> None:
        """Look at a folder whole, then at what changes in it; what changes during the first look is seen after it."""
        root, news = Path(bucket.folder), _News()
        end = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(self._set_at_the_end, end)
            group.start_soon(self._collect, watch(root, end), news)
            with self._clock.working():
                await self._scan(bucket, news)
            while True:
                await news.wait()
                with self._clock.working():
                    paths, keys = news.take()
                    await self._visit(bucket, paths, news)
                    for key in keys:
                        await self._take_in(bucket, key, news)

    async def _set_at_the_end(self, end: anyio.Event) -> None:
        """Tell the watching thread, which no cancellation reaches, that it is over."""
        try:
            await anyio.sleep_forever()
        finally:
            end.set()

    async def _collect(self, changes: AsyncIterator[set[str]], news: _News) -> None:
        async for paths in changes:
            news.add(paths)

    async def _visit(self, bucket: Bucket, paths: set[str], news: _News) -> None:
        root = Path(bucket.folder)
        for text in sorted(paths):
            path = Path(text)
            try:
                key = path.relative_to(root).as_posix()
            except ValueError:
                continue
            if key == ".":
                await self._scan(bucket, news)
                continue
            if any(part.startswith(STAGED) for part in key.split("/")):
                continue
            if await self._blobs.in_thread(partial(_is_folder, bucket, key)):
                await self._scan(bucket, news, f"{key}/")
                continue
            await self._take_in(bucket, key, news)
            # It may have been a folder, moved away with all that was in it.
            async for version in self._rows(bucket, f"{key}/"):
                await self._take_in(bucket, version.key, news)

    async def _scan(self, bucket: Bucket, news: _News, prefix: str = "") -> None:
        """Compare a folder with what is known of it, and take in what differs."""
        found = await self._blobs.in_thread(lambda: self._walk(bucket, prefix))
        known: set[str] = set()
        async for version in self._rows(bucket, prefix):
            known.add(version.key)
            if found.get(version.key) != _File(version.file_stamp, version.size):
                await self._take_in(bucket, version.key, news)
        for key in sorted(found.keys() - known):
            await self._take_in(bucket, key, news)

    async def _take_in(self, bucket: Bucket, key: str, news: _News) -> None:
        """Take in one file; one that is still written is looked at again later, and holds up no other."""
        if wait_s := await self._refresh(bucket, key):
            news.unsettled[key] = time.monotonic() + wait_s

    async def _rows(self, bucket: Bucket, prefix: str) -> AsyncIterator[ObjectVersion]:
        after = ""
        while True:
            page = await self._store.read(
                lambda tx, after=after: tx.objects.list_current(  # type: ignore[misc]
                    bucket, prefix=prefix, delimiter="", after=after, limit=_PAGE
                )
            )
            for version in page.entries:
                yield version
            if not page.next_key:
                return
            after = page.next_key

    def _walk(self, bucket: Bucket, prefix: str) -> dict[str, _File]:
        root = Path(bucket.folder)
        found: dict[str, _File] = {}
        for folder, folders, files in os.walk(root / prefix):
            folders[:] = [name for name in folders if not name.startswith(STAGED)]
            for name in files:
                if name.startswith(STAGED):
                    continue
                key = Path(folder, name).relative_to(root).as_posix()
                looked = self._look(bucket, key)
                if looked is not None:
                    found[key] = looked
        return found

    def _look(self, bucket: Bucket, key: str) -> _File | None:
        """Return stamp and size of a key's file, None when there is none (or a link, or a name that is not UTF-8)."""
        try:
            key.encode()
            status = self.path(bucket, key).lstat()
            if _is_through_a_link(bucket, key):
                return None
        except (OSError, S3Refused, UnicodeEncodeError):
            return None
        return _File(status.st_mtime_ns, status.st_size) if stat.S_ISREG(status.st_mode) else None

    async def _refresh(self, bucket: Bucket, key: str) -> float:
        """Take in one file as it is now: new, changed or gone; each raises its event, in one unit with the row.

        Returns 0.0 when that is done; while somebody writes to the file, how long (real seconds) to leave it alone.
        """
        if (bucket.id, key) in self._busy:
            return 0.0
        looked = await self._blobs.in_thread(lambda: self._look(bucket, key))
        if looked is None:
            await self._store.write(lambda tx: self._vanished(tx, bucket, key))
            return 0.0
        present = await self._store.read(lambda tx: tx.objects.current(bucket, key))
        if present is not None and looked == _File(present.file_stamp, present.size):
            return 0.0
        age_s = time.time() - looked.stamp / 1e9
        if 0 <= age_s < SETTLE_S:
            return SETTLE_S - age_s
        began_at = time.monotonic()
        md5 = await self._blobs.in_thread(lambda: self._hash(bucket, key))
        if md5 is None or await self._blobs.in_thread(lambda: self._look(bucket, key)) != looked:
            # A large file that grows in leaps is not read all the time.
            return max(SETTLE_S, time.monotonic() - began_at)
        content_type = mimetypes.guess_type(key)[0] or "binary/octet-stream"
        draft = ObjectDraft(
            key,
            Body(looked.size),
            md5,
            headers={"Content-Type": content_type},
            file_stamp=looked.stamp,
        )
        await self._store.write(lambda tx: self._appeared(tx, bucket, draft))
        return 0.0

    def _appeared(self, tx: Tx, bucket: Bucket, draft: ObjectDraft) -> None:
        now = tx.buckets.find(bucket.name)
        if now is None or (bucket.id, draft.key) in self._busy:
            return
        present = tx.objects.current(now, draft.key)
        if present is not None and present.etag == draft.etag and present.size == draft.body.size:
            tx.objects.change(present, file_stamp=draft.file_stamp)  # touched, not changed
            return
        if present is not None:
            draft = draft._replace(headers=present.headers)
        self._shelf.put(tx, now, draft, "s3:ObjectCreated:Put", own_act(_WATCHER))
        _LOG.debug("file.appeared", bucket=bucket.name, key=draft.key)

    def _vanished(self, tx: Tx, bucket: Bucket, key: str) -> None:
        now = tx.buckets.find(bucket.name)
        if now is None or (bucket.id, key) in self._busy or tx.objects.current(now, key) is None:
            return
        self._shelf.delete(tx, now, key, None, own_act(_WATCHER))
        _LOG.debug("file.vanished", bucket=bucket.name, key=key)

    def _hash(self, bucket: Bucket, key: str) -> str | None:
        md5 = hashlib.md5(usedforsecurity=False)
        try:
            with os.fdopen(open_regular(self.path(bucket, key)), "rb") as file:
                while piece := file.read(_READ_BYTES):
                    md5.update(piece)
        except OSError:
            return None
        return md5.hexdigest()


def _prepare(folder: Path) -> None:
    """Have a folder, without the files that a killed daemon was writing there."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in os.scandir(folder):
        if _STAGED_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)


def _is_through_a_link(bucket: Bucket, key: str) -> bool:
    """Is one of the folders between the bucket's own and a key's file a symbolic link?"""
    path = Path(bucket.folder)
    for part in key.split("/")[:-1]:
        path /= part
        if path.is_symlink():
            return True
    return False


def _is_folder(bucket: Bucket, key: str) -> bool:
    """Is there a folder of this name, and no symbolic link on the way to it or in its place?"""
    return Path(bucket.folder, key).is_dir() and not _is_through_a_link(bucket, f"{key}/")


def _inotify() -> Watch:
    """Return a watch on a folder through `watchfiles`; where the kernel has no inotify to give, it is looked at often.

    Raises: ConfigurationError: the extra is not installed.
    """
    try:
        from watchfiles import awatch
    except ImportError as error:
        raise ConfigurationError("buckets over folders need watchfiles: pip install 'eventrt[files]'") from error

    async def watch(folder: Path, end: anyio.Event) -> AsyncIterator[set[str]]:
        for is_polling in (None, True):
            try:
                async for changes in awatch(
                    folder,
                    watch_filter=None,
                    debounce=200,
                    step=20,
                    rust_timeout=60_000,
                    stop_event=end,
                    force_polling=is_polling,
                ):
                    yield {path for _, path in changes}
            except (RuntimeError, OSError) as error:  # its own errors are RuntimeErrors
                if is_polling:
                    raise
                _LOG.warning("folder.polled", folder=str(folder), error=str(error))
            else:
                return

    return watch


def _sync_names(root: Path, targets: Sequence[Path]) -> None:
    """Make it durable that these files below `root` are there, or gone: their folders, and the folders of those."""
    folders = {folder for target in targets for folder in target.parents if folder.is_relative_to(root)}
    for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(FileNotFoundError):  # it went with its last file
            sync_folder(folder)
