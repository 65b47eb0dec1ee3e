"""Every key, once: its id, what it does, and what the help and the palette say of it.

No key here needs the kitty protocol: legacy terminals and tmux deliver all of them but Ctrl+Enter, which is there for
those that can send it. Generate has no priority over the panes: what was typed before F5 in the same burst is then in
the prompt when F5 is acted upon. The keys that move the focus have it: what is typed after them goes to the new place.
"""

from __future__ import annotations

from textual.binding import Binding

SCREEN_KEYS = (
    Binding(
        "f5,ctrl+g,ctrl+enter",
        "generate",
        "Generate",
        key_display="F5",
        id="generate",
        tooltip="Paint the prompt with these settings; while a picture is being painted, queue it",
    ),
    Binding(
        "f9",
        "cancel",
        "Cancel",
        key_display="F9",
        id="cancel",
        tooltip="Stop the picture being painted, after the current step",
        priority=True,
    ),
    Binding(
        "ctrl+x",
        "cancel",
        "Cancel",
        show=False,
        id="cancel-outside-editor",
        tooltip="The same as F9, where no text is being edited",
    ),
    Binding(
        "f6",
        "next_pane(1)",
        "Panes",
        key_display="F6",
        id="next-pane",
        tooltip="Go from prompt to settings to history",
        priority=True,
    ),
    Binding(
        "shift+f6",
        "next_pane(-1)",
        "Previous pane",
        show=False,
        id="previous-pane",
        tooltip="Go the other way round",
        priority=True,
    ),
    Binding("f3", "zoom", "Zoom", key_display="F3", id="zoom", tooltip="Give the picture the whole screen, and back"),
)

APP_KEYS = (
    Binding(
        "f1",
        "help",
        "Help",
        key_display="F1",
        id="help",
        tooltip="Show the keys, the settings and the folders",
        priority=True,
    ),
    Binding(
        "ctrl+p,f2",
        "command_palette",
        "Palette",
        key_display="^P",
        id="palette",
        tooltip="Find any action by its name",
        priority=True,
    ),
    Binding(
        "ctrl+q",
        "quit",
        "Quit",
        key_display="^Q",
        id="quit",
        tooltip="End the program; a picture being painted is given up",
        priority=True,
    ),
    Binding("ctrl+c", "help_quit", show=False, system=True),
)


def written(keys: str) -> str:
    """Keys as people write them: "F5  Ctrl+G"."""
    return "  ".join("+".join(part.capitalize() for part in key.split("+")) for key in keys.split(","))
