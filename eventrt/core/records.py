"""The values every room speaks in: records, batches and what came of an invocation."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Record:
    """One event of a source, exactly as the function will see it.

    `id` is what BatchItemFailures names: a message id or a sequence number. `arrived_at` is epoch seconds, UTC.
    `size_bytes` is what it costs of the payload limit. Records of one `key` keep their order (partition key or
    message group; "" has none). `receipt` is the poller's own handle, opaque to everyone else. `comes_again` tells
    that it was delivered before, and not settled.
    """

    id: str
    body: Mapping[str, Any]
    arrived_at: float
    size_bytes: int
    key: str = ""
    receipt: object = None
    comes_again: bool = False


class Written(Mapping[str, Any]):
    """A record's body that is JSON already: whoever sends it on copies the bytes, whoever looks at it has it read.

    Args: written: the JSON object. members: the same, if it is at hand.
    """

    __slots__ = ("_read", "json")

    def __init__(self, written: bytes, members: Mapping[str, Any] | None = None) -> None:
        self.json = written
        self._read = members

    @property
    def members(self) -> Mapping[str, Any]:
        """The object that the JSON stands for, as JSON gives it."""
        members = self._read
        if members is None:
            members = self._read = json.loads(self.json)
        return members

    def __getitem__(self, name: str) -> Any:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class Batch:
    """Records that go to the function in one invocation. `number` counts batches within one poller, from 1."""

    number: int
    records: tuple[Record, ...]
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned. `payload` is its JSON result, `b"null"` when it returned nothing."""

    payload: bytes
    executed_version: str = "$LATEST"
    log_tail: bytes = b""
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class FunctionError:
    """The handler raised, timed out, exited or answered with something that is no JSON; AWS answers 200 to it.

    `payload` is the JSON error document (semantics 02, section 2.2); `kind` is the X-Amz-Function-Error header.
    """

    payload: bytes
    error_type: str
    error_message: str
    kind: str = "Unhandled"
    executed_version: str = "$LATEST"
    log_tail: bytes = b""
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Throttled:
    """No slot was free, so the handler was not run. `reason` is AWS's Reason member."""

    reason: str
    retry_after_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """The invocation could not be made at all: a missing function, an environment that does not start.

    `code` is the AWS error code and `status` its HTTP status.
    """

    code: str
    message: str
    status: int = 500
    members: Mapping[str, Any] = field(default_factory=dict)


Outcome: TypeAlias = Succeeded | FunctionError | Throttled | ServiceFault
