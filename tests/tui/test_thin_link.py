"""The app on a link that is thin, or hangs: at rest it sends nothing, and what nobody would see is not painted."""

from __future__ import annotations

from textual.command import CommandInput

from flux_tui.gallery import Gallery
from tests.tui.driver import Driver, running


class Paintings:
    """Counts how often the screen is painted, and how often all of it is asked for."""

    def __init__(self, driver: Driver) -> None:
        self.count = self.whole = 0
        refresh, render = driver.screen.refresh, driver.screen._compositor.render_update

        def refreshed(*regions: object, **how: bool) -> object:
            self.whole += how.get("layout", False)
            return refresh(*regions, **how)  # type: ignore[arg-type]

        def rendered(*arguments: object, **how: object) -> object:
            self.count += not driver.app._batch_count
            return render(*arguments, **how)  # type: ignore[arg-type]

        driver.screen.refresh = refreshed  # type: ignore[method-assign,assignment]
        driver.screen._compositor.render_update = rendered  # type: ignore[method-assign,assignment]


async def test_nothing_is_painted_while_the_terminal_takes_nothing_and_then_all_at_once(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.app._hold(True)
        paintings = Paintings(driver)
        await driver.press("a", "b", "c")
        assert driver.screen.prompt.text == "abc"
        assert paintings.count == 0
        driver.app._hold(False)
        await driver.until(lambda: paintings.count)
        assert paintings.whole == 0


async def test_another_size_that_came_meanwhile_is_painted_whole(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.app._hold(True)
        paintings = Paintings(driver)
        await driver.pilot.resize_terminal(80, 24)
        await driver.until(lambda: driver.app._is_unpainted)
        before, paintings.whole = paintings.count, 0
        driver.app._hold(False)
        await driver.until(lambda: paintings.count > before)
        assert paintings.whole == 1


async def test_the_palettes_cursor_does_not_blink(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        for key in ("ctrl+p", "f2"):
            await driver.press(key)
            await driver.until(lambda: driver.app.screen.query(CommandInput))
            typed = driver.app.screen.query_one(CommandInput)
            await driver.until(lambda typed=typed: not typed.cursor_blink)
            assert typed._cursor_visible
            await driver.press("escape")
