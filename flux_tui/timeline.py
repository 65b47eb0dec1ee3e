"""The history as a line of pictures, newest first, in days; and where each stands in a column of lines.

A picture is known by its place, 0 for the newest. Made for a hundred thousand pictures: what is done on a key or for a
line on the screen looks at days (some hundreds) and at the names of one day. Knows no file's content and no screen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from flux_tui.gallery import Day, order_of


class Timeline:
    """Pictures in days, the newest day first and the newest picture of a day first. It never changes."""

    def __init__(self, days: Iterable[Day] = ()) -> None:
        by_name = sorted((day for day in days if day.names), key=lambda day: day.folder.name, reverse=True)
        self.days = tuple(by_name)
        self._at = {day.folder: place for place, day in enumerate(self.days)}
        self._starts = [0, *accumulate(len(day.names) for day in self.days)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Path]:
        return (day.folder / name for day in self.days for name in day.names)

    def path(self, place: int) -> Path:
        """The picture at a place from 0 to len - 1."""
        at = bisect_right(self._starts, place) - 1
        day = self.days[at]
        return day.folder / day.names[place - self._starts[at]]

    def place(self, path: Path) -> int | None:
        """Where a picture stands; None if it is not here."""
        at = self._at.get(path.parent)
        if at is None or path.name not in (names := self.days[at].names):
            return None
        return self._starts[at] + names.index(path.name)

    def with_newer(self, paths: Iterable[Path]) -> Timeline:
        """Those pictures, given in the order they were made, on top of their days."""
        days = {day.folder: day.names for day in self.days}
        for path in paths:
            others = [name for name in days.get(path.parent, ()) if name != path.name]
            days[path.parent] = [path.name, *others]
        return _timeline(days)

    def with_older(self, more: Iterable[Day]) -> Timeline:
        """Those of `more` that are not here, below the others of their days."""
        days = {day.folder: day.names for day in self.days}
        for day in more:
            here = days.get(day.folder, ())
            known = set(here)
            days[day.folder] = [*here, *(name for name in day.names if name not in known)]
        return _timeline(days)

    def with_again(self, path: Path) -> Timeline:
        """One that was here before, where its name puts it."""
        days = {day.folder: day.names for day in self.days}
        days[path.parent] = sorted({*days.get(path.parent, ()), path.name}, key=order_of, reverse=True)
        return _timeline(days)

    def without(self, path: Path) -> Timeline:
        """All but one."""
        days = {day.folder: day.names for day in self.days}
        days[path.parent] = [name for name in days.get(path.parent, ()) if name != path.name]
        return _timeline(days)

    def only(self, paths: Collection[Path]) -> Timeline:
        """Those that are among `paths`."""
        wanted: dict[Path, set[str]] = {}
        for path in paths:
            wanted.setdefault(path.parent, set()).add(path.name)
        return _timeline(
            {
                day.folder: [name for name in day.names if name in wanted[day.folder]]
                for day in self.days
                if day.folder in wanted
            }
        )


def _timeline(days: dict[Path, list[str]]) -> Timeline:
    return Timeline(Day(folder, names) for folder, names in days.items())


def near(seen: range, count: int) -> list[int]:
    """The places in view, then as many below them, then as many above, of `count` places in all."""
    below = range(seen.stop, min(seen.stop + len(seen), count))
    return [*seen, *below, *range(max(seen.start - len(seen), 0), seen.start)]


@dataclass(frozen=True)
class Spot:
    """What stands in a line: the heading of a day (`inner` is -1), or line `inner` of the row of these pictures."""

    day: int
    places: range
    inner: int


class Grid:
    """Where pictures stand: below the heading of their day, in rows of `columns` pictures.

    Args:
        counts: the pictures of each day.
        columns: pictures side by side.
        item_lines: lines of a picture.
        gap: how many of those, the last ones, are empty.
    """

    def __init__(self, counts: Sequence[int] = (), columns: int = 1, item_lines: int = 1, gap: int = 0) -> None:
        self._columns = columns
        self._item_lines = item_lines
        self._gap = gap
        self._starts = [0, *accumulate(counts)]
        self._rows = [0, *accumulate(-(-count // columns) for count in counts)]  # before each day
        self._tops = [day + rows * item_lines for day, rows in enumerate(self._rows)]

    @property
    def lines(self) -> int:
        """All of them."""
        return self._tops[-1]

    def line_of(self, place: int) -> int:
        """The first line of a picture."""
        day, row, _ = self._row_of(place)
        return self._tops[day] + 1 + (row - self._rows[day]) * self._item_lines

    def at(self, line: int) -> Spot | None:
        """What stands in a line; None above the first and below the last."""
        if not 0 <= line < self.lines:
            return None
        day = bisect_right(self._tops, line) - 1
        row, inner = divmod(line - self._tops[day] - 1, self._item_lines)
        if row < 0:
            return Spot(day, range(self._starts[day], self._starts[day]), -1)
        return Spot(day, self._places(day, self._rows[day] + row), inner)

    def between(self, top: int, bottom: int) -> range:
        """The pictures of which anything stands in the lines from `top` up to and without `bottom`."""
        if bottom <= top:
            return range(0)
        first, last = self.at(max(top, 0)), self.at(min(bottom, self.lines) - 1)
        return range(first.places.start, last.places.stop) if first and last else range(0)

    def revealing(self, place: int, top: int, height: int) -> int:
        """The line to scroll to from `top`, the nearest that shows a picture, and the heading above it, in `height`."""
        start = self.line_of(place)
        stop = start + self._item_lines - self._gap
        above = self.at(start - 1)
        if above and above.inner < 0 and stop - start < height:
            start -= 1
        return start if start < top or stop - start > height else max(top, stop - height)

    def moved(self, place: int, rows: int) -> int:
        """The picture so many rows further down, in the same column or the last one there is."""
        _, row, column = self._row_of(place)
        row = min(max(row + rows, 0), self._rows[-1] - 1)
        places = self._places(bisect_right(self._rows, row) - 1, row)
        return places[min(column, len(places) - 1)]

    def _row_of(self, place: int) -> tuple[int, int, int]:
        day = bisect_right(self._starts, place) - 1
        row, column = divmod(place - self._starts[day], self._columns)
        return day, self._rows[day] + row, column

    def _places(self, day: int, row: int) -> range:
        start = self._starts[day] + (row - self._rows[day]) * self._columns
        return range(start, min(start + self._columns, self._starts[day + 1]))
