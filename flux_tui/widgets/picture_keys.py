"""The keys of the picture pane: from one picture of the history to the next, and what can be done with the one on show.

The latter are the history's own keys, with their ids: whoever gives one another place finds it there in both panes.
Their actions are the screen's.
"""

from __future__ import annotations

from dataclasses import replace

from textual.binding import Binding

from flux_tui.widgets.history_keys import ONE_PICTURE_KEYS, RESTORE_KEY

PICTURE_KEYS = (
    *(replace(each, action=f"screen.{each.action}") for each in ONE_PICTURE_KEYS),
    RESTORE_KEY,
    Binding(
        "down,right,j,l",
        "screen.walk(1)",
        "Older",
        show=False,
        id="older-picture",
        tooltip="Show the picture that was made before this one",
    ),
    Binding(
        "up,left,k,h",
        "screen.walk(-1)",
        "Newer",
        show=False,
        id="newer-picture",
        tooltip="Show the picture that was made after this one, the one being painted at last",
    ),
)
