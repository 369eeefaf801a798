"""What the platform itself writes and answers: log lines around an invocation, and errors no handler reported.

Texts are AWS's (docs/behaviour/runtime.md). Everything here is a plain function of what happened.
"""

import hashlib
import math
import os
import signal
from datetime import UTC, datetime

import orjson

from eventrt.core.records import FunctionError

_SIGNALS = {
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGQUIT: "quit",
    signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGKILL: "killed",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGUSR2: "user defined signal 2",
    signal.SIGPIPE: "broken pipe",
    signal.SIGALRM: "alarm clock",
    signal.SIGTERM: "terminated",
}

EXIT_ERROR = "Runtime.ExitError"
OUT_OF_MEMORY = "Runtime.OutOfMemory"
TIMED_OUT = "Sandbox.Timedout"


def exit_message(request_id: str, status: int) -> str:
    """Say how a process ended in the middle of an invocation. `status` is waitpid's."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = _SIGNALS.get(signal.Signals(number) if number in _VALID else signal.SIGKILL, f"signal {number}")
        return f"RequestId: {request_id} Error: Runtime exited with error: signal: {how}"
    code = os.WEXITSTATUS(status)
    if code:
        return f"RequestId: {request_id} Error: Runtime exited with error: exit status {code}"
    return f"RequestId: {request_id} Error: Runtime exited without providing a reason"


_VALID = {int(number) for number in signal.Signals}


def timeout_message(timeout_s: int) -> str:
    """Say that the function's time is over."""
    return f"Task timed out after {timeout_s:.2f} seconds"


def error(kind: str, message: str) -> FunctionError:
    """Return an error that the platform reports in the function's stead."""
    return FunctionError(orjson.dumps({"errorType": kind, "errorMessage": message}), kind, message)


def reported(document: bytes) -> FunctionError:
    """Return an error that the runtime reported with its own document."""
    found = orjson.loads(document)
    return FunctionError(document, found["errorType"], found["errorMessage"])


def init_error(document: bytes, request_id: str) -> FunctionError:
    """Return an error of the init phase to the caller whose invocation met it.

    A module that raised keeps the empty request id; the runtime's own findings carry the invocation's.
    """
    found = orjson.loads(document)
    if str(found["errorType"]).startswith("Runtime."):
        found["requestId"] = request_id
    return FunctionError(orjson.dumps(found), found["errorType"], found["errorMessage"])


def init_start_line(version: tuple[int, int, int], region: str) -> bytes:
    """Return the line that begins a new environment's log."""
    digest = hashlib.sha256(repr(version).encode()).hexdigest()
    return (
        f"INIT_START Runtime Version: python:{version[0]}.{version[1]}.v{version[2]}\t"
        f"Runtime Version ARN: arn:aws:lambda:{region}::runtime:{digest}\n"
    ).encode()


def init_report_line(duration_ms: float, status: str, error_type: str | None) -> bytes:
    """Return the line about an init phase that failed."""
    kind = f"\tError Type: {error_type}" if error_type else ""
    return f"INIT_REPORT Init Duration: {duration_ms:.2f} ms\tPhase: init\tStatus: {status}{kind}\n".encode()


def report_lines(
    request_id: str,
    duration_ms: float,
    memory_mb: int,
    peak_kb: int,
    init_ms: float | None = None,
    status: str = "",
) -> bytes:
    """Return END and REPORT. `status` is "" or what follows the last field: `Status: timeout`.

    No more memory is shown than the function has: what it took beyond that is what ended it.
    """
    init = "" if init_ms is None else f"Init Duration: {init_ms:.2f} ms\t"
    end = f"{status}\t" if status else ""
    return (
        f"END RequestId: {request_id}\n"
        f"REPORT RequestId: {request_id}\tDuration: {duration_ms:.2f} ms\t"
        f"Billed Duration: {math.ceil(duration_ms)} ms\tMemory Size: {memory_mb} MB\t"
        f"Max Memory Used: {min((peak_kb + 1023) >> 10, memory_mb)} MB\t{init}{end}\n"
    ).encode()


def timeout_line(request_id: str, timeout_s: int) -> bytes:
    """Return the line about an invocation whose time was over."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{moment} {request_id} {timeout_message(timeout_s)}\n\n".encode()
