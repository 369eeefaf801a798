"""Clients that do not limit what they measure: prebuilt requests over kept connections, one epoll loop.

The signature is a static one, since the daemon under measurement verifies none; the scope in it names the region.
"""

import base64
import http.client
import io
import select
import socket
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

ACCOUNT = "000000000000"
REGION = "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/bench"


class Refused(Exception):  # noqa: N818 - an answer, not a defect
    """The daemon answered with something else than success."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status
        self.body = body


def authorization(service: str) -> str:
    """Return a header of the right form; nobody verifies it."""
    scope = f"{ACCOUNT}/20260101/{REGION}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'0' * 64}"


def http_request(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Return the bytes of one request on a kept connection."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + body


_SQS_HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Date": "20260101T000000Z",
    "Authorization": authorization("sqs"),
}


def sqs_request(operation: str, body: bytes) -> bytes:
    """Return the bytes of one SQS call (AwsJson1.0)."""
    return http_request("POST", "/", {**_SQS_HEADERS, "X-Amz-Target": f"AmazonSQS.{operation}"}, body)


def invoke_request(function: str, payload: bytes = b"{}") -> bytes:
    """Return the bytes of one synchronous Invoke."""
    headers = {"X-Amz-Date": "20260101T000000Z", "Authorization": authorization("lambda")}
    return http_request("POST", f"/2015-03-31/functions/{function}/invocations", headers, payload)


# -- many connections, one loop


@dataclass
class LoadResult:
    """What a load gave: how many requests, in how many seconds, each one's latency."""

    requests: int = 0
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies in milliseconds."""
        return percentile(self.latencies_ns, percent) / 1e6


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which `percent` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


NextRequest = Callable[[int, bytes], bytes | None]
"""Given a client's number and the last answer's body (empty at first), its next request; None ends the client."""


def load(address: tuple[str, int], clients: int, next_request: NextRequest) -> LoadResult:
    """Let `clients` connections each send a request, wait for the answer and send the next, until all have ended.

    Raises: Refused: an answer that is not 2xx. ConnectionError: the daemon closed a connection.
    """
    result = LoadResult()
    latencies = result.latencies_ns
    poll = select.epoll()
    connections: dict[int, socket.socket] = {}
    numbers: dict[int, int] = {}
    sent_at: dict[int, int] = {}
    buffers: dict[int, bytes] = {}
    clock = time.perf_counter_ns
    try:
        for number in range(clients):
            connection = socket.create_connection(address, timeout=60.0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connections[connection.fileno()] = connection
            numbers[connection.fileno()] = number
            buffers[connection.fileno()] = b""
            poll.register(connection.fileno(), select.EPOLLIN)
        began = clock()
        active = 0
        for fd, connection in connections.items():
            request = next_request(numbers[fd], b"")
            if request is not None:
                active += 1
                sent_at[fd] = clock()
                connection.sendall(request)
        while active:
            for fd, _ in poll.poll():
                connection = connections[fd]
                data = connection.recv(262144)
                if not data:
                    raise ConnectionError("the daemon closed the connection")
                if buffers[fd]:
                    data = buffers[fd] + data
                body = complete(data)
                if body is None:
                    buffers[fd] = data
                    continue
                buffers[fd] = b""
                latencies.append(clock() - sent_at[fd])
                request = next_request(numbers[fd], body)
                if request is None:
                    active -= 1
                    continue
                sent_at[fd] = clock()
                connection.sendall(request)
        result.seconds = (clock() - began) / 1e9
        result.requests = len(latencies)
    finally:
        poll.close()
        for connection in connections.values():
            connection.close()
    return result


def complete(data: bytes) -> bytes | None:
    """Return the body of a whole answer, None while it is not whole; raises Refused."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[:end].lower()
    mark = head.find(b"content-length:")
    if mark < 0:
        raise ConnectionError(f"an answer without a length: {head!r}")
    stop = head.find(b"\r\n", mark)
    length = int(head[mark + 15 : stop if stop > 0 else None])
    if len(data) < end + 4 + length:
        return None
    if data[9:10] != b"2":
        raise Refused(int(data[9:12]), data[end + 4 :])
    return data[end + 4 :]


def counted(requests: Callable[[int], bytes], total: int) -> NextRequest:
    """Return the `next_request` that gives `requests(0)`, `requests(1)`, ... `total` of them, to whoever is free."""
    given = 0

    def following(number: int, body: bytes) -> bytes | None:
        nonlocal given
        if given >= total:
            return None
        given += 1
        return requests(given - 1)

    return following


def repeated(request: bytes, total: int) -> NextRequest:
    """Return the `next_request` that gives the same request `total` times."""
    return counted(lambda index: request, total)


# -- one call after another


class Api:
    """Plain calls for setting things up: one kept connection.

    Raises: Refused: an answer that is not 2xx.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        """Return the body of an answer; a connection that the daemon closed while it was idle is opened anew."""
        kept = self._connection.sock if self._connection is not None else None
        if kept is not None and select.select([kept], [], [], 0)[0]:  # nothing is due: it can only be the end
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=60.0)
            self._connection.connect()
            assert self._connection.sock is not None
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._connection.request(method, path, body=body, headers=headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        if answer.status >= 300:
            raise Refused(answer.status, content)
        return content

    def sqs(self, operation: str, **members: Any) -> Any:
        """Call SQS (AwsJson1.0)."""
        headers = {**_SQS_HEADERS, "X-Amz-Target": f"AmazonSQS.{operation}"}
        content = self.request("POST", "/", headers, orjson.dumps(members))
        return orjson.loads(content) if content else {}

    def lambda_(self, method: str, path: str, members: Any = None) -> Any:
        """Call Lambda below /2015-03-31."""
        headers = {"Authorization": authorization("lambda"), "Content-Type": "application/json"}
        body = b"" if members is None else orjson.dumps(members)
        content = self.request(method, f"/2015-03-31{path}", headers, body)
        return orjson.loads(content) if content else {}

    # -- what the measures need

    def create_queue(self, name: str, **attributes: str) -> str:
        """Make a queue and return its URL."""
        url: str = self.sqs("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def counts(self, url: str) -> tuple[int, int]:
        """Return how many messages wait, and how many are in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs("GetQueueAttributes", QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def create_function(self, name: str, source: str, **members: Any) -> None:
        """Make a function from the source of one module; its handler is `main.handler`."""
        self.lambda_(
            "POST",
            "/functions",
            {
                "FunctionName": name,
                "Runtime": runtime_name(),
                "Role": ROLE,
                "Handler": "main.handler",
                "Code": {"ZipFile": base64.b64encode(zipped(source)).decode()},
                "Timeout": 30,
                **members,
            },
        )

    def await_active(self, name: str, *, timeout_s: float = 30.0) -> None:
        """Return once the function can be invoked."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            state = self.lambda_("GET", f"/functions/{name}/configuration")
            if state["State"] == "Active" and state.get("LastUpdateStatus") != "InProgress":
                return
            if state["State"] == "Failed" or time.monotonic() > give_up_at:
                raise RuntimeError(f"the function {name} is {state}")
            time.sleep(0.005)

    def invoke(self, name: str, payload: Any = None) -> Any:
        """Invoke and return the function's answer."""
        return self.lambda_("POST", f"/functions/{name}/invocations", payload if payload is not None else {})

    def create_mapping(self, function: str, queue: str, **members: Any) -> str:
        """Map a queue to a function and return the mapping's id."""
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
        mapping = self.lambda_(
            "POST", "/event-source-mappings/", {"EventSourceArn": arn, "FunctionName": function, **members}
        )
        uuid: str = mapping["UUID"]
        return uuid

    def await_mapping(self, uuid: str, state: str, *, timeout_s: float = 30.0) -> None:
        """Return once the mapping is in a state."""
        give_up_at = time.monotonic() + timeout_s
        while (present := self.lambda_("GET", f"/event-source-mappings/{uuid}"))["State"] != state:
            if time.monotonic() > give_up_at:
                raise RuntimeError(f"the mapping stays {present}")
            time.sleep(0.005)


def runtime_name() -> str:
    """Return the Lambda name of the interpreter that runs this: the one that is surely on the machine."""
    import sys

    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def zipped(source: str, name: str = "main.py") -> bytes:
    """Return an archive of one module."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o644 << 16
        package.writestr(entry, source)
    return archive.getvalue()


def fill(address: tuple[str, int], url: str, total: int, *, start: int = 0, connections: int = 8) -> LoadResult:
    """Send `total` messages in batches of ten; their bodies are their numbers from `start` on."""
    batches = -(-total // 10)

    def batch(index: int) -> bytes:
        first = start + index * 10
        last = min(first + 10, start + total)
        entries = [{"Id": str(n - first), "MessageBody": str(n)} for n in range(first, last)]
        return sqs_request("SendMessageBatch", orjson.dumps({"QueueUrl": url, "Entries": entries}))

    return load(address, connections, counted(batch, batches))


def drain(address: tuple[str, int], url: str, *, clients: int = 8) -> tuple[LoadResult, list[str]]:
    """Receive and delete until the queue gives nothing; returns the load and the bodies, in order of arrival."""
    bodies: list[str] = []
    receive = sqs_request("ReceiveMessage", orjson.dumps({"QueueUrl": url, "MaxNumberOfMessages": 10}))

    def following(number: int, body: bytes) -> bytes | None:
        if body in (b"", b"{}") or b'"Messages"' not in body:
            if body and b'"Successful"' not in body:
                return None
            return receive
        messages = orjson.loads(body)["Messages"]
        if not messages:
            return None
        bodies.extend(message["Body"] for message in messages)
        entries = [
            {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)
        ]
        return sqs_request("DeleteMessageBatch", orjson.dumps({"QueueUrl": url, "Entries": entries}))

    return load(address, clients, following), bodies
