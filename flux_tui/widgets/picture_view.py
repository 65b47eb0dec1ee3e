"""A picture in half-block cells, drawn line by line, centred, as large as its aspect allows."""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from flux_engine.request import RGBImage
from flux_tui.preview import RGB, CellImage, half_blocks

UPPER_HALF = "\N{UPPER HALF BLOCK}"


@lru_cache(maxsize=16384)
def _style(upper: RGB, lower: RGB) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


class PictureView(Widget):
    """Shows one `RGBImage`, or nothing."""

    DEFAULT_CSS = """
    PictureView { width: 1fr; height: 1fr; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.image: RGBImage | None = None
        self._cells = CellImage(())
        self._cells_of: tuple[RGBImage | None, Size] | None = None

    def show(self, image: RGBImage | None) -> None:
        """Draw another picture; one repaint of the whole widget."""
        if image is not self.image:
            self.image = image
            self.refresh()

    def render_line(self, y: int) -> Strip:
        cells = self._current_cells()
        row = y - (self.size.height - cells.height) // 2
        if not 0 <= row < cells.height:
            return Strip.blank(self.size.width, self.rich_style)
        left = (self.size.width - cells.width) // 2
        right = self.size.width - cells.width - left
        segments = [Segment(" " * left, self.rich_style)]
        segments += [Segment(UPPER_HALF, _style(upper, lower)) for upper, lower in cells.rows[row]]
        segments.append(Segment(" " * right, self.rich_style))
        return Strip(segments, self.size.width)

    def _current_cells(self) -> CellImage:
        wanted = (self.image, self.size)
        if self._cells_of is None or self._cells_of[0] is not self.image or self._cells_of[1] != self.size:
            self._cells = half_blocks(self.image, *self.size) if self.image else CellImage(())
            self._cells_of = wanted
        return self._cells
