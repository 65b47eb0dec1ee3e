"""The stage: words that fit their line, previews as the link allows, and whatever a terminal can draw."""

from __future__ import annotations

import asyncio
import io
import re
import time
from base64 import standard_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from PIL import Image
from textual.app import App, ComposeResult
from textual.content import Content
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Static

from flux_engine.request import GenerationRequest, StageStarted, StepDone
from flux_tui.glyphs import glyphs
from flux_tui.progress import JobProgress
from flux_tui.screens.help import HelpScreen
from flux_tui.screens.picker import Picker
from flux_tui.terminal import kitty, pacing
from flux_tui.terminal.abilities import Graphics
from flux_tui.terminal.kitty import PLACEHOLDER
from flux_tui.terminal.pacing import Pacer
from flux_tui.widgets.picture_view import Canvas
from flux_tui.widgets.stage import Stage, bar_content, progress_content
from flux_tui.widgets.status_line import status_content
from tests.tui.fakes import gradient

REQUEST = GenerationRequest(prompt="p", num_steps=20)


def painting() -> JobProgress:
    progress = JobProgress(request=REQUEST, started_at_s=0.0).after(StageStarted("denoising"), 5.0)
    for step, now_s in enumerate((15.0, 15.5, 16.0), 1):
        progress = progress.after(StepDone(step, 20, 0.5), now_s)
    return progress


def nothing(key: str) -> float | None:
    return None


def test_the_line_says_first_what_matters_most_and_never_leaves_its_width() -> None:
    assert progress_content(painting(), 16.0, nothing, 76).plain == (
        "denoising   3/20   ETA 0:08   2.0 it/s   0:16 elapsed"
    )
    for width in range(16, 80):
        assert progress_content(painting(), 16.0, nothing, width).cell_length <= width
    assert "ETA" in progress_content(painting(), 16.0, nothing, 34).plain


def test_a_cancel_is_said_at_once_and_a_stage_says_its_detail() -> None:
    assert progress_content(painting(), 16.0, nothing, 76, cancelling=True).plain.startswith("cancelling")
    loading = JobProgress(request=REQUEST, started_at_s=0.0).after(StageStarted("loading", "transformer"), 1.0)
    assert progress_content(loading, 3.0, nothing, 76).plain == "loading  transformer   0:03 elapsed"


@pytest.mark.parametrize("ascii", [False, True])
@pytest.mark.parametrize(("done", "full"), [(None, 0), (0.0, 0), (0.5, 20), (1.0, 40)])
def test_the_bar_fills_its_width(done: float | None, full: int, ascii: bool) -> None:
    signs = glyphs(ascii)
    bar = bar_content(done, 40, signs).plain
    assert bar == signs.bar_done * full + signs.bar_left * (40 - full)
    assert bar.isascii() == ascii


def test_facts_that_find_no_room_beside_the_words_are_left_out() -> None:
    words = Content("Saved a picture.")
    assert status_content(words, ("cpu", "demo"), 40).plain == "Saved a picture." + " " * 15 + "cpu  demo"[:9].rjust(9)
    assert status_content(words, ("cpu", "demo"), 22).plain.rstrip() == "Saved a picture.   cpu".rstrip()
    assert status_content(words, ("cpu", "demo"), 10).plain.startswith("Saved a picture.")


def drawing(written: list[str]) -> Callable[[str], None]:
    """Keeps what draws pictures, and not the questions whether they are drawn."""
    return lambda escape: None if escape == pacing.REQUEST else written.append(escape)


@asynccontextmanager
async def stage_on(
    canvas: Canvas, pacer: Pacer | None = None, size: tuple[int, int] = (44, 22)
) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
    class Host(App[None]):
        def compose(self) -> ComposeResult:
            yield Stage(canvas, pacer)

    app = Host()
    async with app.run_test(size=size) as pilot:
        yield app.query_one(Stage), pilot


async def sent(stage: Stage, pilot: Pilot[None]) -> None:
    """Wait until what is being encoded went to the terminal."""
    await asyncio.gather(*(worker.wait() for worker in stage.app.workers), return_exceptions=True)
    await pilot.pause()


async def until(pilot: Pilot[None], is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await pilot.pause(0.01)


def ids(stage: Stage) -> set[tuple[int, ...] | None]:
    """The colours of the placeholders on the screen."""
    return {
        segment.style.color.triplet
        for strip in stage.screen._compositor.render_strips()
        for segment in strip
        if PLACEHOLDER in segment.text and segment.style and segment.style.color
    }


def lines(stage: Stage) -> list[str]:
    strips = stage.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


@pytest.mark.parametrize(
    ("graphics", "sign"), [("half", "▀"), ("half256", "▀"), ("kitty", PLACEHOLDER), ("sixel", "▀"), ("text", "@")]
)
async def test_a_picture_is_drawn_with_what_the_terminal_has(graphics: Graphics, sign: str) -> None:
    written: list[str] = []
    canvas = Canvas(graphics, drawing(written), picture_id=0x010203)
    async with stage_on(canvas, Pacer(rtt_s=0.001)) as (stage, pilot):
        stage.show(gradient(64, 64), ("64 x 64", "seed 7"))
        await pilot.pause()
        drawn = "\n".join(lines(stage))
        assert sign in drawn and "64 x 64   seed 7" in drawn
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
        await pilot.pause()
        assert len(written) == 1
        await pilot.resize_terminal(30, 16)
        await pilot.pause()
        sizes = [re.search(r"c=(\d+),r=(\d+)", text) for text in written]
        assert [(int(m[1]), int(m[2])) for m in sizes if m] == [(36, 18), (24, 12)]
        assert ids(stage) == {(1, 2, 3)}


async def test_previews_wait_in_a_box_of_one_and_the_last_is_always_drawn() -> None:
    class Closed(Pacer):
        """A link without room."""

        def may_draw(self, now_s: float, *, last: bool = False) -> bool:
            return last

    async with stage_on(Canvas(), Closed()) as (stage, pilot):
        first, second, last = (gradient(16, 16, hue) for hue in (0.1, 0.2, 0.3))
        stage.preview(first, last=False)
        stage.preview(second, last=False)
        assert stage.image is None
        stage.preview(last, last=True)
        assert stage.image == last
        await pilot.pause()


async def test_a_preview_is_as_large_as_the_pacer_lets_it_be_and_the_picture_as_large_as_it_can() -> None:
    async with stage_on(Canvas(), Pacer(low_bandwidth=True)) as (stage, pilot):
        stage.preview(gradient(16, 16), last=False)
        await pilot.pause()
        assert max(line.count("▀") for line in lines(stage)) == 24
        stage.show(gradient(64, 64), ())
        await pilot.pause()
        assert max(line.count("▀") for line in lines(stage)) == 36


class Open(Pacer):
    """A link with room for all; keeps what it is told."""

    def __init__(self, **how: bool) -> None:
        super().__init__(**how)  # type: ignore[arg-type]
        self.told: list[int] = []

    def may_draw(self, now_s: float, *, last: bool = False) -> bool:
        return True

    def sent(self, now_s: float, n_bytes: int) -> None:
        self.told.append(n_bytes)
        super().sent(now_s, n_bytes)


async def test_on_a_thin_link_a_still_is_small_and_counts() -> None:
    pacer = Open(low_bandwidth=True)
    async with stage_on(Canvas(), pacer, size=(160, 60)) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await pilot.pause()
        assert max(line.count("▀") for line in lines(stage)) == 48
        stage.show(gradient(64, 64, 0.1), ())
        assert pacer.told == [(48 * 24 * 41), 48 * 24 * 41]


async def test_on_a_thin_link_kitty_gets_few_pixels_and_colours() -> None:
    written: list[str] = []
    pacer = Open(low_bandwidth=True)
    async with stage_on(Canvas("kitty", drawing(written)), pacer, size=(160, 60)) as (stage, pilot):
        stage.show(gradient(512, 512), ())
        await pilot.pause()
        await sent(stage, pilot)
        assert "c=48,r=24" in written[-1] and len(written[-1]) < 48 * 24 * 41
        assert pacer.told[-1] == len(written[-1])
        png = standard_b64decode("".join(re.findall(r";([^\x1b]*)\x1b", written[-1])))
        picture = Image.open(io.BytesIO(png))
        assert picture.size == (192, 192) and picture.mode == "P"


async def test_of_two_large_pictures_only_the_newer_is_sent_and_nothing_waits_for_its_encoding() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written)), Pacer(rtt_s=0.001)) as (stage, pilot):
        stage.show(gradient(8, 8), ())
        await pilot.pause()
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
        await pilot.pause()
        stage.show(gradient(256, 256), ())
        stage.preview(gradient(16, 16), last=False)
        (*_, last) = written
        await sent(stage, pilot)
        assert written[-1] == last


async def test_a_next_kitty_preview_paints_no_cell() -> None:
    async with stage_on(Canvas("kitty"), Open()) as (stage, pilot):
        stage.preview(gradient(16, 16), last=False)
        await pilot.pause()
        painted: list[int] = []
        render = stage.picture.render_line
        stage.picture.render_line = lambda y: painted.append(y) or render(y)  # type: ignore
        stage.preview(gradient(16, 16, 0.1), last=False)
        await pilot.pause()
        assert painted == []
        stage.show(gradient(32, 16), ())
        await pilot.pause()
        assert painted


async def test_a_kitty_picture_is_sent_again_when_the_terminal_was_lent_to_another_program() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", drawing(written))) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await pilot.pause()
        stage.app.app_resume_signal.publish(stage.app)
        await until(pilot, lambda: len(written) == 2)
        assert written[0] == written[1]


@pytest.mark.parametrize("above", [lambda: HelpScreen([]), lambda: Picker("Title", lambda typed: [])])
async def test_a_kitty_picture_keeps_its_number_under_what_is_opened_over_it(above: Callable[[], Screen[None]]) -> None:
    async with stage_on(Canvas("kitty", picture_id=0x010203), size=(120, 50)) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await stage.app.push_screen(above())
        await pilot.pause()
        assert ids(stage) == {(1, 2, 3)} and not stage.app.screen.styles.background.a


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


async def test_a_pane_that_is_not_to_be_seen_draws_no_preview_and_keeps_it_waiting() -> None:
    pacer = Open()
    async with stage_on(Canvas(), pacer) as (stage, pilot):
        stage.display = False
        await pilot.pause()
        stage.preview(gradient(16, 16), last=True)
        assert stage.image is None and pacer.told == []
        stage.display = True
        await pilot.pause()
        stage.draw_preview()
        assert stage.image == gradient(16, 16) and pacer.told[0] > 0


@pytest.mark.parametrize("end", [lambda stage: stage.say("words"), Stage.clear_progress])
async def test_a_preview_that_waits_is_not_drawn_after_its_job(end: Callable[[Stage], None]) -> None:
    pacer = Pacer(blind=True, bytes_per_s=1.0)
    async with stage_on(Canvas(), pacer) as (stage, _):
        pacer.sent(time.monotonic(), 10**6)
        stage.preview(gradient(16, 16), last=False)
        end(stage)
        pacer.may_draw = lambda now_s, *, last=False: True  # type: ignore[method-assign]
        stage.draw_preview()
        assert stage.image is None


async def test_progress_that_says_the_same_paints_nothing() -> None:
    async with stage_on(Canvas(), size=(90, 22)) as (stage, _):
        stage.show_progress(painting(), 16.0, nothing)
        line = stage.query_one("#caption", Static)
        said: list[object] = []
        line.update = lambda content, **how: said.append(content)  # type: ignore
        stage.show_progress(painting(), 16.1, nothing)
        assert said == []
        stage.show_progress(painting(), 17.1, nothing)
        assert len(said) == 1


async def test_a_fault_says_first_what_to_do() -> None:
    async with stage_on(Canvas()) as (stage, pilot):
        stage.say_fault("Not painted", "It has [no] memory.", "Choose a smaller size.")
        await pilot.pause()
        assert stage.text == "Not painted\n\nChoose a smaller size.\n\nIt has [no] memory."
        assert stage.image is None
