"""What the end of an asynchronous event is told with."""

import orjson
import pytest

from eventrt.core.asynchronous import AsyncEvent, Ended, LastAttempt, Response
from eventrt.destinations.async_record import dead_letter, object_key, record_of

EVENT = AsyncEvent(
    1, 1, ("000000000000", "us-east-1", "f"), "live", "id-1", b'{"a": [1, "\xc3\xa4"]}', "Root=1", 1e9, 1e9
)
ARN = "arn:aws:lambda:us-east-1:000000000000:function:f:live"


def record(ended: Ended) -> str:
    return record_of(EVENT, ended, function_arn=ARN, now=1573754765.568).decode()


def test_the_record_of_a_success_has_every_member_in_its_place():
    ended = Ended("Success", 1, LastAttempt(200, "", Response(b'{"ok": true}', "$LATEST")))
    assert record(ended) == (
        '{"version":"1.0","timestamp":"2019-11-14T18:06:05.568Z","requestContext":{"requestId":"id-1",'
        f'"functionArn":"{ARN}","condition":"Success","approximateInvokeCount":1}},"requestPayload":{{"a": [1, "ä"]}},'
        '"responseContext":{"statusCode":200,"executedVersion":"$LATEST"},"responsePayload":{"ok": true}}'
    )


def test_a_failure_names_the_error_and_shows_its_document():
    ended = Ended("RetriesExhausted", 3, LastAttempt(200, "no", Response(b'{"errorMessage":"no"}', "7", "Unhandled")))
    shown = orjson.loads(record(ended))
    assert shown["responseContext"] == {"statusCode": 200, "executedVersion": "7", "functionError": "Unhandled"}
    assert shown["responsePayload"] == {"errorMessage": "no"}
    assert shown["requestContext"]["approximateInvokeCount"] == 3


@pytest.mark.parametrize("last", [None, LastAttempt(429, "Rate Exceeded.")])
def test_an_event_that_never_ran_has_no_response(last):
    shown = orjson.loads(record(Ended("ZeroReservedConcurrency", 0, last)))
    assert list(shown) == ["version", "timestamp", "requestContext", "requestPayload"]


@pytest.mark.parametrize("payload", [b"NaN", b"\xff", b"[" * 3000, b'{"a": NaN}'])
def test_an_answer_that_is_no_json_becomes_a_string(payload):
    ended = Ended("Success", 1, LastAttempt(200, "", Response(payload, "$LATEST")))
    assert isinstance(orjson.loads(record(ended))["responsePayload"], str)


def test_a_dead_letter_is_the_event_unchanged_with_three_attributes():
    letter = dead_letter(EVENT, Ended("RetriesExhausted", 3, LastAttempt(200, "no")), trace_header="Root=1;x")
    assert letter.body == '{"a": [1, "ä"]}'
    assert {name: (value.data_type, value.string_value) for name, value in letter.attributes.items()} == {
        "RequestID": ("String", "id-1"),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "no"),
    }


def test_an_error_message_is_cut_at_1024_bytes_between_characters():
    letter = dead_letter(
        EVENT, Ended("RetriesExhausted", 3, LastAttempt(200, "ä" * 511 + "xyz" + "ä")), trace_header=""
    )
    text = letter.attributes["ErrorMessage"].string_value
    assert text == "ä" * 511 + "xy"


def test_an_empty_error_message_is_left_out():
    letter = dead_letter(EVENT, Ended("RetriesExhausted", 3, LastAttempt(200, "")), trace_header="")
    assert set(letter.attributes) == {"RequestID", "ErrorCode"}


def test_the_key_in_a_bucket_says_function_and_moment():
    assert object_key("f", 1573754765.568).startswith("aws/lambda/async/f/2019/11/14/2019-11-14T18.06.05-")
