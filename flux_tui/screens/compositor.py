"""Textual's compositor, but for what is painted it asks only the widgets that are to be seen there.

Textual's own asks every widget whose surroundings are there, so here all of them: each letter typed, and each preview,
went through the lines of all panes, a third of a paint's time. And it asks those behind one that covers all that is
painted: a preview went through the lines of the pane and of the screen behind it, a sixth of a paint's time.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget


class NearCompositor(Compositor):
    """It takes a widget's own region for what clips it, where that is smaller, and leaves out what it covers."""

    @property
    def visible_widgets(self) -> dict[Widget, tuple[Region, Region]]:
        if self._visible_widgets is None:  # Textual keeps them there until the next layout
            found = super().visible_widgets.items()
            self._visible_widgets = {widget: (region, region.intersection(clip)) for widget, (region, clip) in found}
        return self._visible_widgets

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        for render in super()._get_renders(crop):  # from the front to the back; each cell has a colour of its own
            yield render
            if crop is not None and render[0].intersection(render[1]).contains_region(crop):
                return
