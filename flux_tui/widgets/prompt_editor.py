"""The prompt's editor: a text area with this program's keys, a bound on its length, and no sign that terminals obey.

Knows keys and text; what running, searching or leaving means is the screen's.
"""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Offset
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

from flux_tui.metadata import harmless
from flux_tui.widgets.prompt_keys import EDITING_KEYS, PROMPT_KEYS

MAX_CHARACTERS = 32_768  # T5 reads 512 tokens, 2,500 or so; every key in a line of a megabyte takes 2 s to paint


class PromptEditor(TextArea, inherit_bindings=False):
    """An editor for a prompt or a negative prompt, of up to `MAX_CHARACTERS`; what goes beyond them is left out."""

    BINDINGS: ClassVar = [*PROMPT_KEYS, *EDITING_KEYS]

    DEFAULT_CSS = """
    PromptEditor {
        border: none;
        &:focus { border: none; }
        padding: 0;
        background: $background;
        scrollbar-size-vertical: 1;
        .text-area--cursor-line { background: transparent; }
    }
    """

    def __init__(self, text: str = "", *, id: str | None = None) -> None:
        text = harmless(text)[:MAX_CHARACTERS]
        super().__init__(text, soft_wrap=True, show_line_numbers=False, tab_behavior="focus", id=id)
        self.cursor_blink = False  # a blinking cursor sends bytes for ever
        self.match_cursor_bracket = False  # a prompt is no program, and the search goes through all of it
        self.move_cursor(self.document.end)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another character."""
        return len(self.text) >= MAX_CHARACTERS

    def put_back(self, text: str) -> None:
        """Replace the whole text; one undo brings the old one back."""
        if harmless(text) == self.text:
            return
        self.history.checkpoint()
        self.replace(text, self.document.start, self.document.end, maintain_selection_offset=False)
        self.move_cursor(self.document.end)

    def edit(self, edit: Edit) -> EditResult:
        """Do an edit, with as much of its text as there is room for and without what a terminal would obey."""
        replaced = self.get_text_range(edit.top, edit.bottom)
        room = MAX_CHARACTERS - len(self.text) + len(replaced)
        edit.text = harmless(edit.text)[: max(room, 0)]
        return super().edit(edit)

    def scroll_cursor_visible(self, center: bool = False, animate: bool = False) -> Offset:
        """Scroll to the cursor, unless it is yet to follow a text that became shorter.

        Textual 8.2 asks for it amid an undo or a redo that takes the scrollbar away, and moves the cursor afterwards.
        """
        if self.clamp_visitable(self.cursor_location) != self.cursor_location:
            return Offset()
        return super().scroll_cursor_visible(center, animate)

    def action_newline(self) -> None:
        """Begin a new line."""
        self.replace("\n", *self.selection, maintain_selection_offset=False)
