"""Every member the ledger refuses is refused over the wire, by name, in the service's own shape."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from botocore.exceptions import ClientError

from eventrt.aws import ledger
from eventrt.aws.protocol.models import load
from eventrt.aws.protocol.overlays import policy_of
from tests.running import RunningDaemon
from tests.wire.modelled import Modelled


def refused() -> list[Any]:
    return [
        pytest.param(service_id, operation, entry, id=f"{service_id}.{operation}.{'.'.join(entry.path)}")
        for service_id in ledger.services()
        for operation, entries in sorted(ledger.entries_of(service_id).items())
        for entry in entries
        if entry.standing == ledger.REFUSED
    ]


class _KeepTo:
    """Sends a request to the daemon whose host botocore makes of a member (Kinesis's StreamId)."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __call__(self, params: dict[str, Any], **more: Any) -> None:
        parts = urlsplit(params["url"])
        params["url"] = self._url + urlunsplit(("", "", parts.path, parts.query, ""))


REFUSED_IN_WORDS = ("eventrt does not deliver bucket notifications to EventBridge yet.",)
"""Refused before the ledger is asked, in a sentence that says why."""


@pytest.mark.parametrize(("service_id", "operation", "entry"), refused())
def test_a_refused_member_is_refused_by_name(
    daemon: RunningDaemon, service_id: str, operation: str, entry: ledger.Entry
) -> None:
    request = Modelled(load(service_id)).with_member(operation, entry.path, entry.unless)
    client = daemon.client(service_id)
    client.meta.events.register("before-call", _KeepTo(daemon.url), unique_id="keep-to-the-daemon")
    with pytest.raises(ClientError) as refusal:
        client._make_api_call(operation, request)
    error = refusal.value.response["Error"]
    if not operation.startswith("Head"):  # an answer to HEAD has no body that could say more than its status
        assert error["Code"] == (entry.code or policy_of(service_id).refusal_code)
        named = f"{'.'.join(entry.path)} is not supported by eventrt"
        assert error["Message"].startswith(named) or error["Message"] in REFUSED_IN_WORDS
    is_s3s = policy_of(service_id).refusal_code == "NotImplemented"
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == (501 if is_s3s else 400)
