"""The program on a link that is thin, hangs or breaks: what it sends then, and that it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_tui import paths
from flux_tui.gallery import Gallery
from tests.tui.pictures import saved_pictures
from tests.tui.terminal import Terminal, fake_app

ROOT = Path(__file__).parents[2]
ENTER, CTRL_P, CTRL_Q = "\r", "\x10", "\x11"
F1, F5 = "\x1bOP", "\x1b[15~"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT) as terminal:
        # Tokens are counted once the app listens: an Enter from before is a new line.
        terminal.until(lambda: "press F5" in terminal.text() and "T5 " in terminal.text())
        yield terminal


def test_every_preview_asks_the_terminal_whether_it_has_drawn_it(terminal: Terminal) -> None:
    terminal.press("a hill" + ENTER)
    terminal.until(lambda: "Saved 2" in terminal.text())
    assert terminal.raw.count(b"\x1b[6n") >= 2


def test_a_terminal_that_is_unplugged_ends_the_app_even_where_sighup_is_ignored(tmp_path: Path) -> None:
    argv = ["-c", IGNORING_SIGHUP, str(tmp_path / "gallery")]
    with Terminal(argv, cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("left behind" + F5)
        terminal.until(lambda: "denoising" in terminal.text())
        terminal.unplug()
        assert terminal.process.wait(60) == 129


IGNORING_SIGHUP = """
import signal, sys
from pathlib import Path
from flux_tui import opening
from tests.tui.fake_app import NoisyEngine
import flux_tui.app
flux_tui.app.END_SIGNALS = ()
signal.signal(signal.SIGHUP, signal.SIG_IGN)
opening.STOP_S = 0.2
sys.exit(opening.run_app(Path(sys.argv[1]), make_engine=NoisyEngine))
"""


def test_a_link_that_stalls_and_then_breaks_ends_the_app(terminal: Terminal) -> None:
    terminal.press("for ever" + F5)
    terminal.until(lambda: "loading" in terminal.text())
    terminal.stall()
    terminal.press("and on")
    assert terminal.process.poll() is None
    terminal.unplug()
    assert terminal.process.wait(60) == 129


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_takes_nothing_does_not_keep_the_app(terminal: Terminal, number: signal.Signals) -> None:
    terminal.press("for ever" + F5)
    terminal.until(lambda: "loading" in terminal.text())
    terminal.stall()
    os.kill(terminal.process.pid, number)
    assert terminal.process.wait(60) == 128 + number
    assert terminal.echoes


def test_whatever_waits_for_a_terminal_that_takes_nothing_a_signal_ends_the_app(tmp_path: Path) -> None:
    with Terminal(["-c", TALKATIVE, str(tmp_path)], cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.stall()
        terminal.press(F1)
        terminal.wait((tmp_path / "said").exists)
        os.kill(terminal.process.pid, signal.SIGTERM)
        assert terminal.process.wait(60) == 128 + signal.SIGTERM
        assert terminal.echoes


TALKATIVE = """
import sys
from pathlib import Path
from flux_tui import opening
from flux_tui.app import FluxApp
from tests.tui.fakes import FakeEngine
def say_much(app):
    for _ in range(100):
        app.write_escape("x")
    Path(sys.argv[1], "said").touch()
FluxApp.action_help = say_much
sys.exit(opening.run_app(Path(sys.argv[1], "gallery"), make_engine=FakeEngine))
"""


def test_what_comes_about_while_the_link_hangs_is_painted_once(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    with Terminal(["-c", QUICK_TO_NOTICE, str(gallery.root)], cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.stall()
        terminal.press("one" + 5 * F5 + " two")
        terminal.wait(lambda: len(saved_pictures(gallery)) == 5)
        before = len(terminal.raw)
        terminal.until(lambda: "│ one two" in terminal.text() and "Saved 2" in terminal.text())
        terminal.settle()
        assert len(terminal.raw[before:].replace(b"\0", b"")) < 200_000  # it is 90,000, and 390,000 one by one
        terminal.press(CTRL_Q)
        assert terminal.end() == 0


QUICK_TO_NOTICE = """
import sys
from pathlib import Path
import flux_tui.app
from flux_tui import opening
from flux_tui.terminal import output
from tests.tui.fake_app import NoisyEngine
flux_tui.app.LOOK_S = output.STALLED_S = 0.05
sys.exit(opening.run_app(Path(sys.argv[1]), make_engine=NoisyEngine))
"""


def test_what_is_written_to_a_terminal_that_is_gone_is_nowhere(tmp_path: Path) -> None:
    with Terminal(["-c", WRITING_ON, str(tmp_path / "log")], cwd=ROOT) as terminal:
        terminal.until(lambda: "here" in terminal.text())
        terminal.unplug()
        assert terminal.process.wait(60) == 0
    assert (tmp_path / "log").read_text() == "there\nended\n"


WRITING_ON = """
import os, select, sys
from pathlib import Path
from flux_tui.terminal.output import output_to_log
log = Path(sys.argv[1])
with output_to_log(log):
    os.write(2, b"there\\n")
    screen = sys.__stderr__
    print("here", file=screen, flush=True)
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    poll.poll()
    screen.write("x" * 100_000)
    screen.flush()
    screen.write("x")
assert sys.__stderr__ is not screen and screen.closed
log.open("a").write("ended\\n")
"""


def test_an_unplugged_terminal_keeps_the_draft(tmp_path: Path) -> None:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT, controls=True) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("a draft")
        terminal.until(lambda: "a draft" in terminal.text())
        terminal.unplug()
        assert terminal.process.wait(60) == 129
    assert "a draft" in paths.state_file().read_text()


def test_at_rest_nothing_is_sent(terminal: Terminal) -> None:
    terminal.press("x" + F5)
    terminal.until(lambda: "Saved 2" in terminal.text())
    terminal.settle(2.0)
    terminal.press(CTRL_P)
    terminal.until(lambda: "Search for commands" in terminal.text())
    terminal.settle(2.0)


@pytest.mark.parametrize(("flag", "code"), [("--no-sync", b"\x1b[?2026h"), ("--no-mouse", b"\x1b[?1000h")])
def test_what_a_flag_turns_off_is_not_asked_for(tmp_path: Path, flag: str, code: bytes) -> None:
    for flags in ([], [flag]):
        with Terminal(fake_app(tmp_path / "gallery", *flags), cwd=ROOT) as terminal:
            terminal.answers = {**terminal.answers, b"\x1b[?2026$p": b"\x1b[?2026;2$y"}
            terminal.until(lambda: "press F5" in terminal.text())
            terminal.press("a hill")
            terminal.until(lambda: "│ a hill" in terminal.text())
            assert (code in terminal.raw) is not bool(flags)
            terminal.press(CTRL_Q)
            assert terminal.end() == 0


def test_with_low_bandwidth_a_picture_is_small_on_a_large_screen(tmp_path: Path) -> None:
    with Terminal(fake_app(tmp_path / "gallery", "--low-bandwidth"), cwd=ROOT, size=(200, 60)) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("a hill" + F5)
        terminal.until(lambda: "Saved 2" in terminal.text())
        terminal.until(lambda: 48 * "▀" in terminal.text())
        assert 49 * "▀" not in terminal.text()
