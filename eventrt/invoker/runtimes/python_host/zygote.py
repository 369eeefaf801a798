"""The process that environments are forked from: one per interpreter and set of modules imported beforehand.

Run as `pythonX.Y -I -S -B zygote.py ISOLATION` with a SEQPACKET socket as standard input, whose first packet is the
settings as JSON. Where namespaces are permitted, this first process enters them and waits, and its child, process 1
of the PID namespace, does the work (`forkserver`): when that ends, the kernel ends all below it. The first process
imports as little as it can.
"""

import os
import signal
import sys

_HOST = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.dirname(_HOST))

from python_host import syscalls  # noqa: E402


def main():
    """Enter namespaces, and serve in the first process of them."""
    (wanted,) = sys.argv[1:]
    control = os.dup(0)
    os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # First of all: an end that leaves it unread would be a reset to the daemon, which may take the last word along.
    settings = os.read(control, 1 << 20)
    if wanted == "none":
        isolation = "none"
        syscalls.adopt_orphans()
    else:
        try:
            isolation = syscalls.enter_namespaces()
        except OSError as error:
            os.write(control, ('{"op": "refused", "error": "%s"}' % str(error).replace('"', "'")).encode())
            os._exit(1)
        pid = os.fork()
        if pid:
            os.close(control)
            _, status = os.waitpid(pid, 0)
            os._exit(0 if status == 0 else 1)
        syscalls.die_with_parent(signal.SIGKILL)
    import json

    from python_host import forkserver

    sys.path.pop(0)
    forkserver.serve(json.loads(settings), control, isolation)


main()
