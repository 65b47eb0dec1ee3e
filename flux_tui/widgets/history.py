"""The history: pictures of this and earlier sessions, newest first, under their days.

Enter on a row asks for its prompt and settings; moving to a row asks to see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from flux_tui.gallery import MAX_LISTED, SavedPicture

DETAILS_FROM = 64  # cells: a row this wide has room for size and seed beside the prompt


class History(OptionList):
    """The history pane."""

    DEFAULT_CSS = """
    History {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        background: $background;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        &:focus { border: round $accent; border-title-color: $text-accent; background-tint: transparent; }
        & > .option-list--option-disabled { color: $text-muted; text-style: bold; }
    }
    """

    BINDINGS: ClassVar = [
        Binding("j", "cursor_down", "Next picture", show=False),
        Binding("k", "cursor_up", "Previous picture", show=False),
    ]

    @dataclass
    class Shown(Message):
        """The cursor came to a picture."""

        picture: SavedPicture

    @dataclass
    class Recalled(Message):
        """Enter or a click chose a picture."""

        picture: SavedPicture

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self.border_title = "History"
        self.pictures: list[SavedPicture] = []
        self._width = 0

    def put(self, pictures: Iterable[SavedPicture]) -> None:
        """Show these pictures, newest first, in place of all others."""
        self.pictures = list(pictures)[:MAX_LISTED]
        self._rebuild()

    def put_earlier(self, pictures: Iterable[SavedPicture]) -> None:
        """Show these pictures, newest first, below those that were added meanwhile."""
        shown = {picture.path for picture in self.pictures}
        self.put([*self.pictures, *(picture for picture in pictures if picture.path not in shown)])

    def add(self, pictures: Iterable[SavedPicture]) -> None:
        """Put new pictures, given in the order they were saved, on top."""
        new = list(pictures)
        paths = {picture.path for picture in new}
        self.put([*reversed(new), *(picture for picture in self.pictures if picture.path not in paths)])

    def on_resize(self, event: events.Resize) -> None:
        if event.size.width != self._width:
            self._rebuild()

    def _rebuild(self) -> None:
        chosen = self._picture_at(self.highlighted)
        self._width = self.size.width
        width = self.scrollable_content_region.width - 2  # an option's own padding
        options: list[Option] = []
        day = ""
        for place, picture in enumerate(self.pictures):
            if picture.day != day:
                day = picture.day
                options.append(Option(Content(day), disabled=True))
            options.append(Option(row(picture, max(width, 16)), id=str(place)))
        if not options:
            options = [Option(Content("Pictures you make are kept here."), disabled=True)]
        with self.prevent(OptionList.OptionHighlighted):
            self.set_options(options)
            if chosen is not None and chosen in self.pictures:
                self.highlighted = self.get_option_index(str(self.pictures.index(chosen)))
        self.border_subtitle = f"{len(self.pictures)}" if self.pictures else ""

    def _picture_at(self, index: int | None) -> SavedPicture | None:
        if index is None or index >= self.option_count:
            return None
        return self._picture_of(self.get_option_at_index(index))

    def _picture_of(self, option: Option) -> SavedPicture | None:
        return self.pictures[int(option.id)] if option.id is not None else None

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if self.has_focus and (picture := self._picture_of(event.option)):
            self.post_message(self.Shown(picture))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if picture := self._picture_of(event.option):
            self.post_message(self.Recalled(picture))


def row(picture: SavedPicture, width: int) -> Content:
    """A picture in one line of `width` cells: time, prompt up to a whole word, where there is room size and seed."""
    request = picture.record.request
    size = f"{request.width}x{request.height}"
    details = f"{size:<9}  seed {request.seed:<10}" if width >= DETAILS_FROM else ""
    room = width - len(picture.time) - 2 - (len(details) + 2 if details else 0)
    line = Content.styled(picture.time, "$text-muted") + Content(f"  {shortened(request.prompt, room)}")
    if not details:
        return line
    gap = max(width - line.cell_length - len(details), 2)
    return line + Content.styled(" " * gap + details, "$text-muted")


def shortened(text: str, width: int) -> str:
    """The text in one line of at most `width` cells, cut after a whole word where it has words."""
    line = " ".join(text.split())
    if cell_len(line) <= width:
        return line
    cut = set_cell_size(line, width - 1).rstrip()
    if line[len(cut)] != " " and " " in cut:
        cut = cut.rsplit(" ", 1)[0]
    return f"{cut}…"
