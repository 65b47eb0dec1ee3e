"""Presets: kept, taken and deleted by name, and the config file around them."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from flux_tui import paths
from flux_tui.config import load_config
from flux_tui.gallery import Gallery
from flux_tui.screens.picker import Picker
from tests.tui.driver import Driver, running

QUICK = """\
# mine
[presets.quick]
num_steps = 8  # few

[keys]  # none
"""


async def command(driver: Driver, name: str) -> None:
    """Run a command of the palette that opens a picker."""
    found = next(each for each in driver.app.get_system_commands(driver.screen) if each.title == name)
    await found.callback()
    await driver.until(lambda: isinstance(driver.app.screen, Picker))


async def kept(driver: Driver, name: str) -> dict[str, object]:
    """A preset, once the config file has it."""
    await driver.until(lambda: name in load_config(paths.config_file()).presets)
    return dict(load_config(paths.config_file()).preset(name))


async def test_settings_are_kept_under_a_name_and_taken_again(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "9")
        driver.put("sigma_shift", "1.5")
        await driver.until(lambda: driver.screen.form.texts["sigma_shift"] == "1.5")
        await command(driver, "Save as preset")
        await driver.press(*"my own", "enter")
        await driver.until(lambda: driver.app.screen is driver.screen)
        assert driver.status == "Kept as preset my own."
        values = await kept(driver, "my own")
        assert (values["num_steps"], values["sigma_shift"], values["seed_use"]) == (9, 1.5, "random")
        assert "seed" not in values and "negative_prompt" not in values

        driver.screen.action_reset_settings()
        await driver.press("ctrl+l")
        await driver.until(lambda: "my own       Steps 9, Shift 1.5" in driver.screen_text())
        await driver.press("enter")
        await driver.until(lambda: driver.field("num_steps") == "9")
        assert "Ctrl+Z brings the old settings back" in driver.status
        await driver.press("escape", "ctrl+z")
        assert driver.field("num_steps") == "20"
    async with running(gallery) as driver:
        assert "my own" in driver.app.session.config.presets


async def test_a_fixed_seed_and_a_negative_prompt_that_counts_are_kept_too(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.form.put({"seed": "5", "true_cfg_scale": "2"})
        driver.screen.prompt.put_back("a dog", "fog")
        await command(driver, "Save as preset")
        await driver.press(*"foggy", "enter")
        values = await kept(driver, "foggy")
        assert (values["seed"], values["seed_use"], values["negative_prompt"]) == (5, "fixed", "fog")


@pytest.mark.parametrize(("answer", "steps"), [(("enter",), 8), (("down", "enter"), 9), (("escape",), 8)])
async def test_a_preset_is_replaced_only_when_that_is_said_again_and_comments_stay(
    gallery: Gallery, answer: tuple[str, ...], steps: int
) -> None:
    async with running(gallery, config=QUICK) as driver:
        driver.put("num_steps", "9")
        await driver.until(lambda: driver.app.session.state.settings.get("num_steps") == "9")
        await command(driver, "Save as preset")
        await driver.press(*"quick", "enter")
        await driver.until(lambda: "Replace the preset quick?" in driver.screen_text())
        await driver.press(*answer)
        await driver.until(lambda: driver.app.screen is driver.screen)
        await driver.until(lambda: load_config(paths.config_file()).preset("quick")["num_steps"] == steps)
        text = paths.config_file().read_text()
        assert text.startswith(f"# mine\n[presets.quick]\nnum_steps = {steps}  # few\n") and "[keys]  # none" in text


async def test_a_preset_is_deleted_only_when_that_is_said_again(gallery: Gallery) -> None:
    async with running(gallery, config=QUICK) as driver:
        for answer in ("enter", "y"):
            assert "quick" in driver.app.session.config.presets
            await command(driver, "Delete preset")
            await driver.press("enter")
            await driver.until(lambda: "Delete the preset quick?" in driver.screen_text())
            await driver.press(answer, "enter")
            await driver.until(lambda: driver.app.screen is driver.screen)
        assert driver.app.session.config.presets == {} and driver.status == "Preset quick is deleted."
        await driver.until(lambda: paths.config_file().read_text() == "# mine\n[keys]  # none\n")


async def test_wrong_settings_are_not_kept(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "many")
        await driver.pilot.pause()
        await driver.screen.run_action("save_preset")
        await driver.until(lambda: driver.screen.form.rows["num_steps"].control.has_focus)
        assert driver.app.screen is driver.screen


async def test_without_presets_and_without_a_name_it_is_said_what_to_do(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("ctrl+l", "enter")
        await driver.until(lambda: "Save as preset" in driver.screen_text())
        await driver.press("escape")
        await command(driver, "Save as preset")
        assert "A name, new or known" in str(driver.app.screen.query_one(Input).placeholder)
        await driver.press("space", "enter")
        await driver.until(lambda: "Type a name" in driver.screen_text())


async def test_a_preset_that_cannot_be_written_is_there_until_the_end_and_that_is_said(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        paths.config_file().parent.parent.mkdir(parents=True, exist_ok=True)
        paths.config_file().parent.write_text("no folder")
        await command(driver, "Save as preset")
        await driver.press("a", "enter")
        await driver.until(lambda: driver.notes)
        assert [note.title for note in driver.app._notifications] == ["Kept until the program ends"]
        assert "a" in driver.app.session.config.presets
