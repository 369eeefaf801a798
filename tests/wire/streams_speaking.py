"""Words for wire tests of streams' mappings: a stream or table, a function that tells what it was given, a mapping."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

from tests.running import PATIENCE_S, RunningDaemon
from tests.wire.lambda_speaking import create, new_name
from tests.wire.mappings_speaking import QUIET, TELLER, next_message, wait_for


@dataclass
class StreamLife:
    """A source of records, a function and the mapping between them, on a running daemon."""

    daemon: RunningDaemon
    arn: str
    name: str
    function: str
    told_url: str
    uuid: str = ""
    kept: list[dict[str, Any]] = field(default_factory=list)

    @property
    def kinesis(self) -> Any:
        return self.daemon.client("kinesis")

    @property
    def dynamodb(self) -> Any:
        return self.daemon.client("dynamodb")

    @property
    def sqs(self) -> Any:
        return self.daemon.client("sqs")

    @property
    def lambda_(self) -> Any:
        return self.daemon.client("lambda")

    def map(self, *, source: str | None = None, **more: Any) -> dict[str, Any]:
        """Make the mapping (TRIM_HORIZON unless told otherwise), wait until it is at work, return create's answer."""
        wanted = {"StartingPosition": "TRIM_HORIZON", **more}
        made: dict[str, Any] = self.lambda_.create_event_source_mapping(
            EventSourceArn=source or self.arn, FunctionName=self.function, **wanted
        )
        self.uuid = made["UUID"]
        self.settled()
        return made

    def settled(self) -> dict[str, Any]:
        """Return the mapping once no transition is under way."""
        return wait_for(
            lambda: self.lambda_.get_event_source_mapping(UUID=self.uuid),
            lambda mapping: mapping["State"] in ("Enabled", "Disabled"),
        )

    def update(self, **changes: Any) -> dict[str, Any]:
        """Change the mapping, wait for it, and return it."""
        self.lambda_.update_event_source_mapping(UUID=self.uuid, **changes)
        return self.settled()

    def put(self, *records: str | tuple[str, str]) -> list[str]:
        """Put payloads (of one key), or (key, payload), together; return their sequence numbers."""
        pairs = [("key", record) if isinstance(record, str) else record for record in records]
        answer = self.kinesis.put_records(
            StreamName=self.name,
            Records=[{"PartitionKey": key, "Data": payload.encode()} for key, payload in pairs],
        )
        assert answer["FailedRecordCount"] == 0
        return [record["SequenceNumber"] for record in answer["Records"]]

    def told(self, *, wait_s: float = PATIENCE_S) -> dict[str, Any] | None:
        """Return the next thing the function told, or None when it keeps silent for so long."""
        message = next_message(self.sqs, self.told_url, wait_s=wait_s)
        if message is None:
            return None
        word: dict[str, Any] = json.loads(message["Body"])
        return word

    def told_next(self) -> dict[str, Any]:
        """Return the next event the function was given."""
        word = self.told()
        assert word is not None, f"the function was given nothing:\n{self.status()}"
        event: dict[str, Any] = word["event"]
        return event

    def told_until(self, payload: str) -> list[list[str]]:
        """Return the payloads of each event until one ends with this payload."""
        found: list[list[str]] = []
        while not found or not found[-1] or found[-1][-1] != payload:
            found.append(payloads_of(self.told_next()))
        return found

    def is_silent(self) -> bool:
        """Does the function keep silent?"""
        return self.told(wait_s=1) is None

    def dead_letters(self) -> str:
        """Return the ARN of a new queue for failure records; `dead_letter` reads it."""
        self.dead_url = self.sqs.create_queue(QueueName=new_name("dead"))["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])
        return str(attributes["Attributes"]["QueueArn"])

    def dead_letter(self) -> dict[str, Any]:
        """Return the next failure record."""
        message = next_message(self.sqs, self.dead_url)
        assert message is not None, f"no failure record came:\n{self.status()}"
        record: dict[str, Any] = json.loads(message["Body"])
        return record

    def status(self) -> dict[str, Any]:
        """Return what the daemon shows of the mapping."""
        return self.daemon.get(f"/_eventrt/mappings/{self.uuid}")

    def catches_up(self) -> None:
        """Return once nothing of the source is left to process."""
        wait_for(
            lambda: [shard.get("lag_records") for shard in self.status()["poller"].get("shards", ())],
            lambda lags: bool(lags) and not any(lags),
        )

    def close(self) -> None:
        """Take the mapping away, so that it does not weigh on the tests that follow."""
        if self.uuid:
            self.lambda_.delete_event_source_mapping(UUID=self.uuid)


def begin(daemon: RunningDaemon, behave: str = QUIET, *, shards: int = 1, **function: Any) -> StreamLife:
    """Return a Kinesis stream and a function, not mapped yet."""
    name = new_name("stream")
    client = daemon.client("kinesis")
    client.create_stream(StreamName=name, ShardCount=shards)
    summary = wait_for(
        lambda: client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"],
        lambda summary: summary["StreamStatus"] == "ACTIVE",
    )
    return _with_function(daemon, summary["StreamARN"], name, behave, function)


def begin_with_table(daemon: RunningDaemon, behave: str = QUIET, *, view: str = "NEW_AND_OLD_IMAGES") -> StreamLife:
    """Return a table with a stream (partition key `id`) and a function, not mapped yet."""
    name = new_name("table")
    made = daemon.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
    )
    daemon.client("dynamodb").get_waiter("table_exists").wait(TableName=name)
    return _with_function(daemon, made["TableDescription"]["LatestStreamArn"], name, behave, {})


def _with_function(daemon: RunningDaemon, arn: str, name: str, behave: str, function: dict[str, Any]) -> StreamLife:
    told = new_name("told")
    told_url = daemon.client("sqs").create_queue(QueueName=told)["QueueUrl"]
    wanted = {"Environment": {"Variables": {"TOLD": told}}, "Timeout": 20, **function}
    made = create(daemon.client("lambda"), TELLER + behave, **wanted)
    return StreamLife(daemon, arn, name, made, told_url)


def payloads_of(event: dict[str, Any]) -> list[str]:
    """Return the payloads of an event's Kinesis records."""
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]
