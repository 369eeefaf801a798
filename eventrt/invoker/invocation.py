"""What is asked of the invoker: one event for one function."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event for one function, synchronously.

    `invoked_arn` is the ARN as the caller gave it (a given qualifier stays in it); `request_id` is what the
    handler sees as aws_request_id and AWS's answer as x-amzn-RequestId. `client_context` is the decoded JSON.
    """

    account_id: str
    region: str
    function_name: str
    payload: bytes
    request_id: str
    invoked_arn: str
    qualifier: str | None = None
    client_context: bytes | None = None
    trace_header: str | None = None
    wants_log_tail: bool = False
