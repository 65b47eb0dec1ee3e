"""How much of a core the screen takes while an engine is busy that shows five previews a second.

It is all that the program spends, user and system, Python's threads and its writing to the terminal, over 100 steps of
an engine that sleeps (20 s). What the terminal spends on drawing is not in it.
"""

from __future__ import annotations

import json
import sys

from benchmarks.figures import Figure, parser, report
from benchmarks.link import F5, REQUEST, WELCOME, Size, home, opened
from benchmarks.typist import PROMPT

BAR_PERCENT = 5.0
SIZES: tuple[Size, ...] = ((80, 24), (120, 40), (200, 60))


def main() -> int:
    options = parser(__doc__ or "").parse_args()
    figures = [_spent(size) for size in SIZES]
    return report("Processor time of the screen at five previews a second", figures, as_json=options.json)


def _spent(size: Size) -> Figure:
    with home() as place:
        file = place.folder / "clocks.json"
        argv = [sys.executable, "-m", "benchmarks.sleeping_app", str(file)]
        with opened(place, argv, size) as link:
            link.arrival(WELCOME)
            link.settle()
            before = len(link.heard)
            link.press(PROMPT + F5)
            link.arrival(b"Saved")
            previews, n_bytes = link.heard.count(REQUEST), len(link.heard) - before
        clocks = json.loads(file.read_text(encoding="utf-8"))
    share = 100 * clocks["processor_s"] / clocks["seconds"]
    values = {
        "% of a core": share,
        "seconds": clocks["seconds"],
        "previews": previews,
        "kB each": n_bytes / previews / 1000,
    }
    return Figure("{}x{}".format(*size), values, "% of a core", BAR_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
