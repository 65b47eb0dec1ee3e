"""Modulations that are computed ahead, for all steps at once, change no bit of the velocity."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.configs import TransformerConfig
from flux_engine.models.transformer import FluxTransformer2D, rope_table

pytestmark = pytest.mark.optimised

# Wide enough for products of several rows to be added up in another order than those of one.
WIDE = TransformerConfig(
    hidden_dim=256,
    num_heads=2,
    num_double_layers=2,
    num_single_layers=2,
    joint_attention_dim=32,
    pooled_projection_dim=32,
)
TIMES = np.linspace(1, 0.2, 4, dtype=np.float32)
GUIDANCE = np.float32([3.5])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_modulations_of_all_steps_give_each_step_bit_for_bit(dtype: Any) -> None:
    graphdef, state = nnx.split(FluxTransformer2D(WIDE, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype))
    shapes = {"img": (1, 16, WIDE.in_channels), "txt": (1, 8, 32), "pooled": (1, 32)}
    img, txt, pooled = (jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes.values()))
    rope = rope_table(np.arange(24)[:, None] % np.array([5, 4, 3]), WIDE.axes_dims_rope, WIDE.theta)

    @jax.jit
    def plain(state: nnx.State, pooled: jax.Array, t: jax.Array, guidance: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, state)(img, txt, pooled, t, rope, guidance)

    @jax.jit
    def ahead(state: nnx.State, pooled: jax.Array, times: jax.Array, guidance: jax.Array) -> Any:
        network = nnx.merge(graphdef, state)
        return jax.lax.map(lambda t: network.modulations(pooled, t[None], guidance), times)

    @jax.jit
    def step(state: nnx.State, by: Any, place: int) -> jax.Array:
        by = jax.tree.map(lambda rows: rows[place], by)
        return nnx.merge(graphdef, state).modulated(img, txt, by, rope)

    modulations = ahead(state, pooled, TIMES, GUIDANCE)
    velocities = [step(state, modulations, place) for place in range(len(TIMES))]
    for place, t in enumerate(TIMES):
        assert np.array_equal(velocities[place], plain(state, pooled, t[None], GUIDANCE))
    assert not np.array_equal(velocities[0], velocities[1])
