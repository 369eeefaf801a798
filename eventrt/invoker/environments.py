"""Warm environments: one process and one file system each, that serve one invocation at a time.

An `Environment` is started, invoked, reset after a crash or a timeout (its /tmp stays, as on AWS) and retired.
Who may run at all, and which environment serves, is the business of `invoker`; how a process comes to be is the
runtime's.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from eventrt.core.functions import FunctionVersion
from eventrt.core.records import FunctionError, Outcome, Succeeded
from eventrt.invoker import report
from eventrt.invoker.invocation import Invocation
from eventrt.invoker.runtimes import frames
from eventrt.invoker.runtimes.interpreters import Interpreter
from eventrt.invoker.runtimes.package_set import site_packages
from eventrt.invoker.runtimes.process import WorkerProcess
from eventrt.invoker.runtimes.python import EnvironmentFailed, Launch, PythonRuntime
from eventrt.observability.function_logs import FunctionLog

INIT_LIMIT_S = 10.0
"""How long the init phase may take before it is done over within the first invocation."""

KILL_LIMIT_S = 3.0
"""How long a killed process may take to be gone before its invocation is answered regardless."""

LOG_TAIL_BYTES = 4096

_perf = time.perf_counter
_wall = time.time


class Environment:
    """One environment of a function.

    Args:
        number: names it on this daemon. variables: the handler's environment variables. on_free: called with
        the environment once it can take the next invocation (`process` is None then if it has to be started anew).
    """

    def __init__(
        self,
        number: int,
        function: FunctionVersion,
        *,
        runtime: PythonRuntime,
        interpreter: Interpreter,
        log: FunctionLog,
        stream: str,
        variables: Mapping[str, str],
        wants_boto3: bool,
        on_free: Callable[["Environment"], None],
    ) -> None:
        self.number = number
        self.function = function
        self.interpreter = interpreter
        self.process: WorkerProcess | None = None
        self.idle_since = 0.0
        self.is_retired = False
        self.is_new = True
        self._runtime = runtime
        self._log = log
        self._on_free = on_free
        self._loop = asyncio.get_running_loop()
        self.made_at = self._loop.time()
        packages = site_packages(function.packages) if function.packages else None
        self._wants_boto3 = wants_boto3
        self._launch = Launch(
            space=number,
            code=function.code.folder,
            handler=function.handler,
            variables=variables,
            memory_mb=function.memory_mb,
            tmp_mb=function.ephemeral_storage_mb,
            code_id=function.code.sha256,
            packages=packages,
        )
        self.stream = stream
        self._init: asyncio.Future[FunctionError | None] | None = None
        self._init_ms: float | None = None
        self._gone: asyncio.Future[None] | None = None
        # The running invocation.
        self._future: asyncio.Future[Outcome] | None = None
        self._request_id = ""
        self._started = 0.0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._timed_out = False
        self._tail: bytearray | None = None
        self._unfinished_line = b""
        self._peak_kb = 0
        self._is_out_of_memory = False

    @property
    def is_busy(self) -> bool:
        """Does an invocation run in it?"""
        return self._future is not None

    # -- init

    async def start(self, limit_s: float, request_id: str) -> FunctionError | None:
        """Start its process and load the handler; None when it is ready, else the error for the caller.

        Raises: EnvironmentFailed: no process could be started.
        """
        self._init = self._loop.create_future()
        self._peak_kb = 0
        self._is_out_of_memory = False
        began = _perf()
        try:
            self.process = await self._runtime.start(
                self.interpreter, self._launch, self, wants_boto3=self._wants_boto3
            )
            try:
                async with asyncio.timeout(limit_s):
                    failure = await asyncio.shield(self._init)
            except TimeoutError:
                await self.end_process()
                return report.error(report.TIMED_OUT, self._timeout_text())
            finally:
                self._init_ms = (_perf() - began) * 1000
        finally:
            self._init = None
        if failure is None:
            return None
        await self.end_process()
        if failure.error_type in (report.EXIT_ERROR, report.OUT_OF_MEMORY):
            return report.error(failure.error_type, report.exit_message(request_id, int(failure.error_message)))
        return report.init_error(failure.payload, request_id)

    async def first_start(self) -> None:
        """Go through the init phase; when it fails, the first invocation does it over."""
        self.is_new = False
        self._log.write(report.init_start_line(self.interpreter.version, self.function.region))
        failure = await self.start(INIT_LIMIT_S, "")
        self._end_line()
        if failure is not None:
            timed_out = failure.error_type == report.TIMED_OUT
            self._log.write(
                report.init_report_line(
                    self._init_ms or 0.0,
                    "timeout" if timed_out else "error",
                    None if timed_out else failure.error_type,
                )
            )
            self._init_ms = None

    async def end_process(self) -> None:
        """End its process, if there is one, and wait until it is gone."""
        process = self.process
        if process is None:
            return
        if self._gone is None:
            self._gone = self._loop.create_future()
            process.kill()
        try:
            async with asyncio.timeout(KILL_LIMIT_S):
                await asyncio.shield(self._gone)
        except TimeoutError:
            process.ended(signal.SIGKILL, 0)

    # -- invocations

    def open_invocation(self, invocation: Invocation, future: "asyncio.Future[Outcome]") -> None:
        """Begin an invocation: its time runs from here. `send` or `fail` follows."""
        self._future = future
        self._request_id = invocation.request_id
        self._started = _perf()
        self._deadline = self._started + self.function.timeout_s
        self._timed_out = False
        start = f"START RequestId: {invocation.request_id} Version: {self.function.version}\n".encode()
        self._tail = bytearray(start) if invocation.wants_log_tail else None
        self._log.write(start)

    @property
    def remaining_s(self) -> float:
        """How long the running invocation may still take."""
        return self._deadline - _perf()

    def send(self, invocation: Invocation, trace: str) -> None:
        """Hand the running invocation to the process; `trace` is the header its handler sees."""
        remaining_s = self._deadline - _perf()
        if self._timer is None:
            self._timer = self._loop.call_later(max(0.0, remaining_s), self._on_time)
        process = self.process
        assert process is not None
        self._is_running = True
        process.send(
            frames.pack_request(
                invocation.payload or b"{}",
                invocation.request_id,
                invocation.invoked_arn,
                trace,
                invocation.client_context or b"",
                float(int((_wall() + remaining_s) * 1000)),
            )
        )

    def fail(self, outcome: FunctionError) -> None:
        """End the running invocation without having run the handler."""
        if outcome.error_type == report.TIMED_OUT:
            self._write_timeout()
        unreported = (report.TIMED_OUT, report.EXIT_ERROR, report.OUT_OF_MEMORY)
        self._finish(outcome, is_reported=outcome.error_type not in unreported)

    def abandon_invocation(self) -> None:
        """Forget the running invocation; somebody else answers it."""
        self._future = None
        self._is_running = False
        self._tail = None

    def interrupt(self, outcome: Outcome) -> None:
        """Answer the running invocation now, and end the process that runs it; its log lines follow when it is gone."""
        if self._future is not None and not self._future.done():
            self._future.set_result(outcome)
        if self.process is not None:
            self.process.kill()

    def _on_time(self) -> None:
        """End the invocation if its time is over. One timer serves many invocations: it is set anew, not cancelled."""
        self._timer = None
        if not self._is_running:
            return
        remaining_s = self._deadline - _perf()
        if remaining_s > 0:
            self._timer = self._loop.call_later(remaining_s, self._on_time)
            return
        self._timed_out = True
        process = self.process
        if process is not None:
            process.kill()
            self._loop.call_later(KILL_LIMIT_S, self._abandon, process)

    def _abandon(self, process: WorkerProcess) -> None:
        """Go on without a process that does not end although it was killed (it hangs in the kernel)."""
        if not process.is_over:
            process.ended(signal.SIGKILL, 0)

    def _write_timeout(self) -> None:
        self._end_line()
        self._to_log(report.timeout_line(self._request_id, self.function.timeout_s))

    # -- what comes from the process

    def on_output(self, data: bytes) -> None:
        """Write whole lines to the log; the rest waits for its end, or the invocation's."""
        if self._unfinished_line:
            data = self._unfinished_line + data
            self._unfinished_line = b""
        if not data.endswith(b"\n"):
            cut = data.rfind(b"\n") + 1
            # A line without end is not gathered for ever.
            if len(data) - cut < 65536:
                data, self._unfinished_line = data[:cut], data[cut:]
        if data:
            self._to_log(data)

    def _to_log(self, data: bytes) -> None:
        self._log.write(data)
        if self._tail is not None:
            self._tail += data
            if len(self._tail) > 4 * LOG_TAIL_BYTES:
                del self._tail[:-LOG_TAIL_BYTES]

    def _end_line(self) -> None:
        if self._unfinished_line:
            line, self._unfinished_line = self._unfinished_line + b"\n", b""
            self._to_log(line)

    def on_response(self, kind: int, peak_kb: int, body: bytes) -> None:
        """Take what the process answered."""
        self._peak_kb = peak_kb
        if kind >= frames.RESULT:
            if kind == frames.OUT_OF_MEMORY:
                self._is_out_of_memory = True  # its end is on the way
                return
            if not self._is_running or self._timed_out:
                return
            if kind == frames.RESULT:
                self._finish(Succeeded(body))
            else:
                self._finish(report.reported(body), is_reported=True)
        elif self._init is not None and not self._init.done():
            self._init.set_result(None if kind == frames.READY else FunctionError(body, "", ""))

    def on_exit(self, status: int, peak_kb: int) -> None:
        """Take note that the process ended, whatever it was doing."""
        self.process = None
        self._peak_kb = max(self._peak_kb, peak_kb)
        if self._gone is not None:
            if not self._gone.done():
                self._gone.set_result(None)
            self._gone = None
        kind = report.OUT_OF_MEMORY if self._is_out_of_memory else report.EXIT_ERROR
        if self._init is not None and not self._init.done():
            self._init.set_result(FunctionError(b"", kind, str(status)))
        if not self._is_running:
            self._end_line()
            return
        if self._timed_out:
            self._write_timeout()
            kind, text = report.TIMED_OUT, self._timeout_text()
        else:
            text = report.exit_message(self._request_id, status)
            self._end_line()
            self._to_log(f"{text}\n{kind}\n".encode())
        self._finish(report.error(kind, text))

    def on_failure(self, message: str) -> None:
        """Take note that the process could not be started."""
        if self._init is not None and not self._init.done():
            self._init.set_exception(EnvironmentFailed(message))

    def _timeout_text(self) -> str:
        return f"RequestId: {self._request_id} Error: {report.timeout_message(self.function.timeout_s)}"

    def _finish(self, outcome: Succeeded | FunctionError, *, is_reported: bool = False) -> None:
        """End the running invocation: log lines, the answer, and the way back to the pool."""
        future = self._future
        assert future is not None
        duration_ms = (_perf() - self._started) * 1000
        status = ""
        if type(outcome) is FunctionError:
            if outcome.error_type == report.TIMED_OUT:
                duration_ms = max(duration_ms, self.function.timeout_s * 1000.0)
                status = "Status: timeout"
            elif not is_reported:
                status = f"Status: error\tError Type: {outcome.error_type}"
        if self._unfinished_line:
            self._end_line()
        self._to_log(
            report.report_lines(
                self._request_id, duration_ms, self.function.memory_mb, self._peak_kb, self._init_ms, status
            )
        )
        self._init_ms = None
        tail = b""
        if self._tail is not None:
            tail = bytes(self._tail[-LOG_TAIL_BYTES:])
            self._tail = None
        answer: Outcome
        if type(outcome) is Succeeded:
            answer = Succeeded(outcome.payload, self.function.version, tail, duration_ms)
        else:
            assert isinstance(outcome, FunctionError)
            answer = FunctionError(
                outcome.payload,
                outcome.error_type,
                outcome.error_message,
                executed_version=self.function.version,
                log_tail=tail,
                duration_ms=duration_ms,
            )
        self._future = None
        self._is_running = False
        self._on_free(self)
        if not future.done():
            future.set_result(answer)

    # -- the end

    async def retire(self) -> None:
        """End it for good: process and file system are gone after this."""
        self.is_retired = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.end_process()
        self._runtime.forget(self.number)


def new_stream(function: FunctionVersion) -> str:
    """Return a log stream's name for a new environment."""
    day = datetime.now(UTC).strftime("%Y/%m/%d")
    prefix = f"{function.name}" if function.log_group else ""
    return f"{day}/{prefix}[{function.version}]{os.urandom(16).hex()}"


__all__ = ["INIT_LIMIT_S", "Environment", "EnvironmentFailed", "new_stream"]
