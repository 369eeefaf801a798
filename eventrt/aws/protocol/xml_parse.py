"""Reading XML bodies of rest-xml requests by the model's shapes."""

from typing import Any
from xml.etree import ElementTree

from eventrt.aws.protocol.constraints import Path, Problem
from eventrt.aws.protocol.models import Ref, Shape
from eventrt.aws.protocol.parse import Reader, TextReaderCompiler, WrongType

Element = ElementTree.Element

NOT_OF_THE_SCHEMA = "The XML you provided was not well-formed or did not validate against our published schema"


def parse_document(body: bytes) -> Element:
    """Return the root element of an XML body.

    Raises: WrongType: it is not well formed, or it declares a document type (entities have no business here).
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\x00" in body:
        raise WrongType(NOT_OF_THE_SCHEMA)
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - no document type, so no entities to expand
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise WrongType(NOT_OF_THE_SCHEMA) from error


def local(tag: str) -> str:
    """Return an element's name without its namespace."""
    return tag.rpartition("}")[2]


class XmlReaderCompiler(TextReaderCompiler):
    """Compiles readers for XML elements; scalars are an element's text."""

    def _structure(self, shape: Shape) -> Reader:
        typed = super()._structure(shape)
        flat = {
            self.wire_name(name, ref)
            for name, ref in shape["members"].items()
            if self.model.shape(ref)["type"] in ("list", "map")
            and (self.model.shape(ref).get("flattened") or ref.get("flattened"))
        }
        attributes = {ref["locationName"] for ref in shape["members"].values() if ref.get("xmlAttribute")}

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            if not isinstance(value, Element):
                raise WrongType("Expected an XML element")
            tree: dict[str, Any] = {}
            for child in value:
                tag = local(child.tag)
                if tag in flat:
                    tree.setdefault(tag, []).append(child)
                else:
                    tree[tag] = child
            for attribute in attributes:  # `xsi:type`: the prefix is resolved to its namespace by the parser
                name = attribute.rpartition(":")[2]
                for key, text in value.attrib.items():
                    if local(key) == name:
                        tree[attribute] = text
            return typed(tree, at, problems)

        return read

    def wire_name(self, name: str, ref: Ref) -> str:
        """Return an element's name: the member's, or that of a flattened list's elements."""
        shape = self.model.shape(ref)
        if shape["type"] == "list" and (shape.get("flattened") or ref.get("flattened")):
            return str(ref.get("locationName") or shape["member"].get("locationName") or name)
        return str(ref.get("locationName", name))

    def _list(self, shape: Shape) -> Reader:
        typed = super()._list(shape)
        tag = shape["member"].get("locationName", "member")

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            if isinstance(value, Element):
                value = [child for child in value if local(child.tag) == tag]
            return typed(value, at, problems)

        return read

    def _map(self, shape: Shape) -> Reader:
        typed = super()._map(shape)
        key_tag = shape["key"].get("locationName", "key")
        value_tag = shape["value"].get("locationName", "value")

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            entries = value if isinstance(value, list) else [child for child in value if local(child.tag) == "entry"]
            found: dict[str, Any] = {}
            for entry in entries:
                parts = {local(child.tag): child for child in entry}
                if key_tag not in parts or value_tag not in parts:
                    raise WrongType("An entry of a map lacks its key or its value")
                found[parts[key_tag].text or ""] = parts[value_tag]
            return typed(found, at, problems)

        return read

    def _bare(self, kind: str, shape: Shape) -> Reader:
        bare = super()._bare(kind, shape)
        if kind in ("list", "map"):
            return bare

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            return bare((value.text or "") if isinstance(value, Element) else value, at, problems)

        return read
