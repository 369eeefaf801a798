"""The request and response values that every HTTP room speaks, free of any HTTP library.

`frontdoors.server` turns the wire into a `Request` and writes a `Response` back; `aws` and the control paths
work on these values only.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field


class BodyTooLarge(Exception):  # noqa: N818 - becomes a 413 in the caller's protocol
    """The request's body is longer than the reader allowed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request body is longer than {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class BodyBroken(Exception):  # noqa: N818 - becomes a 4xx in the caller's protocol
    """The request's body could not be taken; `status` is 408, 400 or 503.

    It came too slowly, its framing is wrong, or large bodies of others fill the room there is for them.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Request:
    """One HTTP request whose head has been read and whose body has not.

    `path` is the raw path as it came, percent-encoded, without the query; `query` is the raw query string.
    `headers` has lower-case names; repeated headers are joined with a comma. `remote` is the peer's address.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    remote: str
    read_body: Callable[[int], Awaitable[bytes]]
    """Read the whole body, at most so many bytes, else raise BodyTooLarge; BodyBroken when it does not arrive.
    Sends 100-continue when asked for."""
    stream_body: Callable[[], AsyncIterator[bytes]]
    """Read the body in chunks as they arrive."""
    is_disconnected: Callable[[], bool]
    """Has the client gone? A handler asks before it gives away what cannot be taken back."""


@dataclass(slots=True)
class Response:
    """One HTTP response: a status, headers, and either a whole body or a stream of chunks."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None


Handler = Callable[[Request], Awaitable[Response]]
"""What `frontdoors.server` is given: total, it answers every request and raises only when cancelled."""
