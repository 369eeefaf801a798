"""Event source mappings over the wire: what reaches the function, what becomes of it, and how a mapping is managed."""

import hashlib
import itertools
import json
import uuid
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import error_of, members_of, new_name, request_of
from tests.wire.mappings_speaking import QUIET, TELLER, Life, begin, bodies_of, wait_for

ALWAYS = {
    "UUID",
    "EventSourceMappingArn",
    "EventSourceArn",
    "FunctionArn",
    "BatchSize",
    "MaximumBatchingWindowInSeconds",
    "FunctionResponseTypes",
    "State",
    "StateTransitionReason",
    "LastModified",
}

FAIL_BY_BODY = """
def behave(event):
    if any("bad" in record["body"] for record in event["Records"]):
        raise ValueError("bad")
"""

REPORT_BY_BODY = """
def behave(event):
    bad = [r["messageId"] for r in event["Records"] if "bad" in r["body"]]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in bad]}
"""


# -- what reaches the function


def test_a_message_reaches_the_function_in_the_shape_of_aws_and_is_deleted(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    (message_id,) = life.send("hello")
    word = life.told()
    assert word is not None
    (record,) = word["event"]["Records"]
    assert set(word["event"]) == {"Records"}
    attributes = record.pop("attributes")
    assert record.pop("receiptHandle")
    assert record == {
        "messageId": message_id,
        "body": "hello",
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(b"hello").hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": life.queue_arn,
        "awsRegion": "us-east-1",
    }
    assert set(attributes) == {
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SenderId",
        "ApproximateFirstReceiveTimestamp",
    }
    assert attributes["ApproximateReceiveCount"] == "1"
    assert len(attributes["SentTimestamp"]) == 13
    assert word["arn"].endswith(f":function:{life.function}")
    life.empties()


def test_attributes_of_a_message_come_with_their_types_and_digest(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    sent = life.sqs.send_message(
        QueueUrl=life.queue_url,
        MessageBody="x",
        MessageAttributes={
            "text": {"DataType": "String", "StringValue": "a"},
            "number": {"DataType": "Number.int", "StringValue": "7"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        MessageSystemAttributes={
            "AWSTraceHeader": {
                "DataType": "String",
                "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
            }
        },
    )
    word = life.told()
    assert word is not None
    (record,) = word["event"]["Records"]
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert record["messageAttributes"] == {
        "text": {"stringValue": "a", "dataType": "String", **lists},
        "number": {"stringValue": "7", "dataType": "Number.int", **lists},
        "bytes": {"binaryValue": "AP8=", "dataType": "Binary", **lists},
    }
    assert record["md5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    assert record["attributes"]["AWSTraceHeader"].startswith("Root=1-5759e988")


def test_a_fifo_record_names_group_sequence_and_deduplication(daemon: RunningDaemon) -> None:
    life = begin(daemon, fifo=True)
    life.map()
    sent = life.sqs.send_message(QueueUrl=life.queue_url, MessageBody="x", MessageGroupId="g")
    word = life.told()
    assert word is not None
    attributes = word["event"]["Records"][0]["attributes"]
    assert attributes["MessageGroupId"] == "g"
    assert attributes["SequenceNumber"] == sent["SequenceNumber"]
    assert attributes["MessageDeduplicationId"] == hashlib.sha256(b"x").hexdigest()


def test_a_backlog_comes_in_batches_of_the_batch_size(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.send_batch([str(number) for number in range(10)])
    life.map(BatchSize=4)
    words = life.told_all(10)
    assert sorted(len(bodies_of(word)) for word in words) == [2, 4, 4]
    assert sorted(body for word in words for body in bodies_of(word)) == [str(number) for number in range(10)]
    life.empties()


def test_a_window_collects_until_it_ends(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map(BatchSize=100, MaximumBatchingWindowInSeconds=200)
    life.send_batch([str(number) for number in range(10)])
    life.send("10")
    wait_for(life.depth, lambda depth: depth == (0, 11))
    assert life.told(wait_s=1) is None
    daemon.advance(201)
    word = life.told()
    assert word is not None
    assert bodies_of(word) == [str(number) for number in range(11)]
    life.empties()


def test_a_full_batch_does_not_wait_for_its_window(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map(BatchSize=20, MaximumBatchingWindowInSeconds=300)
    life.send_batch([str(number) for number in range(10)])
    life.send_batch([str(number) for number in range(10, 20)])
    word = life.told()
    assert word is not None
    assert len(bodies_of(word)) == 20


def test_a_batch_never_exceeds_six_megabytes(daemon: RunningDaemon) -> None:
    life = begin(
        daemon,
        "def behave(event):\n    for record in event['Records']:\n        record['body'] = len(record['body'])\n",
    )
    for _ in range(8):
        life.send("x" * 1_000_000)
    life.map()
    words = life.told_all(8)
    assert len(words) >= 2
    assert max(len(bodies_of(word)) for word in words) <= 6
    life.empties()


# -- what becomes of a failure


def test_a_failed_batch_comes_back_after_the_visibility_timeout_and_goes_to_the_dead_letter_queue(
    daemon: RunningDaemon,
) -> None:
    sqs = daemon.client("sqs")
    dead_url = sqs.create_queue(QueueName=new_name("dead"))["QueueUrl"]
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
    life = begin(daemon, FAIL_BY_BODY, attributes={"RedrivePolicy": policy})
    life.map()
    (message_id,) = life.send("bad")
    for attempt in ("1", "2"):
        word = life.told()
        assert word is not None
        assert word["event"]["Records"][0]["attributes"]["ApproximateReceiveCount"] == attempt
        wait_for(life.depth, lambda depth: depth == (0, 1))
        daemon.advance(31)
    (dead,) = sqs.receive_message(QueueUrl=dead_url, WaitTimeSeconds=20)["Messages"]
    assert dead["MessageId"] == message_id
    assert life.told(wait_s=1) is None
    life.empties()


def test_only_reported_items_come_back(daemon: RunningDaemon) -> None:
    life = begin(daemon, REPORT_BY_BODY)
    life.send_batch(["good 1", "bad", "good 2"])
    life.map(FunctionResponseTypes=["ReportBatchItemFailures"])
    assert len(life.told_all(3)) == 1
    wait_for(life.depth, lambda depth: depth == (0, 1))
    daemon.advance(31)
    word = life.told()
    assert word is not None
    assert bodies_of(word) == ["bad"]


def test_a_report_does_not_count_without_the_setting(daemon: RunningDaemon) -> None:
    life = begin(daemon, REPORT_BY_BODY)
    life.send_batch(["good 1", "bad"])
    life.map()
    life.told_all(2)
    life.empties()


@pytest.mark.parametrize("answer", ['{"batchItemFailures": [{"itemIdentifier": "unknown"}]}', '"text"', "[1]"])
def test_a_malformed_report_fails_the_whole_batch(daemon: RunningDaemon, answer: str) -> None:
    life = begin(daemon, f"def behave(event):\n    return json.loads({answer!r})\n")
    life.send_batch(["a", "b"])
    life.map(FunctionResponseTypes=["ReportBatchItemFailures"])
    life.told_all(2)
    wait_for(life.depth, lambda depth: depth == (0, 2))
    daemon.advance(31)
    assert len(life.told_all(2)) == 1


def test_filtered_messages_are_deleted_and_never_delivered(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.send_batch([json.dumps({"kind": kind}) for kind in ("order", "offer", "order")] + ["plain"])
    pattern = json.dumps({"body": {"kind": ["order"]}})
    life.map(FilterCriteria={"Filters": [{"Pattern": pattern}]})
    words = life.told_all(2)
    assert [json.loads(body)["kind"] for word in words for body in bodies_of(word)] == ["order", "order"]
    life.empties()


# -- order and concurrency


def test_groups_run_side_by_side_and_each_in_order(daemon: RunningDaemon) -> None:
    life = begin(daemon, "def behave(event):\n    time.sleep(0.6)\n", fifo=True)
    for turn in range(3):
        life.send_batch([f"g{number} {turn}" for number in range(4)], group=lambda number: f"g{number}")
    life.map(BatchSize=1)
    words = life.told_all(12)
    spans = sorted((word["began"], word["ended"]) for word in words)
    assert any(second[0] < first[1] for first, second in itertools.pairwise(spans)), "no two at once"
    for group in range(4):
        mine = [word for word in words if bodies_of(word)[0].startswith(f"g{group} ")]
        mine.sort(key=lambda word: word["began"])
        assert [bodies_of(word)[0][-1] for word in mine] == ["0", "1", "2"]
        assert all(first["ended"] <= second["began"] for first, second in itertools.pairwise(mine))
    life.empties()


def test_a_batch_holds_several_groups_each_in_order(daemon: RunningDaemon) -> None:
    life = begin(daemon, fifo=True)
    life.send_batch([f"{number % 3} {number}" for number in range(9)], group=lambda number: f"g{number % 3}")
    life.map()
    [word] = life.told_all(9)
    bodies = bodies_of(word)
    for group in "012":
        mine = [body for body in bodies if body.startswith(group)]
        assert mine == sorted(mine)
        assert len(mine) == 3
    life.empties()


def test_items_that_fail_in_a_batch_of_several_groups_block_their_group_only(daemon: RunningDaemon) -> None:
    life = begin(
        daemon,
        "def behave(event):\n"
        "    bad = [r['messageId'] for r in event['Records'] if r['attributes']['MessageGroupId'] == 'a']\n"
        "    return {'batchItemFailures': [{'itemIdentifier': i} for i in bad]}\n",
        fifo=True,
    )
    life.send_batch(["a 1", "b 1", "a 2", "b 2"], group=lambda number: "ab"[number % 2])
    life.map(FunctionResponseTypes=["ReportBatchItemFailures"])
    [word] = life.told_all(4)
    assert sorted(bodies_of(word)) == ["a 1", "a 2", "b 1", "b 2"]
    wait_for(life.depth, lambda depth: sum(depth) == 2)
    life.send("b 3", MessageGroupId="b")
    assert [bodies_of(word) for word in life.told_all(1)] == [["b 3"]], "group a waits for its visibility timeout"


def test_a_failing_group_does_not_hold_up_another(daemon: RunningDaemon) -> None:
    life = begin(daemon, FAIL_BY_BODY, fifo=True)
    life.map()
    life.send_batch(["bad", "good 1", "after bad", "good 2"], group=lambda number: "ab"[number % 2])
    words = [bodies_of(word) for word in life.told_all(8)]
    assert sorted(words[0]) == ["after bad", "bad", "good 1", "good 2"], "the first batch holds both groups"
    assert sorted(words[1:]) == [["bad", "after bad"], ["good 1", "good 2"]], "then each goes by itself, at once"
    wait_for(life.depth, lambda depth: sum(depth) == 2)
    for number in range(3, 6):
        life.send(f"good {number}", MessageGroupId="b")
    assert [body for word in life.told_all(3) for body in bodies_of(word)] == ["good 3", "good 4", "good 5"]
    assert sum(life.depth()) == 2


def test_no_more_than_the_maximum_concurrency_run_at_once(daemon: RunningDaemon) -> None:
    life = begin(daemon, "def behave(event):\n    time.sleep(0.6)\n")
    life.send_batch([str(number) for number in range(8)])
    life.map(BatchSize=1, ScalingConfig={"MaximumConcurrency": 2})
    words = life.told_all(8)
    moments = sorted([(word["began"], 1) for word in words] + [(word["ended"], -1) for word in words])
    running = most = 0
    for _, step in moments:
        running += step
        most = max(most, running)
    assert most == 2


def test_a_slow_mapping_does_not_delay_another(daemon: RunningDaemon) -> None:
    slow = begin(daemon, "def behave(event):\n    time.sleep(4)\n")
    quick = begin(daemon)
    slow.map(BatchSize=1)
    quick.map()
    quick.send("warm")
    assert quick.told() is not None
    slow.send_batch([str(number) for number in range(10)])
    quick.send("now")
    passed, first = quick.told(), slow.told()
    assert passed is not None
    assert first is not None
    assert passed["ended"] < first["ended"]
    slow.lambda_.delete_event_source_mapping(UUID=slow.uuid)


def test_throttled_batches_are_tried_again(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.lambda_.put_function_concurrency(FunctionName=life.function, ReservedConcurrentExecutions=0)
    life.map()
    life.send("patience")
    wait_for(life.depth, lambda depth: depth == (0, 1))
    life.lambda_.put_function_concurrency(FunctionName=life.function, ReservedConcurrentExecutions=1)
    daemon.advance(60)
    word = life.told()
    assert word is not None
    assert word["event"]["Records"][0]["attributes"]["ApproximateReceiveCount"] == "1"
    life.empties()


# -- the life of a mapping


def test_a_mapping_is_created_with_defaults_and_becomes_enabled(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    made = life.map()
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert set(members_of(made)) == ALWAYS
    assert made["State"] == "Creating"
    assert made["StateTransitionReason"] == "USER_INITIATED"
    assert made["BatchSize"] == 10
    assert made["MaximumBatchingWindowInSeconds"] == 0
    assert made["FunctionResponseTypes"] == []
    assert made["EventSourceArn"] == life.queue_arn
    assert made["FunctionArn"].endswith(f":function:{life.function}")
    assert made["EventSourceMappingArn"].endswith(f":event-source-mapping:{made['UUID']}")
    assert uuid.UUID(made["UUID"]).version == 4
    seen = life.settled()
    assert set(members_of(seen)) == ALWAYS
    assert seen["State"] == "Enabled"
    assert seen["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_mapping_shows_what_was_set_and_clears_what_is_emptied(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    filters = {"Filters": [{"Pattern": '{"body": ["a"]}'}]}
    made = life.map(
        Enabled=False,
        BatchSize=50,
        MaximumBatchingWindowInSeconds=5,
        FilterCriteria=filters,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        ScalingConfig={"MaximumConcurrency": 7},
        Tags={"a": "b"},
    )
    assert set(members_of(made)) == ALWAYS | {"FilterCriteria", "ScalingConfig"}
    seen = life.settled()
    assert seen["State"] == "Disabled"
    assert seen["FilterCriteria"] == filters
    assert seen["ScalingConfig"] == {"MaximumConcurrency": 7}
    assert seen["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert life.lambda_.list_tags(Resource=seen["EventSourceMappingArn"])["Tags"] == {"a": "b"}
    changed = life.update(FilterCriteria={}, ScalingConfig={}, FunctionResponseTypes=[], BatchSize=60)
    assert set(members_of(changed)) == ALWAYS
    assert (changed["BatchSize"], changed["MaximumBatchingWindowInSeconds"]) == (60, 5)
    assert changed["State"] == "Disabled"
    provisioned = life.update(ProvisionedPollerConfig={"MinimumPollers": 3})
    assert provisioned["ProvisionedPollerConfig"] == {"MinimumPollers": 3, "MaximumPollers": 200}


def test_a_disabled_mapping_rests_and_an_enabled_one_goes_on(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    answer = life.lambda_.update_event_source_mapping(UUID=life.uuid, Enabled=False)
    assert answer["State"] == "Disabling"
    assert life.settled()["State"] == "Disabled"
    life.send("waits")
    assert life.told(wait_s=1) is None
    assert life.depth() == (1, 0)
    answer = life.lambda_.update_event_source_mapping(UUID=life.uuid, Enabled=True)
    assert answer["State"] == "Enabling"
    assert life.told() is not None


def test_what_a_window_had_collected_is_given_back_when_the_mapping_is_disabled(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map(BatchSize=100, MaximumBatchingWindowInSeconds=300)
    life.send("a", "b")
    wait_for(life.depth, lambda depth: depth == (0, 2))
    life.update(Enabled=False)
    wait_for(life.depth, lambda depth: depth == (2, 0))


def test_an_update_changes_the_function_at_once(daemon: RunningDaemon) -> None:
    life, other = begin(daemon), begin(daemon)
    life.map()
    changed = life.update(FunctionName=other.function)
    assert changed["FunctionArn"].endswith(f":function:{other.function}")
    life.send("to the other one")
    assert other.told() is not None
    assert life.told(wait_s=0) is None


def test_a_deleted_mapping_is_gone_and_its_messages_stay(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    deleting = life.lambda_.delete_event_source_mapping(UUID=life.uuid)
    assert deleting["State"] == "Deleting"
    assert deleting["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert set(members_of(deleting)) == ALWAYS
    wait_for(
        lambda: life.lambda_.list_event_source_mappings(FunctionName=life.function)["EventSourceMappings"],
        lambda found: not found,
    )
    missing = (404, "ResourceNotFoundException", "The resource you requested does not exist.")
    assert error_of(life.lambda_.get_event_source_mapping, UUID=life.uuid) == missing
    assert error_of(life.lambda_.delete_event_source_mapping, UUID=life.uuid) == missing
    assert error_of(life.lambda_.update_event_source_mapping, UUID=life.uuid, BatchSize=1) == missing
    life.send("stays")
    assert life.told(wait_s=1) is None
    assert life.depth() == (1, 0)


def test_mappings_are_listed_by_queue_and_by_function_and_in_pages(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    made = []
    for number in range(3):
        url = life.sqs.create_queue(QueueName=new_name(f"q{number}"))["QueueUrl"]
        arn = life.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        mapping = life.lambda_.create_event_source_mapping(EventSourceArn=arn, FunctionName=life.function)
        made.append((arn, mapping["UUID"]))
    pages = life.lambda_.get_paginator("list_event_source_mappings").paginate(
        FunctionName=life.function, PaginationConfig={"PageSize": 2}
    )
    found = [[mapping["UUID"] for mapping in page["EventSourceMappings"]] for page in pages]
    assert [len(page) for page in found] == [2, 1]
    assert [name for page in found for name in page] == [name for _, name in made]
    by_queue = life.lambda_.list_event_source_mappings(EventSourceArn=made[1][0])["EventSourceMappings"]
    assert [mapping["UUID"] for mapping in by_queue] == [made[1][1]]
    assert life.lambda_.list_event_source_mappings(FunctionName=new_name())["EventSourceMappings"] == []
    other = daemon.client("lambda", account="111122223333")
    assert other.list_event_source_mappings(FunctionName=life.function)["EventSourceMappings"] == []
    assert error_of(other.get_event_source_mapping, UUID=made[0][1])[0] == 404
    status, code, _ = error_of(life.lambda_.list_event_source_mappings, Marker="nonsense")
    assert (status, code) == (400, "InvalidParameterValueException")


def test_another_accounts_queue_cannot_be_mapped(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    queue_name = new_name()
    daemon.client("sqs", account="111122223333").create_queue(QueueName=queue_name)
    life.queue_arn = f"arn:aws:sqs:us-east-1:111122223333:{queue_name}"
    assert error_of(life.map) == (
        400,
        "InvalidParameterValueException",
        "The provided execution role does not have permissions to call ReceiveMessage on SQS",
    )


def test_a_mapping_whose_function_is_gone_says_so_and_goes_on_when_it_is_back(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    configuration = life.lambda_.get_function_configuration(FunctionName=life.function)
    life.lambda_.delete_function(FunctionName=life.function)
    life.send("patience")
    shown = wait_for(
        lambda: life.lambda_.get_event_source_mapping(UUID=life.uuid), lambda found: "LastProcessingResult" in found
    )
    assert shown["LastProcessingResult"] == "PROBLEM: The function does not exist."
    assert shown["State"] == "Enabled"
    life.lambda_.create_function(**request_of(life.function, TELLER + QUIET, Environment=configuration["Environment"]))
    assert life.told() is not None
    shown = wait_for(
        lambda: life.lambda_.get_event_source_mapping(UUID=life.uuid), lambda found: "LastProcessingResult" not in found
    )


def test_a_mapping_whose_queue_is_gone_says_so_and_goes_on_when_it_is_back(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    life.sqs.delete_queue(QueueUrl=life.queue_url)
    shown = wait_for(
        lambda: life.lambda_.get_event_source_mapping(UUID=life.uuid), lambda found: "LastProcessingResult" in found
    )
    assert shown["LastProcessingResult"] == "PROBLEM: The queue does not exist."
    daemon.advance(61)
    life.sqs.create_queue(QueueName=life.queue_arn.rpartition(":")[2])
    life.send("again")
    assert life.told() is not None


# -- refusals


def _refusals(life: Life) -> list[tuple[dict[str, Any], str]]:
    brokers = "arn:aws:kafka:us-east-1:000000000000:cluster/c/u"
    nowhere = "arn:aws:sqs:us-east-1:000000000000:" + new_name()
    return [
        ({"EventSourceArn": None}, "Unrecognized event source."),
        ({"EventSourceArn": "arn:aws:sns:us-east-1:000000000000:topic"}, "Unrecognized event source."),
        ({"EventSourceArn": life.queue_arn.replace("us-east-1", "eu-west-1")}, "Unrecognized event source."),
        (
            {"EventSourceArn": brokers},
            (
                "Event source mappings for Amazon MSK clusters (kafka) are not served by eventrt yet; it serves "
                "Amazon SQS queues, Kinesis streams, DynamoDB streams, and what poller plugins read. "
                f"Event source: {brokers}"
            ),
        ),
        ({"FunctionName": new_name()}, "Function does not exist"),
        ({"FunctionName": f"{life.function}:7"}, "Function does not exist"),
        (
            {"EventSourceArn": nowhere},
            (
                "Error occurred while ReceiveMessage. SQS Error Code: AWS.SimpleQueueService.NonExistentQueue. SQS "
                "Error Message: The specified queue does not exist."
            ),
        ),
        (
            {"BatchSize": 11},
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        ),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": life.queue_arn}}},
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
        ({"StartingPosition": "LATEST"}, "Unsupported StartingPosition parameter for given event source mapping type."),
        (
            {"BisectBatchOnFunctionError": True},
            "Unsupported BisectBatchOnFunctionError parameter for given event source mapping type.",
        ),
        (
            {"MaximumRetryAttempts": 0},
            "Unsupported MaximumRetryAttempts parameter for given event source mapping type.",
        ),
        (
            {"ParallelizationFactor": 2},
            "Unsupported ParallelizationFactor parameter for given event source mapping type.",
        ),
        (
            {"TumblingWindowInSeconds": 1},
            "Unsupported TumblingWindowInSeconds parameter for given event source mapping type.",
        ),
        ({"FilterCriteria": {"Filters": [{"Pattern": "no"}]}}, "Invalid filter pattern definition."),
        ({"FilterCriteria": {"Filters": [{"Pattern": '{"body": "no"}'}]}}, "Invalid filter pattern definition."),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": '{"body": ["a"]}'}] * 6}},
            "Filter criteria can have at most 5 filters.",
        ),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 5}, "ScalingConfig": {"MaximumConcurrency": 2}},
            "ScalingConfig and ProvisionedPollerConfig cannot both be set on an event source mapping.",
        ),
        (
            {"ProvisionedPollerConfig": {"MinimumPollers": 5, "MaximumPollers": 4}},
            "MinimumPollers must be less than or equal to MaximumPollers.",
        ),
    ]


def test_what_a_queue_does_not_take_is_refused_in_the_words_of_aws(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    for change, message in _refusals(life):
        request = {"EventSourceArn": life.queue_arn, "FunctionName": life.function, **change}
        request = {name: value for name, value in request.items() if value is not None}
        expected = (400, "InvalidParameterValueException", message)
        assert error_of(life.lambda_.create_event_source_mapping, **request) == expected, change


def test_values_that_ask_for_nothing_are_accepted(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    made = life.map(
        DestinationConfig={"OnFailure": {}},
        MaximumRetryAttempts=-1,
        MaximumRecordAgeInSeconds=-1,
        BisectBatchOnFunctionError=False,
        TumblingWindowInSeconds=0,
        ParallelizationFactor=1,
        FilterCriteria={"Filters": []},
        KMSKeyArn="",
        MetricsConfig={"Metrics": []},
    )
    assert set(members_of(made)) == ALWAYS


def test_a_second_mapping_between_the_same_two_is_a_conflict(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    assert error_of(
        life.lambda_.create_event_source_mapping, EventSourceArn=life.queue_arn, FunctionName=life.function
    ) == (
        409,
        "ResourceConflictException",
        (
            f'An event source mapping with SQS arn (" {life.queue_arn} ") and function (" {life.function} ") already '
            f"exists. Please update or delete the existing mapping with UUID {life.uuid}"
        ),
    )


def test_messages_must_stay_invisible_for_as_long_as_the_function_may_run(daemon: RunningDaemon) -> None:
    life = begin(daemon, attributes={"VisibilityTimeout": "19"})
    message = "Queue visibility timeout: 19 seconds is less than Function timeout: 20 seconds"
    assert error_of(
        life.lambda_.create_event_source_mapping, EventSourceArn=life.queue_arn, FunctionName=life.function
    ) == (400, "InvalidParameterValueException", message)


def test_fifo_queues_take_no_window_and_small_batches(daemon: RunningDaemon) -> None:
    life = begin(daemon, fifo=True)
    for change in ({"MaximumBatchingWindowInSeconds": 1}, {"BatchSize": 11}):
        status, code, _ = error_of(
            life.lambda_.create_event_source_mapping,
            EventSourceArn=life.queue_arn,
            FunctionName=life.function,
            **change,
        )
        assert (status, code) == (400, "InvalidParameterValueException")


def test_an_update_is_held_to_the_same_rules(daemon: RunningDaemon) -> None:
    life = begin(daemon)
    life.map()
    for change, message in (
        ({"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0"),
        ({"FilterCriteria": {"Filters": [{"Pattern": "no"}]}}, "Invalid filter pattern definition."),
        ({"FunctionName": new_name()}, "Function does not exist"),
        ({"MaximumRetryAttempts": 3}, "Unsupported MaximumRetryAttempts parameter"),
    ):
        status, code, said = error_of(life.lambda_.update_event_source_mapping, UUID=life.uuid, **change)
        assert (status, code) == (400, "InvalidParameterValueException")
        assert said.startswith(message)
    assert life.settled()["State"] == "Enabled"
