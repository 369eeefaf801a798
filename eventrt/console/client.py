"""How the command line speaks to a running daemon: plain HTTP, from the standard library."""

import http.client
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from eventrt.errors import EventrtError

DEFAULT_URL = "http://127.0.0.1:4566"


class Unreachable(EventrtError):  # noqa: N818 - a state of the world
    """No daemon answers there."""


class WrongUrl(EventrtError):  # noqa: N818 - what it is
    """An endpoint that is no URL a daemon could have."""


class NotFound(EventrtError):  # noqa: N818 - an answer
    """The daemon knows no such thing."""


class Client:
    """The control paths of one daemon.

    Args: url: its endpoint; else EVENTRT_ENDPOINT_URL, else EVENTRT_HOST and EVENTRT_PORT, else the default
    port.
    Raises: WrongUrl: it is none.
    """

    def __init__(self, url: str | None = None) -> None:
        host = os.environ.get("EVENTRT_HOST", "127.0.0.1")
        port = os.environ.get("EVENTRT_PORT", "4566")
        self.url = url or os.environ.get("EVENTRT_ENDPOINT_URL") or f"http://{host}:{port}"
        try:
            parts = urlsplit(self.url if "//" in self.url else f"http://{self.url}")
            self._host, self._port = parts.hostname or "", parts.port or 4566
        except ValueError as error:
            raise WrongUrl(f"{self.url} is no URL: {error}; write it as {DEFAULT_URL}") from error
        if parts.scheme != "http" or not self._host:
            raise WrongUrl(f"{self.url} is no URL of a daemon; write it as {DEFAULT_URL}")

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return the JSON answer of a control path.

        Raises: Unreachable: nobody answers, or not as eventrt does. NotFound: it is not there.
        """
        connection, response = self._open(path, query, timeout_s=10.0)
        try:
            value = orjson.loads(response.read())
        except (orjson.JSONDecodeError, OSError, http.client.HTTPException) as error:
            raise Unreachable(f"what listens at {self.url} is not eventrt") from error
        finally:
            connection.close()
        if not isinstance(value, dict):
            raise Unreachable(f"what listens at {self.url} is not eventrt")
        self._check(response.status, value)
        return value

    def function_log(self, function: str, *, account: str, region: str, follow: bool, tail: int) -> Iterator[bytes]:
        """Yield a function's log in pieces, as they come."""
        query = {"account": account, "region": region, "follow": str(follow).lower(), "tail": str(tail)}
        path = f"/_eventrt/functions/{quote(function, safe='', errors='replace')}/logs"
        connection, response = self._open(path, query, timeout_s=None if follow else 30.0)
        try:
            if response.status != 200:
                self._check(response.status, orjson.loads(response.read()))
            while chunk := response.read1(65_536):
                yield chunk
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise Unreachable(f"the daemon at {self.url} went away: {error}") from error
        finally:
            connection.close()

    def _open(
        self, path: str, query: dict[str, str], *, timeout_s: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}" if query else path)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            reason = getattr(error, "strerror", None) or error
            raise Unreachable(f"no eventrt answers at {self.url} ({reason}); start it with: eventrt serve") from error

    def _check(self, status: int, answer: dict[str, Any]) -> None:
        if status == 404:
            raise NotFound(str(answer.get("error", "not found")))
        if status != 200:
            raise Unreachable(f"{self.url} answered {status}: {answer.get('error', '')}")
