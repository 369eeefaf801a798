"""Plain columns, and numbers as people read them."""

from collections.abc import Iterable, Sequence

import click


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a head in columns as wide as their widest cell; nothing when there are no rows."""
    lines = [[str(cell) for cell in row] for row in rows]
    if not lines:
        return
    widths = [max(len(line[column]) for line in [list(head), *lines]) for column in range(len(head))]
    click.echo()
    for line in [list(head), *lines]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def span(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    for unit, longest, length in (("s", 120, 1), ("min", 120 * 60, 60), ("h", 72 * 3600, 3600)):
        if abs(seconds) < longest:
            amount = seconds / length
            return f"{amount:.{1 if abs(amount) < 10 else 0}f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def ago(moment: float | None, now: float) -> str:
    """Return how long ago a moment was; empty for none."""
    return "" if moment is None else f"{span(max(0.0, now - moment))} ago"


def until(moment: float, now: float) -> str:
    """Return how long it is to a moment."""
    return "now" if moment <= now else f"in {span(moment - now)}"
