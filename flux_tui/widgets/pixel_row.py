"""A line of half-blocks in true colour whose escape codes are joined at once.

A cell takes a quarter of a microsecond, from pixels to codes; with a style of its own it takes 14, in Rich and Textual,
and leaves eight objects to the collector.
"""

from __future__ import annotations

from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from flux_tui.preview import CellImage, PixelLines, cells_of
from flux_tui.widgets.cell_lines import UPPER_HALF, half_block_lines


def _codes(before: str, after: str) -> list[str]:
    return [f"{before}{value}{after}" for value in range(256)]


_MIDDLE = _codes("", ";")
CODES = (_codes("\x1b[38;2;", ";"), _MIDDLE, _MIDDLE, _codes("48;2;", ";"), _MIDDLE, _codes("", f"m{UPPER_HALF}"))
"""What the bytes of a cell's two pixels become in its escape code: the upper one's red, green and blue, the lower's."""


class PixelRow(Strip):
    """A line of a picture.

    It has segments, one a cell, only for those who ask: where another widget lies over a part, or colours are few.

    Args:
        pixels: of its cells.
        left: blank cells before them.
        width: of the line, in cells; those behind the picture are blank.
        blank: how blank cells look.
    """

    __slots__ = ("_blank", "_left", "_pixels", "_right")

    def __init__(self, pixels: PixelLines, left: int, width: int, blank: Style) -> None:
        self._pixels, self._blank = pixels, blank
        self._left, self._right = left, width - left - len(pixels[0]) // 3
        super().__init__((), width)

    @property
    def _segments(self) -> list[Segment]:  # where Textual keeps them
        [cells] = half_block_lines(CellImage((cells_of(*self._pixels),)))
        return [Segment(" " * self._left, self._blank), *cells, Segment(" " * self._right, self._blank)]

    @_segments.setter
    def _segments(self, segments: list[Segment]) -> None:
        """Those that `Strip` was made of: none."""

    def render(self, console: Console) -> str:
        if self._render_cache is None and console.color_system == "truecolor":
            left, right = (self._blanks(count, console) for count in (self._left, self._right))
            self._render_cache = f"{left}{_escapes(*self._pixels)}\x1b[0m{right}"
        return super().render(console)

    def _blanks(self, count: int, console: Console) -> str:
        return Strip.blank(count, self._blank).render(console) if count else ""

    def crop(self, start: int, end: int | None = None) -> Strip:
        stop = self.cell_length if end is None else min(end, self.cell_length)
        if start > self._left or stop < self.cell_length - self._right:
            return super().crop(start, end)
        return PixelRow(self._pixels, self._left - start, stop - start, self._blank)


def _escapes(upper: bytes, lower: bytes) -> str:
    parts = [""] * (2 * len(upper))
    for place, codes in enumerate(CODES):
        pixels = upper if place < 3 else lower
        parts[place::6] = map(codes.__getitem__, pixels[place % 3 :: 3])
    return "".join(parts)
