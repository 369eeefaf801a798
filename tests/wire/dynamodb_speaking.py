"""Speaking DynamoDB in tests: checked boto3 clients, tables nobody else has, what a stream tells."""

import itertools
import json
import os
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import RunningDaemon

_NUMBERS = itertools.count(1)


def fresh(name: str = "table") -> str:
    """Return a table name that no other test uses."""
    return f"{name}-{os.getpid()}-{next(_NUMBERS)}"


def checked_client(daemon: RunningDaemon, service: str = "dynamodb", **where: str) -> Any:
    """Return a client whose every answer is compared with the model: no member that AWS does not document."""
    client = daemon.client(service, **where)

    def check(http_response: Any, model: Any, **_: Any) -> None:
        body = http_response.content
        if http_response.status_code < 300 and body:
            undocumented = list(_undocumented(json.loads(body), model.output_shape))
            assert not undocumented, f"{model.name} answers {undocumented}"

    client.meta.events.register(f"after-call.{service}", check, unique_id="check-members")
    return client


def _undocumented(value: Any, shape: Any, path: str = "") -> Any:
    if shape is None:
        if value:
            yield path
    elif shape.type_name == "structure":
        for name, item in value.items():
            if name not in shape.members:
                yield f"{path}.{name}"
            else:
                yield from _undocumented(item, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            yield from _undocumented(item, shape.member, path)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _undocumented(item, shape.value, f"{path}.{key}")


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without boto3's own metadata."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def error_of(call: Any, **arguments: Any) -> tuple[str, str]:
    """Return code and message of a call that is refused with 400."""
    response = refusal_of(call, **arguments)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return response["Error"]["Code"], response["Error"]["Message"]


def refusal_of(call: Any, **arguments: Any) -> dict[str, Any]:
    """Return the whole answer of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response: dict[str, Any] = caught.value.response
    return response


def invalid(message: str) -> tuple[str, str]:
    """Return what `error_of` gives for a ValidationException."""
    return "ValidationException", message


def make_table(client: Any, *, sort: str | None = None, name: str = "table", **more: Any) -> str:
    """Make a table with the key `id` (S), and with a sort key (N) where one is named; return its name."""
    table = fresh(name)
    key = [{"AttributeName": "id", "KeyType": "HASH"}]
    attributes = [{"AttributeName": "id", "AttributeType": "S"}]
    if sort is not None:
        key.append({"AttributeName": sort, "KeyType": "RANGE"})
        attributes.append({"AttributeName": sort, "AttributeType": "N"})
    attributes += more.pop("attributes", [])
    client.create_table(
        TableName=table,
        KeySchema=key,
        AttributeDefinitions=attributes,
        BillingMode="PAY_PER_REQUEST",
        **more,
    )
    return table


def streamed(view_type: str = "NEW_AND_OLD_IMAGES") -> dict[str, Any]:
    """Return the parameter that gives a table a change stream."""
    return {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": view_type}}


def stream_arn(client: Any, table: str) -> str:
    """Return the ARN of a table's latest stream."""
    return str(client.describe_table(TableName=table)["Table"]["LatestStreamArn"])


def records_of(streams: Any, arn: str) -> list[dict[str, Any]]:
    """Return every record that a stream holds, parents before children."""
    records: list[dict[str, Any]] = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator is not None:
            page = streams.get_records(ShardIterator=iterator)
            records += page["Records"]
            iterator = page.get("NextShardIterator")
            if not page["Records"]:
                break
    return records
