"""What was promised and what was seen: the books the torture keeps, and the laws it checks against them."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

JOURNAL_SOURCE = '''
"""Append what was delivered to a file, in order, before anything else; fail now and then, as functions do."""
import os
import time
import zlib

_FILE = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
_WORK_S = float(os.environ.get("WORK_S", "0"))


def handler(event, context):
    records = event["Records"]
    lines = []
    for record in records:
        attributes = record["attributes"]
        queue = record["eventSourceARN"].rpartition(":")[2]
        count, group = attributes["ApproximateReceiveCount"], attributes.get("MessageGroupId", "-")
        lines.append(f"{queue} {group} {record['body']} {count}\\n")
    os.write(_FILE, "".join(lines).encode())
    if _WORK_S:
        time.sleep(_WORK_S)
    failures = []
    for record in records:
        fifo = "MessageGroupId" in record["attributes"]
        first = record["attributes"]["ApproximateReceiveCount"] == "1"
        unlucky = first and zlib.crc32(record["body"].encode()) % 53 == 0
        # in a FIFO queue whatever follows a failure has to wait for it
        if unlucky or (fifo and failures):
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}
'''


@dataclass(frozen=True)
class Delivery:
    """One line of the journal: a message as a handler saw it."""

    queue: str
    group: str
    body: str
    receive_count: int


def read_journal(path: Path) -> Iterator[Delivery]:
    """Yield what handlers saw, in order; a last line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        parts = line.split()
        if line.endswith("\n") and len(parts) == 4:
            yield Delivery(parts[0], parts[1], parts[2], int(parts[3]))


@dataclass
class Books:
    """Which messages the daemon acknowledged, which of their deletions, and what broke a law."""

    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    deleted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    received: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    violations: list[str] = field(default_factory=list)
    refused_sends: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note_sent(self, queue: str, bodies: Iterable[str]) -> None:
        """The daemon acknowledged these messages."""
        with self.lock:
            self.sent[queue].update(bodies)

    def note_refused(self) -> None:
        """A send failed: nobody knows whether it was kept."""
        with self.lock:
            self.refused_sends += 1

    def note_received(self, queue: str, bodies: Iterable[str]) -> None:
        """A client received these; one whose deletion was acknowledged before must not come again."""
        with self.lock:
            for body in bodies:
                if body in self.deleted[queue]:
                    self.violate(f"{queue}: {body} was received after its deletion was acknowledged")
                self.received[queue].add(body)

    def note_deleted(self, queue: str, bodies: Iterable[str]) -> None:
        """The daemon acknowledged these deletions."""
        with self.lock:
            self.deleted[queue].update(bodies)

    def violate(self, what: str) -> None:
        """Write down a broken law."""
        self.violations.append(what)
        print(f"  VIOLATION {what}", flush=True)

    def expect(self, is_kept: bool, what: str) -> None:
        """Write down a broken law unless it is kept."""
        if not is_kept:
            self.violate(what)

    @property
    def acknowledged(self) -> int:
        """How many messages the daemon acknowledged so far."""
        with self.lock:
            return sum(map(len, self.sent.values()))


def missing(books: Books, queue: str, seen: set[str]) -> set[str]:
    """Return the acknowledged messages of a queue that nobody ever saw."""
    with books.lock:
        return books.sent[queue] - seen


def out_of_order(deliveries: Iterable[Delivery]) -> list[str]:
    """Return the first deliveries that came after a later one of their group; bodies end in `-<number>`."""
    highest: dict[tuple[str, str], int] = {}
    seen: set[tuple[str, str]] = set()
    wrong: list[str] = []
    for delivery in deliveries:
        if delivery.group == "-" or not delivery.queue.endswith(".fifo"):
            continue
        if (delivery.queue, delivery.body) in seen:
            continue
        seen.add((delivery.queue, delivery.body))
        number = int(delivery.body.rpartition("-")[2])
        key = (delivery.queue, delivery.group)
        if number < highest.get(key, -1):
            wrong.append(f"{delivery.queue} group {delivery.group}: {number} first seen after {highest[key]}")
        highest[key] = max(number, highest.get(key, -1))
    return wrong
