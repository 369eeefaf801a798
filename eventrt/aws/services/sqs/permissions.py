"""AddPermission and RemovePermission: statements of the queue's Policy attribute.

The policy is kept and shown, and not enforced: accounts are separate worlds here (docs/behaviour/sqs.md).
"""

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.sqs.room import Request, SqsRoom, answers, find_queue, required
from eventrt.core.queue_policy import with_permission, without_permission
from eventrt.sources import queues as shelf
from eventrt.store.api import Tx


class Permissions(SqsRoom):
    """The operations that write single statements of a queue's policy."""

    @answers("AddPermission")
    async def add_permission(self, call: Call, request: Request) -> Answer:
        """Add a statement to the queue's policy."""

        def unit(tx: Tx) -> None:
            queue = find_queue(tx, call, request)
            policy = with_permission(
                queue.attributes.get("Policy"),
                queue_arn=queue.arn,
                label=required(request, "Label"),
                account_ids=request.get("AWSAccountIds") or (),
                actions=request.get("Actions") or (),
            )
            shelf.set_attributes(tx, queue, {**queue.attributes, "Policy": policy})

        await self._store.write(unit)
        return {}

    @answers("RemovePermission")
    async def remove_permission(self, call: Call, request: Request) -> Answer:
        """Take a statement out of the queue's policy; with the last one the policy goes too."""

        def unit(tx: Tx) -> None:
            queue = find_queue(tx, call, request)
            policy = without_permission(
                queue.attributes.get("Policy"), queue_arn=queue.arn, label=required(request, "Label")
            )
            attributes = {name: value for name, value in queue.attributes.items() if name != "Policy"}
            if policy is not None:
                attributes["Policy"] = policy
            shelf.set_attributes(tx, queue, attributes)

        await self._store.write(unit)
        return {}
