"""`make torture`: the promises, with the daemon killed, starved and stopped under load.

    python -m tests.torture [--cycles N] [--seed S] [--only NAME ...]

Every random choice comes from the seed, which is printed. The last line is the verdict; the exit code is 1 when a
promise was broken, 77 when every trial was skipped.
"""

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable

from tests.torture import asynchronous, cuts, disks, folders, kills, power, prefixes, signals, streams, stuck
from tests.torture.laws import Books
from tests.torture.scene import Progress, Scene

Trial = Callable[[random.Random, Books, int, Progress], None]


NOT_HELD = 77
"""The exit code when every trial was skipped, as test programs have it (automake's "Scripts-based Testsuites")."""


class Skipped(Exception):  # noqa: N818 - the end of a trial
    """The trial cannot be held here; the message says why."""


def _with_scene(run: Callable[[Scene, int, Progress], None], times: Callable[[int], int], *arguments: str) -> Trial:
    def trial(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
        scene = Scene(rng, books, arguments=arguments)
        try:
            run(scene, times(cycles), say)
        finally:
            scene.close()

    return trial


def _kills(durability: str) -> Trial:
    """Half of the cycles with each durability: what survives a kill is the same."""

    def trial(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
        scene = Scene(rng, books, settings={"EVENTRT_STORE_DURABILITY": durability})
        try:
            kills.kill_cycles(scene, cycles - cycles // 2 if durability == "power" else cycles // 2, say)
        finally:
            scene.close()

    return trial


def _disk_full(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
    if disks.can_mount():
        with disks.small_disk() as folder:
            scene = Scene(rng, books, data=folder / "data")
            try:
                disks.disk_full(scene, say)
            finally:
                scene.close()
        return
    scene = Scene(rng, books, preexec=disks.limit_files)
    try:
        disks.disk_full(scene, say)
    finally:
        scene.close()


def _few(cycles: int) -> int:
    return max(2, cycles // 3)


def _events(durability: str) -> Trial:
    """Half of the cycles with each durability, as `_kills`."""

    def trial(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
        scene = Scene(rng, books, settings=_settings(durability))
        try:
            asynchronous.events_killed(scene, max(2, cycles // 2), say)
        finally:
            scene.close()

    return trial


def _objects(durability: str) -> Trial:
    """Half of the cycles with each durability, as `_kills`."""

    def trial(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
        scene = Scene(rng, books, settings=_settings(durability))
        try:
            cuts.objects_killed(scene, max(2, cycles // 2), say)
        finally:
            scene.close()

    return trial


def _cuts(durability: str, run: Callable[[Scene, power.PowerDisk, int, Progress], None]) -> Trial:
    def trial(rng: random.Random, books: Books, cycles: int, say: Progress) -> None:
        if reason := power.why_not():
            raise Skipped(f"no power can be cut here: {reason}")
        with power.disk() as disk:
            arguments = folders.configuration(disk.folder)
            scene = Scene(rng, books, settings=_settings(durability), data=disk.folder / "data", arguments=arguments)
            try:
                run(scene, disk, cycles, say)
            finally:
                scene.close()

    return trial


def _settings(durability: str) -> dict[str, str]:
    return {
        "EVENTRT_STORE_DURABILITY": durability,
        "EVENTRT_LAMBDA_ASYNC_RETRY_BASE_S": asynchronous.RETRY_BASE_S,
    }


TRIALS: dict[str, Trial] = {
    "kill-power": _kills("power"),
    "kill-process": _kills("process"),
    "events-power": _events("power"),
    "events-process": _events("process"),
    "objects-power": _objects("power"),
    "objects-process": _objects("process"),
    "cut-power": _cuts("power", cuts.all_cut),
    "cut-process": _cuts("process", prefixes.prefix_cut),
    "streams": _with_scene(streams.kill_cycles, lambda cycles: max(8, cycles // 2)),
    "waiting": _with_scene(kills.waiting, lambda cycles: 100_000),
    "handlers": _with_scene(signals.handlers_killed, lambda cycles: max(5, cycles)),
    "zygote": _with_scene(signals.zygote_killed, _few),
    "sigterm": _with_scene(signals.sigterm, _few),
    "second-signal": _with_scene(signals.second_signal, lambda cycles: 1),
    "sigstop": _with_scene(signals.stopped, lambda cycles: max(3, cycles // 3)),
    "stuck": _with_scene(stuck.stuck_handlers, lambda cycles: 6),
    "clock": _with_scene(stuck.clock_jumps, lambda cycles: max(5, cycles), "--test-clock"),
    "disk-full": _disk_full,
    "read-only": _with_scene(lambda scene, times, say: disks.read_only(scene, say), lambda cycles: 1),
    "taken": _with_scene(lambda scene, times, say: disks.taken(scene, say), lambda cycles: 1),
}


def main() -> int:
    """Run the trials; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--cycles", type=int, default=30, help="how many times kill -9 (default 30)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run's random choices")
    parser.add_argument("--only", action="append", choices=list(TRIALS), metavar="NAME", help=", ".join(TRIALS))
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**32)
    print(f"seed {seed}", flush=True)
    broken: list[str] = []
    skipped: list[str] = []
    acknowledged = 0
    for name in options.only or TRIALS:
        books = Books()
        began = time.monotonic()
        print(f"{name}:", flush=True)
        try:
            rng = random.Random(f"{seed} {name}")
            TRIALS[name](rng, books, options.cycles, lambda text: print(f"  {text}", flush=True))
        except Skipped as reason:
            skipped.append(f"{name}: {reason}")
            print(f"  SKIPPED: {reason}", flush=True)
            continue
        except Exception as error:
            traceback.print_exc()
            books.violations.append(f"did not come to its end: {error}")
        acknowledged += books.acknowledged
        broken += [f"{name}: {violation}" for violation in books.violations]
        print(f"  {'BROKEN' if books.violations else 'ok'} ({time.monotonic() - began:.1f} s)", flush=True)
    print()
    for violation in broken:
        print(f"VIOLATION {violation}")
    for skip in skipped:
        print(f"SKIPPED {skip}")
    trials = len(options.only or TRIALS) - len(skipped)
    beside = f", {len(skipped)} skipped" if skipped else ""
    if broken:
        print(f"TORTURE FAILED: {len(broken)} violations in {trials} trials{beside}, seed {seed}")
        return 1
    if not trials:
        print(f"TORTURE NOT HELD: {len(skipped)} trials skipped")
        return NOT_HELD
    print(f"TORTURE PASSED: {trials} trials{beside}, {acknowledged:,} messages acknowledged, 0 violations, seed {seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
