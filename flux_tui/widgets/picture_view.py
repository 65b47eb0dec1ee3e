"""A picture in the cells of a terminal, drawn line by line, centred, as large as its aspect allows.

Five ways, chosen once: half-blocks in true colour or in 256, kitty's protocol (the cells then hold placeholders, and
the pixels go to the terminal beside Textual), sixel for stills over half-blocks, and text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from flux_engine.request import RGBImage
from flux_tui.preview import RGB, CellImage, fitted_size, half_blocks
from flux_tui.terminal import kitty, sixel
from flux_tui.terminal.abilities import Graphics

UPPER_HALF = "\N{UPPER HALF BLOCK}"
RAMP = " .:-=+*#%@"  # from black to white
CELL_PX = (10, 20)  # where the terminal does not tell
REST_S = 0.5  # tmux may lose a picture that comes while it changes what it shows

Line = list[Segment]


@dataclass(frozen=True)
class Canvas:
    """How pictures get onto this terminal.

    Attributes:
        graphics: the way.
        write: sends an escape code to the terminal, in order with what Textual paints.
        picture_id: the number of a kitty picture, this program's own.
        cell_px: (width, height) of a cell.
        passthrough: tmux is in between.
    """

    graphics: Graphics = "half"
    write: Callable[[str], object] = lambda escape: None
    picture_id: int = 1
    cell_px: tuple[int, int] = CELL_PX
    passthrough: bool = False


@lru_cache(maxsize=16384)
def _style(upper: RGB, lower: RGB) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


class PictureView(Widget):
    """Shows one `RGBImage`, or nothing."""

    DEFAULT_CSS = """
    PictureView { width: 1fr; height: 1fr; }
    """

    def __init__(self, canvas: Canvas | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.canvas = canvas or Canvas()
        self.image: RGBImage | None = None
        self._limit: tuple[int, int] | None = None
        self._is_preview = False
        self._lines: list[Line] = []
        self._lines_of: tuple[object, ...] | None = None
        self._sent: tuple[object, ...] | None = None  # kitty's picture, and its cells

    def show(self, image: RGBImage | None, limit: tuple[int, int] | None = None, *, preview: bool = False) -> int:
        """Draw another picture; one repaint of the whole widget.

        Args:
            limit: the most (columns, lines) it may take, on a thin link.
            preview: it will soon be replaced, so it is sent as cheaply as can be.

        Returns:
            About how many bytes that sends.
        """
        self.image, self._limit, self._is_preview = image, limit, preview
        self.refresh()
        columns, lines = self._room()
        if image is None:
            return 0
        if self.canvas.graphics == "kitty":
            if self.canvas.passthrough and not preview:
                self.set_timer(REST_S, self.redraw)
            return self._send_kitty()
        return columns * lines * {"half": 41, "half256": 28, "text": 1, "sixel": 41}[self.canvas.graphics]

    def redraw(self) -> None:
        """Send anew what Textual knows nothing of: sixels that something lay over, a picture that tmux lost."""
        if self.canvas.graphics == "sixel":
            self.call_after_refresh(self._send_sixel)
        elif self.canvas.graphics == "kitty" and self.canvas.passthrough:
            self._sent = None
            self._send_kitty()

    def on_resize(self) -> None:
        if self.canvas.graphics == "kitty":
            self._send_kitty()

    def on_unmount(self) -> None:
        if self._sent is not None:
            self.canvas.write(kitty.forget(self.canvas.picture_id, passthrough=self.canvas.passthrough))

    def render_line(self, y: int) -> Strip:
        lines = self._current_lines()
        row = y - (self.size.height - len(lines)) // 2
        if not 0 <= row < len(lines):
            return Strip.blank(self.size.width, self.rich_style)
        columns = self._room()[0]
        left = (self.size.width - columns) // 2
        right = self.size.width - columns - left
        blank = self.rich_style
        segments = [Segment(" " * left, blank), *lines[row], Segment(" " * right, blank)]
        return Strip(segments, self.size.width)

    def _room(self) -> tuple[int, int]:
        """The cells that the picture takes."""
        if self.image is None:
            return 0, 0
        columns, lines = self._limit or self.size
        return fitted_size(
            self.image.width, self.image.height, min(columns, self.size.width), min(lines, self.size.height)
        )

    def _current_lines(self) -> list[Line]:
        wanted = (self.image, self.size, self._limit)
        if self._lines_of != wanted:
            self._lines = self._drawn()
            self._lines_of = wanted
            if self.canvas.graphics == "sixel":
                self.call_after_refresh(self._send_sixel)
        return self._lines

    def _drawn(self) -> list[Line]:
        columns, lines = self._room()
        if self.image is None or not columns:
            return []
        if self.canvas.graphics == "kitty" and max(columns, lines) <= kitty.MAX_CELLS:
            style = Style(color=Color.from_rgb(*kitty.id_colour(self.canvas.picture_id)))
            return [[Segment(row, style)] for row in kitty.placeholder_rows(columns, lines)]
        cells = half_blocks(self.image, columns, lines)
        return [_text_line(row) for row in cells.rows] if self.canvas.graphics == "text" else _half_lines(cells)

    def _send_kitty(self) -> int:
        columns, lines = self._room()
        wanted = (self.image, columns, lines, self._is_preview)
        if self.image is None or not columns or self._sent == wanted or max(columns, lines) > kitty.MAX_CELLS:
            return 0
        width_px, height_px = self.canvas.cell_px
        escapes = kitty.show(
            self.image,
            self.canvas.picture_id,
            columns,
            lines,
            room_px=(columns * width_px, lines * height_px),
            colours=kitty.PREVIEW_COLOURS if self._is_preview else None,
            passthrough=self.canvas.passthrough,
        )
        self.canvas.write(escapes)
        self._sent = wanted
        return len(escapes)

    def _send_sixel(self) -> None:
        """Lay sixels over the half-blocks; whatever Textual paints there next takes them away."""
        if self.image is None or self._is_preview or not self.is_on_screen:
            return
        columns, lines = self._room()
        x = self.region.x + (self.size.width - columns) // 2
        y = self.region.y + (self.size.height - lines) // 2
        room_px = (columns * self.canvas.cell_px[0], lines * self.canvas.cell_px[1])
        picture = _enlarged(self.image, room_px)
        self.canvas.write(f"\x1b7\x1b[{y + 1};{x + 1}H{sixel.sixels(picture, room_px)}\x1b8")


def _half_lines(cells: CellImage) -> list[Line]:
    return [[Segment(UPPER_HALF, _style(upper, lower)) for upper, lower in row] for row in cells.rows]


def _text_line(row: tuple[tuple[RGB, RGB], ...]) -> Line:
    """Signs of the ramp by brightness, in the screen's own colours."""
    return [Segment("".join(RAMP[_brightness(upper, lower) * (len(RAMP) - 1) // 255] for upper, lower in row))]


def _brightness(upper: RGB, lower: RGB) -> int:
    red, green, blue = (a + b for a, b in zip(upper, lower, strict=True))
    return (299 * red + 587 * green + 114 * blue) // 2000


def _enlarged(image: RGBImage, room_px: tuple[int, int]) -> RGBImage:
    """A picture smaller than its room, as large as it; sixel pixels do not scale."""
    from PIL import Image

    scale = min(room_px[0] / image.width, room_px[1] / image.height)
    if scale <= 1:
        return image
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    picture = Image.frombytes("RGB", (image.width, image.height), image.data).resize(size, Image.Resampling.BICUBIC)
    return RGBImage(*size, picture.tobytes())
