"""The access policy that AddPermission and RemovePermission write: one statement per label.

The document is the queue's `Policy` attribute; statements a user wrote stay as they are.

Source: Amazon SQS API reference, AddPermission and RemovePermission.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from eventrt.core.queue_attributes import MAXIMUM_POLICY_BYTES
from eventrt.core.refused import Refused, invalid_value, missing_parameter

GRANTABLE_ACTIONS = (
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
    "ReceiveMessage",
    "SendMessage",
)
OWNERS_ACTIONS = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "ListMessageMoveTasks",
        "ListQueueTags",
        "ListQueues",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    }
)
MAXIMUM_ACTIONS = 7
MAXIMUM_STATEMENTS = 20

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


def with_permission(
    policy: str | None, *, queue_arn: str, label: str, account_ids: Sequence[str], actions: Sequence[str]
) -> str:
    """Return the policy with one more statement, which lets accounts do actions on the queue.

    Args: policy: the queue's present policy, None when it has none.
    Raises: Refused: InvalidParameterValue, MissingParameter or OverLimit.
    """
    if not label:
        raise missing_parameter("Label")
    if not _LABEL.fullmatch(label):
        raise invalid_value(
            label,
            "Label",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
        )
    if not actions:
        raise missing_parameter("Actions")
    if not account_ids:
        raise missing_parameter("AWSAccountIds")
    for account_id in account_ids:
        if not _ACCOUNT.fullmatch(account_id):
            raise invalid_value(f"[{account_id}]", "PrincipalId", "Unable to verify.")
    for action in actions:
        if action in OWNERS_ACTIONS:
            raise invalid_value(f"SQS:{action}", "ActionName", "Only the queue owner is allowed to invoke this action.")
        if action not in GRANTABLE_ACTIONS:
            raise invalid_value(
                f"SQS:{action}",
                "ActionName",
                "Please refer to the appropriate WSDL for a list of valid actions.",
            )
    if len(actions) > MAXIMUM_ACTIONS:
        raise Refused("OverLimit", f"{len(actions)} Actions were found, maximum allowed is {MAXIMUM_ACTIONS}.")
    document = _document(policy, queue_arn)
    statements = document["Statement"]
    if any(statement.get("Sid") == label for statement in statements):
        raise invalid_value(label, "Label", "Already exists.")
    if len(statements) >= MAXIMUM_STATEMENTS:
        raise Refused(
            "OverLimit", f"{len(statements) + 1} Statements were found, maximum allowed is {MAXIMUM_STATEMENTS}."
        )
    statements.append(
        {
            "Sid": label,
            "Effect": "Allow",
            "Principal": {"AWS": _one_or_many([f"arn:aws:iam::{account}:root" for account in account_ids])},
            "Action": _one_or_many([f"SQS:{action}" for action in actions]),
            "Resource": queue_arn,
        }
    )
    text = json.dumps(document, separators=(",", ":"))
    if len(text.encode()) > MAXIMUM_POLICY_BYTES:
        raise Refused("OverLimit", f"The policy would be longer than {MAXIMUM_POLICY_BYTES} bytes.")
    return text


def without_permission(policy: str | None, *, queue_arn: str, label: str) -> str | None:
    """Return the policy without the statement of this label; None when no statement is left.

    Raises: Refused: InvalidParameterValue `Value <L> for parameter Label is invalid. Reason: can't find label.`
    """
    document = _document(policy, queue_arn)
    statements = document["Statement"]
    kept = [statement for statement in statements if statement.get("Sid") != label]
    if len(kept) == len(statements):
        raise invalid_value(label, "Label", "can't find label.")
    document["Statement"] = kept
    return json.dumps(document, separators=(",", ":")) if kept else None


def _document(policy: str | None, queue_arn: str) -> dict[str, Any]:
    """Return the policy to write in, its statements as a list; a new one when there is none."""
    if policy is None:
        return {"Version": "2008-10-17", "Id": f"{queue_arn}/SQSDefaultPolicy", "Statement": []}
    document: dict[str, Any] = json.loads(policy)
    if isinstance(document["Statement"], dict):
        document["Statement"] = [document["Statement"]]
    return document


def _one_or_many(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values
