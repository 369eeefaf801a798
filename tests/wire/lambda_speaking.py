"""Words for wire tests of Lambda: archives, functions with names nobody else has, and the shape of an error."""

import io
import sys
import uuid
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/tester"
RUNTIME = f"python3.{sys.version_info[1]}"
"""One that is there on every machine: where it was not, another would stand in and be told of in the answers."""

HANDLER = "def handler(event, context):\n    return event\n"


def zip_of(source: str = HANDLER, **more: str) -> bytes:
    """Return an archive with `app.py`, and `more` modules."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"app": source, **more}.items():
            archive.writestr(f"{name}.py", content)
    return packed.getvalue()


def new_name(prefix: str = "fn") -> str:
    """Return a name nobody else has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def request_of(name: str, source: str = HANDLER, **more: Any) -> dict[str, Any]:
    """Return the smallest CreateFunction request, and `more`."""
    return {
        "FunctionName": name,
        "Runtime": RUNTIME,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": zip_of(source)},
        **more,
    }


def create(client: Any, source: str = HANDLER, **more: Any) -> str:
    """Make a function, wait until it is active, return its name."""
    name = new_name()
    client.create_function(**request_of(name, source, **more))
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return name


def error_of(call: Callable[..., Any], **request: Any) -> tuple[int, str, str]:
    """Return (status, code, message) of the error that a call ends in."""
    with pytest.raises(ClientError) as raised:
        call(**request)
    answer = raised.value.response
    message = answer["Error"].get("Message") or answer.get("Message") or answer.get("message") or ""
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], message


def members_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without what the client adds."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
