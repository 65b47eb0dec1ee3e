"""The row for LoRAs: a line to type in, and where it has not the focus, all of its names and strengths at a glance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding
from textual.strip import Strip
from textual.widgets import Input

from flux_engine.errors import RequestError
from flux_engine.lora_text import SUFFIX, loras_text, parse_loras
from flux_tui.cell_text import shortened

NAME_CELLS = (4, 40)  # of a name that is cut, at least and at most


class LoraInput(Input):
    """A line of LoRAs, with the key that chooses them in the footer as long as it has the focus.

    Args:
        text: at first.
        ellipsis: the sign of a cut.
        options: as of an Input.
    """

    BINDINGS: ClassVar = [Binding("ctrl+n", "screen.pick_lora", "LoRAs", key_display="^N", id="pick-lora")]

    def __init__(self, text: str, ellipsis: str, **options: Any) -> None:
        super().__init__(text, **options)
        self._ellipsis = ellipsis

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y or self.has_focus or cell_len(self.value) <= width:
            return super().render_line(y)
        line = Segment(fitted(self.value, width, self._ellipsis), self.rich_style)
        return Strip([line]).adjust_cell_length(width, self.rich_style)


def fitted(text: str, width: int, ellipsis: str) -> str:
    """The LoRAs of a line in `width` cells: folders are left out, then names are cut, and strengths stay."""
    try:
        loras = parse_loras(text)
    except RequestError:
        return shortened(text, width, ellipsis)
    names = [Path(lora.file).name.removesuffix(SUFFIX) for lora in loras]
    line = text
    for room in range(NAME_CELLS[1], NAME_CELLS[0] - 1, -1):
        cut = [shortened(name, room, ellipsis) or ellipsis for name in names]
        line = loras_text([replace(lora, file=name) for lora, name in zip(loras, cut, strict=True)])
        if cell_len(line) <= width:
            return line
    return shortened(line, width, ellipsis)
