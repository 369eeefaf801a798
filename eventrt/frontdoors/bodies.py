"""Request bodies: fed by the connection as they arrive, read whole or in pieces by whoever answers.

A body is bounded in size, in time and in the memory it takes; the client is told to hold back while nobody reads.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import anyio

from eventrt.http import BodyBroken, BodyTooLarge

UNREAD_BYTES = 256 * 1024
"""So much of a body is held before the client is asked to hold back."""


class Room:
    """The memory that large bodies may take, over all requests."""

    __slots__ = ("free_bytes",)

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes


class Pace:
    """How a body has to come, and the room it may take.

    Args:
        stall_s: a body of which nothing arrives for so long is given up.
        min_rate: bytes per second it must reach on the whole, after the first `stall_s`; 0 for none.
    """

    __slots__ = ("min_rate", "room", "stall_s")

    def __init__(self, room: Room, stall_s: float, min_rate: int) -> None:
        self.room = room
        self.stall_s = stall_s
        self.min_rate = min_rate


class Body:
    """The body of one request.

    Args:
        announced: what Content-Length said, empty when it said nothing.
        hold_back: tells the client to stop sending (True) or to go on (False).
        ask_for_it: sends `100 Continue`; None when the client does not wait for that.
    """

    __slots__ = (
        "_announced",
        "_ask_for_it",
        "_fault",
        "_hold_back",
        "_pace",
        "_pieces",
        "_unread",
        "_waiting",
        "held_bytes",
        "is_broken",
        "is_complete",
        "is_dropped",
    )

    def __init__(
        self, pace: Pace, announced: str, hold_back: Callable[[bool], None], ask_for_it: Callable[[], None] | None
    ) -> None:
        self._pace = pace
        self._announced = announced
        self._hold_back = hold_back
        self._ask_for_it = ask_for_it
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._waiting: asyncio.Future[None] | None = None
        self._fault: BodyBroken | None = None
        self.held_bytes = 0
        self.is_complete = False
        self.is_broken = False
        self.is_dropped = False

    # -- the connection's side

    def feed(self, piece: bytes) -> None:
        """Take a piece that arrived."""
        if self.is_dropped:
            return
        self._pieces.append(piece)
        self._unread += len(piece)
        if self._unread > UNREAD_BYTES:
            self._hold_back(True)
        self._wake()

    def complete(self) -> None:
        """Take note that all has arrived."""
        self.is_complete = True
        self._wake()

    def fail(self, fault: BodyBroken) -> None:
        """Let the reading of what has not arrived fail: no more of it will come."""
        if not self.is_complete:
            self._fault = fault
            self.is_broken = True
            self._wake()

    def drop(self) -> None:
        """Throw away what is there and what still comes: nobody will read it."""
        self.is_dropped = True
        self._pieces.clear()
        self._consumed(self._unread)

    def give_back(self) -> None:
        """Give back the room that was taken for reading it whole."""
        self._pace.room.free_bytes += self.held_bytes
        self.held_bytes = 0

    def _wake(self) -> None:
        if self._waiting is not None:
            if not self._waiting.done():
                self._waiting.set_result(None)
            self._waiting = None

    async def arrival(self) -> None:
        """Return once more has arrived, or no more will."""
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _consumed(self, size: int) -> None:
        if self._unread > UNREAD_BYTES >= self._unread - size:
            self._hold_back(False)
        self._unread -= size

    # -- the reader's side

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises: BodyTooLarge: it is longer than the limit, or says that it will be. BodyBroken: as `stream` does, and
            when the room that large bodies share is full.
        """
        if self.is_complete and len(self._pieces) <= 1:  # all of it came with the head: the usual case
            piece = self._pieces.popleft() if self._pieces else b""
            if len(piece) > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            return piece
        if self._announced.isdecimal() and int(self._announced) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        room, pieces, size = self._pace.room, list[bytes](), 0
        async for piece in self.stream():
            size += len(piece)
            if size > limit_bytes:
                raise BodyTooLarge(limit_bytes)
            if len(piece) > room.free_bytes:
                self.is_broken = True
                raise BodyBroken("large requests of others fill the memory there is for them", status=503)
            room.free_bytes -= len(piece)
            self.held_bytes += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they arrive.

        Raises: BodyBroken: they come too slowly, or not in the framing that was announced.
        """
        if self._ask_for_it is not None:
            if not self._pieces and not self.is_complete:
                self._ask_for_it()
            self._ask_for_it = None
        pace = self._pace
        began, size = anyio.current_time(), 0
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._consumed(len(piece))
                size += len(piece)
                if pace.min_rate and anyio.current_time() - began > pace.stall_s + size / pace.min_rate:
                    raise self._too_slow()
                yield piece
            if self.is_complete:
                return
            if self._fault is not None:
                raise self._fault
            with anyio.move_on_after(pace.stall_s) as patience:
                await self.arrival()
            if patience.cancelled_caught:
                raise self._too_slow()

    def _too_slow(self) -> BodyBroken:
        self.is_broken = True
        return BodyBroken("the request body came too slowly", status=408)
