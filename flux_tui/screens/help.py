"""Help: sections of names and what they mean, taken from the tables that the program itself uses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from flux_tui.screens.modal import Modal
from flux_tui.widgets.key_footer import KeyFooter

Section = tuple[str, Sequence[tuple[str, str]]]
"""A heading, and (name, what it means) pairs."""


class HelpScreen(Modal[None]):
    """Help, scrollable.

    Args:
        sections: from the top.
        title: of the box.
    """

    # Transparent: a tint would change the colour that carries a kitty picture's number, and the picture would go.
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        background: transparent;
        & > VerticalScroll {
            width: 100; max-width: 100%; height: 100%; max-height: 44;
            border: round $accent; border-title-color: $text-accent; background: $background; padding: 1 0 1 2;
            scrollbar-size-vertical: 1; scrollbar-gutter: stable;
        }
        &.-narrow _HelpRow { layout: vertical; }
        &.-narrow _HelpRow > * { width: 1fr; }
        &.-narrow _HelpRow > .text { padding: 0 0 0 2; }
    }
    """

    BINDINGS: ClassVar = [
        Binding(
            "f1,escape,q,question_mark",
            "dismiss",
            "Close",
            key_display="Esc",
            id="close-help",
            tooltip="Close this help",
        ),
    ]

    def __init__(self, sections: Sequence[Section], title: str = "Help") -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-normal")]  # from where on words fit beside names
        self._sections = sections
        self._title = title

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._title
            for heading, rows in self._sections:
                yield Static(Content.styled(heading, "bold $text-accent"))
                for name, text in rows:
                    yield _HelpRow(name, text)
                yield Static()
        yield KeyFooter()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class _HelpRow(Static):
    DEFAULT_CSS = """
    _HelpRow { layout: horizontal; height: auto; }
    _HelpRow > .name { width: 25; padding: 0 1 0 0; }
    _HelpRow > .text { width: 1fr; color: $text-muted; }
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self._name_text, self._text = name, text

    def compose(self) -> ComposeResult:
        yield Static(self._name_text, classes="name", markup=False)
        yield Static(self._text, classes="text", markup=False)
