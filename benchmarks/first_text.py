"""How long after its start the app has its first text on the screen, beside what importing Textual and JAX alone take.

The first text is the app's name, drawn before Textual is imported; the whole screen is measured by the import of JAX,
which the app does without. All take turns, so that whatever else the machine does falls upon all. All are warm: each
runs once before.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

import pyte

from benchmarks.figures import Figure, parser, quantile, report
from benchmarks.link import WELCOME, Home, Link, Size, app, home, opened

BAR_S = 0.5
BAR_RATIO = 1.3
BAR_JAX_RATIO = 0.6
SIZE = (80, 24)


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--starts", type=int, default=21, metavar="N", help="how often each is started")
    options = arguments.parse_args()
    with home() as place:
        started, textual, jax = [], [], []
        for _ in range(options.starts + 1):
            started.append(start_s(place))
            textual.append(import_s(place, "textual.app"))
            jax.append(import_s(place, "jax"))
    first, complete = zip(*started[1:], strict=True)
    figures = [
        Figure("flux-tui, first text (s)", _values(first), "p50", BAR_S),
        Figure("flux-tui, whole screen (s)", _values(complete)),
        Figure("import textual.app (s)", _values(textual[1:])),
        Figure("import jax (s)", _values(jax[1:])),
        Figure("first text / textual", {"p50": median(first) / median(textual[1:])}, "p50", BAR_RATIO, below=False),
        Figure("whole screen / jax", {"p50": median(complete) / median(jax[1:])}, "p50", BAR_JAX_RATIO),
    ]
    return report("First text on the screen", figures, as_json=options.json)


def start_s(place: Home) -> tuple[float, float]:
    """Seconds from the app's start to the first text on the screen, and to the whole first screen."""
    with opened(place, app(), SIZE) as link:
        complete_at_s = link.arrival(WELCOME)
        return _first_text_at_s(link, SIZE) - link.started_at_s, complete_at_s - link.started_at_s


def _first_text_at_s(link: Link, size: Size) -> float:
    screen = pyte.Screen(*size)
    stream = pyte.ByteStream(screen)
    for at_s, piece in link.pieces():
        stream.feed(piece)
        if any(line.strip() for line in screen.display):
            return at_s
    raise AssertionError("the whole screen came without a text")


def import_s(place: Home, module: str) -> float:
    """Seconds that a Python takes which imports a module and ends."""
    started_at_s = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=place.env, check=True)
    return time.monotonic() - started_at_s


def _values(seconds: list[float] | tuple[float, ...]) -> dict[str, float]:
    return {"n": len(seconds), "p50": median(seconds), "p90": quantile(seconds, 0.9), "worst": max(seconds)}


if __name__ == "__main__":
    sys.exit(main())
