"""A request goes in and events come out, in order; stopping, failing and changing models leave a usable engine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import Engine, FluxModelLoader, GenerationRequest, run_diffuse_generation
from flux_engine.engine import _one_ahead
from flux_engine.errors import CheckpointNotFound, NumericalError, WeightsMismatch
from flux_engine.prompt_velocity import PromptVelocity
from flux_engine.request import EngineStatus, Event, LoadingProgress, PicturesReady, StageStarted, StepDone
from flux_engine.sampling.timers import FluxTimer
from flux_engine.weights.checkpoint import load_component, save_component
from flux_engine.weights.placing import on_device
from tests.engine.conftest import live_bytes

FIRST = [
    ("loading", "model"),
    ("loading", "CLIP text encoder"),
    ("loading", "T5 text encoder"),
    ("encoding", ""),
    ("loading", "transformer"),
    ("loading", "autoencoder"),
    ("denoising", ""),
    ("decoding", ""),
]
LATER = [("denoising", ""), ("decoding", "")]


@pytest.fixture
def request_for(checkpoint: Path) -> Callable[..., GenerationRequest]:
    """A request for a small picture by the tiny model."""

    def make(**values: Any) -> GenerationRequest:
        size = {"height": 32, "width": 48, "num_steps": 3, "seed": 4}
        return GenerationRequest(
            **{"prompt": "a hill", "checkpoint_dir": str(checkpoint), "dtype": "float32"} | size | values
        )

    return make


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[Engine]:
    """One that has painted before."""
    used = Engine()
    list(
        used.generate(
            GenerationRequest(
                prompt="a hill", height=32, width=48, num_steps=1, checkpoint_dir=str(checkpoint), dtype="float32"
            )
        )
    )
    yield used


@pytest.fixture
def velocity_calls(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sigmas that the network was asked for."""
    calls: list[float] = []
    velocity = PromptVelocity.__call__

    def counting(self: PromptVelocity, latents: jax.Array, sigma: Any) -> jax.Array:
        calls.append(float(sigma))
        return velocity(self, latents, sigma)

    monkeypatch.setattr(PromptVelocity, "__call__", counting)
    return calls


def stages(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.stage, event.detail) for event in events if isinstance(event, StageStarted)]


def pixels(ready: Event) -> np.ndarray:
    """uint8 [B, H, W, 3]"""
    assert isinstance(ready, PicturesReady)
    return np.stack(
        [np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3) for image in ready.images]
    )


def test_a_first_request_tells_every_stage_and_step_and_ends_with_the_pictures(
    request_for: Callable[..., GenerationRequest],
) -> None:
    request = request_for(batch_size=3)
    started = time.perf_counter()
    events = list(Engine().generate(request))
    elapsed = time.perf_counter() - started

    pictures = [("decoding", f"{place} of 3") for place in (1, 2, 3)]
    assert stages(events) == [*FIRST[:-1], *pictures]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert (
        events[events.index(StageStarted("denoising")) + 1 : events.index(StageStarted("decoding", "1 of 3"))] == steps
    )
    assert [(step.step, step.num_steps) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    sigmas = FluxTimer(3, use_dynamic_shift=True, image_seq_len=6).sigmas()
    assert [step.sigma for step in steps] == sigmas[1:].tolist()
    previews = [step.preview for step in steps]
    assert [(preview.width, preview.height) for preview in previews if preview] == [(6, 4)] * 3
    assert len({preview.data for preview in previews if preview}) == 3
    ready = events[-1]
    assert isinstance(ready, PicturesReady)
    assert [(image.width, image.height) for image in ready.images] == [(48, 32)] * 3
    assert ready.images[0].data != ready.images[1].data
    assert ready.request == request
    assert (ready.model_name, ready.warnings) == ("tiny", ())
    assert list(ready.seconds) == ["loading", "encoding", "denoising", "decoding"]
    assert min(ready.seconds.values()) > 0
    assert sum(ready.seconds.values()) < elapsed


def test_the_pictures_are_those_of_the_python_api(
    engine: Engine, tiny_loader: FluxModelLoader, request_for: Callable[..., GenerationRequest]
) -> None:
    request = request_for(noise="torch", integrator="heun", sigma_shift=2.0, guidance_scale=2.0)
    *_, ready = engine.generate(request)
    network = tiny_loader.prepare_conditioned_network("a hill", None, 2.0, 32, 48)
    latents = run_diffuse_generation(
        conditioned_network=network,
        height=32,
        width=48,
        num_steps=3,
        seed=4,
        sigma_shift=2.0,
        integrator="heun",
        noise="torch",
    )
    expected = np.round(np.asarray(tiny_loader.decode_latents(latents)) * 255)
    assert np.array_equal(pixels(ready), expected)


def test_what_is_there_already_is_not_announced(engine: Engine, request_for: Callable[..., GenerationRequest]) -> None:
    events = list(engine.generate(request_for(seed=1)))
    assert stages(events) == LATER
    assert isinstance(events[-1], PicturesReady)
    assert list(events[-1].seconds) == ["denoising", "decoding"]

    new_prompt = list(engine.generate(request_for(prompt="fog", negative_prompt="a hill", true_cfg_scale=2.0)))
    assert stages(new_prompt) == [("encoding", ""), *LATER]
    assert not np.array_equal(pixels(new_prompt[-1]), pixels(events[-1]))


def test_warnings_about_the_prompt_come_with_the_pictures(
    engine: Engine, request_for: Callable[..., GenerationRequest]
) -> None:
    *_, ready = engine.generate(request_for(prompt="the old lighthouse " * 40, negative_prompt="fog"))
    assert isinstance(ready, PicturesReady)
    cut, negative = ready.warnings
    assert "were cut" in cut
    assert "no effect" in negative


def test_nothing_happens_before_the_first_event_is_asked_for() -> None:
    Engine().generate(GenerationRequest(prompt="a hill", checkpoint_dir="/nowhere"))


def test_closing_between_steps_stops_there(
    engine: Engine, velocity_calls: list[float], request_for: Callable[..., GenerationRequest]
) -> None:
    events = engine.generate(request_for(num_steps=9))
    steps = [event for event in islice(events, 3) if isinstance(event, StepDone)]
    assert [step.step for step in steps] == [1, 2]
    assert len(velocity_calls) == 2
    events.close()  # type: ignore[attr-defined]
    assert len(velocity_calls) == 2
    assert len(list(engine.generate(request_for()))) == 3 + 3
    assert len(velocity_calls) == 5


@pytest.mark.usefixtures("little_memory", "no_garbage_collection")
@pytest.mark.parametrize("after", range(1, len(FIRST) + 1))
def test_closing_at_any_stage_leaves_a_usable_engine(
    checkpoint: Path, request_for: Callable[..., GenerationRequest], after: int
) -> None:
    engine = Engine()
    events = engine.generate(request_for(num_steps=1))
    for _ in range(after):
        next(events)
    events.close()  # type: ignore[attr-defined]
    *_, ready = engine.generate(request_for(num_steps=1))
    assert pixels(ready).shape == (1, 32, 48, 3)
    before = live_bytes()
    engine._loader.release_text_encoders()  # type: ignore[union-attr]
    assert live_bytes() == before  # they had left already


def test_a_change_of_model_frees_the_old_one_first(
    checkpoint: Path,
    tmp_path: Path,
    request_for: Callable[..., GenerationRequest],
    no_garbage_collection: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = str(shutil.copytree(checkpoint, tmp_path / "other"))
    engine = Engine()
    without = live_bytes()
    *_, first = engine.generate(request_for())
    loaded = live_bytes() - without
    seen = []
    check = FluxModelLoader._check_that_parts_fit

    def looking(new: FluxModelLoader) -> None:
        seen.append(live_bytes() - without)
        check(new)

    monkeypatch.setattr(FluxModelLoader, "_check_that_parts_fit", looking)

    events = list(engine.generate(request_for(checkpoint_dir=other)))

    assert loaded > 1_000_000
    [left] = seen
    assert left < 0.05 * loaded  # the weights had gone before the other model came
    assert live_bytes() - without == loaded
    assert stages(events) == FIRST
    assert isinstance(events[-1], PicturesReady) and events[-1].model_name == "other"
    assert np.array_equal(pixels(events[-1]), pixels(first))


def test_a_checkpoint_that_is_not_there_is_an_error_and_the_engine_goes_on(
    engine: Engine, tmp_path: Path, request_for: Callable[..., GenerationRequest]
) -> None:
    events = engine.generate(request_for(checkpoint_dir=str(tmp_path / "nowhere")))
    assert next(events) == StageStarted("loading", "model")
    with pytest.raises(CheckpointNotFound, match="nowhere"):
        next(events)
    assert stages(list(engine.generate(request_for()))) == FIRST


def test_weights_of_another_model_are_an_error_and_the_engine_goes_on(
    engine: Engine, checkpoint: Path, tmp_path: Path, request_for: Callable[..., GenerationRequest]
) -> None:
    mixed = shutil.copytree(checkpoint, tmp_path / "mixed")
    config = mixed / "transformer" / "config.json"
    config.write_text(config.read_text().replace('"num_single_layers": 2', '"num_single_layers": 3'))
    with pytest.raises(WeightsMismatch, match=r"transformer: the leaves in .* missing: single_blocks\.2"):
        list(engine.generate(request_for(checkpoint_dir=str(mixed))))
    *_, ready = engine.generate(request_for())
    assert pixels(ready).std() > 10


def test_the_watcher_hears_how_far_each_network_is(request_for: Callable[..., GenerationRequest]) -> None:
    heard: list[LoadingProgress] = []
    list(Engine().generate(request_for(), heard.append))
    networks = list(dict.fromkeys(progress.network for progress in heard))
    assert networks == [detail for stage, detail in FIRST if stage == "loading"][1:]
    for network in networks:
        fractions = [progress.fraction for progress in heard if progress.network == network]
        assert fractions == sorted(set(fractions)) and fractions[0] > 0 and fractions[-1] == 1.0
    assert len(heard) > len(networks)  # a stack of blocks is read block by block


@pytest.mark.usefixtures("little_memory", "no_garbage_collection")
@pytest.mark.parametrize("network", ["T5 text encoder", "transformer"])
def test_a_watcher_that_raises_ends_the_reading_and_leaves_nothing_half_read(
    network: str, request_for: Callable[..., GenerationRequest]
) -> None:
    class Enough(Exception):
        pass

    def watch(progress: LoadingProgress) -> None:
        if progress.network == network:
            raise Enough

    engine, before = Engine(), live_bytes()
    with pytest.raises(Enough):
        list(engine.generate(request_for(), watch))
    if network == "T5 text encoder":
        assert live_bytes() == before
    *_, ready = engine.generate(request_for())
    *_, expected = Engine().generate(request_for())
    assert np.array_equal(pixels(ready), pixels(expected))


def test_the_engine_tells_where_it_computes_and_which_model_it_has(
    request_for: Callable[..., GenerationRequest],
) -> None:
    engine = Engine()
    assert engine.status() == EngineStatus(device="cpu")
    list(engine.generate(request_for()))
    assert engine.status() == EngineStatus(device="cpu", model_name="tiny")


@pytest.mark.usefixtures("little_memory", "no_garbage_collection")
def test_text_encoders_leave_when_the_watcher_stops_while_they_encode(
    checkpoint: Path, request_for: Callable[..., GenerationRequest]
) -> None:
    events = Engine().generate(request_for())
    before = live_bytes()
    while next(events) != StageStarted("encoding"):
        pass
    assert live_bytes() - before > 100_000
    events.close()
    assert live_bytes() == before


@pytest.mark.usefixtures("little_memory", "no_garbage_collection")
def test_the_first_text_encoder_leaves_when_the_second_cannot_be_read(
    checkpoint: Path, tmp_path: Path, request_for: Callable[..., GenerationRequest]
) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    shutil.rmtree(broken / "t5_text" / "state")
    before = live_bytes()
    with pytest.raises(CheckpointNotFound, match="t5_text"):
        list(Engine().generate(request_for(checkpoint_dir=str(broken))))
    assert live_bytes() == before


def test_values_that_are_not_numbers_are_no_picture(
    checkpoint: Path, tmp_path: Path, request_for: Callable[..., GenerationRequest]
) -> None:
    spoiled = shutil.copytree(checkpoint, tmp_path / "spoiled")
    vae = load_component(spoiled / "vae", "vae", placement=on_device(jax.devices()[0]), dtype=jnp.float32)
    vae.decoder.conv_out.bias[...] = jnp.full_like(vae.decoder.conv_out.bias[...], jnp.nan)
    save_component(spoiled / "vae", vae)
    with pytest.raises(NumericalError, match="values that are not numbers") as caught:
        list(Engine().generate(request_for(checkpoint_dir=str(spoiled))))
    assert caught.value.hint.startswith("Try dtype float32;")


def test_a_picture_is_painted_again_from_its_own_record_without_loading(
    request_for: Callable[..., GenerationRequest],
) -> None:
    engine = Engine()
    *_, first = engine.generate(request_for(dtype="auto"))
    assert isinstance(first, PicturesReady) and first.request.dtype in ("float32", "bfloat16")
    again = list(engine.generate(first.request))
    assert stages(again) == LATER
    assert np.array_equal(pixels(again[-1]), pixels(first))


def test_a_device_is_told_the_next_step_before_the_last_one_is_shown() -> None:
    told: list[int] = []

    def states() -> Iterator[Any]:
        for step in range(3):
            told.append(step)
            yield step

    assert [(state, list(told)) for state in _one_ahead(states())] == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2])]
