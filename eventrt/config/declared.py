"""Declared things: the functions, queues, streams, tables and mappings that a configuration file describes.

The names are the field's own words in Python's spelling, with units. What each value may be is what the API
allows for the same thing: the ranges here are AWS's. `reconcile` turns them into the API's requests.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from eventrt.config.declared_buckets import DeclaredBucket, DeclaredNotification

NAME = r"^[a-zA-Z0-9-_]{1,64}$"
QUEUE_NAME = r"^(?=.{1,80}$)[a-zA-Z0-9-_]{1,80}(\.fifo)?$"
STREAM_NAME = r"^[a-zA-Z0-9_.-]{1,128}$"
TABLE_NAME = r"^[a-zA-Z0-9_.-]{3,255}$"
ACCOUNT = r"^\d{12}$"
REGION = r"^[a-z]{2,}(-[a-z]+)+-\d+$"

Account = Annotated[str, Meta(pattern=ACCOUNT, description="The account it belongs to.")]
Region = Annotated[str, Meta(pattern=REGION, description="The region it belongs to.")]
Seconds = {"unit": "seconds"}


class DeclaredFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A function whose code is a folder beside the configuration file."""

    name: Annotated[str, Meta(pattern=NAME, description="Its name.")]
    handler: Annotated[str, Meta(pattern=r"^[^\s]{1,128}$", description="`module.function`, as in AWS's Handler.")]
    code: Annotated[
        str, Meta(min_length=1, description="The folder of its code, relative to this file; used in place.")
    ]
    runtime: Annotated[str, Meta(min_length=1, description="AWS's name of the runtime.")] = "python3.12"
    description: Annotated[str, Meta(max_length=256, description="What it is for.")] = ""
    role: Annotated[
        str, Meta(description="The role its handlers call as: an ARN; policies are not enforced. Empty makes one up.")
    ] = ""
    timeout_s: Annotated[int, Meta(ge=1, le=900, description="How long one invocation may take.", extra=Seconds)] = 3
    memory_mb: Annotated[
        int, Meta(ge=128, le=10240, description="How much memory it may use.", extra={"unit": "MB"})
    ] = 128
    ephemeral_storage_mb: Annotated[
        int, Meta(ge=512, le=10240, description="How large its /tmp may grow.", extra={"unit": "MB"})
    ] = 512
    environment: Annotated[dict[str, str], Meta(description="Its environment variables.")] = {}
    reserved_concurrency: (
        Annotated[int, Meta(ge=0, description="How many invocations may run at a time; absent leaves it open.")] | None
    ) = None
    packages: Annotated[
        str,
        Meta(
            description="A folder of packages for its import path: a venv or a `pip install --target`, "
            "relative "
            "to this file."
        ),
    ] = ""
    dead_letter_queue: Annotated[
        str, Meta(description="The queue (name or ARN) that takes asynchronous events which failed to the end.")
    ] = ""
    tags: Annotated[dict[str, str], Meta(description="Its tags.")] = {}
    account: Account = "000000000000"
    region: Region = "us-east-1"


class DeclaredQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue; a name that ends in .fifo makes it one."""

    name: Annotated[str, Meta(pattern=QUEUE_NAME, description="Its name; `.fifo` at the end makes a FIFO queue.")]
    visibility_timeout_s: Annotated[
        int,
        Meta(ge=0, le=43_200, description="How long a received message stays hidden.", extra=Seconds),
    ] = 30
    retention_s: Annotated[int, Meta(ge=60, le=1_209_600, description="How long a message is kept.", extra=Seconds)] = (
        345_600
    )
    delay_s: Annotated[int, Meta(ge=0, le=900, description="How long a new message stays hidden.", extra=Seconds)] = 0
    maximum_message_bytes: Annotated[
        int, Meta(ge=1024, le=1_048_576, description="The largest message.", extra={"unit": "bytes"})
    ] = 1_048_576
    receive_wait_s: Annotated[
        int, Meta(ge=0, le=20, description="How long a receive waits for messages.", extra=Seconds)
    ] = 0
    dead_letter_queue: Annotated[
        str, Meta(description="The name of the queue that takes messages received too often.")
    ] = ""
    max_receive_count: (
        Annotated[
            int, Meta(ge=1, le=1000, description="How often a message may be received before it is dead-lettered.")
        ]
        | None
    ) = None
    content_based_deduplication: Annotated[
        bool, Meta(description="FIFO: a message's body stands in for its deduplication id.")
    ] = False
    deduplication_scope: Annotated[
        Literal["queue", "messageGroup"], Meta(description="FIFO: what a deduplication id is unique in.")
    ] = "queue"
    fifo_throughput_limit: Annotated[
        Literal["perQueue", "perMessageGroupId"], Meta(description="FIFO: what the throughput limit counts.")
    ] = "perQueue"
    tags: Annotated[dict[str, str], Meta(description="Its tags.")] = {}
    account: Account = "000000000000"
    region: Region = "us-east-1"


class DeclaredStream(msgspec.Struct, frozen=True, kw_only=True):
    """A Kinesis stream."""

    name: Annotated[str, Meta(pattern=STREAM_NAME, description="Its name.")]
    shards: Annotated[
        int, Meta(ge=1, le=200, description="How many shards it is made with; later it is resharded through the API.")
    ] = 1
    retention_h: Annotated[
        int, Meta(ge=24, le=8760, description="How long a record is kept.", extra={"unit": "hours"})
    ] = 24
    tags: Annotated[dict[str, str], Meta(description="Its tags.")] = {}
    account: Account = "000000000000"
    region: Region = "us-east-1"


class DeclaredTable(msgspec.Struct, frozen=True, kw_only=True):
    """A DynamoDB table, billed per request; its keys cannot be changed later."""

    name: Annotated[str, Meta(pattern=TABLE_NAME, description="Its name.")]
    partition_key: Annotated[str, Meta(min_length=1, max_length=255, description="The partition key's attribute.")]
    partition_key_type: Annotated[Literal["S", "N", "B"], Meta(description="Its type: text, number or bytes.")] = "S"
    sort_key: Annotated[str, Meta(max_length=255, description="The sort key's attribute; empty without one.")] = ""
    sort_key_type: Annotated[Literal["S", "N", "B"], Meta(description="Its type: text, number or bytes.")] = "S"
    stream: Annotated[
        Literal["", "KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES"],
        Meta(description="What its change stream shows; empty without one."),
    ] = ""
    tags: Annotated[dict[str, str], Meta(description="Its tags.")] = {}
    account: Account = "000000000000"
    region: Region = "us-east-1"


class DeclaredMapping(msgspec.Struct, frozen=True, kw_only=True):
    """An event source mapping from one source (a queue, a stream, a table's stream, or a plugin's) to a function."""

    queue: Annotated[str, Meta(description="The source: the name of a queue, or its ARN.")] = ""
    stream: Annotated[str, Meta(description="The source: the name of a Kinesis stream, or its ARN.")] = ""
    table: Annotated[str, Meta(description="The source: the name of a declared table that has a stream.")] = ""
    source: Annotated[str, Meta(description="The source: the ARN of something that a poller plugin reads.")] = ""
    function: Annotated[str, Meta(min_length=1, description="The name of the function, or an ARN.")]
    enabled: Annotated[bool, Meta(description="Is it polled?")] = True
    batch_size: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=10_000,
                description="How many records go to one invocation at most; absent is 10 for queues, 100 for streams.",
            ),
        ]
        | None
    ) = None
    batching_window_s: Annotated[
        int, Meta(ge=0, le=300, description="How long to gather records for a batch.", extra=Seconds)
    ] = 0
    maximum_concurrency: (
        Annotated[
            int,
            Meta(
                ge=2,
                le=1000,
                description="Queues: how many invocations it may run at a time; absent leaves it open.",
            ),
        ]
        | None
    ) = None
    report_batch_item_failures: Annotated[
        bool, Meta(description="Does the function name the records that failed (batchItemFailures)?")
    ] = False
    filters: Annotated[
        tuple[dict[str, Any], ...],
        Meta(max_length=5, description="Event patterns; a record that matches none is passed over unseen."),
    ] = ()
    starting_position: Annotated[
        Literal["TRIM_HORIZON", "LATEST"], Meta(description="Streams: where it begins; it cannot be changed later.")
    ] = "TRIM_HORIZON"
    parallelization_factor: Annotated[
        int, Meta(ge=1, le=10, description="Streams: how many batches of one shard run at a time.")
    ] = 1
    maximum_retry_attempts: Annotated[
        int, Meta(ge=-1, le=10_000, description="Streams: how often a failed batch is tried again; -1 for ever.")
    ] = -1
    maximum_record_age_s: Annotated[
        int,
        Meta(ge=-1, le=604_800, description="Streams: an older record is given up; -1 for none.", extra=Seconds),
    ] = -1
    bisect_batch_on_function_error: Annotated[
        bool, Meta(description="Streams: is a failed batch cut in halves, to find what it fails on?")
    ] = False
    tumbling_window_s: Annotated[
        int, Meta(ge=0, le=900, description="Streams: the length of the windows that carry a state.", extra=Seconds)
    ] = 0
    on_failure_queue: Annotated[
        str, Meta(description="Streams: the name of the queue that is told of what was given up, or its ARN.")
    ] = ""
    account: Account = "000000000000"
    region: Region = "us-east-1"

    @property
    def sources(self) -> tuple[str, ...]:
        """The members that name its source; there has to be one."""
        return tuple(kind for kind in ("queue", "stream", "table", "source") if getattr(self, kind))

    @property
    def title(self) -> str:
        """What messages call it: `orders → handle-order`."""
        return f"{self.queue or self.stream or self.table or self.source} → {self.function}"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a file declares, in its order."""

    functions: tuple[DeclaredFunction, ...] = ()
    queues: tuple[DeclaredQueue, ...] = ()
    streams: tuple[DeclaredStream, ...] = ()
    tables: tuple[DeclaredTable, ...] = ()
    buckets: tuple[DeclaredBucket, ...] = ()
    notifications: tuple[DeclaredNotification, ...] = ()
    mappings: tuple[DeclaredMapping, ...] = ()


KINDS: dict[str, type[msgspec.Struct]] = {
    "functions": DeclaredFunction,
    "queues": DeclaredQueue,
    "streams": DeclaredStream,
    "tables": DeclaredTable,
    "buckets": DeclaredBucket,
    "notifications": DeclaredNotification,
    "mappings": DeclaredMapping,
}
