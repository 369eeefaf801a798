"""One environment's process as the daemon holds it: two pipes for invocations, one for output, and its end.

The process itself is a child of a zygote (`python`), which starts it, kills it and reports its end.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from eventrt.invoker.runtimes.frames import RESPONSE

_CHUNK = 65536
_OUTPUT_ROUNDS = 64
_HEAD = RESPONSE.size


class Owner(Protocol):
    """What wants to know what a process does. All are called on the loop."""

    def on_response(self, kind: int, peak_kb: int, body: bytes) -> None:
        """A response came; what was printed before it was handed over already."""
        ...

    def on_output(self, data: bytes) -> None:
        """The handler, or a program it runs, printed."""
        ...

    def on_failure(self, message: str) -> None:
        """The process could not be started; `on_exit` follows."""
        ...

    def on_exit(self, status: int, peak_kb: int) -> None:
        """The process ended; `status` is waitpid's. Nothing comes after it."""
        ...


class WorkerProcess:
    """The daemon's ends of one process.

    `requests`, `responses` and `output` are the descriptors for the child, to be closed once they were sent.
    """

    __slots__ = (
        "_kill",
        "_log_fd",
        "_loop",
        "_owner",
        "_partial",
        "_read_fd",
        "_unsent",
        "_write_fd",
        "child_fds",
        "id",
        "is_over",
        "pid",
    )

    def __init__(self, number: int, owner: Owner, kill: Callable[[int], None]) -> None:
        self.id = number
        self.pid = 0
        self.is_over = False
        self._owner = owner
        self._kill = kill
        self._loop = asyncio.get_running_loop()
        opened: list[int] = []
        try:
            for _ in range(3):
                opened.extend(os.pipe2(os.O_CLOEXEC))
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        child_requests, self._write_fd, self._read_fd, child_responses, self._log_fd, child_log = opened
        self.child_fds = [child_requests, child_responses, child_log]
        for fd in (self._write_fd, self._read_fd, self._log_fd):
            os.set_blocking(fd, False)
        self._partial: bytearray | None = None
        self._unsent = b""
        self._loop.add_reader(self._read_fd, self._on_readable)
        self._loop.add_reader(self._log_fd, self._on_log)

    def close_child_fds(self) -> None:
        """Close the child's ends here; the child has its own copies by now."""
        for fd in self.child_fds:
            os.close(fd)
        self.child_fds = []

    def send(self, frame: bytes) -> None:
        """Send one request. A process that has ended takes nothing: its end is reported anyway."""
        try:
            written = os.write(self._write_fd, frame)
        except BlockingIOError:
            written = 0
        except BrokenPipeError:
            return
        if written < len(frame):
            self._unsent = frame[written:]
            self._loop.add_writer(self._write_fd, self._on_writable)

    def _on_writable(self) -> None:
        view = memoryview(self._unsent)
        try:
            while view:
                view = view[os.write(self._write_fd, view) :]
        except BlockingIOError:
            self._unsent = bytes(view)
            return
        except BrokenPipeError:
            pass
        self._unsent = b""
        self._loop.remove_writer(self._write_fd)

    def kill(self) -> None:
        """Have the process ended with all its descendants; `on_exit` tells when it is."""
        self._kill(self.id)

    # -- what comes from the process

    def _on_readable(self) -> None:
        try:
            data = os.read(self._read_fd, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            # It closed the pipe: its end is on the way, and comes from the zygote with a status.
            self._loop.remove_reader(self._read_fd)
            return
        if self._partial is None:
            if len(data) >= _HEAD:
                size, peak_kb, kind = RESPONSE.unpack_from(data)
                if len(data) == _HEAD + size:
                    self._respond(kind, peak_kb, data[_HEAD:])
                    return
            self._partial = bytearray(data)
        else:
            self._partial += data
        self._take_partial()

    def _take_partial(self) -> None:
        partial = self._partial
        if partial is None or len(partial) < _HEAD:
            return
        size, peak_kb, kind = RESPONSE.unpack_from(partial)
        if len(partial) >= _HEAD + size:
            self._partial = None
            self._respond(kind, peak_kb, bytes(partial[_HEAD : _HEAD + size]))

    def _respond(self, kind: int, peak_kb: int, body: bytes) -> None:
        self._drain_log()
        self._owner.on_response(kind, peak_kb, body)

    def _on_log(self) -> None:
        try:
            data = os.read(self._log_fd, _CHUNK)
        except BlockingIOError:
            return
        if data:
            self._owner.on_output(data)
        else:
            self._loop.remove_reader(self._log_fd)

    def _drain_log(self) -> None:
        # Bounded: a program left running in the background may print faster than this reads.
        for _ in range(_OUTPUT_ROUNDS):
            try:
                data = os.read(self._log_fd, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self._owner.on_output(data)
            if len(data) < _CHUNK and len(data) % 4096:
                return

    def failed(self, message: str) -> None:
        """Tell its owner that it could not be started, and close everything."""
        self._owner.on_failure(message)
        self.ended(1 << 8, 0)

    def ended(self, status: int, peak_kb: int) -> None:
        """Take what it still said, then tell its owner that it ended, and close everything."""
        if self.is_over:
            return
        while True:
            try:
                data = os.read(self._read_fd, _CHUNK)
            except BlockingIOError:
                break
            if not data:
                break
            if self._partial is None:
                self._partial = bytearray()
            self._partial += data
        self._take_partial()
        self._drain_log()
        self.is_over = True
        for fd in (self._read_fd, self._log_fd):
            self._loop.remove_reader(fd)
        self._loop.remove_writer(self._write_fd)
        self.close_child_fds()
        for fd in (self._write_fd, self._read_fd, self._log_fd):
            os.close(fd)
        self._owner.on_exit(status, peak_kb)
