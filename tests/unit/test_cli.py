"""The command line, as one who mistypes sees it: one clear line and an exit code, never a traceback."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventrt.console.cli import cli


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, arguments, prog_name="eventrt")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_help_shows_the_commands_in_the_order_of_use_and_first_steps() -> None:
    text = run("--help").output
    places = [text.index(f"\n  {command} ") for command in ("serve", "check", "status", "logs")]
    assert places == sorted(places)
    assert "eventrt serve " in text.partition("First steps:")[2]
    assert "..." not in text.replace("[ARGS]...", ""), "a summary that is cut off"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999", "http://[::1", "https://127.0.0.1:4566", "ftp://x", "http://", "127.0.0.1:x"]
)
def test_an_endpoint_that_is_no_url_of_a_daemon_is_named(url: str) -> None:
    for command in (("status",), ("logs", "f")):
        result = run(*command, "--endpoint-url", url)
        assert result.exit_code == 64
        assert result.stderr.startswith(f"eventrt: {url} is no URL")
        assert result.stderr.count("\n") == 1


def test_nobody_at_the_endpoint_is_told_with_what_to_do() -> None:
    result = run("status", "--endpoint-url", "http://127.0.0.1:1")
    assert result.exit_code == 69
    assert result.stderr.endswith("start it with: eventrt serve\n")
    assert run("logs", "\udcff", "--endpoint-url", "http://127.0.0.1:1").exit_code == 69


class _Older(BaseHTTPRequestHandler):
    """Knows no path, as a daemon of another version may not know one."""

    def do_GET(self) -> None:
        body = b'{"error": "there is nothing at ' + self.path.encode() + b'"}'
        self.send_response(404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object, **__: object) -> None:
        """Say nothing."""


def test_a_daemon_of_another_version_is_told_apart() -> None:
    with HTTPServer(("127.0.0.1", 0), _Older) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        result = run("status", "--endpoint-url", f"http://127.0.0.1:{server.server_port}")
        thread.join()
    assert result.exit_code == 69
    assert result.stderr == (
        "eventrt: what answers there is no eventrt of this version: there is nothing at /_eventrt/health\n"
    )


def test_an_account_has_twelve_digits() -> None:
    result = run("status", "--account", "mine")
    assert result.exit_code == 2
    assert "an account has 12 digits, not 'mine'" in result.stderr


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a = " + "[" * 100_000, "nests too deeply to be read"),
        ("a = " + "9" * 10_000, "holds a value that cannot be read: "),
        ("[server]\nport = " + "9" * 1000, "server.port must be an integer from 0 to 65535, not 9999"),
    ],
)
def test_a_file_that_python_cannot_read_is_a_mistake(tmp_path: Path, text: str, mistake: str) -> None:
    file = tmp_path / "eventrt.toml"
    file.write_text(text)
    result = run("check", str(file))
    assert result.exit_code in (65, 78)
    assert mistake in result.stdout
    assert len(result.stdout) < 500


def test_what_was_declared_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "eventrt.toml"
    file.write_text("[[queues]]\nname = 'q'\n[[queues]]\nname = 'r'\n[[streams]]\nname = 's'\n")
    assert run("check", str(file)).stderr == f"{file} is right: 2 queues, 1 stream\n"
