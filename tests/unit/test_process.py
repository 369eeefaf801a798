"""The process around the daemon: what it refuses, and which exit code tells what."""

import socket

import pytest

from eventrt.config import load
from eventrt.daemon import own_names
from eventrt.errors import ConfigurationError, StartupError, StoreCorrupt, StoreFull
from eventrt.process import _exit_code, bind, is_loopback, refuse_open_door


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_is_open_to_everybody_on_the_machine(host: str) -> None:
    assert is_loopback(host)
    refuse_open_door(load(None, environment={"EVENTRT_HOST": host}), insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.test"])
def test_another_address_needs_signatures_or_the_word(host: str) -> None:
    settings = load(None, environment={"EVENTRT_HOST": host})
    with pytest.raises(StartupError, match="--insecure"):
        refuse_open_door(settings, insecure=False)
    refuse_open_door(settings, insecure=True)
    signed = {"EVENTRT_HOST": host, "EVENTRT_AUTH_MODE": "sigv4", "EVENTRT_AUTH_KEYS": "A=B"}
    refuse_open_door(load(None, environment=signed), insecure=False)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StartupError("no", exit_code=75), 75),
        (StoreCorrupt("no"), 65),
        (StoreFull("no"), 73),
        (ConfigurationError("no"), 78),
        (ExceptionGroup("g", [ExceptionGroup("g", [StartupError("no", exit_code=73)])]), 73),
    ],
)
def test_what_prevents_the_start_is_one_line_and_an_exit_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code(error) == code
    assert capsys.readouterr().err == "eventrt: no\n"


def test_a_defect_is_exit_code_70() -> None:
    assert _exit_code(ValueError("a defect")) == 70


def test_a_bound_socket_does_not_answer_before_the_server_listens() -> None:
    with bind("127.0.0.1", 0) as sock, socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(sock.getsockname())


def test_a_taken_port_is_a_clear_refusal() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartupError, match="--port"):
            bind("127.0.0.1", taken.getsockname()[1])


def test_a_name_that_is_no_address_of_this_machine_is_a_clear_refusal() -> None:
    with pytest.raises(StartupError, match="choose another with --host"):
        bind("203.0.113.7", 0)


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:4566"])
def test_a_port_in_the_address_is_told_where_it_belongs(host: str) -> None:
    with pytest.raises(StartupError, match="give the port with --port"):
        refuse_open_door(load(None, environment={"EVENTRT_HOST": host}), insecure=True)


def test_a_listener_everywhere_is_called_by_the_machines_name() -> None:
    assert own_names("127.0.0.1") == {"127.0.0.1"}
    assert socket.gethostname() in own_names("0.0.0.0")
