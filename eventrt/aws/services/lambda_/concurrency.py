"""Reserved concurrency of functions."""

from collections.abc import Mapping
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import read, ref_of, write
from eventrt.invoker import functions
from eventrt.store.api import Store


class ConcurrencyService:
    """Put, get and delete a function's reserved concurrency; the invoker holds functions to it.

    Args: account_concurrency: what an account may run at a time in one region.
    """

    service_id = "lambda"

    def __init__(self, store: Store, *, account_concurrency: int) -> None:
        self._store = store
        self._account_concurrency = account_concurrency

    @operation("PutFunctionConcurrency")
    async def put_function_concurrency(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Reserve concurrent executions for a function."""
        ref, wanted = ref_of(call, request), request["ReservedConcurrentExecutions"]
        limit = self._account_concurrency
        await write(self._store, lambda tx: functions.reserve_concurrency(tx, ref, wanted, account_concurrency=limit))
        return {"ReservedConcurrentExecutions": wanted}

    @operation("GetFunctionConcurrency")
    async def get_function_concurrency(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return what is reserved, nothing when nothing is."""
        ref = ref_of(call, request)
        reserved = await read(self._store, lambda tx: functions.reserved_concurrency(tx, ref))
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    @operation("DeleteFunctionConcurrency")
    async def delete_function_concurrency(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Give the reservation back; it need not be there."""
        ref = ref_of(call, request)
        await write(self._store, lambda tx: functions.reserve_concurrency(tx, ref, None))
        return {}
