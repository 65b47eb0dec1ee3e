"""Stage, pace and time left follow from the events and a clock."""

from __future__ import annotations

import pytest

from flux_engine.request import StageStarted, StepDone
from flux_tui.progress import JobProgress, clock_text, duration_text, pace_text
from flux_tui.widgets.status_line import progress_content

DENOISING = JobProgress(num_steps=20, started_at_s=0.0).after(StageStarted("denoising"), 5.0)


def stepped(*times_s: float) -> JobProgress:
    progress = DENOISING
    for step, now_s in enumerate(times_s, 1):
        progress = progress.after(StepDone(step, 20, 0.5), now_s)
    return progress


def test_the_pace_leaves_out_the_first_step_which_may_compile() -> None:
    progress = stepped(15.0, 15.5, 16.0)
    assert progress.steps_per_second == pytest.approx(2.0)
    assert progress.left_s() == pytest.approx(8.5)
    assert progress.elapsed_s(16.0) == 16.0


def test_nothing_is_guessed_before_two_steps_or_outside_denoising() -> None:
    assert DENOISING.left_s() is None
    assert stepped(15.0).left_s() is None
    assert stepped(15.0, 15.0).steps_per_second is None
    assert stepped(15.0, 15.5).after(StageStarted("decoding"), 16.0).left_s() is None


def test_times_and_paces_are_written_for_people() -> None:
    assert [clock_text(s) for s in (0.4, 7, 750, 3723)] == ["0:00", "0:07", "12:30", "1:02:03"]
    assert [duration_text(s) for s in (0.52, 12.4, 185)] == ["0.5 s", "12 s", "3:05"]
    assert [pace_text(p) for p in (11.23, 1.0, 0.25)] == ["11.2 it/s", "1.0 it/s", "4.0 s/it"]


def test_the_line_fills_its_width_and_never_leaves_it() -> None:
    line = progress_content(stepped(15.0, 15.5, 16.0), 16.0, 76, waiting=2, cancelling=False).plain
    assert line.startswith("denoising  3/20  ━")
    assert line.endswith("2.0 it/s  0:16 elapsed  ETA 0:08  2 waiting")
    for width in (40, 60, 76, 200):
        text = progress_content(stepped(15.0, 15.5, 16.0), 16.0, width, waiting=2, cancelling=False)
        assert text.cell_length <= max(width, 62)


def test_a_cancel_is_said_at_once_and_a_stage_says_its_detail() -> None:
    assert progress_content(stepped(15.0), 16.0, 76, 0, cancelling=True).plain.startswith("cancelling")
    loading = JobProgress(num_steps=20, started_at_s=0.0).after(StageStarted("loading", "transformer"), 1.0)
    assert progress_content(loading, 3.0, 76, 0, cancelling=False).plain == "loading transformer  0:03 elapsed"
