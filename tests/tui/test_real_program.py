"""The program as people install and start it, with the demo model, in a real pseudo-terminal and in a tmux."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_tui import paths
from flux_tui.gallery import Gallery
from tests.tui.pictures import saved_pictures
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "flux-tui"
ESCAPE, F5, F6, F9, CTRL_Q = "\x1b", "\x1b[15~", "\x1b[17~", "\x1b[20~", "\x11"
WAIT_S = 240.0  # the demo model is compiled for 5 s, and on a busy machine for a minute

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="it is not installed: pip install -e '.[dev]'")


def opened(gallery: Gallery) -> Terminal:
    return Terminal.of([str(PROGRAM), "--gallery", str(gallery.root)], cwd=ROOT, wait_s=WAIT_S)


@pytest.fixture
def terminal(gallery: Gallery) -> Iterator[Terminal]:
    with opened(gallery) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        yield terminal


def step(terminal: Terminal) -> int:
    """How many steps of the running picture are done, as the screen says; 0 where it says nothing."""
    said = re.search(r"denoising +(\d+)/", terminal.text())
    return int(said[1]) if said else 0


def test_a_prompt_becomes_a_picture_and_another_is_cancelled(terminal: Terminal, gallery: Gallery) -> None:
    terminal.press("snow over a pine forest at night" + F5)
    terminal.until(lambda: "denoising" in terminal.text())
    terminal.until(lambda: "Saved 2" in terminal.text())
    (picture,) = saved_pictures(gallery)
    assert picture.record.request.prompt == "snow over a pine forest at night"
    assert set(picture.record.seconds) >= {"loading", "encoding", "denoising", "decoding"}
    terminal.until(lambda: "\N{UPPER HALF BLOCK}" in terminal.text())

    terminal.resize(120, 40)
    for key, field in ((F6, "Size"), ("\t", "Width"), ("\t", "Height"), ("\t", "Steps")):
        terminal.press(key)
        terminal.until(lambda field=field: f"{field}: " in terminal.text())
    terminal.press("900" + F5)  # a field is selected when the focus comes to it
    for size in ((80, 24), (120, 40)):
        before = step(terminal)
        terminal.resize(*size)
        terminal.until(lambda before=before: "/900" in terminal.text() and step(terminal) > before)
    terminal.press(F9)
    terminal.until(lambda: "Cancelled." in terminal.text())
    assert len(saved_pictures(gallery)) == 1

    terminal.press(F6 + "5")  # out of the field, where it would be typed
    terminal.until(lambda: "Recall a all" in terminal.text())
    terminal.press("a")
    terminal.until(lambda: "Put back" in terminal.text())
    terminal.press(CTRL_Q)
    assert terminal.end() == 0


def test_a_prompt_of_ten_thousand_characters_outlives_a_terminal_that_is_unplugged(
    terminal: Terminal, gallery: Gallery
) -> None:
    text = "".join(f"line {number:04}\n" for number in range(1000))
    terminal.press(f"\x1b[200~{text}\x1b[201~")
    terminal.until(lambda: "line 0999" in terminal.text())
    terminal.press(F5)
    terminal.until(lambda: "denoising" in terminal.text())
    terminal.unplug()
    assert terminal.process.wait(WAIT_S) == 129
    assert paths.state_file().read_text(encoding="utf-8").count("line 0999") == 2  # the draft, and what was painted
    with opened(gallery) as again:
        again.until(lambda: "1 picture waits" in again.text() and "line 0999" in again.text())


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_tmux_in_between_changes_nothing(gallery: Gallery, tmp_path: Path) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "tmux.sock"), "-f", "/dev/null"]
    command = [str(PROGRAM), "--gallery", str(gallery.root)]
    try:
        with Terminal.of([*tmux, "new-session", *command], cwd=ROOT, wait_s=WAIT_S) as terminal:
            terminal.until(lambda: "press F5" in terminal.text())
            terminal.press("a hill" + F5)
            terminal.until(lambda: "denoising" in terminal.text())
            terminal.resize(120, 40)
            terminal.until(lambda: "Saved 2" in terminal.text())
            terminal.until(lambda: "\N{UPPER HALF BLOCK}" in terminal.text())
            terminal.press(CTRL_Q)
            assert terminal.end() == 0
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
    (picture,) = saved_pictures(gallery)
    assert picture.record.request.prompt == "a hill"
