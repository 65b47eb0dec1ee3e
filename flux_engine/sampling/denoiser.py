"""The walk from noise to latents, told step by step. Knows a timer and an integrator; the network is a callable.

A state is all there is: whoever keeps one can show it, stop there, go on later or branch off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.errors import RequestError
from flux_engine.sampling.integrators import Integrator
from flux_engine.sampling.timers import Timer
from flux_engine.scalars import near

Velocity = Callable[[jax.Array, np.float32], jax.Array]
"""v(latents, sigma): float32 latents of any shape and a float32 scalar in, a velocity of that shape out."""


@dataclass(frozen=True, eq=False)
class DenoiserState:
    """Where a run stands.

    Attributes:
        step: steps done, 0 to num_steps.
        num_steps: steps of the whole run.
        sigma: the noise level of `latents`.
        latents: float32, the state of the equation, of the noise's shape.
        clean: float32, the estimate of the clean latents made at the step's beginning, x - sigma * v; before the
            first step, when nothing is known, zeros.
    """

    step: int
    num_steps: int
    sigma: float
    latents: jax.Array
    clean: jax.Array


@dataclass(frozen=True)
class Denoiser:
    """Follows `timer` with `integrator`; state and arithmetic are float32 whatever the network computes in."""

    timer: Timer
    integrator: Integrator

    def start(self, noise: jax.Array) -> DenoiserState:
        """The state before the first step; `noise` is x at the timer's first sigma, any shape."""
        latents = jnp.asarray(noise, jnp.float32)
        return DenoiserState(0, self.timer.n_steps, self.timer(0), latents, jnp.zeros_like(latents))

    def evaluations(self) -> tuple[np.float32, ...]:
        """The sigmas at which a whole run asks for a velocity, in their order, to the last bit."""
        asked: list[np.float32] = []

        def ask(x: Any, sigma: np.float32) -> Any:
            asked.append(np.float32(sigma))
            return x

        for sigma, sigma_next in pairwise(self.timer.sigmas()):
            self.integrator.step(ask, np.float32(0), sigma, sigma_next)
        return tuple(asked)

    def run(self, velocity: Velocity, state: DenoiserState) -> Iterator[DenoiserState]:
        """Go on from `state` to sigma 0, yielding the state after each step.

        A step reads nothing but the state before it: going on from any yielded state gives, bit for bit, the rest of
        the uninterrupted run.

        Raises:
            RequestError: `state` comes from another schedule.
        """
        sigmas = self.timer.sigmas()
        n_steps = self.timer.n_steps
        if state.num_steps != n_steps or not 0 <= state.step <= n_steps or state.sigma != float(sigmas[state.step]):
            raise RequestError(
                f"The state is at step {state.step} of {state.num_steps}, sigma {state.sigma:.6g}; this schedule has "
                f"{self.timer.n_steps} steps and other sigmas.",
                hint="Go on with the timer that the run began with.",
            )
        x = state.latents
        for step in range(state.step, self.timer.n_steps):
            sigma, sigma_next = sigmas[step], sigmas[step + 1]
            now = near(x, sigma)
            x_next, v = self.integrator.step(velocity, x, sigma, sigma_next)
            yield DenoiserState(step + 1, self.timer.n_steps, float(sigma_next), x_next, x - now * v)
            x = x_next


def classifier_free(positive: Velocity, negative: Velocity, scale: float) -> Velocity:
    """Guide `positive` away from `negative`: v_neg + scale * (v_pos - v_neg), in the dtype of the latents.

    Ho, Salimans 2022, "Classifier-Free Diffusion Guidance" (arXiv:2207.12598), equation 6, with scale = 1 + w.

    Args:
        scale: 1 is `positive` alone; above 1 leans away from `negative`. Each evaluation costs both velocities.
    """

    def guided(latents: jax.Array, sigma: np.float32) -> jax.Array:
        v_positive = positive(latents, sigma).astype(latents.dtype)
        v_negative = negative(latents, sigma).astype(latents.dtype)
        return v_negative + scale * (v_positive - v_negative)

    return guided
