"""Event invoke configs: how often and how long asynchronous events are tried, and who is told of their end."""

from collections.abc import Mapping
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import page_of, page_start, read, ref_of, write
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.core.function_rules import LATEST, FunctionRef, function_not_found
from eventrt.destinations.desk import Desk
from eventrt.invoker import async_shelf
from eventrt.store.api import Store, Tx


class EventInvokeService:
    """Put, update, get, delete and list FunctionEventInvokeConfigs."""

    service_id = "lambda"

    def __init__(self, store: Store, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    @operation("PutFunctionEventInvokeConfig")
    async def put_function_event_invoke_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Set a function's config anew; what is left out has AWS's default."""
        return await self._configure(call, request, merges=False)

    @operation("UpdateFunctionEventInvokeConfig")
    async def update_function_event_invoke_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Change what is given of a function's config."""
        return await self._configure(call, request, merges=True)

    @operation("GetFunctionEventInvokeConfig")
    async def get_function_event_invoke_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a function's config."""
        ref = ref_of(call, request)
        return _shown(ref, ref.qualifier, await read(self._store, lambda tx: async_shelf.config_of(tx, ref)))

    @operation("DeleteFunctionEventInvokeConfig")
    async def delete_function_event_invoke_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Take a function's config away; its events have AWS's defaults again."""
        ref = ref_of(call, request)
        await write(self._store, lambda tx: async_shelf.remove_config(tx, ref))
        return {}

    @operation("ListFunctionEventInvokeConfigs")
    async def list_function_event_invoke_configs(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return a page of a function's configs, one for each qualifier that has one."""
        ref = ref_of(call, request)
        after, limit = page_start(request)

        def query(tx: Tx) -> list[tuple[str, EventInvokeConfig]]:
            if tx.functions.get(*ref.key) is None:
                raise function_not_found(f"{ref.arn}:{LATEST}")
            return list(tx.asynchronous.configs(ref.key, after=after, limit=limit + 1))

        page, marker = page_of(await read(self._store, query), limit, name_of=lambda found: found[0])
        return {"FunctionEventInvokeConfigs": [_shown(ref, *found) for found in page], **marker}

    async def _configure(self, call: Call, request: Mapping[str, Any], *, merges: bool) -> Answer:
        ref = ref_of(call, request)
        config = await write(self._store, lambda tx: async_shelf.configure(tx, self._desk, ref, request, merges=merges))
        return _shown(ref, ref.qualifier, config)


def _shown(ref: FunctionRef, qualifier: str | None, config: EventInvokeConfig) -> dict[str, Any]:
    """Return FunctionEventInvokeConfig: the ARN always qualified, numbers only when they are set."""
    members: dict[str, Any] = {
        "LastModified": config.modified_at,
        "FunctionArn": f"{ref.arn}:{qualifier or LATEST}",
        "DestinationConfig": {
            "OnSuccess": {"Destination": config.on_success} if config.on_success else {},
            "OnFailure": {"Destination": config.on_failure} if config.on_failure else {},
        },
    }
    if config.most_retries is not None:
        members["MaximumRetryAttempts"] = config.most_retries
    if config.longest_age_s is not None:
        members["MaximumEventAgeInSeconds"] = config.longest_age_s
    return members
