"""A screen whose panes stand where `flux_tui.layout` puts them: which are shown, which has the focus."""

from __future__ import annotations

from textual import events, on
from textual.geometry import NULL_OFFSET, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from flux_tui.layout import LISTS, MIN_COLUMNS, MIN_LINES, PANES, Arrangement, Box, Pane, arrange
from flux_tui.widgets.tab_bar import TabBar


class PaneLayout(Layout):
    """Puts each widget where its id says, the status line below all; those that are named nowhere are not shown."""

    name = "panes"

    def __init__(self, screen: PaneScreen) -> None:
        self._screen = screen

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        parent.pre_layout(self)
        room = size - Size(0, 1)
        boxes = self._screen.arrangement_for(room).boxes or {"small": Box(0, 0, *room)}
        boxes = {**boxes, "status": Box(0, room.height, size.width, 1)}
        return [
            WidgetPlacement(Region(box.x, box.y, box.width, box.height), NULL_OFFSET, Spacing(), child)
            for child in children
            if (box := boxes.get(str(child.id))) is not None
        ]


class PaneScreen(Screen[None]):
    """Keeps the panes of `flux_tui.layout`, widgets whose ids are its names; `tabs` and `small` come from here."""

    def __init__(self, pane: Pane = "prompt", listed: Pane = "history") -> None:
        super().__init__()
        self._chosen: Pane = pane
        self._listed: Pane = listed
        self._placed = pane, listed
        self._zoomed = False
        self._arrangement = Arrangement({})
        self._layout = PaneLayout(self)
        self.tabs = TabBar(id="tabs")
        self.small = Static(id="small", markup=False)

    @property
    def layout(self) -> Layout:
        return self._layout

    def pane(self, name: Pane) -> Widget:
        """The widget of a pane."""
        return self.query_one(f"#{name}")

    @property
    def chosen(self) -> Pane:
        """The pane that was gone to last."""
        return self._chosen

    @property
    def listed(self) -> Pane:
        """The list that was gone to last."""
        return self._listed

    @property
    def is_zoomed(self) -> bool:
        """Whether the picture has the whole screen."""
        return self._zoomed

    def arrangement_for(self, size: Size) -> Arrangement:
        """Where everything stands on so many cells: the panes that `arrange_panes` has shown, wherever the focus is.

        From a pane that is hidden Textual moves the focus at once to another one, before it comes to where it shall go.
        """
        return arrange(size.width, size.height, *self._placed, zoomed=self._zoomed)

    @on(events.Resize)
    def arrange_panes(self) -> None:
        """Show what the size and the choices of the moment ask for, and keep the focus on something that is shown."""
        self._placed = self._chosen, self._listed
        room = self.size - Size(0, 2)  # without the status line and the footer
        arrangement = self._arrangement = self.arrangement_for(room)
        for name in PANES:
            self.pane(name).display = name in arrangement.boxes
        self.tabs.display = bool(arrangement.tabs)
        if arrangement.tabs and arrangement.chosen:
            self.tabs.offer(arrangement.tabs, arrangement.boxes["tabs"].width)
            self.tabs.choose(arrangement.chosen)
        self.small.display = arrangement.too_small
        self.small.update(
            f"{self.size.width}x{self.size.height} is too small.\n"
            f"Needs {MIN_COLUMNS}x{MIN_LINES + 2}.\nNothing is lost."
        )
        self.refresh(layout=True)
        if not arrangement.too_small and (self.focused is None or not self.focused.is_attached or self._is_hidden):
            self.focus_pane(self.pane("picture" if self._zoomed else self._chosen))

    @property
    def _is_hidden(self) -> bool:
        """Whether the focus is on something that is not shown."""
        return self.focused is not None and not all(node.display for node in self.focused.ancestors_with_self)

    def on_descendant_focus(self) -> None:
        """The pane that is chosen is the one that was last gone to, by whatever way."""
        for name in PANES:
            if not self._zoomed and self.pane(name).has_focus_within:
                self._chosen = name
                self._listed = name if name in LISTS else self._listed

    def go_to(self, name: Pane) -> None:
        """Show a pane and focus it; a zoomed picture gives way to the others."""
        self._zoomed = self._zoomed and name == "picture"
        self._chosen = name
        if name in LISTS:
            self._listed = name
        if self.focused is not None and self.pane(name) not in self.focused.ancestors_with_self:
            self.set_focus(None)  # at once: a pane that is hidden first gives the focus to the next
        self.arrange_panes()
        self.focus_pane(self.pane(name))

    def focus_pane(self, pane: Widget) -> None:
        """Focus what takes keys in a pane."""
        pane.focus()

    def zoom(self, zoomed: bool) -> None:
        """Give the picture the whole screen, or take it back."""
        self._zoomed = zoomed
        self.arrange_panes()
        if zoomed:
            self.pane("picture").focus()
        else:
            self.focus_pane(self.pane(self._chosen))

    def next_pane(self, step: int) -> None:
        """Go so many panes on, round and round; from nowhere to the prompt."""
        here = next((place for place, name in enumerate(PANES) if self.pane(name).has_focus_within), None)
        self.go_to("prompt" if here is None else PANES[(here + step) % len(PANES)])

    @on(TabBar.Chosen)
    def _go_to_tab(self, event: TabBar.Chosen) -> None:
        for name in PANES:
            if name == event.name:
                self.go_to(name)
