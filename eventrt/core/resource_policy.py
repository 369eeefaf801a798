"""The resource policy of a function: statements from AddPermission, and the document that GetPolicy shows.

Pure. The policy is kept and shown; calls are not judged by it yet (docs/behaviour/functions.md).

Source: semantics 01, section 1.13.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eventrt.core.function_rules import invalid
from eventrt.core.refused import Refused

POLICY_LIMIT_BYTES = 20_480

_ACCOUNT = re.compile(r"\d{12}")
_IDENTITY_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:(?:iam::\d{12}:(?:root|(?:user|role|group)/[\w+=,.@/-]+)"
    r"|sts::\d{12}:(?:assumed-role|federated-user)/[\w+=,.@/-]+|iam::cloudfront:user/[\w+=,.@ /-]+)"
)
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]*\.(?:amazonaws\.com(?:\.cn)?|amazon\.com|aws\.internal)")

_CONDITIONS = (
    ("SourceAccount", "StringEquals", "AWS:SourceAccount"),
    ("PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"),
    ("FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"),
    ("EventSourceToken", "StringEquals", "lambda:EventSourceToken"),
    ("InvokedViaFunctionUrl", "Bool", "lambda:InvokedViaFunctionUrl"),
    ("SourceArn", "ArnLike", "AWS:SourceArn"),
)
"""Input member, condition operator and key, in the order in which AWS writes them."""


def principal_of(text: str) -> str | dict[str, str]:
    """Return the Principal element for a Principal parameter: all, an account, an identity or a service.

    Raises: Refused: it is none of these.
    """
    if text == "*":
        return "*"
    if _ACCOUNT.fullmatch(text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if _IDENTITY_ARN.fullmatch(text):
        return {"AWS": text}
    if _SERVICE.fullmatch(text):
        return {"Service": text}
    raise invalid("The provided principal was invalid. Please check the principal and try again.")


def statement_of(request: Mapping[str, Any], *, resource_arn: str) -> dict[str, Any]:
    """Return the statement that an AddPermission request adds, its members in AWS's order.

    Args: request: the members by their wire names. resource_arn: the function's ARN, qualified if it was.
    Raises: Refused: the principal is invalid, or a condition does not go with the action.
    """
    if request.get("FunctionUrlAuthType") and request["Action"] != "lambda:InvokeFunctionUrl":
        raise invalid("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    statement: dict[str, Any] = {
        "Sid": request["StatementId"],
        "Effect": "Allow",
        "Principal": principal_of(request["Principal"]),
        "Action": request["Action"],
        "Resource": resource_arn,
    }
    conditions: dict[str, dict[str, str]] = {}
    for member, operator, key in _CONDITIONS:
        value = request.get(member)
        if value is not None:
            text = ("true" if value else "false") if isinstance(value, bool) else value
            conditions.setdefault(operator, {})[key] = text
    if conditions:
        statement["Condition"] = conditions
    return statement


def with_statement(statements: Sequence[Mapping[str, Any]], added: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the statements with one more.

    Raises: Refused: its id is there already.
    """
    if any(statement["Sid"] == added["Sid"] for statement in statements):
        raise Refused(
            "ResourceConflictException",
            f"The statement id ({added['Sid']}) provided already exists. Please provide a new statement id, "
            "or remove the existing statement.",
        )
    return (*statements, added)


def without_statement(statements: Sequence[Mapping[str, Any]], statement_id: str) -> tuple[Mapping[str, Any], ...]:
    """Return the statements without one.

    Raises: Refused: there is no policy, or none of its statements has that id.
    """
    if not statements:
        raise Refused("ResourceNotFoundException", "No policy is associated with the given resource.")
    kept = tuple(statement for statement in statements if statement["Sid"] != statement_id)
    if len(kept) == len(statements):
        raise Refused("ResourceNotFoundException", f"Statement {statement_id} is not found in resource policy.")
    return kept


def document_of(statements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the policy document that GetPolicy shows."""
    return {"Version": "2012-10-17", "Id": "default", "Statement": list(statements)}


def check_policy_size(size_bytes: int) -> None:
    """Let a policy document pass that is not larger than 20 KB.

    Raises: Refused: it is.
    """
    if size_bytes > POLICY_LIMIT_BYTES:
        raise Refused(
            "PolicyLengthExceededException",
            f"The final policy size ({size_bytes}) is bigger than the limit ({POLICY_LIMIT_BYTES}).",
        )
