"""A full disk, a directory that cannot be written, a port and a directory that are taken."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.process import HOST, Daemon
from tests.torture.scene import AWAY, Progress, Scene

DISK_MB = 96
BALLAST_MB = 72
"""Room that is given back after the disk was full: folding the log back takes as much as the log."""
FILE_LIMIT_BYTES = 12 * 1024 * 1024


def can_mount() -> bool:
    """May this process mount a small file system of its own?"""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory(prefix="eventrt-mount-") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True, capture_output=True)
    return True


@contextlib.contextmanager
def small_disk(options: str = f"size={DISK_MB}m") -> Iterator[Path]:
    """Mount a small file system for the length of a `with` block."""
    folder = Path(tempfile.mkdtemp(prefix="eventrt-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def limit_files() -> None:
    """Let no file of this process grow beyond the limit; runs in the child before it becomes the daemon."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, resource.RLIM_INFINITY))


def disk_full(scene: Scene, say: Progress) -> None:
    """Fill the disk by sending: 5xx in the protocol's shape, the daemon stays, and recovers when there is room.

    Where nothing can be mounted, a limit on the size of files takes the disk's place.
    """
    books, daemon = scene.books, scene.daemon
    ballast = daemon.data.parent / "ballast"
    mounted = daemon.data.parent.is_mount()
    if mounted:
        ballast.write_bytes(b"\0" * (BALLAST_MB * 1024 * 1024))
    daemon.start()
    url = scene.make_queue("full", VisibilityTimeout="600")
    client = scene.client("sqs")
    kept, refused = 0, 0
    give_up_at = time.monotonic() + 60
    while refused < 20 and time.monotonic() < give_up_at:
        body = f"m-{kept + refused}-" + "x" * 100_000
        try:
            client.send_message(QueueUrl=url, MessageBody=body)
            books.note_sent("full", [body])
            kept += 1
        except AWAY as error:
            refused += 1
            status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
            books.expect(status is not None and 500 <= status < 600, f"a full disk answers {status}: {error}")
            if daemon.returncode is not None:
                books.violate(f"a full disk ended the daemon with {daemon.returncode}:\n{daemon.log_tail()}")
                return
    books.expect(refused > 0, f"the disk did not fill up with {kept} messages of 100 kB")
    books.expect(daemon.is_ready(), "the daemon does not answer on a full disk")
    if mounted:
        ballast.unlink()
    else:
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    scene.await_that(
        lambda: bool(client.send_message(QueueUrl=url, MessageBody="recovered")), "a send succeeds once there is room"
    )
    books.note_sent("full", ["recovered"])
    daemon.kill()
    daemon.preexec = None
    daemon.start()
    seen: set[str] = set()
    while messages := client.receive_message(QueueUrl=url, MaxNumberOfMessages=5).get("Messages", []):
        for message in messages:
            seen.add(message["Body"])
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    lost = books.sent["full"] - seen
    books.expect(not lost, f"a full disk lost {len(lost)} acknowledged messages of {kept}")
    how = "a small file system" if mounted else "a limit on file size (nothing can be mounted here)"
    say(f"{how}: {kept} messages kept, {refused} refused with 5xx, recovered, all there after a kill")


def read_only(scene: Scene, say: Progress) -> None:
    """A data directory that cannot be written: no start, a code that is not 0, one clear line."""
    if can_mount():
        with small_disk("size=1m,ro") as folder:
            _refuses_to_start(scene, folder, "is not writable", say, "a read-only data directory")
            _refuses_to_start(scene, folder / "data", "cannot be made", say, "a data directory on a read-only disk")
    else:
        say("a read-only data directory: not tried, nothing can be mounted here")


def taken(scene: Scene, say: Progress) -> None:
    """A port in use and a directory in use: no start, a code that is not 0, one clear line."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        _refuses_to_start(scene, scene.directory / "other", str(port), say, "a port in use", port=port)
    scene.daemon.start()
    _refuses_to_start(scene, scene.daemon.data, "in use", say, "a data directory in use")
    scene.books.expect(scene.daemon.is_ready(), "the first daemon does not answer any more")


def _refuses_to_start(
    scene: Scene, data: Path, word: str, say: Progress, what: str, *, port: int | None = None
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="second-", dir=scene.directory))
    daemon = Daemon(folder, data=data)
    if port is not None:
        daemon.port = port
    daemon.launch()
    try:
        code = daemon.wait(timeout_s=20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        scene.books.violate(f"{what}: the daemon starts nevertheless")
        return
    lines = daemon.log_tail().splitlines()
    scene.books.expect(code not in (0, 1) and code > 0, f"{what}: exit code {code}")
    scene.books.expect(len(lines) == 1, f"{what}: {len(lines)} lines instead of one: {lines}")
    scene.books.expect(any(word in line for line in lines), f"{what}: no word of {word!r} in {lines}")
    say(f"{what}: exit code {code}: {lines[0] if lines else ''}")
