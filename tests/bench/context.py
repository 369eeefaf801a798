"""What every measure shares: how often, where the daemons live, and the floors, each measured once."""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from tests.bench import floors
from tests.bench.client import Api
from tests.bench.process import HOST, Daemon

NOOP = "def handler(event, context):\n    return None\n"


class Context:
    """How long to measure, and daemons to measure.

    Args: quick: fewer units and repetitions, for a look. repetitions: of each measure.
    """

    def __init__(self, *, quick: bool, repetitions: int, million: bool) -> None:
        self.quick = quick
        self.repetitions = repetitions
        self.million = million
        base = os.environ.get("EVENTRT_BENCH_DIR")
        self._root = Path(tempfile.mkdtemp(prefix="eventrt-bench-", dir=base))
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Remove every data directory."""
        shutil.rmtree(self._root, ignore_errors=True)

    def scaled(self, full: int, quick: int) -> int:
        """Return how many units to measure with."""
        return quick if self.quick else full

    @contextlib.contextmanager
    def daemon(self, *, durability: str = "process", **settings: str) -> Iterator[tuple[Daemon, Api]]:
        """Run a daemon on an empty directory, with an Api to set things up."""
        daemon = self.new_daemon(durability=durability, **settings)
        api = Api(HOST, daemon.port)
        try:
            daemon.start()
            yield daemon, api
        finally:
            api.close()
            daemon.close()
            shutil.rmtree(daemon.directory, ignore_errors=True)

    def new_daemon(self, *, durability: str = "process", **settings: str) -> Daemon:
        """Return a daemon that is not started yet, on an empty directory."""
        directory = self._root / f"daemon-{next(self._numbers)}"
        return Daemon(directory, settings={"EVENTRT_STORE_DURABILITY": durability, **settings})

    def times(self, measure: Callable[[], float]) -> list[float]:
        """Return what the measure gave, each time."""
        return [measure() for _ in range(self.repetitions)]

    # -- floors

    @cache  # noqa: B019 - one context lives as long as the run
    def echo(self, clients: int, takes: int = 0, gives: int = 0) -> tuple[float, float]:
        """Requests a second and median milliseconds of the bare HTTP echo; of bodies of so many bytes."""
        return floors.http_echo(clients, self.scaled(20_000, 4_000), self.repetitions, takes=takes, gives=gives)

    @cache  # noqa: B019 - as above
    def pipe(self) -> tuple[float, float]:
        """Round trips a second and median milliseconds through bare pipes."""
        return floors.pipe_round_trip(self.scaled(20_000, 4_000), self.repetitions)

    @cache  # noqa: B019 - as above
    def commit(self, per_commit: int, full_sync: bool, row_bytes: int = len(floors.ROW)) -> float:
        """Rows a second of bare SQLite, so many to a transaction."""
        total = self.scaled(64_000, 6_400) if not full_sync else self.scaled(8_000, 1_600)
        if row_bytes > 1000:
            total //= 4
        return floors.group_commit(
            per_commit=per_commit,
            full_sync=full_sync,
            total=total,
            repetitions=self.repetitions,
            row_bytes=row_bytes,
        )


def in_series(*rates: float) -> float:
    """Return the rate of things done one after the other, from the rate of each."""
    return 1 / sum(1 / rate for rate in rates)
