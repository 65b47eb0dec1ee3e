"""F1: the keys, the settings and the folders, taken from the tables that the program itself uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from flux_tui.settings import FORM_FIELDS


class HelpScreen(ModalScreen[None]):
    """Help, scrollable.

    Args:
        keys: (key, what it does) pairs.
        folders: (name, path) pairs.
    """

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        & > VerticalScroll {
            width: 100; max-width: 100%; height: 100%; max-height: 44;
            border: round $accent; border-title-color: $text-accent; background: $background; padding: 1 2;
            scrollbar-size-vertical: 1;
        }
    }
    """

    BINDINGS: ClassVar = [
        Binding("f1,escape,q", "app.pop_screen", "Close", key_display="F1", id="close-help", tooltip="Close this help"),
    ]

    def __init__(self, keys: Iterable[tuple[str, str]], folders: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._sections = (
            ("Keys", list(keys)),
            ("Settings", [(field.label, field.help) for field in FORM_FIELDS]),
            ("Folders", list(folders)),
        )

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            for title, rows in self._sections:
                yield Static(Content.styled(title, "bold $text-accent"))
                for name, text in rows:
                    yield _HelpRow(name, text)
                yield Static()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()


class _HelpRow(Static):
    DEFAULT_CSS = """
    _HelpRow { layout: horizontal; height: auto; }
    _HelpRow > .name { width: 25; }
    _HelpRow > .text { width: 1fr; color: $text-muted; }
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__()
        self._name_text, self._text = name, text

    def compose(self) -> ComposeResult:
        yield Static(self._name_text, classes="name", markup=False)
        yield Static(self._text, classes="text", markup=False)
