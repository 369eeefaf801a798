"""Recursion configs: whether a loop of events through a function is stopped."""

from collections.abc import Mapping
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import read, ref_of, write
from eventrt.invoker import functions
from eventrt.store.api import Store


class RecursionService:
    """PutFunctionRecursionConfig and GetFunctionRecursionConfig; the invoker holds functions to it."""

    service_id = "lambda"

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation("PutFunctionRecursionConfig")
    async def put_function_recursion_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Have loops through a function stopped (Terminate) or let go on (Allow)."""
        ref, wanted = ref_of(call, request), request["RecursiveLoop"]
        await write(self._store, lambda tx: functions.set_recursive_loop(tx, ref, wanted))
        return {"RecursiveLoop": wanted}

    @operation("GetFunctionRecursionConfig")
    async def get_function_recursion_config(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return what becomes of loops through a function."""
        ref = ref_of(call, request)
        function = await read(self._store, lambda tx: functions.find(tx, ref))
        return {"RecursiveLoop": function.latest.recursive_loop}
