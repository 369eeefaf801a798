"""What every part of the SQS service needs: finding the queue a request means, building URLs, AWS's refusals.

Accounts and regions are separate worlds: a queue is looked up in the caller's region, and in the account its URL
names; another account's queue is refused, whatever its policy says (docs/behaviour/sqs.md).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from eventrt.aws.call import Call, answering
from eventrt.clock import Clock
from eventrt.core.messages import Queue, Refusal
from eventrt.core.refused import Refused, missing_parameter
from eventrt.errors import ApiError
from eventrt.store.api import Store, Tx

Request = Mapping[str, Any]
LONGEST_CACHED = 4096
"""Longer texts of a request are not kept as keys of a cache: a cache must not be a place to fill memory from."""

QUERY_CODES: Mapping[str, str] = {
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
    "MessageNotInflight": "AWS.SimpleQueueService.MessageNotInflight",
    "UnsupportedOperation": "AWS.SimpleQueueService.UnsupportedOperation",
}
"""Codes of failed batch entries are those of the Query protocol, whichever protocol is spoken."""


class SqsRoom:
    """The store and the clock, and how requests find their queue. The operations are in the subclasses.

    Args:
        recreation_wait_s: how long a deleted queue's name stays taken. AWS says 60; 0 does not wait.
        user_id_of: return the user id that (access key, session token) stands for, such as `AROA...:session`,
            None when the token is not ours. Callers without a token are the account's root, whose id is the
            account's.
    """

    service_id = "sqs"

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        recreation_wait_s: float = 0.0,
        user_id_of: Callable[[str, str], str | None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._recreation_wait_s = recreation_wait_s
        self._user_id_of = lru_cache(maxsize=1024)(user_id_of or (lambda key, token: None))

    def sender_id(self, call: Call) -> str:
        """Return who sends, as SenderId shows it: the same id that STS's GetCallerIdentity answers with."""
        token = call.http.headers.get("x-amz-security-token")
        if token is None or len(token) > LONGEST_CACHED:
            return call.account_id
        return self._user_id_of(call.access_key, token) or call.account_id


answers = answering({Refused: lambda refused, request: ApiError(refused.code, refused.message)})
"""Marks a method as the handler of an operation; a rule it breaks becomes an answer of the caller's protocol."""


def required(request: Request, name: str) -> Any:
    """Return a member that must be there.

    Raises: Refused: `The request must contain the parameter <name>.`
    """
    value = request.get(name)
    if value is None or value == "":
        raise missing_parameter(name)
    return value


# -- queues and their URLs


@lru_cache(maxsize=8192)
def _account_and_name(url: str) -> tuple[str, str] | None:
    """Take `<anything>/<account>/<name>` apart; None when it is no queue's address."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return None
    parts = path.rstrip("/").rsplit("/", 2)
    if len(parts) < 3 or len(parts[1]) != 12 or not parts[1].isdecimal() or not parts[2]:
        return None
    return parts[1], unquote(parts[2])


def address_of(request: Request) -> tuple[str, str]:
    """Return account and name of the queue a request means (the codec makes a queue's own path its QueueUrl).

    Raises: Refused: there is no QueueUrl, or it is no queue's address.
    """
    url = required(request, "QueueUrl")
    found = _account_and_name(url) if len(url) <= LONGEST_CACHED else None
    if found is None:
        raise Refused("InvalidAddress", f"The address {url} is not valid for this endpoint.")
    return found


def find_queue(tx: Tx, call: Call, request: Request) -> Queue:
    """Return the queue a request means (see `address_of`).

    Raises: ApiError: QueueDoesNotExist, or AccessDenied for another account's queue.
    """
    account_id, name = address_of(request)
    return look_up(tx, call, account_id, name)


def look_up(tx: Tx, call: Call, account_id: str, name: str) -> Queue:
    """Return a queue of the caller's region by account and name.

    Raises: ApiError: QueueDoesNotExist, or AccessDenied for another account's queue.
    """
    queue = tx.queues.find(account_id, call.region, name)
    if queue is None:
        raise no_such_queue(call)
    if account_id != call.account_id:
        raise ApiError("AccessDenied", f"Access to the resource {queue_url(call, queue)} is denied.", status=403)
    return queue


def no_such_queue(call: Call) -> ApiError:
    """Return AWS's refusal of a queue that is not there; the two protocols word it differently."""
    ending = " for this wsdl version." if call.protocol == "query" else "."
    return ApiError("QueueDoesNotExist", f"The specified queue does not exist{ending}")


def queue_url(call: Call, queue: Queue) -> str:
    """Return the queue's URL on the host the caller used, so that it comes back to this port."""
    return f"http://{call.host}/{queue.account_id}/{queue.name}"


def failed_entry(entry_id: str, refusal: Refusal) -> dict[str, Any]:
    """Return one entry of a batch's `Failed` list."""
    return {
        "Id": entry_id,
        "SenderFault": True,
        "Code": QUERY_CODES.get(refusal.code, refusal.code),
        "Message": refusal.message,
    }
