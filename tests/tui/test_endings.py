"""Signals end the program with a shell's status for them, and the terminal is as it was."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from flux_tui.terminal.endings import END_SIGNALS, raised_signals
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
ASKING = """
import sys
from flux_tui.__main__ import main
from flux_tui.terminal import probe
from flux_tui.verbs import checks
checks.JAX_CODE = "print('[]')"
probe.PATIENCE_S = 600.0
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [*END_SIGNALS, signal.SIGINT])
@pytest.mark.parametrize("verb", ["doctor", None])
def test_a_signal_while_the_terminal_is_asked_leaves_it_as_it_was(number: signal.Signals, verb: str | None) -> None:
    with Terminal(["-c", ASKING, *filter(None, [verb])], cwd=ROOT, controls=True) as terminal:
        terminal.answers = {}
        terminal.until(lambda: not terminal.echoes)
        os.kill(terminal.process.pid, number)
        assert terminal.end() == 128 + number
        assert terminal.echoes and "Traceback" not in terminal.text()
        assert terminal.raw.count(b"\x1b[?1049h") == terminal.raw.count(b"\x1b[?1049l") == (verb is None)


def test_an_interrupt_from_elsewhere_ends_the_app_with_its_status(tmp_path: Path) -> None:
    with Terminal(["-m", "tests.tui.fake_app", str(tmp_path / "gallery")], cwd=ROOT, controls=True) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        os.kill(terminal.process.pid, signal.SIGINT)
        assert terminal.end() == 130
        assert terminal.echoes and b"\x1b[?1049l" in terminal.raw and "Traceback" not in terminal.text()


def test_a_signal_that_is_ignored_stays_so_and_the_others_are_as_before() -> None:
    before = {number: signal.getsignal(number) for number in END_SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="143"), raised_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])


def test_outside_the_main_thread_nothing_is_raised() -> None:
    seen = []

    def look() -> None:
        with raised_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
