"""Words fit the cells they are given, whatever they are made of."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from flux_tui.cell_text import in_two, one_line, padded, shortened

HOSTILE = (
    "\x1b]0;evil\x07 \u202eback\u202c \u200b\u2066a\u2069 \ufeff\r\n👩\u200d👩\u200d👧 ❤\ufe0f \ud800 z" + "\u0301" * 50
)


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("snow over\na  pine forest", 30, "snow over a pine forest"),
        ("snow over a pine forest", 16, "snow over a…"),
        ("snow over a pine forest", 10, "snow over…"),
        ("a" * 200, 10, "aaaaaaaaa…"),
        ("満月の夜の山と海", 16, "満月の夜の山と海"),
        ("満月の夜の山と海", 9, "満月の夜…"),
        ("満月の夜の山と海", 8, "満月の…"),
        ("  \n snow", 10, "snow"),
        ("snow", 1, "…"),
        ("snow", 0, ""),
    ],
)
def test_a_text_is_cut_to_the_cells_that_it_takes(text: str, width: int, line: str) -> None:
    assert shortened(text, width) == line
    assert cell_len(line) <= width


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("snow", ("snow", "")),
        ("snow over a pine forest", ("snow over a", "pine forest")),
        ("snow over a pine forest at night", ("snow over a", "pine forest…")),
        ("a" * 20, ("a" * 12, "a" * 8)),
        ("満月の夜の山と海", ("満月の夜の山", "と海")),
    ],
)
def test_two_lines_break_between_words(text: str, lines: tuple[str, str]) -> None:
    assert in_two(text, 12) == lines


def test_nothing_is_left_that_moves_or_hides_what_stands_beside_it() -> None:
    line = one_line(HOSTILE, 200)
    assert line.isprintable() and "evil" in line
    assert not {unicodedata.category(sign) for sign in line} & {"Cc", "Cf", "Cs"}
    assert line.startswith("\N{REPLACEMENT CHARACTER}]0;evil\N{REPLACEMENT CHARACTER} back a 👩👩👧 ❤ ")


@given(st.text(st.characters(codec="utf-8")) | st.just(HOSTILE), st.integers(0, 60))
def test_no_text_is_wider_than_it_may_be(text: str, width: int) -> None:
    line = shortened(text, width)
    assert cell_len(line) <= width and cell_len(padded(line, width)) == width
    assert all(cell_len(half) <= max(width, 1) for half in in_two(text, max(width, 1)))


def test_of_a_megabyte_only_the_beginning_is_looked_at() -> None:
    assert len(one_line("a" * 1_000_000, 80)) < 1000
    assert shortened("snow " * 200_000, 12) == "snow snow…"
