"""The sweeper of tables: removes items whose time has come, fills new indexes, drops what deleted tables left.

An expired item is deleted as the service deletes it: its change record says so (semantics 04, part C). AWS takes up to
days; here it happens as soon as the clock says so. All of it goes in slices, between other units of work.
"""

from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
import structlog
from anyio.abc import TaskStatus

from eventrt.clock import Clock
from eventrt.core.tables.changes import SERVICE_IDENTITY
from eventrt.core.tables.schema import Index, Key, Table
from eventrt.errors import StoreFull
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.store.api import Store, Tx

SLICE = 250
"""Rows touched in one unit of work: a few milliseconds."""

FULL_DISK_REST_S = 60.0
"""How long a full disk is given before the next sweep, on the clock."""

TOPIC = ("sweep", "tables")
"""Announced when a sweep is worth while earlier than was thought."""

_LOG = structlog.get_logger("eventrt.tables")


class TableSweeper:
    """The room that waits for the next moment something of a table is over or to be done."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Sweep until cancelled."""
        with self._store.watch(TOPIC) as bell:
            task_status.started()
            while True:
                with self._clock.working():
                    next_at = await self._sweep()
                if next_at is None:
                    await bell.wait()
                    continue
                async with anyio.create_task_group() as waiting:
                    waiting.start_soon(self._first_of, waiting.cancel_scope, next_at)
                    await bell.wait()
                    waiting.cancel_scope.cancel()

    async def _first_of(self, scope: anyio.CancelScope, moment: float) -> None:
        await self._clock.sleep_until(moment)
        scope.cancel()

    async def _sweep(self) -> float | None:
        """Do what is to be done now; return when to come again, None when nothing waits."""
        try:
            await self._fill()
            await self._repeat(lambda tx: tx.tables.drop_garbage(limit=SLICE))
            expired = await self._repeat(expire)
            if expired:
                _LOG.debug("items.expired", removed=expired)
            return await self._store.write(_next_moment)
        except StoreFull:
            _LOG.warning("sweep.paused", reason="disk full")
            return self._clock.now() + FULL_DISK_REST_S

    async def _repeat(self, work: Callable[[Tx], int]) -> int:
        """Run a unit that says how much it did until it does less than a slice; return how much was done."""
        done = 0
        while True:
            count = await self._store.write(work)
            done += count
            if count < SLICE:
                return done
            await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours

    async def _fill(self) -> None:
        """Finish what changes of tables left to do with the items that were there, slice by slice."""
        for table in await self._store.read(lambda tx: tx.tables.filling()):
            if table.plans_expiries:
                await self._walk(table, partial(_plan, asked=table))
            for index in table.indexes:
                if index.status == "CREATING":
                    await self._walk(table, partial(_enter, index=index))

    async def _walk(self, table: Table, step: Callable[[Tx, Table, Key | None], Key | None]) -> None:
        """Take steps through a table's items, each a unit of work, until one returns None or the table is gone."""
        after: Key | None = None
        while True:

            def unit(tx: Tx, after: Key | None = after) -> Key | None:
                present = tx.tables.by_id(table.id)
                return step(tx, present, after) if present is not None else None

            after = await self._store.write(unit)
            if after is None:
                return
            await anyio.lowlevel.checkpoint()  # others first: their units take turns with ours


def _enter(tx: Tx, table: Table, after: Key | None, *, index: Index) -> Key | None:
    """Enter a slice of items into a new index; with the last slice it can be read."""
    if all(one.id != index.id for one in table.indexes):
        return None
    last = tx.tables.fill_index(table, index, after=after, limit=SLICE)
    if last is None:
        shelf.finish_index(tx, table, index)
    return last


def _plan(tx: Tx, table: Table, after: Key | None, *, asked: Table) -> Key | None:
    """Note when a slice of items expires; those written since are noted already."""
    if table.ttl_attribute != asked.ttl_attribute:
        return None
    last = tx.tables.plan_expiries(table, after=after, limit=SLICE)
    if last is None:
        tx.tables.update(table, plans_expiries=False)
    return last


def expire(tx: Tx) -> int:
    """Delete up to a slice of items whose time to live has ended; return how many. A unit of work."""
    found = tx.tables.expired(limit=SLICE)
    changes = Changes(tx)
    for table, key, _ in found:
        shelf.remove(tx, table, key, None, changes, SERVICE_IDENTITY)
    changes.flush()
    shelf.forget_streams(tx)
    return len(found)


def _next_moment(tx: Tx) -> float | None:
    moments = [moment for moment in (tx.tables.next_expiry(), tx.tables.next_stream_end()) if moment is not None]
    return min(moments, default=None)
