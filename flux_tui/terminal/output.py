"""What C code prints, kept off the screen: XLA, absl and CUDA write to file descriptor 2, which is the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_LOG_BYTES = 1_000_000


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
    screen = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace", closefd=True)
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


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        too_long = path.exists() and path.stat().st_size > MAX_LOG_BYTES
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if too_long else 0), 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)
