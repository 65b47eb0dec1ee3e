"""How pictures get onto this terminal: what whoever draws one has to know of it. Writes nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flux_tui.terminal.abilities import Graphics

CELL_PX = (10, 20)  # where the terminal does not tell


@dataclass(frozen=True)
class Canvas:
    """What pictures are drawn on.

    Attributes:
        graphics: the way they are drawn.
        write: sends an escape code to the terminal, in order with what Textual paints.
        picture_id: the number of a kitty picture, this program's own.
        cell_px: (width, height) of a cell.
        passthrough: tmux is in between.
    """

    graphics: Graphics = "half"
    write: Callable[[str], object] = lambda escape: None
    picture_id: int = 1
    cell_px: tuple[int, int] = CELL_PX
    passthrough: bool = False
