"""Signals end the program with a shell's status for them, and the terminal is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flux_tui.terminal.endings import END_SIGNALS, raised_signals
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
ASKING = """
import sys
from flux_tui.command_line import main
from flux_tui.terminal import probe
from flux_tui.verbs import checks
checks.JAX_CODE = "print('[]')"
probe.PATIENCE_S = 20.0  # where a signal falls right before a system call that waits, it is heard when that returns
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


INTERRUPTED_AT = """
import os, signal, sys
class Impatient:
    def find_spec(self, name, *_):
        if name == {0!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Impatient())
"""
STARTS = [[sys.executable, "-m", "flux_tui"]]
if (PROGRAM := Path(sys.executable).parent / "flux-tui").exists():
    STARTS.append([str(PROGRAM)])


@pytest.mark.parametrize("program", STARTS)
@pytest.mark.parametrize(
    ("module", "status", "words"),
    [
        ("argparse", -signal.SIGINT, ""),
        ("flux_tui.command_line", -signal.SIGINT, ""),
        ("flux_tui.terminal.probe", -signal.SIGINT, ""),
        ("importlib.metadata", 130, "error: interrupted\n"),  # which asks for the version
    ],
)
def test_an_interrupt_before_there_is_anything_to_see_gives_no_traceback(
    tmp_path: Path, program: list[str], module: str, status: int, words: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED_AT.format(module))  # Python imports it at every start
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run([*program, "--version"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", words)


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
