"""The one way to invoke a function: version, concurrency, environment, outcome.

`Invoker.invoke` answers with a value, whatever the function does. A warm invocation goes straight to its process;
anything colder is done by a task of the invoker's own, so a caller that goes away stops nothing. Functions are
remembered from their first invocation on and read again when the store announces a change.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import anyio
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup, TaskStatus

from eventrt.core.asynchronous import RECURSION
from eventrt.core.concurrency import ConcurrencyPool
from eventrt.core.functions import FunctionVersion
from eventrt.core.records import Outcome, ServiceFault, Throttled
from eventrt.core.recursion import MESSAGE as LOOP_STOPPED
from eventrt.core.recursion import MOST_PASSES, entered, mark_of
from eventrt.invoker import variables
from eventrt.invoker.environments import Environment, EnvironmentFailed, new_stream
from eventrt.invoker.functions import TRANSITIONS
from eventrt.invoker.invocation import Invocation
from eventrt.invoker.runtimes.interpreters import Interpreter, Interpreters, NoInterpreter
from eventrt.invoker.runtimes.python import PythonRuntime, own_interpreter
from eventrt.invoker.traces import trace_of
from eventrt.observability.function_logs import FunctionLogs
from eventrt.store.api import Store

ALWAYS_UNRESERVED = 100
"""What the account keeps unreserved at the least; below it, nobody has to look what is reserved elsewhere."""

ENVIRONMENT_LIFE_S = 6 * 3600.0
"""How long an environment serves at the most: its credentials are not renewed, as they are not on AWS."""

WARM_RUNTIMES = 3
"""For how many runtimes zygotes are started before the first invocation."""

FunctionKey: TypeAlias = tuple[str, str, str]
Credentials: TypeAlias = Callable[[FunctionVersion], Awaitable[tuple[str, str, str]]]
"""Return (access key, secret key, session token) for the calls of a function's handler."""

_LOG = structlog.get_logger("eventrt.invoker")


class _Entry:
    """What the invoker holds of one function: the version to run, its environments, the idle ones last used last."""

    __slots__ = ("environments", "idle", "key", "mark", "pool", "version", "wants_boto3")

    def __init__(self, key: FunctionKey, pool: ConcurrencyPool) -> None:
        self.key = key
        self.mark = mark_of(f"arn:aws:lambda:{key[1]}:{key[0]}:function:{key[2]}")
        self.pool = pool
        self.version: FunctionVersion | None = None
        self.environments: set[Environment] = set()
        self.idle: list[Environment] = []
        self.wants_boto3: dict[str, bool] = {}


class Invoker:
    """Invokes functions while it runs.

    Args:
        store: where functions are read and watched.
        data_dir: the daemon's data directory.
        interpreters: which interpreter serves which Runtime.
        endpoint: what a handler's AWS_ENDPOINT_URL is: `http://127.0.0.1:4566`.
        packages: the setting `runtime.packages`.
        account_concurrency: invocations of one account and region at a time.
        max_environments: processes on this machine at a time; further invocations wait for one.
        idle_timeout_s: how long an environment stays warm. stop_grace_s: what running invocations get at the end.
        log_bytes: how much of each function's output is kept.
        credentials: what handlers sign with; None gives keys that name the function's account.
        runtime: the Python runtime, if it is to be another than the default one.
    """

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        *,
        interpreters: Interpreters,
        endpoint: str,
        packages: str = "",
        account_concurrency: int = 1000,
        max_environments: int = 100,
        idle_timeout_s: float = 300.0,
        stop_grace_s: float = 10.0,
        log_bytes: int = 16 * 1024 * 1024,
        credentials: Credentials | None = None,
        runtime: PythonRuntime | None = None,
    ) -> None:
        self.logs = FunctionLogs(data_dir / "logs", max_bytes=log_bytes)
        self.runtime = runtime or PythonRuntime(data_dir, interpreters=interpreters, packages=packages)
        self.endpoint = endpoint
        self._store = store
        self._interpreters = interpreters
        self._account_concurrency = account_concurrency
        self._max_environments = max_environments
        self._idle_timeout_s = idle_timeout_s
        self._stop_grace_s = stop_grace_s
        self._credentials = credentials or variables.account_credentials
        self._entries: dict[FunctionKey, _Entry] = {}
        self._pools: dict[tuple[str, str], ConcurrencyPool] = {}
        self._reserved: dict[Environment, bool] = {}
        self._tasks: TaskGroup | None = None
        self._running = 0
        self._all_done: asyncio.Event | None = None
        self._places_taken = 0
        self._waiting_for_place: deque[asyncio.Future[None]] = deque()
        self._next_number = 0
        self._is_stopping = False
        self._cold: set[asyncio.Future[Outcome]] = set()
        """Invocations that wait for their environment."""
        self._hurried = asyncio.Event()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._warned: set[tuple[str, str]] = set()

    # -- invoking

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one event through its function and return what came of it."""
        if self._tasks is None or self._is_stopping:
            return ServiceFault("ServiceException", "The daemon is stopping and takes no invocations.", 503)
        key = (invocation.account_id, invocation.region, invocation.function_name)
        entry = self._entries.get(key)
        if entry is None or entry.version is None:
            entry = await self._find(key)
        function = None if entry is None else entry.version
        if entry is None or function is None or invocation.qualifier not in (None, "$LATEST"):
            return ServiceFault(
                "ResourceNotFoundException",
                f"Function not found: {invocation.invoked_arn}",
                404,
                {"Type": "User"},
            )
        if function.state != "Active":
            return ServiceFault(
                "ResourceConflictException",
                "The operation cannot be performed at this time. The function is currently in the following state: "
                f"{function.state}",
                409,
                {"Type": "User"},
            )
        trace, passes = entered(
            trace_of(invocation.trace_header, 1 if function.tracing_mode == "Active" else 0), entry.mark
        )
        if passes > MOST_PASSES and function.recursive_loop == "Terminate":
            _LOG.warning("function.loop_stopped", function=function.name, passes=passes - 1)
            return ServiceFault(RECURSION, LOOP_STOPPED, 400, {"Type": "User"})
        pool = entry.pool
        reserved = function.reserved_concurrency
        if reserved is None and pool.unreserved_running >= ALWAYS_UNRESERVED:
            await self._count_reserved(key, pool)
        reason = pool.acquire(key, reserved)
        if reason is not None:
            return Throttled(reason)
        self._running += 1
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        environment = self._take_idle(entry)
        if environment is not None and environment.process is not None:
            self._reserved[environment] = reserved is not None
            environment.open_invocation(invocation, future)
            environment.send(invocation, trace)
        else:
            self._cold.add(future)
            future.add_done_callback(self._cold.discard)
            self._tasks.start_soon(
                self._invoke_cold, entry, function, environment, invocation, trace, future, reserved is not None
            )
        return await future

    async def _invoke_cold(
        self,
        entry: _Entry,
        function: FunctionVersion,
        environment: Environment | None,
        invocation: Invocation,
        trace: str,
        future: "asyncio.Future[Outcome]",
        is_reserved: bool,
    ) -> None:
        """Make or revive an environment and invoke it there; the future gets an outcome whatever happens."""
        with anyio.CancelScope(shield=True):
            try:
                if environment is None:
                    environment = await self._place(entry) or await self._make(entry, function)
                self._reserved[environment] = is_reserved
                if environment.is_new and not self._hurried.is_set():
                    await environment.first_start()
                if self._hurried.is_set():
                    self._give_up(entry, environment, future, is_reserved, EnvironmentFailed("the daemon stops"))
                    return
                environment.open_invocation(invocation, future)
                if environment.process is None:
                    failure = await environment.start(environment.remaining_s, invocation.request_id)
                    if failure is not None:
                        environment.fail(failure)
                        return
                environment.send(invocation, trace)
            except (EnvironmentFailed, NoInterpreter, OSError) as error:
                if not self._hurried.is_set():  # else it is ended on purpose
                    _LOG.error("environment.failed", function=function.name, error=str(error))
                self._give_up(entry, environment, future, is_reserved, error)
            except BaseException as error:
                self._give_up(entry, environment, future, is_reserved, error)
                raise

    def _give_up(
        self,
        entry: _Entry,
        environment: Environment | None,
        future: "asyncio.Future[Outcome]",
        is_reserved: bool,
        error: BaseException,
    ) -> None:
        """Answer an invocation that no environment could be had for."""
        if environment is not None:
            self._reserved.pop(environment, None)
            environment.abandon_invocation()
            self._start_retiring(entry, environment)
        self._release(entry, is_reserved=is_reserved)
        if future.done():
            return
        if isinstance(error, NoInterpreter):
            future.set_result(ServiceFault("InvalidRuntimeException", str(error), 502, {"Type": "Server"}))
        else:
            future.set_result(ServiceFault("ServiceException", f"The environment cannot be started: {error}", 500))

    def _release(self, entry: _Entry, *, is_reserved: bool) -> None:
        entry.pool.release(entry.key, is_reserved=is_reserved)
        self._running -= 1
        if not self._running and self._all_done is not None:
            self._all_done.set()

    # -- functions

    async def _find(self, key: FunctionKey) -> _Entry | None:
        """Return what is held of a function, read from the store and followed from here on; None when it is gone."""
        entry = self._entries.get(key)
        if entry is None:
            assert self._tasks is not None
            if await self._store.read(lambda tx: tx.functions.get(*key)) is None:
                return None
            if key not in self._entries:
                pool = self._pools.setdefault(key[:2], ConcurrencyPool(self._account_concurrency))
                entry = self._entries[key] = _Entry(key, pool)
                try:
                    with anyio.CancelScope(shield=True):  # a caller that goes away must not take the follower along
                        await self._tasks.start(self._follow, entry)
                except BaseException:
                    if self._entries.get(key) is entry:
                        del self._entries[key]  # nobody follows it: the next caller begins anew
                    raise
                return entry
            entry = self._entries[key]
        if entry.version is None:
            entry.version = await self._store.read(lambda tx: tx.functions.get(*key))
        return entry

    async def _follow(self, entry: _Entry, *, task_status: TaskStatus[None]) -> None:
        """Keep one function's version right until the function is gone, and retire what runs another one."""
        arn = f"arn:aws:lambda:{entry.key[1]}:{entry.key[0]}:function:{entry.key[2]}"
        with self._store.watch(("function", arn)) as bell:
            is_first = True
            while True:
                version = await self._store.read(lambda tx: tx.functions.get(*entry.key))
                entry.version = version
                await self._count_reserved(entry.key, entry.pool)
                if is_first:
                    task_status.started()
                    is_first = False
                wanted = None if version is None else version.configuration_id
                for environment in [e for e in entry.idle if e.function.configuration_id != wanted]:
                    entry.idle.remove(environment)
                    self._start_retiring(entry, environment)
                if version is None:
                    del self._entries[entry.key]
                    self.logs.forget(*entry.key)
                    return
                await bell.wait()
                entry.version = None

    async def _count_reserved(self, key: FunctionKey, pool: ConcurrencyPool) -> None:
        usage = await self._store.read(lambda tx: tx.functions.usage(key[0], key[1]))
        pool.reserved_total = usage.reserved_concurrency

    # -- environments

    def _take_idle(self, entry: _Entry) -> Environment | None:
        """Return the idle environment that was used last; those whose process has ended come last of all."""
        idle = entry.idle
        if not idle:
            return None
        if idle[-1].process is not None:
            return idle.pop()
        for position in range(len(idle) - 1, -1, -1):
            if idle[position].process is not None:
                return idle.pop(position)
        return idle.pop()

    async def _place(self, entry: _Entry) -> Environment | None:
        """Wait for room on the machine: an environment that came free meanwhile, or None for a new one's place."""
        while True:
            environment = self._take_idle(entry)
            if environment is not None:
                return environment
            if self._places_taken < self._max_environments:
                self._places_taken += 1
                return None
            victim = min(
                ((e, other) for other in self._entries.values() for e in other.idle),
                key=lambda pair: pair[0].idle_since,
                default=None,
            )
            if victim is not None:
                victim[1].idle.remove(victim[0])
                await self._retire(victim[1], victim[0])
                continue
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_for_place.append(future)
            await future

    def _wake_waiting(self) -> None:
        while self._waiting_for_place:
            future = self._waiting_for_place.popleft()
            if not future.done():
                future.set_result(None)
                return

    async def _make(self, entry: _Entry, function: FunctionVersion) -> Environment:
        """Return a new environment, not yet started. Its place is taken already.

        Raises: NoInterpreter: nothing on this machine can run it.
        """
        try:
            interpreter = await self.interpreter(function.runtime)
            self._tell_stand_in(function, interpreter)
            wants_boto3 = entry.wants_boto3.get(function.code.folder)
            if wants_boto3 is None:
                wants_boto3 = entry.wants_boto3[function.code.folder] = await anyio.to_thread.run_sync(
                    self.runtime.wants_boto3, function.code.folder, function.packages
                )
            self._next_number += 1
            stream = new_stream(function)
            environment = Environment(
                self._next_number,
                function,
                runtime=self.runtime,
                interpreter=interpreter,
                log=self.logs.of(*entry.key),
                stream=stream,
                variables=variables.of(
                    function,
                    stream=stream,
                    endpoint=self.endpoint,
                    credentials=await self._credentials(function),
                ),
                wants_boto3=wants_boto3,
                on_free=lambda environment: self._on_free(entry, environment),
            )
        except BaseException:
            self._places_taken -= 1
            self._wake_waiting()
            raise
        entry.environments.add(environment)
        return environment

    async def interpreter(self, runtime: str) -> Interpreter:
        """Return the interpreter for a Runtime.

        Raises: NoInterpreter: there is none.
        """
        known = self._interpreters.known(runtime)
        if known is not None:
            return known
        return await anyio.to_thread.run_sync(self._interpreters.resolve, runtime)

    def _tell_stand_in(self, function: FunctionVersion, interpreter: Interpreter) -> None:
        told = (function.arn, function.runtime)
        if not interpreter.exact and told not in self._warned:
            self._warned.add(told)
            _LOG.warning(
                "function.interpreter_differs",
                function=function.name,
                runtime=function.runtime,
                interpreter=interpreter.path,
                version=".".join(map(str, interpreter.version)),
                advice=f'install {function.runtime}, or set runtime.interpreters."{function.runtime}"',
            )

    def _on_free(self, entry: _Entry, environment: Environment) -> None:
        """Take an environment back after an invocation: keep it warm, or retire it."""
        self._release(entry, is_reserved=self._reserved.pop(environment))
        version = entry.version
        if self._is_stopping or (version is None or version.configuration_id != environment.function.configuration_id):
            if version is None and self._entries.get(entry.key) is entry and not self._is_stopping:
                # It is just being read again; `_follow` retires what does not fit.
                self._keep(entry, environment)
                return
            self._start_retiring(entry, environment)
            return
        self._keep(entry, environment)

    def _keep(self, entry: _Entry, environment: Environment) -> None:
        loop = asyncio.get_running_loop()
        now = environment.idle_since = loop.time()
        if now - environment.made_at > ENVIRONMENT_LIFE_S:
            self._start_retiring(entry, environment)
            return
        entry.idle.append(environment)
        if self._waiting_for_place:
            self._wake_waiting()
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(self._idle_timeout_s, self._retire_idle)

    def _retire_idle(self) -> None:
        """Retire what was idle for too long, and come back when the next one is due."""
        loop = asyncio.get_running_loop()
        self._idle_timer = None
        oldest = loop.time() - self._idle_timeout_s
        next_due: float | None = None
        for entry in self._entries.values():
            # The list is in the order of last use, the oldest first.
            while entry.idle and entry.idle[0].idle_since <= oldest:
                self._start_retiring(entry, entry.idle.pop(0))
            if entry.idle:
                since = entry.idle[0].idle_since
                next_due = since if next_due is None else min(next_due, since)
        if next_due is not None:
            self._idle_timer = loop.call_at(next_due + self._idle_timeout_s, self._retire_idle)

    def _start_retiring(self, entry: _Entry, environment: Environment) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(self._retire, entry, environment)

    async def _retire(self, entry: _Entry, environment: Environment) -> None:
        with anyio.CancelScope(shield=True):
            await environment.retire()
        if environment in entry.environments:
            entry.environments.remove(environment)
            self._places_taken -= 1
            self._wake_waiting()

    # -- life

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Take invocations until cancelled; then let running ones finish within their grace, and leave nothing."""
        self.runtime.clean_up()
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                task_status.started()
                try:
                    await anyio.sleep_forever()
                finally:
                    with anyio.CancelScope(shield=True):
                        try:
                            await self._drain()
                        finally:
                            self.hurry()
                            await self.runtime.close()
        finally:
            self._tasks = None
            if self._idle_timer is not None:
                self._idle_timer.cancel()
            self.logs.flush()

    async def _drain(self) -> None:
        """Wait until no invocation runs, at most for the grace."""
        self._is_stopping = True
        if not self._running:
            return
        self._all_done = asyncio.Event()
        if self._running:
            with anyio.move_on_after(self._stop_grace_s):
                async with anyio.create_task_group() as either:

                    async def wait_for(event: asyncio.Event) -> None:
                        await event.wait()
                        either.cancel_scope.cancel()

                    either.start_soon(wait_for, self._all_done)
                    either.start_soon(wait_for, self._hurried)

    def hurry(self) -> None:
        """Take no more invocations, and end those that run: their callers get a fault of the service at once."""
        self._is_stopping = True
        if self._hurried.is_set():
            return
        self._hurried.set()
        if self._running:
            _LOG.warning("invoker.stopped_early", running=self._running)
        fault = ServiceFault("ServiceException", "The daemon stopped before the function had answered.", 500)
        for future in tuple(self._cold):
            if not future.done():
                future.set_result(fault)
        for entry in self._entries.values():
            for environment in tuple(entry.environments):
                environment.interrupt(fault)

    async def warm_up(self) -> None:
        """Start zygotes for the runtimes in use before somebody waits for them; goes on until cancelled."""
        await self._warm(own_interpreter(), with_boto3=False)
        with self._store.watch(TRANSITIONS) as bell:
            warmed: set[str] = set()
            while True:
                used = await self._store.read(lambda tx: {function.runtime for function in tx.functions.every()})
                for runtime in sorted(used - warmed)[: max(0, WARM_RUNTIMES - len(warmed))]:
                    warmed.add(runtime)
                    await self._warm(runtime, with_boto3=False)
                    await self._warm(runtime, with_boto3=True)
                await bell.wait()

    async def _warm(self, runtime: str, *, with_boto3: bool) -> None:
        try:
            interpreter = await self.interpreter(runtime)
            await self.runtime.zygote(interpreter, with_boto3=with_boto3)
        except (NoInterpreter, EnvironmentFailed, OSError) as error:
            # Whoever invokes such a function is told; here it is only that nothing can be prepared.
            if self._is_stopping:
                return
            _LOG.warning("runtime.not_warmed", runtime=runtime, error=str(error))

    def status(self) -> Mapping[str, object]:
        """Return what the health answer tells of this room."""
        return {
            "status": "stopping" if self._is_stopping else "running" if self._tasks is not None else "stopped",
            "isolation": self.runtime.isolation_in_force or "unknown",
            "environments": self._places_taken,
            "running": self._running,
        }
