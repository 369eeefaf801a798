"""Operations on functions: create, get, update code and configuration, delete, list, account settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.archives import Archives, check_source
from eventrt.aws.services.lambda_.common import api_error, page_of, page_start, read, ref_of, write
from eventrt.aws.services.lambda_.shapes import configuration_of
from eventrt.core.event_invoke import check_dead_letter_target
from eventrt.core.function_rules import (
    SERVED_RUNTIMES,
    TOTAL_CODE_LIMIT_BYTES,
    UNZIPPED_LIMIT_BYTES,
    ZIPPED_LIMIT_BYTES,
    FunctionRef,
)
from eventrt.core.functions import CodePackage, Function, FunctionVersion
from eventrt.core.refused import Refused
from eventrt.destinations.desk import Desk
from eventrt.errors import ApiError
from eventrt.invoker import functions
from eventrt.invoker.packages import Packages
from eventrt.invoker.runtimes.interpreters import Interpreters
from eventrt.store.api import Store, Tx

_CONFIGURATION = {
    "Runtime": "runtime",
    "Role": "role",
    "Handler": "handler",
    "Description": "description",
    "Timeout": "timeout_s",
    "MemorySize": "memory_mb",
}
"""Members that are a setting of the same kind, by their names on both sides."""


class FunctionService:
    """Lambda's operations on functions themselves, and on the account's limits.

    Args: archives: where code comes from. desk: who takes dead letters. interpreters: which Runtimes this machine
        has. account_concurrency: what an account may run at a time in one region.
    """

    service_id = "lambda"

    def __init__(
        self,
        store: Store,
        packages: Packages,
        archives: Archives,
        *,
        desk: Desk,
        interpreters: Interpreters,
        account_concurrency: int,
    ) -> None:
        self._store = store
        self._packages = packages
        self._archives = archives
        self._desk = desk
        self._interpreters = interpreters
        self._account_concurrency = account_concurrency

    # -- create, update, delete

    @operation("CreateFunction")
    async def create_function(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Make a function; it is Pending in the answer and Active soon after."""
        ref = ref_of(call, request)
        if ref.qualifier is not None:
            raise ApiError(
                "ValidationException",
                f"1 validation error detected: Value '{request['FunctionName']}' at 'functionName' failed to "
                "satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9-_]+",
            )
        changes = _changes(request)
        if not changes.get("runtime") or not changes.get("handler"):
            raise _invalid(
                "Runtime and Handler are mandatory parameters for functions created with deployment packages."
            )
        check_source(request["Code"])
        await self._check_surroundings(changes)
        await read(self._store, lambda tx: functions.check_absent(tx, ref.key))
        async with self._adding(call, request["Code"]) as code:
            settings = functions.FunctionSettings(code=code, **changes)
            tags = request.get("Tags") or {}
            function = await write(self._store, lambda tx: functions.create(tx, ref.key, settings, tags))
        return configuration_of(function.latest)

    @operation("UpdateFunctionCode")
    async def update_function_code(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Give a function other code; invocations run the former until LastUpdateStatus is Successful."""
        ref = ref_of(call, request)
        _refuse_qualifier(ref)
        await read(self._store, lambda tx: _check_update(tx, ref, request.get("RevisionId")))
        if request.get("ImageUri"):
            raise _invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
        check_source(request)
        async with self._adding(call, request) as code:
            changes: dict[str, Any] = {"code": code, **_architectures(request)}
            if request.get("DryRun"):
                function = await read(
                    self._store,
                    lambda tx: functions.preview(tx, ref, changes, revision_id=request.get("RevisionId")),
                )
            else:
                function = await write(
                    self._store,
                    lambda tx: functions.update(tx, ref, changes, revision_id=request.get("RevisionId")),
                )
        return configuration_of(function.latest)

    @operation("UpdateFunctionConfiguration")
    async def update_function_configuration(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Change the settings that are given; lists and maps are replaced whole."""
        ref = ref_of(call, request)
        _refuse_qualifier(ref)
        changes = _changes(request)
        await self._check_surroundings(changes)
        function = await write(
            self._store,
            lambda tx: functions.update(tx, ref, changes, revision_id=request.get("RevisionId")),
        )
        return configuration_of(function.latest)

    @operation("DeleteFunction")
    async def delete_function(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Forget a function and all that is set on it; its event source mappings stay."""
        ref = ref_of(call, request)
        await write(self._store, lambda tx: functions.delete(tx, ref))
        return {"StatusCode": 204}

    # -- get and list

    @operation("GetFunction")
    async def get_function(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a function's configuration, a link to its code, its tags and reserved concurrency."""
        ref = ref_of(call, request)
        version = (await read(self._store, lambda tx: functions.find(tx, ref))).latest
        answer: dict[str, Any] = {
            "Configuration": configuration_of(version, qualifier=ref.qualifier),
            "Code": {"RepositoryType": "S3", "Location": self._location(call, version)},
        }
        if version.tags:
            answer["Tags"] = dict(version.tags)
        if version.reserved_concurrency is not None:
            answer["Concurrency"] = {"ReservedConcurrentExecutions": version.reserved_concurrency}
        return answer

    @operation("GetFunctionConfiguration")
    async def get_function_configuration(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a function's configuration."""
        ref = ref_of(call, request)
        function = await read(self._store, lambda tx: functions.find(tx, ref))
        return configuration_of(function.latest, qualifier=ref.qualifier)

    @operation("ListFunctions")
    async def list_functions(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a page of functions in order of names; with FunctionVersion=ALL their versions, qualified."""
        after, limit = page_start(request)
        found = await read(
            self._store,
            lambda tx: tx.functions.page(call.account_id, call.region, after=after, limit=limit + 1),
        )
        page, marker = page_of(found, limit, name_of=lambda version: version.name)
        qualifier = "$LATEST" if request.get("FunctionVersion") else None
        listed = [configuration_of(version, qualifier=qualifier, with_states=False) for version in page]
        return {"Functions": listed, **marker}

    @operation("ListVersionsByFunction")
    async def list_versions_by_function(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return the versions of a function: $LATEST, as long as none can be published."""
        ref = ref_of(call, request)
        after, _ = page_start(request)
        function = await read(self._store, lambda tx: functions.find(tx, ref))
        version = configuration_of(function.latest, qualifier="$LATEST", with_states=False)
        return {"Versions": [] if after else [version]}

    @operation("GetAccountSettings")
    async def get_account_settings(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return the account's limits and what it uses of them."""
        usage = await read(self._store, lambda tx: tx.functions.usage(call.account_id, call.region))
        return {
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_LIMIT_BYTES,
                "CodeSizeUnzipped": UNZIPPED_LIMIT_BYTES,
                "CodeSizeZipped": ZIPPED_LIMIT_BYTES,
                "ConcurrentExecutions": self._account_concurrency,
                "UnreservedConcurrentExecutions": self._account_concurrency - usage.reserved_concurrency,
            },
            "AccountUsage": {"TotalCodeSize": usage.code_bytes, "FunctionCount": usage.functions},
        }

    @operation("GetFunctionCodeSigningConfig")
    async def get_function_code_signing_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return no configuration: code is not signed here; the answer has the function's name, as on AWS."""
        ref = ref_of(call, request)
        await read(self._store, lambda tx: functions.find(tx, ref))
        return {"CodeSigningConfigArn": "", "FunctionName": ref.name}

    # -- pieces

    async def _check_surroundings(self, changes: Mapping[str, Any]) -> None:
        """Let settings pass that this machine and this daemon can do.

        Raises: ApiError: nobody takes deliveries for the dead-letter target; with `runtime.strict`, the interpreter
            is not there.
        """
        try:
            if (target := changes.get("dead_letter_arn")) is not None:
                check_dead_letter_target(target, is_served=self._desk.takes)
            if (runtime := changes.get("runtime")) in SERVED_RUNTIMES:
                await self._interpreters.check(runtime)
        except Refused as refused:
            raise api_error(refused) from refused

    @asynccontextmanager
    async def _adding(self, call: Call, source: Mapping[str, Any]) -> AsyncIterator[CodePackage]:
        try:
            archive = await self._archives.read(call, source)
            async with self._packages.adding(archive) as code:
                yield code
        except Refused as refused:
            raise api_error(refused) from refused

    def _location(self, call: Call, version: FunctionVersion) -> str:
        """Return the URL on this port under which the control paths give out the function's code."""
        query = urlencode(
            {
                "account": version.account_id,
                "region": version.region,
                "token": self._packages.link_token(version.code),
            }
        )
        return f"http://{call.host}/_eventrt/functions/{version.name}/code?{query}"


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValueException", message)


def _check_update(tx: Tx, ref: FunctionRef, revision_id: str | None) -> Function:
    function = functions.find(tx, ref)
    functions.check_revision(function.latest, revision_id)
    functions.check_settled(function.latest)
    return function


def _refuse_qualifier(ref: FunctionRef) -> None:
    """Refuse an update of anything but $LATEST: versions cannot change."""
    if ref.qualifier is not None and ref.qualifier != "$LATEST":
        raise _invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
            "operation. Please specify either a function name or an unqualified function ARN."
        )


def _architectures(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"architectures": tuple(request["Architectures"])} if request.get("Architectures") else {}


def _changes(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a request gives, by their fields in `FunctionSettings`."""
    changes: dict[str, Any] = {
        field: request[member] for member, field in _CONFIGURATION.items() if request.get(member) is not None
    }
    if (environment := request.get("Environment")) is not None:
        changes["environment"] = dict(environment.get("Variables") or {}) or None
    if (storage := request.get("EphemeralStorage")) is not None:
        changes["ephemeral_storage_mb"] = storage["Size"]
    if (dead_letter := request.get("DeadLetterConfig")) is not None:
        changes["dead_letter_arn"] = dead_letter.get("TargetArn") or None
    if (logging := request.get("LoggingConfig")) is not None:
        changes["log_group"] = logging.get("LogGroup")
    return {**changes, **_architectures(request)}
