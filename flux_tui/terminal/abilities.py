"""What a terminal can do, judged from what it answered, what tmux says and what the environment tells.

Pure. Guesses where nothing answered, and says in `notes` what would make the guess better; who knows better replaces a
field.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from flux_tui.terminal.answers import SIXEL, Answers
from flux_tui.terminal.colour import Colours, depth
from flux_tui.terminal.tmux import Tmux, is_inside

Graphics = Literal["kitty", "sixel", "half", "half256", "text"]
WantedGraphics = Literal["auto", Graphics]

PLACEHOLDERS_SINCE = (0, 28)  # kitty's version; Debian 12 has 0.26


@dataclass(frozen=True)
class Abilities:
    """What a terminal can do.

    Attributes:
        kitty: it takes pictures by kitty's graphics protocol, itself or through tmux.
        placeholders: it is known to draw them where U+10EEEE stands, which is how they are shown; others that take them
            (WezTerm, Konsole, kitty before 0.28) show boxes there.
        sixel: it takes sixels.
        cell_px: (width, height) of a cell in pixels; None if unknown.
        true_colour: it shows 24-bit colours.
        colours: what to use: as many as it shows, but none when NO_COLOR is set.
        utf8: what is written arrives as UTF-8.
        tmux: tmux is in between.
        tmux_version: of a tmux that could be asked, else "".
        passthrough: that tmux lets escape codes through.
        outer: what is around that tmux, as far as it knows.
        ssh: the program runs at the far end of an SSH connection.
        name: what it calls itself.
        rtt_s: seconds until it answered; None if it did not, or was not asked.
        notes: hints for a person, one line each.
        typed: keys that were pressed while it was asked, as the terminal sent them.
    """

    kitty: bool = False
    placeholders: bool = False
    sixel: bool = False
    cell_px: tuple[int, int] | None = None
    true_colour: bool = False
    colours: Colours = "none"
    utf8: bool = True
    tmux: bool = False
    tmux_version: str = ""
    passthrough: bool = False
    outer: str = ""
    ssh: bool = False
    name: str = ""
    rtt_s: float | None = None
    notes: tuple[str, ...] = ()
    typed: bytes = b""


def judge(env: Mapping[str, str], answers: Answers, tmux: Tmux | None = None, *, encoding: str = "utf-8") -> Abilities:
    """Weigh what is known.

    Args:
        env: the environment.
        answers: of the terminal, or of whatever stands before it.
        tmux: what tmux said; None if it is not there or said nothing.
        encoding: what is written to the screen.
    """
    # Without TMUX in the environment, it is at the near end of an SSH connection.
    in_tmux = is_inside(env) or answers.name.startswith("tmux") or env.get("TERM", "").startswith("tmux")
    direct = not (in_tmux or is_in_other_multiplexer(env))
    shown: Colours = "truecolor" if direct and answers.kitty else depth(env, answers.name, tmux)
    has_sixel = SIXEL in (answers.attributes or ())
    outer = tmux.outer if tmux else ""
    abilities = Abilities(
        kitty=draws_placeholders(outer) and tmux.passthrough if tmux else direct and answers.kitty,
        placeholders=draws_placeholders(outer if tmux else answers.name or env.get("TERM", "")),
        # A tmux built with sixel lists it whether or not the terminal around it has it (tmux/tmux#4104).
        sixel=has_sixel and (direct or (tmux is not None and "sixel" in tmux.features)),
        cell_px=answers.cell_px or (tmux.cell_px if tmux else None),
        true_colour=shown == "truecolor",
        colours="none" if env.get("NO_COLOR") else shown,
        utf8=codecs.lookup(encoding).name == "utf-8" and (tmux is None or tmux.utf8),
        tmux=in_tmux,
        tmux_version=tmux.version if tmux else "",
        passthrough=tmux is not None and tmux.passthrough,
        outer=outer,
        ssh=is_remote(env),
        name=answers.name,
        typed=answers.typed,
    )
    return replace(abilities, notes=tuple(_notes(abilities, env)))


def is_in_other_multiplexer(env: Mapping[str, str]) -> bool:
    """Whether GNU screen or zellij is in between: they let no pictures through, or misplace them."""
    return "STY" in env or "ZELLIJ" in env


def is_remote(env: Mapping[str, str]) -> bool:
    """Whether the program runs at the far end of an SSH connection."""
    return "SSH_CONNECTION" in env or "SSH_TTY" in env


def draws_placeholders(name: str) -> bool:
    """Whether a terminal of that name (its answer to XTVERSION, else its TERM) draws pictures where U+10EEEE stands."""
    if version := re.match(r"kitty\((\d{1,4})\.(\d{1,4})", name):
        return (int(version[1]), int(version[2])) >= PLACEHOLDERS_SINCE
    return name.startswith(("ghostty", "xterm-ghostty", "xterm-kitty"))


def best_graphics(abilities: Abilities, wanted: WantedGraphics = "auto") -> tuple[Graphics, str]:
    """How to draw pictures, and why not as wanted ("" if as wanted).

    "auto" takes kitty's protocol where its pictures can stand in cells, else half-blocks in the colours there are, else
    text; never sixel, which cannot be redrawn piece by piece and is for stills, by choice.
    """
    best = _best(abilities)
    if wanted == "auto":
        return best, ""
    missing = _missing(abilities, wanted)
    return (best, f"{missing} Shown as {best}.") if missing else (wanted, "")


def _best(abilities: Abilities) -> Graphics:
    if not abilities.utf8 or abilities.colours in ("none", "16"):
        return "text"
    if abilities.colours == "256":
        return "half256"
    return "kitty" if abilities.kitty and abilities.placeholders else "half"


def _missing(abilities: Abilities, wanted: Graphics) -> str:
    if wanted == "sixel":
        return "" if abilities.sixel else "The terminal does not list sixel among its attributes."
    if wanted == "text":
        return ""
    if not abilities.utf8:
        return f"{wanted} needs UTF-8."
    if wanted == "half256":
        return ""
    if not abilities.true_colour:
        return f"{wanted} needs true colour."
    if wanted == "half":
        return ""
    if abilities.colours == "none":
        return "Under NO_COLOR, the colour that carries a kitty picture's number is lost."
    if abilities.tmux and not abilities.kitty:
        return "Through tmux, kitty pictures need kitty or Ghostty around it and `set -g allow-passthrough on`."
    return "" if abilities.kitty else "The terminal did not say that it takes kitty pictures."


def _notes(abilities: Abilities, env: Mapping[str, str]) -> Iterator[str]:
    if not abilities.utf8:
        yield "The screen is not written in UTF-8: set LC_ALL=C.UTF-8 (in tmux, start it as `tmux -u`)."
    if abilities.tmux and not abilities.tmux_version:
        yield "The tmux in between cannot be asked: the terminal around it is guessed."
    elif abilities.tmux and not abilities.true_colour:
        yield "tmux shows 256 colours: if the terminal has more, `set -as terminal-features ',*:RGB'` and attach anew."
    elif not abilities.true_colour and abilities.colours in ("16", "256") and "STY" not in env:
        yield f"Only {abilities.colours} colours: if the terminal shows more, set COLORTERM=truecolor (ssh drops it)."
    if abilities.tmux and abilities.placeholders and not abilities.passthrough:
        yield "tmux keeps pictures from the terminal: `set -g allow-passthrough on`."
    if abilities.kitty and not abilities.placeholders:
        yield "The terminal takes kitty pictures, but is not known to place them in cells: half-blocks are used."
