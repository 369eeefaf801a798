"""The rules of messages: bodies, attributes, digests, ids, batches, and what a receive shows."""

from typing import Any

import pytest

from eventrt.core import message_rules as rules
from eventrt.core.messages import MessageAttribute, ReceivedMessage
from eventrt.core.refused import Refused


def text(value: str, data_type: str = "String") -> dict[str, Any]:
    return {"DataType": data_type, "StringValue": value}


def refusal(function: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        function(*args, **kwargs)
    return caught.value.code, caught.value.message


# -- bodies


@pytest.mark.parametrize("body", ["x", "a\tb\nc\rd", "~\x7f", "äöü", "\ud7ff\ue000\ufffd", "🦊\U0010ffff"])
def test_a_body_of_xml_characters_is_sendable(body: str) -> None:
    assert rules.encoded_body(body) == body.encode()


@pytest.mark.parametrize("body", ["\x00", "a\x0bb", "\x1f", "ok\ufffe", "ok\uffff", "half \ud800 pair", "ä\x01"])
def test_a_body_with_any_other_character_is_refused(body: str) -> None:
    code, message = refusal(rules.encoded_body, body)
    assert code == "InvalidMessageContents"
    assert "the set of allowed characters is #x9 | #xA | #xD | [#x20 to #xD7FF]" in message


@pytest.mark.parametrize("body", [None, ""])
def test_a_message_without_a_body_misses_a_parameter(body: str | None) -> None:
    assert refusal(rules.encoded_body, body) == (
        "MissingRequiredParameterException",
        "The request must contain the parameter MessageBody.",
    )


def test_the_two_sentences_about_a_message_that_is_too_long() -> None:
    rules.check_size(1024, 1024)
    assert refusal(rules.check_size, 1025, 1024) == (
        "InvalidParameterValueException",
        "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.",
    )
    assert refusal(rules.check_size, 1025, 1024, in_batch=True)[1] == (
        "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."
    )


def test_the_digest_of_a_body_is_the_documented_one() -> None:
    assert rules.md5_hex(b"This is a test message") == "fafb00f5732ab283681e124bf8747ed1"


# -- attributes


def test_attributes_cost_their_names_types_and_values() -> None:
    attributes, size_bytes = rules.user_attributes(
        {"ab": text("ü"), "n": text("12", "Number"), "b": {"DataType": "Binary.png", "BinaryValue": b"\x00\x01"}}
    )
    assert size_bytes == (2 + 6 + 2) + (1 + 6 + 2) + (1 + 10 + 2)
    assert attributes["b"] == MessageAttribute("Binary.png", None, b"\x00\x01")


@pytest.mark.parametrize(
    "name", ["AWS.x", "aws.x", "Amazon.x", "AMAZON.y", ".a", "a.", "a..b", "a b", "a/b", "ä", "a" * 257, "a\n"]
)
def test_a_name_outside_of_the_rules_is_refused(name: str) -> None:
    code, message = refusal(rules.user_attributes, {name: text("v")})
    assert code == "InvalidParameterValueException"
    assert f"'{name}'" in message


@pytest.mark.parametrize("name", ["a", "A-Z_0.9", "a.b.c", "awsx", "amazonian", "a" * 256, "_", "-"])
def test_a_name_within_the_rules_passes(name: str) -> None:
    rules.user_attributes({name: text("v")})


def test_an_empty_name_is_refused_with_its_own_sentence() -> None:
    assert refusal(rules.user_attributes, {"": text("v")})[1] == (
        "The request must contain non-empty message attribute name."
    )


@pytest.mark.parametrize("data_type", ["string", "Int", "StringList", "Text.x", " String", "String."])
def test_a_type_other_than_the_three_is_refused(data_type: str) -> None:
    assert refusal(rules.user_attributes, {"a": text("v", data_type)})[1] == (
        "The type of message (user) attribute 'a' is invalid. You must use only the following supported type "
        "prefixes: Binary, Number, String."
    )


@pytest.mark.parametrize(
    ("value", "data_type"),
    [
        ({"DataType": "String"}, "String"),
        ({"DataType": "String", "StringValue": ""}, "String"),
        ({"DataType": "String", "BinaryValue": b"x"}, "String"),
        ({"DataType": "Number.int", "StringValue": ""}, "Number.int"),
        ({"DataType": "Binary", "BinaryValue": b""}, "Binary"),
        ({"DataType": "Binary", "StringValue": "x"}, "Binary"),
    ],
)
def test_an_attribute_without_a_value_of_its_type_is_refused(value: dict[str, Any], data_type: str) -> None:
    assert refusal(rules.user_attributes, {"a": value})[1] == (
        f"Message (user) attribute 'a' must contain a non-empty value of type '{data_type}'."
    )


def test_an_attribute_has_one_value() -> None:
    both = {"DataType": "String", "StringValue": "x", "BinaryValue": b"x"}
    assert "more than one value" in refusal(rules.user_attributes, {"a": both})[1]
    both = {"DataType": "Binary", "StringValue": "x", "BinaryValue": b"x"}
    assert "more than one value" in refusal(rules.user_attributes, {"a": both})[1]


def test_list_values_are_refused() -> None:
    value = {**text("x"), "StringListValues": ["y"]}
    assert "list values" in refusal(rules.user_attributes, {"a": value})[1]


def test_an_attributes_text_is_held_to_the_characters_of_a_body() -> None:
    assert refusal(rules.user_attributes, {"a": text("\x00")})[0] == "InvalidMessageContents"
    assert refusal(rules.user_attributes, {"a": text("x", "String.\x00")})[0] == "InvalidParameterValueException"


def test_ten_attributes_are_the_most() -> None:
    rules.user_attributes({f"a{n}": text("v") for n in range(10)})
    assert refusal(rules.user_attributes, {f"a{n}": text("v") for n in range(11)})[1] == (
        "Number of message attributes [11] exceeds the allowed maximum [10]."
    )


@pytest.mark.parametrize("number", ["0", "-1", "+1", "1.5", ".5", "5.", "1e126", "1E-128", "9" * 38, "1" + "0" * 60])
def test_numbers_that_pass(number: str) -> None:
    assert rules.is_number(number)


@pytest.mark.parametrize("number", ["", ".", "e5", "1e127", "1e-129", "9" * 39, "0x10", "1,5", "NaN", "1 ", "٣"])
def test_texts_that_are_no_numbers(number: str) -> None:
    assert not rules.is_number(number)


def test_a_number_attribute_must_be_a_number() -> None:
    assert refusal(rules.user_attributes, {"n": text("twelve", "Number")})[1] == (
        "Can't cast the value of message (user) attribute 'n' to a number."
    )


def test_the_digest_of_attributes_does_not_depend_on_their_order() -> None:
    one, two = MessageAttribute("String", "1"), MessageAttribute("Binary", None, b"2")
    assert rules.md5_of_attributes({"a": one, "b": two}) == rules.md5_of_attributes({"b": two, "a": one})


def test_the_digest_of_attributes_is_the_one_that_others_compute() -> None:
    attributes = {
        "b.n": MessageAttribute("Number.int", "12"),
        "a-s": MessageAttribute("String", "zwölf 🦊"),
        "Z": MessageAttribute("Binary.png", None, b"\x00\xff\x01"),
    }
    assert rules.md5_of_attributes(attributes) == "bf7d597d3bbcf880a2d40b9d8602a3f6"


def test_the_digest_covers_the_custom_type_and_tells_text_from_bytes() -> None:
    digests = {
        rules.md5_of_attributes({"a": value})
        for value in (
            MessageAttribute("String", "1"),
            MessageAttribute("String.custom", "1"),
            MessageAttribute("Binary", None, b"1"),
            MessageAttribute("Number", "1"),
        )
    }
    assert len(digests) == 4


def test_the_trace_header_is_the_only_system_attribute() -> None:
    header, digest = rules.trace_header({"AWSTraceHeader": text("Root=1-5759e988-bd862e3fe1be46a994272793")}) or (
        "",
        "",
    )
    assert header == "Root=1-5759e988-bd862e3fe1be46a994272793"
    assert digest == rules.md5_of_attributes({"AWSTraceHeader": MessageAttribute("String", header)})
    assert "'Other'" in refusal(rules.trace_header, {"Other": text("x")})[1]
    assert "(system)" in refusal(rules.trace_header, {"AWSTraceHeader": text("1", "Number")})[1]


# -- FIFO


@pytest.mark.parametrize("value", ["a", "!~", "a" * 128, "tenant-1/x:y"])
def test_a_group_id_of_punctuation_and_letters_passes(value: str) -> None:
    rules.check_group_id(value)


@pytest.mark.parametrize("value", ["", "a b", "ä", "a" * 129, "a\n", "\x7f"])
def test_any_other_group_id_is_refused(value: str) -> None:
    assert refusal(rules.check_group_id, value)[1] == (
        f"Value {value} for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include "
        "alphanumeric and punctuation characters. 1 to 128 in length."
    )


def test_a_content_based_id_is_the_sha_256_of_the_body() -> None:
    assert rules.content_deduplication_id(b"abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_fifo_message_has_no_delay_of_its_own() -> None:
    assert rules.check_delay(0, is_fifo=True) is None
    assert refusal(rules.check_delay, 1, is_fifo=True)[1] == (
        "Value 1 for parameter DelaySeconds is invalid. Reason: The request include parameter that is not valid "
        "for this queue type."
    )


@pytest.mark.parametrize("delay_s", [-1, 901])
def test_a_delay_is_at_most_900_seconds(delay_s: int) -> None:
    assert rules.check_delay(900, is_fifo=False) == 900
    assert refusal(rules.check_delay, delay_s, is_fifo=False)[1] == (
        f"Value {delay_s} for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
    )


# -- batches


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (None, "EmptyBatchRequest"),
        ([], "EmptyBatchRequest"),
        ([{"Id": str(n)} for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([{"Id": "a"}, {"Id": "a"}], "BatchEntryIdsNotDistinct"),
        ([{"Id": "a b"}], "InvalidBatchEntryId"),
        ([{"Id": ""}], "InvalidBatchEntryId"),
        ([{"Id": "a" * 81}], "InvalidBatchEntryId"),
        ([{}], "MissingRequiredParameterException"),
    ],
)
def test_a_batch_that_is_wrong_as_a_whole(entries: Any, code: str) -> None:
    assert refusal(rules.check_batch, entries, "Entry")[0] == code


def test_a_batch_weighs_one_mebibyte_at_most() -> None:
    rules.check_batch_size(1048576)
    assert refusal(rules.check_batch_size, 1048577) == (
        "BatchRequestTooLong",
        "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.",
    )


# -- receiving


def test_ranges_of_a_receive_have_their_own_sentences() -> None:
    assert refusal(rules.check_range, 11, "MaxNumberOfMessages", 1, 10)[1] == (
        "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."
    )
    assert refusal(rules.check_range, 21, "WaitTimeSeconds", 0, 20)[1] == (
        "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided."
    )


def message(**more: Any) -> ReceivedMessage:
    return ReceivedMessage(
        message_id="id",
        receipt_handle="handle",
        body="body",
        md5_of_body="",
        sent_at=1.5,
        receive_count=2,
        first_received_at=2.25,
        sender_id="me",
        **more,
    )


def test_system_attributes_are_shown_as_asked_for_and_only_when_the_message_has_them() -> None:
    everything = {name: value for name, read in rules.system_view(("All",)) if (value := read(message()))}
    assert everything == {
        "SenderId": "me",
        "SentTimestamp": "1500",
        "ApproximateReceiveCount": "2",
        "ApproximateFirstReceiveTimestamp": "2250",
    }
    assert [name for name, _ in rules.system_view(("MessageGroupId", "SenderId"))] == ["SenderId", "MessageGroupId"]
    assert rules.system_view(("VisibilityTimeout",)) == ()
    assert refusal(rules.system_view, ("Nonsense",)) == ("InvalidAttributeName", "Unknown Attribute Nonsense.")


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("All",), {"a", "b.c", "b.d"}),
        ((".*",), {"a", "b.c", "b.d"}),
        (("b.*",), {"b.c", "b.d"}),
        (("a", "b.c"), {"a", "b.c"}),
        (("x",), set()),
    ],
)
def test_message_attributes_are_chosen_by_name_prefix_or_all(names: tuple[str, ...], shown: set[str]) -> None:
    attributes = {name: MessageAttribute("String", "v") for name in ("a", "b.c", "b.d")}
    view = rules.attribute_view(names)
    assert view is not None
    assert set(view.of(attributes)) == shown


def test_a_receive_that_names_no_attributes_shows_none() -> None:
    assert rules.attribute_view(()) is None
