"""The command line: `eventrt serve`, `check`, `status`, `logs`.

Each command imports what it needs when it runs, so that `--help` and completion stay quick. `serve` is the
daemon; the others speak to a running one over HTTP, and never open its files. Exit codes are those of
sysexits.h.
"""

import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from eventrt import __version__

if TYPE_CHECKING:
    from eventrt.config import Settings

EX_USAGE, EX_DATAERR, EX_UNAVAILABLE, EX_CONFIG = 64, 65, 69, 78
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EPILOG = """\b
First steps:
  eventrt serve                          serve on http://127.0.0.1:4566; keep all in ./.eventrt
  aws --endpoint-url http://127.0.0.1:4566 sqs create-queue --queue-name jobs
  eventrt status                         see what is there and what it does
  eventrt logs FUNCTION -f               follow what a function prints

Queues, functions and what ties them can also be declared in a file: eventrt serve --config FILE.
"""


class InOrder(click.Group):
    """A group that lists its commands in the order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


def _account(_: click.Context, __: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"\d{12}", value, re.ASCII):
        raise click.BadParameter(f"an account has 12 digits, not {value!r}")
    return value


@click.group(cls=InOrder, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, prog_name="eventrt")
def cli() -> None:
    """Run AWS's queues, streams, tables, buckets and functions on this machine, durably."""


@cli.command()
@click.option("--config", "config_file", metavar="FILE", help="The TOML file to read (EVENTRT_CONFIG).")
@click.option("--host", metavar="ADDRESS", help="The address to listen on; 127.0.0.1 (EVENTRT_HOST).")
@click.option("--port", metavar="NUMBER", type=int, help="The port; 4566, 0 takes a free one (EVENTRT_PORT).")
@click.option("--data-dir", metavar="DIRECTORY", help="Where everything is kept; .eventrt (EVENTRT_DATA_DIR).")
@click.option("--auth", type=click.Choice(["none", "sigv4"]), help="Take any credentials, or verify signatures.")
@click.option("--insecure", is_flag=True, help="Listen beyond loopback without verifying signatures.")
@click.option("--test-clock", is_flag=True, help="Let /_eventrt/clock move the clock.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="The least to log.")
@click.option("--log-format", type=click.Choice(["auto", "text", "json"]), help="How log lines look.")
def serve(
    config_file: str | None,
    host: str | None,
    port: int | None,
    data_dir: str | None,
    auth: str | None,
    insecure: bool,
    test_clock: bool,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Serve in the foreground until SIGTERM or Ctrl-C.

    Every setting can be given in the file, as an environment variable EVENTRT_<SECTION>_<NAME>, and the most
    used ones here; the command line wins over the environment, and that over the file.

    The first SIGTERM or Ctrl-C lets what runs finish within runtime.stop_grace_s; a second one ends it now.
    """
    from eventrt.config import WrongConfiguration, config_path, load

    given: dict[str, object | None] = {
        "server.host": host,
        "server.port": port,
        "store.data_dir": data_dir,
        "auth.mode": auth,
        "clock.controllable": True if test_clock else None,
        "log.level": log_level,
        "log.format": log_format,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        settings = load(
            config_path(config_file),
            environment=os.environ,
            overrides=overrides,
            warn=lambda mistake: click.echo(f"eventrt: {mistake}", err=True),
        )
    except WrongConfiguration as error:
        for mistake in error.mistakes:
            click.echo(f"eventrt: {mistake}", err=True)
        sys.exit(EX_CONFIG)
    from eventrt.lean import starting

    with starting():
        from eventrt.process import run
    sys.exit(run(settings, insecure=insecure or _is_true("EVENTRT_INSECURE")))


@cli.command()
@click.argument("file", metavar="FILE")
def check(file: str) -> None:
    """Say all that is wrong with a configuration file.

    Each mistake comes with line, column, and what was probably meant.

    Exits with 0 when it is right, 65 when it is no TOML or cannot be read, 78 when what it says is wrong.
    """
    from pathlib import Path

    from eventrt.config.check import check as find_mistakes

    outcome = find_mistakes(Path(file), environment=os.environ, find_interpreter=_find_interpreter)
    for mistake in outcome.mistakes:
        click.echo(str(mistake))
    wrong = sum(not mistake.is_warning for mistake in outcome.mistakes)
    if wrong:
        click.echo(f"{wrong} mistake{'s' if wrong > 1 else ''} in {file}", err=True)
        sys.exit(EX_CONFIG if outcome.is_readable else EX_DATAERR)
    click.echo(f"{file} is right: {outcome.summary}", err=True)


@cli.command()
@click.option(
    "--account", default="000000000000", show_default=True, callback=_account, help="Whose queues and functions."
)
@click.option("--region", default=None, help="The region; AWS_REGION, AWS_DEFAULT_REGION, else us-east-1.")
@click.option("--endpoint-url", metavar="URL", help="Where the daemon listens (EVENTRT_ENDPOINT_URL).")
def status(account: str, region: str | None, endpoint_url: str | None) -> None:
    """Show what a running daemon does."""
    from eventrt.console.client import Client, NotFound, Unreachable, WrongUrl
    from eventrt.console.pages import show_status

    try:
        show_status(Client(endpoint_url), account=account, region=_region(region))
    except WrongUrl as error:
        _fail(error, EX_USAGE)
    except NotFound as error:
        _fail(f"what answers there is no eventrt of this version: {error}", EX_UNAVAILABLE)
    except Unreachable as error:
        _fail(error, EX_UNAVAILABLE)


@cli.command()
@click.argument("function")
@click.option("-f", "--follow", is_flag=True, help="Stay, and show what comes.")
@click.option("-n", "--tail", type=click.IntRange(0, 1_000_000), default=1000, show_default=True, help="Lines to show.")
@click.option("--account", default="000000000000", show_default=True, callback=_account, help="The function's account.")
@click.option("--region", default=None, help="The function's region; AWS_REGION, AWS_DEFAULT_REGION, else us-east-1.")
@click.option("--endpoint-url", metavar="URL", help="Where the daemon listens (EVENTRT_ENDPOINT_URL).")
def logs(function: str, follow: bool, tail: int, account: str, region: str | None, endpoint_url: str | None) -> None:
    """Show what FUNCTION printed."""
    from eventrt.console.client import Client, NotFound, Unreachable, WrongUrl

    try:
        client = Client(endpoint_url)
        for chunk in client.function_log(function, account=account, region=_region(region), follow=follow, tail=tail):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    except WrongUrl as error:
        _fail(error, EX_USAGE)
    except NotFound as error:
        _fail(error, EX_DATAERR)
    except Unreachable as error:
        _fail(error, EX_UNAVAILABLE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _find_interpreter(runtime: str, settings: "Settings") -> tuple[str | None, bool]:
    """Return what a Runtime would run on, and whether that is what it names; the daemon asks the same finder."""
    from eventrt.invoker.runtimes.interpreters import Interpreters, NoInterpreter

    try:
        found = Interpreters(settings.runtime.interpreters).resolve(runtime)
    except NoInterpreter:
        return None, False
    return f"{found.name} ({found.path})", found.exact


def _fail(error: Exception | str, code: int) -> NoReturn:
    click.echo(f"eventrt: {error}", err=True)
    sys.exit(code)


def _region(option: str | None) -> str:
    return option or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _is_true(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")


def main() -> None:
    """Run the command line."""
    cli(prog_name="eventrt")
