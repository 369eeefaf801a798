"""The Python runtime: zygotes, from which every environment's process is forked.

One zygote serves one interpreter with one set of modules imported beforehand: a bare one, and one that has boto3.
`PythonRuntime.start` is what the warm pool calls. How a process is isolated is the business of `python_host`.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread
import structlog

from eventrt.errors import EventrtError
from eventrt.invoker.runtimes import package_set
from eventrt.invoker.runtimes.interpreters import Interpreter, Interpreters
from eventrt.invoker.runtimes.process import Owner, WorkerProcess

_HOST = Path(__file__).parent / "python_host"
_MESSAGE_LIMIT = 1 << 16
START_LIMIT_S = 30.0
"""How long a zygote may take until it is ready (its first start on a machine may compile a package set)."""
SCANNED_FILES, SCANNED_BYTES = 300, 1 << 18
"""How many files of a function are looked at, and how far, to see whether it uses boto3."""
KEPT_BYTECODE_FOLDERS = 200
"""Of how many packages of code the compiled modules are kept over a restart."""
STOP_LIMIT_S = 4.0
"""How long a zygote may take to end all it started."""

Isolation = Literal["auto", "namespaces", "none"]

_LOG = structlog.get_logger("eventrt.runtime")


class EnvironmentFailed(EventrtError):  # noqa: N818 - a state of the world
    """A process could not be started; the message says why."""


class _NamespacesRefused(EnvironmentFailed):
    """The zygote may not have what it needs to hide the host's files."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process is started with.

    Args: space: names the environment, whose file system outlives its processes. code: the folder that becomes
        /var/task. packages: the function's own package folder. variables: the whole environment, all but what
        depends on where the code is. tmp_mb: the size of /tmp. memory_mb: the function's memory.
    """

    space: int
    code: str
    handler: str
    variables: Mapping[str, str]
    memory_mb: int
    tmp_mb: int
    code_id: str
    packages: str | None = None


@dataclass(eq=False, slots=True)
class _Zygote:
    """One running zygote, and the processes it started."""

    label: str
    popen: subprocess.Popen[bytes]
    control: socket.socket
    stderr_fd: int
    ready: asyncio.Future[str]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    collected: asyncio.Event = field(default_factory=asyncio.Event)
    processes: dict[int, WorkerProcess] = field(default_factory=dict)
    outbox: list[tuple[bytes, WorkerProcess | None]] = field(default_factory=list)


class PythonRuntime:
    """Starts processes for Python functions.

    Args:
        data_dir: the daemon's data directory; handlers cannot look into it.
        interpreters: where interpreters are found.
        packages: the setting `runtime.packages`.
        isolation: "auto" takes namespaces where they are permitted, "namespaces" insists on them, "none" goes without.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        interpreters: Interpreters,
        packages: str = "",
        isolation: Isolation = "auto",
    ) -> None:
        self.interpreters = interpreters
        self.isolation_in_force: str | None = None
        """"namespaces", "user-namespaces" or "none"; None before the first zygote is ready."""
        self._data_dir = data_dir.absolute()
        self._folder = self._data_dir / "runtime"
        self._wanted_isolation = isolation
        package_set.check(packages)
        self._configured_packages = packages
        self._zygotes: dict[tuple[str, bool], _Zygote] = {}
        self._launched: set[_Zygote] = set()
        self._starting: dict[tuple[str, bool], asyncio.Future[_Zygote]] = {}
        self._spaces: dict[int, _Zygote] = {}
        self._next_id = 0
        self._next_zygote = 0
        self._closed = False
        self._told: set[str] = set()

    @cached_property
    def _packages(self) -> package_set.PackageSet:
        """What /var/runtime holds; looked for when the first zygote needs it, as it takes some milliseconds."""
        return package_set.find(self._configured_packages)

    # -- what the warm pool asks for

    async def start(
        self, interpreter: Interpreter, launch: Launch, owner: Owner, *, wants_boto3: bool
    ) -> WorkerProcess:
        """Start a process; it says READY or INIT_ERROR to its owner in its own time.

        Raises: EnvironmentFailed: no zygote could be started, or no pipes.
        """
        zygote = self._spaces.get(launch.space)
        if zygote is None or zygote.ended.is_set():
            zygote = await self.zygote(interpreter, with_boto3=wants_boto3 and self._has_zygote(interpreter))
            self._spaces[launch.space] = zygote
        self._next_id += 1
        try:
            process = WorkerProcess(self._next_id, owner, lambda number: self._tell(zygote, "kill", id=number))
        except OSError as error:
            raise EnvironmentFailed(f"no pipes for an environment: {error.strerror}") from error
        zygote.processes[process.id] = process
        bytecode = self._bytecode_folder(interpreter, launch.code_id)
        message = {
            "op": "spawn",
            "id": process.id,
            "space": launch.space,
            "code": launch.code,
            "packages": launch.packages,
            "bytecode": bytecode,
            "tmp_mb": launch.tmp_mb,
            "folder": f"environment-{launch.space}",
            "spec": {
                "handler": launch.handler,
                "environment": dict(launch.variables),
                "memory_bytes": launch.memory_mb * 1024 * 1024,
            },
        }
        self._send(zygote, json.dumps(message).encode(), process)
        return process

    def forget(self, space: int) -> None:
        """Let go of an environment's file system: its /tmp is gone after this."""
        zygote = self._spaces.pop(space, None)
        if zygote is not None and not zygote.ended.is_set():
            self._tell(zygote, "drop", space=space)

    def wants_boto3(self, code: str, packages: str | None) -> bool:
        """Is it worth having boto3 imported before the fork: does the function speak of it, and not bring its own?

        A wrong answer costs time only: what was not imported beforehand is imported from the package set.
        """
        folders = [folder for folder in (code, packages) if folder]
        if not self._packages.has_boto3 or any(
            os.path.exists(os.path.join(folder, name + ending))
            for folder in folders
            for name in package_set.FAMILY
            for ending in ("", ".py")
        ):
            return False
        return any(_speaks_of_boto3(folder) for folder in folders)

    # -- zygotes

    async def zygote(self, interpreter: Interpreter, *, with_boto3: bool) -> _Zygote:
        """Return a zygote that is ready; start it where there is none.

        Raises: EnvironmentFailed: it does not start.
        """
        with_boto3 = with_boto3 and self._packages.has_boto3 and interpreter.version[1] >= self._packages.requires_minor
        key = (interpreter.path, with_boto3)
        running = self._zygotes.get(key)
        if running is not None and not running.ended.is_set():
            return running
        starting = self._starting.get(key)
        if starting is not None:
            return await asyncio.shield(starting)
        future: asyncio.Future[_Zygote] = asyncio.get_running_loop().create_future()
        self._starting[key] = future
        try:
            with anyio.CancelScope(shield=True):
                self._zygotes[key] = await self._start_zygote(interpreter, with_boto3=with_boto3)
        except BaseException as error:
            future.set_exception(error)
            future.exception()
            raise
        else:
            found = self._zygotes[key]
            future.set_result(found)
            return found
        finally:
            del self._starting[key]

    def _has_zygote(self, interpreter: Interpreter) -> bool:
        """Is a zygote with boto3 ready, or on the way? Else a handler had better import boto3 itself."""
        key = (interpreter.path, True)
        running = self._zygotes.get(key)
        return key in self._starting or (running is not None and not running.ended.is_set())

    async def _start_zygote(self, interpreter: Interpreter, *, with_boto3: bool) -> _Zygote:
        wanted = "none" if "none" in (self._wanted_isolation, self.isolation_in_force) else "namespaces"
        zygote = self._launch_zygote(interpreter, with_boto3, wanted)
        try:
            with anyio.fail_after(START_LIMIT_S):
                isolation = await zygote.ready
        except TimeoutError as error:
            await self._end(zygote)
            raise EnvironmentFailed(f"{interpreter.path} was not ready after {START_LIMIT_S:.0f} s") from error
        except _NamespacesRefused as error:
            await self._end(zygote)
            if self._wanted_isolation != "auto":
                raise
            _LOG.warning("runtime.namespaces_refused", error=str(error))
            self.isolation_in_force = "none"
            return await self._start_zygote(interpreter, with_boto3=with_boto3)
        if self.isolation_in_force is None or isolation != self.isolation_in_force:
            self.isolation_in_force = isolation
            tell = _LOG.warning if isolation == "none" and self._wanted_isolation != "none" else _LOG.info
            tell("runtime.isolation", isolation=isolation)
        _LOG.info("zygote.started", interpreter=interpreter.path, with_boto3=with_boto3, process_id=zygote.popen.pid)
        return zygote

    def _launch_zygote(self, interpreter: Interpreter, with_boto3: bool, isolation: str) -> _Zygote:
        if self._closed:
            raise EnvironmentFailed("the daemon is stopping")
        self._next_zygote += 1
        base = self._folder / f"root-{self._next_zygote}"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        package_folder = self._packages.lay_out(self._folder / "python-packages")
        settings = {
            "base": str(base),
            "hidden": [str(self._data_dir)],
            "needed": [interpreter.prefix, os.path.dirname(interpreter.path), str(_HOST.parent)],
            "package_set": self._packages.folder or self._packages.entries,
            "package_folder": package_folder,
            "interpreter": interpreter.path,
            "preload": package_set.PRELOAD if with_boto3 else (),
            "bytecode": self._package_bytecode(interpreter),
            "families": [package_set.FAMILY],
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            popen = subprocess.Popen(  # noqa: S603 - an interpreter that resolve() has verified
                [interpreter.path, "-I", "-S", "-B", str(_HOST / "zygote.py"), isolation],
                stdin=theirs.fileno(),
                stdout=write_fd,
                stderr=write_fd,
                start_new_session=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                cwd="/",
            )
        except OSError as error:
            ours.close()
            os.close(read_fd)
            raise EnvironmentFailed(f"{interpreter.path} does not start: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(write_fd)
        with suppress(OSError):  # one that ended at once is met by the reader
            ours.send(json.dumps(settings).encode())
        ours.setblocking(False)
        os.set_blocking(read_fd, False)
        loop = asyncio.get_running_loop()
        zygote = _Zygote(
            f"{interpreter.name}{'+boto3' if with_boto3 else ''}", popen, ours, read_fd, loop.create_future()
        )
        self._launched.add(zygote)
        loop.add_reader(ours, self._on_control, zygote)
        loop.add_reader(read_fd, self._on_words, zygote)
        return zygote

    def _package_bytecode(self, interpreter: Interpreter) -> str | None:
        """Return where a zygote keeps compiled modules of the package set; None where they lie beside the sources."""
        tag = f"cpython-{interpreter.version[0]}{interpreter.version[1]}"
        boto3 = (
            os.path.join(self._packages.folder or "", "boto3")
            if self._packages.folder
            else (self._packages.entries.get("boto3", ""))
        )
        if boto3 and os.path.exists(os.path.join(boto3, "__pycache__", f"__init__.{tag}.pyc")):
            return None
        folder = self._folder / "bytecode" / f"{tag}-packages"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(folder)

    def _bytecode_folder(self, interpreter: Interpreter, code_id: str) -> str:
        """Return where a function's compiled modules are kept from one environment to the next."""
        safe = code_id.replace("/", "_").replace("+", "-").rstrip("=")
        folder = self._folder / "bytecode" / f"cpython-{interpreter.version[0]}{interpreter.version[1]}" / safe
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(folder)

    # -- the control socket

    def _tell(self, zygote: _Zygote, op: str, **members: Any) -> None:
        self._send(zygote, json.dumps({"op": op, **members}).encode(), None)

    def _send(self, zygote: _Zygote, data: bytes, process: WorkerProcess | None) -> None:
        """Send a datagram, with the child's descriptors where a process is given; later when the socket is full."""
        zygote.outbox.append((data, process))
        if len(zygote.outbox) == 1:
            self._flush(zygote)

    def _flush(self, zygote: _Zygote) -> None:
        loop = asyncio.get_running_loop()
        while zygote.outbox:
            data, process = zygote.outbox[0]
            try:
                if process is None or process.is_over:
                    if process is None:
                        zygote.control.send(data)
                else:
                    socket.send_fds(zygote.control, [data], process.child_fds)
                    process.close_child_fds()
            except BlockingIOError:
                loop.add_writer(zygote.control, self._on_writable, zygote)
                return
            except OSError:
                # It has ended; the reader sees it too, and tells everybody.
                zygote.outbox.clear()
                return
            zygote.outbox.pop(0)

    def _on_writable(self, zygote: _Zygote) -> None:
        asyncio.get_running_loop().remove_writer(zygote.control)
        self._flush(zygote)

    def _on_control(self, zygote: _Zygote) -> None:
        while True:
            try:
                data = zygote.control.recv(_MESSAGE_LIMIT)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it ended with something unread, which is said once; what it said before that is still there
            except OSError:
                data = b""
            if not data:
                self._zygote_ended(zygote)
                return
            self._obey(zygote, json.loads(data))

    def _obey(self, zygote: _Zygote, message: Mapping[str, Any]) -> None:
        match message["op"]:
            case "exit":
                process = zygote.processes.pop(message["id"], None)
                if process is not None:
                    process.ended(message["status"], message["peak_kb"])
            case "started":
                process = zygote.processes.get(message["id"])
                if process is not None:
                    process.pid = message["pid"]
            case "failed":
                process = zygote.processes.pop(message["id"], None)
                _LOG.error("environment.failed", zygote=zygote.label, error=message["error"])
                if process is not None:
                    process.failed(message["error"])
            case "ready":
                if not zygote.ready.done():
                    zygote.ready.set_result(message["isolation"])
            case "refused":
                if not zygote.ready.done():
                    zygote.ready.set_exception(_NamespacesRefused(message["error"]))

    def _on_words(self, zygote: _Zygote) -> None:
        try:
            data = os.read(zygote.stderr_fd, 65536)
        except BlockingIOError:
            return
        if not data:
            asyncio.get_running_loop().remove_reader(zygote.stderr_fd)
            return
        for line in data.decode(errors="replace").splitlines():
            if line not in self._told and len(self._told) < 1000:
                self._told.add(line)
                _LOG.warning("zygote.said", zygote=zygote.label, text=line)

    def _zygote_ended(self, zygote: _Zygote) -> None:
        """The control socket is closed: whatever it started is dead, or dying by the kernel's hand."""
        if zygote.ended.is_set():
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(zygote.control)
        loop.remove_writer(zygote.control)
        zygote.control.close()
        zygote.ended.set()
        if not zygote.ready.done():
            zygote.ready.set_exception(EnvironmentFailed(f"the zygote {zygote.label} ended before it was ready"))
            zygote.ready.exception()
        if not self._closed:
            _LOG.warning("zygote.ended", zygote=zygote.label)
        for process in list(zygote.processes.values()):
            process.ended(signal.SIGKILL, 0)
        zygote.processes.clear()
        self._spaces = {space: owner for space, owner in self._spaces.items() if owner is not zygote}
        self._reap(zygote)

    def _reap(self, zygote: _Zygote) -> None:
        """Collect the zygote's first process as soon as it has ended."""
        loop = asyncio.get_running_loop()

        def collect() -> None:
            zygote.popen.wait()
            self._close_words(zygote)
            self._launched.discard(zygote)
            zygote.collected.set()

        try:
            fd = os.pidfd_open(zygote.popen.pid)
        except OSError:
            # An older kernel: a thread waits in our stead.
            loop.run_in_executor(None, zygote.popen.wait).add_done_callback(lambda _: collect())
            return

        def on_end() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            collect()

        loop.add_reader(fd, on_end)

    def _close_words(self, zygote: _Zygote) -> None:
        if zygote.stderr_fd >= 0:
            self._on_words(zygote)
            asyncio.get_running_loop().remove_reader(zygote.stderr_fd)
            os.close(zygote.stderr_fd)
            zygote.stderr_fd = -1

    async def _end(self, zygote: _Zygote) -> None:
        """End a zygote with all it started, and collect it."""
        with suppress(OSError):
            zygote.control.shutdown(socket.SHUT_RDWR)
        self._zygote_ended(zygote)
        with anyio.move_on_after(STOP_LIMIT_S):
            await zygote.collected.wait()
        if not zygote.collected.is_set():
            zygote.popen.kill()
            await zygote.collected.wait()

    def clean_up(self) -> None:
        """Clear away what a former daemon left, and bytecode of code that was not used for long."""
        for folder in self._folder.glob("root-*"):
            shutil.rmtree(folder, ignore_errors=True)
        kept = sorted(
            (entry for tag in (self._folder / "bytecode").glob("cpython-*") for entry in tag.iterdir()),
            key=lambda entry: entry.stat().st_mtime,
        )
        for folder in kept[:-KEPT_BYTECODE_FOLDERS]:
            shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """End every zygote with all it started; nothing of theirs is left when this returns."""
        self._closed = True
        async with anyio.create_task_group() as group:
            for zygote in list(self._launched):
                group.start_soon(self._end, zygote)
        self._zygotes.clear()


def _speaks_of_boto3(folder: str) -> bool:
    """Look through the Python files of a folder, up to a bound, for the name of the SDK."""
    looked_at = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                looked_at += 1
                if looked_at > SCANNED_FILES:
                    return True
                with suppress(OSError), open(os.path.join(path, name), "rb") as file:
                    text = file.read(SCANNED_BYTES)
                    if b"boto" in text:
                        return True
    return False


def own_interpreter() -> str:
    """Return the Runtime that the daemon itself would be: `python3.11`."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"
