"""From a conditioned network to latents: schedule, integrator, noise, batch and seed do what they say."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import FluxModelLoader, denoising_states
from flux_engine.errors import RequestError
from flux_engine.sampling.denoiser import Denoiser
from flux_engine.sampling.integrators import INTEGRATORS
from flux_engine.sampling.noise import gaussian
from flux_engine.sampling.timers import FluxTimer, LinearTimer, Timer
from tests.engine.runs import CHANNELS, COLUMNS, HEIGHT, ROWS, TOKENS, WIDTH, paint, prepare


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 48}, "The size is 48x48; the conditioned network was prepared for 48x32"),
        ({"height": 33}, "The size is 48x33"),
        ({"num_steps": 0}, "num_steps is 0; expected a whole number from 1 to 1000"),
        ({"num_steps": 1001}, "num_steps is 1001"),
        ({"num_steps": 2.5}, "num_steps is 2.5"),
        ({"num_steps": "3"}, "num_steps is '3'"),
        ({"num_steps": True}, "num_steps is True"),
        ({"seed": -1}, "seed is -1; expected a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"batch_size": 0}, "batch_size is 0; expected a whole number from 1"),
        ({"sigma_shift": -1.0}, "sigma_shift is -1.0; expected a number above 0"),
        ({"sigma_shift": "2"}, "sigma_shift is '2'"),
        ({"integrator": "rk4"}, "integrator is 'rk4'; expected one of euler, heun, ddim, dpmpp_2s"),
        ({"timer": "cosine"}, "timer is 'cosine'; expected one of auto, dynamic, linear"),
        ({"timer": "linear", "sigma_shift": 2.0}, "expected one of them"),
        ({"noise": "numpy"}, "noise is 'numpy'; expected one of jax, torch"),
    ],
)
def test_what_cannot_be_sampled_is_refused_before_the_first_step(
    tiny_loader: FluxModelLoader, options: Any, message: str
) -> None:
    network = prepare(tiny_loader)
    settings = {"height": HEIGHT, "width": WIDTH, "num_steps": 2, "seed": 0} | options
    with pytest.raises(RequestError, match=message):
        denoising_states(conditioned_network=network, **settings)


@pytest.mark.parametrize(
    ("options", "timer"),
    [
        ({}, FluxTimer(3, use_dynamic_shift=True, image_seq_len=TOKENS)),
        ({"sigma_shift": 1.0}, LinearTimer(3)),
        ({"sigma_shift": 3.0}, FluxTimer(3, shift=3.0)),
        ({"timer": "linear"}, LinearTimer(3)),
        ({"timer": "dynamic"}, FluxTimer(3, use_dynamic_shift=True, image_seq_len=TOKENS)),
    ],
)
@pytest.mark.parametrize("trained_with_shift", [True, False])
def test_the_schedule_is_the_models_own_unless_it_is_told(
    tiny_loader: FluxModelLoader, options: Any, timer: Timer, trained_with_shift: bool
) -> None:
    network = replace(prepare(tiny_loader), shifts_with_size=trained_with_shift)
    states = denoising_states(conditioned_network=network, height=HEIGHT, width=WIDTH, num_steps=3, seed=0, **options)
    expected = timer if options or trained_with_shift else LinearTimer(3)
    assert [state.sigma for state in states] == expected.sigmas()[1:].tolist()


@pytest.mark.parametrize("integrator", sorted(INTEGRATORS))
def test_every_integrator_paints(tiny_loader: FluxModelLoader, integrator: Any) -> None:
    network = prepare(tiny_loader)
    euler = np.asarray(paint(network, num_steps=3))
    latents = np.asarray(paint(network, num_steps=3, integrator=integrator))
    assert np.isfinite(latents).all()
    first_order = integrator in ("euler", "ddim")
    assert np.allclose(latents, euler, rtol=0, atol=1e-4) == first_order
    assert np.abs(latents - euler).max() < 1  # another road to the same place


@pytest.mark.parametrize("integrator", ["euler", "dpmpp_2s"])
def test_a_run_taken_up_from_any_state_ends_bit_for_bit_the_same(tiny_loader: FluxModelLoader, integrator: Any) -> None:
    network = prepare(tiny_loader)
    states = list(
        denoising_states(
            conditioned_network=network, height=HEIGHT, width=WIDTH, num_steps=3, seed=5, integrator=integrator
        )
    )
    denoiser = Denoiser(FluxTimer(3, use_dynamic_shift=True, image_seq_len=TOKENS), INTEGRATORS[integrator])
    for state in states[:2]:
        rest = list(denoiser.run(network.network_fn, state))
        assert [later.step for later in rest] == list(range(state.step + 1, 4))
        for later, uninterrupted in zip(rest, states[state.step :], strict=True):
            assert np.array_equal(later.latents, uninterrupted.latents)
            assert np.array_equal(later.clean, uninterrupted.clean)


def test_no_step_is_taken_that_nobody_asks_for(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader)
    asked = []

    def counting(latents: jax.Array, sigma: Any) -> jax.Array:
        asked.append(float(sigma))
        return network.network_fn(latents, sigma)

    states = denoising_states(
        conditioned_network=dataclasses.replace(network, network_fn=counting),
        height=HEIGHT,
        width=WIDTH,
        num_steps=5,
        seed=0,
    )
    assert asked == []
    next(states)
    next(states)
    assert len(asked) == 2 and asked[0] == 1.0


def test_a_picture_does_not_depend_on_its_company(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader)
    alone, three = paint(network), paint(network, batch_size=3)
    assert three.shape == (3, ROWS, COLUMNS, CHANNELS)
    np.testing.assert_allclose(three[:1], alone, rtol=0, atol=1e-5)
    assert not np.allclose(three[1], three[0], atol=0.1)


def test_torch_noise_starts_where_diffusers_starts(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader)
    frozen = dataclasses.replace(network, network_fn=lambda latents, sigma: jnp.zeros_like(latents))
    assert np.array_equal(paint(frozen, noise="torch", seed=7), gaussian("torch", 7, 1, ROWS, COLUMNS))
    assert not np.allclose(paint(network, noise="torch"), paint(network), atol=0.1)


def test_numbers_of_numpy_are_numbers(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader)
    numpys = paint(network, seed=np.int64(3), num_steps=np.int32(2), batch_size=np.uint8(1), sigma_shift=np.float32(2))
    assert np.array_equal(numpys, paint(network, seed=3, num_steps=2, batch_size=1, sigma_shift=2.0))
