"""Readers: a shape of the model compiled once into a function that reads, types and checks one value.

A reader takes what the wire gave (JSON or CBOR values; the tree of a query string; texts of headers and paths),
where it stands, and a list that collects broken constraints; it returns the value as handlers see it: members by
their model names, blobs as bytes, timestamps as epoch seconds. A value of the wrong type raises `WrongType` at
once, as AWS's parsers do, before any constraint is looked at. XML bodies are `xml_parse`'s.
"""

import binascii
import calendar
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from eventrt.aws.protocol.constraints import NOT_NULL, Check, Path, Problem, check_of, constraints_of, member_step
from eventrt.aws.protocol.models import Ref, ServiceModel, Shape
from eventrt.aws.protocol.overlays import Policy
from eventrt.errors import EventrtError

Reader = Callable[[Any, Path, list[Problem]], Any]

DEPTH_LIMIT = 100
"""How deep a request may nest; AWS stops earlier everywhere (DynamoDB at 32)."""

_LIMITS = {"byte": 7, "short": 15, "integer": 31, "long": 63}
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class WrongType(EventrtError):  # noqa: N818 - the caller's protocol names it
    """A value is not of the type the model asks for; the message is AWS's as far as it is known.

    `members` are what else the error's body tells, where the service tells more.
    """

    def __init__(self, message: str, members: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.members = dict(members or {})


class WrongBody(WrongType):
    """The body cannot be read, or does not hold what the model asks for."""


def parse_timestamp(text: str) -> float:
    """Return epoch seconds of a text in any of AWS's formats: ISO 8601, epoch seconds, HTTP date.

    Raises: WrongType: it is none of them.
    """
    try:
        if _NUMBER.fullmatch(text):
            return float(text)
        iso = _ISO.fullmatch(text)
        if iso:
            day, clock, fraction, zone = iso.groups()
            offset = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
            moment = datetime.fromisoformat(f"{day}T{clock}{offset}")
            return calendar.timegm(moment.astimezone(UTC).timetuple()) + float(f"0{fraction or '.0'}")
        parsed = parsedate_to_datetime(text)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError) as error:
        raise WrongType(f"Unable to parse date: {text[:100]}") from error


class ReaderCompiler:
    """Compiles the readers of one service for values that carry their types: JSON.

    Args:
        model: the service's model.
        policy: whether its constraints apply, and where not.
    """

    def __init__(self, model: ServiceModel, policy: Policy) -> None:
        self.model = model
        self.policy = policy
        self._compiled: dict[str, Reader] = {}

    def reader(self, ref: Ref) -> Reader:
        """Return the reader of the shape a reference points to, compiled at its first use."""
        name = ref["shape"]
        known = self._compiled.get(name)
        if known is not None:
            return known

        def later(value: Any, at: Path, problems: list[Problem]) -> Any:
            return self._compiled[name](value, at, problems)

        self._compiled[name] = later  # a shape that contains itself finds this one
        self._compiled[name] = compiled = self._compile(name, self.model.shapes[name])
        return compiled

    def structure_of(self, members: dict[str, Ref], required: list[str], *, union: bool = False) -> Reader:
        """Return the reader of a structure that has these members; used for a body without its HTTP-bound members."""
        return self._structure({"type": "structure", "members": members, "required": required, "union": union})

    def _compile(self, name: str, shape: Shape) -> Reader:
        kind = shape["type"]
        if name in self.policy.raw:
            return lambda value, at, problems: value
        if kind == "structure":
            if shape.get("document"):
                return lambda value, at, problems: value
            return self._structure(shape)
        bare = self._bare(kind, shape)
        check = self.check(name, shape)
        if check is None:
            return bare
        return _checked(bare, check, shows_value=not shape.get("sensitive"))

    def check(self, name: str, shape: Shape) -> Check | None:
        """Return the check of a shape's constraints, None where they are not the model's business."""
        if not self.policy.checks or name in self.policy.unchecked:
            return None
        return check_of(shape)

    def _bare(self, kind: str, shape: Shape) -> Reader:
        if kind == "list":
            return self._list(shape)
        if kind == "map":
            return self._map(shape)
        if kind in _LIMITS:
            return self._integer(_LIMITS[kind])
        return {
            "string": self._string,
            "character": self._string,
            "boolean": self._boolean,
            "blob": self._blob,
            "timestamp": self._timestamp,
            "float": self._float,
            "double": self._float,
        }[kind]

    # -- containers -----------------------------------------------------------------------------------------

    def wire_name(self, name: str, ref: Ref) -> str:
        """Return how a member is called on this wire."""
        return str(ref.get("locationName", name))

    def _structure(self, shape: Shape) -> Reader:
        # (name in the answer, a type that may pass as it is, reader, step)
        members: dict[str, tuple[str, Any, Reader, str]] = {}
        for name, ref in shape["members"].items():
            step = member_step(name)
            members[self.wire_name(name, ref)] = (name, self._passes(ref), self.reader(ref), step)
        required = [(name, member_step(name)) for name in shape.get("required", ())] if self.policy.checks else []
        is_union = bool(shape.get("union"))
        find = members.get

        def read(value: Any, at: Path, problems: list[Problem]) -> dict[str, Any]:
            if value.__class__ is not dict:
                raise WrongType(_unexpected(value, "structure"))
            out: dict[str, Any] = {}
            for key, item in value.items():
                member = find(key)
                if member is None or item is None:
                    continue
                name, passes, reader, step = member
                if item.__class__ is passes:
                    out[name] = item
                else:
                    out[name] = reader(item, (at, step), problems)
            for name, step in required:
                if name not in out:
                    problems.append(((at, step), None, NOT_NULL, True))
            if is_union and len(out) > 1:
                raise WrongType("Unions must have exactly one member set")
            return out

        return read

    def _passes(self, ref: Ref) -> type | None:
        """Return the type whose values need no reading: strings and booleans without constraints."""
        shape = self.model.shape(ref)
        if self.check(ref["shape"], shape) is not None:
            return None
        if type(self) is not ReaderCompiler:
            return None
        return {"string": str, "boolean": bool}.get(shape["type"])

    def _element(self, ref: Ref) -> tuple[Reader, Check | None, str]:
        """Return the reader of a list's or map's element, and its check and sentence unless it is a structure.

        AWS reports a broken scalar, and a list that is too long, at the list or map around it, and everything deeper
        by its own path.
        """
        shape = self.model.shape(ref)
        if shape["type"] in ("structure", "map") or ref["shape"] in self.policy.raw:
            return self.reader(ref), None, ""
        check = self.check(ref["shape"], shape)
        texts = constraints_of(shape)
        if shape["type"] == "list":
            texts.remove(NOT_NULL)
        return self._bare(shape["type"], shape), check, f"[{', '.join(texts)}]"

    def _list(self, shape: Shape) -> Reader:
        reader, check, texts = self._element(shape["member"])
        sparse, checks = bool(shape.get("sparse")), self.policy.checks
        shows = not self.model.shape(shape["member"]).get("sensitive")

        def read(value: Any, at: Path, problems: list[Problem]) -> list[Any]:
            if value.__class__ is not list:
                raise WrongType(_unexpected(value, "list"))
            out: list[Any] = []
            broken = False
            for number, item in enumerate(value, 1):
                if item is None:
                    if sparse:
                        out.append(None)
                    elif checks:
                        problems.append((((at, str(number)), "member"), None, NOT_NULL, True))
                    else:
                        raise WrongType("Unexpected null in a list")
                    continue
                got = reader(item, ((at, str(number)), "member"), problems)
                if check is not None and check(got):
                    broken = True
                out.append(got)
            if broken:
                problems.append((at, out, f"Member must satisfy constraint: {texts}", shows))
            return out

        return read

    def _map(self, shape: Shape) -> Reader:
        key_shape = self.model.shape(shape["key"])
        key_check = self.check(shape["key"]["shape"], key_shape)
        key_texts = f"[{', '.join(constraints_of(key_shape))}]"
        reader, check, texts = self._element(shape["value"])
        sparse, checks = bool(shape.get("sparse")), self.policy.checks
        shows = not shape.get("sensitive") and not self.model.shape(shape["value"]).get("sensitive")

        def read(value: Any, at: Path, problems: list[Problem]) -> dict[str, Any]:
            if value.__class__ is not dict:
                raise WrongType(_unexpected(value, "map"))
            out: dict[str, Any] = {}
            broken_key = broken_value = False
            for key, item in value.items():
                if key.__class__ is not str:
                    raise WrongType("A map's key must be a string")
                if key_check is not None and key_check(key):
                    broken_key = True
                if item is None:
                    if sparse:
                        out[key] = None
                    elif checks:
                        problems.append((((at, key), "member"), None, NOT_NULL, True))
                    else:
                        raise WrongType("Unexpected null in a map")
                    continue
                got = reader(item, ((at, key), "member"), problems)
                if check is not None and check(got):
                    broken_value = True
                out[key] = got
            if broken_key:
                problems.append((at, out, f"Map keys must satisfy constraint: {key_texts}", shows))
            if broken_value:
                problems.append((at, out, f"Map value must satisfy constraint: {texts}", shows))
            return out

        return read

    # -- scalars --------------------------------------------------------------------------------------------

    def _string(self, value: Any, at: Path, problems: list[Problem]) -> str:
        if value.__class__ is str:
            return value
        raise WrongType(_cannot_be(value, "String"))

    def _boolean(self, value: Any, at: Path, problems: list[Problem]) -> bool:
        if value.__class__ is bool:
            return value
        raise WrongType(_cannot_be(value, "Boolean"))

    def _integer(self, bits: int) -> Reader:
        highest = 2**bits - 1
        name = {7: "Byte", 15: "Short", 31: "Integer", 63: "Long"}[bits]

        def read(value: Any, at: Path, problems: list[Problem]) -> int:
            if value.__class__ is float and value.is_integer():
                value = int(value)
            if value.__class__ is not int:
                raise WrongType(_cannot_be(value, name))
            number: int = value
            if not -highest - 1 <= number <= highest:
                raise WrongType(f"NUMBER_VALUE can not be converted to {_article(name)}")
            return number

        return read

    def _float(self, value: Any, at: Path, problems: list[Problem]) -> float:
        if value.__class__ is float or value.__class__ is int:
            return float(value)
        if value.__class__ is str and value in _SPECIAL_FLOATS:
            return _SPECIAL_FLOATS[value]
        raise WrongType(_cannot_be(value, "Double"))

    def _blob(self, value: Any, at: Path, problems: list[Problem]) -> bytes:
        if value.__class__ is not str:
            raise WrongType(_cannot_be(value, "Blob"))
        return read_base64(value)

    def _timestamp(self, value: Any, at: Path, problems: list[Problem]) -> float:
        if value.__class__ is float or value.__class__ is int:
            return float(value)
        if value.__class__ is str:
            return parse_timestamp(value)
        raise WrongType(_cannot_be(value, "Timestamp"))


class CborReaderCompiler(ReaderCompiler):
    """Compiles readers for CBOR values: as JSON's, but bytes are bytes and dates are dates."""

    def _blob(self, value: Any, at: Path, problems: list[Problem]) -> bytes:
        if value.__class__ is bytes:
            return value
        raise WrongType(_cannot_be(value, "Blob"))

    def _timestamp(self, value: Any, at: Path, problems: list[Problem]) -> float:
        if isinstance(value, datetime):
            return value.timestamp()
        if value.__class__ is float or value.__class__ is int:
            return float(value)
        raise WrongType(_cannot_be(value, "Timestamp"))


class AwsCborReaderCompiler(CborReaderCompiler):
    """Compiles readers for the CBOR form of awsJson, whose moments are whole milliseconds."""

    def _timestamp(self, value: Any, at: Path, problems: list[Problem]) -> float:
        if value.__class__ is float or value.__class__ is int:
            return float(value) / 1000
        raise WrongType(_cannot_be(value, "Timestamp"))


class TextReaderCompiler(ReaderCompiler):
    """Compiles readers for values that come as texts: headers, paths and query strings of REST requests."""

    def _boolean(self, value: Any, at: Path, problems: list[Problem]) -> bool:
        if value in ("true", "True", "1"):
            return True
        if value in ("false", "False", "0"):
            return False
        raise WrongType(_cannot_be(value, "Boolean"))

    def _integer(self, bits: int) -> Reader:
        typed = super()._integer(bits)

        def read(value: Any, at: Path, problems: list[Problem]) -> int:
            number: int = typed(_whole_number(value), at, problems)
            return number

        return read

    def _float(self, value: Any, at: Path, problems: list[Problem]) -> float:
        if value.__class__ is str:
            if value in _SPECIAL_FLOATS:
                return _SPECIAL_FLOATS[value]
            if len(value) < 400 and _NUMBER.fullmatch(value):
                return float(value)
        raise WrongType(_cannot_be(value, "Double"))


class QueryReaderCompiler(TextReaderCompiler):
    """Compiles readers for the tree of a Query request (`query.tree_of`): `Attribute.1.Name=...`."""

    def wire_name(self, name: str, ref: Ref) -> str:
        """Return a parameter's name: the overlay's, the element's of a flattened list, or the member's."""
        shape = self.model.shape(ref)
        if "queryName" in shape:
            return str(shape["queryName"])
        if shape["type"] == "list" and shape.get("flattened"):
            return str(shape["member"].get("locationName") or ref.get("locationName", name))
        return str(ref.get("locationName", name))

    def _structure(self, shape: Shape) -> Reader:
        typed = super()._structure(shape)

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            return typed({} if value == "" else value, at, problems)

        return read

    def _list(self, shape: Shape) -> Reader:
        typed = super()._list(shape)
        flattened = shape.get("flattened")
        element = shape["member"].get("locationName", "member")

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            if value == "":
                return typed([], at, problems)
            if flattened and value.__class__ is str:
                value = {"1": value}  # `AttributeName=All`: the only element may go without its number
            if value.__class__ is not dict:
                raise WrongType(_unexpected(value, "list"))
            if not flattened:
                value = value.get(element, {})
                if value.__class__ is not dict:
                    raise WrongType(_unexpected(value, "list"))
            return typed(_numbered(value), at, problems)

        return read

    def _map(self, shape: Shape) -> Reader:
        typed = super()._map(shape)
        flattened = shape.get("flattened")
        key_name = shape.get("queryKey") or shape["key"].get("locationName", "key")
        value_name = shape.get("queryValue") or shape["value"].get("locationName", "value")

        def read(value: Any, at: Path, problems: list[Problem]) -> Any:
            if value == "":
                return typed({}, at, problems)
            if value.__class__ is not dict:
                raise WrongType(_unexpected(value, "map"))
            if not flattened:
                value = value.get("entry", {})
                if value.__class__ is not dict:
                    raise WrongType(_unexpected(value, "map"))
            elif value.get(key_name).__class__ is str:
                value = {"1": value}  # `Attribute.Name=...&Attribute.Value=...`: the only entry, without its number
            entries: dict[str, Any] = {}
            for entry in _numbered(value):
                if entry.__class__ is not dict or entry.get(key_name).__class__ is not str:
                    raise WrongType(f"Every entry of {at[1]} must have a {key_name}")
                entries[entry[key_name]] = entry.get(value_name, "")
            return typed(entries, at, problems)

        return read


def read_base64(text: str) -> bytes:
    """Return the bytes of a base64 text.

    Raises: WrongType: it is not base64.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise WrongType("Invalid base64 in a binary value") from error


def _whole_number(value: Any) -> int:
    if value.__class__ is str and len(value) <= 40:
        try:
            return int(value) if value.isascii() and "_" not in value else _not_a_number(value)
        except ValueError:
            pass
    return _not_a_number(value)


def _not_a_number(value: Any) -> int:
    raise WrongType(_cannot_be(value, "Integer"))


def _numbered(tree: dict[str, Any]) -> list[Any]:
    """Return the values of `{"1": a, "2": b}` in the order of their numbers; gaps close, as with AWS."""
    keys = sorted(tree, key=lambda key: (len(key), key) if key.isdecimal() and key.isascii() else _no_index(key))
    return [tree[key] for key in keys]


def _no_index(key: str) -> tuple[int, str]:
    raise WrongType(f"{key[:100]!r} is not an index")


def _checked(bare: Reader, check: Check, *, shows_value: bool) -> Reader:
    def read(value: Any, at: Path, problems: list[Problem]) -> Any:
        got = bare(value, at, problems)
        broken = check(got)
        if broken:
            problems.extend((at, got, one, shows_value) for one in broken)
        return got

    return read


def _token(value: Any) -> str:
    """Return the parser's name for a JSON value, as AWS's refusals use it."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    if isinstance(value, str):
        return "STRING_VALUE"
    if isinstance(value, int):
        return "NUMBER_VALUE"
    return "DECIMAL_VALUE" if isinstance(value, float) else "VALUE"


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def _cannot_be(value: Any, name: str) -> str:
    """Return the refusal of a scalar of another type. Source: observed from DynamoDB, Kinesis and SQS."""
    if isinstance(value, dict):
        return "Start of structure or map found where not expected"
    if isinstance(value, list):
        return "Start of list found where not expected"
    return f"{_token(value)} can not be converted to {_article(name)}"


def _unexpected(value: Any, wanted: str) -> str:
    if isinstance(value, dict):
        return "Start of structure or map found where not expected"
    if isinstance(value, list):
        return "Start of list found where not expected"
    return "Unexpected value type in payload" if wanted == "structure" else f"Expected {wanted} or null"
