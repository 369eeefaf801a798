"""What wire tests share: a running daemon and boto3 clients that speak to it."""

from collections.abc import Iterator

import pytest

from tests.running import RunningDaemon, own_daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A running daemon, shared by the tests of a module: take names nobody else takes. Its clock moves by `advance`.

    No module shares one with another: what one leaves behind would weigh on whichever comes next on that machine, and
    a mapping that fails would retry through every day that another one's clock moves by.
    """
    with own_daemon(tmp_path_factory) as running:
        yield running
