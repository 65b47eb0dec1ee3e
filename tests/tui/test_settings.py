"""The rows of the form: they fit, they suit the model, and they take what the request takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_engine.errors import RequestError
from flux_engine.request import DEMO_DEFAULTS, FLUX_DEFAULTS, GenerationRequest
from flux_tui.settings import FORM_FIELDS, complete, fitting, model_of, parse_count, parse_form, size_presets, snapped


def test_every_help_fits_the_status_line_of_the_smallest_screen() -> None:
    assert [field.label for field in FORM_FIELDS if len(f"{field.label}: {field.help}") > 76] == []


def test_every_label_fits_its_column() -> None:
    assert [field.label for field in FORM_FIELDS if len(field.label) > 11] == []


def test_presets_follow_the_model() -> None:
    for model, defaults in ((None, DEMO_DEFAULTS), ("/models/x", FLUX_DEFAULTS)):
        assert size_presets(model)[0] == (defaults.width, defaults.height)
        for width, height in size_presets(model):
            GenerationRequest(prompt="p", width=width, height=height)


@pytest.mark.parametrize(("side", "nearest"), [(1, 16), (128, 128), (135, 128), (137, 144), (99999, 8192)])
def test_a_side_snaps_to_one_that_a_request_takes(side: int, nearest: int) -> None:
    assert snapped(side) == nearest
    GenerationRequest(prompt="p", width=nearest)


@pytest.mark.parametrize("text", ["0", "-1", "1001", "", "two", "1.5", "9" * 5000])
def test_a_count_is_a_whole_number_of_pictures(text: str) -> None:
    assert parse_count(" 12 ") == 12
    with pytest.raises(RequestError, match="from 1 to 1000"):
        parse_count(text)


def test_a_model_is_known_by_its_path_and_by_its_words_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert (model_of(" "), model_of("~/flux/")) == (None, "/home/somebody/flux")
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert model_of(" models/x ") == "models/x"


def test_a_form_without_faults_makes_a_request_and_every_fault_is_at_its_row() -> None:
    values, count, faults = parse_form(complete({"count": "3", "num_steps": "7"}))
    assert (GenerationRequest(prompt="p", **values).num_steps, count, faults) == (7, 3, {})
    wrong = {"count": "0", "width": "100", "timer": "linear", "sigma_shift": "3"}
    assert parse_form(complete(wrong))[2].keys() == {"count", "width", "sigma_shift"}
    assert parse_form(complete({**wrong, "timer": "auto"}))[2].keys() == {"count", "width"}
    for num_steps, faults in (("2", {"sigma_shift": "Take fewer steps or a shift nearer 1."}), ("1", {})):
        assert parse_form(complete({"num_steps": num_steps, "sigma_shift": "1e9"}))[2] == faults


def test_texts_that_no_row_takes_are_left_out_and_a_seed_that_is_named_is_fixed() -> None:
    odd = {"seed": "5", "timer": "sundial", "negative_prompt": "fog", "size": "128x128"}
    assert fitting(odd) == {"seed": "5", "seed_use": "fixed"}
    assert complete(odd)["timer"] == "auto" and complete({})["seed_use"] == "random"
