"""`flux-tui keys`: what the terminal sends for a key, and what Textual makes of it; and the app's own keys, with ids.

Listens with the same switches as the app (kitty's keyboard protocol where Textual asks for it, bracketed paste), so
that what is shown is what the app gets. Textual's parser is private: without it, bytes alone are shown.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

from flux_engine.arguments import DONE, FAILED
from flux_engine.display import say
from flux_tui.terminal.endings import raised_signals
from flux_tui.verbs import Verbs

ON, OFF = "\x1b[?2004h", "\x1b[?2004l"  # bracketed paste
KITTY_ON, KITTY_OFF = "\x1b[>25u", "\x1b[<u"  # as Textual's driver: tell keys apart, all of them, with their text
IDLE_S = 1.0  # a signal that comes just before the wait does not end it
ESCAPE_S = 0.2  # Textual waits 0.1 s for what may follow an escape
MAX_SHOWN = 60
ENDING = {0x03: "ctrl+c", 0x04: "ctrl+d"}


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "keys",
        help="show what the terminal sends for a key",
        description="Show what the terminal sends for each key that is pressed, and what Textual calls it.",
    )
    parser.add_argument("--list", action="store_true", help="list the app's keys, with the ids that the config takes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Listen, or list; the exit status."""
    if arguments.list:
        _print_keymap()
        return DONE
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        say("flux-tui keys: pressing keys needs a terminal; 'flux-tui keys --list' does not.")
        return FAILED
    parser, use_kitty = _textuals_parser()
    with raised_signals(), _keyboard(sys.stdin.fileno(), use_kitty):
        if parser is None:
            _write("Textual's parser is not where it was: bytes alone are shown.")
        _write("Press keys. Ctrl+C twice, or Ctrl+D, ends.")
        _listen(sys.stdin.fileno(), parser)
    return DONE


def _textuals_parser() -> tuple[Any, bool]:
    """Textual's parser, None if it cannot be had; and whether the app asks for kitty's protocol."""
    try:
        from textual import constants
        from textual._xterm_parser import XTermParser

        return XTermParser(), not constants.DISABLE_KITTY_KEY
    except (ImportError, AttributeError, TypeError):
        return None, False


@contextlib.contextmanager
def _keyboard(fd: int, use_kitty: bool) -> Iterator[None]:
    """Every key comes at once and as it is; whatever ends this, the terminal is then as it was."""
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        _put(ON + KITTY_ON * use_kitty)
        yield
    finally:
        with contextlib.suppress(OSError, termios.error):  # the terminal may be gone
            _put(KITTY_OFF * use_kitty + OFF)
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)


def _listen(fd: int, parser: Any) -> None:
    """Show each key until the last two were Ctrl+C, or the last one Ctrl+D."""
    last = ""
    for heard, events in _presses(fd, parser):
        names = [_name(event) for event in events]
        shown = repr(heard)[2:-1]
        _write(f"{shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + '...':<24}  {'  '.join(names)}".rstrip())
        for key in names if parser else [ENDING.get(byte, "") for byte in heard]:
            if key == "ctrl+d" or key == last == "ctrl+c":
                return
            last = key


def _presses(fd: int, parser: Any) -> Iterator[tuple[bytes, list[Any]]]:
    """What was sent, in as few bytes as make sense, and Textual's events for it; ends when the terminal is gone."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    heard = b""
    while True:
        is_late = not select.select([fd], [], [], ESCAPE_S if heard else IDLE_S)[0]
        if is_late and not heard:
            continue
        if not is_late:
            if not (part := _read(fd)):
                return
            heard += part
        if parser is None:
            yield heard, []
            heard = b""
            continue
        text = "" if is_late else decoder.decode(part)
        events = list(parser.feed(text)) if text else list(parser.tick())  # to the parser, "" is the end
        if events or is_late:
            yield heard, events
            heard = b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1024)
    except OSError:  # the terminal has gone
        return b""


def _name(event: Any) -> str:
    """Textual's name for a key; for a paste its length, for anything else what it is."""
    if hasattr(event, "key"):
        name = str(event.key)
    elif hasattr(event, "text"):
        name = f"paste of {len(event.text)} signs"
    else:
        name = type(event).__name__
    return name if name.isprintable() else ascii(name)


def _write(text: str) -> None:
    _put(text + "\r\n")


def _put(text: str) -> None:
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "backslashreplace"))
    sys.stdout.flush()


def _print_keymap() -> None:
    from flux_tui.config import UNBOUND
    from flux_tui.keys import keymap

    rows = [
        (str(binding.id), binding.key.replace(UNBOUND, '""'), binding.tooltip or binding.description)
        for binding in keymap()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for action, keys, words in rows:
        print(f"{action:<{widths[0]}}  {keys:<{widths[1]}}  {words}".rstrip())
