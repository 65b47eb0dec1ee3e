"""The stage: words that fit their line, and previews as the link allows."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from textual.content import Content
from textual.widgets import Static

from flux_engine.request import GenerationRequest, StageStarted, StepDone
from flux_tui.glyphs import glyphs
from flux_tui.progress import JobProgress
from flux_tui.terminal.canvas import Canvas
from flux_tui.terminal.pacing import Pacer
from flux_tui.widgets.stage import Stage, bar_content, progress_content
from flux_tui.widgets.status_line import status_content
from tests.tui.fakes import gradient
from tests.tui.stage_host import Open, lines, stage_on, until

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


@pytest.mark.parametrize(("loras", "said"), [("ink, film", "ink, film"), ("ink " * 20, "ink " * 9 + "ink…")])
async def test_a_caption_that_is_too_long_says_what_fits_of_it(loras: str, said: str) -> None:
    facts = "128 x 128", "seed 787830822", "20 steps", loras, "2025-11-23/120000-1-787830822.png"
    async with stage_on(Canvas()) as (stage, pilot):
        stage.show(gradient(16, 16), facts)
        await until(
            pilot,
            lambda: [line.strip("│ ") for line in lines(stage)[-3:-1]] == ["   ".join(facts[:3]), said],
        )


async def test_a_caption_counts_cells_and_not_signs() -> None:
    async with stage_on(Canvas()) as (stage, pilot):
        stage.show(gradient(16, 16), ("128 x 128", "水" * 14, "b"))  # 40 cells; the third would make 44
        await until(pilot, lambda: stage.text == f"128 x 128   {'水' * 14}\nb")


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
        await until(pilot, lambda: max(line.count("▀") for line in lines(stage)) == 24)
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: max(line.count("▀") for line in lines(stage)) == 36)


async def test_in_tmux_a_picture_takes_the_whole_pane_and_its_previews_keep_to_their_budget() -> None:
    async with stage_on(Canvas(), Pacer(blind=True), size=(160, 60)) as (stage, pilot):
        stage.preview(gradient(16, 16), last=False)
        await until(pilot, lambda: max(line.count("▀") for line in lines(stage)) == 32)
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: max(line.count("▀") for line in lines(stage)) == 112)


async def test_on_a_thin_link_a_still_is_small_and_counts() -> None:
    pacer = Open(low_bandwidth=True)
    async with stage_on(Canvas(), pacer, size=(160, 60)) as (stage, pilot):
        stage.show(gradient(64, 64), ())
        await until(pilot, lambda: max(line.count("▀") for line in lines(stage)) == 48)
        stage.show(gradient(64, 64, 0.1), ())
        assert pacer.told == [(48 * 24 * 41), 48 * 24 * 41]


async def test_a_pane_that_is_not_to_be_seen_draws_no_preview_and_keeps_it_waiting() -> None:
    pacer = Open()
    async with stage_on(Canvas(), pacer) as (stage, pilot):
        stage.display = False
        await until(pilot, lambda: not stage.is_on_screen)
        stage.preview(gradient(16, 16), last=True)
        assert stage.image is None and pacer.told == []
        stage.display = True
        await until(pilot, lambda: stage.is_on_screen)
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


async def test_progress_is_not_drawn_while_the_terminal_owes_a_reply_too_long() -> None:
    pacer = Pacer(rtt_s=0.05)
    async with stage_on(Canvas(), pacer, size=(90, 22)) as (stage, _):
        pacer.drawn(time.monotonic() - 3.0, 1000)
        stage.show_progress(painting(), 16.0, nothing)
        assert "denoising" not in stage.text
        pacer.acknowledged(time.monotonic())
        stage.show_progress(painting(), 16.0, nothing)
        assert "denoising" in stage.text


async def test_a_fault_says_what_happened_and_then_what_to_do() -> None:
    async with stage_on(Canvas()) as (stage, pilot):
        stage.say_fault("Not painted", "It has [no] memory.", "Choose a smaller size.")
        await pilot.pause()
        assert stage.text == "Not painted\n\nIt has [no] memory.\n\nChoose a smaller size."
        assert stage.image is None


async def test_of_a_long_fault_the_hint_is_seen_at_every_size() -> None:
    async with stage_on(Canvas()) as (stage, pilot):
        stage.say_fault("Not painted", "a long reason " * 99 + "at last", "Choose a smaller size.")
        for size in ((40, 16), (36, 12), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert "Choose a smaller" in stage.text and stage.text.count("\n") < size[1]
            assert ("at last" in stage.text) == (size == (120, 40))
