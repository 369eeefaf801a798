"""Whatever is asked of SQS, the answer is AWS's: 2xx or 4xx, never a fault of ours."""

import random
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.aws.protocol import models
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.aws.services.sqs import SqsService
from eventrt.clock import SystemClock
from eventrt.http import Request, Response
from eventrt.store.sqlite.store import SqliteStore

MODEL = models.load("sqs")
ARN = "arn:aws:sqs:us-east-1:000000000000:"
URLS = [
    *(f"http://localhost:4566/000000000000/{name}" for name in ("q", "q", "q.fifo", "none", "a b", "%00", "x" * 5000)),
    *("", "x", "http://[::1", "http://h/000000000000/", f"http://h/{chr(0x660) * 12}/q", "/000000000000/q?x#y"),
]
TEXTS = [
    *("", "q", "q.fifo", "All", ".*", "true", "1", "-1", chr(0x663), "9" * 5000, "a", "b"),
    *("AWSTraceHeader", "String", "Number", "Binary.x", "SendMessage", "111111111111"),
    *("VisibilityTimeout", "RedrivePolicy", "RedriveAllowPolicy", "Policy", "FifoQueue", "DelaySeconds"),
    f"{ARN}q",
    "[" * 3000,
    '{"Statement":[{"Effect":"Allow","Sid":"\\ud800"}]}',
    f'{{"deadLetterTargetArn":"{ARN}q","maxReceiveCount":1}}',
    '{"deadLetterTargetArn":["\\ud800"],"maxReceiveCount":"\\ud800"}',
    '{"deadLetterTargetArn":"\\ud800","maxReceiveCount":"\\ud800"}',
    '{"redrivePermission":{"a":1}}',
    *("\x00\x0b\uffff", "🦊" * 200, "W10=", "YWZ0ZXI6", "]]>", "&<\x1f>"),
]
NUMBERS = [0, 1, 2, 10, 11, -1, 900, 43200, 2**31, 2**63, 10**30]
JUNK: list[Any] = [None, True, 1, 1.5, "x", [], {}, [[]], {"a": {}}, "\x00"]


class Guesser:
    """Requests after the model, mostly right and sometimes not; one seed, one series."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def request(self) -> tuple[str, Any]:
        """Return an operation and its input."""
        name = self._chance.choice(sorted(MODEL.operations))
        return name, self._structure(MODEL.input_shape(name)[1])

    def _structure(self, shape: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, ref in shape["members"].items():
            dice = self._chance.random()
            if name == "WaitTimeSeconds" or dice < 0.15:
                continue  # nobody waits here
            if dice < 0.2:
                out[name] = self._chance.choice(JUNK)
            elif name == "QueueUrl":
                out[name] = self._chance.choice(URLS)
            else:
                out[name] = self._value(ref)
        return out

    def _value(self, ref: dict[str, Any]) -> Any:
        shape, chance = MODEL.shape(ref), self._chance
        kind = shape["type"]
        if kind == "structure":
            return self._structure(shape)
        if kind == "list":
            return [self._value(shape["member"]) for _ in range(chance.choice([0, 1, 1, 2, 3, 11]))]
        if kind == "map":
            return {chance.choice(TEXTS): self._value(shape["value"]) for _ in range(chance.randrange(4))}
        if kind in ("integer", "long"):
            return chance.choice(NUMBERS)
        if kind == "blob":
            return chance.choice(["", "AA==", "A", "💥"])
        return chance.choice(TEXTS)


def request_of(headers: dict[str, str], body: bytes) -> Request:
    async def read(limit: int) -> bytes:
        return body

    def stream() -> Any:
        raise AssertionError("SQS streams nothing")

    return Request("POST", "/", "", {"host": "localhost:4566", **headers}, "127.0.0.1", read, stream, lambda: False)


def flat(value: Any, name: str) -> list[tuple[str, str]]:
    """Write a value as the Query protocol might, rightly or wrongly."""
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in flat(item, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list):
        return [pair for n, item in enumerate(value, 1) for pair in flat(item, f"{name}.{n}")]
    return [(name, str(value))]


async def ask(requests: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        clock = SystemClock()
        store = SqliteStore(Path(directory) / "data", clock=clock, durability="process")
        store.open()
        try:
            door = AwsDoor([SqsService(store, clock)])
            for name, body in [
                ("CreateQueue", {"QueueName": "q"}),
                ("CreateQueue", {"QueueName": "q.fifo", "Attributes": {"FifoQueue": "true"}}),
                *requests,
            ]:
                await check(door, name, body)
        finally:
            await store.close()


async def check(door: AwsDoor, name: str, body: Any) -> None:
    try:
        written = orjson.dumps(body)
    except TypeError:
        written = b'{"QueueUrl": 1000000000000000000000000000000}'
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{name}"}
    answer: Response = await door.handle(request_of(headers, written))
    assert answer.status < 500, (name, body, answer.body)
    orjson.loads(answer.body or b"{}")
    form = urlencode([("Action", name), ("Version", "2012-11-05"), *flat(body, "")], errors="replace").encode()
    answer = await door.handle(request_of({"content-type": "application/x-www-form-urlencoded"}, form))
    assert answer.status < 500, (name, form, answer.body)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_asked_of_sqs_is_answered_with_a_fault(seed: int) -> None:
    guesser = Guesser(seed)
    anyio.run(ask, [guesser.request() for _ in range(30)])
