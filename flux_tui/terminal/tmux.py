"""tmux: what it says of itself and of the terminal around it, and the wrapping that takes an escape code out to that.

Knows tmux's command and its formats, checked with 3.3a and 3.5a; knows nothing of the terminal that the app itself
writes to. It is asked by its command, not through the screen: tmux answers device attributes and cursor reports itself,
whatever is around it, and takes a kitty query for a pane title.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

PATIENCE_S = 1.0  # an answer takes 5 ms; a server that is stopped or swapped out takes for ever
NO_PASSTHROUGH = ("0", "off")  # 3.3a says 0, later ones off; before 3.3 the option is not there and all is let through

_FORMAT = "|".join(
    f"#{{{name}}}"
    for name in (
        "version",
        "client_tty",
        "client_termname",
        "client_termtype",
        "client_utf8",
        "client_cell_width",
        "client_cell_height",
        "client_termfeatures",
        "allow-passthrough",
    )
)


@dataclass(frozen=True)
class Tmux:
    """What tmux says.

    Attributes:
        version: as it writes it, "3.3a".
        outer: what the terminal around it calls itself, "kitty(0.35.2)"; else that terminal's TERM; "" if detached.
        features: of that terminal, as tmux names them ("RGB", "clipboard", "sixel").
        true_colour: whether it passes 24-bit colours on to that terminal; else it makes 256 of them.
        passthrough: whether this pane may send escape codes through.
        utf8: whether it writes UTF-8 to that terminal, or none is attached.
        cell_px: (width, height) of one cell there; None if unknown.
    """

    version: str
    outer: str
    features: frozenset[str]
    true_colour: bool
    passthrough: bool
    utf8: bool
    cell_px: tuple[int, int] | None


def is_inside(env: Mapping[str, str]) -> bool:
    """Whether the program runs in a pane of a tmux on this machine."""
    return bool(env.get("TMUX"))


def ask(env: Mapping[str, str]) -> Tmux | None:
    """Ask the tmux around this program; None when it does not answer, or not in its own words."""
    answer = run(["display-message", "-p", _FORMAT], env)
    fields = re.sub(r"[^ -~]", "", answer or "").split("|")  # printable ASCII: a terminal's name comes from outside
    if len(fields) != 9:
        return None
    version, tty, term, kind, utf8, width, height, listed, passthrough = fields
    features = frozenset(listed.split(",")) - {""}
    return Tmux(
        version=version,
        outer=kind or term,
        features=features,
        true_colour="RGB" in features or _sets_true_colour(tty, env),
        passthrough=passthrough not in NO_PASSTHROUGH,
        utf8=utf8 != "0",
        cell_px=(int(width), int(height)) if width.isdecimal() and height.isdecimal() and width != "0" else None,
    )


def _sets_true_colour(tty: str, env: Mapping[str, str]) -> bool:
    """Whether the terminal's own description lets tmux do it: as for kitty and alacritty, without an "RGB" anywhere."""
    terminals = re.split(r"(?m)^Terminal ", run(["show-messages", "-T"], env) or "")
    return any(f" for {tty}," in terminal and "setrgbf: (string)" in terminal for terminal in terminals)


def run(arguments: list[str], env: Mapping[str, str], given: str = "") -> str | None:
    """Run a tmux command with `given` on its stdin; its stdout, or None when there is no tmux, it fails or it hangs."""
    try:
        done = subprocess.run(
            ["tmux", *arguments],
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=dict(env),
            timeout=PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def through(escapes: str) -> str:
    """The escape codes wrapped so that tmux passes them on to the terminal around it; see `Tmux.passthrough`.

    One wrapping holds at most 1 MB, tmux's buffer for one code: wrap the parts of a picture one by one.
    """
    return "\x1bPtmux;" + escapes.replace("\x1b", "\x1b\x1b") + "\x1b\\"
