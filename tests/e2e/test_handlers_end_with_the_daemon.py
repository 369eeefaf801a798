"""Handlers and whatever they started end with the daemon, however it ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest

DAEMON = """
    import sys, anyio
    from pathlib import Path
    from eventrt.invoker.runtimes.interpreters import Interpreters
    from eventrt.invoker.runtimes.python import PythonRuntime
    from tests.invoking import running_invoker

    HANDLER = '''
    import os, signal, subprocess, sys, time
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    def handler(event, context):
        code = "import time; time.sleep(99) # " + event
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, [sys.executable, "-c", code])
            os._exit(0)
        os.wait()
        print("started")
        time.sleep(99)
    '''

    async def main(folder, marker, isolation):
        runtime = lambda data: PythonRuntime(data, interpreters=Interpreters(), isolation=isolation)
        async with running_invoker(Path(folder), runtime=runtime) as bench:
            function = bench.function(HANDLER, timeout_s=90)
            async with anyio.create_task_group() as group:
                group.start_soon(bench.invoke, function, marker)
                while "started" not in bench.log(function):
                    await anyio.sleep(0.01)
                print("ready", flush=True)

    anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("isolation", ["auto", "none"])
@pytest.mark.parametrize("how", ["kill -9 of the daemon", "kill -9 of all at once", "kill -9 of the zygotes"])
def test_nothing_outlives_the_daemon(tmp_path, isolation, how):
    if isolation == "none" and how != "kill -9 of the daemon":
        pytest.skip("without namespaces, descendants in sessions of their own outlive a killed zygote")
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DAEMON), str(tmp_path), marker, isolation],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as daemon:
        try:
            _end_and_look(daemon, marker, how)
        finally:
            daemon.kill()


def _end_and_look(daemon, marker, how):
    assert daemon.stdout is not None
    for line in daemon.stdout:
        if line == "ready\n":
            break
    # The daemon itself and what the handler leaves behind, which may be about to become what it is.
    _until(lambda: len(_processes_with(marker)) >= 3)
    family = _below(daemon.pid)
    zygotes = [pid for pid in family if _parent(pid) == daemon.pid]
    assert zygotes
    if how == "kill -9 of the daemon":
        daemon.kill()
    elif how == "kill -9 of all at once":
        for pid in [daemon.pid, *zygotes]:
            with suppress(ProcessLookupError):  # a zygote may already have followed the daemon
                os.kill(pid, signal.SIGKILL)
    else:
        for pid in zygotes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _until(lambda: not _processes_with(marker) - {daemon.pid})
        daemon.kill()
    _until(lambda: not _processes_with(marker))
    _until(lambda: not [pid for pid in family if _parent(pid) is not None])


def _until(is_so):
    give_up_at = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def _processes_with(marker):
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes() and _parent(int(entry.name)) is not None:
                    found.add(int(entry.name))
            except OSError:
                continue
    return found - {os.getpid()}


def _below(pid):
    """Return the processes that a process started, and those that they started."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
