"""Sample values for any shape of a botocore model, and what eventrt's side of the wire should see of them."""

import datetime
import random
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel as BotocoreModel
from botocore.model import Shape

_TEXTS = ["plain", "with space", "a&b=c+d", "h\u00e9llo \u2603", '<tag attr="x">\'', "per%20cent", "x.y.z", "1"]


def botocore_model(service_id: str) -> BotocoreModel:
    """Return botocore's own view of a service."""
    return BotocoreModel(Loader().load_service_model(service_id, "service-2"), service_id)


class Samples:
    """Makes values for shapes, the same ones for the same seed.

    Args: fill: the probability that a member which is not required is given.
    """

    def __init__(self, seed: str, fill: float) -> None:
        self.random = random.Random(seed)
        self.fill = fill

    def value(self, shape: Shape, *, place: str = "", depth: int = 0) -> Any:
        kind = shape.type_name
        if kind == "structure":
            return self.structure(shape, depth=depth)
        if kind == "list":
            count = 0 if depth > 5 else self.random.randint(1, 3)
            return [self.value(shape.member, place=place, depth=depth + 1) for _ in range(count)]
        if kind == "map":
            count = 0 if depth > 5 else self.random.randint(1, 3)
            keys = {self.value(shape.key, place=place, depth=depth + 1) for _ in range(count)}
            return {key: self.value(shape.value, place=place, depth=depth + 1) for key in sorted(keys)}
        if kind in ("string", "character"):
            if getattr(shape, "enum", None):
                return self.random.choice(shape.enum)
            if place in ("header", "headers"):
                return self.random.choice(["plain", "x-1", "a b"])
            if place == "uri":
                return self.random.choice(["name", "arn:aws:lambda:eu-west-1:123456789012:function:f", "a b%20c+d"])
            return self.random.choice(_TEXTS)
        if kind in ("integer", "long", "short", "byte"):
            return self.random.choice([0, 1, 7, 100])
        if kind in ("float", "double"):
            return self.random.choice([0.5, 2.25, -1.0])
        if kind == "boolean":
            return self.random.choice([True, False])
        if kind == "blob":
            return self.random.choice([b"x", b"\x00\xff<&>", b"hello world" * 20])
        if kind == "timestamp":
            return datetime.datetime.fromtimestamp(1_706_695_872 + self.random.randint(0, 9), datetime.UTC)
        raise AssertionError(kind)

    def structure(self, shape: Shape, *, depth: int = 0) -> dict[str, Any]:
        if getattr(shape, "is_document_type", False):
            return {"any": ["thing", 1]}
        names = list(shape.members)
        if getattr(shape, "is_tagged_union", False):
            names = [self.random.choice([name for name in names if depth < 6 or _is_flat(shape.members[name])])]
        out: dict[str, Any] = {}
        for name in names:
            member = shape.members[name]
            if getattr(member, "is_event_stream", False) or member.serialization.get("eventstream"):
                continue
            place = member.serialization.get("location", "")
            if name == "Expires" and place == "header":
                continue  # S3's is a text in the model; botocore patches it into a timestamp
            wanted = name in shape.required_members or len(names) == 1 or self.random.random() < self.fill
            if place != "uri" and (not wanted or (depth > 5 and not _is_flat(member))):
                continue
            if place == "statusCode":
                out[name] = 200
                continue
            if member.serialization.get("jsonvalue"):
                out[name] = {"a": [1, "b"]}
                continue
            out[name] = self.value(member, place=place, depth=depth + 1)
        return out


def _is_flat(shape: Shape) -> bool:
    return shape.type_name not in ("structure", "list", "map")


def as_seen(value: Any, shape: Shape) -> Any:
    """Return a sample as a handler sees or writes it: timestamps are epoch seconds."""
    if shape.type_name == "timestamp":
        return value.timestamp()
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        return {
            name: one if shape.members[name].serialization.get("jsonvalue") else as_seen(one, shape.members[name])
            for name, one in value.items()
        }
    if shape.type_name == "list":
        return [as_seen(one, shape.member) for one in value]
    if shape.type_name == "map":
        return {key: as_seen(one, shape.value) for key, one in value.items()}
    return value
