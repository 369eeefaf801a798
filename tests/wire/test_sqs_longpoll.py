"""Long polls over the wire: woken by what happens, given to one poller, never to a client that has gone."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from tests.running import RunningDaemon
from tests.wire.sqs_speaking import NO_QUEUE, fresh, plain

WAIT_S = 20


@pytest.fixture
def sqs(daemon: RunningDaemon) -> Any:
    return daemon.client("sqs")


@pytest.fixture
def url(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName=fresh(), Attributes={"VisibilityTimeout": "600"})["QueueUrl"])


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


class Poller:
    """A long poll over a bare socket: sent off at once, read later, or left behind."""

    def __init__(self, daemon: RunningDaemon, url: str, *, wait_s: int = WAIT_S, **more: Any) -> None:
        body = orjson.dumps({"QueueUrl": url, "WaitTimeSeconds": wait_s, **more})
        head = (
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\nContent-Type: application/x-amz-json-1.0\r\n"
            f"X-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket = socket.create_connection(("127.0.0.1", daemon.port))
        self.socket.settimeout(WAIT_S + 20)
        self.socket.sendall(head.encode() + body)

    def answer(self) -> list[dict[str, Any]]:
        """Return the messages of the answer, and hang up."""
        with self.socket as sock:
            received = b""
            while b"\r\n\r\n" not in received:
                received += sock.recv(65536)
            head, _, body = received.partition(b"\r\n\r\n")
            [length] = [
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ]
            while len(body) < length:
                body += sock.recv(65536)
        assert head.startswith(b"HTTP/1.1 200"), body
        return list(orjson.loads(body).get("Messages", []))

    def hang_up(self) -> None:
        """Leave without waiting for the answer."""
        self.socket.close()


Poll = Callable[..., Poller]


@pytest.fixture
def poll(daemon: RunningDaemon) -> Iterator[Poll]:
    """Begin long polls; those nobody has read hang up at the end."""
    begun: list[Poller] = []

    def begin(url: str, **more: Any) -> Poller:
        begun.append(Poller(daemon, url, **more))
        return begun[-1]

    yield begin
    for poller in begun:
        poller.hang_up()


def settle(daemon: RunningDaemon) -> None:
    """Return once the daemon has taken what was sent to it before: connections are served in turn."""
    for _ in range(3):
        daemon.get("/_eventrt/health")
    time.sleep(0.2)  # a request on another connection may still lie in the kernel


def later(pool: ThreadPoolExecutor, call: Callable[..., Any], **arguments: Any) -> "Future[dict[str, Any]]":
    return pool.submit(lambda: plain(call(**arguments)))


def test_a_message_wakes_a_waiting_receive(sqs: Any, url: str, beside: ThreadPoolExecutor) -> None:
    waiting = later(beside, sqs.receive_message, QueueUrl=url, WaitTimeSeconds=WAIT_S)
    sent = sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = waiting.result(timeout=WAIT_S)["Messages"]
    assert message["MessageId"] == sent["MessageId"]


def test_a_receive_that_gets_nothing_waits_its_time_and_answers_without_messages(sqs: Any, url: str) -> None:
    begun = time.monotonic()
    assert plain(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)) == {}
    assert time.monotonic() - begun >= 1


def test_the_queues_own_waiting_time_counts_when_the_receive_names_none(sqs: Any, url: str) -> None:
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"ReceiveMessageWaitTimeSeconds": "1"})
    begun = time.monotonic()
    assert plain(sqs.receive_message(QueueUrl=url)) == {}
    assert time.monotonic() - begun >= 1
    begun = time.monotonic()
    assert plain(sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)) == {}
    assert time.monotonic() - begun < 1


def test_the_end_of_a_lease_wakes_a_waiting_receive(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    sqs.receive_message(QueueUrl=url)
    poller = poll(url)
    settle(daemon)
    daemon.advance(601)
    assert len(poller.answer()) == 1


def test_the_end_of_a_delay_wakes_a_waiting_receive(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    poller = poll(url)
    settle(daemon)
    sqs.send_message(QueueUrl=url, MessageBody="x", DelaySeconds=300)
    daemon.advance(301)
    assert len(poller.answer()) == 1


def test_a_released_message_wakes_a_waiting_receive(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    poller = poll(url)
    settle(daemon)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    assert len(poller.answer()) == 1


def test_a_lease_made_shorter_wakes_at_its_new_end(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    poller = poll(url)
    settle(daemon)
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=50)
    daemon.advance(51)
    assert len(poller.answer()) == 1


def test_an_unlocked_group_wakes_a_waiting_receive(poll: Poll, daemon: RunningDaemon, sqs: Any) -> None:
    given = {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
    url = sqs.create_queue(QueueName=fresh(fifo=True), Attributes=given)["QueueUrl"]
    for body in "ab":
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="g")
    [first] = sqs.receive_message(QueueUrl=url)["Messages"]
    poller = poll(url)
    settle(daemon)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    [second] = poller.answer()
    assert second["Body"] == "b"


def test_a_queue_that_is_deleted_ends_the_waiting(daemon: RunningDaemon, sqs: Any, url: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=WAIT_S)
        settle(daemon)
        sqs.delete_queue(QueueUrl=url)
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as caught:
            waiting.result(timeout=WAIT_S)
    assert caught.value.response["Error"]["Code"] == NO_QUEUE


def test_a_client_that_has_gone_never_gets_a_message(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    for _ in range(5):
        poll(url).hang_up()
    settle(daemon)
    gone = [poll(url) for _ in range(20)]
    settle(daemon)
    for poller in gone:
        poller.hang_up()
    settle(daemon)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    [message] = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert message["Attributes"] == {"ApproximateReceiveCount": "1"}


def test_when_the_first_in_line_goes_the_next_one_gets_the_message(
    poll: Poll, daemon: RunningDaemon, sqs: Any, url: str
) -> None:
    pollers = [poll(url) for _ in range(5)]
    settle(daemon)
    for poller in pollers[:4]:
        poller.hang_up()
    settle(daemon)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert len(pollers[4].answer()) == 1


def test_two_hundred_pollers_on_one_queue_get_each_message_once(
    poll: Poll, daemon: RunningDaemon, sqs: Any, url: str
) -> None:
    pollers = [poll(url, MaxNumberOfMessages=1) for _ in range(200)]
    settle(daemon)
    answers: list[list[dict[str, Any]]] = []
    readers = [threading.Thread(target=lambda p=poller: answers.append(p.answer())) for poller in pollers]
    for reader in readers:
        reader.start()
    for start in range(0, 200, 10):
        entries = [{"Id": str(n), "MessageBody": str(start + n)} for n in range(10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    for reader in readers:
        reader.join(WAIT_S + 20)
    bodies = [message["Body"] for messages in answers for message in messages]
    assert sorted(bodies, key=int) == [str(n) for n in range(200)]


def test_pollers_of_other_queues_are_left_alone(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    other = sqs.create_queue(QueueName=fresh())["QueueUrl"]
    mine, others = poll(url), poll(other)
    settle(daemon)
    sqs.send_message(QueueUrl=other, MessageBody="theirs")
    assert others.answer()[0]["Body"] == "theirs"
    sqs.send_message(QueueUrl=url, MessageBody="mine")
    assert mine.answer()[0]["Body"] == "mine"


def test_waiting_is_real_time_whatever_the_clock_does(poll: Poll, daemon: RunningDaemon, sqs: Any, url: str) -> None:
    poller = poll(url)
    settle(daemon)
    daemon.advance(3600)
    sqs.send_message(QueueUrl=url, MessageBody="x")
    assert len(poller.answer()) == 1
