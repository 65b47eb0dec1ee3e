"""Words in a given number of terminal cells: cut after a whole word, and never wider than they say.

Knows how wide a sign is; knows no widget. What a text from a foreign file may hold never makes a line wider.
"""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len, set_cell_size

from flux_tui.glyphs import UNICODE
from flux_tui.metadata import harmless

MAX_SIGNS_A_CELL = 8  # more of them are stacked accents, or a prompt of a megabyte

_VARIANTS = re.compile("[\ufe00-\ufe0f]")  # they change a sign's width, and terminals do not agree how


def shortened(text: str, width: int, ellipsis: str = UNICODE.ellipsis) -> str:
    """The text in one line of at most `width` cells, cut after a whole word where it has words."""
    line = one_line(text, width)
    return line if cell_len(line) <= width else f"{_head(line, width - 1)}{ellipsis}"[: max(width, 0)]


def in_two(text: str, width: int, ellipsis: str = UNICODE.ellipsis) -> tuple[str, str]:
    """The text in two lines of at most `width` cells; the first ends with a whole word where it has words."""
    line = one_line(text, 2 * width)
    if cell_len(line) <= width:
        return line, ""
    first = _head(line, width)
    return first, shortened(line[len(first) :], width, ellipsis)


def one_line(text: str, width: int) -> str:
    """At least the first `width` cells of the text; spaces and line ends are one space, and all signs stay in line.

    Signs that format (category Cf) turn the direction of a whole line, or join the signs beside them into one: where
    terminals disagree about widths, what stands behind moves.
    """
    start = harmless(text.lstrip()[: MAX_SIGNS_A_CELL * max(width, 1) + 1])
    shown = (sign for sign in _VARIANTS.sub("", start) if unicodedata.category(sign) != "Cf")
    return " ".join("".join(shown).split())


def padded(text: str, width: int) -> str:
    """The text with spaces up to `width` cells."""
    return text + " " * (width - cell_len(text))


def _head(line: str, width: int) -> str:
    cut = set_cell_size(line, max(width, 0)).rstrip()  # a wide sign that is cut in half becomes a space
    if line[len(cut)] != " " and " " in cut:
        cut = cut.rsplit(" ", 1)[0]
    return cut
