"""The keys of the history, and those of them that are about one picture: they work in the picture pane, too."""

from __future__ import annotations

from textual.binding import Binding

ONE_PICTURE_KEYS = (
    Binding("a", "recall('all')", "Recall", id="recall-all", tooltip="Put prompt and settings back, seed and all"),
    Binding("p", "recall('prompt')", "Prompt", show=False, id="recall-prompt", tooltip="Put the prompt back"),
    Binding("S", "recall('seed')", "Seed", show=False, id="recall-seed", tooltip="Put the seed back"),
    Binding("r", "recall('remix')", "Remix", show=False, id="remix", tooltip="Put all back but the seed"),
    Binding("d", "recall('size')", "Size", show=False, id="recall-size", tooltip="Put width and height back"),
    Binding("full_stop", "star", "Star", key_display=".", id="star", tooltip="Star the picture, or not any more"),
    Binding("delete", "discard", "Trash", key_display="Del", id="discard", tooltip="Move the picture to the trash"),
)
"""What can be done with one picture."""

RESTORE_KEY = Binding(
    "u",
    "screen.restore",
    "Back",
    show=False,
    id="restore",
    tooltip="Bring back the picture that went to the trash last",
)

HISTORY_KEYS = (
    Binding("enter", "open", "Open", key_display="Enter", id="open-picture", tooltip="Show the picture large"),
    *ONE_PICTURE_KEYS,
    RESTORE_KEY,
    Binding("f", "filter", "Starred", show=False, id="only-starred", tooltip="Show starred pictures only, or all"),
    Binding("v", "look", "View", show=False, id="history-look", tooltip="Show rows, cards or tiles"),
    Binding("down,j", "rows(1)", "Down", show=False, id="history-down", tooltip="Go to the next row"),
    Binding("up,k", "rows(-1)", "Up", show=False, id="history-up", tooltip="Go to the row before"),
    Binding("right,l", "sideways(1)", "Right", show=False, id="history-right", tooltip="Go to the next tile"),
    Binding("left,h", "sideways(-1)", "Left", show=False, id="history-left", tooltip="Go to the tile before"),
    Binding("pagedown", "page(1)", "Page down", show=False, id="history-page-down", tooltip="Go a page down"),
    Binding("pageup", "page(-1)", "Page up", show=False, id="history-page-up", tooltip="Go a page up"),
    Binding("home", "newest", "Newest", show=False, id="history-newest", tooltip="Go to the newest picture"),
    Binding("end", "oldest", "Oldest", show=False, id="history-oldest", tooltip="Go to the oldest picture"),
)
