"""A picture in the cells of a terminal, drawn line by line, centred, as large as its aspect allows.

Five ways, chosen once: half-blocks in true colour or in 256, kitty's protocol (the cells then hold placeholders, and
the pixels go to the terminal beside Textual), sixel for stills over half-blocks, and text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import work
from textual.filter import ANSIToTruecolor
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from flux_engine.request import RGBImage
from flux_tui.preview import fitted_size, half_blocks, pixel_lines
from flux_tui.terminal import kitty, sixel
from flux_tui.terminal.canvas import Canvas
from flux_tui.widgets.cell_lines import half_block_lines, text_lines
from flux_tui.widgets.pixel_row import PixelRow

REST_S = 0.5  # tmux may lose a picture that comes while it changes what it shows
CELL_BYTES = {"half": 41, "half256": 28, "text": 1, "sixel": 41, "kitty": 10}
INLINE_PX = 128 * 128  # up to here, encoding takes 2 ms, and a thread would take as long
THIN_PX = 4  # a column, on a thin link: with a palette about as many bytes as half-blocks


class PictureView(Widget):
    """Shows one `RGBImage`, or nothing."""

    DEFAULT_CSS = """
    PictureView { width: 1fr; height: 1fr; }
    """

    @dataclass
    class Sent(Message):
        """A picture went to the terminal beside Textual, after `show` had returned."""

        n_bytes: int

    def __init__(self, canvas: Canvas | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.canvas = canvas or Canvas()
        self.image: RGBImage | None = None
        self.is_held = False
        self._has_missed = False
        self._limit: tuple[int, int] | None = None
        self._is_preview = False
        self._strips: list[Strip] = []
        self._strips_of: tuple[object, ...] | None = None
        self._asked: tuple[object, ...] | None = None  # the picture that the terminal has or soon will have
        self._escapes = ""  # that make it show it; "" while they are not there
        self._placed = (0, 0)  # the cells of the kitty picture that the terminal has

    def show(self, image: RGBImage | None, limit: tuple[int, int] | None = None, *, preview: bool = False) -> int:
        """Draw another picture; one repaint of the whole widget, none where kitty's placeholders stay as they are.

        Args:
            limit: the most (columns, lines) it may take, on a thin link; of kitty's, it limits the pixels.
            preview: it will soon be replaced, so it is sent as cheaply as can be.

        Returns:
            About how many bytes that sends; a large picture is told by `Sent` when it is encoded.
        """
        before = self._cells
        if image is None or (self.canvas.graphics == "sixel" and image != self.image):
            self._asked = None  # what is being encoded must not come over the new one
        self.image, self._limit, self._is_preview = image, limit, preview
        now, room = self._cells, self._room()
        repaints = not self._has_placeholders or now != before
        if repaints and room == before[0]:  # the blank cells around it are there already
            self.refresh(self._region(room))
        elif repaints:
            self.refresh()
        if image is None:
            return 0
        columns, lines = room
        n_bytes = columns * lines * CELL_BYTES[self.canvas.graphics] if repaints else 0
        if not self._has_placeholders:
            return n_bytes
        if self.canvas.passthrough and not preview:
            self.set_timer(REST_S, self.redraw)
        return n_bytes + self._send_kitty()

    def redraw(self) -> None:
        """Send anew what Textual knows nothing of: a picture whose screen the terminal has left, or that tmux lost."""
        if self.canvas.graphics == "sixel":
            self.call_after_refresh(self._lay_sixels)
        elif self._asked is not None:
            self._write(self._escapes)

    def hold(self, held: bool) -> None:
        """Send nothing while the terminal takes nothing; when it takes again, what it missed, as it is by then."""
        self.is_held = held
        if self._has_missed and not held:
            self._has_missed = False
            self.redraw()

    def on_mount(self) -> None:
        self.app.app_resume_signal.subscribe(self, lambda app: self.redraw())

    def on_show(self) -> None:
        if self.canvas.graphics == "sixel":
            self.call_after_refresh(self._lay_sixels)

    def on_resize(self) -> None:
        if self._has_placeholders:
            self._send_kitty()

    def on_unmount(self) -> None:
        if self._placed != (0, 0):
            self._send(kitty.forget(self.canvas.picture_id, passthrough=self.canvas.passthrough))

    def render_line(self, y: int) -> Strip:
        return self._current_strips()[y]

    def render_lines(self, crop: Region) -> list[Strip]:
        """As Textual's, but for its filter that asks of thousands of cells whether they are in true colour."""
        filters = self.app.get_line_filters()
        if self.canvas.graphics != "half" or not all(isinstance(it, ANSIToTruecolor) for it in filters):
            return super().render_lines(crop)
        strips = self._current_strips()[crop.y : crop.bottom]
        return strips if crop.width == self.size.width else [it.crop(*crop.column_span) for it in strips]

    def _room(self) -> tuple[int, int]:
        """The cells that the picture takes."""
        return (0, 0) if self.image is None else fitted_size(self.image.width, self.image.height, *self._box)

    def _region(self, room: tuple[int, int]) -> Region:
        """Where in the widget the picture is that takes so many cells."""
        (columns, lines), (width, height) = room, self.size
        return Region((width - columns) // 2, (height - lines) // 2, columns, lines)

    @property
    def _box(self) -> tuple[int, int]:
        """The cells that it may take; fitted into fewer a second time, it may lose a column to rounding.

        kitty's take all: they are sent once, and what a thin link limits is the pixels.
        """
        size = self.size
        most = (kitty.MAX_CELLS, kitty.MAX_CELLS) if self._has_placeholders else self._limit or size
        return min(most[0], size.width), min(most[1], size.height)

    @property
    def _has_placeholders(self) -> bool:
        return self.canvas.graphics == "kitty"

    @property
    def _cells(self) -> tuple[tuple[int, int], Size, object, str | None]:
        """What the cells depend on; where they hold placeholders, not on the picture."""
        theme = self.app.theme if self.canvas.graphics == "text" else None
        return self._room(), self.size, None if self._has_placeholders else self.image, theme

    @property
    def _is_thin(self) -> bool:
        """Whether this is a still for a thin link."""
        return self._limit is not None and not self._is_preview

    def _current_strips(self) -> list[Strip]:
        """All lines; Textual asks for them at every letter typed, so they are made only when something has changed."""
        wanted = self._cells, self.rich_style
        if self._strips_of != wanted:
            self._strips, self._strips_of = self._drawn(), wanted
            if self.canvas.graphics == "sixel":
                self.call_after_refresh(self._lay_sixels)
        return self._strips

    def _drawn(self) -> list[Strip]:
        (columns, lines), (width, height), blank = self._room(), self.size, self.rich_style
        strips = [Strip.blank(width, blank)] * height
        if self.image is not None and columns:
            top = (height - lines) // 2
            strips[top : top + lines] = self._rows(self.image, (width - columns) // 2, blank)
        return strips

    def _rows(self, image: RGBImage, left: int, blank: Style) -> list[Strip]:
        """The lines that the picture takes, as wide as the widget."""
        (columns, lines), width = self._room(), self.size.width
        if self._has_placeholders:
            style = Style(color=Color.from_rgb(*kitty.id_colour(self.canvas.picture_id)))
            rows = [[Segment(row, style)] for row in kitty.placeholder_rows(columns, lines)]
            return [_strip(row, left, columns, width, blank) for row in rows]
        if self.canvas.graphics == "half":
            return [PixelRow(row, left, width, blank) for row in pixel_lines(image, *self._box)]
        cells = half_blocks(image, *self._box)
        if self.canvas.graphics == "text":
            rows = text_lines(cells, dark=self.app.current_theme.dark)
        else:
            rows = half_block_lines(cells)
        return [_strip(row, left, columns, width, blank) for row in rows]

    # Pictures that go to the terminal beside Textual

    def _send_kitty(self) -> int:
        """Give the terminal the picture in its present size; how many bytes went at once."""
        room = columns, lines = self._room()
        wanted = (self.image, room, self._is_preview)
        if self.image is None or not columns or self._asked == wanted:
            return 0
        self._asked, self._escapes = wanted, ""
        canvas = self.canvas
        width_px, height_px = columns * canvas.cell_px[0], lines * canvas.cell_px[1]
        if self._limit is not None:
            width_px = min(width_px, self._limit[0] * THIN_PX)
            height_px = min(height_px, self._limit[1] * THIN_PX * 2)
        encode = partial(
            kitty.show,
            self.image,
            canvas.picture_id,
            columns,
            lines,
            room_px=(width_px, height_px),
            colours=kitty.PREVIEW_COLOURS if self._is_preview else kitty.STILL_COLOURS if self._is_thin else None,
            passthrough=canvas.passthrough,
        )
        if self.image.width * self.image.height <= INLINE_PX:
            self._escapes, self._placed = encode(), room
            self._send(self._escapes)
            return len(self._escapes)
        if self._placed not in ((0, 0), room):  # the picture before fills the new cells until this one is encoded
            self._send(kitty.fit(canvas.picture_id, columns, lines, passthrough=canvas.passthrough))
        self._encode(wanted, encode, room)
        return 0

    def _lay_sixels(self) -> None:
        """Lay sixels over the half-blocks; whatever Textual paints there next takes them away."""
        columns, lines = self._room()
        if self.image is None or not columns or self._is_preview or self._is_thin:
            return  # on a thin link the half-blocks are all: sixels are 200 KB more
        room_px = columns * self.canvas.cell_px[0], lines * self.canvas.cell_px[1]
        wanted = (self.image, room_px)
        if self._asked == wanted:
            self._write(self._escapes)
        else:
            self._asked, self._escapes = wanted, ""
            self._encode(wanted, partial(sixel.sixels, self.image, room_px), (0, 0))

    @work(group="picture", exclusive=True)
    async def _encode(self, wanted: tuple[object, ...], encode: Callable[[], str], room: tuple[int, int]) -> None:
        """Encode in a thread, since 960 x 960 pixels take 50 to 300 ms, and send, unless another came meanwhile."""
        escapes = await asyncio.to_thread(encode)
        if self._asked == wanted:
            self._escapes, self._placed = escapes, room
            self._write(escapes)

    def _write(self, escapes: str) -> None:
        if not escapes:
            return
        if self.canvas.graphics == "sixel":
            if not self.is_on_screen or self.screen is not self.app.screen:
                return  # it would lie over what is shown there now; `redraw` comes when it is not
            columns, lines = self._room()
            x = self.region.x + (self.size.width - columns) // 2
            y = self.region.y + (self.size.height - lines) // 2
            escapes = f"\x1b7\x1b[{y + 1};{x + 1}H{escapes}\x1b8"
        self._send(escapes)
        self.post_message(self.Sent(len(escapes)))

    def _send(self, escapes: str) -> None:
        if self.is_held:
            self._has_missed = True
        else:
            self.canvas.write(escapes)


def _strip(row: list[Segment], left: int, columns: int, width: int, blank: Style) -> Strip:
    """A line of `width` cells with a picture's `columns` in it.

    Signs have no style of their own: they take the theme's. Textual's NO_COLOR filter ends the app at a None.
    """
    styled = [segment if segment.style else Segment(segment.text, blank) for segment in row]
    right = width - left - columns
    return Strip([Segment(" " * left, blank), *styled, Segment(" " * right, blank)], width)
