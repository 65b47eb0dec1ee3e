"""The line of keys at the bottom: what can be pressed here and now, each entry whole or not at all.

Textual's own footer cuts the last entry at the edge, puts a key that the config has changed behind the others, and
makes a widget of each entry anew at every move of the focus. This one is a single widget, drawn again only when its
entries change. Knows no binding in particular but those that stay when there is little room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.dom import DOMNode
from textual.reactive import reactive
from textual.screen import Screen
from textual.widget import Widget

from flux_tui.config import UNBOUND
from flux_tui.keys import written

STAYING = ("keymap", "quit", "lora-done")
"""Ids of the keys that are dropped last: the one that shows all the others, and the ways out."""


class Entry(NamedTuple):
    """One key of the line: Textual's name for it, the same as people write it, what it does, and its action's id."""

    key: str
    shown: str
    words: str
    id: str | None

    @property
    def width(self) -> int:
        """In cells, with the space around."""
        return Content(f" {self.shown} {self.words} ").cell_length


class KeyFooter(Widget, can_focus=False):
    """Shows the keys of the focused pane, of the screen and of the app, in that order; a click presses one."""

    ALLOW_SELECT = False

    DEFAULT_CSS = """
    KeyFooter {
        dock: bottom; height: 1; pointer: pointer;
        color: $footer-description-foreground; background: $footer-background;
    }
    """

    entries: reactive[tuple[Entry, ...]] = reactive(())
    """All that apply, whether or not there is room for them."""

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._look)

    def _look(self, screen: Screen[object]) -> None:
        if self.is_attached:
            self.entries = tuple(entries_of(screen))

    def render(self) -> Content:
        key_style = "bold $footer-key-foreground on $footer-key-background"
        parts = [(f" {entry.shown} ", key_style) for entry in self._fitting]
        words = [f"{entry.words} " for entry in self._fitting]
        return Content.assemble(*(piece for pair in zip(parts, words, strict=True) for piece in pair))

    def on_click(self, event: events.Click) -> None:
        """Press the key that was pointed at."""
        x = event.x
        for entry in self._fitting:
            if 0 <= x < entry.width:
                self.app.simulate_key(entry.key)
            x -= entry.width

    @property
    def _fitting(self) -> list[Entry]:
        return fitting(self.entries, self.size.width)


def fitting(entries: Iterable[Entry], width: int) -> list[Entry]:
    """Those that `width` cells hold, whole: the last ones go first, and those of `STAYING` after all others."""
    left = list(entries)
    for entry in sorted(reversed(left), key=lambda entry: entry.id in STAYING):
        if sum(each.width for each in left) > width:
            left.remove(entry)
    return left


def entries_of(screen: Screen[object]) -> Iterator[Entry]:
    """The keys that a screen offers now, each action once, in the order in which their owners name them.

    Textual has left out those that would be typed as text.
    """
    by_owner: dict[DOMNode, list[Binding]] = {}
    for active in screen.active_bindings.values():
        if active.binding.show and active.enabled and active.binding.key != UNBOUND:
            by_owner.setdefault(active.node, []).append(active.binding)
    actions = set()
    for owner, bindings in by_owner.items():
        for binding in sorted(bindings, key=lambda binding, owner=owner: _place(owner, binding)):  # type: ignore[misc]
            if binding.action not in actions:
                actions.add(binding.action)
                yield Entry(binding.key, binding.key_display or written(binding.key), binding.description, binding.id)


def _place(owner: DOMNode, binding: Binding) -> int:
    """Where its owner's class names it: a keymap moves what it changes to the end."""
    ids = [each.id for kind in type(owner).__mro__ for each in vars(kind).get("BINDINGS", ()) if hasattr(each, "id")]
    return ids.index(binding.id) if binding.id in ids else len(ids)
