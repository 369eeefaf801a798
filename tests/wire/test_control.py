"""The control paths on the real port: the clock, queues and their messages, mappings, functions, logs, code."""

import io
import socket
import sys
import urllib.error
import urllib.request
import uuid
import zipfile
from pathlib import Path

import orjson
import pytest

from tests.running import RunningDaemon

ROLE = "arn:aws:iam::000000000000:role/tests"


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def archive(source: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("app.py", source)
    return packed.getvalue()


def create_function(daemon: RunningDaemon, name: str, source: str) -> bytes:
    code = archive(source)
    client = daemon.client("lambda")
    client.create_function(
        FunctionName=name,
        Runtime=f"python3.{sys.version_info[1]}",
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": code},
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return code


def ask(daemon: RunningDaemon, path: str, body: bytes | None = None) -> tuple[int, dict[str, object]]:
    """Return status and JSON answer of a control path."""
    try:
        with urllib.request.urlopen(urllib.request.Request(daemon.url + path, body)) as response:
            return response.status, orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, orjson.loads(error.read())


# -- the clock


def test_advancing_the_clock_ends_a_delay(daemon: RunningDaemon) -> None:
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName=unique("delayed"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=600)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    before = daemon.get("/_eventrt/clock")
    after = daemon.post("/_eventrt/clock", {"advance": 601})
    assert 601 <= after["now"] - before["now"] < 660
    assert after["offset_s"] > before["offset_s"]
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "later"


def test_the_clock_runs_at_a_rate(daemon: RunningDaemon) -> None:
    sqs = daemon.client("sqs")
    url = sqs.create_queue(QueueName=unique("rate"))["QueueUrl"]
    try:
        assert daemon.post("/_eventrt/clock", {"rate": 1000})["rate"] == 1000
        sqs.send_message(QueueUrl=url, MessageBody="soon", DelaySeconds=900)
        assert sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"][0]["Body"] == "soon"
    finally:
        daemon.post("/_eventrt/clock", {"rate": 0})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no json", b"[]", b"{}", b'{"advance": "1"}', b'{"advance": -1}', b'{"advance": true}',
        b'{"advance": 1e300}', b'{"rate": -1}', b'{"rate": 1e9}', b'{"mode": "fast"}', b'{"advance": 1, "rate": 2}',
        b'{"advance": NaN}',
    ],
)  # fmt: skip
def test_a_wrong_wish_moves_nothing_and_is_told(daemon: RunningDaemon, body: bytes) -> None:
    before = daemon.get("/_eventrt/clock")["offset_s"]
    status, answer = ask(daemon, "/_eventrt/clock", body)
    assert status == 400
    assert answer["error"]
    assert abs(daemon.get("/_eventrt/clock")["offset_s"] - before) < 5


# -- queues and their messages


def test_a_peek_disturbs_nothing(daemon: RunningDaemon) -> None:
    sqs = daemon.client("sqs")
    name = unique("peeked")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    for body in ("one", "two", "three"):
        sqs.send_message(
            QueueUrl=url,
            MessageBody=body,
            MessageAttributes={"kind": {"DataType": "String", "StringValue": "order"}},
        )
    sqs.send_message(QueueUrl=url, MessageBody="four", DelaySeconds=900)
    taken = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"][0]
    for _ in range(2):
        shown = daemon.get(f"/_eventrt/queues/{name}/messages")
        assert (shown["visible"], shown["in_flight"], shown["delayed"]) == (2, 1, 1)
        places = {message["body"]: (message["place"], message["receive_count"]) for message in shown["messages"]}
        assert places[taken["Body"]] == ("in flight", 1)
        assert places["four"] == ("delayed", 0)
        assert sorted(places.values()).count(("visible", 0)) == 2
        assert shown["messages"][0]["attributes"] == {"kind": {"data_type": "String", "string_value": "order"}}
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 2


def test_a_long_queue_is_peeked_in_pages(daemon: RunningDaemon) -> None:
    sqs = daemon.client("sqs")
    name = unique("pages")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    for number in range(5):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    seen, after = [], ""
    while after is not None:
        page = daemon.get(f"/_eventrt/queues/{name}/messages?limit=2&after={after}")
        seen += [message["body"] for message in page["messages"]]
        after = page["next_after"]
    assert sorted(seen) == ["0", "1", "2", "3", "4"]
    assert ask(daemon, f"/_eventrt/queues/{name}/messages?after=nonsense")[0] == 400
    assert ask(daemon, f"/_eventrt/queues/{name}/messages?limit=0")[0] == 400


def test_queues_are_shown_by_account_and_region(daemon: RunningDaemon) -> None:
    name = unique("elsewhere")
    daemon.client("sqs", region="eu-west-1", account="123456789012").create_queue(QueueName=name)
    here = daemon.get("/_eventrt/queues")["queues"]
    there = daemon.get("/_eventrt/queues?account=123456789012&region=eu-west-1")["queues"]
    assert name not in [queue["name"] for queue in here]
    assert [queue["arn"] for queue in there if queue["name"] == name] == [f"arn:aws:sqs:eu-west-1:123456789012:{name}"]


# -- functions and mappings


def test_a_mapping_is_shown_with_what_its_poller_does(daemon: RunningDaemon) -> None:
    name = unique("mapped")
    create_function(daemon, name, "def handler(event, context):\n    return None\n")
    daemon.client("sqs").create_queue(QueueName=name)
    made = daemon.client("lambda").create_event_source_mapping(
        FunctionName=name, EventSourceArn=f"arn:aws:sqs:us-east-1:000000000000:{name}"
    )
    daemon.advance(1)
    shown = {mapping["uuid"]: mapping for mapping in daemon.get("/_eventrt/mappings")["mappings"]}[made["UUID"]]
    assert shown["state"] == "Enabled"
    assert shown["poller"]["running"] is True
    daemon.client("lambda").delete_event_source_mapping(UUID=made["UUID"])


def test_what_a_function_prints_is_in_its_log(daemon: RunningDaemon) -> None:
    name = unique("prints")
    create_function(daemon, name, "def handler(event, context):\n    print('seen', event['n'])\n")
    for number in range(3):
        daemon.client("lambda").invoke(FunctionName=name, Payload=orjson.dumps({"n": number}))
    with urllib.request.urlopen(f"{daemon.url}/_eventrt/functions/{name}/logs") as response:
        lines = response.read().decode().splitlines()
    assert [line for line in lines if line.startswith("seen")] == ["seen 0", "seen 1", "seen 2"]
    with urllib.request.urlopen(f"{daemon.url}/_eventrt/functions/{name}/logs?tail=1") as response:
        assert response.read().decode().splitlines() == lines[-1:]


def test_the_link_of_get_function_gives_its_code_and_no_other(daemon: RunningDaemon) -> None:
    name = unique("code")
    code = create_function(daemon, name, "def handler(event, context):\n    return 1\n")
    location = daemon.client("lambda").get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location) as response:
        assert response.read() == code
    assert ask(daemon, f"/_eventrt/functions/{name}/code?token=guessed")[0] == 404
    daemon.advance(700)
    with pytest.raises(urllib.error.HTTPError, match="404") as caught, urllib.request.urlopen(location):
        pass
    caught.value.close()


def test_a_client_of_http_1_0_that_names_no_host_is_served(daemon: RunningDaemon) -> None:
    for path in ("/health", "/_eventrt/queues"):
        with socket.create_connection(("127.0.0.1", daemon.port)) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            assert sock.makefile("rb").read().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_is_broken_is_the_callers_fault(daemon: RunningDaemon) -> None:
    head = b"POST /_eventrt/clock HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port)) as sock:
        sock.sendall(head + b"no chunk\r\n")
        assert sock.makefile("rb").readline().startswith(b"HTTP/1.1 400 ")


def test_a_foreign_host_reaches_no_control_path(daemon: RunningDaemon) -> None:
    """As a page does whose name was bound to loopback anew."""
    for path in ("/health", "/_eventrt/queues"):
        for host in ("evil.example", f"evil.example:{daemon.port}"):
            request = urllib.request.Request(daemon.url + path, headers={"Host": host})
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request)
            assert caught.value.code == 403
            caught.value.close()
    request = urllib.request.Request(daemon.url + "/_eventrt/queues", headers={"Host": "sqs.us-east-1.amazonaws.com"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 403
    caught.value.close()


def test_health_is_told_by_every_name_that_is_allowed(tmp_path: Path) -> None:
    guarded = RunningDaemon(tmp_path / "data", environment={"EVENTRT_SERVER_ALLOWED_HOSTS": "eventrt"})
    guarded.start()
    try:
        for path, status in (("/health", 200), ("/_eventrt/queues", 403)):
            request = urllib.request.Request(guarded.url + path, headers={"Host": f"eventrt:{guarded.port}"})
            try:
                with urllib.request.urlopen(request) as response:
                    answered = response.status
            except urllib.error.HTTPError as error:
                with error:
                    answered = error.code
            assert answered == status
    finally:
        guarded.stop()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/_eventrt/nothing", 404),
        ("/_eventrt", 404),
        ("/_eventrt/queues/none-such/messages", 404),
        ("/_eventrt/functions/none-such/logs", 404),
        ("/_eventrt/functions/none-such/logs?tail=x", 400),
    ],
)
def test_what_is_not_there_is_told_in_json(daemon: RunningDaemon, path: str, status: int) -> None:
    answered, body = ask(daemon, path)
    assert answered == status
    assert isinstance(body["error"], str)


def test_a_method_a_path_does_not_take_is_told(daemon: RunningDaemon) -> None:
    assert ask(daemon, "/_eventrt/health", b"{}")[0] == 405
