"""Counted operations are those that XLA counts, and those that others count for FLUX.1."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from flux_engine.configs import (
    CLIP_L,
    FLUX_DEV,
    FLUX_SCHNELL,
    FLUX_VAE,
    T5_XXL,
    CLIPTextConfig,
    NetworkConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)
from flux_engine.costs import clip_flops, decoder_flops, modulation_flops, t5_flops, transformer_flops
from flux_engine.models.layers import ROWS
from tests.tiny import abstract_network

# One block of a kind: XLA counts what it finds in a loop once. Wide, so that element by element is little beside it.
TRANSFORMER = TransformerConfig(
    hidden_dim=512,
    num_heads=4,
    num_double_layers=1,
    num_single_layers=1,
    joint_attention_dim=256,
    pooled_projection_dim=256,
)
CLIP = CLIPTextConfig(
    vocab_size=99, hidden_size=256, intermediate_size=1024, num_hidden_layers=1, num_attention_heads=4
)
T5 = T5Config(vocab_size=99, d_model=256, d_ff=512, num_layers=1, num_heads=4)
VAE = VAEConfig(block_out_channels=(64, 128, 128), layers_per_block=1)


def counted_by_xla(config: NetworkConfig, method: str, *arguments: Any) -> float:
    graphdef, state = nnx.split(abstract_network(config))

    def run(state: nnx.State, *arguments: Any) -> Any:
        return getattr(nnx.merge(graphdef, state), method)(*arguments)

    shapes = jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), arguments, is_leaf=is_shape)
    return jax.jit(run).lower(state, *shapes).cost_analysis()["flops"]


def is_shape(tree: Any) -> bool:
    return isinstance(tree, tuple) and all(isinstance(size, int) for size in tree)


def test_the_transformers_operations_are_those_that_xla_counts() -> None:
    arguments = ((3, 64, 64), (3, 16, 256), (3, 256), (3,), ((80, 64), (80, 64)), (3,))
    counted = counted_by_xla(TRANSFORMER, "__call__", *arguments)
    own = transformer_flops(TRANSFORMER, 64, 16, batch_size=3) + modulation_flops(TRANSFORMER, rows=ROWS)
    assert own == pytest.approx(counted, rel=0.01)


def test_the_decoders_operations_are_those_that_xla_counts() -> None:
    counted = counted_by_xla(VAE, "decode", (1, 16, 24, 16))
    assert decoder_flops(VAE, 64, 96) == pytest.approx(counted, rel=0.04)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [(CLIP, 77), (T5, 64)],
)
def test_the_encoders_operations_are_those_that_xla_counts(config: Any, tokens: int) -> None:
    graphdef, state = nnx.split(abstract_network(config))
    ids = jax.ShapeDtypeStruct((1, tokens), jnp.int32)
    counted = jax.jit(lambda state, ids: nnx.merge(graphdef, state)(ids)).lower(state, ids).cost_analysis()["flops"]
    own = clip_flops(config) if isinstance(config, CLIPTextConfig) else t5_flops(config, tokens)
    assert own == pytest.approx(counted, rel=0.04)


def test_what_flux_takes_is_what_others_count() -> None:
    """In units of 1e12: dev at five sizes, schnell's text of 256, 28 rows of modulations, encoders, decoder."""
    sizes = {512: 21.5, 768: 41.9, 1024: 74.4, 1536: 192, 2048: 418}
    for side_px, expected in sizes.items():
        assert transformer_flops(FLUX_DEV, (side_px // 16) ** 2, 512) / 1e12 == pytest.approx(expected, rel=0.003)
    assert transformer_flops(FLUX_SCHNELL, 4096, 256) / 1e12 == pytest.approx(69.5, rel=0.002)
    assert modulation_flops(FLUX_DEV, rows=28) / 1e12 == pytest.approx(0.18, rel=0.03)
    assert t5_flops(T5_XXL, 512) / 1e12 == pytest.approx(4.84, rel=0.002)
    assert clip_flops(CLIP_L) / 1e9 == pytest.approx(13.3, rel=0.001)
    assert decoder_flops(FLUX_VAE, 1024, 1024) / 1e12 == pytest.approx(10.47, rel=0.001)
