"""Pictures in a pane, as rows or as tiles, with a cursor: what the history is made of.

It draws the lines in view and nothing else, and reads only the files of those: a hundred thousand pictures cost what
ten do. It repaints whole rows, and nothing at rest. What its pictures are for, its subclass knows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.style import Style
from textual.geometry import Offset, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from flux_tui.cell_text import shortened
from flux_tui.gallery import Gallery, SavedPicture, time_of
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.loader import QUIET_S, Found
from flux_tui.timeline import Grid, Timeline, near
from flux_tui.widgets.history_cells import GAP, INKS, Entry, Ink, Look, drawn, line_of, look_for, shape_for
from flux_tui.widgets.history_shelf import Shelf


class PictureGrid(ScrollView, can_focus=True, inherit_bindings=False):
    """Abstract: a subclass moves the cursor, and does what has waited for a record.

    Args:
        gallery: where records and thumbnails are read from.
        signs: what stars and cuts are drawn with.
    """

    DEFAULT_CSS = """
    PictureGrid {
        background: $background;
        padding: 0 0 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & > .picture-grid--day { color: $text-muted; text-style: bold; }
        & > .picture-grid--muted { color: $text-muted; }
        & > .picture-grid--fault { color: $text-muted; text-style: italic; }
        & > .picture-grid--star { color: $text-warning; }
        & > .picture-grid--blank { background: $foreground 8%; }
        & > .picture-grid--cursor {
            color: $block-cursor-blurred-foreground;
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }
        &:focus > .picture-grid--cursor {
            color: $block-cursor-foreground;
            background: $block-cursor-background;
            text-style: $block-cursor-text-style;
        }
    }
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"picture-grid--{ink}" for ink in INKS}

    look: reactive[Look | None] = reactive[Look | None](None, init=False)
    """Rows, cards or tiles; None is whichever suits the pane's size."""

    thumbnails: reactive[bool] = reactive(True, init=False)
    """Whether pictures are drawn: not where the terminal has no colours; there are rows then."""

    thin_link: reactive[bool] = reactive(False, init=False)
    """Whether pictures are left out while the pane scrolls: a page of tiles is 50 KB, and Textual drops no frame."""

    @dataclass
    class Loaded(Message, bubble=False):
        """The loader's thread found something."""

        found: list[Found]

    def __init__(self, gallery: Gallery, signs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._signs = signs
        self.stars: Set[Path] = frozenset()
        self._empty = ""
        self._shelf = Shelf(gallery, self._from_loader)
        self._line = Timeline()
        self._room = Size()  # none before the first layout
        self._shape = shape_for("rows", 1, 1)
        self._grid = Grid()
        self._cursor = 0
        self._rest: Timer | None = None  # runs while pictures are left out
        self._follows = True  # the cursor is in view, and is to stay there when the pane changes

    def records_read(self) -> None:
        """More is known than before of the pictures in view."""
        raise NotImplementedError

    @property
    def path(self) -> Path | None:
        """The picture under the cursor; None when there is none."""
        return self._line.path(self._cursor) if len(self._line) else None

    @property
    def picture(self) -> SavedPicture | None:
        """The same with its record; None also while that is not read, or cannot be."""
        record = self._shelf.record(self.path) if self.path else None
        return record if isinstance(record, SavedPicture) else None

    @property
    def look_now(self) -> Look:
        """The look that is on the screen."""
        return (self.look or look_for(*self._room)) if self.thumbnails else "rows"

    # Where everything stands

    def on_resize(self) -> None:
        if size := self.scrollable_content_region.size:  # else the pane is hidden, and comes back as it was
            self._room = size
            self.lay_out(self._line)

    def watch_look(self) -> None:
        self.lay_out(self._line)

    watch_thumbnails = watch_look

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self.scrollable_content_region.size == self._room:  # scrolled, and not about to be laid out for another size
            self._follows = self._cursor in self._in_view()
        if self.thin_link and self._shape.room != (0, 0):
            self._leave_pictures_out()
        self.ask()

    def watch_thin_link(self) -> None:
        self._put_pictures_back()

    def _leave_pictures_out(self) -> None:
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(QUIET_S, self._put_pictures_back)

    def _put_pictures_back(self) -> None:
        if self._rest is not None:
            self._rest.stop()
            self._rest = None
            self.refresh()

    def lay_out(self, line: Timeline) -> None:
        """Lay these pictures out; what is in view stays in view, and the cursor on its picture."""
        held, follows = self._held(), self._follows
        self._cursor = self._cursor_in(line)
        self._line = line
        self._shape = shape_for(self.look_now, *self._room)
        self._grid = Grid([len(day.names) for day in line.days], *self._shape.grid)
        self.virtual_size = Size(self._room.width, self._grid.lines)
        if self._room:
            self.scroll_to(y=self._line_of(held), animate=False)
            if follows:
                self._reveal()
            self.refresh()
            self.ask()

    def _in_view(self) -> range:
        top = self.scroll_offset.y
        return self._grid.between(top, top + self._room.height)

    def _held(self) -> tuple[Path, int] | None:
        """The picture at the upper edge and the lines of it that are above; None at the very top, which stays there."""
        top, seen = self.scroll_offset.y, self._in_view()
        return (self._line.path(seen.start), top - self._grid.line_of(seen.start)) if top and seen else None

    def _line_of(self, held: tuple[Path, int] | None) -> int:
        place = self._line.place(held[0]) if held else None
        return self._grid.line_of(place) + min(held[1], self._shape.lines - 1) if held and place is not None else 0

    def _cursor_in(self, line: Timeline) -> int:
        """Where the cursor goes: it stays on its picture, but on the newest it stays while nobody is in the pane."""
        if self.path is None or (self._cursor == 0 and not self.has_focus):
            return 0
        place = line.place(self.path)
        return place if place is not None else min(self._cursor, max(len(line) - 1, 0))

    def _reveal(self) -> None:
        """Scroll as little as shows the cursor's picture."""
        if len(self._line):
            self.scroll_to(y=self._grid.revealing(self._cursor, self.scroll_offset.y, self._room.height), animate=False)
        self._follows = True

    # Reading what is in view

    def on_unmount(self) -> None:
        self._shelf.stop()

    def on_focus(self) -> None:
        self.ask(again=True)  # files come and go

    def ask(self, *, again: bool = False) -> None:
        """Read what the cursor is on, in view or not, and what is in view, then a page below it and one above."""
        here = [self._cursor] if len(self._line) else []
        places = dict.fromkeys([*here, *near(self._in_view(), len(self._line))])
        paths = [self._line.path(place) for place in places]
        self._shelf.want(paths, self._shape.room, again=again)

    def _from_loader(self, found: list[Found]) -> None:
        with contextlib.suppress(RuntimeError):  # the app has ended: nobody is left to tell
            self.post_message(self.Loaded(found))

    def on_picture_grid_loaded(self, event: Loaded) -> None:
        self.repaint(self._shelf.take(event.found))
        self.records_read()

    # Drawing

    def render_line(self, y: int) -> Strip:
        inks = self._inks()
        if not self._room:
            return Strip.blank(self.size.width, inks["plain"])
        line = y + self.scroll_offset.y
        spot = self._grid.at(line)
        if spot is None:
            words = "" if line or len(self._line) else self._empty
            return line_of(
                [(shortened(words, self._room.width, self._signs.ellipsis), "muted")], inks, self._room.width
            )
        if spot.inner < 0:
            return line_of([(self._line.days[spot.day].folder.name, "day")], inks, self._room.width)
        entries = [self._entry(place) for place in spot.places]
        return drawn(entries, self._shape, spot.inner, inks).adjust_cell_length(self._room.width, inks["plain"])

    def _inks(self) -> dict[Ink, Style]:
        return {
            "plain": self.rich_style,
            **{ink: self.get_component_rich_style(f"picture-grid--{ink}") for ink in INKS},
        }

    def _entry(self, place: int) -> Entry:
        path = self._line.path(place)
        return Entry(
            time_of(path),
            self._shelf.record(path),
            self._shelf.thumb(path) if self._rest is None else None,
            starred=path in self.stars,
            chosen=place == self._cursor,
            signs=self._signs,
        )

    def repaint(self, paths: Set[Path], *, words_only: bool = False) -> None:
        """Draw those of these pictures that are in view anew.

        Whole lines, since parts of lines would send more bytes; and where only words changed, only theirs: two rows of
        tiles are 50 KB, their captions 1 KB.
        """
        first, count = self._shape.words if words_only else (0, self._shape.lines)
        for place in self._in_view():
            if self._line.path(place) in paths:
                self.refresh_lines(self._grid.line_of(place) + first, count)

    # The cursor

    def move_cursor(self, place: int) -> None:
        """Put the cursor on the picture at a place, or on the last one."""
        if self.path is None:
            return
        before, self._cursor = self.path, min(place, len(self._line) - 1)
        if before != self.path:
            self.repaint({before, self.path}, words_only=True)
            self._reveal()

    def place_at(self, offset: Offset) -> int | None:
        """The picture that is drawn at an offset within the pane's content; None where there is none."""
        spot = self._grid.at(offset.y + self.scroll_offset.y)
        column = offset.x // (self._shape.width + GAP)
        return spot.places[column] if spot and column < len(spot.places) else None
