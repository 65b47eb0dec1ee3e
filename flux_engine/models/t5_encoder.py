"""T5 v1.1's encoder: a sequence of vectors for a prompt. Mathematics only.

Reference: transformers `modeling_t5.py`. Attention is not scaled, one table of position biases serves every layer,
and there is no mask: FLUX was trained with the padding attended.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx

from flux_engine.configs import T5Config
from flux_engine.models.layers import Linear, RMSNorm, scan_blocks, stack_blocks

Dtypes = dict[str, jnp.dtype]


def relative_position_buckets(length: int, num_buckets: int, max_distance: int) -> np.ndarray:
    """Bucket int [query, key] of each pair of positions: exact nearby, logarithmic farther off, signed.

    Reference: Raffel et al. 2020, arXiv:1910.10683, section 2.1; bidirectional form.
    """
    offset = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = num_buckets // 2
    exact = half // 2
    distance = np.abs(offset)
    # float32 and truncation, as the reference: float64 would move a pair at an exact power to another bucket.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    far = ratio / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    bucket = np.where(distance < exact, distance, np.minimum(exact + far.astype(np.int64), half - 1))
    return bucket + half * (offset > 0)


class T5Encoder(nnx.Module):
    """Token ids to a sequence of vectors."""

    def __init__(
        self,
        config: T5Config,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
        param_dtype: jnp.dtype = jnp.float32,
    ) -> None:
        dtypes = {"dtype": dtype, "param_dtype": param_dtype}
        self.config = config
        self.embed_tokens = nnx.Embed(config.vocab_size, config.d_model, rngs=rngs, **dtypes)
        self.relative_attention_bias = nnx.Embed(
            config.relative_attention_num_buckets, config.num_heads, rngs=rngs, **dtypes
        )
        self.blocks = stack_blocks(lambda rngs: T5Block(config, rngs, dtypes), config.num_layers, rngs)
        self.final_layer_norm = RMSNorm(config.d_model, eps=config.layer_norm_epsilon, param_dtype=param_dtype)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Vectors [B, T, d_model] of token ids int [B, T]."""
        bias = self.position_bias(ids.shape[1])
        x = scan_blocks(self.blocks, lambda block, x: block(x, bias), self.embed_tokens(ids))
        return self.final_layer_norm(x)

    def position_bias(self, length: int) -> jax.Array:
        """[1, H, length, length], added to the attention scores of every layer."""
        config = self.config
        buckets = relative_position_buckets(
            length, config.relative_attention_num_buckets, config.relative_attention_max_distance
        )
        return rearrange(self.relative_attention_bias(jnp.asarray(buckets)), "q k H -> 1 H q k")


class T5Block(nnx.Module):
    def __init__(self, config: T5Config, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        norm = partial(RMSNorm, config.d_model, eps=config.layer_norm_epsilon, param_dtype=dtypes["param_dtype"])
        self.self_attn_layer_norm = norm()
        self.self_attn = T5SelfAttention(config, rngs, dtypes)
        self.ff_layer_norm = norm()
        self.feed_forward = T5FeedForward(config, rngs, dtypes)

    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.self_attn_layer_norm(x), bias)
        return x + self.feed_forward(self.ff_layer_norm(x))


class T5SelfAttention(nnx.Module):
    def __init__(self, config: T5Config, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        inner = config.num_heads * config.d_kv
        linear = partial(Linear, use_bias=False, rngs=rngs, **dtypes)
        self.num_heads = config.num_heads
        self.q, self.k, self.v = (linear(config.d_model, inner) for _ in range(3))
        self.o = linear(inner, config.d_model)

    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        q, k, v = (
            rearrange(project(x), "B T (H K) -> B T H K", H=self.num_heads) for project in (self.q, self.k, self.v)
        )
        attended = jax.nn.dot_product_attention(q, k, v, bias=bias, scale=1.0)
        return self.o(rearrange(attended, "B T H K -> B T (H K)"))


class T5FeedForward(nnx.Module):
    def __init__(self, config: T5Config, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.DenseReluDense = GatedGELU(config, rngs, dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.DenseReluDense(x)


class GatedGELU(nnx.Module):
    """wo(gelu(wi_0 x) * wi_1 x) (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: T5Config, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        linear = partial(Linear, use_bias=False, rngs=rngs, **dtypes)
        self.wi_0 = linear(config.d_model, config.d_ff)
        self.wi_1 = linear(config.d_model, config.d_ff)
        self.wo = linear(config.d_ff, config.d_model)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.wo(nnx.gelu(self.wi_0(x)) * self.wi_1(x))
