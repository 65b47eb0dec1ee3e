"""Textual's compositor, but for what is painted it asks only the widgets that are there.

Textual's own asks every widget whose surroundings are there, so here all of them: each letter typed, and each preview,
went through the lines of all panes, a third of a paint's time.
"""

from __future__ import annotations

from textual._compositor import Compositor
from textual.geometry import Region
from textual.widget import Widget


class NearCompositor(Compositor):
    """It takes a widget's own region for what clips it, where that is smaller."""

    @property
    def visible_widgets(self) -> dict[Widget, tuple[Region, Region]]:
        if self._visible_widgets is None:  # Textual keeps them there until the next layout
            found = super().visible_widgets.items()
            self._visible_widgets = {widget: (region, region.intersection(clip)) for widget, (region, clip) in found}
        return self._visible_widgets
