"""Every member the ledger refuses is refused over the wire, by name, in the service's own shape."""

from typing import Any

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


@pytest.mark.parametrize(("service_id", "operation", "entry"), refused())
def test_a_refused_member_is_refused_by_name(
    daemon: RunningDaemon, service_id: str, operation: str, entry: ledger.Entry
) -> None:
    request = Modelled(load(service_id)).with_member(operation, entry.path, entry.unless)
    client = daemon.client(service_id)
    with pytest.raises(ClientError) as refusal:
        client._make_api_call(operation, request)
    error = refusal.value.response["Error"]
    assert error["Code"] == (entry.code or policy_of(service_id).refusal_code)
    assert error["Message"].startswith(f"{'.'.join(entry.path)} is not supported by eventrt")
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
