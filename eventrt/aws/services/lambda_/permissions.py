"""The resource policy of functions: add a statement, show the policy, remove a statement."""

from collections.abc import Mapping
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import read, ref_of, write
from eventrt.core.resource_policy import document_of
from eventrt.errors import ApiError
from eventrt.invoker import functions
from eventrt.store.api import Store


class PermissionService:
    """AddPermission, GetPolicy and RemovePermission; the policy is kept and shown, no call is judged by it yet."""

    service_id = "lambda"

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation("AddPermission")
    async def add_permission(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Add a statement and return it as JSON text."""
        ref = ref_of(call, request)
        statement = await write(
            self._store,
            lambda tx: functions.add_permission(tx, ref, request, revision_id=request.get("RevisionId")),
        )
        return {"Statement": orjson.dumps(statement).decode()}

    @operation("GetPolicy")
    async def get_policy(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return the policy as JSON text, and the revision that guards changes of it."""
        ref = ref_of(call, request)
        function = await read(self._store, lambda tx: functions.find(tx, ref))
        if not function.policy or ref.qualifier is not None:
            raise ApiError("ResourceNotFoundException", "The resource you requested does not exist.")
        return {
            "Policy": orjson.dumps(document_of(function.policy)).decode(),
            "RevisionId": function.latest.revision_id,
        }

    @operation("RemovePermission")
    async def remove_permission(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Take a statement out."""
        ref = ref_of(call, request)
        await write(
            self._store,
            lambda tx: functions.remove_permission(
                tx, ref, request["StatementId"], revision_id=request.get("RevisionId")
            ),
        )
        return {}
