"""Every setting is a field, every field knows what it accepts, and says so shortly."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from flux_engine.errors import RequestError
from flux_engine.fields import FIELDS, default_texts, parse, parse_all, texts_of
from flux_engine.request import DEMO_DEFAULTS, FLUX_DEFAULTS, GenerationRequest, LoraUse

REQUEST = GenerationRequest(
    prompt="p", negative_prompt="n", width=192, seed=7, integrator="heun", sigma_shift=1.5, checkpoint_dir="/models/x"
)


def test_every_part_of_a_request_but_the_prompt_is_a_field() -> None:
    assert {field.name for field in FIELDS} == {field.name for field in fields(GenerationRequest)} - {"prompt"}


@pytest.mark.parametrize(
    "request_",
    [
        REQUEST,
        GenerationRequest(prompt="p"),
        GenerationRequest(prompt="p", guidance_scale=3.1234567, step_cache=0.08, weights="int8_fast"),
        GenerationRequest(
            prompt="p", loras=(LoraUse(file="/l/ink", strength=0.8), LoraUse(file="film")), lora_fuse=True
        ),
    ],
)
def test_a_request_survives_its_fields(request_: GenerationRequest) -> None:
    values, faults = parse_all(texts_of(request_))
    assert not faults
    assert GenerationRequest(prompt="p", **values) == request_


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("width", "130", "Needs a multiple of 16: 128 or 144."),
        ("width", "0", "Needs a whole number from 16 to 8192."),
        ("width", "wide", "Needs a whole number."),
        ("width", " ", "Needs a value."),
        ("num_steps", "-1", "Needs a whole number from 1 to 1000."),
        ("num_steps", "2.5", "Needs a whole number."),
        ("guidance_scale", "much", "Needs a number."),
        ("guidance_scale", "nan", "Needs a number of at least 0."),
        ("true_cfg_scale", "0.5", "Needs a number of at least 1."),
        ("seed", "4294967296", "Needs a whole number from 0 to 4294967295."),
        ("batch_size", "65", "Needs a whole number from 1 to 64."),
        pytest.param("width", "9" * 5000, "Needs a whole number from 16 to 8192.", id="5000 digits"),
        ("sigma_shift", "-1", "Needs a number above 0."),
        ("loras", "ink:11", "Needs a strength from -10 to 10 for ink."),
        ("lora_fuse", "perhaps", "Needs no or yes."),
        ("step_cache", "-0.1", "Needs a number of at least 0."),
        ("integrator", "rk4", "Needs one of euler, heun, ddim, dpmpp_2s."),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_needed(name: str, text: str, fault: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse(name, text)
    assert str(raised.value) == fault


def test_empty_means_the_default_where_there_is_one() -> None:
    assert [parse(name, " ") for name in ("sigma_shift", "checkpoint_dir", "negative_prompt")] == [None, None, None]
    assert parse("loras", " ") == ()


def test_a_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse("checkpoint_dir", "~/flux") == "/home/somebody/flux"


def test_the_home_of_nobody_is_a_folder_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("checkpoint_dir", "~nobody-at-all/flux") == f"{tmp_path}/~nobody-at-all/flux"


def test_defaults_follow_the_model() -> None:
    assert default_texts(None)["width"] == str(DEMO_DEFAULTS.width)
    assert default_texts("/models/x")["num_steps"] == str(FLUX_DEFAULTS.num_steps)


def test_a_schedule_is_shifted_in_one_way_only() -> None:
    GenerationRequest(prompt="p", sigma_shift=3.0)
    GenerationRequest(prompt="p", timer="linear")
    with pytest.raises(RequestError, match="expected one of them"):
        GenerationRequest(prompt="p", sigma_shift=3.0, timer="linear")


def test_a_folder_counted_from_one_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(RequestError, match="Needs the whole path: the current folder is gone"):
        parse("checkpoint_dir", "models/x")
    assert parse("checkpoint_dir", "/models/x") == "/models/x"
