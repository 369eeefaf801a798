"""The sweeper of tables: removes items whose time has come, fills new indexes, drops what deleted tables left.

An expired item is deleted as the service deletes it: its change record says so (semantics 04, part C). AWS takes up to
days; here it happens as soon as the clock says so. All of it goes in slices, between other units of work.
"""

from collections.abc import Callable
from functools import partial

import structlog

from eventrt.core.tables.changes import SERVICE_IDENTITY
from eventrt.core.tables.schema import Index, Key, Table
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.sources.upkeep import Upkeep
from eventrt.store.api import Tx

SLICE = 250
"""Rows touched in one unit of work: a few milliseconds."""

_LOG = structlog.get_logger("eventrt.tables")


class TableSweeper(Upkeep):
    """The room that waits for the next moment something of a table is over or to be done."""

    topic = ("sweep", "tables")

    async def sweep(self) -> float | None:
        """Do what is to be done now; return when to come again, None when nothing waits."""
        await self._fill()
        await self.repeat(lambda tx: tx.tables.drop_garbage(limit=SLICE), slice_size=SLICE)
        expired = await self.repeat(expire, slice_size=SLICE)
        if expired:
            _LOG.debug("items.expired", removed=expired)
        return await self._store.write(_next_moment)

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
            await self.give_way()


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
