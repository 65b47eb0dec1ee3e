"""A picture's row, card and tile have exactly the width they are given, whatever its file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.style import Style

from flux_engine.png import PictureRecord
from flux_engine.request import GenerationRequest
from flux_tui.gallery import SavedPicture
from flux_tui.metadata import harmless
from flux_tui.preview import half_blocks
from flux_tui.widgets.history_cells import INKS, Entry, Ink, Look, card, drawn, look_for, row, shape_for, thumb_of
from tests.tui.fakes import gradient
from tests.tui.test_cell_text import HOSTILE

STYLES: dict[Ink, Style] = {"plain": Style(), **{ink: Style(bold=ink == "cursor") for ink in INKS}}
LOOKS: tuple[Look, ...] = ("rows", "cards", "strip")
THUMB = thumb_of(half_blocks(gradient(30, 20), 6, 3))


def entry(prompt: str = "a hill", seed: int = 5, *, starred: bool = False, chosen: bool = False) -> Entry:
    request = GenerationRequest(prompt=prompt, width=1024, height=768, seed=seed)
    picture = SavedPicture(Path("a.png"), PictureRecord(request=request))
    return Entry("09:30", picture, THUMB, starred=starred, chosen=chosen)


def text(parts: list[tuple[str, Ink]]) -> str:
    return "".join(words for words, _ in parts)


@pytest.mark.parametrize(
    ("size", "look"),
    [((44, 5), "rows"), ((76, 10), "rows"), ((50, 18), "cards"), ((48, 54), "cards"), ((98, 38), "strip")],
)
def test_a_pane_shows_what_suits_its_size(size: tuple[int, int], look: Look) -> None:
    assert look_for(*size) == look


@given(st.sampled_from(LOOKS), st.integers(0, 200), st.integers(0, 60))
def test_every_layout_fits_its_pane(look: Look, width: int, height: int) -> None:
    shape = shape_for(look, width, height)
    assert shape.columns >= 1 and shape.lines - shape.gap >= 1
    assert shape.columns * (shape.width + 2) - 2 <= max(width, 1)
    assert shape.room[0] <= shape.width and shape.room[1] <= shape.lines
    if look == "strip" and height >= 3 and width >= 4:
        assert 1 + shape.lines - shape.gap <= height  # a day's name, a row of tiles and its captions at once


@given(
    st.sampled_from(LOOKS),
    st.integers(1, 120),
    st.integers(1, 40),
    st.sampled_from(["a hill", "山" * 90, "a" * 200, "שלום עולם", harmless(HOSTILE)]),
    st.sampled_from([None, "gone", "picture"]),
    st.booleans(),
)
def test_no_picture_leaves_its_room(
    look: Look, width: int, height: int, prompt: str, known: str | None, with_thumb: bool
) -> None:
    shape = shape_for(look, width, height)
    thumb = thumb_of(half_blocks(gradient(30, 20), *shape.room)) if with_thumb and any(shape.room) else None
    picture = entry(prompt).picture if known == "picture" else known
    entries = [Entry("09:30", picture, thumb, starred=True, chosen=place == 0) for place in range(shape.columns)]
    expected = shape.columns * (shape.width + 2) - (2 if look != "strip" else 0)
    for inner in range(shape.lines):
        strip = drawn(entries, shape, inner, STYLES)
        blank_gap = inner >= shape.lines - shape.gap
        assert strip.cell_length == (shape.width if blank_gap else expected if look == "strip" else shape.width)
        assert sum(cell_len(segment.text) for segment in strip) == strip.cell_length
        assert strip.text.isprintable()


def test_size_and_seed_stand_in_line_whatever_the_prompt() -> None:
    rows = [text(row(entry(prompt, seed=5), 70)) for prompt in ("山" * 90, "a" * 200, "short")]
    assert {cell_len(line) for line in rows} == {70}
    assert all(line.rstrip().endswith("1024x768   seed 5") for line in rows)


def test_a_narrow_row_has_time_star_and_prompt() -> None:
    assert text(row(entry(), 30)).rstrip() == "09:30  a hill"
    assert text(row(entry(starred=True), 30)).rstrip() == "09:30★ a hill"
    assert text(row(Entry("09:30", "gone"), 30)).rstrip() == "09:30  gone"
    assert text(row(Entry("09:30", None), 30)).rstrip() == "09:30  …"


def test_a_card_says_the_prompt_in_two_lines_then_size_and_seed() -> None:
    long = [text(card(entry("snow over a pine forest"), 20, line)).rstrip() for line in range(3)]
    assert long == ["09:30  snow over a", "       pine forest", "       1024x768   seed 5"]
    short = [text(card(entry(), 20, line)).rstrip() for line in range(3)]
    assert short == ["09:30  a hill", "       1024x768   seed 5", ""]


def test_a_thumbnail_stands_in_the_middle_and_a_missing_one_is_tinted() -> None:
    shape = shape_for("strip", 20, 12)
    styles = {**STYLES, "blank": Style(italic=True)}
    lines = [drawn([entry()], shape, inner, styles) for inner in range(shape.room[1])]
    with_picture = [line for line in lines if "▀" in line.text]
    assert len(with_picture) == 2 and with_picture[0].text.strip() == "▀" * 6
    assert lines.index(with_picture[0]) == (shape.room[1] - 2) // 2
    (segment, *_) = drawn([Entry("09:30", None)], shape, 0, styles)
    assert segment.style == styles["blank"]


def test_the_cursor_covers_the_words_and_not_the_picture() -> None:
    strip = drawn([entry(chosen=True)], shape_for("cards", 40, 20), 0, STYLES)
    bold = "".join(segment.text for segment in strip if segment.style and segment.style.bold)
    assert cell_len(bold) == 33 and bold.strip() == "09:30  a hill" and "▀" not in bold
