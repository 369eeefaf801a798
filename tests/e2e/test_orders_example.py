"""The example that a person would keep: orders into a stream, totals per window into a table, poison to a queue."""

import sys
from pathlib import Path

import pytest

from tests.running import RunningDaemon
from tests.wire.mappings_speaking import wait_for

ROOT = Path(__file__).parents[2]
ORDERS = 300


def test_orders_become_totals_and_the_unreadable_one_is_pointed_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = RunningDaemon(tmp_path / "data", arguments=("--config", str(ROOT / "config" / "orders.toml")))
    daemon.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", daemon.url)
        monkeypatch.syspath_prepend(str(ROOT / "config" / "orders"))
        import feed

        feed.put(feed.orders(ORDERS))
        records = wait_for(feed.poison, bool)
        assert [feed.unreadable(record) for record in records] == ["this is no order"]
        assert records[0]["requestContext"]["approximateInvokeCount"] == 3
        daemon.advance(120)
        totals = wait_for(
            lambda: feed.totals("2000"), lambda items: sum(int(item["orders"]["N"]) for item in items) == ORDERS - 1
        )
        assert {item["shop"]["S"] for item in totals} == set(feed.SHOPS)
    finally:
        sys.modules.pop("feed", None)
        daemon.stop()
        daemon.close_clients()
