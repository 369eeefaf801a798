"""What wire tests share: a running daemon and boto3 clients that speak to it."""

from collections.abc import Iterator

import pytest

from tests.running import RunningDaemon


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A running daemon, shared by every test of the session: take names nobody else takes."""
    running = RunningDaemon(tmp_path_factory.mktemp("eventrt") / "data")
    running.start()
    yield running
    running.stop()
    running.close_clients()
