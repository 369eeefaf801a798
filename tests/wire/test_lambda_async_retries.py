"""When asynchronous events are tried again, and when no more: on the test clock, over the wire."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.async_speaking import FAILING, failing, new_queue, nothing_in, received, record_in, runs, send
from tests.wire.lambda_speaking import create, request_of

STAYS = """
import boto3, os
sqs = boto3.client("sqs")
def handler(event, context):
    print("RAN", context.aws_request_id)
    stays = event.get("stays", False)
    while stays:
        stays = "Messages" not in sqs.receive_message(QueueUrl=os.environ["GATE"], WaitTimeSeconds=20)
"""


@pytest.fixture(scope="module")
def lambda_(daemon: RunningDaemon) -> Any:
    return daemon.client("lambda")


@pytest.fixture
def told(daemon: RunningDaemon) -> tuple[str, str]:
    return new_queue(daemon)


def test_a_failing_event_is_run_again_after_60_and_after_another_120_seconds(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]
) -> None:
    name = failing(daemon)
    lambda_.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": told[1]}}
    )
    request_id = send(daemon, name, b'{"n": 1}')
    runs(daemon, name, at_least=1)
    daemon.advance(59)
    assert len(runs(daemon, name)) == 1
    daemon.advance(1)
    assert len(runs(daemon, name)) == 2
    daemon.advance(119)
    assert len(runs(daemon, name)) == 2
    assert nothing_in(daemon, told[0])
    daemon.advance(1)
    assert runs(daemon, name) == [request_id] * 3
    record = record_in(daemon, told[0])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    daemon.advance(10_000)
    assert len(runs(daemon, name)) == 3


@pytest.mark.parametrize(("retries", "expected"), [(0, 1), (1, 2)])
def test_the_number_of_retries_is_the_configs(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str], retries: int, expected: int
) -> None:
    name = failing(daemon)
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=retries,
        DestinationConfig={"OnFailure": {"Destination": told[1]}},
    )
    send(daemon, name)
    runs(daemon, name, at_least=1)
    daemon.advance(1000)
    record = record_in(daemon, told[0])
    assert len(runs(daemon, name)) == expected
    assert record["requestContext"]["approximateInvokeCount"] == expected


@pytest.mark.parametrize(("age_s", "expected"), [(60, 1), (120, 2), (200, 3)])
def test_an_event_that_would_be_too_old_for_its_next_attempt_ends(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str], age_s: int, expected: int
) -> None:
    name = failing(daemon)
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumEventAgeInSeconds=age_s,
        DestinationConfig={"OnFailure": {"Destination": told[1]}},
    )
    send(daemon, name)
    runs(daemon, name, at_least=1)
    for _ in range(4):
        daemon.advance(60)
    record = record_in(daemon, told[0])
    assert len(runs(daemon, name)) == expected
    context = record["requestContext"]
    assert context["approximateInvokeCount"] == expected
    assert context["condition"] == ("RetriesExhausted" if expected == 3 else "EventAgeExceeded")
    assert record["responsePayload"]["errorMessage"] == "no"


def test_a_timeout_and_an_exit_are_retried_as_errors_are(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]
) -> None:
    for source, kind in (
        ("import time\ndef handler(event, context):\n    time.sleep(9)\n", "Sandbox.Timedout"),
        ("import os\ndef handler(event, context):\n    os._exit(3)\n", "Runtime.ExitError"),
    ):
        name = create(lambda_, source, Timeout=1)
        lambda_.put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": told[1]}}
        )
        send(daemon, name)
        record = record_in(daemon, told[0])
        assert record["responsePayload"]["errorType"] == kind
        assert record["responseContext"]["functionError"] == "Unhandled"


Release = Callable[[], None]


@pytest.fixture
def occupied(daemon: RunningDaemon, lambda_: Any) -> Iterator[tuple[str, Release]]:
    """A function with one slot, taken by a synchronous call until it is released."""
    gate, _ = new_queue(daemon)
    name = create(lambda_, STAYS, Timeout=300, Environment={"Variables": {"GATE": gate}})
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    busy = threading.Thread(target=lambda: lambda_.invoke(FunctionName=name, Payload=b'{"stays": true}'))
    busy.start()

    def release() -> None:
        if busy.is_alive():
            daemon.client("sqs").send_message(QueueUrl=gate, MessageBody="go")
            busy.join()

    try:
        runs(daemon, name, at_least=1)
        yield name, release
    finally:
        release()


def test_throttled_attempts_use_up_no_retry(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str], occupied: tuple[str, Release]
) -> None:
    name, release = occupied
    lambda_.put_function_event_invoke_config(
        FunctionName=name, MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": told[1]}}
    )
    send(daemon, name)
    for wait_s in (1, 2, 4, 8):  # each finds the slot taken
        daemon.advance(wait_s)
    assert nothing_in(daemon, told[0])
    release()
    daemon.advance(60)
    record = record_in(daemon, told[0])
    assert (record["requestContext"]["condition"], record["requestContext"]["approximateInvokeCount"]) == ("Success", 1)


def test_an_event_that_is_throttled_for_too_long_ends_with_429(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str], occupied: tuple[str, Release]
) -> None:
    name, _ = occupied
    dead_url, dead_arn = new_queue(daemon)
    lambda_.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": dead_arn})
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    lambda_.put_function_event_invoke_config(
        FunctionName=name,
        MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": told[1]}},
    )
    send(daemon, name, b'{"n": 0}')
    daemon.advance(63)
    record = record_in(daemon, told[0])
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responsePayload" not in record
    letter = received(daemon, dead_url)[0]
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert letter["Body"] == '{"n": 0}'
    assert (attributes["ErrorCode"], attributes["ErrorMessage"]) == ("429", "Rate Exceeded.")


def test_an_event_for_a_function_switched_off_is_accepted_and_ends_without_a_run(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]
) -> None:
    name = failing(daemon)
    lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    lambda_.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": told[1]}}
    )
    send(daemon, name, b'{"n": 1}')
    record = record_in(daemon, told[0])
    assert record["requestContext"]["condition"] == "ZeroReservedConcurrency"
    assert record["requestContext"]["approximateInvokeCount"] == 0
    assert "responseContext" not in record
    assert runs(daemon, name) == []


def test_the_attempts_of_an_event_survive_a_kill(daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]) -> None:
    name = failing(daemon)
    lambda_.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": told[1]}}
    )
    send(daemon, name)
    runs(daemon, name, at_least=1)
    daemon.advance(0)  # its outcome is on disk
    daemon.restart(kill=True)  # the test clock goes on from its last note, at most a second earlier
    daemon.advance(61)
    assert len(runs(daemon, name)) == 2
    daemon.restart(kill=True)
    daemon.advance(125)
    assert record_in(daemon, told[0])["requestContext"]["approximateInvokeCount"] == 3


def test_deleting_a_function_forgets_its_waiting_events(
    daemon: RunningDaemon, lambda_: Any, told: tuple[str, str]
) -> None:
    name = failing(daemon)
    send(daemon, name)
    runs(daemon, name, at_least=1)
    lambda_.delete_function(FunctionName=name)
    lambda_.create_function(**request_of(name, FAILING))
    lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    before = len(runs(daemon, name))
    daemon.advance(1000)
    assert len(runs(daemon, name)) == before


def test_the_base_of_the_waits_is_a_setting(tmp_path: Any) -> None:
    daemon = RunningDaemon(tmp_path / "data", environment={"EVENTRT_LAMBDA_ASYNC_RETRY_BASE_S": "0.1"}).start()
    try:
        url, arn = new_queue(daemon)
        name = failing(daemon)
        daemon.client("lambda").put_function_event_invoke_config(
            FunctionName=name, DestinationConfig={"OnFailure": {"Destination": arn}}
        )
        send(daemon, name)
        assert record_in(daemon, url)["requestContext"]["approximateInvokeCount"] == 3
    finally:
        daemon.stop()
        daemon.close_clients()
