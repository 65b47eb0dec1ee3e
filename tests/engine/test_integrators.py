"""Integrators on flows whose answer is known, and the order at which they reach it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine.sampling.integrators import DDIM, INTEGRATORS, DPMSolverPP2S, Euler, Heun, Integrator

MEAN, STD = 0.7, 0.4
NAMES = sorted(INTEGRATORS)
NOISE = np.random.default_rng(0).standard_normal(64)


def gaussian_velocity(x, sigma):
    """E[noise - clean | x] when clean ~ N(MEAN, STD^2)."""
    alpha = 1 - sigma
    variance = alpha**2 * STD**2 + sigma**2
    return -MEAN + (sigma - alpha * STD**2) / variance * (x - alpha * MEAN)


def gaussian_path(sigma: float) -> np.ndarray:
    """Where the flow of `gaussian_velocity` that begins at NOISE is at `sigma`: every quantile keeps its place."""
    alpha = 1 - sigma
    return alpha * MEAN + math.sqrt(alpha**2 * STD**2 + sigma**2) * NOISE


def point_velocity(x, sigma):
    """All clean latents are MEAN: paths are straight lines."""
    return (x - MEAN) / sigma


def solve(integrator: Integrator, start: float, end: float, n_steps: int) -> np.ndarray:
    x, sigmas = gaussian_path(start), np.linspace(start, end, n_steps + 1)
    for sigma, sigma_next in pairwise(sigmas):
        x, _ = integrator.step(gaussian_velocity, x, sigma, sigma_next)
    return x


def counted(velocity: Callable) -> tuple[Callable, list[float]]:
    seen: list[float] = []

    def counting(x, sigma):
        seen.append(float(sigma))
        return velocity(x, sigma)

    return counting, seen


def test_the_velocity_of_the_tests_belongs_to_their_path() -> None:
    for sigma in (0.05, 0.4, 0.9):
        slope = (gaussian_path(sigma + 1e-6) - gaussian_path(sigma - 1e-6)) / 2e-6
        np.testing.assert_allclose(gaussian_velocity(gaussian_path(sigma), sigma), slope, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("ddim", 1), ("heun", 2), ("dpmpp_2s", 2)])
@pytest.mark.parametrize(("start", "end"), [(1.0, 0.0), (0.9, 0.1)], ids=["to the ends", "between them"])
def test_order_of_convergence(name: str, order: int, start: float, end: float) -> None:
    errors = [
        np.abs(solve(INTEGRATORS[name], start, end, n_steps) - gaussian_path(end)).max() for n_steps in (64, 128, 256)
    ]
    measured = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(measured, order, atol=0.15)  # dpmpp_2s to the ends: 1.89 and 1.90, a log's share


@pytest.mark.parametrize("name", ["heun", "dpmpp_2s"])
def test_two_evaluations_a_step_pay_for_themselves(name: str) -> None:
    def error(name: str, n_steps: int) -> float:
        return float(np.abs(solve(INTEGRATORS[name], 1.0, 0.0, n_steps) - gaussian_path(0.0)).max())

    assert error(name, 10) < error("euler", 20)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sigma", "sigma_next"), [(1.0, 0.0), (1.0, 0.3), (0.6, 0.5), (0.5, 0.0)], ids=str)
def test_a_straight_path_takes_one_step_of_any_length(name: str, sigma: float, sigma_next: float) -> None:
    x = (1 - sigma) * MEAN + sigma * NOISE
    x_next, v = INTEGRATORS[name].step(point_velocity, x, sigma, sigma_next)
    np.testing.assert_allclose(x_next, (1 - sigma_next) * MEAN + sigma_next * NOISE, rtol=0, atol=1e-14)
    np.testing.assert_allclose(x - sigma * v, MEAN, rtol=0, atol=1e-14)


@pytest.mark.parametrize("sigma_next", [0.0, 0.2, 0.59])
def test_ddim_is_euler_on_a_rectified_flow(sigma_next: float) -> None:
    x = gaussian_path(0.6)
    ddim, _ = DDIM().step(gaussian_velocity, x, 0.6, sigma_next)
    euler, _ = Euler().step(gaussian_velocity, x, 0.6, sigma_next)
    np.testing.assert_allclose(ddim, euler, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("sigma", "sigma_next"), [(0.999, 0.9), (0.6, 0.5), (0.3, 0.001)], ids=str)
def test_dpm_solver_takes_the_step_of_its_paper(sigma: float, sigma_next: float) -> None:
    """Algorithm 1 of arXiv:2211.01095 with r = 1/2, written in lambda as it is there."""

    def log_snr(s: float) -> float:
        return math.log((1 - s) / s)

    def predict(x: np.ndarray, s: float) -> np.ndarray:
        return x - s * gaussian_velocity(x, s)

    h = log_snr(sigma_next) - log_snr(sigma)
    middle = 1 / (1 + math.exp(log_snr(sigma) + h / 2))
    x = gaussian_path(sigma)
    u = middle / sigma * x - (1 - middle) * math.expm1(-h / 2) * predict(x, sigma)
    expected = sigma_next / sigma * x - (1 - sigma_next) * math.expm1(-h) * predict(u, middle)
    x_next, _ = DPMSolverPP2S().step(gaussian_velocity, x, sigma, sigma_next)
    np.testing.assert_allclose(x_next, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("integrator", "sigma", "sigma_next", "expected"),
    [
        (Euler(), 1.0, 0.5, [1.0]),
        (DDIM(), 1.0, 0.5, [1.0]),
        (Heun(), 1.0, 0.5, [1.0, 0.5]),
        (Heun(), 0.5, 0.0, [0.5]),
        (DPMSolverPP2S(), 0.8, 0.2, [0.8, 0.5]),
        (DPMSolverPP2S(), 1.0, 0.5, [1.0]),
        (DPMSolverPP2S(), 0.5, 0.0, [0.5]),
        (DPMSolverPP2S(), 1.0, 0.0, [1.0]),
    ],
    ids=str,
)
def test_where_an_integrator_asks_the_network(
    integrator: Integrator, sigma: float, sigma_next: float, expected: list[float]
) -> None:
    velocity, seen = counted(gaussian_velocity)
    integrator.step(velocity, gaussian_path(sigma), sigma, sigma_next)
    assert seen == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("sigma", "sigma_next"), [(1.0, 0.0), (1.0, 0.5), (0.7, 0.4), (0.5, 0.0)], ids=str)
def test_traced_sigmas_give_the_same_step(name: str, sigma: float, sigma_next: float) -> None:
    step = partial(INTEGRATORS[name].step, gaussian_velocity)
    x = jnp.asarray(gaussian_path(sigma), jnp.float32)
    plain = step(x, np.float32(sigma), np.float32(sigma_next))
    traced = jax.jit(step)(x, np.float32(sigma), np.float32(sigma_next))
    for one, other in zip(plain, traced, strict=True):
        assert one.dtype == other.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, jnp.float32])
def test_float32_steps_stay_float32_and_close_to_float64(name: str, kind: Callable) -> None:
    x = gaussian_path(0.75)
    exact, _ = INTEGRATORS[name].step(gaussian_velocity, x, 0.75, 0.5)
    x_next, v = INTEGRATORS[name].step(gaussian_velocity, jnp.asarray(x, jnp.float32), kind(0.75), kind(0.5))
    assert x_next.dtype == v.dtype == jnp.float32
    np.testing.assert_allclose(x_next, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_bfloat16_network_moves_a_float32_state(name: str) -> None:
    def velocity(x, sigma):
        return gaussian_velocity(x, sigma).astype(jnp.bfloat16)

    x = jnp.asarray(gaussian_path(0.75), jnp.float32)
    x_next, v = INTEGRATORS[name].step(velocity, x, np.float32(0.75), np.float32(0.74))
    assert x_next.dtype == v.dtype == jnp.float32
    exact, _ = INTEGRATORS[name].step(gaussian_velocity, gaussian_path(0.75), 0.75, 0.74)
    np.testing.assert_allclose(x_next, exact, rtol=0, atol=2e-4)  # 0.01 long; a bfloat16 state would be 4e-3 off
