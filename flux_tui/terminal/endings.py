"""Signals that end the program, as exceptions, so that whatever changed the terminal puts it back on the way out.

Knows the signals and their exit statuses; what is to be put back, its users know.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import NoReturn

END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """While this lasts, SIGTERM and SIGHUP raise `SystemExit` with a shell's status for them, 128 and more.

    Unhandled, they would end the program where it stands. One that is ignored, as under nohup, stays so; only the main
    thread may set handlers, so that anywhere else this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    fatal = [number for number in END_SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in fatal:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
