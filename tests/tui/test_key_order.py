"""Keys that come in one burst act in the order in which they were pressed, whichever widget has the focus."""

from __future__ import annotations

import pytest
from textual import events
from textual.command import CommandList
from textual.widgets import Input

from flux_tui.gallery import Gallery
from tests.tui.driver import running


async def test_each_key_that_moves_the_focus_moves_it(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        one_by_one = []
        for _ in range(4):
            await driver.press("f6")
            one_by_one.append(driver.app.focused)
        await driver.burst("f6", "f6", "f6")
        assert len(set(one_by_one)) == 4
        assert driver.app.focused is one_by_one[1]


async def test_what_is_typed_behind_the_palettes_key_is_searched_for_and_taken(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.burst("ctrl+p", "star")
        await driver.until(lambda: driver.app.screen.query(Input))
        assert driver.app.screen.query_one(Input).value == "star"
        await driver.burst("escape", "boat", "enter")
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["boat"]


async def test_a_paste_keeps_its_place_among_the_keys(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.app.post_message(events.Key("a", "a"))
        driver.app.post_message(events.Paste(" red"))
        await driver.burst(" boat", "ctrl+w", "hat", "enter", "!")
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["a red hat"]
        assert driver.screen.prompt.text == "a red hat!"


async def test_keys_go_on_when_what_had_the_focus_is_gone(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.burst("f1", "escape", "ctrl+r", "escape", "?", "f1", "escape", "x", "enter")
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["?x"]


@pytest.mark.parametrize("key", ["pagedown", "pageup"])
async def test_the_palette_turns_no_page_where_it_has_no_room(gallery: Gallery, key: str) -> None:
    async with running(gallery, size=(40, 4)) as driver:
        await driver.press("ctrl+p")
        rows = driver.app.screen.query_one(CommandList)
        await driver.until(lambda: rows.option_count > 3 and rows.highlighted is not None)
        await driver.press(key, "escape")
        await driver.until(lambda: driver.app.screen is driver.screen)
