"""The form: seeds, sizes, what is marked, and whose defaults stand in it."""

from __future__ import annotations

from flux_tui.gallery import Gallery
from tests.tui.driver import running


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
