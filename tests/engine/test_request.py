"""A request is possible or is refused at birth, in a sentence that says what was got and what was expected."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux_engine.errors import FluxError, RequestError
from flux_engine.request import (
    DEMO_DEFAULTS,
    FLUX_DEFAULTS,
    MAX_BATCH,
    MAX_SEED,
    MAX_SIZE_PX,
    MAX_STEPS,
    DType,
    GenerationRequest,
    Integrator,
    LoraUse,
    Noise,
    RGBImage,
    Timer,
    WeightKind,
    defaults_for,
)
from flux_engine.sampling.timers import FluxTimer

sizes = st.integers(1, MAX_SIZE_PX // 16).map(lambda tokens: tokens * 16)
scales = st.floats(0, 1e6) | st.integers(0, 100)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\r"))
prompts = texts.filter(str.strip)
possible = {
    "negative_prompt": st.none() | texts,
    "width": sizes,
    "height": sizes,
    "num_steps": st.integers(1, MAX_STEPS),
    "guidance_scale": scales,
    "true_cfg_scale": st.floats(1, 1e6),
    "seed": st.integers(0, MAX_SEED),
    "batch_size": st.integers(1, MAX_BATCH),
    "integrator": st.sampled_from(get_args(Integrator)),
    "sigma_shift": st.none() | st.floats(1e-6, 1e3),
    "timer": st.sampled_from(get_args(Timer)),
    "noise": st.sampled_from(get_args(Noise)),
    "dtype": st.sampled_from(get_args(DType)),
    "weights": st.sampled_from(get_args(WeightKind)),
    "step_cache": scales,
    "checkpoint_dir": st.none() | st.just("/models/flux"),
    "loras": st.lists(
        st.builds(
            LoraUse, file=texts.filter(bool), strength=st.floats(-10, 10), sha256=st.sampled_from(["", "0f" * 32])
        ),
        max_size=3,
        unique_by=lambda lora: lora.file,
    ).map(tuple),
    "lora_fuse": st.booleans(),
    "lora_lenient": st.booleans(),
}
not_finite = st.sampled_from([math.inf, -math.inf, math.nan])
no_number = st.sampled_from([None, True, "4", [4], 10**400])


def outside(low: int, high: int) -> st.SearchStrategy[Any]:
    """What is no whole number from `low` to `high`."""
    return st.integers(max_value=low - 1) | st.integers(min_value=high + 1) | st.floats() | no_number


impossible_sizes = outside(16, MAX_SIZE_PX) | st.integers(16, MAX_SIZE_PX).filter(lambda size: size % 16)
impossible = {
    "width": impossible_sizes,
    "height": impossible_sizes,
    "num_steps": outside(1, MAX_STEPS),
    "guidance_scale": st.floats(max_value=0, exclude_max=True) | not_finite | no_number,
    "true_cfg_scale": st.floats(max_value=1, exclude_max=True) | not_finite | no_number,
    "seed": outside(0, MAX_SEED),
    "batch_size": outside(1, MAX_BATCH),
    "integrator": st.text().filter(lambda name: name not in get_args(Integrator)) | no_number,
    "sigma_shift": st.floats(max_value=0) | not_finite | no_number.filter(lambda value: value is not None),
    "timer": st.text().filter(lambda name: name not in get_args(Timer)) | no_number,
    "noise": st.text().filter(lambda name: name not in get_args(Noise)) | no_number,
    "dtype": st.text().filter(lambda name: name not in get_args(DType)) | no_number,
    "weights": st.text().filter(lambda name: name not in get_args(WeightKind)) | no_number,
    "step_cache": st.floats(max_value=0, exclude_max=True) | not_finite | no_number,
    "checkpoint_dir": st.sampled_from([7, b"flux", Path("flux"), "a\0b", "\ud800"]),
    "loras": st.sampled_from([None, 1, "a.safetensors", ("a.safetensors",), (LoraUse(file="a"),) * 2]),
    "lora_fuse": st.sampled_from([None, 1, "yes"]),
    "lora_lenient": st.sampled_from([None, 0, "no"]),
}
a_fault = st.sampled_from(sorted(impossible)).flatmap(lambda name: st.tuples(st.just(name), impossible[name]))


@given(values=st.fixed_dictionaries({"prompt": prompts}, optional=possible))
def test_what_is_possible_is_taken_as_it_is_and_goes_through_json(values: dict[str, Any]) -> None:
    if values.get("timer", "auto") != "auto":
        values.pop("sigma_shift", None)
    request = GenerationRequest(**values)
    assert {name: getattr(request, name) for name in values} == values
    assert GenerationRequest(**json.loads(json.dumps(dataclasses.asdict(request)))) == request


@given(fault=a_fault)
def test_what_is_impossible_is_refused_with_its_name_its_value_and_what_was_expected(fault: tuple[str, Any]) -> None:
    name, value = fault
    with pytest.raises(RequestError) as caught:
        GenerationRequest(prompt="a hill", **{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}")
    assert "; expected " in str(caught.value)
    assert isinstance(caught.value, FluxError) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "\u3000"])
def test_a_blank_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(RequestError, match="prompt is empty") as caught:
        GenerationRequest(prompt=prompt)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
@pytest.mark.parametrize(
    ("text", "message"), [("a \udcff", r"is not UTF-8: 'a \\udcff'"), (b"a hill", "is b'a hill'; expected text")]
)
def test_text_that_is_none_is_refused(name: str, text: Any, message: str) -> None:
    with pytest.raises(RequestError, match=f"The {name.replace('_', ' ')} {message}"):
        GenerationRequest(**{"prompt": "a hill", name: text})


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("sign", ["\0", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\x9b"])
def test_a_control_character_that_no_record_gives_back_is_refused(name: str, sign: str) -> None:
    complaint = re.escape(f"The {name.replace('_', ' ')} has the control character {sign!r} at character 7; expected")
    with pytest.raises(RequestError, match=complaint) as caught:
        GenerationRequest(**{"prompt": "a hill", name: f"a lake{sign}[0m"})
    assert caught.value.hint


def test_numbers_of_numpy_become_pythons() -> None:
    request = GenerationRequest(prompt="a hill", seed=np.int64(3), width=np.uint16(64), guidance_scale=np.float32(2.5))
    assert json.loads(json.dumps(dataclasses.asdict(request)))["seed"] == 3
    assert (type(request.seed), type(request.width), type(request.guidance_scale)) == (int, int, float)


@pytest.mark.parametrize(("size", "hint"), [(100, "96 or 112"), (17, "16 or 32"), (8191, "8176 or 8192")])
def test_a_size_between_two_possible_ones_names_both(size: int, hint: str) -> None:
    with pytest.raises(RequestError, match=f"height is {size} pixels; expected a multiple of 16") as caught:
        GenerationRequest(prompt="a hill", height=size)
    assert hint in caught.value.hint


@pytest.mark.parametrize(("num_steps", "shift"), [(2, 1e9), (1000, 3e4), (4, 5e-324), (2, np.float32(1e9))])
def test_a_shift_that_float32_cannot_follow_is_refused_as_the_schedule_would(num_steps: int, shift: float) -> None:
    with pytest.raises(RequestError, match=r"sigma_shift is .*; expected one .* in \d+ steps") as caught:
        GenerationRequest(prompt="a hill", num_steps=num_steps, sigma_shift=shift)
    assert "fewer steps" in caught.value.hint


@given(st.integers(1, MAX_STEPS), st.floats(0, 1e40, exclude_min=True))
def test_a_request_has_a_shift_where_the_schedule_has(num_steps: int, shift: float) -> None:
    taken = []
    for attempt in (
        lambda: GenerationRequest(prompt="a hill", num_steps=num_steps, sigma_shift=shift),
        lambda: FluxTimer(num_steps, shift=shift).sigmas(),
    ):
        try:
            attempt()
            taken.append(True)
        except RequestError:
            taken.append(False)
    assert taken[0] == taken[1]


def test_a_change_of_a_request_is_checked_too() -> None:
    request = GenerationRequest(prompt="a hill")
    with pytest.raises(RequestError, match="num_steps is 0"):
        dataclasses.replace(request, num_steps=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.num_steps = 0  # type: ignore[misc]


def test_defaults_are_the_models_own_and_possible() -> None:
    assert defaults_for(None) is DEMO_DEFAULTS
    assert defaults_for("/models/flux") is FLUX_DEFAULTS
    for defaults in (DEMO_DEFAULTS, FLUX_DEFAULTS):
        request = GenerationRequest(prompt="a hill", **dataclasses.asdict(defaults))
        assert (request.width, request.num_steps) == (defaults.width, defaults.num_steps)
    assert (FLUX_DEFAULTS.width, FLUX_DEFAULTS.height, FLUX_DEFAULTS.num_steps) == (1024, 1024, 30)
    assert FLUX_DEFAULTS.guidance_scale == 4.0


@pytest.mark.parametrize("size", [0, 17, 19])
def test_a_picture_whose_bytes_are_not_its_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"got {size} bytes; expected 3 x 2 x 3"):
        RGBImage(3, 2, bytes(size))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"file": ""}, "A LoRA's file is ''; expected a path."),
        ({"file": 3}, "A LoRA's file is 3; expected a path."),
        ({"file": "a", "strength": 10.5}, "The strength of a is 10.5; expected a number from -10 to 10."),
        ({"file": "a", "strength": math.nan}, "The strength of a is nan; expected a number from -10 to 10."),
        ({"file": "a", "sha256": "0F"}, "The hash of a is '0F'; expected 64 hexadecimal digits in lower case."),
    ],
)
def test_an_impossible_lora_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        LoraUse(**values)
    assert str(caught.value) == message
