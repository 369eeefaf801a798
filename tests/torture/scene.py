"""A daemon with queues, functions and mappings, and senders that go on through every outage."""

import contextlib
import io
import random
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config

from tests.bench.client import runtime_name
from tests.bench.process import SHARED, Daemon
from tests.torture.laws import JOURNAL_SOURCE, Books, read_journal

ROLE = "arn:aws:iam::000000000000:role/torture"
AWAY = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, OSError)
"""What a client sees of a daemon that is being killed, or has no room."""

Progress = Callable[[str], None]


def zip_of(source: str) -> bytes:
    """Return an archive with one module, `main.py`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("main.py", source)
    return archive.getvalue()


class Scene:
    """One daemon, the clients that speak to it, and the journal its handlers write.

    Args: rng: where every random choice comes from. data: the data directory, when it is not below the scene's.
    """

    def __init__(self, rng: random.Random, books: Books, **daemon: Any) -> None:
        self.rng = rng
        self.books = books
        self.directory = Path(tempfile.mkdtemp(prefix="eventrt-torture-", dir=SHARED))
        self.journal = self.directory / "journal"
        settings = {"EVENTRT_STORE_DURABILITY": "process", **daemon.pop("settings", {})}
        self.daemon = Daemon(self.directory, settings=settings, **daemon)
        self._session = boto3.session.Session(
            aws_access_key_id="torture", aws_secret_access_key="torture", region_name="us-east-1"
        )
        self._clients: list[Any] = []

    def client(self, service: str) -> Any:
        """Return a new boto3 client that does not retry by itself."""
        config = Config(
            retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=25, parameter_validation=False
        )
        client = self._session.client(service, endpoint_url=self.daemon.url, config=config)
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Stop everything and remove the directory."""
        for client in self._clients:
            client.close()
        self.daemon.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- making things

    def make_function(self, name: str, source: str = JOURNAL_SOURCE, **members: Any) -> dict[str, Any]:
        """Make a function, and return its configuration once it is active."""
        variables = {"JOURNAL": str(self.journal), **members.pop("Variables", {})}
        client = self.client("lambda")
        client.create_function(
            FunctionName=name,
            Runtime=runtime_name(),
            Role=ROLE,
            Handler="main.handler",
            Code={"ZipFile": zip_of(source)},
            Environment={"Variables": variables},
            **{"Timeout": 5, **members},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        configuration: dict[str, Any] = client.get_function_configuration(FunctionName=name)
        return configuration

    def make_queue(self, name: str, **attributes: str) -> str:
        """Make a queue and return its URL."""
        if name.endswith(".fifo"):
            attributes["FifoQueue"] = "true"
        url: str = self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def make_mapping(self, queue: str, function: str, **members: Any) -> str:
        """Map a queue to a function; return the mapping's id once it is enabled."""
        client = self.client("lambda")
        mapping = client.create_event_source_mapping(
            EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{queue}",
            FunctionName=function,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **members,
        )
        uuid: str = mapping["UUID"]
        self.await_that(
            lambda: client.get_event_source_mapping(UUID=uuid)["State"] == "Enabled", "the mapping is enabled"
        )
        return uuid

    # -- waiting and looking

    def await_that(self, is_so: Callable[[], bool], what: str, *, timeout_s: float = 30.0) -> None:
        """Return once something is so.

        Raises: AssertionError: it is not, in time.
        """
        give_up_at = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(*AWAY):
                if is_so():
                    return
            if time.monotonic() > give_up_at:
                raise AssertionError(f"not after {timeout_s} s: {what}\n{self.daemon.log_tail()}")
            time.sleep(0.05)

    def depth(self, url: str) -> int:
        """Return how many messages a queue holds, wherever they stand."""
        names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ]
        attributes = self.client_of_depth.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    @property
    def client_of_depth(self) -> Any:
        """The client that counts."""
        if not hasattr(self, "_depth_client"):
            self._depth_client = self.client("sqs")
        return self._depth_client

    def seen(self, queue: str) -> set[str]:
        """Return the bodies handlers saw of a queue."""
        return {delivery.body for delivery in read_journal(self.journal) if delivery.queue == queue}

    def await_drained(self, urls: list[str], *, timeout_s: float = 90.0) -> None:
        """Return once the queues hold nothing."""
        for url in urls:
            self.await_that(
                lambda url=url: self.depth(url) == 0,  # type: ignore[misc]
                f"{url.rpartition('/')[2]} is drained",
                timeout_s=timeout_s,
            )


class Load:
    """Senders and receivers in threads, from `start` until `stop`; each names its messages so that none is twice."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failed: list[BaseException] = []

    def add(self, loop: Callable[[], None]) -> None:
        """Run one step of a client again and again until the load is over."""

        def run() -> None:
            try:
                while not self._over.is_set():
                    loop()
            except BaseException as error:
                self._failed.append(error)
                raise

        self._threads.append(threading.Thread(target=run, daemon=True))

    @property
    def is_over(self) -> bool:
        """Is the load to end?"""
        return self._over.is_set()

    def pause(self, seconds: float) -> None:
        """Wait a little, less when the load is over."""
        self._over.wait(seconds)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the load run for the length of a `with` block; raises when a client broke down."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(60)
        if self._failed:
            raise self._failed[0]

    # -- clients

    def send_standard(self, queue: str, url: str, name: str, *, pause_s: float = 0.0) -> None:
        """Send single messages and batches to a standard queue."""
        client, books = self._scene.client("sqs"), self._scene.books
        rng, number = random.Random(self._scene.rng.random()), 0

        def step() -> None:
            nonlocal number
            count = rng.choice((1, 1, 3, 10))
            bodies = [f"{name}-{number + index}" for index in range(count)]
            number += count
            try:
                if count == 1:
                    client.send_message(QueueUrl=url, MessageBody=bodies[0])
                    books.note_sent(queue, bodies)
                else:
                    entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies)]
                    answer = client.send_message_batch(QueueUrl=url, Entries=entries)
                    books.note_sent(queue, [bodies[int(one["Id"])] for one in answer.get("Successful", [])])
            except AWAY:
                books.note_refused()
                self.pause(0.03)
            self.pause(pause_s)

        self.add(step)

    def send_fifo(self, queue: str, url: str, name: str, *, groups: int, pause_s: float = 0.0) -> None:
        """Send to groups of its own in order, each message again and again until it is acknowledged."""
        client, books = self._scene.client("sqs"), self._scene.books
        rng = random.Random(self._scene.rng.random())
        numbers = dict.fromkeys((f"{name}{index}" for index in range(groups)), 0)

        def step() -> None:
            group = rng.choice(list(numbers))
            count = rng.choice((1, 1, 4))
            bodies = [f"{group}-{numbers[group] + index}" for index in range(count)]
            numbers[group] += count
            entries = [
                {
                    "Id": str(index),
                    "MessageBody": body,
                    "MessageGroupId": group,
                    "MessageDeduplicationId": body,
                }
                for index, body in enumerate(bodies)
            ]
            while entries:
                try:
                    if len(entries) == 1:
                        client.send_message(
                            QueueUrl=url, **{key: value for key, value in entries[0].items() if key != "Id"}
                        )
                        done = {entries[0]["Id"]}
                    else:
                        answer = client.send_message_batch(QueueUrl=url, Entries=entries)
                        done = {one["Id"] for one in answer.get("Successful", [])}
                except AWAY:
                    books.note_refused()
                    if self._over.is_set():
                        return
                    self.pause(0.03)
                    continue
                books.note_sent(queue, [entry["MessageBody"] for entry in entries if entry["Id"] in done])
                entries = [entry for entry in entries if entry["Id"] not in done]
            self.pause(pause_s)

        self.add(step)

    def receive_and_delete(self, queue: str, url: str, *, share: float = 0.7) -> None:
        """Receive from a queue without a mapping and delete most of it; the rest comes again."""
        client, books = self._scene.client("sqs"), self._scene.books
        rng = random.Random(self._scene.rng.random())

        def step() -> None:
            try:
                answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
                messages = answer.get("Messages", [])
                books.note_received(queue, [message["Body"] for message in messages])
                for message in messages:
                    if rng.random() < share:
                        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                        books.note_deleted(queue, [message["Body"]])
            except AWAY:
                self.pause(0.03)

        self.add(step)
