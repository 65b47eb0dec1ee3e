"""The row for LoRAs shows every name and strength, as far as there is room, until it is typed in."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from flux_tui.gallery import Gallery
from flux_tui.widgets.lora_input import fitted
from tests.tui.driver import running

LONG = "/data/loras/flux_realism_v2_converted.safetensors:0.8; style/watercolour; ink:-0.05"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "flux_realism_v2_converted:0.8; watercolour; ink:-0.05"),
        (44, "flux_realism_v2…:0.8; watercolour; ink:-0.05"),
        (30, "flux_…:0.8; water…; ink:-0.05"),
        (20, "flu…:0.8; wat…;…"),
        (0, ""),
    ],
)
def test_folders_go_first_then_names_are_cut_and_strengths_stay(width: int, line: str) -> None:
    assert fitted(LONG, width, "…") == line
    assert cell_len(line) <= width


def test_what_are_no_loras_are_words() -> None:
    assert fitted(":0.5; ink and more", 12, "…") == ":0.5; ink…"


async def test_the_row_shows_all_of_it_short_until_it_has_the_focus(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("loras", LONG)
        await driver.until(lambda: "flux…:0.8; wate…; ink:-0.05" in driver.screen_text())
        driver.screen.form.focus_field("loras")
        await driver.until(lambda: "flux…" not in driver.screen_text())
        assert driver.field("loras") == LONG
