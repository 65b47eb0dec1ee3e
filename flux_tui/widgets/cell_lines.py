"""Pictures in cells as Rich segments: half-blocks in colour, or signs by brightness.

The one place that makes styles of pixels, thousands of them for a picture.
"""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from flux_tui.preview import RGB, CellImage

UPPER_HALF = "\N{UPPER HALF BLOCK}"
RAMP = " .:-=+*#%@"  # from black to white, where signs are brighter than their ground


def half_block_lines(cells: CellImage) -> list[list[Segment]]:
    """One segment a cell, line by line."""
    return [[Segment(UPPER_HALF, _style(upper, lower)) for upper, lower in row] for row in cells.rows]


def text_lines(cells: CellImage, *, dark: bool = True) -> list[list[Segment]]:
    """Signs of the ramp by brightness, in the screen's own colours; one segment a line.

    Args:
        cells: the picture.
        dark: whether the ground is darker than the signs; on a light one the fullest sign is black.
    """
    ramp = RAMP if dark else RAMP[::-1]
    return [[Segment("".join(_sign(upper, lower, ramp) for upper, lower in row))] for row in cells.rows]


@lru_cache(maxsize=16384)
def _style(upper: RGB, lower: RGB) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


def _sign(upper: RGB, lower: RGB, ramp: str) -> str:
    red, green, blue = (a + b for a, b in zip(upper, lower, strict=True))
    brightness = (299 * red + 587 * green + 114 * blue) // 2000
    return ramp[brightness * (len(ramp) - 1) // 255]
