"""A Runtime whose interpreter is not on the machine: told in the function's state, or refused if the user says so."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_service_manners import eventrt, is_one_clear_line
from tests.running import RunningDaemon, free_port
from tests.wire.lambda_speaking import create, error_of, new_name, request_of

NOT_HERE = {"PATH": "/nowhere", "PYENV_ROOT": "/nowhere", "UV_PYTHON_INSTALL_DIR": "/nowhere", "HOME": "/nowhere"}
ABSENT = "python3.14"


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[RunningDaemon]:
    daemon = RunningDaemon(folder / "data", environment={**NOT_HERE, **environment}).start()
    try:
        yield daemon
    finally:
        daemon.stop()
        daemon.close_clients()


def test_a_stand_in_is_told_in_the_state_of_the_function(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        client = daemon.client("lambda")
        name = create(client, Runtime=ABSENT)
        told = client.get_function_configuration(FunctionName=name)
        assert (told["State"], told["Runtime"]) == ("Active", ABSENT)
        assert f"There is no {ABSENT} on this machine; Python 3." in told["StateReason"]
        own = create(client, Runtime=_own())
        assert "StateReason" not in client.get_function_configuration(FunctionName=own)
        client.update_function_configuration(FunctionName=name, Runtime=_own())
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        assert "StateReason" not in client.get_function_configuration(FunctionName=name)


def test_strict_refuses_what_is_not_there(tmp_path: Path) -> None:
    with running(tmp_path, EVENTRT_RUNTIME_STRICT="true") as daemon:
        client = daemon.client("lambda")
        status, code, message = error_of(client.create_function, **{**request_of(new_name()), "Runtime": ABSENT})
        assert (status, code) == (400, "InvalidParameterValueException")
        assert f"there is no {ABSENT} on this machine and runtime.strict is set" in message
        name = create(client, Runtime=_own())
        assert error_of(client.update_function_configuration, FunctionName=name, Runtime=ABSENT)[:2] == (status, code)


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "app.py").write_text("def handler(event, context):\n    return event\n")
    file = tmp_path / "eventrt.toml"
    file.write_text(
        f'[[functions]]\nname = "f"\ncode = "code"\nhandler = "app.handler"\nruntime = "{ABSENT}"\n', encoding="utf-8"
    )
    return file


def test_a_declared_function_is_treated_alike(declared: Path, tmp_path: Path) -> None:
    refused = eventrt(
        *("serve", "--config", str(declared), "--port", str(free_port()), "--data-dir", str(tmp_path / "strict")),
        environment={**NOT_HERE, "EVENTRT_RUNTIME_STRICT": "true"},
    )
    assert refused.returncode == 78
    assert is_one_clear_line(refused.stderr.splitlines(keepends=True)[-1])
    assert "the declared function f is refused" in refused.stderr
    daemon = RunningDaemon(tmp_path / "data", arguments=("--config", str(declared)), environment=NOT_HERE).start()
    try:
        told = daemon.client("lambda").get_function_configuration(FunctionName="f")
        assert f"There is no {ABSENT}" in told["StateReason"]
        daemon.restart(kill=False)
        assert daemon.client("lambda").get_function_configuration(FunctionName="f")["StateReason"]
    finally:
        daemon.stop()
        daemon.close_clients()


def test_the_daemon_may_open_as_many_files_as_the_machine_lets_it(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        limits = Path(f"/proc/{daemon.pid}/limits").read_text()
        soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))
        assert soft == hard


def _own() -> str:

    return f"python3.{sys.version_info[1]}"
