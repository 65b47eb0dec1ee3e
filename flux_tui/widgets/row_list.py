"""Rows in a pane, with a cursor: what the queue is made of.

It draws the rows in view and nothing else, and nothing at rest: a thousand rows cost what ten do. What a row says, and
what can be done with it, its subclass knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

Part = tuple[str, str]
"""Words and their ink: the end of a component class's name ("muted" for `row-list--muted`), "" for the pane's own."""


class RowList(ScrollView, can_focus=True, inherit_bindings=False):
    """Abstract: says what a row shows, when the cursor moved, and when a row was clicked twice."""

    DEFAULT_CSS = """
    RowList {
        background: $background;
        padding: 0 0 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & > .row-list--muted { color: $text-muted; }
        & > .row-list--cursor {
            color: $block-cursor-blurred-foreground;
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .row-list--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
        &:nocolor > .row-list--cursor { text-style: underline; }
        &:nocolor:focus > .row-list--cursor { text-style: reverse; }
    }
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--muted", "row-list--cursor"}

    BINDINGS: ClassVar = [
        Binding("down,j", "rows(1)", "Down", show=False, id="queue-down", tooltip="Go to the next job"),
        Binding("up,k", "rows(-1)", "Up", show=False, id="queue-up", tooltip="Go to the job before"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="queue-page-down", tooltip="Go a page down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="queue-page-up", tooltip="Go a page up"),
        Binding("home", "end(-1)", "First", show=False, id="queue-first", tooltip="Go to the first job"),
        Binding("end", "end(1)", "Last", show=False, id="queue-last", tooltip="Go to the last job"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0
        self.row_count = 0
        self._room = Size()  # none before the first layout

    def parts(self, place: int, width: int) -> Iterable[Part]:
        """What row `place` shows in `width` cells."""
        raise NotImplementedError

    def empty(self, width: int) -> Iterable[Part]:
        """What the first line shows when there is no row."""
        raise NotImplementedError

    def cursor_moved(self) -> None:
        """The cursor came to another row."""
        raise NotImplementedError

    def action_edit(self) -> None:
        """A row was clicked twice."""
        raise NotImplementedError

    # Where everything stands

    def lay_out(self, row_count: int, cursor: int) -> None:
        """Draw so many rows anew, with the cursor on one of them; when it was in view, it stays in view."""
        follow = self.cursor in self._in_view()
        self.row_count, self.cursor = row_count, cursor
        if self._room:
            # As long as all fit in, this stays as it is: another size has the whole screen laid out anew.
            self.virtual_size = Size(self._room.width, max(row_count, self._room.height))
            self.show_vertical_scrollbar = row_count > self._room.height  # Textual shows it a frame late, scrolls not
        if follow:
            self._reveal()
        self.refresh()

    def on_resize(self) -> None:
        self._room = self.scrollable_content_region.size
        self.lay_out(self.row_count, self.cursor)

    def _in_view(self) -> range:
        top = self.scroll_offset.y
        return range(top, top + self._room.height)

    def _reveal(self) -> None:
        """Scroll as little as shows the cursor."""
        lowest = self.cursor - max(self._room.height, 1) + 1
        self.scroll_to(y=min(max(self.scroll_offset.y, lowest), self.cursor), animate=False)

    # Drawing

    def render_line(self, y: int) -> Strip:
        place, width = y + self.scroll_offset.y, self._room.width
        if place < self.row_count:
            return self._drawn(self.parts(place, width), chosen=place == self.cursor)
        return self._drawn(self.empty(width) if place == 0 else ())

    def _drawn(self, parts: Iterable[Part], *, chosen: bool = False) -> Strip:
        """Parts as a line of the pane's width; on the chosen row the cursor's style takes the place of every ink."""
        plain = self.get_component_rich_style("row-list--cursor") if chosen else self.rich_style
        segments = [
            Segment(text, self.get_component_rich_style(f"row-list--{ink}") if ink and not chosen else plain)
            for text, ink in parts
        ]
        return Strip(segments).adjust_cell_length(self._room.width, plain)

    # The cursor

    def action_rows(self, rows: int) -> None:
        """Go so many rows down, or up."""
        self._go(self.cursor + rows)

    def action_page(self, pages: int) -> None:
        """Go down, or up, by what the pane holds."""
        self._go(self.cursor + pages * max(self._room.height, 1))

    def action_end(self, end: int) -> None:
        """Go to the last row, or (below 0) to the first."""
        self._go(self.row_count if end > 0 else 0)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        place = offset.y + self.scroll_offset.y if offset else self.row_count
        if place < self.row_count:
            self._go(place)
            if event.chain == 2:
                self.action_edit()

    def _go(self, place: int) -> None:
        before, self.cursor = self.cursor, max(min(place, self.row_count - 1), 0)
        if self.cursor != before:
            self.refresh_lines(before)
            self.refresh_lines(self.cursor)
            self.cursor_moved()
        self._reveal()
