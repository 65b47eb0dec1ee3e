"""Calling a person back to the terminal: a bell or a desktop notification, as escape codes. Nothing is written here."""

from __future__ import annotations

import re
from typing import Literal

from flux_tui.terminal import tmux

NoticeKind = Literal["off", "bell", "osc9", "osc777"]

BELL = "\x07"
MAX_CHARS = 200  # of a body; desktops show less

_UNSPEAKABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]+")


def notice(kind: NoticeKind, title: str, body: str, *, passthrough: bool = False) -> str:
    """The escape code that calls, "" for "off".

    Args:
        kind: "bell" rings; "osc9" (iTerm2, kitty, Ghostty, WezTerm) and "osc777" (foot, Ghostty, VTE, urxvt) notify.
        title, body: plain text; control characters become spaces, and what is too long is cut.
        passthrough: wrap the notification for tmux, which knows neither. A bell it knows, and passes on.
    """
    title, body = _plain(title), _plain(body)
    if kind == "off":
        return ""
    if kind == "bell":
        return BELL
    # A semicolon would part the fields, or make the text one of ConEmu's commands: "9;4" is a progress bar.
    fields = f"777;notify;{title};{body}" if kind == "osc777" else "9;" + ": ".join(filter(None, (title, body)))
    code = f"\x1b]{fields}{BELL}"
    return tmux.through(code) if passthrough else code


def _plain(text: str) -> str:
    words = _UNSPEAKABLE.sub(" ", text[: 4 * MAX_CHARS]).strip().replace(";", ",")
    return words if len(words) <= MAX_CHARS else words[: MAX_CHARS - 1] + "…"
