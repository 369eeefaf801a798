"""kill -9 at random moments under load: nothing acknowledged is lost, nothing overtakes, nothing is left running."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.client import Api, drain, fill
from tests.bench.process import HOST
from tests.torture.laws import missing, out_of_order, read_journal
from tests.torture.scene import AWAY, Load, Progress, Scene

ORPHAN_GRACE_S = 5.0
READY_LIMIT_S = 2.0


def kill_cycles(scene: Scene, cycles: int, say: Progress) -> None:
    """Kill the daemon `cycles` times at random moments, start it again, and check everything after each start."""
    books, rng, daemon = scene.books, scene.rng, scene.daemon
    daemon.start()
    made = _furnish(scene)
    load = Load(scene)
    for number in range(2):
        load.send_standard("orders", made.urls["orders"], f"o{number}")
    for number in range(2):
        load.send_fifo("steps.fifo", made.urls["steps.fifo"], f"g{number}x", groups=8)
    load.send_standard("plain", made.urls["plain"], "p", pause_s=0.005)
    load.receive_and_delete("plain", made.urls["plain"])
    _control(scene, load, made)
    orphans: list[tuple[float, int, list[tuple[int, str]]]] = []
    slowest = 0.0
    with load.running():
        for cycle in range(1, cycles + 1):
            time.sleep(rng.uniform(0.05, 2.0))
            family = [(pid, _started_at(pid)) for pid in daemon.descendants()]
            _check_inheritance(scene, family)
            daemon.kill()
            orphans.append((time.monotonic() + ORPHAN_GRACE_S, cycle, family))
            time.sleep(rng.choice((0.0, 0.0, rng.uniform(0, 0.5))))
            seconds = daemon.start()
            slowest = max(slowest, seconds)
            made.check(f"cycle {cycle}")
            orphans = _check_orphans(scene, orphans)
            if cycle % 5 == 0 or cycle == cycles:
                say(f"cycle {cycle}: {books.acknowledged:,} acknowledged, slowest start {slowest:.2f} s")
    mapped = [made.urls["orders"], made.urls["steps.fifo"]]
    scene.await_drained(mapped, timeout_s=120)
    while orphans:
        time.sleep(0.2)
        orphans = _check_orphans(scene, orphans)
    made.check("the end")
    deliveries = list(read_journal(scene.journal))
    for queue in ("orders", "steps.fifo"):
        lost = missing(books, queue, {one.body for one in deliveries if one.queue == queue})
        books.expect(not lost, f"{queue}: {len(lost)} acknowledged messages lost, such as {sorted(lost)[:5]}")
    for wrong in out_of_order(deliveries)[:10]:
        books.violate(f"out of order: {wrong}")
    _drain_plain(scene, made.urls["plain"])
    lost = missing(books, "plain", books.received["plain"])
    books.expect(not lost, f"plain: {len(lost)} acknowledged messages lost, such as {sorted(lost)[:5]}")
    again = len(deliveries) - len({(one.queue, one.body) for one in deliveries})
    say(
        f"{cycles} kills: {books.acknowledged:,} acknowledged, {books.refused_sends:,} sends refused or cut off, "
        f"{len(deliveries):,} deliveries ({again:,} of them again)"
    )


def _drain_plain(scene: Scene, url: str) -> None:
    """Receive what is left on the queue without a mapping."""
    client = scene.client("sqs")
    give_up_at = time.monotonic() + 60
    while scene.depth(url) and time.monotonic() < give_up_at:
        answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            scene.books.note_received("plain", [message["Body"]])
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            scene.books.note_deleted("plain", [message["Body"]])


class Furniture:
    """What was made before the first kill, and what has to be the same after each."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.urls: dict[str, str] = {}
        self.functions: dict[str, dict[str, Any]] = {}
        self.mappings: dict[str, dict[str, Any]] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self.kept: set[str] = set()
        self.gone: set[str] = set()
        self._sqs, self._lambda = scene.client("sqs"), scene.client("lambda")

    def remember(self) -> None:
        """Take down how everything is now."""
        for name, url in self.urls.items():
            self.attributes[name] = self._fixed_attributes(url)
        for name in self.functions:
            self.functions[name] = self._function(name)
        for mapping in self._lambda.list_event_source_mappings()["EventSourceMappings"]:
            self.mappings[mapping["UUID"]] = mapping

    def check(self, when: str) -> None:
        """Compare with how everything was."""
        expect = self._scene.books.expect
        for name, url in self.urls.items():
            found = self._fixed_attributes(url)
            expect(found == self.attributes[name], f"{when}: queue {name} was {self.attributes[name]}, is {found}")
        for name, function in self.functions.items():
            now = self._function(name)
            expect(now == function, f"{when}: function {name} was {function}, is {now}")
        listed = self._lambda.list_event_source_mappings()["EventSourceMappings"]
        mappings = {mapping["UUID"]: mapping for mapping in listed}
        expect(mappings == self.mappings, f"{when}: mappings were {self.mappings}, are {mappings}")
        with self._scene.books.lock:  # before looking: what is acknowledged while we look may be missed
            kept, gone = set(self.kept), set(self.gone)
        names = {
            url.rpartition("/")[2]
            for page in self._sqs.get_paginator("list_queues").paginate(QueueNamePrefix="extra-")
            for url in page.get("QueueUrls", [])
        }
        expect(kept <= names, f"{when}: queues whose creation was acknowledged are gone: {sorted(kept - names)}")
        expect(not gone & names, f"{when}: queues whose deletion was acknowledged are back: {sorted(gone & names)}")

    def _fixed_attributes(self, url: str) -> dict[str, str]:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        return {key: value for key, value in attributes.items() if not key.startswith("Approximate")}

    def _function(self, name: str) -> dict[str, Any]:
        configuration = self._lambda.get_function_configuration(FunctionName=name)
        return {key: value for key, value in configuration.items() if key != "ResponseMetadata"}


def _furnish(scene: Scene) -> Furniture:
    """Make the queues, the functions and the mappings."""
    made = Furniture(scene)
    made.functions["journal"] = scene.make_function("journal", Timeout=2)
    made.functions["steps"] = scene.make_function("steps", Timeout=2)
    made.urls["dead"] = scene.make_queue("dead")
    made.urls["dead.fifo"] = scene.make_queue("dead.fifo")
    made.urls["orders"] = scene.make_queue("orders", VisibilityTimeout="4", RedrivePolicy=_redrive("dead"))
    made.urls["steps.fifo"] = scene.make_queue("steps.fifo", VisibilityTimeout="4", RedrivePolicy=_redrive("dead.fifo"))
    made.urls["plain"] = scene.make_queue("plain", VisibilityTimeout="3")
    scene.make_mapping("orders", "journal", BatchSize=10)
    scene.make_mapping("steps.fifo", "steps", BatchSize=10)
    made.remember()
    return made


def _redrive(queue: str) -> str:
    """Return a redrive policy that no run of this length reaches."""
    arn = f"arn:aws:sqs:us-east-1:000000000000:{queue}"
    return json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1000})


def _control(scene: Scene, load: Load, made: Furniture) -> None:
    """Make and delete queues beside the load; what was acknowledged of it has to hold."""
    client, number = scene.client("sqs"), 0

    def step() -> None:
        nonlocal number
        number += 1
        name = f"extra-{number}"
        try:
            url = client.create_queue(QueueName=name)["QueueUrl"]
            if number % 2:
                client.delete_queue(QueueUrl=url)
            with scene.books.lock:
                (made.gone if number % 2 else made.kept).add(name)
        except AWAY:
            load.pause(0.05)
        load.pause(0.1)

    load.add(step)


def _check_inheritance(scene: Scene, family: Sequence[tuple[int, str]]) -> None:
    """No process below the daemon holds its database, its lock or its listening socket."""
    listening = _listening_inodes(scene.daemon.port)
    for pid, _ in family:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(entry)
                if target.startswith(f"{scene.daemon.data}/eventrt.db") or target == f"{scene.daemon.data}/lock":
                    scene.books.violate(f"process {pid} below the daemon holds {target}")
                if target.startswith("socket:[") and target[8:-1] in listening:
                    scene.books.violate(f"process {pid} below the daemon holds the listening socket")


def _listening_inodes(port: int) -> set[str]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _started_at(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _check_orphans(
    scene: Scene, orphans: list[tuple[float, int, list[tuple[int, str]]]]
) -> list[tuple[float, int, list[tuple[int, str]]]]:
    """Check those whose time is up; return the others."""
    for due, cycle, family in orphans:
        if due <= time.monotonic():
            alive = [pid for pid, started in family if started and _started_at(pid) == started and not _is_zombie(pid)]
            scene.books.expect(not alive, f"cycle {cycle}: processes {alive} outlive the daemon by 5 s")
    return [one for one in orphans if one[0] > time.monotonic()]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def waiting(scene: Scene, total: int, say: Progress) -> None:
    """Restart with many messages waiting, after SIGKILL and after SIGTERM: ready soon, and all there."""
    daemon, books = scene.daemon, scene.books
    daemon.start()
    api = Api(HOST, daemon.port)
    url = api.create_queue("waiting", VisibilityTimeout="900")
    fill((HOST, daemon.port), url, total)
    for number in (signal.SIGKILL, signal.SIGTERM):
        api.close()
        daemon.signal(number)
        daemon.wait()
        seconds = daemon.start()
        name = signal.Signals(number).name
        found = api.counts(url)
        say(f"{name} with {total:,} waiting: ready after {seconds:.2f} s, {found[0]:,} waiting")
        books.expect(seconds < READY_LIMIT_S, f"{name} with {total:,} waiting: ready after {seconds:.2f} s, not 2")
        books.expect(found == (total, 0), f"{name}: counts are {found}, not {(total, 0)}")
    _, bodies = drain((HOST, daemon.port), url)
    books.expect(len(bodies) == total, f"{len(bodies)} messages were received of {total}")
    books.expect(len(set(bodies)) == total, f"{len(set(bodies))} different messages were received of {total}")
    api.close()
