"""Declared things in the API's own words, so that one set of rules (`core`) judges both.

Names of queues and functions become ARNs in the declaring thing's account and region; an ARN stays as it is.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from eventrt.config.declared import DeclaredFunction, DeclaredMapping, DeclaredQueue, DeclaredTable
from eventrt.config.declared_buckets import DeclaredNotification


def is_fifo(queue: DeclaredQueue) -> bool:
    """Is this a FIFO queue?"""
    return queue.name.endswith(".fifo")


def queue_arn(name: str, *, account: str, region: str) -> str:
    """Return a queue's ARN; an ARN is returned as it is."""
    return name if name.startswith("arn:") else f"arn:aws:sqs:{region}:{account}:{name}"


def stream_arn(name: str, *, account: str, region: str) -> str:
    """Return a Kinesis stream's ARN; an ARN is returned as it is."""
    return name if name.startswith("arn:") else f"arn:aws:kinesis:{region}:{account}:stream/{name}"


def table_stream_arn(name: str, label: str, *, account: str, region: str) -> str:
    """Return the ARN of a table's stream."""
    return f"arn:aws:dynamodb:{region}:{account}:table/{name}/stream/{label}"


def table_request(table: DeclaredTable) -> dict[str, Any]:
    """Return the members that CreateTable would be given, apart from its name and stream."""
    keys = [(table.partition_key, table.partition_key_type, "HASH")]
    if table.sort_key:
        keys.append((table.sort_key, table.sort_key_type, "RANGE"))
    return {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind, _ in keys],
        "KeySchema": [{"AttributeName": name, "KeyType": role} for name, _, role in keys],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{"Key": key, "Value": value} for key, value in table.tags.items()],
    }


def function_arn(name: str, *, account: str, region: str) -> str:
    """Return a function's unqualified ARN; an ARN is returned as it is."""
    return name if name.startswith("arn:") else f"arn:aws:lambda:{region}:{account}:function:{name}"


def queue_attributes(queue: DeclaredQueue) -> dict[str, str]:
    """Return the attributes that CreateQueue would be given."""
    attributes = {
        "VisibilityTimeout": str(queue.visibility_timeout_s),
        "MessageRetentionPeriod": str(queue.retention_s),
        "DelaySeconds": str(queue.delay_s),
        "MaximumMessageSize": str(queue.maximum_message_bytes),
        "ReceiveMessageWaitTimeSeconds": str(queue.receive_wait_s),
    }
    if queue.dead_letter_queue:
        attributes["RedrivePolicy"] = orjson.dumps(
            {
                "deadLetterTargetArn": dead_letter_arn(queue),
                "maxReceiveCount": queue.max_receive_count,
            }
        ).decode()
    if is_fifo(queue):
        attributes |= {
            "FifoQueue": "true",
            "ContentBasedDeduplication": str(queue.content_based_deduplication).lower(),
            "DeduplicationScope": queue.deduplication_scope,
            "FifoThroughputLimit": queue.fifo_throughput_limit,
        }
    return attributes


def dead_letter_arn(queue: DeclaredQueue) -> str:
    """Return the ARN of its dead-letter queue, "" when it has none."""
    if not queue.dead_letter_queue:
        return ""
    return queue_arn(queue.dead_letter_queue, account=queue.account, region=queue.region)


def mapping_request(mapping: DeclaredMapping) -> dict[str, Any]:
    """Return the members that CreateEventSourceMapping would be given, apart from source and function."""
    request = {
        "Enabled": mapping.enabled,
        "BatchSize": mapping.batch_size or (10 if mapping.queue else 100),
        "MaximumBatchingWindowInSeconds": mapping.batching_window_s,
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.report_batch_item_failures else [],
        "FilterCriteria": {"Filters": [{"Pattern": orjson.dumps(rule).decode()} for rule in mapping.filters]},
        "ParallelizationFactor": mapping.parallelization_factor,
        "MaximumRetryAttempts": mapping.maximum_retry_attempts,
        "MaximumRecordAgeInSeconds": mapping.maximum_record_age_s,
        "BisectBatchOnFunctionError": mapping.bisect_batch_on_function_error,
        "TumblingWindowInSeconds": mapping.tumbling_window_s,
        "DestinationConfig": {"OnFailure": _on_failure(mapping)},
    }
    if mapping.queue or mapping.maximum_concurrency is not None:
        limit = mapping.maximum_concurrency
        request["ScalingConfig"] = {} if limit is None else {"MaximumConcurrency": limit}
    if not mapping.queue or mapping.starting_position != "TRIM_HORIZON":
        request["StartingPosition"] = mapping.starting_position  # of a queue it is refused
    return request


def _on_failure(mapping: DeclaredMapping) -> dict[str, str]:
    if not mapping.on_failure_queue:
        return {}
    return {"Destination": queue_arn(mapping.on_failure_queue, account=mapping.account, region=mapping.region)}


def role_arn(function: DeclaredFunction) -> str:
    """Return the ARN of its role: the one declared, else one that is made up."""
    return function.role or f"arn:aws:iam::{function.account}:role/{function.name}"


DECLARED_ID = "declared: "
"""What the ids of declared notifications begin with: those are replaced at each start, others are left."""


def notification_request(declared: Sequence[DeclaredNotification]) -> dict[str, Any]:
    """Return the configuration that PutBucketNotificationConfiguration would be given."""
    request: dict[str, Any] = {}
    for number, one in enumerate(declared, 1):
        where = {"account": one.account, "region": one.region}
        named: dict[str, Any]
        if one.function:
            kind, named = "LambdaFunctionConfigurations", {"LambdaFunctionArn": function_arn(one.function, **where)}
        else:
            kind, named = "QueueConfigurations", {"QueueArn": queue_arn(one.queue, **where)}
        rules = [
            {"Name": name, "Value": value} for name, value in (("Prefix", one.prefix), ("Suffix", one.suffix)) if value
        ]
        entry = {"Id": f"{DECLARED_ID}{one.title} {number}", **named, "Events": list(one.events)}
        if rules:
            entry["Filter"] = {"Key": {"FilterRules": rules}}
        request.setdefault(kind, []).append(entry)
    return request


def function_dead_letter_arn(function: DeclaredFunction) -> str | None:
    """Return the ARN of the queue for a function's failed events, None when it has none."""
    if not function.dead_letter_queue:
        return None
    return queue_arn(function.dead_letter_queue, account=function.account, region=function.region)
