"""The program as people start it, with the demo model, in a real pseudo-terminal."""

from __future__ import annotations

from pathlib import Path

from flux_tui.gallery import Gallery
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
F5, F6, F9, CTRL_Q = "\x1b[15~", "\x1b[17~", "\x1b[20~", "\x11"


def test_a_prompt_becomes_a_picture_and_another_is_cancelled(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery")
    with Terminal(["-m", "flux_tui", "--gallery", str(gallery.root)], cwd=ROOT, wait_s=240.0) as terminal:
        terminal.until(lambda: "press F5" in terminal.text())
        terminal.press("snow over a pine forest at night" + F5)
        terminal.until(lambda: "denoising" in terminal.text())
        terminal.until(lambda: "Saved 2" in terminal.text())
        (picture,) = gallery.newest()
        assert picture.record.request.prompt == "snow over a pine forest at night"
        assert set(picture.record.seconds) >= {"loading", "encoding", "denoising", "decoding"}
        assert "\N{UPPER HALF BLOCK}" in terminal.text()

        terminal.resize(120, 40)
        for key, field in ((F6, "Size"), ("\t", "Width"), ("\t", "Height"), ("\t", "Steps")):
            terminal.press(key)
            terminal.until(lambda field=field: f"{field}: " in terminal.text())
        terminal.press("900" + F5)  # a field is selected when the focus comes to it
        terminal.until(lambda: "/900" in terminal.text())
        terminal.press(F9)
        terminal.until(lambda: "Cancelled." in terminal.text())
        assert len(gallery.newest()) == 1
        terminal.until(lambda: "F9" not in terminal.text())
        terminal.press(CTRL_Q)
        assert terminal.end() == 0
