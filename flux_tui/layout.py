"""Where each pane stands on a screen of a given size: arithmetic only, no widget.

    wide    160 columns and more   prompt and settings | picture | queue and history
    normal  100 to 159             prompt and settings | picture, and below it queue or history
    narrow   72 to  99             one pane, chosen by its tab | picture
    single  below 72               one pane, the picture too is one of them

Below 16 lines two panes above one another would show their frames and little else: it is narrow at most.
Below 32 x 10 nothing is usable; the screen says so and keeps what was typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pane = Literal["prompt", "settings", "picture", "queue", "history"]
PANES: tuple[Pane, ...] = ("prompt", "settings", "picture", "queue", "history")
LISTS: tuple[Pane, ...] = ("queue", "history")

MIN_COLUMNS, MIN_LINES = 32, 10
NARROW, NORMAL, WIDE = 72, 100, 160
LOW = 16  # lines, of which a list has 8 and the picture the rest: a frame, two lines of words, four of picture
SETTINGS_LINES = 19  # the rows of the form down to the LoRAs, and its border; how these are applied is below
LEAST_PROMPT_LINES = 6


@dataclass(frozen=True)
class Box:
    """Columns and lines, from the top left corner of the screen."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Arrangement:
    """What is on the screen.

    Attributes:
        boxes: each visible pane's place; "tabs" is the bar that chooses.
        tabs: the panes that the bar offers; empty when there is no bar.
        chosen: the one of them that is shown.
    """

    boxes: dict[str, Box]
    tabs: tuple[Pane, ...] = ()
    chosen: Pane | None = None

    @property
    def too_small(self) -> bool:
        """Whether there is no room for any pane."""
        return not self.boxes


def arrange(
    width: int, height: int, chosen: Pane = "prompt", listed: Pane = "history", *, zoomed: bool = False
) -> Arrangement:
    """Put the panes on `width` x `height` cells.

    Args:
        chosen: the pane that was asked for last.
        listed: the list that was asked for last, shown where there is room for one of them beside other panes.
        zoomed: the picture has everything.
    """
    if width < MIN_COLUMNS or height < MIN_LINES:
        return Arrangement({})
    if zoomed:
        return Arrangement({"picture": Box(0, 0, width, height)})
    if width < NARROW:
        return _tabbed(Box(0, 0, width, height), {}, PANES, chosen)
    if width < NORMAL or height < LOW:
        column = 38 if width < 90 else 42
        tabs = tuple(pane for pane in PANES if pane != "picture")
        picture = {"picture": Box(column, 0, width - column, height)}
        return _tabbed(Box(0, 0, column, height), picture, tabs, chosen if chosen in tabs else "prompt")
    if width < WIDE:
        return _normal(width, height, listed)
    return _wide(width, height)


def _tabbed(box: Box, others: dict[str, Box], tabs: tuple[Pane, ...], chosen: Pane) -> Arrangement:
    boxes = {
        "tabs": Box(box.x, box.y, box.width, 1),
        chosen: Box(box.x, box.y + 1, box.width, box.height - 1),
        **others,
    }
    return Arrangement(boxes, tabs, chosen)


def _normal(width: int, height: int, listed: Pane) -> Arrangement:
    column = 44
    lists = max(8, height // 3)
    right = Box(column, height - lists, width - column, lists)
    boxes = _left(column, height) | {"picture": Box(column, 0, width - column, height - lists)}
    return _tabbed(right, boxes, LISTS, listed)


def _wide(width: int, height: int) -> Arrangement:
    column = 52 if width >= 180 else 46
    queue = max(8, height // 3)
    x = width - column
    return Arrangement(
        _left(column, height)
        | {
            "picture": Box(column, 0, width - 2 * column, height),
            "queue": Box(x, 0, column, queue),
            "history": Box(x, queue, column, height - queue),
        }
    )


def _left(column: int, height: int) -> dict[str, Box]:
    settings = min(SETTINGS_LINES, height - LEAST_PROMPT_LINES)
    return {
        "prompt": Box(0, 0, column, height - settings),
        "settings": Box(0, height - settings, column, settings),
    }
