"""What an environment sees of the file system: /var/task, /var/runtime, an own /tmp, and not the daemon's data.

Where mount namespaces are permitted (root, or unprivileged user namespaces) the zygote builds a root once, out of
the host's own top-level entries with /var and /opt rebuilt, and each environment gets a copy of it with its code
and its /tmp mounted. A namespace lives as long as its descriptor is open, so /tmp survives the process in it.
Where namespaces are refused, `Folders` gives an environment a folder of its own and the real paths.
"""

import os
import shutil

from python_host import syscalls
from python_host.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC

TASK = "/var/task"
RUNTIME = "/var/runtime"
LANG = "/var/lang"
PACKAGES = "/var/lang/packages"
HOLD = "/var/lang/hold"
BYTECODE = "/var/lang/bytecode"


class Namespaces:
    """Environments with mount namespaces of their own.

    Args:
        base: an empty folder that becomes the mount point of the private root.
        hidden: folders that no environment may look into (the daemon's data).
        needed: folders that stay visible even inside a hidden one or /tmp: the interpreter's.
        packages: what is shown in /var/runtime: a folder, or {name: path}.
        interpreter: the interpreter's path, shown in /var/lang/bin. version: (major, minor).
    """

    task_root = TASK

    def __init__(self, base, hidden, needed, packages, interpreter, version):
        self.hidden = [os.path.realpath(path) for path in hidden]
        self.held = []
        syscalls.mount(None, "/", flags=MS_REC | MS_PRIVATE)
        self._build(base, needed, packages, interpreter, version)
        syscalls.pivot_root(base)
        os.umask(0o022)
        self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def _build(self, base, needed, packages, interpreter, version):
        syscalls.mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=4m")
        # Else a bind of the folder that holds `base` would take along all that is already bound below it.
        syscalls.mount(None, base, flags=syscalls.MS_UNBINDABLE)
        os.umask(0)
        for name in os.listdir("/"):
            if name in ("var", "opt", "proc", "lost+found"):
                continue
            self._show("/" + name, base + "/" + name)
        os.mkdir(base + "/proc", 0o555)
        try:
            syscalls.mount("proc", base + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
        except OSError:
            # Refused where parts of the host's /proc are masked; the host's own then shows more processes.
            syscalls.mount("/proc", base + "/proc", flags=MS_BIND | MS_REC)
        for folder, own in (("/var", ("task", "runtime", "lang")), ("/opt", ())):
            os.mkdir(base + folder, 0o755)
            for name in os.listdir(folder) if os.path.isdir(folder) else ():
                if name not in own:
                    self._show(folder + "/" + name, base + folder + "/" + name)
        for folder in (TASK, RUNTIME, LANG, LANG + "/bin", PACKAGES, HOLD, BYTECODE):
            os.mkdir(base + folder, 0o755)
        if isinstance(packages, dict):
            for name, path in sorted(packages.items()):
                self._show(os.path.realpath(path), base + RUNTIME + "/" + name, read_only=True)
        elif packages:
            syscalls.bind_read_only(packages, base + RUNTIME)
        for name in ("python", "python3", "python%d.%d" % version):
            os.symlink(interpreter, base + LANG + "/bin/" + name)
        os.symlink(os.path.dirname(os.__file__), base + LANG + "/lib")
        if not os.path.isdir(base + "/tmp"):
            os.mkdir(base + "/tmp", 0o1777)
        for number, path in enumerate(sorted(set(needed))):
            if any(_is_below(path, folder) for folder in self.hidden + ["/tmp"]):
                hold = HOLD + "/%d" % number
                self._show(path, base + hold)
                self.held.append((hold, path))
        os.umask(0o077)

    @staticmethod
    def _show(source, target, read_only=False):
        """Make `source` appear at `target`, as what it is; what cannot be shown is left out."""
        try:
            if os.path.islink(source):
                os.symlink(os.readlink(source), target)
                return
            if os.path.isdir(source):
                os.mkdir(target, 0o755)
            elif os.path.exists(source):
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            else:
                return
            if read_only:
                syscalls.bind_read_only(source, target)
            else:
                syscalls.mount(source, target, flags=MS_BIND | MS_REC)
        except OSError as error:
            if read_only:
                raise
            os.write(2, ("%s is not shown to handlers: %s\n" % (source, error)).encode())

    def make(self, code, packages, bytecode, tmp_mb, folder):
        """Return a new environment's namespace, as a `Space`; the caller is inside it afterwards.

        Args: code: the folder that becomes /var/task. packages: the function's own package folder, or None.
            bytecode: where compiled modules are kept, or None. tmp_mb: the size of /tmp.
        """
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.bind_read_only(code, TASK)
        if packages:
            syscalls.bind_read_only(packages, PACKAGES)
        if bytecode:
            syscalls.mount(bytecode, BYTECODE, flags=MS_BIND)
        for path in self.hidden:
            if os.path.isdir(path):
                syscalls.mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,mode=755")
        syscalls.mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=%dm,mode=1777" % tmp_mb)
        for hold, path in self.held:
            os.makedirs(path, exist_ok=True)
            syscalls.mount(hold, path, flags=MS_BIND | MS_REC)
        for path in self.hidden:
            if os.path.isdir(path):
                syscalls.mount(None, path, flags=syscalls.MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        return Space(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))

    def enter(self, space):
        """Go into an environment's namespace."""
        syscalls.setns(space.fd, syscalls.CLONE_NEWNS)

    def leave(self):
        """Go back to the zygote's own namespace."""
        syscalls.setns(self._home, syscalls.CLONE_NEWNS)

    def paths(self, space, code, packages):
        """Return what the worker sees: (task root, packages, runtime packages, bytecode, tmp)."""
        return TASK, PACKAGES if packages else None, RUNTIME, BYTECODE, "/tmp"


class Space:
    """One environment's mount namespace, held open; `identity` tells its processes from others'."""

    def __init__(self, fd):
        self.fd = fd
        self.identity = os.fstat(fd).st_ino

    def close(self):
        """Let go of the namespace, and of /tmp with it."""
        os.close(self.fd)


class Folders:
    """Environments without namespaces: the real paths, and a folder each for what should be /tmp.

    Args: base: the folder in which each environment gets its own. runtime: the folder of the package set, or None.
    """

    def __init__(self, base, runtime):
        self.base = base
        self.runtime = runtime
        self._count = 0

    def make(self, code, packages, bytecode, tmp_mb, folder):
        """Return a new environment's `Folder`; raises OSError where there is no code."""
        os.stat(code)
        path = os.path.join(self.base, folder)
        os.makedirs(path, mode=0o700, exist_ok=True)
        return Folder(path, bytecode)

    def enter(self, space):
        """Do nothing: there is one file system for all."""

    def leave(self):
        """Do nothing: there is one file system for all."""

    def paths(self, space, code, packages):
        """Return what the worker sees: (task root, packages, runtime packages, bytecode, tmp)."""
        return code, packages, self.runtime, space.bytecode, space.path


class Folder:
    """One environment's own folder."""

    identity = None

    def __init__(self, path, bytecode):
        self.path = path
        self.bytecode = bytecode

    def close(self):
        """Delete the folder and what is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _is_below(path, folder):
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")
