"""The table and the JSON: each figure with what it must be, what it aims at, and its floor."""

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from tests.bench.process import REPOSITORY

Better = Literal["more", "less"]


@dataclass
class Figure:
    """One measured figure.

    `value` is the median of the repetitions (`samples`). `floor` is what bare parts reach in the same run, in the
    same unit; `ratio` is 1 when the figure reaches it. CPU is microseconds per unit of work.
    """

    row: str
    measure: str
    value: float
    unit: str
    must: float | None = None
    aim: float | None = None
    better: Better = "more"
    samples: list[float] = field(default_factory=list)
    floor: float | None = None
    floor_name: str = ""
    server_us: float | None = None
    handlers_us: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How much of the floor is reached."""
        if not self.floor or not self.value:
            return None
        return self.value / self.floor if self.better == "more" else self.floor / self.value

    @property
    def verdict(self) -> str:
        """`aim`, `must`, `below`, or nothing where nothing is asked."""
        if self.must is None:
            return ""
        if self.aim is not None and self._reaches(self.aim):
            return "aim"
        return "must" if self._reaches(self.must) else "below"

    def _reaches(self, bound: float) -> bool:
        return self.value >= bound if self.better == "more" else self.value <= bound


def show(figures: Sequence[Figure]) -> None:
    """Print the table; the last column holds the range of the repetitions, the floor's name and the note."""
    rows = [("measure", "value", "must", "aim", "", "server µs", "handlers µs", "floor", "ratio", "")]
    rows += [
        (
            figure.measure,
            f"{_number(figure.value)} {figure.unit}".rstrip(),
            _bound(figure, figure.must),
            _bound(figure, figure.aim),
            figure.verdict,
            _number(figure.server_us),
            _number(figure.handlers_us),
            _number(figure.floor),
            f"{figure.ratio:.2f}" if figure.ratio is not None else "",
            _remark(figure),
        )
        for figure in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(9)]
    for number, row in enumerate(rows):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        print("  ".join([*cells, row[9]]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _remark(figure: Figure) -> str:
    spread = ""
    if len(figure.samples) > 1:
        spread = f"{_number(min(figure.samples))} to {_number(max(figure.samples))}"
    floor = f"floor: {figure.floor_name}" if figure.floor_name else ""
    return "; ".join(filter(None, [spread, floor, figure.note]))


def save(figures: Sequence[Figure]) -> Path:
    """Write the figures as JSON below `results/` and return the file's path."""
    now = datetime.datetime.now(datetime.UTC)
    path = REPOSITORY / "results" / f"bench-{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    content = {
        "at": now.isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
            "kernel": platform.release(),
        },
        "figures": [{**asdict(figure), "ratio": figure.ratio, "verdict": figure.verdict} for figure in figures],
    }
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return path


def _bound(figure: Figure, bound: float | None) -> str:
    return "" if bound is None else f"{'≥' if figure.better == 'more' else '≤'} {_number(bound)}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
