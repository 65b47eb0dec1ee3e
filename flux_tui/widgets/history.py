"""The history: pictures of this and earlier sessions, newest first, under their days.

Moving to a picture asks to see it; keys ask to open it, to put its request or a part of that back, to star it. What
comes of that is for others to decide, and to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive

from flux_tui.gallery import Day, Gallery, SavedPicture
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.timeline import Timeline, in_days
from flux_tui.widgets.history_cells import Look
from flux_tui.widgets.picture_grid import PictureGrid

NEXT_LOOK: dict[Look, Look] = {"rows": "cards", "cards": "strip", "strip": "rows"}
What = Literal["all", "prompt", "seed", "remix", "size"]

EMPTY = "Pictures you make are kept here."
NO_STARS = "No picture is starred. f shows all."


class History(PictureGrid):
    """The history pane.

    Args:
        gallery: where records and thumbnails are read from; None shows no thumbnails, and only what `put`,
            `put_earlier` and `add` are given.
        signs: what stars and cuts are drawn with.
    """

    DEFAULT_CSS = """
    History {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        &:focus { border: round $accent; border-title-color: $text-accent; border-subtitle-color: $text-accent; }
        &:nocolor > .picture-grid--cursor { text-style: underline; }
        &:nocolor:focus > .picture-grid--cursor { text-style: reverse; }
    }
    """

    BINDINGS: ClassVar = [
        Binding("enter", "open", "Open", key_display="Enter", id="open-picture", tooltip="Show the picture large"),
        Binding("a", "recall('all')", "Recall", id="recall-all", tooltip="Put prompt and settings back, seed and all"),
        Binding("p", "recall('prompt')", "Prompt", show=False, id="recall-prompt", tooltip="Put the prompt back"),
        Binding("S", "recall('seed')", "Seed", show=False, id="recall-seed", tooltip="Put the seed back"),
        Binding("r", "recall('remix')", "Remix", show=False, id="remix", tooltip="Put all back but the seed"),
        Binding("d", "recall('size')", "Size", show=False, id="recall-size", tooltip="Put width and height back"),
        Binding("full_stop", "star", "Star", key_display=".", id="star", tooltip="Star the picture, or not any more"),
        Binding("f", "filter", "Starred", show=False, id="only-starred", tooltip="Show starred pictures only, or all"),
        Binding("v", "look", "View", show=False, id="history-look", tooltip="Show rows, cards or tiles"),
        Binding("down,j", "rows(1)", "Down", show=False, id="history-down", tooltip="Go to the next row"),
        Binding("up,k", "rows(-1)", "Up", show=False, id="history-up", tooltip="Go to the row before"),
        Binding("right,l", "sideways(1)", "Right", show=False, id="history-right", tooltip="Go to the next tile"),
        Binding("left,h", "sideways(-1)", "Left", show=False, id="history-left", tooltip="Go to the tile before"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="history-page-down", tooltip="Go a page down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="history-page-up", tooltip="Go a page up"),
        Binding("home", "newest", "Newest", show=False, id="history-newest", tooltip="Go to the newest picture"),
        Binding("end", "oldest", "Oldest", show=False, id="history-oldest", tooltip="Go to the oldest picture"),
    ]

    only_starred: reactive[bool] = reactive(False, init=False)
    """Whether pictures without a star are passed over."""

    @dataclass
    class Shown(Message):
        """The cursor came to a picture."""

        picture: SavedPicture

    @dataclass
    class Opened(Message):
        """A picture is to be shown large."""

        picture: SavedPicture

    @dataclass
    class Recalled(Message):
        """A picture's request, or a part of it, is to be put back; "remix" is everything but the seed."""

        picture: SavedPicture
        what: What

    @dataclass
    class Starred(Message):
        """A picture got a star or lost it. The pane shows that already; keeping it is for others."""

        picture: SavedPicture
        starred: bool

    def __init__(self, gallery: Gallery | None = None, signs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(gallery, signs, id=id)
        self.border_title = "History"
        self._all = Timeline()
        self._told: Path | None = None  # the picture of the last `Shown`
        self._due: tuple[Path, Callable[[SavedPicture], Message]] | None = None  # to be said once its record is read

    # What the pane holds

    def put(self, pictures: Iterable[SavedPicture]) -> None:
        """Show these pictures, newest first, in place of all others."""
        self._take(Timeline(in_days(self._shelf.put(pictures))))

    def put_earlier(self, pictures: Iterable[SavedPicture]) -> None:
        """Show these pictures, newest first, below those that are here."""
        self.put_days(in_days(self._shelf.put(pictures)))

    def put_days(self, days: Iterable[Day]) -> None:
        """Show these files too, below those that are here; each is opened when it comes into view."""
        self._take(self._all.with_older(days))

    def add(self, pictures: Iterable[SavedPicture]) -> None:
        """Put new pictures, given in the order they were saved, on top."""
        self._take(self._all.with_newer(self._shelf.put(pictures)))

    def forget(self, path: Path) -> None:
        """Show a picture no more."""
        self._take(self._all.without(path))

    def show_stars(self, stars: Set[Path]) -> None:
        """Show these pictures as the starred ones, and no others."""
        if stars != self.stars:
            changed, self.stars = stars ^ self.stars, stars
            if self.only_starred:
                self._take(self._all)
            else:
                self.repaint(changed, words_only=True)

    @property
    def pictures(self) -> list[SavedPicture]:
        """The pictures whose records have been read, newest first."""
        known = map(self._shelf.record, self._all)
        return [picture for picture in known if isinstance(picture, SavedPicture)]

    def watch_only_starred(self) -> None:
        self._take(self._all)

    def _take(self, pictures: Timeline) -> None:
        self._all = pictures
        shown = pictures.only(self.stars) if self.only_starred else pictures
        self._empty = NO_STARS if pictures and self.only_starred else EMPTY
        self.border_subtitle = (
            f"{len(shown)} starred of {len(pictures)}" if self.only_starred else f"{len(shown) or ''}"
        )
        self.lay_out(shown)

    # The cursor

    def action_rows(self, rows: int) -> None:
        """Go so many rows down, or up."""
        if self.path:
            self._go(self._grid.moved(self._cursor, rows))

    def action_sideways(self, step: int) -> None:
        """Go to the next tile, or the one before; rows and cards have nothing at their sides."""
        if self._shape.columns > 1:
            self._go(self._cursor + step)

    def action_page(self, pages: int) -> None:
        """Go down, or up, by what the pane holds."""
        self.action_rows(pages * max(self._room.height // self._shape.lines, 1))

    def action_newest(self) -> None:
        """Go to the first picture."""
        self._go(0)

    def action_oldest(self) -> None:
        """Go to the last picture."""
        self._go(len(self._line) - 1)

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        place = self.place_at(offset) if offset else None
        if place is not None:
            self._go(place)
            if event.chain == 2:
                self.action_open()

    def _go(self, place: int) -> None:
        self.move_cursor(max(place, 0))
        if self.path != self._told:
            self._told = self.path
            self._tell(self.Shown)

    # What is asked for

    def action_open(self) -> None:
        """Show the picture large."""
        self._tell(self.Opened)

    def action_recall(self, what: What) -> None:
        """Put the picture's request back, or a part of it."""
        self._tell(lambda picture: self.Recalled(picture, what))

    def action_star(self) -> None:
        """Star the picture, or take its star away."""
        self._tell(self._starred)

    def action_filter(self) -> None:
        """Show starred pictures only, or all again."""
        self.only_starred = not self.only_starred

    def action_look(self) -> None:
        """Show rows, then cards, then tiles, and rows again."""
        self.look = NEXT_LOOK[self.look_now]

    def _starred(self, picture: SavedPicture) -> Message:
        starred = picture.path not in self.stars
        self.show_stars(self.stars ^ {picture.path})
        return self.Starred(picture, starred)

    def records_read(self) -> None:
        if self._due and self._due[0] == self.path and self.picture:
            self._tell(self._due[1])

    def _tell(self, make: Callable[[SavedPicture], Message]) -> None:
        """Say something about the picture under the cursor, now or once its record is read."""
        self._due = None
        if self.picture is not None:
            self.post_message(make(self.picture))
        elif self.path is not None and self._shelf.record(self.path) is None:
            self._due = (self.path, make)
