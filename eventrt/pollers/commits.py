"""Committing what is known: a unit that has to reach the disk though its task is being cancelled."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio

from eventrt.store.api import Store, Tx

T = TypeVar("T")

COMMIT_GRACE_S = 5.0
"""How long a commit may still take once its task is cancelled."""

DISK_RETRY_S = 1.0
"""How long to wait, on the clock, before a unit that found the disk full is tried again."""


async def commit(store: Store, unit: Callable[[Tx], T]) -> T:
    """Run a unit to its commit. A cancellation meanwhile does not undo it: the unit has run, or runs shielded."""
    has_run = False

    def run(tx: Tx) -> T:
        nonlocal has_run
        has_run = True
        return unit(tx)

    try:
        return await store.write(run)
    except asyncio.CancelledError:
        if not has_run:
            with anyio.move_on_after(COMMIT_GRACE_S, shield=True):
                await store.write(run)
        raise
