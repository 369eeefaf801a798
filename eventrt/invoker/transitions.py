"""What happens to functions behind the answer: transitions are completed, code nobody uses is cleared away.

A created or updated function waits for its transition only until its commit; one that a kill left behind is
completed at the next start. Events wake the work, no clock: it is done within a loop's turn or two.
"""

import anyio
import structlog
from anyio.abc import TaskStatus

from eventrt.core.refused import Refused
from eventrt.errors import StoreFull
from eventrt.invoker import functions
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.store.api import Store

RETRY_S = 1.0
"""How long (real seconds) a full disk is given before a transition is tried again."""

_LOG = structlog.get_logger("eventrt.functions")


class Transitions:
    """Completes the transitions of functions and clears unused code while it runs.

    Args: interpreters: says when another interpreter stands in for a function's Runtime; its state tells that.
    """

    def __init__(self, store: Store, packages: Packages, interpreters: Interpreters) -> None:
        self._store = store
        self._packages = packages
        self._interpreters = interpreters

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Complete what a former daemon left, report started, and go on until cancelled."""
        with self._store.watch(functions.TRANSITIONS) as bell:
            await self._complete()
            async with anyio.create_task_group() as group:
                await group.start(self._packages.run, self._store)
                task_status.started()
                while True:
                    await bell.wait()
                    await self._complete()

    async def _complete(self) -> None:
        """Complete what waits; while the disk is full the functions stay in transition, and serve as before."""
        remarks: dict[str, str | None] = {}
        while True:
            for runtime in await self._store.read(functions.runtimes_in_transition) - remarks.keys():
                remarks[runtime] = await self._remark(runtime)
            try:
                await self._store.write(lambda tx: functions.complete_transitions(tx, remarks))
            except StoreFull as error:
                _LOG.warning("function.transition_delayed", error=str(error), retry_s=RETRY_S)
                await anyio.sleep(RETRY_S)
            else:
                return

    async def _remark(self, runtime: str) -> str | None:
        try:
            return await self._interpreters.check(runtime)
        except Refused as refused:  # it was there when the function was made
            return refused.message
