"""An item as it is kept: its JSON as DynamoDB's wire writes it, binaries in base64.

What is kept is what a reader gets: an answer without a projection is the kept bytes. An item is decoded only when
something has to look into it.
"""

import base64
from collections.abc import Mapping
from typing import Any, cast

import orjson

from eventrt.core.tables.values import Item


def encode(item: Mapping[str, Any]) -> bytes:
    """Return the wire form of a checked item, or of any part of one."""
    return orjson.dumps(item, default=_base64)


def decode(wire: bytes) -> Item:
    """Return the checked item that a wire form means."""
    item = orjson.loads(wire)
    # Most items hold no binaries; a text that contains these marks costs a look, nothing else.
    if b'"B":' in wire or b'"BS":' in wire:
        item = {name: _restored(value) for name, value in item.items()}
    return cast(Item, item)


def fragment(item: Mapping[str, Any]) -> orjson.Fragment:
    """Return a checked item, or any part of one, to be put into an answer."""
    return orjson.Fragment(encode(item))


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no part of an item")


def _restored(value: dict[str, Any]) -> dict[str, Any]:
    [(tag, content)] = value.items()
    if tag == "B":
        return {"B": base64.b64decode(content)}
    if tag == "BS":
        return {"BS": [base64.b64decode(each) for each in content]}
    if tag == "M":
        return {"M": {name: _restored(inner) for name, inner in content.items()}}
    if tag == "L":
        return {"L": [_restored(inner) for inner in content]}
    return value


class Stored:
    """An item in the store, or about to be: its wire form, what it weighs, and the item itself when asked for."""

    __slots__ = ("_item", "size_bytes", "wire")

    def __init__(self, wire: bytes, size_bytes: int, item: Item | None = None) -> None:
        self.wire = wire
        self.size_bytes = size_bytes
        self._item = item

    @property
    def item(self) -> Item:
        """The item, decoded at first use."""
        if self._item is None:
            self._item = decode(self.wire)
        return self._item

    @property
    def fragment(self) -> orjson.Fragment:
        """The item as a part of an answer."""
        return orjson.Fragment(self.wire)
