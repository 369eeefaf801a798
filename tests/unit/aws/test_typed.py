"""Requests that are read at once give the very value that the reader gives, or are left to it."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventrt.aws.protocol import overlays, typed
from eventrt.aws.protocol.codecs import TOP, input_reader
from eventrt.aws.protocol.constraints import Problem
from eventrt.aws.protocol.models import load
from eventrt.aws.protocol.parse import ReaderCompiler, WrongType
from eventrt.aws.protocol.serialise import WriterCompiler

AT_ONCE = [
    (service_id, operation)
    for service_id, policy in overlays.POLICIES.items()
    for operation in sorted(policy.read_at_once)
]
TEXTS = st.one_of(
    st.text(max_size=12),
    st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()),
    st.sampled_from(["", "QQ=", "Q Q=", "QR==", "====", "Q-_=", "x" * 257, "x" * 129, "a\n", "12345", "0", "007"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ENTRY = st.fixed_dictionaries(
    {"Data": st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()) | VALUES},
    optional={"PartitionKey": TEXTS | VALUES, "ExplicitHashKey": TEXTS | VALUES, "Unknown": VALUES},
)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "Records": st.lists(ENTRY, max_size=3) | VALUES,
        "StreamName": TEXTS | VALUES,
        "StreamARN": TEXTS | st.just("arn:aws:kinesis:us-east-1:000000000000:stream/s") | VALUES,
        "DryRun": VALUES,
        "Data": TEXTS | VALUES,
        "PartitionKey": TEXTS | VALUES,
        "ExplicitHashKey": TEXTS | VALUES,
        "SequenceNumberForOrdering": TEXTS | VALUES,
        "StreamId": TEXTS,
        "QueueUrl": TEXTS | VALUES,
        "Entries": st.lists(
            st.fixed_dictionaries({"Id": TEXTS}, optional={"ReceiptHandle": TEXTS | VALUES}), max_size=3
        )
        | VALUES,
        "Unknown": VALUES,
    },
)


def read(service_id: str, operation: str, body: bytes) -> Any:
    """Return what the reader gives, None for a request that it does not take."""
    model = load(service_id)
    problems: list[Problem] = []
    reader = input_reader(ReaderCompiler(model, overlays.policy_of(service_id)), model, operation)
    try:
        value = reader(orjson.loads(body), TOP, problems)
    except (WrongType, orjson.JSONDecodeError):
        return None
    return None if problems else value


@pytest.mark.parametrize(("service_id", "operation"), AT_ONCE)
@given(request=REQUEST)
@example(request={"StreamName": "s", "Records": [{"Data": "QQ==", "PartitionKey": "k"}] * 500, "DryRun": True})
@example(request={"StreamName": "s", "Records": [{"Data": "QQ==", "PartitionKey": "k"}] * 501})
@example(request={"StreamName": "s", "Data": "QQ==", "PartitionKey": "x" * 256})
@example(request={"StreamName": "s\n", "Data": "QQ==", "PartitionKey": "x"})
@example(request={"StreamName": "é", "Data": "QQ==", "PartitionKey": "x"})
def test_what_fits_is_what_the_reader_gives(service_id: str, operation: str, request: dict[str, Any]) -> None:
    body = orjson.dumps(request)
    try:
        value: Any = typed.decoder(load(service_id), operation)(body)
    except typed.DOES_NOT_FIT:
        return
    assert value == read(service_id, operation, body)


@pytest.mark.parametrize(("service_id", "operation"), AT_ONCE)
def test_a_usual_request_fits(service_id: str, operation: str) -> None:
    entry = {"Data": base64.b64encode(bytes(256)).decode(), "PartitionKey": "k", "ExplicitHashKey": "5"}
    request = {"StreamName": "s", "Records": [entry] * 100, **entry}
    if service_id == "sqs":
        request = {"QueueUrl": "u", "Entries": [{"Id": "1", "ReceiptHandle": "h"}] * 10}
    value = typed.decoder(load(service_id), operation)(orjson.dumps(request))
    assert value == read(service_id, operation, orjson.dumps(request))
    assert value is not None


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"\xff"', b'{"Data": "\xff"}', b'{"a":' * 5000, b'"\\ud800"'])
def test_what_is_no_request_does_not_fit(body: bytes) -> None:
    with pytest.raises(typed.DOES_NOT_FIT):
        typed.decoder(load("kinesis"), "PutRecords")(body)


@pytest.mark.parametrize("operation", ["CreateStream", "GetShardIterator"])
def test_what_has_maps_or_moments_is_not_read_at_once(operation: str) -> None:
    with pytest.raises(TypeError):
        typed.decoder(load("kinesis"), operation)


def test_an_answer_written_at_once_is_what_the_writer_gives() -> None:
    import msgspec

    model = load("kinesis")
    name, shape = model.output_shape("GetRecords")
    answer = {
        "Records": [
            {
                "SequenceNumber": "1",
                "ApproximateArrivalTimestamp": moment,
                "Data": bytes(range(256)),
                "PartitionKey": 'é"\\\x01\u2028',
            }
            for moment in (1_700_000_000.0, 1_700_000_000.123, 1_700_000_000.1)
        ],
        "MillisBehindLatest": 5,
    }
    written = orjson.loads(orjson.dumps(WriterCompiler(model).structure(name, shape["members"])(answer)))
    assert orjson.loads(msgspec.json.encode(answer)) == written
