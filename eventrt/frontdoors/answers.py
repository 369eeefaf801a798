"""Answers as they go over the wire: status line, headers, and how the end of a body is known."""

import http
import time
from collections.abc import Mapping
from email.utils import formatdate

from eventrt.http import Response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
NOT_HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in http.HTTPStatus}
_BODILESS = frozenset({204, 304})


class DateLine:
    """The `Date` header, made anew once a second."""

    __slots__ = ("_line", "_second")

    def __init__(self) -> None:
        self._second, self._line = 0, ""

    def text(self) -> str:
        """Return `Date: ...` with its line end."""
        second = int(time.time())
        if second != self._second:
            self._second, self._line = second, f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self._line


def head_of(response: Response, date: str, *, closes: bool, is_http_1_0: bool) -> bytes:
    """Return status line, headers, and the empty line that ends them; the body's end is known by one of them.

    Args: date: the line of the Date header. closes: does the connection end with this answer?
    """
    status = response.status
    text = _STATUS_LINES.get(status) or f"HTTP/1.1 {status} Unknown\r\n"
    for name, value in response.headers.items():
        text += f"{name}: {value if value.isprintable() else _one_line(value)}\r\n"
    text += date
    if response.stream is not None:
        if is_chunked(response, is_http_1_0=is_http_1_0):
            text += "Transfer-Encoding: chunked\r\n"
    elif status not in _BODILESS and not _has_length(response.headers):
        text += f"Content-Length: {len(response.body)}\r\n"
    if closes:
        text += "Connection: close\r\n"
    elif is_http_1_0:
        text += "Connection: keep-alive\r\n"
    return (text + "\r\n").encode("utf-8", "surrogateescape")


def is_chunked(response: Response, *, is_http_1_0: bool) -> bool:
    """Does the stream of this response go in chunks?"""
    return not is_http_1_0 and not _has_length(response.headers)


def ends_with_connection(response: Response, *, is_http_1_0: bool) -> bool:
    """Can the end of this response's stream be told by nothing but the end of the connection?"""
    return response.stream is not None and is_http_1_0 and not _has_length(response.headers)


def has_body(response: Response, method: str) -> bool:
    """Does anything follow the head?"""
    return method != "HEAD" and response.status not in _BODILESS


def _one_line(value: str) -> str:
    """Return a header's value on one line: what a handler was given may not become a header of its own."""
    return value.replace("\r", " ").replace("\n", " ").replace("\x00", " ")


def _has_length(headers: Mapping[str, str]) -> bool:
    return "Content-Length" in headers or "content-length" in headers
