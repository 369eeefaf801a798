"""Resource policies of streams and consumers: kept and given back; accounts are separate worlds."""

import orjson

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import KinesisRoom, Request, find_resource
from eventrt.errors import ApiError
from eventrt.store.api import Tx

MAXIMUM_POLICY_BYTES = 20 * 1024
"""Source: developer guide, sharing a data stream with another account."""


class Policies(KinesisRoom):
    """The operations on resource policies."""

    @operation("PutResourcePolicy")
    async def put_resource_policy(self, call: Call, request: Request) -> Answer:
        """Keep the policy of a stream or a consumer."""
        policy = _checked(request["Policy"])
        await self._store.write(lambda tx: _set(tx, call, request, policy))
        return {}

    @operation("GetResourcePolicy")
    async def get_resource_policy(self, call: Call, request: Request) -> Answer:
        """Return the policy of a stream or a consumer."""
        stream, consumer = await self._store.read(lambda tx: find_resource(tx, call, request))
        policy = stream.policy if consumer is None else consumer.policy
        if policy is None:
            raise _no_policy(request)
        return {"Policy": policy}

    @operation("DeleteResourcePolicy")
    async def delete_resource_policy(self, call: Call, request: Request) -> Answer:
        """Forget the policy of a stream or a consumer."""
        await self._store.write(lambda tx: _set(tx, call, request, None))
        return {}


def _set(tx: Tx, call: Call, request: Request, policy: str | None) -> None:
    stream, consumer = find_resource(tx, call, request)
    if policy is None and (stream.policy if consumer is None else consumer.policy) is None:
        raise _no_policy(request)
    if consumer is None:
        tx.streams.update(stream, policy=policy)
    else:
        tx.streams.update_consumer(consumer, policy=policy)


def _no_policy(request: Request) -> ApiError:
    return ApiError("ResourceNotFoundException", f"No resource policy found for {request['ResourceARN']}.")


def _checked(policy: str) -> str:
    """Return a policy that has a policy's form.

    Raises: ApiError: InvalidArgumentException.
    """
    if len(policy.encode()) > MAXIMUM_POLICY_BYTES:
        raise ApiError("InvalidArgumentException", f"Policy cannot be longer than {MAXIMUM_POLICY_BYTES} bytes.")
    try:
        document = orjson.loads(policy)
    except orjson.JSONDecodeError:
        document = None
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise ApiError("InvalidArgumentException", "Policy must be a JSON policy document with a Statement.")
    for statement in statements:
        is_one = isinstance(statement, dict) and statement.get("Effect") in ("Allow", "Deny")
        if not is_one or not {"Principal", "Action"} <= statement.keys():
            raise ApiError(
                "InvalidArgumentException",
                "Every Statement of a policy must have an Effect, a Principal and an Action.",
            )
    return policy
