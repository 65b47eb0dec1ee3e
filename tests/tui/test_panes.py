"""Where the panes are, how one goes from one to another, and what stays when the terminal changes its size."""

from __future__ import annotations

import pytest
from textual.widgets import Static

from flux_tui.gallery import Gallery
from flux_tui.layout import PANES, Pane
from flux_tui.screens.finder import FIELD_LETTERS, PANE_LETTERS
from flux_tui.screens.help import HelpScreen
from flux_tui.screens.jump import JumpScreen
from flux_tui.settings import FORM_FIELDS
from flux_tui.terminal.abilities import Abilities
from tests.tui.driver import Driver, keep, running


def shown(driver: Driver) -> set[Pane]:
    return {pane for pane in PANES if driver.screen.pane(pane).display}


def focused(driver: Driver) -> Pane | None:
    """None while the focus is on its way."""
    return next((pane for pane in PANES if driver.screen.pane(pane).has_focus_within), None)


@pytest.mark.parametrize(
    ("size", "panes"),
    [
        ((50, 24), {"prompt"}),
        ((80, 24), {"prompt", "picture"}),
        ((120, 40), {"prompt", "settings", "picture", "history"}),
        ((200, 60), set(PANES)),
    ],
)
async def test_a_screen_shows_as_many_panes_as_it_has_room_for(
    gallery: Gallery, size: tuple[int, int], panes: set[Pane]
) -> None:
    async with running(gallery, size=size) as driver:
        assert shown(driver) == panes
        await driver.until(lambda: driver.screen_text().splitlines()[-1].rstrip().endswith("Quit") or size[0] < 80)
        for pane in panes:
            region = driver.screen.pane(pane).region
            assert region.width >= 36 and region.height >= 6
            assert region.bottom <= size[1] - 2


@pytest.mark.parametrize("size", [(50, 24), (80, 24), (120, 40), (200, 60)])
async def test_f6_goes_round_all_panes_and_shows_each(gallery: Gallery, size: tuple[int, int]) -> None:
    async with running(gallery, size=size) as driver:
        for pane in (*PANES[1:], PANES[0]):
            await driver.press("f6")
            await driver.until(lambda pane=pane: focused(driver) == pane and pane in shown(driver))
        await driver.press("shift+f6")
        await driver.until(lambda: focused(driver) == "history")


@pytest.mark.parametrize("size", [(50, 24), (80, 24), (120, 40)])
async def test_digits_and_clicks_on_tabs_go_to_a_pane(gallery: Gallery, size: tuple[int, int]) -> None:
    async with running(gallery, size=size) as driver:
        await driver.press("escape")
        for digit, pane in enumerate(PANES[2:], 3):
            await driver.press(str(digit))
            await driver.until(lambda pane=pane: focused(driver) == pane)
        await driver.press("1")
        await driver.until(lambda: focused(driver) == "prompt")
        await driver.press("5")
        assert driver.screen.prompt.text == "5"  # a digit in the prompt is text
        await driver.pilot.click("#tab-queue")
        await driver.until(lambda: focused(driver) == "queue")


async def test_the_form_remembers_its_field_and_says_what_it_is_for(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6", "tab", "tab", "tab")
        assert driver.screen.form.rows["num_steps"].control.has_focus
        await driver.until(lambda: driver.status.startswith("Steps: "))
        await driver.press("shift+f6", "f6")
        assert driver.screen.form.rows["num_steps"].control.has_focus


async def test_jump_goes_to_any_pane_or_field_by_its_letter(gallery: Gallery) -> None:
    async with running(gallery, size=(80, 24)) as driver:
        for key, pane in (("q", "queue"), ("h", "history"), ("s", "settings")):
            await driver.press("ctrl+o")
            await driver.until(lambda: isinstance(driver.app.screen, JumpScreen))
            await driver.press(key)
            await driver.until(lambda pane=pane: driver.app.screen is driver.screen and focused(driver) == pane)
        await driver.press("ctrl+o", "f")  # the letters of the fields leave out those of the panes
        fields = [field.name for field in FORM_FIELDS]
        await driver.until(lambda: driver.screen.form.rows[fields[4]].control.has_focus)
        assert len(FIELD_LETTERS) == len(driver.screen.form.controls) and not set(FIELD_LETTERS) & set(PANE_LETTERS)


async def test_the_focus_stays_where_the_keys_go_when_the_size_changes(gallery: Gallery) -> None:
    async with running(gallery, size=(120, 40)) as driver:
        driver.screen.form.rows["num_steps"].control.focus()
        for size in ((80, 24), (20, 5), (80, 24), (200, 60)):
            await driver.pilot.resize_terminal(*size)
            await driver.pilot.pause()
        await driver.until(lambda: focused(driver) == "settings")
        assert driver.screen.form.rows["num_steps"].control.has_focus


async def test_zoom_gives_the_picture_the_screen_and_back(gallery: Gallery) -> None:
    async with running(gallery, size=(80, 24)) as driver:
        before = driver.screen.stage.size
        for back in ("f3", "f6", "escape"):
            await driver.press("f3")
            await driver.until(lambda: driver.screen.stage.size.width > 70 and shown(driver) == {"picture"})
            await driver.press(back)
            await driver.until(lambda: driver.screen.stage.size == before)
            driver.screen.go_to("prompt")


async def test_f1_explains_what_has_the_focus_and_closes_again(gallery: Gallery) -> None:
    async with running(gallery, size=(120, 60)) as driver:
        await driver.press("f6", "tab", "tab", "tab", "f1")
        assert isinstance(driver.app.screen, HelpScreen)
        await driver.until(lambda: "More steps: slower, finer." in driver.screen_text())
        assert driver.screen_text().index("What it does") < driver.screen_text().index("Anywhere")
        assert "Tab                      Go to the next setting." in driver.screen_text()
        for close in ("f1", "escape", "q"):
            await driver.press(close)
            await driver.until(lambda: driver.app.screen is driver.screen)
            await driver.press("f1")
        await driver.press("f1")


async def test_a_question_mark_shows_every_key_where_no_text_is_edited(gallery: Gallery) -> None:
    async with running(gallery, size=(120, 200)) as driver:
        await driver.press("question_mark")
        assert driver.screen.prompt.text == "?"
        await driver.press("escape", "question_mark")
        await driver.until(lambda: isinstance(driver.app.screen, HelpScreen) and "F5  Ctrl+G" in driver.screen_text())
        text = "\n".join(str(static.content) for static in driver.app.screen.query(Static))
        for words in ("F5  Ctrl+G", "Shift+F6", "Ctrl+R", "Alt+Up", "Cancel this job", "Put width and height back"):
            assert words in text
        assert "Shift+Tab" in text


@pytest.mark.parametrize("key", ["f1", "question_mark"])
@pytest.mark.parametrize("columns", [32, 40, 60])
async def test_the_help_has_room_for_words_on_a_narrow_screen(gallery: Gallery, columns: int, key: str) -> None:
    async with running(gallery, size=(columns, 12)) as driver:
        await driver.press("escape", key)
        await driver.until(lambda: isinstance(driver.app.screen, HelpScreen) and "Esc Close" in driver.screen_text())
        assert min(text.content_size.width for text in driver.app.screen.query(".text")) >= 25


async def test_resizing_keeps_what_was_typed_and_a_tiny_terminal_says_what_it_needs(gallery: Gallery) -> None:
    keep(gallery)
    async with running(gallery, size=(200, 60)) as driver:
        await driver.press("a", "b")
        await driver.pilot.resize_terminal(20, 5)
        await driver.until(lambda: "20x5 is too small." in driver.screen_text())
        assert "Nothing is lost." in driver.screen_text()
        await driver.pilot.resize_terminal(80, 24)
        await driver.until(lambda: "Prompt  Settings  Queue  History" in driver.screen_text())
        for size in ((50, 20), (120, 40), (200, 60)):
            await driver.pilot.resize_terminal(*size)
            await driver.until(lambda: "ab" in driver.screen_text())
        assert driver.screen.prompt.text == "ab"
        await driver.until(lambda: "snow over a pine [forest]" in driver.screen_text())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_ascii_alone_is_drawn_where_the_config_wants_it(gallery: Gallery, size: tuple[int, int]) -> None:
    keep(gallery)
    async with running(gallery, size=size, config="[app]\nascii = true\n") as driver:
        await driver.press("x", "enter")
        await driver.done()
        for key in ("escape", "2", "4", "5", "1"):
            await driver.press(key)
            await driver.pilot.pause()
            odd = {sign for sign in driver.screen_text() if not sign.isascii()}
            assert odd == set()


async def test_keys_typed_before_the_app_was_there_are_in_the_prompt(gallery: Gallery) -> None:
    async with running(gallery, abilities=Abilities(typed=b"early ")) as driver:
        await driver.press("x")
        assert driver.screen.prompt.text == "early x"
