"""Every sign the app draws that is not ASCII, once, each with an ASCII twin for fonts and locales without it.

All are one cell wide, so that a line keeps its columns when the twins take over. Knows no widget and no colour; the
half-blocks that pictures are made of are not signs, and have no twin.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """A set of signs, by what they mean."""

    bar_done: str
    bar_left: str
    dot: str
    ellipsis: str
    times: str
    running: str
    done: str
    failed: str
    cancelled: str
    paused: str
    star: str
    unstarred: str
    changed: str
    fold: str
    unfold: str
    up: str
    down: str
    left: str
    right: str


UNICODE = Glyphs(
    bar_done="━",
    bar_left="─",
    dot="·",
    ellipsis="…",
    times="\N{MULTIPLICATION SIGN}",
    running="▸",
    done="✓",
    failed="✗",
    cancelled="\N{EN DASH}",
    paused="‖",
    star="★",
    unstarred="☆",
    changed="•",
    fold="▲",
    unfold="▼",
    up="↑",
    down="↓",
    left="←",
    right="→",
)

ASCII = Glyphs(
    bar_done="=",
    bar_left="-",
    dot="-",
    ellipsis="~",
    times="x",
    running=">",
    done="+",
    failed="!",
    cancelled="-",
    paused="=",
    star="*",
    unstarred=".",
    changed="*",
    fold="^",
    unfold="v",
    up="^",
    down="v",
    left="<",
    right=">",
)


def glyphs(ascii: bool) -> Glyphs:
    """The signs to draw with."""
    return ASCII if ascii else UNICODE
