"""Textual's compositor, but for what is painted it asks only the widgets that are to be seen there.

Textual's own asks every widget whose surroundings are there, so here all of them: each letter typed, and each preview,
went through the lines of all panes, a third of a paint's time. It asks all between two places, too: a preview and the
footer below had all settings asked, sixty widgets. And where one widget is all that is to be seen, as nearly always, it
cuts lines up and puts them together for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Places = Mapping[Widget, tuple[Region, Region]]
"""Where widgets are, and what is to be seen of each, from the front to the back."""


class NearCompositor(Compositor):
    """It takes a widget's own region for what clips it, where that is smaller."""

    @property
    def visible_widgets(self) -> dict[Widget, tuple[Region, Region]]:
        if self._visible_widgets is None:  # Textual keeps them there until the next layout
            found = super().visible_widgets.items()
            self._visible_widgets = {widget: (region, region.intersection(clip)) for widget, (region, clip) in found}
        return self._visible_widgets

    def render_partial_update(self) -> ChopsUpdate | None:
        screen, everywhere, cuts = self.size.region, self.visible_widgets, self.cuts  # cuts are those of all widgets
        dirty = [place for it in self._dirty_regions if (place := it.intersection(screen))]
        near = {
            widget: places for widget, places in everywhere.items() if any(places[1].overlaps(place) for place in dirty)
        }
        if (update := _of_whole_widgets(near, dirty, len(cuts))) is not None:
            self._dirty_regions.clear()
            return update
        self._visible_widgets = near
        try:
            return super().render_partial_update()
        finally:
            self._visible_widgets = everywhere


def _of_whole_widgets(near: Places, dirty: Iterable[Region], line_count: int) -> ChopsUpdate | None:
    """What to paint where each place is one widget's alone; None where one is not, or none is."""
    seen = [(place, _seen_at(near, place)) for place in dirty]
    lines: list[dict[int, Strip | None]] = [{} for _ in range(line_count)]
    spans = []
    for place, widget in seen:
        if widget is None:
            return None
        for y, strip in enumerate(widget.render_lines(place.translate(-near[widget][0].offset)), place.y):
            if (other := lines[y].get(place.x)) is None or other.cell_length < strip.cell_length:
                lines[y][place.x] = strip
            spans.append((y, place.x, place.right))
    ends = [[x + strip.cell_length for x, strip in line.items() if strip is not None] for line in lines]
    return ChopsUpdate(lines, sorted(spans), ends) if spans else None  # it ends all lines but the last with a newline


def _seen_at(near: Places, place: Region) -> Widget | None:
    """The widget that is all that is to be seen at a place."""
    for widget, (_, shown) in near.items():
        if shown.overlaps(place):
            return widget if shown.contains_region(place) else None
    return None
