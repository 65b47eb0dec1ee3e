"""The program in a real pseudo-terminal: keys in, bytes out, and a terminal that is as it was when it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_tui import paths
from flux_tui.gallery import Gallery
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
F5, CTRL_Q = "\x1b[15~", "\x11"
LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF = b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(["-m", "tests.tui.fake_app", str(tmp_path / "gallery")], cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        yield terminal


def is_restored(terminal: Terminal) -> bool:
    return all(code in terminal.raw[-2000:] for code in (LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF))


def test_type_run_watch_resize_and_quit(terminal: Terminal, tmp_path: Path) -> None:
    terminal.press("a lonely hill" + F5)
    terminal.until(lambda: "denoising" in terminal.text())
    terminal.resize(120, 40)
    terminal.until(lambda: "Saved 2" in terminal.text())
    (picture,) = Gallery(tmp_path / "gallery").newest()
    assert picture.record.request.prompt == "a lonely hill"
    assert picture.path.name in terminal.text()
    assert "▀" in terminal.text()
    assert "GARBAGE" not in terminal.text() and b"GARBAGE" not in terminal.raw
    terminal.press(CTRL_Q)
    assert terminal.end() == 0
    assert is_restored(terminal)
    assert "GARBAGE FROM C++" in paths.log_file().read_text()


@pytest.mark.parametrize("size", [(120, 40), (200, 60)])
def test_the_app_fills_the_terminal_and_follows_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    gallery = str(tmp_path / "gallery")
    with Terminal(["-m", "tests.tui.fake_app", gallery], cwd=ROOT, size=size) as terminal:
        for columns, lines in (size, (90, 30), (150, 50)):
            terminal.resize(columns, lines)
            terminal.until(lambda lines=lines: "F5 Generate" in terminal.screen.display[lines - 1])
            terminal.until(lambda columns=columns: terminal.screen.display[0][columns - 1] == "╮")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    os.kill(terminal.process.pid, number)
    assert terminal.end() == 128 + number
    assert is_restored(terminal)


def test_quitting_does_not_wait_for_a_step_that_never_ends(terminal: Terminal) -> None:
    terminal.press("for ever" + F5)
    terminal.until(lambda: "loading" in terminal.text())
    terminal.press(CTRL_Q)
    assert terminal.end() == 0
    assert is_restored(terminal)


def test_at_rest_nothing_is_sent(terminal: Terminal) -> None:
    terminal.press("x")
    terminal.until(lambda: "│ x" in terminal.text())
    terminal.settle()
    before = len(terminal.raw)
    terminal.listen(1.0)
    assert len(terminal.raw) == before
