"""The stage: words that fit their line, previews as the link allows, and whatever a terminal can draw."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.pilot import Pilot

from flux_engine.request import GenerationRequest, StageStarted, StepDone
from flux_tui.glyphs import glyphs
from flux_tui.progress import JobProgress
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


def lines(stage: Stage) -> list[str]:
    strips = stage.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


@pytest.mark.parametrize(
    ("graphics", "sign"), [("half", "▀"), ("half256", "▀"), ("kitty", PLACEHOLDER), ("sixel", "▀"), ("text", "@")]
)
async def test_a_picture_is_drawn_with_what_the_terminal_has(graphics: Graphics, sign: str) -> None:
    written: list[str] = []
    async with stage_on(Canvas(graphics, written.append, picture_id=0x010203)) as (stage, pilot):
        stage.show(gradient(64, 64), ("64 x 64", "seed 7"))
        await pilot.pause()
        drawn = "\n".join(lines(stage))
        assert sign in drawn and "64 x 64   seed 7" in drawn
        await pilot.pause()
        starts = {"kitty": ["\x1b_G"], "sixel": ["\x1b7\x1b"]}
        assert [text[:3] for text in written] == starts.get(graphics, [])
    if graphics == "kitty":
        assert "a=d,d=I,i=66051" in written[-1]  # the terminal's memory is given back


async def test_a_kitty_picture_is_sent_once_for_each_size_and_its_cells_carry_its_number() -> None:
    written: list[str] = []
    async with stage_on(Canvas("kitty", written.append, picture_id=0x010203)) as (stage, pilot):
        image = gradient(64, 64)
        stage.show(image, ())
        stage.show(image, ())
        await pilot.pause()
        assert len(written) == 1
        await pilot.resize_terminal(30, 16)
        await pilot.pause()
        sizes = [re.search(r"c=(\d+),r=(\d+)", text) for text in written]
        assert [(int(m[1]), int(m[2])) for m in sizes if m] == [(36, 18), (24, 12)]
        colours = {
            segment.style.color.triplet
            for strip in stage.screen._compositor.render_strips()
            for segment in strip
            if PLACEHOLDER in segment.text and segment.style and segment.style.color
        }
        assert colours == {(1, 2, 3)}


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


async def test_a_fault_says_first_what_to_do() -> None:
    async with stage_on(Canvas()) as (stage, pilot):
        stage.say_fault("Not painted", "It has [no] memory.", "Choose a smaller size.")
        await pilot.pause()
        assert stage.text == "Not painted\n\nChoose a smaller size.\n\nIt has [no] memory."
        assert stage.image is None
