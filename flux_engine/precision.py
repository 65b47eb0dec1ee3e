"""Which floating-point type the networks compute in. Knows devices, no networks."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from flux_engine.request import DType

PROBE_SIZE = 768
PROBE_ROUNDS = 5
# Processors with AMX run bfloat16 products about five times faster, others no faster or slower; nothing lies near 1.5.
CLEARLY_FASTER = 1.5


def resolve_dtype(name: DType, device: jax.Device) -> jnp.dtype:
    """The type for `name`; "auto" is bfloat16 on an accelerator and, on a CPU, whatever is really faster there."""
    if name != "auto":
        return jnp.dtype(name)
    if device.platform != "cpu":
        return jnp.dtype(jnp.bfloat16)
    return jnp.dtype(_faster_on_cpu(device))


@functools.cache
def _faster_on_cpu(device: jax.Device) -> str:
    """Measured once in a process, in about a tenth of a second."""
    float32, bfloat16 = _product_seconds(device)
    return "bfloat16" if float32 > CLEARLY_FASTER * bfloat16 else "float32"


def _product_seconds(device: jax.Device) -> tuple[float, float]:
    """What a product takes in float32 and in bfloat16.

    The best of rounds that take turns: while a machine does something else, both types are slow.
    """
    product = jax.jit(jnp.matmul)
    matrices = [jax.device_put(jnp.ones((PROBE_SIZE, PROBE_SIZE), dtype), device) for dtype in ("float32", "bfloat16")]
    for matrix in matrices:
        product(matrix, matrix).block_until_ready()
    rounds = [[_seconds(product, matrix) for matrix in matrices] for _ in range(PROBE_ROUNDS)]
    float32, bfloat16 = map(min, zip(*rounds, strict=True))
    return float32, bfloat16


def _seconds(product: Callable[[jax.Array, jax.Array], jax.Array], matrix: jax.Array) -> float:
    started = time.perf_counter()
    product(matrix, matrix).block_until_ready()
    return time.perf_counter() - started
