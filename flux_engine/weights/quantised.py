"""Kernels in 8 bits: which ones, and what is stored of them. Knows arrays, and no file.

Beside `kernel` [in, out] lies `kernel_scale`, float32 [out], and the weights are their product. It is named as the
`weight_scale` beside `weight` in compressed-tensors' files, https://github.com/vllm-project/compressed-tensors.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.weights.names import STACKS, LeafPath

# What people call them -> the type that is stored, and the largest number of it.
EIGHT_BITS: dict[str, tuple[np.dtype, int]] = {
    "int8": (np.dtype(np.int8), 127),
    "fp8": (np.dtype(jnp.float8_e4m3fn), 448),
}
STORED_TYPES = frozenset(dtype.name for dtype, _ in EIGHT_BITS.values())
SCALE = "kernel_scale"
SMALLEST = 2.0**-126  # of a scale: nothing is divided by zero, nor by a number that a processor takes for zero


def is_quantised(component: str, path: LeafPath) -> bool:
    """Whether a stored leaf may be in 8 bits: kernels of repeated blocks, 99 % of FLUX.1's weights.

    What a network reads and gives by, its norms, biases and embeddings and the whole autoencoder keep 16 bits.
    """
    return path[0] in STACKS[component] and path[-1] == "kernel"


def scale_path(path: LeafPath) -> LeafPath:
    """Where the scale of the kernel at `path` is stored."""
    return (*path[:-1], SCALE)


def quantised(kernel: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A kernel float32 [in, out] as one of EIGHT_BITS, and its scale float32 [out].

    Each output's largest number becomes the largest of the type, and what lies between two becomes the nearer one, the
    even one in the middle. Of int8, no weight is further off than half a scale; of fp8, no more than a sixteenth of
    itself, or 2^-10 of a scale if it is smaller than 2^-6 of one. An output with a NaN or an infinity becomes NaN.
    """
    dtype, largest = EIGHT_BITS[kind]
    with jax.default_device(jax.devices("cpu")[0]):  # four times as fast as NumPy, which knows no fp8 by itself
        stored, scale = _rounded(kernel, largest, dtype)
    return np.asarray(stored), np.asarray(scale)


@partial(jax.jit, static_argnums=(1, 2))
def _rounded(kernel: jax.Array, largest: int, dtype: np.dtype) -> tuple[jax.Array, jax.Array]:
    scale = jnp.maximum(jnp.abs(kernel).max(axis=0) / largest, SMALLEST)
    scale = jnp.where(jnp.isfinite(scale), scale, jnp.nan)
    ratio = kernel / scale[None, :]
    return (jnp.rint(ratio) if dtype == jnp.int8 else ratio).astype(dtype), scale
