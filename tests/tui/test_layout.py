"""On every screen the panes fill it, and none lies over another."""

from __future__ import annotations

import pytest

from flux_tui.layout import LISTS, PANES, Arrangement, Box, Pane, arrange

SIZES = [
    (32, 10),
    (40, 12),
    (71, 30),
    (72, 22),
    (80, 22),
    (99, 40),
    (100, 10),
    (100, 15),
    (100, 16),
    (100, 20),
    (140, 10),
    (120, 38),
    (159, 50),
    (160, 30),
    (200, 10),
    (200, 16),
    (200, 58),
    (400, 100),
]


def cells(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x, box.x + box.width) for y in range(box.y, box.y + box.height)}


@pytest.mark.parametrize("zoomed", [False, True])
@pytest.mark.parametrize("chosen", PANES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_panes_fill_the_screen_without_overlap(width: int, height: int, chosen: Pane, zoomed: bool) -> None:
    boxes = arrange(width, height, chosen, zoomed=zoomed).boxes
    covered = [cells(box) for box in boxes.values()]
    assert sum(map(len, covered)) == width * height
    assert set.union(*covered) == {(x, y) for x in range(width) for y in range(height)}
    assert all(box.height >= (1 if name == "tabs" else 5) for name, box in boxes.items())


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_pane_can_be_reached(width: int, height: int) -> None:
    shown: set[str] = set()
    for pane in PANES:
        arrangement = arrange(width, height, pane, pane if pane in LISTS else "history")
        shown |= arrangement.boxes.keys()
        if arrangement.tabs:
            assert arrangement.chosen in arrangement.tabs and arrangement.chosen in arrangement.boxes
    assert shown >= set(PANES)


def test_a_small_screen_shows_one_pane_beside_the_picture() -> None:
    for pane in ("prompt", "settings", "queue", "history"):
        assert arrange(80, 22, pane).boxes.keys() == {"tabs", pane, "picture"}
    assert arrange(80, 22, "picture").boxes.keys() == {"tabs", "prompt", "picture"}


@pytest.mark.parametrize("height", range(10, 24))
@pytest.mark.parametrize("width", [72, 100, 140, 200])
def test_a_picture_has_room_for_itself_and_the_words_below_it(width: int, height: int) -> None:
    assert arrange(width, height).boxes["picture"].height >= 8


def test_a_wide_screen_shows_all_panes_and_needs_no_tabs() -> None:
    arrangement = arrange(200, 58)
    assert arrangement.boxes.keys() == set(PANES) and not arrangement.tabs


@pytest.mark.parametrize(("width", "height"), [(20, 5), (31, 40), (200, 9), (0, 0)])
def test_a_screen_without_room_shows_nothing(width: int, height: int) -> None:
    assert arrange(width, height) == Arrangement({}) and arrange(width, height).too_small
