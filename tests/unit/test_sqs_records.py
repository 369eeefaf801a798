"""The event of a queue's mapping is what the tools that people use expect, byte for byte counted."""

import json

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.parser.models import SqsModel

from eventrt.core.batching import event_bytes
from eventrt.core.functions import CodePackage, FunctionVersion
from eventrt.core.mapping import EventSourceMapping
from eventrt.core.messages import MessageAttribute, ReceivedMessage
from eventrt.core.partial import failed_ids
from eventrt.pollers import sqs

ARN = "arn:aws:sqs:us-east-1:000000000000:q"


def message(number: int, *, is_rich: bool = False) -> ReceivedMessage:
    return ReceivedMessage(
        message_id=f"0000000{number}-0000-4000-8000-000000000000",
        receipt_handle="handle" + "=" * number,
        body='{"number": 1, "text": "äöü \\u2028 \\"quoted\\""}',
        md5_of_body="0" * 32,
        sent_at=1_700_000_000.123,
        receive_count=2,
        first_received_at=1_700_000_001.5,
        sender_id="AIDAEXAMPLE",
        attributes={
            "a": MessageAttribute("String", string_value="x"),
            "b": MessageAttribute("Binary.png", binary_value=b"\x00\x01"),
        }
        if is_rich
        else {},
        md5_of_attributes="1" * 32 if is_rich else None,
        trace_header="Root=1-5759e988-bd862e3fe1be46a994272793" if is_rich else None,
        group_id="g" if is_rich else None,
        deduplication_id="d" if is_rich else None,
        sequence_number="18849496460467696128" if is_rich else None,
        dead_letter_source_arn=ARN + "2" if is_rich else None,
    )


def records(count: int) -> list[sqs.Record]:
    return [
        (sqs._fifo_record if number % 2 else sqs._record)(message(number, is_rich=bool(number % 2)), ARN, "us-east-1")
        for number in range(count)
    ]


def test_the_size_of_an_event_is_known_before_it_is_made() -> None:
    for count in range(1, 8):
        made = records(count)
        assert len(sqs.event_of(made)) == event_bytes(made)


def test_the_event_holds_each_record_as_filters_saw_it() -> None:
    made = records(3)
    assert json.loads(sqs.event_of(made)) == {"Records": [record.body for record in made]}
    rich = made[1].body
    assert rich["attributes"] == {
        "ApproximateReceiveCount": "2",
        "AWSTraceHeader": "Root=1-5759e988-bd862e3fe1be46a994272793",
        "SentTimestamp": "1700000000123",
        "SequenceNumber": "18849496460467696128",
        "MessageGroupId": "g",
        "SenderId": "AIDAEXAMPLE",
        "MessageDeduplicationId": "d",
        "ApproximateFirstReceiveTimestamp": "1700000001500",
        "DeadLetterQueueSourceArn": ARN + "2",
    }
    assert made[1].key == "g"
    assert made[0].key == ""


def test_powertools_accept_the_event_and_their_answer_is_understood() -> None:
    event = json.loads(sqs.event_of(records(4)))
    assert len(SqsModel.model_validate(event).Records) == 4

    def work(record: object) -> None:
        if "00000002" in str(record):
            raise ValueError("no")

    processor = BatchProcessor(event_type=EventType.SQS)
    answer = process_partial_response(event=event, record_handler=work, processor=processor, context=None)
    ids = [record["messageId"] for record in event["Records"]]
    assert failed_ids(json.dumps(answer).encode(), ids) == {ids[2]}


def test_moments_are_whole_milliseconds_without_rounding_errors() -> None:
    made = sqs._record(message(0)._replace(sent_at=1_700_000_000.999), ARN, "us-east-1")
    assert made.body["attributes"]["SentTimestamp"] == "1700000000999"


def test_a_lease_is_the_queues_own_or_long_enough_for_window_and_function() -> None:
    mapping = EventSourceMapping("m", "a", "r", ARN, "f", "Enabled", 0.0, batching_window_s=20)
    assert sqs.lease_s(mapping, 30, 10) == 30
    assert sqs.lease_s(mapping, 30, 11) == 61
    assert sqs.lease_s(mapping, 0, 3) == 53


def test_function_version_is_found_by_the_arn_of_the_mapping() -> None:
    mapping = EventSourceMapping("m", "a", "r", ARN, "arn:aws:lambda:r:a:function:f:$LATEST", "Enabled", 0.0)
    assert (mapping.function_name, mapping.qualifier) == ("f", "$LATEST")
    assert mapping.unqualified_function_arn == "arn:aws:lambda:r:a:function:f"
    assert FunctionVersion("a", "r", "f", "", "", "", CodePackage("", 0, ""), "", "", 0.0).arn == (
        mapping.unqualified_function_arn
    )
