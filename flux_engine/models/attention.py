"""Scaled dot-product attention whose memory grows with the number of tokens, not with its square. Mathematics only.

On an NVIDIA GPU in half precision cuDNN's flash attention does it; elsewhere queries are taken a few at a time, each
with all keys, so that no more than their logits are ever in memory. Where the arrays lie on a mesh of devices, each
device attends for the heads that are its own.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

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
    mesh = jax.typeof(q).sharding.mesh
    if mesh.size <= 1:  # of no mesh, 0
        return _attend(q, k, v)
    queries, keys = _dealt_out(mesh, q.shape)
    # unchecked: of cuDNN's operation JAX does not know whether its results differ between devices
    own = jax.shard_map(_attend, mesh=mesh, in_specs=(queries, keys, keys), out_specs=queries, check_vma=False)
    return own(q, k, v)


def _dealt_out(mesh: AbstractMesh, shape: tuple[int, ...]) -> tuple[P, P]:
    """How queries, and keys and values, lie on the devices of a mesh while they meet.

    Heads are dealt out along as many axes as divide them. Tokens that lay along `sequence` come together for that and
    part again afterwards, in an exchange of all with all (Jacobs et al. 2023, "DeepSpeed Ulysses", arXiv:2309.14509,
    section 3.1): a ring would pass every key by every device. Axes that do not divide the heads split the queries.
    """
    B, S, H, _ = shape

    def divide(axes: tuple[str, ...], size: int) -> bool:
        return size % math.prod(mesh.shape[axis] for axis in axes) == 0

    pictures = "data" if divide(("data",), B) else None
    choices = (("tensor", "sequence"), ("tensor",), ("sequence",), ())
    heads = next(axes for axes in choices if divide(axes, H))
    tokens = tuple(axis for axis in choices[0] if axis not in heads)
    return P(pictures, tokens if divide(tokens, S) else (), heads), P(pictures, None, heads)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
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
