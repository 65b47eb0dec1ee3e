"""The line of keys: what applies here and now, as people write it, whole entries only."""

from __future__ import annotations

import threading

import pytest

from flux_tui.gallery import Gallery
from flux_tui.keys import written
from flux_tui.widgets.key_footer import Entry, fitting
from tests.tui.driver import Driver, running
from tests.tui.fakes import FakeEngine

PAINT, CANCEL, KEYS, PALETTE, QUIT = (
    Entry("f5", "F5", "Paint", "generate"),
    Entry("f9", "F9", "Cancel", "cancel"),
    Entry("question_mark", "?", "Keys", "keymap"),
    Entry("ctrl+p", "^P", "Palette", "palette"),
    Entry("ctrl+q", "^Q", "Quit", "quit"),
)
ALL = [PAINT, CANCEL, KEYS, PALETTE, QUIT]


def footer(driver: Driver) -> str:
    return driver.screen_text().splitlines()[-1].strip()


@pytest.mark.parametrize(
    ("width", "left"),
    [
        (200, ALL),
        (50, ALL),
        (49, [PAINT, CANCEL, KEYS, QUIT]),
        (37, [PAINT, KEYS, QUIT]),
        (26, [KEYS, QUIT]),
        (16, [KEYS]),
        (7, []),
    ],
)
def test_entries_go_whole_and_the_way_out_goes_last(width: int, left: list[Entry]) -> None:
    assert fitting(ALL, width) == left


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("f12,ctrl+g", "F12  Ctrl+G"),
        ("ctrl+shift+left,pageup", "Ctrl+Shift+Left  PageUp"),
        ("S,s,question_mark,slash", "S  s  ?  /"),
        ("escape,space,enter", "Escape  Space  Enter"),
        ("ctrl+minus", "Ctrl+-"),
        ("", ""),
    ],
)
def test_keys_are_written_as_people_write_them(keys: str, shown: str) -> None:
    assert written(keys) == shown


async def test_keys_of_the_config_stand_in_the_usual_order_and_an_action_without_one_does_not(gallery: Gallery) -> None:
    config = '[keys]\ngenerate = "f12,ctrl+y"\nzoom = ""\nhelp = "ctrl+h"\n'
    async with running(gallery, config=config) as driver:
        await driver.until(lambda: "Quit" in footer(driver))
        assert footer(driver) == "F12 Paint  F6 Panes  Ctrl+H Help  ^P Palette  ^Q Quit"


async def test_the_key_that_shows_all_keys_is_offered_where_it_is_no_text(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.until(lambda: "Quit" in footer(driver))
        assert "? Keys" not in footer(driver)
        await driver.press("escape")
        await driver.until(lambda: "? Keys" in footer(driver))


async def test_no_word_is_cut_at_any_width_and_the_way_out_stays(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine, size=(200, 24)) as driver:
        await driver.press("x", "f5", "x", "f5", "escape", "4")
        await driver.until(lambda: "x Cancel" in footer(driver))
        whole = footer(driver).split("  ")
        for columns in (120, 100, 80, 76, 50, 40):
            await driver.pilot.resize_terminal(columns, 24)
            await driver.until(lambda columns=columns: driver.app.size.width == columns)
            await driver.until(lambda: set(footer(driver).split("  ")) <= set(whole))
            assert footer(driver).split("  ")[-1] == "^Q Quit" and "? Keys" in footer(driver)


async def test_a_click_presses_the_key_that_was_pointed_at(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.until(lambda: "F3 Zoom" in footer(driver))
        line = driver.screen_text().splitlines()[-1]
        await driver.pilot.click("KeyFooter", offset=(line.index("Zoom") + 3, 0))
        await driver.until(lambda: driver.screen.is_zoomed)
        await driver.pilot.click("KeyFooter", offset=(118, 0))  # no key is there
        await driver.pilot.pause()
        assert driver.screen.is_zoomed and driver.app.is_running
