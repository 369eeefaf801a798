"""A file system whose power can be cut: ext4 on a loop device on a disk that forgets what was not flushed.

What a cut loses is decided where it is on a real machine: what was never written back is lost with the page cache,
what was written but not flushed with the disk's cache (`volatile`), in part and out of order. What is left is an image
as a real disk would hold it; mounting it replays the journal of ext4, as after a real cut.
"""

import contextlib
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.process import REPOSITORY, SHARED
from tests.torture.volatile import FATES, NAME

DISK_MB = 512
ANSWER_LIMIT_S = 20.0
UNMOUNT_LIMIT_S = 10.0


@dataclass(frozen=True)
class Cut:
    """What a power cut did: the fate of what was not flushed, and the blocks it met."""

    fate: str
    unflushed: int
    kept: int


class NoPower(Exception):  # noqa: N818 - the state of a machine
    """Power cuts cannot be had here; the message says why."""


def why_not() -> str:
    """Return why power cuts cannot be had here; empty when they can."""
    if os.geteuid() != 0:
        return "not root"
    for name in ("losetup", "mkfs.ext4", "mount", "umount"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            return f"there is no {device}"
    try:
        with disk() as tried:
            tried.cut(random.Random(0), "none")
            tried.replace()
    except (NoPower, OSError, subprocess.CalledProcessError) as error:
        detail = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
        return f"{error} {detail}".strip()
    return ""


@contextlib.contextmanager
def disk() -> Iterator["PowerDisk"]:
    """Have such a disk, mounted, for the length of a `with` block."""
    made = PowerDisk()
    try:
        made.plug_in()
        yield made
    finally:
        made.close()


class PowerDisk:
    """The disk: `plug_in` mounts it at `folder`, `cut` ends its power, `replace` mounts anew what it holds."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="eventrt-power-", dir=SHARED))
        self._image = self._directory / "image"
        self.folder = self._directory / "mounted"
        self.folder.mkdir()
        self._fuse = self._directory / "fuse"
        self._fuse.mkdir()
        self._server: subprocess.Popen[str] | None = None
        self._loop = ""
        with self._image.open("wb") as image:
            image.truncate(DISK_MB * 1024 * 1024)
        options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-b", "4096", "-J", "size=16", "-E", options, str(self._image))

    def plug_in(self) -> None:
        """Start the disk and mount what it holds.

        Raises: NoPower, CalledProcessError: it cannot be mounted.
        """
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.volatile", str(self._image), str(self._fuse)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self._directory / "volatile.log").open("ab"),
            text=True,
        )
        if self._ask() != "ready":
            raise NoPower(f"the disk did not start: {(self._directory / 'volatile.log').read_text()[-500:]}")
        self._loop = _run("losetup", "--find", "--show", str(self._fuse / NAME)).strip()
        _run("mount", "-t", "ext4", self._loop, str(self.folder))

    def cut(self, rng: random.Random, fate: str | None = None) -> Cut:
        """Cut the power now: nothing that comes later reaches the disk, and of what was not flushed what fate says."""
        assert self._server is not None
        assert self._server.stdin is not None
        fate = fate or rng.choice(FATES)
        self._server.stdin.write(f"cut {rng.randrange(2**32)} {fate}\n")
        self._server.stdin.flush()
        unflushed, kept = map(int, self._ask().split())
        return Cut(fate, unflushed, kept)

    def sync(self) -> None:
        """Have everything on disk."""
        _run("sync", "--file-system", str(self.folder))

    def replace(self) -> None:
        """Take away what is mounted (nobody may use it any more) and mount what the disk holds."""
        self._unplug()
        self.plug_in()

    def close(self) -> None:
        """Take everything away."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._unplug()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _unplug(self) -> None:
        if os.path.ismount(self.folder):
            _unmount(self.folder)
        if self._loop:
            _run("losetup", "--detach", self._loop)
            self._loop = ""
        server, self._server = self._server, None
        if server is None:
            return
        if os.path.ismount(self._fuse):
            subprocess.run(["umount", "-l", str(self._fuse)], capture_output=True, check=False)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()

    def _ask(self) -> str:
        assert self._server is not None
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], ANSWER_LIMIT_S)[0]:
            raise NoPower("the disk does not answer")
        return self._server.stdout.readline().strip()


def _unmount(folder: Path) -> None:
    """Unmount; wait a little for processes that are ending. Who stays longer uses a disk that has no power."""
    give_up_at = time.monotonic() + UNMOUNT_LIMIT_S
    while subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode:
        if time.monotonic() > give_up_at:
            _run("umount", "-l", str(folder))
            return
        time.sleep(0.05)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
