"""What stands in the project's files about its settings is what the code says."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eventrt.config import load, reference
from eventrt.config.check import check
from eventrt.config.declared import KINDS
from eventrt.config.settings import every_setting, members

ROOT = Path(__file__).parents[2]


def test_the_reference_file_holds_every_setting_with_its_default() -> None:
    text = (ROOT / "config" / "eventrt.toml").read_text()
    assert text == reference.toml(), "run: python -m eventrt.config.reference"
    values = tomllib.loads(text)
    for setting in every_setting():
        if setting.name not in ("keys", "interpreters"):
            default = setting.default
            assert values[setting.section][setting.name] == (list(default) if isinstance(default, tuple) else default)
    assert load(ROOT / "config" / "eventrt.toml", environment={}).server == load(None, environment={}).server


def test_every_setting_and_every_declared_name_is_in_the_docs() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert text == reference.markdown(), "run: python -m eventrt.config.reference"
    for setting in every_setting():
        assert f"| `{setting.name}` |" in text
        assert setting.meta.description
    for struct in KINDS.values():
        assert all(f"| `{name}` |" in text for name in members(struct))


def test_the_declared_examples_of_the_reference_file_are_right(tmp_path: Path) -> None:
    """The commented examples at its end, with what is left open ("= ...") left out, declare a working set."""
    lines = reference.toml().split("\n# A function whose code", 1)[1].split("\n")[1:]
    examples = [line.removeprefix("# ") for line in lines if line.startswith("# ") and " = ..." not in line]
    kept = [line for line in examples if line.startswith("[[") or " = " in line]
    (tmp_path / "functions" / "resize").mkdir(parents=True)
    (tmp_path / "functions" / "resize" / "app.py").write_text("def handler(event, context): ...\n")
    file = tmp_path / "eventrt.toml"
    file.write_text("\n".join(kept))
    outcome = check(file, environment={})
    assert [str(mistake) for mistake in outcome.mistakes] == []
    assert outcome.summary == ("1 function, 1 queue, 1 stream, 1 table, 1 bucket, 1 notification, 1 mapping")


@pytest.mark.parametrize("name", ["demo", "orders"])
def test_the_examples_are_right(name: str) -> None:
    assert check(ROOT / "config" / f"{name}.toml", environment={}).mistakes == []


def test_importing_the_daemon_loads_nothing_heavy() -> None:
    """The gate of the dependency rules: what the start must not pay for."""
    forbidden = (
        "yaml", "cryptography", "watchfiles", "botocore", "boto3", "pydantic", "textual", "rich", "aiohttp",
        "cbor2",
    )  # fmt: skip
    script = (
        "import sys\n"
        "import eventrt.console.cli\n"
        "from eventrt.lean import starting\n"
        "with starting():\n"
        "    import eventrt.process\n"
        f"print([name for name in {forbidden!r} if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_help_and_completion_load_no_daemon() -> None:
    script = (
        "import sys\n"
        "import eventrt.console.cli\n"
        "print([name for name in ('httptools', 'structlog', 'msgspec', 'asyncio', 'sqlite3') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_systemd_unit_is_accepted() -> None:
    unit = ROOT / "systemd" / "eventrt.service"
    ended = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_every_log_event_is_in_the_docs() -> None:
    documented = (ROOT / "docs" / "logs.md").read_text()
    call = re.compile(r'\b(?:_LOG|log|_log)\.(?:debug|info|warning|error|exception)\(\s*"([^"]+)"')
    events = {name for file in (ROOT / "eventrt").rglob("*.py") for name in call.findall(file.read_text())}
    assert len(events) > 30
    assert sorted(name for name in events if f"`{name}`" not in documented) == []


def test_every_page_of_behaviour_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "behaviour.md").read_text()
    pages = [page.name for page in (ROOT / "docs" / "behaviour").glob("*.md")]
    assert pages
    assert [name for name in pages if f"(behaviour/{name})" not in index] == []


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_links_between_the_docs_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_test_the_behaviour_pages_name_is_there() -> None:
    names = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"\b(?:def|class) (test_\w+)", file.read_text())
    }
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    for page in [*(ROOT / "docs" / "behaviour").glob("*.md"), ROOT / "docs" / "behaviour.md"]:
        named = set(re.findall(r"`(test_\w+)`", page.read_text()))
        assert sorted(named - names - files) == [], page.name
