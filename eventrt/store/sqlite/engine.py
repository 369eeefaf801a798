"""The writing connection: units of work on the loop, one commit for many of them, answers after the commit.

Units run on the event loop, inside one open transaction with a savepoint each; the commit follows at the end of
the loop's turn. With `durability="process"` that is all: the commit is in the kernel's hands and survives a
kill. With `durability="power"` a thread then syncs the write-ahead log, and answers wait for that; units that
arrive meanwhile gather in the next transaction. So the loop never waits for the disk and the connection is never
used by two threads at once (docs/decisions/0001-units-on-the-loop.md).

The checkpoint, the one long call, is due when the log holds CHECKPOINT_BYTES more than after the last one, also under
a load that never pauses. Most of it, the folding, is done by a connection and a thread of its own beside the units; for
what was written meanwhile, a small part, the units wait at the door. The log's file is then written anew from its
beginning rather than cut off, since a file that does not grow is synced in two thirds of the time. A checkpoint is
also due after a sync that failed: a log with a hole in it is not read beyond the hole, so what was committed must
reach the database itself before anything more is promised; units wait for the whole of that one.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Generic, Literal, TypeVar

import structlog

from eventrt.clock import Clock
from eventrt.errors import CommitLost, StartupError, StoreClosed, StoreCorrupt, StoreFull
from eventrt.store.api import Topic
from eventrt.store.sqlite.disk import DiskThread

T = TypeVar("T")
TxT = TypeVar("TxT", bound="StampedTx")
Durability = Literal["power", "process"]

CHECKPOINT_BYTES = 16 * 1024 * 1024
"""The log is folded back into the database once it has grown by so much."""

_REMAINDER_BYTES = 2 * 1024 * 1024
"""Units wait while so much of the log is folded in, some milliseconds; more than that is folded beside them first."""

_FOLDS = 4
"""So many times the log is folded beside units that write as fast as it is folded; then they wait."""

_FRAME_BYTES = 4096 + 24
_FULL_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
_DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_CHECKED_BYTES = 16 * 1024 * 1024
"""A database up to this size is checked whole at start (some 20 ms); a larger one as its pages are read."""

_LOG = structlog.get_logger("eventrt.store")


class StampedTx:
    """What a unit of work is given; `now` is set anew for each unit."""

    now: float = 0.0


class Unit:
    """The mutable side of one running unit: what to do once it is committed."""

    __slots__ = ("callbacks", "topics", "undo")

    def __init__(self) -> None:
        self.topics: list[Topic] = []
        self.callbacks: list[Callable[[], None]] = []
        self.undo: list[Callable[[], None]] = []


class BellWatch:
    """A bell for one topic (see `store.api.Watch`)."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Let the present or the next `wait` return."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the bell was rung since the last return."""
        await self._event.wait()
        self._event.clear()


class Engine(Generic[TxT]):
    """One SQLite database with group commit; repositories run their SQL through `connection`.

    Args:
        directory: the data directory; made with mode 0700 when missing, and locked against a second daemon.
        durability: "power" answers after the log is synced, "process" after the commit.
    """

    def __init__(self, directory: Path, *, clock: Clock, durability: Durability) -> None:
        self.directory = directory
        self.path = directory / "eventrt.db"
        self.clock = clock
        self.durability: Durability = durability
        self.connection: sqlite3.Connection
        self.tx: TxT
        """What units are called with; set once by `SqliteStore`."""
        self.before_commit: list[Callable[[], None]] = []
        """Called inside the transaction, just before each commit: repositories flush their tallies here."""
        self.after_rollback: list[Callable[[], None]] = []
        """Called when a whole group was lost: repositories drop what they hold in memory and read it anew."""
        self._unit = Unit()
        self._group: list[Unit] = []
        self._secured = False
        """Has the running unit a savepoint? If not, `_changes_before` tells whether it has written."""
        self._changes_before = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._unsynced: list[asyncio.Future[None]] = []
        self._commit_scheduled = False
        self._occupied: asyncio.Event | None = None
        """Set while a checkpoint has the connection: units wait at the door."""
        self._watches: dict[Topic, list[BellWatch]] = {}
        self._lock_fd = -1
        self._wal_fd = -1
        self._shm_fd = -1
        self._frames_at_checkpoint = 0
        self._closed = False
        self._must_checkpoint = False
        self._folder: sqlite3.Connection
        """Folds the log into the database, in a thread of its own; it reads and writes nothing else."""
        self._folding = DiskThread()
        self._fold: Literal["not due", "runs", "done"] = "not due"
        """Of the log as it is: whether its larger part was folded beside the units."""
        self._folds = 0
        """How often it was, this time."""
        self._folded_frames = 0
        self._disk = DiskThread()
        self._disk_busy = False
        self._disk_idle: asyncio.Event | None = None

    # -- opening and closing

    def open(self) -> None:
        """Lock the directory, open or create the database, migrate it.

        Raises:
            StartupError: the directory is not writable, or another daemon holds it.
            StoreCorrupt: the file is damaged or of a newer program; it is left as it is.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(self.directory, 0o700)
            self._lock_fd = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = "is not writable" if self.directory.is_dir() else "cannot be made"
            raise StartupError(
                f"the data directory {self.directory} {what}: {error.strerror}; choose another with --data-dir",
                exit_code=73,
            ) from error
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_fd)
            raise StartupError(
                f"the data directory {self.directory} is in use by another eventrt; stop it, or choose another "
                "with --data-dir",
                exit_code=75,
            ) from error
        try:
            self._examine()
            self._connect()
        except sqlite3.DatabaseError as error:
            os.close(self._lock_fd)
            if _code(error) not in _DAMAGE_CODES and isinstance(error, sqlite3.OperationalError):
                raise StartupError(f"cannot use the database {self.path}: {error}", exit_code=73) from error
            raise StoreCorrupt(
                f"the database {self.path} is damaged ({error}). Nothing was changed. Restore a copy of the data "
                "directory, or move it away to start empty"
            ) from error
        except BaseException:
            os.close(self._lock_fd)
            raise

    def _examine(self) -> None:
        """Look at a database that is there without touching it: is it whole, and not of a newer program?

        A connection that may not write does not fold the log into the database when it closes either.
        """
        if not self.path.exists():
            return
        connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            # Also the check of a small file reads the schema; a larger one is checked as its pages are read.
            present = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if self.path.stat().st_size <= _CHECKED_BYTES:
                problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if problem != "ok":
                    raise sqlite3.DatabaseError(" ".join(problem.split()))  # one line, as all that ends a start
        finally:
            connection.close()
        newest = _schema_steps()[-1][0]
        if present > newest:
            raise StoreCorrupt(
                f"the database {self.path} has schema {present}, this program knows up to {newest}. "
                "Start a newer eventrt, or choose another --data-dir"
            )

    def _connect(self) -> None:
        self.connection = sqlite3.connect(
            self.path, isolation_level=None, cached_statements=512, check_same_thread=False
        )
        try:
            self.path.chmod(0o600)
            run = self.connection.execute
            run("PRAGMA busy_timeout = 50")
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA synchronous = NORMAL")
            run("PRAGMA wal_autocheckpoint = 0")
            run("PRAGMA cache_size = -32768")
            run("PRAGMA temp_store = MEMORY")
            run("PRAGMA foreign_keys = OFF")
            self._migrate()
            self._sync_directory()
            self._folder = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._folder.execute("PRAGMA synchronous = NORMAL")
            self._folder.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            self.connection.close()
            raise

    def _migrate(self) -> None:
        """Bring the schema to the newest number, each step in a transaction of its own."""
        present = self.connection.execute("PRAGMA user_version").fetchone()[0]
        for number, script in _schema_steps():
            if number > present:
                try:
                    self.connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
                except BaseException:
                    if self.connection.in_transaction:
                        self.connection.execute("ROLLBACK")
                    raise

    def _sync_directory(self) -> None:
        """Make the files' names as durable as their contents, and hold the log open for syncing."""
        self._wal_fd = os.open(f"{self.path}-wal", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        directory_fd = os.open(self.directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(self._wal_fd)
            os.fsync(directory_fd)
        finally:
            os.close(directory_fd)
        self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes sure the log is open
        self._shm_fd = os.open(f"{self.path}-shm", os.O_RDONLY | os.O_CLOEXEC)

    async def close(self) -> None:
        """Commit what is open, fold the log into the database, and let go of the directory."""
        while self._disk_busy or self._fold == "runs" or self.connection.in_transaction:
            self._commit()
            if self._disk_busy or self._fold == "runs":
                self._disk_idle = asyncio.Event()
                await self._disk_idle.wait()
        self._closed = True
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the log stays, and is as good
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._disk.stop()
        self._folding.stop()
        self._folder.close()
        self.connection.close()
        # Only now: closing a file lets go of the locks that SQLite has on it.
        for fd in (self._shm_fd, self._wal_fd, self._lock_fd):
            os.close(fd)

    # -- units of work

    async def write(self, work: Callable[[TxT], T], *, durable: bool = True, secured: bool = True) -> T:
        """Run a unit inside the open transaction; return once it is as durable as asked for.

        Args: secured: see `store.api.Store.write`.
        """
        if self._occupied is not None:
            await self._entrance()
        value = self._run(work, secured=secured)
        if durable:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        return value

    async def read(self, query: Callable[[TxT], T]) -> T:
        """Run a query on the writing connection, between units."""
        if self._occupied is not None:
            await self._entrance()
        if self._closed:
            raise StoreClosed("the store is closed; the daemon is stopping")
        self.tx.now = self.clock.now()
        return query(self.tx)

    async def _entrance(self) -> None:
        while self._occupied is not None:
            await self._occupied.wait()

    def _run(self, work: Callable[[TxT], T], *, secured: bool = True) -> T:
        if self._closed:
            raise StoreClosed("the store is closed; the daemon is stopping")
        connection = self.connection
        unit = self._unit = Unit()
        try:
            self._secured = False
            self._changes_before = connection.total_changes
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
            if secured:
                self.secure()
            self.tx.now = self.clock.now()
            value = work(self.tx)
            if self._secured:
                connection.execute("RELEASE unit")
        except BaseException as error:
            self._undo(error)
            if isinstance(error, sqlite3.DatabaseError) and (reason := _reason(error)) is not None:
                raise reason from error
            raise
        finally:
            # Also after a unit that was rolled back: it may have opened the transaction.
            if not self._commit_scheduled:
                self._commit_scheduled = True
                asyncio.get_running_loop().call_soon(self._commit)
        self._group.append(unit)
        return value

    def _undo(self, error: BaseException) -> None:
        """Roll the unit back; when SQLite dropped the whole transaction, fail the whole group.

        A unit without a savepoint has nothing to roll back, or has broken its promise: then the group is lost with it.
        """
        if self.connection.in_transaction:
            if self._secured:
                try:
                    self.connection.execute("ROLLBACK TO unit")
                    self.connection.execute("RELEASE unit")
                except sqlite3.OperationalError:
                    self._lose_group(error)
                    return
            elif self.connection.total_changes != self._changes_before:
                _LOG.error("store.unit_broke_its_promise", exc_info=error)
                self._lose_group(CommitLost("a unit of the same commit failed after it had written"))
                return
            for take_back in reversed(self._unit.undo):
                take_back()
        else:
            self._lose_group(error)

    def secure(self) -> None:
        """Let the running unit be rolled back alone from here on; a unit that is secured already stays so.

        Too late for one that has written: a savepoint would leave half of it behind, so it goes on without.
        """
        if not self._secured and self.connection.total_changes == self._changes_before:
            self.connection.execute("SAVEPOINT unit")
            self._secured = True

    def announce(self, topic: Topic) -> None:
        """Ring the topic's bell once the running unit is committed."""
        self._unit.topics.append(topic)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the running unit is committed."""
        self._unit.callbacks.append(callback)

    def on_undo(self, callback: Callable[[], None]) -> None:
        """Call back if the running unit is rolled back alone: a repository takes back what it noted in memory.

        When the whole group is lost, `after_rollback` is called instead.
        """
        self._unit.undo.append(callback)

    # -- committing

    def _commit(self) -> None:
        """Close the transaction; not while the thread is at work, so that groups gather meanwhile."""
        self._commit_scheduled = False
        if self._disk_busy or self._closed or not self.connection.in_transaction:
            return
        if self._must_checkpoint and self._fold == "runs":
            return  # the folding ends first, and calls again
        try:
            for flush in self.before_commit:
                flush()
            self.connection.execute("COMMIT")
        except Exception as error:
            # Whatever it is, those who wait get to know it: nothing of this group was kept.
            self._lose_group(error)
            return
        group, self._group = self._group, []
        waiting, self._waiting = self._waiting, []
        if self.durability == "process" and not self._must_checkpoint:
            _resolve(waiting)
            waiting = []
        if self._fold == "not due" and not self._must_checkpoint and self._log_is_long():
            self._folds = 0
            self._fold_beside()
        if self._must_checkpoint or self._fold == "done":
            self._fold = "not due"
            self._occupied = asyncio.Event()
            self._start(waiting, self._checkpoint)
        elif waiting:
            self._start(waiting, self._sync)
        self._tell(group)

    def _tell(self, group: list[Unit]) -> None:
        topics: dict[Topic, None] = {}
        for unit in group:
            for callback in unit.callbacks:
                callback()
            topics.update(dict.fromkeys(unit.topics))
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.ring()

    def _lose_group(self, error: BaseException) -> None:
        """Everything since the last commit is gone: tell those who wait for it, and forget it in memory."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        waiting, self._waiting, self._group = self._waiting, [], []
        _LOG.error("store.group_lost", units=len(waiting), error=str(error))
        for forget in self.after_rollback:
            forget()
        _reject(waiting, (_reason(error) if isinstance(error, sqlite3.Error) else None) or error)

    def _start(self, waiting: list[asyncio.Future[None]], blocking: Callable[[], None]) -> None:
        """Run a blocking call beside the loop; those who wait get their answer when it is done."""
        self._unsynced = waiting
        self._disk_busy = True
        self._disk.run(blocking, self._finished)

    def _sync(self) -> None:
        os.fdatasync(self._wal_fd)

    # -- folding the log into the database

    def _fold_beside(self) -> None:
        """Fold the log, as far as it is committed by now, while units go on."""
        self._fold = "runs"
        self._folds += 1
        self._folding.run(self._fold_committed, self._folded)

    def _fold_committed(self) -> None:
        self._folded_frames = self._folder.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]

    def _folded(self, error: BaseException | None) -> None:
        self._fold = "done"
        if error is not None:
            # The log is whole and on disk, so nobody's answer changes; it is tried again once it has grown.
            _LOG.warning("store.checkpoint_failed", error=str(error))
            self._frames_at_checkpoint = self._log_frames()
            self._fold = "not due"
        elif self._must_checkpoint:
            pass  # units wait for that one: it folds what is left
        elif self._folds < _FOLDS and (self._log_frames() - self._folded_frames) * _FRAME_BYTES > _REMAINDER_BYTES:
            self._fold_beside()
        if self._must_checkpoint:
            self._commit()
        self._rest()

    def _checkpoint(self) -> None:
        """Sync the log and fold it into the database."""
        os.fdatasync(self._wal_fd)
        try:
            busy = self.connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if self._must_checkpoint:
                raise
            # The log is whole and on disk, so nobody's answer changes; it is tried again once it has grown.
            _LOG.warning("store.checkpoint_failed", error=str(error))
            return
        if busy and self._must_checkpoint:
            raise OSError("a reader kept the log from being folded in")

    def _finished(self, error: BaseException | None) -> None:
        self._disk_busy = False
        unsynced, self._unsynced = self._unsynced, []
        was_checkpoint, self._occupied = self._occupied, None
        if error is None:
            _resolve(unsynced)
        else:
            _LOG.error("store.disk_failed", error=str(error))
            _reject(unsynced, StoreFull(f"the disk did not take it: {error}"))
        self._must_checkpoint = error is not None  # a sync failed, also the one that a checkpoint begins with
        if was_checkpoint is not None:
            # One that found no room is tried again when the log has grown further.
            self._frames_at_checkpoint = self._log_frames()
            was_checkpoint.set()
        self._commit()
        self._rest()

    def _rest(self) -> None:
        """Tell `close` when neither thread is at work."""
        if self._disk_idle is not None and not self._disk_busy and self._fold != "runs":
            self._disk_idle.set()
            self._disk_idle = None

    def _log_is_long(self) -> bool:
        frames = self._log_frames()
        if frames < self._frames_at_checkpoint:
            self._frames_at_checkpoint = 0  # the log began anew
        return (frames - self._frames_at_checkpoint) * _FRAME_BYTES > CHECKPOINT_BYTES

    def _log_frames(self) -> int:
        """Return how many pages the log holds, from the log's index in shared memory.

        Source: sqlite.org/walformat.html, "The WAL-Index File Format": mxFrame, in the machine's byte order.
        """
        return int.from_bytes(os.pread(self._shm_fd, 4, 16), sys.byteorder)

    # -- bells

    @contextlib.contextmanager
    def watch(self, topic: Topic) -> Iterator[BellWatch]:
        """Watch a topic for the length of a `with` block."""
        watch = BellWatch()
        self._watches.setdefault(topic, []).append(watch)
        try:
            yield watch
        finally:
            watches = self._watches[topic]
            watches.remove(watch)
            if not watches:
                del self._watches[topic]


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _reject(futures: list[asyncio.Future[None]], error: BaseException) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _reason(error: sqlite3.Error) -> StoreFull | StoreCorrupt | None:
    """Return what an error of SQLite means to a caller; None when it is a defect of ours."""
    if _code(error) in _FULL_CODES:
        return StoreFull(f"the disk has no room for it: {error}")
    if _code(error) in _DAMAGE_CODES:
        return StoreCorrupt(f"the database is damaged: {error}")
    return None


@functools.cache
def _schema_steps() -> list[tuple[int, str]]:
    """Return the numbered scripts of the schema, in order."""
    return [
        (int(match[1]), entry.read_text("utf-8"))
        for entry in sorted(resources.files("eventrt.store.sqlite").joinpath("schema").iterdir(), key=str)
        if (match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name))
    ]
