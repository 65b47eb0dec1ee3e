"""What is painted asks only the widgets that are there, and looks as it would with Textual's own compositor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from flux_tui.gallery import Gallery
from flux_tui.widgets.picture_view import PictureView
from tests.tui.driver import running
from tests.tui.fakes import gradient


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Widget]:
    """The widgets that are asked for their lines, each time they are."""
    widgets: list[Widget] = []
    for kind in (Widget, PictureView):

        def listen(widget: Widget, crop: Region, own: Callable[..., list[Strip]] = kind.render_lines) -> list[Strip]:
            widgets.append(widget)
            return own(widget, crop)

        monkeypatch.setattr(kind, "render_lines", listen)
    return widgets


async def test_a_letter_is_painted_without_the_panes_around_the_prompt(gallery: Gallery, asked: list[Widget]) -> None:
    async with running(gallery, size=(120, 40)) as driver:
        await driver.press("a")
        asked.clear()
        await driver.press("b")
        await driver.until(lambda: driver.screen.prompt.editor_in_use in asked)
        assert not {driver.screen.history, driver.screen.stage, driver.screen.form} & set(asked)
        driver.screen.history.refresh()
        await driver.until(lambda: driver.screen.history in asked)


async def test_a_preview_is_painted_without_the_pane_behind_it(gallery: Gallery, asked: list[Widget]) -> None:
    async with running(gallery, size=(200, 60)) as driver:
        driver.screen.stage.preview(gradient(64, 64), last=True)
        await driver.until(lambda: driver.screen.stage.picture in asked)
        asked.clear()
        driver.screen.stage.preview(gradient(64, 64, hue=0.1), last=True)
        await driver.until(lambda: driver.screen.stage.picture in asked)
        assert not {driver.screen, driver.screen.stage} & set(asked)


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
