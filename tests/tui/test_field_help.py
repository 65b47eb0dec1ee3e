"""What a setting takes is said with the bounds that hold, in the help as in the config's list."""

from __future__ import annotations

import pytest

from flux_engine.fields import FIELD
from flux_tui.config_reader import SETTINGS
from flux_tui.field_help import accepted_by, taken_in_form
from flux_tui.gallery import Gallery
from flux_tui.settings import COUNT, FORM_FIELDS, SEED_USE, SIZE
from tests.tui.driver import running


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("width", "a whole number from 16 to 8192"),
        ("num_steps", "a whole number from 1 to 1000"),
        ("guidance_scale", "a number of at least 0"),
        ("noise", "one of jax, torch"),
        ("negative_prompt", "plain text"),
        ("checkpoint_dir", "a folder"),
        (COUNT.name, "a whole number from 1 to 1000"),
        (SEED_USE.name, "one of random, fixed, increment"),
    ],
)
def test_the_config_takes_what_a_request_takes(name: str, takes: str) -> None:
    assert accepted_by(SETTINGS[name]) == takes


def test_every_setting_says_what_it_takes() -> None:
    assert all(accepted_by(setting) for setting in SETTINGS.values())
    assert all(taken_in_form(setting, None) for setting in FORM_FIELDS)


def test_the_form_names_choices_as_they_stand_there_and_what_nothing_means() -> None:
    assert taken_in_form(SEED_USE, None) == "one of Random, Fixed, Increment"
    assert taken_in_form(FIELD["sigma_shift"], None) == "a number above 0; empty: the timer's own"
    small, large = taken_in_form(SIZE, None), taken_in_form(SIZE, "/a/model")
    assert small.startswith("128 x 128 1:1, 192 x 128 3:2, ") and large.startswith("1024 x 1024 1:1, ")
    assert "Custom" not in small and small.endswith("; or any width and height, multiples of 16 up to 8192")


async def test_the_help_says_it_of_the_field_that_has_the_focus(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        for name, words in (("size", "or any width and height"), ("num_steps", "a whole number from 1 to 1000.")):
            driver.screen.form.rows[name].control.focus()
            await driver.pilot.pause()
            await driver.press("f1")
            await driver.until(lambda words=words: words in " ".join(driver.screen_text().replace("│", " ").split()))
            await driver.press("escape")
            await driver.until(lambda: driver.app.screen is driver.screen)
