"""What is painted asks only the widgets that are there, and looks as it would with Textual's own compositor."""

from __future__ import annotations

import pytest
from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from flux_tui.gallery import Gallery
from tests.tui.driver import running


async def test_a_letter_is_painted_without_the_panes_around_the_prompt(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Widget] = []
    render_lines = Widget.render_lines

    def listen(widget: Widget, crop: Region) -> list[Strip]:
        asked.append(widget)
        return render_lines(widget, crop)

    async with running(gallery, size=(120, 40)) as driver:
        await driver.press("a")
        monkeypatch.setattr(Widget, "render_lines", listen)
        await driver.press("b")
        await driver.until(lambda: driver.screen.prompt.editor_in_use in asked)
        assert not {driver.screen.history, driver.screen.stage, driver.screen.form} & set(asked)
        driver.screen.history.refresh()
        await driver.until(lambda: driver.screen.history in asked)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_screen_looks_as_with_the_compositor_of_textual(gallery: Gallery, size: tuple[int, int]) -> None:
    async with running(gallery, size=size) as driver:
        await driver.press("a", "f5")
        await driver.done()
        near, own = driver.screen._compositor, Compositor()
        own.reflow(driver.screen, driver.app.size)
        assert [strip.text for strip in near.render_strips()] == [strip.text for strip in own.render_strips()]
        assert near.visible_widgets.keys() == own.visible_widgets.keys()
        assert any(near.visible_widgets[it] != own.visible_widgets[it] for it in own.visible_widgets)
