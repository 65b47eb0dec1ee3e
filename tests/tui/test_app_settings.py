"""The form: seeds, sizes, what is marked, and whose defaults stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events

from flux_engine.request import GenerationRequest
from flux_tui.gallery import Gallery
from flux_tui.screens.main import MainScreen
from flux_tui.widgets.settings_form import SettingsForm
from tests.tui.driver import Driver, running


def burst(driver: Driver, *keys: str) -> None:
    """Keys as a slow link sends them, all before the first one is acted upon."""
    for key in keys:
        driver.app.post_message(events.Key(key, key if len(key) == 1 else None))


def focus(driver: Driver, name: str) -> None:
    driver.app.screen.set_focus(driver.screen.form.rows[name].control)


async def test_a_random_seed_changes_and_a_fixed_one_stays(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x", "f5", "f5")
        await driver.done()
        first, second = (request.seed for request in driver.engine.requests)
        assert first != second
        assert driver.field("seed") == str(second)
        await driver.press("f4", "f5", "f5")
        await driver.done()
        assert [request.seed for request in driver.engine.requests[2:]] == [second, second]
        assert driver.field("seed_use") == "fixed"


async def test_a_seed_that_is_typed_is_the_one_that_paints(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.form.rows["seed"].control.focus()
        await driver.press("4", "2")
        await driver.until(lambda: driver.field("seed_use") == "fixed")
        await driver.press("shift+f6", "x", "f5")
        await driver.done()
        assert driver.engine.requests[0].seed == 42


async def test_a_count_queues_so_many_pictures_and_an_incremented_seed_goes_on(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("seed", "4294967294")
        driver.put("count", "3")
        driver.put("seed_use", "increment")
        await driver.press("x", "f5")
        await driver.done()
        assert [request.seed for request in driver.engine.requests] == [4294967294, 4294967295, 0]
        assert driver.field("seed") == "1"
        driver.put("count", "none")
        await driver.press("f5")
        await driver.until(lambda: "from 1 to 1000" in driver.screen.form.rows["count"].fault)
        assert len(driver.engine.requests) == 3


async def test_a_size_preset_sets_width_and_height_and_free_numbers_make_it_custom(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6", "enter", "down", "enter")
        await driver.until(lambda: (driver.field("width"), driver.field("height")) == ("192", "128"))
        driver.put("width", "160")
        await driver.until(lambda: driver.field("size") == "custom")
        driver.put("width", "128")
        await driver.until(lambda: driver.field("size") == "128x128")


async def test_sides_are_swapped_and_free_numbers_snap_to_what_can_be_painted(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("width", "192")
        await driver.press("ctrl+s")
        await driver.until(lambda: (driver.field("width"), driver.field("height")) == ("128", "192"))
        assert driver.field("size") == "128x192"
        driver.screen.form.rows["width"].control.focus()
        driver.put("width", "150")
        await driver.press("tab")
        await driver.until(lambda: driver.field("width") == "144")
        driver.put("height", "99")
        await driver.press("shift+f6", "x", "f5")
        await driver.done()
        assert (driver.engine.requests[0].width, driver.engine.requests[0].height) == (144, 96)


async def test_another_model_brings_its_own_defaults_where_nothing_was_changed(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "9")
        driver.put("checkpoint_dir", "/models/flux")
        await driver.until(lambda: driver.field("width") == "1024")
        assert (driver.field("num_steps"), driver.field("size")) == ("9", "1024x1024")
        driver.put("checkpoint_dir", "")
        await driver.until(lambda: driver.field("width") == "128")


async def test_what_changed_since_the_last_picture_is_marked(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        rows = driver.screen.form.rows
        driver.put("num_steps", "9")
        await driver.pilot.pause()
        assert not any(row.has_class("-changed") for row in rows.values())  # there is no picture yet
        await driver.press("x", "f5")
        await driver.done()
        driver.put("num_steps", "8")
        await driver.until(lambda: "Steps     •" in driver.screen_text())
        assert [name for name, row in rows.items() if row.has_class("-changed")] == ["num_steps"]
        driver.put("num_steps", "9")
        await driver.until(lambda: not rows["num_steps"].has_class("-changed"))


async def test_the_configs_defaults_stand_in_the_form_until_something_else_was_left(gallery: Gallery) -> None:
    config = "[defaults]\nnum_steps = 5\nguidance_scale = 2.5\n"
    async with running(gallery, config=config) as driver:
        assert (driver.field("num_steps"), driver.field("guidance_scale")) == ("5", "2.5")
        driver.put("num_steps", "6")
        await driver.until(lambda: driver.app.session.state.settings.get("num_steps") == "6")
    async with running(gallery, config=config) as driver:
        assert driver.field("num_steps") == "6"
        driver.screen.action_reset_settings()
        assert driver.field("num_steps") == "5"


async def test_a_model_on_the_command_line_goes_before_what_was_left(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "6")
        await driver.until(lambda: driver.app.session.state.settings.get("num_steps") == "6")
    async with running(gallery, checkpoint_dir="/models/flux") as driver:
        assert (driver.field("checkpoint_dir"), driver.field("num_steps")) == ("/models/flux", "30")


async def test_keys_of_one_burst_act_in_their_order(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.prompt.put_back("x")
        driver.put("num_steps", "20")
        focus(driver, "num_steps")
        burst(driver, "end", "backspace", "backspace", "3", "0")
        await driver.until(lambda: driver.field("num_steps") == "30")
        burst(driver, "ctrl+u", "4", "0", "f5")
        await driver.until(lambda: driver.engine.requests)
        await driver.done()
        assert driver.engine.requests[0].num_steps == 40


async def test_a_seed_or_a_model_typed_in_one_burst_with_the_key_that_paints_counts(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.prompt.put_back("x")
        focus(driver, "seed")
        burst(driver, "ctrl+u", "4", "2", "f5")
        await driver.until(lambda: driver.engine.requests)
        await driver.done()
        assert (driver.engine.requests[0].seed, driver.field("seed_use")) == (42, "fixed")
        focus(driver, "checkpoint_dir")
        burst(driver, "/", "m", "f5")
        await driver.until(lambda: len(driver.engine.requests) == 2)
        await driver.done()
        assert (driver.engine.requests[1].checkpoint_dir, driver.engine.requests[1].width) == ("/m", 1024)


async def test_a_seed_that_was_typed_may_be_random_again(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("seed_use", "fixed")
        driver.put("seed", "42")
        await driver.pilot.pause()
        driver.put("seed_use", "random")
        await driver.press("x", "f5")
        await driver.done()
        assert driver.engine.requests[0].seed != 42


async def test_a_count_of_5000_digits_is_a_fault_like_any_other(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("count", "9" * 5000)
        await driver.until(lambda: "from 1 to 1000" in driver.screen.form.rows["count"].fault)


async def test_the_form_starts_and_takes_text_where_the_current_folder_is_gone(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    async with running(gallery) as driver:
        here.rmdir()
        assert SettingsForm({"checkpoint_dir": "models/x"}).model == "models/x"
        driver.put("checkpoint_dir", "models/y")
        await driver.until(lambda: "folder is gone" in driver.screen.form.rows["checkpoint_dir"].fault)
        assert driver.field("width") == "1024"


async def test_a_preset_that_names_a_seed_fixes_it(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        form = driver.screen.form
        form.put_values({"seed": 5})
        assert (driver.field("seed"), driver.field("seed_use")) == ("5", "fixed")
        form.put_values({"seed": 6, "seed_use": "increment"})
        assert driver.field("seed_use") == "increment"
        form.put_values({"num_steps": 6})
        assert driver.field("seed_use") == "increment"


async def test_a_preset_of_another_model_brings_the_defaults_it_does_not_name(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "9")
        driver.screen.form.put_values({"checkpoint_dir": "/models/flux", "width": 512})
        assert [driver.field(name) for name in ("width", "height", "num_steps")] == ["512", "1024", "30"]
        driver.put("num_steps", "9")
        driver.screen.form.put_values({"checkpoint_dir": "/models/flux"})
        assert driver.field("num_steps") == "9"


async def test_a_presets_negative_prompt_is_handed_on(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    take = "on_settings_form_negative_named"
    monkeypatch.setattr(MainScreen, take, lambda _, message: heard.append(message.negative_prompt), raising=False)
    async with running(gallery) as driver:
        driver.screen.form.put_values({"num_steps": 6})
        driver.screen.form.put_values({"negative_prompt": "fog"})
        driver.screen.form.put_values({"negative_prompt": None})
        await driver.until(lambda: heard == ["fog", ""])


async def test_a_recalled_picture_is_one_picture(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("count", "5")
        driver.screen.form.put_back(GenerationRequest(prompt="p", seed=3))
        assert [driver.field(name) for name in ("count", "seed", "seed_use")] == ["1", "3", "fixed"]


async def test_escape_leaves_a_field_and_closes_a_list_first(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        focus(driver, "width")
        await driver.press("escape")
        assert driver.screen.pane("picture").has_focus
        focus(driver, "timer")
        await driver.press("enter", "escape")
        assert driver.screen.form.rows["timer"].control.has_focus
        await driver.press("escape")
        assert driver.screen.pane("picture").has_focus


async def test_what_was_left_for_a_model_is_found_by_its_path(gallery: Gallery, own_home: Path) -> None:
    async with running(gallery) as driver:
        driver.put("checkpoint_dir", "~/flux")
        driver.put("num_steps", "6")
        await driver.until(lambda: driver.app.session.state.settings.get("num_steps") == "6")
    async with running(gallery, checkpoint_dir=str(own_home / "flux")) as driver:
        assert driver.field("num_steps") == "6"
