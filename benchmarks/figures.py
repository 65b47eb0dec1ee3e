"""Figures, beside the bars that they have to keep to, as a table or as JSON; and what machine they are of."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

MET, MISSED = "met", "MISSED"


@dataclass(frozen=True)
class Figure:
    """Something measured.

    Attributes:
        what: in words.
        values: figures by name; the names are the table's columns.
        judged: the name of the one that has to keep to the bar.
        bar: the most that it may be; None is no bar.
        below: whether it has to stay below the bar, where it may otherwise reach it.
    """

    what: str
    values: dict[str, float]
    judged: str = ""
    bar: float | None = None
    below: bool = True

    @property
    def verdict(self) -> str:
        """Whether it keeps to its bar; "" where there is none."""
        if self.bar is None:
            return ""
        value = self.values[self.judged]
        return MET if value < self.bar or (value == self.bar and not self.below) else MISSED


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so great a share of them, 0 to 1, does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object in place of a table")
    return parser


def report(title: str, figures: Sequence[Figure], *, as_json: bool) -> int:
    """Print the figures; the exit status is 1 when one of them misses its bar."""
    if as_json:
        rows = [{"what": f.what, **f.values, "bar": f.bar, "verdict": f.verdict} for f in figures]
        print(json.dumps({"benchmark": title, "machine": machine(), "figures": rows}))
    else:
        print(f"{title}\n{', '.join(f'{name} {value}' for name, value in machine().items())}\n")
        print(table(figures))
    return int(any(figure.verdict == MISSED for figure in figures))


def table(figures: Sequence[Figure]) -> str:
    """The figures in columns."""
    names = list(dict.fromkeys(name for figure in figures for name in figure.values))
    rows = [["", *names, "bar", ""]]
    for f in figures:
        values = [_text(f.values.get(name)) for name in names]
        bar = "" if f.bar is None else f"{f.judged} {'<' if f.below else '<='} {f.bar:g}"
        rows.append([f.what, *values, bar, f.verdict])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_line(row, widths) for row in rows)


def machine() -> dict[str, str]:
    """When, and on what."""
    packages = {name: version(name) for name in ("textual", "jax")}
    load = f"{os.getloadavg()[0]:.1f}"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "python": platform.python_version(),
        **packages,
        "cores": str(os.cpu_count()),
        "load": load,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return "  ".join(cells).rstrip()
