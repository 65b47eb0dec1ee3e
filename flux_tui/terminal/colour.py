"""How many colours the terminal shows, as far as its environment, its name and tmux tell.

Asks nothing itself. A wrong guess upwards is garbage or black on black, one downwards is only less pretty: where
nothing speaks for true colour, it is 256 or 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from flux_tui.terminal.tmux import Tmux

Colours = Literal["truecolor", "256", "16", "none"]

SPEECHLESS = ("", "dumb", "unknown")  # a TERM that obeys no escape code
TRUE_COLOUR_TERMS = ("xterm-kitty", "xterm-ghostty", "ghostty", "alacritty", "foot", "wezterm", "contour", "rio")
# First words of what terminals answer to XTVERSION; over ssh this is often all there is, since COLORTERM stays behind.
TRUE_COLOUR_NAMES = (
    "kitty", "ghostty", "wezterm", "foot", "iterm2", "vte", "konsole", "contour", "mintty", "xterm.js", "rio",
)  # fmt: skip


def depth(env: Mapping[str, str], name: str = "", tmux: Tmux | None = None) -> Colours:
    """What the terminal can show; NO_COLOR is a wish, not an ability, and is the caller's.

    Args:
        env: the environment: TERM, COLORTERM, STY (GNU screen).
        name: what the terminal answered to XTVERSION, "" if nothing.
        tmux: what tmux said, when it is around the program.
    """
    term = env.get("TERM", "")
    if term in SPEECHLESS:
        return "none"
    if tmux:
        return "truecolor" if tmux.true_colour else "256"
    if _says_true_colour(env, term, name):
        return "truecolor"
    return "256" if "256" in term or name else "16"  # what is new enough to have a name has 256; xterm's TERM hides it


def _says_true_colour(env: Mapping[str, str], term: str, name: str) -> bool:
    if "STY" in env:  # GNU screen hands COLORTERM on from the terminal around it, and garbles the codes
        return False
    return (
        env.get("COLORTERM", "").lower() in ("truecolor", "24bit")
        or term.endswith("-direct")
        or term.startswith(TRUE_COLOUR_TERMS)
        or name.lower().startswith(TRUE_COLOUR_NAMES)
    )
