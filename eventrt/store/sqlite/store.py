"""The embedded store: one engine, one transaction object, a repository per kind of thing."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from eventrt.clock import Clock
from eventrt.store.api import Topic, Watch
from eventrt.store.sqlite.asynchronous import SqliteAsynchronous
from eventrt.store.sqlite.buckets import SqliteBuckets
from eventrt.store.sqlite.checkpoints import SqliteCheckpoints
from eventrt.store.sqlite.engine import Durability, Engine, StampedTx
from eventrt.store.sqlite.functions import SqliteFunctions
from eventrt.store.sqlite.identities import SqliteIdentities
from eventrt.store.sqlite.mappings import SqliteMappings
from eventrt.store.sqlite.messages import SqliteMessages
from eventrt.store.sqlite.notes import SqliteNotes
from eventrt.store.sqlite.objects import SqliteObjects
from eventrt.store.sqlite.queues import SqliteQueues
from eventrt.store.sqlite.shelves import Shelves
from eventrt.store.sqlite.streams import SqliteStreams
from eventrt.store.sqlite.tables import SqliteTables

T = TypeVar("T")


class SqliteTx(StampedTx):
    """The `store.api.Tx` of the embedded store; one object serves every unit, since units never overlap."""

    def __init__(self, engine: "Engine[SqliteTx]") -> None:
        self.announce = engine.announce
        self.after_commit = engine.after_commit
        self.secure = engine.secure
        shelves = Shelves(engine)
        self.queues = SqliteQueues(engine, shelves)
        self.messages = SqliteMessages(engine, shelves, self.queues)
        self.streams = SqliteStreams(engine)
        self.tables = SqliteTables(engine)
        self.asynchronous = SqliteAsynchronous(engine)
        self.functions = SqliteFunctions(engine)
        self.mappings = SqliteMappings(engine)
        self.checkpoints = SqliteCheckpoints(engine)
        self.identities = SqliteIdentities(engine)
        self.notes = SqliteNotes(engine)
        self.buckets = SqliteBuckets(engine)
        self.objects = SqliteObjects(engine)


class SqliteStore:
    """The `store.api.Store` kept in one SQLite file (see `engine`).

    Args: directory: the data directory. durability: see `Engine`.
    """

    def __init__(self, directory: Path, *, clock: Clock, durability: Durability = "power") -> None:
        self.engine: Engine[SqliteTx] = Engine(directory, clock=clock, durability=durability)

    def open(self) -> None:
        """Open, migrate and lock the store (raises as `Engine.open` does)."""
        self.engine.open()
        self.engine.tx = SqliteTx(self.engine)

    async def close(self) -> None:
        """Commit and let go of the files."""
        await self.engine.close()

    def write(
        self, work: Callable[[SqliteTx], T], *, durable: bool = True, secured: bool = True
    ) -> Coroutine[Any, Any, T]:
        """Run one unit of work (see `store.api.Store.write`)."""
        return self.engine.write(work, durable=durable, secured=secured)

    def read(self, query: Callable[[SqliteTx], T]) -> Coroutine[Any, Any, T]:
        """Run one query (see `store.api.Store.read`)."""
        return self.engine.read(query)

    def watch(self, topic: Topic) -> AbstractContextManager[Watch]:
        """Watch a topic (see `store.api.Store.watch`)."""
        return self.engine.watch(topic)
