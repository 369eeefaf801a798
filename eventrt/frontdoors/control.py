"""The control paths, on the AWS door's port: health, clock, peek, what there is, mappings, function logs, code.

They answer in JSON, errors as `{"error": ...}`, and only to callers on this machine: a Host that is not
loopback's or an Origin of another site is refused with 403, so that no web page reaches them. What the
answers hold comes from `reports` and `inventory`.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
import structlog

from eventrt import __version__
from eventrt.clock import SystemClock, VirtualClock
from eventrt.frontdoors.inventory import Inventory
from eventrt.frontdoors.reports import Reports
from eventrt.http import BodyBroken, BodyTooLarge, Request, Response

BODY_LIMIT_BYTES = 64 * 1024
MAX_ADVANCE_S = 10 * 365 * 86_400
MAX_RATE = 1_000_000.0
DEFAULT_ACCOUNT, DEFAULT_REGION = "000000000000", "us-east-1"

_HEALTH_PATHS = ("/_eventrt/health", "/_localstack/health", "/health")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")
_LOG = structlog.get_logger("eventrt.control")


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """The request is answered with an error: a status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class _Ask:
    """One request, taken apart: the names in its path, its query, and whose world it means."""

    request: Request
    names: tuple[str, ...]
    query: Mapping[str, str]

    @property
    def account(self) -> str:
        return self.query.get("account", DEFAULT_ACCOUNT)

    @property
    def region(self) -> str:
        return self.query.get("region", DEFAULT_REGION)

    def number(self, name: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number of the query, checked."""
        text = self.query.get(name, str(default))
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise Refused(400, f"{name} must be a whole number from {low} to {high}, not {text!r}")
        return int(text)


_Answerer = Callable[[_Ask], Awaitable[Response]]


class Control:
    """Answers the control paths; the rest of the port belongs to the AWS door.

    Args:
        clock: a `VirtualClock` may be moved, any other is refused.
        note_clock: keeps the clock's moment, once it was moved, for the next start.
        go_back_to_real_time: sets a `VirtualClock` to real time, and what is kept along with it.
    """

    def __init__(
        self,
        reports: Reports,
        inventory: Inventory,
        clock: SystemClock,
        *,
        note_clock: Callable[[], Awaitable[None]],
        go_back_to_real_time: Callable[[], Awaitable[None]],
    ) -> None:
        self._reports = reports
        self._inventory = inventory
        self._clock = clock
        self._note_clock = note_clock
        self._go_back_to_real_time = go_back_to_real_time
        self._routes: list[tuple[re.Pattern[str], dict[str, _Answerer]]] = [
            (re.compile("|".join(map(re.escape, _HEALTH_PATHS))), {"GET": self._health}),
            (re.compile(r"/_eventrt/clock"), {"GET": self._show_clock, "POST": self._move_clock}),
            (re.compile(r"/_eventrt/queues"), {"GET": self._queues}),
            (re.compile(r"/_eventrt/queues/([^/]+)/messages"), {"GET": self._peek}),
            (re.compile(r"/_eventrt/buckets"), {"GET": self._buckets}),
            (re.compile(r"/_eventrt/streams"), {"GET": self._streams}),
            (re.compile(r"/_eventrt/tables"), {"GET": self._tables}),
            (re.compile(r"/_eventrt/asynchronous"), {"GET": self._asynchronous}),
            (re.compile(r"/_eventrt/mappings"), {"GET": self._mappings}),
            (re.compile(r"/_eventrt/mappings/([^/]+)"), {"GET": self._mapping}),
            (re.compile(r"/_eventrt/functions"), {"GET": self._functions}),
            (re.compile(r"/_eventrt/functions/([^/]+)/logs"), {"GET": self._logs}),
            (re.compile(r"/_eventrt/functions/([^/]+)/code"), {"GET": self._code}),
        ]

    @staticmethod
    def serves(path: str) -> bool:
        """Is this path ours?"""
        return path.startswith("/_eventrt/") or path in _HEALTH_PATHS or path == "/_eventrt"

    async def handle(self, request: Request) -> Response:
        """Answer one request on a control path; total."""
        try:
            self._refuse_strangers(request)
            return await self._answer(request)
        except Refused as refusal:
            return _json({"error": str(refusal)}, status=refusal.status)
        except BodyTooLarge as error:
            return _json({"error": str(error)}, status=413)
        except BodyBroken as error:
            return _json({"error": str(error)}, status=error.status)
        except Exception as error:
            _LOG.exception("control.failed", path=request.path, error=str(error))
            return _json({"error": "internal error; the daemon's log has more"}, status=500)

    def _refuse_strangers(self, request: Request) -> None:
        """Let only this machine in, and no page of another site.

        A Host header is the caller's word; the peer's address is not, so both are asked. No Host at all, as HTTP/1.0
        allows, is no web page's doing: browsers always send one, also under a name that was bound to this address
        anew. Health alone may be asked from elsewhere and by every name of `server.allowed_hosts`, as load balancers
        and containers do; that the name is one of ours is the guard's business.
        """
        if request.path not in _HEALTH_PATHS:
            if not _is_loopback(request.remote):
                raise Refused(403, "the control paths answer to this machine only")
            host = host_name(request.headers.get("host", ""))
            if host and not is_loopback_name(host):
                raise Refused(403, f"the control paths answer to loopback names only, not to Host {host!r}")
        origin = request.headers.get("origin")
        if origin is not None and not is_loopback_name(host_name(urlsplit(origin).netloc)):
            raise Refused(403, f"the control paths do not answer to pages of {origin}")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "the control paths do not answer to pages of other sites")

    async def _answer(self, request: Request) -> Response:
        for pattern, methods in self._routes:
            if match := pattern.fullmatch(request.path):
                method = "GET" if request.method == "HEAD" else request.method
                if method not in methods:
                    raise Refused(405, f"{request.path} takes {', '.join(methods)}")
                names = tuple(unquote(name) for name in match.groups())
                query = dict(parse_qsl(request.query, keep_blank_values=True))
                return await methods[method](_Ask(request, names, query))
        raise Refused(404, f"there is nothing at {request.path}")

    # -- health

    async def _health(self, _: _Ask) -> Response:
        return _json({"status": "running", "version": __version__, "rooms": self._reports.health()})

    # -- the clock

    async def _show_clock(self, _: _Ask) -> Response:
        clock = self._clock
        answer: dict[str, Any] = {"now": clock.now(), "controllable": isinstance(clock, VirtualClock)}
        if isinstance(clock, VirtualClock):
            answer |= {"rate": clock.rate, "offset_s": clock.offset_s}
        return _json(answer)

    async def _move_clock(self, ask: _Ask) -> Response:
        clock = self._clock
        if not isinstance(clock, VirtualClock):
            raise Refused(
                403,
                "the clock of this daemon is the real one; start it with --test-clock (or clock.controllable = true)",
            )
        match await _json_object(ask.request):
            case {"advance": int() | float() as seconds, **rest} if not rest and not isinstance(seconds, bool):
                if not 0 <= seconds <= MAX_ADVANCE_S:
                    raise Refused(400, f"advance must be from 0 to {MAX_ADVANCE_S} seconds, not {seconds}")
                await clock.advance(float(seconds))
            case {"rate": int() | float() as rate, **rest} if not rest and not isinstance(rate, bool):
                if not 0 <= rate <= MAX_RATE:
                    raise Refused(400, f"rate must be from 0 to {MAX_RATE:.0f}, not {rate}")
                clock.set_rate(float(rate))
            case {"mode": "real", **rest} if not rest:
                await self._go_back_to_real_time()
            case _:
                raise Refused(400, 'write {"advance": seconds}, {"rate": number} or {"mode": "real"}')
        await self._note_clock()
        return await self._show_clock(ask)

    # -- what there is, and what waits

    async def _buckets(self, ask: _Ask) -> Response:
        return _json({"buckets": await self._inventory.buckets(ask.account, ask.region)})

    async def _streams(self, ask: _Ask) -> Response:
        return _json({"streams": await self._inventory.streams(ask.account, ask.region)})

    async def _tables(self, ask: _Ask) -> Response:
        return _json({"tables": await self._inventory.tables(ask.account, ask.region)})

    async def _asynchronous(self, ask: _Ask) -> Response:
        return _json({"functions": await self._inventory.asynchronous(ask.account, ask.region)})

    # -- queues, mappings, functions

    async def _queues(self, ask: _Ask) -> Response:
        return _json({"queues": await self._reports.queues(ask.account, ask.region)})

    async def _peek(self, ask: _Ask) -> Response:
        limit = ask.number("limit", 100, low=1, high=10_000)
        after = ask.query.get("after") or None
        try:
            answer = await self._reports.messages(ask.account, ask.region, ask.names[0], limit=limit, after=after)
        except ValueError as error:
            raise Refused(400, f"after must be the next_after of a page: {error}") from error
        if answer is None:
            raise Refused(404, _missing("queue", ask))
        return _json(answer)

    async def _mappings(self, ask: _Ask) -> Response:
        found = await self._reports.mappings(ask.query.get("account"), ask.query.get("region"))
        return _json({"mappings": found})

    async def _mapping(self, ask: _Ask) -> Response:
        found = await self._reports.mapping(ask.names[0].lower())
        if found is None:
            raise Refused(404, f"there is no mapping {ask.names[0]!r}")
        return _json(found)

    async def _functions(self, ask: _Ask) -> Response:
        return _json({"functions": await self._reports.functions(ask.account, ask.region)})

    async def _logs(self, ask: _Ask) -> Response:
        tail = ask.number("tail", 1000, low=0, high=1_000_000)
        follow = ask.query.get("follow", "false").lower() in ("1", "true", "yes")
        stream = await self._reports.log(ask.account, ask.region, ask.names[0], follow=follow, tail=tail)
        if stream is None:
            raise Refused(404, _missing("function", ask))
        return Response(200, {"content-type": "text/plain; charset=utf-8"}, stream=stream)

    async def _code(self, ask: _Ask) -> Response:
        archive = await self._reports.code(ask.query.get("token", ""))
        if archive is None:
            raise Refused(404, "there is no such code, or its link has expired; ask GetFunction for a new one")
        return Response(200, {"content-type": "application/zip"}, archive)


def _missing(kind: str, ask: _Ask) -> str:
    return f"there is no {kind} {ask.names[0]!r} in account {ask.account}, region {ask.region}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def is_loopback_name(name: str) -> bool:
    """Does this name mean the machine it is used on? Names below localhost do, by RFC 6761."""
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def host_name(host: str) -> str:
    """Return the name of a Host header, without its port, in lower case."""
    host = host.strip().lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.rpartition(":")[0] if host.count(":") == 1 else host


async def _json_object(request: Request) -> dict[str, Any]:
    body = await request.read_body(BODY_LIMIT_BYTES)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def _json(value: Mapping[str, Any], *, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, orjson.dumps(value, default=str) + b"\n")
