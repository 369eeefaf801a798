"""Power cuts with `durability = "process"`: the last moments may be lost, but only they.

One client does one thing after the other: a message, a record, an item, a small object, a large one, an event, now and
then a function. What a cut leaves of a life is a prefix of what was done in it, across all of these; and what one cut
left stays through the next. Bodies of large objects are files that nobody synced: one that was lost is not readable,
and never read wrongly.
"""

import hashlib
import json
import random
import time
from collections import Counter
from typing import Any

import botocore.exceptions

from tests.bench.client import runtime_name
from tests.torture.asynchronous import all_of, lanes
from tests.torture.cuts import make_stream, make_table, read_stream
from tests.torture.outages import Gate, PowerCut
from tests.torture.power import PowerDisk
from tests.torture.scene import AWAY, ROLE, Load, Progress, Scene, zip_of

KINDS = (*("message", "record", "item", "small", "large", "event") * 5, "code")
SEEN_AT_ONCE = ("record", "item", "small", "large", "code")
"""Kinds of which each one can be looked for without changing anything."""

ECHO = '''
"""Return the event."""


def handler(event, context):
    return event
'''


def prefix_cut(scene: Scene, disk: PowerDisk, cycles: int, say: Progress) -> None:
    """Cut the power under one busy client, and see what is left."""
    scene.daemon.start()
    gate = Gate()
    client = _Client(scene)
    client.furnish()
    disk.sync()
    cut = PowerCut(scene, disk)
    load = Load(scene)
    load.add(gate.passing(lambda: client.step(load)))
    try:
        with load.running():
            for cycle in range(1, cycles + 1):
                time.sleep(scene.rng.uniform(0.3, 3.0))
                cut.strike()
                with gate.closed():
                    cut.recover()
                    client.check(f"power cut {cycle}")
                if cycle % 5 == 0 or cycle == cycles:
                    say(f"cycle {cycle}: {client.told()}")
    finally:
        cut.close()
    client.finish()
    lost = client.lost
    scene.books.expect(lost > 0, f"{cycles} cuts lost nothing of what was not synced: they prove nothing")
    say(f"{len(cut.cuts)} power cuts: {client.told()}")
    say(cut.told())


class _Client:
    """Does one thing after the other, and knows what."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._rng = scene, random.Random(scene.rng.random())
        self._sqs, self._kinesis = scene.client("sqs"), scene.client("kinesis")
        self._dynamodb, self._s3, self._lambda = scene.client("dynamodb"), scene.client("s3"), scene.client("lambda")
        self._number = 0
        self._urls: dict[str, str] = {}
        self._done: list[tuple[str, int, bool]] = []
        """What was done in this life: kind, number, acknowledged."""
        self._sums: dict[int, str] = {}
        self._kept: dict[str, set[int]] = {kind: set() for kind in KINDS}
        """What is known to be on disk."""
        self._unsure: dict[str, set[int]] = {kind: set() for kind in KINDS}
        """Messages and events behind the last thing that was seen: the next one was lost, they may be there."""
        self._acknowledged = 0
        self._unreadable = 0
        self.lost = 0

    def furnish(self) -> None:
        """Make what it works with."""
        scene = self._scene
        self._urls = {name: scene.make_queue(name) for name in ("messages", "echoed")}
        make_stream(scene, self._kinesis, "records", 1)
        make_table(self._dynamodb, "items")
        self._s3.create_bucket(Bucket="bodies")
        scene.make_function("echo", ECHO)
        arn = "arn:aws:sqs:us-east-1:000000000000:echoed"
        self._lambda.put_function_event_invoke_config(
            FunctionName="echo", DestinationConfig={"OnSuccess": {"Destination": arn}}
        )

    def step(self, load: Load) -> None:
        """Do the next thing."""
        kind, number = self._rng.choice(KINDS), self._number
        self._number += 1
        try:
            self._do(kind, number)
            self._done.append((kind, number, True))
            self._acknowledged += 1
            self._scene.books.note_sent(kind, [str(number)])
        except AWAY:
            self._done.append((kind, number, False))
            self._scene.books.note_refused()
            load.pause(0.05)

    def _do(self, kind: str, number: int) -> None:
        text = str(number)
        if kind == "message":
            self._sqs.send_message(QueueUrl=self._urls["messages"], MessageBody=text)
        elif kind == "record":
            self._kinesis.put_records(StreamName="records", Records=[{"PartitionKey": "k", "Data": text}])
        elif kind == "item":
            self._dynamodb.put_item(TableName="items", Item={"id": {"S": text}})
        elif kind == "code":
            source = f"def handler(event, context):\n    return {number}\n"
            self._lambda.create_function(
                FunctionName=f"code-{text}",
                Runtime=runtime_name(),
                Role=ROLE,
                Handler="main.handler",
                Code={"ZipFile": zip_of(source)},
            )
        elif kind == "event":
            self._lambda.invoke(FunctionName="echo", InvocationType="Event", Payload=text)
        else:
            body = self._rng.randbytes(40_000 if kind == "small" else self._rng.randrange(70_000, 400_000))
            self._sums[number] = hashlib.sha256(body).hexdigest()
            self._s3.put_object(Bucket="bodies", Key=f"{kind}-{text}", Body=body)

    # -- looking

    def check(self, when: str) -> None:
        """What is left of this life is a prefix of it, and what was left of earlier ones is still there."""
        expect, done = self._scene.books.expect, self._done
        found = {kind: self._found(kind) for kind in SEEN_AT_ONCE}
        for kind in SEEN_AT_ONCE:
            gone = self._kept[kind] - found[kind]
            expect(not gone, f"{when}: {len(gone)} of kind {kind} left by earlier cuts are gone: {sorted(gone)[:3]}")
        is_there = [number in found[kind] if kind in SEEN_AT_ONCE else None for kind, number, _ in done]
        last = max((at for at, there in enumerate(is_there) if there), default=-1)
        holes = [done[at] for at in range(last) if is_there[at] is False and done[at][2]]
        expect(not holes, f"{when}: {len(holes)} are lost though {done[last]} of later is there, such as {holes[:3]}")
        end = next((at for at in range(last + 1, len(done)) if is_there[at] is False), len(done))
        for at, (kind, number, is_acknowledged) in enumerate(done[:end]):
            certain = at <= last and is_acknowledged
            if kind in SEEN_AT_ONCE:
                if is_there[at]:
                    self._kept[kind].add(number)
            else:
                (self._kept if certain else self._unsure)[kind].add(number)
        self.lost += sum(is_acknowledged for _, _, is_acknowledged in done[end:])
        depth, least = self._scene.depth(self._urls["messages"]), len(self._kept["message"])
        most = least + len(self._unsure["message"])
        expect(least <= depth <= most, f"{when}: there are {depth} messages, not {least} to {most}")
        self._read_large(found["large"], when)
        self._run_code(found["code"], when)
        done.clear()

    def _found(self, kind: str) -> set[int]:
        if kind == "record":
            return {int(body) for body in read_stream(self._kinesis, "records")}
        if kind == "item":
            pages = self._dynamodb.get_paginator("scan").paginate(TableName="items")
            return {int(item["id"]["S"]) for page in pages for item in page["Items"]}
        if kind == "code":
            pages = self._lambda.get_paginator("list_functions").paginate()
            names = [one["FunctionName"] for page in pages for one in page["Functions"]]
            return {int(name.removeprefix("code-")) for name in names if name.startswith("code-")}
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket="bodies", Prefix=f"{kind}-")
        return {int(one["Key"].rpartition("-")[2]) for page in pages for one in page.get("Contents", [])}

    def _read_large(self, numbers: set[int], when: str) -> None:
        """Read what this life left of the files: rightly, or not at all; and small ones rightly."""
        here = {number for kind, number, _ in self._done if kind == "large"}
        for number in numbers & here:
            try:
                body = self._s3.get_object(Bucket="bodies", Key=f"large-{number}")["Body"].read()
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                self._unreadable += 1
                continue
            is_right = hashlib.sha256(body).hexdigest() == self._sums[number]
            self._scene.books.expect(is_right, f"{when}: large object {number} is read, but not as it was put")
        for number in {number for kind, number, _ in self._done if kind == "small"} & self._kept["small"]:
            body = self._s3.get_object(Bucket="bodies", Key=f"small-{number}")["Body"].read()
            is_right = hashlib.sha256(body).hexdigest() == self._sums[number]
            self._scene.books.expect(is_right, f"{when}: small object {number} is not as it was put")

    def _run_code(self, numbers: set[int], when: str) -> None:
        """Run the newest functions that this life left."""
        for number in sorted(numbers & {number for kind, number, _ in self._done if kind == "code"})[-2:]:
            name = f"code-{number}"
            self._lambda.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
            payload = self._lambda.invoke(FunctionName=name)["Payload"].read()
            self._scene.books.expect(payload == str(number).encode(), f"{when}: function {name} answers {payload!r}")

    def told(self) -> str:
        """Return the figures so far."""
        return (
            f"{self._acknowledged:,} acknowledged, the last {self.lost:,} before the cuts lost, "
            f"{sum(map(len, self._kept.values())):,} kept, {self._unreadable} large objects without their file"
        )

    def finish(self) -> None:
        """Receive the messages and what became of the events."""
        scene, expect = self._scene, self._scene.books.expect
        for kind, number, _ in self._done:  # of the last life, which had no cut
            self._unsure[kind].add(number)
        scene.await_that(lambda: lanes(scene) == 0, "every event has come to its end", timeout_s=120)
        for kind, queue in (("message", "messages"), ("event", "echoed")):
            seen = Counter(_number_of(kind, message) for message in all_of(scene, self._urls[queue]))
            gone = self._kept[kind] - seen.keys()
            strange = seen.keys() - self._kept[kind] - self._unsure[kind]
            twice = [number for number, times in seen.items() if times > 1]
            expect(not gone, f"{len(gone)} of kind {kind} are gone though a cut left later ones: {sorted(gone)[:5]}")
            expect(not strange, f"{len(strange)} of kind {kind} came after what a cut lost: {sorted(strange)[:5]}")
            expect(not twice, f"{len(twice)} of kind {kind} are there twice: {twice[:5]}")


def _number_of(kind: str, message: Any) -> int:
    body = json.loads(message["Body"])
    return int(body["requestPayload"] if kind == "event" else body)
