"""The daemon: builds every room, opens them from inside out, serves until told to stop, closes from outside in.

Nothing else builds rooms: those that need each other meet here. Starting goes store, clock, declared things, invoker,
pollers, doors. Stopping goes the other way: the doors close and finish what they answer, the pollers stop receiving
and running invocations finish within their grace, the outcomes are committed, the store closes last.
"""

import asyncio
import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import structlog
from anyio.abc import TaskStatus

from eventrt import __version__, sdnotify
from eventrt.aws.protocol.dispatch import AwsDoor
from eventrt.aws.services import lambda_
from eventrt.aws.services.dynamodb import DynamoDbService
from eventrt.aws.services.dynamodb_streams import DynamoDbStreamsService
from eventrt.aws.services.event_source_mappings import EventSourceMappingService
from eventrt.aws.services.iam import IamService
from eventrt.aws.services.kinesis import KinesisService
from eventrt.aws.services.s3 import S3Service
from eventrt.aws.services.sqs import SqsService
from eventrt.aws.services.sts import StsService, TemporaryCredentials, handler_principal
from eventrt.clock import SystemClock, VirtualClock
from eventrt.config.settings import Settings
from eventrt.core.functions import FunctionVersion
from eventrt.core.records import FunctionError, Outcome, ServiceFault, Succeeded, Throttled
from eventrt.destinations.desk import Desk
from eventrt.errors import StoreFull
from eventrt.frontdoors.control import Control
from eventrt.frontdoors.guard import Guard
from eventrt.frontdoors.inventory import Inventory
from eventrt.frontdoors.reports import Reports
from eventrt.frontdoors.server import HttpServer
from eventrt.http import Handler, Request, Response
from eventrt.invoker import async_shelf
from eventrt.invoker.asynchronous import AsyncDrain
from eventrt.invoker.invoker import Invoker
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.invoker.runtimes.python import PythonRuntime
from eventrt.invoker.transitions import Transitions
from eventrt.plugins import Plugins
from eventrt.pollers.reports import BatchReport
from eventrt.pollers.supervisor import Supervisor
from eventrt.reconcile import reconcile
from eventrt.sources import queues
from eventrt.sources.buckets import Buckets
from eventrt.sources.bucketsweeper import BucketSweeper
from eventrt.sources.folders import Folders
from eventrt.sources.moves import Mover
from eventrt.sources.streamsweeper import StreamSweeper
from eventrt.sources.sweeper import Sweeper
from eventrt.sources.tablesweeper import TableSweeper
from eventrt.store.api import Tx
from eventrt.store.blobs import Blobs
from eventrt.store.sqlite.reports import SqliteReports
from eventrt.store.sqlite.store import SqliteStore

Run = Callable[..., Coroutine[Any, Any, None]]
"""A room's `run(*, task_status)`."""

LAST_OUTCOMES_S = 1.0
"""How long after the grace of a stop outcomes may take to be committed."""

SEAL = "seal"
"""The note that holds the secret which seals temporary credentials."""

HANDLER_CREDENTIALS_S = 12 * 3600
"""How long a handler's own credentials are good for: longer than its environment lives."""

COLLECT_AFTER = (50_000, 20, 50)
"""When the collector looks for cycles: requests make few, and Python's 700 has it look every few dozen requests."""

_LOG = structlog.get_logger("eventrt.daemon")


class Daemon:
    """One daemon.

    Args: settings: checked ones.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.directory = Path(settings.store.data_dir).absolute()
        self.clock: SystemClock = VirtualClock() if settings.clock.controllable else SystemClock()
        self.store = SqliteStore(self.directory, clock=self.clock, durability=settings.store.durability)
        self.sqs = SqsService(
            self.store,
            self.clock,
            recreation_wait_s=settings.sqs.recreation_wait_s,
            user_id_of=lambda key, token: (self.credentials.claims_of(key, token) or {}).get("user_id"),
        )
        self.kinesis = KinesisService(
            self.store,
            self.clock,
            limits=settings.limits.kinesis,
            transition_s=settings.kinesis.transition_s,
        )
        self.plugins = Plugins()
        self.interpreters = Interpreters(settings.runtime.interpreters, strict=settings.runtime.strict)
        self.desk = Desk()
        self.desk.register("sqs", queues.accept)
        self.desk.register("lambda", async_shelf.take_delivery)
        self.blobs = Blobs(self.directory, is_power_safe=settings.store.durability == "power")
        self.buckets = Buckets(self.desk, coalesces=settings.s3.coalesce)
        self.desk.register("s3", self.buckets.accept)
        self.folders = Folders(self.store, self.clock, self.blobs, self.buckets)
        self.invoker: Invoker | None = None
        self.server: HttpServer | None = None

    @property
    def is_open(self) -> bool:
        """Has the port been opened, so that somebody may wait for an answer?"""
        return self.server is not None

    def hurry(self) -> None:
        """End the grace of a stop: running invocations are ended now, and their callers answered."""
        if self.invoker is not None:
            self.invoker.hurry()
        if self.server is not None:
            self.server.hurry()

    async def serve(self, sock: socket.socket, until: Callable[[], Awaitable[None]]) -> None:
        """Serve on a bound socket until `until` returns.

        Raises: StartupError, StoreCorrupt: the store cannot be opened. ConfigurationError: a declared thing is
            refused.
        """
        self.store.open()
        self.store.engine.tx.objects.uses.on_unused = self.blobs.give_up
        try:
            last_moment = await self.store.write(self._take_over)
            _LOG.debug("store.opened", last_moment=last_moment)
            await self._live(sock, until)
        finally:
            with anyio.CancelScope(shield=True):
                await self.store.close()
        _LOG.info("daemon.stopped")

    def _take_over(self, tx: Tx) -> float | None:
        """Go on where the last daemon stopped; return the last moment it saw. A unit of work.

        A wall clock that was set back strands nothing: a test clock goes on from its last moment; the real clock
        stays with the wall clock, and the kept moments are shifted. Leases of pollers end: nobody works on them.
        """
        now, last = self.clock.now(), tx.notes.last_moment()
        if last is not None and last > now:
            if isinstance(self.clock, VirtualClock):
                self.clock.begin_at(last)
            else:
                tx.messages.rebase(now - last)
                tx.streams.rebase(now - last)
                tx.asynchronous.rebase(now - last)
                _LOG.warning("clock.went_back", seconds=round(last - now, 3))
        tx.messages.end_poller_leases()
        secret = tx.notes.get(SEAL) or secrets.token_hex(32)
        tx.notes.put(SEAL, secret)
        self.credentials = TemporaryCredentials(bytes.fromhex(secret))
        return last

    async def _live(self, sock: socket.socket, until: Callable[[], Awaitable[None]]) -> None:
        """Build the rooms, run them from inside out, wait, and stop them from outside in."""
        settings, store, clock = self.settings, self.store, self.clock
        grace_s = settings.runtime.stop_grace_s
        packages = Packages(self.directory, clock=clock)
        await reconcile(settings, store, packages, self.interpreters, self.buckets)
        self.invoker = invoker = self._invoker(sock)
        events = AsyncDrain(
            store,
            clock,
            invoker,
            self.desk,
            retry_base_s=settings.lambda_.async_retry_base_s,
            places=settings.lambda_.max_environments,
        )
        supervisor = Supervisor(store, clock, invoker, desk=self.desk, plugins=self.plugins)
        supervisor.on_batch(log_batch if settings.log.level == "debug" else log_failed_batch)
        shelves = SqliteReports(store.engine.path, clock)
        control = Control(
            Reports(
                store,
                packages,
                invoker.logs,
                shelves=shelves,
                describe_mapping=supervisor.describe,
                inspect_mapping=supervisor.inspect,
                rooms=lambda: {**self._rooms(supervisor, invoker), "asynchronous": events.status()},
            ),
            Inventory(store, clock, shelves, at_work=events.at_work),
            clock,
            note_clock=self._note_clock,
            go_back_to_real_time=self._go_back_to_real_time,
        )
        door = self._door(packages, invoker)

        async def answer(request: Request) -> Response:
            return await (control if control.serves(request.path) else door).handle(request)

        async def lets_page_in(request: Request) -> bool:
            return not control.serves(request.path) and await door.lets_page_in(request)

        try:
            async with (
                _running(
                    Transitions(store, packages, self.interpreters).run,
                    Sweeper(store, clock).run,
                    TableSweeper(store, clock).run,
                    StreamSweeper(store, clock).run,
                    BucketSweeper(store, clock, self.buckets).run,
                    self._collect_blobs,
                    self.folders.run,
                    Mover(store, clock).run,
                    invoker.run,
                ),
                _running(supervisor.run, events.run),
                anyio.create_task_group() as ends,
            ):
                self.server = self._server(answer, lets_page_in, sock)
                async with _running(self.server.run):
                    self._tell_ready(sock)
                    await self._wait(until, door.warm_up, invoker.warm_up)
                    # One grace for all that runs, at the same time: requests, batches and events. What is not
                    # done by its end gets a fault of the service as its outcome, and goes back or is answered.
                    loop = asyncio.get_running_loop()
                    loop.call_later(grace_s, self.hurry)
                    loop.call_soon(invoker.logs.end_follows)
                    loop.call_soon(self.sqs.end_waits)
                    loop.call_soon(self.kinesis.end_waits)
                    for drain in (supervisor.drain, events.drain):
                        ends.start_soon(drain, grace_s + LAST_OUTCOMES_S)
        finally:
            with anyio.CancelScope(shield=True):
                await shelves.close()

    async def _collect_blobs(self, *, task_status: TaskStatus[None]) -> None:
        """Remove bodies of objects that nothing uses any more, until cancelled."""
        await self.blobs.run(
            lambda names: self.store.read(lambda tx: tx.objects.unused(names)),
            lambda: self.store.write(lambda tx: None),  # answered after all that was committed before
            task_status=task_status,
        )

    async def _wait(self, until: Callable[[], Awaitable[None]], *warm_ups: Run) -> None:
        """Return when `until` does; meanwhile warm up, keep systemd's watchdog and a test clock's moment.

        What warms up does so only now: nobody who waits for the daemon to be ready waits for it.
        """
        async with anyio.create_task_group() as group:
            for warm_up in warm_ups:
                group.start_soon(warm_up)
            group.start_soon(sdnotify.feed_watchdog)
            group.start_soon(self._keep_noting_clock)
            await until()
            group.cancel_scope.cancel()
        sdnotify.notify("STOPPING=1")

    def _invoker(self, sock: socket.socket) -> Invoker:
        """Return the invoker; its handlers call back to the bound port."""
        settings, limits = self.settings.runtime, self.settings.lambda_
        return Invoker(
            self.store,
            self.directory,
            interpreters=self.interpreters,
            endpoint=url_of(sock, from_here=True),
            account_concurrency=limits.account_concurrency,
            max_environments=limits.max_environments,
            idle_timeout_s=settings.idle_timeout_s,
            stop_grace_s=settings.stop_grace_s,
            log_bytes=self.settings.log.function_bytes,
            credentials=self._handler_credentials,
            runtime=PythonRuntime(
                self.directory,
                interpreters=self.interpreters,
                packages=settings.packages,
                isolation=settings.isolation,
            ),
        )

    async def _handler_credentials(self, function: FunctionVersion) -> tuple[str, str, str]:
        """Return what a handler signs its own calls with: temporary credentials of its role."""
        principal = await handler_principal(self.store, function.account_id, function.role, function.name)
        issued = self.credentials.issue(function.account_id, principal, HANDLER_CREDENTIALS_S)
        return issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"]

    def _rooms(self, supervisor: Supervisor, invoker: Invoker) -> Mapping[str, Mapping[str, Any]]:
        """Return the status of each room."""
        pollers = supervisor.describe_all()
        return {
            "aws": {"status": "running"},
            "store": {"status": "running", "durability": self.settings.store.durability},
            "pollers": {"status": "running", "mappings": len(pollers)},
            "invoker": invoker.status(),
        }

    async def _note_clock(self) -> None:
        """Have the clock's moment on disk."""
        await self.store.write(lambda tx: tx.notes.note_moment())

    async def _keep_noting_clock(self) -> None:
        """While a test clock runs at a rate of its own, note its moment every second; a restart goes on from there."""
        while isinstance(self.clock, VirtualClock):
            await anyio.sleep(1.0)
            if self.clock.rate not in (0.0, 1.0):
                try:
                    await self._note_clock()
                except StoreFull as error:
                    _LOG.warning("clock.not_noted", error=str(error))

    async def _go_back_to_real_time(self) -> None:
        """Set a test clock to the wall clock; what waits for a moment is shifted along with it."""

        def unit(tx: Tx) -> None:
            if isinstance(self.clock, VirtualClock):
                before = self.clock.now()
                self.clock.set_real()
                tx.messages.rebase(self.clock.now() - before)
                tx.streams.rebase(self.clock.now() - before)
                tx.asynchronous.rebase(self.clock.now() - before)

        await self.store.write(unit)

    def _door(self, packages: Packages, invoker: Any) -> AwsDoor:
        """Return the AWS door with every service behind it."""
        auth, store = self.settings.auth, self.store
        credentials = self.credentials
        keys = {key.access_key: key.secret_key for key in auth.keys}

        def secret_of(access_key: str, token: str) -> str | None:
            return credentials.secret_of(access_key, token) if token else keys.get(access_key)

        self.s3 = S3Service(
            store,
            self.clock,
            self.blobs,
            self.buckets,
            self.folders,
            secret_of=secret_of if auth.mode == "sigv4" else None,
        )
        return AwsDoor(
            [
                self.sqs,
                self.kinesis,
                *lambda_.services(
                    store,
                    packages,
                    invoker,
                    blobs=self.blobs,
                    folders=self.folders,
                    desk=self.desk,
                    interpreters=self.interpreters,
                    account_concurrency=self.settings.lambda_.account_concurrency,
                ),
                EventSourceMappingService(store, lambda: self.plugins.services),
                IamService(store),
                StsService(credentials, store),
                self.s3,
                DynamoDbService(store, self.clock),
                DynamoDbStreamsService(store, self.clock),
            ],
            auth=auth.mode,
            secret_of=secret_of,
            account_of=credentials.account_of,
        )

    def _server(
        self, answer: Handler, lets_page_in: Callable[[Request], Awaitable[bool]], sock: socket.socket
    ) -> HttpServer:
        """Return the one port, on a bound socket."""
        server = self.settings.server
        return HttpServer(
            answer,
            server.host,
            server.port,
            sock=sock,
            lets_page_in=lets_page_in,
            guard=Guard((*own_names(server.host), *server.allowed_hosts)),
            connection_limit=server.max_connections,
            idle_timeout_s=server.idle_timeout_s,
            stall_timeout_s=server.stall_timeout_s,
            min_body_rate=server.min_body_rate,
            grace_s=self.settings.runtime.stop_grace_s,
        )

    def _tell_ready(self, sock: socket.socket) -> None:
        gc.freeze()  # what is there now stays: the collector need not look at it again
        gc.set_threshold(*COLLECT_AFTER)
        url = url_of(sock)
        _LOG.info(
            "daemon.started",
            url=url,
            version=__version__,
            data_dir=str(self.directory),
            durability=self.settings.store.durability,
            auth=self.settings.auth.mode,
            pid=os.getpid(),
        )
        sdnotify.notify("READY=1", f"STATUS=serving on {url}")


def own_names(host: str) -> set[str]:
    """Return the names and addresses that a listener on `host` is called by: for one that listens everywhere, the
    machine's own name and what that stands for.
    """
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return {host}
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return {host, name}
    return {host, name, *(str(address[0]) for *_, address in found)}


def url_of(sock: socket.socket, *, from_here: bool = False) -> str:
    """Return the URL of a bound socket; `from_here` gives loopback for a socket that listens everywhere."""
    host, port = sock.getsockname()[:2]
    if from_here and host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def log_batch(report: BatchReport) -> None:
    """Log a batch that came to its end: one that left failed records as a warning, others for those who want all."""
    outcome, log = report.outcome, _LOG.warning if report.failed else _LOG.debug
    log(
        "batch.invoked",
        mapping_id=report.mapping.id,
        source_arn=report.mapping.source_arn,
        function=report.mapping.function_name,
        request_id=report.request_id,
        batch_number=report.batch.number,
        batch_size=len(report.batch.records),
        attempt=report.batch.attempt,
        outcome=type(outcome).__name__,
        done=report.done,
        failed=report.failed,
        duration_ms=round(report.duration_ms, 3),
        **({"error": error_of(outcome)} if report.failed else {}),
    )


def log_failed_batch(report: BatchReport) -> None:
    """Log a batch that left failed records."""
    if report.failed:
        log_batch(report)


def error_of(outcome: Outcome) -> str:
    """Say in words why records of a batch failed; the function's own message stays in the function's log."""
    match outcome:
        case FunctionError():
            return outcome.error_type
        case Throttled():
            return f"throttled: {outcome.reason}"
        case ServiceFault():
            return f"{outcome.code}: {outcome.message}"
        case Succeeded():
            return "the function named failed items"


@asynccontextmanager
async def _running(*runs: Run) -> AsyncIterator[None]:
    """Have rooms running for the length of a block: started in order, cancelled together at its end."""
    async with anyio.create_task_group() as group:
        for run in runs:
            await group.start(run)
        yield
        group.cancel_scope.cancel()
