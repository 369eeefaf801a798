"""One mapping of a stream at work: its poller, the list of shards, and a runner for each shard whose turn has come.

A shard begins once its parents are finished, and that is committed. Each shard is on its own: one that fails, or whose
poller breaks, is started again after a while and holds up no other. The list of shards is read again when the poller
announces a change, or after a while when it announces nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import anyio
import structlog
from anyio.abc import TaskGroup

from eventrt.api import Announces, Bell, Measures, Seeks, Shard, ShardPoller, SourceUnavailable, StartingPosition
from eventrt.core.backoff import delay_s
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.shard_values import Progress
from eventrt.errors import ConfigurationError
from eventrt.pollers.commits import commit
from eventrt.pollers.shards import ShardRooms, ShardRunner
from eventrt.store.api import Tx
from eventrt.store.checkpoints import Checkpoint

_LOG = structlog.get_logger("eventrt.pollers")

LIST_AGAIN_S = 10.0
"""How often (real seconds) the shards are listed of a poller that announces nothing."""

OpenMapping: TypeAlias = Callable[[EventSourceMapping], AbstractAsyncContextManager[ShardPoller]]
"""Opens the poller of a mapping. Raises ConfigurationError: there is none, or the ARN makes no sense to it."""


@dataclass(slots=True)
class _Place:
    """One shard of the mapping: what is listed of it, and its runner while it has one."""

    shard: Shard
    runner: ShardRunner | None = None
    is_attended: bool = False
    is_finished: bool = False
    restarts: int = 0
    problem: str | None = None
    pause: anyio.CancelScope | None = None


class StreamRunner:
    """One mapping at work until it is stopped and drained; see the module.

    Args:
        on_problem: told what keeps the mapping from working, and None once it works again.
        on_result: told LastProcessingResult whenever it changes.
    """

    def __init__(
        self,
        mapping: EventSourceMapping,
        rooms: ShardRooms,
        open_poller: OpenMapping,
        *,
        on_problem: Callable[[str | None], None],
        on_result: Callable[[str], None],
    ) -> None:
        self.mapping = mapping
        self.problem = mapping.problem
        self._rooms = rooms
        self._open_poller = open_poller
        self._on_problem = on_problem
        self._on_result = on_result
        self._result = mapping.last_result
        self._source_problem: str | None = None
        self._places: dict[str, _Place] = {}
        self._poller: ShardPoller | None = None
        self._group: TaskGroup
        self._changed = asyncio.Event()
        self._is_stopping = False
        self._next: EventSourceMapping | None = None
        self._is_running = False

    # -- from outside

    async def run(self) -> None:
        """Work until `stop` was called and everything in flight has come to its end."""
        self._is_running = True
        try:
            while True:
                await self._live()
                if self._next is None:
                    return
                self.mapping, self._next = self._next, None
                self._is_stopping = False
        finally:
            self._is_running = False

    def stop(self) -> None:
        """Read nothing more; batches in flight end and are committed, and then `run` returns."""
        self._next = None
        self._stop_shards()

    def resume(self, mapping: EventSourceMapping) -> bool:
        """Take up work again after `stop`; False when it has already come to its end."""
        if not self._is_running:
            return False
        self.reconfigure(mapping)
        return True

    def reconfigure(self, mapping: EventSourceMapping) -> None:
        """Go on with new settings from the checkpoints, once the batches in flight have ended under the old ones."""
        self._next = mapping
        self._stop_shards()

    def describe(self) -> dict[str, Any]:
        """Return what each shard does, what it waits for and why."""
        shards = [self._describe(place) for place in self._places.values()]
        reasons = sorted({str(shard["waiting_for"]) for shard in shards if shard["state"] == "reading"} - {"records"})
        return {
            "waiting_for": self.problem or ", ".join(reasons) or ("records" if shards else "shards"),
            "problem": self.problem,
            "last_result": self._result,
            "shards": shards,
        }

    async def inspect(self) -> dict[str, Any]:
        """Return `describe` with how far each shard is behind: records, and the age of the oldest in milliseconds."""
        mapping_id = self.mapping.id
        kept = await self._rooms.store.read(lambda tx: tx.checkpoints.of(mapping_id))
        shown = self.describe()
        now = self._rooms.clock.now()
        for shard, place in zip(shown["shards"], list(self._places.values()), strict=True):
            stored = kept.get(place.shard.checkpoint_key)
            shard.setdefault("checkpoint", None if stored is None else stored.progress.checkpoint or None)
            if place.is_finished:
                shard |= {"lag_records": 0, "iterator_age_ms": 0}
            elif isinstance(self._poller, Measures):
                shard |= await _behind(self._poller, place.shard, shard["checkpoint"], now=now)
        return shown

    async def _checkpoint(self, place: _Place) -> Checkpoint | None:
        mapping_id, key = self.mapping.id, place.shard.checkpoint_key
        return await self._rooms.store.read(lambda tx: tx.checkpoints.get(mapping_id, key))

    def _describe(self, place: _Place) -> dict[str, Any]:
        state = "finished" if place.is_finished else "reading" if place.is_attended else "waiting"
        shown: dict[str, Any] = {"shard_id": place.shard.id, "state": state, "restarts": place.restarts}
        if place.runner is not None:
            shown |= place.runner.describe()
        elif place.problem is not None:
            shown |= {"waiting_for": place.problem, "problem": place.problem}
        elif state == "waiting":
            shown["waiting_for"] = f"its parents to be finished: {', '.join(place.shard.parents)}"
        else:
            shown["waiting_for"] = "nothing"
        return shown

    # -- one life, with the same settings

    async def _live(self) -> None:
        """Open the poller, and keep a runner for each shard whose turn it is, until stopped."""
        self._places.clear()
        self._changed.clear()
        if self._is_stopping:
            return
        try:
            opened = self._open_poller(self.mapping)
            async with opened as poller, anyio.create_task_group() as group:
                self._poller, self._group = poller, group
                group.start_soon(self._follow_function)
                if isinstance(poller, Announces):
                    await self._follow_announced(poller)
                else:
                    await self._follow_list(poller)
                group.cancel_scope.cancel()
        except ConfigurationError as error:
            self._note_source(str(error))
            while not self._is_stopping:
                await self._changed.wait()
                self._changed.clear()
        finally:
            self._poller = None

    async def _follow_announced(self, poller: ShardPoller) -> None:
        assert isinstance(poller, Announces)
        was_there = False
        while not self._is_over():
            with poller.watch(None) as bell:
                is_there = await self._look_at_shards(poller)
                if is_there and not was_there:
                    was_there = True
                    continue  # now that it is there, the bell is another one
                was_there = is_there
                await self._rest(bell, None if is_there else LIST_AGAIN_S)

    async def _follow_list(self, poller: ShardPoller) -> None:
        while not self._is_over():
            await self._look_at_shards(poller)
            await self._rest(None, LIST_AGAIN_S)

    async def _rest(self, bell: Bell | None, look_again_s: float | None) -> None:
        """Return when the list may have changed: the bell rang, a shard was finished, time has passed, or stop."""
        async with anyio.create_task_group() as group:
            if bell is not None:
                group.start_soon(self._ring, bell)
            with nullcontext() if look_again_s is None else anyio.move_on_after(look_again_s):
                await self._changed.wait()
            self._changed.clear()
            group.cancel_scope.cancel()

    async def _ring(self, bell: Bell) -> None:
        await bell.wait()
        self._changed.set()

    def _is_over(self) -> bool:
        return self._is_stopping and not any(place.is_attended for place in self._places.values())

    async def _look_at_shards(self, poller: ShardPoller) -> bool:
        """List the shards and start those whose turn it is; False when the source cannot be reached."""
        if self._is_stopping:
            return True
        with self._rooms.clock.working():
            try:
                listed = await poller.shards()
                if not self.mapping.has_begun:
                    await self._begin(poller, listed)
            except (SourceUnavailable, ConfigurationError) as error:
                self._note_source(str(error))
                return False
            self._note_source(None)
            kept = await self._rooms.store.read(lambda tx: tx.checkpoints.of(self.mapping.id))
            for shard in listed:
                place = self._places.setdefault(shard.checkpoint_key, _Place(shard))
                place.shard = shard
                if place.runner is not None:
                    place.runner.refresh(shard)
                checkpoint = kept.get(shard.checkpoint_key)
                place.is_finished = place.is_finished or (checkpoint is not None and checkpoint.is_finished)
            await self._forget_unlisted({shard.checkpoint_key for shard in listed}, set(kept))
            unfinished = {place.shard.id for place in self._places.values() if not place.is_finished}
            for place in self._places.values():
                if not place.is_finished and not place.is_attended and not unfinished.intersection(place.shard.parents):
                    place.is_attended = True
                    self._group.start_soon(self._attend, place, poller)
        return True

    async def _begin(self, poller: ShardPoller, listed: Sequence[Shard]) -> None:
        """Fix where the mapping begins in each shard of a poller that keeps no checkpoints of ours."""
        mapping = self.mapping
        starts: dict[str, str] = {}
        if mapping.starting_position in ("LATEST", "AT_TIMESTAMP"):
            if not isinstance(poller, Seeks):
                raise ConfigurationError(
                    f"The poller of {mapping.source_arn} cannot begin at {mapping.starting_position}; "
                    "make the mapping anew with the starting position TRIM_HORIZON."
                )
            position: StartingPosition = "LATEST" if mapping.starting_position == "LATEST" else "AT_TIMESTAMP"
            for shard in listed:
                start = await poller.seek(shard, position, mapping.starting_at)
                if start is not None:
                    starts[shard.checkpoint_key] = start

        def unit(tx: Tx) -> EventSourceMapping | None:
            for key, start in starts.items():
                tx.checkpoints.save(mapping.id, key, Progress(start))
            tx.mappings.set_begun(mapping.id)
            return tx.mappings.get(mapping.id)

        begun = await commit(self._rooms.store, unit)
        if begun is not None:
            self.mapping = begun

    async def _forget_unlisted(self, listed: set[str], kept: set[str]) -> None:
        """Drop what is known of shards that the source has no more; say so of those that were not read whole."""
        gone = {key for key in {*kept, *self._places} - listed if not self._is_attended(key)}
        if not gone:
            return
        for key in gone:
            place = self._places.pop(key, None)
            if place is None or not place.is_finished:
                _LOG.info("shard.gone", mapping_id=self.mapping.id, shard=key)
        mapping_id = self.mapping.id
        await commit(self._rooms.store, lambda tx: tx.checkpoints.forget(mapping_id, gone))

    def _is_attended(self, key: str) -> bool:
        place = self._places.get(key)
        return place is not None and place.is_attended

    # -- shards

    async def _attend(self, place: _Place, poller: ShardPoller) -> None:
        """Keep one shard's runner alive until the shard is finished or the mapping stops."""
        clock = self._rooms.clock
        try:
            while not self._is_stopping:
                started_at = clock.now()
                try:
                    if await self._run_shard(place, poller):
                        place.is_finished = True
                    return
                except Exception as error:
                    _LOG.error("shard.failed", mapping_id=self.mapping.id, shard_id=place.shard.id, exc_info=error)
                    place.restarts = 1 if clock.now() - started_at > 60.0 else place.restarts + 1
                    place.problem = f"{_name_of(error)} in the poller of {place.shard.id}; it is started again."
                    place.runner = None
                    self._tell()
                    with anyio.CancelScope() as place.pause:
                        await clock.sleep_until(clock.now() + delay_s(place.restarts, 0.5, first_s=1.0, longest_s=60.0))
                    place.pause = None
        finally:
            place.runner = None
            place.is_attended = False
            self._tell()
            self._changed.set()

    async def _run_shard(self, place: _Place, poller: ShardPoller) -> bool:
        """Run the shard from its checkpoint; return whether it is finished."""
        kept = await self._checkpoint(place)
        progress = Progress() if kept is None else kept.progress
        place.runner = ShardRunner(
            self.mapping, place.shard, poller, self._rooms, progress, on_change=partial(self._changed_shard, place)
        )
        if self._is_stopping:
            return False
        return await place.runner.run()

    def _stop_shards(self) -> None:
        self._is_stopping = True
        for place in self._places.values():
            if place.runner is not None:
                place.runner.stop()
            if place.pause is not None:
                place.pause.cancel()
        self._changed.set()

    async def _follow_function(self) -> None:
        """Try again at once, whatever waits for another attempt, when the function has changed."""
        with self._rooms.store.watch(("function", self.mapping.unqualified_function_arn)) as bell:
            while True:
                await bell.wait()
                for place in self._places.values():
                    if place.runner is not None:
                        place.runner.hurry()

    # -- problems and results

    def _note_source(self, problem: str | None) -> None:
        self._source_problem = problem
        self._tell()

    def _changed_shard(self, place: _Place) -> None:
        if place.runner is not None and place.runner.result is not None:
            place.problem = None
        self._tell()

    def _tell(self) -> None:
        """Tell the mapping's problem and result, if they have changed: those of the worst of its shards."""
        runners = [place.runner for place in self._places.values() if place.runner is not None]
        shards = [place.problem for place in self._places.values()] + [runner.problem for runner in runners]
        problem = next(filter(None, (self._source_problem, *shards)), None)
        if problem != self.problem:
            self.problem = problem
            self._on_problem(problem)
        results = sorted((runner.result for runner in runners if runner.result is not None), reverse=True)
        if results and results[0] != self._result:  # "PROBLEM: ..." sorts after "OK"
            self._result = results[0]
            self._on_result(self._result)


async def inspect_paused(mapping: EventSourceMapping, rooms: ShardRooms, poller: ShardPoller) -> list[dict[str, Any]]:
    """Return where a mapping that is not at work stands in each shard, and how far it is behind by now.

    Nothing when it has never been enabled, or its source is not there.
    """
    if not mapping.has_begun:
        return []
    try:
        listed = await poller.shards()
    except SourceUnavailable:
        return []
    kept = await rooms.store.read(lambda tx: tx.checkpoints.of(mapping.id))
    shards: list[dict[str, Any]] = []
    for shard in listed:
        checkpoint = kept.get(shard.checkpoint_key)
        after = None if checkpoint is None else checkpoint.progress.checkpoint or None
        is_finished = checkpoint is not None and checkpoint.is_finished
        tried = () if checkpoint is None else checkpoint.progress.tried
        shown = {
            "shard_id": shard.id,
            "state": "finished" if is_finished else "paused",
            "checkpoint": after,
            "attempts": max((each.invocations for lane in tried for each in lane[:1]), default=0),
            "waiting_for": "nothing" if is_finished else "the mapping to be enabled",
        }
        if is_finished:
            shown |= {"lag_records": 0, "iterator_age_ms": 0}
        elif isinstance(poller, Measures):
            shown |= await _behind(poller, shard, after, now=rooms.clock.now())
        shards.append(shown)
    return shards


async def _behind(poller: Measures, shard: Shard, after: str | None, *, now: float) -> dict[str, int]:
    """Return how many records follow a position, and how old the first of them is."""
    lag = await poller.lag(shard, after=after)
    age_s = 0.0 if lag.oldest_at is None else max(0.0, now - lag.oldest_at)
    return {"lag_records": lag.records, "iterator_age_ms": round(age_s * 1000)}


def _name_of(error: BaseException) -> str:
    """Return the kind of an error, of a group that of its first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__
