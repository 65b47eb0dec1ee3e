"""How many bytes a second the app sends to its terminal, at rest and while previews come, on a link that takes all.

The demo model itself samples. At rest is after that: cancelled, with the focus in the prompt, nothing typed.
"""

from __future__ import annotations

import sys

from benchmarks.figures import Figure, parser, report
from benchmarks.link import REQUEST, UPPER_HALF, Size, app, home, opened
from benchmarks.typist import cancel, paint

SIZES: tuple[Size, ...] = ((80, 24), (200, 60))
NUM_STEPS = 1000


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--seconds", type=float, default=20.0, metavar="N", help="how long each is listened to")
    arguments.add_argument("--batch", type=int, default=8, metavar="N", help="pictures painted together")
    options = arguments.parse_args()
    figures: list[Figure] = []
    for size in SIZES:
        for in_tmux in (False, True):
            figures += _heard(size, in_tmux, options.seconds, options.batch)
    return report("Bytes a second to the terminal", figures, as_json=options.json)


def _heard(size: Size, in_tmux: bool, seconds: float, batch: int) -> list[Figure]:
    where = "{}x{}".format(*size) + (", in tmux" if in_tmux else "")
    with home(num_steps=NUM_STEPS, batch_size=batch) as place, opened(place, app(), size, tmux=in_tmux) as link:
        since = paint(link)
        link.arrival(UPPER_HALF, since)
        before = len(link.heard)
        sent = link.listen(seconds)
        previews = link.heard.count(REQUEST, before)  # tmux answers for the terminal, which is asked nothing then
        cancel(link, since)
        link.settle()
        rest = link.listen(seconds)
    previewing = {"bytes/s": sent / seconds} | ({} if in_tmux else {"previews/s": previews / seconds})
    return [
        Figure(f"{where}: previewing", previewing),
        Figure(f"{where}: at rest", {"bytes/s": rest / seconds}, "bytes/s", 0.0, below=False),
    ]


if __name__ == "__main__":
    sys.exit(main())
