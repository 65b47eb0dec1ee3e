"""The keys of the prompt: those of its editor, of its pane, and those about it that work in every pane.

Each has an id, by which the config gives it other keys, and a tooltip for the help where it is this program's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from textual.binding import Binding
from textual.widgets import TextArea

PROMPT_KEYS = (
    Binding(
        "enter",
        "screen.generate",
        "Generate",
        show=False,
        id="generate-from-prompt",
        tooltip="The same as F5, where a prompt is being typed",
    ),
    Binding(
        "ctrl+j,shift+enter,alt+enter",
        "newline",
        "New line",
        show=False,
        id="newline",
        tooltip="Begin a new line in the prompt",
    ),
    Binding(
        "escape",
        "screen.leave_editor",
        "Leave the prompt",
        show=False,
        id="leave-editor",
        tooltip="Leave the prompt, for keys that are single letters",
    ),
)

ENTER_MAKES_NEWLINE = {"generate-from-prompt": "ctrl+j", "newline": "enter,shift+enter,alt+enter"}
"""The keymap that swaps Enter and Ctrl+J."""

PANE_KEYS = (
    Binding(
        "alt+up,ctrl+up",
        "older_prompt",
        "Older prompt",
        show=False,
        id="older-prompt",
        tooltip="Bring back the prompt that was run before this one",
    ),
    Binding(
        "alt+down,ctrl+down",
        "newer_prompt",
        "Newer prompt",
        show=False,
        id="newer-prompt",
        tooltip="Go on to the prompt that was run after this one, and to the draft at last",
    ),
)

PROMPT_SCREEN_KEYS = (
    Binding(
        "ctrl+r",
        "search_prompts",
        "Search prompts",
        key_display="^R",
        show=False,
        id="search-prompts",
        tooltip="Find a prompt among all that were ever run",
    ),
    Binding(
        "ctrl+t",
        "pick_style",
        "Style",
        key_display="^T",
        show=False,
        id="pick-style",
        tooltip="Put the prompt into a style",
    ),
    Binding(
        "f8",
        "edit_outside",
        "Editor",
        key_display="F8",
        show=False,
        id="edit-outside",
        tooltip="Edit the prompt in $VISUAL or $EDITOR",
    ),
)
"""Keys about the prompt that work in every pane; their actions are the screen's."""

_TAKEN = ("f6", "f7")  # they select text in a TextArea; here F6 goes to the next pane
_MORE_KEYS = {
    "cursor_word_left": ("alt+left",),  # Alt+B and Alt+F arrive as Ctrl+Left and Ctrl+Right
    "cursor_word_right": ("alt+right",),
    "cursor_word_left(True)": ("alt+shift+left",),
    "cursor_word_right(True)": ("alt+shift+right",),
    "delete_word_right": ("ctrl+delete", "alt+d"),
    "select_all": ("alt+a",),  # Ctrl+A goes to the start of the line, as in a shell
}


def _editing_keys() -> Iterator[Binding]:
    """TextArea's keys and some more, each with an id: "editor-undo", "editor-select-word-left"."""
    for binding in TextArea.BINDINGS:
        assert isinstance(binding, Binding)
        keys = [key for key in binding.key.split(",") if key not in _TAKEN]
        keys += _MORE_KEYS.get(binding.action, ())
        name = binding.action.replace("cursor", "select") if "(True)" in binding.action else binding.action
        if keys:
            id = f"editor-{name.removesuffix('(True)').replace('_', '-')}"
            yield replace(binding, key=",".join(keys), id=id)


EDITING_KEYS = tuple(_editing_keys())
