"""Types into a program and notes how long each letter takes to appear at the far end of its link."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from benchmarks.figures import Figure, quantile
from benchmarks.link import F5, WELCOME, Link

PROMPT = "snow over a pine forest at night"
LETTERS = (
    "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"  # one cell each, and nowhere else in the app
)
CLEAR_LINE = "\x15"
CLEAR_S = 0.5  # until the screen is quiet again, on a thin link, too
CANCEL = "\x1b[20~"  # F9
PAUSE_S = (0.05, 0.15)  # between keys: a quick typist's, and never in step with the app's timers


class Typist:
    """Presses one letter after another at a link."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._typed = 0

    def type_letter(self) -> float:
        """Seconds until the next letter had appeared."""
        letter = LETTERS[self._typed % len(LETTERS)]
        if letter == LETTERS[0]:  # each is gone from the screen before its next turn
            self.link.press(CLEAR_LINE)
            self.link.listen(CLEAR_S)
        self._typed += 1
        before = len(self.link.heard)
        pressed_at_s = self.link.press(letter)
        return self.link.arrival(letter.encode(), before) - pressed_at_s


def type_in_turns(typists: Sequence[Typist], goes_on: Callable[[], object]) -> list[list[float]]:
    """Each types a letter when the one before has appeared, and so on; seconds of each typist's letters."""
    taken: list[list[float]] = [[] for _ in typists]
    chance = random.Random(0)
    while goes_on():
        for typist, seconds in zip(typists, taken, strict=True):
            seconds.append(typist.type_letter())
            pause_s = chance.uniform(*PAUSE_S)
            for other in typists:  # all are read, so that none waits to write
                other.link.listen(pause_s / len(typists))
    return taken


def times(count: int) -> Callable[[], bool]:
    """True so often, then False."""
    left: Iterator[int] = iter(range(count))
    return lambda: next(left, None) is not None


def paint(link: Link) -> int:
    """Start a picture, and take the pause after a key; returns how much had been heard before. It must be the first."""
    link.arrival(WELCOME)
    link.press(PROMPT)
    link.settle()
    before = len(link.heard)
    link.press(F5)
    link.listen(PAUSE_S[0])
    return before


def cancel(link: Link, since: int) -> None:
    """Cancel the picture that was started when so much had been heard, which must not be done before."""
    if link.heard.find(b"Saved", since) >= 0:
        raise SystemExit("error: the picture was done too soon; this machine needs a larger --batch")
    link.press(CANCEL)
    link.arrival(b"Cancelled.", since)


def figure(what: str, seconds: Sequence[float], bar_ms: float | None = None) -> Figure:
    """How the letters of one situation fared."""
    ms = [1000 * value for value in seconds]
    values = {"n": len(ms), "p50 ms": quantile(ms, 0.5), "p99 ms": quantile(ms, 0.99), "worst ms": max(ms)}
    return Figure(what, values, "p99 ms", bar_ms)
