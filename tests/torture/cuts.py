"""Outages under all three lives at once: queues, streams and tables, events and objects, and what configures them.

With `durability = "power"` a power cut loses nothing acknowledged. With `"process"` it may lose the last moments, but
not out of order: what survives of a life is a prefix of what was done in it, across every kind of thing.
"""

import json
import random
import time
from collections.abc import Sequence
from typing import Any, Protocol

from tests.torture import folders, streams
from tests.torture.asynchronous import Events
from tests.torture.laws import missing, out_of_order, read_journal
from tests.torture.objects import Objects
from tests.torture.outages import Gate, Kill, Outage, PowerCut
from tests.torture.power import PowerDisk
from tests.torture.scene import AWAY, Load, Progress, Scene, zip_of

KEYS = 8


def objects_killed(scene: Scene, cycles: int, say: Progress) -> None:
    """Kill the daemon under a load of objects that tell of themselves, and of events."""
    scene.daemon.start()
    _cycles(scene, Kill(scene), Gate(), [], cycles, say)


def all_cut(scene: Scene, disk: PowerDisk, cycles: int, say: Progress) -> None:
    """Cut the power under everything; nothing acknowledged is lost."""
    scene.daemon.start()
    disk.sync()
    cut = PowerCut(scene, disk)
    gate = Gate()
    others: list[Life] = [Queues(scene), Tables(scene, gate), Streams(scene), Fresh(scene, gate)]
    if folders.can_watch():
        others.append(folders.Folders(scene, gate, disk.folder / "files"))
    else:
        say("buckets over folders: not tried, the extra `files` is not installed")
    try:
        _cycles(scene, cut, gate, others, cycles, say)
    finally:
        cut.close()
    say(f"{len(cut.cuts)} power cuts: {cut.told()}")


class Life(Protocol):
    """One of the things that go on while outages come."""

    def furnish(self) -> None:
        """Make what it needs."""
        ...

    def add_to(self, load: Load) -> None:
        """Let its clients work."""
        ...

    def check(self, when: str) -> None:
        """Hold the laws that hold after each outage."""
        ...

    def finish(self) -> None:
        """Hold the laws that need an end."""
        ...


def _cycles(scene: Scene, outage: Outage, gate: Gate, others: Sequence[Life], cycles: int, say: Progress) -> None:
    books, rng = scene.books, scene.rng
    load = Load(scene)
    objects, events = Objects(scene, gate), Events(scene)
    objects.furnish()
    events.furnish()
    objects.add_to(load)
    events.add_to(load, senders=1, pause_s=0.02)
    for other in others:
        other.furnish()
        other.add_to(load)
    slowest = 0.0
    with load.running():
        for cycle in range(1, cycles + 1):
            time.sleep(rng.uniform(0.05, 1.5))
            outage.strike()
            with gate.closed():
                slowest = max(slowest, outage.recover())
                objects.check(f"{outage.name} {cycle}")
                for other in others:
                    other.check(f"{outage.name} {cycle}")
            if cycle % 5 == 0 or cycle == cycles:
                say(f"cycle {cycle}: {books.acknowledged:,} acknowledged, slowest start {slowest:.2f} s")
    outage.strike()
    outage.recover()
    events.finish()
    for other in others:
        other.check("the end")
        other.finish()
    objects.finish(say)
    say(
        f"{cycles} times a {outage.name}: {books.acknowledged:,} acknowledged, {events.acknowledged:,} of them events, "
        f"{books.refused_sends:,} refused or cut off"
    )


class Queues:
    """A queue that is received from, a FIFO queue with a function: nothing is lost, overtakes or comes back."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._urls: dict[str, str] = {}

    def furnish(self) -> None:
        """Make queues, function and mapping."""
        self._urls["plain"] = self._scene.make_queue("plain", VisibilityTimeout="3")
        self._urls["steps.fifo"] = self._scene.make_queue("steps.fifo", VisibilityTimeout="6")
        self._scene.make_function("steps")
        self._scene.make_mapping("steps.fifo", "steps", BatchSize=10)

    def add_to(self, load: Load) -> None:
        """Let clients send and receive."""
        load.send_standard("plain", self._urls["plain"], "p", pause_s=0.01)
        load.receive_and_delete("plain", self._urls["plain"])
        load.send_fifo("steps.fifo", self._urls["steps.fifo"], "g", groups=6, pause_s=0.01)

    def check(self, when: str) -> None:
        """What was deleted does not come back: the books see to it with each receive."""

    def finish(self) -> None:
        """Drain the queues and compare."""
        scene, books = self._scene, self._scene.books
        scene.await_drained([self._urls["steps.fifo"]], timeout_s=120)
        client, url = scene.client("sqs"), self._urls["plain"]
        give_up_at = time.monotonic() + 60
        while scene.depth(url) and time.monotonic() < give_up_at:
            answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in answer.get("Messages", []):
                books.note_received("plain", [message["Body"]])
                client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                books.note_deleted("plain", [message["Body"]])
        deliveries = list(read_journal(scene.journal))
        for queue, seen in (("plain", books.received["plain"]), ("steps.fifo", {one.body for one in deliveries})):
            lost = missing(books, queue, seen)
            books.expect(not lost, f"{queue}: {len(lost)} acknowledged messages lost, such as {sorted(lost)[:5]}")
        for wrong in out_of_order(deliveries)[:10]:
            books.violate(f"out of order: {wrong}")


class Tables:
    """Items with rising numbers, alone and in pairs that are written together."""

    def __init__(self, scene: Scene, gate: Gate) -> None:
        self._scene, self._gate = scene, gate
        self._sure: dict[str, int] = {}
        self._tried: dict[str, int] = {}
        self._client = scene.client("dynamodb")

    def furnish(self) -> None:
        """Make the table."""
        make_table(self._client, "numbers")

    def add_to(self, load: Load) -> None:
        """Let a client write."""
        client, rng, books = self._scene.client("dynamodb"), random.Random(self._scene.rng.random()), self._scene.books

        def step() -> None:
            key = f"k{rng.randrange(KEYS)}"
            number = self._tried[key] = self._tried.get(key, 0) + 1
            try:
                if rng.random() < 0.5:
                    self._put(client, key, number)
                else:
                    puts = [
                        {"Put": {"TableName": "numbers", "Item": _item(name, number)}} for name in (key, f"{key}-too")
                    ]
                    client.transact_write_items(TransactItems=puts)
                    self._tried[f"{key}-too"] = self._sure[f"{key}-too"] = number
                self._sure[key] = number
                books.note_sent("items", [f"{key} {number}"])
            except AWAY:
                books.note_refused()
                load.pause(0.03)
            load.pause(0.005)

        load.add(self._gate.passing(step))

    def _put(self, client: Any, key: str, number: int) -> None:
        client.put_item(TableName="numbers", Item=_item(key, number))

    def check(self, when: str) -> None:
        """Each item holds what was acknowledged last, or what was tried since."""
        for key, sure in list(self._sure.items()):
            item = self._client.get_item(TableName="numbers", Key={"id": {"S": key}}, ConsistentRead=True).get("Item")
            found = int(item["n"]["N"]) if item is not None else 0
            most = self._tried[key.removesuffix("-too")]
            self._scene.books.expect(sure <= found <= most, f"{when}: item {key} is at {found}, not {sure} to {most}")

    def finish(self) -> None:
        """All was compared by `check`."""


def make_table(client: Any, name: str) -> None:
    """Make a table whose items have a text as `id`; return once it is active."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})


def _item(key: str, number: int) -> dict[str, Any]:
    return {"id": {"S": key}, "n": {"N": str(number)}}


class Streams:
    """A stream of two shards with a function: what was acknowledged is there, in the order of its key, and comes."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._client = scene.client("kinesis")
        self._journal = scene.directory / "flow"
        self._mapping = ""

    def furnish(self) -> None:
        """Make the stream, the function, the mapping."""
        make_stream(self._scene, self._client, "flow", 2)
        self._scene.make_function("flow", streams.FLOW, Variables={"JOURNAL": str(self._journal)})
        self._mapping = self._scene.client("lambda").create_event_source_mapping(
            EventSourceArn="arn:aws:kinesis:us-east-1:000000000000:stream/flow",
            FunctionName="flow",
            StartingPosition="TRIM_HORIZON",
            BatchSize=50,
        )["UUID"]

    def add_to(self, load: Load) -> None:
        """Let a client put, each record once: what fails is not tried again, its number stays unused."""
        client, rng, books = self._scene.client("kinesis"), random.Random(self._scene.rng.random()), self._scene.books
        numbers = dict.fromkeys((f"k{index}" for index in range(KEYS)), 0)

        def step() -> None:
            key = rng.choice(list(numbers))
            entries = []
            for _ in range(rng.choice((1, 5, 20))):
                entries.append({"PartitionKey": key, "Data": f"{key}-{numbers[key]}"})
                numbers[key] += 1
            try:
                client.put_records(StreamName="flow", Records=entries)
                books.note_sent("flow", [entry["Data"] for entry in entries])
            except AWAY:
                books.note_refused()
                load.pause(0.03)
            load.pause(0.01)

        load.add(step)

    def check(self, when: str) -> None:
        """All is compared at the end."""

    def finish(self) -> None:
        """Read it all, and what the function saw of it for the first time."""
        self._scene.await_that(
            lambda: streams.is_caught_up(self._scene, self._mapping), "the function has seen the stream", timeout_s=120
        )
        came = dict.fromkeys(one.body for one in streams.read_journal(self._journal))
        for seen in (read_stream(self._client, "flow"), list(came)):
            self._compare(seen)

    def _compare(self, seen: list[str]) -> None:
        books = self._scene.books
        lost = books.sent["flow"] - set(seen)
        books.expect(not lost, f"flow: {len(lost)} acknowledged records lost, such as {sorted(lost)[:5]}")
        highest: dict[str, int] = {}
        for body in seen:
            key, _, number = body.rpartition("-")
            books.expect(int(number) > highest.get(key, -1), f"flow: {body} stands after {key}-{highest.get(key)}")
            highest[key] = int(number)


def make_stream(scene: Scene, client: Any, name: str, shards: int) -> None:
    """Make a stream; return once it is active."""
    client.create_stream(StreamName=name, ShardCount=shards)
    scene.await_that(
        lambda: client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE",
        "the stream is active",
    )


def read_stream(client: Any, name: str) -> list[str]:
    """Return all that is in a stream, shard by shard."""
    found: list[str] = []
    for shard in client.list_shards(StreamName=name)["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while True:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            found += [record["Data"].decode() for record in page["Records"]]
            iterator = page["NextShardIterator"]
            if not page["Records"] and not page["MillisBehindLatest"]:
                break
    return found


class Fresh:
    """Functions and queues that were just made: they are there, and the function's code runs."""

    def __init__(self, scene: Scene, gate: Gate) -> None:
        self._scene, self._gate = scene, gate
        self._functions: list[str] = []
        self._queues: list[str] = []
        self._deleted: list[str] = []
        self._checked = 0
        self._lambda, self._sqs = scene.client("lambda"), scene.client("sqs")

    def furnish(self) -> None:
        """Nothing is needed."""

    def add_to(self, load: Load) -> None:
        """Let a client make and delete."""
        client, sqs, number = self._scene.client("lambda"), self._scene.client("sqs"), 0

        def step() -> None:
            nonlocal number
            number += 1
            name = f"fresh-{number}"
            try:
                client.create_function(
                    FunctionName=name,
                    Runtime=self._lambda.get_function_configuration(FunctionName="told")["Runtime"],
                    Role="arn:aws:iam::000000000000:role/torture",
                    Handler="main.handler",
                    Code={"ZipFile": zip_of(f"def handler(event, context):\n    return {name!r}\n")},
                )
                self._functions.append(name)
                url = sqs.create_queue(QueueName=name)["QueueUrl"]
                if number % 2:
                    sqs.delete_queue(QueueUrl=url)
                (self._deleted if number % 2 else self._queues).append(name)
            except AWAY:
                load.pause(0.03)
            load.pause(0.2)

        load.add(self._gate.passing(step))

    def check(self, when: str) -> None:
        """Look for all of them, and invoke the newest function."""
        expect = self._scene.books.expect
        pages = self._lambda.get_paginator("list_functions").paginate()
        functions = {one["FunctionName"] for page in pages for one in page["Functions"]}
        lost = set(self._functions) - functions
        expect(not lost, f"{when}: functions {sorted(lost)} are gone")
        pages = self._sqs.get_paginator("list_queues").paginate(QueueNamePrefix="fresh-")
        queues = {url.rpartition("/")[2] for page in pages for url in page.get("QueueUrls", [])}
        expect(set(self._queues) <= queues, f"{when}: queues {sorted(set(self._queues) - queues)} are gone")
        expect(not set(self._deleted) & queues, f"{when}: queues {sorted(set(self._deleted) & queues)} are back")
        for name in self._functions[self._checked :][-2:]:
            self._lambda.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
            answer = self._lambda.invoke(FunctionName=name)
            payload = answer["Payload"].read()
            expect(json.loads(payload) == name, f"{when}: function {name} answers {payload!r}")
        self._checked = len(self._functions)

    def finish(self) -> None:
        """All was compared by `check`."""
