"""Asynchronous events under `kill -9`: each that was acknowledged ends in exactly one way, told exactly once."""

import json
import random
import time
import urllib.request
from collections import Counter, defaultdict
from typing import Any

from tests.torture.scene import AWAY, Load, Progress, Scene

FATES = ("ok", "ok", "bad", "flaky", "exit")
RETRY_BASE_S = "0.4"

FUNCTION = '''
"""Do as the event says: return, raise, raise at first, or end the process."""
import os

_SEEN = os.path.dirname(os.environ["JOURNAL"])


def handler(event, context):
    if event["fate"] == "ok":
        return event
    if event["fate"] == "exit":
        os._exit(3)
    if event["fate"] == "flaky":
        try:
            os.close(os.open(f"{_SEEN}/{context.aws_request_id}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return event
    raise ValueError(event["fate"])
'''


class Events:
    """The life of events: a function that does as it is told, and where each event came to its end."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._queues: dict[str, str] = {}
        self._fates: dict[str, str] = {}

    @property
    def acknowledged(self) -> int:
        """How many events were acknowledged."""
        return len(self._fates)

    def furnish(self) -> None:
        """Make the queues and the function."""
        scene = self._scene
        self._queues = {name: scene.make_queue(name) for name in ("succeeded", "failed", "dead")}
        arn = "arn:aws:sqs:us-east-1:000000000000:{}".format
        scene.make_function("fate", FUNCTION, DeadLetterConfig={"TargetArn": arn("dead")})
        scene.client("lambda").put_function_event_invoke_config(
            FunctionName="fate",
            DestinationConfig={
                "OnSuccess": {"Destination": arn("succeeded")},
                "OnFailure": {"Destination": arn("failed")},
            },
        )

    def add_to(self, load: Load, *, senders: int = 3, pause_s: float = 0.002) -> None:
        """Let clients send."""
        for number in range(senders):
            _send(self._scene, load, f"e{number}", self._fates, pause_s)

    def finish(self) -> None:
        """See that each has ended in its one way, told exactly once."""
        scene, books = self._scene, self._scene.books
        scene.await_that(lambda: lanes(scene) == 0, "every event has come to its end", timeout_s=180)
        ends: dict[str, Counter[str]] = defaultdict(Counter)
        for name, url in self._queues.items():
            for body in all_of(scene, url):
                ends[_id_of(name, body)][name] += 1
        for request_id, fate in self._fates.items():
            told = dict(ends[request_id])
            wanted = {"failed": 1, "dead": 1} if fate in ("bad", "exit") else {"succeeded": 1}
            books.expect(told == wanted, f"event {request_id} ({fate}) was told of as {told}, not {wanted}")
        twice = [request_id for request_id, told in ends.items() if max(told.values(), default=0) > 1]
        books.expect(not twice, f"{len(twice)} events were told of twice, such as {twice[:3]}")


def events_killed(scene: Scene, cycles: int, say: Progress) -> None:
    """Kill the daemon under a load of events of every fate; then look where each came to its end."""
    books, rng, daemon = scene.books, scene.rng, scene.daemon
    daemon.start()
    events = Events(scene)
    events.furnish()
    load = Load(scene)
    events.add_to(load)
    with load.running():
        for cycle in range(1, cycles + 1):
            time.sleep(rng.uniform(0.05, 1.5))
            daemon.kill()
            daemon.start()
            if cycle % 5 == 0 or cycle == cycles:
                say(f"cycle {cycle}: {events.acknowledged:,} events acknowledged")
    events.finish()
    say(
        f"{cycles} kills: {events.acknowledged:,} events acknowledged, {books.refused_sends:,} refused or cut off, "
        "all ended"
    )


def _send(scene: Scene, load: Load, name: str, fates: dict[str, str], pause_s: float) -> None:
    client, rng, number = scene.client("lambda"), random.Random(scene.rng.random()), 0

    def step() -> None:
        nonlocal number
        number += 1
        fate = rng.choice(FATES)
        payload = json.dumps({"fate": fate, "name": f"{name}-{number}"})
        try:
            answer = client.invoke(FunctionName="fate", InvocationType="Event", Payload=payload)
        except AWAY:
            scene.books.note_refused()
            load.pause(0.03)
            return
        request_id = answer["ResponseMetadata"]["RequestId"]
        fates[request_id] = fate
        scene.books.note_sent("events", [request_id])
        load.pause(pause_s)

    load.add(step)


def lanes(scene: Scene) -> int:
    """Return how many functions have events waiting."""
    with urllib.request.urlopen(f"{scene.daemon.url}/_eventrt/health", timeout=10) as answer:
        return int(json.loads(answer.read())["rooms"]["asynchronous"]["lanes"])


def all_of(scene: Scene, url: str) -> list[Any]:
    """Receive and delete all that a queue holds."""
    client, found = scene.client("sqs"), []
    while scene.depth(url):
        answer = client.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["RequestID"]
        )
        for message in answer.get("Messages", []):
            found.append(message)
            client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def _id_of(queue: str, message: Any) -> str:
    if queue == "dead":
        return str(message["MessageAttributes"]["RequestID"]["StringValue"])
    return str(json.loads(message["Body"])["requestContext"]["requestId"])
