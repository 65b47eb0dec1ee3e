"""A line of a picture has the escape codes of its cells, joined at once, and those that Rich would make of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.style import Style
from textual.strip import Strip

from flux_tui.widgets.pixel_row import PixelRow

BLANK = Style(bgcolor="#102030")
UPPER, LOWER = bytes([0, 7, 42, 100, 200, 255]), bytes([9, 10, 99, 255, 0, 1])


def console(colours: str = "truecolor") -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=colours)  # type: ignore[arg-type]


def test_a_cell_is_its_upper_pixel_over_its_lower_one() -> None:
    row = PixelRow((UPPER, LOWER), 0, 2, BLANK)
    codes = "\x1b[38;2;0;7;42;48;2;9;10;99m▀\x1b[38;2;100;200;255;48;2;255;0;1m▀"
    assert row.render(console()) == f"{codes}\x1b[0m"


def test_blank_cells_are_at_both_sides() -> None:
    row = PixelRow((UPPER, LOWER), 3, 9, BLANK)
    left, right = (Strip.blank(count, BLANK).render(console()) for count in (3, 4))
    drawn = row.render(console())
    assert drawn.startswith(f"{left}\x1b[38;2;0;7;42") and drawn.endswith(f"▀\x1b[0m{right}")


@pytest.mark.parametrize(("start", "end"), [(0, 9), (0, 7), (0, 4), (2, 9), (4, 5)])
def test_a_part_of_the_line_has_the_cells_that_are_there(start: int, end: int) -> None:
    row = PixelRow((UPPER, LOWER), 3, 9, BLANK)
    whole = Strip(list(row), 9)
    assert row.crop(start, end).text == whole.crop(start, end).text
    assert row.crop(start, end).cell_length == end - start


def test_with_few_colours_rich_finds_the_nearest() -> None:
    row = PixelRow((UPPER, LOWER), 0, 2, BLANK)
    assert "38;5;" in row.render(console("256")) and "38;2" not in row.render(console("256"))
