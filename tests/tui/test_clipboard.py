"""Copied text leaves by OSC 52, or inside tmux by tmux, and the words say which."""

from __future__ import annotations

import os
import shutil
from base64 import b64decode
from pathlib import Path

import pytest

from flux_tui.gallery import Gallery
from flux_tui.terminal.clipboard import copy
from tests.tui.driver import running
from tests.tui.scripted import RealTmux, fake_tmux

TEXT = "a lonely hill;\n\t\x1b[31m\N{SNOWMAN} 'quoted' \\"


def osc52(written: list[str]) -> bytes:
    """The text in what was written to the terminal."""
    (code,) = written
    assert code.startswith("\x1b]52;c;") and code.endswith("\x07")
    return b64decode(code[len("\x1b]52;c;") : -1], validate=True)


def test_outside_tmux_it_is_osc_52() -> None:
    written: list[str] = []
    assert copy(TEXT, written.append, {"TERM": "xterm"}) == "copied with OSC 52"
    assert osc52(written) == TEXT.encode()


def test_inside_tmux_it_is_tmux(tmp_path: Path) -> None:
    written: list[str] = []
    assert copy(TEXT, written.append, fake_tmux(tmp_path, "true")) == "copied with tmux load-buffer -w"
    assert written == []
    assert (tmp_path / "given").read_text(encoding="utf-8") == TEXT
    assert (tmp_path / "asked").read_text() == "load-buffer -w -\n"


def test_a_real_tmux_keeps_the_text_and_hands_it_to_its_terminal(tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed; the script above stands for it")
    with RealTmux(tmp_path) as real:
        assert copy(TEXT, [].append, real.env) == "copied with tmux load-buffer -w"
        assert real.run("show-buffer") == TEXT
        written: list[str] = []
        copy(TEXT, written.append, {})
        payload = written[0].removeprefix("\x1b]52;c;").removesuffix("\x07").encode()
        real.read_until(lambda: b"\x1b]52;" in real.shown and payload in real.shown)


@pytest.mark.parametrize("answer", ["exit 1", "exec sleep 600"])
def test_a_tmux_that_fails_or_hangs_leaves_it_to_osc_52(
    tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flux_tui.terminal.tmux.PATIENCE_S", 0.05 if "sleep" in answer else 30.0)
    written: list[str] = []
    assert copy(TEXT, written.append, fake_tmux(tmp_path, answer)) == "copied with OSC 52"
    assert osc52(written) == TEXT.encode()


@pytest.mark.parametrize(("n_bytes", "warns"), [(56_244, False), (56_246, True)])
def test_a_text_that_some_terminals_refuse_is_said_to_be_one(n_bytes: int, warns: bool) -> None:
    written: list[str] = []
    words = copy("x" * n_bytes, written.append, {})
    assert words.startswith("copied with OSC 52") and ("74,994" in words and "some terminals refuse" in words) == warns
    assert len(osc52(written)) == n_bytes


def test_half_a_character_is_no_fault() -> None:
    written: list[str] = []
    copy("a\ud800b", written.append, {})
    assert osc52(written) == b"a?b"


async def test_a_tmux_that_hangs_holds_nothing_up(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "word")
    monkeypatch.setattr("flux_tui.terminal.tmux.PATIENCE_S", 60.0)
    for name, value in fake_tmux(tmp_path, f"read -r word < '{tmp_path}/word'").items():
        monkeypatch.setenv(name, value)
    async with running(gallery) as driver:
        driver.app.copy_to_clipboard(TEXT, "Prompt")
        await driver.press("x")
        assert driver.screen.prompt.text == "x" and "copied" not in driver.status
        with open(tmp_path / "word", "w") as word:
            word.write("now\n")
        await driver.until(lambda: driver.status == "Prompt copied with tmux load-buffer -w.")
        assert driver.app.clipboard == TEXT
