"""How long after a key its letter is on the screen: at rest, while JAX compiles, and while it samples.

Each start gives letters of all three, with the demo model itself. "Compiling" is everything from F5 to the first
preview: JAX is imported, the weights are read, the prompt is encoded, and the networks are traced and compiled.

Letter by letter, two peers take turns with the app, each in a terminal of its own: a bare Textual app, and `cat`, which
only sleeps and wakes. What they take is the toolkit's share and the machine's, under the same load.

A start gives some 10 letters while compiling, so that their worst would be their 99 % value: the app is started for
those alone until there are enough.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack

from benchmarks.figures import parser, report
from benchmarks.link import UPPER_HALF, WELCOME, app, home, opened
from benchmarks.typist import Typist, cancel, figure, paint, times, type_in_turns

BAR_MS = 50.0
SIZE = (120, 40)
NUM_STEPS = 1000
COMPILING = "compiling"
APP, BARE, CAT = "flux-tui", "bare Textual app", "cat"
PROGRAMS = {
    APP: app(),
    BARE: [sys.executable, "-m", "benchmarks.bare_app"],
    CAT: ["sh", "-c", f"stty raw -echo; echo '{WELCOME.decode()}'; exec cat"],
}

Letters = dict[tuple[str, str], list[float]]  # of each situation and program: seconds


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--starts", type=int, default=6, metavar="N", help="how often the app is started")
    arguments.add_argument("--letters", type=int, default=60, metavar="N", help="at rest, and sampling, in each start")
    arguments.add_argument("--compiling", type=int, default=250, metavar="N", help="at the least, in all starts")
    arguments.add_argument("--batch", type=int, default=16, metavar="N", help="pictures painted together")
    options = arguments.parse_args()
    letters: Letters = {}
    for _ in range(options.starts):
        _type_through(letters, options.letters, options.batch)
    while len(letters[COMPILING, APP]) < options.compiling:
        _type_through(letters, 0, options.batch)
    figures = [
        figure(f"{situation}: {name}", seconds, BAR_MS if name == APP else None)
        for (situation, name), seconds in letters.items()
    ]
    return report("From key to paint, 120x40", figures, as_json=options.json)


def _type_through(letters: Letters, count: int, batch: int) -> None:
    """Add the letters of one start of the app, through all three situations."""
    with home(num_steps=NUM_STEPS, batch_size=batch) as place, ExitStack() as stack:
        links = [stack.enter_context(opened(place, argv, SIZE)) for argv in PROGRAMS.values()]
        for link in links:
            link.arrival(WELCOME)
        ours, typists = links[0], [Typist(link) for link in links]

        def add(situation: str, taken: list[list[float]]) -> None:
            for name, seconds in zip(PROGRAMS, taken, strict=True):
                letters.setdefault((situation, name), []).extend(seconds)

        add("at rest, fresh", type_in_turns(typists, times(count)))
        since = paint(ours)
        add(COMPILING, type_in_turns(typists, lambda: ours.heard.find(UPPER_HALF, since) < 0))
        add("sampling", type_in_turns(typists, times(count)))
        cancel(ours, since)
        ours.settle()
        add("at rest, after", type_in_turns(typists, times(count)))


if __name__ == "__main__":
    sys.exit(main())
