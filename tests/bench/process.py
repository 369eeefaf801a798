"""The daemon as a process of its own: started, watched, stopped or killed, and what it costs.

Used by the bench and by the torture: both see the daemon as a stranger does, through its port and /proc.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
SHARED = Path("/var/tmp")
"""Where files lie that handlers write for us: their /tmp is their own."""


class DaemonFailed(Exception):  # noqa: N818 - the state of a process
    """The daemon ended, or did not get ready in time; the message holds the end of its log."""


def free_port() -> int:
    """Return a port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Cpu:
    """Seconds of processor time: the daemon's own, and that of everything below it."""

    server_s: float
    handlers_s: float

    def __sub__(self, other: "Cpu") -> "Cpu":
        return Cpu(self.server_s - other.server_s, self.handlers_s - other.handlers_s)


class Daemon:
    """One daemon process over one data directory; the same object starts it again after a stop or a kill.

    Args:
        directory: holds `data` (the daemon's) and `daemon.log` (what it printed, over all its lives).
        settings: environment variables, such as `EVENTRT_STORE_DURABILITY`.
        arguments: further ones of `eventrt serve`.
        prefix: a command to run it under, such as one that sets limits.
    """

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        prefix: tuple[str, ...] = (),
        data: Path | None = None,
        preexec: Callable[[], None] | None = None,
    ) -> None:
        self.directory = directory
        self.data = data or directory / "data"
        self.log = directory / "daemon.log"
        self.port = free_port()
        self._settings = dict(settings or {})
        self._arguments = arguments
        self._prefix = prefix
        self.preexec = preexec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the present life."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Start the process, and do not wait for it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("EVENTRT_", "AWS_"))}
        environment.update(self._settings)
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._prefix,
                    *(sys.executable, "-m", "eventrt", "serve"),
                    *("--port", str(self.port), "--data-dir", str(self.data)),
                    *self._arguments,
                ],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=self.preexec,
                start_new_session=True,
            )

    def start(self, *, timeout_s: float = 30.0) -> float:
        """Start the process and wait until it answers; returns the seconds that took.

        Raises: DaemonFailed: it ended instead, or took too long.
        """
        began = time.perf_counter()
        self.launch()
        self.await_ready(timeout_s=timeout_s)
        return time.perf_counter() - began

    def await_ready(self, *, timeout_s: float = 30.0) -> None:
        """Return once `GET /_eventrt/health` answers 200; raises DaemonFailed."""
        give_up_at = time.perf_counter() + timeout_s
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None:
                raise DaemonFailed(f"the daemon ended with {self.returncode}:\n{self.log_tail()}")
            if time.perf_counter() > give_up_at:
                raise DaemonFailed(f"the daemon is not ready after {timeout_s} s:\n{self.log_tail()}")
            time.sleep(0.002)

    def is_ready(self) -> bool:
        """Does it answer its health check?"""
        try:
            with socket.create_connection((HOST, self.port), timeout=5.0) as connection:
                connection.sendall(
                    f"GET /_eventrt/health HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nConnection: close\r\n\r\n".encode()
                )
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process is not None else None

    def signal(self, number: int) -> None:
        """Send a signal to the daemon alone."""
        os.kill(self.pid, number)

    def wait(self, *, timeout_s: float = 30.0) -> int:
        """Return its exit code once it has ended; raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self, *, timeout_s: float = 30.0) -> tuple[int, float]:
        """Send SIGTERM and wait; returns the exit code and the seconds it took."""
        began = time.perf_counter()
        self.signal(signal.SIGTERM)
        code = self.wait(timeout_s=timeout_s)
        return code, time.perf_counter() - began

    def kill(self) -> None:
        """Send SIGKILL to the daemon alone, and wait for its end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Leave nothing running: stop it, or kill it when it does not stop; then whatever it left behind."""
        if self._process is None:
            return
        if self._process.poll() is None:
            try:
                self.stop(timeout_s=10.0)
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in self.leftovers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def log_tail(self, lines: int = 25) -> str:
        """Return the end of what it printed."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    # -- what it costs, and what belongs to it

    def descendants(self) -> list[int]:
        """Return the process ids below the daemon."""
        return descendants(self.pid)

    def children(self) -> list[int]:
        """Return the processes the daemon itself started: the zygotes that fork environments."""
        return [pid for pid in self.descendants() if _is_child(pid, self.pid)]

    def leftovers(self) -> list[int]:
        """Return the processes that carry this daemon's data directory or port in their command or environment."""
        marks = (str(self.data).encode(), f"{HOST}:{self.port}".encode())
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
                continue
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                where = os.readlink(entry / "cwd").encode()
            except OSError:
                continue
            if state != "Z" and any(mark in known or mark in where for mark in marks):
                found.append(int(entry.name))
        return found

    def cpu(self) -> Cpu:
        """Return the processor time so far; children that were waited for count with their parents."""
        own = _stat(self.pid)
        server = (int(own[11]) + int(own[12])) / CLOCK_TICKS
        below = (int(own[13]) + int(own[14])) / CLOCK_TICKS
        for pid in self.descendants():
            try:
                fields = _stat(pid)
            except OSError:
                continue
            below += sum(map(int, fields[11:15])) / CLOCK_TICKS
        return Cpu(server, below)

    def rss_mb(self) -> float:
        """Return the daemon's own resident memory."""
        return _status_kb(self.pid, "VmRSS:") / 1024

    def forget_peak(self) -> None:
        """Begin anew with the peak of the daemon's memory (proc(5), clear_refs)."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_rss_mb(self) -> float:
        """Return the most resident memory the daemon had since `forget_peak`."""
        return _status_kb(self.pid, "VmHWM:") / 1024

    def family_rss_mb(self) -> float:
        """Return the resident memory of everything below the daemon, shared pages counted in proportion."""
        total = 0
        for pid in self.descendants():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                continue
        return total / 1024


def descendants(pid: int) -> list[int]:
    """Return the process ids below a process, parents first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
            except OSError:
                continue
    found: list[int] = []
    layer = [pid]
    while layer:
        layer = [child for parent in layer for child in children.get(parent, [])]
        found += layer
    return found


def _is_child(pid: int, parent: int) -> bool:
    try:
        return int(_stat(pid)[1]) == parent
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the state on (utime is the twelfth)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def environment_of(pid: int) -> dict[str, Any]:
    """Return a process's environment as it was started."""
    pairs = (entry.partition("=") for entry in Path(f"/proc/{pid}/environ").read_text("utf-8", "replace").split("\0"))
    return {name: value for name, _, value in pairs if name}
