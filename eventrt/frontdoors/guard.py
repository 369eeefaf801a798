"""Who may knock: requests that a web page made, or that came by a foreign name, have no effect.

A page in the user's browser can reach a port on loopback. It is told apart by what browsers do not let a page
forge: `Origin`, `Sec-Fetch-Site`, and the `Host` a rebound DNS name leaves behind. Names under amazonaws.com are
let in: SDKs that are pointed here by a proxy or a hosts file send them, and no attacker can own them.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from eventrt.http import Request, Response

_AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws")
_LIMIT = 4096


class Guard:
    """Answers 403 to requests of foreign web pages and to foreign Host headers.

    Args: hosts: further names this daemon is reached by; `.example.test` stands for all names below it.
    """

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        names = [host.lower().strip("[]") for host in hosts]
        self._names = frozenset(name for name in names if not name.startswith("."))
        self._suffixes = (*_AWS_SUFFIXES, *(name for name in names if name.startswith(".")))
        self._known_hosts: dict[str, bool] = {}

    def refusal(self, request: Request) -> Response | None:
        """Return the refusal of a request, None when it may pass."""
        headers = request.headers
        host = headers.get("host", "")
        known = self._known_hosts.get(host)
        if known is None:
            known = self._remember(host)
        if not known:
            return _forbidden("the Host header names another machine; see server.allowed_hosts")
        origin = headers.get("origin")
        if origin is not None:
            if not self._is_own_origin(origin):
                return _forbidden("requests of web pages from other sites are refused")
        elif headers.get("sec-fetch-site", "none") in ("cross-site", "same-site"):
            return _forbidden("requests of web pages from other sites are refused")
        return None

    def _remember(self, host: str) -> bool:
        if len(self._known_hosts) >= _LIMIT:
            self._known_hosts.clear()
        verdict = self._known_hosts[host] = not host or self.is_own(host_name(host))
        return verdict

    def is_by_own_name(self, request: Request) -> bool:
        """Did the request come by a name of this machine, so that only its page can be foreign?"""
        host = request.headers.get("host", "")
        return not host or self.is_own(host_name(host))

    def is_own(self, name: str) -> bool:
        """Is this a name (without a port) by which this machine may be called?"""
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        if name.endswith(self._suffixes):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _is_own_origin(self, origin: str) -> bool:
        """Is this the origin of a page served on this machine?"""
        try:
            name = urlsplit(origin).hostname or ""
        except ValueError:
            return False
        if name.endswith(_AWS_SUFFIXES):
            return False  # others may serve pages there: buckets, function URLs
        return bool(name) and self.is_own(name)


def host_name(host: str) -> str:
    """Return a Host header's name without its port, in lower case, without a trailing dot."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") > 1:
        return host
    return host.partition(":")[0].rstrip(".")


def _forbidden(why: str) -> Response:
    return Response(403, {"Content-Type": "text/plain; charset=utf-8"}, f"eventrt: {why}\n".encode())
