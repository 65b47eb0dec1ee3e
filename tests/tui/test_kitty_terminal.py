"""The app in a terminal that says it is kitty: placeholders stand where the picture is, and nowhere else, ever."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_tui.terminal.kitty import PLACEHOLDER
from tests.tui.terminal import ANSWERS, Terminal, fake_app

ROOT = Path(__file__).parents[2]
KITTY = b"\x1bP>|kitty(0.41.1)\x1b\\\x1b[6;20;10t\x1b_Gi=31;OK\x1b\\\x1b[?62c"
ESCAPE, CTRL_P = "\x1b", "\x10"
F1, F3, F5 = "\x1bOP", "\x1bOR", "\x1b[15~"


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Terminal(fake_app(tmp_path / "gallery"), cwd=ROOT, size=(120, 40)) as terminal:
        terminal.answers = {**ANSWERS, b"\x1b[c": KITTY}
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("slowly, a hill" + F5)
        terminal.until(lambda: "denoising" in terminal.text())
        yield terminal


def placeholders(terminal: Terminal) -> int:
    """How many are on the screen."""
    return terminal.text().count(PLACEHOLDER)


def shows_the_picture(terminal: Terminal) -> bool:
    """Whether there are as many as the terminal was told last that the picture has."""
    cells = re.findall(rb"a=p,U=1,i=\d+,p=1,c=(\d+),r=(\d+)", terminal.raw)
    return bool(cells) and placeholders(terminal) == int(cells[-1][0]) * int(cells[-1][1])


def test_pictures_of_a_running_job_leave_nothing_behind(terminal: Terminal) -> None:
    terminal.until(lambda: shows_the_picture(terminal))
    for columns, lines in ((100, 30), (80, 24), (120, 40)):
        terminal.resize(columns, lines)
        terminal.until(lambda lines=lines: "F5 Paint" in terminal.screen.display[lines - 1])
        terminal.until(lambda: shows_the_picture(terminal))
    before = placeholders(terminal)
    terminal.press(F3)
    terminal.until(lambda: placeholders(terminal) > before and shows_the_picture(terminal))
    terminal.press(F3)
    terminal.until(lambda: placeholders(terminal) == before and shows_the_picture(terminal))
    for key, words in ((F1, "Esc Close"), (CTRL_P, "Search for commands")):
        terminal.press(key)
        terminal.until(lambda words=words: words in terminal.text() and placeholders(terminal) < before)
        terminal.press(ESCAPE)
        terminal.until(lambda: placeholders(terminal) == before and shows_the_picture(terminal))
    for keys, words in (
        (CTRL_P, "Search for"),
        ("theme", "Change the"),
        ("\r", "Search for themes"),
        ("x-l", "flux-l"),
    ):
        terminal.press(keys)
        terminal.until(lambda words=words: words in terminal.text())
    terminal.press("\r")
    terminal.until(lambda: placeholders(terminal) == before and shows_the_picture(terminal))
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.end() == 128 + signal.SIGTERM
    assert b"a=d,d=I,i=" in terminal.raw  # its memory is given back


def test_a_preview_paints_no_cell_anew(terminal: Terminal) -> None:
    def sent() -> int:
        return terminal.raw.count(b"a=t,")

    terminal.until(lambda: sent() > 2)  # at the first one the pane turns from words to a picture, and is painted twice
    painted = terminal.raw.count(PLACEHOLDER.encode())
    terminal.until(lambda: sent() > 5)
    assert terminal.raw.count(PLACEHOLDER.encode()) == painted > 0
