"""Words for wire tests of event source mappings: a queue, a function that tells what it was given, a mapping.

The function writes every event it gets to a queue of its own (`told`), with the moments it began and ended, so that
tests see what really reached it.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.running import LONGEST_POLL_S, PATIENCE_S, RunningDaemon
from tests.wire.lambda_speaking import create, new_name

TELLER = """
import json, os, time, urllib.parse, urllib.request

def tell(word):
    form = {"Action": "SendMessage", "MessageBody": json.dumps(word), "Version": "2012-11-05"}
    url = os.environ["AWS_ENDPOINT_URL"] + "/000000000000/" + os.environ["TOLD"]
    with urllib.request.urlopen(url, urllib.parse.urlencode(form).encode()) as answer:
        answer.read()

def handler(event, context):
    began = time.time()
    try:
        return behave(event)
    finally:
        tell({"event": event, "began": began, "ended": time.time(), "arn": context.invoked_function_arn})

"""

QUIET = "def behave(event):\n    return None\n"


@dataclass
class Life:
    """A queue, a function and the mapping between them, on a running daemon."""

    daemon: RunningDaemon
    queue_url: str
    queue_arn: str
    function: str
    told_url: str
    uuid: str = ""

    @property
    def sqs(self) -> Any:
        return self.daemon.client("sqs")

    @property
    def lambda_(self) -> Any:
        return self.daemon.client("lambda")

    def map(self, **more: Any) -> dict[str, Any]:
        """Make the mapping and wait until it is what it is to be; return what the create answered."""
        made: dict[str, Any] = self.lambda_.create_event_source_mapping(
            EventSourceArn=self.queue_arn, FunctionName=self.function, **more
        )
        self.uuid = made["UUID"]
        self.settled()
        return made

    def settled(self) -> dict[str, Any]:
        """Return the mapping once no transition is under way."""
        return wait_for(
            lambda: self.lambda_.get_event_source_mapping(UUID=self.uuid),
            lambda mapping: mapping["State"] in ("Enabled", "Disabled"),
        )

    def update(self, **changes: Any) -> dict[str, Any]:
        """Change the mapping, wait for it, and return it."""
        self.lambda_.update_event_source_mapping(UUID=self.uuid, **changes)
        return self.settled()

    def send(self, *bodies: str, **more: Any) -> list[str]:
        """Send messages one by one and return their ids."""
        return [
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body, **more)["MessageId"] for body in bodies
        ]

    def send_batch(self, bodies: list[str], group: Callable[[int], str] | None = None) -> None:
        """Send up to ten messages at once."""
        entries = []
        for number, body in enumerate(bodies):
            entry = {"Id": str(number), "MessageBody": body}
            if group is not None:
                entry["MessageGroupId"] = group(number)
            entries.append(entry)
        answer = self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)
        assert "Failed" not in answer

    def told(self, *, wait_s: float = PATIENCE_S) -> dict[str, Any] | None:
        """Return the next thing the function told, or None when it keeps silent for so long."""
        message = next_message(self.sqs, self.told_url, wait_s=wait_s)
        if message is None:
            return None
        word: dict[str, Any] = json.loads(message["Body"])
        return word

    def told_all(self, records: int) -> list[dict[str, Any]]:
        """Return what the function told until it had so many records."""
        words: list[dict[str, Any]] = []
        while sum(len(word["event"]["Records"]) for word in words) < records:
            word = self.told()
            assert word is not None, f"the function was given too little: {[bodies_of(word) for word in words]}"
            words.append(word)
        return words

    def depth(self) -> tuple[int, int]:
        """Return how many messages the queue has: (visible, in flight)."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
        return int(answer[names[0]]), int(answer[names[1]])

    def empties(self) -> None:
        """Return once the queue holds nothing."""
        wait_for(self.depth, lambda depth: depth == (0, 0))


def begin(
    daemon: RunningDaemon,
    behave: str = QUIET,
    *,
    fifo: bool = False,
    attributes: dict[str, str] | None = None,
    **function: Any,
) -> Life:
    """Return a queue and a function, not mapped yet. The queue's visibility timeout is 30 s."""
    sqs = daemon.client("sqs")
    name = new_name("source") + (".fifo" if fifo else "")
    wanted = dict(attributes or {})
    if fifo:
        wanted |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = new_name("told")
    told_url = sqs.create_queue(QueueName=told)["QueueUrl"]
    source = TELLER + behave
    made = create(daemon.client("lambda"), source, Environment={"Variables": {"TOLD": told}}, Timeout=20, **function)
    return Life(daemon, url, arn, made, told_url)


def bodies_of(word: dict[str, Any]) -> list[str]:
    """Return the bodies of the records in something told."""
    return [record["body"] for record in word["event"]["Records"]]


def next_message(sqs: Any, url: str, *, wait_s: float = PATIENCE_S, **more: Any) -> dict[str, Any] | None:
    """Receive a message, delete it and return it, or None when none came for so long (real seconds)."""
    give_up_at = time.monotonic() + wait_s
    while True:
        left_s = max(0, min(LONGEST_POLL_S, math.ceil(give_up_at - time.monotonic())))
        messages = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=left_s, **more).get("Messages")
        if messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=messages[0]["ReceiptHandle"])
            return dict(messages[0])
        if time.monotonic() >= give_up_at:
            return None


def wait_for(look: Callable[[], Any], is_it: Callable[[Any], bool], *, limit_s: float = PATIENCE_S) -> Any:
    """Look again and again until it is as wished; return what was seen."""
    give_up_at = time.monotonic() + limit_s
    while True:
        seen = look()
        if is_it(seen):
            return seen
        assert time.monotonic() < give_up_at, f"still {seen}"
        time.sleep(0.02)
