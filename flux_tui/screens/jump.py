"""Jump mode: a letter at the corner of every place that one can go to; its key, or a click, goes there.

It lies over another screen and takes its places from there; it moves no focus itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.geometry import Offset, Region
from textual.widget import Widget
from textual.widgets import Static

from flux_tui.screens.modal import Modal
from flux_tui.widgets.key_footer import KeyFooter


class JumpScreen(Modal[str | None]):
    """The letters. Ends with the id of the widget that was asked for, or None.

    Args:
        targets: (key, widget) pairs; a key is one sign, as it is typed, a widget has an id. What the screen does not
            show at the moment gets no letter, and its key does nothing.
    """

    # Transparent: a tint would change the colour that carries a kitty picture's number, and the picture would go.
    DEFAULT_CSS = """
    JumpScreen { background: transparent; overflow: hidden; }
    """

    BINDINGS: ClassVar = [
        Binding("escape", "dismiss", "Back", key_display="Esc", id="leave-jump", tooltip="Go nowhere"),
    ]

    def __init__(self, targets: Iterable[tuple[str, Widget]]) -> None:
        super().__init__()
        self._labels = {key: _Label(key, widget) for key, widget in targets}

    def compose(self) -> ComposeResult:
        yield from self._labels.values()
        yield KeyFooter()

    def on_mount(self) -> None:
        self._place()
        for screen in {label.target.screen for label in self._labels.values()}:
            screen.screen_layout_refresh_signal.subscribe(self, lambda _: self._place())

    def _place(self) -> None:
        for label in self._labels.values():
            label.place()

    def on_key(self, event: events.Key) -> None:
        label = self._labels.get(event.character or "")
        if label is not None and label.display:
            event.stop()
            self.dismiss(label.target.id)

    def on_click(self, event: events.Click) -> None:
        clicked, _ = self.get_widget_at(*event.screen_offset)
        self.dismiss(clicked.target.id if isinstance(clicked, _Label) else None)


class _Label(Static):
    # On $warning black or white has a contrast of 4.6 at least in all of Textual's themes; on $accent it falls to 4.4.
    DEFAULT_CSS = """
    _Label {
        position: absolute; width: 3; height: 1;
        background: $warning; color: auto 100%; text-style: bold;
        &:nocolor:ansi { text-style: bold reverse; }
    }
    """

    ALLOW_SELECT = False

    def __init__(self, key: str, target: Widget) -> None:
        super().__init__(f" {key} ", markup=False)
        self.target = target

    def place(self) -> None:
        """Go to the target's corner; away, when that is not to be seen."""
        corner = self.target.region.offset
        self.display = self.target.is_on_screen and self._seen.contains_point(corner)
        self.styles.offset = Offset(min(corner.x, self.target.screen.size.width - 3), corner.y)

    @property
    def _seen(self) -> Region:
        """What is to be seen of the target: to Textual, a row that a frame has scrolled away is on the screen, too."""
        screen = self.target.screen
        return screen.find_widget(self.target).visible_region.intersection(screen.size.region)
