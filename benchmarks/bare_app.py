"""The least Textual app that can be typed into: what the toolkit itself takes, to set ours beside."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static, TextArea

from benchmarks.link import WELCOME


class BareApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Static(WELCOME.decode())
        area = TextArea()
        area.cursor_blink = False  # as in ours: nothing is sent at rest
        yield area

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()


if __name__ == "__main__":
    BareApp().run()
