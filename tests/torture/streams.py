"""kill -9 under a stream (4 shards, 16 keys) and a streamed table: nothing lost, nothing overtakes, checkpoints hold.

What is delivered again must have been in flight when the daemon died: the journal has a mark for each kill, and of a
record that came before the mark and after it, no later batch of its key may stand before the mark.
"""

import contextlib
import json
import random
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.torture.laws import Books
from tests.torture.scene import AWAY, Load, Progress, Scene

KEYS = 16
SHARDS = 4
KILL = "KILLED"

FLOW = '''
"""Append what was delivered to a file, in order, before anything else."""
import base64
import os

_FILE = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def handler(event, context):
    lines = []
    for record in event["Records"]:
        one = record["kinesis"]
        body = base64.b64decode(one["data"]).decode()
        lines.append(f"flow {one['partitionKey']} {body} {context.aws_request_id}\\n")
    os.write(_FILE, "".join(lines).encode())
'''

CHANGES = '''
"""The same for the changes of a table; now and then a record fails, and with it what follows."""
import os
import random

_FILE = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def handler(event, context):
    lines, failures = [], []
    for record in event["Records"]:
        change = record["dynamodb"]
        if random.random() < 0.01:
            failures.append({"itemIdentifier": change["SequenceNumber"]})
            break
        key = change["Keys"]["id"]["S"]
        lines.append(f"changes {key} {change['NewImage']['n']['S']} {context.aws_request_id}\\n")
    os.write(_FILE, "".join(lines).encode())
    return {"batchItemFailures": failures}
'''


@dataclass(frozen=True)
class Seen:
    """One line of the journal: a record as a handler saw it, and after how many kills."""

    source: str
    key: str
    body: str
    request: str
    life: int


def read_journal(path: Path) -> Iterator[Seen]:
    """Yield what handlers saw, in order."""
    life = 0
    if not path.exists():
        return
    for line in path.read_text().splitlines(keepends=True):
        parts = line.split()
        if parts == [KILL]:
            life += 1
        elif line.endswith("\n") and len(parts) == 4:
            yield Seen(parts[0], parts[1], parts[2], parts[3], life)


def kill_cycles(scene: Scene, cycles: int, say: Progress) -> None:
    """Kill the daemon `cycles` times at random moments; split and merge shards in between."""
    books, rng, daemon = scene.books, scene.rng, scene.daemon
    daemon.start()
    mappings = _furnish(scene)
    load = Load(scene)
    for number in range(4):
        keys = [f"k{index}" for index in range(KEYS) if index % 4 == number]
        _put_records(scene, load, keys)
        _put_items(scene, load, keys)
    reached: dict[tuple[str, str], str] = {}
    with load.running():
        for cycle in range(1, cycles + 1):
            time.sleep(rng.uniform(0.05, 1.5))
            if cycle % 4 == 0:
                _reshard(scene)
            _check_checkpoints(scene, mappings, reached, f"before kill {cycle}")
            daemon.kill()
            with scene.journal.open("a") as journal:
                journal.write(f"{KILL}\n")
            daemon.start()
            _check_checkpoints(scene, mappings, reached, f"after kill {cycle}")
            if cycle % 5 == 0 or cycle == cycles:
                say(f"cycle {cycle}: {books.acknowledged:,} acknowledged")
    for mapping in mappings:
        scene.await_that(lambda mapping=mapping: is_caught_up(scene, mapping), "it catches up", timeout_s=120)  # type: ignore[misc]
    _check_journal(books, list(read_journal(scene.journal)), cycles, say)


def _furnish(scene: Scene) -> list[str]:
    """Make the stream, the table, the functions and the mappings; return the mappings' UUIDs."""
    kinesis, dynamodb = scene.client("kinesis"), scene.client("dynamodb")
    kinesis.create_stream(StreamName="flow", ShardCount=SHARDS)
    table = dynamodb.create_table(
        TableName="items",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]
    scene.await_that(lambda: _status(kinesis) == "ACTIVE", "the stream is active")
    scene.make_function("flow", FLOW)
    scene.make_function("changes", CHANGES)
    client = scene.client("lambda")
    arn = "arn:aws:kinesis:us-east-1:000000000000:stream/flow"
    made: list[str] = []
    for source, function, members in (
        (arn, "flow", {"ParallelizationFactor": 4, "BatchSize": 20}),
        (table["LatestStreamArn"], "changes", {"BatchSize": 20, "FunctionResponseTypes": ["ReportBatchItemFailures"]}),
    ):
        mapping = client.create_event_source_mapping(
            EventSourceArn=source, FunctionName=function, StartingPosition="TRIM_HORIZON", **members
        )
        made.append(mapping["UUID"])
    return made


def _status(kinesis: Any) -> str:
    status: str = kinesis.describe_stream_summary(StreamName="flow")["StreamDescriptionSummary"]["StreamStatus"]
    return status


def _put_records(scene: Scene, load: Load, keys: list[str]) -> None:
    """Put records to keys of its own in order, each again and again until it is acknowledged."""
    client, books = scene.client("kinesis"), scene.books
    rng = random.Random(scene.rng.random())
    numbers = dict.fromkeys(keys, 0)

    def step() -> None:
        key = rng.choice(keys)
        entries = []
        for _ in range(rng.choice((1, 5, 20))):
            entries.append({"PartitionKey": key, "Data": f"{key}-{numbers[key]}"})
            numbers[key] += 1
        # One key goes to one shard, so that these records are kept all or not at all, and in order.
        if _until_acknowledged(load, books, lambda: client.put_records(StreamName="flow", Records=entries)):
            books.note_sent("flow", [entry["Data"] for entry in entries])
        load.pause(0.002)

    load.add(step)


def _put_items(scene: Scene, load: Load, keys: list[str]) -> None:
    """Write items of its own, a rising number in each, each write again and again until it is acknowledged."""
    client, books = scene.client("dynamodb"), scene.books
    rng = random.Random(scene.rng.random())
    numbers = dict.fromkeys(keys, 0)

    def step() -> None:
        key = rng.choice(keys)
        body = f"{key}-{numbers[key]}"
        numbers[key] += 1
        item = {"id": {"S": key}, "n": {"S": body}}
        if _until_acknowledged(load, books, lambda: client.put_item(TableName="items", Item=item)):
            books.note_sent("changes", [body])
        load.pause(0.002)

    load.add(step)


def _until_acknowledged(load: Load, books: Books, call: Any) -> bool:
    """Repeat a call until it succeeds; False when the load is over first."""
    while True:
        try:
            call()
        except AWAY:
            books.note_refused()
            if load.is_over:
                return False
            load.pause(0.03)
            continue
        return True


def _reshard(scene: Scene) -> None:
    """Split a shard or merge two neighbours, if the stream is free for it."""
    kinesis = scene.client("kinesis")
    with contextlib.suppress(*AWAY):
        shards = kinesis.list_shards(StreamName="flow", ShardFilter={"Type": "AT_LATEST"})["Shards"]
        shards.sort(key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))
        index = scene.rng.randrange(len(shards) - 1)
        if len(shards) > SHARDS:
            kinesis.merge_shards(
                StreamName="flow",
                ShardToMerge=shards[index]["ShardId"],
                AdjacentShardToMerge=shards[index + 1]["ShardId"],
            )
        else:
            low, high = (int(shards[index]["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
            kinesis.split_shard(
                StreamName="flow", ShardToSplit=shards[index]["ShardId"], NewStartingHashKey=str((low + high) // 2)
            )


def _report(scene: Scene, mapping: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{scene.daemon.url}/_eventrt/mappings/{mapping}", timeout=20) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _check_checkpoints(scene: Scene, mappings: list[str], reached: dict[tuple[str, str], str], when: str) -> None:
    """No checkpoint on disk ever goes back."""
    for mapping in mappings:
        for shard, kept in _report(scene, mapping)["checkpoints"].items():
            before, now = reached.get((mapping, shard), ""), kept["checkpoint"] or ""
            scene.books.expect(
                (len(now), now) >= (len(before), before), f"{when}: {shard} was at {before}, is at {now}"
            )
            reached[mapping, shard] = now


def is_caught_up(scene: Scene, mapping: str) -> bool:
    """Has the mapping of a stream seen all there is?"""
    shards = _report(scene, mapping)["poller"].get("shards", [])
    return bool(shards) and not any(shard.get("lag_records", 1) for shard in shards)


def _check_journal(books: Books, seen: list[Seen], cycles: int, say: Progress) -> None:
    """Nothing is lost, first deliveries keep the order of their key, and only what was in flight came again."""
    for source in ("flow", "changes"):
        lost = books.sent[source] - {one.body for one in seen if one.source == source}
        books.expect(not lost, f"{source}: {len(lost)} acknowledged records lost, such as {sorted(lost)[:5]}")
    highest: dict[tuple[str, str], int] = {}
    met: set[tuple[str, str]] = set()
    last_batch: dict[tuple[int, str], str] = {}
    for one in seen:
        if one.source == "flow":
            last_batch[one.life, one.key] = one.request
        if (one.source, one.body) in met:
            continue
        met.add((one.source, one.body))
        number = int(one.body.rpartition("-")[2])
        before = highest.get((one.source, one.key), -1)
        books.expect(number > before, f"{one.source}: {one.body} was first seen after {one.key}-{before}")
        highest[one.source, one.key] = max(number, before)
    first: dict[str, Seen] = {}
    again = 0
    for one in seen:
        if one.source != "flow":
            continue
        earlier = first.setdefault(one.body, one)
        if earlier.life != one.life:
            again += 1
            books.expect(
                last_batch[earlier.life, one.key] == earlier.request,
                f"flow: {one.body} came again, though a later batch of {one.key} had begun before the kill",
            )
            first[one.body] = one
    say(
        f"{cycles} kills: {books.acknowledged:,} acknowledged, {books.refused_sends:,} refused or cut off, "
        f"{len(seen):,} deliveries ({again:,} of the stream's came again)"
    )
