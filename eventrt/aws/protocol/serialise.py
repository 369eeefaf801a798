"""Writers: a shape of the model compiled once into a function that turns an answer's value into the wire's.

JSON and CBOR writers return plain values for the encoder; XML writers append to a list of text pieces. Members
that are None stay out; a member the model does not know is a defect of the handler and raises TypeError.
"""

import base64
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from eventrt.aws.protocol import overlays
from eventrt.aws.protocol.models import Ref, ServiceModel, Shape

MILLISECONDS = "iso8601-milliseconds"
"""A form of timestamps that no model names: ISO 8601 with milliseconds, always."""

Writer = Callable[[Any], Any]
XmlWriter = Callable[[Any, list[str]], None]


def iso8601(moment: float) -> str:
    """Return `2024-01-31T10:11:12Z`, with milliseconds when the moment has them."""
    whole = math.floor(moment)
    millis = int((moment - whole) * 1000 + 0.5)
    if millis == 1000:
        whole, millis = whole + 1, 0
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis:03d}Z" if millis else f"{text}Z"


def http_date(moment: float) -> str:
    """Return `Wed, 31 Jan 2024 10:11:12 GMT`."""
    return formatdate(moment, usegmt=True)


def epoch_number(moment: float) -> int | float:
    """Return epoch seconds, whole when they are whole, else with milliseconds."""
    rounded = round(moment, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def timestamp_text(moment: float, form: str) -> str:
    """Return a moment as text in one of the model's formats: iso8601, rfc822, unixTimestamp."""
    form = form.lower()
    if form == "iso8601":
        return iso8601(moment)
    if form == MILLISECONDS:
        text = iso8601(moment)
        return text if "." in text else f"{text[:-1]}.000Z"
    if form == "rfc822":
        return http_date(moment)
    return str(epoch_number(moment))


def float_text(value: float) -> str:
    """Return a number as text; AWS spells the special ones out."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return str(value)


def unknown_member(shape: str, member: str) -> TypeError:
    """Return the error of a handler that answers with a member its model does not have."""
    return TypeError(f"the answer has a member {member!r} that the model's {shape} does not have")


class WriterCompiler:
    """Compiles JSON writers of one service.

    Args:
        omits_empty: are empty lists and maps left out?
        raw: shapes whose values the handlers give as the JSON they are to be.
    """

    def __init__(self, model: ServiceModel, *, omits_empty: bool = False, raw: frozenset[str] = frozenset()) -> None:
        self.model = model
        self.omits_empty = omits_empty
        self.raw = raw
        self._compiled: dict[str, Writer | None] = {}

    def writer(self, ref: Ref) -> Writer | None:
        """Return the writer of a referenced shape; None when its values go to the wire as they are."""
        name = ref["shape"]
        if name in self._compiled:
            return self._compiled[name]

        def later(value: Any) -> Any:
            compiled = self._compiled[name]
            return value if compiled is None else compiled(value)

        self._compiled[name] = later
        self._compiled[name] = compiled = self._compile(name, self.model.shapes[name])
        return compiled

    def _compile(self, name: str, shape: Shape) -> Writer | None:
        kind = shape["type"]
        if name in self.raw:
            return None
        if kind == "structure":
            return None if shape.get("document") else self.structure(name, shape["members"])
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        if kind == "blob":
            return self._blob()
        if kind == "timestamp":
            return self._timestamp(shape)
        if kind in ("float", "double"):
            return self._float()
        return None

    def structure(self, name: str, members: dict[str, Ref]) -> Writer:
        """Return the writer of a structure with these members."""
        table = {key: (ref.get("locationName", key), self._member(ref)) for key, ref in members.items()}
        find, omits_empty = table.get, self.omits_empty

        def write(value: Any) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for key, item in value.items():
                if item is None:
                    continue
                member = find(key)
                if member is None:
                    raise unknown_member(name, key)
                wire, writer = member
                if writer is not None:
                    item = writer(item)
                if omits_empty and (item == [] or item == {}):
                    continue
                out[wire] = item
            return out

        return write

    def _member(self, ref: Ref) -> Writer | None:
        form = ref.get("timestampFormat")
        if form and self.model.shape(ref)["type"] == "timestamp":
            return self._timestamp({"timestampFormat": form})
        return self.writer(ref)

    def _list(self, shape: Shape) -> Writer | None:
        writer = self.writer(shape["member"])
        if writer is None:
            return None
        return lambda value: [None if item is None else writer(item) for item in value]

    def _map(self, shape: Shape) -> Writer | None:
        writer = self.writer(shape["value"])
        if writer is None:
            return None
        return lambda value: {key: None if item is None else writer(item) for key, item in value.items()}

    def _blob(self) -> Writer | None:
        return lambda value: base64.b64encode(value).decode()

    def _timestamp(self, shape: Shape) -> Writer | None:
        form = shape.get("timestampFormat", "unixTimestamp").lower()
        if form == "unixtimestamp":
            return epoch_number
        return lambda value: timestamp_text(value, form)

    def _float(self) -> Writer | None:
        return lambda value: value if math.isfinite(value) else float_text(value)


class CborWriterCompiler(WriterCompiler):
    """Compiles CBOR writers: bytes stay bytes, dates become tagged epoch seconds."""

    def _blob(self) -> Writer | None:
        return None

    def _timestamp(self, shape: Shape) -> Writer | None:
        def write(value: float) -> Any:
            from cbor2 import CBORTag  # first use: only services that speak CBOR pay for it

            return CBORTag(1, float(value))

        return write

    def _float(self) -> Writer | None:
        return float


class AwsCborWriterCompiler(CborWriterCompiler):
    """Compiles writers for the CBOR form of awsJson: moments are whole milliseconds, without a tag."""

    def _timestamp(self, shape: Shape) -> Writer | None:
        return lambda value: round(value * 1000)


_XML_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#xD;", "\n": "&#xA;"}
_XML_SPECIAL = re.compile('[&<>"\r\n]')
_XML_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def escape(text: str) -> str:
    """Return a text as XML content; characters XML cannot carry become U+FFFD."""
    if _XML_SPECIAL.search(text):
        text = _XML_SPECIAL.sub(lambda match: _XML_ESCAPES[match[0]], text)
    if _XML_FORBIDDEN.search(text):
        text = _XML_FORBIDDEN.sub("\ufffd", text)
    return text


class XmlWriterCompiler:
    """Compiles XML writers of one service, for the Query and rest-xml protocols.

    Args:
        query: names of elements are those of the Query protocol (`queryName` before `locationName`).
        omits_empty: are empty lists and maps left out? Flattened ones always are: they have no element of their own.
    """

    def __init__(self, model: ServiceModel, *, query: bool, omits_empty: bool = False) -> None:
        self.model = model
        self.query = query
        self.omits_empty = omits_empty
        self._compiled: dict[str, XmlWriter] = {}

    def content(self, ref: Ref) -> XmlWriter:
        """Return the writer of what stands between a structure's or scalar's tags."""
        name = ref["shape"]
        known = self._compiled.get(name)
        if known is not None:
            return known

        def later(value: Any, out: list[str]) -> None:
            self._compiled[name](value, out)

        self._compiled[name] = later
        self._compiled[name] = compiled = self._compile(name, self.model.shapes[name])
        return compiled

    def _compile(self, name: str, shape: Shape) -> XmlWriter:
        kind = shape["type"]
        if kind == "structure":
            return self.structure(name, shape["members"])
        usual = MILLISECONDS if self.model.id in overlays.ALWAYS_MILLISECONDS else "iso8601"
        text = _text_of(kind, shape.get("timestampFormat", usual))

        def write(value: Any, out: list[str]) -> None:
            out.append(text(value))

        return write

    def structure(self, name: str, members: dict[str, Ref]) -> XmlWriter:
        """Return the writer of the content of a structure with these members."""
        writers = {key: self.element(key, ref) for key, ref in members.items() if not ref.get("xmlAttribute")}
        find = writers.get

        def write(value: Any, out: list[str]) -> None:
            for key, item in value.items():
                if item is None:
                    continue
                writer = find(key)
                if writer is None:
                    if key in members:
                        continue  # an attribute: written with the tag
                    raise unknown_member(name, key)
                writer(item, out)

        return write

    def element(self, name: str, ref: Ref) -> XmlWriter:
        """Return the writer of a member: its tags and what is in them."""
        shape = self.model.shape(ref)
        tag = str((self.query and shape.get("queryName")) or ref.get("locationName", name))
        if shape["type"] == "list":
            return self._list(tag, ref, shape)
        if shape["type"] == "map":
            return self._map(tag, ref, shape)
        if ref.get("timestampFormat") and shape["type"] == "timestamp":
            text = _text_of("timestamp", ref["timestampFormat"])
            return lambda value, out: out.append(f"<{tag}>{text(value)}</{tag}>")
        content, attributes = self.content(ref), self._attributes(ref, shape)

        def write(value: Any, out: list[str]) -> None:
            out.append(f"<{tag}{attributes(value)}>")
            content(value, out)
            out.append(f"</{tag}>")

        return write

    def _attributes(self, ref: Ref, shape: Shape) -> Callable[[Any], str]:
        """Return what writes a structure's namespace and its members that are XML attributes."""
        namespace = ref.get("xmlNamespace") or shape.get("xmlNamespace") or {}
        fixed = ""
        if isinstance(namespace, dict) and namespace.get("uri"):
            prefix = f":{namespace['prefix']}" if namespace.get("prefix") else ""
            fixed = f' xmlns{prefix}="{namespace["uri"]}"'
        names = {
            key: member["locationName"]
            for key, member in shape.get("members", {}).items()
            if member.get("xmlAttribute")
        }
        if not names:
            return lambda value: fixed

        def write(value: Any) -> str:
            given = (f' {tag}="{escape(value[key])}"' for key, tag in names.items() if value.get(key) is not None)
            return fixed + "".join(given)

        return write

    def _list(self, tag: str, ref: Ref, shape: Shape) -> XmlWriter:
        member = shape["member"]
        if shape.get("flattened") or ref.get("flattened"):
            named = member.get("locationName") if "queryName" not in shape or not self.query else None
            item = self.element(named or tag, {key: value for key, value in member.items() if key != "locationName"})

            def write_flat(value: Any, out: list[str]) -> None:
                for one in value:
                    item(one, out)

            return write_flat
        item = self.element(member.get("locationName", "member"), member)
        omits_empty = self.omits_empty

        def write(value: Any, out: list[str]) -> None:
            if value or not omits_empty:
                out.append(f"<{tag}>")
                for one in value:
                    item(one, out)
                out.append(f"</{tag}>")

        return write

    def _map(self, tag: str, ref: Ref, shape: Shape) -> XmlWriter:
        key_tag = (self.query and shape.get("queryKey")) or shape["key"].get("locationName", "key")
        value_tag = (self.query and shape.get("queryValue")) or shape["value"].get("locationName", "value")
        key = self.element(key_tag, {"shape": shape["key"]["shape"]})
        item = self.element(value_tag, {"shape": shape["value"]["shape"]})
        flattened = shape.get("flattened") or ref.get("flattened")
        entry = tag if flattened else "entry"
        omits_empty = self.omits_empty

        def write(value: Any, out: list[str]) -> None:
            if not flattened:
                if not value and omits_empty:
                    return
                out.append(f"<{tag}>")
            for name, one in value.items():
                out.append(f"<{entry}>")
                key(name, out)
                item(one, out)
                out.append(f"</{entry}>")
            if not flattened:
                out.append(f"</{tag}>")

        return write


def _text_of(kind: str, form: str) -> Callable[[Any], str]:
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "blob":
        return lambda value: base64.b64encode(value).decode()
    if kind == "timestamp":
        return lambda value: timestamp_text(value, form)
    if kind in ("float", "double"):
        return float_text
    return lambda value: escape(str(value))
