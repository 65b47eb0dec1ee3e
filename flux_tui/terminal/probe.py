"""Asking the terminal what it can do, once, before the app starts.

Knows a pair of descriptors and how long to wait; what the answers mean, `abilities` knows. Nothing else may read the
terminal meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from flux_tui.terminal import tmux
from flux_tui.terminal.abilities import Abilities, is_in_other_multiplexer, is_remote, judge
from flux_tui.terminal.answers import CELL_QUESTION, FENCE, NAME_QUESTION, PICTURE_QUESTION, read_answers
from flux_tui.terminal.colour import SPEECHLESS

PATIENCE_S = 0.5  # a terminal on this machine answers in 1 to 20 ms; one that is still opening its window takes longer
SSH_PATIENCE_S = 2.0  # ten times a round trip across an ocean

SILENT = "The terminal did not answer within {:g} s: what it can do is guessed."


def probe(fd_in: int, fd_out: int, env: Mapping[str, str], *, encoding: str | None = None) -> Abilities:
    """Ask the terminal, and tmux, what they can do: one round trip, at most 0.5 s, or 2 s over SSH.

    All questions go out in one write; the last one is a fence that everything answers, and in order. Keys pressed
    meanwhile are in `typed`. If the fence is not answered in time, answers may still be under way: call `drain` right
    before something else reads the keys, and those that have come by then are gone. Later ones would look like keys.

    Args:
        fd_in: where keys and answers come from.
        fd_out: where the questions go. Nothing is asked unless both are terminals and TERM is one that listens.
        env: the environment.
        encoding: what the screen is written in; by default that of `sys.__stderr__`, through which Textual paints.
    """
    inside = tmux.ask(env) if tmux.is_inside(env) else None
    listens = env.get("TERM", "") not in SPEECHLESS and os.isatty(fd_in) and os.isatty(fd_out)
    patience_s = SSH_PATIENCE_S if is_remote(env) else PATIENCE_S
    heard, rtt_s = _exchange(fd_in, fd_out, _questions(env), patience_s) if listens else (b"", None)
    abilities = judge(env, read_answers(heard), inside, encoding=encoding or _screen_encoding())
    if listens and rtt_s is None:
        abilities = replace(abilities, notes=(SILENT.format(patience_s), *abilities.notes))
    return replace(abilities, rtt_s=rtt_s, cell_px=abilities.cell_px or _cell_of_window(fd_out))


def drain(fd_in: int) -> bytes:
    """Take what has come since, without waiting: late answers are dropped, keys are returned."""
    if not os.isatty(fd_in):
        return b""
    with _key_by_key(fd_in):
        return read_answers(_at_hand(fd_in)).typed


def _questions(env: Mapping[str, str]) -> bytes:
    term = env.get("TERM", "")
    if term == "linux":  # the console prints what it does not know, and has neither a name nor pictures
        return FENCE
    # tmux and GNU screen take the picture query for a title.
    multiplexed = tmux.is_inside(env) or is_in_other_multiplexer(env) or term.startswith(("tmux", "screen"))
    return NAME_QUESTION + CELL_QUESTION + (b"" if multiplexed else PICTURE_QUESTION) + FENCE


def _exchange(fd_in: int, fd_out: int, questions: bytes, patience_s: float) -> tuple[bytes, float | None]:
    """What was heard until the fence was answered, and after how many seconds that was (None: never)."""
    heard = b""
    with _key_by_key(fd_in), contextlib.suppress(OSError):  # hung up, or in the background: silence
        asked_at_s = time.monotonic()
        os.write(fd_out, questions)
        while (left_s := asked_at_s + patience_s - time.monotonic()) > 0:
            part = _read(fd_in, left_s)
            if not part:
                break
            heard += part
            if read_answers(heard).attributes is not None:
                return heard + _at_hand(fd_in), time.monotonic() - asked_at_s
    return heard, None


def _at_hand(fd: int) -> bytes:
    return b"".join(iter(lambda: _read(fd, 0.0), b""))


def _read(fd: int, patience_s: float) -> bytes:
    """The next bytes; none when the time is up or the terminal is gone."""
    return os.read(fd, 4096) if select.select([fd], [], [], patience_s)[0] else b""


@contextlib.contextmanager
def _key_by_key(fd: int) -> Iterator[None]:
    """No waiting for a whole line, no echo, no Enter turned into a newline; Ctrl+C still interrupts."""
    before = termios.tcgetattr(fd)
    iflag, oflag, cflag, lflag, *rest = before
    iflag &= ~(termios.ICRNL | termios.IXON)
    lflag &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSANOW, [iflag, oflag, cflag, lflag, *rest])
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the other end has hung up
            termios.tcsetattr(fd, termios.TCSANOW, before)


def _cell_of_window(fd: int) -> tuple[int, int] | None:
    """From the window's size in cells and in pixels, which many terminals give as 0."""
    try:
        lines, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (width // columns, height // lines) if lines and columns and width >= columns and height >= lines else None


def _screen_encoding() -> str:
    return getattr(sys.__stderr__, "encoding", None) or "utf-8"
