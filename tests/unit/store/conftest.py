"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.store.shelf_bench import Bench, FloatClock


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "data", FloatClock())
    yield bench
    await bench.store.close()
