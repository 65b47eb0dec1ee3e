"""What C code prints, kept off the screen: XLA, absl and CUDA write to file descriptor 2, which is the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 1_000_000
STALLED_S = 1.0  # a thin link that is alive takes 4 to 30 KB in this time, and a write is seldom more
OFF = "".join(f"\x1b[?{mode}l" for mode in (1000, 1003, 1006, 1015, 2004, 1004, 1049))
RESTORE = f"\x1b[<u{OFF}\x1b[?7h\x1b[?25h"
"""Keys as they were, no mouse, pastes and focus unmarked, the normal screen, long lines wrapped, a cursor."""


@contextlib.contextmanager
def output_to_log(path: Path) -> Iterator[None]:
    """While this lasts, descriptors 1 and 2 lead to the log; the app's own two ways to the terminal do not.

    They are `sys.__stderr__`, through which Textual paints, and `sys.__stdout__`, which it asks for the size.
    Python's own `logging` goes to the log, too. A log that cannot be opened is no reason to stop: then it is nowhere.
    """
    log = _open(path)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {fd: os.dup(fd) for fd in (1, 2)}
    raw = _Screen(os.dup(2), "w")
    screen = io.TextIOWrapper(io.BufferedWriter(raw), encoding=sys.stderr.encoding, errors="backslashreplace")
    before = sys.__stdout__, sys.__stderr__
    sys.__stdout__ = sys.__stderr__ = screen  # type: ignore[misc]
    handler = logging.StreamHandler(os.fdopen(os.dup(log), "w", encoding="utf-8"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    for fd in kept:
        os.dup2(log, fd)
    try:
        yield
    finally:
        screen.flush()
        for fd, terminal in kept.items():
            os.dup2(terminal, fd)
            os.close(terminal)
        os.close(log)
        logging.getLogger().removeHandler(handler)
        handler.stream.close()
        sys.__stdout__, sys.__stderr__ = before  # type: ignore[misc]
        screen.close()


class _Screen(io.FileIO):
    """What is written to a terminal that is gone is nowhere: a fault would end Textual's writer, and its queue fill."""

    writing_since_s: float | None = None

    def write(self, data: Any, /) -> int:
        self.writing_since_s = time.monotonic()
        try:
            while (count := super().write(data)) is None:  # another program left the terminal non-blocking
                select.select([], [self], [])
            return count
        except OSError:
            return len(data)
        finally:
            self.writing_since_s = None


def is_stalled() -> bool:
    """Whether the terminal has been taking one write for over a second, as behind a link that hangs."""
    raw = getattr(getattr(sys.__stderr__, "buffer", None), "raw", None)
    since_s = raw.writing_since_s if isinstance(raw, _Screen) else None
    return since_s is not None and time.monotonic() - since_s > STALLED_S


@contextlib.contextmanager
def greeting(words: str) -> Iterator[None]:
    """The terminal's second screen with a word on it, while the app is still being loaded, which takes 0.4 s.

    The app takes the screen over; when it comes to nothing, the first one is back.
    """
    _send(f"\x1b[?1049h\x1b[2J\x1b[H {words}")
    try:
        yield
    except BaseException:
        _send("\x1b[?1049l")
        raise


class Modes:
    """The terminal's line discipline (echo, whole lines, signals), as it is when this is made."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._attributes = termios.tcgetattr(fd)

    def restore(self) -> None:
        """Put it back, unless the terminal is gone."""
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._attributes)

    def restore_all(self, patience_s: float = 1.0) -> None:
        """Put the screen back, too, if the terminal takes that in time; while Textual still runs but hangs."""
        self.restore()
        thread = threading.Thread(target=_send, args=(RESTORE,), daemon=True)
        thread.start()
        thread.join(patience_s)


def _send(text: str) -> None:
    if sys.__stderr__ is not None:
        sys.__stderr__.write(text)
        sys.__stderr__.flush()


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        too_long = path.exists() and path.stat().st_size > MAX_LOG_BYTES
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if too_long else 0), 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
