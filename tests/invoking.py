"""What tests of the invoker share: an invoker with a store that only knows functions, and code written on the spot."""

import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson

from eventrt.core.functions import CodePackage, FunctionUsage, FunctionVersion
from eventrt.core.records import Outcome
from eventrt.invoker.invocation import Invocation
from eventrt.invoker.invoker import Invoker
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.invoker.runtimes.python import own_interpreter
from eventrt.store.sqlite.engine import BellWatch

ACCOUNT, REGION = "000000000000", "us-east-1"


class Functions:
    """The functions' repository, as far as an invoker asks."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str], FunctionVersion] = {}

    def get(self, account_id: str, region: str, name: str) -> FunctionVersion | None:
        return self.kept.get((account_id, region, name))

    def every(self) -> list[FunctionVersion]:
        return list(self.kept.values())

    def usage(self, account_id: str, region: str) -> FunctionUsage:
        return FunctionUsage(reserved_concurrency=sum(f.reserved_concurrency or 0 for f in self.kept.values()))


class FunctionStore:
    """A store of functions and bells only."""

    def __init__(self) -> None:
        self.functions = Functions()
        self._bells: dict[Any, list[BellWatch]] = {}

    async def read(self, query: Callable[[Any], Any]) -> Any:
        return query(self)

    @contextmanager
    def watch(self, topic: Any) -> Iterator[BellWatch]:
        bell = BellWatch()
        self._bells.setdefault(topic, []).append(bell)
        try:
            yield bell
        finally:
            self._bells[topic].remove(bell)

    def put(self, function: FunctionVersion) -> None:
        self.functions.kept[function.account_id, function.region, function.name] = function
        self.ring(function)

    def remove(self, function: FunctionVersion) -> None:
        del self.functions.kept[function.account_id, function.region, function.name]
        self.ring(function)

    def ring(self, function: FunctionVersion) -> None:
        for bell in self._bells.get(("function", function.arn), []):
            bell.ring()


class Bench:
    """An invoker that runs, and functions made of source text."""

    def __init__(self, folder: Path, invoker: Invoker, store: FunctionStore) -> None:
        self.folder = folder
        self.invoker = invoker
        self.store = store
        self.stop: Callable[[], None]

    def function(self, source: str, **more: Any) -> FunctionVersion:
        """Keep a function whose module `app` has this source."""
        name = more.pop("name", None) or f"f-{uuid.uuid4().hex[:8]}"
        code = self.folder / "code" / uuid.uuid4().hex
        code.mkdir(parents=True)
        (code / "app.py").write_text(textwrap.dedent(source))
        for path, text in more.pop("files", {}).items():
            (code / path).parent.mkdir(parents=True, exist_ok=True)
            (code / path).write_text(textwrap.dedent(text))
        made = FunctionVersion(
            account_id=ACCOUNT,
            region=REGION,
            name=name,
            runtime=more.pop("runtime", own_interpreter()),
            handler=more.pop("handler", "app.handler"),
            role="arn:aws:iam::000000000000:role/r",
            code=CodePackage(sha256=uuid.uuid4().hex, size_bytes=1, folder=str(code)),
            revision_id=uuid.uuid4().hex,
            configuration_id=uuid.uuid4().hex,
            modified_at=0.0,
            **more,
        )
        self.store.put(made)
        return made

    def change(self, function: FunctionVersion, **changes: Any) -> FunctionVersion:
        """Keep a changed function, as an update of its configuration does."""
        changed = replace(function, configuration_id=uuid.uuid4().hex, **changes)
        self.store.put(changed)
        return changed

    async def invoke(self, function: FunctionVersion, event: Any = None, **more: Any) -> Outcome:
        """Invoke a function with an event."""
        return await self.invoker.invoke(
            Invocation(
                account_id=function.account_id,
                region=function.region,
                function_name=function.name,
                payload=more.pop("payload", None) or orjson.dumps(event),
                request_id=more.pop("request_id", None) or str(uuid.uuid4()),
                invoked_arn=function.arn,
                **more,
            )
        )

    async def result(self, function: FunctionVersion, event: Any = None, **more: Any) -> Any:
        """Invoke a function and return what it returned."""
        outcome = await self.invoke(function, event, **more)
        assert hasattr(outcome, "payload"), outcome
        assert not hasattr(outcome, "error_type"), outcome.payload
        return orjson.loads(outcome.payload)

    def log(self, function: FunctionVersion) -> str:
        """Return all that the function's log holds."""
        return "\n".join(self.invoker.logs.tail(ACCOUNT, REGION, function.name, lines=10_000))


@asynccontextmanager
async def running_invoker(folder: Path, **settings: Any) -> AsyncIterator[Bench]:
    """Run an invoker with its data in `folder` for the length of a `with` block."""
    store = FunctionStore()
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    runtime = settings.pop("runtime", None)
    invoker = Invoker(
        store,  # type: ignore[arg-type]  # it has what an invoker asks for
        data,
        interpreters=settings.pop("interpreters", None) or Interpreters(),
        endpoint="http://127.0.0.1:4566",
        runtime=runtime(data) if runtime else None,
        **{"stop_grace_s": 0.0, **settings},
    )
    async with anyio.create_task_group() as group:
        await group.start(invoker.run)
        bench = Bench(folder, invoker, store)
        bench.stop = group.cancel_scope.cancel
        try:
            yield bench
        finally:
            group.cancel_scope.cancel()
