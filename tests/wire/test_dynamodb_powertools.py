"""Powertools' idempotency decorator keeps its records in a table of ours: once is once, failures free the key."""

import importlib.util
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.dynamodb_speaking import make_table

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("aws_lambda_powertools") is None, reason="aws-lambda-powertools is not installed here"
)


class Context:
    """As much of a handler's context as the decorator looks at."""

    function_name = "orders"
    aws_request_id = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 3000


@pytest.fixture
def layer(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A persistence layer over a table of its own."""
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer

    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    client = daemon.client("dynamodb")
    return DynamoDBPersistenceLayer(table_name=make_table(client), boto3_client=client)


def decorated(layer: Any, calls: list[Any], **settings: Any) -> Any:
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent

    config = IdempotencyConfig(event_key_jmespath="order", **settings)

    @idempotent(persistence_store=layer, config=config)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        calls.append(event)
        if event.get("fails"):
            raise ValueError("not this time")
        return {"done": event["order"], "count": len(calls)}

    return handler


def test_a_second_event_gets_the_first_ones_answer(layer: Any) -> None:
    calls: list[Any] = []
    handler = decorated(layer, calls)
    first = handler({"order": 1}, Context())
    assert handler({"order": 1, "again": True}, Context()) == first
    assert handler({"order": 2}, Context())["count"] == 2
    assert [event["order"] for event in calls] == [1, 2]


def test_a_failure_lets_the_event_be_tried_again(layer: Any) -> None:
    calls: list[Any] = []
    handler = decorated(layer, calls)
    with pytest.raises(ValueError, match="not this time"):
        handler({"order": 1, "fails": True}, Context())
    assert handler({"order": 1}, Context()) == {"done": 1, "count": 2}


def test_an_event_in_progress_is_not_begun_twice(layer: Any) -> None:
    from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent
    from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyAlreadyInProgressError

    calls: list[Any] = []

    @idempotent(persistence_store=layer, config=IdempotencyConfig(event_key_jmespath="order"))
    def handler(event: dict[str, Any], context: Any) -> str:
        calls.append(event)
        with pytest.raises(IdempotencyAlreadyInProgressError):
            handler(event, context)
        return "once"

    assert handler({"order": 1}, Context()) == "once"
    assert len(calls) == 1


def test_another_payload_under_the_same_key_is_noticed(layer: Any) -> None:
    from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyValidationError

    calls: list[Any] = []
    handler = decorated(layer, calls, payload_validation_jmespath="amount")
    handler({"order": 1, "amount": 5}, Context())
    with pytest.raises(IdempotencyValidationError):
        handler({"order": 1, "amount": 6}, Context())
