"""`make run`: starts the daemon with demo.toml, feeds it orders, and tells what became of each.

The daemon is a process of its own, just as `eventrt serve --config config/demo.toml` starts it; this file speaks to
it with boto3, as any client would, and with the control paths. Ctrl-C stops both.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDERS = [
    '{"id": 1, "item": "lamp", "quantity": 1, "price": 39.9}',
    '{"id": 2, "item": "chair", "quantity": 4, "price": 59.0}',
    "this is no order",
    '{"id": 3, "item": "desk", "quantity": 1, "price": 249.0}',
    '{"id": 4, "item": "pen", "quantity": 12, "price": 1.2}',
    '{"id": 5, "item": "rug", "quantity": 2, "price": 80.0}',
]
VISIBILITY_TIMEOUT_S = 30
"""As demo.toml says: a message that failed comes back after so long."""

MOST_RETRIES = 10


class Daemon:
    """The daemon's process; what it logs is shown line by line, invocations in words."""

    def __init__(self) -> None:
        self.url = ""
        self.stopping = False
        self._ready: queue.Queue[bool] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "eventrt", "serve", "--config", str(HERE.parent / "demo.toml")],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C comes to us alone, and `stop` passes it on
        )
        threading.Thread(target=self._show, daemon=True).start()

    def wait_until_ready(self) -> bool:
        """Return whether it is ready; False when it has ended instead."""
        return self._ready.get()

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON answer of a control path."""
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def advance(self, seconds: int) -> None:
        """Move the daemon's clock; what falls due meanwhile has happened when this returns."""
        body = json.dumps({"advance": seconds}).encode()
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/_eventrt/clock", body, headers), timeout=120
        ) as response:
            response.read()

    def stop(self) -> None:
        """Ask it to stop; a second time insists."""
        self.stopping = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def _show(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                event = json.loads(line)
            except ValueError:
                say(line.rstrip())
                continue
            self._tell(event)
        self._ready.put(False)

    def _tell(self, event: dict[str, Any]) -> None:
        name = event["event"]
        if name == "daemon.started":
            self.url = event["url"]
            say(f"eventrt {event['version']} is ready at {self.url}")
            self._ready.put(True)
        elif name == "batch.invoked":
            say(
                f"  invoked {event['function']} with {event['batch_size']} message(s) in "
                f"{event['duration_ms']:.1f} ms: {event['outcome']}, "
                f"{event['done']} done, {event['failed']} failed"
            )
        elif event["level"] in ("warning", "error") or name.startswith("declar"):
            facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("at", "level", "event"))
            say(f"  {name} {facts}")


def say(line: str) -> None:
    """Print one line at once."""
    print(line, flush=True)


def feed(daemon: Daemon) -> None:
    """Send the orders, wait until each has come to its end, and tell how it ended."""
    import boto3

    sqs = boto3.client(
        "sqs",
        endpoint_url=daemon.url,
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="any",
    )
    url = sqs.get_queue_url(QueueName="orders")["QueueUrl"]
    entries = [{"Id": str(place), "MessageBody": body} for place, body in enumerate(ORDERS)]
    answers = sqs.send_message_batch(QueueUrl=url, Entries=entries)["Successful"]
    sent = {answer["MessageId"]: ORDERS[int(answer["Id"])] for answer in answers}
    say(f"sent {len(sent)} messages to the queue orders; one of them is no order")
    if not wait_until_tried(daemon):
        return
    for _ in range(MOST_RETRIES):
        if not messages(daemon, "orders").keys() & sent.keys():
            break
        say(f"a message failed; moving the clock {VISIBILITY_TIMEOUT_S + 1} s on, to its next try")
        daemon.advance(VISIBILITY_TIMEOUT_S + 1)
        wait_until_tried(daemon)
    waiting, dead = messages(daemon, "orders"), messages(daemon, "orders-dead")
    say("what became of them:")
    for message_id, body in sent.items():
        fate = "settled"
        if message_id in dead:
            fate = f"dead-lettered after {dead[message_id]['receive_count']} tries"
        elif message_id in waiting:
            fate = "still waiting"
        say(f"  {message_id}  {fate:<28} {body}")


def wait_until_tried(daemon: Daemon) -> bool:
    """Return once no message waits to be received and no batch is at the function; False when it takes too long."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at and not daemon.stopping:
        depth = next(q for q in daemon.get("/_eventrt/queues")["queues"] if q["name"] == "orders")
        pollers = [mapping["poller"] for mapping in daemon.get("/_eventrt/mappings")["mappings"]]
        if not depth["visible"] and not any(poller.get("in_flight_batches", 1) for poller in pollers):
            return True
        time.sleep(0.1)
    return False


def messages(daemon: Daemon, name: str) -> dict[str, dict[str, Any]]:
    """Return a queue's messages by id, without disturbing them."""
    found = daemon.get(f"/_eventrt/queues/{name}/messages?limit=10000")["messages"]
    return {message["message_id"]: message for message in found}


def main() -> int:
    """Run the demo; return the daemon's exit code."""
    daemon = Daemon()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: daemon.stop())
    if daemon.wait_until_ready():
        try:
            feed(daemon)
        except Exception as error:
            if not daemon.stopping:
                daemon.stop()
                daemon.process.wait()
                raise
            say(f"stopped while feeding: {type(error).__name__}")
        if not daemon.stopping:
            endpoint = f"--endpoint-url {daemon.url}"
            say("it stays up: Ctrl-C stops it. In another terminal, for example:")
            say(f"  {os.path.relpath(sys.executable)} -m eventrt status {endpoint}")
            say(f"  {os.path.relpath(sys.executable)} -m eventrt logs handle-order -f {endpoint}")
    code = daemon.process.wait()
    say(f"eventrt has stopped (exit code {code})")
    return code


if __name__ == "__main__":
    sys.exit(main())
