"""The program in a real pseudo-terminal: keys in, bytes out, and a terminal that is as it was when it ends."""

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
ENTER, ESCAPE, CTRL_G, CTRL_Q = "\r", "\x1b", "\x07", "\x11"
F5, F8, F9 = "\x1b[15~", "\x1b[19~", "\x1b[20~"
LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF = b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT) as terminal:
        # Tokens are counted once the app listens: an Enter from before is a new line.
        terminal.until(lambda: "press F5" in terminal.text() and "T5 " in terminal.text())
        yield terminal


def is_restored(terminal: Terminal) -> bool:
    return all(code in terminal.raw[-2000:] for code in (LEAVE_SCREEN, SHOW_CURSOR, MOUSE_OFF))


def test_type_run_watch_resize_and_quit(terminal: Terminal, tmp_path: Path) -> None:
    terminal.press("a lonely hill" + F5)
    terminal.until(lambda: "denoising" in terminal.text())
    terminal.resize(120, 40)
    terminal.until(lambda: "Saved 2" in terminal.text())
    (picture,) = saved_pictures(Gallery(tmp_path / "gallery"))
    assert picture.record.request.prompt == "a lonely hill"
    terminal.until(lambda: picture.path.name in terminal.text() and "▀" in terminal.text())
    assert "GARBAGE" not in terminal.text() and b"GARBAGE" not in terminal.raw
    terminal.press(CTRL_Q)
    assert terminal.end() == 0
    assert is_restored(terminal)
    assert "GARBAGE FROM C++" in paths.log_file().read_text()


def test_a_step_is_cancelled_and_a_picture_recalled(terminal: Terminal, tmp_path: Path) -> None:
    terminal.press("one" + CTRL_G)
    terminal.until(lambda: "Saved 2" in terminal.text())
    terminal.press("\x15slowly, two" + ENTER)
    terminal.until(lambda: "denoising" in terminal.text())
    terminal.press(F9)
    terminal.until(lambda: "Cancelled." in terminal.text())
    terminal.press(ESCAPE)
    terminal.until(lambda: "y copies the path" in terminal.text())
    terminal.press("5")
    terminal.until(lambda: "Recall" in terminal.text())
    terminal.press("a")
    terminal.until(lambda: "Put back" in terminal.text())
    terminal.press("1")
    terminal.until(lambda: "│ one" in terminal.text())
    assert len(saved_pictures(Gallery(tmp_path / "gallery"))) == 1


def test_ten_thousand_characters_can_be_pasted(terminal: Terminal, tmp_path: Path) -> None:
    text = "".join(f"line {number:04}\n" for number in range(1000))
    terminal.press(f"\x1b[200~{text}\x1b[201~")
    terminal.until(lambda: "line 0999" in terminal.text())
    assert saved_pictures(Gallery(tmp_path / "gallery")) == []  # its line ends run nothing
    terminal.press(F5)
    terminal.until(lambda: "Saved 2" in terminal.text())
    (picture,) = saved_pictures(Gallery(tmp_path / "gallery"))
    assert picture.record.request.prompt == text


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_the_app_fills_the_terminal_and_follows_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT, size=size) as terminal:
        for columns, lines in (size, (90, 30), (20, 5), (150, 50)):
            terminal.resize(columns, lines)
            if columns < 32:
                terminal.until(lambda: "20x5 is too small" in terminal.text())
                continue
            terminal.until(lambda lines=lines: "F5 Paint" in terminal.screen.display[lines - 1])
            terminal.until(lambda columns=columns: terminal.screen.display[0][columns - 1] == "╮")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_and_keeps_the_draft(
    terminal: Terminal, tmp_path: Path, number: signal.Signals
) -> None:
    terminal.press("a draft")
    terminal.until(lambda: "a draft" in terminal.text())
    os.kill(terminal.process.pid, number)
    assert terminal.end() == 128 + number
    assert is_restored(terminal)
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT) as again:
        again.until(lambda: "a draft" in again.text())


def test_an_interrupt_while_the_terminal_is_asked_leaves_it_as_it_was(tmp_path: Path) -> None:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT, controls=True, variables={"SSH_TTY": "x"}) as terminal:
        terminal.answers = {}
        terminal.until(lambda: not terminal.echoes)
        terminal.press("\x03")
        # Under `python -m` an interrupt while code in a string runs, as dataclasses do, ends it by the signal: CPython
        # looks at whether one came last of all. To a shell both are 130.
        assert terminal.end() in (130, -signal.SIGINT)
        assert terminal.echoes
        assert "interrupted" in terminal.text() and "Traceback" not in terminal.text()


def test_a_thread_that_hangs_on_a_dead_folder_does_not_keep_the_app(tmp_path: Path) -> None:
    with Terminal(["-c", HANGING, str(tmp_path / "gallery")], cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press(CTRL_Q)
        assert terminal.end() == 0
        assert is_restored(terminal) and terminal.echoes


HANGING = """
import sys, threading
from pathlib import Path
from flux_tui import opening
from flux_tui.app import FluxApp
FluxApp.on_ready = lambda self: self.run_worker(threading.Event().wait, thread=True)
sys.exit(opening.run_app(Path(sys.argv[1])))
"""


def test_quitting_asks_and_does_not_wait_for_a_step_that_never_ends(terminal: Terminal) -> None:
    terminal.press("for ever" + F5)
    terminal.until(lambda: "loading" in terminal.text())
    terminal.press(CTRL_Q)
    terminal.until(lambda: "given up" in terminal.text())
    terminal.press("q")
    assert terminal.end() == 0
    assert is_restored(terminal)


def test_the_users_editor_gets_the_prompt_and_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "editor"
    script.write_text('#!/bin/sh\necho "in the editor"; read -r words; printf "a hill %s" "$words" > "$1"\n')
    script.chmod(0o700)
    for command, said in ((str(script), "in the editor"), ("false", "Not edited")):
        monkeypatch.setenv("VISUAL", command)
        with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT) as edited:
            edited.until(lambda: "press F5" in edited.text())
            edited.press("\x15a hill" + F8)
            edited.until(lambda said=said: said in edited.text())
            if command != "false":
                edited.press("and a dog\n")
            expected = "a hill and a dog" if command != "false" else "a hill"
            edited.until(lambda expected=expected: f"│ {expected}" in edited.text())
            edited.press(CTRL_Q)
            assert edited.end() == 0


def test_ascii_is_enough_where_a_font_has_no_more(tmp_path: Path) -> None:
    with Terminal(fake_app(tmp_path / "gallery", "--ascii"), cwd=ROOT) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("a hill" + F5)
        terminal.until(lambda: "Saved 2" in terminal.text())
        assert terminal.text().isascii()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"TERM": "dumb"}, "TERM is dumb"),
        ({"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}, "not UTF-8"),
    ],
)
def test_a_terminal_that_cannot_show_the_app_is_told_why(tmp_path: Path, variables: dict[str, str], words: str) -> None:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT, variables=variables) as terminal:
        assert terminal.end() == 1
        assert words in terminal.text() and "Traceback" not in terminal.text()
