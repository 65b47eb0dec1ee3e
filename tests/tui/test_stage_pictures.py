"""The stage's pictures on whatever a terminal can draw, beside the text that Textual paints."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from textual.screen import Screen

from flux_tui.screens.help import HelpScreen
from flux_tui.screens.picker import Picker
from flux_tui.terminal import kitty
from flux_tui.terminal.abilities import Graphics
from flux_tui.terminal.canvas import Canvas
from flux_tui.terminal.kitty import PLACEHOLDER
from flux_tui.terminal.pacing import Pacer
from tests.tui.fakes import gradient
from tests.tui.stage_host import Open, drawing, drawing_only, ids, lines, png_of, sent, stage_on, until


@pytest.mark.parametrize(
    ("graphics", "sign"), [("half", "▀"), ("half256", "▀"), ("kitty", PLACEHOLDER), ("sixel", "▀"), ("text", "@")]
)
async def test_a_picture_is_drawn_with_what_the_terminal_has(graphics: Graphics, sign: str) -> None:
    written: list[str] = []
    canvas = Canvas(graphics, drawing(written), picture_id=0x010203)
    async with stage_on(canvas, Pacer(rtt_s=0.001)) as (stage, pilot):
        stage.show(gradient(64, 64), ("64 x 64", "seed 7"))
        await until(pilot, lambda: sign in (drawn := "\n".join(lines(stage))) and "64 x 64   seed 7" in drawn)
        starts = {"kitty": ["\x1b_G"], "sixel": ["\x1b7\x1b"]}
        await until(pilot, lambda: len(written) == len(starts.get(graphics, [])))
        assert [text[:3] for text in written] == starts.get(graphics, [])
    if graphics == "kitty":
        assert "a=d,d=I,i=66051" in written[-1]  # the terminal's memory is given back


async def test_a_kitty_picture_is_sent_once_for_each_size_and_its_cells_carry_its_number() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written), picture_id=0x010203)) as (stage, pilot):
        image = gradient(64, 64)
        stage.show(image, ())
        stage.show(image, ())
        await until(pilot, lambda: written)
        await pilot.resize_terminal(30, 16)
        await until(pilot, lambda: len(written) > 1)
        sizes = [re.search(r"c=(\d+),r=(\d+)", text) for text in written]
        assert [(int(m[1]), int(m[2])) for m in sizes if m] == [(36, 18), (24, 12)]
        await until(pilot, lambda: ids(stage) == {(1, 2, 3)})


async def test_a_kitty_preview_stands_in_the_same_cells_as_the_picture_since_only_pixels_cost_bytes() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written)), Pacer(low_bandwidth=True)) as (stage, pilot):
        stage.preview(gradient(128, 128), last=False)
        await until(pilot, lambda: written)
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: len(written) > 1)
        assert [re.findall(r"c=\d+,r=\d+", text) for text in written] == 2 * [["c=36,r=18"]]
        assert [png_of(text).size for text in written] == [(96, 96), (64, 64)]


async def test_a_terminal_wider_than_kitty_can_count_shows_a_picture_of_297_cells() -> None:
    async with stage_on(Canvas("kitty", picture_id=0x010203), Open(), size=(400, 170)) as (stage, pilot):
        stage.show(gradient(64, 32), ())
        await until(pilot, lambda: max(line.count(PLACEHOLDER) for line in lines(stage)) == 297)
        assert ids(stage) == {(1, 2, 3)}


async def test_on_a_thin_link_kitty_gets_few_pixels_and_colours() -> None:
    written: list[str] = []
    pacer = Open(low_bandwidth=True)
    async with stage_on(Canvas("kitty", drawing(written)), pacer, size=(160, 60)) as (stage, pilot):
        stage.show(gradient(512, 512), ())
        await until(pilot, lambda: written)
        assert "c=112,r=56" in written[-1] and len(written[-1]) < 48 * 24 * 41
        await until(pilot, lambda: pacer.told[-1] == len(written[-1]))
        picture = png_of(written[-1])
        assert picture.size == (192, 192) and picture.mode == "P"


async def test_of_two_large_pictures_only_the_newer_is_sent_and_nothing_waits_for_its_encoding() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written)), Pacer(rtt_s=0.001)) as (stage, pilot):
        stage.show(gradient(8, 8), ())
        await until(pilot, lambda: drawing_only(written))
        written.clear()
        stage.show(gradient(256, 256, 0.1), ())
        stage.show(newer := gradient(256, 256, 0.5), ())
        assert written == []
        await sent(stage, pilot)
        assert written == [kitty.show(newer, 1, 36, 18, room_px=(360, 360))]


async def test_a_preview_overtakes_a_large_picture_that_is_still_being_encoded() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written)), Open()) as (stage, pilot):
        stage.show(gradient(8, 8), ())
        await until(pilot, lambda: drawing_only(written))
        stage.show(gradient(256, 256), ())
        stage.preview(gradient(16, 16), last=False)
        (*_, last) = written
        await sent(stage, pilot)
        assert written[-1] == last


async def test_a_next_kitty_preview_paints_no_cell() -> None:
    async with stage_on(Canvas("kitty"), Open()) as (stage, pilot):
        stage.preview(gradient(16, 16), last=False)
        await until(pilot, lambda: ids(stage))
        painted: list[int] = []
        render = stage.picture.render_line
        stage.picture.render_line = lambda y: painted.append(y) or render(y)  # type: ignore
        stage.preview(gradient(16, 16, 0.1), last=False)
        await pilot.pause()
        assert painted == []
        stage.show(gradient(32, 16), ())
        await until(pilot, lambda: painted)


async def test_a_kitty_picture_is_sent_again_when_the_terminal_was_lent_to_another_program() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written))) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: written)
        stage.app.app_resume_signal.publish(stage.app)
        await until(pilot, lambda: len(written) == 2)
        assert written[0] == written[1]


@pytest.mark.parametrize("above", [lambda: HelpScreen([]), lambda: Picker("Title", lambda typed: [])])
async def test_a_kitty_picture_keeps_its_number_under_what_is_opened_over_it(above: Callable[[], Screen[None]]) -> None:
    async with stage_on(Canvas("kitty", picture_id=0x010203), size=(120, 50)) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await stage.app.push_screen(above())
        await until(pilot, lambda: ids(stage) == {(1, 2, 3)})
        assert not stage.app.screen.styles.background.a


async def test_sixels_never_lie_over_another_screen_and_come_back_when_the_picture_does() -> None:
    written: list[str] = []
    async with stage_on(Canvas("sixel", drawing(written)), Pacer(rtt_s=0.001)) as (stage, pilot):
        await stage.app.push_screen(Screen())
        stage.show(gradient(64, 64), ())
        stage.picture.redraw()
        await pilot.pause()
        await sent(stage, pilot)
        assert written == []
        await stage.app.pop_screen()
        stage.picture.redraw()
        await until(pilot, lambda: written)
        stage.display = False
        await pilot.pause()
        written.clear()
        stage.display = True
        await until(pilot, lambda: written)


@pytest.mark.parametrize("edge", [16, 256])  # sent at once, or when it is encoded
async def test_a_terminal_that_takes_nothing_is_sent_no_picture_and_then_the_one_on_show(edge: int) -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", written.append), Open()) as (stage, pilot):
        stage.show(gradient(8, 8), ())
        await until(pilot, lambda: drawing_only(written))
        stage.picture.hold(True)
        written.clear()
        stage.preview(gradient(16, 16), last=True)
        assert stage.image == gradient(8, 8)
        stage.show(gradient(edge, edge, 0.1), ())
        stage.show(newer := gradient(edge, edge, 0.5), ())
        await sent(stage, pilot)
        assert written == []
        stage.picture.hold(False)
        await until(pilot, lambda: drawing_only(written))
        assert drawing_only(written) == [kitty.show(newer, 1, 36, 18, room_px=(360, 360))]


async def test_a_terminal_that_missed_no_picture_is_sent_none_again() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written))) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: written)
        written.clear()
        stage.picture.hold(True)
        stage.picture.hold(False)
        await pilot.pause()
        assert written == []
