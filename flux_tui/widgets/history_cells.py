"""How pictures of the history look, line by line: rows of one line, cards with a thumbnail beside words, or tiles.

Everything has an exact width. Knows no list, no scrolling and no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip

from flux_tui.cell_text import in_two, padded, shortened
from flux_tui.gallery import SavedPicture
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.preview import CellImage
from flux_tui.widgets.cell_lines import half_block_lines

Look = Literal["rows", "cards", "strip"]
Ink = Literal["plain", "muted", "star", "fault", "day", "blank", "cursor"]
Inks = Mapping[Ink, Style]
Part = tuple[str, Ink]

INKS: tuple[Ink, ...] = ("muted", "star", "fault", "day", "blank", "cursor")  # those that are not the widget's own
DETAILS_FROM = 64  # cells: a row this wide has room for size and seed beside the prompt
CARDS_FROM = Size(36, 15)  # columns, lines: a pane this large shows cards unless it is told otherwise
TILES_FROM = Size(60, 24)  # one this large shows tiles
CARD_THUMB = (6, 3)  # columns, lines
TILE_COLUMNS = 20
GAP = 2
STAMP = 7  # time and star


@dataclass(frozen=True)
class Shape:
    """How a pane is filled: `columns` pictures side by side, each of `width` x `lines` cells.

    `room` is what a thumbnail has of it, (0, 0) where there is none; the last `gap` lines are empty.
    """

    look: Look
    columns: int
    width: int
    lines: int
    gap: int = 0
    room: tuple[int, int] = (0, 0)

    @property
    def words(self) -> tuple[int, int]:
        """The first of a picture's lines with words in it, and how many there are."""
        return (self.room[1], 1) if self.look == "strip" else (0, self.lines - self.gap)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Columns, lines and gap."""
        return self.columns, self.lines, self.gap


def look_for(width: int, height: int) -> Look:
    """The look that suits a pane of `width` x `height` cells."""
    if width >= TILES_FROM.width and height >= TILES_FROM.height:
        return "strip"
    return "cards" if width >= CARDS_FROM.width and height >= CARDS_FROM.height else "rows"


def shape_for(look: Look, width: int, height: int) -> Shape:
    """The layout of a pane of `width` x `height` cells."""
    width, height = max(width, 1), max(height, 1)
    if look == "strip":
        return _tiles(width, height)
    if look == "cards" and width > CARD_THUMB[0] + 2 * STAMP:
        return Shape("cards", 1, width, CARD_THUMB[1] + 1, 1, CARD_THUMB)
    return Shape("rows", 1, width, 1)


def _tiles(width: int, height: int) -> Shape:
    """Square tiles that fill the width; in a low pane, as large as shows a day, a row of tiles and its captions."""
    columns = max((width + GAP) // (TILE_COLUMNS + GAP), 1)
    tile = (width + GAP) // columns - GAP
    if tile > 2 * (height - 2):
        tile = min(max(2 * (height - 2), 2), width)
        columns = max((width + GAP) // (tile + GAP), 1)
    lines = max(tile // 2, 1)
    return Shape("strip", columns, tile, lines + 2, 1, (tile, lines))


@dataclass(frozen=True)
class Thumb:
    """A thumbnail as segments, line by line."""

    lines: tuple[tuple[Segment, ...], ...]
    width: int

    def line(self, at: int, room: tuple[int, int], plain: Style) -> Iterator[Segment]:
        """Line `at` of the room, with the thumbnail in the middle of it."""
        at -= (room[1] - len(self.lines)) // 2
        left = (room[0] - self.width) // 2
        if 0 <= at < len(self.lines):
            yield Segment(" " * left, plain)
            yield from self.lines[at]
            yield Segment(" " * (room[0] - self.width - left), plain)
        else:
            yield Segment(" " * room[0], plain)


def thumb_of(cells: CellImage) -> Thumb:
    """The cells as segments."""
    return Thumb(tuple(map(tuple, half_block_lines(cells))), cells.width)


@dataclass(frozen=True)
class Entry:
    """A picture as the pane knows it.

    Attributes:
        time: "22:39".
        picture: its record, or a fault in words, or None while its file is not read.
        thumb: None while it is not drawn.
        chosen: whether the cursor is on it.
        signs: what a star and a cut are drawn with.
    """

    time: str
    picture: SavedPicture | str | None
    thumb: Thumb | None = None
    starred: bool = False
    chosen: bool = False
    signs: Glyphs = UNICODE

    @property
    def stamp(self) -> list[Part]:
        """Time and star."""
        return [(self.time, "muted"), (f"{self.signs.star} " if self.starred else "  ", "star")]

    @property
    def words(self) -> Part:
        """The prompt, or what there is in its place."""
        if isinstance(self.picture, SavedPicture):
            return self.picture.record.request.prompt, "plain"
        return (self.signs.ellipsis, "muted") if self.picture is None else (self.picture, "fault")

    @property
    def details(self) -> str:
        """Size and seed."""
        if not isinstance(self.picture, SavedPicture):
            return ""
        request = self.picture.record.request
        return f"{f'{request.width}x{request.height}':<9}  seed {request.seed:<10}"


def row(entry: Entry, width: int) -> list[Part]:
    """A picture in one line: time, star, prompt up to a whole word, where there is room size and seed."""
    text, ink = entry.words
    details = entry.details if width >= DETAILS_FROM else ""
    room = width - STAMP - (len(details) + GAP if details else 0)
    return [
        *entry.stamp,
        (padded(shortened(text, room, entry.signs.ellipsis), room), ink),
        (" " * GAP + details if details else "", "muted"),
    ]


def card(entry: Entry, width: int, line: int) -> list[Part]:
    """One of the three lines beside a thumbnail: the prompt in one or two, then size and seed."""
    text, ink = entry.words
    words = [(words, ink) for words in in_two(text, width - STAMP, entry.signs.ellipsis) if words]
    lines: list[Part] = [*words, (entry.details, "muted"), ("", "plain"), ("", "plain")]
    return [*(entry.stamp if line == 0 else [(" " * STAMP, "plain")]), lines[line]]


def caption(entry: Entry, width: int) -> list[Part]:
    """The line below a tile."""
    text, ink = entry.words
    return (
        [*entry.stamp, (shortened(text, width - STAMP, entry.signs.ellipsis), ink)]
        if width >= 2 * STAMP
        else entry.stamp
    )


def drawn(entries: Sequence[Entry], shape: Shape, inner: int, inks: Inks) -> Strip:
    """Line `inner` of the pictures that stand side by side."""
    if inner >= shape.lines - shape.gap:
        return _blank(shape.width, inks["plain"])
    if shape.look == "strip":
        gap = _blank(GAP, inks["plain"])
        return Strip.join(strip for entry in entries for strip in (_tile_line(entry, shape, inner, inks), gap))
    (entry,) = entries
    if shape.look == "rows":
        return _words(row(entry, shape.width), entry, inks, shape.width)
    width = shape.width - shape.room[0] - 1
    words = _words([(" ", "plain"), *card(entry, width - 1, inner)], entry, inks, width)
    return Strip.join([_thumb_line(entry, shape.room, inner, inks), _blank(1, inks["plain"]), words])


def _tile_line(entry: Entry, shape: Shape, inner: int, inks: Inks) -> Strip:
    if inner < shape.room[1]:
        return _thumb_line(entry, shape.room, inner, inks)
    return _words(caption(entry, shape.width), entry, inks, shape.width)


def _thumb_line(entry: Entry, room: tuple[int, int], line: int, inks: Inks) -> Strip:
    if entry.thumb is None:
        return _blank(room[0], inks["blank"])
    return Strip(entry.thumb.line(line, room, inks["plain"]), room[0])


def _blank(width: int, style: Style) -> Strip:
    return Strip([Segment(" " * width, style)], width)


def _words(parts: Iterable[Part], entry: Entry, inks: Inks, width: int) -> Strip:
    return line_of(parts, inks, width, "cursor" if entry.chosen else None)


def line_of(parts: Iterable[Part], inks: Inks, width: int, over: Ink | None = None) -> Strip:
    """Parts as a line of exactly `width` cells; `over` takes the place of every ink."""
    segments = [Segment(text, inks[over or ink]) for text, ink in parts if text]
    return Strip(segments).adjust_cell_length(width, inks[over or "plain"])
