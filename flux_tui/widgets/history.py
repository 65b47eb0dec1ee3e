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
from textual.message import Message
from textual.reactive import reactive

from flux_tui.gallery import Day, Gallery, SavedPicture
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.loader import GONE
from flux_tui.timeline import Timeline
from flux_tui.widgets.history_cells import Look
from flux_tui.widgets.history_keys import HISTORY_KEYS
from flux_tui.widgets.picture_grid import PictureGrid

NEXT_LOOK: dict[Look, Look] = {"rows": "cards", "cards": "strip", "strip": "rows"}
What = Literal["all", "prompt", "seed", "remix", "size"]

EMPTY = "Pictures you make are kept here."
NO_STARS = "No picture is starred. f shows all."


class History(PictureGrid):
    """The history pane.

    Args:
        gallery: where records and thumbnails are read from.
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

    BINDINGS: ClassVar = [*HISTORY_KEYS]

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

    @dataclass
    class Discarded(Message):
        """A picture, which is not shown any more, is to be thrown away, whatever its file says."""

        path: Path

    @dataclass
    class Refused(Message):
        """Something was asked of a file that cannot be had of it: `fault` is what its row says, "no prompt"."""

        path: Path
        fault: str

    def __init__(self, gallery: Gallery, signs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(gallery, signs, id=id)
        self.border_title = "History"
        self._all = Timeline()
        self._told: Path | None = None  # the picture of the last `Shown`
        self._due: tuple[Path, Callable[[SavedPicture], Message]] | None = None  # to be said once its record is read

    # What the pane holds

    def put_days(self, days: Iterable[Day]) -> None:
        """Show these files too, below those that are here; each is opened when it comes into view."""
        self._take(self._all.with_older(days))

    def add(self, pictures: Iterable[SavedPicture]) -> None:
        """Put new pictures, given in the order they were saved, on top."""
        self._take(self._all.with_newer(self._shelf.put(pictures)))

    def forget(self, path: Path) -> None:
        """Show a picture no more, and go to the one that comes into its place."""
        place = self._line.place(path)
        self._take(self._all.without(path))
        if place is not None:
            self._told = None
            self._go(place)

    def show_again(self, path: Path) -> None:
        """Show a picture again that was forgotten, and go to it."""
        self._take(self._all.with_again(path))
        place = self._line.place(path)
        if place is not None:
            self._told = None
            self._go(place)

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

    @property
    def place(self) -> int:
        """The cursor's place among the pictures that are shown, 1 for the newest."""
        return self._cursor + 1

    @property
    def count(self) -> int:
        """How many pictures are shown."""
        return len(self._line)

    def watch_only_starred(self) -> None:
        self._take(self._all)

    def _take(self, pictures: Timeline) -> None:
        self._all = pictures
        shown = pictures.only(self.stars) if self.only_starred else pictures
        self._empty = NO_STARS if pictures and self.only_starred else EMPTY
        self.border_subtitle = (
            f"{len(shown)} starred of {len(pictures)}" if self.only_starred else f"{len(shown) or ''}"
        )
        was_empty = self.path is None
        self.lay_out(shown)
        if was_empty != (self.path is None):
            self.refresh_bindings()

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

    def walk(self, path: Path | None, step: int) -> bool:
        """Go so many pictures on from one of them, None being above the newest; False where there is none."""
        here = self._line.place(path) if path else None
        place = (-1 if here is None else here) + step
        if not 0 <= place < len(self._line):
            return False
        self._told = None  # it is asked for, whether or not the cursor was there before
        self._go(place)
        return True

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

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what is done with a picture where there is one."""
        return self.path is not None or action not in ("open", "recall", "star", "discard")

    def action_open(self) -> None:
        """Show the picture large."""
        self._tell(self.Opened)

    def action_recall(self, what: What) -> None:
        """Put the picture's request back, or a part of it."""
        self._tell(lambda picture: self.Recalled(picture, what))

    def action_star(self) -> None:
        """Star the picture, or take its star away."""
        self._tell(self._starred)

    def action_discard(self) -> None:
        """Throw the picture away."""
        if self.path is not None and self._shelf.record(self.path) != GONE:
            self.discard(self.path)
        else:
            self._tell(self.Shown)

    def action_filter(self) -> None:
        """Show starred pictures only, or all again."""
        self.only_starred = not self.only_starred

    def action_look(self) -> None:
        """Show rows, then cards, then tiles, and rows again."""
        self.look = NEXT_LOOK[self.look_now]

    def holds(self, path: Path) -> bool:
        """Whether a picture is here, shown or not."""
        return self._all.place(path) is not None

    def discard(self, path: Path) -> None:
        """Throw a picture away, wherever the cursor is; at once, so that the next key means another."""
        self.post_message(self.Discarded(path))
        self.forget(path)

    def star(self, picture: SavedPicture) -> None:
        """Star a picture, or take its star away, wherever the cursor is."""
        self.post_message(self._starred(picture))

    def _starred(self, picture: SavedPicture) -> Message:
        starred = picture.path not in self.stars
        self.show_stars(self.stars ^ {picture.path})
        return self.Starred(picture, starred)

    def records_read(self) -> None:
        if self._due and self._due[0] == self.path and self._shelf.record(self.path):
            self._tell(self._due[1])

    def _tell(self, make: Callable[[SavedPicture], Message]) -> None:
        """Say something about the picture under the cursor, now or once its record is read."""
        self._due = None
        if self.path is None:
            return
        record = self._shelf.record(self.path)
        if isinstance(record, SavedPicture):
            self.post_message(make(record))
        elif record is not None:
            self.post_message(self.Refused(self.path, record))
        else:
            self._due = (self.path, make)
            self.ask()  # it may be out of view, or the whole pane
