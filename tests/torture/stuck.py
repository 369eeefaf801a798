"""Handlers that never return and start children that never end; a clock that jumps: the others notice nothing."""

import json
import os
import time
import urllib.request
from pathlib import Path

from tests.bench.process import HOST
from tests.torture.laws import missing, out_of_order, read_journal
from tests.torture.scene import AWAY, Load, Progress, Scene

STUCK = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)

def handler(event, context):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(987)"], start_new_session=True)
    while True:
        pass
"""


def stuck_handlers(scene: Scene, count: int, say: Progress) -> None:
    """A handler that spins and leaves children behind is ended with them; its messages go to the dead letters."""
    books = scene.books
    scene.daemon.start()
    scene.make_function("stuck", STUCK, Timeout=1)
    scene.make_function("journal", Timeout=5)
    dead = scene.make_queue("dead")
    redrive = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead", "maxReceiveCount": 2}
    stuck = scene.make_queue("stuck", VisibilityTimeout="1", RedrivePolicy=json.dumps(redrive))
    orders = scene.make_queue("orders", VisibilityTimeout="10")
    scene.make_mapping("stuck", "stuck", BatchSize=1)
    scene.make_mapping("orders", "journal", BatchSize=10)
    client = scene.client("sqs")
    bodies = [f"stuck-{number}" for number in range(count)]
    for body in bodies:
        client.send_message(QueueUrl=stuck, MessageBody=body)
    books.note_sent("stuck", bodies)
    load = Load(scene)
    load.send_standard("orders", orders, "o", pause_s=0.05)
    with load.running():
        scene.await_that(lambda: scene.depth(dead) == count, "stuck messages are dead letters", timeout_s=120)
    scene.await_drained([orders, stuck])
    lost = missing(books, "orders", scene.seen("orders"))
    books.expect(not lost, f"orders: {len(lost)} acknowledged messages lost beside stuck handlers")
    received: list[str] = []
    while messages := client.receive_message(QueueUrl=dead, MaxNumberOfMessages=10).get("Messages", []):
        received += [message["Body"] for message in messages]
    books.expect(sorted(received) == sorted(bodies), f"dead letters are {sorted(received)}, not {sorted(bodies)}")
    give_up_at = time.monotonic() + 5
    while (left := _sleepers(scene)) and time.monotonic() < give_up_at:
        time.sleep(0.1)
    books.expect(not left, f"children of stuck handlers still run: {left}")
    say(f"{count} messages stuck twice each, all dead letters, no child left, {len(scene.seen('orders'))} others seen")


def _sleepers(scene: Scene) -> list[int]:
    """Return the processes that a stuck handler started and nobody ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"time.sleep(987)" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def clock_jumps(scene: Scene, jumps: int, say: Progress) -> None:
    """Jump forward, run fast, go back to real time, under load: nothing is lost, stranded or overtaken."""
    books = scene.books
    scene.daemon.start()
    scene.make_function("journal", Timeout=5)
    orders = scene.make_queue("orders", VisibilityTimeout="30", DelaySeconds="20")
    steps = scene.make_queue("steps.fifo", VisibilityTimeout="30")
    scene.make_mapping("orders", "journal", BatchSize=10)
    scene.make_mapping("steps.fifo", "journal", BatchSize=10)
    load = Load(scene)
    load.send_standard("orders", orders, "o", pause_s=0.01)
    load.send_fifo("steps.fifo", steps, "g", groups=6, pause_s=0.01)
    forward = 0.0
    with load.running():
        for _ in range(jumps):
            time.sleep(scene.rng.uniform(0.1, 0.5))
            seconds = scene.rng.choice((1.0, 29.0, 31.0, 400.0, 3600.0))
            forward += seconds
            _clock(scene, {"advance": seconds})
            if scene.rng.random() < 0.3:
                _clock(scene, {"rate": scene.rng.choice((0, 10, 100))})
                time.sleep(0.2)
                _clock(scene, {"rate": 1})
    _clock(scene, {"advance": 60})
    _clock(scene, {"mode": "real"})
    _clock(scene, {"advance": 120})
    scene.await_drained([orders, steps])
    deliveries = list(read_journal(scene.journal))
    for queue in ("orders", "steps.fifo"):
        lost = missing(books, queue, {one.body for one in deliveries if one.queue == queue})
        books.expect(not lost, f"{queue}: {len(lost)} acknowledged messages lost to a clock that jumps")
    for wrong in out_of_order(deliveries)[:10]:
        books.violate(f"out of order: {wrong}")
    say(f"{jumps} jumps, {forward / 3600:.1f} hours: {books.acknowledged:,} messages, all seen")


def _clock(scene: Scene, order: dict[str, object]) -> None:
    request = urllib.request.Request(
        f"http://{HOST}:{scene.daemon.port}/_eventrt/clock",
        json.dumps(order).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            answer.read()
    except AWAY as error:
        scene.books.violate(f"the clock does not take {order}: {error}")
