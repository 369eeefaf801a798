"""The two ways a daemon's life ends under load: `kill -9`, and a power cut; and clients that stand still meanwhile."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from tests.bench.process import SHARED
from tests.torture.power import Cut, PowerDisk
from tests.torture.scene import Scene

_WRITE = 2
"""SYNC_FILE_RANGE_WRITE: begin to write what is dirty, without a flush (sync_file_range(2))."""


class Outage(Protocol):
    """Ends the daemon's life, and gives it the next one."""

    name: str

    def strike(self) -> None:
        """End the life, as suddenly as this outage does."""
        ...

    def recover(self) -> float:
        """Start the daemon on what is left; return the seconds until it was ready."""
        ...

    def close(self) -> None:
        """Let go of what the outage needs."""
        ...


class Kill:
    """`kill -9`: what the daemon wrote is with the kernel and stays."""

    name = "kill"

    def __init__(self, scene: Scene) -> None:
        self._daemon = scene.daemon

    def strike(self) -> None:
        """Kill the daemon."""
        self._daemon.kill()

    def recover(self) -> float:
        """Start it again."""
        return self._daemon.start()

    def close(self) -> None:
        """Nothing is held."""


class PowerCut:
    """A power cut: what was not synced is lost, and each cut proves that it is.

    A thread does what the kernel does whenever it likes: it begins to write dirty files back, without a flush, and
    lets the file system commit its journal.
    """

    name = "power cut"

    def __init__(self, scene: Scene, disk: PowerDisk) -> None:
        self._daemon, self._disk, self._books = scene.daemon, disk, scene.books
        self._rng = random.Random(scene.rng.random())
        self._number = 0
        self.cuts: list[Cut] = []
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        self._over = threading.Event()
        self._is_on = threading.Lock()
        self._proof = _proof(0)
        self._put("synced", sync=True)
        self._writing_back = threading.Thread(
            target=self._write_back, args=(random.Random(scene.rng.random()),), daemon=True
        )
        self._writing_back.start()

    def strike(self) -> None:
        """Cut the power, then kill the daemon and all it started: they died with the machine."""
        self._number += 1
        with self._is_on:
            self._put("unsynced", sync=False)
            if self._rng.random() < 0.5:
                self._begin_writing(self._rng)
                time.sleep(self._rng.uniform(0, 0.01))
            self.cuts.append(self._disk.cut(self._rng))
            self._daemon.kill()
            for pid in self._daemon.leftovers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._disk.replace()
            self._check_proof()
            self._proof = _proof(self._number)
            self._put("synced", sync=True)

    def recover(self) -> float:
        """See that the database is whole, and start the daemon on what the disk holds."""
        self._check_database()
        return self._daemon.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._writing_back.join()

    def told(self) -> str:
        """Return what the cuts met, for the report."""
        met = sum(cut.unflushed for cut in self.cuts)
        kept = sum(cut.kept for cut in self.cuts)
        return (
            "every cut lost an unsynced file and kept a synced one; "
            f"{met} blocks were in the disk's cache, {kept} of them stayed"
        )

    def _check_database(self) -> None:
        """Look at a copy: whoever opens the database itself changes it."""
        with tempfile.TemporaryDirectory(dir=SHARED) as folder:
            for name in ("eventrt.db", "eventrt.db-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(self._daemon.data / name, folder)
            with contextlib.closing(sqlite3.connect(f"{folder}/eventrt.db")) as connection:
                found = connection.execute("PRAGMA integrity_check").fetchone()[0]
        self._books.expect(found == "ok", f"after cut {self._number} the database is not whole: {found}")

    def _put(self, name: str, *, sync: bool) -> None:
        """Write a file that the next cut loses, or one that it keeps: synced now, so that the cut finds no flush."""
        with (self._disk.folder / name).open("wb") as file:
            file.write(self._proof)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if sync:
            fd = os.open(self._disk.folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    def _check_proof(self) -> None:
        synced, unsynced = self._disk.folder / "synced", self._disk.folder / "unsynced"
        is_there = synced.exists() and synced.read_bytes() == self._proof
        self._books.expect(is_there, f"cut {self._number} lost what was synced: it proves nothing")
        is_gone = not unsynced.exists() or unsynced.stat().st_size == 0
        self._books.expect(is_gone, f"cut {self._number} kept what was not synced: it proves nothing")
        synced.unlink(missing_ok=True)
        unsynced.unlink(missing_ok=True)

    def _write_back(self, rng: random.Random) -> None:
        while not self._over.wait(rng.uniform(0.01, 0.15)):
            with self._is_on, contextlib.suppress(OSError):
                self._begin_writing(rng)
                if rng.random() < 0.5:
                    fd = os.open(self._disk.folder / "ticking", os.O_WRONLY | os.O_CREAT)
                    os.write(fd, b"tick")
                    os.fsync(fd)
                    os.close(fd)

    def _begin_writing(self, rng: random.Random) -> None:
        """Have some of what is dirty in the daemon's files written, without a flush."""
        for path in self._daemon.data.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and _is_fresh(path) and rng.random() < 0.7:
                    fd = os.open(path, os.O_RDONLY)
                    self._libc.sync_file_range(fd, 0, 0, _WRITE)
                    os.close(fd)


def _proof(number: int) -> bytes:
    return f"after cut {number} ".encode() * 10_000


def _is_fresh(path: Path) -> bool:
    return path.stat().st_mtime > time.time() - 10 and not path.name.endswith("-shm")


class Gate:
    """Lets clients stand still while somebody looks: each step of theirs passes it."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._locks: list[threading.Lock] = []

    def passing(self, step: Callable[[], None]) -> Callable[[], None]:
        """Return the step as one that waits while the gate is closed."""
        lock = threading.Lock()
        self._locks.append(lock)

        def passed() -> None:
            if self._closed.is_set():
                time.sleep(0.01)
                return
            with lock:
                if not self._closed.is_set():
                    step()

        return passed

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Have no step under way for the length of a `with` block; steps under way end first."""
        self._closed.set()
        with contextlib.ExitStack() as held:
            for lock in self._locks:
                held.enter_context(lock)
            yield
        self._closed.clear()
