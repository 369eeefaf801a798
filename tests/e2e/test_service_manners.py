"""It behaves as a service should: starts with one line, stops within its grace, leaves nothing, refuses clearly."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from tests.running import PATIENCE_S, RunningDaemon, free_port

ROLE = "arn:aws:iam::000000000000:role/tests"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextmanager
def running(daemon: RunningDaemon) -> Iterator[RunningDaemon]:
    """A daemon for the length of a block, killed if the block did not stop it."""
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop(signal.SIGKILL)
        daemon.close_clients()


def eventrt(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVENTRT_")}
    return subprocess.run(
        [sys.executable, "-m", "eventrt", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**clean, **(environment or {})},
    )


def is_one_clear_line(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("eventrt: ") and "Traceback" not in text


def create_function(daemon: RunningDaemon, name: str, source: str, *, timeout_s: int = 30) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app.py", source)
    client = daemon.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime=f"python3.{sys.version_info[1]}",
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": archive.getvalue()},
        Timeout=timeout_s,
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name)


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Make a call from a thread; its result, or what it raised, is put into the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def children_of(pid: int) -> set[int]:
    """Every process below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    below, waiting = set[int](), [pid]
    while waiting:
        for child in parents.get(waiting.pop(), ()):
            below.add(child)
            waiting.append(child)
    return below


def alive(pids: set[int]) -> set[int]:
    """Those of the processes that still run; a zombie does not."""
    still = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                still.add(pid)
        except OSError:
            continue
    return still


def eventually(predicate: Callable[[], object]) -> bool:
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        if predicate():
            return True
        time.sleep(0.05)
    return bool(predicate())


def assert_told_of_the_stop(results: list[Any]) -> None:
    """The caller of an invocation got an answer in AWS's shape, not the end of its connection."""
    [error] = results
    assert isinstance(error, ClientError), error
    assert error.response["Error"]["Code"] == "ServiceException"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 500


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def await_running(daemon: RunningDaemon) -> None:
    """Return once an invocation has begun."""
    assert eventually(lambda: daemon.get("/_eventrt/health")["rooms"]["invoker"]["running"])


def in_flight(sqs: Any, url: str) -> str:
    name = "ApproximateNumberOfMessagesNotVisible"
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


# -- stopping


def test_sigterm_stops_it_with_exit_code_0_and_leaves_no_process(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(daemon, "f", "def handler(event, context):\n    return event\n")
        assert daemon.client("lambda").invoke(FunctionName="f", Payload=b"1")["Payload"].read() == b"1"
        below = children_of(daemon.pid)
        assert below, "the handler runs in a process of its own"
        assert daemon.stop(signal.SIGTERM) == 0
        assert eventually(lambda: not alive(below))


def test_ctrl_c_stops_it_with_exit_code_0(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        assert daemon.stop(signal.SIGINT) == 0
        assert "daemon.stopped" in daemon.log


def test_a_stop_lets_a_running_invocation_finish_within_its_grace(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(
            daemon, "slow", "import time\ndef handler(event, context):\n    time.sleep(1)\n    return 'done'\n"
        )
        thread, results = in_background(lambda: daemon.client("lambda").invoke(FunctionName="slow")["Payload"].read())
        await_running(daemon)
        assert daemon.stop(signal.SIGTERM) == 0
        thread.join()
        assert results == [b'"done"']


def test_a_stop_takes_no_longer_than_its_grace(data_dir: Path) -> None:
    daemon = RunningDaemon(data_dir, environment={"EVENTRT_RUNTIME_STOP_GRACE_S": "1"})
    with running(daemon):
        create_function(daemon, "stuck", "import time\ndef handler(event, context):\n    time.sleep(29)\n")
        thread, results = in_background(lambda: daemon.client("lambda").invoke(FunctionName="stuck"))
        await_running(daemon)
        began = time.monotonic()
        assert daemon.stop(signal.SIGTERM) == 0
        assert 1 <= time.monotonic() - began < 25  # not the 29 s of the handler
        thread.join()
        assert_told_of_the_stop(results)
        assert "invoker.stopped_early" in daemon.log


def test_while_it_stops_nobody_new_gets_in(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(daemon, "slow", "import time\ndef handler(event, context):\n    time.sleep(2)\n")
        thread, results = in_background(lambda: daemon.client("lambda").invoke(FunctionName="slow")["StatusCode"])
        await_running(daemon)
        os.kill(daemon.pid, signal.SIGTERM)
        assert eventually(lambda: refuses(daemon.port))
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        thread.join()
        assert_told_of_the_stop(results)


def test_a_stop_gives_the_messages_of_an_ended_batch_back(data_dir: Path) -> None:
    daemon = RunningDaemon(data_dir, environment={"EVENTRT_RUNTIME_STOP_GRACE_S": "0.5"})
    with running(daemon):
        create_function(daemon, "stuck", "import time\ndef handler(event, context):\n    time.sleep(29)\n")
        sqs = daemon.client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="kept")
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        mapping = daemon.client("lambda").create_event_source_mapping(EventSourceArn=arn, FunctionName="stuck")["UUID"]
        assert eventually(lambda: in_flight(sqs, url) == "1")
        assert daemon.stop(signal.SIGTERM) == 0
        daemon.start()
        mapping = daemon.client("lambda").get_event_source_mapping(UUID=mapping)
        assert "stopped" not in mapping["StateTransitionReason"]
        assert eventually(lambda: in_flight(sqs, url) == "1"), "it is delivered again at once"


def test_a_long_poll_is_answered_at_once_when_it_stops(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        sqs = daemon.client("sqs")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        thread, results = in_background(lambda: sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))
        time.sleep(0.5)
        began = time.monotonic()
        assert daemon.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 15  # neither the rest of the 20 s nor the grace of 30 s
        thread.join()
        assert "Messages" not in results[0]


def test_a_second_signal_stops_it_at_once(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(daemon, "stuck", "import time\ndef handler(event, context):\n    time.sleep(29)\n")
        thread, results = in_background(lambda: daemon.client("lambda").invoke(FunctionName="stuck"))
        await_running(daemon)
        below = children_of(daemon.pid)
        os.kill(daemon.pid, signal.SIGTERM)
        assert eventually(lambda: "daemon.stop_asked" in daemon.log)
        began = time.monotonic()
        assert daemon.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - began < 20  # neither the 29 s of the handler nor the grace
        assert eventually(lambda: not alive(below))
        thread.join()
        assert_told_of_the_stop(results)


def test_after_kill_9_no_handler_process_outlives_it(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(daemon, "stuck", "import time\ndef handler(event, context):\n    time.sleep(29)\n")
        thread, _ = in_background(lambda: daemon.client("lambda").invoke(FunctionName="stuck"))
        await_running(daemon)
        below = children_of(daemon.pid)
        assert below
        daemon.stop(signal.SIGKILL)
        assert eventually(lambda: not alive(below))
        thread.join()


def test_handlers_inherit_neither_its_sockets_nor_its_database(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(
            daemon,
            "fds",
            "import os\n"
            "def handler(event, context):\n"
            "    links = {}\n"
            "    for fd in os.listdir('/proc/self/fd'):\n"
            "        try:\n"
            "            links[fd] = os.readlink(f'/proc/self/fd/{fd}')\n"
            "        except OSError:\n"
            "            pass\n"
            "    return links\n",
        )
        answer = daemon.client("lambda").invoke(FunctionName="fds")["Payload"].read()
        targets = orjson.loads(answer).values()
        assert not [target for target in targets if "eventrt.db" in target or str(data_dir / "lock") in target]
        listening = subprocess.run(
            ["ss", "-Htlnp", f"sport = :{daemon.port}"], capture_output=True, text=True, check=False
        ).stdout
        if listening:
            assert all(f"pid={pid}," not in listening for pid in children_of(daemon.pid))


def test_what_was_sent_before_a_stop_is_there_after_the_start(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        url = daemon.client("sqs").create_queue(QueueName="kept")["QueueUrl"]
        daemon.client("sqs").send_message(QueueUrl=url, MessageBody="before")
        for kill in (False, True):
            daemon.restart(kill=kill)
            shown = daemon.get("/_eventrt/queues")["queues"]
            assert [(queue["name"], queue["visible"]) for queue in shown] == [("kept", 1)]


# -- refusing to start


def test_a_taken_port_is_told_in_one_line(data_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = eventrt("serve", "--port", str(port), "--data-dir", str(data_dir))
    assert ended.returncode not in (0, 1)
    assert is_one_clear_line(ended.stderr)
    assert str(port) in ended.stderr


def test_a_data_directory_in_use_is_told_in_one_line(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)):
        ended = eventrt("serve", "--port", "0", "--data-dir", str(data_dir))
    assert ended.returncode == 75
    assert is_one_clear_line(ended.stderr)
    assert str(data_dir) in ended.stderr


def test_a_data_directory_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, where a directory should be")
    ended = eventrt("serve", "--port", "0", "--data-dir", str(occupied / "data"))
    assert ended.returncode == 73
    assert is_one_clear_line(ended.stderr)
    assert str(occupied) in ended.stderr


def test_a_damaged_database_is_refused_and_left_as_it_is(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "eventrt.db").write_bytes(b"this is no database at all" * 400)
    before = (data_dir / "eventrt.db").read_bytes()
    ended = eventrt("serve", "--port", "0", "--data-dir", str(data_dir))
    assert ended.returncode == 65
    assert is_one_clear_line(ended.stderr)
    assert "damaged" in ended.stderr
    assert (data_dir / "eventrt.db").read_bytes() == before


def test_a_newer_schema_is_refused(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        daemon.stop()
    import sqlite3

    connection = sqlite3.connect(data_dir / "eventrt.db")
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    ended = eventrt("serve", "--port", "0", "--data-dir", str(data_dir))
    assert ended.returncode == 65
    assert is_one_clear_line(ended.stderr)
    assert "9999" in ended.stderr


def test_a_wrong_configuration_is_told_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "eventrt.toml"
    file.write_text('[server]\nport = "none"\n\n[stor]\n')
    ended = eventrt("serve", "--config", str(file))
    assert ended.returncode == 78
    assert f"{file}:2:8: server.port must be an integer from 0 to 65535" in ended.stderr
    assert f'{file}:4:1: there is no section "stor" (did you mean "store"?)' in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_configuration_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    ended = eventrt("serve", "--config", str(tmp_path / "none.toml"))
    assert ended.returncode == 78
    assert is_one_clear_line(ended.stderr)


def test_another_address_than_loopback_needs_sigv4_or_insecure(data_dir: Path) -> None:
    ended = eventrt("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(data_dir))
    assert ended.returncode == 78
    assert is_one_clear_line(ended.stderr)
    assert "--insecure" in ended.stderr


def test_sigv4_without_keys_is_refused(data_dir: Path) -> None:
    ended = eventrt("serve", "--auth", "sigv4", "--port", "0", "--data-dir", str(data_dir))
    assert ended.returncode == 78
    assert "EVENTRT_AUTH_KEYS" in ended.stderr


# -- being ready


def test_health_answers_on_every_path_that_tools_wait_for(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        for path in ("/_eventrt/health", "/_localstack/health", "/health"):
            answer = daemon.get(path)
            assert answer["version"]
            assert {room["status"] for room in answer["rooms"].values()} == {"running"}


def test_systemd_is_told_when_it_is_ready_and_when_it_stops(data_dir: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with running(RunningDaemon(data_dir, environment=environment)) as daemon:
            assert b"READY=1" in manager.recv(4096).split(b"\n")
            daemon.get("/health")  # it listens by then
            assert manager.recv(4096) == b"WATCHDOG=1"
            daemon.stop()
            told = [manager.recv(4096)]
            while b"STOPPING=1" not in told[-1]:
                told.append(manager.recv(4096))


def test_settings_come_from_the_environment_and_the_command_line_wins(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "eventrt.toml"
    file.write_text('[server]\nport = 1\n[store]\ndurability = "power"\n[log]\nlevel = "error"\n')
    environment = {
        "EVENTRT_CONFIG": str(file),
        "EVENTRT_PORT": "2",
        "EVENTRT_STORE_DURABILITY": "process",
        "EVENTRT_LOG_LEVEL": "info",
        "EVENTRT_DATA_DIR": str(tmp_path / "elsewhere"),
    }
    daemon = RunningDaemon(tmp_path / "data", environment=environment)
    daemon.port, daemon.url = port, f"http://127.0.0.1:{port}"
    with running(daemon):
        assert daemon.get("/health")["rooms"]["store"]["durability"] == "process"
        assert (tmp_path / "data" / "eventrt.db").exists()
        assert not (tmp_path / "elsewhere").exists()


def test_the_accounts_limit_is_the_setting(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir, environment={"EVENTRT_LAMBDA_ACCOUNT_CONCURRENCY": "150"})) as daemon:
        create_function(daemon, "f", "def handler(event, context):\n    return 1\n")
        functions = daemon.client("lambda")
        assert functions.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 150
        functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=50)
        with pytest.raises(functions.exceptions.InvalidParameterValueException, match="below its minimum"):
            functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=51)


def test_with_sigv4_only_signed_calls_pass_and_handlers_sign_theirs(data_dir: Path) -> None:
    environment = {"EVENTRT_AUTH_KEYS": "000000000000=secret"}
    with running(RunningDaemon(data_dir, arguments=("--auth", "sigv4"), environment=environment)) as daemon:
        create_function(
            daemon,
            "whoami",
            "import boto3\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()['Arn']\n",
        )
        answer = daemon.client("lambda").invoke(FunctionName="whoami")["Payload"].read()
        assert orjson.loads(answer).startswith("arn:aws:sts::000000000000:assumed-role/tests")
        stranger = daemon.client("sqs", account="111111111111")
        with pytest.raises(stranger.exceptions.ClientError) as refused_call:
            stranger.list_queues()
        assert refused_call.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


# -- who is let in


def refused(daemon: RunningDaemon, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(daemon.url + path, body, headers)) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:4566"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_foreign_hosts_and_web_pages_have_no_effect(data_dir: Path, headers: dict[str, str]) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        before = daemon.get("/_eventrt/clock")["offset_s"]
        body = orjson.dumps({"advance": 1000})
        assert refused(daemon, "/_eventrt/clock", headers, body) == 403
        assert abs(daemon.get("/_eventrt/clock")["offset_s"] - before) < 100
        form = b"Action=CreateQueue&QueueName=from-a-page&Version=2012-11-05"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert refused(daemon, "/", {**headers, **kind}, form) == 403
        assert daemon.get("/_eventrt/queues")["queues"] == []


# -- declared things

FUNCTION = "def handler(event, context):\n    print('handled', len(event['Records']))\n"
DECLARED = """
[[queues]]
name = "jobs"
visibility_timeout_s = 60
dead_letter_queue = "jobs-dead"
max_receive_count = 4

[[queues]]
name = "jobs-dead"

[[functions]]
name = "work"
handler = "app.handler"
code = "work"
runtime = "python3.{minor}"
timeout_s = 10
environment = {{ COLOUR = "red" }}

[[mappings]]
queue = "jobs"
function = "work"
batch_size = 5
"""


def declare(tmp_path: Path, text: str) -> str:
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "app.py").write_text(FUNCTION)
    file = tmp_path / "eventrt.toml"
    file.write_text(text.format(minor=sys.version_info[1]))
    return str(file)


def test_declared_things_are_there_and_work_from_the_start(tmp_path: Path, data_dir: Path) -> None:
    file = declare(tmp_path, DECLARED)
    with running(RunningDaemon(data_dir, arguments=("--config", file))) as daemon:
        sqs, functions = daemon.client("sqs"), daemon.client("lambda")
        url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["VisibilityTimeout"] == "60"
        assert orjson.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 4
        configuration = functions.get_function_configuration(FunctionName="work")
        assert configuration["Environment"]["Variables"] == {"COLOUR": "red"}
        assert configuration["State"] == "Active"
        sqs.send_message(QueueUrl=url, MessageBody="one")
        log = f"{daemon.url}/_eventrt/functions/work/logs"

        def handled() -> bool:
            with urllib.request.urlopen(log) as response:
                return b"handled 1" in response.read()

        assert eventually(handled)


def test_a_changed_declaration_is_carried_out_and_what_the_api_made_stays(tmp_path: Path, data_dir: Path) -> None:
    file = declare(tmp_path, DECLARED)
    with running(RunningDaemon(data_dir, arguments=("--config", file))) as daemon:
        daemon.client("sqs").create_queue(QueueName="by-hand")
        mapping = daemon.get("/_eventrt/mappings")["mappings"][0]
        declare(tmp_path, DECLARED.replace("= 60", "= 90").replace("batch_size = 5", "batch_size = 7"))
        daemon.restart(kill=False)
        assert "VisibilityTimeout" in daemon.log
        names = [queue["name"] for queue in daemon.get("/_eventrt/queues")["queues"]]
        assert names == ["by-hand", "jobs", "jobs-dead"]
        found = daemon.client("lambda").get_event_source_mapping(UUID=mapping["uuid"])
        assert found["BatchSize"] == 7
        daemon.restart(kill=False)
        assert "created=0 updated=0 unchanged=4" in daemon.log


def test_what_is_not_declared_any_more_is_told_and_left(tmp_path: Path, data_dir: Path) -> None:
    file = declare(tmp_path, DECLARED)
    with running(RunningDaemon(data_dir, arguments=("--config", file))) as daemon:
        declare(tmp_path, '[[queues]]\nname = "jobs-dead"\n')
        daemon.restart(kill=False)
        assert "declared_queue.left" in daemon.log
        assert "declared_function.left" in daemon.log
        assert "declared_mapping.left" in daemon.log
        assert len(daemon.get("/_eventrt/queues")["queues"]) == 2


# -- the clock


def test_the_clock_is_not_moved_without_leave(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir, test_clock=False)) as daemon:
        assert daemon.get("/_eventrt/clock")["controllable"] is False
        with pytest.raises(AssertionError, match="--test-clock"):
            daemon.advance(10)


def test_a_test_clock_goes_on_from_its_last_moment(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        url = daemon.client("sqs").create_queue(QueueName="q")["QueueUrl"]
        moment = daemon.advance(5000)
        daemon.client("sqs").send_message(QueueUrl=url, MessageBody="in the future")
        daemon.restart(kill=True)
        assert daemon.get("/_eventrt/clock")["now"] >= moment
        assert daemon.client("sqs").receive_message(QueueUrl=url)["Messages"][0]["Body"] == "in the future"


def test_a_wall_clock_set_back_strands_nothing(data_dir: Path) -> None:
    """A daemon whose clock was ahead leaves moments of the future; one on the real clock shifts them back."""
    with running(RunningDaemon(data_dir)) as daemon:
        url = daemon.client("sqs").create_queue(QueueName="q")["QueueUrl"]
        daemon.advance(86_400)
        daemon.client("sqs").send_message(QueueUrl=url, MessageBody="delayed", DelaySeconds=1)
    with running(RunningDaemon(data_dir, test_clock=False)) as daemon:
        assert "clock.went_back" in daemon.log
        url = daemon.client("sqs").get_queue_url(QueueName="q")["QueueUrl"]
        found = daemon.client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20)
        assert found["Messages"][0]["Body"] == "delayed"


# -- the command line


def test_status_and_logs_show_a_running_daemon(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        daemon.client("sqs").create_queue(QueueName="shown")
        create_function(daemon, "talks", "def handler(event, context):\n    print('hello from the handler')\n")
        daemon.client("lambda").invoke(FunctionName="talks")
        shown = eventrt("status", "--endpoint-url", daemon.url)
        assert shown.returncode == 0
        assert "shown" in shown.stdout
        assert "talks" in shown.stdout
        logged = eventrt("logs", "talks", environment={"EVENTRT_ENDPOINT_URL": daemon.url})
        assert logged.returncode == 0
        assert "hello from the handler" in logged.stdout
        assert eventrt("logs", "nobody", "--endpoint-url", daemon.url).returncode == 65


def test_logs_are_followed_until_the_daemon_stops(data_dir: Path) -> None:
    with running(RunningDaemon(data_dir)) as daemon:
        create_function(daemon, "talks", "def handler(event, context):\n    print('said', event)\n")
        follower = subprocess.Popen(
            [sys.executable, "-m", "eventrt", "logs", "talks", "-f", "--endpoint-url", daemon.url],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert follower.stdout is not None
            daemon.client("lambda").invoke(FunctionName="talks", Payload=b"1")
            assert any("said 1" in line for line in iter(follower.stdout.readline, ""))
            daemon.client("lambda").invoke(FunctionName="talks", Payload=b"2")
            assert any("said 2" in line for line in iter(follower.stdout.readline, ""))
            began = time.monotonic()
            assert daemon.stop() == 0
            assert time.monotonic() - began < 20  # it does not wait for the grace to end
            assert follower.wait(PATIENCE_S) == 0
        finally:
            follower.kill()
            follower.wait()
            assert follower.stdout is not None
            follower.stdout.close()


def test_without_a_daemon_the_command_line_says_so_with_exit_code_69() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for arguments in (("status",), ("logs", "f")):
        ended = eventrt(*arguments, "--endpoint-url", url)
        assert ended.returncode == 69
        assert is_one_clear_line(ended.stderr)
        assert url in ended.stderr
