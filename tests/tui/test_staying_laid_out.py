"""What happens at every key, or as a job begins, lays nothing out: all of the screen would take 15 ms and more."""

from __future__ import annotations

import pytest
from textual.geometry import Size
from textual.screen import Screen

from flux_engine.request import GenerationRequest
from flux_tui.gallery import Gallery
from flux_tui.jobs import Job
from tests.tui.driver import Driver, running


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> list[Screen[object]]:
    """Screens that are laid out anew, each time they are."""
    screens: list[Screen[object]] = []
    lay_out = Screen._refresh_layout

    def listen(screen: Screen[object], size: Size | None = None, scroll: bool = False) -> None:
        screens.append(screen)
        lay_out(screen, size, scroll)

    monkeypatch.setattr(Screen, "_refresh_layout", listen)
    return screens


async def settle(driver: Driver, laid_out: list[Screen[object]]) -> None:
    await driver.until(lambda: "T5" in driver.screen_text() and driver.screen.form.controls)
    await driver.pilot.pause()
    laid_out.clear()


async def test_a_letter_lays_nothing_out(gallery: Gallery, laid_out: list[Screen[object]]) -> None:
    async with running(gallery) as driver:
        await driver.press("a")
        await settle(driver, laid_out)
        await driver.press("b", "backspace", "c")
        assert driver.screen.prompt.text == "ac" and laid_out == []
        await driver.press(*"(d:2)")
        await driver.until(lambda: "reads (d:2) literally" in driver.screen_text())
        assert laid_out != []  # the hint has a line of its own


@pytest.mark.parametrize("size", [(120, 40), (200, 60)])
async def test_what_a_job_that_begins_says_lays_nothing_out(
    gallery: Gallery, laid_out: list[Screen[object]], size: tuple[int, int]
) -> None:
    async with running(gallery, size=size) as driver:
        screen = driver.screen
        await driver.press("a")
        screen.form.put({"seed": "77"})
        await settle(driver, laid_out)
        assert [request.seed for request in screen.form.requests("a boat")] == [77]
        screen.stage.say("The first steps will show here.")
        screen.queue.show([Job(1, GenerationRequest(prompt="a boat"), "running")], False)
        screen.queue.progress(1, "1/20")
        await driver.pilot.pause()
        assert "The first steps" in driver.screen_text() and laid_out == []
