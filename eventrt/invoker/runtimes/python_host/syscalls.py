"""The few kernel calls that Python's library does not offer in every version, by way of libc."""

import ctypes
import os
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_RELATIME = 1 << 21
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CAPABILITY_VERSION_3 = 0x20080522

# A mount that came into a user namespace keeps these flags, so a remount has to name them again.
_KEPT_FLAGS = {2: MS_NOSUID, 4: MS_NODEV, 8: MS_NOEXEC, 1024: MS_NOATIME, 2048: MS_NODIRATIME, 4096: MS_RELATIME}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def unshare(flags):
    """Give this process namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def setns(fd, kind=0):
    """Enter the namespace that `fd` stands for."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(kind)), "setns")


def mount(source, target, kind=None, flags=0, data=None):
    """Mount, bind or change a mount."""
    result = _libc.mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        None if data is None else data.encode(),
    )
    _check(result, "mount %s on %s" % (source or kind, target))


def bind_read_only(source, target):
    """Show `source` at `target`, for reading only."""
    mount(source, target, flags=MS_BIND | MS_REC)
    kept = 0
    found = os.statvfs(target).f_flag
    for bit, flag in _KEPT_FLAGS.items():
        if found & bit:
            kept |= flag
    mount(None, target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def unmount(target, flags=0):
    """Take a mount away."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(flags)), "umount %s" % target)


def pivot_root(new_root):
    """Make `new_root`, a mount point, the root of this namespace and drop the old one."""
    os.chdir(new_root)
    if hasattr(_libc, "pivot_root"):
        _check(_libc.pivot_root(b".", b"."), "pivot_root")
    else:
        raise OSError(38, "pivot_root: not in this libc")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def die_with_parent(signal_number):
    """Have the kernel send this signal when the thread that forked us ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0), "prctl(PDEATHSIG)")


def adopt_orphans():
    """Become the parent of descendants whose own parent ends."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl(CHILD_SUBREAPER)")


def drop_capabilities():
    """Give up what a user namespace's owner may do inside it."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, b"\0" * 24), "capset")


def close_from(lowest):
    """Close every descriptor from `lowest` on."""
    _libc.syscall.restype = ctypes.c_long
    # close_range has the same number on every architecture; older kernels than 5.9 do not know it.
    if _libc.syscall(ctypes.c_long(436), ctypes.c_uint(lowest), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0)) == 0:
        return
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= lowest:
            try:
                os.close(int(name))
            except OSError:
                pass


def enter_namespaces():
    """Move this process into mount and PID namespaces of its own (the PID one begins with its next child).

    Returns "namespaces" as root, "user-namespaces" for anybody else. Raises OSError where both are refused.
    """
    try:
        unshare(CLONE_NEWNS | CLONE_NEWPID)
        return "namespaces"
    except OSError:
        pass
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", "%d %d 1" % (uid, uid))
    _write("/proc/self/gid_map", "%d %d 1" % (gid, gid))
    return "user-namespaces"


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
