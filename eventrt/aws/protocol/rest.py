"""The REST protocols, rest-json and rest-xml: members in the path, the query string, headers and the body."""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from eventrt.aws.protocol import overlays
from eventrt.aws.protocol.codecs import TOP, Bound, Incoming, missing_members
from eventrt.aws.protocol.constraints import Problem, member_step
from eventrt.aws.protocol.faults import Fault
from eventrt.aws.protocol.models import Ref, ServiceModel
from eventrt.aws.protocol.overlays import Policy
from eventrt.aws.protocol.parse import Reader, ReaderCompiler, TextReaderCompiler, WrongBody, WrongType
from eventrt.aws.protocol.serialise import (
    WriterCompiler,
    XmlWriterCompiler,
    escape,
    float_text,
    http_date,
    timestamp_text,
    unknown_member,
)
from eventrt.aws.protocol.xml_parse import NOT_OF_THE_SCHEMA, XmlReaderCompiler, local, parse_document
from eventrt.errors import ApiError
from eventrt.http import Response

Located = Callable[[Incoming, dict[str, list[str]]], Any]
"""Find a member's text (or texts) in a request; None when it is not there."""


class RestCodec:
    """What rest-json and rest-xml share: where members are; the subclasses read and write bodies."""

    name = ""

    def __init__(self) -> None:
        self._texts: dict[str, TextReaderCompiler] = {}

    def bind(self, model: ServiceModel, policy: Policy, operation: str) -> Bound:
        """Compile one operation."""
        parse, streams = self._bind_input(model, policy, operation)
        return Bound(parse, self._bind_output(model, policy, operation), streams)

    # -- requests -------------------------------------------------------------------------------------------

    def _bind_input(self, model: ServiceModel, policy: Policy, operation: str) -> tuple[Any, bool]:
        _, shape = model.input_shape(operation)
        texts = self._texts.setdefault(model.id, TextReaderCompiler(model, policy))
        members: dict[str, Ref] = shape["members"]
        located = [
            (name, _locate(name, ref, model), _text_reader(texts, ref, model), (TOP, member_step(name)))
            for name, ref in members.items()
            if ref.get("location") in ("uri", "querystring", "headers")
        ]
        # Requests carry a dozen headers, and S3's operations know four times as many: look from the request's side.
        by_header = {
            str(ref.get("locationName", name)).lower(): (
                name,
                _text_reader(texts, ref, model),
                (TOP, member_step(name)),
            )
            for name, ref in members.items()
            if ref.get("location") == "header"
        }
        payload = shape.get("payload")
        body_members = {name: ref for name, ref in members.items() if "location" not in ref and name != payload}
        required = list(shape.get("required", ())) if policy.checks else []
        is_stream = payload is not None and bool(
            model.shape(members[payload]).get("streaming") or members[payload].get("streaming")
        )
        is_required = payload in shape.get("required", ()) or operation in overlays.NEEDS_BODY.get(model.id, ())
        read_body = self._body_reader(model, policy, payload, members, body_members, is_stream, is_required)
        uses_query = any(ref.get("location") == "querystring" for ref in members.values())

        def parse(incoming: Incoming, problems: list[Problem]) -> dict[str, Any]:
            out: dict[str, Any] = {}
            query: dict[str, list[str]] = {}
            if uses_query:
                for name, value in incoming.pairs:
                    query.setdefault(name, []).append(value)
            for name, locate, reader, at in located:
                found = locate(incoming, query)
                if found is not None:
                    out[name] = reader(found, at, problems)
            if by_header:
                for header, value in incoming.headers.items():
                    known = by_header.get(header)
                    if known is not None:
                        out[known[0]] = known[1](value, known[2], problems)
            if read_body is not None:
                read_body(incoming, out, problems)
            missing_members(required, out, problems)
            return out

        return parse, is_stream

    def _body_reader(
        self,
        model: ServiceModel,
        policy: Policy,
        payload: str | None,
        members: dict[str, Ref],
        body_members: dict[str, Ref],
        is_stream: bool,
        is_required: bool,
    ) -> Callable[[Incoming, dict[str, Any], list[Problem]], None] | None:
        if payload is None:
            if not body_members:
                return None
            read_members = self._structure_body(model, policy, body_members)

            def read_all(incoming: Incoming, out: dict[str, Any], problems: list[Problem]) -> None:
                out.update(read_members(incoming.body, TOP, problems))

            return read_all
        kind = model.shape(members[payload])["type"]
        if is_stream or kind in ("blob", "string"):

            def read_raw(incoming: Incoming, out: dict[str, Any], problems: list[Problem]) -> None:
                if kind == "string":
                    try:
                        out[payload] = incoming.body.decode()
                    except UnicodeDecodeError as error:
                        raise WrongType("The request body is not UTF-8") from error
                elif is_stream or incoming.body:
                    out[payload] = incoming.body

            return read_raw
        read_one = self._payload_body(model, policy, payload, members[payload])
        must_come = is_required and self.empty_body_code

        def read_payload(incoming: Incoming, out: dict[str, Any], problems: list[Problem]) -> None:
            if incoming.body:
                out[payload] = read_one(incoming.body, (TOP, member_step(payload)), problems)
            elif must_come:
                raise ApiError(must_come, "Request Body is empty")

        return read_payload

    def _structure_body(self, model: ServiceModel, policy: Policy, members: dict[str, Ref]) -> Reader:
        raise NotImplementedError

    def _payload_body(self, model: ServiceModel, policy: Policy, name: str, ref: Ref) -> Reader:
        raise NotImplementedError

    # -- answers --------------------------------------------------------------------------------------------

    def _bind_output(self, model: ServiceModel, policy: Policy, operation: str) -> Any:
        name, shape = model.output_shape(operation)
        members: dict[str, Ref] = shape["members"]
        default_status = int(model.operations[operation]["http"].get("responseCode", 200))
        status_member = next((key for key, ref in members.items() if ref.get("location") == "statusCode"), None)
        headers_of = {
            key: (ref["locationName"], _header_text(model, ref))
            for key, ref in members.items()
            if ref.get("location") == "header"
        }
        prefixed = {
            key: ref.get("locationName", "") for key, ref in members.items() if ref.get("location") == "headers"
        }
        payload = shape.get("payload")
        body_members = {key: ref for key, ref in members.items() if "location" not in ref and key != payload}
        write_body = self._body_writer(model, policy, name, payload, members, body_members)
        id_header, more_headers = policy.id_header, policy.more_headers

        def write(answer: Mapping[str, Any], request_id: str) -> Response:
            headers = {id_header: request_id, **more_headers}
            status = default_status
            rest: dict[str, Any] = {}
            for key, value in answer.items():
                if value is None:
                    continue
                if key in headers_of:
                    wire, text = headers_of[key]
                    headers[wire] = text(value)
                elif key in prefixed:
                    for suffix, one in value.items():
                        headers[prefixed[key] + suffix] = one
                elif key == status_member:
                    status = value
                elif key in members:
                    rest[key] = value
                else:
                    raise unknown_member(name, key)
            response = Response(status, headers)
            if status != 204:
                write_body(rest, response)
            return response

        return write

    def _body_writer(
        self,
        model: ServiceModel,
        policy: Policy,
        shape_name: str,
        payload: str | None,
        members: dict[str, Ref],
        body_members: dict[str, Ref],
    ) -> Callable[[dict[str, Any], Response], None]:
        if payload is None:
            return self._structure_writer(model, policy, shape_name, body_members)
        if model.shape(members[payload])["type"] in ("blob", "string"):
            default_type = self.raw_content_type

            def write_raw(rest: dict[str, Any], response: Response) -> None:
                value = rest.get(payload, b"")
                response.headers.setdefault("Content-Type", default_type)
                if hasattr(value, "__aiter__"):
                    response.stream = value
                else:
                    response.body = value.encode() if isinstance(value, str) else value

            return write_raw
        return self._payload_writer(model, policy, payload, members[payload])

    raw_content_type = "application/octet-stream"
    empty_body_code = ""
    """The error of an empty body where the model requires one; "" leaves it to the handler."""

    def _structure_writer(
        self, model: ServiceModel, policy: Policy, shape_name: str, members: dict[str, Ref]
    ) -> Callable[[dict[str, Any], Response], None]:
        raise NotImplementedError

    def _payload_writer(
        self, model: ServiceModel, policy: Policy, payload: str, ref: Ref
    ) -> Callable[[dict[str, Any], Response], None]:
        raise NotImplementedError


class RestJsonCodec(RestCodec):
    """rest-json: Lambda and most services after it."""

    name = "rest-json"
    raw_content_type = "application/json"

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[str, ReaderCompiler] = {}

    def _compiler(self, model: ServiceModel, policy: Policy) -> ReaderCompiler:
        if model.id not in self._readers:
            self._readers[model.id] = ReaderCompiler(model, policy)
        return self._readers[model.id]

    def _structure_body(self, model: ServiceModel, policy: Policy, members: dict[str, Ref]) -> Reader:
        reader = self._compiler(model, policy).structure_of(members, [])
        return lambda body, at, problems: reader(_loads(body) if body else {}, at, problems)

    def _payload_body(self, model: ServiceModel, policy: Policy, name: str, ref: Ref) -> Reader:
        reader = self._compiler(model, policy).reader(ref)
        return lambda body, at, problems: reader(_loads(body), at, problems)

    def _structure_writer(
        self, model: ServiceModel, policy: Policy, shape_name: str, members: dict[str, Ref]
    ) -> Callable[[dict[str, Any], Response], None]:
        writer = WriterCompiler(model, omits_empty=policy.omits_empty).structure(shape_name, members)

        def write(rest: dict[str, Any], response: Response) -> None:
            response.headers["Content-Type"] = "application/json"
            response.body = orjson.dumps(writer(rest)) if members else b""

        return write

    def _payload_writer(
        self, model: ServiceModel, policy: Policy, payload: str, ref: Ref
    ) -> Callable[[dict[str, Any], Response], None]:
        writer = WriterCompiler(model, omits_empty=policy.omits_empty).writer(ref)

        def write(rest: dict[str, Any], response: Response) -> None:
            response.headers["Content-Type"] = "application/json"
            if payload in rest:
                response.body = orjson.dumps(writer(rest[payload]) if writer else rest[payload])

        return write

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write `x-amzn-ErrorType` and `{"Type": "User", "message": "..."}`."""
        headers = {
            "x-amzn-RequestId": request_id,
            "x-amzn-ErrorType": fault.shape,
            **fault.headers,
            "Content-Type": "application/json",
        }
        return Response(fault.status, headers, orjson.dumps({**fault.members, fault.message_member: fault.message}))


class RestXmlCodec(RestCodec):
    """rest-xml: S3, Route 53, CloudFront."""

    name = "rest-xml"
    empty_body_code = "MissingRequestBodyError"

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[str, XmlReaderCompiler] = {}

    def _compiler(self, model: ServiceModel, policy: Policy) -> XmlReaderCompiler:
        if model.id not in self._readers:
            self._readers[model.id] = XmlReaderCompiler(model, policy)
        return self._readers[model.id]

    def _structure_body(self, model: ServiceModel, policy: Policy, members: dict[str, Ref]) -> Reader:
        compiler = self._compiler(model, policy)
        reader = compiler.structure_of(members, [])
        return lambda body, at, problems: _read_document(reader, body, at, problems) if body else {}

    def _payload_body(self, model: ServiceModel, policy: Policy, name: str, ref: Ref) -> Reader:
        reader = self._compiler(model, policy).reader(ref)
        root = ref.get("locationName", "")
        return lambda body, at, problems: _read_document(reader, body, at, problems, root)

    def _structure_writer(
        self, model: ServiceModel, policy: Policy, shape_name: str, members: dict[str, Ref]
    ) -> Callable[[dict[str, Any], Response], None]:
        content = XmlWriterCompiler(model, query=False, omits_empty=policy.omits_empty).structure(shape_name, members)
        namespace = f' xmlns="{model.xml_namespace}"' if model.xml_namespace else ""
        root = overlays.ROOTS.get(model.id, {}).get(shape_name, shape_name)

        def write(rest: dict[str, Any], response: Response) -> None:
            if not members:
                return
            out = [f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{namespace}>']
            content(rest, out)
            out.append(f"</{root}>")
            response.headers["Content-Type"] = "application/xml"
            response.body = "".join(out).encode()

        return write

    def _payload_writer(
        self, model: ServiceModel, policy: Policy, payload: str, ref: Ref
    ) -> Callable[[dict[str, Any], Response], None]:
        element = XmlWriterCompiler(model, query=False, omits_empty=policy.omits_empty).element(
            ref.get("locationName", payload),
            {"xmlNamespace": {"uri": model.xml_namespace}, **ref} if model.xml_namespace else ref,
        )

        def write(rest: dict[str, Any], response: Response) -> None:
            if payload in rest:
                out = ['<?xml version="1.0" encoding="UTF-8"?>\n']
                element(rest[payload], out)
                response.headers["Content-Type"] = "application/xml"
                response.body = "".join(out).encode()

        return write

    def fault(self, fault: Fault, model: ServiceModel | None, policy: Policy, request_id: str) -> Response:
        """Write `<Error>` as S3 does, and `<ErrorResponse>` as the others do."""
        more = "".join(
            f"<{name}>{escape(str(value))}</{name}>" for name, value in fault.members.items() if name != "Type"
        )
        inner = f"<Code>{escape(fault.code)}</Code><Message>{escape(fault.message)}</Message>{more}"
        if model is None or model.id == "s3":
            host_id = policy.more_headers.get("x-amz-id-2")
            host = f"<HostId>{host_id}</HostId>" if host_id else ""
            body = f"<Error>{inner}<RequestId>{request_id}</RequestId>{host}</Error>"
        else:
            kind = "Sender" if fault.is_sender else "Receiver"
            namespace = f' xmlns="{model.xml_namespace}"' if model.xml_namespace else ""
            body = (
                f"<ErrorResponse{namespace}><Error><Type>{kind}</Type>{inner}</Error>"
                f"<RequestId>{request_id}</RequestId></ErrorResponse>"
            )
        headers = {
            **({"x-amzn-RequestId": request_id} if policy.id_header == "x-amzn-RequestId" else {}),
            "x-amz-request-id": request_id,
            **policy.more_headers,
            **fault.headers,
            "Content-Type": "application/xml",
        }
        return Response(fault.status, headers, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode())


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WrongType("Could not parse request body into json") from error


def _read_document(reader: Reader, body: bytes, at: Any, problems: list[Problem], root: str = "") -> Any:
    try:
        document = parse_document(body)
        if root and local(document.tag) != root:
            raise WrongType(NOT_OF_THE_SCHEMA)
        return reader(document, at, problems)
    except WrongType as error:
        raise WrongBody(str(error)) from error


def _locate(name: str, ref: Ref, model: ServiceModel) -> Located:
    wire = ref.get("locationName", name)
    kind = model.shape(ref)["type"]
    if ref["location"] == "uri":
        return lambda incoming, query: incoming.labels.get(wire)
    if ref["location"] == "headers":
        prefix = wire.lower()

        def find_prefixed(incoming: Incoming, query: dict[str, list[str]]) -> Any:
            found = {key[len(prefix) :]: value for key, value in incoming.headers.items() if key.startswith(prefix)}
            return found or None

        return find_prefixed
    if kind == "list":
        return lambda incoming, query: query.get(wire)
    if kind == "map":
        many = model.shape(model.shape(ref)["value"])["type"] == "list"
        return lambda incoming, query: (query if many else {key: value[0] for key, value in query.items()}) or None

    def find_one(incoming: Incoming, query: dict[str, list[str]]) -> Any:
        values = query.get(wire)
        return values[0] if values else None

    return find_one


def _text_reader(texts: TextReaderCompiler, ref: Ref, model: ServiceModel) -> Reader:
    reader = texts.reader(ref)
    wrong = overlays.WRONG_INTEGERS.get(model.id)
    if wrong is not None and ref["location"] == "querystring" and model.shape(ref)["type"] == "integer":
        wire = ref["locationName"]
        return _integer_reader(reader, wire, wrong.get(wire, f"Provided {wire} not an integer or within integer range"))
    if ref["location"] == "header":
        kind = model.shape(ref)["type"]
        if ref.get("jsonvalue"):
            return _json_header
        if kind == "list":
            return lambda value, at, problems: reader([part.strip() for part in value.split(",")], at, problems)
    return reader


def _integer_reader(reader: Reader, wire: str, message: str) -> Reader:
    def read(value: Any, at: Any, problems: list[Problem]) -> Any:
        try:
            return reader(value, at, problems)
        except WrongType as error:
            raise WrongType(message, {"ArgumentName": wire, "ArgumentValue": value}) from error

    return read


def _json_header(value: Any, at: Any, problems: list[Problem]) -> Any:
    try:
        return orjson.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError) as error:
        raise WrongType("A header must be base64 of JSON") from error


def _header_text(model: ServiceModel, ref: Ref) -> Callable[[Any], str]:
    shape = model.shape(ref)
    kind = shape["type"]
    if ref.get("jsonvalue"):
        return lambda value: base64.b64encode(orjson.dumps(value)).decode()
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "timestamp":
        form = ref.get("timestampFormat") or shape.get("timestampFormat")
        return (lambda value: timestamp_text(value, form)) if form else http_date
    if kind == "blob":
        return lambda value: base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return float_text
    if kind == "list":
        return lambda value: ",".join(str(item) for item in value)
    return str
