"""Copying text to the clipboard of the person at the terminal, wherever that is, and saying which way it went.

Knows two ways: OSC 52, an escape code that the terminal obeys, and tmux's own. Neither says whether the text arrived.
"""

from __future__ import annotations

from base64 import standard_b64encode
from collections.abc import Callable, Mapping

from flux_tui.terminal import tmux

MAX_CHARS = 74_994  # of base64; some terminals take no longer OSC 52, hterm the first


def copy(text: str, write: Callable[[str], object], env: Mapping[str, str]) -> str:
    """Copy `text`, and return words for a person that say how.

    Inside tmux, `tmux load-buffer -w` does it, since tmux by default keeps an OSC 52 of its panes to itself; it also
    leaves the text in tmux's paste buffer.

    Args:
        text: what to copy.
        write: takes what is to be written to the terminal.
        env: the environment.
    """
    if tmux.is_inside(env) and tmux.run(["load-buffer", "-w", "-"], env, given=text) is not None:
        return "copied with tmux load-buffer -w"
    encoded = standard_b64encode(text.encode("utf-8", "replace")).decode("ascii")
    write(f"\x1b]52;c;{encoded}\x07")
    if len(encoded) > MAX_CHARS:
        return f"copied with OSC 52; at {len(encoded):,} characters, over {MAX_CHARS:,}, some terminals refuse it"
    return "copied with OSC 52"
