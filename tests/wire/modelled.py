"""Requests made from AWS's models: the least an operation takes, and that with one member set."""

from typing import Any

from eventrt.aws.protocol.constraints import check_of
from eventrt.aws.protocol.models import Ref, ServiceModel, Shape

_TEXTS = (
    "name",
    "Name1",
    "1",
    "2",
    "$LATEST",
    "arn:aws:iam::000000000000:role/role",
    "arn:aws:iam::000000000000:policy/policy",
    "arn:aws:lambda:us-east-1:000000000000:function:name",
    "arn:aws:lambda:us-east-1:000000000000:layer:name:1",
    "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:000000000000:capacity-provider:name",
    "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
    "arn:aws:lambda:us-east-1:000000000000:runtime/name",
    "arn:aws:sqs:us-east-1:000000000000:queue",
    "arn:aws:kinesis:us-east-1:000000000000:stream/name",
    "arn:aws:kinesis:us-east-1:000000000000:stream/name/consumer/name:1",
    "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-1234-1234-123456789012",
    "arn:aws:lambda:us-east-1::runtime:0123456789012345678901234567890123456789012345678901234567890123",
    "12345678-1234-1234-1234-123456789012",
    "subnet-0123456789abcdef0",
    "sg-0123456789abcdef0",
    "lambda:InvokeFunction",
    "/mnt/data",
    "/",
    "o-0123456789",
    "000000000000",
    "GAKI12345678",
    "localhost:9092",
    "[A]",
    "123456",
    "v1",
    "us-east-1",
    "x" * 20,
    "x" * 20 + "-xxx",
    "x" * 64,
)


class Modelled:
    """Makes requests of one service that its model finds right."""

    def __init__(self, model: ServiceModel) -> None:
        self.model = model

    def least(self, operation: str) -> dict[str, Any]:
        """Return the least request an operation takes: its required members."""
        _, shape = self.model.input_shape(operation)
        return self._structure(shape, ())

    def with_member(self, operation: str, path: tuple[str, ...], avoid: tuple[Any, ...]) -> dict[str, Any]:
        """Return the least request with one member set to a value that is none of `avoid`."""
        _, shape = self.model.input_shape(operation)
        return self._structure(shape, path, avoid)

    def _structure(self, shape: Shape, path: tuple[str, ...], avoid: tuple[Any, ...] = ()) -> dict[str, Any]:
        wanted = set(shape.get("required", ())) | set(path[:1])
        out: dict[str, Any] = {}
        for name, ref in shape.get("members", {}).items():
            if name in wanted:
                out[name] = self._value(ref, path[1:] if path[:1] == (name,) else (), avoid, path[:1] == (name,))
        return out

    def _value(self, ref: Ref, path: tuple[str, ...], avoid: tuple[Any, ...], is_target: bool) -> Any:
        shape = self.model.shape(ref)
        kind = shape["type"]
        if kind == "structure":
            return self._filled(shape, path, avoid, is_target)
        if kind == "list":
            count = max(1 if path or is_target else 0, shape.get("min", 0))
            return [self._value(shape["member"], path, avoid, is_target) for _ in range(count)]
        if kind == "map":
            value_kind = self.model.shape(shape["value"])["type"]
            if path and value_kind not in ("structure", "list", "map"):  # a key the ledger names
                return {path[0]: self._value(shape["value"], (), avoid, True)}
            if not path and not is_target and not shape.get("min"):
                return {}
            return {self._scalar(shape["key"], ()): self._value(shape["value"], path, avoid, is_target)}
        return self._scalar(ref, avoid if is_target and not path else ())

    def _filled(self, shape: Shape, path: tuple[str, ...], avoid: tuple[Any, ...], is_target: bool) -> dict[str, Any]:
        if is_target and not path and not shape.get("required") and shape.get("members"):
            path = (next(iter(shape["members"])),)  # an empty structure would set nothing
        return self._structure(shape, path, avoid)

    def _scalar(self, ref: Ref, avoid: tuple[Any, ...]) -> Any:
        shape = self.model.shape(ref)
        kind, check = shape["type"], check_of(shape)
        candidates: tuple[Any, ...]
        if kind == "string":
            candidates = (*shape.get("enum", ()), *_TEXTS)
        elif kind in ("integer", "long"):
            candidates = (1, 2, 10, 60, 100, 300, 900, shape.get("min", 0))
        elif kind in ("float", "double"):
            candidates = (0.5, 1.0)
        elif kind == "boolean":
            candidates = (True, False)
        elif kind == "blob":
            candidates = (b"x",)
        elif kind == "timestamp":
            candidates = (1_706_695_872,)
        else:
            raise AssertionError(kind)
        for one in candidates:
            if one not in avoid and (check is None or not check(one)):
                return one
        raise AssertionError(f"no value known for {ref['shape']}: {shape}")
