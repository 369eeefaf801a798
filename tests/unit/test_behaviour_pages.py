"""The pages of behaviour: all are linked, and every test they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "behaviour").glob("*.md"))


def named_tests() -> set[str]:
    """Return the name of every test and of every file of tests."""
    found: set[str] = set()
    for file in (ROOT / "tests").rglob("*.py"):
        found |= {file.stem, *re.findall(r"def (test_\w+)", file.read_text())}
    return found


TESTS = named_tests()


def test_every_page_is_linked() -> None:
    linked = re.findall(r"\]\(behaviour/([\w-]+\.md)\)", (ROOT / "docs" / "behaviour.md").read_text())
    assert sorted(linked) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [ROOT / "docs" / "behaviour.md", *PAGES], ids=lambda page: page.name)
def test_the_tests_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`(test_\w+)`", text)) <= TESTS
    files = [name for name in re.findall(r"`(tests/[\w./*-]+)`", text) if not list(ROOT.glob(name))]
    assert files == []
