"""What `eventrt status` prints: the rooms of a running daemon, what there is, what waits and why, as plain columns."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from eventrt.console.client import Client, NotFound
from eventrt.console.columns import ago, size, span, table, until


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
    buckets = client.get("/_eventrt/buckets", **where)["buckets"]
    streams = client.get("/_eventrt/streams", **where)["streams"]
    tables = client.get("/_eventrt/tables", **where)["tables"]
    events = client.get("/_eventrt/asynchronous", **where)["functions"]
    now = clock["now"]
    click.echo(f"eventrt {health['version']} at {client.url}, account {account}, region {region}")
    if clock["controllable"] and abs(clock["offset_s"]) >= 1:
        click.echo(f"the clock is {clock['offset_s']:.0f} s ahead of the wall clock, rate {clock['rate']:g}")
    if not (queues or functions or mappings or buckets or streams or tables):
        click.echo("there is nothing here; is it the right account and region?")
    rooms = [(name, facts.get("status", ""), _facts(facts)) for name, facts in health["rooms"].items()]
    table(("ROOM", "STATUS", ""), rooms)
    table(
        ("QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED"),
        [(queue["name"], queue["visible"], queue["in_flight"], queue["delayed"]) for queue in queues],
    )
    table(
        ("STREAM", "STATUS", "SHARDS", "LAST RECORD"),
        [(one["name"], one["status"], one["open_shards"], ago(one["last_record_at"], now)) for one in streams],
    )
    table(
        ("TABLE", "STATUS", "ITEMS", "SIZE", "STREAM"),
        [
            (one["name"], one["status"], one["items"], size(one["size_bytes"]), one["stream_view"] or "")
            for one in tables
        ],
    )
    table(("BUCKET", "OBJECTS", "SIZE", "TELLS"), [_bucket(bucket) for bucket in buckets])
    table(
        ("FUNCTION", "RUNTIME", "STATE", ""),
        [(one["name"], one["runtime"], one["state"], _remark(one)) for one in functions],
    )
    table(
        ("EVENTS FOR", "WAITING", "OLDEST", "NEXT ATTEMPT", "WHY"),
        [
            (
                one["name"],
                one["waiting"],
                span(max(0.0, now - one["oldest_at"])),
                f"{one['next_attempt']['number']}, {until(one['next_attempt']['at'], now)}",
                one["next_attempt"]["why"],
            )
            for one in events
        ],
    )
    table(
        ("MAPPING", "STATE", "WAITS FOR", "PROBLEM"),
        [
            (
                f"{_last(mapping['source_arn'])} → {_last(mapping['function_arn'])}",
                mapping["state"],
                "" if mapping["problem"] else mapping["poller"].get("waiting_for") or "",
                mapping["problem"] or "",
            )
            for mapping in mappings
        ],
    )
    table(
        ("SHARD", "STATE", "CHECKPOINT", "BEHIND", "AGE", "ATTEMPTS", "WAITS FOR"),
        [
            row
            for mapping in mappings
            if "shards" in mapping["poller"] or not mapping["poller"]["running"]
            for row in _shards(client, mapping)
        ],
    )


def _bucket(bucket: dict[str, Any]) -> Sequence[object]:
    more = "" if bucket["is_counted_whole"] else " and more"
    told = dict.fromkeys(_last(rule["target_arn"]) for rule in bucket["notifications"])
    return bucket["name"], f"{bucket['objects']}{more}", size(bucket["size_bytes"]) + more, ", ".join(told)


def _remark(function: dict[str, Any]) -> str:
    if function["reserved_concurrency"] == 0:
        return "throttled: its reserved concurrency is 0"
    return str(function["state_reason"] or "")


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
