"""A program of its own: the transformer on meshes of eight emulated devices. What it finds goes to stdout as JSON."""

from __future__ import annotations

import json
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import TransformerConfig
from flux_engine.models.transformer import FluxTransformer2D, rope_table
from flux_engine.sharding import latents_sharding, make_mesh, parse_mesh, replicated, weight_sharding
from flux_engine.weights.orbax_files import leaf_path

CONFIG = TransformerConfig(
    hidden_dim=128,
    num_heads=4,
    num_double_layers=2,
    num_single_layers=3,
    joint_attention_dim=64,
    pooled_projection_dim=64,
    axes_dims_rope=(8, 12, 12),
)
BATCH, ROWS, COLUMNS, TEXT = 2, 8, 8, 16


def _path(keys: tuple) -> tuple[str, ...]:
    return leaf_path(key.key if hasattr(key, "key") else key.name for key in keys)


def main(meshes: list[str]) -> None:
    jax.config.update("jax_disable_most_optimizations", True)  # they cost more than they save in one run
    graphdef, state = nnx.split(FluxTransformer2D(CONFIG, rngs=nnx.Rngs(0)))
    rope = rope_table(np.arange(TEXT + ROWS * COLUMNS)[:, None] % np.array([5, 4, 3]), CONFIG.axes_dims_rope, 10000.0)
    shapes = [(BATCH, ROWS, COLUMNS, CONFIG.in_channels), (BATCH, TEXT, 64), (BATCH, 64)]
    latents, text, pooled = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes))
    half = jnp.full((BATCH,), 0.5)

    @jax.jit
    def velocity(state: nnx.State, latents: jax.Array, text: jax.Array, pooled: jax.Array) -> jax.Array:
        tokens = latents.reshape(BATCH, ROWS * COLUMNS, -1)
        return nnx.merge(graphdef, state)(tokens, text, pooled, half, rope, 7 * half).reshape(latents.shape)

    alone = velocity(state, latents, text, pooled)
    named = [(_path(keys), leaf) for keys, leaf in jax.tree_util.tree_flatten_with_path(state)[0]]
    total = sum(leaf.nbytes for _, leaf in named)
    found = {}
    for text_of_mesh in meshes:
        mesh = make_mesh(parse_mesh(text_of_mesh))
        leaves = [jax.device_put(leaf, weight_sharding(mesh, "transformer", path, leaf.shape)) for path, leaf in named]
        placed = jax.tree.unflatten(jax.tree.structure(state), leaves)
        many = jax.device_put((text, pooled), replicated(mesh))
        together = velocity(placed, jax.device_put(latents, latents_sharding(mesh, BATCH, ROWS)), *many)
        found[text_of_mesh] = {
            "difference": float(jnp.abs(together - alone).max() / jnp.abs(alone).max()),
            "weights": sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves) / total,
            "latents": together.addressable_shards[0].data.nbytes / together.nbytes,
            "devices": len(leaves[0].sharding.device_set),
        }
    print(json.dumps(found))


main(sys.argv[1:])
