"""Old pictures and old prompts come back into the panes, whole or in part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux_engine.request import GenerationRequest
from flux_tui.gallery import Gallery
from flux_tui.screens.picker import Picker
from flux_tui.stars import STARS_FILE
from tests.tui.driver import OLD, keep, running
from tests.tui.fakes import gradient

FIELDS = ("size", "num_steps", "seed", "seed_use", "integrator")


async def test_moving_to_a_picture_shows_it_and_a_puts_all_of_it_back(gallery: Gallery) -> None:
    keep(gallery)
    keep(gallery, GenerationRequest(prompt="newer"), day=2)
    async with running(gallery) as driver:
        await driver.press("m", "y", "escape", "5", "down")
        await driver.until(lambda: "seed 77" in driver.screen.stage.text)
        assert driver.screen.stage.image == gradient(192, 128)
        await driver.press("a")
        await driver.until(lambda: driver.screen.prompt.text == OLD.prompt)
        assert [driver.field(name) for name in FIELDS] == ["192x128", "7", "77", "fixed", "heun"]
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests == [OLD]
        await driver.press("1", "ctrl+z")
        assert driver.screen.prompt.text == "my"  # nothing typed is lost


@pytest.mark.parametrize(
    ("key", "prompt", "fields"),
    [
        ("p", OLD.prompt, ["128x128", "20", "random", "euler"]),
        ("S", "my", ["128x128", "20", "fixed", "euler"]),
        ("r", OLD.prompt, ["192x128", "7", "random", "heun"]),
        ("d", "my", ["192x128", "20", "random", "euler"]),
    ],
)
async def test_a_part_of_a_picture_is_put_back(gallery: Gallery, key: str, prompt: str, fields: list[str]) -> None:
    keep(gallery)
    async with running(gallery) as driver:
        seed = driver.field("seed")
        await driver.press("m", "y", "escape", "5", key)
        await driver.until(lambda: driver.status.startswith("Put back") and "Ctrl+Z" in driver.status)
        assert driver.screen.prompt.text == prompt
        assert [driver.field(name) for name in FIELDS if name != "seed"] == fields
        assert driver.field("seed") == ("77" if key == "S" else seed)


@pytest.mark.parametrize("key", ["p", "a"])
async def test_the_undo_that_is_promised_brings_the_negative_prompt_back_too(gallery: Gallery, key: str) -> None:
    keep(gallery)
    async with running(gallery) as driver:
        driver.put("true_cfg_scale", "3")
        driver.screen.prompt.put_back("draft two", "rain")
        await driver.press("escape", "5", key)
        await driver.until(lambda: driver.screen.prompt.text == OLD.prompt and not driver.screen.prompt.negative)
        assert "Ctrl+Z" in driver.status and "in the prompt" in driver.status
        await driver.press(*(["ctrl+z"] if key == "a" else []), "1", "ctrl+z")
        assert (driver.screen.prompt.text, driver.screen.prompt.negative) == ("draft two", "rain")
        assert driver.field("true_cfg_scale") == "3"


async def test_enter_opens_a_picture_large_and_escape_goes_back(gallery: Gallery) -> None:
    keep(gallery)
    async with running(gallery, size=(80, 24)) as driver:
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: driver.screen.is_zoomed and driver.screen.stage.image is not None)
        await driver.press("escape")
        await driver.until(lambda: not driver.screen.is_zoomed)


async def test_a_star_is_kept(gallery: Gallery) -> None:
    path = keep(gallery)
    async with running(gallery) as driver:
        await driver.press("escape", "5", "full_stop")
        await driver.until(lambda: gallery.starred == {path})
    async with running(gallery) as driver:
        await driver.until(lambda: "★" in driver.screen_text())


async def test_keys_for_a_picture_are_offered_where_there_is_one(gallery: Gallery) -> None:
    async with running(gallery, size=(80, 24)) as driver:
        await driver.press("escape", "5")
        await driver.until(lambda: "^Q Quit" in driver.screen_text() and "Enter Open" not in driver.screen_text())
        await driver.press("1", *"hut", "f5", "escape", "5")
        await driver.done()
        await driver.until(lambda: "Enter Open  a Recall" in driver.screen_text())
        await driver.press("f")
        await driver.until(lambda: "^Q Quit" in driver.screen_text() and "Enter Open" not in driver.screen_text())
        await driver.press("f")
        await driver.until(lambda: "Enter Open  a Recall" in driver.screen_text())


async def test_a_star_that_cannot_be_kept_is_not_said_to_be(gallery: Gallery) -> None:
    path = keep(gallery)
    async with running(gallery) as driver:
        await driver.press("escape", "5")
        hint = driver.status
        (gallery.root / STARS_FILE).mkdir()
        await driver.press("full_stop")
        await driver.until(lambda: driver.notes and not driver.screen.history.stars)
        assert driver.status == hint
        (gallery.root / STARS_FILE).rmdir()
        await driver.press("full_stop")
        await driver.until(lambda: driver.status == f"{path.parent.name}/{path.name} is starred.")


async def test_the_path_and_the_prompt_of_the_picture_on_show_are_copied(gallery: Gallery) -> None:
    path = keep(gallery)
    async with running(gallery) as driver:
        await driver.press("escape", "y")
        assert driver.status == "There is no saved picture on show."
        await driver.press("5", "home", "3")
        await driver.until(lambda: "seed 77" in driver.screen.stage.text)
        await driver.press("y")
        await driver.until(lambda: driver.status == "Path copied with OSC 52.")
        assert driver.app.clipboard == str(path)
        await driver.press("Y")
        assert driver.app.clipboard == OLD.prompt


async def test_a_picture_that_was_deleted_is_said_in_its_row(gallery: Gallery) -> None:
    keep(gallery)
    path = keep(gallery, replace(OLD, seed=5), day=2)
    async with running(gallery) as driver:
        await driver.until(lambda: len(driver.screen.history.pictures) == 2)
        path.unlink()
        await driver.press("escape", "5")
        await driver.until(lambda: "gone" in driver.screen_text())


async def test_prompts_run_before_come_back_by_alt_up_and_by_their_words(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        for word in ("fox", "hen"):
            await driver.press("ctrl+u", *word, "f5")
        await driver.done()
        await driver.press("ctrl+u", "n", "alt+up", "alt+up")
        assert driver.screen.prompt.text == "fox"
        await driver.press("alt+down", "alt+down")
        assert driver.screen.prompt.text == "n"
        await driver.press("ctrl+r")
        await driver.until(lambda: isinstance(driver.app.screen, Picker))
        await driver.press("f", "o", "enter")
        await driver.until(lambda: driver.screen.prompt.text == "fox")
    for path in gallery.root.rglob("*.png"):
        path.unlink()
    async with running(gallery) as driver:  # without their pictures, in another session
        await driver.press("ctrl+r", "enter")
        await driver.until(lambda: driver.screen.prompt.text == "hen")


async def test_a_style_is_picked_by_its_name(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press(*"hut", "ctrl+t", *"ink", "enter")
        await driver.until(lambda: driver.screen.prompt.text.startswith("hut, an ink drawing"))
        await driver.press("ctrl+z")
        assert driver.screen.prompt.text == "hut"


async def test_a_style_without_a_prompt_says_what_it_lacks(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("ctrl+t", *"ink", "enter")
        await driver.until(lambda: "First say what to paint." in driver.screen_text())
        await driver.press("a")
        await driver.until(lambda: "First say" not in driver.screen_text())
        assert driver.screen.prompt.text == "a"


async def test_a_preset_fills_the_form(gallery: Gallery) -> None:
    config = '[presets.draft]\nnum_steps = 4\nintegrator = "heun"\nseed_use = "fixed"\n'
    async with running(gallery, config=config) as driver:
        await driver.press("ctrl+l", *"dr", "enter")
        await driver.until(lambda: driver.field("num_steps") == "4")
        assert (driver.field("integrator"), driver.field("seed_use")) == ("heun", "fixed")
