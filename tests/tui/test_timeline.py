"""Pictures have places, and places have lines; all of it is compared with a plain list of lines."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from flux_tui.gallery import Day
from flux_tui.timeline import Grid, Spot, Timeline, near

ROOT = Path("/gallery")


def paths(*names: str) -> list[Path]:
    return [ROOT / name for name in names]


def in_days(paths: list[Path]) -> list[Day]:
    """The same pictures in days; the order within a day stays."""
    days: dict[Path, list[str]] = {}
    for path in paths:
        days.setdefault(path.parent, []).append(path.name)
    return [Day(folder, names) for folder, names in days.items()]


OLD = Timeline(in_days(paths("2025-01-02/d.png", "2025-01-02/c.png", "2025-01-01/b.png", "2025-01-01/a.png")))


def test_days_come_newest_first_and_the_order_within_a_day_stays() -> None:
    timeline = Timeline(in_days(paths("2025-01-01/b.png", "2025-01-02/d.png", "2025-01-02/c.png", "2025-01-01/a.png")))
    assert list(timeline) == list(OLD)
    assert [(day.folder.name, day.names) for day in timeline.days] == [
        ("2025-01-02", ["d.png", "c.png"]),
        ("2025-01-01", ["b.png", "a.png"]),
    ]


def test_a_place_leads_to_its_picture_and_back() -> None:
    assert len(OLD) == 4
    assert [OLD.path(place) for place in range(4)] == list(OLD)
    assert [OLD.place(path) for path in OLD] == [0, 1, 2, 3]
    assert OLD.place(ROOT / "2025-01-01" / "z.png") is None and OLD.place(ROOT / "2024-01-01" / "a.png") is None


def test_a_day_without_pictures_is_no_day() -> None:
    assert Timeline([Day(ROOT / "2025-01-01", [])]).days == ()
    assert not len(Timeline())


def test_newer_ones_come_on_top_of_their_day_and_once_only() -> None:
    new = OLD.with_newer(paths("2025-01-02/e.png", "2025-01-03/f.png", "2025-01-02/c.png"))
    assert list(new) == paths(
        "2025-01-03/f.png",
        "2025-01-02/c.png",
        "2025-01-02/e.png",
        "2025-01-02/d.png",
        *("2025-01-01/b.png", "2025-01-01/a.png"),
    )
    assert len(OLD) == 4


def test_older_ones_come_below_and_those_that_are_here_stay_where_they_are() -> None:
    new = OLD.with_older(in_days(paths("2025-01-02/c.png", "2025-01-02/b.png", "2024-12-31/z.png")))
    assert list(new) == paths(
        "2025-01-02/d.png",
        "2025-01-02/c.png",
        "2025-01-02/b.png",
        "2025-01-01/b.png",
        "2025-01-01/a.png",
        "2024-12-31/z.png",
    )


def test_one_that_comes_back_stands_where_it_stood() -> None:
    names = [f"2025-01-0{day}/1200{second:02}-{n}-5.png" for day in (2, 1) for second in (9, 8) for n in (10, 9, 1)]
    timeline = Timeline(in_days(paths(*names)))
    for path in paths(*names):
        assert list(timeline.without(path).with_again(path)) == list(timeline)
        assert list(timeline.with_again(path)) == list(timeline)


def test_some_can_be_taken_out_and_the_rest_closes_up() -> None:
    assert list(OLD.without(ROOT / "2025-01-02" / "d.png")) == list(OLD)[1:]
    assert list(OLD.without(ROOT / "2025-01-02" / "z.png")) == list(OLD)
    assert list(OLD.only(paths("2025-01-01/a.png", "2025-01-02/d.png", "2024-01-01/z.png"))) == [
        OLD.path(0),
        OLD.path(3),
    ]
    assert not len(OLD.only([]))


def test_what_is_near_is_what_is_in_view_then_below_then_above() -> None:
    assert near(range(4, 7), 30) == [4, 5, 6, 7, 8, 9, 1, 2, 3]
    assert near(range(1, 4), 5) == [1, 2, 3, 4, 0]
    assert near(range(0), 0) == []


grids = st.tuples(st.lists(st.integers(1, 7), max_size=5), st.integers(1, 4), st.integers(1, 4))


def lines_of(counts: list[int], columns: int, item_lines: int) -> list[Spot]:
    """Every line of a grid, one after another."""
    lines, first = [], 0
    for day, count in enumerate(counts):
        lines.append(Spot(day, range(first, first), -1))
        for start in range(first, first + count, columns):
            places = range(start, min(start + columns, first + count))
            lines += [Spot(day, places, inner) for inner in range(item_lines)]
        first += count
    return lines


@given(grids)
def test_every_line_holds_what_a_plain_list_says(shape: tuple[list[int], int, int]) -> None:
    grid, lines = Grid(*shape), lines_of(*shape)
    assert grid.lines == len(lines)
    assert [grid.at(line) for line in range(grid.lines)] == lines
    assert grid.at(-1) is None and grid.at(grid.lines) is None
    for place in range(sum(shape[0])):
        assert grid.line_of(place) == next(at for at, spot in enumerate(lines) if place in spot.places)


@given(grids, st.integers(0, 60), st.integers(0, 20))
def test_what_is_in_view_is_what_stands_in_those_lines(
    shape: tuple[list[int], int, int], top: int, height: int
) -> None:
    seen = Grid(*shape).between(top, top + height)
    assert set(seen) == {place for spot in lines_of(*shape)[top : top + height] for place in spot.places}


@given(grids, st.integers(0, 34), st.integers(-9, 9))
def test_moving_by_rows_keeps_the_column_as_far_as_there_is_one(
    shape: tuple[list[int], int, int], place: int, by: int
) -> None:
    rows = [spot.places for spot in lines_of(shape[0], shape[1], 1) if spot.inner == 0]
    place = min(place, sum(shape[0]) - 1)
    if place < 0:
        return
    here = next(at for at, row in enumerate(rows) if place in row)
    there = rows[min(max(here + by, 0), len(rows) - 1)]
    assert Grid(*shape).moved(place, by) == there[min(place - rows[here].start, len(there) - 1)]


@given(grids, st.integers(0, 34), st.integers(0, 60), st.integers(1, 20), st.integers(0, 1))
def test_scrolling_shows_the_picture_and_moves_no_further_than_it_must(
    shape: tuple[list[int], int, int], place: int, top: int, height: int, gap: int
) -> None:
    counts, columns, item_lines = shape
    place = min(place, sum(counts) - 1)
    if place < 0:
        return
    grid = Grid(counts, columns, item_lines + gap, gap)
    start, now = grid.line_of(place), grid.revealing(place, top, height)
    above = grid.at(start - 1)
    wanted = start - 1 if above and above.inner < 0 and item_lines < height else start
    if item_lines > height:
        assert now == start
    else:
        assert now <= wanted and start + item_lines <= now + height
        assert now == top or now in (wanted, start + item_lines - height)
