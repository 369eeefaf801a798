"""Speaking SQS in tests: a checked boto3 client, the Query protocol by hand, and names nobody else takes."""

import itertools
import json
import os
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.running import PATIENCE_S

_NUMBERS = itertools.count(1)
NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"


def fresh(name: str = "q", *, fifo: bool = False) -> str:
    """Return a queue name that no other test uses."""
    return f"{name}-{os.getpid()}-{next(_NUMBERS)}" + (".fifo" if fifo else "")


def check_members(client: Any) -> None:
    """Let every answer of a client be compared with the model: no member that AWS does not document."""

    def check(http_response: Any, model: Any, **_: Any) -> None:
        body = http_response.content
        if http_response.status_code < 300 and body:
            undocumented = list(_undocumented(json.loads(body), model.output_shape))
            assert not undocumented, f"{model.name} answers {undocumented}"
            assert model.output_shape is not None or not json.loads(body)

    client.meta.events.register("after-call.sqs", check, unique_id="check-members")


def _undocumented(value: Any, shape: Any, path: str = "") -> Any:
    if shape is None:
        return
    if shape.type_name == "structure":
        for name, item in value.items():
            if name not in shape.members:
                yield f"{path}.{name}"
            elif name != "queueUrls":  # the one list that is shown without elements
                assert item not in (None, [], {}), f"{path}.{name} is empty and should be absent"
                yield from _undocumented(item, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for item in value:
            yield from _undocumented(item, shape.member, path)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from _undocumented(item, shape.value, f"{path}.{key}")


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without boto3's own metadata."""
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def error_of(call: Any, **arguments: Any) -> tuple[str, str]:
    """Return code and message of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    assert error["Type"] == "Sender"
    return error["Code"], error["Message"]


def status_of(call: Any, **arguments: Any) -> int:
    """Return the HTTP status of a call that is refused."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return int(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """An answer of the Query protocol."""

    status: int
    root: ET.Element

    def all(self, path: str) -> list[ET.Element]:
        """Return the elements at a path, with `/` between names; the namespace is added where there is one."""
        namespace = self.root.tag.partition("}")[0] + "}" if self.root.tag.startswith("{") else ""
        return self.root.findall("/".join(namespace + name for name in path.split("/")))

    def text(self, path: str) -> str | None:
        """Return the text of the first element at a path."""
        found = self.all(path)
        return found[0].text if found else None


def query(
    url: str,
    action: str,
    parameters: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> QueryAnswer:
    """Send an unsigned request of the Query protocol and return its answer, whatever its status."""
    form = urllib.parse.urlencode({"Action": action, "Version": "2012-11-05", **(parameters or {})})
    if method == "GET":
        request = urllib.request.Request(f"{url}?{form}")
    else:
        request = urllib.request.Request(
            url, form.encode(), {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        )
    for name, value in (headers or {}).items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return QueryAnswer(response.status, ET.fromstring(response.read()))
    except urllib.error.HTTPError as error:
        with error:
            return QueryAnswer(error.code, ET.fromstring(error.read()))
