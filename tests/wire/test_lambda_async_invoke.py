"""Asynchronous invocation over the wire: what is accepted, what is refused, and what the handler then sees."""

from typing import Any

import orjson
import pytest

from tests.running import RunningDaemon
from tests.wire.async_speaking import TELLING, new_queue, received, runs, send
from tests.wire.lambda_speaking import HANDLER, create, error_of, members_of, new_name
from tests.wire.mappings_speaking import wait_for

LIMIT = 1_048_576


@pytest.fixture(scope="module")
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


@pytest.fixture(scope="module")
def told(daemon: RunningDaemon) -> tuple[str, str]:
    """A function that tells of its event, and the URL of the queue it tells."""
    url, _ = new_queue(daemon)
    return create(daemon.client("lambda"), TELLING, Timeout=20, Environment={"Variables": {"TOLD": url}}), url


@pytest.fixture(scope="module")
def echo(lambda_: Any) -> str:
    return create(lambda_, HANDLER)


def test_an_event_is_answered_with_202_and_run_with_that_request_id(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]
) -> None:
    name, url = told
    answer = lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"a": [1, "\xc3\xa4"]}')
    assert answer["Payload"].read() == b""
    assert {key for key in members_of(answer) if key != "Payload"} == {"StatusCode"}
    seen = orjson.loads(received(daemon, url)[0]["Body"])
    assert seen["id"] == answer["ResponseMetadata"]["RequestId"]
    assert seen["event"] == {"a": [1, "ä"]}
    assert seen["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


def test_the_qualifier_stays_in_the_arn_that_the_handler_sees(daemon: RunningDaemon, told: tuple[str, str]) -> None:
    name, url = told
    send(daemon, name, Qualifier="$LATEST")
    assert orjson.loads(received(daemon, url)[0]["Body"])["arn"].endswith(f":function:{name}:$LATEST")


def test_an_event_without_a_body_is_an_empty_object(daemon: RunningDaemon, told: tuple[str, str]) -> None:
    send(daemon, told[0], b"")
    assert orjson.loads(received(daemon, told[1])[0]["Body"])["event"] == {}


def test_invoke_async_does_the_same(daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]) -> None:
    answer = lambda_.invoke_async(FunctionName=told[0], InvokeArgs=b'{"old": true}')
    assert answer["Status"] == 202
    seen = orjson.loads(received(daemon, told[1])[0]["Body"])
    assert (seen["event"], seen["id"]) == ({"old": True}, answer["ResponseMetadata"]["RequestId"])


def test_the_trace_of_the_request_is_the_handlers(daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]) -> None:
    def add(request: Any, **_: Any) -> None:
        request.headers["X-Amzn-Trace-Id"] = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1"

    lambda_.meta.events.register("before-send.lambda.Invoke", add)
    try:
        send(daemon, told[0])
    finally:
        lambda_.meta.events.unregister("before-send.lambda.Invoke", add)
    message = received(daemon, told[1])[0]
    trace = orjson.loads(message["Body"])["trace"]
    assert trace.startswith("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1;Lineage=1:")
    assert message["Attributes"]["AWSTraceHeader"] == trace  # the handler's SDK sent it along


@pytest.mark.parametrize("call", ["invoke", "invoke_async"])
def test_an_event_may_have_one_megabyte(daemon: RunningDaemon, lambda_: Any, echo: str, call: str) -> None:
    def ask(payload: bytes) -> Any:
        if call == "invoke":
            return lambda_.invoke(FunctionName=echo, InvocationType="Event", Payload=payload)
        return lambda_.invoke_async(FunctionName=echo, InvokeArgs=payload)

    ask(b'"' + b"x" * (LIMIT - 2) + b'"')
    status, code, message = error_of(ask, payload=b'"' + b"x" * (LIMIT - 1) + b'"')
    assert (status, code) == (413, "RequestTooLargeException")
    assert message == f"Request must be smaller than {LIMIT} bytes for the InvokeFunction operation"


@pytest.mark.parametrize("payload", [b"{", b"nothing", b'"\xff"', b"NaN"])
def test_an_event_that_is_no_json_is_refused_at_once(lambda_: Any, echo: str, payload: bytes) -> None:
    status, code, _ = error_of(lambda_.invoke, FunctionName=echo, InvocationType="Event", Payload=payload)
    assert (status, code) == (400, "InvalidRequestContentException")
    status, code, _ = error_of(lambda_.invoke_async, FunctionName=echo, InvokeArgs=payload)
    assert (status, code) == (400, "InvalidRequestContentException")


@pytest.mark.parametrize("qualifier", [None, "7", "live"])
def test_an_event_for_what_is_not_there_is_refused_at_once(lambda_: Any, echo: str, qualifier: str | None) -> None:
    name = echo if qualifier else new_name()
    more = {"Qualifier": qualifier} if qualifier else {}
    status, code, message = error_of(lambda_.invoke, FunctionName=name, InvocationType="Event", **more)
    assert (status, code) == (404, "ResourceNotFoundException")
    assert message == (
        f"Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}:{qualifier or '$LATEST'}"
    )
    if not qualifier:
        assert error_of(lambda_.invoke_async, FunctionName=name, InvokeArgs=b"{}")[0] == 404


def test_an_event_of_another_kind_is_refused(lambda_: Any, echo: str) -> None:
    assert error_of(lambda_.invoke, FunctionName=echo, InvocationType="Later")[0] == 400


def test_events_of_a_killed_daemon_are_run_by_the_next(daemon: RunningDaemon, lambda_: Any) -> None:
    marking = (
        "import time\ndef handler(event, context):\n    print('RAN', context.aws_request_id)\n    time.sleep(0.05)\n"
    )
    name = create(lambda_, marking)
    sent = [send(daemon, name) for _ in range(40)]
    daemon.restart(kill=True)
    wait_for(lambda: set(sent) - set(runs(daemon, name)), lambda missing: not missing)


def test_a_stopped_daemon_gives_back_what_it_has_not_begun(daemon: RunningDaemon, lambda_: Any) -> None:
    marking = (
        "import time\ndef handler(event, context):\n    print('RAN', context.aws_request_id)\n    time.sleep(0.02)\n"
    )
    name = create(lambda_, marking)
    sent = [send(daemon, name) for _ in range(40)]
    daemon.restart(kill=False)
    assert sorted(runs(daemon, name, at_least=len(sent))) == sorted(sent)  # none twice
