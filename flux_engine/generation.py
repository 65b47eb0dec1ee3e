"""From a conditioned network to latents: the sampler's parts put together for a request.

Knows schedules, integrators and noise; knows no checkpoint and no text. `flux_engine.loader` makes the networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.errors import RequestError
from flux_engine.request import Integrator, Noise, check_choice, check_sampling, check_timer
from flux_engine.request import Timer as TimerName
from flux_engine.sampling.denoiser import Denoiser, DenoiserState, Velocity
from flux_engine.sampling.integrators import INTEGRATORS
from flux_engine.sampling.noise import gaussian
from flux_engine.sampling.timers import FluxTimer, LinearTimer, Timer


@dataclass(frozen=True, eq=False)
class FluxConditionedNetwork:
    """A velocity field for one prompt and size.

    Attributes:
        network_fn: v(latents, sigma), float32 [B, rows, columns, in_channels] and a scalar in [0, 1].
        in_channels: width of a packed token.
        rows, columns: the grid of packed tokens.
        token_px: pixels along each side of a token; 16 in FLUX.
        dtype: what the transformer computes in.
        shifts_with_size: whether this model's schedule follows the size (FLUX.1-dev) or not (schnell).
        warnings: what a person should know about the prompt.
        prepare: told at which sigmas a run will ask for velocities, before it begins.
        reused: how many velocities of the latest run came out of a step cache.
        place: puts latents where the network takes them.
    """

    network_fn: Velocity
    in_channels: int
    rows: int
    columns: int
    token_px: int
    dtype: jnp.dtype
    shifts_with_size: bool
    warnings: tuple[str, ...] = ()
    prepare: Callable[[Sequence[np.float32]], None] = lambda sigmas: None
    reused: Callable[[], int] = lambda: 0
    place: Callable[[jax.Array], jax.Array] = lambda latents: latents


def run_diffuse_generation(
    *,
    conditioned_network: FluxConditionedNetwork,
    height: int,
    width: int,
    num_steps: int,
    seed: int,
    batch_size: int = 1,
    sigma_shift: float | None = None,
    integrator: Integrator = "euler",
    noise: Noise = "jax",
    timer: TimerName = "auto",
) -> jax.Array:
    """Latents float32 [B, height / 16, width / 16, in_channels] of finished pictures; see `denoising_states`.

    What the network has to say about its prompt becomes a UserWarning each.
    """
    for warning in conditioned_network.warnings:
        warnings.warn(warning, stacklevel=2)
    states = denoising_states(
        conditioned_network=conditioned_network,
        height=height,
        width=width,
        num_steps=num_steps,
        seed=seed,
        batch_size=batch_size,
        sigma_shift=sigma_shift,
        integrator=integrator,
        noise=noise,
        timer=timer,
    )
    for state in states:
        latents = state.latents
    return latents


def denoising_states(
    *,
    conditioned_network: FluxConditionedNetwork,
    height: int,
    width: int,
    num_steps: int,
    seed: int,
    batch_size: int = 1,
    sigma_shift: float | None = None,
    integrator: Integrator = "euler",
    noise: Noise = "jax",
    timer: TimerName = "auto",
) -> Iterator[DenoiserState]:
    """The same, one state a step, for callers that watch, stop or branch.

    Args:
        conditioned_network: from `FluxModelLoader.prepare_conditioned_network`, for the same size.
        num_steps: 1 to 1000.
        seed: 0 to 2**32 - 1.
        batch_size: 1 to 64.
        sigma_shift: a fixed Möbius shift; None follows the size as the model was trained.
        integrator: "euler", "heun", "ddim" or "dpmpp_2s".
        noise: "jax", or "torch" for what PyTorch's CPU generator draws from the seed.
        timer: "auto" for the schedule the model was trained with, "dynamic" for one shifted by size, "linear".

    Raises:
        RequestError: the size is not the network's, or a value is out of range.
    """
    grid = (conditioned_network.rows, conditioned_network.columns)
    rows_px, columns_px = (side * conditioned_network.token_px for side in grid)
    if (height, width) != (rows_px, columns_px):
        raise RequestError(
            f"The size is {width}x{height}; the conditioned network was prepared for {columns_px}x{rows_px}.",
            hint="Prepare a network for this size.",
        )
    check_sampling(num_steps, seed, batch_size, sigma_shift)
    check_choice("integrator", integrator, tuple(INTEGRATORS))
    check_choice("noise", noise, get_args(Noise))
    check_timer(timer, sigma_shift)
    denoiser = Denoiser(_timer(conditioned_network, num_steps, sigma_shift, timer), INTEGRATORS[integrator])
    latents = conditioned_network.place(gaussian(noise, seed, batch_size, *grid, conditioned_network.in_channels))
    conditioned_network.prepare(denoiser.evaluations())
    start = denoiser.start(latents)
    return denoiser.run(conditioned_network.network_fn, start)


def _timer(network: FluxConditionedNetwork, num_steps: int, sigma_shift: float | None, name: TimerName) -> Timer:
    if sigma_shift is not None:
        return FluxTimer(num_steps, shift=sigma_shift)
    if name == "linear" or (name == "auto" and not network.shifts_with_size):
        return LinearTimer(num_steps)
    return FluxTimer(num_steps, use_dynamic_shift=True, image_seq_len=network.rows * network.columns)
