"""A picture's programs, compiled before anybody asks for the picture. Reads no weights, and opens no model."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from flux_engine import compiled, planning
from flux_engine.generation import FluxConditionedNetwork, denoising_states
from flux_engine.loader import FluxModelLoader
from flux_engine.preview import fit_to_colour_fields
from flux_engine.programs import Picture, abstract, programs
from flux_engine.request import GenerationRequest
from flux_engine.sampling.denoiser import classifier_free
from flux_engine.sampling.latents import PATCH, token_grid, unpack
from flux_engine.weights.placing import put

NUM_STEPS = 3  # a first one, a last one, and one between


def compiling(loader: FluxModelLoader, picture: Picture, request: GenerationRequest) -> Iterator[str]:
    """Compile what a picture runs, in its order; yields the name of each program before.

    Where the memory is tight, weights lie elsewhere and the programs are others: then those of one way after another
    whose weights fit, until all does.

    Raises:
        RequestError: a size lies between tokens.
    """
    free = planning.free_memory(loader.places, loader.device_bytes, loader.host_bytes)
    is_roomy = planning.is_roomy(loader.configs, picture, loader.places, free)
    for residency in planning.RESIDENCIES:
        if residency.uses_host and free.host == 0:
            continue
        if not planning.weights_fit(loader.configs, picture, residency, loader.places, free):
            continue
        for program in programs(loader.configs, picture, residency, loader.places):
            yield f"{program.component} {program.function.__name__}"
            program.compile()
        if is_roomy or planning.with_residency(loader.configs, picture, residency, loader.places, free).fits_all:
            break
    if loader.known_latent_rgb_factors() is None:
        yield "vae encode_images"
        _fit_colours(loader, picture)
    yield "sampler"
    _sample(loader, request)


def _fit_colours(loader: FluxModelLoader, picture: Picture) -> None:
    """Compile what previews need where the checkpoint has no colours for them, with zeros in place of latents."""
    config, places = loader.vae_config, loader.places

    def encode(images: jax.Array) -> np.ndarray:
        network = abstract(config, picture, planning.RESIDENCIES[0], places)
        compiled.encode_images.lower(*network, put((images + 1) / 2, places.whole)).compile()
        N, H, W, _ = images.shape
        return np.zeros((N, H // config.downsampling, W // config.downsampling, config.latent_channels))

    fit_to_colour_fields(encode)


def _sample(loader: FluxModelLoader, request: GenerationRequest) -> None:
    """Run the few operations between the programs, with latents in place of velocities; 1 MB at 1024 x 1024."""
    places = loader.places
    rows, columns = token_grid(request.height, request.width, loader.vae_config.downsampling)

    def itself(latents: jax.Array, sigma: object) -> jax.Array:
        return latents

    is_guided = request.true_cfg_scale > 1 and request.negative_prompt is not None
    network = FluxConditionedNetwork(
        network_fn=classifier_free(itself, itself, request.true_cfg_scale) if is_guided else itself,
        in_channels=loader.transformer_config.in_channels,
        rows=rows,
        columns=columns,
        token_px=PATCH * loader.vae_config.downsampling,
        dtype=loader.dtype,
        shifts_with_size=loader.transformer_config.guidance_embeds,
        place=lambda latents: put(latents, places.latents(*latents.shape[:2])),
    )
    states = denoising_states(
        conditioned_network=network,
        height=request.height,
        width=request.width,
        num_steps=NUM_STEPS,
        seed=request.seed,
        batch_size=request.batch_size,
        integrator=request.integrator,
        noise=request.noise,
    )
    for state in states:
        unpack(state.clean[:1])
    some = jax.lax.dynamic_slice_in_dim(state.latents, 0, places.pictures_at_once)
    unpack(put(some, places.pictures(len(some))))
