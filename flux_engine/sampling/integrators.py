"""One step from a noise level to a lower one. Knows a velocity as a callable and nothing of networks or schedules.

Rectified flow: x = (1 - sigma) * clean + sigma * noise, and along a path dx/dsigma = v(x, sigma), where v estimates
noise - clean. So at any sigma the estimate of the clean latents is x - sigma * v, and of the noise x + (1 - sigma) * v.

Each integrator is plain arithmetic: it computes in the dtype of `x`, JAX or NumPy, takes sigmas as floats, scalars or
traced values, and casts what the network gives to that dtype, so a bfloat16 network moves a float32 state. What it
multiplies with is on the device before the velocity is asked for: see `flux_engine.scalars`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax

from flux_engine.scalars import near

Array = Any
"""A jax.Array or a numpy.ndarray."""

Sigma = Any
"""A float, a NumPy scalar or a JAX scalar, in [0, 1]."""

Velocity = Callable[[Array, Sigma], Array]


class Integrator(abc.ABC):
    """A rule for one step of dx/dsigma = v(x, sigma)."""

    @abc.abstractmethod
    def step(self, velocity: Velocity, x: Array, sigma: Sigma, sigma_next: Sigma) -> tuple[Array, Array]:
        """Move `x` from `sigma` to `sigma_next`.

        Args:
            velocity: v(x, sigma), of the shape of x, in any floating dtype.
            x: the state at `sigma`, any shape.
            sigma, sigma_next: 1 >= sigma > sigma_next >= 0.

        Returns:
            x at `sigma_next` and the velocity at (x, sigma), both of the dtype of `x`.
        """


@dataclass(frozen=True)
class Euler(Integrator):
    """First order, one evaluation: the sampler FLUX was published with.

    The forward Euler method on equation 1 of Esser et al. 2024, "Scaling Rectified Flow Transformers"
    (arXiv:2403.03206).
    """

    def step(self, velocity: Velocity, x: Array, sigma: Sigma, sigma_next: Sigma) -> tuple[Array, Array]:
        change = near(x, sigma_next - sigma)
        v = _evaluate(velocity, x, sigma)
        return x + change * v, v


@dataclass(frozen=True)
class Heun(Integrator):
    """Second order, two evaluations: the mean of the velocities at both ends; one evaluation for the step to 0.

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative Models" (arXiv:2206.00364),
    algorithm 1, in sigma of the flow. As there, the last step is Euler's: networks are hardly trained at sigma 0, and
    one first-order step leaves the order of the whole run at two.
    """

    def step(self, velocity: Velocity, x: Array, sigma: Sigma, sigma_next: Sigma) -> tuple[Array, Array]:
        change, half = near(x, sigma_next - sigma), near(x, (sigma_next - sigma) / 2)
        v = _evaluate(velocity, x, sigma)
        euler = x + change * v

        def corrected() -> Array:
            return x + half * (v + _evaluate(velocity, euler, sigma_next))

        return _either(sigma_next == 0, lambda: euler, corrected), v


@dataclass(frozen=True)
class DDIM(Integrator):
    """First order, one evaluation: estimate clean latents and noise, then mix them anew for the next sigma.

    Song, Meng, Ermon 2020, "Denoising Diffusion Implicit Models" (arXiv:2010.02502), equation 12 without noise
    (eta = 0), with 1 - sigma and sigma in place of the roots of alpha and 1 - alpha. On a rectified flow this is
    Euler's step but for rounding.
    """

    def step(self, velocity: Velocity, x: Array, sigma: Sigma, sigma_next: Sigma) -> tuple[Array, Array]:
        now, now_clean, then, then_clean = (near(x, share) for share in (sigma, 1 - sigma, sigma_next, 1 - sigma_next))
        v = _evaluate(velocity, x, sigma)
        clean, noise = x - now * v, x + now_clean * v
        return then_clean * clean + then * noise, v


@dataclass(frozen=True)
class DPMSolverPP2S(Integrator):
    """Second order, two evaluations: the clean estimate halfway in log-SNR carries the whole step.

    Lu et al. 2022, "DPM-Solver++" (arXiv:2211.01095), algorithm 1 with r = 1/2. With alpha = 1 - sigma and
    lambda = log(alpha / sigma), its update alpha_next * (1 - exp(-h)) is 1 - sigma_next / sigma, so that no logarithm
    is needed. lambda is infinite at sigma 1 and at sigma 0; there "halfway" is the end itself, and the step is the
    first-order one (DPM-Solver++(1), which is DDIM), as the published codes do for the last step. With equal steps h
    in sigma from 1 to 0 the error falls like h**2 * log(1 / h), for near the ends no step is small in lambda; between
    the ends it is h**2.
    """

    def step(self, velocity: Velocity, x: Array, sigma: Sigma, sigma_next: Sigma) -> tuple[Array, Array]:
        now, share = near(x, sigma), near(x, sigma_next / sigma)
        v = _evaluate(velocity, x, sigma)
        clean = x - now * v

        def at_midpoint() -> Array:
            signal, noise = ((1 - sigma) * (1 - sigma_next)) ** 0.5, (sigma * sigma_next) ** 0.5
            middle = noise / (signal + noise)
            x_middle = _towards(clean, x, near(x, middle / sigma))
            return x_middle - near(x, middle) * _evaluate(velocity, x_middle, middle)

        at_an_end = (sigma == 1) | (sigma_next == 0)
        return _towards(_either(at_an_end, lambda: clean, at_midpoint), x, share), v


INTEGRATORS: Mapping[str, Integrator] = MappingProxyType(
    {"euler": Euler(), "heun": Heun(), "ddim": DDIM(), "dpmpp_2s": DPMSolverPP2S()}
)
"""The integrators by the names that a request knows them by."""


def _evaluate(velocity: Velocity, x: Array, sigma: Sigma) -> Array:
    return velocity(x, sigma).astype(x.dtype)


def _towards(clean: Array, x: Array, share: Sigma) -> Array:
    """Move `x` straight to `clean` until `share` of its noise is left."""
    return clean + share * (x - clean)


def _either(condition: Any, first: Callable[[], Array], second: Callable[[], Array]) -> Array:
    """One of two, without evaluating the other: decided now where that is known, by `lax.cond` where it is traced."""
    if isinstance(condition, jax.core.Tracer):
        return jax.lax.cond(condition, first, second)
    return first() if condition else second()
