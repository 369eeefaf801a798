"""The process that a handler runs in: it takes one invocation after the other from a pipe.

`run` never returns: it ends when the daemon closes the pipe, or when the handler ends the process. Frames on the
pipes are those of `eventrt.invoker.runtimes.frames`; the two must be changed together.
"""

import errno
import fcntl
import gc
import json
import os
import resource
import signal
import struct
import sys
import threading
import time

from python_host import awslambda, bytecode, syscalls

REQUEST = struct.Struct("<IHHHId")
"""Payload length; lengths of request id, ARN, trace header, client context; deadline in epoch ms."""
RESPONSE = struct.Struct("<IIB")
"""Body length; peak memory in kB; kind."""
READY, INIT_ERROR, RESULT, ERROR, OUT_OF_MEMORY = 0, 1, 2, 3, 4
_LAST_WORD = RESPONSE.pack(0, 0, OUT_OF_MEMORY)

_REQUEST_FD, _RESPONSE_FD, _SPEC_FD = 3, 4, 5
_CHUNK = 65536
_THREAD_STACK = 1 << 20
_STACK_ALLOWANCE = 32 << 20
# What AWS's own runtime imports before user code: a module of that name in /var/task does not replace them there.
_OURS = frozenset(
    "__main__ _frozen_importlib _frozen_importlib_external abc builtins codecs collections contextlib copyreg "
    "ctypes datetime decimal encodings enum errno functools gc genericpath heapq importlib io itertools json keyword "
    "linecache logging marshal math numbers operator os posix posixpath python_host re reprlib resource signal site "
    "sre_compile sre_constants sre_parse stat string struct sys textwrap threading time token tokenize traceback "
    "types typing warnings weakref zipimport".split()
)


def become(spec, descriptors):
    """Turn a freshly forked process into an environment: own session, descriptors, limits, variables and paths.

    Args: descriptors: [requests, responses, log].
    """
    os.setsid()
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != spec["parent"]:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _arrange_descriptors(descriptors)
    os.umask(0o022)
    _limit(spec)
    if spec["drop_capabilities"]:
        syscalls.drop_capabilities()
    os.environ.clear()
    os.environ.update(spec["environment"])
    time.tzset()
    os.chdir(spec["task_root"])
    if "AWS_LAMBDA_EXEC_WRAPPER" in spec["environment"]:
        _wrap(spec)


def _wrap(spec):
    """Let the function's wrapper script run the worker: it may change variables and the interpreter's options."""
    wrapper = spec["environment"]["AWS_LAMBDA_EXEC_WRAPPER"]
    fd = os.memfd_create("spec")
    os.write(fd, json.dumps(spec).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    os.dup2(fd, _SPEC_FD)
    for inherited in (_REQUEST_FD, _RESPONSE_FD, _SPEC_FD):
        os.set_inheritable(inherited, True)
    # The script comes last, as AWS's bootstrap does: wrappers put their options before it.
    command = [wrapper, spec["interpreter"], "-S", "-B", os.path.join(spec["host"], "wrapped.py")]
    try:
        os.execv(wrapper, command)
    except OSError as error:
        os.write(2, ("AWS_LAMBDA_EXEC_WRAPPER: %s: %s\n" % (wrapper, error.strerror)).encode())
        os._exit(1)


def _arrange_descriptors(descriptors):
    null = os.open("/dev/null", os.O_RDONLY)
    # First out of the way of the numbers they are to get.
    requests, responses, log, null = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16) for fd in descriptors + [null])
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(requests, _REQUEST_FD, inheritable=False)
    os.dup2(responses, _RESPONSE_FD, inheritable=False)
    syscalls.close_from(5)


def _limit(spec):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 1024 if hard == resource.RLIM_INFINITY else min(1024, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if spec["memory_bytes"]:
        # Private writable memory counts, whether used or not; stacks of threads are 8 MB each by default. What is
        # really used is looked at with every answer.
        most = max(_held_bytes(), spec["memory_bytes"]) + _STACK_ALLOWANCE
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        threading.stack_size(_THREAD_STACK)
    if spec["tmp_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (spec["tmp_bytes"],) * 2)


def _held_bytes():
    """Return how much private writable memory this process holds before any user code."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[5]) * resource.getpagesize()


def run(spec):
    """Load the handler, say so, and serve until the pipe is closed. Never returns."""
    global _serving_pid
    _serving_pid = os.getpid()
    code = 0
    try:
        _Worker(spec).serve()
    except SystemExit as error:
        code = _exit_code(error)
    except MemoryError:
        _die_of_memory()
    except BaseException:
        code = 1
        _show_exception()
    try:
        _run_exit_handlers()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 1
    finally:
        os._exit(code)


def _exit_code(error):
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    sys.stderr.write("%s\n" % (error.code,))
    return 1


def _show_exception():
    sys.excepthook(*sys.exc_info())


def _run_exit_handlers():
    """Do what an interpreter does at its end, without the zygote's own leftovers."""
    import atexit

    threading._shutdown()
    atexit._run_exitfuncs()


_serving_pid = 0


def _die_of_memory():
    """End as AWS ends a function that outgrew its memory; the daemon is told why."""
    pid = os.getpid()
    try:
        if pid == _serving_pid:
            os.write(_RESPONSE_FD, _LAST_WORD)
    finally:
        os.kill(pid, signal.SIGKILL)


class _Worker:
    """One handler and its pipes."""

    def __init__(self, spec):
        self._spec = spec
        self._pid = os.getpid()
        self._memory_kb = spec["memory_bytes"] >> 10 or sys.maxsize
        self._environment = spec["environment"]
        self._as_json = self._environment.get("AWS_LAMBDA_LOG_FORMAT") == "JSON"
        self._encode = awslambda.Encoder(ensure_ascii=tuple(spec["version"]) < (3, 12))
        self._buffer = b""
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        self._frames = awslambda.Frames(spec["host"], spec["renames"])
        self._request = awslambda.set_up_logging(self._environment)
        self._arrange_imports()

    def _arrange_imports(self):
        spec = self._spec
        sys.argv = [""]
        stdlib = [path for path in sys.path if path]
        path = [spec["task_root"]]
        bundled = set(_top_level_names(spec["task_root"]))
        if spec["packages"]:
            path.append(spec["packages"])
            bundled.update(_top_level_names(spec["packages"]))
        given = self._environment.get("PYTHONPATH", "").split(":")
        path.extend(entry for entry in given if entry and entry != "/var/runtime")
        for entry in path[2 if spec["packages"] else 1 :]:
            bundled.update(_top_level_names(entry))
        if spec["runtime_packages"]:
            path.append(spec["runtime_packages"])
        sys.path[:] = path + stdlib
        sys.dont_write_bytecode = True
        bytecode.keep(spec["bytecode"], path)
        # A module that was imported before the fork gives way to the function's own of the same name.
        replaced = bundled - _OURS - set(sys.builtin_module_names)
        if replaced:
            families = spec["families"]
            for family in families:
                if replaced & set(family):
                    replaced.update(family)
            for name in list(sys.modules):
                if name.partition(".")[0] in replaced:
                    del sys.modules[name]
        if spec["packages"] and any(name.endswith(".pth") for name in os.listdir(spec["packages"])):
            import site

            before = set(sys.path)
            site.addsitedir(spec["packages"])
            added = [entry for entry in sys.path if entry not in before]
            sys.path[:] = path[:2] + added + [e for e in sys.path if e not in path[:2] and e not in added]

    def serve(self):
        """Load the handler and answer invocations until the pipe is closed."""
        try:
            handler = awslambda.find_handler(self._spec["handler"], self._frames)
        except awslambda.Fault as fault:
            return self._report_init_error(
                awslambda.error_document(fault.message, fault.kind, fault.trace, None)
            )
        except MemoryError:
            _die_of_memory()
        except Exception:
            kind, error, trace = sys.exc_info()
            return self._report_init_error(awslambda.describe(error, trace, None, self._frames))
        self._answer(READY, b"")
        gc.collect(0)
        while True:
            frame = self._next()
            if frame is None:
                return None
            self._invoke(handler, frame)

    def _report_init_error(self, document):
        awslambda.log_error(document, self._as_json)
        self._answer(INIT_ERROR, self._encode(document))
        raise SystemExit(1)

    def _next(self):
        """Return the next request as (payload, request id, ARN, trace header, client context, deadline)."""
        buffer = self._buffer or os.read(_REQUEST_FD, _CHUNK)
        size = REQUEST.size
        while len(buffer) < size:
            more = os.read(_REQUEST_FD, _CHUNK)
            if not more:
                return None
            buffer += more
        payload_size, id_size, arn_size, trace_size, context_size, deadline = REQUEST.unpack_from(buffer)
        total = size + id_size + arn_size + trace_size + context_size + payload_size
        if len(buffer) < total:
            parts, have = [buffer], len(buffer)
            while have < total:
                more = os.read(_REQUEST_FD, _CHUNK)
                if not more:
                    return None
                parts.append(more)
                have += len(more)
            buffer = b"".join(parts)
        at = size
        request_id = buffer[at : at + id_size].decode()
        at += id_size
        arn = buffer[at : at + arn_size].decode()
        at += arn_size
        trace = buffer[at : at + trace_size].decode()
        at += trace_size
        context = buffer[at : at + context_size]
        at += context_size
        payload = buffer[at:total]
        self._buffer = buffer[total:]
        return payload, request_id, arn, trace, context, deadline

    def _invoke(self, handler, frame):
        payload, request_id, arn, trace_header, client_context, deadline = frame
        self._request.request_id = request_id
        if trace_header:
            os.environ["_X_AMZN_TRACE_ID"] = trace_header
        elif "_X_AMZN_TRACE_ID" in os.environ:
            del os.environ["_X_AMZN_TRACE_ID"]
        document = None
        try:
            context = awslambda.LambdaContext(request_id, arn, deadline, client_context, self._environment)
            try:
                event = json.loads(payload)
            except Exception as error:
                raise awslambda.Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % (error,)) from None
            result = handler(event, context)
            if self._spec["tmp_bytes"]:
                self._count_storage()
            if isinstance(result, bytes):
                body = result
            else:
                try:
                    body = self._encode(result)
                except MemoryError:
                    raise
                except Exception as error:
                    raise awslambda.Fault(
                        "Runtime.MarshalError", "Unable to marshal response: %s" % (error,)
                    ) from None
        except awslambda.Fault as fault:
            document = awslambda.error_document(fault.message, fault.kind, fault.trace, request_id)
        except MemoryError:
            _die_of_memory()
        except Exception:
            kind, error, trace = sys.exc_info()
            document = awslambda.describe(error, trace, request_id, self._frames)
            del kind, error, trace
        if document is not None:
            awslambda.log_error(document, self._as_json)
            body = self._encode(document)
        elif len(body) > awslambda.RESPONSE_LIMIT_BYTES:
            document = {
                "errorType": "Function.ResponseSizeTooLarge",
                "errorMessage": "Response payload size exceeded maximum allowed payload size (%d bytes)."
                % awslambda.RESPONSE_LIMIT_BYTES,
            }
            body = json.dumps(document).encode()
        self._answer(RESULT if document is None else ERROR, body)

    def _count_storage(self):
        """Fail an invocation that leaves more in /tmp than the function may keep there (no namespaces: no own disk)."""
        used = 0
        for path, _, names in os.walk(self._environment["TMPDIR"]):
            for name in names:
                try:
                    used += os.lstat(os.path.join(path, name)).st_size
                except OSError:
                    pass
        if used > self._spec["tmp_bytes"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._environment["TMPDIR"])

    def _answer(self, kind, body):
        if os.getpid() != self._pid:
            # The handler forked and its child came back here: it has no invocation to answer.
            os._exit(0)
        sys.stdout.flush()
        sys.stderr.flush()
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if peak_kb > self._memory_kb:
            _die_of_memory()
        data = RESPONSE.pack(len(body), peak_kb, kind) + body
        written = os.write(_RESPONSE_FD, data)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                written += os.write(_RESPONSE_FD, view[written : written + _CHUNK])


def _top_level_names(folder):
    """Return the names of the modules and packages in a folder."""
    names = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, ending = entry.name.partition(".")
                if dot and (ending == "py" or ending.endswith("so")):
                    names.add(stem)
                elif not dot and os.path.exists(os.path.join(entry.path, "__init__.py")):
                    names.add(stem)
    except OSError:
        pass
    return names
