"""The work of a zygote: it forks environments, ends them with all they left behind, and reports their ends.

It obeys datagrams on its control socket:

    {"op": "spawn", "id", "space", "spec", ...} with three descriptors: start an environment's process
    {"op": "kill", "id"}                        end a process with all its descendants
    {"op": "drop", "space"}                     let go of an environment's file system, /tmp with it

and tells {"op": "ready" | "refused" | "started" | "failed" | "exit"}. When the socket closes (the daemon has ended,
however), it kills all it ever started, adopted descendants included.
"""

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time

from python_host import sandbox, syscalls, worker

_HOST = os.path.dirname(os.path.realpath(__file__))
_MESSAGE_LIMIT = 1 << 18
_FAREWELL_S = 3.0


def serve(settings, control_fd, isolation):
    """Prepare what environments share, serve until the daemon is gone, and leave nothing. Never returns."""
    control = socket.socket(fileno=control_fd)
    try:
        spaces = _spaces(settings, isolation)
    except OSError as error:
        control.send(json.dumps({"op": "refused", "error": str(error)}).encode())
        os._exit(1)
    _preload(settings, settings["package_folder"] if isolation == "none" else sandbox.RUNTIME)
    zygote = Zygote(control, spaces, isolation, settings)
    try:
        zygote.serve()
    finally:
        zygote.end_all()
        os._exit(0)


def _spaces(settings, isolation):
    if isolation == "none":
        return sandbox.Folders(settings["base"], settings["package_folder"])
    return sandbox.Namespaces(
        settings["base"],
        settings["hidden"],
        settings["needed"],
        settings["package_set"],
        settings["interpreter"],
        sys.version_info[:2],
    )


class Zygote:
    """The working process: children by pid, spaces by number."""

    def __init__(self, control, spaces, isolation, settings):
        self._control = control
        self._spaces = spaces
        self._isolation = isolation
        self._settings = settings
        self._open = {}
        self._children = {}
        self._pids = {}
        self._dead_spaces = set()
        self._version = sys.version_info[:2]
        self._parent = os.getpid()

    def serve(self):
        """Obey until the socket closes."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(reader, select.POLLIN)
        gc.collect()
        gc.freeze()
        self._tell({"op": "ready", "isolation": self._isolation, "pid": os.getpid()})
        while True:
            for fd, _ in poll.poll():
                if fd == reader:
                    try:
                        os.read(reader, 4096)
                    except BlockingIOError:
                        pass
                    self._reap()
                elif not self._obey():
                    return

    def _obey(self):
        """Do what one datagram asks; False when the daemon is gone."""
        try:
            data, ancillary, _, _ = self._control.recvmsg(_MESSAGE_LIMIT, 256)
        except ConnectionError:
            return False
        if not data:
            return False
        descriptors = []
        for _, _, content in ancillary:
            descriptors.extend(struct.unpack("%di" % (len(content) // 4), content))
        message = json.loads(data)
        if message["op"] == "spawn":
            try:
                self._spawn(message, descriptors)
            except Exception as error:
                self._tell({"op": "failed", "id": message["id"], "error": "%s: %s" % (type(error).__name__, error)})
            finally:
                for fd in descriptors:
                    os.close(fd)
        elif message["op"] == "kill":
            pid = self._pids.get(message["id"])
            if pid is not None:
                _kill_group(pid)
        elif message["op"] == "drop":
            space = self._open.pop(message["space"], None)
            if space is not None:
                space.close()
        return True

    def _spawn(self, message, descriptors):
        spec = message["spec"]
        space = self._open.get(message["space"])
        code, packages = message["code"], message["packages"]
        try:
            if space is None:
                space = self._spaces.make(
                    code, packages, message["bytecode"], message["tmp_mb"], message["folder"]
                )
                self._open[message["space"]] = space
            else:
                self._spaces.enter(space)
            self._dead_spaces.discard(space.identity)
            task, packages, runtime, bytecode, tmp = self._spaces.paths(space, code, packages)
            spec.update(
                task_root=task,
                packages=packages,
                runtime_packages=runtime,
                bytecode=bytecode,
                parent=self._parent,
                host=_HOST,
                version=list(self._version),
                drop_capabilities=self._isolation == "user-namespaces",
                families=self._settings["families"],
                interpreter=self._settings["interpreter"],
                tmp_bytes=message["tmp_mb"] << 20 if self._isolation == "none" else 0,
            )
            spec["renames"] = [
                (code, sandbox.TASK),
                (os.path.dirname(os.__file__), "%s/lib/python%d.%d" % ((sandbox.LANG,) + self._version)),
            ]
            if self._isolation == "none":
                spec["environment"].setdefault("TMPDIR", tmp)
                spec["environment"].update(LAMBDA_TASK_ROOT=task, PWD=task)
                wrapper = spec["environment"].get("AWS_LAMBDA_EXEC_WRAPPER", "")
                if wrapper.startswith(sandbox.TASK + "/"):
                    spec["environment"]["AWS_LAMBDA_EXEC_WRAPPER"] = task + wrapper[len(sandbox.TASK) :]
            pid = os.fork()
            if pid == 0:
                self._become(spec, descriptors)
        finally:
            self._spaces.leave()
        self._children[pid] = (message["id"], space)
        self._pids[message["id"]] = pid
        self._tell({"op": "started", "id": message["id"], "pid": pid})

    def _become(self, spec, descriptors):
        """Be the environment; never return into the zygote's code."""
        try:
            if self._isolation == "none":
                syscalls.adopt_orphans()
            worker.become(spec, descriptors)
        except BaseException:
            worker._show_exception()
            os._exit(1)
        worker.run(spec)

    def _reap(self):
        """Collect what has ended, kill what ended processes left behind, and tell the daemon."""
        ended = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self._children.pop(pid, None)
            if child is not None:
                name, space = child
                self._pids.pop(name, None)
                _kill_group(pid)
                if space.identity is not None:
                    self._dead_spaces.add(space.identity)
                ended.append((name, status, usage.ru_maxrss))
        self._kill_orphans()
        for name, status, peak_kb in ended:
            self._tell({"op": "exit", "id": name, "status": status, "peak_kb": peak_kb})

    def _kill_orphans(self):
        """Kill processes whose environment's process has ended; their own end brings us here again."""
        if self._isolation == "none":
            for pid in _children_of(os.getpid()):
                if pid not in self._children:
                    _kill_group(pid)
            return
        if not self._dead_spaces:
            return
        for _ in range(8):
            found = False
            for name in os.listdir("/proc"):
                if not name.isdigit() or int(name) in self._children or int(name) == os.getpid():
                    continue
                try:
                    if os.stat("/proc/%s/ns/mnt" % name).st_ino in self._dead_spaces:
                        os.kill(int(name), signal.SIGKILL)
                        found = True
                except OSError:
                    continue
            if not found:
                self._dead_spaces.clear()
                return

    def _tell(self, message):
        try:
            self._control.send(json.dumps(message).encode())
        except ConnectionError:
            pass

    def end_all(self):
        """Kill every process below this one, and wait until none is left."""
        signal.set_wakeup_fd(-1)
        give_up_at = time.monotonic() + _FAREWELL_S
        while time.monotonic() < give_up_at:
            for pid in list(self._children):
                _kill_group(pid)
            if self._isolation != "none" and os.getpid() == 1:
                try:
                    os.kill(-1, signal.SIGKILL)
                except OSError:
                    pass
            else:
                for pid in _descendants():
                    _kill_group(pid)
            try:
                while True:
                    pid, _ = os.waitpid(-1, os.WNOHANG)
                    if pid == 0:
                        break
                    self._children.pop(pid, None)
            except ChildProcessError:
                break
            time.sleep(0.002)
        for space in self._open.values():
            space.close()


def _kill_group(pid):
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass


def _parents():
    """Return pid -> parent's pid of every process that /proc shows."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return found


def _children_of(parent):
    return [pid for pid, above in _parents().items() if above == parent]


def _descendants():
    parents = _parents()
    found, frontier = [], [os.getpid()]
    while frontier:
        parent = frontier.pop()
        below = [pid for pid, above in parents.items() if above == parent]
        found.extend(below)
        frontier.extend(below)
    return found


def _preload(settings, package_folder):
    """Import what handlers are likely to import, so that environments share it."""
    import base64, collections.abc, concurrent.futures, contextlib, copy, dataclasses, datetime  # noqa
    import email.utils, enum, functools, hashlib, inspect, io, random, re, string, tempfile, threading  # noqa
    import typing, urllib.parse, urllib.request, uuid, zlib, queue, heapq, itertools, http.client, ssl  # noqa
    if not settings["preload"] or not package_folder:
        return
    if settings["bytecode"]:
        sys.pycache_prefix = settings["bytecode"]
        sys.dont_write_bytecode = False
    sys.path.insert(0, package_folder)
    for name in settings["preload"]:
        try:
            __import__(name)
        except Exception as error:
            _say("%s cannot be imported beforehand: %s: %s" % (name, type(error).__name__, error))
    sys.path.remove(package_folder)
    sys.path_importer_cache.clear()
    sys.dont_write_bytecode = True
    sys.pycache_prefix = None


def _say(text):
    """Tell the daemon's log."""
    os.write(2, (text + "\n").encode())
