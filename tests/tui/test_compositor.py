"""What is painted asks only the widgets that are there, and looks as it would with Textual's own compositor."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import pyte
import pytest
from rich.console import Console
from textual._compositor import Compositor, CompositorUpdate
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


async def test_two_places_are_painted_without_the_panes_between_them(gallery: Gallery, asked: list[Widget]) -> None:
    async with running(gallery, size=(120, 40)) as driver:
        asked.clear()
        driver.screen.prompt.refresh()
        driver.screen.status.say("a word in the last line but one")
        await driver.until(lambda: {driver.screen.prompt, driver.screen.status} <= set(asked))
        assert not {driver.screen.stage, driver.screen.form} & set(asked)
        painted, own = driver.screen._compositor, Compositor()
        own.reflow(driver.screen, driver.app.size)
        assert painted.visible_widgets.keys() == own.visible_widgets.keys()
        assert painted.cuts == own.cuts


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


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_places_are_painted_as_they_look_and_nothing_beside_them(gallery: Gallery, size: tuple[int, int]) -> None:
    async with running(gallery, size=size) as driver:
        await driver.press("a", "f5")
        await driver.done()
        driver.screen.form.focus_field("integrator")
        await driver.press("enter")  # opens a list over other rows
        near = driver.screen._compositor
        wanted = as_a_terminal_shows(near, None, size)
        chance = random.Random(0)
        for _ in range(60):
            dirty = {place(chance, near) for _ in range(chance.randint(1, 4))}
            shown = as_a_terminal_shows(near, dirty, size)
            asked = {(x, y) for region in dirty for y in region.line_range for x in range(*region.column_span)}
            assert [cell for cell in asked if shown[cell] != wanted[cell]] == []
            assert [cell for cell in shown if shown[cell] not in (wanted[cell], UNTOUCHED)] == []


UNTOUCHED = ("~", "default", "default")


def place(chance: random.Random, compositor: Compositor) -> Region:
    """A part of a widget, or of all of the screen."""
    _, shown = chance.choice([*compositor.visible_widgets.values(), (compositor.size.region,) * 2])
    x, y = chance.randrange(shown.width), chance.randrange(shown.height)
    part = Region(x, y, chance.randint(1, shown.width - x), chance.randint(1, shown.height - y))
    return chance.choice([shown, part.translate(shown.offset)])


def as_a_terminal_shows(
    compositor: Compositor, dirty: set[Region] | None, size: tuple[int, int]
) -> dict[tuple[int, int], tuple[str, str, str]]:
    """Sign and colours of each cell, once these places are painted over a screen full of tildes; None: all of them."""
    screen, console = pyte.Screen(*size), Console(file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for y in range(size[1]):
        pyte.Stream(screen).feed(f"\x1b[{y + 1};1H{'~' * size[0]}")
    update: CompositorUpdate | None
    if dirty is None:
        update = compositor.render_full_update()
    else:
        compositor._dirty_regions = set(dirty)
        update = compositor.render_partial_update()
    assert update is not None
    pyte.Stream(screen).feed(update.render_segments(console))
    return {
        (x, y): ((cell := screen.buffer[y][x]).data, cell.fg, cell.bg) for y in range(size[1]) for x in range(size[0])
    }
