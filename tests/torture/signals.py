"""Handlers killed, the zygote killed, SIGTERM in the middle of work, SIGSTOP and SIGCONT: everything goes on."""

import os
import signal
import time
from pathlib import Path

from tests.bench.process import descendants
from tests.torture.laws import missing, out_of_order, read_journal
from tests.torture.scene import Load, Progress, Scene

STOP_LIMIT_S = 5.0
"""For a stop while handlers work a third of a second each: it waits for them, and for nothing else."""


def _stage(scene: Scene, *, work_s: float = 0.02, visibility: str = "6") -> tuple[str, str]:
    """Start a daemon with a standard and a FIFO queue, each with a mapping; return their URLs."""
    scene.daemon.start()
    variables = {"WORK_S": str(work_s)}
    scene.make_function("journal", Timeout=5, Variables=variables)
    orders = scene.make_queue("orders", VisibilityTimeout=visibility)
    steps = scene.make_queue("steps.fifo", VisibilityTimeout=visibility)
    scene.make_mapping("orders", "journal", BatchSize=10)
    scene.make_mapping("steps.fifo", "journal", BatchSize=10)
    return orders, steps


def _load(scene: Scene, orders: str, steps: str) -> Load:
    load = Load(scene)
    load.send_standard("orders", orders, "o", pause_s=0.01)
    load.send_fifo("steps.fifo", steps, "g", groups=6, pause_s=0.01)
    return load


def _check(scene: Scene, orders: str, steps: str) -> None:
    """After the load: all seen, in order, nothing left."""
    scene.await_drained([orders, steps])
    deliveries = list(read_journal(scene.journal))
    for queue in ("orders", "steps.fifo"):
        lost = missing(scene.books, queue, {one.body for one in deliveries if one.queue == queue})
        scene.books.expect(not lost, f"{queue}: {len(lost)} acknowledged messages lost, such as {sorted(lost)[:5]}")
    for wrong in out_of_order(deliveries)[:10]:
        scene.books.violate(f"out of order: {wrong}")


def handlers_killed(scene: Scene, times: int, say: Progress) -> None:
    """Kill processes that run handlers, one after the other; the daemon starts new ones."""
    orders, steps = _stage(scene)
    killed = 0
    with _load(scene, orders, steps).running():
        for _ in range(times):
            time.sleep(scene.rng.uniform(0.1, 0.6))
            leaves = [pid for pid in _below_zygotes(scene) if not descendants(pid)]
            if leaves:
                _kill(scene.rng.choice(leaves))
                killed += 1
    scene.books.expect(scene.daemon.returncode is None, "the daemon ended when a handler was killed")
    scene.books.expect(killed > 0, "no process that runs a handler was found")
    _check(scene, orders, steps)
    _check_zombies(scene)
    say(f"{killed} handler processes killed, {scene.books.acknowledged:,} messages acknowledged and all seen")


def zygote_killed(scene: Scene, times: int, say: Progress) -> None:
    """Kill what forks the environments, and all of it; new ones are made."""
    orders, steps = _stage(scene)
    killed = 0
    with _load(scene, orders, steps).running():
        for number in range(times):
            time.sleep(scene.rng.uniform(0.3, 0.9))
            zygotes = scene.daemon.children()
            family = scene.daemon.descendants() if number % 2 else []
            for pid in {*zygotes, *family}:
                _kill(pid)
                killed += 1
    scene.books.expect(scene.daemon.returncode is None, "the daemon ended when the zygote was killed")
    scene.books.expect(killed > 0, "no zygote was found")
    _check(scene, orders, steps)
    scene.make_function("after", Timeout=5)
    answer = scene.client("lambda").invoke(FunctionName="after", Payload=b'{"Records": []}')
    scene.books.expect("FunctionError" not in answer, "a function made after the zygote was killed fails")
    _check_zombies(scene)
    say(f"{killed} processes killed, zygotes among them; all messages seen")


def sigterm(scene: Scene, times: int, say: Progress) -> None:
    """SIGTERM in the middle of work: ends with 0 within its grace, leaves nothing running, loses nothing."""
    orders, steps = _stage(scene, work_s=0.3)
    slowest = 0.0
    load = _load(scene, orders, steps)
    with load.running():
        for _ in range(times):
            time.sleep(scene.rng.uniform(0.4, 1.5))
            family = scene.daemon.descendants()
            code, seconds = scene.daemon.stop(timeout_s=60)
            slowest = max(slowest, seconds)
            scene.books.expect(code == 0, f"SIGTERM ended the daemon with {code}, not 0")
            scene.books.expect(seconds < STOP_LIMIT_S, f"SIGTERM took {seconds:.1f} s")
            alive = [pid for pid in family if Path(f"/proc/{pid}").exists()]
            scene.books.expect(not alive, f"SIGTERM left {len(alive)} processes running")
            scene.daemon.start()
    _check(scene, orders, steps)
    say(f"{times} times SIGTERM: exit 0, nothing left running, slowest {slowest:.2f} s")


def second_signal(scene: Scene, times: int, say: Progress) -> None:
    """A second signal stops at once, though a handler still works."""
    scene.daemon.start()
    scene.make_function("slow", Timeout=60, Variables={"WORK_S": "45"})
    url = scene.make_queue("slow", VisibilityTimeout="70")
    scene.make_mapping("slow", "slow", BatchSize=1)
    client = scene.client("sqs")
    client.send_message(QueueUrl=url, MessageBody="slow-0")
    scene.books.note_sent("slow", ["slow-0"])
    scene.await_that(lambda: bool(scene.seen("slow")), "the slow handler works")
    scene.daemon.signal(signal.SIGTERM)
    time.sleep(0.5)
    still_runs = scene.daemon.returncode is None
    scene.books.expect(still_runs, "SIGTERM did not let a running invocation have its grace")
    began = time.perf_counter()
    family = scene.daemon.descendants() if still_runs else []
    if still_runs:
        scene.daemon.signal(signal.SIGTERM)
    scene.daemon.wait(timeout_s=60)
    seconds = time.perf_counter() - began
    scene.books.expect(seconds < 4.0, f"the second signal took {seconds:.1f} s")
    time.sleep(0.3)
    alive = [pid for pid in family if Path(f"/proc/{pid}").exists()]
    scene.books.expect(not alive, f"the second signal left {len(alive)} processes running")
    scene.daemon.start()
    scene.books.expect(scene.depth(url) == 1, f"the slow message is not there any more: {scene.depth(url)}")
    say(f"a second signal stopped it in {seconds:.2f} s")


def stopped(scene: Scene, times: int, say: Progress) -> None:
    """SIGSTOP and SIGCONT for the daemon, and for all it started: it goes on where it was."""
    orders, steps = _stage(scene)
    with _load(scene, orders, steps).running():
        for number in range(times):
            time.sleep(scene.rng.uniform(0.3, 1.0))
            targets = [scene.daemon.pid]
            if number % 3 == 1:
                targets = scene.daemon.descendants()
            elif number % 3 == 2:
                targets += scene.daemon.descendants()
            for pid in targets:
                _signal(pid, signal.SIGSTOP)
            time.sleep(scene.rng.uniform(0.5, 2.0))
            for pid in targets:
                _signal(pid, signal.SIGCONT)
            time.sleep(0.5)
            scene.books.expect(scene.daemon.is_ready(), "the daemon does not answer after SIGCONT")
    _check(scene, orders, steps)
    say(f"{times} times SIGSTOP and SIGCONT: all messages seen")


def _below_zygotes(scene: Scene) -> list[int]:
    """Return the processes below the daemon that it did not start itself."""
    zygotes = set(scene.daemon.children())
    return [pid for pid in scene.daemon.descendants() if pid not in zygotes]


def _kill(pid: int) -> None:
    _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _check_zombies(scene: Scene) -> None:
    """Nothing that ended stays unwaited for."""

    def zombies() -> list[int]:
        found = []
        for pid in scene.daemon.descendants():
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state == "Z":
                found.append(pid)
        return found

    give_up_at = time.monotonic() + 5
    while zombies() and time.monotonic() < give_up_at:
        time.sleep(0.1)
    scene.books.expect(not zombies(), f"zombies stay: {zombies()}")
