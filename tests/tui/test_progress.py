"""Stage, pace and time left follow from the events, a clock and what this machine took before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux_engine.request import GenerationRequest, LoadingProgress, StageStarted, StepDone
from flux_tui.progress import JobProgress, bytes_text, clock_text, duration_text, pace_text, stage_key

REQUEST = GenerationRequest(prompt="p", num_steps=20)
START = JobProgress(request=REQUEST, started_at_s=0.0)
DENOISING = START.after(StageStarted("denoising"), 5.0)
LEARNED = {
    stage_key(REQUEST, "loading", "transformer"): 8.0,
    stage_key(REQUEST, "step"): 0.5,
    stage_key(REQUEST, "decoding"): 2.0,
}


def stepped(*times_s: float) -> JobProgress:
    progress = DENOISING
    for step, now_s in enumerate(times_s, 1):
        progress = progress.after(StepDone(step, 20, 0.5), now_s)
    return progress


def test_the_pace_leaves_out_the_first_step_which_may_compile() -> None:
    progress = stepped(15.0, 15.5, 16.0)
    assert progress.steps_per_second == pytest.approx(2.0)
    assert progress.left_s(16.0) == pytest.approx(8.5)
    assert progress.elapsed_s(16.0) == 16.0


def test_within_a_step_the_time_left_stands_still() -> None:
    progress = stepped(15.0, 15.5)
    assert progress.left_s(15.5) == progress.left_s(99.0)


def test_nothing_is_guessed_before_two_steps_or_where_nothing_was_learned() -> None:
    assert DENOISING.left_s(6.0) is None
    assert stepped(15.0).left_s(15.0) is None
    assert stepped(15.0, 15.0).steps_per_second is None
    assert stepped(15.0, 15.5).after(StageStarted("decoding"), 16.0).left_s(16.0) is None


def test_what_was_learned_gives_the_whole_time_left_from_the_first_stage_on() -> None:
    loading = START.after(StageStarted("loading", "transformer"), 1.0)
    assert loading.left_s(4.0, LEARNED.get) == pytest.approx(5.0 + 10.0 + 2.0)
    assert loading.left_s(99.0, LEARNED.get) == pytest.approx(10.0 + 2.0)  # longer than usual: soon, then
    assert DENOISING.left_s(5.0, LEARNED.get) == pytest.approx(12.0)
    assert DENOISING.after(StageStarted("decoding"), 7.0).left_s(7.5, LEARNED.get) == pytest.approx(1.5)


def test_the_pictures_of_a_batch_are_decoded_one_after_another() -> None:
    batch = replace(REQUEST, batch_size=4)
    learned = {stage_key(batch, "decoding"): 2.0, stage_key(batch, "step"): 0.5}
    denoising = JobProgress(request=batch, started_at_s=0.0).after(StageStarted("denoising"), 1.0)
    assert denoising.left_s(1.0, learned.get) == pytest.approx(10.0 + 8.0)
    second = denoising.after(StageStarted("decoding", "1 of 4"), 5.0).after(StageStarted("decoding", "2 of 4"), 7.0)
    assert second.left_s(7.5, learned.get) == pytest.approx(1.5 + 4.0)
    assert second.took[-1] == (stage_key(batch, "decoding"), 2.0)


def test_the_part_that_is_read_tells_how_long_the_rest_takes() -> None:
    loading = START.after(StageStarted("loading", "transformer"), 1.0).after(LoadingProgress("transformer", 0.25), 3.0)
    assert loading.done == 0.25
    assert loading.left_s(3.0, LEARNED.get) == pytest.approx(6.0 + 10.0 + 2.0)


def test_how_much_is_done_is_known_while_reading_and_denoising_only() -> None:
    assert START.after(StageStarted("encoding"), 1.0).done is None
    assert START.after(StageStarted("loading", "vae"), 1.0).done is None
    assert stepped(6.0, 7.0).done == 0.1


def test_each_stage_that_is_over_tells_what_it_took() -> None:
    progress = START.after(StageStarted("loading", "transformer"), 1.0).after(StageStarted("denoising"), 5.0)
    for step, now_s in enumerate((15.0, 15.5, 16.0), 1):
        progress = progress.after(StepDone(step, 20, 0.5), now_s)
    progress = progress.after(StageStarted("decoding"), 16.5)
    assert dict(progress.ended(17.5)) == {
        stage_key(REQUEST, "loading", "transformer"): 4.0,
        stage_key(REQUEST, "step"): pytest.approx(0.5),
        stage_key(REQUEST, "decoding"): 1.0,
    }


def test_a_step_is_learned_for_its_size_and_for_how_often_the_model_is_asked() -> None:
    guided = replace(REQUEST, negative_prompt="n", true_cfg_scale=2.0)
    keys = {
        stage_key(request, "step")
        for request in (REQUEST, replace(REQUEST, width=256), replace(REQUEST, integrator="heun"), guided)
    }
    assert len(keys) == 3  # heun and a negative prompt both ask twice
    assert stage_key(replace(REQUEST, seed=9, num_steps=5), "step") == stage_key(REQUEST, "step")
    assert stage_key(replace(guided, integrator="heun"), "step").count("4 passes") == 1


def test_a_step_and_a_reading_are_learned_for_their_kind_of_weights() -> None:
    requests = [replace(REQUEST, weights=kind) for kind in ("full", "int8", "int8_fast")]
    assert len({stage_key(request, "step") for request in requests}) == 3
    assert len({stage_key(request, "loading", "transformer") for request in requests}) == 3
    assert len({stage_key(request, "decoding") for request in requests}) == 1


def test_a_step_is_learned_for_its_step_cache() -> None:
    keys = {stage_key(replace(REQUEST, step_cache=budget), "step") for budget in (0.0, 0.08, 0.12)}
    assert len(keys) == 3


def test_times_paces_and_sizes_are_written_for_people() -> None:
    assert [clock_text(s) for s in (0.4, 7, 750, 3723)] == ["0:00", "0:07", "12:30", "1:02:03"]
    assert [duration_text(s) for s in (0.52, 12.4, 185)] == ["0.5 s", "12 s", "3:05"]
    assert [pace_text(p) for p in (11.23, 1.0, 0.25)] == ["11.2 it/s", "1.0 it/s", "4.0 s/it"]
    assert [bytes_text(n) for n in (640_000_000, 3_140_000_000, 212_000_000_000)] == ["640 MB", "3.1 GB", "212 GB"]
