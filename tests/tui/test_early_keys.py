"""Keys that are pressed before there is anything to see lose nothing and run nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from flux_tui.app import FluxApp
from flux_tui.gallery import Gallery
from flux_tui.terminal.abilities import Abilities
from tests.tui.driver import running
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]


async def test_text_that_came_while_the_terminal_was_asked_is_in_the_prompt(gallery: Gallery) -> None:
    typed = b"a hill\rwith snovv\x7f\x7fw\x1b[15~\x1bOA\x07"
    async with running(gallery, abilities=Abilities(typed=typed)) as driver:
        await driver.until(lambda: driver.screen.prompt.text == "a hill\nwith snow")
        await driver.press("!")
        assert driver.screen.prompt.text == "a hill\nwith snow!"
        assert driver.engine.requests == []


def hurry(app: FluxApp) -> None:
    """Somebody types as soon as keys are read, which is before the first screen is there."""
    for key in ("a", "enter", "b", "ctrl+w", "c"):
        app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_keys_that_come_before_the_first_screen_wait_for_it(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FluxApp, "on_load", hurry, raising=False)
    async with running(gallery, abilities=Abilities(typed=b"first ")) as driver:
        await driver.until(lambda: driver.screen.prompt.text == "first a\nc")
        assert driver.engine.requests == []
        await driver.press("enter")
        await driver.done()
        assert len(driver.engine.requests) == 1


def test_a_whole_line_typed_at_the_shells_prompt_is_in_the_apps(tmp_path: Path) -> None:
    with Terminal(["-m", "tests.tui.fake_app", str(tmp_path / "gallery")], cwd=ROOT) as terminal:
        terminal.press("a hill\rand a dog")
        terminal.until(lambda: "│ a hill" in terminal.text() and "│ and a dog" in terminal.text())
        assert not (tmp_path / "gallery").exists()
