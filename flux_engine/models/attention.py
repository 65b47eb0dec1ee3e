"""Scaled dot-product attention whose memory grows with the number of tokens, not with its square. Mathematics only.

On an NVIDIA GPU in half precision cuDNN's flash attention does it; elsewhere queries are taken a few at a time, each
with all keys, so that no more than their logits are ever in memory.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

QUERIES = 256  # at once: as fast on a CPU as all of them, and at 1024x1024 pixels in a tenth of the memory
FLASH_HEAD_DIM = 128  # cuDNN takes no wider heads


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """softmax(q k / sqrt(K)) v without a mask, the softmax in float32.

    Args:
        q: [B, S, H, K].
        k, v: [B, N, H, K].

    Returns:
        [B, S, H, K] in q's dtype.
    """
    if _has_flash(q):
        return jax.lax.platform_dependent(q, k, v, cuda=_flash, default=_in_chunks)
    return _in_chunks(q, k, v)


def _has_flash(q: jax.Array) -> bool:
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    return half and q.shape[-1] <= FLASH_HEAD_DIM and q.shape[-1] % 8 == 0 and jax.default_backend() == "gpu"


def _flash(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def _in_chunks(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    B, S, H, K = q.shape
    if S <= 2 * QUERIES:
        return jax.nn.dot_product_attention(q, k, v)
    chunks = -(-S // QUERIES)
    padded = jnp.pad(q, ((0, 0), (0, chunks * QUERIES - S), (0, 0), (0, 0)))
    queries = jnp.moveaxis(padded.reshape(B, chunks, QUERIES, H, K), 1, 0)
    attended = jax.lax.map(lambda some: jax.nn.dot_product_attention(some, k, v), queries)
    return jnp.moveaxis(attended, 0, 1).reshape(B, chunks * QUERIES, H, K)[:, :S]
