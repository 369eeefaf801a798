"""What most walks need: a daemon on the real clock, and the AWS CLI against it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.running import RunningDaemon

Aws = Callable[..., str]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path / "data", test_clock=False)
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


@pytest.fixture
def aws(tmp_path: Path, daemon: RunningDaemon) -> Aws:
    """Run an AWS CLI command in a folder of its own and return what it prints, on both its streams.

    The command's arguments; `fails=True` when it must, `given` for its standard input.
    """
    program = shutil.which("aws")
    if program is None:
        pytest.skip("the AWS CLI is not on PATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {
        **kept,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_PAGER": "",
    }

    def run(*arguments: str, fails: bool = False, given: str | None = None) -> str:
        done = subprocess.run(
            [program, "--endpoint-url", daemon.url, *arguments],
            cwd=tmp_path,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert (done.returncode != 0) == fails, f"aws {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run
