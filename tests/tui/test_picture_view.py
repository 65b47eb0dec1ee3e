"""A picture fills its lines exactly, whatever its aspect and its limit, and takes the theme's colours as signs."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.filter import Monochrome

from flux_engine.request import RGBImage
from flux_tui.terminal.canvas import Canvas
from flux_tui.widgets.picture_view import PictureView


class PictureApp(App[None]):
    def __init__(self, view: PictureView) -> None:
        super().__init__()
        self.view = view

    def compose(self) -> ComposeResult:
        yield self.view


def plain(width: int, height: int) -> RGBImage:
    return RGBImage(width, height, bytes(range(96, 99)) * width * height)


@pytest.mark.parametrize("limit", [None, (64, 32), (48, 24)])
@pytest.mark.parametrize(("width", "height"), [(192, 128), (128, 192), (192, 192), (1344, 768), (1216, 832)])
async def test_every_line_is_as_wide_as_the_pane(width: int, height: int, limit: tuple[int, int] | None) -> None:
    view = PictureView()
    async with PictureApp(view).run_test(size=(72, 22)):
        view.show(plain(width, height), limit)
        for y in range(22):
            line = view.render_line(y)
            assert sum(segment.cell_length for segment in line) == line.cell_length == 72


async def test_signs_have_the_colours_of_the_pane_with_and_without_colour() -> None:
    view = PictureView(Canvas("text"))
    async with PictureApp(view).run_test(size=(40, 20)):
        view.show(plain(128, 128))
        line = view.render_line(10)
        assert {segment.style for segment in line} == {view.rich_style}
        line.apply_filter(Monochrome(), view.background_colors[1])  # what NO_COLOR lays over everything


async def test_signs_are_fullest_where_the_picture_is_bright_and_on_a_light_ground_where_it_is_dark() -> None:
    view = PictureView(Canvas("text"))
    app = PictureApp(view)
    async with app.run_test(size=(40, 20)) as pilot:
        view.show(RGBImage(2, 2, bytes([0, 0, 0, 255, 255, 255] * 2)))
        for theme, row in (("textual-dark", " @"), ("textual-light", "@ "), ("textual-dark", " @")):
            app.theme = theme
            await pilot.pause()
            line = "".join(segment.text for segment in view.render_line(10))
            assert (line[1], line[38]) == tuple(row)
