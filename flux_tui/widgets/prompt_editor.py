"""The prompt: a multi-line editor with soft wrap. Enter makes a newline; the screen's keys generate."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.widgets import TextArea


class PromptEditor(TextArea, inherit_bindings=False):
    """The prompt pane."""

    # F6 and F7 select text in a TextArea; here F6 goes to the next pane.
    BINDINGS: ClassVar = [
        binding for binding in TextArea.BINDINGS if isinstance(binding, Binding) and binding.key not in ("f6", "f7")
    ]

    DEFAULT_CSS = """
    PromptEditor {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        background: $background;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        &:focus { border: round $accent; border-title-color: $text-accent; }
        &.-fault { border: round $error; border-subtitle-color: $text-error; }
        .text-area--cursor-line { background: transparent; }
    }
    """

    def __init__(self, text: str = "", *, id: str | None = None) -> None:
        super().__init__(text, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", id=id)
        self.border_title = "Prompt"
        self.cursor_blink = False  # a blinking cursor sends bytes for ever

    def put_back(self, prompt: str) -> None:
        """Replace the whole prompt; one undo brings the old one back."""
        self.replace(prompt, self.document.start, self.document.end)
        self.move_cursor(self.document.end)
        self.say("")

    def say(self, fault: str) -> None:
        """Mark the pane with what is wrong with the prompt; "" takes the mark away."""
        self.set_class(bool(fault), "-fault")
        self.border_subtitle = fault

    def on_text_area_changed(self) -> None:
        if self.text.strip():
            self.say("")
