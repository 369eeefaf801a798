"""A daemon as a process, and clients that speak to it: what wire and end-to-end tests drive."""

import asyncio
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

PATIENCE_S = 120.0
"""How long tests wait for what is to come, real seconds: long for a slow machine, and no time at all on a quick one."""

LONGEST_POLL_S = 20
"""How long one ReceiveMessage may wait."""


async def turn_until(is_so: Callable[[], bool]) -> None:
    """Let the event loop turn until it is so."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < give_up_at, "it never came to that"
        await asyncio.sleep(0)


class RunningDaemon:
    """A daemon process with a test clock on a free port, and a data directory of its own.

    Args:
        arguments: further options of `eventrt serve`.
        environment: further variables.
        holds_clock: the clock moves by `advance` alone, so that no machine is too slow for what a test says of time.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        test_clock: bool = True,
        holds_clock: bool = False,
    ) -> None:
        self._holds_clock = holds_clock
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = (*arguments, *(("--test-clock",) if test_clock else ()))
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: list[str] = []
        self._clients: dict[tuple[str, str, str], Any] = {}

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the daemon has written so far."""
        return "".join(self._lines)

    def start(self) -> "RunningDaemon":
        """Start it; return once it answers."""
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "eventrt",
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                str(self.port),
                "--data-dir",
                str(self.data_dir),
                "--log-format",
                "text",
                *self._arguments,
            ],
            stderr=subprocess.PIPE,
            env={**_clean_environment(), **self._environment},
        )
        ready: queue.Queue[bool] = queue.Queue()
        threading.Thread(target=self._read_log, args=(self._process, ready), daemon=True).start()
        try:
            is_ready = ready.get(timeout=PATIENCE_S)
        except queue.Empty:
            is_ready = False
        if not is_ready:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"the daemon did not start:\n{self.log}")
        if self._holds_clock:
            self.post("/_eventrt/clock", {"rate": 0})
        return self

    def _read_log(self, process: "subprocess.Popen[bytes]", ready: "queue.Queue[bool]") -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self._lines.append(line.decode(errors="replace"))
                if b"daemon.started" in line:
                    ready.put(True)
        ready.put(False)

    def stop(self, number: int = signal.SIGTERM, *, timeout_s: float = PATIENCE_S) -> int:
        """Send a signal and wait for the end; return the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def restart(self, *, kill: bool = True) -> None:
        """End it (`kill -9`, or SIGTERM) and start it again on the same port and directory."""
        self.stop(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def client(self, service: str, region: str = "us-east-1", account: str = "000000000000") -> Any:
        """Return a boto3 client of an account and region; made once."""
        key = (service, region, account)
        if key not in self._clients:
            import boto3
            from botocore.config import Config

            self._clients[key] = boto3.client(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id=account,
                aws_secret_access_key="secret",
                config=Config(
                    retries={"total_max_attempts": 1},
                    read_timeout=PATIENCE_S,
                    connect_timeout=PATIENCE_S,
                    max_pool_connections=50,
                ),
            )
        return self._clients[key]

    def close_clients(self) -> None:
        """Close the connections of every client that was made."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def advance(self, seconds: float) -> float:
        """Move the clock forward; return the new moment once all that fell due has happened."""
        return float(self.post("/_eventrt/clock", {"advance": seconds})["now"])

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON answer of a control path."""
        return self._call(urllib.request.Request(self.url + path))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send JSON to a control path and return its answer."""
        headers = {"content-type": "application/json"}
        return self._call(urllib.request.Request(self.url + path, orjson.dumps(body), headers))

    def _call(self, request: urllib.request.Request) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                answer = orjson.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{error.code} {error.read().decode()}") from None
        assert isinstance(answer, dict)
        return answer


def _clean_environment() -> dict[str, str]:
    """The environment without settings of the one who runs the tests."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("EVENTRT_", "AWS_", "NOTIFY_SOCKET", "WATCHDOG_"))
    }


def free_port() -> int:
    """Return a port that nobody listens on, and that the kernel gives to no connection meanwhile."""
    given_out_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(5000, max(given_out_from, 6000))
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")


@contextmanager
def own_daemon(folders: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """Run a daemon on a new data directory, its clock held, for the length of a block."""
    running = RunningDaemon(folders.mktemp("eventrt") / "data", holds_clock=True)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        running.close_clients()
