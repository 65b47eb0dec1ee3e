"""The walk: what it yields, when it asks the network, and that it can be taken up anywhere."""

from __future__ import annotations

from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine.errors import RequestError
from flux_engine.sampling.denoiser import Denoiser, DenoiserState, classifier_free
from flux_engine.sampling.integrators import INTEGRATORS, Euler
from flux_engine.sampling.timers import ExplicitTimer, FluxTimer, LinearTimer

NAMES = sorted(INTEGRATORS)
TIMER = FluxTimer(6, use_dynamic_shift=True, image_seq_len=64)


def noise(shape: tuple[int, ...] = (2, 4, 3, 8)) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


def gaussian_velocity(x: jax.Array, sigma: np.float32) -> jax.Array:
    """Clean latents are N(0.7, 0.4^2)."""
    alpha = 1 - sigma
    return -0.7 + (sigma - alpha * 0.16) / (alpha**2 * 0.16 + sigma**2) * (x - alpha * 0.7)


def point_velocity(point: float):
    """All clean latents are `point`."""
    return lambda x, sigma: (x - point) / sigma


def same(one: DenoiserState, other: DenoiserState) -> bool:
    return (one.step, one.num_steps, one.sigma) == (other.step, other.num_steps, other.sigma) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("latents", "clean")
    )


def test_states_count_the_steps_and_name_the_sigma_reached() -> None:
    denoiser = Denoiser(TIMER, Euler())
    start = denoiser.start(noise())
    assert (start.step, start.num_steps, start.sigma) == (0, 6, 1.0)
    assert not start.clean.any()
    states = list(denoiser.run(gaussian_velocity, start))
    assert [state.step for state in states] == [1, 2, 3, 4, 5, 6]
    assert [state.sigma for state in states] == TIMER.sigmas()[1:].tolist()
    assert {state.num_steps for state in states} == {6}


@pytest.mark.parametrize("name", NAMES)
def test_the_walk_ends_in_the_data(name: str) -> None:
    *_, last = Denoiser(LinearTimer(100), INTEGRATORS[name]).run(
        gaussian_velocity, Denoiser(LinearTimer(100), INTEGRATORS[name]).start(noise())
    )
    np.testing.assert_allclose(last.latents, 0.7 + 0.4 * noise(), rtol=0, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_the_clean_estimate_looks_through_the_noise(name: str) -> None:
    denoiser = Denoiser(TIMER, INTEGRATORS[name])
    states = list(denoiser.run(gaussian_velocity, denoiser.start(noise())))
    np.testing.assert_allclose(states[0].clean, 0.7, rtol=0, atol=1e-6)  # out of pure noise: the mean of all data
    np.testing.assert_allclose(states[-1].clean, states[-1].latents, rtol=0, atol=1e-6)
    for state in denoiser.run(point_velocity(0.7), denoiser.start(noise())):
        np.testing.assert_allclose(state.clean, 0.7, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_going_on_from_any_state_is_bit_for_bit_the_rest_of_the_run(name: str) -> None:
    denoiser = Denoiser(TIMER, INTEGRATORS[name])
    velocity = jax.jit(gaussian_velocity)
    start = denoiser.start(noise())
    whole = list(denoiser.run(velocity, start))
    for begun, state in enumerate([start, *whole]):
        rest = list(denoiser.run(velocity, state))
        assert len(rest) == len(whole) - begun
        assert all(same(one, other) for one, other in zip(rest, whole[begun:], strict=True))


def test_a_step_is_taken_only_when_it_is_asked_for() -> None:
    asked: list[float] = []

    def velocity(x: jax.Array, sigma: np.float32) -> jax.Array:
        asked.append(float(sigma))
        return gaussian_velocity(x, sigma)

    denoiser = Denoiser(LinearTimer(4), Euler())
    steps = denoiser.run(velocity, denoiser.start(noise()))
    assert asked == []
    assert [state.step for state in islice(steps, 2)] == [1, 2]
    assert asked == [1.0, 0.75]


@pytest.mark.parametrize("name", NAMES)
def test_where_a_run_will_ask_for_a_velocity_is_known_before_to_the_last_bit(name: str) -> None:
    asked: list[np.float32] = []

    def velocity(x: jax.Array, sigma: np.float32) -> jax.Array:
        asked.append(np.float32(sigma))
        return gaussian_velocity(x, sigma)

    denoiser = Denoiser(TIMER, INTEGRATORS[name])
    list(denoiser.run(velocity, denoiser.start(noise())))
    assert denoiser.evaluations() == tuple(asked)


@pytest.mark.parametrize("name", NAMES)
def test_a_jitted_network_is_compiled_once(name: str) -> None:
    traced = []

    @jax.jit
    def velocity(x: jax.Array, sigma: jax.Array) -> jax.Array:
        traced.append((x.dtype, sigma.dtype))
        return gaussian_velocity(x, sigma)

    denoiser = Denoiser(TIMER, INTEGRATORS[name])
    list(denoiser.run(velocity, denoiser.start(noise())))
    assert traced == [(jnp.float32, jnp.float32)]


@pytest.mark.parametrize("name", NAMES)
def test_states_are_float32_around_a_bfloat16_network(name: str) -> None:
    def velocity(x: jax.Array, sigma: np.float32) -> jax.Array:
        return gaussian_velocity(x, sigma).astype(jnp.bfloat16)

    denoiser = Denoiser(TIMER, INTEGRATORS[name])
    for state in denoiser.run(velocity, denoiser.start(noise().astype(jnp.bfloat16))):
        assert state.latents.dtype == state.clean.dtype == jnp.float32
        assert not np.array_equal(state.latents, state.latents.astype(jnp.bfloat16).astype(jnp.float32))


def test_a_walk_may_begin_half_way() -> None:
    denoiser = Denoiser(ExplicitTimer([0.6, 0.3]), Euler())
    start = denoiser.start(0.4 * 0.7 + 0.6 * noise())
    assert start.sigma == pytest.approx(0.6)
    states = list(denoiser.run(point_velocity(0.7), start))
    np.testing.assert_allclose(states[0].latents, 0.7 * 0.7 + 0.3 * noise(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(states[1].latents, 0.7, rtol=0, atol=1e-6)


@pytest.mark.parametrize("other", [LinearTimer(5), LinearTimer(6)], ids=repr)
def test_a_state_of_another_schedule_is_refused(other: LinearTimer) -> None:
    denoiser = Denoiser(TIMER, Euler())
    state = next(denoiser.run(gaussian_velocity, denoiser.start(noise())))
    with pytest.raises(RequestError, match="step 1 of 6"):
        next(Denoiser(other, Euler()).run(gaussian_velocity, state))


@pytest.mark.parametrize("step", [-1, 7, 9])
def test_a_state_beyond_the_run_is_refused(step: int) -> None:
    with pytest.raises(RequestError, match=f"step {step} of 6"):
        next(Denoiser(TIMER, Euler()).run(gaussian_velocity, DenoiserState(step, 6, 0.0, noise(), noise())))


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_guidance_goes_on_from_the_negative_through_the_positive(scale: float) -> None:
    denoiser = Denoiser(TIMER, Euler())
    guided = classifier_free(point_velocity(0.7), point_velocity(-0.2), scale)
    *_, last = denoiser.run(guided, denoiser.start(noise()))
    np.testing.assert_allclose(last.latents, -0.2 + scale * 0.9, rtol=0, atol=1e-5)


def test_guidance_is_reckoned_in_float32() -> None:
    def near(offset: float):
        return lambda x, sigma: (x + offset).astype(jnp.bfloat16)

    x = noise()
    guided = classifier_free(near(0.5), near(0.25), 4.0)(x, np.float32(1))
    positive, negative = (np.asarray((x + offset).astype(jnp.bfloat16), np.float32) for offset in (0.5, 0.25))
    assert guided.dtype == jnp.float32
    np.testing.assert_allclose(guided, negative + 4 * (positive - negative), rtol=0, atol=1e-6)
