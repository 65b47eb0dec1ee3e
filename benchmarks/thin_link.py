"""How long after a key its letter is on the screen while previews come over a link of 100 kB/s, with and without tmux.

The demo model itself samples. Round trips take no time here: over a real link, one comes on top.
"""

from __future__ import annotations

import sys

from benchmarks.figures import Figure, parser, report
from benchmarks.link import UPPER_HALF, app, home, opened
from benchmarks.typist import Typist, cancel, figure, paint, times, type_in_turns

BARS_MS = {"without tmux": 150.0, "in tmux": 700.0}
SIZE = (120, 40)
NUM_STEPS = 1000


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--starts", type=int, default=3, metavar="N", help="how often the app is started")
    arguments.add_argument("--letters", type=int, default=100, metavar="N", help="in each start")
    arguments.add_argument("--batch", type=int, default=8, metavar="N", help="pictures painted together")
    arguments.add_argument("--kbps", type=float, default=100.0, metavar="N", help="kilobytes a second")
    options = arguments.parse_args()
    figures: list[Figure] = []
    for where, bar_ms in BARS_MS.items():
        seconds: list[float] = []
        for _ in range(options.starts):
            seconds += _typed(where == "in tmux", options.letters, options.batch, options.kbps * 1000)
        figures.append(figure(where, seconds, bar_ms))
    return report(f"From key to paint while previewing, 120x40, {options.kbps:g} kB/s", figures, as_json=options.json)


def _typed(in_tmux: bool, letters: int, batch: int, bytes_per_s: float) -> list[float]:
    with (
        home(num_steps=NUM_STEPS, batch_size=batch) as place,
        opened(place, app(), SIZE, bytes_per_s=bytes_per_s, tmux=in_tmux) as link,
    ):
        since = paint(link)
        link.arrival(UPPER_HALF, since)
        [seconds] = type_in_turns([Typist(link)], times(letters))
        cancel(link, since)
        return seconds


if __name__ == "__main__":
    sys.exit(main())
