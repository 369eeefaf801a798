"""The members ledger names every input member of every served operation, exactly once, and nothing else."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import eventrt.aws.services
from eventrt.aws import ledger
from eventrt.aws.ledger import Refusal
from eventrt.aws.protocol.models import load

DOCUMENT = Path(__file__).parents[2] / "docs" / "members.md"


def served() -> dict[str, list[str]]:
    """Return every operation that a service class in `aws.services` handles."""
    found: dict[str, set[str]] = {}
    for info in pkgutil.walk_packages(eventrt.aws.services.__path__, "eventrt.aws.services."):
        module = importlib.import_module(info.name)
        for _, one in inspect.getmembers(module, inspect.isclass):
            service_id = getattr(one, "service_id", None)
            if isinstance(service_id, str):
                marks = (getattr(value, "__aws_operation__", None) for _, value in inspect.getmembers(one))
                found.setdefault(service_id, set()).update(mark for mark in marks if mark is not None)
    return {service_id: sorted(operations) for service_id, operations in found.items() if operations}


SERVED = served()


@pytest.mark.parametrize("service_id", sorted(SERVED))
def test_the_ledger_names_every_member_of_every_served_operation_once(service_id: str) -> None:
    assert ledger.check_ledger(service_id, SERVED[service_id]) == []


@pytest.mark.parametrize("service_id", sorted(SERVED))
def test_every_served_operation_is_one_of_the_model(service_id: str) -> None:
    assert set(SERVED[service_id]) <= set(load(service_id).operations)


def test_every_ledger_belongs_to_a_served_service() -> None:
    assert set(ledger.services()) == set(SERVED)


def test_every_refusal_has_a_reason() -> None:
    silent = [
        f"{service_id}.{operation}.{'.'.join(entry.path)}"
        for service_id in ledger.services()
        for operation, entries in ledger.entries_of(service_id).items()
        for entry in entries
        if entry.standing == ledger.REFUSED and not entry.why
    ]
    assert silent == []


def test_the_table_in_the_docs_is_the_ledgers() -> None:
    """Regenerate with `python -m eventrt.aws.ledger > docs/members.md`."""
    assert DOCUMENT.read_text(encoding="utf-8") == ledger.document()


# -- how refusals are found ------------------------------------------------------------------------------------


def entries(*said: tuple[str, Mapping[str, Any]]) -> Any:
    return tuple(
        ledger.Entry(tuple(path.split(".")), ledger.REFUSED, tuple(more.get("unless", ()))) for path, more in said
    )


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    said = entries(
        ("Top", {}),
        ("Deep.Inner", {"unless": ["None", 0]}),
        ("List.Member", {}),
        ("Map.Key", {"unless": [""]}),
        ("Flag", {"unless": [False]}),
    )
    monkeypatch.setattr(ledger, "entries_of", lambda service_id: {"Op": said})
    return ledger.refusal_check("x", "Op")


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({}, None),
        ({"Other": 1}, None),
        ({"Top": {}}, None),
        ({"Top": []}, None),
        ({"Top": {"a": 1}}, "Top"),
        ({"Top": ""}, "Top"),
        ({"Top": None}, None),
        ({"Deep": {}}, None),
        ({"Deep": {"Inner": "None"}}, None),
        ({"Deep": {"Inner": 0}}, None),
        ({"Deep": {"Inner": False}}, "Deep.Inner"),
        ({"Deep": {"Inner": "Some"}}, "Deep.Inner"),
        ({"List": [{"A": 1}, {"Member": 1}]}, "List.Member"),
        ({"List": [{"A": 1}]}, None),
        ({"Map": {"Key": "x"}}, "Map.Key"),
        ({"Map": {"Key": "", "Else": "x"}}, None),
        ({"Flag": False}, None),
        ({"Flag": True}, "Flag"),
        ({"Flag": 0}, "Flag"),
    ],
)
def test_a_refused_member_is_found_wherever_it_stands(check: Any, request_: Any, path: str | None) -> None:
    found: Refusal | None = check(request_)
    assert (None if found is None else ".".join(found.entry.path)) == path


def test_an_operation_without_refusals_costs_nothing() -> None:
    assert ledger.refusal_check("sts", "GetCallerIdentity") is None
