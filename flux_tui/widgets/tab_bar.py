"""One line of panes' names, one of them chosen: which pane shows where there is room for one only.

It says which was clicked; the keys, and what shows, are the screen's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Static

from flux_tui.layout import PANES, Pane

FULL = {pane: pane.capitalize() for pane in PANES}
SHORT = FULL | {"prompt": "Prom", "settings": "Set", "picture": "Pic", "history": "Hist"}
INITIAL = {pane: FULL[pane][0] for pane in PANES}


class TabBar(Horizontal):
    """The tabs. None is shown before some are offered."""

    DEFAULT_CSS = """
    TabBar { height: 1; width: 1fr; background: $background; overflow: hidden; }
    """

    @dataclass
    class Chosen(Message):
        """A tab was clicked; the bar shows it as chosen already."""

        name: Pane

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.tabs = {pane: _Tab(pane) for pane in PANES}
        """Each pane's tab, a widget whose id is "tab-" and the pane's name."""
        self._marks = dict.fromkeys(PANES, "")
        self._offered: tuple[Pane, ...] = ()
        self._chosen: Pane | None = None
        self._room = 0

    def compose(self) -> ComposeResult:
        yield from self.tabs.values()

    def on_resize(self, event: events.Resize) -> None:
        self._room = event.size.width
        self._fit()

    def offer(self, names: Iterable[Pane], room: int | None = None) -> None:
        """Show the tabs of these panes, and no others.

        Args:
            room: cells that the bar will have; Textual tells a bar that was hidden of no new size.
        """
        self._offered = tuple(names)
        self._room = self._room if room is None else room
        self._fit()

    def choose(self, name: Pane) -> None:
        """Show another tab as the chosen one."""
        self._chosen = name
        self._fit()

    def mark(self, name: Pane, mark: str) -> None:
        """Put a count beside a name; "" takes it away."""
        if mark != self._marks[name]:
            self._marks[name] = mark
            if name in self._offered:
                self._fit()

    def _fit(self) -> None:
        """Write every name as long as there is room for all: in full, short, or its first letter."""
        fitting = (names for names in (FULL, SHORT, INITIAL) if self._width(names) <= self._room)
        names = next(fitting, INITIAL)
        for pane, tab in self.tabs.items():
            tab.display = pane in self._offered
            if tab.display:
                tab.write(self._text(pane, names), chosen=pane == self._chosen)

    def _width(self, names: Mapping[Pane, str]) -> int:
        return sum(len(self._text(pane, names)) + 2 for pane in self._offered)

    def _text(self, pane: Pane, names: Mapping[Pane, str]) -> str:
        return f"{names[pane]} {self._marks[pane]}".rstrip()

    def on__tab_clicked(self, event: _Tab.Clicked) -> None:
        event.stop()
        self.choose(event.name)
        self.post_message(self.Chosen(event.name))


class _Tab(Static):
    """One name; underlined when it is chosen, since colours may be missing."""

    DEFAULT_CSS = """
    _Tab { width: auto; height: 1; padding: 0 1; color: $text-muted; }
    _Tab:hover { color: $foreground; }
    _Tab.-chosen { color: $text-accent; text-style: bold underline; }
    """

    ALLOW_SELECT = False

    @dataclass
    class Clicked(Message):
        """The tab was clicked."""

        name: Pane

    def __init__(self, pane: Pane) -> None:
        super().__init__(id=f"tab-{pane}", markup=False)
        self._pane = pane

    def write(self, text: str, *, chosen: bool) -> None:
        """Show a name; repaints only what is new, and lays out anew only what has another width."""
        self.set_class(chosen, "-chosen")
        if text != self.content:
            self.update(text, layout=len(text) != len(str(self.content)))

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self._pane))
