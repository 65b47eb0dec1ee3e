"""Scaled dot-product attention whose memory grows with the number of tokens, not with its square. Mathematics only.

On an NVIDIA GPU in half precision cuDNN's flash attention does it; elsewhere each head's queries are taken a few at a
time, with all keys, so that no more than their logits are ever in memory. Where the arrays lie on a mesh of devices,
each device attends for the heads that are its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

QUERIES = 1280  # at once: with 512, bfloat16 on a CPU takes a seventh longer; 22 MB of logits at 1024x1024 pixels
FEW = 256  # queries: taken all at once, with all heads
FLASH_HEAD_DIM = 128  # cuDNN takes no wider heads
ONES = 16  # columns of ones beside the values: as many numbers as the widest registers of a CPU take
SMALL_LOGIT = 44.0  # its exponential is the square root of the largest float32


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
    """One head after the other: products of matrices without transposing, and logits that stay in the cache."""
    B, S, _, _ = q.shape
    if S <= FEW:
        return jax.nn.dot_product_attention(q, k, v)
    chunks = -(-S // QUERIES)
    padded = jnp.pad(q, ((0, 0), (0, -S % chunks), (0, 0), (0, 0)))
    queries = rearrange(padded, "B (chunks rows) H K -> (B H) chunks rows K", chunks=chunks)
    values = rearrange(v, "B N H K -> (B H) N K")
    if q.dtype == jnp.float32 and jax.default_backend() == "cpu":
        keys = rearrange(k, "B N H K -> (B H) N K")
        one_head: Callable[..., jax.Array] = partial(_one_float32_head, are_small=_are_small(queries, keys))
        values = jnp.pad(values, ((0, 0), (0, 0), (0, ONES)), constant_values=1)
    else:
        one_head, keys = _one_head, rearrange(k, "B N H K -> (B H) K N")
    attended = jax.lax.map(
        lambda head: jax.lax.map(lambda some: one_head(some, *head[1:]), head[0]), (queries, keys, values)
    )
    return rearrange(attended, "(B H) chunks rows K -> B (chunks rows) H K", B=B)[:, :S]


def _one_head(q: jax.Array, keys: jax.Array, v: jax.Array) -> jax.Array:
    """[rows, K] of some queries, all keys [K, N] and all values [N, K]; it is the small product that is divided."""
    logits = jnp.dot(q, keys, preferred_element_type=jnp.float32)
    weights = jnp.exp((logits - jnp.max(logits, -1, keepdims=True)) * q.shape[-1] ** -0.5).astype(v.dtype)
    weights = jax.lax.optimization_barrier(weights)  # else XLA takes the exponentials once more for their sum
    product = jnp.dot(weights, v, preferred_element_type=jnp.float32)
    return (product / jnp.sum(weights, -1, keepdims=True, dtype=jnp.float32)).astype(q.dtype)


def _one_float32_head(q: jax.Array, keys: jax.Array, v: jax.Array, are_small: jax.Array) -> jax.Array:
    """The same as Eigen's products have it quickest, with one pass between them: of keys [N, K], and values beside
    which are ones, so that the sums of weights are a part of the product, too."""
    K = q.shape[-1]
    logits = jnp.einsum("sk,nk->sn", q, keys)
    largest = jax.lax.cond(
        are_small,
        lambda logits: jnp.zeros((len(logits), 1), logits.dtype),
        lambda logits: jnp.max(logits, -1, keepdims=True),
        logits,
    )
    product = jnp.exp((logits - largest) * K**-0.5) @ v
    return product[:, :K] / product[:, K : K + 1]


def _are_small(queries: jax.Array, keys: jax.Array) -> jax.Array:
    """Whether all logits of queries [..., K] and keys [..., K] are such that float32 holds their exponentials as they
    are, and the sums: both are short then, as norms make them."""
    squares = [jnp.max(jnp.sum(jnp.square(each), axis=-1)) for each in (queries, keys)]
    return squares[0] * squares[1] < keys.shape[-1] * SMALL_LOGIT**2
