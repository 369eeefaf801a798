"""The daemon's own life: start, idle, stop and start again with many messages waiting."""

import signal
import time
from collections.abc import Iterator
from statistics import median

from tests.bench.client import Api, drain, fill
from tests.bench.context import Context
from tests.bench.process import HOST
from tests.bench.report import Figure


def start(context: Context) -> Iterator[Figure]:
    """From the start of the process to its first answer, on an empty directory; then its memory."""
    samples, sizes, families = [], [], []
    for _ in range(max(5, context.repetitions)):
        daemon = context.new_daemon()
        try:
            samples.append(daemon.start() * 1000)
            time.sleep(0.5)
            sizes.append(daemon.rss_mb())
            families.append(daemon.family_rss_mb())
        finally:
            daemon.close()
    yield Figure(
        row="start",
        measure="start → ready",
        value=median(samples),
        unit="ms",
        must=600,
        aim=280,
        better="less",
        samples=samples,
    )
    yield Figure(
        row="idle-rss",
        measure="idle RSS",
        value=median(sizes),
        unit="MB",
        must=90,
        aim=60,
        better="less",
        samples=sizes,
        note=f"processes below it: {median(families):.0f} MB",
    )


def restart(context: Context) -> Iterator[Figure]:
    """Stop and start with 100,000 messages waiting; what is there afterwards, after SIGTERM and after SIGKILL."""
    total = context.scaled(100_000, 20_000)
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon = context.new_daemon()
        samples = []
        try:
            daemon.start()
            api = Api(HOST, daemon.port)
            url = api.create_queue("waiting", VisibilityTimeout="600")
            fill((HOST, daemon.port), url, total)
            for _ in range(context.repetitions):
                api.close()
                began = time.perf_counter()
                daemon.signal(number)
                daemon.wait()
                daemon.start()
                samples.append(time.perf_counter() - began)
            _, bodies = drain((HOST, daemon.port), url)
            intact = len(set(map(int, bodies)) & set(range(total)))
            api.close()
        finally:
            daemon.close()
        name = signal.Signals(number).name
        yield Figure(
            row=f"restart-{name.lower()}",
            measure=f"{name} + start with {total:,} waiting",
            value=median(samples),
            unit="s",
            must=4.0 if number == signal.SIGTERM else 2.0,
            aim=1.2,
            better="less",
            samples=samples,
        )
        yield Figure(
            row=f"intact-{name.lower()}",
            measure=f"messages intact after {name} ({total:,} waiting)",
            value=intact / total * 100,
            unit="%",
            must=100,
            aim=100,
            note=f"{intact:,} of {total:,}, {len(bodies) - len(set(bodies))} twice",
        )
