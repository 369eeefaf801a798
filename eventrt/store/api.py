"""What the rest of the house may know of the store: units of work, repositories, wake-ups.

A unit of work is a plain function of a `Tx`, with no await inside. The store puts many units in one commit, with
a savepoint around each; a unit that raises is rolled back alone. The embedded store (`store.sqlite`) keeps these
protocols with SQLite; another store is another `Tx`.
"""

from collections.abc import Callable, Coroutine, Hashable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from eventrt.store.asynchronous import AsynchronousRepository
from eventrt.store.buckets import BucketRepository, ObjectRepository
from eventrt.store.checkpoints import CheckpointRepository
from eventrt.store.functions import FunctionRepository
from eventrt.store.identities import IdentityRepository
from eventrt.store.mappings import MappingRepository
from eventrt.store.messages import MessageRepository
from eventrt.store.notes import NoteRepository
from eventrt.store.queues import QueueRepository
from eventrt.store.streams import StreamRepository
from eventrt.store.tables import TableRepository

T = TypeVar("T")

Topic = Hashable
"""What a wake-up is about: `("queue", queue.id)`, `("mappings",)`, `("function", function.arn)`."""


class Tx(Protocol):
    """One unit's view of the store: the repositories, the moment it runs at, and a bell."""

    @property
    def now(self) -> float:
        """The moment of this unit on the daemon's clock, epoch seconds."""
        ...

    @property
    def queues(self) -> QueueRepository:
        """Queues and what is set on them."""
        ...

    @property
    def messages(self) -> MessageRepository:
        """Messages on queues: ready, delayed, in flight."""
        ...

    @property
    def streams(self) -> StreamRepository:
        """Streams, their shards and records; those of tables too."""
        ...

    @property
    def tables(self) -> TableRepository:
        """Tables and their items."""
        ...

    @property
    def buckets(self) -> BucketRepository:
        """Buckets and what is set on them."""
        ...

    @property
    def objects(self) -> ObjectRepository:
        """Objects, their versions, uploads in parts."""
        ...

    @property
    def asynchronous(self) -> AsynchronousRepository:
        """Asynchronous events, and the configs that say what becomes of them."""
        ...

    @property
    def functions(self) -> FunctionRepository:
        """Functions, their configuration, policies and concurrency."""
        ...

    @property
    def mappings(self) -> MappingRepository:
        """Event source mappings."""
        ...

    @property
    def checkpoints(self) -> CheckpointRepository:
        """How far each mapping of a stream is."""
        ...

    @property
    def identities(self) -> IdentityRepository:
        """Roles and policies, kept and not enforced."""
        ...

    @property
    def notes(self) -> NoteRepository:
        """The daemon's notes about itself."""
        ...

    def secure(self) -> None:
        """Let this unit be rolled back alone from here on (see `Store.write`); units are secured unless they say no."""
        ...

    def announce(self, topic: Topic) -> None:
        """Wake whoever watches `topic`, once this unit is committed; nothing happens if it is rolled back."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back on the loop once this unit is committed; never if it is rolled back. It must not raise."""
        ...


class Watch(Protocol):
    """A bell for one topic. A ring between two waits is not lost; several rings are one."""

    async def wait(self) -> None:
        """Return once the topic was announced since the last `wait` returned (or since the watch began)."""
        ...


class Store(Protocol):
    """Units of work in, answers out once they are on disk."""

    def write(self, work: Callable[[Tx], T], *, durable: bool = True, secured: bool = True) -> Coroutine[Any, Any, T]:
        """Run one unit of work and return its value after the commit is on disk.

        Args:
            durable: False returns as soon as the unit has run; it is in the next commit, and may be lost to a kill
                before it. Only for what may be lost: leases, never settles nor answers.
            secured: False is for units that refuse before they write, so that only a failing store stops them in
                between, or that call `Tx.secure` first: they spare themselves the savepoint. A unit that breaks this
                takes along all that would have been committed with it; nobody was answered yet.
        Raises: StoreFull: the disk has no room, or (CommitLost) another unit took this one along; nothing was kept.
            Whatever the unit raises, after its rollback.
        """
        ...

    def read(self, query: Callable[[Tx], T]) -> Coroutine[Any, Any, T]:
        """Run a query that changes nothing and return its value: short, indexed look-ups only."""
        ...

    def watch(self, topic: Topic) -> AbstractContextManager[Watch]:
        """Watch a topic for the length of a `with` block."""
        ...
