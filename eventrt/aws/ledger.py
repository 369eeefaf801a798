"""The members ledger: of every input member of every served operation, whether it is enforced, kept or refused.

`members/<service>.toml` and `members/<service>-<part>.toml` (format: `members/__init__.py`) are read when a service
gets its first request; the
dispatcher refuses what the ledger refuses, so no setting is accepted and ignored. `python -m eventrt.aws.ledger`
prints the tables of docs/members.md.
"""

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from eventrt.aws.protocol.models import ServiceModel, load
from eventrt.errors import ConfigurationError

ENFORCED, KEPT, REFUSED = "enforced", "kept", "refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one member.

    Attributes:
        path: dotted from the operation's input; elements of lists and values of maps add no step, keys of a map
            that the ledger names do (`Attributes.KmsMasterKeyId`).
        standing: ENFORCED, KEPT or REFUSED.
        unless: values of a refused member that change nothing and so are accepted.
        why: for the docs and the refusal, why it is refused, or what "kept" means here.
        code: the error code of the refusal, when it is not the service's usual one.
    """

    path: tuple[str, ...]
    standing: str
    unless: tuple[Any, ...] = ()
    why: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request sets a member that eventrt refuses."""

    entry: Entry
    value: Any

    @property
    def message(self) -> str:
        """The sentence the caller reads."""
        why = f": {self.entry.why}" if self.entry.why else ""
        return f"{'.'.join(self.entry.path)} is not supported by eventrt{why}."


Check = Callable[[Mapping[str, Any]], Refusal | None]
"""Return the first refused member that a request sets, None when it sets none."""


@cache
def entries_of(service_id: str) -> dict[str, tuple[Entry, ...]]:
    """Return the ledger of a service: its operations and what is said of their members.

    Raises: ConfigurationError: the file is missing or says something that is no standing.
    """
    found: dict[str, tuple[Entry, ...]] = {}
    for item in sorted(resources.files("eventrt.aws.members").iterdir(), key=lambda one: one.name):
        if not item.name.endswith(".toml") or _service_of(item.name) != service_id:
            continue
        for operation, members in tomllib.loads(item.read_text(encoding="utf-8")).items():
            if operation in found:
                raise ConfigurationError(f"members/{item.name}: {operation} is in another file as well")
            found[operation] = tuple(_entries(service_id, operation, members))
    if not found:
        raise ConfigurationError(
            f"the members ledger has no file for {service_id}: eventrt/aws/members/{service_id}.toml"
        )
    return found


def _service_of(file_name: str) -> str:
    """Return the service a file is about: `lambda.toml` and `lambda-event-source-mappings.toml` are both Lambda's."""
    return file_name.removesuffix(".toml").partition("-")[0]


def _entries(service_id: str, operation: str, members: Mapping[str, Any]) -> Iterator[Entry]:
    for path, said in members.items():
        entry = said if isinstance(said, dict) else {"is": said}
        standing = entry.get("is")
        strange = entry.keys() - {"is", "unless", "why", "code"}
        if standing not in (ENFORCED, KEPT, REFUSED) or strange:
            raise ConfigurationError(f"members/{service_id}.toml: {operation}.{path}: unreadable entry {said!r}")
        yield Entry(
            tuple(path.split(".")),
            standing,
            tuple(entry.get("unless", ())),
            entry.get("why", ""),
            entry.get("code", ""),
        )


def refusal_check(service_id: str, operation: str) -> Check | None:
    """Return the check of an operation's requests against its refused members, None when it has none."""
    try:
        entries = entries_of(service_id).get(operation, ())
    except ConfigurationError:
        return None  # the test of the ledger fails for this; a request need not
    refused = [entry for entry in entries if entry.standing == REFUSED]
    if not refused:
        return None
    by_first: dict[str, list[Entry]] = {}
    for entry in refused:
        by_first.setdefault(entry.path[0], []).append(entry)

    def check(request: Mapping[str, Any]) -> Refusal | None:
        for first, asked in by_first.items():
            if first not in request:
                continue
            given = request[first]
            for entry in asked:
                for value in _values_at(given, entry.path, 1, []):
                    if not _changes_nothing(value, entry.unless):
                        return Refusal(entry, value)
        return None

    return check


def _values_at(value: Any, path: Sequence[str], index: int, found: list[Any]) -> list[Any]:
    """Return `found` with what stands at a path; elements of lists and values of maps are passed through."""
    if isinstance(value, list):
        for item in value:
            _values_at(item, path, index, found)
    elif index == len(path):
        if value is not None:
            found.append(value)
    elif isinstance(value, dict):
        if path[index] in value:
            _values_at(value[path[index]], path, index + 1, found)
        else:
            for item in value.values():
                if item.__class__ is dict or item.__class__ is list:
                    _values_at(item, path, index, found)
    return found


def _changes_nothing(value: Any, unless: tuple[Any, ...]) -> bool:
    """Is this a way to set nothing: an empty list, map or structure, or a value the ledger lets pass?"""
    return value in ([], {}) or any(type(value) is type(one) and value == one for one in unless)


def input_paths(model: ServiceModel, operation: str, named: frozenset[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return every input member of an operation that the ledger must name, given what it names.

    A structure that is named covers what is in it, unless deeper paths are named as well: then each of its members
    must be. A map whose keys are named stands for itself and for those keys.
    """
    _, shape = model.input_shape(operation)
    stems = {path[:length] for path in named for length in range(1, len(path))}
    paths: list[tuple[str, ...]] = []
    _walk(model, shape, (), named, stems, paths, ())
    return paths


def _walk(
    model: ServiceModel,
    shape: dict[str, Any],
    at: tuple[str, ...],
    named: frozenset[tuple[str, ...]],
    stems: set[tuple[str, ...]],
    paths: list[tuple[str, ...]],
    inside: tuple[str, ...],
) -> None:
    for name, ref in shape.get("members", {}).items():
        path = (*at, name)
        target, seen = model.shape(ref), (*inside, ref["shape"])
        has_map = False
        while target["type"] in ("list", "map"):
            has_map = has_map or target["type"] == "map"
            ref = target["member"] if target["type"] == "list" else target["value"]
            target = model.shape(ref)
        if path not in stems:
            paths.append(path)
        elif target["type"] == "structure" and ref["shape"] not in inside:
            _walk(model, target, path, named, stems, paths, seen)
        elif has_map:
            paths.append(path)
            paths.extend(sorted(one for one in named if one[: len(path)] == path and len(one) == len(path) + 1))
        else:
            paths.append(path)


def check_ledger(service_id: str, served: Sequence[str]) -> list[str]:
    """Return what is wrong with a service's ledger: members it does not name, names that do not exist."""
    model, ledger = load(service_id), entries_of(service_id)
    wrong = [f"{service_id}.{name}: served, and not in the ledger" for name in served if name not in ledger]
    for operation, entries in ledger.items():
        if operation not in model.operations:
            wrong.append(f"{service_id}.{operation}: the model has no such operation")
            continue
        if operation not in served:
            wrong.append(f"{service_id}.{operation}: in the ledger, and not served")
        named = frozenset(entry.path for entry in entries)
        wanted = input_paths(model, operation, named)
        wrong += [
            f"{service_id}.{operation}.{'.'.join(path)}: named in no entry" for path in wanted if path not in named
        ]
        wrong += [
            f"{service_id}.{operation}.{'.'.join(path)}: the model has no such member, or another entry covers it"
            for path in sorted(named - set(wanted))
        ]
    return wrong


def table_of(service_id: str) -> str:
    """Return the ledger of a service as a section of Markdown."""
    lines = [f"## {service_id}", "", "| operation | enforced | kept | refused |", "|---|---|---|---|"]
    for operation, entries in sorted(entries_of(service_id).items()):
        cells = [
            ", ".join(_cell(entry) for entry in entries if entry.standing == standing) or "none"
            for standing in (ENFORCED, KEPT, REFUSED)
        ]
        lines.append(f"| {operation} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(entry: Entry) -> str:
    text = f"`{'.'.join(entry.path)}`"
    if entry.unless:
        text += f" (but {', '.join(f'`{value!r}`' for value in entry.unless)} is accepted)"
    return f"{text} ({entry.why})" if entry.why else text


def services() -> list[str]:
    """Return the services that have a ledger."""
    return sorted(
        {
            _service_of(item.name)
            for item in resources.files("eventrt.aws.members").iterdir()
            if item.name.endswith(".toml")
        }
    )


def document() -> str:
    """Return docs/members.md: what eventrt does with every input member of every operation it serves."""
    head = (
        "# Every input member: enforced, kept or refused\n\n"
        "Generated from `eventrt/aws/members/*.toml` by `python -m eventrt.aws.ledger`; do not edit.\n\n"
        "*Enforced*: it does what AWS says it does. *Kept*: stored and given back, as AWS itself only does, or as\n"
        "the note says. *Refused*: a request that sets it gets an error that names it.\n"
    )
    return head + "".join("\n" + table_of(service_id) for service_id in services())


if __name__ == "__main__":
    sys.stdout.write(document())
