"""Modulations that are computed ahead, for all steps at once, change no bit of the velocity, and serve another seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine import FluxModelLoader, compiled
from flux_engine.configs import TransformerConfig
from flux_engine.models.transformer import FluxTransformer2D, rope_table
from tests.engine.runs import latents_of, paint, prepare

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


def test_in_float32_no_weights_are_copied() -> None:
    graphdef, state = nnx.split(FluxTransformer2D(WIDE, rngs=nnx.Rngs(0)))
    arguments = jnp.ones((1, 32)), TIMES, GUIDANCE[0]
    program = compiled.modulations.lower(graphdef, state, *arguments).compile()
    assert program.memory_analysis().temp_size_in_bytes < state["double_blocks"]["img_mod"]["kernel"][...][0].nbytes


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The guidance of every call for modulations."""
    calls: list[float] = []
    modulations = compiled.modulations

    def counting(graphdef: Any, state: Any, pooled: jax.Array, sigmas: np.ndarray, guidance: np.float32) -> Any:
        calls.append(float(guidance))
        return modulations(graphdef, state, pooled, sigmas, guidance)

    monkeypatch.setattr(compiled, "modulations", counting)
    return calls


def test_another_seed_has_the_modulations_of_the_one_before(checkpoint: Path, computed: list[float]) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    first = latents_of(loader)
    other = np.asarray(paint(prepare(loader), seed=1))
    assert computed == [4.0]
    assert np.array_equal(latents_of(loader), first) and not np.array_equal(first, other)
    loader.release_transformer()
    assert np.array_equal(latents_of(loader), first)
    assert computed == [4.0, 4.0]


def test_what_makes_other_modulations_has_them_computed(checkpoint: Path, computed: list[float]) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    prepared = prepare(loader), prepare(loader, guidance_scale=2.0)
    apart = [np.asarray(paint(network)) for network in prepared]
    assert computed == [4.0, 2.0]
    paint(prepared[0], num_steps=3)
    assert computed == [4.0, 2.0, 4.0]
    assert all(np.array_equal(paint(network), own) for network, own in zip(prepared, apart, strict=True))
    del computed[:]
    negated = prepare(loader, negative_prompt="fog", true_cfg_scale=2.0)
    paint(negated), paint(negated, seed=1)
    assert computed == [4.0, 4.0]
    paint(prepare(loader, negative_prompt="fog", true_cfg_scale=3.0))
    paint(prepare(loader))  # the hill's are still there, the fog's go
    assert computed == [4.0, 4.0]
    paint(prepare(loader, negative_prompt="fog", true_cfg_scale=3.0))
    assert computed == [4.0] * 3
    loader.encode_prompts(["a cat"])  # which has the encoders come, and they need room
    paint(prepare(loader))
    assert computed == [4.0] * 4
