"""The prompt's editor: a text area with this program's keys, a bound on its length, and no sign that terminals obey.

Knows keys and text; what running, searching or leaving means is the screen's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.geometry import Offset
from textual.widgets import TextArea
from textual.widgets.text_area import Edit, EditResult

from flux_tui.metadata import harmless
from flux_tui.widgets.prompt_keys import EDITING_KEYS, PROMPT_KEYS

MAX_CHARACTERS = 32_768  # T5 reads 512 tokens, 2,500 or so; every key in a line of a megabyte takes 2 s to paint


@dataclass
class _PutBack(Edit):
    """A whole text; one with the same `joint` in the twin is undone and redone with it."""

    joint: object = None


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
        self.twin: PromptEditor | None = None  # has the other part of what is put back into both
        self.cursor_blink = False  # a blinking cursor sends bytes for ever
        self.match_cursor_bracket = False  # a prompt is no program, and the search goes through all of it
        self.move_cursor(self.document.end)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another character."""
        return len(self.text) >= MAX_CHARACTERS

    def put_back(self, text: str, joint: object = None) -> None:
        """Replace the whole text; one undo brings the old one back.

        Args:
            text: the new one.
            joint: given to the twin, too, makes one step of both for undo and redo.
        """
        if harmless(text) == self.text and joint is None:
            return
        self.history.checkpoint()
        self.edit(_PutBack(text, self.document.start, self.document.end, False, joint))
        self.move_cursor(self.document.end)

    def undo(self) -> None:
        """Undo the last step, in the twin too if it was one of both."""
        if self.twin and _are_joint(self.history.undo_stack, self.twin.history.undo_stack):
            super(PromptEditor, self.twin).undo()
        super().undo()

    def redo(self) -> None:
        """Do again what was undone last, in the twin too if it was one step of both."""
        if self.twin and _are_joint(self.history.redo_stack, self.twin.history.redo_stack):
            super(PromptEditor, self.twin).redo()
        super().redo()

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


def _are_joint(*stacks: Sequence[Sequence[Edit]]) -> bool:
    """Whether the steps on top of two stacks were one."""
    mine, other = (stack[-1][0] if stack else None for stack in stacks)
    return (
        isinstance(mine, _PutBack)
        and isinstance(other, _PutBack)
        and mine.joint is not None
        and mine.joint is other.joint
    )
