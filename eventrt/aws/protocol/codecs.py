"""The protocols whose requests name their operation: awsJson 1.0 and 1.1 (and its CBOR form), Query, rpc-v2-cbor.

A codec binds one operation of one service: a function that parses a request's body into members, and one that
writes an answer. It writes faults, too. The REST protocols are `rest.py`'s.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from zlib import crc32

import msgspec
import orjson

from eventrt.aws.protocol import eventstream, typed
from eventrt.aws.protocol.constraints import NOT_NULL, Problem, member_step
from eventrt.aws.protocol.faults import Fault
from eventrt.aws.protocol.models import ServiceModel
from eventrt.aws.protocol.overlays import Policy
from eventrt.aws.protocol.parse import (
    AwsCborReaderCompiler,
    CborReaderCompiler,
    QueryReaderCompiler,
    Reader,
    ReaderCompiler,
    WrongType,
)
from eventrt.aws.protocol.query import tree_of
from eventrt.aws.protocol.serialise import (
    AwsCborWriterCompiler,
    CborWriterCompiler,
    WriterCompiler,
    XmlWriterCompiler,
    escape,
)
from eventrt.http import Response


@dataclass(slots=True)
class Incoming:
    """What a codec reads: the body, and what was found on the way to the operation.

    Attributes:
        pairs: a Query request's parameters, or a REST request's query string, decoded.
        labels: the values of a REST path's labels, decoded.
        headers: of the request, names in lower case.
        body: the whole body; an async iterator of chunks where the operation's payload streams.
    """

    body: Any
    headers: Mapping[str, str]
    pairs: list[tuple[str, str]]
    labels: dict[str, str]


Parse = Callable[[Incoming, list[Problem]], dict[str, Any]]
Write = Callable[[Mapping[str, Any], str], Response]
"""(answer, request id) -> response."""


@dataclass(slots=True)
class Bound:
    """One operation in one protocol: how its requests are read and its answers written."""

    parse: Parse
    write: Write
    streams_body: bool = False
    is_open: bool = False
    """Does the handler itself check who asks?"""


def raw_bound() -> Bound:
    """Return the binding of requests that no model describes: the path's labels and the payload go in as they are."""

    def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
        return {**incoming.labels, "Body": incoming.body}

    def write(answer: Mapping[str, Any], request_id: str) -> Response:
        raise TypeError("the handler of a raw operation answers with a Response")

    return Bound(parse, write, streams_body=True, is_open=True)


class Codec(Protocol):
    """One wire protocol. `name` is what `Call.protocol` says."""

    name: str

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation of a service."""
        ...

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write an error; `model` is None where no service was found."""
        ...


TOP: Any = None
"""The path around a request's own members: nothing."""


class _Compilers:
    """The reader and writer compilers of each service, so that shapes shared by operations compile once."""

    def __init__(self, make_reader: Any, make_writer: Any) -> None:
        self._make_reader, self._make_writer = make_reader, make_writer
        self._made: dict[str, tuple[Any, Any]] = {}

    def of(self, model: ServiceModel, policy: Policy) -> tuple[Any, Any]:
        """Return (reader compiler, writer compiler) of a service."""
        made = self._made.get(model.id)
        if made is None:
            made = self._made[model.id] = (self._make_reader(model, policy), self._make_writer(model, policy))
        return made


def input_reader(compiler: ReaderCompiler, model: ServiceModel, operation: str) -> Reader:
    """Return the reader of an operation's whole input."""
    ref = model.operations[operation].get("input")
    if ref is None:
        return compiler.structure_of({}, [])
    # A top structure is compiled by itself: its members' steps hang from nothing, not from its own name.
    shape = model.shape(ref)
    return compiler.structure_of(shape["members"], shape.get("required", []), union=bool(shape.get("union")))


class JsonCodec:
    """awsJson: the operation in `X-Amz-Target`, one JSON object each way."""

    name = "json"

    def __init__(self) -> None:
        self._compilers = _Compilers(
            ReaderCompiler,
            lambda model, policy: WriterCompiler(model, omits_empty=policy.omits_empty, raw=policy.raw),
        )

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation."""
        readers, writers = self._compilers.of(model, policy)
        reader = input_reader(readers, model, operation)
        name, shape = model.output_shape(operation)
        content_type = self._content_type(model)
        loads, dumps = orjson.loads, orjson.dumps
        has_output = bool(shape["members"])
        has_crc32 = policy.has_crc32

        decode = typed.decoder(model, operation) if operation in policy.read_at_once else None

        def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
            body = incoming.body
            if not body:
                return reader({}, TOP, problems)  # type: ignore[no-any-return]
            if decode is not None:
                with contextlib.suppress(*typed.DOES_NOT_FIT):
                    return decode(body)
            try:
                value = loads(body)
            except orjson.JSONDecodeError as error:
                raise WrongType("Could not parse the request body as JSON") from error
            return reader(value, TOP, problems)  # type: ignore[no-any-return]

        if (member := eventstream.stream_member(model, operation)) is not None:
            return Bound(parse, _streamed(model, operation, member, writers, dumps, content_type))
        writer = writers.structure(name, shape["members"])
        encode: Callable[[Mapping[str, Any]], bytes] = lambda answer: dumps(writer(answer))  # noqa: E731
        if operation in policy.written_at_once:
            encode = msgspec.json.Encoder().encode

        def write(answer: Mapping[str, Any], request_id: str) -> Response:
            body = encode(answer) if has_output else b""
            headers = {"x-amzn-RequestId": request_id, "Content-Type": content_type}
            if has_crc32:
                headers["x-amz-crc32"] = str(crc32(body))
            return Response(200, headers, body)

        return Bound(parse, write)

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write `{"__type": "...#Shape", "message": "..."}`, with the Query code in a header where clients want it."""
        headers = fault_headers(fault, model, request_id)
        headers["Content-Type"] = self._content_type(model)
        body = orjson.dumps(fault_body(fault, policy))
        if policy.has_crc32:
            headers["x-amz-crc32"] = str(crc32(body))
        return Response(fault.status, headers, body)

    def _content_type(self, model: ServiceModel | None) -> str:
        return f"application/x-amz-json-{model.metadata.get('jsonVersion', '1.0') if model else '1.0'}"


def _streamed(
    model: ServiceModel, operation: str, member: str, writers: Any, encode: eventstream.Encode, content_type: str
) -> Write:
    """Return what writes an answer that is an event stream."""
    events = eventstream.EventStreamWriter(
        model, operation, member, writers=writers, encode=encode, content_type=content_type, has_initial_response=True
    )

    def write(answer: Mapping[str, Any], request_id: str) -> Response:
        headers = {"x-amzn-RequestId": request_id, "Content-Type": eventstream.CONTENT_TYPE}
        return Response(200, headers, stream=events.write(answer))

    return write


def fault_headers(fault: Fault, model: ServiceModel | None, request_id: str) -> dict[str, str]:
    """Return the headers every JSON-like error carries."""
    headers = {"x-amzn-RequestId": request_id, **fault.headers}
    if model is not None and model.is_query_compatible:
        headers["x-amzn-query-error"] = f"{fault.code};{'Sender' if fault.is_sender else 'Receiver'}"
    return headers


def fault_body(fault: Fault, policy: Policy) -> dict[str, Any]:
    """Return the body of an awsJson or CBOR error."""
    prefix = policy.type_prefix if fault.is_modelled or not policy.common_prefix else policy.common_prefix
    prefix = policy.prefixes.get(fault.shape, prefix)
    return {"__type": prefix + fault.shape, fault.message_member: fault.message, **fault.members}


class AwsCborCodec:
    """The CBOR form of awsJson, which some SDKs speak with Kinesis: the operation in `X-Amz-Target`, as there.

    Moments are whole milliseconds. Source: what the AWS SDK for Java sends and reads.
    """

    name = "aws-cbor"
    content_type = "application/x-amz-cbor-1.1"

    def __init__(self) -> None:
        self._compilers = _Compilers(
            AwsCborReaderCompiler, lambda model, policy: AwsCborWriterCompiler(model, omits_empty=policy.omits_empty)
        )

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation."""
        import cbor2

        readers, writers = self._compilers.of(model, policy)
        reader = input_reader(readers, model, operation)
        name, shape = model.output_shape(operation)
        # The tag of a moment says seconds; what it tags are milliseconds, as the model's reader knows.
        tags = {1: lambda value, immutable: value}

        def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
            if not incoming.body:
                return reader({}, TOP, problems)  # type: ignore[no-any-return]
            try:
                value = cbor2.loads(incoming.body, semantic_decoders=tags)
            except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, MemoryError) as error:
                raise WrongType("Could not parse the request body as CBOR") from error
            return reader(value, TOP, problems)  # type: ignore[no-any-return]

        if (member := eventstream.stream_member(model, operation)) is not None:
            return Bound(parse, _streamed(model, operation, member, writers, cbor2.dumps, self.content_type))
        writer = writers.structure(name, shape["members"])
        has_output = bool(shape["members"])

        def write(answer: Mapping[str, Any], request_id: str) -> Response:
            body = cbor2.dumps(writer(answer)) if has_output else b""
            return Response(200, {"x-amzn-RequestId": request_id, "Content-Type": self.content_type}, body)

        return Bound(parse, write)

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write a CBOR map with `__type` and the message."""
        import cbor2

        headers = {**fault_headers(fault, model, request_id), "Content-Type": self.content_type}
        return Response(fault.status, headers, cbor2.dumps(fault_body(fault, policy)))


class CborCodec:
    """smithy-rpc-v2-cbor: `POST /service/<name>/operation/<name>`, one CBOR map each way. cbor2 loads at first use."""

    name = "smithy-rpc-v2-cbor"

    def __init__(self) -> None:
        self._compilers = _Compilers(
            CborReaderCompiler, lambda model, policy: CborWriterCompiler(model, omits_empty=policy.omits_empty)
        )

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation."""
        import cbor2

        readers, writers = self._compilers.of(model, policy)
        reader = input_reader(readers, model, operation)
        name, shape = model.output_shape(operation)
        writer = writers.structure(name, shape["members"])

        def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
            if not incoming.body:
                return reader({}, TOP, problems)  # type: ignore[no-any-return]
            try:
                value = cbor2.loads(incoming.body)
            except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, MemoryError) as error:
                raise WrongType("Could not parse the request body as CBOR") from error
            return reader(value, TOP, problems)  # type: ignore[no-any-return]

        def write(answer: Mapping[str, Any], request_id: str) -> Response:
            return Response(200, _cbor_headers(request_id), cbor2.dumps(writer(answer)))

        return Bound(parse, write)

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write a CBOR map with `__type` and the message."""
        import cbor2

        headers = {**fault_headers(fault, model, request_id), **_cbor_headers(request_id)}
        return Response(fault.status, headers, cbor2.dumps(fault_body(fault, policy)))


def _cbor_headers(request_id: str) -> dict[str, str]:
    return {
        "x-amzn-RequestId": request_id,
        "Content-Type": "application/cbor",
        "smithy-protocol": "rpc-v2-cbor",
    }


class QueryCodec:
    """AWS Query: a form or query string with `Action`, an XML answer."""

    name = "query"

    def __init__(self) -> None:
        self._compilers = _Compilers(
            QueryReaderCompiler,
            lambda model, policy: XmlWriterCompiler(model, query=True, omits_empty=policy.omits_empty),
        )

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation."""
        readers, writers = self._compilers.of(model, policy)
        reader = input_reader(readers, model, operation)
        _, shape = model.output_shape(operation)
        content = writers.structure(operation, shape["members"])
        wrapper = model.operations[operation].get("output", {}).get("resultWrapper", f"{operation}Result")
        has_result = "output" in model.operations[operation]
        head = f'<?xml version="1.0"?>\n<{operation}Response xmlns="{model.xml_namespace}">'
        tail = f"</{operation}Response>"

        def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
            tree = tree_of(incoming.pairs)
            return reader(tree, TOP, problems)  # type: ignore[no-any-return]

        def write(answer: Mapping[str, Any], request_id: str) -> Response:
            out = [head]
            if has_result:
                out.append(f"<{wrapper}>")
                content(answer, out)
                out.append(f"</{wrapper}>")
            out.append(f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>{tail}")
            headers = {"x-amzn-RequestId": request_id, "Content-Type": "text/xml"}
            return Response(200, headers, "".join(out).encode())

        return Bound(parse, write)

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write `<ErrorResponse>` with type, code and message."""
        namespace = f' xmlns="{model.xml_namespace}"' if model and model.xml_namespace else ""
        detail = "<Detail/>" if model is not None and model.id == "sqs" else ""
        more = "".join(
            f"<{name}>{escape(str(value))}</{name}>" for name, value in fault.members.items() if name != "Type"
        )
        body = (
            f'<?xml version="1.0"?>\n<ErrorResponse{namespace}><Error>'
            f"<Type>{'Sender' if fault.is_sender else 'Receiver'}</Type><Code>{escape(fault.code)}</Code>"
            f"<Message>{escape(fault.message)}</Message>{detail}{more}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        headers = {"x-amzn-RequestId": request_id, **fault.headers, "Content-Type": "text/xml"}
        return Response(fault.status, headers, body.encode())


def missing_members(required: list[str], out: Mapping[str, Any], problems: list[Problem]) -> None:
    """Note every required member that is not there."""
    problems.extend(((TOP, member_step(name)), None, NOT_NULL, True) for name in required if name not in out)
