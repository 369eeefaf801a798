"""Counting slots: how many invocations of an account run at a time, and whose they are.

Each account has one pool per region. A function with reserved concurrency runs in its own part of the pool and
never beyond it; all others share what is left. Nothing ever waits here: a full pool is answered with AWS's reason.
"""

from collections.abc import Hashable

ACCOUNT_FULL = "ConcurrentInvocationLimitExceeded"
RESERVED_FULL = "ReservedFunctionConcurrentInvocationLimitExceeded"


class ConcurrencyPool:
    """The slots of one account in one region.

    Args: limit: how many invocations may run at a time. `reserved_total`, which the owner keeps up to date, is what
        functions with reserved concurrency hold back from the rest, used or not.
    """

    __slots__ = ("_running", "_unreserved", "limit", "reserved_total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reserved_total = 0
        self._unreserved = 0
        self._running: dict[Hashable, int] = {}

    @property
    def running(self) -> int:
        """How many invocations run now, in all parts of the pool."""
        return self._unreserved + sum(self._running.values())

    @property
    def unreserved_running(self) -> int:
        """How many invocations run now without reserved concurrency."""
        return self._unreserved

    def acquire(self, function: Hashable, reserved: int | None) -> str | None:
        """Take a slot and return None; return AWS's Reason when there is none to take.

        Args: reserved: the function's reserved concurrency, None when it has none. What is acquired with a number is
            released with `is_reserved=True`, whatever became of the setting meanwhile.
        """
        if reserved is None:
            if self._unreserved >= self.limit - self.reserved_total:
                return ACCOUNT_FULL
            self._unreserved += 1
            return None
        running = self._running.get(function, 0)
        if running >= reserved:
            return RESERVED_FULL
        self._running[function] = running + 1
        return None

    def release(self, function: Hashable, *, is_reserved: bool) -> None:
        """Give a slot back."""
        if not is_reserved:
            self._unreserved -= 1
            return
        running = self._running[function] - 1
        if running:
            self._running[function] = running
        else:
            del self._running[function]
