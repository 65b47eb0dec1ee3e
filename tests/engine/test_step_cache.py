"""Passes take most of their work from an earlier one within a budget, and nobody is touched who did not ask for it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import Engine, FluxModelLoader, GenerationRequest, compiled, denoising_states
from flux_engine.errors import RequestError
from flux_engine.models.step_cache import change, empty_cache, others
from flux_engine.programs import Picture, Program, programs
from flux_engine.request import PicturesReady, StepDone
from flux_engine.residency import Residency
from flux_engine.sampling.denoiser import Denoiser
from flux_engine.sampling.integrators import INTEGRATORS
from flux_engine.sampling.timers import FluxTimer
from flux_engine.weights import placing
from tests.engine.runs import HEIGHT, TOKENS, WIDTH, latents_of, paint, prepare

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, L, D = 2, 3, 4
ANYTHING, NOTHING = 1e9, 1e-9  # budgets
PROGRAMS = (compiled.whole_velocity, compiled.whole_cached_velocity)


def walk(passes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Signs and image tokens of passes in a row, each a little further on; the second picture moves faster."""
    rng = np.random.default_rng(0)
    sign, x = rng.normal(size=(2, B, L, D))
    pace = np.array([0.01, 0.04])[:, None, None]
    found = []
    for _ in range(passes):
        sign, x = sign + pace * rng.normal(size=(B, L, D)), x + 0.1
        found.append((sign.astype(np.float32), x.astype(np.float32)))
    return found


def in_numpy(passes: list[tuple[np.ndarray, np.ndarray]], budget: float) -> tuple[list[np.ndarray], list[bool]]:
    """What `others` says, said again: the blocks square the tokens."""
    results, computed = [], []
    kept_sign = kept_added = None
    spent = 0.0
    for sign, x in passes:
        if kept_sign is not None:
            apart = np.abs(sign - kept_sign).sum((1, 2)) / np.abs(kept_sign).sum((1, 2))
            spent += apart.max()
        computed.append(kept_sign is None or spent >= budget)
        if computed[-1]:
            kept_sign, kept_added, spent = sign, x**2 - x, 0.0
        results.append(x + kept_added)
    return results, computed


@pytest.mark.parametrize("budget", [0.0, 0.05, 0.1, 0.3, 1e9])
def test_what_is_reused_and_when_is_what_numpy_says(budget: float) -> None:
    passes = walk(12)
    wanted, computed = in_numpy(passes, budget)
    step = jax.jit(lambda cache, sign, x: others(cache, sign, x, lambda: x**2, jnp.float32(budget)))
    cache = empty_cache((B, L, D), jnp.float32)
    reused = []
    for (sign, x), result in zip(passes, wanted, strict=True):
        got, after = step(cache, sign, x)
        np.testing.assert_allclose(got, result, rtol=1e-5, atol=1e-6)
        reused.append(int(after.reused - cache.reused))
        cache = after
    assert reused == [int(not each) for each in computed]
    assert reused[0] == 0 and (sum(reused) > 0) == (budget > 0) and (sum(reused) == 11) == (budget > 1)


def test_the_picture_that_changed_most_decides_for_all() -> None:
    before = jnp.ones((B, L, D))
    assert change(before * jnp.array([1.0, 1.5])[:, None, None], before) == 0.5
    assert change(before * jnp.array([0.25, 1.5])[:, None, None], before) == 0.75


# In a run


def test_without_a_budget_the_program_is_the_old_one_and_so_is_every_bit(tiny_loader: FluxModelLoader) -> None:
    plain = latents_of(tiny_loader)
    compiled_before = [program._cache_size() for program in PROGRAMS]
    assert np.array_equal(latents_of(tiny_loader, step_cache=0.0), plain)
    assert [program._cache_size() for program in PROGRAMS] == compiled_before


def test_a_budget_that_nothing_keeps_to_changes_no_more_than_rounding(tiny_loader: FluxModelLoader) -> None:
    guided = {"negative_prompt": "fog", "true_cfg_scale": 3.0}
    network = prepare(tiny_loader, step_cache=NOTHING, **guided)
    np.testing.assert_allclose(paint(network), latents_of(tiny_loader, **guided), rtol=0, atol=1e-5)
    assert network.reused() == 0


@pytest.mark.parametrize(
    ("integrator", "guided", "reused"),
    [
        ("euler", {}, [0, 1, 2, 3, 3]),
        ("heun", {}, [1, 3, 5, 6, 6]),  # the fourth step looks ahead to where the fifth one is computed
        ("euler", {"negative_prompt": "fog", "true_cfg_scale": 3.0}, [0, 2, 4, 6, 6]),  # each prompt for itself
    ],
)
def test_the_first_and_the_last_velocity_are_computed_whatever_the_budget(
    tiny_loader: FluxModelLoader, integrator: str, guided: Any, reused: list[int]
) -> None:
    network = prepare(tiny_loader, step_cache=ANYTHING, **guided)
    assert [network.reused() for _ in states_of(network, integrator=integrator)] == reused


def test_a_run_begins_with_an_empty_cache(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader, step_cache=ANYTHING)
    first = paint(network, num_steps=4)
    next(states_of(network, seed=1))  # stops after one step
    assert np.array_equal(paint(network, num_steps=4), first)
    assert not np.allclose(first, paint(prepare(tiny_loader), num_steps=4), atol=1e-3)
    compiled_before = compiled.whole_cached_velocity._cache_size()
    assert paint(network, num_steps=3, seed=1).shape == first.shape
    assert network.reused() == 1 and compiled.whole_cached_velocity._cache_size() == compiled_before


def test_a_run_that_is_taken_up_in_the_middle_computes_its_first_velocity(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader, step_cache=ANYTHING)
    second = list(states_of(network))[1]
    denoiser = Denoiser(FluxTimer(5, use_dynamic_shift=True, image_seq_len=TOKENS), INTEGRATORS["euler"])
    assert [network.reused() for _ in denoiser.run(network.network_fn, second)] == [0, 1, 1]


def states_of(network: Any, **options: Any) -> Any:
    settings = {"height": HEIGHT, "width": WIDTH, "num_steps": 5, "seed": 0} | options
    return denoising_states(conditioned_network=network, **settings)


def test_a_budget_below_nothing_is_refused(tiny_loader: FluxModelLoader) -> None:
    with pytest.raises(RequestError, match=r"step_cache is -0\.1; expected a number of at least 0"):
        prepare(tiny_loader, step_cache=-0.1)


def test_the_engine_tells_how_much_was_reused_and_the_picture_its_budget(checkpoint: Any) -> None:
    request = GenerationRequest(
        prompt="a hill",
        width=WIDTH,
        height=HEIGHT,
        num_steps=5,
        step_cache=ANYTHING,
        dtype="float32",
        checkpoint_dir=str(checkpoint),
    )
    events = list(Engine().generate(request))
    assert [event.reused for event in events if isinstance(event, StepDone)] == [0, 1, 2, 3, 3]
    assert isinstance(events[-1], PicturesReady) and events[-1].request.step_cache == ANYTHING


def test_the_plan_knows_the_program_with_a_cache(tiny_loader: FluxModelLoader) -> None:
    step = step_of(tiny_loader)
    assert step.function is compiled.cached_velocity
    assert step.arguments[-2].sign.shape == (1, TOKENS, tiny_loader.transformer_config.hidden_dim)
    assert step.working_bytes() > 0


def test_blocks_with_programs_of_their_own_reuse_as_much(
    tiny_loader: FluxModelLoader, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = paint(prepare(tiny_loader, step_cache=ANYTHING), num_steps=4)
    monkeypatch.setattr(placing, "_platform", lambda devices: "gpu")
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    network = prepare(loader, step_cache=ANYTHING)
    np.testing.assert_allclose(paint(network, num_steps=4), expected, rtol=0, atol=1e-4)
    assert network.reused() == 2
    step = step_of(loader)
    assert len(compiled.lowered(step.function, *step.network, *step.arguments)) > 1


def step_of(loader: FluxModelLoader) -> Program:
    """The program of a step with a cache, as it is planned."""
    picture = Picture(dtype=loader.dtype, width=WIDTH, height=HEIGHT, text_tokens=64, step_cache=True)
    return programs(loader.configs, picture, Residency(), loader.places)[3]
