"""The form: seeds, sizes, what is marked, and whose defaults stand in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual import events
from textual.app import App, ComposeResult

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


async def test_settings_that_gave_way_come_back_and_go_again(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        form = driver.screen.form
        focus(driver, "num_steps")
        await driver.press("ctrl+u", "1", "2")
        focus(driver, "guidance_scale")
        await driver.press("ctrl+u", "3")
        await driver.until(lambda: driver.field("guidance_scale") == "3")
        mine = form.texts
        form.put_back(GenerationRequest(prompt="p", seed=3, num_steps=5, width=192))
        assert form.undo() and form.texts == mine
        assert form.undo() and driver.field("guidance_scale") == "4" and driver.field("num_steps") == "12"
        assert form.undo() and driver.field("num_steps") == "20" and not form.undo()
        assert form.redo() and form.redo() and form.texts == mine
        assert form.redo() and (driver.field("seed"), driver.field("size")) == ("3", "192x128") and not form.redo()


async def test_settings_of_another_model_come_back_with_their_model(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.form.put_values({"checkpoint_dir": "/models/flux"})
        assert driver.screen.form.model == "/models/flux" and driver.field("width") == "1024"
        driver.screen.form.undo()
        assert driver.screen.form.model is None and driver.field("size") == "128x128"


async def test_a_seed_that_was_drawn_is_no_step_of_its_own(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        form = driver.screen.form
        driver.put("num_steps", "9")
        await driver.press("x", "f5")
        await driver.done()
        seed = driver.field("seed")
        driver.put("num_steps", "8")
        await driver.until(lambda: form.rows["num_steps"].has_class("-changed"))
        assert form.undo() and (driver.field("num_steps"), driver.field("seed")) == ("9", seed)
        assert form.undo() and driver.field("num_steps") == "20" and not form.undo()


async def test_custom_leads_to_the_width(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        focus(driver, "size")
        await driver.press("enter", "end", "enter")
        await driver.until(lambda: driver.screen.form.rows["width"].control.has_focus)


async def test_what_was_left_wrong_is_marked_at_the_start() -> None:
    form = SettingsForm({"num_steps": "many"})

    class FormApp(App[None]):
        def compose(self) -> ComposeResult:
            yield form

    async with FormApp().run_test() as pilot:
        await pilot.pause()
        assert form.rows["num_steps"].fault == "Needs a whole number."


async def test_before_its_rows_are_there_a_form_takes_texts_and_a_focus() -> None:
    form = SettingsForm({"num_steps": "7"})
    form.show({"num_steps": "9"})
    form.focus_field("num_steps")
    assert form.texts["num_steps"] == "9" and not form.controls

    class FormApp(App[None]):
        def compose(self) -> ComposeResult:
            yield form

    async with FormApp().run_test() as pilot:
        await pilot.pause()
        assert form.texts["num_steps"] == "9" and len(form.controls) == len(form.rows)
        assert form.rows["num_steps"].control.value == "9" and form.rows["num_steps"].control.has_focus


async def test_a_side_that_snapped_is_kept_for_the_next_start(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        focus(driver, "width")
        await driver.press("ctrl+u", "1", "5", "0", "tab")
        await driver.until(lambda: driver.app.session.state.settings.get("width") == "144")


async def test_a_model_that_is_no_folder_is_said_at_its_field_and_can_be_asked_for(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        row = driver.screen.form.rows["checkpoint_dir"]
        driver.put("checkpoint_dir", "/models/none")
        await driver.until(lambda: row.fault == "/models/none does not exist.")
        await driver.press("x", "f5")  # it may be mounted by the time it is its turn
        await driver.done()
        assert len(driver.engine.requests) == 1 and row.fault
        driver.put("checkpoint_dir", "")
        await driver.until(lambda: row.fault == "")


async def test_settings_that_were_reset_come_back_by_key_wherever_no_prompt_is_being_edited(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        focus(driver, "num_steps")
        await driver.press("ctrl+u", "9")
        await driver.screen.run_action("reset_settings")
        assert driver.field("num_steps") == "20" and "Ctrl+Z brings the old settings back" in driver.status
        await driver.press("ctrl+z")
        assert driver.field("num_steps") == "9" and "Ctrl+Y" in driver.status
        await driver.press("ctrl+y")
        assert driver.field("num_steps") == "20"
        await driver.press("escape", "ctrl+z", "ctrl+z", "ctrl+z")
        assert driver.field("num_steps") == "20" and driver.status == "There are no settings before these."
        await driver.press("1", "a", "ctrl+z")
        assert driver.screen.prompt.text == "" and driver.field("num_steps") == "20"
        await driver.press("escape", "ctrl+y")
        assert driver.field("num_steps") == "9"
