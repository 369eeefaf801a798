"""Speaking Kinesis in tests: a checked boto3 client, streams nobody else has, and whole shards read."""

import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import RunningDaemon

_NUMBERS = itertools.count(1)
ACCOUNT = "000000000000"
HIGHEST = 2**128 - 1
FIRST, SECOND, THIRD, FOURTH = (f"shardId-00000000000{number}" for number in range(4))


def fresh(name: str = "s") -> str:
    """Return a stream name that no other test uses."""
    return f"{name}-{os.getpid()}-{next(_NUMBERS)}"


def check_members(client: Any) -> None:
    """Let every answer of a client be compared with the model: no member it lacks, and every one it requires."""

    def check(http_response: Any, model: Any, **_: Any) -> None:
        if http_response.status_code < 300 and not model.has_event_stream_output:
            body = http_response.content
            if model.output_shape is None:
                assert body == b"", f"{model.name} answers {body!r}"
            else:
                wrong = list(_wrong(json.loads(body), model.output_shape, model.name))
                assert not wrong, wrong

    client.meta.events.register("after-call.kinesis", check, unique_id="check-members")


def _wrong(value: Any, shape: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure":
        for name in set(shape.required_members) - value.keys():
            yield f"{path}.{name} is missing"
        for name, item in value.items():
            if name not in shape.members:
                yield f"{path}.{name} is undocumented"
            elif item is None:
                yield f"{path}.{name} is null"
            else:
                yield from _wrong(item, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            yield from _wrong(item, shape.member, path)


def refused(call: Any, **request: Any) -> tuple[str, str]:
    """Return code and message of a call that is refused, with 400."""
    with pytest.raises(ClientError) as refusal:
        call(**request)
    error = refusal.value.response["Error"]
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return error["Code"], error["Message"]


class Kinesis:
    """A checked client, and short ways to say things."""

    def __init__(self, daemon: RunningDaemon, account: str = ACCOUNT) -> None:
        self.daemon = daemon
        self.client = daemon.client("kinesis", account=account)
        check_members(self.client)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def stream(self, shards: int | None = 1, **more: Any) -> str:
        """Make a stream of so many shards (None: on demand) and return its name."""
        name = fresh()
        self.client.create_stream(StreamName=name, **({"ShardCount": shards} if shards else {}), **more)
        return name

    def arn(self, name: str) -> str:
        """Return a stream's ARN."""
        return f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}"

    def put(self, name: str, *datas: str, key: str = "key", hash_key: int | None = None) -> list[str]:
        """Put records one by one; return their sequence numbers."""
        more = {} if hash_key is None else {"ExplicitHashKey": str(hash_key)}
        return [
            self.client.put_record(StreamName=name, Data=data.encode(), PartitionKey=key, **more)["SequenceNumber"]
            for data in datas
        ]

    def shards(self, name: str, **more: Any) -> list[dict[str, Any]]:
        """Return the shards of a stream."""
        return list(self.client.list_shards(StreamName=name, **more)["Shards"])

    def iterator(self, name: str, shard: str = FIRST, kind: str = "TRIM_HORIZON", **more: Any) -> str:
        """Return a shard iterator."""
        answer = self.client.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def records(self, name: str, shard: str = FIRST, kind: str = "TRIM_HORIZON", **more: Any) -> list[dict[str, Any]]:
        """Return what one read of a shard gives."""
        return list(self.client.get_records(ShardIterator=self.iterator(name, shard, kind, **more))["Records"])

    def datas(self, name: str, shard: str = FIRST, kind: str = "TRIM_HORIZON", **more: Any) -> list[str]:
        """Return the data that one read of a shard gives."""
        return [record["Data"].decode() for record in self.records(name, shard, kind, **more)]
