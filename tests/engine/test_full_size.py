"""The full-size networks, built from shapes alone, are leaf for leaf those of diffusers and transformers."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from flux_engine.configs import CLIP_L, FLUX_DEV, FLUX_SCHNELL, FLUX_VAE, T5_XXL, NetworkConfig
from tests.reference_names import compact_shapes, to_reference
from tests.tiny import abstract_leaves, abstract_network

TABLE = json.loads((Path(__file__).parent.parent / "golden" / "full_size.json").read_text())
MODELS = {"dev": FLUX_DEV, "schnell": FLUX_SCHNELL, "vae": FLUX_VAE, "clip_text": CLIP_L, "t5_text": T5_XXL}
GUIDANCE_PARAMETERS = 256 * 3072 + 3072 + 3072 * 3072 + 3072
PARAMETERS = {
    "dev": 11_901_408_320,
    "schnell": 11_901_408_320 - GUIDANCE_PARAMETERS,
    "vae": 83_819_683,
    "clip_text": 123_060_480,
    "t5_text": 4_762_310_656,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_has_the_shape_of_the_reference(name: str) -> None:
    assert compact_shapes(reference_shapes(MODELS[name])) == TABLE[name]


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_parameters(name: str) -> None:
    assert sum(math.prod(leaf.shape) for leaf in abstract_leaves(MODELS[name]).values()) == PARAMETERS[name]


def test_a_megapixel_goes_through_flux_dev() -> None:
    graph, state = nnx.split(abstract_network(FLUX_DEV))
    tokens, text = 64 * 64, 512
    shapes = [(1, tokens, 64), (1, text, 4096), (1, 768), (1,), (tokens + text, 64), (tokens + text, 64), (1,)]
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]

    def forward(state: nnx.State, img, txt, pooled, timesteps, cos, sin, guidance) -> jax.Array:
        return nnx.merge(graph, state)(img, txt, pooled, timesteps, (cos, sin), guidance)

    assert jax.eval_shape(forward, state, *inputs).shape == (1, tokens, 64)


def reference_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    renamed = jax.eval_shape(partial(to_reference, config.component), abstract_leaves(config))
    shapes = {name: leaf.shape for name, leaf in renamed.items()}
    if "shared.weight" in shapes:  # transformers keeps T5's table under two names
        shapes["encoder.embed_tokens.weight"] = shapes["shared.weight"]
    return shapes
