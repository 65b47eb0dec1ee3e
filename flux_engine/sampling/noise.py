"""Standard normal noise from a seed, the same on every machine: JAX's own, or what PyTorch's CPU generator draws.

Knows nothing of schedules and networks. The PyTorch part follows ATen's `DistributionTemplates.h` (`normal_fill` for
16 numbers and more, `normal_distribution<double>` below) and agrees with float32 `torch.randn` to 1e-6: PyTorch's
vectorised log and cosine round differently in the last bit.
"""

from __future__ import annotations

import math
from typing import assert_never

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.request import Noise
from flux_engine.sampling.latents import PATCH, pack

BLOCK = 16


def gaussian(kind: Noise, seed: int, batch: int, rows: int, columns: int, channels: int = 64) -> jax.Array:
    """Noise for image tokens on their grid.

    A picture's noise does not depend on how many others are painted with it: the first of a batch is the one that
    the seed gives alone.

    Args:
        kind: "jax" draws the packed tokens; "torch" draws [B, channels/4, 2*rows, 2*columns] as diffusers does on
            the CPU, and packs it.
        seed: 0 to 2**32 - 1.
        channels: features of one token, a multiple of 4; FLUX has 64.

    Returns:
        float32 [batch, rows, columns, channels].
    """
    if kind == "jax":
        key = jax.random.key(seed, impl="threefry2x32")
        return jax.random.normal(key, (batch, rows, columns, channels), jnp.float32)
    if kind == "torch":
        latents = torch_randn(seed, (batch, channels // PATCH**2, PATCH * rows, PATCH * columns))
        return jnp.asarray(pack(latents.transpose(0, 2, 3, 1)))
    assert_never(kind)


def torch_randn(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """What `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` returns, to 1e-6, without PyTorch.

    Args:
        seed: 0 to 2**32 - 1.

    Returns:
        float32 of `shape`.
    """
    size = math.prod(shape)
    draws = np.random.RandomState(seed)  # MT19937, seeded as PyTorch seeds its own
    flat = _normal_blocks(draws, size) if size >= BLOCK else _normal_few(draws, size)
    return flat.reshape(shape)


def _normal_blocks(draws: np.random.RandomState, size: int) -> np.ndarray:
    """Box-Muller on blocks of 16: eight radii, then eight angles."""
    whole = size - size % BLOCK
    uniforms = _uniform24(draws, size)
    normals = np.empty(size, np.float32)
    normals[:whole] = _box_muller(uniforms[:whole])
    if whole != size:  # the last 16 are drawn anew, over the tail of the last whole block
        normals[-BLOCK:] = _box_muller(_uniform24(draws, BLOCK))
    return normals


def _uniform24(draws: np.random.RandomState, size: int) -> np.ndarray:
    """float32 in [0, 1) from the low 24 bits of each draw."""
    bits = draws.randint(0, 2**32, size, np.uint32) & np.uint32(0xFFFFFF)
    return bits.astype(np.float32) * np.float32(2**-24)


def _box_muller(uniforms: np.ndarray) -> np.ndarray:
    blocks = uniforms.reshape(-1, 2, BLOCK // 2)
    radius = np.sqrt(-2 * np.log(1 - blocks[:, 0]))
    angle = np.float32(2 * math.pi) * blocks[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def _normal_few(draws: np.random.RandomState, size: int) -> np.ndarray:
    """Box-Muller in float64, two numbers from each pair of 53-bit uniforms."""
    words = draws.randint(0, 2**32, 4 * math.ceil(size / 2), np.uint32).astype(np.uint64).reshape(-1, 2)
    bits = (words[:, 0] << np.uint64(32) | words[:, 1]) & np.uint64(2**53 - 1)
    pairs = (bits * 2.0**-53).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log1p(-pairs[:, 1])), 2 * math.pi * pairs[:, 0]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:size].astype(np.float32)
