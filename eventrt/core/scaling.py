"""How many batches of one mapping may run at once: it starts small, grows under pressure, yields when throttled.

Source: semantics 03, section 3.2: 5 concurrent batches at first, 300 more a minute, at most 1,250.
"""

FIRST_CONCURRENCY = 5
MOST_CONCURRENCY = 1250
GROWTH_PER_S = 300 / 60
CALM_AFTER_THROTTLE_S = 2.0
"""After a throttle the window does not grow for so long."""
FORGET_AFTER_S = 60.0
"""A window without pressure for so long goes back to where it began."""
_ROUNDING = 1e-6
"""A slot this close to whole is whole, so that waiting for it always gives it."""


class ConcurrencyWindow:
    """The number of slots, from moments handed in.

    Args: first: slots at the beginning. most: never more than so many.
    """

    __slots__ = ("_calm_until", "_exact", "_pressed_at", "_relaxed_at", "first", "most", "size")

    def __init__(self, first: int = FIRST_CONCURRENCY, most: int = MOST_CONCURRENCY) -> None:
        self.first = min(first, most)
        self.most = most
        self.size = self.first
        self._exact = float(self.first)
        self._pressed_at: float | None = None
        self._relaxed_at: float | None = None
        self._calm_until = float("-inf")

    def rebound(self, first: int, most: int) -> None:
        """Change the bounds; a window beyond the new ones shrinks at once."""
        self.first = min(first, most)
        self.most = most
        self._exact = min(max(self._exact, float(self.first)), float(most))
        self.size = int(self._exact)

    def press(self, now: float) -> None:
        """Every slot is taken and more is waiting: grow by the time since pressure began."""
        if self._relaxed_at is not None and now - self._relaxed_at >= FORGET_AFTER_S:
            self._exact = min(self._exact, float(self.first))
        self._relaxed_at = None
        if self.size < self.most and now >= self._calm_until:
            if self._pressed_at is not None:
                since = max(self._pressed_at, self._calm_until)
                self._exact = min(float(self.most), self._exact + max(0.0, now - since) * GROWTH_PER_S)
            self.size = int(self._exact + _ROUNDING)
        self._pressed_at = now

    def ease(self) -> None:
        """Every slot is taken, but not for long: what passes until the next pressure does not count for growth."""
        self._pressed_at = None

    def relax(self, now: float) -> None:
        """A slot is free and nothing waits for it."""
        self._pressed_at = None
        if self._relaxed_at is None:
            self._relaxed_at = now
        elif self.size != self.first and now - self._relaxed_at >= FORGET_AFTER_S:
            self._exact = float(self.first)
            self.size = self.first

    def throttle(self, now: float, *, running: int) -> None:
        """An invocation found no room beside `running` others: there is room for those, and no growth for a while.

        Of several that are refused together the last one finds the right number.
        """
        self._exact = min(self._exact, float(max(1, running)))
        self.size = int(self._exact + _ROUNDING)
        self._calm_until = now + CALM_AFTER_THROTTLE_S
        self._pressed_at = None

    def grows_at(self, now: float) -> float | None:
        """Return when the next slot comes if pressure lasts; None at the limit."""
        if self.size >= self.most:
            return None
        return max(now, self._calm_until) + (self.size + 1 - self._exact) / GROWTH_PER_S
