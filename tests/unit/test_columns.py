"""Numbers as people read them."""

import pytest

from eventrt.console.columns import ago, size, span, until


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**3, "5.0 GiB"), (3 * 1024**5, "3072.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (59.6, "60 s"), (119, "119 s"), (150, "2.5 min"), (7200, "2.0 h"), (400_000, "5 d")],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments() -> None:
    assert ago(None, 10.0) == ""
    assert ago(7.0, 10.0) == "3.0 s ago"
    assert ago(11.0, 10.0) == "0.0 s ago"
    assert until(10.0, 10.0) == "now"
    assert until(70.0, 10.0) == "in 60 s"
