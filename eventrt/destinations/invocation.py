"""Invocation records: what a destination is told of records or events that were given up.

Pure shapes; the desk delivers them. Source: semantics 03, section 3.4, "On-failure record".
"""

from datetime import UTC, datetime
from typing import Any

from eventrt.core.mapping import EventSourceMapping
from eventrt.core.records import FunctionError, Outcome, Succeeded
from eventrt.core.shard_values import Discard

_INFO = {"kinesis": "KinesisBatchInfo", "table": "DDBStreamBatchInfo", "plugin": "StreamBatchInfo"}

_CONDITIONS = {"RecordTooLarge": "RetryAttemptsExhausted"}
"""Ends that have no condition of their own in the documents of AWS."""


def discard_record(
    mapping: EventSourceMapping,
    shard_id: str,
    discard: Discard,
    *,
    now: float,
    request_id: str,
    payload: object = None,
) -> dict[str, Any]:
    """Return the record of records that a stream's mapping gave up: where they stand, not what they hold.

    Args:
        request_id: that of the last attempt, or a new one when there was none.
        payload: the event, for destinations that take it along (buckets).
    """
    record: dict[str, Any] = {
        "requestContext": {
            "requestId": request_id,
            "functionArn": mapping.function_arn,
            "condition": _CONDITIONS.get(discard.condition, discard.condition),
            "approximateInvokeCount": discard.invoke_count,
        }
    }
    if discard.condition == "RetryAttemptsExhausted" and discard.outcome is not None:
        record["responseContext"] = _response_context(discard.outcome)
    record["version"] = "1.0"
    record["timestamp"] = moment_text(now)
    record[_INFO[mapping.kind]] = _batch_info(mapping, shard_id, discard)
    if payload is not None:
        record["payload"] = payload
    return record


def discard_key(mapping: EventSourceMapping, shard_id: str, *, now: float, unique: str) -> str:
    """Return the key of the object that a bucket keeps a failure record under.

    `aws/lambda/<UUID>/<shardId>/2024/01/31/2024-01-31T10.11.12-<unique>` (semantics 03, "On-failure record").
    """
    moment = datetime.fromtimestamp(now, UTC)
    return f"aws/lambda/{mapping.id}/{shard_id}/{moment:%Y/%m/%d}/{moment:%Y-%m-%dT%H.%M.%S}-{unique}"


def moment_text(moment: float, *, timespec: str = "milliseconds") -> str:
    """Return a moment as invocation records show it: `2024-01-01T00:00:00.123Z`."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec=timespec).removesuffix("+00:00") + "Z"


def _response_context(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case FunctionError():
            return {"statusCode": 200, "executedVersion": outcome.executed_version, "functionError": outcome.kind}
        case Succeeded():  # the answer named failed records, or had no state for its window
            return {"statusCode": 200, "executedVersion": outcome.executed_version, "functionError": None}
        case _:
            raise AssertionError(f"{type(outcome).__name__} uses up no attempt")


def _batch_info(mapping: EventSourceMapping, shard_id: str, discard: Discard) -> dict[str, Any]:
    """Return the pointer to the records; of a window's last invocation, the window and where the shard stood."""
    if discard.records:
        first, last = discard.records[0], discard.records[-1]
        start, end, first_at, last_at = first.id, last.id, first.arrived_at, last.arrived_at
    else:
        assert discard.window is not None
        start = end = discard.position
        first_at, last_at = discard.window.start_at, discard.window.end_at
    timespec = "seconds" if mapping.kind == "table" else "milliseconds"
    return {
        "shardId": shard_id,
        "startSequenceNumber": start,
        "endSequenceNumber": end,
        "approximateArrivalOfFirstRecord": moment_text(first_at, timespec=timespec),
        "approximateArrivalOfLastRecord": moment_text(last_at, timespec=timespec),
        "batchSize": len(discard.records),
        "streamArn": mapping.source_arn,
    }
