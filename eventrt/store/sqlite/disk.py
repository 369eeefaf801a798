"""The disk's thread: runs one blocking call at a time beside the loop, and calls back on the loop.

An executor would do, but each of its calls passes three futures and two turns of the loop, which costs as much as a
sync of a fast disk. This is one queue and one call back.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable

Done = Callable[[BaseException | None], None]


class DiskThread:
    """A thread for syncs and checkpoints; it starts with the first call."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], None], Done, asyncio.AbstractEventLoop] | None]
        self._calls = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, blocking: Callable[[], None], done: Done) -> None:
        """Run a call in the thread; `done` is then called on this loop with its error, or None."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="eventrt-disk", daemon=True)
            self._thread.start()
        self._calls.put((blocking, done, asyncio.get_running_loop()))

    def stop(self) -> None:
        """Let the thread finish what it was given, and wait for it."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            blocking, done, loop = call
            error: BaseException | None = None
            try:
                blocking()
            except Exception as caught:  # handed to the loop, which decides
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, error)
