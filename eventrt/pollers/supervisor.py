"""The mappings at work: one runner each, started, changed, paused and ended as the store says.

A change of a mapping is kept with a state of transition and a ring of `("mappings",)`; the supervisor carries it
out and writes the state it ends in. A runner that breaks is started again after a while, and its neighbours never
notice. What keeps a mapping from working is written to it, and shown by `describe`.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from eventrt.api import OpenPoller, PollerContext, ShardPoller
from eventrt.clock import Clock
from eventrt.core.backoff import delay_s
from eventrt.core.mapping import EventSourceMapping
from eventrt.destinations.desk import Desk
from eventrt.errors import StoreFull
from eventrt.plugins import Plugins
from eventrt.pollers import dynamodb, kinesis
from eventrt.pollers.reports import BatchObserver
from eventrt.pollers.runner import Invokes, QueueRunner, Rooms
from eventrt.pollers.shards import ShardRooms
from eventrt.pollers.streams import StreamRunner, inspect_paused
from eventrt.store.api import Store, Tx

_LOG = structlog.get_logger("eventrt.pollers")

LOCAL_CONCURRENCY_LIMIT = 100
"""Batches of one mapping at once on this machine, unless the daemon is told otherwise."""


class Runner(Protocol):
    """One mapping at work (`runner.QueueRunner`, `streams.StreamRunner`)."""

    async def run(self) -> None:
        """Work until `stop` was called and everything in flight has come to its end."""
        ...

    def stop(self) -> None:
        """Take in nothing more; `run` then drains."""
        ...

    def resume(self, mapping: EventSourceMapping) -> bool:
        """Take back `stop`; False when `run` has already come to its end."""
        ...

    def reconfigure(self, mapping: EventSourceMapping) -> None:
        """Go on with new settings."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what it does, what it waits for and why."""
        ...


class _Post:
    """One mapping's place: its runner of the moment, and the wish to end it."""

    def __init__(self, mapping: EventSourceMapping) -> None:
        self.mapping = mapping
        self.runner: Runner | None = None
        self.pause: anyio.CancelScope | None = None
        self.ends = False
        self.restarts = 0

    def stop(self) -> None:
        """Let the runner drain and the post end."""
        self.ends = True
        if self.runner is not None:
            self.runner.stop()
        if self.pause is not None:
            self.pause.cancel()

    def resume(self, mapping: EventSourceMapping) -> bool:
        """Take back `stop`, as long as the runner is still draining."""
        if self.runner is None or not self.runner.resume(mapping):
            return False
        self.ends = False
        self.mapping = mapping
        return True

    def reconfigure(self, mapping: EventSourceMapping) -> None:
        """Go on with new settings."""
        self.mapping = mapping
        if self.runner is not None:
            self.runner.reconfigure(mapping)


class Supervisor:
    """Runs every enabled mapping; see the module.

    Args:
        concurrency_limit: batches of a queue's mapping at once, whatever the mapping's own settings allow.
        desk: takes the failure records of streams' mappings.
        plugins: the pollers of sources that are not embedded.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        invoker: Invokes,
        *,
        concurrency_limit: int = LOCAL_CONCURRENCY_LIMIT,
        desk: Desk | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._observers: list[BatchObserver] = []
        self._rooms = Rooms(store, clock, invoker, concurrency_limit, self._observers)
        self._shard_rooms = ShardRooms(store, clock, invoker, desk or Desk(), self._observers)
        self._embedded: dict[str, OpenPoller] = {"kinesis": kinesis.opener(store), "dynamodb": dynamodb.opener(store)}
        self._plugins = plugins or Plugins({})
        self._posts: dict[str, _Post] = {}
        self._problems: dict[str, str | None] = {}
        self._results: dict[str, str] = {}
        self._notes_changed = anyio.Event()
        self._draining = False
        self._emptied = anyio.Event()
        self._group: TaskGroup

    def on_batch(self, observer: BatchObserver) -> None:
        """Have `observer` called for every batch that comes to its end, after its commit."""
        self._observers.append(observer)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run the mappings until cancelled (`drain` first, to end gracefully)."""
        async with anyio.create_task_group() as group:
            self._group = group
            group.start_soon(self._keep_notes)
            with self._store.watch(("mappings",)) as bell:
                for mapping in await self._store.read(lambda tx: tx.mappings.every()):
                    if mapping.state == "Enabled":
                        self._start(mapping)
                await self._carry_out_changes()
                task_status.started()
                while True:
                    await bell.wait()
                    await self._carry_out_changes()

    async def drain(self, grace_s: float) -> bool:
        """Stop receiving, give back what has not reached a function, and wait for the batches in flight.

        Args: grace_s: how long to wait, real seconds.
        Returns: whether every batch came to its end in time.
        """
        self._draining = True
        for post in list(self._posts.values()):
            post.stop()
        with anyio.move_on_after(grace_s):
            while self._posts:
                self._emptied = anyio.Event()
                await self._emptied.wait()
        return not self._posts

    def describe(self, mapping_id: str) -> dict[str, Any]:
        """Return what a mapping's runner does, in counts, what it waits for and why; for reports and pages."""
        post = self._posts.get(mapping_id)
        if post is None:
            return {"running": False}
        state = {"running": True, "draining": post.ends, "restarts": post.restarts}
        return state if post.runner is None else {**state, **post.runner.describe()}

    async def inspect(self, mapping_id: str) -> dict[str, Any]:
        """Return `describe`; of a stream's mapping with how far each shard is behind, also while it is paused."""
        post = self._posts.get(mapping_id)
        shown = self.describe(mapping_id)
        if post is not None and isinstance(post.runner, StreamRunner):
            shown |= await post.runner.inspect()
        elif post is None:
            mapping = await self._store.read(lambda tx: tx.mappings.get(mapping_id))
            if mapping is not None and mapping.kind in ("kinesis", "table"):  # a plugin's source is left alone
                async with self._open_poller(mapping) as poller:
                    shown["shards"] = await inspect_paused(mapping, self._shard_rooms, poller)
        return shown

    def describe_all(self) -> dict[str, dict[str, Any]]:
        """Return `describe` of every mapping that has a runner, by UUID."""
        return {mapping_id: self.describe(mapping_id) for mapping_id in self._posts}

    # -- carrying out changes

    async def _carry_out_changes(self) -> None:
        with self._clock.working():
            changed = await self._store.read(lambda tx: tx.mappings.in_transition())
            if not changed or self._draining:
                return
            for mapping in changed:
                self._carry_out(mapping)
            try:
                await self._store.write(lambda tx: _settle_states(tx, changed))
            except StoreFull as error:
                _LOG.warning("mapping.state_delayed", error=str(error))
                self._clock.call_at(self._clock.now() + 1.0, self._ring_again)
                return
        for mapping in changed:
            event = "deleted" if mapping.state == "Deleting" else mapping.settled_state.lower()
            _LOG.info(
                f"mapping.{event}",
                mapping_id=mapping.id,
                source_arn=mapping.source_arn,
                function=mapping.function_name,
            )

    def _ring_again(self) -> None:
        self._group.start_soon(self._carry_out_changes)

    def _carry_out(self, mapping: EventSourceMapping) -> None:
        post = self._posts.get(mapping.id)
        if mapping.state == "Deleting" or not mapping.enabled:
            if post is not None:
                post.stop()
        elif post is None:
            self._start(mapping)
        elif post.ends:
            if not post.resume(mapping):
                self._start(mapping)
        else:
            post.reconfigure(mapping)

    def _start(self, mapping: EventSourceMapping) -> None:
        post = self._posts[mapping.id] = _Post(mapping)
        self._group.start_soon(self._attend, post)

    async def _attend(self, post: _Post) -> None:
        """Keep one mapping's runner alive until it is to end."""
        mapping_id = post.mapping.id
        try:
            while not post.ends:
                post.runner = self._runner_of(post.mapping)
                started_at = self._clock.now()
                try:
                    await post.runner.run()
                    return
                except Exception as error:
                    _LOG.error("mapping.failed", mapping_id=mapping_id, exc_info=error)
                    if self._clock.now() - started_at > 60.0:
                        post.restarts = 0
                    post.restarts += 1
                    problem = f"{_name_of(error)} in the poller; it is started again."
                    post.mapping = replace(post.mapping, problem=problem)
                    self._keep_problem(mapping_id, problem)
                    with anyio.CancelScope() as post.pause:
                        await self._clock.sleep_until(
                            self._clock.now() + delay_s(post.restarts, 0.5, first_s=1.0, longest_s=60.0)
                        )
                    post.pause = None
        finally:
            if self._posts.get(mapping_id) is post:
                del self._posts[mapping_id]
            if not self._posts:
                self._emptied.set()

    def _runner_of(self, mapping: EventSourceMapping) -> Runner:
        mapping_id = mapping.id

        def on_problem(problem: str | None) -> None:
            self._keep_problem(mapping_id, problem)

        if not mapping.is_of_stream:
            return QueueRunner(mapping, self._rooms, on_problem=on_problem)
        return StreamRunner(
            mapping,
            self._shard_rooms,
            self._open_poller,
            on_problem=on_problem,
            on_result=lambda result: self._keep_result(mapping_id, result),
        )

    def _open_poller(self, mapping: EventSourceMapping) -> AbstractAsyncContextManager[ShardPoller]:
        """Open the poller of a stream's mapping.

        Raises: ConfigurationError: the plugin is not there or does not load, or the ARN makes no sense to it.
        """
        service = mapping.source_arn.split(":", 3)[2]
        opener = self._embedded.get(service) or self._plugins.poller(service)
        context = PollerContext(
            mapping.id, mapping.source_arn, mapping.account_id, mapping.region, mapping.function_arn
        )
        return opener(context)

    # -- problems and results

    def _keep_problem(self, mapping_id: str, problem: str | None) -> None:
        self._problems[mapping_id] = problem
        self._notes_changed.set()
        if problem is not None:
            _LOG.warning("mapping.hindered", mapping_id=mapping_id, reason=problem)

    def _keep_result(self, mapping_id: str, result: str) -> None:
        self._results[mapping_id] = result
        self._notes_changed.set()

    async def _keep_notes(self) -> None:
        """Write problems and results of mappings to the store, many changes in one unit."""
        while True:
            await self._notes_changed.wait()
            self._notes_changed = anyio.Event()
            problems, self._problems = self._problems, {}
            results, self._results = self._results, {}
            with self._clock.working():
                try:
                    await self._store.write(partial(_set_notes, problems=problems, results=results))
                except StoreFull as error:
                    _LOG.warning("mapping.problem_not_kept", error=str(error))


def _name_of(error: BaseException) -> str:
    """Return the kind of an error, of a group that of its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


def _settle_states(tx: Tx, changed: Sequence[EventSourceMapping]) -> None:
    """Write the state that each transition ends in, as far as it is still the same transition."""
    for seen in changed:
        mapping = tx.mappings.get(seen.id)
        if mapping is None or mapping.state != seen.state or mapping.modified_at != seen.modified_at:
            continue
        if mapping.state == "Deleting":
            tx.mappings.remove(mapping.id)
            tx.checkpoints.forget(mapping.id)
        else:
            tx.mappings.replace(replace(mapping, state=mapping.settled_state, modified_at=tx.now))


def _set_notes(tx: Tx, *, problems: dict[str, str | None], results: dict[str, str]) -> None:
    for mapping_id, problem in problems.items():
        tx.mappings.set_problem(mapping_id, problem)
    for mapping_id, result in results.items():
        tx.mappings.set_last_result(mapping_id, result)
