"""Delays between attempts, from an attempt number and a random number handed in."""


def delay_s(attempt: int, chance: float, *, first_s: float = 0.2, longest_s: float = 30.0) -> float:
    """Return how long to wait after attempt number `attempt` failed: doubling, with the upper half random.

    Args:
        attempt: the attempt that failed, from 1.
        chance: a random number in [0, 1); the delay lies between half of the full step and all of it.
        first_s: the full step after the first attempt.
        longest_s: no step is longer.
    """
    step_s = longest_s if attempt > 32 else min(longest_s, first_s * 2.0 ** (attempt - 1))
    return step_s * (0.5 + 0.5 * chance)
