"""What `eventrt status` prints: rooms, queues and mappings of a running daemon, as plain columns."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from eventrt.console.client import Client, NotFound


def show_status(client: Client, *, account: str, region: str) -> None:
    """Print what the daemon is doing in one account and region.

    Raises: Unreachable: no daemon answers.
    """
    health = client.get("/_eventrt/health")
    clock = client.get("/_eventrt/clock")
    where = {"account": account, "region": region}
    queues = client.get("/_eventrt/queues", **where)["queues"]
    functions = client.get("/_eventrt/functions", **where)["functions"]
    mappings = client.get("/_eventrt/mappings", **where)["mappings"]
    click.echo(f"eventrt {health['version']} at {client.url}, account {account}, region {region}")
    if clock["controllable"] and abs(clock["offset_s"]) >= 1:
        click.echo(f"the clock is {clock['offset_s']:.0f} s ahead of the wall clock, rate {clock['rate']:g}")
    if not (queues or functions or mappings):
        click.echo("there are no queues, functions or mappings here; is it the right account and region?")
    rooms = [(name, facts.get("status", ""), _facts(facts)) for name, facts in health["rooms"].items()]
    _table(("ROOM", "STATUS", ""), rooms)
    _table(
        ("QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED"),
        [(queue["name"], queue["visible"], queue["in_flight"], queue["delayed"]) for queue in queues],
    )
    _table(
        ("FUNCTION", "RUNTIME", "STATE", ""),
        [(f["name"], f["runtime"], f["state"], f["state_reason"] or "") for f in functions],
    )
    _table(
        ("MAPPING", "STATE", "WAITS FOR", "PROBLEM"),
        [
            (
                f"{_last(mapping['source_arn'])} → {_last(mapping['function_arn'])}",
                mapping["state"],
                mapping["poller"].get("waiting_for") or "",
                mapping["problem"] or "",
            )
            for mapping in mappings
        ],
    )
    _table(
        ("SHARD", "STATE", "CHECKPOINT", "BEHIND", "AGE", "ATTEMPTS", "WAITS FOR"),
        [
            row
            for mapping in mappings
            if "shards" in mapping["poller"] or not mapping["poller"]["running"]
            for row in _shards(client, mapping)
        ],
    )


def _shards(client: Client, mapping: dict[str, Any]) -> Iterable[Sequence[object]]:
    """Return a row for each shard of a stream's mapping that is not finished."""
    name = f"{_last(mapping['source_arn'])} → {_last(mapping['function_arn'])}"
    try:
        mapping = client.get(f"/_eventrt/mappings/{mapping['uuid']}")
    except NotFound:
        return  # it was deleted meanwhile
    for shard in mapping["poller"].get("shards", ()):
        if shard["state"] == "finished":
            continue
        lag, age_ms = shard.get("lag_records"), shard.get("iterator_age_ms")
        yield (
            f"{name} {shard['shard_id']}",
            shard["state"],
            shard.get("checkpoint") or "",
            "" if lag is None else f"{lag} records",
            "" if age_ms is None else f"{age_ms / 1000:.1f} s",
            shard.get("attempts", ""),
            shard["waiting_for"],
        )


def _facts(facts: dict[str, object]) -> str:
    return " ".join(f"{name}={value}" for name, value in facts.items() if name != "status")


def _last(arn: str) -> str:
    return arn.rpartition(":")[2]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a head in columns as wide as their widest cell; nothing when there are no rows."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(len(line[column]) for line in [list(head), *lines]) for column in range(len(head))]
    click.echo()
    for line in [list(head), *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
